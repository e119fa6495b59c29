//! What can go wrong while training, validating or predicting?

use std::path::{Path, PathBuf};

use ocellus_data::DataError;
use ocellus_engine::EngineError;
use ocellus_formats::FormatError;
use ocellus_graph::GraphError;
use ocellus_zoo::ZooError;

/// A run that cannot start or go on. Each message is one sentence: what, where, and what to do next.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The network refuses.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The network cannot be planned or fed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The images cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The network cannot be made.
    #[error(transparent)]
    Zoo(#[from] ZooError),
    /// A file cannot be read or written.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A setting that cannot be.
    #[error("{0}")]
    Setting(String),
    /// The numbers stopped being numbers.
    #[error(
        "{what} at step {step} (epoch {epoch}, learning rate {rate}): training has diverged{}; the last good checkpoint \
         is kept, start again with a lower --lr", after_tries(*.rollbacks)
    )]
    NonFinite {
        /// "the loss is NaN", "velocity/conv1.weight is no longer finite".
        what: String,
        /// Optimiser step, from 1.
        step: u64,
        /// Epoch, from 1.
        epoch: usize,
        /// Learning rate of that step.
        rate: f32,
        /// How often training went back before it gave up.
        rollbacks: u32,
    },
    /// Someone wished the run to stop.
    #[error("stopped at epoch {epoch}, step {step}, as was asked; nothing is lost: go on with ocellus train --resume {}", .run.display())]
    Stopped {
        /// Epoch, from 1.
        epoch: usize,
        /// Optimiser steps done.
        step: u64,
        /// The run folder.
        run: PathBuf,
    },
    /// A checkpoint (or another file of the run folder) could not be written.
    #[error("epoch {epoch}, step {step}: {source}; the run stops here and can be continued with: ocellus train --resume {}", .run.display())]
    Save {
        /// Epoch, from 1.
        epoch: usize,
        /// Optimiser steps done.
        step: u64,
        /// The run folder.
        run: PathBuf,
        /// Which file, and why.
        source: FormatError,
    },
    /// The file system refused.
    #[error("{}: {doing}: {source}", .path.display())]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// "cannot be created" and the like.
        doing: &'static str,
        /// Why.
        source: std::io::Error,
    },
}

fn after_tries(rollbacks: u32) -> String {
    match rollbacks {
        0 => String::new(),
        1 => " again at half the rate".into(),
        n => format!(" for the {}th time, each at half the rate of the one before", n + 1)
            .replace("3th", "3rd"),
    }
}

impl TrainError {
    /// A setting that cannot be: what, and what to do instead.
    pub fn setting(message: impl Into<String>) -> Self {
        TrainError::Setting(message.into())
    }

    pub(crate) fn io(path: &Path, doing: &'static str, source: std::io::Error) -> Self {
        TrainError::Io { path: path.to_owned(), doing, source }
    }
}
