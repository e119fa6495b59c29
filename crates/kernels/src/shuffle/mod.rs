//! Moving pixels and channels of blocked tensors about: slices, borders, concatenation.
//!
//! Every one of them and every gradient is one of three copies: [`Grid::take`], [`Grid::place`] (a spatial slice and
//! its opposite) and [`gather_channels`] (channels from here and there).

mod channels;
mod grid;
#[cfg(test)]
mod tests;

pub use channels::{ChannelPart, gather_channels};
pub use grid::Grid;
