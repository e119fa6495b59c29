//! Data layers, opened: which item comes next, and what is it?

use std::path::PathBuf;

use ocellus_data::{ChannelOrder, Fit, Image, Preprocess};
use ocellus_formats::FormatError;
use ocellus_formats::caffe::{DataLayer, DataSource, Datum, Phase, Pixels};
use ocellus_formats::hdf5::Hdf5;
use ocellus_formats::lmdb::Lmdb;
use ocellus_graph::Init;

use super::paths::Places;
use super::random::Random;
use super::transform::{Item, Transformer};
use crate::TrainError;

/// Streams of random numbers.
const CROPS: u64 = 1;
const ORDER: u64 = 2;
const SKIP: u64 = 3;
const DUMMY: u64 = 4;

/// Larger lists of files are refused, in bytes.
const LONGEST_LIST: u64 = 1 << 30;

/// A data layer that can be asked for batches.
pub(super) struct Feed {
    pub layer: DataLayer,
    source: Source,
    pub transformer: Transformer,
    /// (C, H, W) of an item before the transformation.
    item: [usize; 3],
    seed: u64,
    phase: Phase,
    /// Items passed over at first.
    skip: usize,
}

enum Source {
    Lmdb(Lmdb),
    Images(Box<Images>),
    Hdf5(Rows),
    Dummy { shapes: Vec<Vec<usize>>, fillers: Vec<Init> },
}

/// A list of image files.
struct Images {
    files: Vec<(PathBuf, f32)>,
    size: Option<[usize; 2]>,
    channels: usize,
    shuffle: bool,
}

/// Rows of HDF5 files, with an array for each top.
struct Rows {
    files: Vec<Hdf5>,
    /// The first row of each file among all, and the count of all behind the last.
    starts: Vec<usize>,
    /// Sizes of a row of each array.
    sizes: Vec<Vec<usize>>,
    shuffle: bool,
}

impl Feed {
    /// Opens what the layer names; `None` for a layer whose data comes from a program.
    pub fn open(
        layer: &DataLayer,
        phase: Phase,
        places: &Places,
        seed: u64,
    ) -> Result<Option<Self>, TrainError> {
        let transformer = Transformer::new(&layer.transform, phase, places)?;
        let (source, skip) = match &layer.source {
            DataSource::Database { path, is_leveldb, rand_skip } => {
                (Source::Lmdb(open_database(path, *is_leveldb, places)?), *rand_skip)
            }
            DataSource::Images { list, root, size, colour, shuffle, rand_skip } => {
                let files = read_list(&places.file(list)?, root, places)?;
                let channels = if *colour { 3 } else { 1 };
                let images = Images { files, size: *size, channels, shuffle: *shuffle };
                (Source::Images(Box::new(images)), *rand_skip)
            }
            DataSource::Hdf5 { list, shuffle } => {
                (Source::Hdf5(Rows::open(&places.file(list)?, places, &layer.tops, *shuffle)?), 0)
            }
            DataSource::Dummy { shapes, fillers } => {
                (Source::Dummy { shapes: shapes.clone(), fillers: fillers.clone() }, 0)
            }
            DataSource::Memory => return Ok(None),
        };
        let skip = if skip == 0 { 0 } else { Random::new(seed, SKIP, 0).below(skip) };
        let mut feed = Feed { layer: layer.clone(), source, transformer, item: [0; 3], seed, phase, skip };
        feed.find_size()?;
        Ok(Some(feed))
    }

    /// Looks at the first item.
    fn find_size(&mut self) -> Result<(), TrainError> {
        if self.count() == Some(0) {
            return Err(TrainError::setting(format!("layer {}: its source holds nothing", self.layer.name)));
        }
        if matches!(self.source, Source::Lmdb(_) | Source::Images(_)) {
            self.item = self.load(0)?.0.sizes;
            self.transformer.check(self.item)?;
        }
        Ok(())
    }

    /// How many items there are before they begin again.
    fn count(&self) -> Option<usize> {
        match &self.source {
            Source::Lmdb(lmdb) => usize::try_from(lmdb.len()).ok(),
            Source::Images(images) => Some(images.files.len()),
            Source::Hdf5(rows) => rows.starts.last().copied(),
            Source::Dummy { .. } => None,
        }
    }

    /// Sizes of one item of each top, as the network gets it.
    pub fn sizes(&self) -> Result<Vec<(String, Vec<usize>)>, TrainError> {
        let tops = self.layer.tops.iter();
        Ok(match &self.source {
            Source::Hdf5(rows) => tops.cloned().zip(rows.sizes.iter().cloned()).collect(),
            Source::Dummy { .. } => Vec::new(),
            _ => {
                let item = self.transformer.sizes(self.item)?.to_vec();
                tops.cloned().zip([item, Vec::new()]).collect()
            }
        })
    }

