//! From what the user said to a run that is fully decided: data opened, network built, every setting resolved.

use ocellus_data::{Companions, Fit, Preprocess, statistics};
use ocellus_graph::Graph;
use serde::{Deserialize, Serialize};

use crate::TrainError;
use crate::adaptive::Rule;
use crate::config::{BUILT_IN, TrainConfig};
use crate::handling::{Handling, crop_note};
use crate::optimiser::Optimiser;
use crate::origin::Origin;
use crate::pairs::{PairChoices, PairLoss, Pairs};
use crate::practice::Practice;
use crate::preset::Preset;
use crate::recipe::{self, Facts, OptimiserKind, ScheduleConstants, ScheduleKind};
use crate::schedule::Schedule;
use crate::source::{Images, Source, kind_of};

/// What the user said; whatever is `None` is decided by the data and [`crate::recipe`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choices {
    /// Path of the data; the built-in digits if absent.
    pub data: Option<String>,
    /// A network's name in the zoo, or a model of this program to begin with: its network, with a head for the data's
    /// classes, its weights and its preprocessing.
    pub model: Option<String>,
    /// Times that every image is seen.
    pub epochs: Option<usize>,
    /// Images in a step.
    pub batch: Option<usize>,
    /// Parts a batch is computed in.
    pub accumulate: Option<usize>,
    /// Highest learning rate.
    pub lr: Option<f64>,
    /// Weight decay of either optimiser.
    pub weight_decay: Option<f32>,
    /// SGD's momentum.
    pub momentum: Option<f32>,
    /// Which schedule.
    pub schedule: Option<ScheduleKind>,
    /// Share of the target spread evenly.
    pub label_smoothing: Option<f32>,
    /// Height and width of the network's input.
    pub size: Option<u32>,
    /// Show training images as they are.
    pub no_augment: bool,
    /// Seed of everything random; 0 if absent.
    pub seed: Option<u64>,
    /// Share of the images that validate, where the data does not say.
    pub val_fraction: Option<f64>,
    /// Seconds after which the process stops training; without `epochs`, as many epochs as fit into it.
    pub time_limit: Option<f64>,
    /// The recipe's batch, halved until a step fits into so many bytes; of no meaning with `batch`.
    pub batch_bytes: Option<u64>,
    /// How much to spend.
    pub preset: Option<Preset>,
    /// Whether biases and norms decay; by optimiser if absent.
    pub norm_decay: Option<bool>,
    /// Seconds between checkpoints.
    pub checkpoint_seconds: Option<f64>,
    /// Steps between checkpoints.
    pub checkpoint_steps: Option<u64>,
    /// Which optimiser.
    pub optimiser: Option<OptimiserKind>,
    /// The schedule's constants.
    #[serde(default)]
    pub schedule_constants: ScheduleConstants,
    /// What is added to the recipe.
    #[serde(default)]
    pub practice: Practice,
    /// What becomes of images of another shape than the network's input.
    pub fit: Option<Fit>,
    /// What to leave out of the data, and how much of it may be bad.
    #[serde(default)]
    pub handling: Handling,
    /// What is to be learned of pairs or triplets of images.
    #[serde(default)]
    pub pairs: PairChoices,
}

impl Choices {
    /// These choices, and where they leave something open, `other`'s.
    pub fn or(self, other: Choices) -> Choices {
        Choices {
            data: self.data.or(other.data),
            model: self.model.or(other.model),
            epochs: self.epochs.or(other.epochs),
            batch: self.batch.or(other.batch),
            accumulate: self.accumulate.or(other.accumulate),
            lr: self.lr.or(other.lr),
            optimiser: self.optimiser.or(other.optimiser),
            weight_decay: self.weight_decay.or(other.weight_decay),
            momentum: self.momentum.or(other.momentum),
            schedule: self.schedule.or(other.schedule),
            label_smoothing: self.label_smoothing.or(other.label_smoothing),
            size: self.size.or(other.size),
            no_augment: self.no_augment || other.no_augment,
            seed: self.seed.or(other.seed),
            val_fraction: self.val_fraction.or(other.val_fraction),
            time_limit: self.time_limit.or(other.time_limit),
            batch_bytes: self.batch_bytes.or(other.batch_bytes),
            preset: self.preset.or(other.preset),
            norm_decay: self.norm_decay.or(other.norm_decay),
            schedule_constants: match self.schedule_constants == ScheduleConstants::default() {
                true => other.schedule_constants,
                false => self.schedule_constants,
            },
            practice: self.practice.or(other.practice),
            checkpoint_seconds: self.checkpoint_seconds.or(other.checkpoint_seconds),
            checkpoint_steps: self.checkpoint_steps.or(other.checkpoint_steps),
            fit: self.fit.or(other.fit),
            handling: self.handling.or(other.handling),
            pairs: self.pairs.or(other.pairs),
        }
    }
}

/// A run that may start.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// Every setting.
    pub config: TrainConfig,
    /// The data.
    pub images: Images,
    /// The network, for one image.
    pub net: Graph,
    /// What the recipe decided by, if it did.
    pub(crate) facts: Option<Facts>,
}

