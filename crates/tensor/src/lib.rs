//! Shapes, element types, tensors, aligned buffers and window geometry.
//!
//! Everything else in Ocellus stands on these few types. Values are logically N,C,H,W; a vector is N,C.
#![deny(unsafe_code)]

mod buffer;
mod conv;
mod element;
mod parameters;
mod shape;
mod tensor;
mod weights;
mod window;

pub use buffer::AlignedBuffer;
pub use conv::ConvGeometry;
pub use element::Element;
pub use parameters::{Layered, Parameters};
pub use shape::Shape;
pub use tensor::{Tensor, TensorError};
pub use weights::Weights;
pub use window::{Padding, Rounding, Window, WindowError};
