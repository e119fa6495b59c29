//! What exactly was this run told to do? Every setting, resolved: nothing is left to a default of tomorrow's program.

use std::path::Path;

use ocellus_data::{Augment, Grouping, Preprocess};
use serde::{Deserialize, Serialize};

use crate::TrainError;
use crate::handling::Handling;
use crate::optimiser::Optimiser;
use crate::pairs::Pairs;
use crate::practice::{Practice, TrainPrecision};
use crate::run_folder::RunFolder;
use crate::schedule::{Length, Schedule};
use crate::stepper::StepSetup;

/// The data set that comes with the program.
pub const BUILT_IN: &str = "built-in:digits";

/// All settings of a run, as `config.toml` holds them.
///
/// The defaults given here are those of [`crate::Choices`], which makes a configuration from what the user said and
/// what the data is like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Path of the data, or [`BUILT_IN`] (the default).
    pub data: String,
    /// Share of the images that validate, 0 to 1, where the data does not say; default 0.2.
    pub val_fraction: f64,
    /// The network's name in the zoo, or a model to begin with; default by the data's size and channels.
    pub model: String,
    /// Class names, by class index.
    pub classes: Vec<String>,
    /// Times that every training image is seen; default 10 (30 for the built-in digits).
    pub epochs: usize,
    /// Images in an optimiser step; default 128, less for large images or few images.
    pub batch: usize,
    /// Parts that a batch is computed in, to save memory; divides `batch`; default 1.
    pub accumulate: usize,
    /// Highest learning rate; default by optimiser, batch and network.
    pub lr: f64,
    /// Share of the target spread evenly over the classes, 0 up to but not 1.
    pub label_smoothing: f32,
    /// Seed of initial weights, order, augmentation and dropout; default 0.
    pub seed: u64,
    /// A checkpoint is written when this many seconds have passed since the last; default 60.
    pub checkpoint_seconds: f64,
    /// And after this many steps, if above 0; default 0. Each epoch ends with one in any case.
    pub checkpoint_steps: u64,
    /// Seconds after which a process stops training; default none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_limit: Option<f64>,
    /// How the learning rate moves.
    pub schedule: Schedule,
    /// What updates the parameters.
    pub optimiser: Optimiser,
    /// From an image to the network's input.
    pub preprocess: Preprocess,
    /// Random changes to training images.
    pub augment: Augment,
    /// What is learned of pairs or triplets of images; without it the network classifies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pairs: Option<Pairs>,
    /// What the user added to the recipe.
    #[serde(default, skip_serializing_if = "Practice::is_default")]
    pub practice: Practice,
    /// What to leave out of the data, and how much of it may be bad.
    #[serde(default, skip_serializing_if = "Handling::is_default")]
    pub handling: Handling,
}

impl TrainConfig {
    /// Checks every setting that may come from a file or a command line.
    pub fn validate(&self) -> Result<(), TrainError> {
        let fault = |message: String| Err(TrainError::Setting(message));
        for (name, value) in [("epochs", self.epochs), ("batch", self.batch), ("accumulate", self.accumulate)]
        {
            if value == 0 {
                return fault(format!("{name} must be at least 1, got 0"));
            }
        }
        if !self.batch.is_multiple_of(self.accumulate) {
            return fault(format!(
                "a batch of {} cannot be computed in {} equal parts; choose --accumulate to divide --batch",
                self.batch, self.accumulate
            ));
        }
        if !(self.lr.is_finite() && self.lr > 0.0) {
            return fault(format!("the learning rate must be above 0, got {}", self.lr));
        }
        if !(0.0..1.0).contains(&self.label_smoothing) {
            return fault(format!("label smoothing must lie between 0 and 1, got {}", self.label_smoothing));
        }
        if self.checkpoint_seconds.is_nan() || self.checkpoint_seconds <= 0.0 {
            return fault(format!("checkpoint seconds must be above 0, got {}", self.checkpoint_seconds));
        }
        if i64::try_from(self.seed).is_err() {
            return fault(format!("the seed must be below 2^63, got {}", self.seed));
        }
        if let Some(seconds) = self.time_limit.filter(|s| !(s.is_finite() && *s > 0.0)) {
            return fault(format!("the time limit must be above 0 seconds, got {seconds}"));
        }
        self.optimiser.validate()?;
        self.schedule.validate()?;
        self.practice.validate(self.classes.len())?;
        if let Some(pairs) = &self.pairs {
            pairs.validate()?;
            if self.practice.is_soft() {
                return fault(
                    "--mixup, --cutmix and --class-weights are for classes alone; leave them away with --loss".into(),
                );
            }
            if self.practice.tta.is_some() {
                return fault("--tta judges classes, and --loss trains pairs; leave one of them away".into());
            }
        }
        self.preprocess.validate()?;
        Ok(self.augment.validate()?)
    }

