//! Moving pixels and channels of blocked tensors about: slices, borders, concatenation, enlargement.
//!
//! Most of them and their gradients are one of three copies: [`Grid::take`], [`Grid::place`] (a spatial slice and
//! its opposite) and [`gather_channels`] (channels from here and there). [`Edge`] and [`Enlarge`] repeat pixels.
//!
//! ```
//! use ocellus_kernels::shuffle::{ChannelPart, gather_channels};
//! use ocellus_kernels::{elementwise::Blocked, isa::Isa, threads::ThreadPool};
//!
//! // Two channels of zeros before the three of x: one block, one pixel.
//! let x: Vec<f32> = (1..=16).map(|lane| lane as f32).collect();
//! let parts = [ChannelPart::Zeros(2), ChannelPart::all(&x, 3)];
//! let size = Blocked { batch: 1, channels: 5, height: 1, width: 1 };
//! let mut y = vec![f32::NAN; size.elements()];
//! gather_channels(&ThreadPool::new(1), Isa::detect(), size, &parts, &mut y);
//! assert_eq!(y[..5], [0.0, 0.0, 1.0, 2.0, 3.0]);
//! ```

mod channels;
mod edge;
mod enlarge;
mod grid;
#[cfg(test)]
mod tests;

pub use channels::{ChannelPart, gather_channels};
pub use edge::Edge;
pub use enlarge::Enlarge;
pub use grid::Grid;
