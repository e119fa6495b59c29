//! Keras: whole models and weights of Keras 2 and 3.
//!
//! ```text
//! container -> configuration -> description -> graph, each layer's numbers read as it is added
//! ```
//!
//! Keras counts axes (N, H, W, C), unless told otherwise; graphs are (N, C, H, W): see [`net`]. Source: Keras 2.15 and 3.15;
//! `docs/formats.md` lists what is read. Nothing in a file is ever executed.

mod build;
mod container;
mod describe;
mod fault;
mod layer;
mod layers;
mod names;
mod net;
mod stored;

use std::collections::BTreeMap;
use std::path::Path;

use ocellus_graph::Graph;
use ocellus_tensor::Weights;
use serde_json::Value;

use crate::FormatError;
use container::Container;
use fault::Fault;
use stored::{Stored, Trouble};

pub use names::{Converted, resnet_weights};

/// A network that was described by Keras.
#[derive(Clone, Debug)]
pub struct Network {
    /// The network: nodes and parameters are called after their layers, those of a model inside it `model.layer`; inputs
    /// and outputs after theirs. Images come in and go out as (N, C, H, W).
    pub graph: Graph,
    /// Its weights; `None` if there is only a description.
    pub weights: Option<Weights>,
    /// What else is known: `source`, `keras_version`.
    pub info: BTreeMap<String, String>,
    /// Whether the network begins with a Rescaling or Normalization, and so is fed pixels from 0 to 255.
    pub scales_pixels: bool,
}

/// What is in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Whether a network is described.
    pub has_network: bool,
    /// Whether there are weights.
    pub has_weights: bool,
}

/// Finds out what the file at `path` holds.
pub fn contents(path: impl AsRef<Path>) -> Result<Contents, FormatError> {
    let container = container::open(path.as_ref())?;
    Ok(Contents { has_network: container.config.is_some(), has_weights: container.stored.is_some() })
}

/// Reads the network at `path`, whole-model HDF5, `.keras` or the JSON of `model.to_json()`.
///
/// Its weights are its own, or those of the file `weights` (HDF5 of `save_weights`, or another whole model). `input` is
/// the shape (N, C, H, W) for networks whose input has free sizes.
///
/// Errors, one sentence each: the file is damaged; a layer is a Lambda, a class of its maker's own or of a kind that is not
/// supported, or has settings that are not; layers do not fit one another or read one another in a circle; numbers are
/// missing or of another shape; a packed file unpacks to more than weights ever do.
///
/// ```no_run
/// let network = ocellus_formats::keras::read_file("flowers.keras", None, None)?;
/// println!("{} layers", network.graph.nodes().len());
/// # Ok::<(), ocellus_formats::FormatError>(())
/// ```
pub fn read_file(
    path: impl AsRef<Path>,
    weights: Option<&Path>,
    input: Option<[usize; 4]>,
) -> Result<Network, FormatError> {
    let path = path.as_ref();
    let name = path.display().to_string();
    let Container { config, stored, version } = container::open(path)?;
    let config = config.ok_or_else(|| {
        let next = "give the network too: its .keras, .h5 or .json file with --weights FILE, or --model NET";
        FormatError::malformed(&name, "it holds weights of Keras, but no network", next)
    })?;
    let (stored, from) = match weights {
        None => (stored, name.clone()),
        Some(weights) => {
            let from = weights.display().to_string();
            let next = "give a file that model.save_weights wrote";
            let what = "it holds no weights of Keras";
            let found = container::open(weights)?.stored;
            (Some(found.ok_or_else(|| FormatError::malformed(&from, what, next))?), from)
        }
    };
    let network = read(&config, stored.as_ref(), version.as_deref(), input);
    network.map_err(|trouble| match trouble {
        Trouble::File(cause) => cause,
        Trouble::Model(fault) if weights.is_some() => fault.of(&format!("{name} with {from}")),
        Trouble::Model(fault) => fault.of(&name),
    })
}

fn read(
    config: &Value,
    stored: Option<&Stored>,
    version: Option<&str>,
    input: Option<[usize; 4]>,
) -> Result<Network, Trouble> {
    let described = describe::describe(config)?;
    let major = major_version(version, config)?;
    let build::Built { graph, weights, scales_pixels } = build::build(&described, stored, major, input)?;
    let mut info = BTreeMap::from([("source".to_string(), "keras".to_string())]);
    if let Some(version) = version {
        info.insert("keras_version".into(), version.into());
    }
    info.insert("keras_model".into(), described.name);
    Ok(Network { graph, weights, info, scales_pixels })
}

/// 2 or 3; what does not say so is told by how it is written.
fn major_version(version: Option<&str>, config: &Value) -> Result<u32, Fault> {
    let major = version.and_then(|version| version.split('.').next()?.parse().ok());
    match major {
        Some(0 | 1) => {
            let what =
                format!("it was saved by Keras {}, whose layers have other settings", version.unwrap_or("1"));
            Err(Fault::new(what, "load and save it with Keras 2 first"))
        }
        Some(major) => Ok(major),
        None => {
            let text = config.to_string();
            Ok(if text.contains("\"batch_shape\"") || text.contains("__keras_tensor__") { 3 } else { 2 })
        }
    }
}

/// All weights in the file at `path`, under `LAYER.weight`, `LAYER.bias`, `LAYER.running_mean` and so on, in this
/// program's order of axes: for networks that Keras does not describe.
///
/// Layers have their own names where the file tells them, else those of their class with a number (`conv2d_1`).
pub fn tensors(path: impl AsRef<Path>) -> Result<Weights, FormatError> {
    let path = path.as_ref();
    let Container { config, stored, .. } = container::open(path)?;
    if config.is_some()
        && let Ok(Network { weights: Some(weights), .. }) = read_file(path, None, None)
    {
        return Ok(weights);
    }
    let stored = stored.ok_or_else(|| {
        let next = "give a file that model.save or model.save_weights wrote";
        FormatError::malformed(path.display().to_string(), "it holds no weights of Keras", next)
    })?;
    names::raw(&stored)
}
