//! How much memory may a checkpoint take? About as much as its file has bytes, whatever it claims.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::Path;

use pytorch_reader::Tensor;
use zip::ZipArchive;

use super::opcodes;
use crate::FormatError;

/// How a tar archive is divided, in bytes (POSIX.1-1988, `ustar`): headers hold a name, at 124 the size in octal digits,
/// and at 257 a mark.
const TAR_BLOCK: usize = 512;

/// Bytes allowed beyond the file's own.
const SLACK: u64 = 64 << 20;

/// Checks what a zip archive claims to unpack to; gives how many bytes of tensors the file may hold.
pub(super) fn check_container(path: &Path) -> Result<u64, FormatError> {
    let file = File::open(path).map_err(|cause| FormatError::read(path, cause))?;
    let length = file.metadata().map_err(|cause| FormatError::read(path, cause))?.len();
    let limit = length.saturating_add(SLACK);
    let pickles = match ZipArchive::new(BufReader::new(&file)) {
        Ok(archive) => zip_members(archive, limit),
        // What is no zip archive is for the other containers' readers, which take no length on trust.
        Err(_) => Ok((0, bare_pickles(&file, limit).map_err(|cause| FormatError::read(path, cause))?)),
    };
    let next = "torch.save does not compress: save it again with PyTorch";
    let what = match pickles {
        Ok((claimed, _)) if claimed > limit => format!("its {length} bytes claim to unpack to {claimed}"),
        Ok((_, false)) => {
            format!("its pickle would take more memory than a file of {length} bytes may ask for")
        }
        Ok(_) => return Ok(limit),
        Err(cause) => format!("its pickle cannot be unpacked ({cause})"),
    };
    Err(FormatError::malformed(path.display().to_string(), what, next))
}

/// What the members of an archive claim to unpack to, and whether its pickles stay within `limit`.
fn zip_members(mut archive: ZipArchive<BufReader<&File>>, limit: u64) -> io::Result<(u64, bool)> {
    let (mut claimed, mut pickles) = (0_u64, Vec::new());
    for index in 0..archive.len() {
        if let Ok(entry) = archive.by_index_raw(index) {
            claimed = claimed.saturating_add(entry.size());
            if entry.name().is_ok_and(|name| name.ends_with(".pkl")) {
                pickles.push(index);
            }
        }
    }
    if claimed > limit {
        return Ok((claimed, true));
    }
    for index in pickles {
        // A member that cannot be opened is the reader's to refuse.
        let Ok(entry) = archive.by_index(index) else { continue };
        if !opcodes::fit(&mut BufReader::new(entry.take(limit)), limit)? {
            return Ok((claimed, false));
        }
    }
    Ok((claimed, true))
}

/// Whether the pickles at the beginning of a file, or of the members of a tar archive, stay within `limit`.
fn bare_pickles(mut file: &File, limit: u64) -> io::Result<bool> {
    let mut at = 0;
    loop {
        file.seek(io::SeekFrom::Start(at))?;
        let mut header = Vec::new();
        file.take(TAR_BLOCK as u64).read_to_end(&mut header)?;
        let size = header.get(124..136).map(|digits| String::from_utf8_lossy(digits).into_owned());
        let size = size.and_then(|digits| u64::from_str_radix(digits.trim_matches(['\0', ' ']), 8).ok());
        let (true, Some(size)) = (header.get(257..262) == Some(b"ustar"), size) else {
            // No member (any more): pickles, if it is the file's beginning.
            file.seek(io::SeekFrom::Start(at))?;
            return if at == 0 { opcodes::fit(&mut BufReader::new(file), limit) } else { Ok(true) };
        };
        let begin = at + TAR_BLOCK as u64;
        file.seek(io::SeekFrom::Start(begin))?;
        if !opcodes::fit(&mut BufReader::new(file.take(size)), limit)? {
            return Ok(false);
        }
        let blocks = size.div_ceil(TAR_BLOCK as u64).saturating_mul(TAR_BLOCK as u64);
        at = begin.saturating_add(blocks);
        if at > limit {
            return Ok(true);
        }
    }
}

/// Checks that all tensors together, views repeated, take no more than `limit` bytes.
pub(super) fn check_tensors(
    tensors: &HashMap<String, Tensor>,
    limit: u64,
    file: &str,
) -> Result<(), FormatError> {
    let bytes = |tensor: &Tensor| {
        let size = tensor.dtype().size() as u64;
        tensor.shape().iter().fold(size, |product, &dim| product.saturating_mul(dim as u64))
    };
    let claimed = tensors.values().map(bytes).fold(0_u64, u64::saturating_add);
    if claimed <= limit {
        return Ok(());
    }
    let what = format!("its tensors claim {claimed} bytes, much more than the file has");
    Err(FormatError::malformed(file, what, "save contiguous tensors: torch.save({k: v.contiguous() ...})"))
}
