//! `ocellus val`: how good is a trained network on these images?

use std::path::Path;

use anyhow::bail;
use clap::Args;
use ocellus::Model;
use ocellus::train::metrics::ClassReport;
use ocellus::train::{
    Assessment, BUILT_IN, Handling, Images, Item, RunFolder, Source, TrainConfig, Validator, View,
    division_of, match_classes, preprocess_of,
};
use serde::Serialize;

use crate::args::{Common, PrecisionName, ViewsName};
use crate::commands::pairs;
use crate::data_args::DataArgs;
use crate::network::{PrepareArgs, SourceArgs};
use crate::{console, words};

const EXAMPLE: &str = "\
Examples:
  ocellus val runs/train photos/
  ocellus val runs/train photos/ --precision bf16     faster on some processors, a little less exact
  ocellus val runs/train photos/ --tta          by the mean over each picture and its mirror image
  ocellus val lenet.prototxt --weights lenet.caffemodel --scale 0.00390625 mnist/
  ocellus val resnet20.th --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 test_batch.bin

Each pixel x (0 to 255) is fed as (x * scale - mean) / std. A model without class names is taken to have the data's
classes in their order.";
/// Images computed at once.
pub const BATCH: usize = 64;

/// What may be said after `ocellus val`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct ValArgs {
    /// Run folder or model file (.safetensors, .prototxt, .caffemodel, .onnx, .pt, .pth, .npz)
    #[arg(value_name = "RUN")]
    pub model: String,
    /// Images: their val (or test) part; all of a set that is not divided, but for the run's own [default: the run's own data]
    #[arg(value_name = "DATA")]
    pub data: Option<String>,
    /// Judge each picture by the mean over several views of it: mirrored, shifted by a sixteenth each way, or both
    #[arg(long, value_enum, value_name = "VIEWS", num_args = 0..=1, default_missing_value = "mirror")]
    pub tta: Option<ViewsName>,
    /// Fit the temperature that makes the model as sure as it should be
    #[arg(long)]
    pub temperature: bool,
    /// Name this many images with the highest loss
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub top_losses: usize,
    /// What to compute with
    #[arg(long, value_enum, default_value_t = PrecisionName::F32)]
    pub precision: PrecisionName,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub data_args: DataArgs,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub source: SourceArgs,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub prepare: PrepareArgs,
}

#[derive(Serialize)]
struct Report {
    images: u64,
    top1: f64,
    top5: f64,
    loss: f64,
    classes: Vec<ClassReport>,
    top1_interval: [f64; 2],
    balanced_accuracy: f64,
    macro_f1: f64,
    ece: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<Temperature>,
    /// Rows are the actual classes, columns the predicted ones.
    confusion: Vec<Vec<u64>>,
    top_losses: Vec<Item>,
}

/// What dividing the logits by the fitted temperature does.
#[derive(Serialize)]
struct Temperature {
    temperature: f64,
    ece: f64,
    loss: f64,
}

fn temperature(assessment: &Assessment) -> Temperature {
    let temperature = assessment.fitted_temperature();
    let after = assessment.calibration_at(temperature);
    Temperature { temperature, ece: after.ece, loss: after.loss }
}

/// Validates.
pub fn run(args: ValArgs, common: &Common) -> anyhow::Result<()> {
    let mut model = args.source.model(&args.model, &args.prepare)?;
    let wanted = Wanted { model: &args.model, data: args.data.as_deref(), data_args: &args.data_args };
    if pairs::embeds(&model) {
        return pairs::measure(&model, &wanted, None, common);
    }
    let preprocess = preprocess_of(&model)?;
    let source = source(&wanted, common)?;
    let images = open(&source, &model, wanted.is_own(&source.data)?, true)?;
    images.notes.iter().for_each(|note| console::complain(&format!("note: {note}")));
    if images.drawn {
        console::complain("note: the data has no val folder; measured on the share that was drawn by seed");
    }
    if images.val.is_empty() {
        bail!("there are no validation or test images in the data; put some into val/CLASS folders");
    }
    let batch = BATCH.min(images.val.len());
    let machine = common.machine().with_precision(args.precision.of(&model.info, &args.model)?);
    let mut validator = Validator::new(&model.graph, batch, &machine)?;
    if model.classes.is_empty() {
        model.classes = assumed_classes(&validator, images.val.classes())?;
    }
    let class_of = match_classes(images.val.classes(), &model.classes)?;
    validator.load(&model.weights)?;
    let views = args.tta.map_or(vec![View::PLAIN], |tta| tta.views().of(preprocess.size));
    let assessment = Assessment::new(&mut validator, &images.val, &preprocess, &class_of, &views)?;
    let metrics = &assessment.metrics;
    let report = Report {
        images: metrics.images(),
        top1: metrics.top1(),
        top5: metrics.top5(),
        loss: metrics.loss(),
        classes: metrics.report(&model.classes),
        top1_interval: metrics.top1_interval(),
        balanced_accuracy: metrics.balanced_accuracy(),
        macro_f1: metrics.macro_f1(),
        ece: assessment.calibration.ece,
        temperature: args.temperature.then(|| temperature(&assessment)),
        confusion: metrics.confusion().into_iter().map(<[u64]>::to_vec).collect(),
        top_losses: assessment.top_losses(args.top_losses).into_iter().cloned().collect(),
    };
    if common.json {
        return console::say_json(&report);
    }
    print(&report, &assessment);
    Ok(())
}

