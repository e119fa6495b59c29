//! From a graph to numbers: passes rewrite and fuse, the plan chooses layouts, algorithms and offsets for one
//! machine and one set of shapes, and running is a loop over the plan's steps in which nothing allocates.
#![forbid(unsafe_code)]

mod error;
mod execute;
pub mod lower;
mod options;
mod passes;
pub mod plan;
pub mod reference;
mod session;

pub use error::EngineError;
pub use options::Options;
pub use plan::Plan;
pub use session::{Session, StepTime};
