//! Which pictures do paths on the command line stand for?

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use ocellus::data::{Dataset, Image, OpenOptions};

/// Pictures taken from each folder or data set at most, evenly spread over it.
const MOST: usize = 256;

/// The pictures in files, folders (at any depth) and data sets, each with what it is called.
///
/// Errors: nothing is there, or it is no picture.
pub fn pictures(paths: &[String]) -> anyhow::Result<Vec<(String, Image)>> {
    let mut found = Vec::new();
    for path in paths {
        let place = Path::new(path);
        let files = if place.is_dir() { files_in(place)? } else { Vec::new() };
        if !files.is_empty() {
            for file in spread(files.len()).map(|i| &files[i]) {
                found.push((file.display().to_string(), Image::open(file)?));
            }
        } else if place.is_file() && Image::has_ending(place) {
            found.push((path.clone(), Image::open(place)?));
        } else {
            let set = Dataset::open(path, &OpenOptions::default())
                .with_context(|| format!("{path} holds no pictures"))?;
            let split = if set.val.is_empty() { &set.train } else { &set.val };
            if split.is_empty() {
                bail!("{path}: there are no pictures in it; name pictures, a folder of them, or a data set");
            }
            for index in spread(split.len()) {
                found.push((split.samples()[index].name.clone(), split.image(index)?));
            }
        }
    }
    Ok(found)
}

/// The picture files that paths stand for: themselves, and all in folders, at any depth, by name.
///
/// Errors: a folder cannot be read, or holds no pictures.
pub fn files(paths: &[String]) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in paths {
        if !Path::new(path).is_dir() {
            found.push(path.into());
            continue;
        }
        let files = files_in(Path::new(path))?;
        if files.is_empty() {
            bail!("{path}: there are no pictures in this folder; name pictures, or a folder of them");
        }
        found.extend(files);
    }
    Ok(found)
}

/// At most [`MOST`] of `count` places.
fn spread(count: usize) -> impl Iterator<Item = usize> {
    (0..count).step_by(count.div_ceil(MOST).max(1))
}

fn files_in(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let (mut open, mut files) = (vec![folder.to_owned()], Vec::new());
    while let Some(folder) = open.pop() {
        let entries =
            std::fs::read_dir(&folder).with_context(|| format!("{}: cannot be read", folder.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("{}: cannot be read", folder.display()))?;
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            // A link to a folder is not followed: it may lead back here.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(entry.path());
            } else if Image::has_ending(entry.path()) {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}
