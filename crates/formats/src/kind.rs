//! Which file is this? By what it begins with, and only where formats have no mark of their own by its name.
//!
//! | begins with | kind |
//! |---|---|
//! | `\x89HDF\r\n\x1a\n` | HDF5: Caffe's or Keras's by its groups |
//! | `PK\x03\x04` | zip: `.npz`, `.pt`, `.pt2` or `.keras` by the members' names |
//! | u64 N, then `{` | safetensors; Ocellus's own if its strings say so |
//! | `\x80\x02` ... (a pickle), or a tar of such | an old PyTorch checkpoint |
//! | `\x93NUMPY` | one array |
//! | other bytes that are no text | a Protocol Buffers message: by name `.onnx`, `.binaryproto`, `.solverstate`, else by its first field |
//! | text | a Keras model's JSON, a network's text form (`network NAME`), a solver (`base_lr`, `net`), else a Caffe description |

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use crate::hdf5::Hdf5;
use crate::torch::exported;
use crate::{FormatError, Model, safetensors};

/// Bytes that are looked at.
const HEAD: u64 = 4096;

/// Kinds of files that have to do with networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A network with its weights, as this program writes it.
    Native,
    /// Safetensors without a network.
    Tensors,
    /// NumPy arrays by name.
    Npz,
    /// One NumPy array.
    Npy,
    /// A PyTorch checkpoint of any container.
    Torch,
    /// An ONNX model.
    Onnx,
    /// A network described in Caffe's text form.
    Prototxt,
    /// A Caffe solver's description.
    Solver,
    /// Caffe weights, in Protocol Buffers' binary form or in HDF5.
    CaffeModel,
    /// A Caffe mean image.
    BinaryProto,
    /// A Caffe solver's state, of either form.
    SolverState,
    /// HDF5 that is neither Caffe's nor Keras's.
    Hdf5,
    /// A Keras model or its weights: HDF5, a `.keras` archive, or a model's JSON.
    Keras,
    /// A network in this program's text form.
    Text,
}

impl Kind {
    /// Finds out what the file at `path` is; `None` if it is nothing that is known here.
    ///
    /// ```no_run
    /// use ocellus_formats::Kind;
    /// assert_eq!(Kind::of("lenet.prototxt")?, Some(Kind::Prototxt));
    /// # Ok::<(), ocellus_formats::FormatError>(())
    /// ```
    pub fn of(path: impl AsRef<Path>) -> Result<Option<Kind>, FormatError> {
        let path = path.as_ref();
        let fault = |cause| FormatError::read(path, cause);
        let mut file = File::open(path).map_err(fault)?;
        let mut head = Vec::new();
        (&mut file).take(HEAD).read_to_end(&mut head).map_err(fault)?;
        if head.starts_with(b"PK\x03\x04") {
            file.seek(SeekFrom::Start(0)).map_err(fault)?;
            return Ok(of_zip(file));
        }
        let name = path.file_name().map_or(String::new(), |name| name.to_string_lossy().to_lowercase());
        Ok(match of_head(&head, &name) {
            // A header that cannot be read is complained of by whoever reads the tensors.
            Some(Kind::Tensors)
                if safetensors::strings(path).is_ok_and(|strings| Model::is_own(&strings)) =>
            {
                Some(Kind::Native)
            }
            Some(Kind::Hdf5) => Some(Hdf5::open(path).map_or(Kind::Hdf5, |file| of_hdf5(&file))),
            kind => kind,
        })
    }

    /// What the file is, as a sentence calls it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Native => "a model of Ocellus",
            Kind::Tensors => "tensors without a network (safetensors)",
            Kind::Npz => "arrays without a network (npz)",
            Kind::Npy => "one array (npy)",
            Kind::Torch => "a PyTorch checkpoint",
            Kind::Onnx => "an ONNX model",
            Kind::Prototxt => "a Caffe network description",
            Kind::Solver => "a Caffe solver",
            Kind::CaffeModel => "Caffe weights",
            Kind::BinaryProto => "a Caffe mean image",
            Kind::SolverState => "a Caffe solver state",
            Kind::Hdf5 => "an HDF5 file",
            Kind::Keras => "a Keras model",
            Kind::Text => "a network's text form",
        }
    }
}