    /// The optimiser step, its batch cut into parts.
    pub fn step(&self) -> StepSetup {
        StepSetup {
            parts: self.accumulate,
            smoothing: self.label_smoothing,
            clip: self.practice.clip(),
            ema: self.practice.ema,
            soft: self.practice.is_soft(),
            frozen_statistics: self.practice.freeze_statistics,
            bf16: self.practice.precision == Some(TrainPrecision::Bf16),
            pairs: self.pairs,
            ..StepSetup::new(self.batch / self.accumulate, self.optimiser)
        }
    }

    /// How many images go into the network together.
    pub fn grouping(&self) -> Grouping {
        self.pairs.map_or(Grouping::Single, |pairs| pairs.grouping())
    }

    /// The run's length on `images` training images, each of which leads a pair or triplet where those are trained; a last
    /// batch that is not full is left out.
    pub fn length(&self, images: usize) -> Length {
        Length { steps_per_epoch: images / self.batch, epochs: self.epochs }
    }

    /// CRC-32 of the settings that numbers depend on: all but where the data lies and when checkpoints are written.
    pub fn identity(&self) -> Result<u32, TrainError> {
        let same = TrainConfig {
            data: String::new(),
            checkpoint_seconds: 1.0,
            checkpoint_steps: 0,
            time_limit: None,
            handling: Handling::default(),
            ..self.clone()
        };
        Ok(crc32fast::hash(same.to_toml()?.as_bytes()))
    }

    /// The text of `config.toml`.
    pub fn to_toml(&self) -> Result<String, TrainError> {
        toml::to_string(self)
            .map_err(|cause| TrainError::setting(format!("the settings cannot be written down: {cause}")))
    }

    /// Reads a `config.toml`.
    pub fn from_toml(text: &str, path: &Path) -> Result<Self, TrainError> {
        let config: TrainConfig = toml::from_str(text).map_err(|cause| {
            let cause = cause.message().to_string();
            TrainError::setting(format!("{}: {cause}; restore the file or start a new run", path.display()))
        })?;
        config.validate()?;
        Ok(config)
    }

