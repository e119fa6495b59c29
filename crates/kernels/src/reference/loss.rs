//! Losses, each the mean over the batch, their gradients with respect to the predictions, and the accuracy.
//!
//! ```text
//! softmax cross-entropy  mean_n -sum_c t log softmax(x)_c             dx = (softmax(x) sum_c t - t) / N
//! sigmoid cross-entropy  mean max(x,0) - x t + ln(1 + e^-|x|)         dx = (sigmoid(x) - t) / count
//! mean squared error     mean (a - b)^2                               da = 2 (a - b) / count = -db
//! hinge                  mean_n sum_c max(0, 1 - s x)^p               dx = -s p max(0, 1 - s x)^(p-1) / N
//! contrastive            mean_n (y d^2 + (1-y) max(m - d, 0)^2) / 2   da = (y - (1-y) max(m - d, 0) / d) (a - b) / N
//! triplet                mean_n max(|a-p|^2 - |a-n|^2 + m, 0)         da = 2 (n-p) / N, dp = 2 (p-a) / N, dn = 2 (a-n) / N
//! ```
//!
//! A label that is no class (negative, too large, or not whole) makes the loss and its row's gradient NaN, so that it
//! is noticed at once. Sources: Szegedy et al. 2016 section 7 (smoothing); Hadsell et al. 2006; Schroff et al. 2015.

use ocellus_tensor::Element;

use super::activation::{relu, sigmoid, softplus};
use super::softmax::log_sum_exp;

/// Scores or features `(rows, columns)`.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a, T> {
    /// Numbers per row (classes or features).
    pub columns: usize,
    /// The numbers, row by row.
    pub data: &'a [T],
}

impl<'a, T: Element> Rows<'a, T> {
    /// How many rows there are.
    fn count(&self) -> usize {
        self.data.len().checked_div(self.columns).unwrap_or(0)
    }

    /// One row.
    fn row(&self, n: usize) -> &'a [T] {
        &self.data[n * self.columns..][..self.columns]
    }
}

/// What the scores should have been.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a, T> {
    /// Class indices `(rows)`, as whole numbers.
    Labels(&'a [T]),
    /// Probabilities `(rows, columns)`.
    Probabilities(&'a [T]),
}

/// Whether `label` is class `class`: 1 or 0; NaN if it is none of `classes`.
fn is_class<T: Element>(label: T, class: usize, classes: usize) -> f64 {
    match class_of(label, classes) {
        Some(label) => f64::from(u8::from(label == class)),
        None => f64::NAN,
    }
}

/// The class that a label names, if it is one.
fn class_of<T: Element>(label: T, classes: usize) -> Option<usize> {
    let label = label.to_f64();
    (label >= 0.0 && label < classes as f64 && label.fract() == 0.0).then_some(label as usize)
}

impl<T: Element> Target<'_, T> {
    /// The wanted probability of class `c` in row `n`, smoothed.
    fn at(&self, n: usize, c: usize, classes: usize, smoothing: f64) -> f64 {
        let sharp = match self {
            Target::Labels(labels) => is_class(labels[n], c, classes),
            Target::Probabilities(p) => p[n * classes + c].to_f64(),
        };
        (1.0 - smoothing) * sharp + smoothing / classes as f64
    }
}

/// Softmax and cross-entropy in one. Logits `(N, C)`; target t = (1 - smoothing) t + smoothing / C.
pub fn softmax_cross_entropy<T: Element>(logits: Rows<'_, T>, target: Target<'_, T>, smoothing: f64) -> T {
    let mut sum = 0.0;
    for n in 0..logits.count() {
        let row = logits.row(n);
        let total = log_sum_exp(row.iter().map(|x| x.to_f64()));
        for (c, x) in row.iter().enumerate() {
            let t = target.at(n, c, row.len(), smoothing);
            if t != 0.0 {
                sum -= t * (x.to_f64() - total); // where t is 0 the logarithm may be infinite
            }
        }
    }
    T::from_f64(sum / logits.count() as f64)
}

/// The gradient of [`softmax_cross_entropy`] with respect to the logits; dx like them.
pub fn softmax_cross_entropy_grad<T: Element>(
    logits: Rows<'_, T>,
    target: Target<'_, T>,
    smoothing: f64,
    dloss: T,
    dx: &mut [T],
) {
    let scale = dloss.to_f64() / logits.count() as f64;
    for n in 0..logits.count() {
        let row = logits.row(n);
        let total = log_sum_exp(row.iter().map(|x| x.to_f64()));
        let t = |c| target.at(n, c, row.len(), smoothing);
        let mass: f64 = (0..row.len()).map(t).sum();
        for (c, x) in row.iter().enumerate() {
            let softmax = (x.to_f64() - total).exp();
            dx[n * row.len() + c] = T::from_f64(scale * (softmax * mass - t(c)));
        }
    }
}

