//! A model into a file of any kind, by the file's name.
//!
//! | name | what is written |
//! |---|---|
//! | `.safetensors` | this program's own: network, weights, classes, preprocessing |
//! | `.onnx` | ONNX, in the inference form; classes and preprocessing among its strings |
//! | `.prototxt`, `.caffemodel` or `.caffemodel.h5` | Caffe: the description and, beside it, the weights |
//! | `.npz` | the weights alone |
//! | `.txt`, `.net` | the network's text form alone |
//!
//! What a format has no place for (preprocessing, class names) goes into a TOML of the model's name beside it, where
//! [`super::open`] finds it again.

use std::path::{Path, PathBuf};

use ocellus_data::{ChannelOrder, Fit, Preprocess};
use ocellus_formats::{FormatError, caffe, npz, onnx, write_atomically};
use ocellus_graph::{Graph, to_text};

use super::{Found, LoadError, Preparation};

/// Endings that are written, for sentences.
const ENDINGS: &str = ".safetensors, .onnx, .prototxt, .caffemodel, .caffemodel.h5, .npz, .txt or .net";

/// How a model is written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SaveOptions {
    /// The network itself scales, normalises and orders the channels of the pixels, 0 to 255, red first, that it then
    /// takes: only in ONNX. Resizing and cropping stay outside.
    pub pixels_inside: bool,
}

/// What was written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Saved {
    /// The files, the asked for first.
    pub files: Vec<PathBuf>,
    /// What the format has no place for and is not in any of them.
    pub left_out: Vec<&'static str>,
}

/// Writes `found` in its inference form to `path`, as its name says; files there are replaced.
///
/// Errors: the name's ending is not known; the format needs weights and there are none; the network has an operation
/// that the format does not; a file cannot be written.
pub fn save(found: &Found, path: &Path) -> Result<Saved, LoadError> {
    save_with(found, path, &SaveOptions::default())
}

/// [`save`], with a say in how.
///
/// Errors, besides those of [`save`]: the format cannot do what is asked for, or the model does not say how pictures
/// are prepared.
pub fn save_with(found: &Found, path: &Path, options: &SaveOptions) -> Result<Saved, LoadError> {
    check_name(path)?;
    let mut found = inference_form(found);
    if options.pixels_inside && ending(path) != "onnx" {
        return Err(LoadError::Setting(format!(
            "{}: preprocessing becomes part of the network in ONNX alone; end its name in .onnx",
            path.display()
        )));
    }
    match ending(path).as_str() {
        "safetensors" => {
            found.into_model()?.save(path)?;
            Ok(Saved { files: vec![path.into()], ..Saved::default() })
        }
        "onnx" => {
            let pixels = if options.pixels_inside { Some(take_pixels(&mut found)?) } else { None };
            let options = onnx::WriteOptions { pixels, ..Default::default() };
            let bytes = onnx::write_with(&found.into_model()?, &options)?;
            write_atomically(path, |out| out.write_all(&bytes))?;
            Ok(Saved { files: vec![path.into()], ..Saved::default() })
        }
        "prototxt" | "caffemodel" | "caffemodel.h5" => to_caffe(&found, path),
        "npz" => {
            npz::write(path, &found.clone().into_model()?.weights)?;
            let saved = Saved { files: vec![path.into()], left_out: vec!["the network"] };
            with_preparation(&found, path, saved)
        }
        _ => {
            write_text(path, &text_of(&found.graph, path)?)?;
            let left_out = if found.weights.is_some() { vec!["the weights"] } else { vec![] };
            with_preparation(&found, path, Saved { files: vec![path.into()], left_out })
        }
    }
}

/// Whether the name says what is to be written.
pub(super) fn check_name(path: &Path) -> Result<(), LoadError> {
    match ending(path).as_str() {
        "safetensors" | "onnx" | "prototxt" | "caffemodel" | "caffemodel.h5" | "npz" | "txt" | "net" => {
            Ok(())
        }
        _ => {
            let what = format!("{} says no format of networks", path.display());
            Err(LoadError::Setting(format!("{what}; end its name in {ENDINGS}")))
        }
    }
}

