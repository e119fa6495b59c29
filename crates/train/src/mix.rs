//! Two images as one: mixup and CutMix.
//!
//! ```text
//! mixup   x_i = l x_i + (1 - l) x_j                       (Zhang et al. 2018, "mixup: Beyond Empirical Risk ...")
//! CutMix  x_i has a box of x_j, (1 - l) of its area       (Yun et al. 2019, "CutMix", section 3.1)
//! target  t_i = l one-hot(i) + (1 - l) one-hot(j),  l ~ Beta(alpha, alpha),  j = N - 1 - i
//! ```
//!
//! One l and one box for a batch, drawn from (seed, epoch, batch) alone; with both asked for, a coin decides which. The
//! box is cut off at the borders, and l is then what is left. Batches are shuffled already, so the batch read
//! backwards is as good a partner as any. With class weights, row t_i is multiplied by the weights of its classes.

use ocellus_data::{Batch, Rng, Stream};

use crate::TrainError;
use crate::prepare::Prepared;

/// What is mixed, and how images lie.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mixer {
    /// Mixup's alpha.
    pub mixup: Option<f32>,
    /// CutMix's alpha.
    pub cutmix: Option<f32>,
    /// How much each class counts, if not all alike.
    pub class_weights: Option<Vec<f32>>,
    /// How many there are.
    pub classes: usize,
    /// Seed of the run.
    pub seed: u64,
}

/// Channels, height and width of an image.
pub type Size = [usize; 3];

impl Mixer {
    /// Mixes `images` `(N, C, H, W)` in place and writes their `targets` `(N, classes)`.
    ///
    /// `place` is (epoch, batch).
    pub fn apply(
        &self,
        images: &mut [f32],
        labels: &[f32],
        size: Size,
        place: (u32, u32),
        targets: &mut [f32],
    ) {
        let mut rng = Rng::new(self.seed, Stream::Mix, place.0, place.1);
        let kept = self.mix(images, labels.len(), size, &mut rng);
        for (i, row) in targets.chunks_exact_mut(self.classes.max(1)).enumerate() {
            row.fill(0.0);
            let partner = labels.len() - 1 - i;
            for (label, share) in [(labels[i], kept), (labels[partner], 1.0 - kept)] {
                if let Some(place) = row.get_mut(label as usize) {
                    *place += share;
                }
            }
            if let Some(weights) = &self.class_weights {
                row.iter_mut().zip(weights).for_each(|(t, weight)| *t *= weight);
            }
        }
    }

    /// Mixes the images; the share of each that is its own.
    fn mix(&self, images: &mut [f32], count: usize, size: Size, rng: &mut Rng) -> f32 {
        let by_box = match (self.mixup, self.cutmix) {
            (Some(_), Some(_)) => rng.coin(),
            (None, Some(_)) => true,
            (Some(_), None) => false,
            (None, None) => return 1.0,
        };
        let alpha = if by_box { self.cutmix } else { self.mixup }.unwrap_or(1.0);
        let kept = beta(rng, f64::from(alpha)) as f32;
        if by_box { cut(images, count, size, kept, rng) } else { blend(images, count, kept) }
    }
}

/// A [`Mixer`] for the batches of a run.
pub struct BatchMixer {
    mixer: Mixer,
    size: Size,
    targets: Vec<f32>,
}

impl BatchMixer {
    /// Mixes the images of `batch` in place; their targets.
    pub fn targets(&mut self, batch: &mut Batch, epoch: u32) -> &[f32] {
        self.targets.resize(batch.count * self.mixer.classes, 0.0);
        let place = (epoch, batch.index as u32);
        self.mixer.apply(&mut batch.images, &batch.labels, self.size, place, &mut self.targets);
        &self.targets
    }
}

impl Prepared {
    /// What makes this run's targets, if it is not the labels alone.
    pub(crate) fn mixer(&self) -> Result<Option<BatchMixer>, TrainError> {
        let config = &self.config;
        if !config.practice.is_soft() {
            return Ok(None);
        }
        let mixer = Mixer {
            mixup: config.practice.mixup,
            cutmix: config.practice.cutmix,
            class_weights: config.practice.weights_of_classes(&self.images.train)?,
            classes: config.classes.len(),
            seed: config.seed,
        };
        let [height, width] = config.preprocess.size.map(|side| side as usize);
        let size = [config.preprocess.channels, height, width];
        Ok(Some(BatchMixer { mixer, size, targets: Vec::new() }))
    }
}

fn blend(images: &mut [f32], count: usize, kept: f32) -> f32 {
    for_pairs(images, count, |a, b| {
        for (a, b) in a.iter_mut().zip(b) {
            (*a, *b) = (kept * *a + (1.0 - kept) * *b, kept * *b + (1.0 - kept) * *a);
        }
    });
    kept
}

fn cut(images: &mut [f32], count: usize, [_, height, width]: Size, kept: f32, rng: &mut Rng) -> f32 {
    let side = (1.0 - kept).max(0.0).sqrt();
    // From the middle of the box, so many pixels each way, cut off at the borders.
    let mut range = |whole: usize| {
        let half = (side * whole as f32) as i64 / 2;
        let middle = i64::from(rng.below(whole as u32));
        let within = |x: i64| x.clamp(0, whole as i64) as usize;
        within(middle - half)..within(middle + half)
    };
    let (rows, columns) = (range(height), range(width));
    for_pairs(images, count, |a, b| {
        for (a, b) in a.chunks_exact_mut(height * width).zip(b.chunks_exact_mut(height * width)) {
            for row in rows.clone() {
                let line = row * width + columns.start..row * width + columns.end;
                a[line.clone()].swap_with_slice(&mut b[line]);
            }
        }
    });
    1.0 - (rows.len() * columns.len()) as f32 / (height * width) as f32
}

