//! The one escape: an operation the user brings.

use std::fmt;
use std::sync::Arc;

use ocellus_tensor::{Shape, Tensor};

use crate::autodiff::GradientContext;
use crate::{GraphError, ValueId};

use super::{Op, Refusal, expect};

/// An operation of the user's own: shape, forward and backward. It runs in `f32` on plain row-major tensors.
pub trait CustomOp: Send + Sync + fmt::Debug {
    /// Its name, for messages and summaries.
    fn name(&self) -> &str;
    /// Output shapes from input shapes, or what is wrong.
    fn output_shapes(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String>;
    /// Outputs from inputs.
    fn forward(&self, inputs: &[&Tensor]) -> Vec<Tensor>;
    /// Gradients of all inputs from inputs and the gradients of all outputs.
    fn backward(&self, inputs: &[&Tensor], output_gradients: &[&Tensor]) -> Vec<Tensor>;
}

/// A [`CustomOp`] in a graph. Inputs and outputs: as it says.
#[derive(Clone, Debug)]
pub struct Custom {
    /// The user's operation.
    pub op: Arc<dyn CustomOp>,
}

/// Its gradient. Inputs: its inputs, then the gradient of each output. Outputs: the gradient of each input.
#[derive(Clone, Debug)]
pub struct CustomGrad {
    /// The user's operation.
    pub op: Arc<dyn CustomOp>,
    /// How many of the inputs are the operation's own.
    pub inputs: usize,
}

impl PartialEq for Custom {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.op, &other.op)
    }
}

impl Custom {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        self.op.output_shapes(inputs)
    }

    pub(super) fn gradient(&self, context: &mut GradientContext) -> Result<Vec<Option<ValueId>>, GraphError> {
        let mut inputs = context.inputs().to_vec();
        let own = inputs.len();
        inputs.extend(context.all_output_gradients()?);
        let grad = Op::CustomGrad(CustomGrad { op: self.op.clone(), inputs: own });
        Ok(context.add_all("", grad, &inputs)?.into_iter().map(Some).collect())
    }
}

impl PartialEq for CustomGrad {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.op, &other.op) && self.inputs == other.inputs
    }
}

impl CustomGrad {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let Some((own, gradients)) = inputs.split_at_checked(self.inputs) else {
            return Err(format!("needs the operation's {} inputs, got {}", self.inputs, inputs.len()));
        };
        let outputs = self.op.output_shapes(own)?;
        if outputs.len() != gradients.len() {
            return Err(format!("needs {} output gradients, got {}", outputs.len(), gradients.len()));
        }
        for (output, gradient) in outputs.iter().zip(gradients) {
            expect::shape(gradient, "an output's gradient", output)?;
        }
        Ok(own.iter().map(|&shape| shape.clone()).collect())
    }
}
