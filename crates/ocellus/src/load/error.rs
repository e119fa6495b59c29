//! What can go wrong while a model is looked for?

use std::path::Path;

use ocellus_data::DataError;
use ocellus_formats::{FormatError, one_line};
use ocellus_graph::GraphError;
use ocellus_train::TrainError;
use ocellus_zoo::ZooError;

/// A model that cannot be had. Each message is one sentence: what, where, and what to do next.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file cannot be read, or is not what it should be.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The network refuses.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The zoo has no such network.
    #[error(transparent)]
    Zoo(#[from] ZooError),
    /// Preprocessing that cannot be.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A run or a measurement cannot be.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// Something asked for that cannot be.
    #[error("{0}")]
    Setting(String),
}

impl LoadError {
    pub(super) fn read(path: &Path, cause: std::io::Error) -> Self {
        LoadError::Setting(format!("{}: cannot be read: {cause}; check the path", one_line(path)))
    }
}
