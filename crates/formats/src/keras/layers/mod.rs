//! What each class of layer becomes.
//!
//! A layer's function reads its settings and numbers, checks them, and adds one operation or a few. Classes are those of
//! Keras 2 and 3; a class that is not here is refused by name.

mod activation;
mod convolve;
mod dense;
mod merge;
mod norm;
mod operation;
mod pool;
mod rearrange;
mod resize;
mod shape;

use ocellus_graph::Op;
use ocellus_graph::ops::Dropout;

use super::layer::Layer;
use super::net::{Item, Net};
use super::stored::Trouble;

/// Layers that change nothing when a network is used: noise, augmentation, penalties.
const IDENTITIES: [&str; 34] = [
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
    "GaussianDropout",
    "GaussianNoise",
    "AlphaDropout",
    "ActivityRegularization",
    "StochasticDepth",
    "Identity",
    "RandomFlip",
    "RandomRotation",
    "RandomZoom",
    "RandomTranslation",
    "RandomContrast",
    "RandomBrightness",
    "RandomHeight",
    "RandomWidth",
    "RandomErasing",
    "RandomGrayscale",
    "RandomHue",
    "RandomSaturation",
    "RandomPosterization",
    "RandomSharpness",
    "RandomShear",
    "RandomColorJitter",
    "RandomColorDegeneration",
    "RandomInvert",
    "RandomPerspective",
    "RandomGaussianBlur",
    "RandomElasticTransform",
    "RandAugment",
    "AugMix",
    "MixUp",
    "CutMix",
];

/// The nodes of one call of a layer; gives its results.
pub(in crate::keras) fn add(net: &mut Net, layer: &Layer) -> Result<Vec<Item>, Trouble> {
    let class = layer.spec.class.as_str();
    // Whole models in HDF5 do not say where a class is from: layers take one list, operations two operands.
    let has_operands = layer.args.len() > 1 && operation::BINARY.contains(&class)
        || class == "Reshape" && layer.get("newshape").is_some();
    if layer.spec.is_operation() || operation::CLASSES.contains(&class) || has_operands {
        return Ok(vec![operation::add(net, layer)?]);
    }
    let made = match class {
        "Conv1D" | "Conv2D" | "Convolution1D" | "Convolution2D" => convolve::conv(net, layer)?,
        "DepthwiseConv1D" | "DepthwiseConv2D" => convolve::depthwise(net, layer)?,
        "SeparableConv1D" | "SeparableConv2D" | "SeparableConvolution1D" | "SeparableConvolution2D" => {
            convolve::separable(net, layer)?
        }
        "Conv1DTranspose" | "Conv2DTranspose" | "Convolution2DTranspose" => convolve::transposed(net, layer)?,
        "Dense" => dense::dense(net, layer)?,
        "BatchNormalization" | "SyncBatchNormalization" => norm::batch(net, layer)?,
        "LayerNormalization" => norm::layer(net, layer)?,
        "GroupNormalization" => norm::group(net, layer)?,
        "UnitNormalization" => norm::unit(net, layer)?,
        "LayerScale" => norm::layer_scale(net, layer)?,
        "Rescaling" => norm::rescaling(net, layer)?,
        "Normalization" => norm::normalization(net, layer)?,
        "MaxPooling1D" | "MaxPooling2D" | "MaxPool1D" | "MaxPool2D" | "AveragePooling1D"
        | "AveragePooling2D" | "AvgPool1D" | "AvgPool2D" => pool::window(net, layer)?,
        "GlobalMaxPooling1D"
        | "GlobalMaxPooling2D"
        | "GlobalMaxPool1D"
        | "GlobalMaxPool2D"
        | "GlobalAveragePooling1D"
        | "GlobalAveragePooling2D"
        | "GlobalAvgPool1D"
        | "GlobalAvgPool2D" => pool::global(net, layer)?,
        "Activation" | "ReLU" | "LeakyReLU" | "ELU" | "ThresholdedReLU" => activation::layer(net, layer)?,
        "Softmax" => activation::softmax_layer(net, layer)?,
        "PReLU" => activation::prelu(net, layer)?,
        "Add" | "Subtract" | "Multiply" | "Average" | "Maximum" | "Minimum" => {
            merge::elementwise(net, layer)?
        }
        "CustomScaleLayer" | "Custom>CustomScaleLayer" => merge::scaled_sum(net, layer)?,
        "Concatenate" => merge::concatenate(net, layer)?,
        "Flatten" => shape::flatten(net, layer)?,
        "Reshape" => shape::reshape(net, layer)?,
        "Permute" => shape::permute(net, layer)?,
        "RepeatVector" => shape::repeat(net, layer)?,
        "ZeroPadding1D" | "ZeroPadding2D" => shape::pad(net, layer)?,
        "Cropping1D" | "Cropping2D" => shape::crop(net, layer)?,
        "CenterCrop" | "RandomCrop" => shape::center_crop(net, layer)?,
        "UpSampling1D" | "UpSampling2D" => resize::upsampling(net, layer)?,
        "Resizing" => resize::resizing(net, layer)?,
        "Dropout" => dropout(net, layer)?,
        "InputLayer" => layer.item()?,
        class if IDENTITIES.contains(&class) => layer.item()?,
        class if operation::FUNCTIONS.contains(&class) => operation::add(net, layer)?,
        class => return Err(refusal(layer, class).into()),
    };
    Ok(vec![made])
}

fn refusal(layer: &Layer, class: &str) -> super::fault::Fault {
    match class {
        "Lambda" => layer.fault("runs Python code of its maker's, which is never executed"),
        _ if class.contains('>') => layer.fault("is a class of its maker's own"),
        _ => layer.fault("is of a class that is not supported"),
    }
}

fn dropout(net: &mut Net, layer: &Layer) -> Result<Item, Trouble> {
    let item = layer.item()?;
    let rate = layer.float("rate")?.unwrap_or(0.5);
    // One that drops whole images or maps changes nothing in use; no operation here draws so.
    if layer.get("noise_shape").is_some() {
        return Ok(item);
    }
    let op = Op::Dropout(Dropout { rate, active: false, stream: net.next_dropout() });
    let value = net.add(layer, "", op, &[item.value])?;
    Ok(item.with(value))
}
