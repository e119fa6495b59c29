//! Where does a run stand, and what has it shown so far?

use serde::{Deserialize, Serialize};

use crate::schedule::Length;
use crate::verify::PairRecord;

/// A run's position and record; everything that a resumed run must know beside its parameters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Optimiser steps done.
    pub step: u64,
    /// Sum of the training loss over the parts (micro-batches) of the epoch that is under way.
    pub loss_sum: f64,
    /// Sum of the training top-1 share over the same parts.
    pub top1_sum: f64,
    /// How many parts those are.
    pub parts: u64,
    /// The finished epochs, in order.
    pub history: Vec<EpochRecord>,
    /// Times that training diverged and went back; each halves the learning rate from there on.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rollbacks: u32,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// What one epoch showed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Epoch, from 1.
    pub epoch: usize,
    /// Optimiser steps done at its end.
    pub step: u64,
    /// Learning rate of its last step.
    pub lr: f32,
    /// Mean training loss (with label smoothing, if any), in nats.
    pub train_loss: f64,
    /// Share of training images that were right, 0 to 1, measured as they were trained on.
    pub train_top1: f64,
    /// Validation loss (without smoothing), in nats.
    pub loss: f64,
    /// Share of validation images that were right, 0 to 1; where pairs are trained, of pairs that were told apart rightly.
    pub top1: f64,
    /// Share of validation images whose class was among the first five, 0 to 1; 1 where pairs are trained, which have two
    /// answers.
    pub top5: f64,
    /// What else is known of pairs, where they are trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pairs: Option<PairRecord>,
}

/// How long one epoch took. Kept out of checkpoints, so that the same run gives the same bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EpochTime {
    /// Training images per second, since the run was last resumed.
    pub images_per_second: f64,
    /// Seconds spent training, validation not counted, since the run was last resumed.
    pub seconds: f64,
}

impl Progress {
    /// Finished epochs.
    pub fn epochs(&self) -> usize {
        self.history.len()
    }

    /// Optimiser steps done in the epoch that is under way.
    pub fn step_in_epoch(&self, length: Length) -> usize {
        self.step as usize - self.epochs() * length.steps_per_epoch
    }

    /// The epoch with the highest validation top-1; of equals the one with the lower loss, then the earlier one.
    pub fn best(&self) -> Option<&EpochRecord> {
        self.history.iter().reduce(|best, next| if next.beats(best) { next } else { best })
    }

    /// Epochs since the best one.
    pub fn epochs_without_gain(&self) -> usize {
        self.best().map_or(0, |best| self.epochs() - best.epoch.min(self.epochs()))
    }

    /// Counts one part of a step.
    pub fn add_part(&mut self, loss: f64, top1: f64) {
        self.loss_sum += loss;
        self.top1_sum += top1;
        self.parts += 1;
    }

    /// Mean training loss and top-1 share of the epoch under way.
    pub fn means(&self) -> (f64, f64) {
        let parts = self.parts.max(1) as f64;
        (self.loss_sum / parts, self.top1_sum / parts)
    }

    /// Enters `record` and begins the next epoch.
    pub fn finish_epoch(&mut self, record: EpochRecord) {
        self.history.push(record);
        (self.loss_sum, self.top1_sum, self.parts) = (0.0, 0.0, 0);
    }
}

impl EpochRecord {
    /// Whether this epoch is the better one.
    pub fn beats(&self, other: &EpochRecord) -> bool {
        self.top1 > other.top1 || (self.top1 == other.top1 && self.loss < other.loss)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(epoch: usize, top1: f64, loss: f64) -> EpochRecord {
        EpochRecord {
            epoch,
            step: epoch as u64 * 5,
            lr: 0.1,
            train_loss: 1.0,
            train_top1: 0.5,
            loss,
            top1,
            top5: 1.0,
            pairs: None,
        }
    }

    #[test]
    fn best_is_by_top1_then_loss_then_first() {
        let mut p = Progress::default();
        assert_eq!(p.best(), None);
        for r in [record(1, 0.5, 1.0), record(2, 0.7, 2.0), record(3, 0.7, 1.5), record(4, 0.7, 1.5)] {
            p.finish_epoch(r);
        }
        assert_eq!(p.best().unwrap().epoch, 3);
    }

    #[test]
    fn position_within_the_epoch() {
        let length = Length { steps_per_epoch: 5, epochs: 3 };
        let mut p = Progress { step: 3, ..Progress::default() };
        assert_eq!(p.step_in_epoch(length), 3);
        p.add_part(2.0, 1.0);
        p.add_part(1.0, 0.0);
        assert_eq!(p.means(), (1.5, 0.5));
        p.step = 5;
        p.finish_epoch(record(1, 0.1, 1.0));
        assert_eq!((p.step_in_epoch(length), p.parts), (0, 0));
    }
}