    /// Batch number `batch`, a list of numbers for each top.
    pub fn batch(&self, batch: usize) -> Result<Vec<Vec<f32>>, TrainError> {
        match &self.source {
            Source::Dummy { shapes, fillers } => Ok(self.dummy(shapes, fillers, batch)),
            Source::Hdf5(rows) => self.rows(rows, batch),
            _ => self.items(batch),
        }
    }

    fn items(&self, batch: usize) -> Result<Vec<Vec<f32>>, TrainError> {
        let size: usize = self.transformer.sizes(self.item)?.iter().product();
        let count = self.count().unwrap_or(1).max(1);
        let (mut data, mut labels) =
            (vec![0.0; self.layer.batch * size], Vec::with_capacity(self.layer.batch));
        for (i, out) in data.chunks_exact_mut(size.max(1)).enumerate() {
            let number = self.skip + batch * self.layer.batch + i;
            let (item, label) = self.load(self.place(number, count))?;
            if item.sizes != self.item {
                return Err(TrainError::setting(format!(
                    "layer {}: item {} has sizes {:?}, the first {:?}; resize them to one size",
                    self.layer.name,
                    number % count,
                    item.sizes,
                    self.item
                )));
            }
            self.transformer.apply(&item, &mut Random::new(self.seed, CROPS, number as u64), out);
            labels.push(label);
        }
        Ok(vec![data, labels])
    }

    /// Which item comes as the `number`-th.
    fn place(&self, number: usize, count: usize) -> usize {
        match &self.source {
            Source::Images(images) if images.shuffle => {
                let order = Random::new(self.seed, ORDER, (number / count) as u64).order(count);
                order[number % count]
            }
            _ => number % count,
        }
    }

    fn load(&self, place: usize) -> Result<(Item, f32), TrainError> {
        match &self.source {
            Source::Lmdb(lmdb) => {
                let (key, value) = lmdb.entry(place as u64)?;
                let name = format!("{} ({})", self.layer.name, String::from_utf8_lossy(&key));
                let datum = Datum::decode(&value, &name)?;
                let label = datum.label as f32;
                Ok((self.item_of(datum, &name)?, label))
            }
            Source::Images(images) => {
                let (path, label) = &images.files[place];
                Ok((planes(Image::open(path)?, images.channels, images.size)?, *label))
            }
            _ => Err(TrainError::setting("this layer has no images")),
        }
    }

    fn item_of(&self, datum: Datum, name: &str) -> Result<Item, TrainError> {
        let sizes = datum.sizes;
        Ok(match datum.pixels {
            Pixels::Bytes(bytes) => Item { sizes, values: bytes.into_iter().map(f32::from).collect() },
            Pixels::Numbers(values) => Item { sizes, values },
            Pixels::File(bytes) => {
                let image = Image::decode(&bytes, name).map_err(ocellus_data::DataError::from)?;
                let transform = &self.layer.transform;
                let channels = match usize::from(image.channels) {
                    _ if transform.force_colour => 3,
                    _ if transform.force_grey => 1,
                    own => own,
                };
                planes(image, channels, None)?
            }
        })
    }

    fn rows(&self, rows: &Rows, batch: usize) -> Result<Vec<Vec<f32>>, TrainError> {
        let count = self.count().unwrap_or(1).max(1);
        let mut tops = vec![Vec::new(); self.layer.tops.len()];
        let mut at = batch * self.layer.batch;
        let end = at + self.layer.batch;
        while at < end {
            // As many rows as lie next to each other.
            let place = rows.place(self.seed, at, count);
            let file = rows.starts.partition_point(|&start| start <= place) - 1;
            let room = rows.starts[file + 1] - place;
            let now = if rows.shuffle { 1 } else { room.min(end - at) };
            for (top, name) in tops.iter_mut().zip(&self.layer.tops) {
                top.extend(rows.files[file].rows(name, place - rows.starts[file], now)?);
            }
            at += now;
        }
        Ok(tops)
    }

    fn dummy(&self, shapes: &[Vec<usize>], fillers: &[Init], batch: usize) -> Vec<Vec<f32>> {
        let fill = |(i, shape): (usize, &Vec<usize>)| {
            let mut random = Random::new(self.seed, DUMMY + i as u64, batch as u64);
            let filler = fillers.get(i).or(fillers.first()).copied().unwrap_or(Init::Constant(0.0));
            let mut number = || match filler {
                Init::Constant(value) => value,
                Init::Uniform { low, high } => low + (high - low) * random.unit() as f32,
                Init::Normal { mean, std } | Init::TruncatedNormal { mean, std } => {
                    mean + std * random.normal() as f32
                }
                // The other fillers are made for weights; Caffe gives them small numbers around 0 here.
                _ => 0.01 * random.normal() as f32,
            };
            (0..shape.iter().product()).map(|_| number()).collect()
        };
        shapes.iter().enumerate().map(fill).collect()
    }

