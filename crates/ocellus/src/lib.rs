//! Convolutional networks: describe one, see what it is, train it, run it.
//!
//! A network is one plain value, a [`Graph`]; everything else is a function of it. This crate is the library's face:
//! what is re-exported here is what others may rely on.
//!
//! # Describe, train, predict
//!
//! ```
//! use ocellus::{Builder, Conv, Dense, Tensor, Trainer, TrainerOptions};
//!
//! // Describe: a network that tells upright from lying bars in 8x8 pictures.
//! let mut b = Builder::new("bars");
//! let x = b.input("input", [1, 1, 8, 8]); // (N, C, H, W)
//! let x = b.conv2d("conv", x, Conv::new(4, 3).padding(1));
//! let x = b.relu("relu", x);
//! let x = b.global_max_pool("pool", x);
//! let x = b.flatten("flatten", x);
//! let x = b.linear("fc", x, Dense::new(2));
//! b.output("output", x);
//! let bars = b.finish()?;
//!
//! // Train: picture i has a bar at place i / 2 % 8, upright if i is odd.
//! let pixel = |i: usize, y: usize, x: usize| if i % 2 == 1 { x == i / 2 % 8 } else { y == i / 2 % 8 };
//! let pictures = Tensor::from_fn([64, 1, 8, 8], |at| f32::from(pixel(at / 64, at / 8 % 8, at % 8)));
//! let labels: Vec<usize> = (0..64).map(|i| i % 2).collect();
//! let mut trainer = Trainer::new(&bars, TrainerOptions { epochs: 40, batch: 16, ..Default::default() });
//! let epochs = trainer.fit(&pictures, &labels)?;
//! assert!(epochs.last().unwrap().top1 > 0.95);
//!
//! // Predict.
//! let upright = Tensor::from_fn([1, 1, 8, 8], |at| f32::from(at % 8 == 3));
//! let probabilities = trainer.predict(&upright)?;
//! assert!(probabilities.data()[1] > 0.5);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Take a known network apart
//!
//! ```
//! use ocellus::{Options, Session, Summary, initialise, zoo};
//!
//! let graph = zoo::build("resnet20", &zoo::Options::default())?;
//! assert_eq!(Summary::of(&graph).layers.weighted, 20);
//!
//! let mut session = Session::new(&graph, &Options::default())?;
//! session.load(&initialise(&graph, 0))?;
//! session.input_mut("input")?.fill(0.5);
//! session.run();
//! assert_eq!(session.output("output")?.len(), 10);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where to look
//!
//! | for | see |
//! |---|---|
//! | describing and editing networks | [`Builder`], [`Graph`], [`ops`] |
//! | an operation of your own | [`CustomOp`], `examples/custom_operation.rs` |
//! | known networks, fixed filters | [`zoo`] |
//! | gradients | [`differentiate`] |
//! | numbers in, numbers out | [`Session`] |
//! | arrays to a trained network | [`Trainer`] |
//! | image folders to a run folder | [`train`], [`data`] |
//! | files | [`formats`]; any network by name or file: [`load`] |
#![forbid(unsafe_code)]

pub mod compare;
pub mod databases;
pub mod explain;
pub mod load;
pub mod pull;
pub mod report;

pub use ocellus_engine::{
    Calibrator, EngineError, Method, Options, Plan, Precision, Ranges, Session, StepTime,
};
pub use ocellus_formats::Model;
pub use ocellus_graph::ops;
pub use ocellus_graph::ops::CustomOp;
pub use ocellus_graph::{
    BatchNormSpec, Builder, Conv, ConvTranspose, Cost, Dense, Distribution, Fan, Gradients, Graph,
    GraphError, Init, Layers, Loss, Node, NodeId, NodeSummary, Op, Output, Param, ParamId, ParamSpec,
    ParameterCounts, ReceptiveField, Request, Role, Source, Summary, TrainingOptions, Value, ValueId,
    differentiate, from_text, holds_probabilities, initialise, to_text,
};
pub use ocellus_tensor::{
    Layered, Padding, Parameters, Rounding, Shape, Tensor, TensorError, Weights, Window,
};
pub use ocellus_train::{Trainer, TrainerOptions};
pub use ocellus_zoo as zoo;

/// Images: where they come from, how they are decoded, changed at random and put into batches.
pub mod data {
    pub use ocellus_data::{
        Alter, Augment, AugmentKind, BadImage, Batch, ChannelOrder, Content, DataError, DataReport, Dataset,
        Fit, Group, Image, ImageView, LabelledImage, Loader, LoaderConfig, OpenOptions, Pair, PartReport,
        Place, Policy, Preprocess, Preprocessor, Split, VerifyOptions, check, statistics,
    };
}

/// Files to numbers and back.
pub mod formats {
    pub use ocellus_formats::{
        Fate, FormatError, Kind, MatchReport, Model, TensorMatch, caffe, check_weights, hdf5, lmdb, npy, npz,
        safetensors, torch, write_atomically,
    };
}

/// Runs on image folders: settings, the loop, checkpoints, validation and prediction.
pub mod train {
    pub use ocellus_train::{
        Assessment, Attention, BUILT_IN, Bin, ByViews, Calibration, Choices, Clip, Compared, EMBEDDING,
        Embedder, Embeddings, EpochRecord, EpochTime, Guess, Handling, Images, Item, LABEL, Optimiser,
        Outcome, PairChoices, PairLoss, PairRecord, Pairs, Practice, Predictor, Prepared, Preset, RateCurve,
        RatePoint, RocPoint, Rule, RunFolder, Start, StepGraphs, StepReport, StepSetup, Stepper, TARGET,
        TrainConfig, TrainError, TrainPrecision, Validator, Verification, View, Views, Watch, begin,
        division_of, find_rate, kind_of, match_classes, preprocess_of, quantise, ranges_of, resume, start,
        was_stopped, with_scores,
    };
    pub use ocellus_train::{At, Seen, Source, checkpoint, metrics, neighbours, recipe, schedule, solver};
}

/// This machine: its instructions, its threads, and what it could do at best.
pub mod machine {
    pub use ocellus_kernels::isa::Isa;
    pub use ocellus_kernels::peak::{memory_read_bandwidth, peak_flops};
    pub use ocellus_kernels::threads::ThreadPool;
}
