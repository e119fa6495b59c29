//! Changes to a network: each gives a new graph and leaves the old one as it is.
//!
//! Every edit replays the graph node by node through [`Graph::add_node`], so each shape is derived and checked anew.

mod classifier;
mod convolutional;
mod freeze;
mod mode;
mod prune;
mod rebuild;
mod rename;
mod resize;
mod towers;

pub use mode::TrainingOptions;
