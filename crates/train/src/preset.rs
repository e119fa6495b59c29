//! How much may a run cost? Three answers that fill in what the user left open.
//!
//! | preset | epochs | besides |
//! |---|---|---|
//! | fast | half of the recipe's | |
//! | good | twice | averages of the weights |
//! | best | five times | averages of the weights |
//!
//! Whatever the user says stands. The recipe itself, without a preset, lies between fast and good.

use serde::{Deserialize, Serialize};

use crate::prepare::Choices;
use crate::recipe::{self, Facts};

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

/// Share of the old average kept from step to step, for runs of `steps`: an average over the last few per cent of the
/// run, at most over a thousand steps.
fn ema(steps: usize) -> f32 {
    let over = (steps as f32 / 20.0).clamp(10.0, 1000.0);
    1.0 - 1.0 / over
}

impl Preset {
    /// `choices` with what they leave open as this preset has it.
    pub fn fill(self, mut choices: Choices, facts: &Facts) -> Choices {
        let usual = recipe::epochs(facts);
        let epochs = choices.epochs.unwrap_or(match self {
            Preset::Fast => usual.div_ceil(2),
            Preset::Good => usual * 2,
            Preset::Best => usual * 5,
        });
        choices.epochs = Some(epochs);
        if self != Preset::Fast {
            let batch = choices.batch.unwrap_or_else(|| recipe::batch(facts)).max(1);
            choices.practice.ema.get_or_insert(ema(epochs * facts.images / batch));
        }
        choices
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Kind;

    #[test]
    fn presets_fill_in_what_is_open_and_nothing_else() {
        let kind = Kind { channels: 3, small: Some([32; 2]) };
        let facts = Facts { kind, images: 50_000, size: [32; 2], normalised: true };
        let filled = |preset: Preset, choices: Choices| preset.fill(choices, &facts);
        assert_eq!(filled(Preset::Fast, Choices::default()).epochs, Some(5));
        assert_eq!(filled(Preset::Fast, Choices::default()).practice.ema, None);
        let best = filled(Preset::Best, Choices::default());
        assert_eq!((best.epochs, best.practice.ema), (Some(50), Some(0.999)));
        assert_eq!(filled(Preset::Good, Choices { epochs: Some(3), ..Choices::default() }).epochs, Some(3));
    }
}
