//! Caffe's layer catalogue, each layer as one or a few operations of the graph.
//!
//! Source: the layer catalogue of Caffe's documentation and its layers' setup and reshape rules. Every function takes a
//! layer and the values of its bottoms and gives the values of its tops.

mod activation;
mod arrange;
mod combine;
mod data;
mod dense;
pub(super) mod filler;
mod loss;
pub(super) mod norm;
mod pooling;
mod targets;
mod window;

pub(super) use data::dummy as dummy_shapes;

use ocellus_graph::ops::Reshape;
use ocellus_graph::{Op, ValueId};

use super::layer::Layer;
use super::message::Fault;
use super::net::Net;

/// What a layer's function gives: the values of its tops.
type Tops = Result<Vec<ValueId>, Fault>;

/// Adds a layer of any type.
pub(super) fn add(net: &mut Net, layer: &Layer, bottoms: &[ValueId]) -> Tops {
    let one = |value: Result<ValueId, Fault>| value.map(|value| vec![value]);
    match layer.kind.as_str() {
        "Convolution" | "ConvolutionDepthwise" | "DepthwiseConvolution" => {
            window::convolution(net, layer, bottoms)
        }
        "Deconvolution" => window::deconvolution(net, layer, bottoms),
        "SPP" => one(pooling::pyramid(net, layer, bottoms)),
        "Pooling" => pooling::pooling(net, layer, bottoms),
        "Embed" => one(dense::embed(net, layer, bottoms)),
        "Parameter" => one(dense::parameter(net, layer)),
        "InnerProduct" => one(dense::inner_product(net, layer, bottoms)),
        "BatchNorm" => one(norm::batch_norm(net, layer, bottoms, None)),
        "Scale" => one(norm::scale(net, layer, bottoms)),
        "Bias" => one(norm::bias(net, layer, bottoms)),
        "LRN" => one(norm::lrn(net, layer, bottoms)),
        "Concat" => one(arrange::concat(net, layer, bottoms)),
        "Slice" => arrange::slice(net, layer, bottoms),
        "Split" => arrange::split(net, layer, bottoms),
        "Flatten" => one(arrange::flatten(net, layer, bottoms)),
        "Reshape" => one(arrange::reshape(net, layer, bottoms)),
        "Tile" => one(arrange::tile(net, layer, bottoms)),
        "ArgMax" => one(arrange::arg_max(net, layer, bottoms)),
        "Crop" => one(arrange::crop(net, layer, bottoms)),
        "Reduction" => one(arrange::reduction(net, layer, bottoms)),
        "Permute" => one(arrange::permute(net, layer, bottoms)),
        "Eltwise" => one(combine::eltwise(net, layer, bottoms)),
        "Axpy" => one(combine::axpy(net, layer, bottoms)),
        "Softmax" => one(combine::softmax(net, layer, bottoms)),
        "Accuracy" => loss::accuracy(net, layer, bottoms),
        "SoftmaxWithLoss" | "SoftmaxLoss" => loss::softmax(net, layer, bottoms),
        "SigmoidCrossEntropyLoss" => one(loss::sigmoid(net, layer, bottoms)),
        "EuclideanLoss" => one(loss::euclidean(net, layer, bottoms)),
        "MultinomialLogisticLoss" => one(loss::multinomial(net, layer, bottoms)),
        "InfogainLoss" => loss::infogain(net, layer, bottoms),
        "HingeLoss" => one(loss::hinge(net, layer, bottoms)),
        "ContrastiveLoss" => one(loss::contrastive(net, layer, bottoms)),
        "Data" | "ImageData" | "HDF5Data" | "MemoryData" | "DummyData" | "Input" => data::inputs(net, layer),
        "Silence" => Ok(Vec::new()),
        kind => match activation::add(net, layer, bottoms)? {
            Some(value) => Ok(vec![value]),
            None => Err(refusal(layer, kind)),
        },
    }
}

/// Why a layer cannot be had.
fn refusal(layer: &Layer, kind: &str) -> Fault {
    let (why, next) = match kind {
        "" => ("has no type", "say what the layer does"),
        "Python" => {
            ("runs a Python program, which is no part of the file", "replace it by Caffe's own layers")
        }
        "ROIPooling" | "PSROIPooling" | "DetectionOutput" | "PriorBox" | "Proposal" | "WindowData" => {
            ("belongs to object detectors, which are not supported", "cut the network before it")
        }
        "HDF5Output" => ("writes a file while the network runs", "leave it out and save the output instead"),
        "LSTM" | "RNN" | "Recurrent" => {
            ("works through time, which is not supported", "cut the network before it")
        }
        "Filter" | "BatchReindex" => {
            ("picks items by what the network is fed, which is not supported", "cut the network before it")
        }
        "Im2col" => ("only rearranges windows for other layers", "use a Convolution"),
        _ => {
            ("is of a type that is not supported", "cut the network before it, or express it by other layers")
        }
    };
    layer.fault_with(why, next)
}

/// A layer's operation on a value of any number of axes, of which those behind the channels are one meanwhile if they are
/// more than two.
fn along_channels(net: &mut Net, layer: &Layer, op: Op, inputs: &[ValueId]) -> Result<ValueId, Fault> {
    let shape = net.shape(inputs[0]).clone();
    if shape.rank() <= 4 {
        return net.node(layer, "", op, inputs);
    }
    let flat = Op::Reshape(Reshape { dims: vec![0, shape[1] as isize, -1] });
    let mut inputs = inputs.to_vec();
    inputs[0] = net.node(layer, ".flat", flat, &inputs[..1])?;
    let y = net.node(layer, ".of_flat", op, &inputs)?;
    let dims = [0].into_iter().chain(shape.iter().skip(1).map(|&size| size as isize)).collect();
    net.node(layer, "", Op::Reshape(Reshape { dims }), &[y])
}

/// Position of `axis` among `rank` axes; negative ones count from the last.
fn axis_of(layer: &Layer, axis: i64, rank: usize) -> Result<usize, Fault> {
    let from_first = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
    usize::try_from(from_first)
        .ok()
        .filter(|&axis| axis < rank)
        .ok_or_else(|| layer.fault(format!("axis = {axis}, but its bottom has {rank} axes")))
}
