//! What is wrong with a data set? Looks at every image once: damage, sizes, exact and near duplicates.
//!
//! ```text
//! each image:  decode -> hash of its pixels, 16x16 grey thumbnail, 64 bits of its gradients
//! duplicates:  same hash                          -> the same picture
//!              gradients that agree in 61 of 64   -> candidates; near if their thumbnails agree
//! ```
//!
//! The 64 bits say for each of 8x8 places whether the picture, reduced to 9x8 grey values, grows brighter to the right
//! (N. Krawetz, "Kind of Like That", 2013). Two words of 64 bits that differ in at most three bits share one of their four
//! quarters, so candidates are found by quarters, without comparing all pairs.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use fast_image_resize as fir;
use rayon::prelude::*;

use crate::dataset::Dataset;
use crate::error::DataError;
use crate::image::{Image, ImageView};
use crate::split::Split;

/// Side of the thumbnails, in pixels.
const THUMB: u32 = 16;
/// Bits in which the gradients of near duplicates differ at most.
const MAX_BITS: u32 = 3;
/// Mean difference of the thumbnails of near duplicates at most, in grey levels of 255.
const MAX_LEVELS: f64 = 6.0;
/// Correlation of their thumbnails at least: handwritten digits on black differ by few grey levels, and yet are others.
const LEAST_CORRELATION: f64 = 0.995;
/// Thumbnails with a smaller deviation show nothing that could be recognised.
const LEAST_DEVIATION: f64 = 8.0;
/// Images with the same quarter word are compared in windows of this many, so that a set of one motif stays cheap.
const WINDOW: usize = 256;
/// How many images are decoded between two looks at the clock of whoever waits.
const CHUNK: usize = 512;

/// What [`check`] found.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct DataReport {
    /// The training images, then the validation images.
    pub parts: Vec<PartReport>,
    /// Images that cannot be decoded.
    pub bad: Vec<BadImage>,
    /// Groups of pixel-identical images, each of two or more.
    pub duplicates: Vec<Group>,
    /// Pairs of images that differ only a little (size, compression, brightness).
    pub near_duplicates: Vec<Pair>,
}

/// One part of the data.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct PartReport {
    /// `train` or `val`.
    pub part: String,
    /// Images, the bad ones included.
    pub images: usize,
    /// Images of each class, in the order of the classes.
    pub classes: Vec<usize>,
    /// Sizes (width, height) and how many images have them, the most frequent first.
    pub sizes: Vec<([u32; 2], usize)>,
    /// Images with one channel.
    pub grey: usize,
}

/// An image that cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct BadImage {
    /// `train` or `val`.
    pub part: String,
    /// Its name in the data.
    pub image: String,
    /// What is wrong with it.
    pub reason: String,
}

/// An image of the data.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Place {
    /// `train` or `val`.
    pub part: String,
    /// Its name in the data.
    pub image: String,
    /// The name of its class.
    pub class: String,
}

/// Images with the same pixels.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Group {
    /// The images.
    pub images: Vec<Place>,
    /// Whether they are of more than one class.
    pub classes_differ: bool,
    /// Whether some train and some validate.
    pub across: bool,
}

/// Two images with almost the same content.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Pair {
    /// The images.
    pub images: [Place; 2],
    /// Mean difference of their 16x16 grey thumbnails, in levels of 255.
    pub difference: f64,
    /// Whether they are of two classes.
    pub classes_differ: bool,
    /// Whether one trains and one validates.
    pub across: bool,
}

impl DataReport {
    /// The images that training must not see if validation is to mean something: those of `train` whose pixels also
    /// validate, and all but the first of identical ones.
    pub fn superfluous(&self) -> Vec<&Place> {
        let mut names = Vec::new();
        for group in &self.duplicates {
            let validates = group.images.iter().any(|place| place.part == "val");
            let training = group.images.iter().filter(|place| place.part == "train");
            names.extend(training.skip(usize::from(!validates)));
        }
        names
    }

    /// The most frequent class's count over the rarest one's among training images; `None` where a class has none.
    pub fn imbalance(&self) -> Option<f64> {
        let counts = &self.parts.first()?.classes;
        let (most, least) = (*counts.iter().max()?, *counts.iter().min()?);
        (least > 0).then(|| most as f64 / least as f64)
    }
}

