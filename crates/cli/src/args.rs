//! What may be said on the command line?

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::bail;
use clap::{Args, Parser, Subcommand, ValueEnum};
use ocellus::train::{Views, ranges_of};
use ocellus::{Options, Precision};

use crate::commands::{
    bench, compare, convert, data, embed, explain, predict, pull, quantize, report, run, summary, train, val,
};
use crate::words;

/// Convolutional networks: train them on images, see what they are, run them.
#[derive(Debug, Parser)]
#[command(name = "ocellus", version, max_term_width = 100, after_help = EXAMPLE)]
pub struct Ocellus {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// What every command takes.
    #[command(flatten)]
    pub common: Common,
}

const EXAMPLE: &str =
    "Example: `ocellus train` alone trains on the built-in digits in seconds and says what to type next.";

/// The numbers a network computes with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum PrecisionName {
    /// Single precision.
    #[default]
    F32,
    /// Half the bits; twice the speed on CPUs with AVX512-BF16.
    Bf16,
    /// A quarter of the bits, by the ranges that `ocellus quantize` finds; AVX512-VNNI makes it fast.
    Int8,
}

/// The numbers a network is trained with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TrainPrecisionName {
    /// Single precision.
    F32,
    /// Convolutions and their gradients in half the bits: quicker on CPUs with AVX512-BF16.
    Bf16,
}

/// Several views of each picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ViewsName {
    /// As it is and mirrored.
    Mirror,
    /// As it is and shifted along both diagonals: five views.
    Shifts,
    /// Both: ten views.
    Both,
}

impl ViewsName {
    /// What is meant.
    pub fn views(self) -> Views {
        match self {
            ViewsName::Mirror => Views::Mirror,
            ViewsName::Shifts => Views::Shifts,
            ViewsName::Both => Views::Both,
        }
    }
}

impl PrecisionName {
    /// What it means for a model that is called `name` and has this `info`.
    pub fn of(self, info: &BTreeMap<String, String>, name: &str) -> anyhow::Result<Precision> {
        Ok(match self {
            PrecisionName::F32 => Precision::F32,
            PrecisionName::Bf16 => Precision::Bf16,
            PrecisionName::Int8 => match ranges_of(info, name)? {
                Some(ranges) => Precision::Int8(Arc::new(ranges)),
                None => bail!(
                    "{name} has no ranges for 8-bit numbers; make them: ocellus quantize {} DATA --out FILE",
                    words::quoted(name)
                ),
            },
        })
    }
}

/// What every command takes.
#[derive(Clone, Debug, Args)]
pub struct Common {
    /// Print one JSON object on standard output, everything else on standard error
    #[arg(long, global = true)]
    pub json: bool,
    /// Threads to compute with; results are the same for any number [default: one per core]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Seed of everything random [default: 0]
    #[arg(long, global = true, value_name = "S", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    pub seed: Option<u64>,
}

impl Common {
    /// The machine as the user wants it used.
    pub fn machine(&self) -> Options {
        match self.threads {
            Some(threads) => Options::default().with_threads(threads.into()),
            None => Options::default(),
        }
    }

    /// The seed, 0 unless given.
    pub fn seed(&self) -> u64 {
        self.seed.unwrap_or(0)
    }
}

/// What may be said after `ocellus lr`.
#[derive(Clone, Debug, Args)]
pub struct LrArgs {
    #[allow(missing_docs)]
    #[command(subcommand)]
    pub command: LrCommand,
}

/// What can be done about rates.
#[derive(Clone, Debug, Subcommand)]
pub enum LrCommand {
    /// Try rates from low to high, show the loss over the rate and suggest one: `ocellus train --lr-find`
    Find(Box<train::TrainArgs>),
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train a network on images (on built-in digits if none are given)
    Train(Box<train::TrainArgs>),
    /// Find a learning rate for a training
    Lr(LrArgs),
    /// Measure a trained network on validation or test images
    Val(val::ValArgs),
    /// Write a trained network's report: one page with numbers, curves and pictures
    Report(report::ReportArgs),
    /// Say which of several runs is better, and draw their curves together
    Compare(compare::CompareArgs),
    /// Look over a data set before training on it
    Data(data::DataCommandArgs),
    /// Classify pictures
    Predict(predict::PredictArgs),
    /// Write what a network makes of images, as vectors
    Embed(embed::EmbedArgs),
    /// Show what a network is: layers, shapes, parameters, cost, memory
    Summary(summary::SummaryArgs),
    /// Say how a network's numbers come about: a layer, or a question such as "bottleneck"
    Explain(explain::ExplainArgs),
    /// Put raw numbers through a network: outputs, and all gradients
    Run(run::RunArgs),
    /// Carry a network from one format to another
    Convert(convert::ConvertArgs),
    /// Fetch published weights by name
    Pull(pull::PullArgs),
    /// Make a trained network ready to run in 8-bit numbers
    Quantize(quantize::QuantizeArgs),
    /// Measure a network's speed against this machine's own peak
    Bench(bench::BenchArgs),
}