/// The network as it is written, with the weights that it needs then.
pub(super) fn inference_form(found: &Found) -> Found {
    let mut found = found.clone();
    // A description that only measures has no inference form; it is written as it is.
    found.graph = found.graph.for_inference().unwrap_or(found.graph);
    if let Some(weights) = &mut found.weights {
        weights.retain(|name, _| found.graph.find_param(name).is_some());
    }
    found
}

/// What the network shall do to its pixels, which is left out of the model's preprocessing.
fn take_pixels(found: &mut Found) -> Result<onnx::Pixels, LoadError> {
    let refuse = |what: &str| Err(LoadError::Setting(format!("{}: {what}", found.graph.name)));
    let known = found.preprocess.clone().and_then(|value| serde_json::from_value::<Preprocess>(value).ok());
    let Some(known) = known else {
        return refuse(
            "it does not say how pictures are prepared; say it by flags such as --mean 104,117,123",
        );
    };
    known.validate()?;
    if known.fit == Fit::Letterbox {
        return refuse(
            "its letterbox is filled with the mean, before the network could subtract it; choose --fit stretch",
        );
    }
    let channels = known.channels;
    let plain = Preprocess {
        order: ChannelOrder::Rgb,
        scale: 1.0,
        mean: vec![0.0; channels],
        std: vec![1.0; channels],
        ..known.clone()
    };
    found.preprocess = serde_json::to_value(plain).ok();
    let reversed = known.order == ChannelOrder::Bgr && channels > 1;
    Ok(onnx::Pixels { scale: known.scale, mean: known.mean, std: known.std, reversed })
}

/// What the name ends in, in small letters and without the dot before it.
pub(super) fn ending(path: &Path) -> String {
    let of = |path: &Path| path.extension().map_or(String::new(), |end| end.to_string_lossy().to_lowercase());
    match (of(path), path.file_stem()) {
        (last, Some(stem)) if last == "h5" && of(Path::new(stem)) == "caffemodel" => "caffemodel.h5".into(),
        (last, _) => last,
    }
}

fn to_caffe(found: &Found, path: &Path) -> Result<Saved, LoadError> {
    let whole = if ending(path) == "caffemodel.h5" { path.with_extension("") } else { path.into() };
    let text = whole.with_extension("prototxt");
    let binary = if whole == path { path.with_extension("caffemodel") } else { path.into() };
    let files = match &found.weights {
        Some(weights) => {
            caffe::write(&text, &binary, &found.graph, weights)?;
            vec![text, binary]
        }
        None => {
            write_text(&text, &caffe::to_prototxt(&found.graph)?)?;
            vec![text]
        }
    };
    with_preparation(found, path, Saved { files, ..Saved::default() })
}

/// Writes the TOML beside the model, if there is anything to say.
fn with_preparation(found: &Found, path: &Path, mut saved: Saved) -> Result<Saved, LoadError> {
    let known = match &found.preprocess {
        Some(value) => serde_json::from_value::<Preprocess>(value.clone()).ok(),
        None => None,
    };
    let said = Preparation::of(known.as_ref(), &found.classes);
    if !said.is_empty() {
        let beside = path.with_extension("toml");
        write_text(&beside, &said.to_toml()?)?;
        saved.files.push(beside);
    }
    Ok(saved)
}

fn text_of(graph: &Graph, path: &Path) -> Result<String, LoadError> {
    Ok(to_text(graph).map_err(|cause| {
        let next = "write another format";
        FormatError::malformed(path.display().to_string(), cause.to_string(), next)
    })?)
}

fn write_text(path: &Path, text: &str) -> Result<(), LoadError> {
    Ok(write_atomically(path, |out| out.write_all(text.as_bytes()))?)
}
