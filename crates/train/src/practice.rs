//! What may a run do beyond its recipe? All of this is off unless asked for; a run without any of it gives the bits
//! that it gives without this file.

use ocellus_data::{Alter, Policy, Split};
use ocellus_graph::{Graph, Op, ParamId};
use serde::{Deserialize, Serialize};

use crate::TrainError;
use crate::stepper::Clip;
use crate::views::Views;

/// Practices of training that a user may add to the recipe. Every field left at its default changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Practice {
    /// Validate and keep an average of the weights instead of the weights: after each step,
    /// `average = d average + (1 - d) weights` with `d = min(ema, (1 + step) / (10 + step))`.
    pub ema: Option<f32>,
    /// Scale all gradients together so that their Euclidean length is at most this (Pascanu et al. 2013, section 3.2).
    pub clip_norm: Option<f32>,
    /// Bring each number of each gradient into `[-clip_value, clip_value]`.
    pub clip_value: Option<f32>,
    /// End the run after so many epochs without a better one.
    pub patience: Option<usize>,
    /// How much each class counts in the loss: `auto` (all classes weigh the same) or a number per class, `1,1,2.5`.
    pub class_weights: Option<String>,
    /// Learning rates of some parameters, `PATTERN=FACTOR`; `*` stands for any run of letters. Factors multiply.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lr_mult: Vec<String>,
    /// Parameters that stay as they are: patterns of names, a number of weighted layers counted from the input, or
    /// `trunk` (all but the head).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub freeze: Vec<String>,
    /// Every BatchNorm keeps its running statistics, frozen or not.
    #[serde(skip_serializing_if = "is_false")]
    pub freeze_statistics: bool,
    /// Learning rate of everything but the head, as a share of the head's.
    pub trunk_lr: Option<f32>,
    /// Mixup's alpha (Zhang et al. 2018).
    pub mixup: Option<f32>,
    /// CutMix's alpha (Yun et al. 2019).
    pub cutmix: Option<f32>,
    /// Strengths of colour jitter: brightness, contrast, saturation, hue, as far as they are given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub color_jitter: Vec<f32>,
    /// Greatest turn of images, in degrees.
    pub rotate: Option<f32>,
    /// Share of images that lose a rectangle (Zhong et al. 2020).
    pub erase: Option<f32>,
    /// RandAugment's number of changes and their magnitude of 30.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rand_augment: Vec<u32>,
    /// AutoAugment's policy.
    pub auto_augment: Option<Policy>,
    /// A learning rate that rises in a straight line over so many epochs, whatever the schedule.
    pub warmup: Option<f64>,
    /// What products are computed with; `f32` if absent.
    pub precision: Option<TrainPrecision>,
    /// Judge the best weights by the mean over these views of each validation image too, when all epochs are done.
    pub tta: Option<Views>,
}

/// What a training step multiplies. Parameters, sums, losses, statistics and updates are `f32` in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrainPrecision {
    /// Single precision.
    #[default]
    F32,
    /// The upper half of an `f32`.
    Bf16,
}

impl std::fmt::Display for TrainPrecision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            TrainPrecision::F32 => "f32",
            TrainPrecision::Bf16 => "bf16",
        })
    }
}

fn is_false(x: &bool) -> bool {
    !x
}

impl Practice {
    /// The options of the command line, each a field's name with dashes.
    pub const OPTIONS: [&'static str; 19] = [
        "--ema",
        "--clip-norm",
        "--clip-value",
        "--patience",
        "--class-weights",
        "--lr-mult",
        "--freeze",
        "--freeze-statistics",
        "--trunk-lr",
        "--mixup",
        "--cutmix",
        "--color-jitter",
        "--rotate",
        "--erase",
        "--rand-augment",
        "--auto-augment",
        "--warmup",
        "--precision",
        "--tta",
    ];

    /// Whether nothing was asked for.
    pub fn is_default(&self) -> bool {
        *self == Practice::default()
    }

    /// These, and where they leave something open, `other`'s.
    pub fn or(self, other: Practice) -> Practice {
        let list = |own: Vec<String>, other: Vec<String>| if own.is_empty() { other } else { own };
        Practice {
            ema: self.ema.or(other.ema),
            clip_norm: self.clip_norm.or(other.clip_norm),
            clip_value: self.clip_value.or(other.clip_value),
            patience: self.patience.or(other.patience),
            class_weights: self.class_weights.or(other.class_weights),
            lr_mult: list(self.lr_mult, other.lr_mult),
            freeze: list(self.freeze, other.freeze),
            freeze_statistics: self.freeze_statistics || other.freeze_statistics,
            trunk_lr: self.trunk_lr.or(other.trunk_lr),
            mixup: self.mixup.or(other.mixup),
            cutmix: self.cutmix.or(other.cutmix),
            color_jitter: if self.color_jitter.is_empty() { other.color_jitter } else { self.color_jitter },
            rotate: self.rotate.or(other.rotate),
            erase: self.erase.or(other.erase),
            rand_augment: if self.rand_augment.is_empty() { other.rand_augment } else { self.rand_augment },
            auto_augment: self.auto_augment.or(other.auto_augment),
            warmup: self.warmup.or(other.warmup),
            precision: self.precision.or(other.precision),
            tta: self.tta.or(other.tta),
        }
    }

