//! Between which bounds do a network's values lie? Post-training calibration: the network runs in `f32` over some
//! images, and each value's range is chosen from what was seen.
//!
//! - by the smallest and largest number,
//! - by percentile: a share of the numbers at either end is cut off,
//! - by entropy: the numbers are cut off where the distribution of the 8-bit numbers tells most about that of the
//!   original ones, by the Kullback-Leibler divergence (S. Migacz, "8-bit Inference with TensorRT", GTC 2017).
//!
//! The last two need histograms, so the images are shown twice: first for the bounds, then for the counts.

use ocellus_graph::Graph;
use ocellus_tensor::Weights;

use crate::{EngineError, Options, Precision, Ranges, Session};

/// Bins of a histogram.
const BINS: usize = 2048;

/// How a range is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// The smallest and the largest number seen.
    MinMax,
    /// Without the smallest and the largest `1 - share` of the numbers; share from above 0.5 to 1.
    Percentile(f64),
    /// Where least is lost in the sense of Kullback and Leibler.
    Entropy,
}

/// A network that remembers between which bounds its values lay.
///
/// ```
/// use ocellus_engine::{Calibrator, Method, Options};
/// use ocellus_graph::Builder;
///
/// let mut b = Builder::new("positive");
/// let x = b.input("input", [1, 4]);
/// let y = b.relu("relu", x);
/// b.output("output", y);
/// let mut calibrator = Calibrator::new(&b.finish()?, &Options::default())?;
/// calibrator.session().set_input("input", &[-1.0, 0.5, 2.0, 0.0])?;
/// calibrator.note_bounds(1);
/// let ranges = calibrator.ranges(Method::MinMax);
/// assert_eq!(ranges.get("input"), Some([-1.0, 2.0]));
/// assert_eq!(ranges.get("relu"), Some([0.0, 2.0]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Calibrator {
    session: Session,
    seen: Vec<Seen>,
}

/// What was seen of one value.
struct Seen {
    value: String,
    output: String,
    /// Numbers per image, and images in a batch.
    per_image: usize,
    bounds: [f32; 2],
    /// Counts of equal parts of the bounds.
    counts: Vec<u64>,
}

impl Calibrator {
    /// Plans `graph`, an inference graph, in `f32` with every image-like value an output.
    pub fn new(graph: &Graph, options: &Options) -> Result<Self, EngineError> {
        let mut graph = graph.clone();
        let mut seen = Vec::new();
        for index in 0..graph.values().len() {
            let id = ocellus_graph::ValueId(index as u32);
            let (name, shape) = (graph.value(id).name.clone(), graph.shape(id));
            let known = seen.iter().any(|seen: &Seen| seen.value == name);
            let Some([batch, ..]) = shape.nchw().filter(|_| graph.param_of(id).is_none() && !known) else {
                continue;
            };
            let (output, per_image) = (format!("range of {name}"), shape.elements() / batch.max(1));
            graph.add_output(output.clone(), id);
            let bounds = [f32::INFINITY, f32::NEG_INFINITY];
            seen.push(Seen { value: name, output, per_image, bounds, counts: Vec::new() });
        }
        let options = options.clone().with_precision(Precision::F32);
        Ok(Calibrator { session: Session::new(&graph, &options)?, seen })
    }

    /// Sets the weights and statistics.
    pub fn load(&mut self, weights: &Weights) -> Result<(), EngineError> {
        self.session.load(weights)
    }

    /// The network, to set its inputs.
    pub fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// Runs the network and widens the bounds by what the first `images` images of the batch gave. Numbers that are not
    /// finite are left out.
    pub fn note_bounds(&mut self, images: usize) {
        self.session.run();
        for seen in &mut self.seen {
            let numbers = self.session.output(&seen.output).unwrap_or_default();
            for &x in numbers.iter().take(images.saturating_mul(seen.per_image)).filter(|x| x.is_finite()) {
                seen.bounds = [seen.bounds[0].min(x), seen.bounds[1].max(x)];
            }
        }
    }

    /// Runs the network and counts numbers; after the bounds of all images have been noted.
    pub fn note_counts(&mut self, images: usize) {
        self.session.run();
        for seen in &mut self.seen {
            seen.counts.resize(BINS, 0);
            let [low, high] = seen.bounds;
            let per_bin = (high - low) / BINS as f32;
            if !(per_bin > 0.0 && per_bin.is_finite()) {
                continue;
            }
            let numbers = self.session.output(&seen.output).unwrap_or_default();
            for &x in numbers.iter().take(images.saturating_mul(seen.per_image)).filter(|x| x.is_finite()) {
                seen.counts[(((x - low) / per_bin) as usize).min(BINS - 1)] += 1;
            }
        }
    }

    /// Every value's range. Values of which no finite number was seen have none.
    pub fn ranges(&self, method: Method) -> Ranges {
        let seen = self.seen.iter().filter(|seen| seen.bounds[0] <= seen.bounds[1]);
        Ranges::new(seen.map(|seen| (seen.value.clone(), seen.range(method))))
    }
}

