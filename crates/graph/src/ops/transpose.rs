//! Axes in another order.

/// Output axis i is input axis `order[i]`. Input: x. Output: y.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Transpose {
    /// A permutation of the axes.
    pub order: Vec<usize>,
}
