//! What does a run do where the user did not say? The defaults, by network and data.
//!
//! | network | optimiser | peak rate | source |
//! |---|---|---|---|
//! | with normalisation, small images | Muon 0.95, decay 0.02; SGD at 5 times the rate for the rest | 0.03 at batch 64 | found by trial on CIFAR-10: `docs/recipes.md` |
//! | with normalisation | SGD, Nesterov 0.9, decay 5e-4 | 0.2 at batch 128 | one-cycle rates of Smith and Topin 2018; decay of He et al. 2016 |
//! | without | SGD, Nesterov 0.9, decay 5e-4 | 0.04 at batch 128 | found by trial on MNIST |
//! | any | AdamW, decay 0.01 | 0.002 at batch 128 | |
//! | any | Adam, RMSProp; AdaGrad, LAMB; AdaDelta; LARS | 0.001; 0.01; 1; 4 at batch 128 | their papers |
//!
//! SGD's rate is in proportion to the batch (Goyal et al. 2017, section 2.1), AdamW's and Muon's to its root.

use ocellus_data::{Augment, AugmentKind, Preprocess};
use ocellus_graph::{Graph, Op};
use serde::{Deserialize, Serialize};

use crate::TrainError;
use crate::adaptive::Rule;
use crate::optimiser::Optimiser;
use crate::schedule::Schedule;
use crate::source::Kind;

/// The batch that rates are given for.
const REFERENCE_BATCH: f64 = 128.0;

/// Joint training adds two losses of classes to that of pairs; at the full rate embeddings of small digits ran away.
pub(crate) const JOINT_SHARE: f64 = 0.2;

/// Distances of embeddings of length 1 are bounded, and so are their gradients: networks without normalisation take a higher
/// rate. Found by trial on MNIST: `docs/pairs.md`.
pub(crate) const UNIT_PAIRS_SHARE: f64 = 2.5;

/// Which optimiser, its constants left to the recipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OptimiserKind {
    /// SGD with Nesterov momentum.
    Sgd,
    /// AdamW.
    AdamW,
    /// Muon for convolution kernels, Nesterov SGD for the rest.
    Muon,
    /// An adaptive rule.
    Adaptive(Rule),
}

impl OptimiserKind {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            OptimiserKind::Sgd => "sgd",
            OptimiserKind::AdamW => "adamw",
            OptimiserKind::Muon => "muon",
            OptimiserKind::Adaptive(Rule::Adam) => "adam",
            OptimiserKind::Adaptive(Rule::RmsProp) => "rmsprop",
            OptimiserKind::Adaptive(Rule::AdaGrad) => "adagrad",
            OptimiserKind::Adaptive(Rule::AdaDelta) => "adadelta",
            OptimiserKind::Adaptive(Rule::Lars) => "lars",
            OptimiserKind::Adaptive(Rule::Lamb) => "lamb",
        }
    }

    /// The kind of an optimiser with constants.
    pub fn of(optimiser: &Optimiser) -> Self {
        match optimiser {
            Optimiser::Sgd { .. } => OptimiserKind::Sgd,
            Optimiser::AdamW { .. } => OptimiserKind::AdamW,
            Optimiser::Muon { .. } => OptimiserKind::Muon,
            Optimiser::Adaptive { rule, .. } => OptimiserKind::Adaptive(*rule),
        }
    }
}

/// Which schedule, its constants left to the recipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ScheduleKind {
    /// See [`Schedule::Constant`].
    Constant,
    /// See [`Schedule::Cosine`].
    Cosine,
    /// See [`Schedule::OneCycle`].
    OneCycle,
    /// See [`Schedule::Step`].
    Step,
    /// See [`Schedule::MultiStep`].
    MultiStep,
    /// See [`Schedule::Exponential`].
    Exponential,
    /// See [`Schedule::Polynomial`].
    Polynomial,
    /// See [`Schedule::Inverse`].
    Inverse,
    /// See [`Schedule::Plateau`].
    Plateau,
}

