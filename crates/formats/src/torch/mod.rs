//! PyTorch checkpoints: the tensors of a `state_dict` saved by `torch.save`.
//!
//! Read are the zip container (PyTorch 1.6 and later) and the older stream and tar containers, by the crate
//! `pytorch-reader`, whose pickle reader knows the few records that tensors are made of and runs nothing. The
//! container formats are those of PyTorch's `torch/serialization.py`. Of a program of `torch.export` the tensors are read
//! (`exported.rs`). Any other callable that the pickle asks for is
//! refused by name, except types that only hold settings beside the weights ([`SETTINGS`]).

mod bounds;
pub(crate) mod exported;
mod opcodes;

use std::path::Path;

use ocellus_tensor::{Tensor, Weights};
use pytorch_reader::{DType, PickleValue, PytorchError, PytorchReader};

use crate::FormatError;
use crate::numbers::{ByteOrder, Number, read_numbers};

/// Keys under which checkpoints keep the network beside optimiser, epoch and the like, most specific first.
const CONTAINERS: [&str; 17] = [
    "state_dict",
    "model_state_dict",
    "model_state",
    "state_dict_ema",
    "ema_state_dict",
    "model",
    "net",
    "network",
    "module",
    "model_ema",
    "ema",
    "params_ema",
    "params",
    "weights",
    "student",
    "teacher",
    "backbone",
];

/// What wrappers put before every name of a network.
const WRAPPERS: [&str; 2] = ["module.", "_orig_mod."];

/// Python types that hold settings beside the weights: they are passed over, and never made.
const SETTINGS: [&str; 10] = [
    "argparse.Namespace",
    "collections.",
    "datetime.",
    "int",
    "numpy.",
    "pathlib.",
    "torch.Size",
    "torch.device",
    "torch.dtype",
    "_codecs.encode",
];

/// What a checkpoint holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// The network's tensors, every number as `f32`, under the names that the network gives them.
    pub weights: Weights,
    /// The keys under which they lay, outermost first.
    pub nested_under: Vec<String>,
    /// What stood before each name and was taken off (`module.`), or nothing.
    pub prefix: String,
    /// Tensors that are no part of the network, such as the optimiser's.
    pub left_out: Vec<String>,
}

/// Reads the checkpoint at `path`.
///
/// The tensors may lie under `state_dict`, `model` and the like, and their names may begin with `module.`. All of
/// PyTorch's real and integer types become `f32`.
///
/// An error if the file is no checkpoint or is damaged, if its tensors would take much more memory than the file has
/// bytes, or if its pickle asks for anything but tensors and settings; the error names what was asked for.
///
/// ```no_run
/// let checkpoint = ocellus_formats::torch::read("resnet20.th")?;
/// println!("{} tensors", checkpoint.weights.len());
/// # Ok::<(), ocellus_formats::FormatError>(())
/// ```
pub fn read(path: impl AsRef<Path>) -> Result<Checkpoint, FormatError> {
    let path = path.as_ref();
    let file = path.display().to_string();
    let limit = bounds::check_container(path)?;
    if let Some(weights) = exported::read(path, limit)? {
        let (nested_under, prefix, left_out) = (Vec::new(), String::new(), Vec::new());
        return Ok(Checkpoint { weights, nested_under, prefix, left_out });
    }
    let root = PytorchReader::read_pickle_data(path, None).map_err(|cause| explain(path, cause))?;
    refuse_foreign(&root, &file)?;
    let nested_under = containers(&root);
    drop(root);
    let reader = PytorchReader::new(path).map_err(|cause| explain(path, cause))?;
    let tensors = reader.into_tensors();
    bounds::check_tensors(&tensors, limit, &file)?;

    let inside: String = nested_under.iter().flat_map(|key| [key.as_str(), "."]).collect();
    let names = || tensors.keys().filter_map(|name| name.strip_prefix(&inside));
    if names().next().is_none() {
        let next = "save model.state_dict() with torch.save";
        return Err(FormatError::malformed(file, "it holds no tensors of a network", next));
    }
    let mut prefix = String::new();
    while let Some(wrapper) =
        WRAPPERS.iter().find(|wrapper| names().all(|name| name.starts_with(&format!("{prefix}{wrapper}"))))
    {
        prefix.push_str(wrapper);
    }
    let mut checkpoint =
        Checkpoint { weights: Weights::new(), nested_under, prefix: prefix.clone(), left_out: Vec::new() };
    for (name, tensor) in &tensors {
        match name.strip_prefix(&inside).and_then(|name| name.strip_prefix(&prefix)) {
            Some(bare) => {
                checkpoint.weights.insert(bare.to_string(), numbers(tensor, &file)?);
            }
            None => checkpoint.left_out.push(name.clone()),
        }
    }
    checkpoint.left_out.sort();
    Ok(checkpoint)
}

