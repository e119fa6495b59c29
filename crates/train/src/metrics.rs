//! How good are these answers? Loss, top-1, top-5, the confusion matrix and what follows from it.

use serde::Serialize;

/// Counts over the images seen so far; cheap to add to, exact, and independent of the order of addition except for
/// the rounding of the loss sum.
#[derive(Clone, Debug, PartialEq)]
pub struct Metrics {
    classes: usize,
    images: u64,
    loss_sum: f64,
    top1: u64,
    top5: u64,
    /// `confusion[actual * classes + predicted]`.
    confusion: Vec<u64>,
}

impl Metrics {
    /// Nothing seen yet, for a problem of `classes` classes.
    pub fn new(classes: usize) -> Self {
        Metrics { classes, images: 0, loss_sum: 0.0, top1: 0, top5: 0, confusion: vec![0; classes * classes] }
    }

    /// Counts one image: its logits (one per class) and its class.
    ///
    /// A class that ties with the right one counts as ahead of it, and so does every class where the logits are not
    /// numbers: what cannot be told apart is not right.
    ///
    /// # Panics
    /// If there are not `classes` logits or `label` is no class.
    pub fn add(&mut self, logits: &[f32], label: usize) {
        assert!(
            logits.len() == self.classes && label < self.classes,
            "logits and label of this many classes"
        );
        let own = logits[label];
        let others = || (0..logits.len()).filter(|&j| j != label);
        let ahead = others().filter(|&j| logits[j] >= own || logits[j].is_nan() || own.is_nan()).count();
        let predicted = if ahead == 0 {
            label
        } else {
            others().max_by(|&a, &b| logits[a].total_cmp(&logits[b]).then(b.cmp(&a))).unwrap_or(label)
        };
        self.images += 1;
        self.loss_sum += cross_entropy(logits, label);
        self.top1 += u64::from(ahead == 0);
        self.top5 += u64::from(ahead < 5);
        self.confusion[label * self.classes + predicted] += 1;
    }

    /// Images counted.
    pub fn images(&self) -> u64 {
        self.images
    }

    /// Mean cross-entropy in nats, without label smoothing; 0 before the first image.
    pub fn loss(&self) -> f64 {
        self.loss_sum / self.images.max(1) as f64
    }

    /// Share of images whose class has the highest logit, 0 to 1.
    pub fn top1(&self) -> f64 {
        self.top1 as f64 / self.images.max(1) as f64
    }

    /// Share of images whose class is among the five highest logits, 0 to 1 (always 1 with five classes or fewer).
    pub fn top5(&self) -> f64 {
        self.top5 as f64 / self.images.max(1) as f64
    }

    /// Rows are the actual classes, columns the predicted ones.
    pub fn confusion(&self) -> Vec<&[u64]> {
        self.confusion.chunks(self.classes.max(1)).collect()
    }

    /// Precision, recall and F1 of each class, in class order.
    ///
    /// ```
    /// use ocellus_train::metrics::Metrics;
    /// let mut metrics = Metrics::new(2);
    /// metrics.add(&[2.0, 1.0], 0);
    /// metrics.add(&[2.0, 1.0], 1);
    /// let report = metrics.report(&["cat".into(), "dog".into()]);
    /// assert_eq!((report[0].precision, report[0].recall), (0.5, 1.0));
    /// assert_eq!(report[1].f1, 0.0);
    /// ```
    pub fn report(&self, names: &[String]) -> Vec<ClassReport> {
        (0..self.classes).map(|class| self.class_report(class, names)).collect()
    }

    fn class_report(&self, class: usize, names: &[String]) -> ClassReport {
        let hits = self.confusion[class * self.classes + class];
        let images: u64 = (0..self.classes).map(|p| self.confusion[class * self.classes + p]).sum();
        let predicted: u64 = (0..self.classes).map(|a| self.confusion[a * self.classes + class]).sum();
        let (precision, recall) = (share(hits, predicted), share(hits, images));
        ClassReport {
            class: names.get(class).cloned().unwrap_or_else(|| class.to_string()),
            precision,
            recall,
            f1: share(2 * hits, images + predicted),
            images,
            recall_interval: wilson(hits, images),
        }
    }
}

impl Metrics {
    /// Mean recall over the classes that have images: top-1 as if all classes were equally frequent.
    pub fn balanced_accuracy(&self) -> f64 {
        let present: Vec<f64> = self.report(&[]).iter().filter(|c| c.images > 0).map(|c| c.recall).collect();
        present.iter().sum::<f64>() / present.len().max(1) as f64
    }

    /// Mean F1 over the classes that have images.
    pub fn macro_f1(&self) -> f64 {
        let present: Vec<f64> = self.report(&[]).iter().filter(|c| c.images > 0).map(|c| c.f1).collect();
        present.iter().sum::<f64>() / present.len().max(1) as f64
    }

