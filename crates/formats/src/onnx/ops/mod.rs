//! ONNX's operators, each as one or a few operations of the graph.
//!
//! Source: the operator changelog of ONNX (docs/Changelog.md of onnx/onnx), every version of every operator here. Each
//! function takes a node and gives what its outputs stand for.

mod activation;
mod arithmetic;
mod arrange;
mod convolve;
mod einsum;
mod largest;
mod microsoft;
mod norm;
mod pad;
mod pool;
mod product;
mod quantize;
mod reduce;
mod resize;
mod select;
mod softmax;
mod volume;
mod window;

use ocellus_graph::ValueId;

use super::call::{Call, Item};
use super::fault::Fault;
use super::literal::Kind;
use super::net::Net;

/// What an operator's function gives: its outputs.
type Made = Result<Vec<Item>, Fault>;

/// Adds a node of any operator.
pub(super) fn add(net: &mut Net, call: &Call) -> Made {
    let kind = call.item(0).map_or(Kind::F32, Item::kind);
    // One output, of the first input's element type.
    let one = |value: Result<ValueId, Fault>| value.map(|value| vec![Item::Value(value, kind)]);
    match call.node.domain.as_str() {
        "" => {}
        "com.microsoft" => return microsoft::add(net, call),
        "com.microsoft.nchwc" => {
            return Err(call.fault_with(
                "has its channels in blocks for one kind of processor",
                "save the network at ONNX Runtime's level ORT_ENABLE_EXTENDED, which does not do that",
            ));
        }
        domain => {
            let what = format!("is of the domain {domain}, which is not ONNX's own");
            return Err(call.fault_with(what, "export the network with ONNX's own operators"));
        }
    }
    match call.op() {
        "Conv" => one(convolve::conv(net, call)),
        "ConvTranspose" => one(convolve::conv_transpose(net, call)),
        "MaxPool" if call.wants(1) => largest::with_places(net, call),
        "MaxPool" | "AveragePool" | "LpPool" => one(pool::pool(net, call)),
        "MaxUnpool" => one(largest::unpool(net, call)),
        "Col2Im" => one(convolve::columns_to_image(net, call)),
        "GlobalAveragePool" | "GlobalMaxPool" | "GlobalLpPool" => one(pool::global(net, call)),
        "Gemm" => one(product::gemm(net, call)),
        "MatMul" => one(product::matmul(net, call)),
        "BatchNormalization" => norm::batch(net, call),
        "InstanceNormalization" => one(norm::instance(net, call)),
        "GroupNormalization" => one(norm::group(net, call)),
        "LayerNormalization" => norm::layer(net, call),
        "RMSNormalization" | "SimplifiedLayerNormalization" => one(norm::root_mean_square(net, call)),
        "MeanVarianceNormalization" => one(norm::mean_variance(net, call)),
        "LpNormalization" => one(norm::lp(net, call)),
        "ImageScaler" => one(norm::image_scaler(net, call)),
        "CenterCropPad" => one(pad::centred(net, call)),
        "LRN" => one(norm::local_response(net, call)),
        "Softmax" | "LogSoftmax" | "Hardmax" => one(softmax::softmax(net, call)),
        "ArgMax" | "ArgMin" => softmax::arg_max(net, call),
        "Identity" | "Dropout" => arrange::identity(net, call),
        "Cast" | "CastLike" => arithmetic::cast(net, call),
        "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => one(arrange::reshape(net, call)),
        "Transpose" => one(arrange::transpose(net, call)),
        "Concat" => one(arrange::concat(net, call)),
        "Split" => arrange::split(net, call),
        "Slice" => one(arrange::slice(net, call)),
        "Gather" => arrange::gather(net, call),
        "TopK" => select::top(net, call),
        "OneHot" => select::one_hot(net, call),
        "Trilu" => one(select::triangle(net, call)),
        "CumSum" => one(select::running_sum(net, call)),
        "GatherElements" => one(select::gather_elements(net, call)),
        "GatherND" => one(select::gather_blocks(net, call)),
        "Scatter" | "ScatterElements" | "ScatterND" => one(select::scatter(net, call)),
        "Einsum" => one(einsum::einsum(net, call)),
        "Expand" => one(arrange::expand(net, call)),
        "Tile" => one(arrange::tile(net, call)),
        "DepthToSpace" => one(arrange::depth_to_space(net, call)),
        "SpaceToDepth" => one(arrange::space_to_depth(net, call)),
        "Pad" => one(pad::pad(net, call)),
        "Resize" | "Upsample" => one(resize::resize(net, call)),
        "QuantizeLinear" => quantize::quantize(net, call),
        "DequantizeLinear" => quantize::dequantize(net, call),
        "DynamicQuantizeLinear" => quantize::dynamic(net, call),
        "ConvInteger" => quantize::conv_integer(net, call),
        "MatMulInteger" => quantize::matmul_integer(net, call),
        "QLinearConv" => quantize::conv(net, call),
        "QLinearMatMul" => quantize::matmul(net, call),
        op if op.starts_with("Reduce") => one(reduce::reduce(net, call)),
        op => {
            if let Some(made) = arithmetic::add(net, call)? {
                return Ok(made);
            }
            match activation::add(net, call)? {
                Some(value) => Ok(vec![Item::Value(value, kind)]),
                None => Err(refusal(call, op)),
            }
        }
    }
}

/// Why an operator cannot be had.
fn refusal(call: &Call, op: &str) -> Fault {
    match op {
        "Loop" | "Scan" | "If" => call.fault("decides while the network runs: control flow is not supported"),
        "LSTM" | "GRU" | "RNN" => call.fault("is recurrent, which is not supported"),
        "NonMaxSuppression" | "RoiAlign" | "MaxRoiPool" | "NonZero" | "Compress" | "Unique" => call
            .fault_with(
                "belongs to object detectors: how much it gives depends on what the network is fed",
                "cut the network before it",
            ),
        "GridSample" | "DeformConv" | "AffineGrid" => call.fault_with(
            "reads an image at places that the network computes, which is not supported",
            "cut the network before it",
        ),
        "Attention" | "LinearAttention" | "RotaryEmbedding" | "CausalConvWithState" | "TensorScatter" => {
            call.fault("belongs to transformers, which are not supported")
        }
        "NegativeLogLikelihoodLoss" | "SoftmaxCrossEntropyLoss" => call.fault_with(
            "is a loss: it belongs to training",
            "export the network for inference, up to its scores",
        ),
        "DFT" | "STFT" | "MelWeightMatrix" | "HannWindow" | "HammingWindow" | "BlackmanWindow" => {
            call.fault("belongs to the processing of sound, which is not supported")
        }
        "BitShift" | "BitwiseAnd" | "BitwiseOr" | "BitwiseXor" | "BitwiseNot" | "BitCast" => {
            call.fault("works on the bits of numbers; all numbers are floating-point here")
        }
        "ImageDecoder" | "TfIdfVectorizer" | "RegexFullMatch" => {
            call.fault("works on something else than tensors of numbers, which is not supported")
        }
        "RandomNormal" | "RandomUniform" | "RandomNormalLike" | "RandomUniformLike" | "Bernoulli"
        | "Multinomial" => call.fault("draws random numbers, which is not supported"),
        op if ["Sequence", "Optional", "String"].iter().any(|start| op.starts_with(start))
            || op.ends_with("Sequence") =>
        {
            call.fault("works on something else than tensors of numbers, which is not supported")
        }
        _ => call.fault("is of an operator that is not supported"),
    }
}
