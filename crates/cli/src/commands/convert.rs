//! `ocellus convert`: a network from one format into another.

use std::path::Path;

use anyhow::bail;
use clap::{Args, ValueEnum};
use ocellus::databases::{Entries, from_lmdb, to_lmdb};
use ocellus::formats::lmdb::Lmdb;
use ocellus::load::{Agreement, Found, SaveOptions, Trial, read_labels, save_verified, save_with};
use ocellus::train::{Source, kind_of};
use ocellus::{Graph, Weights, initialise};
use serde_json::json;

use crate::args::Common;
use crate::console;
use crate::network::{PrepareArgs, SourceArgs};
use crate::pictures::pictures;

const EXAMPLE: &str = "\
Examples:
  ocellus convert runs/train/best.safetensors net.onnx
  ocellus convert runs/train/best.safetensors net.prototxt       writes net.prototxt, net.caffemodel and net.toml
  ocellus convert squeezenet.prototxt squeezenet.safetensors --weights squeezenet.caffemodel \\
      --resize 256 --fit stretch --bgr --mean 104,117,123 --labels synset_words.txt
  ocellus convert flowers.keras flowers.onnx
  ocellus convert resnet20.th resnet20.safetensors --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225
  ocellus convert runs/train net.onnx --verify photos/           written only if it gives the same answers
  ocellus convert runs/train net.onnx --pixels-inside            the network itself takes pixels from 0 to 255
  ocellus convert resnet50 resnet50.onnx --untrained --seed 7
  ocellus convert mnist/ mnist_lmdb                              mnist_train_lmdb and mnist_val_lmdb
  ocellus convert mnist/ mnist_siamese_train_lmdb --split train --pairs
  ocellus convert photos/ photos.lmdb --crop 256; ocellus convert photos.lmdb photos2/
  ocellus convert fc-to-conv caffenet.prototxt maps.safetensors --weights caffenet.caffemodel

IN is anything that holds or describes a network. OUT says the format by its name: .safetensors (Ocellus), .onnx,
.prototxt or .caffemodel (Caffe: both are written), .npz (weights alone), .txt or .net (the network's text form alone). Preprocessing and
class names are kept: inside .safetensors and .onnx, else in a .toml of the same name, which ocellus finds there again.

--verify reads what was written, runs it beside the original, and fails, with nothing written, where an output differs by
more than 1e-4 of its largest number. Without pictures it runs both on random ones.

fc-to-conv turns linear layers into convolutions: the same numbers at the size trained for, a map of scores on larger
images. conv-to-fc turns them back.

Images become one of Caffe's LMDB databases where OUT ends in lmdb, in a random order (by --seed), and a database becomes
class folders of PNGs.";

/// What may be said after `ocellus convert`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLE, override_usage = "ocellus convert [fc-to-conv|conv-to-fc] IN OUT [OPTIONS]")]
pub struct ConvertArgs {
    /// What to read and what to write, after a change of the network if one is wanted
    #[arg(value_name = "IN OUT", required_unless_present = "verify")]
    pub words: Vec<String>,
    /// Read the file back and compare its answers with the original's: on these pictures (files, folders, data sets), or
    /// on random ones
    #[arg(long, value_name = "PICTURES", num_args = 0..)]
    pub verify: Option<Vec<String>>,
    /// Make scale, mean, deviation and order of channels part of the network (.onnx)
    #[arg(long)]
    pub pixels_inside: bool,
    /// Random weights, by --seed, for a network that has none
    #[arg(long)]
    pub untrained: bool,
    /// Classes that a network of the zoo is to tell apart [default: its own]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub classes: Option<u32>,
    /// For a database: which part of the images [default: all, parts that the data itself has in a database each]
    #[arg(long, value_enum, value_name = "PART")]
    pub split: Option<Part>,
    /// For a database: pairs of images, labelled by whether they are of one class, for Siamese networks
    #[arg(long)]
    pub pairs: bool,
    /// For a database: keep the order of the images
    #[arg(long)]
    pub no_shuffle: bool,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub source: SourceArgs,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub prepare: PrepareArgs,
}

/// Parts of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// To train on.
    Train,
    /// To validate on.
    Val,
    /// Both.
    All,
}

/// Changes of a network on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Surgery {
    FcToConv,
    ConvToFc,
}

