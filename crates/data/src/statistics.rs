//! The mean and deviation of a split's pixels, the default normalisation.

use rayon::prelude::*;

use crate::error::DataError;
use crate::image::ImageView;
use crate::rng::{Rng, Stream};
use crate::split::Split;

/// How many images are looked at at most.
const MAX_IMAGES: usize = 10_000;
/// How many images one task counts.
const CHUNK: usize = 64;
/// Below this a channel is constant, and dividing by its deviation would only amplify rounding.
const MIN_STD: f64 = 1e-4;

/// For each channel, how often each byte occurs: exact, so that the order of adding up is of no account.
type Histogram = Vec<[u64; 256]>;

/// The mean and standard deviation of each channel (1 or 3) over all pixels of up to 10,000 images chosen by
/// seed, where pixels are 0 to 1. A constant channel has deviation 1.
///
/// # Errors
/// The split is empty, `channels` is neither 1 nor 3, or an image cannot be decoded ([`Split::verify`] leaves
/// such images out).
pub fn statistics(split: &Split, channels: usize, seed: u64) -> Result<(Vec<f32>, Vec<f32>), DataError> {
    if channels != 1 && channels != 3 {
        return Err(DataError::Setting(format!("an image has 1 or 3 channels, not {channels}")));
    }
    if split.is_empty() {
        let message = format!("the {} split has no images to take the mean of", split.name());
        return Err(DataError::Setting(message));
    }
    let chosen = choose(split.len(), seed);
    let empty = || vec![[0; 256]; channels];
    let histogram = chosen
        .par_chunks(CHUNK)
        .map(|indices| {
            let mut histogram = empty();
            let mut scratch = Vec::new();
            for &index in indices {
                count(split, index as usize, &mut histogram, &mut scratch)?;
            }
            Ok::<_, DataError>(histogram)
        })
        .try_reduce(empty, |a, b| Ok(add(a, &b)))?;
    Ok(histogram.iter().map(mean_and_std).unzip())
}

fn choose(len: usize, seed: u64) -> Vec<u32> {
    let mut indices: Vec<u32> = (0..len as u32).collect();
    if len > MAX_IMAGES {
        Rng::new(seed, Stream::Statistics, 0, 0).shuffle(&mut indices);
        indices.truncate(MAX_IMAGES);
    }
    indices
}

fn count(
    split: &Split,
    index: usize,
    histogram: &mut Histogram,
    scratch: &mut Vec<u8>,
) -> Result<(), DataError> {
    let decoded;
    let mut view: ImageView<'_> = match split.pixels(index) {
        Some(view) => view,
        None => {
            decoded = split.image(index)?;
            decoded.view()
        }
    };
    if usize::from(view.channels) != histogram.len() {
        view.convert(histogram.len() as u8, scratch);
        view = ImageView { channels: histogram.len() as u8, pixels: scratch, ..view };
    }
    for pixel in view.pixels.chunks_exact(histogram.len()) {
        for (counts, &value) in histogram.iter_mut().zip(pixel) {
            counts[usize::from(value)] += 1;
        }
    }
    Ok(())
}

fn add(mut a: Histogram, b: &Histogram) -> Histogram {
    for (a, b) in a.iter_mut().zip(b) {
        a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
    }
    a
}

fn mean_and_std(counts: &[u64; 256]) -> (f32, f32) {
    let total = counts.iter().sum::<u64>().max(1) as f64;
    let moment = |f: &dyn Fn(f64) -> f64| {
        counts.iter().enumerate().map(|(v, &n)| n as f64 * f(v as f64 / 255.0)).sum::<f64>() / total
    };
    let mean = moment(&|v| v);
    let std = moment(&|v| (v - mean) * (v - mean)).sqrt();
    (mean as f32, if std < MIN_STD { 1.0 } else { std as f32 })
}
