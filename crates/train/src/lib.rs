//! Training: data, a network and an optimiser to a run folder, and from there to predictions.
#![forbid(unsafe_code)]

pub mod checkpoint;
mod error;
pub mod metrics;
pub mod optimiser;
pub mod progress;
pub mod run_folder;
pub mod schedule;

pub use error::TrainError;
