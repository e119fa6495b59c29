//! Pure functions on slices: the slow, obvious reference of every operation and its fast kernels.
//!
//! Fast kernels demand an instruction set as a value ([`isa::Isa`]), share their work over a [`threads::ThreadPool`]
//! and give the same bits at any number of threads.

pub mod conv;
pub mod elementwise;
pub mod format;
pub mod gemm;
pub mod isa;
pub mod layout;
pub mod loss;
pub mod narrow;
pub mod norm;
pub mod pairs;
pub mod peak;
pub mod pooling;
pub mod random;
pub mod reference;
pub mod shuffle;
pub mod softmax;
pub mod threads;
pub mod update;
