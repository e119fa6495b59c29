//! Files to networks and numbers and back: Ocellus's own model file ([`Model`]), safetensors, NumPy's `.npy` and `.npz`.
//!
//! What is read here is not trusted: every length is checked against what is really there before it is used,
//! memory stays in proportion to the file, nothing in a file is ever executed, and a damaged or foreign file gives
//! one sentence that names the file, what is wrong with it and what to do next. What is written replaces the old
//! file in one step or not at all ([`write_atomically`]).
#![forbid(unsafe_code)]

mod atomic;
pub mod caffe;
mod error;
pub mod hdf5;
pub mod keras;
mod kind;
pub mod lmdb;
mod match_report;
mod model;
pub mod npy;
pub mod npz;
mod numbers;
pub mod onnx;
pub mod safetensors;
mod spelling;
pub mod torch;
mod volume;
mod wire;
mod wire_out;

pub use atomic::{Sink, write_atomically};
pub use error::{FormatError, one_line};
pub use kind::Kind;
pub use match_report::{Fate, MatchReport, TensorMatch, fit_weights, match_report};
pub use model::{Model, check_weights};
