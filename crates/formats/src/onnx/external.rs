//! Weights beside the model: which files may be opened, and how much of them.
//!
//! A model names the files that hold its larger tensors. Only plain files inside the model's own folder are opened: no
//! absolute paths, no `..`, no links on the way. Tensors may share bytes, but all of them together may not take more
//! than the files hold (and what the budget has left).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufReader, Read, Seek, SeekFrom, Take};
use std::path::{Component, Path, PathBuf};

use super::budget::Budget;

/// Where a tensor's numbers lie.
#[derive(Debug, Default)]
pub(super) struct Place {
    location: String,
    offset: u64,
    length: Option<u64>,
}

impl Place {
    /// Takes one entry of `external_data`.
    pub(super) fn set(&mut self, key: &str, value: String) -> Result<(), String> {
        let number = |value: &str| {
            value
                .parse()
                .map_err(|_| format!("the {key} of its external data is {value:?}, which is no length"))
        };
        match key {
            "location" => self.location = value,
            "offset" => self.offset = number(&value)?,
            "length" => self.length = Some(number(&value)?),
            _ => {}
        }
        Ok(())
    }
}

/// The files beside one model.
pub(super) struct External<'r> {
    folder: Option<&'r Path>,
    budget: &'r Budget,
    /// Bytes of each file that no tensor has taken yet.
    left: BTreeMap<PathBuf, u64>,
}

impl<'r> External<'r> {
    pub(super) fn new(folder: Option<&'r Path>, budget: &'r Budget) -> Self {
        External { folder, budget, left: BTreeMap::new() }
    }

    /// The `bytes` bytes at `place`.
    pub(super) fn open(&mut self, place: &Place, bytes: u64) -> Result<Take<BufReader<File>>, String> {
        let Place { location, offset, length } = place;
        if length.is_some_and(|length| length != bytes) {
            let length = length.unwrap_or(0);
            return Err(format!("its shape needs {bytes} bytes, its external data has {length}"));
        }
        let path = self.resolve(location)?;
        let refuse = |what: &dyn std::fmt::Display| format!("its data in the file {location:?} {what}");
        let mut file = File::open(&path).map_err(|cause| refuse(&format!("cannot be read ({cause})")))?;
        let size = file.metadata().map_err(|cause| refuse(&format!("cannot be read ({cause})")))?.len();
        if offset.checked_add(bytes).is_none_or(|end| end > size) {
            return Err(refuse(&format!("are {bytes} bytes from byte {offset} on, the file has {size}")));
        }
        let left = self.left.entry(path).or_insert(size);
        match left.checked_sub(bytes) {
            Some(rest) => *left = rest,
            None => {
                self.budget.charge(bytes).map_err(|cause| refuse(&format!("overlap others': {cause}")))?
            }
        }
        file.seek(SeekFrom::Start(*offset)).map_err(|cause| refuse(&format!("cannot be read ({cause})")))?;
        Ok(BufReader::with_capacity(1 << 16, file).take(bytes))
    }

    /// The file that `location` means, if it may be opened.
    fn resolve(&self, location: &str) -> Result<PathBuf, String> {
        let folder = self.folder.ok_or_else(|| {
            format!("its data lie in the file {location:?} beside the model, whose folder is not known")
        })?;
        let mut path = folder.to_path_buf();
        let components: Vec<Component> = Path::new(location).components().collect();
        let inside = components.iter().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        // Windows writes other separators, which would hide `..` inside a name.
        if !inside || location.contains('\\') || location.contains('\0') || location.is_empty() {
            return Err(format!(
                "its data shall lie in {location:?}, which is no file inside the model's folder"
            ));
        }
        for part in components {
            path.push(part);
            let kind = fs::symlink_metadata(&path)
                .map_err(|cause| format!("its data in the file {location:?} cannot be read ({cause})"))?
                .file_type();
            if kind.is_symlink() {
                return Err(format!("its data shall lie in {location:?}, which is or leads through a link"));
            }
        }
        if !path.is_file() {
            return Err(format!("its data shall lie in {location:?}, which is no plain file"));
        }
        Ok(path)
    }
}