/// Sigmoid and binary cross-entropy in one, mean over all elements. Logits x and target t of one shape.
pub fn sigmoid_cross_entropy<T: Element>(x: &[T], t: &[T]) -> T {
    let terms = x.iter().zip(t).map(|(x, t)| softplus(x.to_f64()) - x.to_f64() * t.to_f64());
    T::from_f64(terms.sum::<f64>() / x.len() as f64)
}

/// The gradient of [`sigmoid_cross_entropy`] with respect to the logits.
pub fn sigmoid_cross_entropy_grad<T: Element>(x: &[T], t: &[T], dloss: T, dx: &mut [T]) {
    let scale = dloss.to_f64() / x.len() as f64;
    for ((dx, x), t) in dx.iter_mut().zip(x).zip(t) {
        *dx = T::from_f64(scale * (sigmoid(x.to_f64()) - t.to_f64()));
    }
}

/// Mean over all elements of (a - b)^2.
pub fn mean_squared_error<T: Element>(a: &[T], b: &[T]) -> T {
    let square = |(a, b): (&T, &T)| (a.to_f64() - b.to_f64()) * (a.to_f64() - b.to_f64());
    T::from_f64(a.iter().zip(b).map(square).sum::<f64>() / a.len() as f64)
}

/// The gradient of [`mean_squared_error`] with respect to its first argument; swap them for the second.
pub fn mean_squared_error_grad<T: Element>(a: &[T], b: &[T], dloss: T, da: &mut [T]) {
    let scale = 2.0 * dloss.to_f64() / a.len() as f64;
    for ((da, a), b) in da.iter_mut().zip(a).zip(b) {
        *da = T::from_f64(scale * (a.to_f64() - b.to_f64()));
    }
}

/// One-versus-all hinge loss on scores `(N, C)`, labels `(N)`.
pub fn hinge<T: Element>(scores: Rows<'_, T>, labels: &[T], squared: bool) -> T {
    let mut sum = 0.0;
    for (i, x) in scores.data.iter().enumerate() {
        let gap = hinge_gap(scores, labels, i, x.to_f64()).1;
        sum += if squared { gap * gap } else { gap };
    }
    T::from_f64(sum / scores.count() as f64)
}

/// The gradient of [`hinge`] with respect to the scores; dx like them.
pub fn hinge_grad<T: Element>(scores: Rows<'_, T>, labels: &[T], squared: bool, dloss: T, dx: &mut [T]) {
    let scale = dloss.to_f64() / scores.count() as f64;
    for (i, (dx, x)) in dx.iter_mut().zip(scores.data).enumerate() {
        let (sign, gap) = hinge_gap(scores, labels, i, x.to_f64());
        let slope = if squared {
            2.0 * gap
        } else if gap > 0.0 || gap.is_nan() {
            1.0
        } else {
            0.0
        };
        *dx = T::from_f64(-scale * sign * slope);
    }
}

/// The sign (+1 for the label's class, else -1) of score number `i`, and `max(0, 1 - sign x)`.
fn hinge_gap<T: Element>(scores: Rows<'_, T>, labels: &[T], i: usize, x: f64) -> (f64, f64) {
    let (n, c) = (i / scores.columns, i % scores.columns);
    let sign = 2.0 * is_class(labels[n], c, scores.columns) - 1.0;
    (sign, relu(1.0 - sign * x))
}

/// Squared distance of two rows.
fn squared_distance<T: Element>(a: &[T], b: &[T]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a.to_f64() - b.to_f64()) * (a.to_f64() - b.to_f64())).sum()
}

/// Contrastive loss of pairs a and b `(N, F)`; `matching` `(N)` is 1 for a matching pair, else 0.
pub fn contrastive<T: Element>(a: Rows<'_, T>, b: Rows<'_, T>, matching: &[T], margin: f64) -> T {
    let mut sum = 0.0;
    for (n, y) in matching.iter().enumerate() {
        let y = y.to_f64();
        let square = squared_distance(a.row(n), b.row(n));
        let short = relu(margin - square.sqrt());
        sum += 0.5 * (y * square + (1.0 - y) * short * short);
    }
    T::from_f64(sum / a.count() as f64)
}

