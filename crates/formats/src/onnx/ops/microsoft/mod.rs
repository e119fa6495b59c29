//! ONNX Runtime's own operators: what its tools write when they quantise or optimise a network.
//!
//! Source: docs/ContribOperators.md of microsoft/onnxruntime.

mod fused;
mod packed;
mod quantised;

use ocellus_graph::ops::Transpose;
use ocellus_graph::{Op, ValueId};

use super::{Made, product, quantize};
use crate::onnx::call::{Call, Item};
use crate::onnx::fault::Fault;
use crate::onnx::net::Net;
use crate::onnx::proto::NodeProto;

/// The operator set of ONNX whose forms these operators share.
const OPSET: i64 = 13;

/// Adds an operator of the domain `com.microsoft`.
pub(super) fn add(net: &mut Net, call: &Call) -> Made {
    if call.op() == "NhwcMaxPool" || call.flag("channels_last", false)? {
        return channels_last(net, call);
    }
    match call.op() {
        "Pad" | "Trilu" | "GatherND" => standard(net, call, call.op(), "", call.inputs.clone()),
        "ExpandDims" => standard(net, call, "Unsqueeze", "", call.inputs.clone()),
        "QuantizeLinear" => quantize::quantize(net, call),
        "DequantizeLinear" => quantize::dequantize(net, call),
        "QLinearConv" => quantize::conv(net, call),
        "QGemm" => quantised::gemm(net, call),
        "DynamicQuantizeMatMul" => quantised::dynamic_product(net, call),
        "MatMulIntegerToFloat" => quantised::integer_product(net, call),
        "MatMulNBits" => packed::product(net, call),
        op if op.starts_with("QLinear") => quantised::add(net, call),
        "FusedConv" => fused::convolution(net, call),
        "FusedGemm" => {
            let y = product::gemm(net, call)?;
            fused::activated(net, call, y)
        }
        "FusedMatMul" | "TransposeMatMul" => fused::product(net, call),
        "Gelu" | "FastGelu" | "BiasGelu" | "QuickGelu" => fused::gelu(net, call),
        "SkipLayerNormalization" | "SkipSimplifiedLayerNormalization" => fused::norm_of_sum(net, call),
        _ => Err(unsupported(call)),
    }
}

fn unsupported(call: &Call) -> Fault {
    call.fault_with(
        "is an operator of ONNX Runtime's own that is not supported",
        "export the network with ONNX's own operators",
    )
}

/// ONNX's own operator `op` with these inputs, and with the attributes of `call`.
fn standard(net: &mut Net, call: &Call, op: &str, suffix: &str, inputs: Vec<Option<Item>>) -> Made {
    let node = NodeProto { op: op.into(), domain: String::new(), ..call.node.clone() };
    let label = net.free_name(&format!("{}{suffix}", call.label));
    super::add(net, &Call { node: &node, label, opset: OPSET, inputs })
}

/// An operator whose image x, and whose result, have their channels last (N, H, W, C): between two transpositions.
fn channels_last(net: &mut Net, call: &Call) -> Made {
    let x = net.value(call, 0)?;
    let rank = net.shape(x).rank();
    if rank < 3 {
        return Err(call.fault(format!("works on a tensor of shape {:?}, which is no image", net.dims(x))));
    }
    let second: Vec<usize> = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
    let x = turned(net, call, ".channels_second", x, second)?;
    let mut node = call.node.clone();
    node.attributes.retain(|attribute| attribute.name != "channels_last");
    if node.op == "NhwcMaxPool" {
        (node.op, node.domain) = ("MaxPool".into(), String::new());
    }
    let mut inputs = call.inputs.clone();
    inputs[0] = Some(Item::Value(x, call.need(0)?.kind()));
    let label = format!("{}.image", call.label);
    let made = super::add(net, &Call { node: &node, label, opset: OPSET, inputs })?;
    let y = made.into_iter().next().ok_or_else(|| call.fault("gives nothing"))?;
    let kind = y.kind();
    let y = net.item_value(call, &y)?;
    let last: Vec<usize> = [0].into_iter().chain(2..net.shape(y).rank()).chain([1]).collect();
    Ok(vec![Item::Value(turned(net, call, "", y, last)?, kind)])
}

fn turned(net: &mut Net, call: &Call, suffix: &str, x: ValueId, order: Vec<usize>) -> Result<ValueId, Fault> {
    net.add(call, suffix, Op::Transpose(Transpose { order }), &[x])
}