/// The data's classes for a model that names none.
pub fn assumed_classes(validator: &Validator, data: &[String]) -> anyhow::Result<Vec<String>> {
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

/// Which images a model is to be measured on.
pub struct Wanted<'a> {
    /// Run folder or model file.
    pub model: &'a str,
    /// The images' path, if it was named.
    pub data: Option<&'a str>,
    /// What was said about them.
    pub data_args: &'a DataArgs,
}

impl Wanted<'_> {
    /// Whether the model was trained on this data.
    pub fn is_own(&self, data: &str) -> anyhow::Result<bool> {
        let config = config_of(&self.run())?;
        Ok(config.is_some_and(|config| is_same_data(&config.data, data)))
    }

    /// The folder of the model's run, if it has one; its model may be named by its file.
    fn run(&self) -> RunFolder {
        let model = Path::new(self.model);
        RunFolder::at(if model.is_file() { model.parent().unwrap_or(Path::new("")) } else { model })
    }
}

/// Opens the data, which `is_own` if the model was trained on it: the part that validates and, of its own unless
/// `val_only`, what it was trained on.
pub fn open(source: &Source, model: &Model, is_own: bool, val_only: bool) -> anyhow::Result<Images> {
    // What was trained here may have seen a part of this data under another name.
    let may_have_seen = is_own || model.info.contains_key("epoch");
    Ok(if may_have_seen { source.open(val_only || !is_own)? } else { source.open_unseen()? })
}

/// How a run was made, if this is the folder of one.
pub fn config_of(run: &RunFolder) -> anyhow::Result<Option<TrainConfig>> {
    Ok(run.config().is_file().then(|| TrainConfig::of_run(run)).transpose()?)
}

/// Whether two words name the same data.
fn is_same_data(a: &str, b: &str) -> bool {
    let name = |word: &str| {
        if word == "digits" && !Path::new(word).exists() { BUILT_IN.into() } else { word.to_owned() }
    };
    let place = |word: &str| std::fs::canonicalize(word).ok();
    name(a) == name(b) || place(a).is_some_and(|a| place(b) == Some(a))
}

/// The data, divided as for training if it is the run's own.
pub fn source(args: &Wanted<'_>, common: &Common) -> anyhow::Result<Source> {
    let run = args.run();
    let config = config_of(&run)?;
    let own = config.as_ref().map(|config| config.data.clone());
    let Some(data) = args.data.map(str::to_owned).or(own) else {
        bail!("name the images to measure on: ocellus val {} DATA", words::quoted(args.model));
    };
    let is_own = config.as_ref().is_some_and(|config| is_same_data(&config.data, &data));
    let told = config.as_ref().map(|config| config.handling.clone()).unwrap_or_default();
    let written = Handling { split: division_of(&run).filter(|_| is_own), ..Handling::default() };
    let handling = args.data_args.handling().or(written).or(if is_own { told } else { Handling::default() });
    Ok(Source {
        data,
        handling,
        val_fraction: config.as_ref().map_or(0.2, |config| config.val_fraction),
        seed: common.seed.or(config.map(|config| config.seed)).unwrap_or(0),
    })
}

fn print(report: &Report, assessment: &Assessment) {
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
    let name = |class: usize| &report.classes[class].class;
    for (count, actual, predicted) in assessment.confusions(3) {
        console::say(&format!("confused: {count} of {} taken for {}", name(actual), name(predicted)));
    }
    for item in &report.top_losses {
        console::say(&format!(
            "loss {:>7.3}  {}: {}, taken for {} ({})",
            item.loss,
            item.image,
            name(item.label),
            name(item.predicted),
            words::percent(item.confidence)
        ));
    }
    let [low, high] = report.top1_interval;
    console::say(&format!(
        "balanced accuracy {}  macro F1 {:.3}  calibration error {}  top1 lies in {} to {} (95%)",
        words::percent(report.balanced_accuracy),
        report.macro_f1,
        words::percent(report.ece),
        words::percent(low),
        words::percent(high)
    ));
    if let Some(fitted) = &report.temperature {
        console::say(&format!(
            "temperature {:.3}: calibration error {}, loss {:.3} (fitted on these images)",
            fitted.temperature,
            words::percent(fitted.ece),
            fitted.loss
        ));
    }
    console::say(&format!(
        "{} images  loss {:.3}  top1 {}  top5 {}",
        report.images,
        report.loss,
        words::percent(report.top1),
        words::percent(report.top5)
    ));
}
