//! Tensors laid end to end.

use ocellus_tensor::Shape;

use crate::autodiff::GradientContext;
use crate::{GraphError, ValueId};

use super::{Op, Refusal, Slice, expect};

/// Inputs: one or more tensors that agree on every axis but `axis`. Output: them end to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Concat {
    /// The axis along which they are joined (1 = channels).
    pub axis: usize,
}

impl Concat {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let [first, rest @ ..] = inputs else {
            return Err("needs at least 1 input, got 0".into());
        };
        expect::axis(self.axis, first)?;
        let mut size = first[self.axis];
        for (i, next) in rest.iter().enumerate() {
            if next.rank() != first.rank() || next.with(self.axis, first[self.axis]) != **first {
                let which = i + 1;
                return Err(format!(
                    "input 0 has shape {first}, input {which} has {next}: they may differ only on axis {}",
                    self.axis
                ));
            }
            size = size.checked_add(next[self.axis]).ok_or("the joined axis is too long to count")?;
        }
        Ok(vec![first.with(self.axis, size)])
    }

    pub(super) fn gradient(&self, context: &mut GradientContext) -> Result<Vec<Option<ValueId>>, GraphError> {
        let (dy, mut start, mut gradients) = (context.dy()?, 0, vec![]);
        for i in 0..context.inputs().len() {
            let count = context.shape(i)[self.axis];
            gradients.push(match context.wants(i) {
                true => {
                    let part = Op::Slice(Slice { axis: self.axis, start, step: 1, count });
                    Some(context.add(&i.to_string(), part, &[dy])?)
                }
                false => None,
            });
            start += count;
        }
        Ok(gradients)
    }
}
