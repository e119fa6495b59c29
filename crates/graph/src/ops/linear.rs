//! The fully connected layer and its gradients.

use ocellus_tensor::Shape;

use crate::autodiff::GradientContext;
use crate::{GraphError, ValueId};

use super::{Op, Reduce, ReduceKind, Refusal, expect};

/// `y = x w^T + b`.
///
/// Inputs: x `(N, F)`, w `(O, F)`, optionally b `(O)`. Output: y `(N, O)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Linear;

impl Linear {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let ([x, w], b) = expect::inputs_and_maybe(inputs, ["x", "w"], "b")?;
        let [rows, features] = expect::matrix(x, "input")?;
        let [out, expected] = expect::matrix(w, "weight")?;
        if features != expected {
            return Err(format!("input has {features} features, the weight expects {expected}"));
        }
        if let Some(b) = b {
            expect::vector(b, "the bias", out)?;
        }
        Ok(vec![Shape::from([rows, out])])
    }

    pub(super) fn gradient(&self, context: &mut GradientContext) -> Result<Vec<Option<ValueId>>, GraphError> {
        let (x, w, dy) = (context.input(0), context.input(1), context.dy()?);
        let mut gradients = vec![None; context.inputs().len()];
        if context.wants(0) {
            gradients[0] = Some(context.add("input", Op::LinearGradInput(LinearGradInput), &[dy, w])?);
        }
        if context.wants(1) {
            gradients[1] = Some(context.add("weight", Op::LinearGradWeight(LinearGradWeight), &[x, dy])?);
        }
        if context.wants(2) {
            let sum = Reduce { kind: ReduceKind::Sum, axes: vec![0], keep: false };
            gradients[2] = Some(context.add("bias", Op::Reduce(sum), &[dy])?);
        }
        Ok(gradients)
    }

    /// Multiply-accumulates for inputs of these shapes; each gradient costs as many.
    pub(crate) fn macs(&self, inputs: &[&Shape]) -> u64 {
        rows_by_weights(inputs[0], inputs[1])
    }
}

/// `dx = dy w`. Inputs: dy `(N, O)`, w `(O, F)`. Output: dx `(N, F)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinearGradInput;

impl LinearGradInput {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let [dy, w] = expect::inputs(inputs, ["dy", "w"])?;
        let [rows, out] = expect::matrix(dy, "dy")?;
        let [expected, features] = expect::matrix(w, "weight")?;
        if out != expected {
            return Err(format!("dy has {out} features, the weight makes {expected}"));
        }
        Ok(vec![Shape::from([rows, features])])
    }

    pub(crate) fn macs(&self, inputs: &[&Shape]) -> u64 {
        rows_by_weights(inputs[0], inputs[1])
    }
}

/// `dw = dy^T x`. Inputs: x `(N, F)`, dy `(N, O)`. Output: dw `(O, F)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinearGradWeight;

impl LinearGradWeight {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let [x, dy] = expect::inputs(inputs, ["x", "dy"])?;
        let [rows, features] = expect::matrix(x, "input")?;
        let [dy_rows, out] = expect::matrix(dy, "dy")?;
        if rows != dy_rows {
            return Err(format!("input has {rows} rows, dy has {dy_rows}"));
        }
        Ok(vec![Shape::from([out, features])])
    }

    pub(crate) fn macs(&self, inputs: &[&Shape]) -> u64 {
        let [x, dy] = [inputs[0], inputs[1]];
        (x.elements() as u64).saturating_mul(dy[1] as u64)
    }
}

/// One multiply-accumulate for each row and each weight.
fn rows_by_weights(rows: &Shape, weights: &Shape) -> u64 {
    (rows[0] as u64).saturating_mul(weights.elements() as u64)
}
