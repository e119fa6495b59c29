//! Helpers of the tests: the shared data where it is there, and pictures made on the spot.
#![allow(dead_code, missing_docs)]

use std::io::Cursor;
use std::path::{Path, PathBuf};

/// A path in the shared data, or `None` with a loud word where the folder is missing.
pub fn shared(name: &str) -> Option<PathBuf> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data"));
    if !root.is_dir() {
        eprintln!("skipped: shared data not found at {}", root.display());
        return None;
    }
    Some(root.join(name))
}

/// A picture that no other `seed` gives.
pub fn picture(width: u32, height: u32, seed: u32) -> image::RgbImage {
    image::RgbImage::from_fn(width, height, |x, y| {
        let wave = |k: u32| ((x * (3 + k) + y * (5 + 2 * k) + seed * 37 + k * 80) % 256) as u8;
        image::Rgb([wave(0), wave(1), wave(2)])
    })
}

pub fn encode(image: &image::RgbImage, format: image::ImageFormat) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    image.write_to(&mut out, format).unwrap();
    out.into_inner()
}

pub fn write(root: &Path, name: &str, bytes: &[u8]) {
    let path = root.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// Writes `count` JPEGs for each class of a part (`train/`, or empty).
pub fn write_classes(root: &Path, part: &str, classes: &[&str], count: u32) {
    for (class, name) in (0..).zip(classes) {
        for i in 0..count {
            let bytes = encode(&picture(20, 16, 1000 * class + i), image::ImageFormat::Jpeg);
            write(root, &format!("{part}{name}/{i:03}.jpg"), &bytes);
        }
    }
}
