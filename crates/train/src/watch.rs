//! What does a run tell while it runs?

use std::path::PathBuf;

use crate::progress::{EpochRecord, EpochTime};

/// Someone who follows a run. Every method may be left out.
pub trait Watch {
    /// The run is about to begin (or to go on).
    fn started(&mut self, _start: &Start) {}
    /// An optimiser step is done.
    fn stepped(&mut self, _step: &StepReport) {}
    /// An epoch is done and validated.
    fn finished_epoch(&mut self, _epoch: &EpochRecord, _time: EpochTime) {}
    /// Something worth knowing, as one sentence.
    fn note(&mut self, _text: &str) {}
    /// Whether the run should stop now, to be continued later. Asked after each step.
    fn wants_stop(&mut self) -> bool {
        false
    }
}

/// Nobody.
impl Watch for () {}

/// What is known before the first step.
#[derive(Clone, Debug, PartialEq)]
pub struct Start {
    /// The run folder.
    pub run: PathBuf,
    /// The network's name.
    pub model: String,
    /// Classes.
    pub classes: usize,
    /// Training images.
    pub train_images: usize,
    /// Validation images.
    pub val_images: usize,
    /// Epochs in the run.
    pub epochs: usize,
    /// Steps in an epoch.
    pub steps_per_epoch: usize,
    /// Steps already done, if the run is resumed.
    pub steps_done: u64,
    /// Exact memory of the training and validation plans together, in bytes.
    pub planned_bytes: usize,
}

/// Where a run stands after a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Epoch, from 1.
    pub epoch: usize,
    /// Steps done in this epoch.
    pub step: usize,
    /// Steps in an epoch.
    pub steps: usize,
    /// Mean training loss of the epoch so far, in nats.
    pub loss: f64,
    /// Share of training images right in the epoch so far.
    pub top1: f64,
    /// Learning rate.
    pub lr: f32,
    /// Training images per second in this epoch.
    pub images_per_second: f64,
}