/// The gradient of [`contrastive`] with respect to a; swap a and b for the other. At distance 0 only the matching part
/// counts, since the other has no derivative there.
pub fn contrastive_grad<T: Element>(
    a: Rows<'_, T>,
    b: Rows<'_, T>,
    matching: &[T],
    margin: f64,
    dloss: T,
    da: &mut [T],
) {
    let scale = dloss.to_f64() / a.count() as f64;
    for (n, y) in matching.iter().enumerate() {
        let y = y.to_f64();
        let distance = squared_distance(a.row(n), b.row(n)).sqrt();
        let push = if distance == 0.0 { 0.0 } else { relu(margin - distance) / distance };
        let factor = scale * (y - (1.0 - y) * push);
        let columns = a.columns;
        for (k, (a, b)) in a.row(n).iter().zip(b.row(n)).enumerate() {
            da[n * columns + k] = T::from_f64(factor * (a.to_f64() - b.to_f64()));
        }
    }
}

/// An anchor, an example of the same class and one of another, each `(N, F)`.
#[derive(Clone, Copy, Debug)]
pub struct Triplets<'a, T> {
    /// Anchors.
    pub anchor: Rows<'a, T>,
    /// Of the same class.
    pub positive: Rows<'a, T>,
    /// Of another class.
    pub negative: Rows<'a, T>,
}

/// Which of a triplet's three inputs a gradient is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TripletPart {
    /// The anchor.
    Anchor,
    /// The example of the same class.
    Positive,
    /// The example of another class.
    Negative,
}

impl<T: Element> Triplets<'_, T> {
    /// What row `n` adds to the sum.
    fn excess(&self, n: usize, margin: f64) -> f64 {
        let anchor = self.anchor.row(n);
        let near = squared_distance(anchor, self.positive.row(n));
        let far = squared_distance(anchor, self.negative.row(n));
        relu(near - far + margin)
    }
}

/// Triplet loss.
pub fn triplet<T: Element>(rows: Triplets<'_, T>, margin: f64) -> T {
    let count = rows.anchor.count();
    T::from_f64((0..count).map(|n| rows.excess(n, margin)).sum::<f64>() / count as f64)
}

/// The gradient of [`triplet`] with respect to one of its inputs; `d` like it.
pub fn triplet_grad<T: Element>(
    rows: Triplets<'_, T>,
    margin: f64,
    part: TripletPart,
    dloss: T,
    d: &mut [T],
) {
    let columns = rows.anchor.columns;
    let scale = 2.0 * dloss.to_f64() / rows.anchor.count() as f64;
    for (i, d) in d.iter_mut().enumerate() {
        let [a, p, n] = [rows.anchor, rows.positive, rows.negative].map(|rows| rows.data[i].to_f64());
        let direction = match part {
            TripletPart::Anchor => n - p,
            TripletPart::Positive => p - a,
            TripletPart::Negative => a - n,
        };
        let excess = rows.excess(i / columns, margin);
        let active = excess > 0.0 || excess.is_nan();
        *d = T::from_f64(if active { scale * direction } else { 0.0 });
    }
}

/// Share of rows whose label is among the `top` highest scores; a tie, a NaN and a label that is no class count
/// against. Scores `(N, C)`, labels `(N)`.
pub fn accuracy<T: Element>(scores: Rows<'_, T>, labels: &[T], top: usize) -> T {
    let hit = |n: &usize| {
        let row = scores.row(*n);
        let Some(label) = class_of(labels[*n], row.len()) else { return false };
        let below = |other: usize| row[other] < row[label];
        (0..row.len()).filter(|&other| other != label && !below(other)).count() < top
    };
    T::from_f64((0..scores.count()).filter(hit).count() as f64 / scores.count() as f64)
}

#[cfg(test)]
mod tests {
    use super::super::check::close;
    use super::*;

    #[test]
    fn softmax_cross_entropy_by_hand() {
        let logits = Rows { columns: 2, data: &[0.0, 3.0f64.ln(), 0.0, 0.0] }; // probabilities 1/4 3/4, 1/2 1/2
        let labels = Target::Labels(&[1.0, 0.0]);
        let loss = -0.5 * (0.75f64.ln() + 0.5f64.ln());
        close(&[softmax_cross_entropy(logits, labels, 0.0)], &[loss]);
        let mut dx = [f64::NAN; 4];
        softmax_cross_entropy_grad(logits, labels, 0.0, 8.0, &mut dx);
        close(&dx, &[1.0, -1.0, -2.0, 2.0]); // 8 / 2 (p - t)
        let smooth = -0.5 * (0.9 * 0.75f64.ln() + 0.1 * 0.25f64.ln() + 0.5f64.ln());
        close(&[softmax_cross_entropy(logits, labels, 0.2)], &[smooth]);
        let probabilities = Target::Probabilities(&[0.1, 0.9, 0.5, 0.5]);
        close(&[softmax_cross_entropy(logits, probabilities, 0.0)], &[smooth]);
        softmax_cross_entropy_grad(logits, probabilities, 0.0, 8.0, &mut dx);
        close(&dx, &[0.6, -0.6, 0.0, 0.0]);
    }

