//! What is said about pairs and triplets of images?

use clap::{Args, ValueEnum};
use ocellus::train::{PairChoices, PairLoss};

/// Learning which images belong together; without `--loss` a network learns classes.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Pairs and triplets")]
pub struct PairArgs {
    /// Show the network pairs or triplets, made from the classes, and teach it to embed images of one class near each other
    #[arg(long, value_enum, value_name = "NAME")]
    pub loss: Option<LossName>,
    /// Distance that images of two classes should keep [default: 1; for triplets 0.2, of squared distances]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub margin: Option<f32>,
    /// Numbers of an embedding [default: 64]
    #[arg(long, value_name = "N")]
    pub embedding: Option<usize>,
    /// How much the softmax loss of each tower's class head counts beside that of the pairs [default: 1 with joint, else no heads]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub joint_weight: Option<f32>,
    /// Whether embeddings are divided by their length [default: true, but with joint]
    #[arg(long, value_name = "BOOL")]
    pub unit_length: Option<bool>,
}

/// Losses by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LossName {
    /// Of pairs: near if of one class, else a margin apart.
    Contrastive,
    /// Of triplets: nearer to an image of the class than to a stranger, by a margin.
    Triplet,
    /// Contrastive, and the classes of both images by a softmax head on each tower.
    Joint,
}

impl PairArgs {
    /// The same for the library.
    pub fn choices(&self) -> PairChoices {
        PairChoices {
            loss: self.loss.map(|name| match name {
                LossName::Contrastive => PairLoss::Contrastive,
                LossName::Triplet => PairLoss::Triplet,
                LossName::Joint => PairLoss::Joint,
            }),
            margin: self.margin,
            embedding: self.embedding,
            joint_weight: self.joint_weight,
            unit_length: self.unit_length,
        }
    }
}