    /// Checks what may come from a file or a command line.
    pub fn validate(&self, classes: usize) -> Result<(), TrainError> {
        let fault = |message: String| Err(TrainError::Setting(message));
        if let Some(decay) = self.ema.filter(|d| !(0.0..1.0).contains(d)) {
            return fault(format!(
                "--ema {decay}: the share of the old average must lie from 0 up to but not 1"
            ));
        }
        let positive = [
            ("--clip-norm", self.clip_norm),
            ("--clip-value", self.clip_value),
            ("--mixup", self.mixup),
            ("--cutmix", self.cutmix),
        ];
        for (option, value) in positive {
            if let Some(value) = value.filter(|v| !(v.is_finite() && *v > 0.0)) {
                return fault(format!("{option} {value}: give a number above 0"));
            }
        }
        if let Some(share) = self.trunk_lr.filter(|v| !(0.0..=1e6).contains(v)) {
            return fault(format!("--trunk-lr {share}: give a share of the head's rate, such as 0.1"));
        }
        if let Some(epochs) = self.warmup.filter(|v| !(v.is_finite() && *v >= 0.0)) {
            return fault(format!("--warmup {epochs}: give a number of epochs, 0 or more"));
        }
        if self.patience == Some(0) {
            return fault("--patience 0: give the epochs to wait for a better one, at least 1".into());
        }
        if let Some(list) = self.class_weights.as_deref().filter(|list| *list != "auto") {
            listed_weights(list, classes)?;
        }
        if self.color_jitter.len() > 4 {
            return fault(format!(
                "--color-jitter has {} numbers; give up to four: brightness, contrast, saturation, hue",
                self.color_jitter.len()
            ));
        }
        if !matches!(self.rand_augment.len(), 0 | 2) {
            return fault("--rand-augment: give how many changes and their magnitude, such as 2,9".into());
        }
        self.alter().validate()?;
        self.lr_mult.iter().try_for_each(|rule| rate_rule(rule).map(|_| ()))
    }

    /// How images are changed besides the recipe's shifts, crops and flips. One strength of jitter alone is that of
    /// brightness, contrast and saturation.
    pub fn alter(&self) -> Alter {
        let jitter = match *self.color_jitter.as_slice() {
            [all] => [all, all, all, 0.0],
            ref some => std::array::from_fn(|i| some.get(i).copied().unwrap_or(0.0)),
        };
        let rand_augment = match *self.rand_augment.as_slice() {
            [count, magnitude] => Some([count, magnitude]),
            _ => None,
        };
        Alter {
            jitter,
            rotate: self.rotate.unwrap_or(0.0),
            erase: self.erase.unwrap_or(0.0),
            rand_augment,
            auto_augment: self.auto_augment,
        }
    }

    /// The same with `f32` products left unsaid, as they are without this file.
    pub fn settled(self) -> Practice {
        Practice { precision: self.precision.filter(|precision| *precision != TrainPrecision::F32), ..self }
    }

    /// How gradients are clipped.
    pub fn clip(&self) -> Clip {
        Clip { norm: self.clip_norm, value: self.clip_value }
    }

    /// Whether the loss reads a share of each class for each image instead of one class.
    pub fn is_soft(&self) -> bool {
        self.mixup.is_some() || self.cutmix.is_some() || self.class_weights.is_some()
    }

