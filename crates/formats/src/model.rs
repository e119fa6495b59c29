//! Ocellus's own model: the network, its weights and what it needs to be used, in one safetensors file.
//!
//! The tensors are the network's parameters under their names, so any safetensors reader can take them out. The
//! string map beside them holds:
//!
//! ```text
//! format      "ocellus"
//! version     "1"
//! graph       the network in its text form
//! classes     JSON list of class names, by class index (absent: none)
//! preprocess  JSON: what happens to an image before it is the network's input (absent: nothing)
//! info.KEY    one entry of `Model::info`
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use ocellus_graph::{Graph, Param, Role, from_text, to_text};
use ocellus_tensor::{Parameters, Tensor, Weights};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::safetensors::{self, SafeTensors, Stored, encode_tensors};
use crate::{FormatError, write_atomically};

const DAMAGED: &str = "it is damaged: take another copy, or train again";

/// The version of the layout above that is written, and the only one that is read.
const VERSION: &str = "1";

/// The name that `format` has in the string map.
const FORMAT: &str = "ocellus";

/// Before the keys of [`Model::info`] in the string map.
const INFO: &str = "info.";

/// How many faulty tensors one error lists.
const LISTED: usize = 3;

/// A network that can be used: see the module's text for how it lies in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// The network, without losses, gradients and updates.
    pub graph: Graph,
    /// Every learned parameter and gathered statistic of the network, by name.
    pub weights: Weights,
    /// Class names by class index; empty if the outputs are no classes.
    pub classes: Vec<String>,
    /// What happens to an image before it is the network's input; nobody but its maker reads it.
    pub preprocess: Option<Value>,
    /// Anything else worth knowing, such as `zoo` (the architecture's name in the zoo).
    pub info: BTreeMap<String, String>,
}

impl Model {
    /// Writes the model to `path`, replacing what is there in one step.
    ///
    /// An error, with nothing written, if the weights are not exactly the network's ([`check_weights`]), the class
    /// names are not as many as the network's `output` has channels, or an operation is the user's own code.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), FormatError> {
        let path = path.as_ref();
        let refuse = |what: String| {
            FormatError::malformed(
                path.display().to_string(),
                what,
                "it was not written: mend the model first",
            )
        };
        self.check(&self.weights).map_err(refuse)?;
        let metadata = self.metadata().map_err(refuse)?;
        write_atomically(path, |mut out| encode_tensors(&mut out, &self.kept(), &metadata))
    }

    /// Reads the model at `path`.
    ///
    /// An error if the file is no Ocellus model of the version this program reads, is damaged, or lacks a tensor of
    /// its network or holds one of another shape; the error names the tensor and both shapes.
    ///
    /// ```no_run
    /// let model = ocellus_formats::Model::load("runs/flowers/best.safetensors")?;
    /// println!("{} tells {} classes apart", model.graph.name, model.classes.len());
    /// # Ok::<(), ocellus_formats::FormatError>(())
    /// ```
    pub fn load(path: impl AsRef<Path>) -> Result<Model, FormatError> {
        let path = path.as_ref();
        Model::from_parts(safetensors::read(path)?, &path.display().to_string())
    }

    /// Opens the model at `path` with its weights left where they are: those of the model are empty, and the other
    /// value reads them when they are needed.
    ///
    /// Errors: as [`Model::load`]; that numbers cannot be read is not known before they are.
    pub fn open(path: impl AsRef<Path>) -> Result<(Model, Stored), FormatError> {
        let path = path.as_ref();
        let mut stored = Stored::open(path)?;
        let strings = std::mem::take(&mut stored.metadata);
        let model = Model::from_strings(strings, &stored, &path.display().to_string())?;
        Ok((model, stored))
    }

    /// Reads a model already in memory; `name` is what errors call it.
    pub fn decode(bytes: &[u8], name: &str) -> Result<Model, FormatError> {
        Model::from_parts(safetensors::decode(bytes, name)?, name)
    }

    /// Whether a safetensors file with these strings claims to hold a network of this program.
    pub(crate) fn is_own(strings: &BTreeMap<String, String>) -> bool {
        strings.get("format").is_some_and(|format| format == FORMAT)
    }

    fn from_parts(file: SafeTensors, name: &str) -> Result<Model, FormatError> {
        let SafeTensors { weights, metadata } = file;
        let model = Model::from_strings(metadata, &weights, name)?;
        Ok(Model { weights, ..model })
    }

    /// The model without its weights, which are `weights`.
    fn from_strings(
        mut metadata: BTreeMap<String, String>,
        weights: &dyn Parameters,
        name: &str,
    ) -> Result<Model, FormatError> {
        check_version(&metadata, name)?;
        let malformed = |what: String| FormatError::malformed(name, what, DAMAGED);
        let text = metadata.remove("graph").ok_or_else(|| malformed("its network is missing".into()))?;
        let graph = from_text(&text)
            .map_err(|cause| malformed(format!("its network cannot be understood ({cause})")))?;
        let model = Model {
            graph,
            weights: Weights::new(),
            classes: json(&metadata, "classes").map_err(malformed)?.unwrap_or_default(),
            preprocess: json(&metadata, "preprocess").map_err(malformed)?,
            info: metadata
                .iter()
                .filter_map(|(key, value)| Some((key.strip_prefix(INFO)?.to_string(), value.clone())))
                .collect(),
        };
        model.check(weights).map_err(malformed)?;
        Ok(model)
    }

    /// The strings beside the tensors; an error if the network has an operation that is the user's own code.
    fn metadata(&self) -> Result<BTreeMap<String, String>, String> {
        let text = to_text(&self.graph).map_err(|cause| cause.to_string())?;
        let mut metadata: BTreeMap<String, String> =
            self.info.iter().map(|(key, value)| (format!("{INFO}{key}"), value.clone())).collect();
        metadata.insert("format".into(), FORMAT.into());
        metadata.insert("version".into(), VERSION.into());
        metadata.insert("graph".into(), text);
        metadata.insert("classes".into(), serde_json::json!(self.classes).to_string());
        if let Some(preprocess) = &self.preprocess {
            metadata.insert("preprocess".into(), preprocess.to_string());
        }
        Ok(metadata)
    }

    /// The tensors that are saved: all but the optimiser's own.
    fn kept(&self) -> Vec<(&str, &Tensor)> {
        let wanted = saved_params(&self.graph);
        wanted.filter_map(|p| Some((p.name.as_str(), self.weights.get(&p.name)?))).collect()
    }

    /// Whether `weights` and the class names are the network's.
    fn check(&self, weights: &dyn Parameters) -> Result<(), String> {
        check_weights(&self.graph, weights)?;
        let Some(output) = self.graph.find_output("output") else { return Ok(()) };
        let shape = self.graph.shape(output);
        match (self.classes.len(), shape.get(1)) {
            (names, Some(&channels)) if names > 0 && names != channels => {
                Err(format!("it names {names} classes, but its output {shape} has {channels}"))
            }
            _ => Ok(()),
        }
    }
}

