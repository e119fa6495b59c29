//! `ocellus quantize`: make a trained network ready to run in 8-bit numbers.

use std::path::PathBuf;

use anyhow::bail;
use clap::{Args, ValueEnum};
use ocellus::Method;
use ocellus::train::quantise;
use serde_json::json;

use super::val::{Wanted, source};
use crate::args::Common;
use crate::console;
use crate::data_args::DataArgs;
use crate::network::{PrepareArgs, SourceArgs};

const EXAMPLE: &str = "\
Examples:
  ocellus quantize runs/train photos/ --out small.safetensors
  ocellus quantize resnet20.th cifar10/ --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 --out r20.safetensors
  ocellus val small.safetensors photos/ --precision int8

The network is shown training images (validation images if there are no others), in f32, and the range of each of its
values is noted in the model that is written; its weights stay as they are, so it can be trained on or run in f32 as
before. minmax takes the smallest and the largest number seen; percentile leaves out a share of them at either end
(--keep); entropy cuts off where the 8-bit numbers tell most about the original ones.";

/// What may be said after `ocellus quantize`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct QuantizeArgs {
    /// Run folder or model file
    #[arg(value_name = "MODEL")]
    pub model: String,
    /// Images like those it will see [default: the run's own data]
    #[arg(value_name = "DATA")]
    pub data: Option<String>,
    /// The model to write (.safetensors)
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// How ranges are chosen
    #[arg(long, value_enum, default_value_t = MethodName::Minmax)]
    pub method: MethodName,
    /// For percentile: the share of the numbers to keep at either end
    #[arg(long, value_name = "SHARE", default_value_t = 0.9999, value_parser = parse_share)]
    pub keep: f64,
    /// How many images to show
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    pub samples: u32,
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

/// Ways to choose ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MethodName {
    /// The smallest and the largest number.
    Minmax,
    /// Without the outermost.
    Percentile,
    /// By the Kullback-Leibler divergence.
    Entropy,
}

fn parse_share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if share > 0.5 && share <= 1.0 => Ok(share),
        _ => Err("give a share above 0.5, up to 1: for example 0.9999".into()),
    }
}

/// Calibrates.
pub fn run(args: QuantizeArgs, common: &Common) -> anyhow::Result<()> {
    if args.out.extension().is_none_or(|extension| extension != "safetensors") {
        bail!(
            "{}: ranges are kept in ocellus's own models; name a file that ends in .safetensors",
            args.out.display()
        );
    }
    let mut model = args.source.model(&args.model, &args.prepare)?;
    let wanted = Wanted { model: &args.model, data: args.data.as_deref(), data_args: &args.data_args };
    let images = source(&wanted, common)?.open(false)?;
    images.notes.iter().for_each(|note| console::complain(&format!("note: {note}")));
    let split = if images.train.is_empty() { &images.val } else { &images.train };
    let method = match args.method {
        MethodName::Minmax => Method::MinMax,
        MethodName::Percentile => Method::Percentile(args.keep),
        MethodName::Entropy => Method::Entropy,
    };
    let seen = quantise(&mut model, split, (method, args.samples as usize), &common.machine())?;
    model.save(&args.out)?;
    let out = args.out.display();
    if common.json {
        return console::say_json(&json!({ "model": out.to_string(), "images": seen }));
    }
    console::say(&format!("{out}: ranges from {seen} images; try: ocellus val {out} DATA --precision int8"));
    Ok(())
}