    /// `net` as it is trained: what is frozen marked so, every parameter with its share of the learning rate.
    ///
    /// Errors: a pattern that matches no parameter, a depth that the network does not have, nothing left to train.
    pub fn shape(&self, net: &Graph) -> Result<Graph, TrainError> {
        let mut net = net.clone();
        if let Some(share) = self.trunk_lr {
            for id in trunk_of(&net)? {
                net.param_mut(id).lr_mult *= share;
            }
        }
        for rule in &self.lr_mult {
            let (pattern, factor) = rate_rule(rule)?;
            for id in matching(&net, pattern, "--lr-mult")? {
                net.param_mut(id).lr_mult *= factor;
            }
        }
        for what in &self.freeze {
            let frozen = match (what.as_str(), what.parse::<usize>()) {
                ("trunk", _) => trunk_of(&net)?,
                (_, Ok(depth)) => until_depth(&net, depth)?,
                (pattern, _) => matching(&net, pattern, "--freeze")?,
            };
            frozen.into_iter().for_each(|id| net.param_mut(id).frozen = true);
        }
        let trained =
            |param: &ocellus_graph::Param| param.role == ocellus_graph::Role::Weight && !param.frozen;
        if !net.params().iter().any(trained) {
            return Err(TrainError::setting(format!(
                "--freeze {} freezes every parameter of {}; leave something to train",
                self.freeze.join(" --freeze "),
                net.name
            )));
        }
        Ok(net)
    }

    /// How much each class counts in the loss, on average 1 over the images of `train`; `None` if all count 1.
    ///
    /// `auto` is `images / (classes images_of_class)`: every class weighs the same (King and Zeng 2001, section 4).
    pub fn weights_of_classes(&self, train: &Split) -> Result<Option<Vec<f32>>, TrainError> {
        let Some(list) = self.class_weights.as_deref() else { return Ok(None) };
        let classes = train.classes().len();
        if list != "auto" {
            return listed_weights(list, classes).map(Some);
        }
        let mut counts = vec![0_usize; classes];
        train.samples().iter().for_each(|sample| counts[sample.class as usize] += 1);
        let even = train.len() as f64 / classes.max(1) as f64;
        Ok(Some(counts.iter().map(|&n| if n == 0 { 1.0 } else { (even / n as f64) as f32 }).collect()))
    }
}

/// `1,1,2.5` as numbers, one per class.
fn listed_weights(list: &str, classes: usize) -> Result<Vec<f32>, TrainError> {
    let numbers: Result<Vec<f32>, _> = list.split(',').map(|word| word.trim().parse::<f32>()).collect();
    match numbers {
        Ok(numbers) if numbers.iter().any(|x| !(x.is_finite() && *x >= 0.0)) => {
            Err(TrainError::setting(format!("--class-weights {list}: each weight must be 0 or more")))
        }
        Ok(numbers) if numbers.len() != classes => Err(TrainError::setting(format!(
            "--class-weights {list}: {} numbers for {classes} classes; give one per class, in their order, or auto",
            numbers.len()
        ))),
        Ok(numbers) => Ok(numbers),
        Err(_) => Err(TrainError::setting(format!(
            "--class-weights {list}: give auto, or one number per class such as 1,1,2.5"
        ))),
    }
}

/// `PATTERN=FACTOR`.
fn rate_rule(rule: &str) -> Result<(&str, f32), TrainError> {
    let parsed =
        rule.rsplit_once('=').and_then(|(pattern, factor)| Some((pattern, factor.parse::<f32>().ok()?)));
    match parsed {
        Some((pattern, factor)) if !pattern.is_empty() && factor.is_finite() && factor >= 0.0 => {
            Ok((pattern, factor))
        }
        _ => Err(TrainError::setting(format!(
            "--lr-mult {rule}: give a pattern of parameter names and a factor of 0 or more, such as layer1.*=0.1"
        ))),
    }
}

/// The parameters whose names match.
fn matching(net: &Graph, pattern: &str, option: &str) -> Result<Vec<ParamId>, TrainError> {
    let frozen =
        net.freeze(pattern).map_err(|cause| TrainError::setting(format!("{option} {pattern}: {cause}")))?;
    // Those that a copy without any frozen parameter has frozen now.
    let mut bare = net.clone();
    ids(net).for_each(|id| bare.param_mut(id).frozen = false);
    let marked = bare.freeze(pattern).unwrap_or(frozen);
    Ok(ids(net).filter(|&id| marked.param(id).frozen).collect())
}

fn ids(net: &Graph) -> impl Iterator<Item = ParamId> + use<> {
    (0..net.params().len()).map(|index| ParamId(index as u32))
}

/// Every parameter but those of the head: the last linear layer or convolution.
fn trunk_of(net: &Graph) -> Result<Vec<ParamId>, TrainError> {
    let head = net.nodes().iter().rposition(|node| is_weighted(&node.op)).ok_or_else(|| {
        TrainError::setting(format!("{} has no linear layer or convolution that could be its head", net.name))
    })?;
    let of_head: Vec<ParamId> =
        net.nodes()[head].inputs.iter().filter_map(|&value| net.param_of(value)).collect();
    Ok(ids(net).filter(|id| !of_head.contains(id)).collect())
}

