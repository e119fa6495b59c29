//! Changes to the colours and the shape of training images, each depending on (seed, epoch, sample) only.
//!
//! ```text
//! crop, shift, mirror (Augment) -> rotate -> AutoAugment or RandAugment -> colour jitter -> normalise -> erase
//! ```
//!
//! Everything before `normalise` works on bytes (C, H, W) of the size that the network reads, so it costs no more for
//! large photographs than for small ones. Without any of it images are what [`crate::Augment`] alone makes of them,
//! to the bit.

mod ops;
mod policies;
#[cfg(test)]
mod tests;

use crate::augment::{Augment, RandomPlace};
use crate::error::DataError;
use crate::image::ImageView;
use crate::preprocess::{Preprocess, Preprocessor};
use crate::rng::{Rng, Stream};
use ops::{Change, Picture};
pub use policies::Policy;

/// Levels of RandAugment's magnitude.
const LEVELS: u32 = 30;
/// Least and greatest share of the area that is erased, and the aspect's limits (Z. Zhong et al., "Random Erasing Data
/// Augmentation", 2020, section 4.1).
const ERASED: [f32; 2] = [0.02, 0.33];
const ERASED_ASPECT: [f32; 2] = [0.3, 3.3];
/// How often a place for it is drawn before the image is left whole.
const ERASE_ATTEMPTS: usize = 10;

/// Which changes. The default is none.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Alter {
    /// Brightness, contrast and saturation are each multiplied by a number drawn from `1 - x` to `1 + x`, and hues turned
    /// by up to `x` of a full turn, in an order drawn at random.
    pub jitter: [f32; 4],
    /// Turned by up to so many degrees each way.
    pub rotate: f32,
    /// Share of the images that lose a rectangle.
    pub erase: f32,
    /// So many changes, of this magnitude of 30, drawn from fourteen (E. Cubuk et al., "RandAugment", 2020).
    pub rand_augment: Option<[u32; 2]>,
    /// A learned policy (E. Cubuk et al., "AutoAugment", 2019, appendix).
    pub auto_augment: Option<Policy>,
}

impl Alter {
    /// Whether nothing is changed.
    pub fn is_none(&self) -> bool {
        *self == Alter::default()
    }

    /// Checks all settings, which may come from a file.
    ///
    /// # Errors
    /// Names the setting and its value.
    pub fn validate(&self) -> Result<(), DataError> {
        let fault = |message: String| Err(DataError::Setting(message));
        let [brightness, contrast, saturation, hue] = self.jitter;
        let within = |x: f32, high: f32| (0.0..=high).contains(&x);
        if ![brightness, contrast, saturation].iter().all(|&x| within(x, 10.0)) || !within(hue, 0.5) {
            return fault(format!(
                "colour jitter {:?}: brightness, contrast and saturation may be 0 to 10, hue 0 to 0.5",
                self.jitter
            ));
        }
        if !within(self.rotate, 180.0) {
            return fault(format!("rotation {}: give degrees from 0 to 180", self.rotate));
        }
        if !within(self.erase, 1.0) {
            return fault(format!("erasing {}: give a share of the images, 0 to 1", self.erase));
        }
        match self.rand_augment {
            Some([count, magnitude]) if count == 0 || count > 16 || magnitude > LEVELS => fault(format!(
                "RandAugment {count},{magnitude}: give 1 to 16 changes of a magnitude from 0 to {LEVELS}"
            )),
            Some(_) if self.auto_augment.is_some() => {
                fault("RandAugment and AutoAugment take each other's place; give one".into())
            }
            _ => Ok(()),
        }
    }

