//! Image folders to Caffe's LMDB databases and back.
//!
//! An entry's key is its number in eight digits and its name, as Caffe's own tools have it; its value a `Datum` of bytes,
//! colours blue first.

use std::io;
use std::path::{Path, PathBuf};

use ocellus_data::{ChannelOrder, DataError, Image, Preprocess, Preprocessor, Split};
use ocellus_formats::caffe::{Datum, Pixels};
use ocellus_formats::lmdb::{self, Lmdb};
use ocellus_formats::{FormatError, write_atomically};

use crate::load::LoadError;

/// The longest part of a name that a key takes, in bytes.
const LONGEST_NAME: usize = 400;

/// How images become entries.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entries {
    /// Seed of their order; `None` keeps the split's.
    pub shuffle: Option<u64>,
    /// The size that all get, and how.
    pub resize: Option<Preprocess>,
    /// Pairs of images as two channels (six for colours), labelled 1 if they are of one class, else 0: what Siamese
    /// networks read.
    pub pairs: bool,
}

/// Writes the images of `splits` as one database in the folder `path`; gives the number of entries.
///
/// Errors: an image cannot be decoded; images differ in size and no size is given; the file cannot be written.
pub fn to_lmdb(splits: &[&Split], entries: &Entries, path: &Path) -> Result<u64, LoadError> {
    let all: Vec<(&Split, usize)> =
        splits.iter().flat_map(|&split| (0..split.len()).map(move |index| (split, index))).collect();
    let order = order(all.len(), entries.shuffle);
    let others = self::order(all.len(), Some(entries.shuffle.unwrap_or(0) ^ 0x5eed));
    let mut reader = Reader { resizer: None, sizes: None };
    if let Some(resize) = &entries.resize {
        reader.resizer = Some(Preprocessor::new(&raw(resize))?);
    }
    let mut fault = None;
    let items = order.iter().zip(&others).enumerate().map(|(number, (&one, &other))| {
        let (split, index) = all[one];
        let mut datum = reader.datum(split, index);
        if entries.pairs {
            let (split, index) = all[other];
            datum = datum.and_then(|datum| Ok(pair(datum, reader.datum(split, index)?)));
        }
        match datum {
            Ok(datum) => Ok((key(number, &split.samples()[index].name), datum.encode())),
            Err(cause) => {
                let told = io::Error::new(io::ErrorKind::InvalidData, cause.to_string());
                fault = Some(cause);
                Err(told)
            }
        }
    });
    let written = lmdb::write(path, items);
    match (written, fault) {
        (_, Some(fault)) => Err(fault),
        (Err(cause), None) => Err(cause.into()),
        (Ok(written), None) => {
            if !entries.pairs {
                name_classes(splits, path)?;
            }
            Ok(written)
        }
    }
}

/// The list in a database's folder that says what its labels are called. Caffe does not look at it.
const CLASS_LIST: &str = "classes.txt";

fn name_classes(splits: &[&Split], path: &Path) -> Result<(), LoadError> {
    let Some(classes) = splits.first().map(|split| split.classes()) else { return Ok(()) };
    if classes.iter().enumerate().all(|(label, name)| *name == label.to_string()) {
        return Ok(());
    }
    let text: String = classes.iter().map(|name| format!("{name}\n")).collect();
    Ok(write_atomically(path.join(CLASS_LIST), |out| out.write_all(text.as_bytes()))?)
}

/// What the list in the folder of the database calls its labels; nothing without one.
fn listed_classes(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path.join(CLASS_LIST)).unwrap_or_default();
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// Writes each entry of the database at `path` as a PNG into `folder/CLASS/`; classes are called as `classes` says, or else
/// as the database's own list, or else by their number. Gives the number of images.
///
/// Errors: the database is damaged, an entry is no image of 1 or 3 channels, a file cannot be written.
pub fn from_lmdb(path: &Path, folder: &Path, classes: &[String]) -> Result<u64, LoadError> {
    let lmdb = Lmdb::open(path)?;
    let listed = if classes.is_empty() { listed_classes(path) } else { Vec::new() };
    let classes = if classes.is_empty() { &listed } else { classes };
    for number in 0..lmdb.len() {
        let (key, value) = lmdb.entry(number)?;
        let name = format!("{}, entry {}", path.display(), String::from_utf8_lossy(&key));
        let datum = Datum::decode(&value, &name)?;
        let class = usize::try_from(datum.label).ok().and_then(|label| classes.get(label));
        // A class is a folder in this one, whatever it is called.
        let class = class.filter(|name| !matches!(name.as_str(), "." | ".." | ""));
        let class = class.map_or_else(|| datum.label.to_string(), |name| name.replace(['/', '\\'], "_"));
        let place = folder.join(class);
        std::fs::create_dir_all(&place)
            .map_err(|cause| LoadError::Setting(format!("{}: {cause}", place.display())))?;
        write_image(datum, &name, &place.join(format!("{number:08}")))?;
    }
    Ok(lmdb.len())
}

