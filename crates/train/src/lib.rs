//! Training: data, a network and an optimiser to a run folder, and from there to validation and predictions.
//!
//! ```text
//! Choices -> Prepared (TrainConfig, images, network) -> start / resume -> RunFolder -> Predictor, Validator
//! ```
//!
//! Every random choice depends on (seed, epoch, sample or step) alone, so that a run that was killed and resumed ends
//! with the same bits as one that was not, at any number of threads.
#![forbid(unsafe_code)]

mod adapt;
mod adaptive;
mod assess;
mod attention;
mod average;
pub mod checkpoint;
mod config;
mod culprit;
mod databases;
mod embed;
mod error;
mod feed;
mod fit;
mod gathered;
mod handling;
mod judge;
mod lr_find;
pub mod metrics;
mod mix;
pub mod neighbours;
mod optimiser;
mod origin;
mod pairs;
mod practice;
mod predict;
mod prepare;
mod preset;
mod progress;
mod quantise;
pub mod recipe;
mod run;
mod run_folder;
pub mod schedule;
mod soft;
pub mod solver;
mod source;
mod stepper;
mod towers;
mod trainer;
mod validate;
mod verify;
mod views;
mod watch;

pub use adaptive::Rule;
pub use assess::{Assessment, Bin, Calibration, Item};
pub use attention::Attention;
pub use config::{BUILT_IN, TrainConfig};
pub use embed::{Embedder, Embeddings};
pub use error::TrainError;
pub use handling::{Handling, LeftOut};
pub use lr_find::{RateCurve, RatePoint, find_rate};
pub use optimiser::{Optimiser, RATE, STEP, append_accumulation, append_updates, update_graph};
pub use pairs::{PairChoices, PairLoss, Pairs};
pub use practice::{Practice, TrainPrecision};
pub use predict::{Guess, Predictor, preprocess_of};
pub use prepare::{Choices, Prepared};
pub use preset::Preset;
pub use progress::{EpochRecord, EpochTime, Progress};
pub use quantise::{quantise, ranges_of};
pub use run::{Outcome, begin, division_of, resume, start, was_stopped};
pub use run_folder::RunFolder;
pub use source::{Images, Kind, Source, kind_of};
pub use stepper::{At, Clip, LABEL, Seen, StepGraphs, StepSetup, Stepper, TARGET};
pub use towers::EMBEDDING;
pub use trainer::{Trainer, TrainerOptions};
pub use validate::{OUTPUT, Validator, match_classes, with_scores};
pub use verify::{Compared, PairRecord, RocPoint, Verification};
pub use views::{ByViews, View, Views};
pub use watch::{Start, StepReport, Watch};