/// Do these weights fit this network: every parameter there, of the right shape, and nothing else?
///
/// Otherwise a sentence that names up to three faulty tensors, with both shapes where they differ. The optimiser's
/// own memory ([`Role::State`]) is neither required nor refused.
///
/// ```
/// use ocellus_formats::check_weights;
/// use ocellus_graph::Graph;
/// use ocellus_tensor::{Tensor, Weights};
/// let stray = Weights::from([("fc.weight".to_string(), Tensor::zeros([10, 84]))]);
/// let refusal = check_weights(&Graph::new("empty"), &stray).unwrap_err();
/// assert!(refusal.contains("fc.weight"));
/// ```
pub fn check_weights(graph: &Graph, weights: &dyn Parameters) -> Result<(), String> {
    let wanted: BTreeMap<&str, &Param> = graph.params().iter().map(|p| (p.name.as_str(), p)).collect();
    let missing = saved_params(graph).filter_map(|p| match weights.shape(&p.name) {
        None => Some(format!("tensor {} {} is missing", p.name, p.shape)),
        Some(shape) if *shape != p.shape => {
            Some(format!("tensor {} is {shape}, the network needs {}", p.name, p.shape))
        }
        Some(_) => None,
    });
    let names = weights.names().into_iter().filter(|name| !wanted.contains_key(name));
    let strays = names.filter_map(|name| {
        Some(format!("tensor {name} {} belongs to no node of the network", weights.shape(name)?))
    });
    let faults: Vec<String> = missing.chain(strays).collect();
    match faults.len() {
        0 => Ok(()),
        count if count > LISTED => {
            Err(format!("{} (and {} more)", faults[..LISTED].join(", "), count - LISTED))
        }
        _ => Err(faults.join(", ")),
    }
}

fn saved_params(graph: &Graph) -> impl Iterator<Item = &Param> {
    graph.params().iter().filter(|p| p.role != Role::State)
}

fn check_version(metadata: &BTreeMap<String, String>, name: &str) -> Result<(), FormatError> {
    if !Model::is_own(metadata) {
        let next = "say which network they belong to, or give a model that ocellus saved";
        return Err(FormatError::malformed(name, "it holds tensors, but no network of Ocellus", next));
    }
    match metadata.get("version").map(String::as_str) {
        Some(VERSION) => Ok(()),
        other => {
            let version = other.unwrap_or("unknown");
            let what = format!("it is a model of version {version}, this program reads version {VERSION}");
            Err(FormatError::malformed(name, what, "read it with the ocellus that wrote it, or a newer one"))
        }
    }
}

