//! Where a network's data comes from: its data layers, as they are described. Nothing is opened here.

use super::layer::{Layer, read_all};
use super::layers::filler;
use super::message::{Fault, Message};
use super::options::NetOptions;
use super::rules::included;
use super::{FormatError, text};
use ocellus_graph::Init;

/// A layer that hands data in.
#[derive(Clone, Debug, PartialEq)]
pub struct DataLayer {
    /// Its name.
    pub name: String,
    /// The blobs that it fills: the first with items, the second, if there is one, with labels.
    pub tops: Vec<String>,
    /// Items at once.
    pub batch: usize,
    /// Where they come from.
    pub source: DataSource,
    /// What is done with each.
    pub transform: Transform,
}

/// Where items come from.
#[derive(Clone, Debug, PartialEq)]
pub enum DataSource {
    /// A database of `Datum` messages.
    Database {
        /// Its path.
        path: String,
        /// Whether it is LevelDB, which is not read, rather than LMDB.
        is_leveldb: bool,
        /// Skip at random up to this many items at first.
        rand_skip: usize,
    },
    /// A list of image files, a path and a label in each line.
    Images {
        /// The list's path.
        list: String,
        /// What every path begins with.
        root: String,
        /// Height and width that images are stretched to.
        size: Option<[usize; 2]>,
        /// Three channels rather than one.
        colour: bool,
        /// Another order in each round.
        shuffle: bool,
        /// Skip at random up to this many items at first.
        rand_skip: usize,
    },
    /// A list of HDF5 files, with an array for each top.
    Hdf5 {
        /// The list's path.
        list: String,
        /// Another order of files and rows in each round.
        shuffle: bool,
    },
    /// Whatever the program puts in.
    Memory,
    /// Made-up numbers, a filler for each top.
    Dummy {
        /// The shape of each top.
        shapes: Vec<Vec<usize>>,
        /// How each top is filled.
        fillers: Vec<Init>,
    },
}

/// Caffe's `TransformationParameter`: cut, mirror, then (value - mean) * scale.
#[derive(Clone, Debug, PartialEq)]
pub struct Transform {
    /// Multiplies, after the mean.
    pub scale: f32,
    /// Mirror half of the items (in training; in testing too, as Caffe does).
    pub mirror: bool,
    /// Height and width that items are cut to: anywhere in training, in the middle in testing. 0: not at all.
    pub crop: usize,
    /// A mean image.
    pub mean_file: Option<String>,
    /// A mean for all channels, or one for each.
    pub mean_values: Vec<f32>,
    /// Encoded images always get three channels.
    pub force_colour: bool,
    /// Encoded images always get one.
    pub force_grey: bool,
}

/// The data layers of the description `text` under `options`; `file` is what errors call it. Layers of the type Input,
/// and inputs without a layer, are not among them.
pub fn data_layers(text: &str, file: &str, options: &NetOptions) -> Result<Vec<DataLayer>, FormatError> {
    let read = |message: Message| -> Result<Vec<DataLayer>, Fault> {
        let mut found = Vec::new();
        let options = options.with_state_of(&message)?;
        for layer in read_all(&message)? {
            if included(&layer.body, &options)?
                && let Some(layer) = data_layer(&layer)?
            {
                found.push(layer);
            }
        }
        Ok(found)
    };
    text::parse(text).and_then(read).map_err(|fault| fault.of(file))
}

fn data_layer(layer: &Layer) -> Result<Option<DataLayer>, Fault> {
    let empty = Message::default();
    let settings =
        |name: &str| -> Result<Message, Fault> { Ok(layer.body.message(name)?.unwrap_or(&empty).clone()) };
    let path = |settings: &Message| -> Result<String, Fault> {
        let source = settings.text("source")?.map(str::to_string);
        source.ok_or_else(|| layer.fault("names no source"))
    };
    let (settings, source) = match layer.kind.as_str() {
        "Data" => {
            let settings = settings("data_param")?;
            let source = DataSource::Database {
                path: path(&settings)?,
                is_leveldb: settings.choice("backend", &["LEVELDB", "LMDB"])? == 0,
                rand_skip: settings.usize("rand_skip", 0)?,
            };
            (settings, source)
        }
        "ImageData" => {
            let settings = settings("image_data_param")?;
            let size = [settings.usize("new_height", 0)?, settings.usize("new_width", 0)?];
            let source = DataSource::Images {
                list: path(&settings)?,
                root: settings.text("root_folder")?.unwrap_or("").to_string(),
                size: (size[0] > 0 && size[1] > 0).then_some(size),
                colour: settings.bool("is_color", true)?,
                shuffle: settings.bool("shuffle", false)?,
                rand_skip: settings.usize("rand_skip", 0)?,
            };
            (settings, source)
        }
        "HDF5Data" => {
            let settings = settings("hdf5_data_param")?;
            let source =
                DataSource::Hdf5 { list: path(&settings)?, shuffle: settings.bool("shuffle", false)? };
            (settings, source)
        }
        "MemoryData" => (settings("memory_data_param")?, DataSource::Memory),
        "DummyData" => {
            let settings = settings("dummy_data_param")?;
            let source = DataSource::Dummy {
                shapes: super::layers::dummy_shapes(layer)?,
                fillers: fillers(&settings)?,
            };
            (settings, source)
        }
        _ => return Ok(None),
    };
    Ok(Some(DataLayer {
        name: layer.name.clone(),
        tops: layer.tops.clone(),
        batch: settings.usize("batch_size", 1)?.max(1),
        transform: transform(layer, &settings)?,
        source,
    }))
}

fn fillers(settings: &Message) -> Result<Vec<Init>, Fault> {
    let each = settings.all("data_filler").map(|field| {
        let alone = Message { line: field.line, fields: vec![field.clone()], body: "" };
        filler::filler(&alone, "data_filler")
    });
    each.collect()
}

/// What of the transformation stands among the layer's own settings in older files.
const OLDER: [&str; 4] = ["scale", "mean_file", "crop_size", "mirror"];

/// The transformation; what older files say of it wins, as when Caffe upgrades them.
fn transform(layer: &Layer, settings: &Message) -> Result<Transform, Fault> {
    let mut of = layer.body.message("transform_param")?.cloned().unwrap_or_default();
    of.fields.extend(settings.fields.iter().filter(|field| OLDER.contains(&field.name)).cloned());
    Ok(Transform {
        scale: of.f32("scale", 1.0)?,
        mirror: of.bool("mirror", false)?,
        crop: of.usize("crop_size", 0)?,
        mean_file: of.text("mean_file")?.filter(|path| !path.is_empty()).map(str::to_string),
        mean_values: of.f32s("mean_value")?,
        force_colour: of.bool("force_color", false)?,
        force_grey: of.bool("force_gray", false)?,
    })
}
