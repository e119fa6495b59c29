//! Reads the binary forms of CIFAR-10 and CIFAR-100 (A. Krizhevsky, "Learning Multiple Layers of Features from Tiny
//! Images", 2009): records of a label byte (two in CIFAR-100: superclass, class), then 1,024 red, 1,024 green and 1,024
//! blue bytes, row by row.

use std::sync::Arc;

use super::input::{self, DataFile};
use crate::dataset::Dataset;
use crate::error::DataError;
use crate::image::ImageView;
use crate::split::{Location, PixelStore, Sample, Split};

const SIDE: u32 = 32;
const PLANE: usize = (SIDE * SIDE) as usize;
const IMAGE: usize = 3 * PLANE;
const MAX_BYTES: u64 = 16 << 30;
const MAX_NAMES_BYTES: u64 = 1 << 16;

/// Whether a file of this name is meant.
type IsFile = fn(&str) -> bool;

/// One of the two data sets.
struct Form {
    title: &'static str,
    /// Label bytes before an image; the last one counts.
    labels: usize,
    /// The file of class names.
    names_file: &'static str,
    names: &'static str,
}

const CIFAR_10: Form = Form {
    title: "CIFAR-10",
    labels: 1,
    names_file: "batches.meta.txt",
    names: "airplane automobile bird cat deer dog frog horse ship truck",
};

const CIFAR_100: Form = Form {
    title: "CIFAR-100",
    labels: 2,
    names_file: "fine_label_names.txt",
    names: "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can \
            castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin \
            elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard \
            lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear \
            pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark \
            shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone \
            television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm",
};

fn is_train_batch(name: &str) -> bool {
    let name = input::without_gz(name);
    name.starts_with("data_batch") && name.ends_with(".bin")
}

fn is_test_batch(name: &str) -> bool {
    input::without_gz(name) == "test_batch.bin"
}

fn is_train_100(name: &str) -> bool {
    input::without_gz(name) == "train.bin"
}

fn is_test_100(name: &str) -> bool {
    input::without_gz(name) == "test.bin"
}

/// Whether the lower-case name is one of theirs.
pub(crate) fn is_batch(name: &str) -> bool {
    let of_10 = is_train_batch(name) || is_test_batch(name);
    of_10
        || is_train_100(name)
        || is_test_100(name)
        || name == CIFAR_10.names_file
        || name == CIFAR_100.names_file
}

pub(crate) fn present(files: &[DataFile]) -> bool {
    let has = |wanted: fn(&str) -> bool| files.iter().any(|f| wanted(&f.name));
    has(is_train_batch) || has(is_test_batch) || has(is_train_100) || has(is_test_100)
}

/// Refuses the versions for Python, which hold objects of that language; `names` are files beside one another.
pub(crate) fn refuse_pickles<'a>(
    place: &str,
    names: impl Iterator<Item = &'a str> + Clone,
) -> Result<(), DataError> {
    let has = |wanted: &str| names.clone().any(|name| name.rsplit('/').next() == Some(wanted));
    let of_10 = has("data_batch_1") || has("test_batch");
    let of_100 = has("train") && has("test") && has("meta");
    if !(of_10 || of_100) {
        return Ok(());
    }
    let (title, file) =
        if of_10 { ("CIFAR-10", "cifar-10-binary.tar.gz") } else { ("CIFAR-100", "cifar-100-binary.tar.gz") };
    let reason = format!("is {title} as Python objects; give the binary version, {file} from the same page");
    Err(DataError::malformed(place, reason))
}

/// Reads `data_batch_*.bin` (CIFAR-100: `train.bin`) for training and `test_batch.bin` (`test.bin`) for validation.
pub(crate) fn open(files: &[DataFile]) -> Result<Dataset, DataError> {
    let of_10 = files.iter().any(|f| is_train_batch(&f.name) || is_test_batch(&f.name));
    let form = if of_10 { &CIFAR_10 } else { &CIFAR_100 };
    let (train, test): (IsFile, IsFile) =
        if of_10 { (is_train_batch, is_test_batch) } else { (is_train_100, is_test_100) };
    let classes = read_names(files, form)?;
    let pick = |wanted: fn(&str) -> bool| {
        let mut chosen: Vec<&DataFile> = files.iter().filter(|f| wanted(&f.name)).collect();
        // The same file packed and unpacked is one.
        chosen.dedup_by(|a, b| input::without_gz(&a.name) == input::without_gz(&b.name));
        chosen
    };
    Ok(Dataset {
        train: read_split("train", &classes, &pick(train), form)?,
        val: read_split("val", &classes, &pick(test), form)?,
        drawn: false,
        notes: Vec::new(),
    })
}

