//! Programs of `torch.export` (`.pt2`): their tensors, which lie beside the program.
//!
//! Source: `torch/export/pt2_archive` and `torch/_export/serde/schema.py` of PyTorch. Each tensor's bytes are a member of
//! `data/weights/`, and a JSON there says what they are called.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use ocellus_tensor::{Tensor, Weights};
use serde::Deserialize;
use zip::ZipArchive;

use crate::FormatError;
use crate::numbers::{ByteOrder, Number, checked_elements, read_numbers};

/// What the JSON that names the tensors ends in.
pub(crate) const NAMES: &str = "_weights_config.json";

/// What archives of PyTorch before 2.8 hold in its place.
pub(crate) const OLD: &str = "serialized_exported_program.json";

/// The longest JSON that is read, in bytes.
const LONGEST: u64 = 16 << 20;

#[derive(Deserialize)]
struct Names {
    config: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    path_name: String,
    use_pickle: bool,
    tensor_meta: Meta,
}

#[derive(Deserialize)]
struct Meta {
    dtype: u8,
    sizes: Vec<Size>,
    strides: Vec<Size>,
    storage_offset: Size,
}

/// A size that the program knows.
#[derive(Deserialize)]
struct Size {
    as_int: usize,
}

/// The tensors of the program at `path`, which may take `limit` bytes; `None` if it is no program.
pub(super) fn read(path: &Path, limit: u64) -> Result<Option<Weights>, FormatError> {
    let file = File::open(path).map_err(|cause| FormatError::read(path, cause))?;
    let Ok(mut archive) = ZipArchive::new(BufReader::new(file)) else { return Ok(None) };
    let refuse = |what: String| {
        let next = "save the weights alone: torch.save(model.state_dict(), ...)";
        FormatError::malformed(path.display().to_string(), what, next)
    };
    let members: Vec<String> = archive.file_names().flatten().map(|name| name.into_owned()).collect();
    if members.iter().any(|name| name.ends_with(OLD)) {
        return Err(refuse("it is a program that torch.export of PyTorch before 2.8 saved".into()));
    }
    let Some(names) = members.iter().find(|name| name.ends_with(NAMES)) else { return Ok(None) };
    let folder = names.rfind('/').map_or("", |end| &names[..=end]);
    let mut text = Vec::new();
    let listed = archive.by_name(names).map_err(|cause| refuse(format!("{names} is damaged ({cause})")))?;
    listed
        .take(LONGEST)
        .read_to_end(&mut text)
        .map_err(|cause| refuse(format!("{names} is damaged ({cause})")))?;
    let names: Names = serde_json::from_slice(&text)
        .map_err(|cause| refuse(format!("{names} does not name tensors ({cause})")))?;
    let (mut weights, mut left) = (Weights::new(), limit);
    for (name, entry) in names.config {
        let tensor = tensor(&mut archive, &format!("{folder}{}", entry.path_name), &entry, &mut left);
        weights.insert(name.clone(), tensor.map_err(|what| refuse(format!("tensor {name} {what}")))?);
    }
    Ok(Some(weights))
}

/// The numbers of one tensor, at its offset and strides in the bytes of its member.
fn tensor(
    archive: &mut ZipArchive<BufReader<File>>,
    member: &str,
    entry: &Entry,
    left: &mut u64,
) -> Result<Tensor, String> {
    let Meta { dtype, sizes, strides, storage_offset } = &entry.tensor_meta;
    if entry.use_pickle {
        return Err("is kept as a Python object, which is not read".into());
    }
    let number =
        number_of(*dtype).ok_or_else(|| format!("has numbers of kind {dtype}, which are not read"))?;
    let dims: Vec<usize> = sizes.iter().map(|size| size.as_int).collect();
    let count = checked_elements(&dims).ok_or_else(|| format!("of shape {dims:?} is too large"))?;
    let mut stored = archive.by_name(member).map_err(|cause| format!("is missing: {member} ({cause})"))?;
    let held = usize::try_from(stored.size()).unwrap_or(usize::MAX) / number.size();
    let taken = (held as u64).saturating_add(count as u64).saturating_mul(4);
    *left = left.checked_sub(taken).ok_or("takes more memory than a file of this size may ask for")?;
    let numbers = read_numbers(&mut stored, held, number, ByteOrder::Little)
        .map_err(|cause| format!("is damaged ({cause})"))?;
    let strides: Vec<usize> = strides.iter().map(|stride| stride.as_int).collect();
    if strides.len() != dims.len() {
        return Err(format!("has {} strides for {} axes", strides.len(), dims.len()));
    }
    let place = |i: usize| {
        let (mut rest, mut at) = (i, storage_offset.as_int);
        for (&size, &stride) in dims.iter().zip(&strides).rev() {
            at = at.checked_add((rest % size).checked_mul(stride)?)?;
            rest /= size;
        }
        numbers.get(at).copied()
    };
    let picked: Option<Vec<f32>> = (0..count).map(place).collect();
    let picked =
        picked.ok_or_else(|| format!("of shape {dims:?} lies beyond the {held} numbers of {member}"))?;
    Tensor::new(dims, picked).map_err(|cause| cause.to_string())
}

/// `ScalarType` of the schema.
fn number_of(dtype: u8) -> Option<Number> {
    Some(match dtype {
        1 | 12 => Number::U8,
        2 => Number::I8,
        3 => Number::I16,
        4 => Number::I32,
        5 => Number::I64,
        6 => Number::F16,
        7 => Number::F32,
        8 => Number::F64,
        13 => Number::Bf16,
        28 => Number::U16,
        _ => return None,
    })
}
