//! How good is a model, image by image: what it got wrong, how sure it was, and whether it was right to be.

use std::sync::Arc;

use ocellus_data::{Preprocess, Split};
use serde::Serialize;

use crate::TrainError;
use crate::metrics::{Metrics, softmax, top_k};
use crate::validate::Validator;
use crate::views::View;

/// Bins of equal width in which confidence is compared with accuracy.
const BINS: usize = 15;
/// The temperatures among which the best is looked for.
const TEMPERATURES: [f64; 2] = [0.05, 20.0];
/// Steps of that search; each narrows the range to 62 %.
const SEARCH_STEPS: usize = 60;

/// One image and what the model made of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Item {
    /// Its index in the split.
    pub index: usize,
    /// Its name.
    pub image: String,
    /// Its class, as an index into the model's classes.
    pub label: usize,
    /// The class that the model holds most probable.
    pub predicted: usize,
    /// The probability that the model gives that class.
    pub confidence: f64,
    /// The probability that it gives the right one.
    pub probability: f64,
    /// The loss, in nats.
    pub loss: f64,
}

/// How confidence and accuracy agree.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Calibration {
    /// Expected calibration error: the mean distance between confidence and accuracy over the bins, weighted by their
    /// images (M. P. Naeini, G. Cooper and M. Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian
    /// Binning", 2015), with 15 bins.
    pub ece: f64,
    /// Mean cross-entropy in nats.
    pub loss: f64,
    /// The bins that hold images, by rising confidence.
    pub bins: Vec<Bin>,
}

/// Images of similar confidence.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Bin {
    /// How many.
    pub images: usize,
    /// Mean probability of the predicted class.
    pub confidence: f64,
    /// Share of them that is right.
    pub accuracy: f64,
}

/// Everything measured on a split.
#[derive(Clone, Debug)]
pub struct Assessment {
    /// Counts and shares.
    pub metrics: Metrics,
    /// Every image, in the order of the split.
    pub items: Vec<Item>,
    /// At the model's own temperature, 1.
    pub calibration: Calibration,
    logits: Vec<f32>,
    classes: usize,
}

impl Assessment {
    /// Measures every image of `split`, by the mean over `views` of it; `class_of[c]` is the network's class for the
    /// split's class c.
    pub fn new(
        validator: &mut Validator,
        split: &Arc<Split>,
        preprocess: &Preprocess,
        class_of: &[usize],
        views: &[View],
    ) -> Result<Self, TrainError> {
        let (mut logits, mut labels) = (Vec::new(), Vec::new());
        let metrics = validator.measure_each(split, preprocess, class_of, views, |index, row, class| {
            logits.extend_from_slice(row);
            labels.push((index, class));
        })?;
        let classes = validator.classes();
        let items = labels.iter().zip(logits.chunks_exact(classes.max(1))).map(|(&(index, label), row)| {
            let probabilities = softmax(row);
            let predicted = top_k(row, 1).first().copied().unwrap_or(0);
            let probability = f64::from(probabilities[label]);
            Item {
                index,
                image: split.samples()[index].name.clone(),
                label,
                predicted,
                confidence: probabilities[predicted].into(),
                probability,
                loss: cross_entropy(row, label, 1.0),
            }
        });
        let items: Vec<Item> = items.collect();
        let mut done = Assessment { metrics, items, calibration: Calibration::default(), logits, classes };
        done.calibration = done.calibration_at(1.0);
        Ok(done)
    }

    /// The images with the highest loss, the worst first.
    pub fn top_losses(&self, count: usize) -> Vec<&Item> {
        let mut order: Vec<&Item> = self.items.iter().collect();
        order.sort_by(|a, b| b.loss.total_cmp(&a.loss).then(a.index.cmp(&b.index)));
        order.truncate(count);
        order
    }

    /// Pairs of classes that are confused: how many of the first are taken for the second, the most frequent first.
    pub fn confusions(&self, count: usize) -> Vec<(u64, usize, usize)> {
        let rows = self.metrics.confusion();
        let mut cells: Vec<(u64, usize, usize)> = rows
            .iter()
            .enumerate()
            .flat_map(|(actual, row)| row.iter().enumerate().map(move |(as_, &n)| (n, actual, as_)))
            .filter(|&(n, actual, as_)| n > 0 && actual != as_)
            .collect();
        cells.sort_by_key(|&(n, actual, as_)| (std::cmp::Reverse(n), actual, as_));
        cells.truncate(count);
        cells
    }

