//! Bounded reading of files that may be gzipped.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::read::MultiGzDecoder;

use crate::error::DataError;

const GZIP_MAGIC: [u8; 2] = [0x1F, 0x8B];

/// A file that is data as a whole (IDX, CIFAR), on disk or out of an archive.
#[derive(Debug, Clone)]
pub(crate) struct DataFile {
    /// The lower-case file name, without folders.
    pub(crate) name: String,
    /// What to call it in messages.
    pub(crate) display: String,
    content: Content,
}

#[derive(Debug, Clone)]
enum Content {
    Disk(PathBuf),
    Memory(Arc<[u8]>),
}

impl DataFile {
    pub(crate) fn on_disk(path: &Path) -> Self {
        Self {
            name: file_name(path),
            display: path.display().to_string(),
            content: Content::Disk(path.to_owned()),
        }
    }

    pub(crate) fn in_memory(display: &str, bytes: Arc<[u8]>) -> Self {
        Self {
            name: file_name(Path::new(display)),
            display: display.to_owned(),
            content: Content::Memory(bytes),
        }
    }

    /// Where it is, unless it came out of an archive.
    pub(crate) fn path(&self) -> Option<&Path> {
        match &self.content {
            Content::Disk(path) => Some(path),
            Content::Memory(_) => None,
        }
    }

    /// Opens it, unpacking gzip by content.
    pub(crate) fn reader(&self) -> Result<Box<dyn Read + '_>, DataError> {
        match &self.content {
            Content::Disk(path) => open(path).map(|r| r as Box<dyn Read>),
            Content::Memory(bytes) if bytes.starts_with(&GZIP_MAGIC) => {
                Ok(Box::new(MultiGzDecoder::new(&bytes[..])))
            }
            Content::Memory(bytes) => Ok(Box::new(&bytes[..])),
        }
    }

    /// All of it, if that is at most `limit` bytes; memory grows with what is really there.
    pub(crate) fn read_all(&self, limit: u64) -> Result<Vec<u8>, DataError> {
        let mut bytes = Vec::new();
        self.reader()?.take(limit + 1).read_to_end(&mut bytes).map_err(|e| self.damaged(&e))?;
        if bytes.len() as u64 > limit {
            return Err(DataError::malformed(
                &self.display,
                format!("holds more than the {limit} bytes it should; check that it is the right file"),
            ));
        }
        Ok(bytes)
    }

    pub(crate) fn damaged(&self, error: &std::io::Error) -> DataError {
        DataError::malformed(&self.display, damage(error))
    }
}

/// A read that failed part-way, as a reason and a remedy.
pub(crate) fn damage(error: &std::io::Error) -> String {
    if error.kind() == std::io::ErrorKind::UnexpectedEof {
        "the file is truncated; download or copy it again".to_owned()
    } else {
        format!("the file cannot be read to its end ({error}); download or copy it again")
    }
}

/// Whether a file is gzipped, by content.
pub(crate) fn is_gzip(path: &Path) -> Result<bool, DataError> {
    let mut magic = Vec::new();
    let file = File::open(path).map_err(|e| DataError::io(path, e))?;
    file.take(2).read_to_end(&mut magic).map_err(|e| DataError::io(path, e))?;
    Ok(magic == GZIP_MAGIC)
}

/// Opens a file, unpacking gzip by content.
pub(crate) fn open(path: &Path) -> Result<Box<dyn Read>, DataError> {
    let packed = is_gzip(path)?;
    let reader = BufReader::with_capacity(1 << 16, File::open(path).map_err(|e| DataError::io(path, e))?);
    Ok(if packed { Box::new(MultiGzDecoder::new(reader)) } else { Box::new(reader) })
}

/// The first 512 bytes, unpacked; fewer if the file is shorter or damaged.
pub(crate) fn head(path: &Path) -> Result<Vec<u8>, DataError> {
    let mut bytes = Vec::new();
    // A damaged file is reported where it is read in earnest.
    let _ = open(path)?.take(512).read_to_end(&mut bytes);
    Ok(bytes)
}

/// The lower-case name of a file, without folders.
pub(crate) fn file_name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().to_lowercase()).unwrap_or_default()
}

/// A file name without a final `.gz`.
pub(crate) fn without_gz(name: &str) -> &str {
    name.strip_suffix(".gz").unwrap_or(name)
}

/// Whether the name is that of an image this crate can decode.
pub(crate) fn is_image_name(name: &str) -> bool {
    let extension = Path::new(name).extension().map(|e| e.to_string_lossy().to_lowercase());
    matches!(
        extension.as_deref(),
        Some(
            "jpg"
                | "jpeg"
                | "jpe"
                | "jfif"
                | "png"
                | "gif"
                | "webp"
                | "bmp"
                | "tif"
                | "tiff"
                | "pnm"
                | "ppm"
                | "pgm"
                | "pbm"
                | "pam"
        )
    )
}

/// Whether a file without an ending begins as an image does: photographs are also called by their hashes alone.
pub(crate) fn is_nameless_image(name: &str, head: &[u8]) -> bool {
    Path::new(name).extension().is_none() && image::guess_format(head).is_ok()
}

/// Hidden files (`.DS_Store`, `._photo.jpg`) and what systems leave in folders are no data.
pub(crate) fn is_hidden(component: &str) -> bool {
    const OF_SYSTEMS: [&str; 6] =
        ["__MACOSX", "@eaDir", "#recycle", "lost+found", "$RECYCLE.BIN", "System Volume Information"];
    component.starts_with('.') || OF_SYSTEMS.contains(&component)
}
