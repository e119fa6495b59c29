//! `ocellus predict`: what is in these pictures?

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Args;
use ocellus::data::Image;
use ocellus::formats::write_atomically;
use ocellus::train::{Attention, Guess, Predictor};
use serde::Serialize;

use crate::args::{Common, PrecisionName};
use crate::network::{PrepareArgs, SourceArgs, with_stored};
use crate::pictures::files;
use crate::{console, words};

const EXAMPLE: &str = "\
Examples:
  ocellus predict runs/train cat.jpg dog.png --topk 3
  ocellus predict runs/train holiday/ --csv holiday.csv     every picture in a folder
  ocellus predict runs/train cat.jpg --explain         writes cat-why-CLASS.png: where the network looked
  ocellus predict squeezenet.prototxt --weights squeezenet.caffemodel --resize 256 --fit stretch --bgr \\
      --mean 104,117,123 --labels synset_words.txt cat.jpg

A picture is resized, cut, its channels ordered, and each pixel x (0 to 255) fed as (x * scale - mean) / std. What is
said so for a foreign model can also stand in a TOML of its name beside it (squeezenet.toml: resize = 256,
fit = \"stretch\", bgr = true, mean = [104, 117, 123], labels = \"synset_words.txt\").";

/// What may be said after `ocellus predict`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct PredictArgs {
    /// Run folder or model file (.safetensors, .prototxt, .caffemodel, .onnx, .pt, .pth, .npz)
    #[arg(value_name = "MODEL")]
    pub model: String,
    /// Pictures (JPEG, PNG, GIF, WebP, BMP, TIFF, PNM), or folders of them
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<String>,
    /// How many classes to name
    #[arg(long, value_name = "K", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub topk: u32,
    /// Also write a table: a line per picture, its guesses and their probabilities
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// Also write, into FOLDER, each picture with a map of where the network looked for its first guess
    #[arg(long, value_name = "FOLDER", num_args = 0..=1, require_equals = true, default_missing_value = ".")]
    pub explain: Option<PathBuf>,
    /// What to compute with
    #[arg(long, value_enum, default_value_t = PrecisionName::F32)]
    pub precision: PrecisionName,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub source: SourceArgs,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub prepare: PrepareArgs,
}

#[derive(Serialize)]
struct Prediction {
    image: String,
    classes: Vec<Guess>,
    /// The picture that shows where the network looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    explained: Option<PathBuf>,
}

#[derive(Serialize)]
struct Predictions {
    predictions: Vec<Prediction>,
}

/// Classifies. A picture that cannot be read does not keep the others from being classified.
pub fn run(args: PredictArgs, common: &Common) -> anyhow::Result<()> {
    let leave_weights = args.explain.is_none();
    let found = SourceArgs { leave_weights, ..args.source.clone() }.prepared(&args.model, &args.prepare)?;
    let stored = found.stored.clone();
    let model = found.into_model()?;
    let options = common.machine().with_precision(args.precision.of(&model.info, &args.model)?);
    let weights = with_stored(&model.weights, stored.as_deref());
    let mut predictor = Predictor::with_weights(&model, &weights, &options)?;
    let mut attention = match &args.explain {
        Some(folder) => Some((Attention::new(&model, &common.machine())?, folder.as_path())),
        None => None,
    };
    let mut predictions = Vec::new();
    let mut faults = Vec::new();
    for path in files(&args.images)? {
        match Image::open(&path) {
            Ok(picture) => {
                let classes = predictor.predict(&picture, args.topk as usize)?;
                let explained = match (&mut attention, classes.first()) {
                    (Some((attention, folder)), Some(guess)) => {
                        let taken = |file: &Path| {
                            predictions.iter().any(|p: &Prediction| p.explained.as_deref() == Some(file))
                        };
                        let file = explained_file(folder, &path, guess, taken);
                        explain(attention, &picture, &file, guess)?;
                        Some(file)
                    }
                    _ => None,
                };
                let prediction = Prediction { image: path.display().to_string(), classes, explained };
                if !common.json {
                    print(&prediction);
                }
                predictions.push(prediction);
            }
            Err(fault) => faults.push(fault.to_string()),
        }
    }
    if let Some(file) = &args.csv {
        let text = table(&predictions);
        write_atomically(file, |out| out.write_all(text.as_bytes()))?;
    }
    if common.json {
        console::say_json(&Predictions { predictions })?;
    }
    match faults.split_last() {
        None => Ok(()),
        Some((last, others)) => {
            others.iter().for_each(|fault| console::complain(&format!("error: {fault}")));
            bail!("{last}")
        }
    }
}

/// A line per picture: its name, then each guess and its probability.
fn table(predictions: &[Prediction]) -> String {
    let most = predictions.iter().map(|p| p.classes.len()).max().unwrap_or(0);
    let columns = |n: usize| if n == 1 { String::new() } else { n.to_string() };
    let mut out = String::from("image");
    (1..=most).for_each(|n| out.push_str(&format!(",class{0},probability{0}", columns(n))));
    out.push('\n');
    for prediction in predictions {
        out.push_str(&words::cell(&prediction.image));
        for guess in &prediction.classes {
            out.push_str(&format!(",{},{:.6}", words::cell(&guess.class), guess.probability));
        }
        out.push('\n');
    }
    out
}

/// `FOLDER/NAME-why-CLASS.png`; with a number, where another picture of that name has taken it.
fn explained_file(folder: &Path, path: &Path, guess: &Guess, taken: impl Fn(&Path) -> bool) -> PathBuf {
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let plain = |c: char| if c.is_alphanumeric() || c == '-' { c } else { '_' };
    let class: String = guess.class.chars().take(40).map(plain).collect();
    let mut file = folder.join(format!("{stem}-why-{class}.png"));
    let mut number = 2;
    while taken(&file) {
        file = folder.join(format!("{stem}-{number}-why-{class}.png"));
        number += 1;
    }
    file
}

/// Writes the picture with the map of where the network looked.
fn explain(attention: &mut Attention, picture: &Image, file: &Path, guess: &Guess) -> anyhow::Result<()> {
    /// Pictures with sides below this are enlarged, or nothing could be seen on them.
    const LEAST: u32 = 256;
    let times = LEAST.div_ceil(picture.width.max(picture.height).max(1));
    let large = match times {
        0 | 1 => picture.clone(),
        times => picture.resized(picture.width * times, picture.height * times, true)?,
    };
    let folder = file.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)
        .map_err(|cause| anyhow::anyhow!("{} cannot be made: {cause}", folder.display()))?;
    Ok(attention.picture_at(picture, &large, guess.index)?.save_png(file)?)
}

fn print(prediction: &Prediction) {
    console::say(&prediction.image);
    for guess in &prediction.classes {
        console::say(&format!("  {:>6}  {}", words::percent(guess.probability.into()), guess.class));
    }
    if let Some(file) = &prediction.explained {
        console::say(&format!("  where it looked: {}", file.display()));
    }
}
