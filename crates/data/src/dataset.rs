//! A data set: a training and a validation split with the same classes.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use crate::error::DataError;
use crate::image::Image;
use crate::rng::{Rng, Stream};
use crate::sources;
use crate::split::{Location, PixelStore, Sample, Split};

/// How [`Dataset::open`] reads and divides data.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenOptions {
    /// The share of each class that validates, where the data does not say; above 0 and below 1.
    pub val_fraction: f64,
    /// The seed of that division.
    pub seed: u64,
    /// The most bytes of encoded images that an archive may put in memory.
    pub max_archive_bytes: u64,
    /// Names of samples to leave out (see [`Dataset::exclude`]).
    pub exclude: Vec<String>,
    /// Which samples train and which validate, in the place of what the data says or the seed draws.
    pub split: Option<SplitLists>,
}

impl Default for OpenOptions {
    /// 20 % for validation, seed 0, archives up to 16 GiB.
    fn default() -> Self {
        Self { val_fraction: 0.2, seed: 0, max_archive_bytes: 16 << 30, exclude: Vec::new(), split: None }
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

/// An image in memory and its class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelledImage {
    /// What to call it; unique.
    pub name: String,
    /// The index of its class.
    pub class: u32,
    /// Its pixels, or the bytes of an image file.
    pub content: Content,
}

/// What an image in memory is kept as; one data set keeps all of them the same way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Decoded.
    Pixels(Image),
    /// The bytes of an image file.
    Encoded(Vec<u8>),
}

