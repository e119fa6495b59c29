//! `ocellus predict`: what is in these pictures?

use anyhow::bail;
use clap::Args;
use ocellus::data::Image;
use ocellus::train::{Guess, Predictor};
use serde::Serialize;

use crate::args::Common;
use crate::{console, network, words};

const EXAMPLE: &str = "Example: ocellus predict runs/train cat.jpg dog.png --topk 3";

/// What may be said after `ocellus predict`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct PredictArgs {
    /// Run folder or model file
    #[arg(value_name = "MODEL")]
    pub model: String,
    /// Pictures (JPEG or PNG)
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<String>,
    /// How many classes to name
    #[arg(long, value_name = "K", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub topk: u32,
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
    let model = network::load_model(&args.model)?;
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
