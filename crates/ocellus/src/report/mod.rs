//! A trained model's report: one page, and the files behind it.
//!
//! ```text
//! run or model -> Assessment of every validation image -> report.html, card.md, classes.csv, confusion.csv/.svg,
//!                                                         predictions.csv, calibration.svg, curves.svg, *.png
//! ```

mod card;
mod gallery;
mod history;
mod page;
mod pairs;
mod runs;
mod svg;
mod tensorboard;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ocellus_data::{Image, Loader, LoaderConfig, Preprocess, Preprocessor, Split};
use ocellus_formats::{Model, write_atomically};
use ocellus_train::{Assessment, Attention, Item, LeftOut, TrainConfig};

use crate::load::LoadError;

pub use history::{Epoch, curves, read_history};
pub use pairs::{PairReport, write_pairs};
pub use runs::{Compared, Group, compare_runs};
pub use svg::{Chart, Series};
pub use tensorboard::write_events;

/// Above this many classes a second matrix says nothing more.
const LARGEST_MATRIX: usize = 40;
/// Pictures in each gallery.
const GALLERY: usize = 24;
/// Training images on the sheet of samples, and in a row of it.
const SAMPLES: usize = 32;
const SAMPLES_ACROSS: usize = 8;

/// What a report is made of.
pub struct Report<'a> {
    /// What it is called.
    pub name: String,
    /// The model, with class names.
    pub model: &'a Model,
    /// The path of the images it was measured on.
    pub data: String,
    /// Those images.
    pub split: &'a Split,
    /// What was measured.
    pub assessment: &'a Assessment,
    /// How images become its input.
    pub preprocess: Option<Preprocess>,
    /// The run's settings.
    pub config: Option<&'a TrainConfig>,
    /// The run's epochs.
    pub history: Option<&'a [Epoch]>,
    /// How many images it was trained on.
    pub train_images: usize,
    /// Training images as the network sees them.
    pub samples: Vec<Image>,
    /// Damaged images that were left out.
    pub left_out: &'a [LeftOut],
    /// The fitted temperature, if it was asked for.
    pub temperature: Option<f64>,
}

/// What the page shows beside numbers, as HTML.
struct Pictures {
    top_losses: String,
    misclassified: String,
    samples: Option<String>,
}

/// Training images as the network sees them: the first of an epoch in their random order, changed at random.
///
/// Errors: an image cannot be decoded.
pub fn samples(split: &Arc<Split>, config: &TrainConfig) -> Result<Vec<Image>, LoadError> {
    let count = SAMPLES.min(split.len());
    if count == 0 {
        return Ok(Vec::new());
    }
    let preprocess = config.preprocess.clone();
    let mut loading = LoaderConfig::training(preprocess.clone(), config.augment, count, config.seed);
    loading.threads = 0;
    let preprocessor = Preprocessor::new(&preprocess)?;
    let Some(batch) = Loader::start(split.clone(), &loading, 0, 0)?.next().transpose()? else {
        return Ok(Vec::new());
    };
    let inputs = batch.images.chunks_exact(preprocess.output_len());
    Ok(inputs.map(|input| preprocessor.picture(input)).collect::<Result<_, _>>()?)
}

/// Writes the report into `folder`, which is made if need be; gives the files. `attention` draws where the model looked.
///
/// Errors: an image cannot be decoded, a file cannot be written.
pub fn write(
    report: &Report<'_>,
    folder: &Path,
    mut attention: Option<Attention>,
) -> Result<Vec<PathBuf>, LoadError> {
    let mut files = make(folder)?;
    let (assessment, classes) = (report.assessment, &report.model.classes);
    let wrong: Vec<&Item> =
        assessment.top_losses(GALLERY).into_iter().filter(|i| i.predicted != i.label).collect();
    let one_each = one_of_each_confusion(assessment);
    let sheet = gallery::sheet(&report.samples, SAMPLES_ACROSS)?;
    let pictures = Pictures {
        top_losses: gallery::figures(report.split, &wrong, classes, attention.as_mut())?,
        misclassified: gallery::figures(report.split, &one_each, classes, attention.as_mut())?,
        samples: sheet.as_ref().map(gallery::data_url).transpose()?,
    };
    files.text("report.html", &page::html(report, &pictures))?;
    files.text("card.md", &card::markdown(report))?;
    files.text("classes.csv", &classes_csv(report))?;
    files.text("confusion.csv", &confusion_csv(report))?;
    files.text("predictions.csv", &predictions_csv(report))?;
    let rows: Vec<Vec<u64>> = assessment.metrics.confusion().iter().map(|row| row.to_vec()).collect();
    files.text("confusion.svg", &svg::matrix("Images", classes, &rows, false))?;
    files.text(
        "confusion-shares.svg",
        &svg::matrix("Share of each class, in per cent", classes, &rows, true),
    )?;
    let calibration = &assessment.calibration;
    files.text("calibration.svg", &svg::reliability(&calibration.bins, calibration.ece))?;
    if let Some(history) = report.history {
        for (name, chart) in ["loss.svg", "accuracy.svg", "learning-rate.svg"].iter().zip(curves(history)) {
            files.text(name, &chart.svg())?;
        }
    }
    if let Some(sheet) = sheet {
        files.image("samples.png", &sheet)?;
    }
    let images: Result<Vec<Image>, _> = wrong.iter().map(|item| report.split.image(item.index)).collect();
    if let Some(sheet) = gallery::sheet(&images?, SAMPLES_ACROSS)? {
        files.image("misclassified.png", &sheet)?;
    }
    Ok(files.written)
}

