//! What may be added to a recipe on the command line?

use clap::{Args, ValueEnum};
use ocellus::data::Policy;
use ocellus::train::recipe::ScheduleConstants;
use ocellus::train::{Choices, Practice, Preset, TrainPrecision};

use crate::args::{TrainPrecisionName, ViewsName};

/// Practices beyond the recipe; without any of them a run is the recipe's to the bit.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Training practice")]
pub struct PracticeArgs {
    /// How much to spend: fast (half of the usual epochs), good (twice, averaged weights), best (five times, averaged);
    /// for small colour images good and best choose another network (airbench94, 12 or 24 epochs) and --tta both
    #[arg(long, value_enum, value_name = "HOW")]
    pub preset: Option<PresetName>,
    /// Stop after this long: 90s, 20m, 1.5h; without --epochs, as many epochs as fit
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub time_limit: Option<f64>,
    /// End after this many epochs without a better one
    #[arg(long, value_name = "EPOCHS")]
    pub patience: Option<usize>,
    /// Validate and keep an average of the weights, this share of the old kept in each step, such as 0.999
    #[arg(long, value_name = "DECAY", allow_negative_numbers = true)]
    pub ema: Option<f32>,
    /// Shorten all gradients together to at most this length
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub clip_norm: Option<f32>,
    /// Bring each number of the gradients between -X and X
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub clip_value: Option<f32>,
    /// How much each class counts in the loss: auto (all classes alike), or a number per class, 1,1,2.5
    #[arg(long, value_name = "auto|LIST")]
    pub class_weights: Option<String>,
    /// Multiply the learning rate of the parameters of these names: layer1.*=0.1; may be given several times
    #[arg(long, value_name = "PATTERN=X")]
    pub lr_mult: Vec<String>,
    /// Whether biases and norms decay, too [default: true for sgd and muon, false for all others]
    #[arg(long, value_name = "BOOL")]
    pub norm_decay: Option<bool>,
    /// Epochs over which the learning rate rises
    #[arg(long, value_name = "EPOCHS")]
    pub warmup: Option<f64>,
    /// Epochs at which multi-step changes the rate: 30,60; the first alone is the period of step, and plateau's patience
    #[arg(long, value_name = "EPOCH,..", value_delimiter = ',')]
    pub milestones: Vec<f64>,
    /// What step, multi-step, plateau and (per epoch) exponential multiply the rate by; how soon inverse falls
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub gamma: Option<f64>,
    /// Power of polynomial and inverse
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub power: Option<f64>,
    /// What products are computed with; weights, sums, statistics and updates are f32 in any case [default: f32]
    #[arg(long, value_enum, value_name = "NAME", conflicts_with = "solver")]
    pub precision: Option<TrainPrecisionName>,
    /// When done, judge the best weights by the mean over several views of each validation image, too: mirrored, shifted
    /// by a sixteenth each way, or both
    #[arg(long, value_enum, value_name = "VIEWS", num_args = 0..=1, default_missing_value = "mirror", conflicts_with = "solver")]
    pub tta: Option<ViewsName>,
    /// Try rates from low to high for N steps, show the loss over the rate and suggest one; trains nothing
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "100")]
    pub lr_find: Option<usize>,
}

/// Steps of a search for a learning rate, unless told.
pub const LR_FIND_STEPS: usize = 100;

/// Options for what begins with a trained network.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Fine-tuning")]
pub struct FineArgs {
    /// Leave these parameters as they are: a pattern of names, a number of layers from the input, or trunk (all but the
    /// head); BatchNorms among them keep their statistics; may be given several times
    #[arg(long, value_name = "PATTERN|DEPTH|trunk")]
    pub freeze: Vec<String>,
    /// Keep the running statistics of every BatchNorm
    #[arg(long)]
    pub freeze_statistics: bool,
    /// Learning rate of all but the head, as a share of the head's, such as 0.1
    #[arg(long, value_name = "SHARE")]
    pub trunk_lr: Option<f32>,
}

