//! What can go wrong with data, each as one sentence: what, where, and what to do next.

use std::path::{Path, PathBuf};

/// An image that cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot decode image {name}: {reason}")]
pub struct DecodeError {
    /// The file's path, or its name inside the archive.
    pub name: String,
    /// What is wrong with it.
    pub reason: String,
}

impl DecodeError {
    pub(crate) fn new(name: &str, reason: impl Into<String>) -> Self {
        Self { name: name.to_owned(), reason: reason.into() }
    }
}

/// An error while opening, checking or loading data.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file or folder could not be read.
    #[error("cannot read {}: {source}; check that it exists and may be read", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The path is of no kind that can be opened.
    #[error(
        "{}: unknown kind of data ({found}); give a folder of class folders, a .tar or .tar.gz of one, WebDataset \
         shards, a .csv of path,label, a folder of MNIST (IDX) files, or CIFAR binary files",
        path.display()
    )]
    UnknownKind {
        /// The path that was given.
        path: PathBuf,
        /// What was found there.
        found: String,
    },
    /// No class folders were found where they are needed.
    #[error("{place}: holds no class folders; put the images of each class in a folder named after it")]
    NoClasses {
        /// The folder or archive that was searched.
        place: String,
    },
    /// A class folder without images.
    #[error("class folder {folder} holds no images{found}; remove it or add images")]
    EmptyClass {
        /// The folder.
        folder: String,
        /// What it holds instead: empty, or ` (but 3 .gif files)`.
        found: String,
    },
    /// A class folder that the list of classes (`classes.txt`, or the training folders) does not name.
    #[error("class folder {folder} is not among the {count} classes of {list}; add it there or remove it")]
    UnknownClass {
        /// The folder.
        folder: String,
        /// Where the classes come from.
        list: String,
        /// How many classes that list has.
        count: usize,
    },
    /// A file that is damaged, cut short, or not what its name says.
    #[error("{file}: {reason}")]
    Malformed {
        /// The file.
        file: String,
        /// What is wrong, both numbers where two disagree, and what to do.
        reason: String,
    },
    /// Images without the file that holds their labels.
    #[error("{images} has no labels beside it; add {expected} to the same folder")]
    MissingLabels {
        /// The file of images.
        images: String,
        /// The file that is missing.
        expected: String,
    },
    /// An image that cannot be decoded.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Too many images of a split cannot be decoded.
    #[error(
        "{} of {total} images of the {split} split cannot be decoded (at most {allowed} may be left out): {}; \
         repair or remove them",
        bad.len(), first_few(bad)
    )]
    TooManyBad {
        /// `train` or `val`.
        split: String,
        /// The images and their faults.
        bad: Vec<DecodeError>,
        /// How many images the split has.
        total: usize,
        /// How many bad ones would have been tolerated.
        allowed: usize,
    },
    /// A setting that makes no sense, naming it and the value.
    #[error("{0}")]
    Setting(String),
    /// A loader thread panicked: a fault in this program.
    #[error("a data loading thread stopped while making batch {batch}; this is a bug, please report it")]
    Worker {
        /// The batch's index within its epoch.
        batch: usize,
    },
}

impl DataError {
    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    pub(crate) fn malformed(file: &str, reason: impl Into<String>) -> Self {
        Self::Malformed { file: file.to_owned(), reason: reason.into() }
    }
}

/// The first three faults in full, the rest as a count.
fn first_few(bad: &[DecodeError]) -> String {
    let mut text =
        bad.iter().take(3).map(|e| format!("{} ({})", e.name, e.reason)).collect::<Vec<_>>().join(", ");
    if bad.len() > 3 {
        text.push_str(&format!(", and {} more", bad.len() - 3));
    }
    text
}
