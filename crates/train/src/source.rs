//! Which images train and which validate, and what are they like?

use std::path::Path;
use std::sync::Arc;

use ocellus_data::{Dataset, Excluded, OpenOptions, Split, VerifyOptions};

use crate::TrainError;
use crate::config::BUILT_IN;

/// How many images are looked at to tell what a large data set is like.
const PROBES: usize = 16;
/// Images with sides up to this many pixels are small: a network is fitted to them, not they to the network.
const SMALL: u32 = 96;

/// Where images come from.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// A path, or [`BUILT_IN`].
    pub data: String,
    /// Share that validates, where the data does not say.
    pub val_fraction: f64,
    /// Seed of that division.
    pub seed: u64,
}

/// Opened data, its damaged images left out.
#[derive(Clone, Debug)]
pub struct Images {
    /// To train on; may be empty.
    pub train: Arc<Split>,
    /// To validate on; may be empty.
    pub val: Arc<Split>,
    /// Which samples are where, as JSON, if that was drawn by seed.
    pub drawn: Option<String>,
    /// Things worth telling the user, one sentence each.
    pub notes: Vec<String>,
}

/// What the images of a split are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// 1 if all are grey, else 3.
    pub channels: usize,
    /// Height and width, if all (that were looked at) are of one small size.
    pub small: Option<[u32; 2]>,
}

impl Source {
    /// Opens the data and decodes every image of both splits (or of `val` alone) once, to leave out the damaged ones.
    ///
    /// Errors: nothing readable is there, or more images are damaged than the data crate tolerates.
    pub fn open(&self, val_only: bool) -> Result<Images, TrainError> {
        let built_in = self.data == BUILT_IN || (self.data == "digits" && !Path::new("digits").exists());
        let mut set = if built_in {
            Dataset::digits(self.seed)?
        } else {
            let options =
                OpenOptions { val_fraction: self.val_fraction, seed: self.seed, ..OpenOptions::default() };
            Dataset::open(&self.data, &options)?
        };
        let drawn = set.drawn.then(|| serde_json::to_string(&set.split_lists()).ok()).flatten();
        let mut notes = std::mem::take(&mut set.notes);
        if !val_only {
            notes.extend(told(set.train.verify(&VerifyOptions::default())?));
        }
        notes.extend(told(set.val.verify(&VerifyOptions::default())?));
        Ok(Images { train: Arc::new(set.train), val: Arc::new(set.val), drawn, notes })
    }
}

impl Images {
    /// CRC-32 of names and classes of the training images, in order.
    pub fn identity(&self) -> u32 {
        let mut hash = crc32fast::Hasher::new();
        for sample in self.train.samples() {
            hash.update(sample.name.as_bytes());
            hash.update(&sample.class.to_le_bytes());
        }
        hash.finalize()
    }
}

/// What a split's images are like.
///
/// Errors: the split is empty, or an image cannot be decoded.
pub fn kind_of(split: &Split) -> Result<Kind, TrainError> {
    if let Some(shape) = split.uniform_shape() {
        let small = shape.width.max(shape.height) <= SMALL;
        let size = small.then_some([shape.height, shape.width]);
        return Ok(Kind { channels: shape.channels.into(), small: size });
    }
    let step = split.len().div_ceil(PROBES).max(1);
    let mut channels = 1;
    for index in (0..split.len()).step_by(step) {
        channels = channels.max(split.image(index)?.channels.into());
    }
    Ok(Kind { channels, small: None })
}

fn told(excluded: Excluded) -> Vec<String> {
    let count = excluded.images.len();
    let left_out = excluded.images.iter().take(3).map(|bad| bad.to_string());
    let mut notes: Vec<String> = left_out.map(|fault| format!("left out: {fault}")).collect();
    if count > 3 {
        notes.push(format!("left out: {} more of {} images", count - 3, excluded.checked));
    }
    notes
}
