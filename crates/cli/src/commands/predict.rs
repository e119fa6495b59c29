//! `ocellus predict`: what is in these pictures?

use anyhow::bail;
use clap::Args;
use ocellus::data::Image;
use ocellus::train::{Guess, Predictor};
use serde::Serialize;

use crate::args::Common;
use crate::network::{PrepareArgs, SourceArgs};
use crate::{console, words};

const EXAMPLE: &str = "\
Examples:
  ocellus predict runs/train cat.jpg dog.png --topk 3
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
    /// Pictures (JPEG or PNG)
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<String>,
    /// How many classes to name
    #[arg(long, value_name = "K", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub topk: u32,
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
}

#[derive(Serialize)]
struct Predictions {
    predictions: Vec<Prediction>,
}

/// Classifies. A picture that cannot be read does not keep the others from being classified.
pub fn run(args: PredictArgs, common: &Common) -> anyhow::Result<()> {
    let model = args.source.model(&args.model, &args.prepare)?;
    let mut predictor = Predictor::new(&model, &common.machine())?;
    let mut predictions = Vec::new();
    let mut faults = Vec::new();
    for path in &args.images {
        match Image::open(path) {
            Ok(picture) => {
                let classes = predictor.predict(&picture, args.topk as usize)?;
                predictions.push(Prediction { image: path.clone(), classes });
            }
            Err(fault) => faults.push(fault.to_string()),
        }
    }
    if common.json {
        console::say_json(&Predictions { predictions })?;
    } else {
        predictions.iter().for_each(print);
    }
    match faults.split_last() {
        None => Ok(()),
        Some((last, others)) => {
            others.iter().for_each(|fault| console::complain(&format!("error: {fault}")));
            bail!("{last}")
        }
    }
}

fn print(prediction: &Prediction) {
    console::say(&prediction.image);
    for guess in &prediction.classes {
        console::say(&format!("  {:>6}  {}", words::percent(guess.probability.into()), guess.class));
    }
}
