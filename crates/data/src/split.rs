//! One part of a data set (training or validation): its samples, and their pixels where they are kept.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use crate::decode;
use crate::error::{DataError, DecodeError};
use crate::image::{Image, ImageView};

/// How many images are decoded between two looks at the memory budget.
const VERIFY_CHUNK: usize = 512;
/// Images up to this many pixels a side count as small.
const SMALL_SIDE: u32 = 64;
/// Small images are kept up to this many times the budget.
const SMALL_BUDGET_FACTOR: u64 = 8;

/// One labelled image.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The index of its class.
    pub class: u32,
    /// Its path inside the folder or archive (`train/cat/17.jpg`), or file and index (`t10k#17`).
    pub name: String,
    pub(crate) location: Location,
}

/// Where a sample's bytes are.
#[derive(Debug, Clone)]
pub(crate) enum Location {
    /// An encoded file on disk.
    File(PathBuf),
    /// An encoded member of an archive, in memory.
    Encoded(Arc<[u8]>),
    /// An encoded member of an archive on disk.
    Range { file: Arc<Path>, start: u64, length: u64 },
    /// Decoded, in the split's pixel store at the sample's own index.
    Pixels,
}

/// Width, height and channels of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageShape {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// 1 or 3.
    pub channels: u8,
}

/// Decoded images one after the other.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct PixelStore {
    bytes: Vec<u8>,
    entries: Vec<(usize, ImageShape)>,
}

impl PixelStore {
    pub(crate) fn push(&mut self, image: ImageView<'_>) {
        let ImageView { width, height, channels, pixels } = image;
        self.entries.push((self.bytes.len(), ImageShape { width, height, channels }));
        self.bytes.extend_from_slice(pixels);
    }

    pub(crate) fn get(&self, index: usize) -> Option<ImageView<'_>> {
        let &(start, ImageShape { width, height, channels }) = self.entries.get(index)?;
        let length = width as usize * height as usize * usize::from(channels);
        Some(ImageView { width, height, channels, pixels: self.bytes.get(start..start + length)? })
    }

    fn uniform_shape(&self) -> Option<ImageShape> {
        let first = self.entries.first()?.1;
        self.entries.iter().all(|e| e.1 == first).then_some(first)
    }
}

/// How [`Split::verify`] goes about it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VerifyOptions {
    /// The share of images that may be undecodable, 0 to 1. One bad image is always tolerated.
    pub max_bad_share: f64,
    /// Keep the decoded pixels when all of them fit in this many bytes (eight times as many where no
    /// image is larger than 64x64). 0 keeps none.
    pub memory_budget: u64,
}

impl Default for VerifyOptions {
    /// 1 % may be bad; 1 GiB of pixels is kept.
    fn default() -> Self {
        Self { max_bad_share: 0.01, memory_budget: 1 << 30 }
    }
}

/// The images that [`Split::verify`] left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Excluded {
    /// The images and their faults, in the order of the samples.
    pub images: Vec<DecodeError>,
    /// The names of their samples.
    pub names: Vec<String>,
    /// How many images were looked at.
    pub checked: usize,
}

/// One part of a data set.
#[derive(Debug, Clone)]
pub struct Split {
    name: String,
    classes: Arc<[String]>,
    samples: Vec<Sample>,
    pixels: PixelStore,
    /// Width and height of each sample, once it has been looked at.
    sizes: Vec<[u32; 2]>,
}

impl Split {
    pub(crate) fn new(name: &str, classes: Arc<[String]>, samples: Vec<Sample>) -> Self {
        Self { name: name.to_owned(), classes, samples, pixels: PixelStore::default(), sizes: Vec::new() }
    }

    /// `pixels` holds one image for each sample, in their order.
    pub(crate) fn decoded(
        name: &str,
        classes: Arc<[String]>,
        samples: Vec<Sample>,
        pixels: PixelStore,
    ) -> Self {
        debug_assert_eq!(samples.len(), pixels.entries.len());
        Self { name: name.to_owned(), classes, samples, pixels, sizes: Vec::new() }
    }

