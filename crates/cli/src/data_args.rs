//! What is said about data beside its path?

use clap::Args;
use ocellus::train::Handling;

/// What to leave out, how to divide, how much may be bad.
#[derive(Clone, Debug, Default, Args)]
pub struct DataArgs {
    /// Share of images that may be damaged before that is an error; they are named and left out [default: 0.01]
    #[arg(long, value_name = "SHARE")]
    pub max_bad: Option<f64>,
    /// Leave out the images named in FILE, one a line or in the first column of a .csv
    #[arg(long, value_name = "FILE")]
    pub exclude: Option<String>,
    /// Divide into train and val as this file of a run (split.json) says
    #[arg(long, value_name = "FILE")]
    pub split: Option<String>,
    /// Divide by whole classes: no class is in both training and validation images
    #[arg(long)]
    pub disjoint_classes: bool,
}

impl DataArgs {
    /// The same for the library.
    pub fn handling(&self) -> Handling {
        Handling {
            max_bad: self.max_bad,
            exclude: self.exclude.clone(),
            split: self.split.clone(),
            disjoint_classes: self.disjoint_classes,
        }
    }
}
