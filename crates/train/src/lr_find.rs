//! Which learning rate does this run want? (Smith 2017, "Cyclical Learning Rates", section 3.3.)
//!
//! ```text
//! train with a rate that grows from step to step by one factor, from low to high
//! smooth the losses (mean over the past, 0.9 of the old kept);  stop where it exceeds four times the lowest
//! suggestion: the rate where the smoothed loss falls fastest over the logarithm of the rate
//! ```

use std::sync::Arc;

use ocellus_data::{Loader, LoaderConfig};
use ocellus_engine::Options;
use serde::Serialize;

use crate::TrainError;
use crate::fit::Beginning;
use crate::prepare::Prepared;
use crate::stepper::{At, Stepper};

/// Lowest and highest rate tried, as multiples of the recipe's.
const RANGE: [f64; 2] = [1e-5, 100.0];
/// Share of the old mean kept when losses are smoothed.
const KEPT: f64 = 0.9;
/// The search ends where the smoothed loss is this many times the lowest.
const TOO_HIGH: f64 = 4.0;

/// One step of the search.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RatePoint {
    /// Learning rate.
    pub lr: f64,
    /// The step's loss, in nats.
    pub loss: f64,
    /// Smoothed over the steps so far.
    pub smoothed: f64,
}

/// Losses over rates, and what they suggest.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RateCurve {
    /// In the order of the rates.
    pub points: Vec<RatePoint>,
    /// Where the loss falls fastest.
    pub suggestion: f64,
    /// Where it is lowest; a rate from here on is too high.
    pub lowest: f64,
}

/// Tries `steps` rates on the run that `prepared` describes; nothing is written.
///
/// Errors: fewer than ten steps, or a network or data that cannot be trained.
pub fn find_rate(prepared: &Prepared, steps: usize, options: &Options) -> Result<RateCurve, TrainError> {
    if steps < 10 {
        return Err(TrainError::setting(format!("{steps} steps show no curve; give at least 10")));
    }
    let config = &prepared.config;
    let net = config.practice.shape(&prepared.net)?;
    let mut setup = config.step();
    (setup.parts, setup.ema) = (1, None);
    let mut stepper = Stepper::new(&net, setup, config.seed, options)?;
    let beginning = Beginning::fresh(prepared);
    stepper.load(&beginning.weights, &beginning.state)?;
    let train = &prepared.images.train;
    let loading = LoaderConfig::training(config.preprocess.clone(), config.augment, setup.part, config.seed)
        .altered(config.practice.alter())
        .grouped(config.grouping())
        .with_threads_for(train);
    let mut mixer = prepared.mixer()?;
    let mut batches = endless(train.clone(), loading);
    let mut curve = Points::default();
    let growth = (RANGE[1] / RANGE[0]).powf(1.0 / (steps - 1) as f64);
    for step in 0..steps {
        let mut batch: ocellus_data::Batch = match batches.next() {
            Some(batch) => batch?,
            None => break,
        };
        let lr = config.lr * RANGE[0] * growth.powi(step as i32);
        if let Some(mixer) = &mut mixer {
            stepper.set_targets(mixer.targets(&mut batch, 0))?;
        }
        let at = At { step: step as u64, rate: lr as f32 };
        let loss = stepper.part(at, 0, &batch.images, &batch.labels)?.loss;
        if !curve.add(lr, loss) {
            break;
        }
    }
    curve.finish()
}

/// Batches of one epoch after the other.
fn endless(
    split: Arc<ocellus_data::Split>,
    loading: LoaderConfig,
) -> impl Iterator<Item = Result<ocellus_data::Batch, ocellus_data::DataError>> {
    (0..).flat_map(move |epoch| {
        let loader = Loader::start(split.clone(), &loading, epoch, 0);
        let (batches, fault) = match loader {
            Ok(loader) => (Some(loader), None),
            Err(fault) => (None, Some(Err(fault))),
        };
        batches.into_iter().flatten().chain(fault)
    })
}

/// The curve as it grows.
#[derive(Default)]
struct Points {
    points: Vec<RatePoint>,
    mean: f64,
    lowest: f64,
}

impl Points {
    /// Takes in a loss; whether to go on.
    fn add(&mut self, lr: f64, loss: f64) -> bool {
        if !loss.is_finite() {
            return false;
        }
        self.mean = KEPT * self.mean + (1.0 - KEPT) * loss;
        let count = self.points.len() as i32 + 1;
        // A mean that begins at zero is too small at first (as Adam's moments are).
        let smoothed = self.mean / (1.0 - KEPT.powi(count));
        self.lowest = if count == 1 { smoothed } else { self.lowest.min(smoothed) };
        self.points.push(RatePoint { lr, loss, smoothed });
        smoothed <= TOO_HIGH * self.lowest
    }

    fn finish(self) -> Result<RateCurve, TrainError> {
        let points = self.points;
        let Some(bottom) =
            (0..points.len()).min_by(|&a, &b| points[a].smoothed.total_cmp(&points[b].smoothed))
        else {
            return Err(TrainError::setting(
                "the loss is not finite at the lowest rate; look at the data first",
            ));
        };
        // The steepest fall over a few steps, left of the bottom.
        let span = (points.len() / 10).max(1);
        let fall = |i: usize| points[i - span].smoothed - points[i].smoothed;
        let steepest =
            (span..=bottom.max(span).min(points.len() - 1)).max_by(|&a, &b| fall(a).total_cmp(&fall(b)));
        let at = steepest.map_or(bottom, |i| i - span / 2);
        Ok(RateCurve { suggestion: points[at].lr, lowest: points[bottom].lr, points })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steepest_fall_is_found() {
        let mut curve = Points::default();
        // Flat, then down around 1e-2, then up from 1 on.
        for i in 0..=100 {
            let exponent = -5.0 + 0.06 * f64::from(i);
            let fall = 2.0 / (1.0 + (-4.0 * (exponent + 2.0)).exp());
            let rise = (4.0 * exponent).exp();
            if !curve.add(10f64.powf(exponent), 2.5 - fall + rise) {
                break;
            }
        }
        let curve = curve.finish().unwrap();
        assert!((3e-3..1e-1).contains(&curve.suggestion), "{}", curve.suggestion);
        assert!(curve.lowest > curve.suggestion, "{} {}", curve.lowest, curve.suggestion);
    }

    #[test]
    fn it_stops_where_the_loss_is_lost() {
        let mut curve = Points::default();
        assert!(curve.add(0.1, 1.0));
        assert!(!curve.add(0.2, f64::NAN));
        assert!(!curve.add(0.2, 1e6));
    }
}
