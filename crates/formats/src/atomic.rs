//! How is a file replaced so that a crash, a kill or a full disk never leaves half of it?
//!
//! ```text
//! write a new file beside the old one -> flush -> fsync -> rename over the old name -> fsync the folder
//! ```
//!
//! A rename within one folder is atomic (POSIX `rename`), so a reader sees the old file or the new one. The new
//! file's bytes reach the disk before its name does; the folder's own fsync makes the new name last.

use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};
use std::path::Path;

use tempfile::NamedTempFile;

use crate::FormatError;

/// What a file's contents are written to.
pub trait Sink: Write + Seek {}
impl<T: Write + Seek> Sink for T {}

/// Replaces the file at `path` by what `fill` writes, or leaves it as it was.
///
/// On any error, `fill`'s own included, the half-written new file is removed, the old file stays, and the error
/// names the path and the cause. Only a kill at the wrong moment leaves a `.NAME.*.tmp` beside it.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("notes.txt");
/// ocellus_formats::write_atomically(&path, |out| out.write_all(b"done\n"))?;
/// assert_eq!(std::fs::read(&path).unwrap(), b"done\n");
/// # Ok::<(), ocellus_formats::FormatError>(())
/// ```
pub fn write_atomically(
    path: impl AsRef<Path>,
    fill: impl FnOnce(&mut dyn Sink) -> io::Result<()>,
) -> Result<(), FormatError> {
    let path = path.as_ref();
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    replace(path, folder, fill).map_err(|cause| FormatError::write(path, cause))?;
    sync_folder(folder).map_err(|source| FormatError::Write {
        file: path.display().to_string(),
        source,
        next: "the new file is in place, but may not survive a power cut; check the disk",
    })
}

/// `path` becomes what `fill` writes; the temporary file goes away by itself on every early return.
fn replace(path: &Path, folder: &Path, fill: impl FnOnce(&mut dyn Sink) -> io::Result<()>) -> io::Result<()> {
    let name = path.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::IsADirectory))?;
    let temporary = create_beside(folder, &name.to_string_lossy())?;
    let mut buffered = BufWriter::with_capacity(1 << 16, temporary.as_file());
    fill(&mut buffered)?;
    buffered.flush()?;
    drop(buffered);
    temporary.as_file().sync_all()?;
    temporary.persist(path).map_err(|failed| failed.error)?;
    Ok(())
}

fn create_beside(folder: &Path, name: &str) -> io::Result<NamedTempFile> {
    let prefix = format!(".{name}.");
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(".tmp");
    #[cfg(unix)]
    {
        // Readable by whom the umask lets read, as any file the user makes; temporary files are private otherwise.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    // The error's own text would name the temporary file, which means nothing to the user.
    builder.tempfile_in(folder).map_err(|error| io::Error::from(error.kind()))
}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder)?.sync_all() {
        // Some network file systems cannot sync a folder, and need not.
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
            Ok(())
        }
        other => other,
    }
}

#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn names(folder: &Path) -> Vec<String> {
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn replaces_the_old_file_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        for contents in ["old and longer", "new"] {
            write_atomically(&path, |out| out.write_all(contents.as_bytes())).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), contents);
        }
        assert_eq!(names(folder.path()), ["a.bin"]);
    }

    #[test]
    fn a_full_disk_leaves_the_old_file_and_no_remains() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        fs::write(&path, "old").unwrap();
        let error = write_atomically(&path, |out| {
            out.write_all(&[0; 1 << 20])?;
            Err(io::ErrorKind::StorageFull.into())
        });
        let sentence = error.unwrap_err().to_string();
        assert!(sentence.contains("a.bin") && sentence.contains("free some space"), "{sentence}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(names(folder.path()), ["a.bin"]);
    }

    #[test]
    fn a_missing_folder_and_a_folder_in_the_way_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("nowhere/a.bin");
        let sentence = write_atomically(&missing, |_| Ok(())).unwrap_err().to_string();
        assert!(sentence.contains("nowhere") && sentence.contains("create its folder"), "{sentence}");
        assert!(!sentence.contains(".a.bin."), "{sentence}");
        let sentence = write_atomically(folder.path(), |_| Ok(())).unwrap_err().to_string();
        assert!(sentence.contains("not a folder's"), "{sentence}");
    }

    #[cfg(unix)]
    #[test]
    fn the_file_has_the_permissions_of_an_ordinary_new_file() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (ordinary, path) = (folder.path().join("b"), folder.path().join("a"));
        fs::write(&ordinary, "").unwrap();
        write_atomically(&path, |_| Ok(())).unwrap();
        let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode();
        assert_eq!(mode(&path), mode(&ordinary));
    }
}
