//! Two tensors, element by element, with broadcasting; and the sums and copies that are its gradient.

use ocellus_tensor::Shape;

use super::{Refusal, expect};

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

impl Binary {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let [a, b] = expect::inputs(inputs, ["a", "b"])?;
        Ok(vec![broadcast(a, b)?])
    }
}

/// The common shape of two tensors by NumPy's rule.
fn broadcast(a: &Shape, b: &Shape) -> Result<Shape, Refusal> {
    let rank = a.rank().max(b.rank());
    let size = |shape: &Shape, axis: usize| match (axis + shape.rank()).checked_sub(rank) {
        Some(own) => shape[own],
        None => 1,
    };
    let mut dims = Vec::with_capacity(rank);
    for axis in 0..rank {
        match (size(a, axis), size(b, axis)) {
            (x, y) if x == y => dims.push(x),
            (1, y) => dims.push(y),
            (x, 1) => dims.push(x),
            (x, y) => {
                let message =
                    format!("a has shape {a}, b has shape {b}: {x} and {y} do not agree on axis {axis}");
                return Err(message);
            }
        }
    }
    Ok(Shape::new(dims))
}

/// Refuses shapes of which `small` does not repeat to `large`.
fn repeats_to(small: &Shape, large: &Shape) -> Result<(), Refusal> {
    match broadcast(small, large) {
        Ok(common) if common == *large => Ok(()),
        _ => Err(format!("shape {small} does not repeat to {large}")),
    }
}

/// The gradient of `maximum(a, b)` with respect to a: dy where a > b, half of it where they are equal, else 0.
///
/// Inputs: a, b, dy (all of one shape). Output: da.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MaximumGrad;

impl MaximumGrad {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let [a, b, dy] = expect::inputs(inputs, ["a", "b", "dy"])?;
        expect::same(a, "a", b, "b")?;
        expect::same(a, "a", dy, "dy")?;
        Ok(vec![a.clone()])
    }
}

/// Sums over the axes along which `shape` was repeated: the gradient of broadcasting.
///
/// Input: x. Output: y of `shape`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SumTo {
    /// Shape to come back to.
    pub shape: Shape,
}

impl SumTo {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let [x] = expect::inputs(inputs, ["x"])?;
        repeats_to(&self.shape, x)?;
        Ok(vec![self.shape.clone()])
    }
}

/// Repeats x along its axes of size 1 (and missing leading axes) until it has `shape`.
///
/// Input: x. Output: y of `shape`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BroadcastTo {
    /// Shape to reach.
    pub shape: Shape,
}

impl BroadcastTo {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let [x] = expect::inputs(inputs, ["x"])?;
        repeats_to(x, &self.shape)?;
        Ok(vec![self.shape.clone()])
    }
}
