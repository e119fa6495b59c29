//! Caffe's LMDB databases as training data.

use std::path::{Path, PathBuf};

use ocellus_data::{Content, Dataset, Image, LabelledImage, OpenOptions};
use ocellus_formats::FormatError;
use ocellus_formats::caffe::{Datum, Pixels};
use ocellus_formats::lmdb::Lmdb;

use crate::TrainError;

/// Words in the names of databases that validate.
const VAL_WORDS: [&str; 4] = ["val", "valid", "validation", "test"];

/// Whether the path is a database, or a folder of databases.
pub(crate) fn are_at(path: &Path) -> bool {
    Lmdb::is_at(path) || !inside(path).is_empty()
}

/// The databases in a folder, sorted.
fn inside(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(path) else { return Vec::new() };
    let mut found: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|p| p.is_dir() && Lmdb::is_at(p)).collect();
    found.sort();
    found
}

/// Reads a database, divided by seed, or a folder of them, divided by their names. The classes are the lines of a
/// `classes.txt` in or beside it, else the labels as numbers.
pub(crate) fn open(path: &Path, options: &OpenOptions) -> Result<Dataset, TrainError> {
    let places = if Lmdb::is_at(path) { vec![path.to_owned()] } else { inside(path) };
    let (mut train, mut val, mut bytes) = (Vec::new(), Vec::new(), 0);
    for place in &places {
        let name = place.file_name().map(|n| n.to_string_lossy().to_lowercase()).unwrap_or_default();
        let validates = name.split(|c: char| !c.is_alphabetic()).any(|word| VAL_WORDS.contains(&word));
        let images = read(place, &mut bytes, options.max_archive_bytes)?;
        if validates { val.extend(images) } else { train.extend(images) }
    }
    let highest = train.iter().chain(&val).map(|image| image.class).max().unwrap_or(0);
    let classes = match class_list(path)? {
        Some(names) => names,
        None => (0..=highest).map(|class| class.to_string()).collect(),
    };
    let (train, val) = match (train.is_empty(), val.is_empty()) {
        (false, true) => (train, None),
        _ => (train, Some(val)),
    };
    Ok(Dataset::of_images(classes, train, val, options)?)
}

fn class_list(path: &Path) -> Result<Option<Vec<String>>, TrainError> {
    let beside = path.parent().map(|folder| folder.join("classes.txt"));
    let found = [Some(path.join("classes.txt")), beside].into_iter().flatten().find(|list| list.is_file());
    let Some(list) = found else { return Ok(None) };
    let text =
        std::fs::read_to_string(&list).map_err(|cause| TrainError::io(&list, "cannot be read", cause))?;
    Ok(Some(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()))
}

fn read(path: &Path, bytes: &mut u64, limit: u64) -> Result<Vec<LabelledImage>, TrainError> {
    let lmdb = Lmdb::open(path)?;
    let mut images = Vec::new();
    for number in 0..lmdb.len() {
        let (key, value) = lmdb.entry(number)?;
        let key = String::from_utf8_lossy(&key).into_owned();
        let place = format!("{}, entry {key}", path.display());
        let malformed = |what: String| FormatError::malformed(&place, what, "make the database again");
        let datum = Datum::decode(&value, &place)?;
        *bytes += value.len() as u64;
        if *bytes > limit {
            return Err(TrainError::setting(format!(
                "{} holds more than {} MiB of images; unpack it: ocellus convert LMDB FOLDER",
                path.display(),
                limit >> 20
            )));
        }
        let class = u32::try_from(datum.label).ok().filter(|&class| class < 1 << 20);
        let class = class.ok_or_else(|| malformed(format!("its label is {}", datum.label)))?;
        let content = content_of(datum).map_err(malformed)?;
        images.push(LabelledImage { name: format!("{}/{key}", file_name(path)), class, content });
    }
    Ok(images)
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Planes, blue first, to pixels, red first.
fn content_of(datum: Datum) -> Result<Content, String> {
    let [channels, height, width] = datum.sizes;
    let planes = match datum.pixels {
        Pixels::File(bytes) => return Ok(Content::Encoded(bytes)),
        Pixels::Numbers(_) => return Err("it holds numbers, not an image's bytes".into()),
        Pixels::Bytes(planes) => planes,
    };
    if channels != 1 && channels != 3 {
        return Err(format!("it has {channels} channels; images have 1 or 3"));
    }
    let plane = height
        .checked_mul(width)
        .filter(|&plane| plane > 0 && plane.checked_mul(channels) == Some(planes.len()));
    let side = |side: usize| u32::try_from(side).ok();
    let (Some(plane), Some(width), Some(height)) = (plane, side(width), side(height)) else {
        return Err(format!("{} bytes are no image of {channels}x{height}x{width}", planes.len()));
    };
    let pixels = (0..plane * channels).map(|i| planes[(channels - 1 - i % channels) * plane + i / channels]);
    Ok(Content::Pixels(Image { width, height, channels: channels as u8, pixels: pixels.collect() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocellus_formats::lmdb;

    fn write(path: &Path, count: u8) {
        let item = |i: u8| {
            let bytes = (0..12).map(|b| i * 12 + b).collect();
            let datum = Datum { sizes: [3, 2, 2], label: i32::from(i % 3), pixels: Pixels::Bytes(bytes) };
            (format!("{i:08}").into_bytes(), datum.encode())
        };
        lmdb::write(path, (0..count).map(|i| Ok(item(i)))).unwrap();
    }

    #[test]
    fn databases_are_data() {
        let place = tempfile::tempdir().unwrap();
        write(&place.path().join("set/my_train_lmdb"), 9);
        write(&place.path().join("set/my_test_lmdb"), 3);
        assert!(are_at(&place.path().join("set")) && !are_at(place.path()));
        let set = open(&place.path().join("set"), &OpenOptions::default()).unwrap();
        assert_eq!((set.train.len(), set.val.len(), set.drawn), (9, 3, false));
        assert_eq!(set.classes().as_ref(), ["0", "1", "2"]);
        let image = set.train.image(1).unwrap();
        // Entry 1 holds 12..24: planes 12.. (blue), 16.. (green), 20.. (red).
        assert_eq!(image.pixels[..6], [20, 16, 12, 21, 17, 13]);
        std::fs::write(place.path().join("set/classes.txt"), "a\nb\nc\n").unwrap();
        let one = open(&place.path().join("set/my_train_lmdb"), &OpenOptions::default()).unwrap();
        assert!(one.drawn && one.train.len() + one.val.len() == 9);
        assert_eq!(one.classes().as_ref(), ["a", "b", "c"]);
    }
}
