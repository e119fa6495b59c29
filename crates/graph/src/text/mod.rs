//! A readable text form of a graph, one line per input, parameter, node, output and loss.
//!
//! ```text
//! network small
//! input x (1, 3, 8, 8)
//! param conv1.weight (4, 3, 3, 3) init=variance_scaling:1.4142135:in:normal role=weight lr_mult=1 decay_mult=1 frozen=false
//! conv1 = conv2d(x, conv1.weight; kernel=3x3 stride=1x1 padding=1,1,1,1 dilation=1x1 groups=1)
//! relu1 = relu(conv1)
//! output output = relu1
//! loss loss = ce weight=1
//! ```
//!
//! Lines stand in the order in which things were added, so reading gives back an equal graph, ids included. Padding is
//! top, left, bottom, right. Output number i of a node is `NAME:i`. A name with anything but letters, digits and
//! `_ . : / - +` stands in double quotes, with `\"`, `\\` and `\n` inside. Lines that start with `#` are comments. A
//! param's role (weight), multipliers (1) and frozen (false), and a loss's weight (1), may be left away by whoever
//! writes this by hand.

mod attribute;
mod operations;
mod read;
mod scan;
mod write;

pub use read::from_text;
pub use write::to_text;
