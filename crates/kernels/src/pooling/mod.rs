//! Max and average pooling over blocked tensors, and their gradients.
//!
//! ```
//! use ocellus_kernels::{elementwise::Blocked, isa::Isa, pooling::Pooling, threads::ThreadPool};
//! use ocellus_tensor::{Rounding, Window};
//!
//! let size = Blocked { batch: 1, channels: 1, height: 1, width: 4 };
//! let window = Window { kernel: [1, 2], stride: [1, 2], ..Window::square(1) };
//! let pooling = Pooling::new(size, window, Rounding::Floor)?;
//! let mut x = vec![0.0; size.elements()];
//! (x[0], x[16], x[32], x[48]) = (3.0, 1.0, -2.0, -1.0);
//! let mut y = vec![0.0; pooling.output().elements()];
//! pooling.max(&ThreadPool::new(1), Isa::detect(), &x, &mut y);
//! assert_eq!((y[0], y[16]), (3.0, -1.0));
//! # Ok::<(), ocellus_tensor::WindowError>(())
//! ```

mod backward;
mod forward;
mod geometry;
mod global;
#[cfg(test)]
mod tests;

pub use geometry::Pooling;
pub use global::{global_avg, global_avg_grad, global_avg_of, global_sum};