    /// The settings of the run in `run`.
    pub fn of_run(run: &RunFolder) -> Result<Self, TrainError> {
        let path = run.config();
        let text =
            std::fs::read_to_string(&path).map_err(|cause| TrainError::io(&path, "cannot be read", cause))?;
        TrainConfig::from_toml(&text, &path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocellus_data::AugmentKind;

    fn sample() -> TrainConfig {
        TrainConfig {
            data: BUILT_IN.into(),
            val_fraction: 0.2,
            model: "digits".into(),
            classes: vec!["a \"b\"".into(), "c".into()],
            epochs: 3,
            batch: 32,
            accumulate: 2,
            lr: 0.1,
            label_smoothing: 0.05,
            seed: 7,
            checkpoint_seconds: 60.0,
            checkpoint_steps: 0,
            schedule: Schedule::one_cycle(),
            optimiser: Optimiser::sgd(5e-4),
            preprocess: Preprocess::new(1, [8, 8]),
            augment: Augment { kind: AugmentKind::PadCrop { pad: 1 }, flip: false },
            pairs: None,
            practice: Practice::default(),
            time_limit: None,
            handling: Handling { max_bad: Some(0.5), ..Handling::default() },
        }
    }

    #[test]
    fn toml_comes_back_the_same() {
        let practice = Practice {
            ema: Some(0.99),
            patience: Some(3),
            class_weights: Some("auto".into()),
            lr_mult: vec!["a.*=0.5".into()],
            freeze: vec!["1".into(), "b".into()],
            precision: Some(TrainPrecision::Bf16),
            ..Practice::default()
        };
        let lars = Optimiser::adaptive(crate::adaptive::Rule::Lars, 0.0);
        let marks = Schedule::MultiStep { marks: vec![1.0, 2.5], factor: 0.1 };
        for optimiser in [Optimiser::sgd(5e-4), Optimiser::adamw(0.01), Optimiser::muon(0.01), lars] {
            for schedule in [Schedule::Constant, Schedule::cosine(1.0), Schedule::one_cycle(), marks.clone()]
            {
                for kind in [AugmentKind::None, AugmentKind::random_resized_crop()] {
                    let augment = Augment { kind, flip: true };
                    let practice = practice.clone();
                    let config =
                        TrainConfig { optimiser, schedule: schedule.clone(), augment, practice, ..sample() };
                    let text = config.to_toml().unwrap();
                    assert_eq!(TrainConfig::from_toml(&text, Path::new("c")).unwrap(), config, "{text}");
                }
            }
        }
    }

    #[test]
    fn pairs_come_back_too() {
        let said = crate::PairChoices { loss: Some(crate::PairLoss::Joint), ..Default::default() };
        let config = TrainConfig { pairs: said.resolve(None).unwrap(), ..sample() };
        let text = config.to_toml().unwrap();
        assert_eq!(TrainConfig::from_toml(&text, Path::new("c")).unwrap(), config, "{text}");
        assert_ne!(config.identity().unwrap(), sample().identity().unwrap());
        let practice = Practice { mixup: Some(0.2), ..Practice::default() };
        let mixed = TrainConfig { practice, ..config };
        assert!(mixed.validate().unwrap_err().to_string().contains("--mixup"));
    }

    #[test]
    fn identity_is_about_numbers_only() {
        let config = sample();
        let moved = TrainConfig { data: "elsewhere".into(), checkpoint_steps: 5, ..config.clone() };
        assert_eq!(config.identity().unwrap(), moved.identity().unwrap());
        let other = TrainConfig { lr: 0.2, ..config.clone() };
        assert_ne!(config.identity().unwrap(), other.identity().unwrap());
    }

    #[test]
    fn impossible_settings_are_named_with_their_value() {
        let refusal = |config: TrainConfig| config.validate().unwrap_err().to_string();
        assert!(refusal(TrainConfig { accumulate: 5, ..sample() }).contains("32"));
        assert!(refusal(TrainConfig { lr: f64::NAN, ..sample() }).contains("NaN"));
        assert!(refusal(TrainConfig { epochs: 0, ..sample() }).contains("epochs"));
        assert!(refusal(TrainConfig { label_smoothing: 1.0, ..sample() }).contains("smoothing"));
        assert!(refusal(TrainConfig { seed: u64::MAX, ..sample() }).contains("seed"));
        assert!(sample().validate().is_ok());
    }

    #[test]
    fn a_misspelt_setting_is_refused() {
        let text = sample().to_toml().unwrap().replace("epochs", "epohcs");
        let sentence =
            TrainConfig::from_toml(&text, Path::new("runs/x/config.toml")).unwrap_err().to_string();
        assert!(sentence.contains("epohcs") && sentence.contains("runs/x"), "{sentence}");
    }
}