/// What is kept of an image.
struct Print {
    split: usize,
    index: usize,
    size: [u32; 2],
    is_grey: bool,
    hash: u64,
    gradients: u64,
    thumb: [u8; (THUMB * THUMB) as usize],
    /// Whether the thumbnail shows something.
    is_distinct: bool,
}

/// Looks at every image of both splits. `near` asks for near duplicates too; `tell` hears how many images are done.
///
/// # Errors
/// None but faults of this program: what is wrong with images is in the report.
pub fn check(set: &Dataset, near: bool, mut tell: impl FnMut(usize)) -> Result<DataReport, DataError> {
    let splits = [&set.train, &set.val];
    let mut report = DataReport::default();
    let mut prints = Vec::new();
    for (number, split) in splits.into_iter().enumerate() {
        let mut sizes: HashMap<[u32; 2], usize> = HashMap::new();
        let mut part = PartReport {
            part: split.name().to_owned(),
            images: split.len(),
            classes: split.class_counts(),
            ..PartReport::default()
        };
        for start in (0..split.len()).step_by(CHUNK) {
            let range = start..(start + CHUNK).min(split.len());
            let taken: Vec<Result<Print, DataError>> =
                range.into_par_iter().with_max_len(16).map(|index| take(split, number, index)).collect();
            for (index, print) in (start..).zip(taken) {
                match print {
                    Ok(print) => {
                        *sizes.entry(print.size).or_default() += 1;
                        part.grey += usize::from(print.is_grey);
                        prints.push(print);
                    }
                    Err(fault) => report.bad.push(BadImage {
                        part: part.part.clone(),
                        image: split.samples()[index].name.clone(),
                        reason: reason_of(fault),
                    }),
                }
            }
            tell(prints.len() + report.bad.len());
        }
        part.sizes = sizes.into_iter().collect();
        part.sizes.sort_by_key(|&(size, count)| (std::cmp::Reverse(count), size));
        report.parts.push(part);
    }
    report.duplicates = duplicates(&prints, &splits);
    if near {
        report.near_duplicates = near_duplicates(&prints, &splits);
    }
    Ok(report)
}

fn reason_of(fault: DataError) -> String {
    match fault {
        DataError::Decode(fault) => fault.reason,
        DataError::Io { source, .. } => format!("it cannot be read: {source}"),
        other => other.to_string(),
    }
}

fn take(split: &Split, number: usize, index: usize) -> Result<Print, DataError> {
    let image = split.image(index)?;
    let mut hasher = DefaultHasher::new();
    (image.width, image.height, image.channels, &image.pixels).hash(&mut hasher);
    let (size, is_grey) = ([image.width, image.height], image.channels == 1);
    let grey = image.into_channels(1)?;
    let thumb = reduced(grey.view(), THUMB, THUMB)?;
    let small = reduced(grey.view(), 9, 8)?;
    let mut gradients = 0;
    for (y, row) in small.chunks_exact(9).enumerate() {
        for (x, pair) in row.windows(2).enumerate() {
            gradients |= u64::from(pair[1] > pair[0]) << (8 * y + x);
        }
    }
    let mean = thumb.iter().map(|&v| f64::from(v)).sum::<f64>() / thumb.len() as f64;
    let spread = thumb.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / thumb.len() as f64;
    let mut kept = [0; (THUMB * THUMB) as usize];
    kept.copy_from_slice(&thumb);
    Ok(Print {
        split: number,
        index,
        size,
        is_grey,
        hash: hasher.finish(),
        gradients,
        thumb: kept,
        is_distinct: spread.sqrt() >= LEAST_DEVIATION,
    })
}

/// A grey image resized to exactly this size.
fn reduced(image: ImageView<'_>, width: u32, height: u32) -> Result<Vec<u8>, DataError> {
    let fault = |e: &dyn std::fmt::Display| DataError::Setting(format!("cannot resize an image: {e}"));
    let mut out = vec![0; (width * height) as usize];
    let from = fir::images::ImageRef::new(image.width, image.height, image.pixels, fir::PixelType::U8)
        .map_err(|e| fault(&e))?;
    let mut to = fir::images::Image::from_slice_u8(width, height, &mut out, fir::PixelType::U8)
        .map_err(|e| fault(&e))?;
    let algorithm = fir::ResizeAlg::Convolution(fir::FilterType::Bilinear);
    let options = fir::ResizeOptions::new().resize_alg(algorithm);
    fir::Resizer::new().resize(&from, &mut to, &options).map_err(|e| fault(&e))?;
    Ok(out)
}

