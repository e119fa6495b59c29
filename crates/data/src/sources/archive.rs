//! Reads a .tar or .tar.gz once. The encoded images of a gzipped one are kept in memory; those of a plain one stay where
//! they are, and only their places are remembered, so that an archive may be larger than the memory.
//!
//! Member names are names only: nothing is ever written to disk.

use std::io::Read;
use std::path::{Component, Path};
use std::sync::Arc;

use super::input::{self, DataFile};
use super::layout::Listing;
use super::{cifar, idx, shards};
use crate::error::DataError;
use crate::split::Location;

/// What an archive holds.
pub(crate) struct Contents {
    pub(crate) listing: Listing,
    /// Members that are data as a whole.
    pub(crate) data_files: Vec<DataFile>,
    /// Bytes of images that are in memory.
    pub(crate) bytes_in_memory: u64,
}

/// Enough of a member to tell an image.
const HEAD: u64 = 16;
/// The longest label that stands beside an image, in bytes.
const MAX_LABEL_BYTES: u64 = 1 << 20;

pub(crate) fn looks_like_tar(name: &str, head: &[u8]) -> bool {
    let named = [".tar", ".tar.gz", ".tgz"].iter().any(|end| name.ends_with(end));
    named || head.get(257..262) == Some(b"ustar")
}

/// Reads all images, at most `limit` bytes of them.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Contents, DataError> {
    let place = path.display().to_string();
    let damaged = |e: std::io::Error| DataError::malformed(&place, input::damage(&e));
    let listing = Listing { place: place.clone(), ..Listing::default() };
    let mut contents = Contents { listing, data_files: Vec::new(), bytes_in_memory: 0 };
    let mut left = limit;
    let plain: Option<Arc<Path>> = (!input::is_gzip(path)?).then(|| path.into());
    let mut archive = tar::Archive::new(input::open(path)?);
    for member in archive.entries().map_err(damaged)? {
        let member = member.map_err(damaged)?;
        let Some(name) = clean_name(&member.path().map_err(damaged)?) else { continue };
        let kind = member.header().entry_type();
        if kind.is_dir() {
            contents.listing.folders.insert(name);
        } else if kind.is_file() || kind.is_gnu_sparse() || kind.is_contiguous() {
            let is_whole = !kind.is_gnu_sparse();
            if let Some(file) = plain.as_ref().filter(|_| is_whole && input::is_image_name(&name)) {
                let (start, length) = (member.raw_file_position(), member.size());
                let location = Location::Range { file: file.clone(), start, length };
                contents.listing.files.push((name, location));
                continue;
            }
            take_member(member, name, &mut left, &mut contents)
                .map_err(|e| e.into_data_error(&place, limit))?;
        }
    }
    // To the end of the stream, so that gzip's checksum is checked too.
    let mut rest = archive.into_inner().take(limit);
    std::io::copy(&mut rest, &mut std::io::sink()).map_err(damaged)?;
    contents.listing.others.sort();
    contents.data_files.sort_by(|a, b| a.name.cmp(&b.name));
    contents.bytes_in_memory = limit - left;
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
    mut member: impl Read,
    name: String,
    left: &mut u64,
    contents: &mut Contents,
) -> Result<(), MemberFault> {
    let file_name = input::file_name(Path::new(&name));
    let is_list = file_name == "classes.txt";
    let mut head = Vec::new();
    if Path::new(&file_name).extension().is_none() {
        member.by_ref().take(HEAD).read_to_end(&mut head).map_err(MemberFault::Read)?;
    }
    let is_image = input::is_image_name(&file_name) || input::is_nameless_image(&file_name, &head);
    let member = head.as_slice().chain(member);
    if shards::is_label(&name.to_lowercase()) && !is_list {
        let mut bytes = Vec::new();
        member.take(MAX_LABEL_BYTES).read_to_end(&mut bytes).map_err(MemberFault::Read)?;
        *left = left.checked_sub(bytes.len() as u64).ok_or(MemberFault::TooMuch)?;
        contents.listing.labels.insert(name, String::from_utf8_lossy(&bytes).into_owned());
        return Ok(());
    }
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
