//! Reads the binary form of CIFAR-10 (A. Krizhevsky, "Learning Multiple Layers of Features from Tiny
//! Images", 2009): records of a label byte, then 1,024 red, 1,024 green and 1,024 blue bytes, row by row.

use std::sync::Arc;

use super::input::{self, DataFile};
use crate::dataset::Dataset;
use crate::error::DataError;
use crate::image::ImageView;
use crate::split::{Location, PixelStore, Sample, Split};

const SIDE: u32 = 32;
const PLANE: usize = (SIDE * SIDE) as usize;
const RECORD: usize = 1 + 3 * PLANE;
const MAX_BYTES: u64 = 16 << 30;
const NAMES_FILE: &str = "batches.meta.txt";
const MAX_NAMES_BYTES: u64 = 1 << 16;
const NAMES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

fn is_train_batch(name: &str) -> bool {
    let name = input::without_gz(name);
    name.starts_with("data_batch") && name.ends_with(".bin")
}

fn is_test_batch(name: &str) -> bool {
    input::without_gz(name) == "test_batch.bin"
}

/// Whether the lower-case name is one of CIFAR-10's.
pub(crate) fn is_batch(name: &str) -> bool {
    is_train_batch(name) || is_test_batch(name) || name == NAMES_FILE
}

pub(crate) fn present(files: &[DataFile]) -> bool {
    files.iter().any(|f| is_train_batch(&f.name) || is_test_batch(&f.name))
}

/// Reads `data_batch_*.bin` for training and `test_batch.bin` for validation.
pub(crate) fn open(files: &[DataFile]) -> Result<Dataset, DataError> {
    let classes = read_names(files)?;
    let pick = |wanted: fn(&str) -> bool| {
        let mut chosen: Vec<&DataFile> = files.iter().filter(|f| wanted(&f.name)).collect();
        // The same file packed and unpacked is one.
        chosen.dedup_by(|a, b| input::without_gz(&a.name) == input::without_gz(&b.name));
        chosen
    };
    Ok(Dataset {
        train: read_split("train", &classes, &pick(is_train_batch))?,
        val: read_split("val", &classes, &pick(is_test_batch))?,
        drawn: false,
        notes: Vec::new(),
    })
}

/// Reads one file of records for validation.
pub(crate) fn open_single(file: &DataFile) -> Result<Dataset, DataError> {
    let beside = file.path().map(|p| DataFile::on_disk(&p.with_file_name(NAMES_FILE)));
    let beside: Vec<_> = beside.into_iter().filter(|f| f.path().is_some_and(|p| p.is_file())).collect();
    let classes = read_names(&beside)?;
    Ok(Dataset {
        train: read_split("train", &classes, &[])?,
        val: read_split("val", &classes, &[file])?,
        drawn: false,
        notes: Vec::new(),
    })
}

/// The lines of `batches.meta.txt`, or else the usual ten names.
fn read_names(files: &[DataFile]) -> Result<Arc<[String]>, DataError> {
    let Some(file) = files.iter().find(|f| f.name == NAMES_FILE) else {
        return Ok(NAMES.map(str::to_owned).into_iter().collect());
    };
    let text = String::from_utf8_lossy(&file.read_all(MAX_NAMES_BYTES)?).into_owned();
    let names: Arc<[String]> =
        text.lines().map(str::trim).filter(|l| !l.is_empty()).map(str::to_owned).collect();
    if names.is_empty() {
        return Err(DataError::malformed(&file.display, "names no classes; write one name on each line"));
    }
    Ok(names)
}

fn read_split(name: &str, classes: &Arc<[String]>, files: &[&DataFile]) -> Result<Split, DataError> {
    let mut samples = Vec::new();
    let mut store = PixelStore::default();
    for file in files {
        let bytes = file.read_all(MAX_BYTES)?;
        let (records, rest) = bytes.as_chunks::<RECORD>();
        if !rest.is_empty() || records.is_empty() {
            let reason = format!(
                "its {} bytes are not a whole number of {RECORD}-byte CIFAR-10 records; download or copy it again",
                bytes.len()
            );
            return Err(DataError::malformed(&file.display, reason));
        }
        let stem = input::without_gz(&file.name).trim_end_matches(".bin");
        for (index, record) in records.iter().enumerate() {
            let class = u32::from(record[0]);
            if class as usize >= classes.len() {
                let reason = format!(
                    "record {index} has label {class}, but there are {} classes; check that it is CIFAR-10",
                    classes.len()
                );
                return Err(DataError::malformed(&file.display, reason));
            }
            let pixels = interleave(record);
            store.push(ImageView { width: SIDE, height: SIDE, channels: 3, pixels: &pixels });
            samples.push(Sample { class, name: format!("{stem}#{index}"), location: Location::Pixels });
        }
    }
    Ok(Split::decoded(name, classes.clone(), samples, store))
}

/// (C, H, W) after the label byte, to (H, W, C).
fn interleave(record: &[u8; RECORD]) -> [u8; RECORD - 1] {
    let mut pixels = [0; RECORD - 1];
    for (i, pixel) in pixels.as_chunks_mut::<3>().0.iter_mut().enumerate() {
        *pixel = [record[1 + i], record[1 + PLANE + i], record[1 + 2 * PLANE + i]];
    }
    pixels
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(label: u8) -> Vec<u8> {
        let mut bytes = vec![label];
        bytes.extend((0..3 * PLANE).map(|i| (i % 251) as u8));
        bytes
    }

    #[test]
    fn batches_and_names_are_read() {
        let names = DataFile::in_memory("x/batches.meta.txt", Arc::from(&b"up\ndown\n\n"[..]));
        let train = DataFile::in_memory("x/data_batch_1.bin", [record(1), record(0)].concat().into());
        let test = DataFile::in_memory("x/test_batch.bin", record(1).into());
        let d = open(&[names, train, test]).unwrap();
        assert_eq!((d.train.len(), d.val.len()), (2, 1));
        assert_eq!(d.classes().as_ref(), ["up", "down"]);
        assert_eq!(d.train.samples()[0].class, 1);
        let image = d.train.image(0).unwrap();
        assert_eq!(image.pixels[..3], [0, (1024 % 251) as u8, (2048 % 251) as u8]);
    }

    #[test]
    fn faults_are_named() {
        let message = |bytes: Vec<u8>| {
            open_single(&DataFile::in_memory("a.bin", bytes.into())).unwrap_err().to_string()
        };
        assert!(message(record(0)[1..].to_vec()).contains("3072 bytes are not a whole number of 3073-byte"));
        assert!(message(Vec::new()).contains("0 bytes"));
        assert!(message(record(10)).contains("label 10, but there are 10 classes"));
    }
}
