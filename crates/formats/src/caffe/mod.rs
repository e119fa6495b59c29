//! Caffe: network descriptions (`.prototxt`) of every generation, their weights (`.caffemodel`), mean images
//! (`.binaryproto`), solvers (`.prototxt`) and solvers' states (`.solverstate`); networks and weights are also written.
//!
//! Source: the message and field names of BVLC Caffe's `caffe.proto`, and protobuf's text and binary formats. Nothing
//! that a file names (databases, networks of solvers, Python layers) is opened or run.

mod blob;
mod datum;
mod feed;
mod layer;
mod layers;
mod message;
mod net;
mod options;
mod rules;
mod solver;
mod stored;
mod text;
mod upgrade;
mod weights;
mod write;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use ocellus_graph::Graph;
use ocellus_tensor::{Tensor, Weights};

pub use datum::{Datum, Pixels};
pub use feed::{DataLayer, DataSource, Transform, data_layers};
pub use options::{NetOptions, Phase};
pub use solver::{LrPolicy, Method, NetSource, NetState, Regularization, SnapshotFormat, Solver};
pub use weights::SolverState;
pub use write::{StoredLayers, to_prototxt, write, write_described, write_solver_state, write_weights};

use crate::FormatError;
use crate::hdf5::{Hdf5, MAGIC};
use crate::wire::{self, Wire};
use crate::wire_out;
use weights::Trouble;

const DAMAGED: &str = "it is damaged or of another kind: take another copy";

/// Reads the network described at `path`, as it is in the phase and for the sizes of `options`.
///
/// Nodes have the layers' names and parameters are called `LAYER.weight`, `LAYER.bias` (`LAYER.running_mean` and
/// `LAYER.running_var` of a BatchNorm); a parameter that layers share by `param { name }` has the first one's name.
/// Blobs that no layer reads are outputs under their names, losses are losses. A learning rate of 0 freezes. A Scale
/// right behind a BatchNorm becomes its gamma and beta. InnerProduct flattens by a node `LAYER.flatten`.
///
/// An error names the line, the layer and its type, what is wrong, and what to do: text that is no description,
/// unknown fields, layers that are not supported, sizes that do not fit.
///
/// ```no_run
/// use ocellus_formats::caffe::{self, NetOptions, Phase};
/// let options = NetOptions::phase(Phase::Train).item("data", [1, 28, 28]);
/// let graph = caffe::read_net("lenet_train_test.prototxt", &options)?;
/// # Ok::<(), ocellus_formats::FormatError>(())
/// ```
pub fn read_net(path: impl AsRef<Path>, options: &NetOptions) -> Result<Graph, FormatError> {
    Ok(read_net_and_blobs(path, options)?.0)
}

/// A network for training, with what belongs to it.
#[derive(Clone, Debug)]
pub struct Described {
    /// The network, as [`read_net`] gives it.
    pub graph: Graph,
    /// Parameters whose numbers lie in files of their own, with the files' names: the matrix of an InfogainLoss that
    /// names a `source`, a blob as [`read_mean`] reads it.
    pub beside: Vec<(String, String)>,
    /// For each layer that is a loss, by name, the values that it judges, without labels.
    pub judged: Vec<(String, Vec<String>)>,
    /// What its layers store, for [`write_described`].
    pub layers: StoredLayers,
}

/// The network that `text` describes, with what belongs to it; `file` is what errors call it.
pub fn describe(text: &str, file: &str, options: &NetOptions) -> Result<Described, FormatError> {
    let built = text::parse(text).and_then(|message| net::build(&message, options));
    let built = built.map_err(|fault| fault.of(file))?;
    let layers = StoredLayers { name: built.graph.name.clone(), layers: built.layers };
    Ok(Described { graph: built.graph, beside: built.beside, judged: built.judged, layers })
}

/// Reads the network as [`read_net`] does, and says which value each of Caffe's blobs holds in the end, where that is
/// not the value of its name: behind `conv1` with a ReLU in place, the blob `conv1` holds the ReLU's value.
pub fn read_net_and_blobs(
    path: impl AsRef<Path>,
    options: &NetOptions,
) -> Result<(Graph, BTreeMap<String, String>), FormatError> {
    let (text, file) = read_text(path.as_ref())?;
    let built = text::parse(&text).and_then(|message| net::build(&message, options));
    built.map(|built| (built.graph, built.blobs)).map_err(|fault| fault.of(&file))
}

/// The network that `text` describes; `file` is what errors call it.
///
/// ```
/// use ocellus_formats::caffe::{NetOptions, parse_net};
/// let text = "input: 'x' input_shape { dim: [1, 8] } layer { name: 'y' type: 'ReLU' bottom: 'x' top: 'y' }";
/// let graph = parse_net(text, "net.prototxt", &NetOptions::default())?;
/// assert!(graph.find_output("y").is_some());
/// # Ok::<(), ocellus_formats::FormatError>(())
/// ```
pub fn parse_net(text: &str, file: &str, options: &NetOptions) -> Result<Graph, FormatError> {
    let built = text::parse(text).and_then(|message| net::build(&message, options));
    built.map(|built| built.graph).map_err(|fault| fault.of(file))
}

/// Reads the solver described at `path`.
pub fn read_solver(path: impl AsRef<Path>) -> Result<Solver, FormatError> {
    let (text, file) = read_text(path.as_ref())?;
    parse_solver(&text, &file)
}

