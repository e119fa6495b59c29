//! `ocellus val`: how good is a trained network on these images?

use std::path::Path;

use anyhow::bail;
use clap::{Args, ValueEnum};
use ocellus::train::metrics::{ClassReport, Metrics};
use ocellus::train::{RunFolder, Source, TrainConfig, Validator, View, match_classes, preprocess_of};
use serde::Serialize;

use crate::args::Common;
use crate::network::{PrepareArgs, SourceArgs};
use crate::{console, words};

const EXAMPLE: &str = "\
Examples:
  ocellus val runs/train photos/
  ocellus val runs/train photos/ --tta          by the mean over each picture and its mirror image
  ocellus val lenet.prototxt --weights lenet.caffemodel --scale 0.00390625 mnist/
  ocellus val resnet20.th --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 test_batch.bin

Each pixel x (0 to 255) is fed as (x * scale - mean) / std. A model without class names is taken to have the data's
classes in their order.";
/// Images computed at once.
const BATCH: usize = 64;

/// What may be said after `ocellus val`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct ValArgs {
    /// Run folder or model file (.safetensors, .prototxt, .caffemodel, .onnx, .pt, .pth, .npz)
    #[arg(value_name = "RUN")]
    pub model: String,
    /// Images: their val (or test) part, or all of a set that has only that [default: the run's own data]
    #[arg(value_name = "DATA")]
    pub data: Option<String>,
    /// Judge each picture by the mean over several views of it: mirrored, shifted by a sixteenth each way, or both
    #[arg(long, value_enum, value_name = "VIEWS", num_args = 0..=1, default_missing_value = "mirror")]
    pub tta: Option<Views>,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub source: SourceArgs,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub prepare: PrepareArgs,
}

/// Sets of views.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Views {
    /// As it is and mirrored.
    Mirror,
    /// As it is and shifted along both diagonals: five views.
    Shifts,
    /// Both: ten views.
    Both,
}

impl Views {
    /// The views of images of this size.
    fn views(tta: Option<Views>, size: [u32; 2]) -> Vec<View> {
        let shift = i64::from((size[0].min(size[1]) / 16).max(1));
        match tta {
            None => View::set(false, 0),
            Some(Views::Mirror) => View::set(true, 0),
            Some(Views::Shifts) => View::set(false, shift),
            Some(Views::Both) => View::set(true, shift),
        }
    }
}

#[derive(Serialize)]
struct Report {
    images: u64,
    top1: f64,
    top5: f64,
    loss: f64,
    classes: Vec<ClassReport>,
}

/// Validates.
pub fn run(args: ValArgs, common: &Common) -> anyhow::Result<()> {
    let mut model = args.source.model(&args.model, &args.prepare)?;
    let preprocess = preprocess_of(&model)?;
    let images = source(&args, common)?.open(true)?;
    images.notes.iter().for_each(|note| console::complain(&format!("note: {note}")));
    if images.drawn.is_some() {
        console::complain("note: the data has no val folder; measured on the share that was drawn by seed");
    }
    if images.val.is_empty() {
        bail!("there are no validation or test images in the data; put some into val/CLASS folders");
    }
    let batch = BATCH.min(images.val.len());
    let mut validator = Validator::new(&model.graph, batch, &common.machine())?;
    if model.classes.is_empty() {
        model.classes = assumed_classes(&validator, images.val.classes())?;
    }
    let class_of = match_classes(images.val.classes(), &model.classes)?;
    validator.load(&model.weights)?;
    let views = Views::views(args.tta, preprocess.size);
    let metrics = validator.measure_views(&images.val, &preprocess, &class_of, &views)?;
    let report = Report {
        images: metrics.images(),
        top1: metrics.top1(),
        top5: metrics.top5(),
        loss: metrics.loss(),
        classes: metrics.report(&model.classes),
    };
    if common.json {
        return console::say_json(&report);
    }
    print(&report, &metrics);
    Ok(())
}

/// The data's classes for a model that names none.
fn assumed_classes(validator: &Validator, data: &[String]) -> anyhow::Result<Vec<String>> {
    let scores = validator.classes();
    if scores != data.len() {
        bail!(
            "the model gives {scores} scores without names, the data has {} classes; name the model's by --labels FILE",
            data.len()
        );
    }
    console::complain("note: the model names no classes; taken to be the data's, in their order");
    Ok(data.to_vec())
}

/// The data, divided as for training if it is the run's own.
fn source(args: &ValArgs, common: &Common) -> anyhow::Result<Source> {
    let run = RunFolder::at(Path::new(&args.model));
    let config = run.config().is_file().then(|| TrainConfig::of_run(&run)).transpose()?;
    let own = config.as_ref().map(|config| config.data.clone());
    let Some(data) = args.data.clone().or(own) else {
        bail!("name the images to measure on: ocellus val {} DATA", words::quoted(&args.model));
    };
    Ok(Source {
        data,
        val_fraction: config.as_ref().map_or(0.2, |config| config.val_fraction),
        seed: common.seed.or(config.map(|config| config.seed)).unwrap_or(0),
    })
}

fn print(report: &Report, metrics: &Metrics) {
    let width = report.classes.iter().map(|c| c.class.chars().count()).max().unwrap_or(0).max("class".len());
    console::say(&format!(
        "{:<width$}  {:>9}  {:>6}  {:>6}  {:>6}",
        "class", "precision", "recall", "F1", "images"
    ));
    for class in &report.classes {
        console::say(&format!(
            "{:<width$}  {:>9}  {:>6}  {:>6}  {:>6}",
            class.class,
            words::percent(class.precision),
            words::percent(class.recall),
            words::percent(class.f1),
            class.images
        ));
    }
    if let Some((count, actual, predicted)) = most_confused(metrics) {
        let [actual, predicted] = [actual, predicted].map(|index| &report.classes[index].class);
        console::say(&format!("most confused: {count} of {actual} taken for {predicted}"));
    }
    console::say(&format!(
        "{} images  loss {:.3}  top1 {}  top5 {}",
        report.images,
        report.loss,
        words::percent(report.top1),
        words::percent(report.top5)
    ));
}

/// The largest number off the diagonal of the confusion matrix, its row and column.
fn most_confused(metrics: &Metrics) -> Option<(u64, usize, usize)> {
    let rows = metrics.confusion();
    let cells = rows.iter().enumerate().flat_map(|(actual, row)| {
        row.iter().enumerate().map(move |(predicted, &count)| (count, actual, predicted))
    });
    cells.filter(|&(count, actual, predicted)| actual != predicted && count > 0).max_by_key(|cell| cell.0)
}
