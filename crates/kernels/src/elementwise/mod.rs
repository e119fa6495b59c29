//! Functions of each element alone, over flat slices and blocked tensors, at the speed of memory.
//!
//! `flat` and `plane` run a formula of block vectors over slices; every kernel here and in [`crate::norm`] and
//! [`crate::update`] is such a formula. The formula's author writes neither threads nor tails.
//!
//! ```
//! use ocellus_kernels::elementwise::{Source, add_relu};
//! use ocellus_kernels::{isa::Isa, threads::ThreadPool};
//!
//! let (pool, isa) = (ThreadPool::new(2), Isa::detect());
//! let mut y = [1.0, -2.0, 3.0];
//! add_relu(&pool, isa, Source::InPlace, &[1.0, 1.0, -5.0], &mut y);
//! assert_eq!(y, [2.0, 0.0, 0.0]);
//! ```

mod activation;
mod basic;
mod blocked;
mod broadcast;
mod by_output;
mod channel;
mod dropout;
pub(crate) mod exp;
pub(crate) mod flat;
pub(crate) mod operands;
pub(crate) mod plane;
mod prelu;
pub(crate) mod sum;
#[cfg(test)]
pub(crate) mod tests;

pub use activation::{Activation, activation, activation_grad};
pub use basic::{
    add, add_relu, axpy, copy, div, fill, max, max_grad, mul, relu, relu_grad, relu_grad_blocked, scale, sub,
};
pub use blocked::Blocked;
pub(crate) use blocked::{PART_BLOCKS, Part, Parts};
pub use broadcast::{Broadcast, Pair, Small, SmallSide, repeat};
pub use by_output::{ByOutput, activation_grad_by_output};
pub use channel::{
    bias_add, bias_add_plain, channel_sum, channel_sum_plain, channel_sum_plain_scratch_len,
    channel_sum_scratch_len,
};
pub use dropout::{dropout, dropout_blocked};
pub use exp::{EXP_M1_ULPS, EXP_ULPS, SIGMOID_ULPS, TANH_ULPS};
pub use operands::Source;
pub use prelu::{prelu, prelu_grad, prelu_grad_scratch_len};