fn split_of(name: &str, classes: &Arc<[String]>, images: Vec<LabelledImage>) -> Result<Split, DataError> {
    let (mut samples, mut store) = (Vec::with_capacity(images.len()), PixelStore::default());
    let mut decoded = 0;
    for LabelledImage { name, class, content } in images {
        if class as usize >= classes.len() {
            let count = classes.len();
            return Err(DataError::Setting(format!(
                "{name} has class {class}, but there are {count} classes"
            )));
        }
        let location = match content {
            Content::Encoded(bytes) => Location::Encoded(bytes.into()),
            Content::Pixels(image) => {
                image.check(&name)?;
                store.push(image.view());
                decoded += 1;
                Location::Pixels
            }
        };
        samples.push(Sample { class, name, location });
    }
    if decoded != 0 && decoded != samples.len() {
        return Err(DataError::Setting("some images are decoded and some are not".into()));
    }
    Ok(if decoded == 0 {
        Split::new(name, classes.clone(), samples)
    } else {
        Split::decoded(name, classes.clone(), samples, store)
    })
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
    /// - a folder with `train/` and `val/` (or `valid`, `validation`, `dev`, `test`, in this order of preference) of
    ///   class folders. Class folders are searched to any depth for images (.jpg, .png, .gif, .webp, .bmp, .tif,
    ///   .ppm, ...). The classes are the sorted folder names, or the lines of `classes.txt` where there is one;
    /// - a folder of class folders, divided by seed into the same share of each class;
    /// - a `.tar` or `.tar.gz` of either, possibly inside one leading folder;
    /// - tar shards in WebDataset's form (an image and its .cls or .json under one key): one file, a folder of them,
    ///   or a pattern such as `train-{000..015}.tar`. Plain archives are not read into memory;
    /// - a .csv or .tsv of path,label (and perhaps split), or a folder with `train.csv` and `val.csv`;
    /// - a folder (or archive) with `*-images-idx3-ubyte` and `*-labels-idx1-ubyte`, gzipped or not: `train*` is
    ///   for training, all else for validation; or one such file of images;
    /// - a folder (or archive) with CIFAR-10's `data_batch_*.bin` and `test_batch.bin` or CIFAR-100's `train.bin` and
    ///   `test.bin`, or one `.bin` or `.bin.gz` of such records, for validation.
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
        let mut set = sources::open(path.as_ref(), options)?;
        set.restrict(options)?;
        Ok(set)
    }

    /// A data set of images that are already in memory; without `val`, the share that validates is drawn by seed.
    ///
    /// # Errors
    /// An image has a class that is not there, or its fields contradict each other.
    pub fn of_images(
        classes: Vec<String>,
        train: Vec<LabelledImage>,
        val: Option<Vec<LabelledImage>>,
        options: &OpenOptions,
    ) -> Result<Self, DataError> {
        let classes: Arc<[String]> = classes.into();
        let drawn = val.is_none();
        let all = split_of("train", &classes, train)?;
        let mut set = Dataset {
            val: split_of("val", &classes, val.unwrap_or_default())?,
            train: all,
            drawn,
            notes: Vec::new(),
        };
        if drawn {
            let chosen =
                draw_validation(set.train.samples(), classes.len(), options.val_fraction, options.seed);
            let pick = |wanted: bool| -> Vec<(&Split, usize)> {
                (0..chosen.len()).filter(|&i| chosen[i] == wanted).map(|i| (&set.train, i)).collect()
            };
            let val = Split::gather("val", classes.clone(), &pick(true));
            set.train = Split::gather("train", classes.clone(), &pick(false));
            set.val = val;
        }
        set.restrict(options)?;
        Ok(set)
    }

    /// Leaves out and divides as `options` say.
    ///
    /// # Errors
    /// As [`Dataset::divide`].
    pub fn restrict(&mut self, options: &OpenOptions) -> Result<(), DataError> {
        if let Some(lists) = &options.split {
            self.divide(lists)?;
        }
        if !options.exclude.is_empty() {
            let found = self.exclude(&options.exclude);
            let named = options.exclude.len();
            let missing = if found < named {
                format!(" ({} of the {named} names on the list are not in the data)", named - found)
            } else {
                String::new()
            };
            self.notes.push(format!("left out as listed: {found} images{missing}"));
        }
        Ok(())
    }

    /// Leaves out the samples of these names (as in [`Sample::name`]); gives how many there were.
    pub fn exclude(&mut self, names: &[String]) -> usize {
        let names: HashSet<&str> = names.iter().map(String::as_str).collect();
        let before = self.train.len() + self.val.len();
        for split in [&mut self.train, &mut self.val] {
            split.retain(|sample| !names.contains(sample.name.as_str()));
        }
        before - self.train.len() - self.val.len()
    }

    /// Divides all samples as the lists say. Samples that neither list names are left out, with a note.
    ///
    /// # Errors
    /// A list names a sample that is not there.
    pub fn divide(&mut self, lists: &SplitLists) -> Result<(), DataError> {
        let old = self.clone();
        let everywhere: HashMap<&str, (&Split, usize)> = [&old.train, &old.val]
            .into_iter()
            .flat_map(|split| {
                split.samples().iter().enumerate().map(move |(i, s)| (s.name.as_str(), (split, i)))
            })
            .collect();
        let take = |split: &str, names: &[String]| -> Result<Split, DataError> {
            let find = |name: &String| everywhere.get(name.as_str()).copied();
            if let Some(missing) = names.iter().find(|name| find(name).is_none()) {
                let count = names.iter().filter(|name| find(name).is_none()).count();
                return Err(DataError::Setting(format!(
                    "the {split} list of the split names {count} images that the data does not have, such as \
                     {missing}; restore them, or divide the data anew"
                )));
            }
            let found: Vec<_> = names.iter().filter_map(find).collect();
            Ok(Split::gather(split, old.classes().clone(), &found))
        };
        (self.train, self.val) = (take("train", &lists.train)?, take("val", &lists.val)?);
        let unused = everywhere.len().saturating_sub(lists.train.len() + lists.val.len());
        if unused > 0 {
            self.notes.push(format!("{unused} images that the split does not name were not used"));
        }
        Ok(())
    }

    /// A division in which no class is in both splits: the share `fraction` of the classes, at least two, validates, drawn
    /// by seed; see [`Dataset::divide`].
    ///
    /// # Errors
    /// There are fewer than four classes with images.
    pub fn lists_by_class(&self, fraction: f64, seed: u64) -> Result<SplitLists, DataError> {
        let all = || self.train.samples().iter().chain(self.val.samples());
        let mut classes: Vec<u32> = all().map(|sample| sample.class).collect();
        classes.sort_unstable();
        classes.dedup();
        let count = classes.len();
        if count < 4 {
            return Err(DataError::Setting(format!(
                "classes that differ between training and validation need at least four in all, two for each; the data \
                 has images of {count}"
            )));
        }
        Rng::new(seed, Stream::Classes, 0, 0).shuffle(&mut classes);
        classes.truncate(((count as f64 * fraction).round() as usize).clamp(2, count - 2));
        let names = |validates: bool| {
            let own = all().filter(|sample| classes.contains(&sample.class) == validates);
            own.map(|sample| sample.name.clone()).collect()
        };
        Ok(SplitLists { train: names(false), val: names(true) })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_class_is_on_both_sides() {
        let mut set = Dataset::digits(0).unwrap();
        let whole = set.train.len() + set.val.len();
        let lists = set.lists_by_class(0.3, 1).unwrap();
        assert_eq!(lists, set.lists_by_class(0.3, 1).unwrap());
        assert_ne!(lists, set.lists_by_class(0.3, 2).unwrap());
        set.divide(&lists).unwrap();
        let has = |split: &Split| split.class_counts().iter().map(|&n| n > 0).collect::<Vec<_>>();
        let (train, val) = (has(&set.train), has(&set.val));
        assert_eq!(val.iter().filter(|&&has| has).count(), 3);
        assert!(train.iter().zip(&val).all(|(train, val)| train != val), "{train:?} {val:?}");
        assert_eq!(set.train.len() + set.val.len(), whole);
    }
}
