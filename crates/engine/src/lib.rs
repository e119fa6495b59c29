//! From a graph to numbers: passes rewrite and fuse, the plan chooses layouts, algorithms and offsets for one
//! machine and one set of shapes, and running is a loop over the plan's steps in which nothing allocates.
#![forbid(unsafe_code)]

mod calibrate;
mod error;
mod execute;
pub mod lower;
mod options;
mod passes;
pub mod plan;
mod ranges;
pub mod reference;
mod session;

pub use calibrate::{Calibrator, Method};
pub use error::EngineError;
pub use options::{Options, Precision};
pub use plan::Plan;
pub use ranges::Ranges;
pub use session::{Session, StepTime};
