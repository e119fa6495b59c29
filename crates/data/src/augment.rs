//! Random changes to training images, each depending on (seed, epoch, sample) only.

use crate::error::DataError;
use crate::image::ImageView;
use crate::preprocess::{Fill, Placement, Preprocessor, SourceBox, whole};
use crate::rng::{Rng, Stream};

/// How often a random crop is drawn before the middle is taken.
const CROP_ATTEMPTS: usize = 10;
const MAX_PAD: u32 = 4096;

/// Which part of the image is shown.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AugmentKind {
    /// The same part as in evaluation.
    #[default]
    None,
    /// That part, shifted by up to `pad` pixels each way; what lies outside the image is black. For an
    /// image of the network's size: padded by `pad`, then cropped at random.
    PadCrop {
        /// The largest shift, in pixels.
        pad: u32,
    },
    /// The same, but what lies outside is the mirror image of the part that is shown: the network meets no borders
    /// that real images do not have.
    ReflectCrop {
        /// The largest shift, in pixels.
        pad: u32,
    },
    /// A random part of the image, resized to the network's size (C. Szegedy et al., "Going Deeper with
    /// Convolutions", 2015, section 6): its share of the area is uniform in `scale`, its aspect
    /// (width / height) log-uniform in `ratio`.
    RandomResizedCrop {
        /// Least and greatest share of the image's area.
        scale: [f32; 2],
        /// Least and greatest aspect.
        ratio: [f32; 2],
    },
}

impl AugmentKind {
    /// The usual random resized crop: 8 % to all of the area, aspect 3/4 to 4/3.
    pub fn random_resized_crop() -> Self {
        Self::RandomResizedCrop { scale: [0.08, 1.0], ratio: [3.0 / 4.0, 4.0 / 3.0] }
    }
}

/// The random changes to a training image.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct Augment {
    /// Which part of it is shown.
    #[serde(default)]
    pub kind: AugmentKind,
    /// Whether half of the images are mirrored left to right: each in every other epoch, from the first or the second
    /// as chance has it, so that two epochs show both sides of every image (Jordan 2024, "94% on CIFAR-10 in 3.29
    /// Seconds on a Single GPU", section 3.6).
    #[serde(default)]
    pub flip: bool,
}

impl Augment {
    /// Checks all settings, which may come from a file.
    ///
    /// # Errors
    /// Names the setting and its value.
    pub fn validate(&self) -> Result<(), DataError> {
        let sound = match self.kind {
            AugmentKind::None => true,
            AugmentKind::PadCrop { pad } | AugmentKind::ReflectCrop { pad } => pad <= MAX_PAD,
            AugmentKind::RandomResizedCrop { scale, ratio } => {
                let rising = |[low, high]: [f32; 2]| low > 0.0 && low <= high && high.is_finite();
                rising(scale) && scale[1] <= 1.0 && rising(ratio)
            }
        };
        if sound {
            return Ok(());
        }
        Err(DataError::Setting(format!(
            "augmentation {:?} is out of range: pad may be 0 to {MAX_PAD}, scale rises within 0 to 1, ratio rises from above 0",
            self.kind
        )))
    }

    /// Whether every epoch shows the same images as evaluation does.
    pub fn is_none(&self) -> bool {
        self.kind == AugmentKind::None && !self.flip
    }

    /// Writes one image as (C, H, W), changed at random for this (seed, epoch, sample).
    ///
    /// # Errors
    /// As [`Preprocessor::evaluate`].
    pub fn apply(
        &self,
        preprocessor: &mut Preprocessor,
        image: ImageView<'_>,
        place: RandomPlace,
        out: &mut [f32],
    ) -> Result<(), DataError> {
        if self.is_none() {
            return preprocessor.evaluate(image, out);
        }
        let mut rng = Rng::new(place.seed, Stream::Augment, place.epoch, place.sample);
        let mut placement = self.draw(preprocessor, &image, &mut rng);
        placement.flip = self.flip && place.is_mirrored();
        preprocessor.write(image, &placement, out)
    }

    fn draw(&self, preprocessor: &Preprocessor, image: &ImageView<'_>, rng: &mut Rng) -> Placement {
        let [height, width] = preprocessor.settings().size;
        match self.kind {
            AugmentKind::None => preprocessor.placement(image.width, image.height),
            AugmentKind::PadCrop { pad } | AugmentKind::ReflectCrop { pad } => {
                let mut placement = preprocessor.placement(image.width, image.height);
                if matches!(self.kind, AugmentKind::ReflectCrop { .. }) {
                    placement.fill = Fill::Mirror;
                }
                placement.left += i64::from(rng.below(2 * pad + 1)) - i64::from(pad);
                placement.top += i64::from(rng.below(2 * pad + 1)) - i64::from(pad);
                placement
            }
            AugmentKind::RandomResizedCrop { scale, ratio } => {
                let source = draw_box((image.width, image.height), scale, ratio, rng);
                whole((width, height), Some(source))
            }
        }
    }
}

/// Where a random choice is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RandomPlace {
    /// The run's seed.
    pub seed: u64,
    /// The epoch, from 0.
    pub epoch: u32,
    /// The sample's index in its split.
    pub sample: u32,
}

impl RandomPlace {
    /// Whether the image is mirrored in this epoch, if it is in every other.
    fn is_mirrored(&self) -> bool {
        Rng::new(self.seed, Stream::Mirror, 0, self.sample).coin() != (self.epoch % 2 == 1)
    }
}

fn draw_box((width, height): (u32, u32), scale: [f32; 2], ratio: [f32; 2], rng: &mut Rng) -> SourceBox {
    let area = width as f32 * height as f32;
    for _ in 0..CROP_ATTEMPTS {
        let part = area * rng.range(scale[0], scale[1]);
        let aspect = rng.range(ratio[0].ln(), ratio[1].ln()).exp();
        let w = (part * aspect).sqrt().round() as u32;
        let h = (part / aspect).sqrt().round() as u32;
        if (1..=width).contains(&w) && (1..=height).contains(&h) {
            let (left, top) = (rng.below(width - w + 1), rng.below(height - h + 1));
            return source_box(left, top, w, h);
        }
    }
    middle_within(width, height, ratio)
}

/// The largest part in the middle whose aspect lies in `ratio`.
fn middle_within(width: u32, height: u32, ratio: [f32; 2]) -> SourceBox {
    let aspect = width as f32 / height as f32;
    let (mut w, mut h) = (width, height);
    if aspect < ratio[0] {
        h = ((width as f32 / ratio[0]).round() as u32).clamp(1, height);
    } else if aspect > ratio[1] {
        w = ((height as f32 * ratio[1]).round() as u32).clamp(1, width);
    }
    source_box((width - w) / 2, (height - h) / 2, w, h)
}

fn source_box(left: u32, top: u32, width: u32, height: u32) -> SourceBox {
    SourceBox { left: left.into(), top: top.into(), width: width.into(), height: height.into() }
}
