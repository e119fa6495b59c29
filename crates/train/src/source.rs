//! Which images train and which validate, and what are they like?

use std::path::Path;
use std::sync::Arc;

use ocellus_data::{Dataset, Excluded, Split, SplitLists};

use crate::config::BUILT_IN;
use crate::handling::{Handling, LeftOut, left_out};
use crate::{TrainError, databases};

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
    /// What else was said about it.
    pub handling: Handling,
}

/// Opened data, its damaged images left out.
#[derive(Clone, Debug)]
pub struct Images {
    /// To train on; may be empty.
    pub train: Arc<Split>,
    /// To validate on; may be empty.
    pub val: Arc<Split>,
    /// Whether the division was drawn by seed.
    pub drawn: bool,
    /// Which samples are where, as JSON, if the data itself does not say.
    pub division: Option<String>,
    /// Things worth telling the user, one sentence each.
    pub notes: Vec<String>,
    /// The damaged images that were left out.
    pub left_out: Vec<LeftOut>,
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
        self.verified(self.dataset()?, val_only)
    }

    /// The same for a model that was not trained on this data: where nothing divides it, all images validate.
    ///
    /// Errors: as [`Source::open`].
    pub fn open_unseen(&self) -> Result<Images, TrainError> {
        let mut set = self.dataset()?;
        let asked = self.handling.split.is_some() || self.handling.disjoint_classes;
        if set.drawn && !asked {
            let SplitLists { train, mut val } = set.split_lists();
            val.extend(train);
            set.divide(&SplitLists { train: Vec::new(), val })?;
            set.drawn = false;
            set.notes.push(
                "the data has no val folder, so all of it is measured; if the model was trained on a part of it, name the \
                 division by --split FILE"
                    .into(),
            );
        }
        self.verified(set, true)
    }

    fn verified(&self, mut set: Dataset, val_only: bool) -> Result<Images, TrainError> {
        let verification = self.handling.verification()?;
        let drawn = set.drawn && self.handling.split.is_none();
        let unsaid = set.drawn || self.handling.split.is_some();
        let division = unsaid.then(|| serde_json::to_string(&set.split_lists()).ok()).flatten();
        let mut notes = std::mem::take(&mut set.notes);
        let mut excluded = Vec::new();
        if !val_only {
            excluded.push(set.train.verify(&verification)?);
        }
        excluded.push(set.val.verify(&verification)?);
        notes.extend(excluded.iter().flat_map(told));
        let left_out = excluded.iter().flat_map(left_out).collect();
        Ok(Images { train: Arc::new(set.train), val: Arc::new(set.val), drawn, division, notes, left_out })
    }

    /// Opens the data without looking at the images.
    ///
    /// Errors: nothing readable is there.
    pub fn dataset(&self) -> Result<Dataset, TrainError> {
        let mut set = self.divided()?;
        // A division that was written down stands.
        if self.handling.disjoint_classes && self.handling.split.is_none() {
            let lists = set.lists_by_class(self.val_fraction, self.seed)?;
            set.divide(&lists)?;
            set.drawn = true;
        }
        Ok(set)
    }

    /// The data as it is divided by itself or by seed.
    fn divided(&self) -> Result<Dataset, TrainError> {
        let options = self.handling.options(self.val_fraction, self.seed)?;
        let path = Path::new(&self.data);
        if self.data == BUILT_IN || (self.data == "digits" && !path.exists()) {
            let mut set = Dataset::digits(self.seed)?;
            set.restrict(&options)?;
            return Ok(set);
        }
        if databases::are_at(path) {
            return databases::open(path, &options);
        }
        Ok(Dataset::open(path, &options)?)
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

fn told(excluded: &Excluded) -> Vec<String> {
    let count = excluded.images.len();
    let left_out = excluded.images.iter().take(3).map(|bad| bad.to_string());
    let mut notes: Vec<String> = left_out.map(|fault| format!("left out: {fault}")).collect();
    if count > 3 {
        notes.push(format!("left out: {} more of {} images", count - 3, excluded.checked));
    }
    notes
}
