//! Sums and means over axes.

/// What is made of the elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum ReduceKind {
    Sum,
    Mean,
    Max,
}

/// Input: x. Output: y with `axes` of size 1 (`keep`) or gone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reduce {
    /// Sum, mean or maximum. (The gradient of Max goes to all largest elements in equal shares.)
    pub kind: ReduceKind,
    /// Which axes, ascending.
    pub axes: Vec<usize>,
    /// Keep the axes, of size 1.
    pub keep: bool,
}