    /// Writes one image as (C, H, W), shown as `augment` has it and changed at random for this (seed, epoch, sample).
    ///
    /// # Errors
    /// As [`Preprocessor::evaluate`].
    pub fn apply(
        &self,
        augment: &Augment,
        preprocessor: &mut Preprocessor,
        image: ImageView<'_>,
        place: RandomPlace,
        out: &mut [f32],
    ) -> Result<(), DataError> {
        if self.is_none() {
            return augment.apply(preprocessor, image, place, out);
        }
        let mut bench = match preprocessor.bench.take() {
            Some(bench) => bench,
            None => Box::new(Bench::new(preprocessor.settings())?),
        };
        let done = augment.apply(&mut bench.raw, image, place, out).map(|()| {
            let mut rng = Rng::new(place.seed, Stream::Alter, place.epoch, place.sample);
            let [height, width] = preprocessor.settings().size.map(|side| side as usize);
            // Values are whole already, but for the mean that fills a letterbox.
            bench.picture.fill(out.iter().map(|&x| x.round() as u8), height, width);
            self.change(&mut bench.picture, &mut rng);
            preprocessor.normalise(bench.picture.bytes(), out);
            self.erase(out, [height, width], &mut rng);
        });
        preprocessor.bench = Some(bench);
        done
    }

    fn change(&self, picture: &mut Picture, rng: &mut Rng) {
        if self.rotate > 0.0 {
            picture.change(Change::Rotate, rng.range(-self.rotate, self.rotate));
        }
        if let Some(policy) = self.auto_augment {
            for (change, chance, level) in policy.draw(rng) {
                if rng.uniform() < chance {
                    policies::apply(picture, change, level / 9.0, rng);
                }
            }
        }
        if let Some([count, magnitude]) = self.rand_augment {
            for _ in 0..count {
                let change = policies::RANDOM[rng.below(policies::RANDOM.len() as u32) as usize];
                policies::apply(picture, change, magnitude as f32 / LEVELS as f32, rng);
            }
        }
        self.jitter(picture, rng);
    }

    fn jitter(&self, picture: &mut Picture, rng: &mut Rng) {
        let [brightness, contrast, saturation, hue] = self.jitter;
        let mut factor = |x: f32| rng.range((1.0 - x).max(0.0), 1.0 + x);
        let mut changes = [
            (Change::Brightness, factor(brightness), brightness),
            (Change::Contrast, factor(contrast), contrast),
            (Change::Color, factor(saturation), saturation),
            (Change::Hue, rng.range(-hue, hue), hue),
        ];
        rng.shuffle(&mut changes);
        for (change, amount, _) in changes.into_iter().filter(|(_, _, strength)| *strength > 0.0) {
            picture.change(change, amount);
        }
    }

    /// Sets a rectangle to 0, which is the mean.
    fn erase(&self, out: &mut [f32], [height, width]: [usize; 2], rng: &mut Rng) {
        if self.erase == 0.0 || rng.uniform() >= self.erase {
            return;
        }
        let area = (height * width) as f32;
        for _ in 0..ERASE_ATTEMPTS {
            let part = area * rng.range(ERASED[0], ERASED[1]);
            let aspect = rng.range(ERASED_ASPECT[0].ln(), ERASED_ASPECT[1].ln()).exp();
            let h = (part * aspect).sqrt().round() as usize;
            let w = (part / aspect).sqrt().round() as usize;
            if (1..height).contains(&h) && (1..width).contains(&w) {
                let top = rng.below((height - h + 1) as u32) as usize;
                let left = rng.below((width - w + 1) as u32) as usize;
                for plane in out.chunks_exact_mut(height * width) {
                    plane[top * width..][..h * width]
                        .chunks_exact_mut(width)
                        .for_each(|row| row[left..][..w].fill(0.0));
                }
                return;
            }
        }
    }
}

/// What a thread keeps for changing images.
pub(crate) struct Bench {
    /// Gives bytes, red first, in the place of normalised numbers.
    raw: Preprocessor,
    picture: Picture,
}

impl Bench {
    fn new(settings: &Preprocess) -> Result<Self, DataError> {
        let raw = Preprocess {
            order: Default::default(),
            scale: 1.0,
            mean: vec![0.0; settings.channels],
            std: vec![1.0; settings.channels],
            ..settings.clone()
        };
        let mut raw = Preprocessor::new(&raw)?;
        raw.fill_with_mean_of(settings);
        Ok(Bench { raw, picture: Picture::default() })
    }
}
