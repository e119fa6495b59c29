//! A data set: a training and a validation split with the same classes.

use std::path::Path;
use std::sync::Arc;

use crate::error::DataError;
use crate::rng::{Rng, Stream};
use crate::sources;
use crate::split::{Sample, Split};

/// How [`Dataset::open`] reads and divides data.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenOptions {
    /// The share of each class that validates, where the data does not say; above 0 and below 1.
    pub val_fraction: f64,
    /// The seed of that division.
    pub seed: u64,
    /// The most bytes of encoded images that an archive may put in memory.
    pub max_archive_bytes: u64,
}

impl Default for OpenOptions {
    /// 20 % for validation, seed 0, archives up to 16 GiB.
    fn default() -> Self {
        Self { val_fraction: 0.2, seed: 0, max_archive_bytes: 16 << 30 }
    }
}

/// Which samples are in which split, by name, so that the division can be written down.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SplitLists {
    /// Names of the training samples.
    pub train: Vec<String>,
    /// Names of the validation samples.
    pub val: Vec<String>,
}

/// A training and a validation split with the same classes. Either may be empty.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// The samples to train on; empty when there is only test data.
    pub train: Split,
    /// The samples to validate on.
    pub val: Split,
    /// Whether the division was drawn by seed, as the data itself gave none.
    pub drawn: bool,
    /// Things worth telling the user, such as files that were passed over; one sentence each.
    pub notes: Vec<String>,
}

impl Dataset {
    /// Opens a data set:
    ///
    /// - a folder with `train/` and `val/` (or `valid`, `validation`, `test`, in this order of preference) of
    ///   class folders. Class folders are searched to any depth for .jpg and .png files. The classes are
    ///   the sorted folder names, or the lines of `classes.txt` where there is one;
    /// - a folder of class folders, divided by seed into the same share of each class;
    /// - a `.tar` or `.tar.gz` of either, possibly inside one leading folder;
    /// - a folder (or archive) with `*-images-idx3-ubyte` and `*-labels-idx1-ubyte`, gzipped or not: `train*` is
    ///   for training, all else for validation; or one such file of images;
    /// - a folder (or archive) with CIFAR-10's `data_batch_*.bin` and `test_batch.bin`, or one `.bin` or
    ///   `.bin.gz` of such records, for validation.
    ///
    /// No image is decoded yet; see [`Split::verify`].
    ///
    /// # Errors
    /// Nothing of these kinds is there, or it is damaged or incomplete; the message says what to do.
    pub fn open(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Self, DataError> {
        if !(options.val_fraction > 0.0 && options.val_fraction < 1.0) {
            let message =
                format!("the validation share must lie between 0 and 1, not {}", options.val_fraction);
            return Err(DataError::Setting(message));
        }
        sources::open(path.as_ref(), options)
    }

    /// The built-in digits: 1,797 grey 8x8 images of handwritten digits, 80 % of each class for training.
    ///
    /// "Optical Recognition of Handwritten Digits", E. Alpaydin and C. Kaynak, UCI Machine Learning
    /// Repository, CC BY 4.0. The values 0 to 16 are scaled to 0 to 255.
    ///
    /// # Errors
    /// None that a correct build can meet.
    pub fn digits(seed: u64) -> Result<Self, DataError> {
        sources::digits::load(seed)
    }

    /// The class names, in the order of their indices.
    pub fn classes(&self) -> &Arc<[String]> {
        self.train.classes()
    }

    /// The names of the samples of both splits.
    pub fn split_lists(&self) -> SplitLists {
        let names = |split: &Split| split.samples().iter().map(|s| s.name.clone()).collect();
        SplitLists { train: names(&self.train), val: names(&self.val) }
    }
}

/// Draws the samples that validate: of each class the same share, rounded, but at least one and not all
/// where the class has two or more. Depends on the seed and the samples' order only.
pub(crate) fn draw_validation(samples: &[Sample], classes: usize, fraction: f64, seed: u64) -> Vec<bool> {
    let mut by_class = vec![Vec::new(); classes];
    for (index, sample) in samples.iter().enumerate() {
        by_class[sample.class as usize].push(index);
    }
    let mut chosen = vec![false; samples.len()];
    for (class, mut members) in by_class.into_iter().enumerate() {
        let count = (members.len() as f64 * fraction).round() as usize;
        let count = if members.len() < 2 { 0 } else { count.clamp(1, members.len() - 1) };
        Rng::new(seed, Stream::Split, 0, class as u32).shuffle(&mut members);
        members[..count].iter().for_each(|&index| chosen[index] = true);
    }
    chosen
}