/// Options for how images are mixed and changed.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Augmentation")]
pub struct AugmentArgs {
    /// Blend each image, and its target, with another; the shares are drawn from Beta(ALPHA, ALPHA)
    #[arg(long, value_name = "ALPHA", allow_negative_numbers = true, num_args = 0..=1, default_missing_value = "0.2")]
    pub mixup: Option<f32>,
    /// Paste a box of another image into each; with --mixup, one or the other
    #[arg(long, value_name = "ALPHA", allow_negative_numbers = true, num_args = 0..=1, default_missing_value = "1")]
    pub cutmix: Option<f32>,
    /// Change brightness, contrast, saturation (by up to X) and hue (of a full turn): 0.4 or 0.4,0.4,0.4,0.1
    #[arg(long, value_name = "X,..", value_delimiter = ',')]
    pub color_jitter: Vec<f32>,
    /// Turn by up to this many degrees each way
    #[arg(long, value_name = "DEGREES", allow_negative_numbers = true)]
    pub rotate: Option<f32>,
    /// Share of the images that lose a rectangle
    #[arg(long, value_name = "SHARE", num_args = 0..=1, default_missing_value = "0.25")]
    pub erase: Option<f32>,
    /// RandAugment: so many changes of this magnitude of 30
    #[arg(long, value_name = "N,M", value_delimiter = ',', num_args = 0..=2, default_missing_values = ["2", "9"])]
    pub rand_augment: Vec<u32>,
    /// AutoAugment's learned policy
    #[arg(long, value_enum, value_name = "POLICY")]
    pub auto_augment: Option<PolicyName>,
}

/// AutoAugment's policies by the data that they were learned on.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum PolicyName {
    /// Small colour images.
    Cifar10,
    /// Photographs.
    Imagenet,
}

/// Presets by name.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum PresetName {
    /// A first look.
    Fast,
    /// A sound result.
    Good,
    /// The best that the recipe can do.
    Best,
}

impl PracticeArgs {
    /// `choices` with what was said here.
    pub fn add_to(&self, choices: Choices, fine: &FineArgs, augment: &AugmentArgs) -> Choices {
        Choices {
            preset: self.preset.map(|name| match name {
                PresetName::Fast => Preset::Fast,
                PresetName::Good => Preset::Good,
                PresetName::Best => Preset::Best,
            }),
            time_limit: self.time_limit,
            norm_decay: self.norm_decay,
            schedule_constants: ScheduleConstants {
                milestones: self.milestones.clone(),
                gamma: self.gamma,
                power: self.power,
            },
            practice: Practice {
                ema: self.ema,
                clip_norm: self.clip_norm,
                clip_value: self.clip_value,
                patience: self.patience,
                class_weights: self.class_weights.clone(),
                lr_mult: self.lr_mult.clone(),
                freeze: fine.freeze.clone(),
                freeze_statistics: fine.freeze_statistics,
                trunk_lr: fine.trunk_lr,
                mixup: augment.mixup,
                cutmix: augment.cutmix,
                color_jitter: augment.color_jitter.clone(),
                rotate: augment.rotate,
                erase: augment.erase,
                rand_augment: augment.rand_augment.clone(),
                auto_augment: augment.auto_augment.map(|name| match name {
                    PolicyName::Cifar10 => Policy::Cifar10,
                    PolicyName::Imagenet => Policy::ImageNet,
                }),
                warmup: self.warmup,
                precision: self.precision.map(|name| match name {
                    TrainPrecisionName::F32 => TrainPrecision::F32,
                    TrainPrecisionName::Bf16 => TrainPrecision::Bf16,
                }),
                tta: self.tta.map(ViewsName::views),
            },
            ..choices
        }
    }
}

/// Images in a step: a number, or `auto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchSize {
    /// So many.
    Of(usize),
    /// As many as memory allows, up to the recipe's.
    Auto,
}

impl std::str::FromStr for BatchSize {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(BatchSize::Auto),
            _ => text.parse().map(BatchSize::Of).map_err(|_| "give a whole number, or auto".to_string()),
        }
    }
}

/// `90s`, `20m`, `1.5h`, or seconds.
fn seconds(text: &str) -> Result<f64, String> {
    let (number, unit) = match text.char_indices().last() {
        Some((at, 's')) => (&text[..at], 1.0),
        Some((at, 'm')) => (&text[..at], 60.0),
        Some((at, 'h')) => (&text[..at], 3600.0),
        _ => (text, 1.0),
    };
    match number.parse::<f64>() {
        Ok(number) if number.is_finite() && number > 0.0 => Ok(number * unit),
        _ => Err("give a time such as 90s, 20m or 1.5h".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!((seconds("90"), seconds("90s")), (Ok(90.0), Ok(90.0)));
        assert_eq!((seconds("20m"), seconds("1.5h")), (Ok(1200.0), Ok(5400.0)));
        for wrong in ["", "h", "-3s", "nan", "1d", "infh"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_batch_is_a_number_or_auto() {
        assert_eq!("64".parse(), Ok(BatchSize::Of(64)));
        assert_eq!("auto".parse(), Ok(BatchSize::Auto));
        assert!("many".parse::<BatchSize>().is_err());
    }
}