/// Calls `change` with each image and its partner; the one in the middle is its own.
fn for_pairs(images: &mut [f32], count: usize, mut change: impl FnMut(&mut [f32], &mut [f32])) {
    let length = images.len() / count.max(1);
    for i in 0..count / 2 {
        let (before, after) = images.split_at_mut((count - 1 - i) * length);
        change(&mut before[i * length..(i + 1) * length], &mut after[..length]);
    }
}

/// A number of Beta(alpha, alpha): `x / (x + y)` of two gamma numbers.
fn beta(rng: &mut Rng, alpha: f64) -> f64 {
    let [x, y] = [gamma(rng, alpha), gamma(rng, alpha)];
    if x + y > 0.0 { x / (x + y) } else { f64::from(u8::from(rng.coin())) }
}

/// A number of Gamma(alpha, 1) (Marsaglia and Tsang 2000; below 1 by their section 6).
fn gamma(rng: &mut Rng, alpha: f64) -> f64 {
    if alpha < 1.0 {
        let u = open(rng);
        return gamma(rng, alpha + 1.0) * u.powf(1.0 / alpha);
    }
    let d = alpha - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = normal(rng);
        let v = (1.0 + c * x).powi(3);
        if v > 0.0 && open(rng).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return d * v;
        }
    }
}

/// A standard normal number (Box and Muller 1958).
fn normal(rng: &mut Rng) -> f64 {
    (-2.0 * open(rng).ln()).sqrt() * (2.0 * std::f64::consts::PI * open(rng)).cos()
}

/// A number in (0, 1).
fn open(rng: &mut Rng) -> f64 {
    (f64::from(rng.next_u32()) + 0.5) / 4_294_967_296.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = [1, 4, 4];

    fn mixer() -> Mixer {
        Mixer { classes: 3, seed: 7, ..Mixer::default() }
    }

    /// Three images of one brightness each.
    fn images() -> Vec<f32> {
        [0.0, 1.0, 2.0].iter().flat_map(|&x| [x; 16]).collect()
    }

    fn applied(mixer: &Mixer, place: (u32, u32)) -> (Vec<f32>, Vec<f32>) {
        let (mut images, mut targets) = (images(), vec![f32::NAN; 9]);
        mixer.apply(&mut images, &[0.0, 1.0, 2.0], SIZE, place, &mut targets);
        (images, targets)
    }

    #[test]
    fn mixup_blends_images_and_targets_alike() {
        let (images, targets) = applied(&Mixer { mixup: Some(0.4), ..mixer() }, (0, 0));
        let kept = targets[0];
        assert!((0.0..=1.0).contains(&kept));
        assert!((images[0] - 2.0 * (1.0 - kept)).abs() < 1e-6 && (images[32] - 2.0 * kept).abs() < 1e-6);
        assert_eq!(images[16], 1.0, "the one in the middle is its own partner");
        assert!((targets[2] - (1.0 - kept)).abs() < 1e-6 && targets[4] == 1.0);
    }

    #[test]
    fn cutmix_swaps_a_box_and_the_target_has_its_area() {
        let mixer = Mixer { cutmix: Some(1.0), ..mixer() };
        let mut seen = 0;
        for batch in 0..50 {
            let (images, targets) = applied(&mixer, (3, batch));
            let foreign = images[..16].iter().filter(|&&x| x == 2.0).count();
            assert!((targets[2] - foreign as f32 / 16.0).abs() < 1e-6);
            assert_eq!(images[32..].iter().filter(|&&x| x == 0.0).count(), foreign);
            seen += usize::from(foreign > 0);
        }
        assert!(seen > 20, "{seen} of 50 have a box");
    }

    #[test]
    fn choices_depend_on_their_place_alone() {
        let mixer = Mixer { mixup: Some(1.0), cutmix: Some(1.0), ..mixer() };
        assert_eq!(applied(&mixer, (1, 2)), applied(&mixer, (1, 2)));
        assert_ne!(applied(&mixer, (1, 2)).1, applied(&mixer, (1, 3)).1);
        assert_ne!(applied(&mixer, (1, 2)).1, applied(&mixer, (2, 2)).1);
    }

    #[test]
    fn weights_scale_the_targets() {
        let (images_after, targets) =
            applied(&Mixer { class_weights: Some(vec![2.0, 0.5, 1.0]), ..mixer() }, (0, 0));
        assert_eq!(images_after, images());
        assert_eq!(targets, [2.0, 0.0, 0.0, 0.0, 0.5, 0.0, 0.0, 0.0, 1.0]);
    }

    #[test]
    fn beta_has_its_mean_and_variance() {
        for alpha in [0.2, 1.0, 3.0] {
            let mut rng = Rng::new(1, Stream::Mix, 0, 0);
            let draws: Vec<f64> = (0..20_000).map(|_| beta(&mut rng, alpha)).collect();
            let mean = draws.iter().sum::<f64>() / 20_000.0;
            let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 20_000.0;
            let expected = 1.0 / (4.0 * (2.0 * alpha + 1.0));
            assert!((mean - 0.5).abs() < 0.01, "{mean}");
            assert!((variance - expected).abs() < 0.004, "{alpha}: {variance}, expected {expected}");
        }
    }
}