fn of_head(head: &[u8], name: &str) -> Option<Kind> {
    // A pickle of protocol 2 to 5, or the tar that the very first PyTorch wrote: it begins with a member's name.
    let is_pickle = matches!(head, [0x80, 2..=5, ..]);
    let is_tar = head.get(257..262) == Some(b"ustar")
        || head.starts_with(b"storages")
        || head.starts_with(b"sys_info");
    match head {
        [] => None,
        _ if head.starts_with(b"\x89HDF\r\n\x1a\n") => Some(Kind::Hdf5),
        _ if head.starts_with(b"\x93NUMPY") => Some(Kind::Npy),
        _ if is_safetensors(head) => Some(Kind::Tensors),
        _ if is_pickle || (is_tar && has_ending(name, &["pt", "pth", "th", "tar", "bin"])) => {
            Some(Kind::Torch)
        }
        _ if is_text(head) => of_text(&String::from_utf8_lossy(head)),
        _ => of_message(head, name),
    }
}

/// Caffe's weights lie in `/data`, its solvers' states beside `/iter`; Keras names its layers in attributes.
fn of_hdf5(file: &Hdf5) -> Kind {
    let has_layers = |path: &str| {
        let names = ["layer_names", "model_config", "keras_version"];
        names.iter().any(|name| file.texts(path, name).is_ok_and(|found| found.is_some()))
    };
    if file.has_group("/history") && file.has_array("/iter") {
        Kind::SolverState
    } else if has_layers("/")
        || file.has_group("/model_weights")
        || file.has_group("/_layer_checkpoint_dependencies")
        || (file.has_group("/layers") && file.has_group("/vars"))
    {
        Kind::Keras
    } else if file.has_group("/data") && !file.has_group("/layers") {
        Kind::CaffeModel
    } else {
        Kind::Hdf5
    }
}

fn has_ending(name: &str, endings: &[&str]) -> bool {
    name.rsplit_once('.').is_some_and(|(_, ending)| endings.contains(&ending))
}

/// A length, then JSON.
fn is_safetensors(head: &[u8]) -> bool {
    let length = head.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes));
    length.is_some_and(|length| length < 1 << 30) && head.get(8) == Some(&b'{')
}