/// For each confused pair of classes the image with the highest loss, the most frequent pairs first.
fn one_of_each_confusion(assessment: &Assessment) -> Vec<&Item> {
    let worst = |label: usize, predicted: usize| {
        let items = assessment.items.iter().filter(|i| i.label == label && i.predicted == predicted);
        items.max_by(|a, b| a.loss.total_cmp(&b.loss))
    };
    let pairs = assessment.confusions(GALLERY);
    pairs.into_iter().filter_map(|(_, label, predicted)| worst(label, predicted)).collect()
}

struct Files<'a> {
    folder: &'a Path,
    written: Vec<PathBuf>,
}

/// The files of a report in `folder`, which is made if need be.
fn make(folder: &Path) -> Result<Files<'_>, LoadError> {
    std::fs::create_dir_all(folder)
        .map_err(|cause| LoadError::Setting(format!("{} cannot be made: {cause}", folder.display())))?;
    Ok(Files { folder, written: Vec::new() })
}

impl Files<'_> {
    fn text(&mut self, name: &str, text: &str) -> Result<(), LoadError> {
        let path = self.folder.join(name);
        write_atomically(&path, |out| out.write_all(text.as_bytes()))?;
        self.written.push(path);
        Ok(())
    }

    fn image(&mut self, name: &str, image: &Image) -> Result<(), LoadError> {
        let (path, bytes) = (self.folder.join(name), image.to_png()?);
        write_atomically(&path, |out| out.write_all(&bytes))?;
        self.written.push(path);
        Ok(())
    }
}

/// A cell of a CSV file (RFC 4180).
fn cell(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        return format!("\"{}\"", text.replace('"', "\"\""));
    }
    text.to_owned()
}

fn classes_csv(report: &Report<'_>) -> String {
    let mut out = String::from("class,images,precision,recall,recall_low,recall_high,f1\n");
    for class in report.assessment.metrics.report(&report.model.classes) {
        let [low, high] = class.recall_interval;
        out.push_str(&format!(
            "{},{},{:.6},{:.6},{low:.6},{high:.6},{:.6}\n",
            cell(&class.class),
            class.images,
            class.precision,
            class.recall,
            class.f1
        ));
    }
    out
}

fn confusion_csv(report: &Report<'_>) -> String {
    let classes = &report.model.classes;
    let names: Vec<String> = classes.iter().map(|name| cell(name)).collect();
    let mut out = format!("actual\\predicted,{}\n", names.join(","));
    for (name, row) in names.iter().zip(report.assessment.metrics.confusion()) {
        let cells: Vec<String> = row.iter().map(u64::to_string).collect();
        out.push_str(&format!("{name},{}\n", cells.join(",")));
    }
    out
}

fn predictions_csv(report: &Report<'_>) -> String {
    let name = |class: usize| report.model.classes.get(class).map_or_else(|| class.to_string(), |n| cell(n));
    let mut out = String::from("image,class,predicted,confidence,probability_of_class,loss\n");
    for item in &report.assessment.items {
        out.push_str(&format!(
            "{},{},{},{:.6},{:.6},{:.6}\n",
            cell(&item.image),
            name(item.label),
            name(item.predicted),
            item.confidence,
            item.probability,
            item.loss
        ));
    }
    out
}