fn place(print: &Print, splits: &[&Split; 2]) -> Place {
    let split = splits[print.split];
    let sample = &split.samples()[print.index];
    Place {
        part: split.name().to_owned(),
        image: sample.name.clone(),
        class: split.classes()[sample.class as usize].clone(),
    }
}

/// The decoded image, to be sure that equal hashes are equal pixels.
fn pixels(print: &Print, splits: &[&Split; 2]) -> Option<Image> {
    splits[print.split].image(print.index).ok()
}

fn duplicates(prints: &[Print], splits: &[&Split; 2]) -> Vec<Group> {
    let mut by_hash: HashMap<(u64, [u32; 2]), Vec<usize>> = HashMap::new();
    for (index, print) in prints.iter().enumerate() {
        by_hash.entry((print.hash, print.size)).or_default().push(index);
    }
    let mut groups: Vec<Vec<usize>> = by_hash.into_values().filter(|group| group.len() > 1).collect();
    groups.sort();
    let same = |group: Vec<usize>| {
        let first = pixels(&prints[group[0]], splits);
        let is_same = |&i: &usize| i == group[0] || pixels(&prints[i], splits) == first;
        let images: Vec<Place> =
            group.iter().filter(|i| is_same(i)).map(|&i| place(&prints[i], splits)).collect();
        (images.len() > 1).then(|| Group {
            classes_differ: images.iter().any(|p| p.class != images[0].class),
            across: images.iter().any(|p| p.part != images[0].part),
            images,
        })
    };
    groups.into_iter().filter_map(same).collect()
}

fn near_duplicates(prints: &[Print], splits: &[&Split; 2]) -> Vec<Pair> {
    let mut pairs: Vec<(usize, usize)> = (0..4)
        .into_par_iter()
        .flat_map_iter(|quarter| {
            let word = |i: usize| (prints[i].gradients >> (16 * quarter)) as u16;
            let mut order: Vec<usize> = (0..prints.len()).filter(|&i| prints[i].is_distinct).collect();
            order.sort_by_key(|&i| (word(i), prints[i].gradients, i));
            let mut found = Vec::new();
            for (at, &a) in order.iter().enumerate() {
                let others = order[at + 1..].iter().take(WINDOW).take_while(|&&b| word(b) == word(a));
                found.extend(
                    others.filter(|&&b| are_near(&prints[a], &prints[b])).map(|&b| (a.min(b), a.max(b))),
                );
            }
            found
        })
        .collect();
    pairs.sort_unstable();
    pairs.dedup();
    let pair = |(a, b): (usize, usize)| {
        let images = [place(&prints[a], splits), place(&prints[b], splits)];
        Pair {
            difference: difference(&prints[a], &prints[b]),
            classes_differ: images[0].class != images[1].class,
            across: images[0].part != images[1].part,
            images,
        }
    };
    pairs.into_iter().map(pair).collect()
}

fn are_near(a: &Print, b: &Print) -> bool {
    let exact = a.hash == b.hash && a.size == b.size;
    !exact
        && (a.gradients ^ b.gradients).count_ones() <= MAX_BITS
        && difference(a, b) <= MAX_LEVELS
        && correlation(a, b) >= LEAST_CORRELATION
}

/// Of the thumbnails' pixels, whatever their brightness and contrast; between -1 and 1.
fn correlation(a: &Print, b: &Print) -> f64 {
    let mean =
        |print: &Print| print.thumb.iter().map(|&v| f64::from(v)).sum::<f64>() / print.thumb.len() as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let [mut both, mut of_a, mut of_b] = [0.0; 3];
    for (&x, &y) in a.thumb.iter().zip(&b.thumb) {
        let (x, y) = (f64::from(x) - mean_a, f64::from(y) - mean_b);
        (both, of_a, of_b) = (both + x * y, of_a + x * x, of_b + y * y);
    }
    both / (of_a * of_b).sqrt().max(f64::MIN_POSITIVE)
}

fn difference(a: &Print, b: &Print) -> f64 {
    let sum: u32 = a.thumb.iter().zip(&b.thumb).map(|(&x, &y)| u32::from(x.abs_diff(y))).sum();
    f64::from(sum) / a.thumb.len() as f64
}
