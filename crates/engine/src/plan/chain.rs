//! Which two steps run as one?
//!
//! A pointwise convolution and the depthwise one behind it, if nothing else reads what is between them: see [`ConvChain`].

use ocellus_kernels::conv::ConvChain;
use ocellus_kernels::format::Format;

use super::{Buffer, BufferId, Kernel, Lifetime, Step};

/// Joins what can be joined.
pub fn join(buffers: &mut Vec<Buffer>, steps: &mut Vec<Step>, threads: usize) {
    let mut index = 0;
    while index + 1 < steps.len() {
        if let Some((mut step, scratch)) = joined(buffers, steps, index, threads) {
            if scratch > 0 {
                step.scratch = Some(BufferId(buffers.len() as u32));
                buffers.push(Buffer {
                    name: "scratch".to_owned(),
                    format: Format::F32,
                    len: scratch,
                    lifetime: Lifetime::Steps,
                    inside: None,
                    map: 0,
                    offset: 0,
                });
            }
            steps.splice(index..index + 2, [step]);
        }
        index += 1;
    }
}

/// What the step at `index` and the next one are together, and the length of its scratch.
fn joined(buffers: &[Buffer], steps: &[Step], index: usize, threads: usize) -> Option<(Step, usize)> {
    let (first, second) = (&steps[index], &steps[index + 1]);
    let Kernel::Conv { recipe: a, clamp: low, .. } = &first.kernel else { return None };
    let Kernel::Conv { recipe: b, clamp: high, .. } = &second.kernel else { return None };
    let recipe = ConvChain::new(a, b)?;
    let operand = |step: &Step, i: usize| step.reads.get(i).copied().flatten();
    let between = first.writes[0];
    let adds = operand(first, 3).or(operand(second, 3)).is_some();
    if operand(second, 0) != Some(between) || adds || !is_between(buffers, steps, between) {
        return None;
    }
    let operands = [0, 1, 2].map(|i| operand(first, i)).into_iter().chain([1, 2].map(|i| operand(second, i)));
    let scratch = recipe.scratch_len(threads);
    let step = Step::new(
        format!("{} + {}", first.name, second.name),
        Kernel::ConvChain { recipe, clamps: [*low, *high] },
    );
    let step =
        step.with_macs(first.macs + second.macs).reading(operands).writing(second.writes.iter().copied());
    Some((step, scratch))
}

/// Whether one step writes the buffer and one reads it, and no more is done with it.
fn is_between(buffers: &[Buffer], steps: &[Step], buffer: BufferId) -> bool {
    let Buffer { lifetime, inside, .. } = buffers[buffer.index()];
    let has_parts = buffers.iter().any(|b| b.inside.is_some_and(|(whole, _)| whole == buffer));
    let uses = steps.iter().flat_map(Step::buffers).filter(|&used| used == buffer).count();
    lifetime == Lifetime::Steps && inside.is_none() && !has_parts && uses == 2
}
