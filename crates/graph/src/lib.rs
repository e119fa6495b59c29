//! A network as data: nodes in topological order, each an operation with named attributes, the values it reads,
//! and the parameters among them.
//!
//! Everything else is a function from that value to another plain value: shape inference, differentiation, cost,
//! summary, editing and the text form all live here and none of them executes a network. There are no files,
//! threads, clocks or `unsafe` in this crate.
#![forbid(unsafe_code)]

mod autodiff;
mod builder;
mod error;
mod graph;
mod guard;
mod init;
pub mod ops;

pub use autodiff::{Gradients, Request, differentiate};
pub use builder::{BatchNormSpec, Builder, Conv, ConvTranspose, Dense};
pub use error::GraphError;
pub use graph::{Graph, Loss, Node, NodeId, Output, Param, ParamId, ParamSpec, Role, Source, Value, ValueId};
pub use guard::holds_probabilities;
pub use init::{Distribution, Fan, Init};
pub use ops::Op;