    /// Whether items are cut and mirrored at random.
    pub fn phase(&self) -> Phase {
        self.phase
    }
}

/// Opens a database. Where a LevelDB is named (as by every description that says no backend), an LMDB of that path, or of
/// that name with lmdb in its place, will do.
fn open_database(path: &str, is_leveldb: bool, places: &Places) -> Result<Lmdb, TrainError> {
    let found = match places.file(path) {
        Err(_) if is_leveldb => places.file(&path.replace("leveldb", "lmdb")).or_else(|_| places.file(path)),
        found => found,
    }?;
    if is_leveldb && found.is_dir() && !Lmdb::is_at(&found) {
        let next = "make it again as LMDB: ocellus convert IMAGES NAME_lmdb";
        return Err(FormatError::malformed(
            found.display().to_string(),
            "it is a LevelDB, which is not read",
            next,
        )
        .into());
    }
    Ok(Lmdb::open(found)?)
}

/// An image as Caffe has it: blue, green, red, plane by plane, stretched without averaging.
fn planes(image: Image, channels: usize, size: Option<[usize; 2]>) -> Result<Item, TrainError> {
    let own = [image.height as usize, image.width as usize];
    let [height, width] = size.unwrap_or(own);
    let side = |side: usize| u32::try_from(side).unwrap_or(u32::MAX);
    let preprocess = Preprocess {
        fit: Fit::Stretch,
        antialias: false,
        order: ChannelOrder::Bgr,
        scale: 1.0,
        ..Preprocess::new(channels, [side(height), side(width)])
    };
    Ok(Item { sizes: [channels, height, width], values: preprocess.apply(&image)? })
}

/// Lines of a path and a label; the path may hold spaces.
fn read_list(list: &std::path::Path, root: &str, places: &Places) -> Result<Vec<(PathBuf, f32)>, TrainError> {
    let mut files = Vec::new();
    // Thousands of files need no search: the first tells where all are.
    let mut place = None;
    for (number, line) in read_lines(list)?.iter().enumerate() {
        let fault = || {
            let what = format!("line {} is no path and label: {line}", number + 1);
            FormatError::malformed(list.display().to_string(), what, "write one PATH LABEL in each line")
        };
        let (path, label) = line.rsplit_once(char::is_whitespace).ok_or_else(fault)?;
        let label: f32 = label.trim().parse().map_err(|_| fault())?;
        let path = format!("{root}{}", path.trim());
        let place = match &mut place {
            Some(place) => place,
            none => none.insert(places.place(&path)?),
        };
        files.push((place.of(&path), label));
    }
    Ok(files)
}

fn read_lines(list: &std::path::Path) -> Result<Vec<String>, TrainError> {
    let length =
        std::fs::metadata(list).map_err(|cause| TrainError::io(list, "cannot be read", cause))?.len();
    if length > LONGEST_LIST {
        let what = format!("{length} bytes are more than a list of files has");
        return Err(FormatError::malformed(list.display().to_string(), what, "give a list of files").into());
    }
    let text =
        std::fs::read_to_string(list).map_err(|cause| TrainError::io(list, "cannot be read", cause))?;
    Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_string).collect())
}

impl Rows {
    fn open(
        list: &std::path::Path,
        places: &Places,
        tops: &[String],
        shuffle: bool,
    ) -> Result<Rows, TrainError> {
        let mut rows = Rows { files: Vec::new(), starts: vec![0], sizes: Vec::new(), shuffle };
        for name in read_lines(list)? {
            let file = Hdf5::open(places.file(&name)?)?;
            let mut count = None;
            let mut sizes = Vec::new();
            for top in tops {
                let shape = file.shape(top)?;
                let Some((&first, row)) = shape.split_first() else {
                    let what = format!("{top} is a single number");
                    return Err(
                        FormatError::malformed(&name, what, "give arrays with a row for each item").into()
                    );
                };
                if count.is_some_and(|count| count != first) {
                    let what =
                        format!("{top} has {first} rows, another of its arrays has {}", count.unwrap_or(0));
                    return Err(FormatError::malformed(&name, what, "give as many rows in each").into());
                }
                count = Some(first);
                sizes.push(row.to_vec());
            }
            if !rows.sizes.is_empty() && rows.sizes != sizes {
                let what = format!("its rows have sizes {sizes:?}, those of the first file {:?}", rows.sizes);
                return Err(FormatError::malformed(&name, what, "give files with rows of one size").into());
            }
            rows.sizes = sizes;
            let all = rows.starts.last().copied().unwrap_or(0) + count.unwrap_or(0);
            rows.starts.push(all);
            rows.files.push(file);
        }
        Ok(rows)
    }

    fn place(&self, seed: u64, number: usize, count: usize) -> usize {
        match self.shuffle {
            true => Random::new(seed, ORDER, (number / count) as u64).order(count)[number % count],
            false => number % count,
        }
    }
}
