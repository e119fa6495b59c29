//! Layers that hand values in. A database is not opened: its layer becomes inputs of the shapes it would give.

use ocellus_graph::ValueId;

use super::Tops;
use crate::caffe::layer::Layer;
use crate::caffe::message::{Fault, Message};
use crate::caffe::net::Net;

const TRANSFORM: [&str; 7] =
    ["scale", "mirror", "crop_size", "mean_file", "mean_value", "force_color", "force_gray"];
const DATA: [&str; 10] = [
    "source",
    "batch_size",
    "rand_skip",
    "backend",
    "scale",
    "mean_file",
    "crop_size",
    "mirror",
    "force_encoded_color",
    "prefetch",
];
const IMAGE_DATA: [&str; 13] = [
    "source",
    "batch_size",
    "rand_skip",
    "shuffle",
    "new_height",
    "new_width",
    "is_color",
    "scale",
    "mean_file",
    "crop_size",
    "mirror",
    "root_folder",
    "prefetch",
];

/// One input per top.
pub(super) fn inputs(net: &mut Net, layer: &Layer) -> Tops {
    layer.expect_bottoms(0)?;
    let shapes = match layer.kind.as_str() {
        "Input" => listed(layer, &layer.settings("input_param", &["shape"])?)?,
        "DummyData" => dummy(layer)?,
        "MemoryData" => {
            let settings =
                layer.settings("memory_data_param", &["batch_size", "channels", "height", "width"])?;
            let size = |name| settings.usize(name, 0);
            let item = vec![size("channels")?, size("height")?, size("width")?];
            database(net, layer, size("batch_size")?, Some(item))?
        }
        "ImageData" => {
            let settings = layer.settings("image_data_param", &IMAGE_DATA)?;
            let (height, width) = (settings.usize("new_height", 0)?, settings.usize("new_width", 0)?);
            let channels = if settings.bool("is_color", true)? { 3 } else { 1 };
            let item = cropped(layer, &settings)?.map_or([height, width], |size| [size; 2]);
            let known = item[0] > 0 && item[1] > 0;
            let item = known.then(|| vec![channels, item[0], item[1]]);
            database(net, layer, settings.usize("batch_size", 1)?, item)?
        }
        "HDF5Data" => {
            let settings = layer.settings("hdf5_data_param", &["source", "batch_size", "shuffle"])?;
            database(net, layer, settings.usize("batch_size", 1)?, None)?
        }
        _ => {
            let settings = layer.settings("data_param", &DATA)?;
            let item = match cropped(layer, &settings)? {
                Some(size) => Some(vec![channels(layer)?, size, size]),
                None => None,
            };
            database(net, layer, settings.usize("batch_size", 1)?, item)?
        }
    };
    let tops = layer.tops.iter().zip(shapes);
    tops.map(|(top, shape)| net.input(layer, top, shape)).collect::<Result<Vec<ValueId>, Fault>>()
}

/// The shapes of `shape` messages: one per top, or one for all.
fn listed(layer: &Layer, settings: &Message) -> Result<Vec<Vec<usize>>, Fault> {
    let shapes: Vec<Vec<usize>> =
        settings.all("shape").map(|field| field.as_message()?.usizes("dim")).collect::<Result<_, Fault>>()?;
    match (shapes.as_slice(), layer.tops.len()) {
        ([one], tops) => Ok(vec![one.clone(); tops]),
        (shapes, tops) if shapes.len() == tops => Ok(shapes.to_vec()),
        (shapes, tops) => Err(layer.fault(format!("{} shapes for {tops} tops", shapes.len()))),
    }
}

/// Made-up data: shapes as messages or as four lists of sizes.
pub(in crate::caffe) fn dummy(layer: &Layer) -> Result<Vec<Vec<usize>>, Fault> {
    let known = ["data_filler", "shape", "num", "channels", "height", "width"];
    let settings = layer.settings("dummy_data_param", &known)?;
    if settings.get("shape").is_some() {
        return listed(layer, &settings);
    }
    let sizes: Vec<Vec<usize>> =
        known[2..].iter().map(|name| settings.usizes(name)).collect::<Result<_, Fault>>()?;
    (0..layer.tops.len())
        .map(|top| {
            let of = |list: &Vec<usize>| list.get(top).or(list.first()).copied();
            let shape: Option<Vec<usize>> = sizes.iter().map(of).collect();
            shape.ok_or_else(|| layer.fault("has neither a shape nor num, channels, height and width"))
        })
        .collect()
}

/// The shapes of what a database gives: items in batches, then one label each. Sizes that the caller gave win.
fn database(
    net: &Net,
    layer: &Layer,
    batch: usize,
    item: Option<Vec<usize>>,
) -> Result<Vec<Vec<usize>>, Fault> {
    let mut shapes = Vec::new();
    for (i, top) in layer.tops.iter().enumerate() {
        let given = net.options.items.get(top).cloned();
        let usual = if i == 0 { item.clone().or(net.options.any_item.clone()) } else { Some(Vec::new()) };
        let Some(sizes) = given.or(usual) else {
            let next = format!("say the channels, height and width of one item of {top}: --input 1,C,H,W");
            return Err(
                layer.fault_with(format!("the sizes of {top} stand in its database, not here"), &next)
            );
        };
        shapes.push([batch].into_iter().chain(sizes).collect());
    }
    Ok(shapes)
}

/// The size that images are cut to, if they are.
fn cropped(layer: &Layer, settings: &Message) -> Result<Option<usize>, Fault> {
    let mut size = settings.usize("crop_size", 0)?;
    if let Some(transform) = layer.body.message("transform_param")? {
        transform.only("transform_param", &TRANSFORM)?;
        size = transform.usize("crop_size", size)?;
    }
    Ok((size > 0).then_some(size))
}

/// Images have three channels, unless they are made grey or one mean is subtracted.
fn channels(layer: &Layer) -> Result<usize, Fault> {
    let Some(transform) = layer.body.message("transform_param")? else { return Ok(3) };
    let grey = transform.bool("force_gray", false)? || transform.all("mean_value").count() == 1;
    Ok(if grey { 1 } else { 3 })
}