impl ScheduleKind {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            ScheduleKind::Constant => "constant",
            ScheduleKind::Cosine => "cosine",
            ScheduleKind::OneCycle => "one-cycle",
            ScheduleKind::Step => "step",
            ScheduleKind::MultiStep => "multi-step",
            ScheduleKind::Exponential => "exponential",
            ScheduleKind::Polynomial => "polynomial",
            ScheduleKind::Inverse => "inverse",
            ScheduleKind::Plateau => "plateau",
        }
    }
}

/// A schedule's constants, where the user chose them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScheduleConstants {
    /// Epochs at which a multi-step changes; the first alone is the period of a step, and the patience of a plateau.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub milestones: Vec<f64>,
    /// The factor of each change; of an inverse, how soon it falls.
    pub gamma: Option<f64>,
    /// The power of a polynomial or an inverse.
    pub power: Option<f64>,
}

impl ScheduleConstants {
    /// Those given to `schedule`, all else as the recipe has it.
    ///
    /// Errors: a constant that it has no use for.
    pub fn apply(&self, schedule: &mut Schedule) -> Result<(), TrainError> {
        let name = schedule.name();
        let mut left = self.clone();
        let mut marks = std::mem::take(&mut left.milestones);
        let mut first = || if marks.is_empty() { None } else { Some(marks.remove(0)) };
        match schedule {
            Schedule::Step { every, factor } => {
                *every = first().unwrap_or(*every);
                *factor = left.gamma.take().unwrap_or(*factor);
            }
            Schedule::MultiStep { marks: own, factor } => {
                if !marks.is_empty() {
                    *own = std::mem::take(&mut marks);
                }
                *factor = left.gamma.take().unwrap_or(*factor);
            }
            Schedule::Exponential { factor } => *factor = left.gamma.take().unwrap_or(*factor),
            Schedule::Polynomial { power } => *power = left.power.take().unwrap_or(*power),
            Schedule::Inverse { gamma, power } => {
                *gamma = left.gamma.take().unwrap_or(*gamma);
                *power = left.power.take().unwrap_or(*power);
            }
            Schedule::Plateau { factor, patience } => {
                *patience = first().map_or(*patience, |epochs| epochs.max(0.0) as usize);
                *factor = left.gamma.take().unwrap_or(*factor);
            }
            Schedule::Constant | Schedule::Cosine { .. } | Schedule::OneCycle { .. } => {}
        }
        let unused = [
            ("--milestones", !marks.is_empty()),
            ("--gamma", left.gamma.is_some()),
            ("--power", left.power.is_some()),
        ];
        match unused.iter().find(|(_, given)| *given) {
            Some((option, _)) => Err(TrainError::setting(format!(
                "{option} means nothing to the schedule {name}; leave it away, or choose another --schedule"
            ))),
            None => schedule.validate(),
        }
    }
}

/// What the defaults depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// What the training images are like.
    pub kind: Kind,
    /// How many there are.
    pub images: usize,
    /// Height and width of the network's input.
    pub size: [u32; 2],
    /// Whether the network normalises its activations.
    pub normalised: bool,
}

/// Whether a network has a normalisation that lets it take high learning rates.
pub fn is_normalised(net: &Graph) -> bool {
    net.nodes().iter().any(|node| matches!(node.op, Op::BatchNorm(_) | Op::Norm(_)))
}

/// The network for images of this kind.
pub fn model(kind: Kind) -> &'static str {
    match (kind.small, kind.channels) {
        (Some([h, w]), 1) if h.max(w) < 16 => "digits",
        (Some(_), 1) => "lenet",
        (Some(_), _) => "resnet20",
        (None, _) => "resnet18",
    }
}

