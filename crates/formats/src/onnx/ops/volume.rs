//! Where the nodes of an operator over three axes go, and the taps of its weight.

use ocellus_graph::{Op, ValueId};
use ocellus_tensor::Shape;

use super::arrange;
use crate::onnx::call::{Call, Item};
use crate::onnx::fault::Fault;
use crate::onnx::literal::Literal;
use crate::onnx::net::Net;
use crate::volume;

/// An operator's place in the graph.
pub(super) struct Site<'a, 'b, 'c> {
    pub net: &'a mut Net<'b>,
    pub call: &'a Call<'c>,
}

impl volume::Site for Site<'_, '_, '_> {
    type Fault = Fault;

    fn shape(&self, value: ValueId) -> &Shape {
        self.net.shape(value)
    }

    fn add(&mut self, suffix: &str, op: Op, inputs: &[ValueId]) -> Result<ValueId, Fault> {
        self.net.add(self.call, suffix, op, inputs)
    }

    fn fault(&self, what: String) -> Fault {
        self.call.fault(what)
    }
}

/// Taps `[.., t, .., ..]` of a weight (O, C, D, H, W): one weight per depth, a parameter if the whole is constant.
pub(super) fn taps(net: &mut Net, call: &Call, weight: &Item, depth: usize) -> Result<Vec<ValueId>, Fault> {
    let dims = net.dims_of(weight);
    let flat = [dims[0], dims[1], dims[3], dims[4]];
    (0..depth)
        .map(|t| match weight {
            Item::Constant(literal) => {
                let plane = dims[3] * dims[4];
                let numbers = (0..dims[0] * dims[1]).flat_map(|i| {
                    let start = (i * dims[2] + t) * plane;
                    start..start + plane
                });
                net.budget
                    .charge((flat.iter().product::<usize>() * 4) as u64)
                    .map_err(|what| call.fault(what))?;
                let numbers = numbers.map(|i| literal.float_at(i)).collect();
                let name = literal.name.as_ref().map(|name| format!("{name}.{t}"));
                let tap =
                    Literal { name, is_weight: literal.is_weight, ..Literal::floats(flat.to_vec(), numbers) };
                net.item_value(call, &Item::Constant(tap))
            }
            Item::Value(value, _) => {
                let part = arrange::part(net, call, &format!(".tap{t}.part"), *value, 2, (t, 1, 1))?;
                net.reshape(call, &format!(".tap{t}.weight"), part, &flat)
            }
        })
        .collect()
}
