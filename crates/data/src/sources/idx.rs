//! Reads IDX files, the format of MNIST (Y. LeCun, C. Cortes, C. Burges, "The MNIST database").
//!
//! Images: big-endian 0x00000803, count, height, width, then one byte a pixel, row by row.
//! Labels: big-endian 0x00000801, count, then one byte each.

use std::path::Path;
use std::sync::Arc;

use super::input::{self, DataFile};
use crate::dataset::Dataset;
use crate::error::DataError;
use crate::image::ImageView;
use crate::split::{Location, PixelStore, Sample, Split};

const IMAGES_MAGIC: u32 = 0x0803;
const LABELS_MAGIC: u32 = 0x0801;
const MAX_SIDE: u32 = 8192;
const MAX_BYTES: u64 = 16 << 30;

/// The images and labels of one pair of files; pixels are (N, H, W).
struct Pair {
    name: String,
    height: u32,
    width: u32,
    pixels: Vec<u8>,
    labels: Vec<u8>,
}

/// What precedes `images-idx3-ubyte` or `labels-idx1-ubyte` (or `.idx3`) in a lower-case name.
fn prefix<'a>(name: &'a str, kind: &str) -> Option<&'a str> {
    let name = input::without_gz(name);
    let stem = name.strip_suffix("-ubyte").or_else(|| name.strip_suffix(".ubyte")).unwrap_or(name);
    let dimensions = if kind == "images" { "idx3" } else { "idx1" };
    let stem = stem.strip_suffix(dimensions)?.strip_suffix(['-', '.', '_'])?;
    stem.strip_suffix(kind)
}

/// Whether the lower-case name is that of a file of images.
pub(crate) fn is_images(name: &str) -> bool {
    prefix(name, "images").is_some()
}

/// Whether the lower-case name is that of a file of images or labels.
pub(crate) fn is_idx(name: &str) -> bool {
    is_images(name) || prefix(name, "labels").is_some()
}

pub(crate) fn present(files: &[DataFile]) -> bool {
    files.iter().any(|f| is_images(&f.name))
}

/// A file of images and what lies beside it with the same prefix.
pub(crate) fn with_labels(path: &Path) -> Result<Vec<DataFile>, DataError> {
    let images = DataFile::on_disk(path);
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let wanted = prefix(&images.name, "images").unwrap_or_default().to_owned();
    let mut files = super::folder::data_files(folder)?;
    files.retain(|f| prefix(&f.name, "labels") == Some(wanted.as_str()));
    files.push(images);
    Ok(files)
}

/// Reads all pairs: those whose name starts with `train` are for training.
pub(crate) fn open(files: &[DataFile]) -> Result<Dataset, DataError> {
    let mut pairs: [Vec<Pair>; 2] = Default::default();
    let mut done: Vec<&str> = Vec::new();
    for images in files {
        let Some(prefix) = prefix(&images.name, "images") else { continue };
        // The same file packed and unpacked is one.
        if done.contains(&prefix) {
            continue;
        }
        done.push(prefix);
        let labels = find_labels(files, images, prefix)?;
        pairs[usize::from(!is_train(prefix))].push(read_pair(prefix, images, labels)?);
    }
    let top = pairs.iter().flatten().flat_map(|p| &p.labels).max().copied().unwrap_or(0);
    let classes: Arc<[String]> = (0..=top).map(|label| label.to_string()).collect();
    let [train, val] = pairs;
    Ok(Dataset {
        train: to_split("train", &classes, train),
        val: to_split("val", &classes, val),
        drawn: false,
        notes: Vec::new(),
    })
}

/// `train-`, and also `emnist-letters-train-`.
fn is_train(prefix: &str) -> bool {
    prefix.starts_with("train") || prefix.split(|c: char| !c.is_alphanumeric()).any(|word| word == "train")
}

fn find_labels<'a>(
    files: &'a [DataFile],
    images: &DataFile,
    wanted: &str,
) -> Result<&'a DataFile, DataError> {
    files.iter().find(|f| prefix(&f.name, "labels") == Some(wanted)).ok_or_else(|| DataError::MissingLabels {
        images: images.display.clone(),
        expected: images.name.replace("images", "labels").replace("idx3", "idx1"),
    })
}

fn read_pair(prefix: &str, images: &DataFile, labels: &DataFile) -> Result<Pair, DataError> {
    let ([count, height, width], pixels) = read_array::<3>(images, IMAGES_MAGIC)?;
    if height == 0 || width == 0 || height > MAX_SIDE || width > MAX_SIDE {
        let reason = format!("says its images are {width}x{height}; sides must lie between 1 and {MAX_SIDE}");
        return Err(DataError::malformed(&images.display, reason));
    }
    let ([label_count], labels_read) = read_array::<1>(labels, LABELS_MAGIC)?;
    if label_count != count {
        let reason = format!(
            "holds {label_count} labels for the {count} images of {}; use files that belong together",
            images.display
        );
        return Err(DataError::malformed(&labels.display, reason));
    }
    let name = prefix.trim_end_matches(['-', '.', '_']);
    let name = if name.is_empty() { "images" } else { name }.to_owned();
    Ok(Pair { name, height, width, pixels, labels: labels_read })
}