impl Prepared {
    /// Opens the data and decides whatever `choices` leaves open.
    ///
    /// Errors: the data cannot be read or is empty, the network does not exist or does not take such images, a
    /// setting is impossible, or the batch is larger than the data.
    pub fn new(choices: &Choices) -> Result<Self, TrainError> {
        let start = choices.model.as_deref().map(Origin::of).transpose()?;
        let source = Source {
            data: choices.data.clone().unwrap_or_else(|| BUILT_IN.into()),
            val_fraction: choices.val_fraction.unwrap_or(0.2),
            seed: choices.seed.unwrap_or(0),
            handling: choices.handling.clone(),
        };
        let images = source.open(false)?;
        require_images(&source.data, &images)?;
        let mut kind = kind_of(&images.train)?;
        let usual = || choices.preset.map_or_else(|| recipe::model(kind), |preset| preset.model(kind));
        let start = start.map_or_else(|| Origin::of(usual()), Ok)?;
        kind.channels = start.channels().unwrap_or(kind.channels);
        let size = match (choices.size, kind.small) {
            (Some(side), _) => [side; 2],
            (None, Some(size)) if start.channels().is_none() => size,
            _ => start.size(),
        };
        let pairs = choices.pairs.resolve(start.pairs())?;
        let net = start.network(
            images.train.classes().len(),
            pairs.as_ref(),
            [kind.channels, size[0] as usize, size[1] as usize],
        )?;
        let normalised = recipe::is_normalised(&net);
        let facts = Facts { kind, images: images.train.len(), size, normalised };
        let mut config =
            TrainConfig { pairs, ..resolve(choices, source, start.name().to_string(), &facts, &images)? };
        config.lr *= pairs_share(choices, pairs, &facts);
        if let Some(known) = start.preprocess()? {
            config.preprocess = Preprocess { size, fit: choices.fit.unwrap_or(known.fit), ..known };
        }
        let mut images = images;
        images.notes.extend(crop_note(&config.preprocess, &images.train));
        images.notes.extend(untrained_note(&config.practice, start.has_weights()));
        if let ([only], None) = (&images.train.classes()[..], pairs) {
            images.notes.push(format!("{only} is the only class: there is nothing to tell apart"));
        }
        Prepared::checked(config, images, net, Some(facts))
    }

    /// Opens the data of a configuration that was written down.
    pub fn from_config(config: TrainConfig, split: Option<String>) -> Result<Self, TrainError> {
        let handling = config.handling.clone();
        let handling = Handling { split: split.or(handling.split), ..handling };
        let source = Source {
            data: config.data.clone(),
            val_fraction: config.val_fraction,
            seed: config.seed,
            handling,
        };
        let images = source.open(false)?;
        require_images(&config.data, &images)?;
        let [height, width] = config.preprocess.size.map(|side| side as usize);
        let start = Origin::of(&config.model)?;
        let input = [config.preprocess.channels, height, width];
        let net = start.network(config.classes.len(), config.pairs.as_ref(), input)?;
        Prepared::checked(config, images, net, None)
    }

    /// Decides anew, for `choices` that say more than those before.
    pub(crate) fn decide(&mut self, choices: &Choices) -> Result<(), TrainError> {
        let (Some(facts), config) = (&self.facts, &self.config) else { return Ok(()) };
        let (data, val_fraction, seed) = (config.data.clone(), config.val_fraction, config.seed);
        let source = Source { data, val_fraction, seed, handling: config.handling.clone() };
        let preprocess = config.preprocess.clone();
        let decided = resolve(choices, source, config.model.clone(), facts, &self.images)?;
        let pairs = self.config.pairs;
        let lr = decided.lr * pairs_share(choices, pairs, facts);
        self.config = TrainConfig { preprocess, pairs, lr, ..decided };
        self.config.validate()
    }

    fn checked(
        config: TrainConfig,
        images: Images,
        net: Graph,
        facts: Option<Facts>,
    ) -> Result<Self, TrainError> {
        config.validate()?;
        config.practice.shape(&net)?;
        if config.pairs.is_some() {
            // Whether pairs can be made at all should not be found out after an epoch.
            [&images.train, &images.val]
                .into_iter()
                .try_for_each(|split| Companions::of(split).map(|_| ()))?;
        }
        if config.batch > images.train.len() {
            let there = images.train.len();
            return Err(TrainError::setting(format!(
                "a batch of {} images is larger than the {there} training images in {}; use --batch {there} or less",
                config.batch, config.data
            )));
        }
        Ok(Prepared { config, images, net, facts })
    }
}

