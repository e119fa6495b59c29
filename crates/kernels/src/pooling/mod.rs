//! Max and average pooling over blocked tensors, and their gradients.

mod backward;
mod forward;
mod geometry;
mod global;
#[cfg(test)]
mod tests;

pub use geometry::Pooling;
pub use global::{global_avg, global_avg_grad};
