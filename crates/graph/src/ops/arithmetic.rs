//! Two tensors, element by element, with broadcasting; and the sums and copies that are its gradient.

use ocellus_tensor::Shape;

use crate::autodiff::GradientContext;
use crate::{GraphError, ValueId};

use super::{Activation, Op, Refusal, expect};

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

    pub(super) fn gradient(&self, context: &mut GradientContext) -> Result<Vec<Option<ValueId>>, GraphError> {
        let (a, b, dy) = (context.input(0), context.input(1), context.dy()?);
        let da = if context.wants(0) { Some(self.gradient_a(context, [a, b], dy)?) } else { None };
        let db = if context.wants(1) { Some(self.gradient_b(context, [a, b], dy)?) } else { None };
        Ok(vec![da, db])
    }

    fn gradient_a(
        &self,
        context: &mut GradientContext,
        [a, b]: [ValueId; 2],
        dy: ValueId,
    ) -> Result<ValueId, GraphError> {
        let repeated = match self.kind {
            BinaryKind::Add | BinaryKind::Sub => dy,
            BinaryKind::Mul => context.add("a", binary(BinaryKind::Mul), &[dy, b])?,
            BinaryKind::Div => context.add("a", binary(BinaryKind::Div), &[dy, b])?,
            BinaryKind::Maximum => maximum_gradient(context, "a", [a, b], dy)?,
        };
        sum_to(context, "a.sum_to", repeated, a)
    }

    fn gradient_b(
        &self,
        context: &mut GradientContext,
        [a, b]: [ValueId; 2],
        dy: ValueId,
    ) -> Result<ValueId, GraphError> {
        let repeated = match self.kind {
            BinaryKind::Add => dy,
            BinaryKind::Sub => negated(context, dy)?,
            BinaryKind::Mul => context.add("b", binary(BinaryKind::Mul), &[dy, a])?,
            BinaryKind::Div => {
                // -dy a / b^2 = -(dy y) / b
                let dy_y = context.add("b.product", binary(BinaryKind::Mul), &[dy, context.output(0)])?;
                let quotient = context.add("b.quotient", binary(BinaryKind::Div), &[dy_y, b])?;
                negated(context, quotient)?
            }
            BinaryKind::Maximum => maximum_gradient(context, "b", [b, a], dy)?,
        };
        sum_to(context, "b.sum_to", repeated, b)
    }
}

fn binary(kind: BinaryKind) -> Op {
    Op::Binary(Binary { kind })
}

fn negated(context: &mut GradientContext, x: ValueId) -> Result<ValueId, GraphError> {
    let minus = Op::Activation(Activation::Affine { scale: -1.0, shift: 0.0 });
    context.add("b", minus, &[x])
}

/// [`MaximumGrad`] for `operands[0]`, both repeated to the shape of dy first.
fn maximum_gradient(
    context: &mut GradientContext,
    part: &str,
    operands: [ValueId; 2],
    dy: ValueId,
) -> Result<ValueId, GraphError> {
    let shape = context.shape_of(dy);
    let mut inputs = vec![];
    for (which, operand) in ["this", "other"].into_iter().zip(operands) {
        inputs.push(repeat_to(context, &format!("{part}.{which}"), operand, &shape)?);
    }
    inputs.push(dy);
    context.add(part, Op::MaximumGrad(MaximumGrad), &inputs)
}

/// `x` summed to the shape of `like`, if it has another one.
fn sum_to(
    context: &mut GradientContext,
    part: &str,
    x: ValueId,
    like: ValueId,
) -> Result<ValueId, GraphError> {
    let shape = context.shape_of(like);
    if context.shape_of(x) == shape { Ok(x) } else { context.add(part, Op::SumTo(SumTo { shape }), &[x]) }
}

/// `x` repeated to `shape`, if it has another one.
pub(super) fn repeat_to(
    context: &mut GradientContext,
    part: &str,
    x: ValueId,
    shape: &Shape,
) -> Result<ValueId, GraphError> {
    if context.shape_of(x) == *shape {
        return Ok(x);
    }
    context.add(part, Op::BroadcastTo(BroadcastTo { shape: shape.clone() }), &[x])
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

    pub(super) fn gradient(&self, context: &mut GradientContext) -> Result<Vec<Option<ValueId>>, GraphError> {
        let (shape, dy) = (context.shape(0), context.dy()?);
        Ok(vec![Some(repeat_to(context, "", dy, &shape)?)])
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

    pub(super) fn gradient(&self, context: &mut GradientContext) -> Result<Vec<Option<ValueId>>, GraphError> {
        let (x, dy) = (context.input(0), context.dy()?);
        Ok(vec![Some(sum_to(context, "", dy, x)?)])
    }
}