fn resolve(
    choices: &Choices,
    source: Source,
    model: String,
    facts: &Facts,
    images: &Images,
) -> Result<TrainConfig, TrainError> {
    let choices =
        &choices.preset.map_or_else(|| choices.clone(), |preset| preset.fill(choices.clone(), facts));
    let kind = choices.optimiser.unwrap_or_else(|| recipe::optimiser_kind(facts));
    let accumulate = choices.accumulate.unwrap_or(1);
    let batch = choices.batch.unwrap_or_else(|| recipe::batch(facts).next_multiple_of(accumulate.max(1)));
    let epochs = choices.epochs.unwrap_or_else(|| recipe::epochs(facts));
    let mut preprocess = recipe::preprocess(facts);
    preprocess.fit = choices.fit.unwrap_or(preprocess.fit);
    preprocess.validate()?;
    let (mean, std) = statistics(&images.train, preprocess.channels, source.seed)?;
    preprocess = preprocess.normalised(mean, std);
    let augment = if choices.no_augment { Default::default() } else { recipe::augment(facts, epochs) };
    Ok(TrainConfig {
        data: source.data,
        handling: source.handling,
        val_fraction: source.val_fraction,
        model,
        classes: images.train.classes().to_vec(),
        epochs,
        batch,
        accumulate,
        lr: choices.lr.unwrap_or_else(|| recipe::rate(kind, facts, batch)),
        label_smoothing: choices.label_smoothing.unwrap_or_else(|| recipe::smoothing(facts)),
        seed: source.seed,
        checkpoint_seconds: choices.checkpoint_seconds.unwrap_or(60.0),
        checkpoint_steps: choices.checkpoint_steps.unwrap_or(0),
        schedule: schedule_of(choices, kind, epochs)?,
        optimiser: with_constants(recipe::optimiser(kind), choices)?,
        preprocess,
        augment,
        pairs: None,
        practice: choices.practice.clone().settled(),
        time_limit: choices.time_limit,
    })
}

/// What is frozen, or learns slowly, should have learned something before.
fn untrained_note(practice: &Practice, has_weights: bool) -> Option<String> {
    let option = match (practice.freeze.is_empty(), practice.trunk_lr) {
        (false, _) => "--freeze",
        (true, Some(share)) if share < 1.0 => "--trunk-lr",
        _ => return None,
    };
    (!has_weights)
        .then(|| format!("{option} holds random weights back; begin with trained ones: --weights FILE"))
}

/// The share of the recipe's rate where pairs are learned: less where several losses pull at the same embedding.
fn pairs_share(choices: &Choices, pairs: Option<Pairs>, facts: &Facts) -> f64 {
    let Some(pairs) = pairs.filter(|_| choices.lr.is_none()) else { return 1.0 };
    let optimiser = choices.optimiser.unwrap_or_else(|| recipe::optimiser_kind(facts));
    let is_plain = optimiser == OptimiserKind::Sgd && !facts.normalised;
    match (pairs.joint_weight, pairs.loss) {
        (Some(_), _) => recipe::JOINT_SHARE,
        (None, PairLoss::Contrastive) if pairs.unit_length && is_plain => recipe::UNIT_PAIRS_SHARE,
        _ => 1.0,
    }
}

/// The recipe's schedule with the constants that the user chose.
fn schedule_of(choices: &Choices, optimiser: OptimiserKind, epochs: usize) -> Result<Schedule, TrainError> {
    let kind = choices.schedule.unwrap_or(ScheduleKind::OneCycle);
    let mut schedule = recipe::schedule(kind, optimiser, epochs);
    choices.schedule_constants.apply(&mut schedule)?;
    match (&mut schedule, choices.practice.warmup) {
        (Schedule::Cosine { warmup_epochs, .. }, Some(epochs)) => *warmup_epochs = epochs,
        (Schedule::OneCycle { rise, .. }, Some(warmup)) => {
            *rise = (warmup / epochs.max(1) as f64).clamp(0.0, 1.0)
        }
        _ => {}
    }
    Ok(schedule)
}

/// The recipe's optimiser with the constants that the user chose.
fn with_constants(mut optimiser: Optimiser, choices: &Choices) -> Result<Optimiser, TrainError> {
    let decay = optimiser.weight_decay_mut();
    *decay = choices.weight_decay.unwrap_or(*decay);
    let spares = optimiser.spares_norms_mut();
    *spares = choices.norm_decay.map_or(*spares, |decays| !decays);
    match (&mut optimiser, choices.momentum) {
        (Optimiser::Sgd { momentum, nesterov, .. }, Some(chosen)) => {
            (*momentum, *nesterov) = (chosen, *nesterov && chosen > 0.0);
        }
        (
            Optimiser::Muon { momentum, .. } | Optimiser::Adaptive { rule: Rule::Lars, momentum, .. },
            Some(chosen),
        ) => *momentum = chosen,
        (Optimiser::AdamW { .. } | Optimiser::Adaptive { .. }, Some(_)) => {
            return Err(TrainError::setting(format!(
                "{} has no --momentum; leave it away or use --optimizer sgd, lars or muon",
                OptimiserKind::of(&optimiser).name()
            )));
        }
        (_, None) => {}
    }
    Ok(optimiser)
}

fn require_images(data: &str, images: &Images) -> Result<(), TrainError> {
    if images.train.is_empty() {
        return Err(TrainError::setting(format!(
            "{data} holds no training images, only test images; `ocellus val` measures a trained run on them"
        )));
    }
    if images.val.is_empty() {
        return Err(TrainError::setting(format!(
            "{data} holds no validation images; put some into val/CLASS folders beside train/"
        )));
    }
    Ok(())
}
