//! Batch normalisation over blocked tensors, in as few passes over memory as there can be.
//!
//! Training reads x twice forward ([`statistics`], [`Normalise`]) and x and dy twice backward
//! ([`NormaliseGrad::reduce`], [`NormaliseGrad::apply`]); the ReLU and the residual addition ride along.

mod backward;
mod normalise;
mod statistics;
#[cfg(test)]
mod tests;

pub use backward::{AffineGrads, NormaliseGrad, ReluMask, reduce_scratch_len};
pub use normalise::{Normalisation, Normalise, ScaleShift};
pub use statistics::{Moments, statistics, statistics_scratch_len};