/// Images in a step: 128 (64 where Muon trains, 32 for large images), but no more than leaves sixteen steps in an epoch.
pub fn batch(facts: &Facts) -> usize {
    let usual = match (facts.kind.small, optimiser_kind(facts)) {
        (None, _) => 32,
        (Some(_), OptimiserKind::Muon) => 64,
        (Some(_), _) => 128,
    };
    let few = (facts.images / 16).max(facts.images.min(8)).max(1);
    if few >= usual { usual } else { 1 << few.ilog2() }
}

/// Times that each image is seen.
pub fn epochs(facts: &Facts) -> usize {
    if facts.images < 5_000 { 30 } else { 10 }
}

/// What updates the weights. Muon costs a few products of each kernel with itself: little beside a batch of small
/// images, too much beside the few large images that fit in memory.
pub fn optimiser_kind(facts: &Facts) -> OptimiserKind {
    if facts.kind.small.is_some() && facts.normalised { OptimiserKind::Muon } else { OptimiserKind::Sgd }
}

/// Highest learning rate.
pub fn rate(optimiser: OptimiserKind, facts: &Facts, batch: usize) -> f64 {
    let share = batch as f64 / REFERENCE_BATCH;
    match (optimiser, facts.normalised) {
        (OptimiserKind::AdamW, _) => 0.002 * share.sqrt(),
        (OptimiserKind::Muon, _) => 0.03 * (batch as f64 / 64.0).sqrt(),
        (OptimiserKind::Adaptive(rule), normalised) => match rule {
            Rule::Adam | Rule::RmsProp => 0.001 * share.sqrt(),
            Rule::AdaGrad => 0.01 * share.sqrt(),
            Rule::AdaDelta => 1.0,
            // With the trust of 0.001, Goyal's rates times ten or more (You et al. 2017, table 2).
            Rule::Lars => {
                if normalised {
                    4.0 * share
                } else {
                    1.0 * share
                }
            }
            Rule::Lamb => 0.01 * share.sqrt(),
        },
        (OptimiserKind::Sgd, true) => 0.2 * share,
        (OptimiserKind::Sgd, false) => 0.04 * share,
    }
}

/// The optimiser's constants.
pub fn optimiser(kind: OptimiserKind) -> Optimiser {
    match kind {
        OptimiserKind::Sgd => Optimiser::sgd(5e-4),
        OptimiserKind::AdamW => Optimiser::adamw(0.01),
        OptimiserKind::Muon => Optimiser::muon(0.02),
        OptimiserKind::Adaptive(Rule::Lamb) => Optimiser::adaptive(Rule::Lamb, 0.01),
        OptimiserKind::Adaptive(rule @ (Rule::Lars | Rule::RmsProp | Rule::Adam)) => {
            Optimiser::adaptive(rule, 1e-4)
        }
        OptimiserKind::Adaptive(rule) => Optimiser::adaptive(rule, 0.0),
    }
}

/// The schedule's constants. Muon needs less of a warm-up.
pub fn schedule(kind: ScheduleKind, optimiser: OptimiserKind, epochs: usize) -> Schedule {
    match kind {
        ScheduleKind::Constant => Schedule::Constant,
        ScheduleKind::Cosine => Schedule::cosine((epochs as f64 * 0.05).min(5.0)),
        ScheduleKind::OneCycle if optimiser == OptimiserKind::Muon => {
            Schedule::OneCycle { rise: 0.15, start: 0.1, end: 0.0 }
        }
        ScheduleKind::OneCycle => Schedule::one_cycle(),
        // Thirds, as for ImageNet's 90 epochs (He et al. 2016); half and three quarters, as for CIFAR (there, 4.2).
        ScheduleKind::Step => Schedule::Step { every: epochs as f64 / 3.0, factor: 0.1 },
        ScheduleKind::MultiStep => {
            Schedule::MultiStep { marks: vec![0.5 * epochs as f64, 0.75 * epochs as f64], factor: 0.1 }
        }
        // Down to a hundredth.
        ScheduleKind::Exponential => {
            Schedule::Exponential { factor: 0.01_f64.powf(1.0 / epochs.max(1) as f64) }
        }
        ScheduleKind::Polynomial => Schedule::Polynomial { power: 1.0 },
        // Caffe's LeNet.
        ScheduleKind::Inverse => Schedule::Inverse { gamma: 1e-4, power: 0.75 },
        ScheduleKind::Plateau => Schedule::Plateau { factor: 0.1, patience: 3 },
    }
}

