//! How much may a run cost? Three answers that fill in what the user left open.
//!
//! | preset | epochs | besides | small colour images |
//! |---|---|---|---|
//! | fast | half of the recipe's | | the same |
//! | good | twice | averages of the weights | airbench94, 12 epochs at batch 128 |
//! | best | five times | averages of the weights | airbench94, 24 epochs at batch 128, a quarter of the images erased |
//!
//! airbench94's best weights are judged by ten views of each image too, as its source does. Whatever the user says stands.
//! `docs/recipes.md` has what they cost and give on CIFAR-10.

use serde::{Deserialize, Serialize};

use crate::prepare::Choices;
use crate::recipe::{self, Facts};
use crate::source::Kind;
use crate::views::Views;

/// How much to spend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// A first look.
    Fast,
    /// A sound result.
    Good,
    /// The best that the recipe can do.
    Best,
}

/// A network that learns small colour images in few epochs, each of which costs twice a ResNet-20's.
const WIDE: &str = "airbench94";

/// Images in one of its steps: at the recipe's 64, Muon's products with its wide kernels would be a quarter of a step.
const WIDE_BATCH: usize = 128;

/// Its epochs with `good` and with `best`.
const WIDE_EPOCHS: [usize; 2] = [12, 24];

/// Share of its images that lose a rectangle with `best`, whose epochs are enough to learn whole ones by heart.
const WIDE_ERASE: f32 = 0.25;

/// Share of the old average kept from step to step, for runs of `steps`: an average over the last few per cent of the
/// run, at most over a thousand steps.
fn ema(steps: usize) -> f32 {
    let over = (steps as f32 / 20.0).clamp(10.0, 1000.0);
    1.0 - 1.0 / over
}

impl Preset {
    /// The network for images of this kind.
    pub fn model(self, kind: Kind) -> &'static str {
        match (self, kind.small) {
            (Preset::Good | Preset::Best, Some([h, w])) if kind.channels == 3 && h.min(w) >= 16 => WIDE,
            _ => recipe::model(kind),
        }
    }

    /// `choices` with what they leave open as this preset has it.
    pub fn fill(self, mut choices: Choices, facts: &Facts) -> Choices {
        let (usual, batch) = (recipe::epochs(facts), recipe::batch(facts));
        if choices.model.is_none() && self.model(facts.kind) == WIDE {
            choices.epochs.get_or_insert(WIDE_EPOCHS[usize::from(self == Preset::Best)]);
            choices.batch.get_or_insert(WIDE_BATCH.min(2 * batch).min(facts.images));
            if choices.no_augment {
                return choices;
            }
            if self == Preset::Best {
                choices.practice.erase.get_or_insert(WIDE_ERASE);
            }
            if choices.pairs.loss.is_none() {
                choices.practice.tta.get_or_insert(Views::Both);
            }
            return choices;
        }
        let epochs = *choices.epochs.get_or_insert(match self {
            Preset::Fast => usual.div_ceil(2),
            Preset::Good => usual * 2,
            Preset::Best => usual * 5,
        });
        if self != Preset::Fast {
            let batch = choices.batch.unwrap_or(batch).max(1);
            choices.practice.ema.get_or_insert(ema(epochs * facts.images / batch));
        }
        choices
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_fill_in_what_is_open_and_nothing_else() {
        let kind = Kind { channels: 3, small: None };
        let facts = Facts { kind, images: 50_000, size: [224; 2], normalised: true };
        let filled = |preset: Preset, choices: Choices| preset.fill(choices, &facts);
        assert_eq!(filled(Preset::Fast, Choices::default()).epochs, Some(5));
        assert_eq!(filled(Preset::Fast, Choices::default()).practice.ema, None);
        let best = filled(Preset::Best, Choices::default());
        assert_eq!((best.epochs, best.practice.ema), (Some(50), Some(0.999)));
        assert_eq!(filled(Preset::Good, Choices { epochs: Some(3), ..Choices::default() }).epochs, Some(3));
    }
    #[test]
    fn small_colour_images_get_a_wider_network_and_its_epochs() {
        let kind = Kind { channels: 3, small: Some([32; 2]) };
        let facts = Facts { kind, images: 50_000, size: [32; 2], normalised: true };
        assert_eq!([Preset::Fast, Preset::Good].map(|preset| preset.model(kind)), ["resnet20", "airbench94"]);
        assert_eq!(Preset::Good.model(Kind { channels: 1, ..kind }), "lenet");
        let good = Preset::Good.fill(Choices::default(), &facts);
        assert_eq!((good.epochs, good.batch, good.practice.ema), (Some(12), Some(128), None));
        assert_eq!(good.practice.tta, Some(Views::Both));
        let plain = Choices { no_augment: true, ..Choices::default() };
        assert_eq!(Preset::Good.fill(plain.clone(), &facts).practice.tta, None);
        let erases = |preset: Preset, choices: Choices| preset.fill(choices, &facts).practice.erase;
        assert_eq!([erases(Preset::Good, Choices::default()), erases(Preset::Best, plain)], [None; 2]);
        assert_eq!(erases(Preset::Best, Choices::default()), Some(0.25));
        let other = Choices { model: Some("resnet20".into()), ..Choices::default() };
        assert_eq!(Preset::Good.fill(other, &facts).epochs, Some(20));
        let few = Facts { images: 100, ..facts };
        assert!(Preset::Best.fill(Choices::default(), &few).batch.is_some_and(|batch| batch <= 100));
    }
}
