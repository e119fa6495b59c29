//! The built-in digits (see `assets/README.md` for their origin and licence).

use std::io::Read;
use std::sync::Arc;

use flate2::read::GzDecoder;

use crate::dataset::{Dataset, draw_validation};
use crate::error::DataError;
use crate::image::ImageView;
use crate::split::{Location, PixelStore, Sample, Split};

const PACKED: &[u8] = include_bytes!("../../assets/digits.csv.gz");
const FILE: &str = "the built-in digits";
const SIDE: u32 = 8;
const PIXELS: usize = (SIDE * SIDE) as usize;
const VAL_FRACTION: f64 = 0.2;

pub(crate) fn load(seed: u64) -> Result<Dataset, DataError> {
    let mut text = String::new();
    GzDecoder::new(PACKED)
        .read_to_string(&mut text)
        .map_err(|e| DataError::malformed(FILE, format!("cannot be unpacked ({e}); this is a bug")))?;
    let rows = text.lines().map(parse_row).collect::<Option<Vec<_>>>();
    let rows = rows.ok_or_else(|| DataError::malformed(FILE, "are not 64 values and a label a line"))?;
    let classes: Arc<[String]> = (0..10).map(|digit: u32| digit.to_string()).collect();
    let samples: Vec<Sample> = rows.iter().enumerate().map(|(i, (_, class))| sample(i, *class)).collect();
    let chosen = draw_validation(&samples, classes.len(), VAL_FRACTION, seed);
    let part = |name: &str, wanted: bool| {
        let mut kept = Vec::new();
        let mut store = PixelStore::default();
        for index in (0..samples.len()).filter(|&i| chosen[i] == wanted) {
            store.push(ImageView { width: SIDE, height: SIDE, channels: 1, pixels: &rows[index].0 });
            kept.push(samples[index].clone());
        }
        Split::decoded(name, classes.clone(), kept, store)
    };
    Ok(Dataset { train: part("train", false), val: part("val", true), drawn: true, notes: Vec::new() })
}

fn sample(index: usize, class: u32) -> Sample {
    Sample { class, name: format!("digits#{index}"), location: Location::Pixels }
}

/// 64 values 0 to 16, scaled to 0 to 255, and the label.
fn parse_row(line: &str) -> Option<([u8; PIXELS], u32)> {
    let mut fields = line.split(',');
    let mut pixels = [0; PIXELS];
    for pixel in &mut pixels {
        let value: u32 = fields.next()?.trim().parse().ok().filter(|&v| v <= 16)?;
        *pixel = ((value * 255 + 8) / 16) as u8;
    }
    let label = fields.next()?.trim().parse().ok().filter(|&l| l < 10)?;
    fields.next().is_none().then_some((pixels, label))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_divide_evenly_and_repeatably() {
        let a = load(0).unwrap();
        assert_eq!(a.train.len() + a.val.len(), 1797);
        assert_eq!(a.train.image(0).unwrap().pixels.len(), 64);
        for (train, val) in a.train.class_counts().into_iter().zip(a.val.class_counts()) {
            assert!((0.195..0.205).contains(&(val as f64 / (train + val) as f64)));
        }
        assert_eq!(a.split_lists(), load(0).unwrap().split_lists());
        assert_ne!(a.split_lists(), load(1).unwrap().split_lists());
    }

    #[test]
    fn values_are_scaled() {
        let (pixels, label) = parse_row(&format!("16,8,1{},7", ",0".repeat(61))).unwrap();
        assert_eq!((pixels[0], pixels[1], pixels[2], label), (255, 128, 16, 7));
        assert!(parse_row("17").is_none());
    }
}