/// From an image to the network's input, before the mean is known.
pub fn preprocess(facts: &Facts) -> Preprocess {
    let mut preprocess = Preprocess::new(facts.kind.channels, facts.size);
    if facts.kind.small.is_none() {
        // 256 for 224, as is usual.
        preprocess.resize = Some(facts.size[0].min(facts.size[1]) * 8 / 7);
    }
    preprocess
}

/// Epochs up to which a run is short: it ends before a small network knows its images by heart.
const SHORT_RUN: usize = 20;

/// Random changes: small images are shifted by an eighth and mirrored; grey ones, which are mostly digits and letters,
/// are never mirrored and shifted less, in short runs by a sixteenth; large ones are cropped and mirrored.
pub fn augment(facts: &Facts, epochs: usize) -> Augment {
    match facts.kind.small {
        Some(_) => {
            let pad = facts.size[0].min(facts.size[1]) / 8;
            if facts.kind.channels == 3 {
                return Augment { kind: AugmentKind::ReflectCrop { pad }, flip: true };
            }
            let pad = if epochs <= SHORT_RUN { pad / 2 } else { pad };
            Augment { kind: AugmentKind::PadCrop { pad: pad.min(2) }, flip: false }
        }
        None => Augment { kind: AugmentKind::random_resized_crop(), flip: true },
    }
}

/// Share of the target spread over the classes.
pub fn smoothing(facts: &Facts) -> f32 {
    match optimiser_kind(facts) {
        OptimiserKind::Muon => 0.1,
        _ if facts.normalised => 0.05,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(channels: usize, side: u32, images: usize) -> Facts {
        let kind = Kind { channels, small: Some([side; 2]) };
        Facts { kind, images, size: [side; 2], normalised: true }
    }

    #[test]
    fn cifar_gets_the_usual_recipe() {
        let cifar = facts(3, 32, 50_000);
        assert_eq!(model(cifar.kind), "resnet20");
        assert_eq!(optimiser_kind(&cifar), OptimiserKind::Muon);
        assert_eq!((batch(&cifar), epochs(&cifar)), (64, 10));
        assert_eq!(rate(OptimiserKind::Muon, &cifar, 64), 0.03);
        assert_eq!(augment(&cifar, 10), Augment { kind: AugmentKind::ReflectCrop { pad: 4 }, flip: true });
        assert_eq!(rate(OptimiserKind::Sgd, &cifar, 128), 0.2);
    }

    #[test]
    fn digits_are_never_mirrored() {
        let mnist = facts(1, 28, 60_000);
        assert_eq!(model(mnist.kind), "lenet");
        assert_eq!(augment(&mnist, 10), Augment { kind: AugmentKind::PadCrop { pad: 1 }, flip: false });
    }

    #[test]
    fn the_batch_always_fits_the_data() {
        for images in 1..3000 {
            let chosen = batch(&facts(3, 32, images));
            assert!((1..=images).contains(&chosen), "{chosen} of {images}");
        }
        assert_eq!(batch(&facts(1, 8, 1437)), 64);
    }

    #[test]
    fn photographs_are_cropped_at_random() {
        let kind = Kind { channels: 3, small: None };
        let photos = Facts { kind, images: 9_000, size: [224; 2], normalised: true };
        assert_eq!(preprocess(&photos).resize, Some(256));
        assert_eq!(augment(&photos, 90).kind, AugmentKind::random_resized_crop());
        assert_eq!(batch(&photos), 32);
    }
}
