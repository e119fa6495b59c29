//! ONNX: networks in and out.
//!
//! Source: `onnx.proto` and the operator changelog of onnx/onnx. `docs/onnx.md` lists what is read and written.

mod budget;
mod call;
mod dims;
mod external;
mod fault;
mod fold;
mod inline;
mod literal;
mod metadata;
mod net;
mod ops;
mod options;
mod order;
mod places;
mod proto;
mod read;
mod write;

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use ocellus_tensor::Tensor;

pub use options::ReadOptions;
pub use write::{Pixels, WriteOptions, write, write_with};

use crate::wire::Wire;
use crate::{FormatError, Model};
use budget::Budget;

const DAMAGED: &str = "it is damaged or of another kind: take another copy";

/// What errors call a model that has no file.
const NAMELESS: &str = "the ONNX model";

/// Reads the model in `bytes`; `folder` is where files that hold its larger tensors lie.
///
/// The graph has the model's own names: nodes their names (or their first output's), parameters their initialisers',
/// inputs and outputs theirs. One node becomes one operation or a few, called `NODE.PART`. Whatever depends on shapes
/// and weights alone is computed now; what no output needs is left out.
///
/// An error names the node, its operator and what is wrong: operators that are not supported, shapes that do not fit,
/// circles, tensors that nothing makes, sizes that are free and not given, damaged bytes. Memory stays within that of
/// the weights (four bytes each) and 64 MiB.
///
/// ```no_run
/// use ocellus_formats::onnx::{self, ReadOptions};
/// let bytes = std::fs::read("resnet.onnx")?;
/// let model = onnx::read(&bytes, None, &ReadOptions::default().shape("input", [8, 3, 224, 224]))?;
/// println!("{} parameters", model.graph.params().len());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn read(bytes: &[u8], folder: Option<&Path>, options: &ReadOptions) -> Result<Model, FormatError> {
    let mut source = bytes;
    let file = options.file.clone().unwrap_or_else(|| NAMELESS.to_string());
    decode(&mut source, bytes.len() as u64, folder, options, &file)
}

/// Reads the model at `path`, with the files beside it.
pub fn read_file(path: impl AsRef<Path>, options: &ReadOptions) -> Result<Model, FormatError> {
    let path = path.as_ref();
    let (mut source, length) = source_of(path)?;
    let file = options.file.clone().unwrap_or_else(|| path.display().to_string());
    decode(&mut source, length, Some(folder_of(path)), options, &file)
}

/// The file's bytes, and how many they are.
fn source_of(path: &Path) -> Result<(BufReader<File>, u64), FormatError> {
    let source = File::open(path).map_err(|cause| FormatError::read(path, cause))?;
    let length = source.metadata().map_err(|cause| FormatError::read(path, cause))?.len();
    Ok((BufReader::with_capacity(1 << 16, source), length))
}

/// Where the files lie that a model names.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn decode(
    source: &mut dyn Read,
    length: u64,
    folder: Option<&Path>,
    options: &ReadOptions,
    file: &str,
) -> Result<Model, FormatError> {
    let budget = Budget::new(length);
    let model = proto::read_model(&mut Wire::new(source), length, &budget, folder);
    let model = model.map_err(|what| FormatError::malformed(file, what, DAMAGED))?;
    read::build(model, options, &budget).map_err(|fault| fault.of(file))
}

/// What a model wants to be fed, and what it gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Its element type, as ONNX calls it in small letters: `float32`, `int64`, `uint8`, ...
    pub element: &'static str,
    /// Its sizes, `None` where they are free; nothing if the model tells no shape.
    pub shape: Option<Vec<Option<usize>>>,
}

/// The inputs (those that have no initialiser) and outputs of the model in `bytes`, whether or not it could be read as
/// a network; `file` is what errors call it.
pub fn ports(bytes: &[u8], file: &str) -> Result<[Vec<Port>; 2], FormatError> {
    let mut source = bytes;
    ports_at(&mut source, bytes.len() as u64, None, file)
}

/// The inputs and outputs of the model at `path`, as [`ports`] gives them; weights may lie in files beside it.
pub fn ports_of(path: impl AsRef<Path>) -> Result<[Vec<Port>; 2], FormatError> {
    let path = path.as_ref();
    let (mut source, length) = source_of(path)?;
    ports_at(&mut source, length, Some(folder_of(path)), &path.display().to_string())
}

fn ports_at(
    source: &mut dyn Read,
    length: u64,
    folder: Option<&Path>,
    file: &str,
) -> Result<[Vec<Port>; 2], FormatError> {
    let model = proto::read_model(&mut Wire::new(source), length, &Budget::new(length), folder);
    let model = model.map_err(|what| FormatError::malformed(file, what, DAMAGED))?;
    let graph = model.graph.ok_or_else(|| FormatError::malformed(file, "it holds no graph", DAMAGED))?;
    let initialised: HashSet<&str> = graph.initializers.iter().map(|(name, _)| name.as_str()).collect();
    let fed = graph.inputs.iter().filter(|input| !initialised.contains(input.name.as_str()));
    Ok([fed.map(port).collect(), graph.outputs.iter().map(port).collect()])
}

fn port(info: &proto::ValueInfo) -> Port {
    let size = |dim: &proto::Dim| match dim {
        proto::Dim::Known(size) => usize::try_from(*size).ok(),
        _ => None,
    };
    let shape = info.dims.as_ref().map(|dims| dims.iter().map(size).collect());
    Port { name: info.name.clone(), element: literal::element_name(info.element), shape }
}

/// Reads one tensor (`TensorProto`, as ONNX's test data keep them); `file` is what errors call it.
pub fn decode_tensor(bytes: &[u8], file: &str) -> Result<Tensor<f64>, FormatError> {
    let mut source = bytes;
    let length = bytes.len() as u64;
    let literal = proto::read_tensor(&mut Wire::new(&mut source), length, &Budget::new(length));
    let literal = literal.map_err(|what| FormatError::malformed(file, what, DAMAGED))?;
    let number =
        |i| if literal.kind.is_float() { f64::from(literal.float_at(i)) } else { literal.whole_at(i) as f64 };
    let numbers = (0..literal.len()).map(number).collect();
    Tensor::new(literal.dims.clone(), numbers)
        .map_err(|cause| FormatError::malformed(file, cause.to_string(), DAMAGED))
}
