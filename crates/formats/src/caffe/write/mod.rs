//! Networks as Caffe's: a description (`.prototxt`) and its weights (`.caffemodel`).
//!
//! ```text
//! graph -> layers in Caffe's words (layers.rs) -> text (text.rs), and with the weights -> bytes (binary.rs)
//! ```
//!
//! Every node becomes a layer or a few, blobs have the nodes' names, and outputs are the blobs that no layer reads.

mod binary;
mod blobs;
mod layers;
pub(super) mod out;
mod shapes;
mod stored;
mod text;

use std::path::Path;

use ocellus_graph::Graph;
use ocellus_tensor::Weights;

use super::SolverState;
use crate::{FormatError, check_weights, write_atomically};
use out::Layers;

/// Caffe's description of a network in its inference form.
///
/// Refused, by the node and its operation: what no layer of Caffe computes (padding on one side, GELU, GroupNorm, ...).
///
/// ```
/// use ocellus_formats::caffe;
/// use ocellus_graph::{Builder, Conv};
/// let mut b = Builder::new("net");
/// let x = b.input("data", [1, 3, 8, 8]);
/// let x = b.conv2d("conv1", x, Conv::new(4, 3));
/// b.output("conv1", x);
/// let graph = b.finish()?;
/// let text = caffe::to_prototxt(&graph)?;
/// assert!(text.contains("type: \"Convolution\""));
/// assert_eq!(caffe::parse_net(&text, "net.prototxt", &Default::default())?.params(), graph.params());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn to_prototxt(graph: &Graph) -> Result<String, FormatError> {
    Ok(text::of(&described(graph)?, &graph.name))
}

/// Writes a network's description to `prototxt` and its weights to `caffemodel`, each replaced in one step; the weights as
/// HDF5 if their name ends in `.h5`.
///
/// Errors: as [`to_prototxt`]; weights that are not exactly the network's; a file that cannot be written.
pub fn write(
    prototxt: impl AsRef<Path>,
    caffemodel: impl AsRef<Path>,
    graph: &Graph,
    weights: &Weights,
) -> Result<(), FormatError> {
    let layers = described(graph)?;
    check_weights(graph, weights).map_err(|what| {
        FormatError::malformed(graph.name.clone(), what, "it was not written: mend the model first")
    })?;
    let text = text::of(&layers, &graph.name);
    write_layers(caffemodel.as_ref(), &layers, &graph.name, weights)?;
    write_atomically(prototxt, |out| out.write_all(text.as_bytes()))
}

/// Writes the weights of a network alone to `caffemodel`, by layer name; as HDF5 if its name ends in `.h5`.
///
/// Errors: as [`write`]; `weights` may hold more than the network needs.
pub fn write_weights(
    caffemodel: impl AsRef<Path>,
    graph: &Graph,
    weights: &Weights,
) -> Result<(), FormatError> {
    write_layers(caffemodel.as_ref(), &described(graph)?, &graph.name, weights)
}

/// Writes the weights of a network that a description of Caffe gave, as its own layers store them; as HDF5 if the name
/// ends in `.h5`.
///
/// Errors: `weights` that lack one of the network's; a file that cannot be written.
pub fn write_described(
    caffemodel: impl AsRef<Path>,
    layers: &StoredLayers,
    weights: &Weights,
) -> Result<(), FormatError> {
    write_layers(caffemodel.as_ref(), &layers.layers, &layers.name, weights)
}

/// The layers of a description and the blobs that they store.
#[derive(Clone, Debug)]
pub struct StoredLayers {
    pub(super) name: String,
    pub(super) layers: Layers,
}

fn write_layers(to: &Path, layers: &Layers, name: &str, weights: &Weights) -> Result<(), FormatError> {
    write_atomically(to, |mut out| match is_hdf5(to) {
        true => stored::network(&mut out, layers, weights),
        false => binary::network(&mut out, layers, name, weights),
    })
}

/// Writes a solver's state to `path`, in the binary form, or as HDF5 if its name ends in `.h5`.
pub fn write_solver_state(path: impl AsRef<Path>, state: &SolverState) -> Result<(), FormatError> {
    if is_hdf5(path.as_ref()) {
        return write_atomically(path, |mut out| stored::solver_state(&mut out, state));
    }
    write_atomically(path, |mut out| binary::solver_state(&mut out, state))
}

fn is_hdf5(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("h5"))
}

fn described(graph: &Graph) -> Result<Layers, FormatError> {
    layers::of(graph).map_err(|(node, what)| {
        let next = "no layer of Caffe does this: cut the network before it, or write another format";
        FormatError::malformed(graph.name.clone(), format!("{node}: {what}"), next)
    })
}
