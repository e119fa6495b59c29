//! Two tensors, element by element, with broadcasting; and the sums and copies that are its gradient.

use ocellus_tensor::Shape;

/// What is done with each pair of elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum BinaryKind {
    Add,
    Sub,
    Mul,
    Div,
    Maximum,
}

/// `a op b`. Axes are lined up from the right and an axis of size 1 is repeated (NumPy's rule).
///
/// Inputs: a, b. Output: y of the common shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Binary {
    /// Which operation.
    pub kind: BinaryKind,
}

/// The gradient of `maximum(a, b)` with respect to a: dy where a > b, half of it where they are equal, else 0.
///
/// Inputs: a, b, dy (all of one shape). Output: da.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MaximumGrad;

/// Sums over the axes along which `shape` was repeated: the gradient of broadcasting.
///
/// Input: x. Output: y of `shape`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SumTo {
    /// Shape to come back to.
    pub shape: Shape,
}

/// Repeats x along its axes of size 1 (and missing leading axes) until it has `shape`.
///
/// Input: x. Output: y of `shape`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BroadcastTo {
    /// Shape to reach.
    pub shape: Shape,
}
