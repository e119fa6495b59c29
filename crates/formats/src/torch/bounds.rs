//! How much memory may a checkpoint take? About as much as its file has bytes, whatever it claims.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use pytorch_reader::Tensor;
use zip::ZipArchive;

use crate::FormatError;

/// Bytes allowed beyond the file's own.
const SLACK: u64 = 64 << 20;

/// Checks what a zip archive claims to unpack to; gives how many bytes of tensors the file may hold.
pub(super) fn check_container(path: &Path) -> Result<u64, FormatError> {
    let file = File::open(path).map_err(|cause| FormatError::read(path, cause))?;
    let length = file.metadata().map_err(|cause| FormatError::read(path, cause))?.len();
    let limit = length.saturating_add(SLACK);
    // What is no zip archive is for the other containers' readers, which take nothing on trust.
    let Ok(mut archive) = ZipArchive::new(BufReader::new(file)) else { return Ok(limit) };
    let mut claimed = 0_u64;
    for index in 0..archive.len() {
        claimed = claimed.saturating_add(archive.by_index_raw(index).map_or(0, |entry| entry.size()));
    }
    if claimed > limit {
        let what = format!("its {length} bytes claim to unpack to {claimed}");
        let next = "torch.save does not compress: save it again with PyTorch";
        return Err(FormatError::malformed(path.display().to_string(), what, next));
    }
    Ok(limit)
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
