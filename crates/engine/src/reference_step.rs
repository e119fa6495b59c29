//! A reference kernel as a step: turns the step's operands into views, without allocating.

use ocellus_tensor::Shape;

use crate::execute::Operands;
use crate::lower::{OpCall, Random, View, ViewMut, run_op};
use crate::plan::Reference;

/// Most tensors an operation may read or write as one step.
pub const MOST_READS: usize = 16;
pub const MOST_WRITES: usize = 16;

/// Stands where there is no operand.
static NONE: Shape = Shape::scalar();

/// Runs the operation on the step's operands.
pub fn run(reference: &Reference, operands: Operands<'_>, random: Random) {
    let (reads, writes) = (&operands.step.reads, &operands.step.writes);
    let read_ranges: [_; MOST_READS] =
        std::array::from_fn(|i| operands.range(reads.get(i).copied().flatten()));
    let write_ranges: [_; MOST_WRITES] = std::array::from_fn(|i| operands.range(writes.get(i).copied()));
    let (inputs, outputs) = operands.arena.parts(read_ranges, write_ranges);
    let mut index = 0;
    let inputs = inputs.map(|data| {
        index += 1;
        View { shape: reference.inputs.get(index - 1).unwrap_or(&NONE), data }
    });
    let mut index = 0;
    let mut outputs = outputs.map(|data| {
        index += 1;
        ViewMut { shape: reference.outputs.get(index - 1).unwrap_or(&NONE), data }
    });
    let (inputs, outputs) = (&inputs[..reads.len()], &mut outputs[..writes.len()]);
    run_op(&reference.op, OpCall { inputs, outputs, random });
}