/// Converts.
pub fn run(mut args: ConvertArgs, common: &Common) -> anyhow::Result<()> {
    if let (true, Some(behind)) = (args.words.is_empty(), &mut args.verify) {
        // Said in front of IN and OUT, --verify has taken them for its pictures.
        args.words = std::mem::take(behind);
    }
    let (surgery, from, to) = match args.words.as_slice() {
        [from, to] => (None, from, to),
        [surgery, from, to] => match Surgery::from_str(surgery, false) {
            Ok(surgery) => (Some(surgery), from, to),
            Err(_) => {
                bail!("{surgery}: there is no such change; say fc-to-conv or conv-to-fc, then IN and OUT")
            }
        },
        _ => bail!("say what to read and what to write: ocellus convert IN OUT"),
    };
    if Lmdb::is_at(from) {
        return to_folder(&args, from, Path::new(to), common);
    }
    if to.ends_with("lmdb") || to.ends_with("leveldb") {
        return to_databases(&args, from, to, common);
    }
    args.source.classes = args.classes.map(|n| n as usize);
    let mut found = args.source.find(from, None)?;
    if args.untrained && found.weights.is_none() {
        found.weights = Some(initialise(&found.graph, common.seed()));
    }
    let told = found.notes.len();
    if args.verify.as_ref().is_some_and(|pictures| !pictures.is_empty()) {
        found.take_pictures()?;
    }
    args.prepare.preparation().apply(&mut found)?;
    found.notes[told..].iter().for_each(|note| console::complain(&format!("note: {note}")));
    if let Some(surgery) = surgery {
        operate(&mut found, surgery)?;
    }
    let options = SaveOptions { pixels_inside: args.pixels_inside };
    let (saved, agreement) = match &args.verify {
        Some(paths) => {
            let trial = Trial { pictures: pictures(paths)?, seed: common.seed(), machine: common.machine() };
            let (saved, agreement) = save_verified(&found, Path::new(to), &options, &trial)?;
            (saved, Some(agreement))
        }
        None => (save_with(&found, Path::new(to), &options)?, None),
    };
    if common.json {
        return console::say_json(
            &json!({"written": saved.files, "left_out": saved.left_out, "verified": agreement}),
        );
    }
    for file in &saved.files {
        console::say(&format!("written: {}", file.display()));
    }
    for what in &saved.left_out {
        console::complain(&format!("note: {to} has no place for {what}"));
    }
    if let Some(agreement) = agreement {
        console::say(&told_agreement(&agreement));
    }
    Ok(())
}

fn told_agreement(agreement: &Agreement) -> String {
    let inputs = if agreement.random { "random inputs" } else { "pictures" };
    let Agreement { inputs: count, worst, output, .. } = agreement;
    format!("verified: {count} {inputs}, outputs agree within {worst:.1e} (the most in {output})")
}

/// A database to class folders.
fn to_folder(args: &ConvertArgs, from: &str, to: &Path, common: &Common) -> anyhow::Result<()> {
    let classes = args.prepare.labels.as_deref().map(read_labels).transpose()?.unwrap_or_default();
    let count = from_lmdb(Path::new(from), to, &classes)?;
    if common.json {
        return console::say_json(&json!({"written": [to], "images": count}));
    }
    console::say(&format!("written: {count} images in {}", to.display()));
    Ok(())
}

/// Images to a database, or to one for each part that the data has.
fn to_databases(args: &ConvertArgs, from: &str, to: &str, common: &Common) -> anyhow::Result<()> {
    let source =
        Source { data: from.into(), val_fraction: 0.2, seed: common.seed(), handling: Default::default() };
    let images = source.open(false)?;
    images
        .notes
        .iter()
        .filter(|note| !note.contains("drawn"))
        .for_each(|note| console::complain(&format!("note: {note}")));
    let (train, val) = (&*images.train, &*images.val);
    let has_parts = !images.drawn && !train.is_empty() && !val.is_empty();
    let databases = match args.split {
        Some(Part::Train) => vec![(to.to_string(), vec![train])],
        Some(Part::Val) => vec![(to.to_string(), vec![val])],
        None if has_parts => vec![(named(to, "train"), vec![train]), (named(to, "val"), vec![val])],
        _ => vec![(to.to_string(), vec![train, val])],
    };
    let first = databases.iter().flat_map(|(_, splits)| splits).find(|split| !split.is_empty());
    let channels = first.map_or(Ok(3), |split| kind_of(split).map(|kind| kind.channels))?;
    let entries = Entries {
        shuffle: (!args.no_shuffle).then_some(common.seed()),
        resize: args.prepare.image_size(channels),
        pairs: args.pairs,
    };
    let mut written = Vec::new();
    for (path, splits) in &databases {
        let count = to_lmdb(splits, &entries, Path::new(path))?;
        written.push(json!({"path": path, "images": count}));
        if !common.json {
            console::say(&format!("written: {count} images in {path}"));
        }
    }
    if common.json {
        return console::say_json(&json!({"written": written}));
    }
    Ok(())
}

/// `mnist_train_lmdb` for `mnist_lmdb`, `photos_val.lmdb` for `photos.lmdb`.
fn named(to: &str, part: &str) -> String {
    let stem = to.strip_suffix("lmdb").unwrap_or(to);
    match stem.strip_suffix(['.', '_']) {
        Some(bare) => format!("{bare}_{part}{}lmdb", &stem[bare.len()..]),
        None => format!("{stem}{part}_lmdb"),
    }
}

/// Changes the network; the weights keep their numbers in their order.
fn operate(found: &mut Found, surgery: Surgery) -> anyhow::Result<()> {
    found.graph = match surgery {
        Surgery::FcToConv => found.graph.to_convolutions()?,
        Surgery::ConvToFc => found.graph.to_linear()?,
    };
    if let Some(weights) = &mut found.weights {
        reshape(weights, &found.graph)?;
    }
    Ok(())
}

fn reshape(weights: &mut Weights, graph: &Graph) -> anyhow::Result<()> {
    for param in graph.params() {
        if let Some(tensor) = weights.remove(&param.name) {
            weights.insert(param.name.clone(), tensor.reshape(param.shape.clone())?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_names_of_their_own() {
        assert_eq!(named("mnist_lmdb", "train"), "mnist_train_lmdb");
        assert_eq!(named("a/photos.lmdb", "val"), "a/photos_val.lmdb");
        assert_eq!(named("lmdb", "val"), "val_lmdb");
    }
}