/// The parameters of everything before weighted layer `depth` (from 0): the first `depth` weighted layers and the
/// norms and activations that follow them.
fn until_depth(net: &Graph, depth: usize) -> Result<Vec<ParamId>, TrainError> {
    let weighted: Vec<usize> = net
        .nodes()
        .iter()
        .enumerate()
        .filter(|(_, node)| is_weighted(&node.op))
        .map(|(index, _)| index)
        .collect();
    let Some(&end) = weighted.get(depth) else {
        return Err(TrainError::setting(format!(
            "--freeze {depth}: {} has {} weighted layers, so at most {} can be frozen",
            net.name,
            weighted.len(),
            weighted.len().saturating_sub(1)
        )));
    };
    let inputs = net.nodes()[..end].iter().flat_map(|node| &node.inputs);
    Ok(inputs.filter_map(|&value| net.param_of(value)).collect())
}

fn is_weighted(op: &Op) -> bool {
    matches!(op, Op::Conv2d(_) | Op::Linear(_) | Op::ConvTranspose2d(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net() -> Graph {
        ocellus_zoo::build("digits", &Default::default()).unwrap()
    }

    fn frozen(freeze: &[&str]) -> Vec<String> {
        let practice =
            Practice { freeze: freeze.iter().map(|s| s.to_string()).collect(), ..Practice::default() };
        let net = practice.shape(&net()).unwrap();
        net.params().iter().filter(|p| p.frozen).map(|p| p.name.clone()).collect()
    }

    #[test]
    fn freezing_by_depth_pattern_and_trunk() {
        let all = net().params().len();
        let (one, two) = (frozen(&["1"]), frozen(&["2"]));
        assert!(!one.is_empty() && one.len() < two.len() && two.len() < all, "{one:?} {two:?}");
        assert!(one.iter().all(|name| two.contains(name)));
        let trunk = frozen(&["trunk"]);
        assert!(trunk.len() < all && trunk.len() >= all - 2, "{trunk:?}");
        assert_eq!(frozen(&["1", &one[0]]), one);
        assert_eq!(frozen(&["0"]), Vec::<String>::new());
    }

    #[test]
    fn what_cannot_be_frozen_is_refused() {
        let refusal = |freeze: &str| {
            let practice = Practice { freeze: vec![freeze.into()], ..Practice::default() };
            practice.shape(&net()).unwrap_err().to_string()
        };
        assert!(refusal("nothing.*").contains("--freeze nothing.*"));
        assert!(refusal("99").contains("weighted layers"));
        assert!(refusal("*").contains("leave something"));
    }

    #[test]
    fn rates_multiply() {
        let names: Vec<String> = net().params().iter().map(|p| p.name.clone()).collect();
        let practice = Practice {
            trunk_lr: Some(0.1),
            lr_mult: vec![format!("{}=0.5", names[0]), "*=2".into()],
            ..Practice::default()
        };
        let shaped = practice.shape(&net()).unwrap();
        assert!((shaped.params()[0].lr_mult - 0.1).abs() < 1e-6);
        assert!((shaped.params().last().unwrap().lr_mult - 2.0).abs() < 1e-6);
    }

    #[test]
    fn impossible_practices_are_named() {
        let refusal = |practice: Practice| practice.validate(3).unwrap_err().to_string();
        assert!(refusal(Practice { ema: Some(1.0), ..Default::default() }).contains("--ema 1"));
        assert!(
            refusal(Practice { clip_norm: Some(f32::NAN), ..Default::default() }).contains("--clip-norm")
        );
        assert!(
            refusal(Practice { class_weights: Some("1,2".into()), ..Default::default() })
                .contains("3 classes")
        );
        assert!(refusal(Practice { class_weights: Some("a".into()), ..Default::default() }).contains("auto"));
        assert!(
            refusal(Practice { lr_mult: vec!["x".into()], ..Default::default() }).contains("--lr-mult x")
        );
        assert!(refusal(Practice { patience: Some(0), ..Default::default() }).contains("--patience"));
        assert!(Practice { class_weights: Some("1,0,2.5".into()), ..Default::default() }.validate(3).is_ok());
    }

    #[test]
    fn automatic_class_weights_even_out() {
        let digits = ocellus_data::Dataset::digits(0).unwrap();
        let practice = Practice { class_weights: Some("auto".into()), ..Practice::default() };
        let weights = practice.weights_of_classes(&digits.train).unwrap().unwrap();
        let mut mass = vec![0.0; 10];
        digits
            .train
            .samples()
            .iter()
            .for_each(|s| mass[s.class as usize] += f64::from(weights[s.class as usize]));
        assert!(mass.iter().all(|m| (m - digits.train.len() as f64 / 10.0).abs() < 0.01), "{mass:?}");
    }
}