fn write_image(datum: Datum, name: &str, stem: &Path) -> Result<(), LoadError> {
    let file = |ending: &str| PathBuf::from(format!("{}.{ending}", stem.display()));
    let refuse =
        |what: String| FormatError::malformed(name, what, "only images of 1 or 3 channels become files");
    match datum.pixels {
        Pixels::File(bytes) => {
            let ending = if bytes.starts_with(&[0xff, 0xd8]) { "jpg" } else { "png" };
            Ok(write_atomically(file(ending), |out| out.write_all(&bytes))?)
        }
        Pixels::Numbers(_) => Err(refuse("it holds numbers, not bytes".into()).into()),
        Pixels::Bytes(planes) => {
            let [channels, height, width] = datum.sizes;
            if channels != 1 && channels != 3 {
                return Err(refuse(format!("it has {channels} channels")).into());
            }
            let plane = height * width;
            // Planes of blue, green, red to pixels of red, green, blue.
            let pixels =
                (0..plane * channels).map(|i| planes[(channels - 1 - i % channels) * plane + i / channels]);
            let image = Image {
                width: width as u32,
                height: height as u32,
                channels: channels as u8,
                pixels: pixels.collect(),
            };
            Ok(image.save_png(file("png"))?)
        }
    }
}

/// Reads images as data of one size.
struct Reader {
    resizer: Option<Preprocessor>,
    sizes: Option<[usize; 3]>,
}

impl Reader {
    fn datum(&mut self, split: &Split, index: usize) -> Result<Datum, LoadError> {
        let (sample, image) = (&split.samples()[index], split.image(index)?);
        let (sizes, planes) = match &mut self.resizer {
            Some(resizer) => resized(resizer, &image)?,
            None => planes(&image),
        };
        // Among colours a grey image is one whose channels agree.
        let (sizes, planes) = match (self.sizes, sizes) {
            (Some([3, ..]), [1, height, width]) => ([3, height, width], planes.repeat(3)),
            _ => (sizes, planes),
        };
        match self.sizes {
            Some(first) if first != sizes => {
                return Err(LoadError::Setting(format!(
                    "{} has sizes {sizes:?}, the first image {first:?}; give one size for all by --crop PIXELS",
                    sample.name
                )));
            }
            _ => self.sizes = Some(sizes),
        }
        let label = i32::try_from(sample.class).unwrap_or(i32::MAX);
        Ok(Datum { sizes, label, pixels: Pixels::Bytes(planes) })
    }
}

fn planes(image: &Image) -> ([usize; 3], Vec<u8>) {
    let channels = usize::from(image.channels);
    let plane = image.width as usize * image.height as usize;
    let value = |i: usize| image.pixels[i % plane * channels + channels - 1 - i / plane];
    ([channels, image.height as usize, image.width as usize], (0..plane * channels).map(value).collect())
}

fn resized(resizer: &mut Preprocessor, image: &Image) -> Result<([usize; 3], Vec<u8>), DataError> {
    let mut numbers = vec![0.0; resizer.settings().output_len()];
    resizer.evaluate(image.view(), &mut numbers)?;
    let Preprocess { channels, size: [height, width], .. } = *resizer.settings();
    let bytes = numbers.into_iter().map(|x| x.round() as u8).collect();
    Ok(([channels, height as usize, width as usize], bytes))
}

/// The same sizes, but bytes, blue first.
fn raw(resize: &Preprocess) -> Preprocess {
    let channels = resize.channels;
    let bytes = Preprocess { scale: 1.0, order: ChannelOrder::Bgr, ..resize.clone() };
    bytes.normalised(vec![0.0; channels], vec![1.0; channels])
}

/// Two images of one size as the channels of one, labelled by whether they are of one class.
fn pair(one: Datum, other: Datum) -> Datum {
    let ([channels, height, width], label) = (one.sizes, i32::from(one.label == other.label));
    let bytes = [one.pixels, other.pixels].into_iter().flat_map(|pixels| match pixels {
        Pixels::Bytes(bytes) => bytes,
        _ => Vec::new(),
    });
    Datum { sizes: [2 * channels, height, width], label, pixels: Pixels::Bytes(bytes.collect()) }
}

fn key(number: usize, name: &str) -> Vec<u8> {
    let mut end = name.len().min(LONGEST_NAME);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{number:08}_{}", &name[..end]).into_bytes()
}

