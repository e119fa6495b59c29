//! A network as data: nodes in topological order, each an operation with named attributes, the values it reads,
//! and the parameters among them.
//!
//! Everything else is a function from that value to another plain value: shape inference, differentiation, cost,
//! summary, editing and the text form all live here and none of them executes a network. There are no files,
//! threads, clocks or `unsafe` in this crate.
#![forbid(unsafe_code)]

mod autodiff;
mod builder;
mod check;
mod cost;
mod edit;
mod error;
mod graph;
mod guard;
mod init;
mod layers;
pub mod ops;
mod receptive;
mod summary;
mod text;

pub use autodiff::{Gradients, Request, differentiate};
pub use builder::{BatchNormSpec, Builder, Conv, ConvTranspose, Dense};
pub use cost::Cost;
pub use edit::TrainingOptions;
pub use error::GraphError;
pub use graph::{Graph, Loss, Node, NodeId, Output, Param, ParamId, ParamSpec, Role, Source, Value, ValueId};
pub use guard::holds_probabilities;
pub use init::{Distribution, Fan, Fans, Init, fans, initialise, initialise_param};
pub use layers::Layers;
pub use ops::Op;
pub use receptive::ReceptiveField;
pub use summary::{NodeSummary, ParameterCounts, Summary};
pub use text::{from_text, to_text};
