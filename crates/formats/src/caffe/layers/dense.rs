//! InnerProduct: flatten, then a fully connected layer. Embed: a fully connected layer on class indices.

use ocellus_graph::ops::{Linear, OneHot, Reshape, Transpose};
use ocellus_graph::{Init, Op, ValueId};

use super::filler::filler;
use crate::caffe::layer::Layer;
use crate::caffe::message::Fault;
use crate::caffe::net::Net;

const FIELDS: [&str; 6] = ["num_output", "bias_term", "weight_filler", "bias_filler", "axis", "transpose"];

/// y (..., O) of x (..., features): the axes from `axis` on are one row, those before it stay. From axis 0 on the whole
/// batch is one row, and y is (O).
pub(super) fn inner_product(net: &mut Net, layer: &Layer, bottoms: &[ValueId]) -> Result<ValueId, Fault> {
    layer.expect_bottoms(1)?;
    let settings = layer.settings("inner_product_param", &FIELDS)?;
    let shape = net.shape(bottoms[0]).clone();
    let axis = super::axis_of(layer, settings.i64("axis", 1)?, shape.rank())?;
    let out = settings.usize("num_output", 0)?;
    let features = shape[axis..].iter().product::<usize>();
    let mut x = bottoms[0];
    if shape.rank() != 2 || axis != 1 {
        // With axis 1 whatever the batch is; else rows of all axes before it.
        let dims = if axis == 1 { vec![0, -1] } else { vec![-1, features as isize] };
        x = net.node(layer, ".flatten", Op::Reshape(Reshape { dims }), &[x])?;
    }
    let is_transposed = settings.bool("transpose", false)?;
    let sizes = if is_transposed { vec![features, out] } else { vec![out, features] };
    let mut weight = net.param(layer, (0, "weight"), sizes, filler(&settings, "weight_filler")?)?;
    if is_transposed {
        let turn = Op::Transpose(Transpose { order: vec![1, 0] });
        weight = net.node(layer, ".transposed", turn, &[weight])?;
    }
    let mut inputs = vec![x, weight];
    if settings.bool("bias_term", true)? {
        inputs.push(net.param(layer, (1, "bias"), vec![out], filler(&settings, "bias_filler")?)?);
    }
    if axis == 1 {
        return net.node(layer, "", Op::Linear(Linear), &inputs);
    }
    let rows = net.node(layer, ".rows", Op::Linear(Linear), &inputs)?;
    let kept = shape[..axis].iter().chain([&out]).map(|&size| size as isize);
    let mut dims: Vec<isize> = kept.collect();
    if axis > 0 {
        dims[0] = -1; // whatever the batch
    }
    net.node(layer, "", Op::Reshape(Reshape { dims }), &[rows])
}

/// Learned numbers that other layers read, of the shape that is said.
pub(super) fn parameter(net: &mut Net, layer: &Layer) -> Result<ValueId, Fault> {
    layer.expect_bottoms(0)?;
    let settings = layer.settings("parameter_param", &["shape"])?;
    let Some(shape) = settings.message("shape")? else { return Err(layer.fault("has no shape")) };
    net.param(layer, (0, "weight"), shape.usizes("dim")?, Init::Constant(0.0))
}

const EMBED: [&str; 5] = ["num_output", "input_dim", "bias_term", "weight_filler", "bias_filler"];

/// y (..., O): for each index x (...) the row of a table (`input_dim`, O).
pub(super) fn embed(net: &mut Net, layer: &Layer, bottoms: &[ValueId]) -> Result<ValueId, Fault> {
    layer.expect_bottoms(1)?;
    let settings = layer.settings("embed_param", &EMBED)?;
    let (out, classes) = (settings.usize("num_output", 0)?, settings.usize("input_dim", 0)?);
    let rest = net.shape(bottoms[0]).iter().skip(1).map(|&size| size as isize).collect::<Vec<_>>();
    let mut rows = net.node(layer, ".indices", Op::OneHot(OneHot { classes }), &[bottoms[0]])?;
    if !rest.is_empty() {
        let dims = vec![-1, classes as isize];
        rows = net.node(layer, ".rows", Op::Reshape(Reshape { dims }), &[rows])?;
    }
    let table = net.param(layer, (0, "weight"), vec![classes, out], filler(&settings, "weight_filler")?)?;
    let turn = Op::Transpose(Transpose { order: vec![1, 0] });
    let mut inputs = vec![rows, net.node(layer, ".transposed", turn, &[table])?];
    if settings.bool("bias_term", true)? {
        inputs.push(net.param(layer, (1, "bias"), vec![out], filler(&settings, "bias_filler")?)?);
    }
    if rest.is_empty() {
        return net.node(layer, "", Op::Linear(Linear), &inputs);
    }
    let found = net.node(layer, ".found", Op::Linear(Linear), &inputs)?;
    let dims = [-1].into_iter().chain(rest).chain([out as isize]).collect();
    net.node(layer, "", Op::Reshape(Reshape { dims }), &[found])
}