    /// `train` or `val`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The number of samples.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// The class names; a sample's class is an index into them.
    pub fn classes(&self) -> &Arc<[String]> {
        &self.classes
    }

    /// All samples, in a fixed order.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// How many samples each class has.
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        for sample in &self.samples {
            counts[sample.class as usize] += 1;
        }
        counts
    }

    /// Width and height of each sample; `None` before [`Split::verify`], if they are not decoded.
    pub fn sizes(&self) -> Option<Vec<[u32; 2]>> {
        if self.is_decoded() {
            return Some(self.pixels.entries.iter().map(|(_, shape)| [shape.width, shape.height]).collect());
        }
        (self.sizes.len() == self.samples.len()).then(|| self.sizes.clone())
    }

    /// Keeps the samples for which `keep` holds.
    pub(crate) fn retain(&mut self, keep: impl Fn(&Sample) -> bool) {
        let kept: Vec<bool> = self.samples.iter().map(keep).collect();
        let is_kept = |flags: &mut std::slice::Iter<'_, bool>| flags.next() == Some(&true);
        let mut flags = kept.iter();
        if self.is_decoded() {
            self.pixels.entries.retain(|_| is_kept(&mut flags));
        }
        let mut flags = kept.iter();
        if self.sizes.len() == self.samples.len() {
            self.sizes.retain(|_| is_kept(&mut flags));
        }
        let mut flags = kept.iter();
        self.samples.retain(|_| is_kept(&mut flags));
    }

    /// A split of some samples of others with the same classes, in the given order. All of them are decoded or none.
    pub(crate) fn gather(name: &str, classes: Arc<[String]>, from: &[(&Split, usize)]) -> Split {
        let mut store = PixelStore::default();
        let samples = from.iter().map(|(split, index)| split.samples[*index].clone()).collect();
        for view in from.iter().filter_map(|(split, index)| split.pixels(*index)) {
            store.push(view);
        }
        Split { name: name.to_owned(), classes, samples, pixels: store, sizes: Vec::new() }
    }

    /// Whether the decoded pixels are in memory.
    pub fn is_decoded(&self) -> bool {
        !self.samples.is_empty() && self.pixels.entries.len() == self.samples.len()
    }

    /// The shape all images share; `None` when they differ, or while they are not decoded in memory.
    pub fn uniform_shape(&self) -> Option<ImageShape> {
        if self.is_decoded() { self.pixels.uniform_shape() } else { None }
    }

    /// The decoded pixels of a sample, where they are in memory.
    pub fn pixels(&self, index: usize) -> Option<ImageView<'_>> {
        self.pixels.get(index)
    }

    /// The image of a sample, decoded if need be, with its own number of channels.
    ///
    /// # Errors
    /// There is no such sample, or its image cannot be read or decoded.
    pub fn image(&self, index: usize) -> Result<Image, DataError> {
        if let Some(view) = self.pixels(index) {
            return Ok(view.to_image());
        }
        let sample = self.samples.get(index).ok_or_else(|| {
            DataError::Setting(format!(
                "there is no sample {index}: the {} split has {}",
                self.name,
                self.len()
            ))
        })?;
        match &sample.location {
            Location::File(path) => Image::open(path),
            Location::Encoded(bytes) => Ok(decode::decode(bytes, &sample.name)?),
            Location::Range { file, start, length } => {
                Ok(decode::decode(&decode::read_range(file, *start, *length)?, &sample.name)?)
            }
            Location::Pixels => Err(DecodeError::new(&sample.name, "its pixels are not in memory").into()),
        }
    }

    /// Decodes every image once, in parallel, leaves out those that cannot be decoded, and keeps the
    /// pixels of the others where they fit in memory. The files themselves are never changed.
    ///
    /// A split already decoded in memory is left as it is.
    ///
    /// # Errors
    /// More than `max(1, max_bad_share * len)` images are bad, or none is left. A file that cannot be read
    /// counts as bad.
    pub fn verify(&mut self, options: &VerifyOptions) -> Result<Excluded, DataError> {
        if !(0.0..=1.0).contains(&options.max_bad_share) {
            let message = format!("max_bad_share must lie between 0 and 1, not {}", options.max_bad_share);
            return Err(DataError::Setting(message));
        }
        let checked = self.len();
        if self.is_empty() || self.is_decoded() {
            return Ok(Excluded { checked, ..Excluded::default() });
        }
        let mut keeper = Keeper::new(options.memory_budget);
        let mut bad = Vec::new();
        let mut good = vec![true; checked];
        let mut sizes = Vec::with_capacity(checked);
        for start in (0..checked).step_by(VERIFY_CHUNK) {
            let end = (start + VERIFY_CHUNK).min(checked);
            let images = self.decode_range(start..end, keeper.store.is_some());
            for (index, image) in (start..end).zip(images) {
                match image {
                    Ok((size, image)) => {
                        sizes.push(size);
                        image.iter().for_each(|image| keeper.keep(image));
                    }
                    Err(error) => {
                        good[index] = false;
                        bad.push(as_decode_error(error, &self.samples[index].name));
                    }
                }
            }
        }
        let allowed = ((options.max_bad_share * checked as f64) as usize).max(1);
        if bad.len() > allowed || bad.len() == checked {
            let split = self.name.clone();
            return Err(DataError::TooManyBad { split, bad, total: checked, allowed });
        }
        let names = self.samples.iter().zip(&good).filter(|(_, good)| !**good).map(|(s, _)| s.name.clone());
        let names = names.collect();
        let mut flags = good.iter();
        self.samples.retain(|_| flags.next() == Some(&true));
        self.sizes = sizes;
        if let Some(pixels) = keeper.store {
            self.pixels = pixels;
            self.samples.iter_mut().for_each(|s| s.location = Location::Pixels);
        }
        Ok(Excluded { images: bad, names, checked })
    }

    /// Decodes some samples in parallel: their sizes, and the images themselves if they are to be kept. (A chunk's
    /// pixels are held together only while there is hope of keeping them all.)
    fn decode_range(&self, range: std::ops::Range<usize>, keeping: bool) -> Vec<Decoded> {
        let decode = |i| {
            let image = self.image(i)?;
            Ok(([image.width, image.height], keeping.then_some(image)))
        };
        range.into_par_iter().with_max_len(16).map(decode).collect()
    }
}

/// Width and height, and the image if it is to be kept.
type Decoded = Result<([u32; 2], Option<Image>), DataError>;

/// An unreadable file counts as a bad image too.
fn as_decode_error(error: DataError, name: &str) -> DecodeError {
    match error {
        DataError::Decode(error) => error,
        DataError::Io { path, source } => {
            DecodeError::new(&path.display().to_string(), format!("it cannot be read: {source}"))
        }
        other => DecodeError::new(name, other.to_string()),
    }
}

/// Keeps pixels until they outgrow the budget, then none.
struct Keeper {
    budget: u64,
    all_small: bool,
    store: Option<PixelStore>,
}

impl Keeper {
    fn new(budget: u64) -> Self {
        Self { budget, all_small: true, store: (budget > 0).then(PixelStore::default) }
    }

    fn keep(&mut self, image: &Image) {
        let Some(store) = &mut self.store else { return };
        self.all_small &= image.width.max(image.height) <= SMALL_SIDE;
        let limit = self.budget.saturating_mul(if self.all_small { SMALL_BUDGET_FACTOR } else { 1 });
        if (store.bytes.len() + image.pixels.len()) as u64 > limit {
            self.store = None;
        } else {
            store.push(image.view());
        }
    }
}
