//! A network becomes an ONNX file.
//!
//! The inference form is written, with operators of operator set 17 (19 for dilated means), weights as initialisers under
//! their own names, and the batch left free where nothing in the network depends on it: the network is written for two batch
//! sizes, and if that makes no difference the batch is called `N`.

mod attribute;
mod encode;
mod file;
mod graph;
mod layers;
mod pixels;
mod places;
mod shapes;

use ocellus_graph::Graph;
use ocellus_tensor::Shape;

pub use pixels::Pixels;

use super::metadata;
use crate::{FormatError, Model};
use graph::Writer;

/// The operator set that is written, unless something needs a newer one.
const OPSET: i64 = 17;

/// The operator set that lets AveragePool be dilated.
const DILATED_MEANS: i64 = 19;

/// The version of the file format that goes with an operator set.
fn ir_version(opset: i64) -> i64 {
    if opset < DILATED_MEANS { 8 } else { 9 }
}

/// What errors call the result.
const RESULT: &str = "the ONNX model";

/// How a network is written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WriteOptions {
    /// Keep the batch of the model, even where any would do.
    pub fixed_batch: bool,
    /// What the network itself shall do to the pixels it is given; nothing unless told otherwise. The model's
    /// preprocessing, which is kept beside it, then has to say what is left to be done before.
    pub pixels: Option<Pixels>,
}

/// The model as the bytes of an ONNX file: see [`write_with`].
///
/// ```
/// use ocellus_formats::{Model, onnx};
/// use ocellus_graph::{Builder, Dense, initialise};
/// let mut b = Builder::new("net");
/// let x = b.input("input", [1, 4]);
/// let y = b.linear("fc", x, Dense::new(2));
/// b.output("output", y);
/// let graph = b.finish()?;
/// let weights = initialise(&graph, 1);
/// let model = Model { graph, weights, classes: vec![], preprocess: None, info: Default::default() };
/// let bytes = onnx::write(&model)?;
/// let again = onnx::read(&bytes, None, &onnx::ReadOptions::default())?;
/// assert_eq!(again.weights, model.weights);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn write(model: &Model) -> Result<Vec<u8>, FormatError> {
    write_with(model, &WriteOptions::default())
}

/// The model as the bytes of an ONNX file, in its inference form.
///
/// An error if the weights are not the network's, if an operation has no form in ONNX (losses, gradients and updates,
/// the user's own code), or if the file would be larger than the 2 GiB that a Protocol Buffers message may have.
pub fn write_with(model: &Model, options: &WriteOptions) -> Result<Vec<u8>, FormatError> {
    let refuse =
        |what: String| FormatError::malformed(RESULT, what, "it was not written: mend the model first");
    let graph = model.graph.for_inference().map_err(|cause| refuse(cause.to_string()))?;
    let written = Writer::new(&graph, options.pixels.as_ref()).and_then(Writer::finish).map_err(refuse)?;
    let batch = if options.fixed_batch { None } else { free_batch(&graph, options, &written) };
    let entries = metadata::entries(model);
    file::assemble(&written, &graph, &file::About { batch, entries: &entries }, &model.weights)
        .map_err(refuse)
}

/// The batch of the network, if it may be any.
fn free_batch(graph: &Graph, options: &WriteOptions, written: &graph::Written) -> Option<usize> {
    let batch = graph.inputs().iter().find_map(|&input| graph.shape(input).first().copied())?;
    let other = graph.with_batch(batch + 1).ok()?;
    let again = Writer::new(&other, options.pixels.as_ref()).and_then(Writer::finish).ok()?;
    let follows = |shapes: fn(&Graph) -> Vec<Shape>| {
        let pairs = shapes(graph).into_iter().zip(shapes(&other));
        pairs.into_iter().all(|(a, b)| a == b || (a.rank() > 0 && a.with(0, batch + 1) == b))
    };
    let inputs = |graph: &Graph| graph.inputs().iter().map(|&v| graph.shape(v).clone()).collect();
    let outputs = |graph: &Graph| graph.outputs().iter().map(|o| graph.shape(o.value).clone()).collect();
    (written.nodes == again.nodes
        && written.constants == again.constants
        && follows(inputs)
        && follows(outputs))
    .then_some(batch)
}
