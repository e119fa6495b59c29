//! Are these two images of one class? How well distances between embeddings tell.
//!
//! Each image is compared with another of its class and with one of another class, so half of all pairs are the same and
//! chance is right half of the time. Which images are compared depends on the seed alone.
//!
//! - A pair is told to be the same where its distance is at most a threshold; the ROC curve has both rates at every one.
//! - Equal error rate: where as many strangers are taken for the same as pairs of one class are not.
//! - Accuracy: the threshold that is best on the pairs of every other image judges the rest, and the other way round; so
//!   no pair is judged by a threshold that it helped to choose.
//!
//! Source: T. Fawcett, "An introduction to ROC analysis" (2006); thresholds from other folds as in G. Huang et al.,
//! "Labeled Faces in the Wild" (2007).

use ocellus_data::{Companions, Rng, Split, Stream};
use serde::{Deserialize, Serialize};

use crate::TrainError;
use crate::embed::Embeddings;
use crate::pairs::{PairLoss, Pairs};

/// The epoch that pairs for verification are drawn in: none that is trained.
const NO_EPOCH: u32 = u32::MAX;

/// Two images, and whether they are of one class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Compared {
    /// The image compared; its parity is that of its half.
    pub image: u32,
    /// The other image.
    pub other: u32,
    /// Whether both are of one class.
    pub same: bool,
    /// The distance of their embeddings.
    pub distance: f64,
}

/// A point of the ROC curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RocPoint {
    /// Pairs at most so far apart are told to be the same.
    pub threshold: f64,
    /// Share of strangers that are.
    pub false_accepted: f64,
    /// Share of pairs of one class that are.
    pub accepted: f64,
}

/// How an epoch's embeddings tell pairs apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairRecord {
    /// Equal error rate, 0 to 1.
    pub eer: f64,
    /// Area under the ROC curve, 0 to 1.
    pub auc: f64,
    /// The threshold that is best on all pairs.
    pub threshold: f64,
    /// Share of images that the class head names rightly, if there is one and the classes are those trained on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_top1: Option<f64>,
}

/// How well pairs are told apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Verification {
    /// The pairs, by rising distance.
    pub pairs: Vec<Compared>,
    /// Mean loss of the embeddings (without class heads).
    pub loss: f64,
    /// Share of pairs told rightly, by thresholds from the other half.
    pub accuracy: f64,
    /// The threshold that is best on all pairs.
    pub threshold: f64,
    /// Equal error rate.
    pub eer: f64,
    /// Area under the ROC curve: how often a pair of one class is nearer than a pair of strangers.
    pub auc: f64,
}

impl Verification {
    /// Compares the images of `split` by their embeddings.
    ///
    /// Errors: no pairs can be made of the split.
    pub fn new(
        embeddings: &Embeddings,
        split: &Split,
        pairs: &Pairs,
        seed: u64,
    ) -> Result<Verification, TrainError> {
        let companions = Companions::of(split)?;
        let mut compared = Vec::with_capacity(2 * embeddings.len());
        let (mut loss, mut groups) = (0.0, 0);
        for image in 0..embeddings.len() as u32 {
            let mut rng = Rng::new(seed, Stream::Companions, NO_EPOCH, image);
            // An image alone of its class is left out, so that the halves stay equal.
            let Some(mate) = companions.mate(image, &mut rng) else { continue };
            let stranger = companions.stranger(image, &mut rng);
            let squared = |other: u32| embeddings.squared_distance(image as usize, other as usize);
            let (near, far) = (squared(mate), squared(stranger));
            loss += group_loss(pairs, near, far);
            groups += 1;
            for (other, same, squared) in [(mate, true, near), (stranger, false, far)] {
                compared.push(Compared { image, other, same, distance: squared.sqrt() });
            }
        }
        Ok(Verification::of(compared, loss / f64::from(groups.max(1))))
    }

    /// What these pairs show.
    fn of(mut pairs: Vec<Compared>, loss: f64) -> Verification {
        pairs.sort_by(|a, b| a.distance.total_cmp(&b.distance));
        let (roc, threshold) = (roc(&pairs), best_threshold(pairs.iter()));
        Verification {
            accuracy: crossed_accuracy(&pairs),
            eer: equal_error_rate(&roc),
            auc: roc.windows(2).map(|w| area(&w[0], &w[1])).sum(),
            threshold,
            loss,
            pairs,
        }
    }

    /// The ROC curve, from no pair accepted to all.
    pub fn roc(&self) -> Vec<RocPoint> {
        roc(&self.pairs)
    }

    /// What a run keeps of it.
    pub fn record(&self, class_top1: Option<f64>) -> PairRecord {
        PairRecord { eer: self.eer, auc: self.auc, threshold: self.threshold, class_top1 }
    }
}

/// The loss of an image, another of its class and a stranger, by squared distances; the mean of its two pairs.
fn group_loss(pairs: &Pairs, near: f64, far: f64) -> f64 {
    let margin = f64::from(pairs.margin);
    match pairs.loss {
        PairLoss::Triplet => (near - far + margin).max(0.0),
        PairLoss::Contrastive | PairLoss::Joint => (near + (margin - far.sqrt()).max(0.0).powi(2)) / 4.0,
    }
}

