//! Which changes, how likely and how strong: AutoAugment's policies, and RandAugment's list.
//!
//! Source: E. Cubuk et al., "AutoAugment: Learning Augmentation Policies from Data", 2019, tables 7 and 9 (the
//! sub-policies) and 6 (what a magnitude of 0 to 9 means); E. Cubuk et al., "RandAugment", 2020, section 3.

use super::ops::{Change, Picture};
use crate::rng::Rng;
use Change::*;

/// AutoAugment's policies, by the data that they were learned on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// CIFAR-10.
    Cifar10,
    /// ImageNet.
    ImageNet,
}

/// A change, the share of images that get it, and its magnitude from 0 to 9.
type Part = (Change, f32, f32);

impl Policy {
    /// One of the sub-policies, each as likely: two changes in a row.
    pub(super) fn draw(self, rng: &mut Rng) -> [Part; 2] {
        let table = match self {
            Policy::Cifar10 => &CIFAR10,
            Policy::ImageNet => &IMAGENET,
        };
        table[rng.below(table.len() as u32) as usize]
    }
}

/// What RandAugment draws from.
pub(super) const RANDOM: [Change; 14] = [
    Identity,
    AutoContrast,
    Equalize,
    Rotate,
    Solarize,
    Color,
    Posterize,
    Contrast,
    Brightness,
    Sharpness,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
];

/// Applies a change at `share` (0 to 1) of its greatest strength, in a direction drawn at random where it has two.
pub(super) fn apply(picture: &mut Picture, change: Change, share: f32, rng: &mut Rng) {
    let [height, width] = picture.size().map(|side| side as f32);
    // Up to 150 of 331 pixels, the size that the policy was learned at.
    let far = 150.0 / 331.0;
    let greatest = match change {
        ShearX | ShearY => 0.3,
        TranslateX => far * width,
        TranslateY => far * height,
        Rotate => 30.0,
        Brightness | Color | Contrast | Sharpness => 0.9,
        _ => 0.0,
    };
    let amount = match change {
        Posterize => 8.0 - (share * 4.0).round(),
        Solarize => 256.0 * (1.0 - share),
        Identity | Invert | AutoContrast | Equalize | Hue => 0.0,
        _ => greatest * share * if rng.coin() { 1.0 } else { -1.0 },
    };
    let is_factor = matches!(change, Brightness | Color | Contrast | Sharpness);
    picture.change(change, if is_factor { 1.0 + amount } else { amount });
}

#[rustfmt::skip]
const CIFAR10: [[Part; 2]; 25] = [
    [(Invert, 0.1, 7.0), (Contrast, 0.2, 6.0)],
    [(Rotate, 0.7, 2.0), (TranslateX, 0.3, 9.0)],
    [(Sharpness, 0.8, 1.0), (Sharpness, 0.9, 3.0)],
    [(ShearY, 0.5, 8.0), (TranslateY, 0.7, 9.0)],
    [(AutoContrast, 0.5, 8.0), (Equalize, 0.9, 2.0)],
    [(ShearY, 0.2, 7.0), (Posterize, 0.3, 7.0)],
    [(Color, 0.4, 3.0), (Brightness, 0.6, 7.0)],
    [(Sharpness, 0.3, 9.0), (Brightness, 0.7, 9.0)],
    [(Equalize, 0.6, 5.0), (Equalize, 0.5, 1.0)],
    [(Contrast, 0.6, 7.0), (Sharpness, 0.6, 5.0)],
    [(Color, 0.7, 7.0), (TranslateX, 0.5, 8.0)],
    [(Equalize, 0.3, 7.0), (AutoContrast, 0.4, 8.0)],
    [(TranslateY, 0.4, 3.0), (Sharpness, 0.2, 6.0)],
    [(Brightness, 0.9, 6.0), (Color, 0.2, 8.0)],
    [(Solarize, 0.5, 2.0), (Invert, 0.0, 3.0)],
    [(Equalize, 0.2, 0.0), (AutoContrast, 0.6, 0.0)],
    [(Equalize, 0.2, 8.0), (Equalize, 0.6, 4.0)],
    [(Color, 0.9, 9.0), (Equalize, 0.6, 6.0)],
    [(AutoContrast, 0.8, 4.0), (Solarize, 0.2, 8.0)],
    [(Brightness, 0.1, 3.0), (Color, 0.7, 0.0)],
    [(Solarize, 0.4, 5.0), (AutoContrast, 0.9, 3.0)],
    [(TranslateY, 0.9, 9.0), (TranslateY, 0.7, 9.0)],
    [(AutoContrast, 0.9, 2.0), (Solarize, 0.8, 3.0)],
    [(Equalize, 0.8, 8.0), (Invert, 0.1, 3.0)],
    [(TranslateY, 0.7, 9.0), (AutoContrast, 0.9, 1.0)],
];

#[rustfmt::skip]
const IMAGENET: [[Part; 2]; 25] = [
    [(Posterize, 0.4, 8.0), (Rotate, 0.6, 9.0)],
    [(Solarize, 0.6, 5.0), (AutoContrast, 0.6, 5.0)],
    [(Equalize, 0.8, 8.0), (Equalize, 0.6, 3.0)],
    [(Posterize, 0.6, 7.0), (Posterize, 0.6, 6.0)],
    [(Equalize, 0.4, 7.0), (Solarize, 0.2, 4.0)],
    [(Equalize, 0.4, 4.0), (Rotate, 0.8, 8.0)],
    [(Solarize, 0.6, 3.0), (Equalize, 0.6, 7.0)],
    [(Posterize, 0.8, 5.0), (Equalize, 1.0, 2.0)],
    [(Rotate, 0.2, 3.0), (Solarize, 0.6, 8.0)],
    [(Equalize, 0.6, 8.0), (Posterize, 0.4, 6.0)],
    [(Rotate, 0.8, 8.0), (Color, 0.4, 0.0)],
    [(Rotate, 0.4, 9.0), (Equalize, 0.6, 2.0)],
    [(Equalize, 0.0, 7.0), (Equalize, 0.8, 8.0)],
    [(Invert, 0.6, 4.0), (Equalize, 1.0, 8.0)],
    [(Color, 0.6, 4.0), (Contrast, 1.0, 8.0)],
    [(Rotate, 0.8, 8.0), (Color, 1.0, 2.0)],
    [(Color, 0.8, 8.0), (Solarize, 0.8, 7.0)],
    [(Sharpness, 0.4, 7.0), (Invert, 0.6, 8.0)],
    [(ShearX, 0.6, 5.0), (Equalize, 1.0, 9.0)],
    [(Color, 0.4, 0.0), (Equalize, 0.6, 3.0)],
    [(Equalize, 0.4, 7.0), (Solarize, 0.2, 4.0)],
    [(Solarize, 0.6, 5.0), (AutoContrast, 0.6, 5.0)],
    [(Invert, 0.6, 4.0), (Equalize, 1.0, 8.0)],
    [(Color, 0.6, 4.0), (Contrast, 1.0, 8.0)],
    [(Equalize, 0.8, 8.0), (Equalize, 0.6, 3.0)],
];
