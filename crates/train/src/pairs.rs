//! What is a network to learn that is shown pairs or triplets instead of single images?
//!
//! | `--loss` | what it makes small | source |
//! |---|---|---|
//! | `contrastive` | half the squared distance of images of one class; of two classes, half the square of what is missing to the margin | Hadsell, Chopra and LeCun 2006 |
//! | `triplet` | squared distance to an image of the class, plus the margin, less that to a stranger, if above 0 | Schroff, Kalenichenko and Philbin 2015 |
//! | `joint` | contrastive, plus softmax cross-entropy of a class head on each of the two towers | Sun, Chen, Wang and Tang 2014 |

use ocellus_data::Grouping;
use ocellus_graph::ops::LossKind;
use ocellus_graph::{Graph, Op};
use serde::{Deserialize, Serialize};

use crate::TrainError;
use crate::validate::OUTPUT;

/// Numbers of an embedding unless told otherwise.
pub(crate) const EMBEDDING_WIDTH: usize = 64;
/// The most numbers of an embedding.
const WIDEST: usize = 1 << 16;

/// Which loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PairLoss {
    /// Of pairs.
    Contrastive,
    /// Of triplets.
    Triplet,
    /// Of pairs, and of the classes of both images.
    Joint,
}

impl PairLoss {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            PairLoss::Contrastive => "contrastive",
            PairLoss::Triplet => "triplet",
            PairLoss::Joint => "joint",
        }
    }
}

/// What the user said about pairs; all of it may be left unsaid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PairChoices {
    /// The loss; without it the network classifies.
    pub loss: Option<PairLoss>,
    /// Distance to keep; 1, for triplets 0.2.
    pub margin: Option<f32>,
    /// Numbers of an embedding; 64.
    pub embedding: Option<usize>,
    /// How much the loss of each class head counts beside that of the pairs; 1 with `joint`, else no heads.
    pub joint_weight: Option<f32>,
    /// Whether embeddings are divided by their length; not with `joint`, whose class head needs lengths.
    pub unit_length: Option<bool>,
}

/// How pairs or triplets are learned, fully decided.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pairs {
    /// The loss.
    pub loss: PairLoss,
    /// Distance to keep.
    pub margin: f32,
    /// Numbers of an embedding.
    pub embedding: usize,
    /// How much the loss of each class head counts; no heads if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joint_weight: Option<f32>,
    /// Whether embeddings are divided by their length.
    pub unit_length: bool,
}

impl PairChoices {
    /// These, and where they leave something open, `other`'s.
    #[must_use]
    pub fn or(self, other: PairChoices) -> PairChoices {
        PairChoices {
            loss: self.loss.or(other.loss),
            margin: self.margin.or(other.margin),
            embedding: self.embedding.or(other.embedding),
            joint_weight: self.joint_weight.or(other.joint_weight),
            unit_length: self.unit_length.or(other.unit_length),
        }
    }

    /// What that comes to, for a network with the loss `own` of its own.
    ///
    /// Errors: something is said about pairs, but not which loss.
    pub fn resolve(&self, own: Option<Pairs>) -> Result<Option<Pairs>, TrainError> {
        let Some(loss) = self.loss.or(own.map(|own| own.loss)) else {
            let said = [
                ("--margin", self.margin.is_some()),
                ("--embedding", self.embedding.is_some()),
                ("--joint-weight", self.joint_weight.is_some()),
                ("--unit-length", self.unit_length.is_some()),
            ];
            return match said.iter().find(|(_, said)| *said) {
                None => Ok(None),
                Some((option, _)) => Err(TrainError::setting(format!(
                    "{option} is about pairs of images; say which loss they have: --loss contrastive, triplet or joint"
                ))),
            };
        };
        let own = own.filter(|own| own.loss == loss);
        let is_triplet = loss == PairLoss::Triplet;
        let usual = if is_triplet { 0.2 } else { 1.0 };
        Ok(Some(Pairs {
            loss,
            margin: self.margin.or(own.map(|own| own.margin)).unwrap_or(usual),
            embedding: self.embedding.or(own.map(|own| own.embedding)).unwrap_or(EMBEDDING_WIDTH),
            joint_weight: self.joint_weight.or((loss == PairLoss::Joint).then_some(1.0)),
            unit_length: self
                .unit_length
                .or(own.map(|own| own.unit_length))
                .unwrap_or(loss != PairLoss::Joint),
        }))
    }
}