    /// Confidence against accuracy with logits divided by `temperature`.
    pub fn calibration_at(&self, temperature: f64) -> Calibration {
        let mut sums = vec![(0_usize, 0.0, 0_usize); BINS];
        for (item, row) in self.rows() {
            let confidence = confidence(row, temperature);
            let bin = ((confidence * BINS as f64) as usize).min(BINS - 1);
            let (images, sum, right) = &mut sums[bin];
            *images += 1;
            *sum += confidence;
            *right += usize::from(item.predicted == item.label);
        }
        let all = self.items.len().max(1) as f64;
        let bin = |&(images, sum, right): &(usize, f64, usize)| Bin {
            images,
            confidence: sum / images as f64,
            accuracy: right as f64 / images as f64,
        };
        let bins: Vec<Bin> = sums.iter().filter(|sum| sum.0 > 0).map(bin).collect();
        let ece = bins.iter().map(|b| b.images as f64 / all * (b.confidence - b.accuracy).abs()).sum();
        Calibration { ece, loss: self.loss_at(temperature), bins }
    }

    /// The temperature that logits must be divided by for the smallest loss (C. Guo, G. Pleiss, Y. Sun and K. Weinberger,
    /// "On Calibration of Modern Neural Networks", 2017, section 4.2): above 1 if the model is too sure of itself. It changes
    /// no prediction. Fit it on other images than those it is judged by.
    ///
    /// The loss is convex in 1 / temperature, so a golden-section search over that finds the one minimum.
    pub fn fitted_temperature(&self) -> f64 {
        let golden = (5.0_f64.sqrt() - 1.0) / 2.0;
        let [mut low, mut high] = [1.0 / TEMPERATURES[1], 1.0 / TEMPERATURES[0]];
        let at = |inverse: f64| self.loss_at(1.0 / inverse);
        for _ in 0..SEARCH_STEPS {
            let (a, b) = (high - golden * (high - low), low + golden * (high - low));
            if at(a) <= at(b) { high = b } else { low = a }
        }
        2.0 / (low + high)
    }

    fn loss_at(&self, temperature: f64) -> f64 {
        let sum: f64 = self.rows().map(|(item, row)| cross_entropy(row, item.label, temperature)).sum();
        sum / self.items.len().max(1) as f64
    }

    fn rows(&self) -> impl Iterator<Item = (&Item, &[f32])> {
        self.items.iter().zip(self.logits.chunks_exact(self.classes.max(1)))
    }
}

/// `(highest logit, log of the sum of exponentials above it)` of logits divided by the temperature.
fn log_sum(logits: &[f32], temperature: f64) -> (f64, f64) {
    let highest = f64::from(logits.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b)));
    let sum: f64 = logits.iter().map(|&x| ((f64::from(x) - highest) / temperature).exp()).sum();
    (highest, sum.ln())
}

fn cross_entropy(logits: &[f32], label: usize, temperature: f64) -> f64 {
    let (highest, log) = log_sum(logits, temperature);
    log + (highest - f64::from(logits[label])) / temperature
}

fn confidence(logits: &[f32], temperature: f64) -> f64 {
    (-log_sum(logits, temperature).1).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two classes; `right` of `all` predictions of logit `margin` are right.
    fn made(margin: f32, right: usize, all: usize) -> Assessment {
        let (mut metrics, mut items, mut logits) = (Metrics::new(2), Vec::new(), Vec::new());
        for index in 0..all {
            let (row, label) = ([margin, 0.0], usize::from(index >= right));
            metrics.add(&row, label);
            logits.extend(row);
            let loss = cross_entropy(&row, label, 1.0);
            let confidence = confidence(&row, 1.0);
            items.push(Item {
                index,
                image: index.to_string(),
                label,
                predicted: 0,
                confidence,
                probability: if label == 0 { confidence } else { 1.0 - confidence },
                loss,
            });
        }
        let mut done = Assessment { metrics, items, calibration: Calibration::default(), logits, classes: 2 };
        done.calibration = done.calibration_at(1.0);
        done
    }

    #[test]
    fn an_overconfident_model_is_cooled_to_its_accuracy() {
        // It says 1 / (1 + e^-4) = 0.982 and is right 8 times of 10.
        let model = made(4.0, 8, 10);
        assert!((model.calibration.ece - (0.98201 - 0.8)).abs() < 1e-4, "{:?}", model.calibration);
        let temperature = model.fitted_temperature();
        // The loss is least where the confidence is 0.8: 4 / T = ln 4.
        assert!((temperature - 4.0 / 4.0_f64.ln()).abs() < 1e-3, "{temperature}");
        let after = model.calibration_at(temperature);
        assert!(after.ece < 1e-3 && after.loss < model.calibration.loss);
    }

    #[test]
    fn the_worst_come_first() {
        let model = made(2.0, 3, 5);
        let worst = model.top_losses(2);
        assert_eq!([worst[0].index, worst[1].index], [3, 4]);
        assert!((worst[0].loss - (2.0 + (1.0 + (-2.0_f64).exp()).ln())).abs() < 1e-9);
        assert_eq!(model.confusions(5), [(2, 1, 0)]);
        assert_eq!(model.metrics.balanced_accuracy(), 0.5);
    }
}
