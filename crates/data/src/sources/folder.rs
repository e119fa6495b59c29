//! Reads a folder of images: what lies where, without opening the images.

use std::fs;
use std::io::Read;
use std::path::Path;

use super::input::{self, DataFile};
use super::layout::Listing;
use crate::error::DataError;
use crate::split::Location;

/// Deeper than any sensible nesting.
const MAX_DEPTH: usize = 64;
/// Enough of a file to tell an image.
const HEAD: u64 = 16;
const MAX_CLASS_LIST_BYTES: u64 = 16 << 20;

/// The files directly in a folder, sorted by name.
pub(crate) fn data_files(path: &Path) -> Result<Vec<DataFile>, DataError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(|e| DataError::io(path, e))? {
        let entry = entry.map_err(|e| DataError::io(path, e))?;
        let hidden = input::is_hidden(&entry.file_name().to_string_lossy());
        if !hidden && entry.path().is_file() {
            files.push(DataFile::on_disk(&entry.path()));
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

/// All files and folders below a folder.
pub(crate) fn list(path: &Path) -> Result<Listing, DataError> {
    let place = path.display().to_string();
    let place = if place.len() > 1 { place.trim_end_matches('/').to_owned() } else { place };
    let mut listing = Listing { place, ..Listing::default() };
    walk(path, "", 0, &mut listing)?;
    listing.others.sort();
    Ok(listing)
}

fn walk(folder: &Path, prefix: &str, depth: usize, listing: &mut Listing) -> Result<(), DataError> {
    if depth > MAX_DEPTH {
        let reason = format!("folders are nested more than {MAX_DEPTH} deep; is this the right folder?");
        return Err(DataError::malformed(&folder.display().to_string(), reason));
    }
    for entry in fs::read_dir(folder).map_err(|e| DataError::io(folder, e))? {
        let entry = entry.map_err(|e| DataError::io(folder, e))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if input::is_hidden(&name) {
            continue;
        }
        let path = entry.path();
        let kind = entry.file_type().map_err(|e| DataError::io(&path, e))?;
        let relative = format!("{prefix}{name}");
        if kind.is_dir() || (kind.is_symlink() && path.is_dir()) {
            if kind.is_symlink() && leads_up(&path, folder) {
                listing.others.push(relative);
                continue;
            }
            walk(&path, &format!("{relative}/"), depth + 1, listing)?;
            listing.folders.insert(relative);
        } else if fs::metadata(&path).is_ok_and(|target| !target.is_file()) {
            // To read a pipe or a device may take for ever.
            listing.others.push(relative);
        } else if input::is_image_name(&name) || input::is_nameless_image(&name, &head(&path)) {
            listing.files.push((relative, Location::File(path)));
        } else if name == "classes.txt" {
            let bytes = DataFile::on_disk(&path).read_all(MAX_CLASS_LIST_BYTES)?;
            listing.class_lists.insert(relative, String::from_utf8_lossy(&bytes).into_owned());
        } else {
            listing.others.push(relative);
        }
    }
    Ok(())
}

/// Whether the link `path` in `folder` leads to that folder or one above it, and so round and round.
fn leads_up(path: &Path, folder: &Path) -> bool {
    matches!((path.canonicalize(), folder.canonicalize()), (Ok(target), Ok(folder)) if folder.starts_with(&target))
}

/// The first bytes of a file without an ending, or nothing.
fn head(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    if path.extension().is_none() {
        // What cannot be read is no image.
        let _ = fs::File::open(path).and_then(|file| file.take(HEAD).read_to_end(&mut bytes));
    }
    bytes
}
