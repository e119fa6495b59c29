//! Reads a .tar or .tar.gz once and keeps its encoded images in memory.
//!
//! Member names are names only: nothing is ever written to disk.

use std::io::Read;
use std::path::{Component, Path};
use std::sync::Arc;

use super::input::{self, DataFile};
use super::layout::Listing;
use super::{cifar, idx};
use crate::error::DataError;
use crate::split::Location;

/// What an archive holds.
pub(crate) struct Contents {
    pub(crate) listing: Listing,
    /// Members that are data as a whole.
    pub(crate) data_files: Vec<DataFile>,
}

pub(crate) fn looks_like_tar(name: &str, head: &[u8]) -> bool {
    let named = [".tar", ".tar.gz", ".tgz"].iter().any(|end| name.ends_with(end));
    named || head.get(257..262) == Some(b"ustar")
}

/// Reads all images, at most `limit` bytes of them.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Contents, DataError> {
    let place = path.display().to_string();
    let damaged = |e: std::io::Error| DataError::malformed(&place, input::damage(&e));
    let mut contents =
        Contents { listing: Listing { place: place.clone(), ..Listing::default() }, data_files: Vec::new() };
    let mut left = limit;
    let mut archive = tar::Archive::new(input::open(path)?);
    for member in archive.entries().map_err(damaged)? {
        let member = member.map_err(damaged)?;
        let Some(name) = clean_name(&member.path().map_err(damaged)?) else { continue };
        let kind = member.header().entry_type();
        if kind.is_dir() {
            contents.listing.folders.insert(name);
        } else if kind.is_file() || kind.is_gnu_sparse() || kind.is_contiguous() {
            take_member(member, name, &mut left, &mut contents)
                .map_err(|e| e.into_data_error(&place, limit))?;
        }
    }
    // To the end of the stream, so that gzip's checksum is checked too.
    let mut rest = archive.into_inner().take(limit);
    std::io::copy(&mut rest, &mut std::io::sink()).map_err(damaged)?;
    contents.listing.others.sort();
    contents.data_files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(contents)
}

enum MemberFault {
    Read(std::io::Error),
    TooMuch,
}

impl MemberFault {
    fn into_data_error(self, place: &str, limit: u64) -> DataError {
        let reason = match self {
            Self::Read(error) => input::damage(&error),
            Self::TooMuch => {
                format!("holds more than {} MiB of images; unpack it and give the folder", limit >> 20)
            }
        };
        DataError::malformed(place, reason)
    }
}

fn take_member(
    member: impl Read,
    name: String,
    left: &mut u64,
    contents: &mut Contents,
) -> Result<(), MemberFault> {
    let file_name = input::file_name(Path::new(&name));
    let is_image = input::is_image_name(&file_name);
    let is_list = file_name == "classes.txt";
    if !is_image && !is_list && !idx::is_idx(&file_name) && !cifar::is_batch(&file_name) {
        contents.listing.others.push(name);
        return Ok(());
    }
    let mut bytes = Vec::new();
    member.take(left.saturating_add(1)).read_to_end(&mut bytes).map_err(MemberFault::Read)?;
    *left = left.checked_sub(bytes.len() as u64).ok_or(MemberFault::TooMuch)?;
    if is_image {
        contents.listing.files.push((name, Location::Encoded(bytes.into())));
    } else if is_list {
        contents.listing.class_lists.insert(name, String::from_utf8_lossy(&bytes).into_owned());
    } else {
        contents.data_files.push(DataFile::in_memory(&name, Arc::from(bytes)));
    }
    Ok(())
}

/// The member's path with `/` between components; `None` for hidden members and paths that lead outside.
fn clean_name(path: &Path) -> Option<String> {
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
            Component::Normal(part) => {
                let part = part.to_string_lossy();
                if input::is_hidden(&part) {
                    return None;
                }
                parts.push(part.into_owned());
            }
            Component::ParentDir => return None,
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}