/// One tensor's numbers as `f32`; its bytes are let go before the next tensor is read.
fn numbers(tensor: &pytorch_reader::Tensor, file: &str) -> Result<Tensor, FormatError> {
    let damaged = |cause: &dyn std::fmt::Display| {
        FormatError::malformed(
            file,
            format!("tensor {} cannot be read ({cause})", tensor.name),
            "it is damaged: take another copy",
        )
    };
    let bytes = tensor.read().map_err(|cause| damaged(&cause))?;
    let number = number_of(tensor.dtype());
    let order = if cfg!(target_endian = "big") { ByteOrder::Big } else { ByteOrder::Little };
    let numbers =
        read_numbers(&mut &*bytes, tensor.num_elements(), number, order).map_err(|cause| damaged(&cause))?;
    Tensor::new(tensor.shape().to_vec(), numbers).map_err(|cause| damaged(&cause))
}

fn number_of(dtype: DType) -> Number {
    match dtype {
        DType::F64 => Number::F64,
        DType::F32 => Number::F32,
        DType::F16 => Number::F16,
        DType::BF16 => Number::Bf16,
        DType::I64 => Number::I64,
        DType::I32 => Number::I32,
        DType::I16 => Number::I16,
        DType::I8 => Number::I8,
        DType::U64 => Number::U64,
        DType::U32 => Number::U32,
        DType::U16 => Number::U16,
        DType::U8 | DType::Bool => Number::U8,
    }
}

/// The keys that lead from the checkpoint's root to the network's dictionary.
fn containers(root: &PickleValue) -> Vec<String> {
    let mut keys = Vec::new();
    let mut at = root;
    while let PickleValue::Dict(entries) = at {
        let inner = CONTAINERS.iter().find_map(|&key| {
            let value = entries.get(key)?;
            matches!(value, PickleValue::Dict(_)).then_some((key, value))
        });
        let Some((key, value)) = inner else { break };
        keys.push(key.to_string());
        at = value;
    }
    keys
}

/// Refuses what is neither a tensor nor a setting.
fn refuse_foreign(value: &PickleValue, file: &str) -> Result<(), FormatError> {
    match value {
        PickleValue::List(items) => items.iter().try_for_each(|item| refuse_foreign(item, file)),
        PickleValue::Dict(entries) => entries.values().try_for_each(|entry| refuse_foreign(entry, file)),
        PickleValue::Unsupported(name) if !is_harmless(name) => {
            let what = format!("its pickle asks for {name}, which no tensor needs; nothing was run");
            let next = "save the weights alone: torch.save(model.state_dict(), ...)";
            Err(FormatError::malformed(file, what, next))
        }
        _ => Ok(()),
    }
}

fn is_harmless(name: &str) -> bool {
    let setting = |known: &str| name == known || (known.ends_with('.') && name.starts_with(known));
    let dtype = name.strip_prefix("torch.").is_some_and(|rest| DTYPES.contains(&rest));
    dtype
        || matches!(name, "torch.Tensor" | "torch.nn.parameter.Parameter")
        || SETTINGS.iter().any(|known| setting(known))
}

/// `torch.float32` and the like, which settings may name.
const DTYPES: [&str; 12] = [
    "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool", "half",
    "float",
];

fn explain(path: &Path, cause: PytorchError) -> FormatError {
    match cause {
        PytorchError::Io(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
            FormatError::read(path, cause)
        }
        cause => {
            let cause = cause.to_string();
            // Old streams keep the source of each class beside a whole module's storages.
            let is_module = cause.contains("persistent id has 4 fields");
            let what = match is_module || cause.contains("'__torch__.") {
                true => {
                    "it holds a whole Python module or TorchScript, not the tensors alone; nothing was run"
                        .into()
                }
                false => format!("it is no PyTorch checkpoint that can be read ({cause})"),
            };
            let next = "take another copy, or save model.state_dict() with torch.save";
            FormatError::malformed(path.display().to_string(), what, next)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dict(entries: impl IntoIterator<Item = (&'static str, PickleValue)>) -> PickleValue {
        PickleValue::Dict(entries.into_iter().map(|(key, value)| (key.to_string(), value)).collect())
    }

    #[test]
    fn networks_lie_under_many_names() {
        let weights = || dict([("fc.weight", PickleValue::None)]);
        assert_eq!(containers(&weights()), Vec::<String>::new());
        let root = dict([("epoch", PickleValue::Int(3)), ("state_dict", weights()), ("ema", weights())]);
        assert_eq!(containers(&root), ["state_dict"]);
        assert_eq!(containers(&dict([("ema", dict([("module", weights())]))])), ["ema", "module"]);
        assert_eq!(containers(&dict([("params", weights()), ("params_ema", weights())])), ["params_ema"]);
    }
}