/// The JSON value under `key`, if there is one.
fn json<T: DeserializeOwned>(metadata: &BTreeMap<String, String>, key: &str) -> Result<Option<T>, String> {
    let parse = |text: &String| {
        serde_json::from_str(text).map_err(|cause| format!("its {key} cannot be understood ({cause})"))
    };
    metadata.get(key).map(parse).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocellus_graph::{BatchNormSpec, Builder, Conv, Dense};

    fn graph() -> Graph {
        let mut b = Builder::new("tiny");
        let x = b.input("input", [1, 1, 4, 4]);
        let x = b.conv2d("conv", x, Conv::new(2, 3).padding(1).no_bias());
        let x = b.batch_norm("bn", x, BatchNormSpec::default());
        let x = b.relu("relu", x);
        let x = b.flatten("flatten", x);
        let x = b.linear("fc", x, Dense::new(3));
        b.output("output", x);
        b.finish().unwrap()
    }

    fn model() -> Model {
        let graph = graph();
        let filled = |p: &Param| Tensor::from_fn(p.shape.clone(), |i| i as f32 - 0.5);
        let weights = graph.params().iter().map(|p| (p.name.clone(), filled(p))).collect();
        Model {
            graph,
            weights,
            classes: ["cat", "dog", "\"quoted\" é\n"].map(String::from).to_vec(),
            preprocess: Some(serde_json::json!({"mean": [0.5], "size": [4, 4]})),
            info: BTreeMap::from([
                ("zoo".into(), "tiny".into()),
                ("version".into(), "not the format's".into()),
            ]),
        }
    }

    /// The bytes of a model's file, its strings changed by `change`.
    fn bytes_with(model: &Model, change: impl FnOnce(&mut BTreeMap<String, String>)) -> Vec<u8> {
        let mut metadata = model.metadata().unwrap();
        change(&mut metadata);
        let mut bytes = Vec::new();
        safetensors::encode(&mut bytes, &model.weights, &metadata).unwrap();
        bytes
    }

    #[test]
    fn what_is_saved_is_loaded_and_the_same_model_gives_the_same_file() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("1.safetensors"), folder.path().join("2.safetensors"));
        model().save(&one).unwrap();
        let back = Model::load(&one).unwrap();
        assert_eq!(back, model());
        back.save(&two).unwrap();
        assert_eq!(std::fs::read(one).unwrap(), std::fs::read(two).unwrap());
    }

    #[test]
    fn a_model_without_classes_or_preprocessing() {
        let bare = Model { classes: Vec::new(), preprocess: None, info: BTreeMap::new(), ..model() };
        assert_eq!(Model::decode(&bytes_with(&bare, |_| ()), "m").unwrap(), bare);
    }

    #[test]
    fn weights_that_do_not_fit_are_named_with_both_shapes_and_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.safetensors");
        let mut wrong = model();
        wrong.weights.insert("fc.weight".into(), Tensor::zeros([3, 16]));
        let sentence = wrong.save(&path).unwrap_err().to_string();
        for part in ["m.safetensors", "fc.weight", "(3, 16)", "(3, 32)", "not written"] {
            assert!(sentence.contains(part), "{part}: {sentence}");
        }
        assert!(!path.exists());
        wrong.weights.remove("fc.weight");
        let sentence = Model::decode(&bytes_with(&wrong, |_| ()), "m").unwrap_err().to_string();
        assert!(sentence.contains("fc.weight (3, 32) is missing"), "{sentence}");
        let nothing = check_weights(&graph(), &Weights::new()).unwrap_err();
        assert!(nothing.contains("and 4 more"), "{nothing}");
    }

    #[test]
    fn class_names_must_be_as_many_as_outputs() {
        let wrong = Model { classes: vec!["cat".into()], ..model() };
        let sentence = wrong.save("never.safetensors").unwrap_err().to_string();
        assert!(sentence.contains("1 classes") && sentence.contains("has 3"), "{sentence}");
    }

    #[test]
    fn other_files_and_versions_are_told_apart() {
        let model = model();
        let sentence = |change: fn(&mut BTreeMap<String, String>)| {
            Model::decode(&bytes_with(&model, change), "m.safetensors").unwrap_err().to_string()
        };
        assert!(sentence(|strings| strings.clear()).contains("no network"));
        let newer = sentence(|strings| drop(strings.insert("version".into(), "7".into())));
        assert!(newer.contains("version 7") && newer.contains("reads version 1"), "{newer}");
        assert!(sentence(|strings| drop(strings.remove("graph"))).contains("network is missing"));
        let garbled = sentence(|strings| drop(strings.insert("graph".into(), "nonsense".into())));
        assert!(garbled.contains("cannot be understood"), "{garbled}");
        let classes = sentence(|strings| drop(strings.insert("classes".into(), "[1".into())));
        assert!(classes.contains("classes cannot be understood"), "{classes}");
    }
}