/// The dimensions and bytes of an IDX file of unsigned bytes with `D` dimensions.
fn read_array<const D: usize>(file: &DataFile, magic: u32) -> Result<([u32; D], Vec<u8>), DataError> {
    let header_bytes = 4 + 4 * D as u64;
    let mut bytes = file.read_all(MAX_BYTES)?;
    let mut words = bytes.as_chunks::<4>().0.iter().map(|w| u32::from_be_bytes(*w));
    let found = words.next();
    if found != Some(magic) {
        let found = found.map_or("too short for a header".to_owned(), |m| format!("begins with 0x{m:08x}"));
        let reason =
            format!("is {found}, where IDX begins with 0x{magic:08x}; check that it is the right file");
        return Err(DataError::malformed(&file.display, reason.replace("is begins", "begins")));
    }
    let mut dimensions = [0; D];
    for dimension in &mut dimensions {
        *dimension = words.next().ok_or_else(|| file.damaged(&std::io::ErrorKind::UnexpectedEof.into()))?;
    }
    let expected = dimensions.iter().try_fold(1u64, |n, &d| n.checked_mul(u64::from(d)));
    let held = bytes.len() as u64 - header_bytes;
    if expected != Some(held) {
        let wanted = expected.map_or("more than 2^64".to_owned(), |n| n.to_string());
        let state = if expected.is_none_or(|n| n > held) { "truncated" } else { "too long" };
        let reason = format!(
            "is {state}: its header {dimensions:?} promises {wanted} bytes, it holds {held}; download or copy it again"
        );
        return Err(DataError::malformed(&file.display, reason));
    }
    bytes.drain(..header_bytes as usize);
    Ok((dimensions, bytes))
}

fn to_split(name: &str, classes: &Arc<[String]>, pairs: Vec<Pair>) -> Split {
    let mut samples = Vec::new();
    let mut store = PixelStore::default();
    for pair in pairs {
        let Pair { height, width, .. } = pair;
        let images = pair.pixels.chunks_exact(height as usize * width as usize);
        for (index, (pixels, &label)) in images.zip(&pair.labels).enumerate() {
            store.push(ImageView { width, height, channels: 1, pixels });
            let name = format!("{}#{index}", pair.name);
            samples.push(Sample { class: label.into(), name, location: Location::Pixels });
        }
    }
    Split::decoded(name, classes.clone(), samples, store)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, dimensions: &[u32], magic: u32, body: &[u8]) -> DataFile {
        let mut bytes = magic.to_be_bytes().to_vec();
        dimensions.iter().for_each(|d| bytes.extend(d.to_be_bytes()));
        bytes.extend(body);
        DataFile::in_memory(name, bytes.into())
    }

    fn pair(images: DataFile, labels: DataFile) -> Result<Dataset, DataError> {
        open(&[images, labels])
    }

    #[test]
    fn names_are_recognised() {
        for name in ["train-images-idx3-ubyte", "t10k-images.idx3-ubyte.gz", "x-images-idx3-ubyte.gz"] {
            assert!(is_images(name), "{name}");
        }
        assert!(is_idx("train-labels.idx1-ubyte"));
        assert!(!is_idx("train-labels.txt"));
        assert!(is_train("train-") && is_train("emnist-letters-train-") && !is_train("t10k-"));
    }

    #[test]
    fn a_sound_pair_is_read() {
        let d = pair(
            file("t10k-images-idx3-ubyte", &[2, 1, 3], 0x803, &[1, 2, 3, 4, 5, 6]),
            file("t10k-labels-idx1-ubyte", &[2], 0x801, &[0, 4]),
        )
        .unwrap();
        assert_eq!((d.train.len(), d.val.len(), d.classes().len()), (0, 2, 5));
        assert_eq!(d.val.image(1).unwrap().pixels, [4, 5, 6]);
        assert_eq!(d.val.samples()[1].name, "t10k#1");
    }

    #[test]
    fn faults_are_named() {
        let images = || file("t-images-idx3-ubyte", &[2, 1, 3], 0x803, &[1, 2, 3, 4, 5, 6]);
        let labels = |n: u8| file("t-labels-idx1-ubyte", &[n.into()], 0x801, &vec![0; n.into()]);
        let message = |a, b| pair(a, b).unwrap_err().to_string();
        assert!(message(images(), labels(3)).contains("holds 3 labels for the 2 images"));
        let cut = file("t-images-idx3-ubyte", &[2, 1, 3], 0x803, &[1, 2, 3, 4, 5]);
        assert!(
            message(cut, labels(2)).contains("truncated: its header [2, 1, 3] promises 6 bytes, it holds 5")
        );
        let huge = file("t-images-idx3-ubyte", &[u32::MAX; 3], 0x803, &[1]);
        assert!(message(huge, labels(2)).contains("promises more than 2^64"));
        let long = file("t-images-idx3-ubyte", &[2, 1, 2], 0x803, &[1, 2, 3, 4, 5]);
        assert!(message(long, labels(2)).contains("too long"));
        let other = file("t-images-idx3-ubyte", &[2, 1, 2], 0x804, &[1, 2, 3, 4]);
        assert!(message(other, labels(2)).contains("begins with 0x00000804"));
        let tiny = DataFile::in_memory("t-images-idx3-ubyte", Arc::from([0u8, 0]));
        assert!(message(tiny, labels(2)).contains("too short"));
        let short = DataFile::in_memory("t-images-idx3-ubyte", Arc::from([0u8, 0, 8, 3, 0]));
        assert!(message(short, labels(2)).contains("truncated"));
        let flat = file("t-images-idx3-ubyte", &[2, 0, 3], 0x803, &[]);
        assert!(message(flat, labels(2)).contains("3x0"));
        let error = open(&[images()]).unwrap_err().to_string();
        assert_eq!(
            error,
            "t-images-idx3-ubyte has no labels beside it; add t-labels-idx1-ubyte to the same folder"
        );
    }
}
