//! Where do a layer's numbers lie in a file?
//!
//! ```text
//! Keras 1 and 2   [/model_weights]/LAYER, whose attribute weight_names lists the arrays: LAYER/kernel:0, LAYER/bias:0
//!                 a layer that is a model keeps the arrays of all its layers in one group
//! Keras 3         [/layers]/CLASS_1/vars/0, vars/1, ...: layers are counted by class, arrays by when they were made
//!                 a layer that is a model has layers/ of its own; 2.12 calls them _layer_checkpoint_dependencies
//! ```
//!
//! Source: `keras/src/legacy/saving/legacy_h5_format.py` and `keras/src/saving/saving_lib.py` of Keras 3.

use std::cell::RefCell;
use std::collections::HashMap;

use ocellus_tensor::Tensor;

use super::fault::Fault;
use crate::FormatError;
use crate::hdf5::Hdf5;

/// Parts that a list of names may be split into.
const MOST_PARTS: usize = 10_000;

/// A file with a model's numbers.
pub(in crate::keras) struct Stored {
    file: Hdf5,
    layout: Layout,
    /// The arrays of each group that was looked at (Keras 2).
    listed: RefCell<HashMap<String, Vec<String>>>,
}

enum Layout {
    /// By names of layers, inside this group.
    Named(String),
    /// By class and count; what the group of a model's layers is called.
    Counted(&'static str),
}

/// Which layer is meant.
#[derive(Clone, Debug, Default)]
pub(in crate::keras) struct Place {
    /// The outermost model's layer that it is, or is inside of.
    pub group: String,
    /// Its own name.
    pub name: String,
    /// Whether it lies in a model that is itself a layer.
    pub is_inner: bool,
    /// Its counted name behind those of the models around it.
    pub path: Vec<String>,
}

/// A problem with the file, or with what is in it.
pub(in crate::keras) enum Trouble {
    File(FormatError),
    Model(Fault),
}

impl From<FormatError> for Trouble {
    fn from(cause: FormatError) -> Self {
        Trouble::File(cause)
    }
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        Trouble::Model(fault)
    }
}

impl Stored {
    /// The numbers in `file`; `None` if it has none of Keras's.
    pub fn of(file: Hdf5) -> Option<Stored> {
        let layout = if file.has_group("/model_weights") {
            Layout::Named("/model_weights".into())
        } else if file.has_group("/_layer_checkpoint_dependencies") {
            Layout::Counted("_layer_checkpoint_dependencies")
        } else if file.has_group("/layers") {
            Layout::Counted("layers")
        } else if names(&file, "/", "layer_names").is_ok_and(|names| names.is_some()) {
            Layout::Named(String::new())
        } else {
            return None;
        };
        Some(Stored { file, layout, listed: RefCell::default() })
    }

    /// The file.
    pub fn file(&self) -> &Hdf5 {
        &self.file
    }

    /// Paths of a layer's arrays that are called `wanted`, in the order in which Keras makes them.
    pub fn find(&self, place: &Place, wanted: &[&str]) -> Result<Vec<String>, Trouble> {
        let found = match &self.layout {
            Layout::Named(root) => self.named(root, place, wanted)?,
            Layout::Counted(layers) => self.counted(layers, place)?,
        };
        let layer = &place.name;
        if found.len() < wanted.len() {
            let (has, needs) = (found.len(), wanted.len());
            let what = format!(
                "the layer {layer:?} needs {needs} arrays ({}), the file has {has}",
                wanted.join(", ")
            );
            return Err(Fault::new(what, "give the weights of this very model").into());
        }
        Ok(found)
    }

    /// The array at `path`.
    pub fn tensor(&self, path: &str) -> Result<Tensor, Trouble> {
        Ok(self.file.tensor(path)?)
    }

    /// Sizes of the array at `path`.
    pub fn shape(&self, path: &str) -> Result<Vec<usize>, Trouble> {
        Ok(self.file.shape(path)?)
    }

    fn counted(&self, layers: &str, place: &Place) -> Result<Vec<String>, Trouble> {
        let path: String = place.path.iter().map(|name| format!("/{layers}/{name}")).collect();
        let vars = format!("{path}/vars");
        if !self.file.has_group(&vars) {
            return Ok(Vec::new());
        }
        let count = self.file.arrays(&vars)?.len();
        Ok((0..count).map(|i| format!("{vars}/{i}")).collect())
    }