impl Pairs {
    /// What a network that is described with such a loss was made for: the loss on the embeddings of its images.
    pub fn of_network(net: &Graph) -> Option<Pairs> {
        let kinds = net.nodes().iter().filter_map(|node| match &node.op {
            Op::Loss(loss) => Some(loss.kind),
            _ => None,
        });
        let (loss, margin) = kinds.into_iter().find_map(|kind| match kind {
            LossKind::Contrastive { margin } => Some((PairLoss::Contrastive, margin)),
            LossKind::Triplet { margin } => Some((PairLoss::Triplet, margin)),
            _ => None,
        })?;
        let embedding = net.find_output(OUTPUT).and_then(|output| net.shape(output).get(1).copied())?;
        Some(Pairs { loss, margin, embedding, joint_weight: None, unit_length: false })
    }

    /// How many images go into the network together.
    pub fn grouping(&self) -> Grouping {
        if self.loss == PairLoss::Triplet { Grouping::Triplets } else { Grouping::Pairs }
    }

    /// Checks what may come from a file or a command line.
    pub fn validate(&self) -> Result<(), TrainError> {
        if !(self.margin.is_finite() && self.margin > 0.0) {
            return Err(TrainError::setting(format!("--margin {}: give a distance above 0", self.margin)));
        }
        if !(1..=WIDEST).contains(&self.embedding) {
            let width = self.embedding;
            return Err(TrainError::setting(format!("--embedding {width}: give 1 to {WIDEST} numbers")));
        }
        match self.joint_weight.filter(|weight| !(weight.is_finite() && *weight >= 0.0)) {
            None => Ok(()),
            Some(weight) => Err(TrainError::setting(format!("--joint-weight {weight}: give 0 or more"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unsaid_is_usual_for_the_loss() {
        let said = |loss| PairChoices { loss: Some(loss), ..PairChoices::default() };
        let triplet = said(PairLoss::Triplet).resolve(None).unwrap().unwrap();
        assert_eq!((triplet.margin, triplet.unit_length, triplet.joint_weight), (0.2, true, None));
        let joint = said(PairLoss::Joint).resolve(None).unwrap().unwrap();
        assert_eq!((joint.margin, joint.embedding, joint.joint_weight), (1.0, 64, Some(1.0)));
        assert!(
            !joint.unit_length && said(PairLoss::Contrastive).resolve(None).unwrap().unwrap().unit_length
        );
        assert_eq!(PairChoices::default().resolve(None).unwrap(), None);
        let lost = PairChoices { margin: Some(2.0), ..PairChoices::default() };
        assert!(lost.resolve(None).unwrap_err().to_string().contains("--loss contrastive"));
        assert!(Pairs { margin: f32::NAN, ..joint }.validate().unwrap_err().to_string().contains("--margin"));
        assert!(Pairs { embedding: 0, ..joint }.validate().is_err());
    }

    #[test]
    fn a_siamese_network_says_itself_what_it_learns() {
        let net = ocellus_zoo::build("siamese_lenet", &Default::default()).unwrap();
        let own = Pairs::of_network(&net).unwrap();
        assert_eq!((own.loss, own.margin, own.embedding), (PairLoss::Contrastive, 1.0, 2));
        let more = PairChoices { margin: Some(3.0), ..PairChoices::default() };
        assert_eq!(more.resolve(Some(own)).unwrap(), Some(Pairs { margin: 3.0, ..own }));
        assert_eq!(Pairs::of_network(&ocellus_zoo::build("lenet", &Default::default()).unwrap()), None);
    }
}