    #[test]
    fn infinite_logits_and_bad_labels() {
        let certain = Rows { columns: 2, data: &[f64::NEG_INFINITY, 0.0] };
        assert_eq!(softmax_cross_entropy(certain, Target::Labels(&[1.0]), 0.0), 0.0);
        for bad in [-1.0, 2.0, 0.5, f64::NAN] {
            assert!(softmax_cross_entropy(certain, Target::Labels(&[bad]), 0.0).is_nan());
            assert!(hinge(certain, &[bad], false).is_nan());
            assert_eq!(accuracy(certain, &[bad], 2), 0.0);
        }
    }

    #[test]
    fn elementwise_losses_by_hand() {
        let (x, t) = ([0.0, 3.0f64.ln()], [1.0, 0.0]);
        close(&[sigmoid_cross_entropy(&x, &t)], &[0.5 * (2.0f64.ln() + 4.0f64.ln())]);
        let mut dx = [f64::NAN; 2];
        sigmoid_cross_entropy_grad(&x, &t, 2.0, &mut dx);
        close(&dx, &[-0.5, 0.75]);
        close(&[sigmoid_cross_entropy(&[1000.0], &[1.0])], &[0.0]);
        assert_eq!(mean_squared_error(&[1.0, 2.0], &[3.0, 1.0]), 2.5);
        mean_squared_error_grad(&[1.0, 2.0], &[3.0, 1.0], 3.0, &mut dx);
        assert_eq!(dx, [-6.0, 3.0]);
    }

    #[test]
    fn hinge_by_hand() {
        // Gaps: 1 - 0.5, 1 + 2, max(0, 1 - 3) and, for the label's class 1 of row 1, 1 + 1.
        let scores = Rows { columns: 2, data: &[0.5, 2.0, -3.0, -1.0] };
        let labels = [0.0, 1.0];
        assert_eq!(hinge(scores, &labels, false), 0.5 * (0.5 + 3.0 + 0.0 + 2.0));
        assert_eq!(hinge(scores, &labels, true), 0.5 * (0.25 + 9.0 + 0.0 + 4.0));
        let mut dx = [f64::NAN; 4];
        hinge_grad(scores, &labels, false, 2.0, &mut dx);
        assert_eq!(dx, [-1.0, 1.0, 0.0, -1.0]);
        hinge_grad(scores, &labels, true, 2.0, &mut dx);
        assert_eq!(dx, [-1.0, 6.0, 0.0, -4.0]);
    }

    #[test]
    fn contrastive_by_hand() {
        // Distances 5 (matching), 5 (differing, within margin 7), 0 (differing).
        let a = Rows { columns: 2, data: &[3.0, 4.0, 3.0, 4.0, 1.0, 1.0] };
        let b = Rows { columns: 2, data: &[0.0, 0.0, 0.0, 0.0, 1.0, 1.0] };
        let matching = [1.0, 0.0, 0.0];
        assert_eq!(contrastive(a, b, &matching, 7.0), (25.0 + 4.0 + 49.0) / 6.0);
        let mut da = [f64::NAN; 6];
        contrastive_grad(a, b, &matching, 7.0, 3.0, &mut da);
        close(&da, &[3.0, 4.0, -1.2, -1.6, 0.0, 0.0]);
    }

    #[test]
    fn triplet_by_hand() {
        let rows = |data| Rows { columns: 1, data };
        let (anchor, positive, negative) = (rows(&[0.0, 0.0]), rows(&[2.0, 1.0]), rows(&[1.0, 5.0]));
        let all = Triplets { anchor, positive, negative };
        assert_eq!(triplet(all, 0.5), 0.5 * (4.0 - 1.0 + 0.5)); // the second is far enough
        let mut d = [f64::NAN; 2];
        let expected =
            [(TripletPart::Anchor, -2.0), (TripletPart::Positive, 4.0), (TripletPart::Negative, -2.0)];
        for (part, value) in expected {
            triplet_grad(all, 0.5, part, 2.0, &mut d);
            assert_eq!(d, [value, 0.0], "{part:?}");
        }
    }

    #[test]
    fn ties_count_against_accuracy() {
        let scores = Rows { columns: 3, data: &[1.0f32, 2.0, 0.0, 2.0, 2.0, 1.0, f32::NAN, 3.0, 1.0] };
        assert_eq!(accuracy(scores, &[1.0, 0.0, 1.0], 1), 1.0 / 3.0);
        assert_eq!(accuracy(scores, &[1.0, 0.0, 1.0], 2), 1.0);
        assert_eq!(accuracy(scores, &[2.0, 2.0, 0.0], 2), 0.0);
    }
}
