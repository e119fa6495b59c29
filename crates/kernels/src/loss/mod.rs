//! Softmax cross-entropy on logits, and the accuracy.
//!
//! ```text
//! for each row (parallel): m = max x;  e = e^(x - m);  total = sum e;  L = ln total + m
//!     loss = sum t (L - x)              (t: the target, smoothed)
//!     dx   = scale (e / total sum t - t)
//! loss = the rows' losses added in order, in f64, / N
//! ```
//!
//! With a label and smoothing s, t is (1 - s) at the label plus s / C everywhere, so only the sum of the logits is
//! wanted besides the label's. A label that is no class makes its row's loss and gradient NaN.

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::elementwise::exp::exp;
use crate::elementwise::operands::share;
use crate::isa::{Isa, LANES, Simd, VectorOp};
use crate::threads::{SharedMut, ThreadPool};

/// What the classes should be.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// Class numbers `(N)`, whole numbers from 0.
    Labels(&'a [f32]),
    /// Probabilities `(N, C)`.
    Probabilities(&'a [f32]),
}

/// Softmax and cross-entropy in one, on plain logits `(N, C)`; the mean over the rows.
#[derive(Clone, Copy, Debug)]
pub struct SoftmaxCrossEntropy<'a> {
    /// Columns (C).
    pub classes: usize,
    /// Rows (N) of targets.
    pub target: Target<'a>,
    /// Share of the target spread evenly over the classes.
    pub smoothing: f32,
}

/// Scratch numbers of [`SoftmaxCrossEntropy::loss`].
pub fn loss_scratch_len(rows: usize) -> usize {
    2 * rows
}

/// Logits of a task, about.
const CHUNK: usize = 8192;

/// The class a label names.
fn class_of(label: f32, classes: usize) -> Option<usize> {
    (label >= 0.0 && label < classes as f32 && label.fract() == 0.0).then_some(label as usize)
}

impl SoftmaxCrossEntropy<'_> {
    /// Rows, after checking that the target has as many.
    fn rows(&self, logits: &[f32]) -> usize {
        assert!(
            self.classes > 0 && logits.len().is_multiple_of(self.classes),
            "rows of {} logits",
            self.classes
        );
        let rows = logits.len() / self.classes;
        match self.target {
            Target::Labels(labels) => assert_eq!(labels.len(), rows, "labels"),
            Target::Probabilities(p) => assert_eq!(p.len(), logits.len(), "target probabilities"),
        }
        rows
    }

    /// The target of one row.
    fn row(&self, row: usize) -> RowTarget<'_> {
        match self.target {
            Target::Labels(labels) => RowTarget::Label(class_of(labels[row], self.classes)),
            Target::Probabilities(p) => RowTarget::Probabilities(&p[row * self.classes..][..self.classes]),
        }
    }

    /// The loss.
    pub fn loss(&self, pool: &ThreadPool, isa: Isa, logits: &[f32], scratch: &mut [f32]) -> f32 {
        let rows = self.rows(logits);
        let scratch = &mut scratch[..2 * rows];
        let out = SharedMut::new(scratch);
        self.for_rows(pool, rows, &|row| {
            let x = &logits[row * self.classes..][..self.classes];
            let loss = isa.run(RowLoss { x, target: self.row(row), smoothing: self.smoothing });
            // SAFETY: each row has its own place.
            let to = unsafe { out.part(2 * row, 2) };
            to[0] = loss as f32;
            // What was lost; nothing of an infinite loss.
            to[1] = if to[0].is_finite() { (loss - f64::from(to[0])) as f32 } else { 0.0 };
        });
        (scratch.iter().map(|&part| f64::from(part)).sum::<f64>() / rows as f64) as f32
    }

    /// dloss times the loss's gradient. dx is like the logits.
    pub fn gradient(&self, pool: &ThreadPool, isa: Isa, logits: &[f32], dloss: f32, dx: &mut [f32]) {
        let rows = self.rows(logits);
        assert_eq!(dx.len(), logits.len(), "dx length");
        let scale = (f64::from(dloss) / rows as f64) as f32;
        let out = SharedMut::new(dx);
        self.for_rows(pool, rows, &|row| {
            let x = &logits[row * self.classes..][..self.classes];
            // SAFETY: each row has its own place.
            let dx = unsafe { out.part(row * self.classes, self.classes) };
            isa.run(RowGradient { x, target: self.row(row), smoothing: self.smoothing, scale, dx });
        });
    }

    fn for_rows(&self, pool: &ThreadPool, rows: usize, body: &(dyn Fn(usize) + Sync)) {
        let per_task = (CHUNK / self.classes).max(1);
        share(pool, rows * self.classes, rows.div_ceil(per_task), &|task| {
            (task * per_task..((task + 1) * per_task).min(rows)).for_each(body);
        });
    }
}

/// The target of one row.
#[derive(Clone, Copy)]
enum RowTarget<'a> {
    /// The label's class, if it is one.
    Label(Option<usize>),
    Probabilities(&'a [f32]),
}

/// Sixteen numbers of a row from `at` on, then `fill`.
#[inline(always)]
fn load<S: Simd>(s: S, row: &[f32], at: usize, fill: f32) -> S::F {
    let rest = &row[at..];
    if rest.len() >= LANES { s.load(rest) } else { s.load_partial(rest, fill) }
}

/// The largest of a row.
#[inline(always)]
fn max<S: Simd>(s: S, x: &[f32]) -> f32 {
    let mut max = s.splat(f32::NEG_INFINITY);
    for at in (0..x.len()).step_by(LANES) {
        max = s.max(load(s, x, at, f32::NEG_INFINITY), max);
    }
    s.reduce_max(max)
}

