//! Normalisation over blocked tensors: by the batch, in as few passes over memory as there can be; by groups of channels
//! ([`GroupNorm`]), by pixels ([`LayerNorm`]), by neighbours ([`Lrn`]).
//!
//! Batch normalisation in training reads x twice forward ([`statistics`], [`Normalise`]) and x and dy twice backward
//! ([`NormaliseGrad::reduce`], [`NormaliseGrad::apply`]); the ReLU and the residual addition ride along.
//!
//! ```
//! use ocellus_kernels::elementwise::Blocked;
//! use ocellus_kernels::norm::{Moments, Normalisation, Normalise, statistics, statistics_scratch_len};
//! use ocellus_kernels::{isa::Isa, threads::ThreadPool};
//!
//! let (pool, isa) = (ThreadPool::new(2), Isa::detect());
//! let size = Blocked { batch: 1, channels: 1, height: 1, width: 2 };
//! let mut x = vec![0.0; size.elements()];
//! (x[0], x[16]) = (1.0, 5.0); // channel 0 of both pixels
//! let (mut mean, mut var) = ([0.0], [0.0]);
//! let mut scratch = vec![0.0; statistics_scratch_len(size)];
//! statistics(&pool, isa, size, &x, Moments { mean: &mut mean, var: &mut var }, &mut scratch);
//! assert_eq!((mean, var), ([3.0], [4.0]));
//!
//! let norm = Normalisation { mean: &mean, var: &var, gamma: None, beta: None, eps: 0.0 };
//! let mut y = vec![0.0; size.elements()];
//! Normalise { size, norm, residual: None, relu: true }.run(&pool, isa, (&x).into(), &mut y);
//! assert_eq!((y[0], y[16]), (0.0, 1.0));
//! ```

mod backward;
mod normalise;
mod positions;
mod response;
mod sets;
mod statistics;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_by_image;
#[cfg(test)]
mod tests_narrow;

pub use backward::{AffineGrads, NormaliseGrad, ReluMask, reduce_scratch_len};
pub use normalise::{Normalisation, Normalise, ScaleShift};
pub use positions::LayerNorm;
pub use response::Lrn;
pub use sets::GroupNorm;
pub use statistics::{Moments, statistics, statistics_scratch_len};
