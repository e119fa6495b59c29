//! Models and weights of Keras: which network do they belong to, and how did it see pictures?
//!
//! A whole model brings its network. Weights alone belong to a model that Keras describes (`--model net.json`), or to a
//! network of the zoo, for which those of Keras Applications' ResNets are given PyTorch's names.

use std::path::Path;

use ocellus_data::{ChannelOrder, Preprocess};
use ocellus_formats::{FormatError, Kind, keras};
use ocellus_graph::Graph;
use ocellus_tensor::Weights;

use super::prepare::image_shape;
use super::{Ask, Found, LoadError};

/// Begins the names of what Keras Applications calls its first convolution.
const FIRST: &str = "conv1_conv.weight";

/// Means of ImageNet, blue first, of networks that were trained as Caffe's.
const CAFFE_MEAN: [f32; 3] = [103.939, 116.779, 123.68];

/// How Keras Applications' networks see pictures, by the beginning of their names; the longest that fits counts.
///
/// Source: `preprocess_input` of each network in `keras/src/applications/`.
const SEEN: [(&str, Sight); 13] = [
    ("resnet50", Sight::Caffe),
    ("resnet101", Sight::Caffe),
    ("resnet152", Sight::Caffe),
    ("vgg16", Sight::Caffe),
    ("vgg19", Sight::Caffe),
    ("resnet50v2", Sight::Signed),
    ("resnet101v2", Sight::Signed),
    ("resnet152v2", Sight::Signed),
    ("inception", Sight::Signed),
    ("xception", Sight::Signed),
    ("mobilenet", Sight::Signed),
    ("nasnet", Sight::Signed),
    ("densenet", Sight::Torch),
];

/// What is done to pixels from 0 to 255.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Sight {
    /// Blue first, the mean subtracted.
    Caffe,
    /// -1 to 1.
    Signed,
    /// 0 to 1, less torchvision's mean, over its deviation.
    Torch,
}

/// The network in `file`, or of the weights in it.
pub(super) fn open(file: &Path, ask: &Ask) -> Result<Found, LoadError> {
    if keras::contents(file)?.has_network {
        let weights = match &ask.weights {
            Some(path) if Kind::of(path)? == Some(Kind::Keras) => Some(path.as_path()),
            _ => None,
        };
        return described(file, weights, ask);
    }
    if let Some(net) = &ask.net
        && let path = Path::new(net)
        && path.is_file()
        && Kind::of(path)? == Some(Kind::Keras)
    {
        return described(path, Some(file), ask);
    }
    let found = keras::tensors(file)?;
    let ask = match (&ask.net, version_1(&found)) {
        (None, Some(net)) => Ask { net: Some(net.into()), ..ask.clone() },
        _ => ask.clone(),
    };
    super::from_tensors(file, Kind::Keras, &ask)
}

fn described(file: &Path, weights: Option<&Path>, ask: &Ask) -> Result<Found, LoadError> {
    let keras::Network { graph, weights, info, scales_pixels } =
        keras::read_file(file, weights, ask.image())?;
    let name = info.get("keras_model").cloned().unwrap_or_default();
    let mut found = Found { weights, info, ..Found::new(graph) };
    see(&mut found, &name, scales_pixels);
    Ok(found)
}

/// How pictures become the input, where the network or its name says so.
fn see(found: &mut Found, name: &str, scales_pixels: bool) {
    let Ok([_, channels, height, width]) = image_shape(found) else { return };
    let size = [height, width].map(|side| u32::try_from(side).unwrap_or(u32::MAX));
    let usual = Preprocess::new(channels, size);
    let preprocess = if scales_pixels {
        Preprocess { scale: 1.0, ..usual }
    } else {
        let gives =
            found.graph.outputs().iter().any(|output| found.graph.shape(output.value).get(1) == Some(&1000));
        let known = SEEN.iter().filter(|(known, _)| name.to_lowercase().starts_with(known));
        let known = known.max_by_key(|(known, _)| known.len()).filter(|_| channels == 3 && gives);
        let Some((_, sight)) = known else { return };
        found.notes.push(format!(
            "pictures are prepared as Keras Applications does for {name}; flags such as --mean change that"
        ));
        match sight {
            Sight::Caffe => as_caffe(usual),
            Sight::Signed => usual.normalised(vec![0.5; 3], vec![0.5; 3]),
            Sight::Torch => usual.normalised(vec![0.485, 0.456, 0.406], vec![0.229, 0.224, 0.225]),
        }
    };
    found.preprocess = serde_json::to_value(preprocess).ok();
}

fn as_caffe(usual: Preprocess) -> Preprocess {
    Preprocess { scale: 1.0, order: ChannelOrder::Bgr, mean: CAFFE_MEAN.to_vec(), ..usual }
}

/// The preprocessing of a network of the zoo with weights of Keras Applications.
pub(super) fn see_as_caffe(found: &mut Found) {
    let Ok([_, 3, height, width]) = image_shape(found) else { return };
    let size = [height, width].map(|side| u32::try_from(side).unwrap_or(u32::MAX));
    found.preprocess = serde_json::to_value(as_caffe(Preprocess::new(3, size))).ok();
    found.notes.push(
        "pictures are prepared as Keras Applications does for ResNets; flags such as --mean change that"
            .into(),
    );
}

/// All tensors of the file at `path` for `graph`, or for a network that is yet to be found.
///
/// Those of Keras Applications' ResNets get PyTorch's names, unless the network has Keras's own. An error if the network
/// is of version 1.5: it would take them all, and compute something else.
pub(super) fn tensors(path: &Path, graph: Option<&Graph>) -> Result<Weights, LoadError> {
    let weights = keras::tensors(path)?;
    if graph.is_some_and(|graph| graph.find_param(FIRST).is_some()) {
        return Ok(weights);
    }
    let Some(keras::Converted { weights, .. }) = keras::resnet_weights(&weights) else { return Ok(weights) };
    if let Some(graph) = graph
        && ["resnet50", "resnet101", "resnet152"].contains(&graph.name.as_str())
    {
        let what = format!(
            "its weights are those of version 1, which strides in the first 1x1 convolution of a block, and {} strides in the 3x3 one",
            graph.name
        );
        let next = format!("say {}_v1", graph.name);
        return Err(FormatError::malformed(path.display().to_string(), what, next).into());
    }
    Ok(weights)
}

/// Whether the network is one that weights of Keras Applications are made for.
pub(super) fn is_version_1(graph: &Graph) -> bool {
    graph.name.starts_with("resnet") && graph.name.ends_with("_v1")
}

/// The network of the zoo that weights of Keras Applications' ResNets belong to.
fn version_1(weights: &Weights) -> Option<&'static str> {
    let has = |layer: &str| weights.contains_key(&format!("{layer}.weight"));
    if !has("conv1_conv") || !has("conv2_block1_0_conv") {
        return None;
    }
    Some(match (has("conv3_block8_1_conv"), has("conv4_block23_1_conv")) {
        (true, _) => "resnet152_v1",
        (false, true) => "resnet101_v1",
        (false, false) => "resnet50_v1",
    })
}
