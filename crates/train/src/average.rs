//! What are the weights on average over the last steps?
//!
//! ```text
//! average = d average + (1 - d) weights,   d = min(decay, (1 + step) / (10 + step))
//! ```
//!
//! after every step, for weights and BatchNorm statistics alike (Polyak and Juditsky 1992; the first steps count as
//! TensorFlow's `ExponentialMovingAverage` has it, so that the random beginning is soon forgotten). It follows both
//! graphs of a step in parts, so it stands beside the plans: one pass over memory, nothing allocated.

use ocellus_engine::Session;
use ocellus_tensor::{Shape, Tensor, Weights};

use crate::TrainError;

/// Prefix of the averages' names among the state.
pub const AVERAGE: &str = "average/";

/// Averages of all weights and statistics.
pub struct Averages {
    decay: f32,
    /// By name: where it is, and its numbers.
    values: Vec<(String, Shape, Vec<f32>)>,
}

impl Averages {
    /// Averages of whatever `weights` names, so far those weights themselves.
    pub fn of(weights: &Weights, decay: f32) -> Self {
        let entry = |(name, tensor): (&String, &Tensor)| {
            (name.clone(), tensor.shape().clone(), tensor.data().to_vec())
        };
        Averages { decay, values: weights.iter().map(entry).collect() }
    }

    /// Goes on from averages that were kept in `state`, where it has them.
    pub fn load(&mut self, state: &Weights) {
        for (name, shape, values) in &mut self.values {
            if let Some(kept) = state.get(&format!("{AVERAGE}{name}")).filter(|kept| kept.shape() == shape) {
                values.copy_from_slice(kept.data());
            }
        }
    }

    /// Takes in the weights that `session` has after step `step` (from 0).
    pub fn follow(&mut self, session: &Session, step: u64) -> Result<(), TrainError> {
        let step = step as f32;
        let new = 1.0 - self.decay.min((1.0 + step) / (10.0 + step));
        for (name, _, values) in &mut self.values {
            for (average, &now) in values.iter_mut().zip(session.param(name)?) {
                *average += new * (now - *average);
            }
        }
        Ok(())
    }

    /// The averages under the weights' names.
    pub fn weights(&self) -> Weights {
        self.named("")
    }

    /// The averages as state, to be kept in a checkpoint.
    pub fn state(&self) -> Weights {
        self.named(AVERAGE)
    }

    fn named(&self, prefix: &str) -> Weights {
        let tensor = |(name, shape, values): &(String, Shape, Vec<f32>)| {
            let tensor = Tensor::new(shape.clone(), values.clone()).ok()?;
            Some((format!("{prefix}{name}"), tensor))
        };
        self.values.iter().filter_map(tensor).collect()
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        self.values.iter().map(|(_, _, values)| size_of_val(values.as_slice())).sum()
    }
}