/// Reads one file of records for validation; which form it has follows from its length.
pub(crate) fn open_single(file: &DataFile) -> Result<Dataset, DataError> {
    let length = file.read_all(MAX_BYTES)?.len();
    let is_100 = !length.is_multiple_of(CIFAR_10.record()) && length.is_multiple_of(CIFAR_100.record());
    let form = if is_100 { &CIFAR_100 } else { &CIFAR_10 };
    let beside = file.path().map(|p| DataFile::on_disk(&p.with_file_name(form.names_file)));
    let beside: Vec<_> = beside.into_iter().filter(|f| f.path().is_some_and(|p| p.is_file())).collect();
    let classes = read_names(&beside, form)?;
    Ok(Dataset {
        train: read_split("train", &classes, &[], form)?,
        val: read_split("val", &classes, &[file], form)?,
        drawn: false,
        notes: Vec::new(),
    })
}

impl Form {
    fn record(&self) -> usize {
        self.labels + IMAGE
    }
}

/// The lines of the file of names, or else the usual ones.
fn read_names(files: &[DataFile], form: &Form) -> Result<Arc<[String]>, DataError> {
    let Some(file) = files.iter().find(|f| f.name == form.names_file) else {
        return Ok(form.names.split_whitespace().map(str::to_owned).collect());
    };
    let text = String::from_utf8_lossy(&file.read_all(MAX_NAMES_BYTES)?).into_owned();
    let names: Arc<[String]> =
        text.lines().map(str::trim).filter(|l| !l.is_empty()).map(str::to_owned).collect();
    if names.is_empty() {
        return Err(DataError::malformed(&file.display, "names no classes; write one name on each line"));
    }
    Ok(names)
}

fn read_split(
    name: &str,
    classes: &Arc<[String]>,
    files: &[&DataFile],
    form: &Form,
) -> Result<Split, DataError> {
    let mut samples = Vec::new();
    let mut store = PixelStore::default();
    for file in files {
        let bytes = file.read_all(MAX_BYTES)?;
        if bytes.is_empty() || !bytes.len().is_multiple_of(form.record()) {
            let reason = format!(
                "its {} bytes are not a whole number of {}-byte {} records; download or copy it again",
                bytes.len(),
                form.record(),
                form.title
            );
            return Err(DataError::malformed(&file.display, reason));
        }
        let stem = input::without_gz(&file.name).trim_end_matches(".bin");
        for (index, record) in bytes.chunks_exact(form.record()).enumerate() {
            let (labels, planes) = record.split_at(form.labels);
            let class = u32::from(labels[form.labels - 1]);
            if class as usize >= classes.len() {
                let reason = format!(
                    "record {index} has label {class}, but there are {} classes; check that it is {}",
                    classes.len(),
                    form.title
                );
                return Err(DataError::malformed(&file.display, reason));
            }
            let pixels = interleave(planes);
            store.push(ImageView { width: SIDE, height: SIDE, channels: 3, pixels: &pixels });
            samples.push(Sample { class, name: format!("{stem}#{index}"), location: Location::Pixels });
        }
    }
    Ok(Split::decoded(name, classes.clone(), samples, store))
}

/// (C, H, W) to (H, W, C).
fn interleave(planes: &[u8]) -> [u8; IMAGE] {
    let mut pixels = [0; IMAGE];
    for (i, pixel) in pixels.as_chunks_mut::<3>().0.iter_mut().enumerate() {
        *pixel = [planes[i], planes[PLANE + i], planes[2 * PLANE + i]];
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
    fn cifar_100_is_read_by_its_fine_labels() {
        assert_eq!(CIFAR_100.names.split_whitespace().count(), 100);
        let of = |coarse: u8, fine: u8| [vec![coarse], record(fine)].concat();
        let train = DataFile::in_memory("x/train.bin", [of(1, 99), of(0, 3)].concat().into());
        let test = DataFile::in_memory("x/test.bin", of(19, 0).into());
        let d = open(&[train, test]).unwrap();
        assert_eq!((d.train.len(), d.val.len(), d.classes().len()), (2, 1, 100));
        assert_eq!(d.classes()[d.train.samples()[0].class as usize], "worm");
        assert_eq!(d.train.image(0).unwrap().pixels[..3], [0, (1024 % 251) as u8, (2048 % 251) as u8]);
        let alone = open_single(&DataFile::in_memory("y.bin", of(2, 7).into())).unwrap();
        assert_eq!(alone.val.samples()[0].class, 7);
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
