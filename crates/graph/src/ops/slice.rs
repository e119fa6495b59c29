//! A part of a tensor along one axis. Splitting is several slices.

use ocellus_tensor::Shape;

/// `y = x[start, start + step, ...]`, `count` of them, along `axis`. Input: x. Output: y.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slice {
    /// Which axis.
    pub axis: usize,
    /// First index.
    pub start: usize,
    /// Distance between indices, at least 1.
    pub step: usize,
    /// How many indices.
    pub count: usize,
}

/// The gradient of [`Slice`]: dy where the slice was, zeros elsewhere. Input: dy. Output: dx of shape `input`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SliceGrad {
    /// The slice.
    pub slice: Slice,
    /// Shape of the sliced x.
    pub input: Shape,
}
