//! A reference kernel as a step: turns the step's operands into views, without allocating.

use ocellus_tensor::Shape;

use super::Call;
use crate::lower::{OpCall, View, ViewMut, run_op};
use crate::plan::{MOST_OPERANDS, Reference};

/// Stands where there is no operand.
static NONE: Shape = Shape::scalar();

/// Runs the operation on the step's operands.
pub fn run(mut call: Call<'_>, kernel: &Reference) {
    let (read, written, random) = (call.step.reads.len(), call.step.writes.len(), call.random);
    let (inputs, outputs) = call.parts::<MOST_OPERANDS, { MOST_OPERANDS + 1 }>();
    let mut shapes = kernel.inputs.iter();
    let inputs = inputs.map(|data| View { shape: shapes.next().unwrap_or(&NONE), data });
    let mut shapes = kernel.outputs.iter();
    let mut outputs = outputs.map(|data| ViewMut { shape: shapes.next().unwrap_or(&NONE), data });
    let (inputs, outputs) = (&inputs[..read], &mut outputs[..written]);
    run_op(&kernel.op, OpCall { inputs, outputs, random });
}
