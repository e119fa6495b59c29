//! InnerProduct: flatten, then a fully connected layer.

use ocellus_graph::ops::{Linear, Reshape};
use ocellus_graph::{Op, ValueId};

use super::filler::filler;
use crate::caffe::layer::Layer;
use crate::caffe::message::Fault;
use crate::caffe::net::Net;

const FIELDS: [&str; 6] = ["num_output", "bias_term", "weight_filler", "bias_filler", "axis", "transpose"];

/// y (N, O) of x (N, ...), every image read as one row.
pub(super) fn inner_product(net: &mut Net, layer: &Layer, bottoms: &[ValueId]) -> Result<ValueId, Fault> {
    layer.expect_bottoms(1)?;
    let settings = layer.settings("inner_product_param", &FIELDS)?;
    let shape = net.shape(bottoms[0]).clone();
    if super::axis_of(layer, settings.i64("axis", 1)?, shape.rank())? != 1 {
        return Err(layer.fault("axis must be 1: every image is one row"));
    }
    if settings.bool("transpose", false)? {
        return Err(
            layer.fault_with("a transposed weight is not supported", "save it as (num_output, inputs)")
        );
    }
    let out = settings.usize("num_output", 0)?;
    let mut x = bottoms[0];
    if shape.rank() != 2 {
        x = net.node(layer, ".flatten", Op::Reshape(Reshape { dims: vec![0, -1] }), &[x])?;
    }
    let features = net.shape(x)[1];
    let weight = net.param(layer, (0, "weight"), vec![out, features], filler(&settings, "weight_filler")?)?;
    let mut inputs = vec![x, weight];
    if settings.bool("bias_term", true)? {
        inputs.push(net.param(layer, (1, "bias"), vec![out], filler(&settings, "bias_filler")?)?);
    }
    net.node(layer, "", Op::Linear(Linear), &inputs)
}