fn is_text(head: &[u8]) -> bool {
    let valid = match std::str::from_utf8(head) {
        Ok(_) => head.len(),
        // A character may be cut where the piece ends.
        Err(cause) if head.len() - cause.valid_up_to() < 4 => cause.valid_up_to(),
        Err(_) => return false,
    };
    !head[..valid].iter().any(|&byte| byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r' | 0x0c))
}

fn of_text(text: &str) -> Option<Kind> {
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let first = lines().next()?;
    if first.starts_with('{') && text.contains("\"class_name\"") {
        return Some(Kind::Keras); // what model.to_json() gives
    }
    if first.starts_with("network ") {
        return Some(Kind::Text);
    }
    let fields = || lines().map(|line| line.split([':', '{', ' ', '\t']).next().unwrap_or(""));
    let has = |names: &[&str]| fields().any(|field| names.contains(&field));
    if has(&["layer", "layers", "input", "input_dim", "input_shape"]) {
        Some(Kind::Prototxt)
    } else if has(&["base_lr", "net", "train_net", "lr_policy", "max_iter", "solver_mode"]) {
        Some(Kind::Solver)
    } else {
        // A description's name may stand alone before a long comment.
        has(&["name"]).then_some(Kind::Prototxt)
    }
}

/// Protocol Buffers have no mark: the name tells, or else the first field. ONNX begins with `ir_version` (field 1, a
/// number), a Caffe network with its name (field 1, text) or a layer (2 or 100), a blob with four sizes or its data.
fn of_message(head: &[u8], name: &str) -> Option<Kind> {
    if has_ending(name, &["onnx"]) {
        return Some(Kind::Onnx);
    }
    if has_ending(name, &["binaryproto"]) {
        return Some(Kind::BinaryProto);
    }
    if has_ending(name, &["solverstate"]) {
        return Some(Kind::SolverState);
    }
    if has_ending(name, &["caffemodel"]) {
        return Some(Kind::CaffeModel);
    }
    match head {
        [0x08, 1..=99, 0x12 | 0x1a | 0x3a | 0x42, ..] => Some(Kind::Onnx),
        [0x0a | 0x12, ..] | [0xa2, 0x06, ..] => Some(Kind::CaffeModel),
        _ => None,
    }
}

/// Told apart by the members' names; a damaged archive is taken for what its first member looks like.
fn of_zip(file: File) -> Option<Kind> {
    let archive = zip::ZipArchive::new(file).ok()?;
    let has = |matches: fn(&str) -> bool| archive.file_names().flatten().any(|name| matches(&name));
    let is_program = |name: &str| name.ends_with(exported::NAMES) || name.ends_with(exported::OLD);
    if has(|name| name.ends_with("data.pkl")) || has(is_program) {
        Some(Kind::Torch)
    } else if has(|name| name == "config.json") || has(|name| name.ends_with(".weights.h5")) {
        Some(Kind::Keras)
    } else {
        has(|name| name.ends_with(".npy")).then_some(Kind::Npz)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_tell_and_names_tell_where_there_are_none() {
        let kind = |head: &[u8], name: &str| of_head(head, name);
        assert_eq!(kind(b"\x89HDF\r\n\x1a\n\0\0", "x"), Some(Kind::Hdf5));
        assert_eq!(kind(b"\x93NUMPY\x01\0", "x"), Some(Kind::Npy));
        assert_eq!(kind(b"\x80\x02\x8a\x0a", "x.th"), Some(Kind::Torch));
        assert_eq!(kind(b"\x0a\x05LeNet\x12\x03\x1a\x01a", "x"), Some(Kind::CaffeModel));
        assert_eq!(kind(b"\x08\x07\x12\x07pytorch", "x"), Some(Kind::Onnx));
        assert_eq!(kind(b"\x08\x01\x10\x03", "mean.binaryproto"), Some(Kind::BinaryProto));
        assert_eq!(kind(b"\x08\x90\x4e\x12\x02ab", "a.solverstate"), Some(Kind::SolverState));
        assert_eq!(kind(b"\xff\xd8\xff\xe0", "cat.jpg"), None);
        assert_eq!(kind(b"", "empty.onnx"), None);
    }

    #[test]
    fn hdf5_is_told_apart_by_its_groups() {
        let folder = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data"));
        for (name, kind) in [
            ("models/caffe/cifar10_quick_iter_5000.caffemodel.h5", Kind::CaffeModel),
            ("models/keras/gender_mini_xception.hdf5", Kind::Keras),
            ("hdf5/sample_data.h5", Kind::Hdf5),
        ] {
            let path = folder.join(name);
            if path.exists() {
                assert_eq!(Kind::of(path).unwrap(), Some(kind), "{name}");
            } else {
                println!("skipped: {} is not there", path.display());
            }
        }
    }

    #[test]
    fn texts_are_told_apart_by_their_fields() {
        let kind = |text: &str| of_head(text.as_bytes(), "x.prototxt");
        assert_eq!(kind("# comment\nname: \"net\"\nlayer {\n"), Some(Kind::Prototxt));
        assert_eq!(kind("input: \"data\"\ninput_dim: 1\n"), Some(Kind::Prototxt));
        assert_eq!(kind("# a solver\nnet: \"train_val.prototxt\"\nbase_lr: 0.1\n"), Some(Kind::Solver));
        assert_eq!(kind("network lenet\ninput data (1, 1, 28, 28)\n"), Some(Kind::Text));
        assert_eq!(kind("once upon a time\n"), None);
    }

    #[test]
    fn safetensors_with_a_network_are_ours() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.safetensors");
        let weights = ocellus_tensor::Weights::from([("A".to_string(), ocellus_tensor::Tensor::zeros([2]))]);
        let strings = |format: &str| [("format".to_string(), format.to_string())].into();
        safetensors::write(&path, &weights, &strings("pt")).unwrap();
        assert_eq!(Kind::of(&path).unwrap(), Some(Kind::Tensors));
        safetensors::write(&path, &weights, &strings("ocellus")).unwrap();
        assert_eq!(Kind::of(&path).unwrap(), Some(Kind::Native));
        std::fs::write(&path, b"\x40\0\0\0\0\0\0\0{damaged").unwrap();
        assert_eq!(Kind::of(&path).unwrap(), Some(Kind::Tensors));
    }
}