    fn named(&self, root: &str, place: &Place, wanted: &[&str]) -> Result<Vec<String>, Trouble> {
        let group = format!("{root}/{}", place.group);
        let own = self.own(&group, place)?;
        let by_name = |wanted: &&str| own.iter().find(|name| variable(name) == *wanted);
        let found: Option<Vec<_>> = wanted.iter().map(by_name).collect();
        let found = match found {
            Some(found) => found.into_iter().cloned().collect(),
            // Names of another making: the order tells.
            None if own.len() == wanted.len() => own,
            None => Vec::new(),
        };
        Ok(found.into_iter().map(|name| format!("{group}/{name}")).collect())
    }

    /// Of a model's arrays those in the folder of its layer; a layer's own are all its own.
    fn own(&self, group: &str, place: &Place) -> Result<Vec<String>, Trouble> {
        let mut all = self.listed(group)?;
        if place.is_inner {
            all.retain(|name| folders(name).any(|folder| folder == place.name));
        }
        Ok(all)
    }

    /// How many arrays the layer has.
    pub fn count(&self, place: &Place) -> Result<usize, Trouble> {
        match &self.layout {
            Layout::Named(root) => Ok(self.own(&format!("{root}/{}", place.group), place)?.len()),
            Layout::Counted(layers) => Ok(self.counted(layers, place)?.len()),
        }
    }

    fn listed(&self, group: &str) -> Result<Vec<String>, Trouble> {
        if let Some(known) = self.listed.borrow().get(group) {
            return Ok(known.clone());
        }
        let found = match self.file.has_group(group) {
            true => names(&self.file, group, "weight_names")?.unwrap_or_default(),
            false => Vec::new(),
        };
        self.listed.borrow_mut().insert(group.to_string(), found.clone());
        Ok(found)
    }

    /// Every array of the file, under the name of its layer and what the array is called there: `conv1`, `kernel`. Arrays
    /// of Keras 3 are called by their number; its layers by their own name where the file has it.
    pub fn all(&self) -> Result<Vec<(String, String, String)>, FormatError> {
        match &self.layout {
            Layout::Named(root) => {
                let group = if root.is_empty() { "/" } else { root };
                let mut all = Vec::new();
                for layer in names(&self.file, group, "layer_names")?.unwrap_or_default() {
                    let group = format!("{root}/{layer}");
                    for name in names(&self.file, &group, "weight_names")?.unwrap_or_default() {
                        let owner = folders(&name).last().filter(|_| folders(&name).count() > 0);
                        let owner = owner.map_or(layer.clone(), |folder| owner_of(folder, &layer));
                        all.push((owner, variable(&name).to_string(), format!("{group}/{name}")));
                    }
                }
                Ok(all)
            }
            Layout::Counted(layers) => {
                let mut all = Vec::new();
                self.walk(layers, "", 0, &mut all)?;
                Ok(all)
            }
        }
    }

    fn walk(
        &self,
        layers: &str,
        path: &str,
        depth: usize,
        all: &mut Vec<(String, String, String)>,
    ) -> Result<(), FormatError> {
        let group = format!("{path}/{layers}");
        if depth > 16 || !self.file.has_group(&group) {
            return Ok(());
        }
        for layer in self.file.groups(&group)? {
            let path = format!("{group}/{layer}");
            let vars = format!("{path}/vars");
            if self.file.has_group(&vars) {
                let name = self.file.text(&vars, "name").ok().flatten().unwrap_or_else(|| layer.clone());
                for array in self.file.arrays(&vars)? {
                    all.push((name.clone(), array.clone(), format!("{vars}/{array}")));
                }
            }
            self.walk(layers, &path, depth + 1, all)?;
        }
        Ok(())
    }
}

/// TensorFlow puts numbers behind names it has had before (`conv_1/kernel`), which are not the layer's.
fn owner_of(folder: &str, layer: &str) -> String {
    let same = folder.strip_prefix(layer).is_some_and(|rest| rest.starts_with('_'));
    if same { layer.to_string() } else { folder.to_string() }
}

/// `kernel` of `block/conv/kernel:0`.
fn variable(name: &str) -> &str {
    let last = name.rsplit('/').next().unwrap_or(name);
    last.split(':').next().unwrap_or(last)
}

/// `block` and `conv` of `block/conv/kernel:0`.
fn folders(name: &str) -> impl Iterator<Item = &str> {
    let count = name.split('/').count();
    name.split('/').take(count.saturating_sub(1))
}

/// A list of names, which large models split into parts: `weight_names0`, `weight_names1`, ...
fn names(file: &Hdf5, group: &str, attribute: &str) -> Result<Option<Vec<String>>, FormatError> {
    if let Some(whole) = file.texts(group, attribute)? {
        return Ok(Some(whole));
    }
    let mut all = None::<Vec<String>>;
    for part in 0..MOST_PARTS {
        match file.texts(group, &format!("{attribute}{part}"))? {
            Some(more) => all.get_or_insert_default().extend(more),
            None => break,
        }
    }
    Ok(all)
}
