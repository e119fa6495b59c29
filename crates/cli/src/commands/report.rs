//! `ocellus report`: everything worth knowing about a trained network, on one page.

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Args;
use ocellus::report::{Report, read_history, samples, write, write_events};
use ocellus::train::{Assessment, Attention, RunFolder, Validator, View, match_classes, preprocess_of};

use crate::args::Common;
use crate::commands::pairs;
use crate::commands::val::{self, BATCH};
use crate::data_args::DataArgs;
use crate::network::{PrepareArgs, SourceArgs};
use crate::{console, words};

const EXAMPLE: &str = "\
Examples:
  ocellus report runs/train                    into the run folder, on the run's own validation images
  ocellus report runs/train holiday/ --out holiday-report
  ocellus report squeezenet.prototxt --weights squeezenet.caffemodel photos/ --out report

Writes report.html (one file that needs nothing else), card.md, classes.csv, confusion.csv and .svg, predictions.csv,
calibration.svg, the curves as .svg, misclassified.png and samples.png.";

/// What may be said after `ocellus report`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct ReportArgs {
    /// Run folder or model file (.safetensors, .prototxt, .caffemodel, .onnx, .pt, .pth, .npz)
    #[arg(value_name = "RUN")]
    pub model: String,
    /// Images: their val (or test) part [default: the run's own data]
    #[arg(value_name = "DATA")]
    pub data: Option<String>,
    /// Where the files go [default: the run folder]
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// Fit the temperature that makes the model as sure as it should be
    #[arg(long)]
    pub temperature: bool,
    /// Also write the curves as a TensorBoard event file
    #[arg(long)]
    pub tensorboard: bool,
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

/// Reports.
pub fn run(args: ReportArgs, common: &Common) -> anyhow::Result<()> {
    let run = RunFolder::at(&args.model);
    let config = val::config_of(&run)?;
    let Some(folder) = args.out.clone().or(config.is_some().then(|| run.path().to_owned())) else {
        bail!("say where the report goes: --out FOLDER");
    };
    let mut model = args.source.model(&args.model, &args.prepare)?;
    let wanted = val::Wanted { model: &args.model, data: args.data.as_deref(), data_args: &args.data_args };
    if pairs::embeds(&model) {
        return pairs::measure(&model, &wanted, Some(&folder), common);
    }
    let preprocess = preprocess_of(&model)?;
    let source = val::source(&wanted, common)?;
    let is_own = wanted.is_own(&source.data)?;
    let images = val::open(&source, &model, is_own, false)?;
    images.notes.iter().for_each(|note| console::complain(&format!("note: {note}")));
    if images.val.is_empty() {
        bail!("there are no validation or test images in {}; put some into val/CLASS folders", source.data);
    }
    let mut validator = Validator::new(&model.graph, BATCH.min(images.val.len()), &common.machine())?;
    if model.classes.is_empty() {
        model.classes = val::assumed_classes(&validator, images.val.classes())?;
    }
    let class_of = match_classes(images.val.classes(), &model.classes)?;
    validator.load(&model.weights)?;
    let assessment = Assessment::new(&mut validator, &images.val, &preprocess, &class_of, &[View::PLAIN])?;
    let attention = match Attention::new(&model, &common.machine()) {
        Ok(attention) => Some(attention),
        Err(reason) => {
            console::complain(&format!("note: no maps of attention: {reason}"));
            None
        }
    };
    let history = config.as_ref().map(|_| read_history(Path::new(&args.model))).transpose()?;
    let shown =
        config.as_ref().filter(|_| is_own).map(|config| samples(&images.train, config)).transpose()?;
    let name =
        Path::new(&args.model).file_name().map_or(args.model.clone(), |n| n.to_string_lossy().into_owned());
    let report = Report {
        name,
        model: &model,
        data: source.data.clone(),
        split: &images.val,
        assessment: &assessment,
        preprocess: Some(preprocess),
        config: config.as_ref(),
        history: history.as_deref(),
        train_images: images.train.len(),
        samples: shown.unwrap_or_default(),
        left_out: &images.left_out,
        temperature: args.temperature.then(|| assessment.fitted_temperature()),
    };
    let mut files = write(&report, &folder, attention)?;
    if args.tensorboard {
        let Some(history) = &history else {
            bail!("{} is no run: it has no curves for TensorBoard", args.model)
        };
        files.push(write_events(history, &folder, began(&run))?);
    }
    if common.json {
        return console::say_json(&serde_json::json!({
            "files": files,
            "top1": assessment.metrics.top1(),
            "images": assessment.metrics.images(),
        }));
    }
    let [low, high] = assessment.metrics.top1_interval();
    console::say(&format!(
        "top1 {} ({} to {}) on {} images: {}",
        words::percent(assessment.metrics.top1()),
        words::percent(low),
        words::percent(high),
        assessment.metrics.images(),
        folder.join("report.html").display()
    ));
    Ok(())
}

/// When the run was begun, in seconds since 1970.
fn began(run: &RunFolder) -> f64 {
    let written = std::fs::metadata(run.config()).and_then(|file| file.modified());
    let since = written.ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    since.map_or(0.0, |since| since.as_secs_f64().floor())
}
