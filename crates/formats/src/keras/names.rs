//! Weights of Keras for networks of this program.
//!
//! A file of weights alone says how its arrays are called, not what layers they belong to. Their names and sizes tell how
//! their axes lie (see [`raw`]); [`resnet_weights`] gives those of Keras Applications' ResNet-50, 101 and 152 the names
//! that PyTorch's have.

use ocellus_tensor::{Tensor, Weights};

use super::net::permuted;
use super::stored::Stored;
use crate::FormatError;

/// What Keras Applications adds to a variance, beyond this program's 1e-5.
const MORE_EPSILON: f32 = 1.001e-5 - 1e-5;

/// Weights under other names.
#[derive(Clone, Debug)]
pub struct Converted {
    /// The weights.
    pub weights: Weights,
    /// How many biases of convolutions went into the means behind them.
    pub folded_biases: usize,
}

/// Every array of the file as `LAYER.part`, turned as this program has it.
///
/// ```text
/// kernel            (kh, kw, C, O) -> (O, C, kh, kw);  (features, units) -> (units, features)
/// depthwise_kernel  (kh, kw, C, M) -> (C M, 1, kh, kw)
/// gamma, beta, moving_mean, moving_variance -> weight, bias, running_mean, running_var
/// ```
pub(super) fn raw(stored: &Stored) -> Result<Weights, FormatError> {
    let mut weights = Weights::new();
    for (layer, array, path) in stored.all()? {
        let tensor = stored.file().tensor(&path)?;
        let array = if array.parse::<usize>().is_ok() { counted(&path, &array) } else { array };
        let is_depthwise =
            array == "depthwise_kernel" || (array == "kernel" && path.contains("depthwise_conv"));
        let part = match array.as_str() {
            "kernel" | "gamma" | "depthwise_kernel" | "alpha" => "weight",
            "pointwise_kernel" => "pointwise.weight",
            "beta" => "bias",
            "moving_mean" => "running_mean",
            "moving_variance" => "running_var",
            other => other,
        };
        weights.insert(format!("{layer}.{part}"), turned(tensor, is_depthwise));
    }
    Ok(weights)
}

/// The name of a layer's array number i, by the layer's class in the path.
fn counted(path: &str, number: &str) -> String {
    const CLASSES: [(&str, &[&str]); 6] = [
        ("batch_normalization", &["gamma", "beta", "moving_mean", "moving_variance"]),
        ("depthwise_conv2d", &["depthwise_kernel", "bias"]),
        ("separable_conv2d", &["depthwise_kernel", "pointwise_kernel", "bias"]),
        ("conv2d", &["kernel", "bias"]),
        ("dense", &["kernel", "bias"]),
        ("layer_normalization", &["gamma", "beta"]),
    ];
    let class = path.rsplit('/').nth(2).unwrap_or("");
    let names = CLASSES.iter().find(|(known, _)| class.starts_with(known)).map(|(_, names)| *names);
    let index: usize = number.parse().unwrap_or(usize::MAX);
    names.and_then(|names| names.get(index)).map_or_else(|| number.to_string(), |name| (*name).to_string())
}

fn turned(tensor: Tensor, is_depthwise: bool) -> Tensor {
    match *tensor.shape().dims() {
        [height, width, channels, times] if is_depthwise => {
            let turned = permuted(&tensor, &[2, 3, 0, 1]);
            turned.reshape([channels * times, 1, height, width]).unwrap_or(tensor)
        }
        [_, _, _, _] => permuted(&tensor, &[3, 2, 0, 1]),
        [_, _] => permuted(&tensor, &[1, 0]),
        _ => tensor,
    }
}

/// Keras Applications' ResNet (version 1, of bottlenecks) under PyTorch's names; `None` if these are not its weights.
///
/// | Keras | here |
/// |---|---|
/// | `conv1_conv`, `conv1_bn` | `conv1`, `bn1` |
/// | `conv3_block2_1_conv`, `conv3_block2_1_bn` | `layer2.1.conv1`, `layer2.1.bn1` |
/// | `conv3_block1_0_conv`, `conv3_block1_0_bn` | `layer2.0.downsample.0`, `layer2.0.downsample.1` |
/// | `predictions` or `probs` | `fc` |
///
/// Its convolutions have biases, this program's have none: each is taken from the running mean of the normalisation behind
/// it, which gives the same numbers. Its epsilon is 1.001e-5 where the zoo has 1e-5: the difference joins the variance.
///
/// Source: `keras/src/applications/resnet.py`.
pub fn resnet_weights(weights: &Weights) -> Option<Converted> {
    if !weights.contains_key("conv1_conv.weight") || !weights.contains_key("conv2_block1_0_conv.weight") {
        return None;
    }
    let mut converted = Converted { weights: Weights::new(), folded_biases: 0 };
    for (name, tensor) in weights {
        let (layer, part) = name.rsplit_once('.').unwrap_or((name, ""));
        let Some(renamed) = resnet_layer(layer) else {
            converted.weights.insert(name.clone(), tensor.clone());
            continue;
        };
        let convolution = layer.strip_suffix("_bn").map(|stem| format!("{stem}_conv"));
        let mut tensor = tensor.clone();
        match (part, convolution) {
            ("bias", None) if layer.ends_with("_conv") => continue, // in the mean behind it
            ("running_mean", Some(convolution)) => {
                if let Some(bias) = weights.get(&format!("{convolution}.bias"))
                    && bias.shape() == tensor.shape()
                {
                    tensor.data_mut().iter_mut().zip(bias.data()).for_each(|(mean, bias)| *mean -= bias);
                    converted.folded_biases += 1;
                }
            }
            ("running_var", Some(_)) => {
                tensor.data_mut().iter_mut().for_each(|variance| *variance += MORE_EPSILON)
            }
            _ => {}
        }
        converted.weights.insert(format!("{renamed}.{part}"), tensor);
    }
    Some(converted)
}

/// What a layer of Keras Applications' ResNet is called here.
fn resnet_layer(name: &str) -> Option<String> {
    match name {
        "conv1_conv" => return Some("conv1".into()),
        "conv1_bn" => return Some("bn1".into()),
        "predictions" | "probs" => return Some("fc".into()),
        _ => {}
    }
    let (stage, rest) = name.strip_prefix("conv")?.split_once("_block")?;
    let (block, rest) = rest.split_once('_')?;
    let (number, kind) = rest.split_once('_')?;
    let stage = stage.parse::<usize>().ok().filter(|stage| (2..=5).contains(stage))? - 1;
    let block = block.parse::<usize>().ok()?.checked_sub(1)?;
    let part = match (number.parse::<usize>().ok()?, kind) {
        (0, "conv") => "downsample.0".to_string(),
        (0, "bn") => "downsample.1".to_string(),
        (number @ 1..=3, "conv" | "bn") => format!("{kind}{number}"),
        _ => return None,
    };
    Some(format!("layer{stage}.{block}.{part}"))
}
