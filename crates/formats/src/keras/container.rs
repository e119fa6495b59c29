//! What lies in a file of Keras's: a configuration, numbers, or both.
//!
//! | file | configuration | numbers |
//! |---|---|---|
//! | whole-model HDF5 | the attribute `model_config` | the group `model_weights` |
//! | weights in HDF5 | none | see [`super::stored`] |
//! | `.keras` | the member `config.json` | the member `model.weights.h5` |
//! | `.json` (`model.to_json()`) | all of it | none |
//!
//! A member that is stored as it is, as Keras writes it, is read where it lies; a packed one is unpacked to a temporary
//! file, so that memory stays with the numbers themselves.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use serde_json::Value;
use zip::{CompressionMethod, ZipArchive};

use super::fault::{DAMAGED, Fault};
use super::stored::Stored;
use crate::FormatError;
use crate::hdf5::{self, Hdf5};

/// The longest configuration, in bytes, apart from a share of the file's length: those of a thousand layers take one MiB.
const LONGEST_CONFIG: u64 = 2 << 20;

/// How many times its size a packed file may unpack to: numbers hardly shrink, zeros do.
const MOST_GROWTH: u64 = 32;

/// What may always be unpacked, in bytes.
const ALWAYS: u64 = 1 << 20;

/// A file, opened.
pub(in crate::keras) struct Container {
    pub config: Option<Value>,
    pub stored: Option<Stored>,
    /// The version of Keras that wrote it.
    pub version: Option<String>,
}

pub(in crate::keras) fn open(path: &Path) -> Result<Container, FormatError> {
    let fault = |cause| FormatError::read(path, cause);
    let name = path.display().to_string();
    let mut file = File::open(path).map_err(fault)?;
    let length = file.metadata().map_err(fault)?.len();
    let mut head = Vec::new();
    (&mut file).take(8).read_to_end(&mut head).map_err(fault)?;
    file.seek(SeekFrom::Start(0)).map_err(fault)?;
    let most = LONGEST_CONFIG + length / 64;
    if head.starts_with(b"PK") {
        return of_archive(file, &name, length);
    }
    if head == hdf5::MAGIC {
        return of_hdf5(Hdf5::open(path)?, most);
    }
    let mut text = Vec::new();
    file.take(most + 1).read_to_end(&mut text).map_err(fault)?;
    let config = config(&text, most).map_err(|fault| fault.of(&name))?;
    let version = config.get("keras_version").and_then(Value::as_str).map(str::to_string);
    Ok(Container { config: Some(config), stored: None, version })
}

fn of_hdf5(file: Hdf5, most: u64) -> Result<Container, FormatError> {
    let name = file.name().to_string();
    let config = match file.text("/", "model_config")? {
        Some(text) => Some(config(text.as_bytes(), most).map_err(|fault| fault.of(&name))?),
        None => None,
    };
    let mut version = file.text("/", "keras_version")?;
    if version.is_none() && file.has_group("/model_weights") {
        version = file.text("/model_weights", "keras_version")?;
    }
    Ok(Container { config, stored: Stored::of(file), version })
}

fn config(text: &[u8], most: u64) -> Result<Value, Fault> {
    if text.len() as u64 > most {
        return Err(Fault::damaged(format!("its configuration is longer than {most} bytes")));
    }
    serde_json::from_slice(text)
        .map_err(|cause| Fault::damaged(format!("its configuration is no JSON ({cause})")))
}

fn of_archive(file: File, name: &str, length: u64) -> Result<Container, FormatError> {
    let malformed = |what: String| FormatError::malformed(name, what, DAMAGED);
    let other =
        file.try_clone().map_err(|cause| malformed(format!("it cannot be opened twice ({cause})")))?;
    let mut archive =
        ZipArchive::new(file).map_err(|cause| malformed(format!("it cannot be unpacked ({cause})")))?;
    let text = member(&mut archive, "config.json", LONGEST_CONFIG + length / 64).map_err(malformed)?;
    let text = text.ok_or_else(|| malformed("it has no config.json".into()))?;
    let config = config(&text, LONGEST_CONFIG + length / 64).map_err(|fault| fault.of(name))?;
    let metadata = member(&mut archive, "metadata.json", 1 << 16).map_err(malformed)?;
    let metadata: Option<Value> = metadata.and_then(|text| serde_json::from_slice(&text).ok());
    let version = metadata.and_then(|metadata| Some(metadata.get("keras_version")?.as_str()?.to_string()));
    let stored = match weights(&mut archive, other, name)? {
        Some(file) => Stored::of(file),
        None => None,
    };
    Ok(Container { config: Some(config), stored, version })
}

/// A member of at most `most` bytes; `None` if there is none of this name.
fn member(archive: &mut ZipArchive<File>, name: &str, most: u64) -> Result<Option<Vec<u8>>, String> {
    let Some(index) = archive.index_for_name(name) else { return Ok(None) };
    let mut member =
        archive.by_index(index).map_err(|cause| format!("its member {name} cannot be unpacked ({cause})"))?;
    let mut bytes = Vec::new();
    let read = (&mut member).take(most + 1).read_to_end(&mut bytes);
    read.map_err(|cause| format!("its member {name} cannot be unpacked ({cause})"))?;
    if bytes.len() as u64 > most {
        return Err(format!("its member {name} is longer than {most} bytes"));
    }
    Ok(Some(bytes))
}

/// The HDF5 file inside.
fn weights(archive: &mut ZipArchive<File>, file: File, name: &str) -> Result<Option<Hdf5>, FormatError> {
    let malformed = |what: String| FormatError::malformed(name, what, DAMAGED);
    let Some(index) = archive.index_for_name("model.weights.h5") else { return Ok(None) };
    let mut member = archive
        .by_index(index)
        .map_err(|cause| malformed(format!("its model.weights.h5 cannot be unpacked ({cause})")))?;
    let (size, packed) = (member.size(), member.compressed_size());
    let label = format!("{name}, model.weights.h5");
    if member.compression() == CompressionMethod::Stored
        && size == packed
        && let Some(start) = member.data_start()
    {
        return Hdf5::part(file, start, size, label).map(Some);
    }
    let most = packed.saturating_mul(MOST_GROWTH).saturating_add(ALWAYS);
    let mut unpacked = tempfile::tempfile()
        .map_err(|cause| malformed(format!("it cannot be unpacked to a temporary file ({cause})")))?;
    // One byte more than it says, so that a longer one is noticed.
    let copied = std::io::copy(&mut (&mut member).take(size.min(most).saturating_add(1)), &mut unpacked)
        .map_err(|cause| malformed(format!("its model.weights.h5 cannot be unpacked ({cause})")))?;
    if size > most || copied > most {
        let what =
            format!("its model.weights.h5 unpacks from {packed} bytes to {size}, more than weights ever do");
        return Err(malformed(what));
    }
    if copied != size {
        return Err(malformed(format!("its model.weights.h5 has {copied} bytes, the archive says {size}")));
    }
    Hdf5::part(unpacked, 0, size, label).map(Some)
}