    /// Where the top-1 share lies with 95 % confidence: [`wilson`].
    pub fn top1_interval(&self) -> [f64; 2] {
        wilson(self.top1, self.images)
    }
}

/// The 95 % interval of a share, of which `hits` of `trials` were seen (E. B. Wilson, "Probable Inference, the Law of
/// Succession, and Statistical Inference", 1927): with z = 1.96,
/// `(p + z^2/2n +- z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2/n)`. Everything, 0 to 1, if there were no trials.
///
/// ```
/// let [low, high] = ocellus_train::metrics::wilson(9, 10);
/// assert!((low - 0.5958).abs() < 1e-4 && (high - 0.9821).abs() < 1e-4);
/// ```
pub fn wilson(hits: u64, trials: u64) -> [f64; 2] {
    const Z: f64 = 1.959_963_984_540_054;
    if trials == 0 {
        return [0.0, 1.0];
    }
    let (n, p) = (trials as f64, hits as f64 / trials as f64);
    let middle = p + Z * Z / (2.0 * n);
    let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    [(middle - half) / (1.0 + Z * Z / n), (middle + half) / (1.0 + Z * Z / n)].map(|x| x.clamp(0.0, 1.0))
}

/// One class's figures; a share of nothing is 0.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassReport {
    /// The class's name.
    pub class: String,
    /// Share of the images called this class that are of it.
    pub precision: f64,
    /// Share of this class's images that were called it.
    pub recall: f64,
    /// Harmonic mean of the two.
    pub f1: f64,
    /// Images of this class.
    pub images: u64,
    /// Where the recall lies with 95 % confidence.
    pub recall_interval: [f64; 2],
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// `-log softmax(logits)[label]`, in f64, safe against overflow.
fn cross_entropy(logits: &[f32], label: usize) -> f64 {
    let highest = logits.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b)) as f64;
    let sum: f64 = logits.iter().map(|&x| (x as f64 - highest).exp()).sum();
    sum.ln() + highest - logits[label] as f64
}

/// Probabilities from logits (softmax along the slice), safe against overflow.
pub fn softmax(logits: &[f32]) -> Vec<f32> {
    let highest = logits.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b)) as f64;
    let powers: Vec<f64> = logits.iter().map(|&x| (x as f64 - highest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|p| (p / sum) as f32).collect()
}

/// The indices of the `k` highest scores, best first; of equal scores the lower index first.
pub fn top_k(scores: &[f32], k: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
    order.truncate(k);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_follow_the_definitions() {
        let mut m = Metrics::new(7);
        m.add(&[7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0], 0);
        m.add(&[7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0], 4);
        m.add(&[7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0], 5);
        assert_eq!((m.images(), m.top1(), m.top5()), (3, 1.0 / 3.0, 2.0 / 3.0));
        assert_eq!(m.confusion()[4][0], 1);
        assert_eq!(m.confusion()[0][0], 1);
    }

    #[test]
    fn ties_and_nan_are_not_right() {
        let mut m = Metrics::new(2);
        m.add(&[1.0, 1.0], 1);
        m.add(&[f32::NAN, 0.0], 1);
        m.add(&[0.0, f32::NAN], 1);
        assert_eq!(m.top1(), 0.0);
        assert_eq!(m.confusion()[1], [3, 0]);
    }

    #[test]
    fn loss_survives_large_logits() {
        let mut m = Metrics::new(2);
        m.add(&[1000.0, 0.0], 0);
        assert_eq!(m.loss(), 0.0);
        m.add(&[1000.0, 0.0], 1);
        assert_eq!(m.loss(), 500.0);
        let uniform = cross_entropy(&[3.0; 10], 4);
        assert!((uniform - 10.0_f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn report_of_a_known_matrix() {
        let mut m = Metrics::new(3);
        for (predicted, label, times) in [(0, 0, 3), (1, 0, 1), (1, 1, 4), (0, 2, 2)] {
            let mut logits = [0.0; 3];
            logits[predicted] = 1.0;
            (0..times).for_each(|_| m.add(&logits, label));
        }
        let names: Vec<String> = ["a", "b", "c"].map(String::from).to_vec();
        let report = m.report(&names);
        assert_eq!((report[0].precision, report[0].recall, report[0].images), (0.6, 0.75, 4));
        assert_eq!((report[1].precision, report[1].recall), (0.8, 1.0));
        assert_eq!((report[2].precision, report[2].recall, report[2].f1), (0.0, 0.0, 0.0));
        assert!((report[0].f1 - 2.0 * 0.6 * 0.75 / 1.35).abs() < 1e-12);
    }

    #[test]
    fn probabilities_and_order() {
        let p = softmax(&[1.0, 1.0, 0.0]);
        assert!((p.iter().sum::<f32>() - 1.0).abs() < 1e-6 && p[0] == p[1]);
        assert_eq!(top_k(&[0.1, 0.7, 0.1, 0.9], 3), [3, 1, 0]);
    }
}