struct RowLoss<'a> {
    x: &'a [f32],
    target: RowTarget<'a>,
    smoothing: f32,
}

impl VectorOp for RowLoss<'_> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f64 {
        let RowLoss { x, target, smoothing } = self;
        let max = max(s, x);
        let (mut total, mut distances) = (s.zero(), s.zero());
        for at in (0..x.len()).step_by(LANES) {
            // Filling lanes: e^-inf = 0; their distance is taken back out below.
            let d = s.sub(load(s, x, at, f32::NEG_INFINITY), s.splat(max));
            total = s.add(total, exp(s, d));
            if smoothing > 0.0 {
                distances = s.add(distances, s.sub(load(s, x, at, max), s.splat(max)));
            }
        }
        let log_total = f64::from(s.reduce_add(total)).ln();
        let spread = f64::from(smoothing) / x.len() as f64;
        let sharp = 1.0 - f64::from(smoothing);
        match target {
            RowTarget::Label(None) => f64::NAN,
            RowTarget::Label(Some(class)) => {
                let own = sharp * (log_total - f64::from(x[class] - max));
                if smoothing > 0.0 {
                    let all = x.len() as f64 * log_total - f64::from(s.reduce_add(distances));
                    own + spread * all
                } else {
                    own
                }
            }
            RowTarget::Probabilities(p) => {
                let smooth = (sharp as f32, spread as f32);
                let [mass, weighted] = weighted(s, (x, max), p, smooth);
                mass * log_total - weighted
            }
        }
    }
}

/// `sum t` and `sum t (x - max)` with t = `sharp p + spread`; where t is 0, x may be infinite.
#[inline(always)]
fn weighted<S: Simd>(s: S, (x, max): (&[f32], f32), p: &[f32], (sharp, spread): (f32, f32)) -> [f64; 2] {
    let (mut mass, mut weighted) = (s.zero(), s.zero());
    for at in (0..x.len()).step_by(LANES) {
        let mut t = s.fmadd(s.splat(sharp), load(s, p, at, 0.0), s.splat(spread));
        if x.len() - at < LANES {
            t = s.select(s.mask(((1u32 << (x.len() - at)) - 1) as u16), t, s.zero());
        }
        let product = s.mul(t, s.sub(load(s, x, at, max), s.splat(max)));
        mass = s.add(mass, t);
        weighted = s.add(weighted, s.select(s.eq(t, s.zero()), s.zero(), product));
    }
    [mass, weighted].map(|sum| f64::from(s.reduce_add(sum)))
}

struct RowGradient<'a> {
    x: &'a [f32],
    target: RowTarget<'a>,
    smoothing: f32,
    scale: f32,
    dx: &'a mut [f32],
}

impl VectorOp for RowGradient<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let RowGradient { x, target, smoothing, scale, dx } = self;
        let max = max(s, x);
        let mut total = s.zero();
        for at in (0..x.len()).step_by(LANES) {
            let e = exp(s, s.sub(load(s, x, at, f32::NEG_INFINITY), s.splat(max)));
            total = s.add(total, e);
            store(s, e, dx, at);
        }
        let total = s.reduce_add(total);
        let (sharp, spread) = (1.0 - smoothing, smoothing / x.len() as f32);
        let mass = match target {
            RowTarget::Label(None) => f32::NAN,
            RowTarget::Label(Some(_)) => 1.0,
            RowTarget::Probabilities(p) => weighted(s, (x, max), p, (sharp, spread))[0] as f32,
        };
        for at in (0..x.len()).step_by(LANES) {
            let t = match target {
                RowTarget::Label(_) => s.splat(spread),
                RowTarget::Probabilities(p) => s.fmadd(s.splat(sharp), load(s, p, at, 0.0), s.splat(spread)),
            };
            let softmax = s.mul(load(s, dx, at, 0.0), s.splat(mass / total));
            store(s, s.mul(s.splat(scale), s.sub(softmax, t)), dx, at);
        }
        if let RowTarget::Label(Some(class)) = target {
            dx[class] -= scale * sharp;
        }
    }
}

/// Writes the lanes that the row has.
#[inline(always)]
fn store<S: Simd>(s: S, v: S::F, row: &mut [f32], at: usize) {
    let rest = &mut row[at..];
    if rest.len() >= LANES { s.store(v, rest) } else { s.store_partial(v, rest) }
}

/// The share of rows of plain scores `(N, C)` whose label `(N)` is among the `top` highest; a tie counts against, and
/// so does a label that is no class.
pub fn accuracy(pool: &ThreadPool, scores: &[f32], labels: &[f32], top: usize) -> f32 {
    let rows = labels.len();
    assert!(rows > 0 && scores.len().is_multiple_of(rows), "{} scores for {rows} labels", scores.len());
    let classes = scores.len() / rows;
    let hits = AtomicUsize::new(0);
    let per_task = (CHUNK / classes.max(1)).max(1);
    share(pool, scores.len(), rows.div_ceil(per_task), &|task| {
        let rows = task * per_task..((task + 1) * per_task).min(rows);
        let hit = |&row: &usize| is_hit(&scores[row * classes..][..classes], labels[row], top);
        // Whole numbers: the order of adding does not matter.
        hits.fetch_add(rows.filter(hit).count(), Ordering::Relaxed);
    });
    (hits.into_inner() as f64 / rows as f64) as f32
}

/// Whether fewer than `top` other scores are not below the label's.
fn is_hit(scores: &[f32], label: f32, top: usize) -> bool {
    let Some(class) = class_of(label, scores.len()) else { return false };
    let own = scores[class];
    let below = scores.iter().filter(|&&score| score < own).count();
    scores.len() - 1 - below < top
}