/// The solver that `text` describes; `file` is what errors call it.
pub fn parse_solver(text: &str, file: &str) -> Result<Solver, FormatError> {
    text::parse(text).and_then(|message| solver::read(&message)).map_err(|fault| fault.of(file))
}

/// Reads the parameters of `graph` from the caffemodel at `path`, binary or HDF5, by layer name.
///
/// Layers that the graph does not have are passed over, and parameters that the file does not have are not there:
/// [`crate::match_report`] tells. A BatchNorm's sums are divided by its factor.
///
/// An error if the file is damaged, or holds a parameter in another shape or a layer with another number of blobs.
pub fn read_weights(path: impl AsRef<Path>, graph: &Graph) -> Result<Weights, FormatError> {
    let path = path.as_ref();
    if is_hdf5(path)? {
        return stored::network(&Hdf5::open(path)?, graph);
    }
    read_binary(path, |wire, end| weights::network(wire, end, graph))
}

/// Reads the parameters of `graph` from a caffemodel already in memory; `file` is what errors call it.
pub fn decode_weights(bytes: &[u8], file: &str, graph: &Graph) -> Result<Weights, FormatError> {
    if bytes.starts_with(MAGIC) {
        return stored::network(&Hdf5::decode(bytes, file)?, graph);
    }
    decode_binary(bytes, file, |wire, end| weights::network(wire, end, graph))
}

/// Whether the HDF5 file at `path` holds weights as Caffe keeps them.
pub fn is_stored_network(path: impl AsRef<Path>) -> Result<bool, FormatError> {
    Ok(Hdf5::open(path)?.has_group(stored::NETWORK))
}

/// Reads a mean image, or any other blob that stands alone: a `.binaryproto`. Its shape is usually (1, C, H, W).
pub fn read_mean(path: impl AsRef<Path>) -> Result<Tensor, FormatError> {
    read_binary(path.as_ref(), blob::read)
}

/// Reads a blob already in memory; `file` is what errors call it.
pub fn decode_mean(bytes: &[u8], file: &str) -> Result<Tensor, FormatError> {
    decode_binary(bytes, file, blob::read)
}

/// Reads a solverstate, binary or HDF5: the iteration and the solver's memory.
pub fn read_solver_state(path: impl AsRef<Path>) -> Result<SolverState, FormatError> {
    let path = path.as_ref();
    if is_hdf5(path)? {
        return stored::solver_state(&Hdf5::open(path)?);
    }
    read_binary(path, weights::solver_state)
}

/// Reads a solverstate already in memory; `file` is what errors call it.
pub fn decode_solver_state(bytes: &[u8], file: &str) -> Result<SolverState, FormatError> {
    if bytes.starts_with(MAGIC) {
        return stored::solver_state(&Hdf5::decode(bytes, file)?);
    }
    decode_binary(bytes, file, weights::solver_state)
}

/// The text of the description at `path`.
pub fn read_description(path: impl AsRef<Path>) -> Result<String, FormatError> {
    Ok(read_text(path.as_ref())?.0)
}

/// A description's text and what errors call its file.
fn read_text(path: &Path) -> Result<(String, String), FormatError> {
    let file = path.display().to_string();
    let source = File::open(path).map_err(|cause| FormatError::read(path, cause))?;
    let mut text = String::new();
    // One byte more than is allowed, so that the parser sees that it is too much.
    source.take(text::LARGEST_TEXT as u64 + 1).read_to_string(&mut text).map_err(|cause| {
        match cause.kind() {
            std::io::ErrorKind::InvalidData => {
                FormatError::malformed(&file, "it is no text", "give the .prototxt, not the weights")
            }
            _ => FormatError::read(path, cause),
        }
    })?;
    Ok((text, file))
}

fn read_binary<T, E: Into<Trouble>>(
    path: &Path,
    decode: impl FnOnce(&mut Wire, u64) -> Result<T, E>,
) -> Result<T, FormatError> {
    let file = path.display().to_string();
    let source = File::open(path).map_err(|cause| FormatError::read(path, cause))?;
    let length = source.metadata().map_err(|cause| FormatError::read(path, cause))?.len();
    let mut source = BufReader::with_capacity(1 << 16, source);
    refuse_hdf5(source.fill_buf().map_err(|cause| FormatError::read(path, cause))?, &file)?;
    decode(&mut Wire::new(&mut source), length).map_err(|trouble| trouble.into().of(&file))
}

fn decode_binary<T, E: Into<Trouble>>(
    bytes: &[u8],
    file: &str,
    decode: impl FnOnce(&mut Wire, u64) -> Result<T, E>,
) -> Result<T, FormatError> {
    refuse_hdf5(bytes, file)?;
    let mut source = bytes;
    decode(&mut Wire::new(&mut source), bytes.len() as u64).map_err(|trouble| trouble.into().of(file))
}

fn is_hdf5(path: &Path) -> Result<bool, FormatError> {
    let mut start = Vec::new();
    let source = File::open(path).map_err(|cause| FormatError::read(path, cause))?;
    source
        .take(MAGIC.len() as u64)
        .read_to_end(&mut start)
        .map_err(|cause| FormatError::read(path, cause))?;
    Ok(start == MAGIC)
}

fn refuse_hdf5(start: &[u8], file: &str) -> Result<(), FormatError> {
    if start.starts_with(MAGIC) {
        let next = "give a file in Caffe's binary form";
        return Err(FormatError::malformed(file, "it is an HDF5 file, as which only weights are kept", next));
    }
    Ok(())
}