/// One point for each distance that occurs, pairs by rising distance.
fn roc(pairs: &[Compared]) -> Vec<RocPoint> {
    let all = |same: bool| pairs.iter().filter(|pair| pair.same == same).count().max(1) as f64;
    let (mates, strangers) = (all(true), all(false));
    let mut points = vec![RocPoint { threshold: 0.0, false_accepted: 0.0, accepted: 0.0 }];
    let (mut accepted, mut false_accepted) = (0.0, 0.0);
    for (index, pair) in pairs.iter().enumerate() {
        *(if pair.same { &mut accepted } else { &mut false_accepted }) += 1.0;
        if pairs.get(index + 1).is_none_or(|next| next.distance != pair.distance) {
            points.push(RocPoint {
                threshold: pair.distance,
                false_accepted: false_accepted / strangers,
                accepted: accepted / mates,
            });
        }
    }
    points
}

fn area(a: &RocPoint, b: &RocPoint) -> f64 {
    (b.false_accepted - a.false_accepted) * (a.accepted + b.accepted) / 2.0
}

/// Where the curve meets `false_accepted = 1 - accepted`, on the straight line between two of its points.
fn equal_error_rate(roc: &[RocPoint]) -> f64 {
    let gap = |p: &RocPoint| p.false_accepted - (1.0 - p.accepted);
    let Some(after) = roc.iter().position(|p| gap(p) >= 0.0) else { return 1.0 };
    let (before, after) = (&roc[after.saturating_sub(1)], &roc[after]);
    let (low, high) = (gap(before), gap(after));
    let share = if high > low { -low / (high - low) } else { 0.0 };
    before.false_accepted + share.clamp(0.0, 1.0) * (after.false_accepted - before.false_accepted)
}

/// The threshold by which most of the pairs, in order of their distance, are told rightly: half way to the next one.
fn best_threshold<'a>(pairs: impl Iterator<Item = &'a Compared>) -> f64 {
    let pairs: Vec<&Compared> = pairs.collect();
    // Every pair accepted below makes the count of right answers one larger or smaller.
    let (mut right, mut best) = (0_i64, (0_i64, 0.0));
    for (index, pair) in pairs.iter().enumerate() {
        right += if pair.same { 1 } else { -1 };
        let next = pairs.get(index + 1).map_or(pair.distance, |next| next.distance);
        if right > best.0 && (next != pair.distance || index + 1 == pairs.len()) {
            best = (right, (pair.distance + next) / 2.0);
        }
    }
    best.1
}

/// Each half judged by the other's threshold.
fn crossed_accuracy(pairs: &[Compared]) -> f64 {
    let half = |parity: u32| pairs.iter().filter(move |pair| pair.image % 2 == parity);
    let right = |parity: u32| {
        let threshold = best_threshold(half(1 - parity));
        half(parity).filter(|pair| (pair.distance <= threshold) == pair.same).count()
    };
    (right(0) + right(1)) as f64 / pairs.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pairs at these distances, mates first; images are numbered through.
    fn measured(mates: &[f64], strangers: &[f64]) -> Verification {
        let pair = |same: bool| {
            move |(i, &distance): (usize, &f64)| Compared { image: i as u32, other: 0, same, distance }
        };
        let near = mates.iter().enumerate().map(pair(true));
        Verification::of(near.chain(strangers.iter().enumerate().map(pair(false))).collect(), 0.0)
    }

    #[test]
    fn distances_that_tell_all_make_no_error() {
        let found = measured(&[0.1, 0.2, 0.3, 0.4], &[1.0, 1.1, 3.0, 4.0]);
        assert_eq!((found.accuracy, found.eer, found.auc), (1.0, 0.0, 1.0));
        assert!(found.threshold > 0.4 && found.threshold < 1.0, "{}", found.threshold);
        let reversed = measured(&[1.0, 2.0], &[0.1, 0.2]);
        assert_eq!((reversed.auc, reversed.eer), (0.0, 1.0));
    }

    #[test]
    fn rates_are_those_counted_by_hand() {
        // By distance: same, same, other, same, other, other, so 8 of 9 couples are in order.
        let found = measured(&[1.0, 2.0, 4.0], &[3.0, 5.0, 6.0]);
        assert!((found.auc - 8.0 / 9.0).abs() < 1e-12, "{}", found.auc);
        // At 3 one of three strangers is accepted and one of three mates is not.
        assert!((found.eer - 1.0 / 3.0).abs() < 1e-12, "{}", found.eer);
        let roc = found.roc();
        assert_eq!(roc.len(), 7);
        assert_eq!((roc[6].accepted, roc[6].false_accepted), (1.0, 1.0));
    }

    #[test]
    fn equal_distances_are_accepted_together() {
        let found = measured(&[1.0, 1.0], &[1.0, 1.0]);
        assert_eq!((found.roc().len(), found.auc, found.eer), (2, 0.5, 0.5));
    }

    #[test]
    fn no_pair_chooses_its_own_threshold() {
        // Images 0 alone would be told by any threshold from 1 to 2, images 1 by none but 11 to 12.
        let found = measured(&[1.0, 11.0], &[2.0, 12.0]);
        assert_eq!(found.accuracy, 0.5);
    }
}
