//! The same numbers in another shape.

/// Row-major order kept. Each entry: a size, `0` to keep the input's size at that position, `-1` (once) for what
/// remains; so `[0, -1]` flattens each image, whatever the batch.
///
/// Input: x. Output: y.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reshape {
    /// The sizes.
    pub dims: Vec<isize>,
}