/// 0 to `count`, in a random order if there is a seed (SplitMix64; Fisher and Yates).
fn order(count: usize, seed: Option<u64>) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    let Some(mut state) = seed else { return order };
    for i in (1..count).rev() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        order.swap(i, ((u128::from(z ^ (z >> 31)) * (i as u128 + 1)) >> 64) as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocellus_data::{Dataset, OpenOptions};

    fn pictures(folder: &Path) -> Dataset {
        for (class, level) in [("cat", 200), ("dog", 20)] {
            std::fs::create_dir_all(folder.join(class)).unwrap();
            for i in 0..6_u8 {
                let pixels = (0..4 * 3 * 3).map(|p| level + i * 3 + (p % 3) as u8).collect();
                let image = Image { width: 4, height: 3, channels: 3, pixels };
                image.save_png(folder.join(class).join(format!("{i}.png"))).unwrap();
            }
        }
        Dataset::open(folder, &OpenOptions::default()).unwrap()
    }

    #[test]
    fn folders_become_databases_and_come_back() {
        let place = tempfile::tempdir().unwrap();
        let set = pictures(&place.path().join("photos"));
        let lmdb = place.path().join("all.lmdb");
        let entries = Entries { shuffle: Some(1), ..Entries::default() };
        assert_eq!(to_lmdb(&[&set.train, &set.val], &entries, &lmdb).unwrap(), 12);
        let open = Lmdb::open(&lmdb).unwrap();
        let data: Vec<Datum> =
            (0..12).map(|i| Datum::decode(&open.entry(i).unwrap().1, "d").unwrap()).collect();
        assert!(data.iter().all(|datum| datum.sizes == [3, 3, 4]));
        assert_eq!(data.iter().filter(|datum| datum.label == 1).count(), 6);
        assert!(data.windows(2).any(|pair| pair[0].label > pair[1].label), "in another order");
        let Pixels::Bytes(bytes) = &data[0].pixels else { panic!("bytes") };
        assert_eq!(bytes[0], bytes[24] + 2, "blue comes first");
        let back = place.path().join("back");
        let classes = ["cat".to_string(), "dog".to_string()];
        assert_eq!(from_lmdb(&lmdb, &back, &classes).unwrap(), 12);
        let again = Dataset::open(&back, &OpenOptions::default()).unwrap();
        let pixels = |set: &Dataset| {
            let all = [&set.train, &set.val]
                .into_iter()
                .flat_map(|s| (0..s.len()).map(move |i| s.image(i).unwrap().pixels));
            let mut all: Vec<Vec<u8>> = all.collect();
            all.sort();
            all
        };
        assert_eq!(pixels(&set), pixels(&again));
        let named = place.path().join("named");
        from_lmdb(&lmdb, &named, &[]).unwrap();
        assert!(
            named.join("cat").is_dir() && named.join("dog").is_dir(),
            "the database kept its classes' names"
        );
    }

    #[test]
    fn grey_images_join_coloured_ones() {
        let place = tempfile::tempdir().unwrap();
        pictures(&place.path().join("photos"));
        let grey = Image { width: 4, height: 3, channels: 1, pixels: vec![77; 12] };
        grey.save_png(place.path().join("photos/dog/grey.png")).unwrap();
        let set = Dataset::open(place.path().join("photos"), &OpenOptions::default()).unwrap();
        let lmdb = place.path().join("lmdb");
        to_lmdb(&[&set.train, &set.val], &Entries::default(), &lmdb).unwrap();
        let open = Lmdb::open(&lmdb).unwrap();
        let last = (0..open.len()).map(|i| Datum::decode(&open.entry(i).unwrap().1, "d").unwrap());
        let is_grey = |datum: &Datum| matches!(&datum.pixels, Pixels::Bytes(bytes) if bytes[..] == [77; 36]);
        assert_eq!(last.filter(is_grey).count(), 1);
    }

    #[test]
    fn pairs_are_labelled_by_sameness_and_sizes_must_agree() {
        let place = tempfile::tempdir().unwrap();
        let set = pictures(&place.path().join("photos"));
        let lmdb = place.path().join("pairs");
        let entries = Entries { pairs: true, ..Entries::default() };
        to_lmdb(&[&set.train], &entries, &lmdb).unwrap();
        let open = Lmdb::open(&lmdb).unwrap();
        for i in 0..open.len() {
            let datum = Datum::decode(&open.entry(i).unwrap().1, "d").unwrap();
            let Pixels::Bytes(bytes) = &datum.pixels else { panic!("bytes") };
            let is_cat = |byte: u8| byte >= 200;
            assert_eq!((datum.sizes, bytes.len()), ([6, 3, 4], 72));
            assert_eq!(datum.label == 1, is_cat(bytes[0]) == is_cat(bytes[36]));
        }
        let odd = Image { width: 2, height: 2, channels: 3, pixels: vec![9; 12] };
        odd.save_png(place.path().join("photos/cat/9.png")).unwrap();
        let set = Dataset::open(place.path().join("photos"), &OpenOptions::default()).unwrap();
        let fault =
            to_lmdb(&[&set.train, &set.val], &Entries::default(), &place.path().join("no")).unwrap_err();
        assert!(fault.to_string().contains("[3, 2, 2]") && fault.to_string().contains("--crop"), "{fault}");
        let sized = Entries { resize: Some(Preprocess::new(1, [2, 2])), ..Entries::default() };
        to_lmdb(&[&set.train, &set.val], &sized, &place.path().join("yes")).unwrap();
    }
}