impl Seen {
    fn range(&self, method: Method) -> [f32; 2] {
        if self.counts.iter().sum::<u64>() == 0 {
            return self.bounds;
        }
        match method {
            Method::MinMax => self.bounds,
            Method::Percentile(share) => self.percentile(share),
            Method::Entropy => self.entropy(),
        }
    }

    /// The bounds of a bin.
    fn bin(&self, index: usize) -> [f32; 2] {
        let [low, high] = self.bounds;
        let at = |index: usize| low + (high - low) * (index as f32 / BINS as f32);
        [at(index), at(index + 1)]
    }

    fn percentile(&self, share: f64) -> [f32; 2] {
        let all: u64 = self.counts.iter().sum();
        let cut = ((1.0 - share.clamp(0.5, 1.0)) * all as f64) as u64;
        let (low, high) = (self.bin_beyond(cut, 0..BINS), self.bin_beyond(cut, (0..BINS).rev()));
        [self.bin(low)[0], self.bin(high)[1]]
    }

    /// The first of these bins with more than `cut` numbers up to its end.
    fn bin_beyond(&self, cut: u64, mut bins: impl Iterator<Item = usize>) -> usize {
        let mut before = 0;
        let beyond = bins.find(|&bin| {
            before += self.counts[bin];
            before > cut
        });
        beyond.unwrap_or(0)
    }

    /// Cuts off at the same distance from 0 on both sides.
    fn entropy(&self) -> [f32; 2] {
        let [low, high] = self.bounds;
        let most = high.abs().max(low.abs());
        let mut sizes = vec![0.0; BINS];
        for (index, &count) in self.counts.iter().enumerate() {
            let [from, to] = self.bin(index);
            let size = ((from + to) / 2.0).abs() / most * BINS as f32;
            sizes[(size as usize).min(BINS - 1)] += count as f64;
        }
        // Zeros are exact at any scale; after a ReLU they would drown all else.
        sizes[0] = 0.0;
        let levels = if low < 0.0 { 128 } else { 256 };
        let lost = |&bins: &usize| divergence(&sizes, bins, levels);
        let best = (levels..=BINS).step_by(8).min_by(|a, b| lost(a).total_cmp(&lost(b))).unwrap_or(BINS);
        let bound = most * best as f32 / BINS as f32;
        [low.max(-bound), high.min(bound)]
    }
}

/// How much the first `bins` bins, cut into `levels` levels, say less than the whole, which ends there in one last
/// heap: the Kullback-Leibler divergence.
fn divergence(sizes: &[f64], bins: usize, levels: usize) -> f64 {
    let mut original = sizes[..bins].to_vec();
    let outside: f64 = sizes[bins..].iter().sum();
    original[bins - 1] += outside;
    let total: f64 = original.iter().sum();
    let kept: f64 = sizes[..bins].iter().sum();
    if total == 0.0 || kept == 0.0 {
        return f64::INFINITY;
    }
    let mut lost = 0.0;
    for level in 0..levels {
        let range = level * bins / levels..(level + 1) * bins / levels;
        // A level's numbers are spread evenly over those of its bins that had any.
        let inside: f64 = sizes[range.clone()].iter().sum();
        let filled = original[range.clone()].iter().filter(|&&count| count > 0.0).count();
        let each = inside / filled.max(1) as f64 / kept;
        for &count in original[range].iter().filter(|&&count| count > 0.0) {
            let p = count / total;
            lost += p * (p / each.max(1e-12)).ln();
        }
    }
    lost
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(numbers: &[f32]) -> Seen {
        let bounds = numbers
            .iter()
            .fold([f32::INFINITY, f32::NEG_INFINITY], |[low, high], &x| [low.min(x), high.max(x)]);
        let mut counts = vec![0; BINS];
        for x in numbers {
            let bin = (x - bounds[0]) / (bounds[1] - bounds[0]) * BINS as f32;
            counts[(bin as usize).min(BINS - 1)] += 1;
        }
        Seen { value: String::new(), output: String::new(), per_image: 1, bounds, counts }
    }

    /// Mostly small numbers, and one far away.
    fn with_outlier() -> Seen {
        let mut numbers: Vec<f32> =
            (0..100_000).map(|i| (i as f32 * 0.618).fract() * (i as f32 * 0.414).fract()).collect();
        numbers.push(8.0);
        seen(&numbers)
    }

    #[test]
    fn an_outlier_is_kept_or_cut_off() {
        let seen = with_outlier();
        assert_eq!(seen.range(Method::MinMax)[1], 8.0);
        for method in [Method::Percentile(0.9999), Method::Entropy] {
            let [low, high] = seen.range(method);
            assert!((0.0..0.01).contains(&low) && (0.7..1.3).contains(&high), "{method:?}: {low} to {high}");
        }
    }

    #[test]
    fn even_numbers_keep_their_range() {
        let numbers: Vec<f32> = (0..100_000).map(|i| (i as f32 * 0.618).fract() * 2.0 - 1.0).collect();
        for method in [Method::MinMax, Method::Percentile(0.9999), Method::Entropy] {
            let [low, high] = seen(&numbers).range(method);
            assert!(low < -0.95 && high > 0.95, "{method:?}: {low} to {high}");
        }
    }
}
