//! What is cheap to compute is computed again for the backward pass rather than kept from the forward pass.
//!
//! A normalised activation is one pass over memory away from the convolution's output, which the gradient of the
//! normalisation reads anyway. So
//!
//! ```text
//! for each step that is cheap, in order: of the value it makes, the readers in the forward pass come first; if the
//!     others (gradients) come much later, and all the step reads is there then, or is itself one cheap step away:
//!         the later readers get a second copy of the value, made just before the first of them
//! ```
//!
//! This is the idea of Chen et al., "Training deep nets with sublinear memory cost" (2016), where the cost is so small
//! that nothing has to be weighed.

use super::{Buffer, BufferId, Kernel, Lifetime, Narrow, Step};

/// Steps between the last reader that keeps the first copy and the first that gets the second.
const FAR: usize = 8;
/// Floats below which a buffer is not worth a step.
const LEAST: usize = 64 * 1024;

/// Adds the steps and buffers that compute things again.
pub fn recompute(buffers: &mut Vec<Buffer>, steps: &mut Vec<Step>) {
    let mut uses = Uses::new(buffers, steps);
    let mut again: Vec<(usize, Step)> = Vec::new();
    for index in 0..steps.len() {
        let Some((value, first_far)) = candidate(buffers, steps, &uses, index) else { continue };
        let Some(recipe) = recipe(buffers, steps, &uses, (index, first_far), 1) else { continue };
        let copies = uses.copies(buffers, steps, &recipe);
        let fresh = copies[copies.len() - 1].writes[0];
        for copy in copies {
            again.push((first_far, copy));
        }
        for reader in &mut steps[first_far..] {
            for read in reader.reads.iter_mut().filter(|read| **read == Some(value)) {
                *read = Some(fresh);
            }
        }
        uses.shorten(value, first_far);
    }
    insert(steps, again);
}

/// By buffer: the steps that write it and those that read it, in order.
struct Uses {
    writes: Vec<Vec<usize>>,
    reads: Vec<Vec<usize>>,
}

impl Uses {
    fn new(buffers: &[Buffer], steps: &[Step]) -> Self {
        let mut uses =
            Uses { writes: vec![Vec::new(); buffers.len()], reads: vec![Vec::new(); buffers.len()] };
        for (index, step) in steps.iter().enumerate() {
            step.reads.iter().flatten().for_each(|read| uses.reads[read.index()].push(index));
            step.writes.iter().for_each(|write| uses.writes[write.index()].push(index));
        }
        uses
    }

    /// Copies of the steps numbered `recipe`, each writing a buffer of its own that the later ones read.
    fn copies(&mut self, buffers: &mut Vec<Buffer>, steps: &[Step], recipe: &[usize]) -> Vec<Step> {
        let mut renamed: Vec<(BufferId, BufferId)> = Vec::new();
        let mut copies = Vec::new();
        for &index in recipe {
            let mut copy = steps[index].clone();
            copy.name = format!("{} again", copy.name);
            for read in copy.reads.iter_mut().flatten() {
                if let Some((_, fresh)) = renamed.iter().find(|(old, _)| old == read) {
                    *read = *fresh;
                }
            }
            let old = copy.writes[0];
            let fresh = BufferId(buffers.len() as u32);
            buffers.push(Buffer {
                name: format!("{} again", buffers[old.index()].name),
                ..buffers[old.index()].clone()
            });
            self.writes.push(Vec::new());
            self.reads.push(Vec::new());
            copy.writes[0] = fresh;
            renamed.push((old, fresh));
            copies.push(copy);
        }
        copies
    }

    /// The first copy of a value is no longer read from step `at` on.
    fn shorten(&mut self, value: BufferId, at: usize) {
        self.reads[value.index()].retain(|&reader| reader < at);
    }

    /// Whether the buffer's numbers are still those that step `made` saw when step `at` begins, without keeping them
    /// any longer than they are.
    fn holds(&self, buffers: &[Buffer], buffer: BufferId, made: usize, at: usize) -> bool {
        let rewritten = self.writes[buffer.index()].iter().any(|&writer| writer > made && writer < at);
        let kept = match buffers[buffer.index()].lifetime {
            Lifetime::Steps => self.reads[buffer.index()].last().is_some_and(|&last| last >= at),
            Lifetime::Persistent | Lifetime::Preparing | Lifetime::ToTheEnd => true,
        };
        kept && !rewritten
    }
}

/// If the step is cheap and what it makes waits long for a gradient: the value, and the first reader after the wait.
fn candidate(buffers: &[Buffer], steps: &[Step], uses: &Uses, index: usize) -> Option<(BufferId, usize)> {
    let value = made_by(buffers, steps, uses, index).filter(|value| buffers[value.index()].len >= LEAST)?;
    let readers = &uses.reads[value.index()];
    let before = std::iter::once(&index).chain(readers);
    let (_, &first_far) = before.zip(readers).max_by_key(|(before, after)| *after - *before)?;
    let last_near = readers.iter().copied().filter(|&reader| reader < first_far).max().unwrap_or(index);
    let is_far = first_far - last_near > FAR && is_gradient(&steps[first_far].kernel);
    is_far.then_some((value, first_far))
}

/// What a cheap step makes, if it is one buffer that nobody else writes.
fn made_by(buffers: &[Buffer], steps: &[Step], uses: &Uses, index: usize) -> Option<BufferId> {
    let step = &steps[index];
    let &[value] = &step.writes[..] else { return None };
    let buffer = &buffers[value.index()];
    let alone = uses.writes[value.index()] == [index] && buffer.inside.is_none();
    let cheap = is_cheap(&step.kernel) && step.scratch.is_none();
    (cheap && alone && buffer.lifetime == Lifetime::Steps).then_some(value)
}

/// The steps to run again, in order, so that what step `index` makes is there at step `at`: itself, after those of
/// its operands that are gone, which may be `depth` cheap steps away.
fn recipe(
    buffers: &[Buffer],
    steps: &[Step],
    uses: &Uses,
    (index, at): (usize, usize),
    depth: usize,
) -> Option<Vec<usize>> {
    let mut recipe = Vec::new();
    for &read in steps[index].reads.iter().flatten() {
        if uses.holds(buffers, read, index, at) {
            continue;
        }
        let &[maker] = &uses.writes[read.index()][..] else { return None };
        if depth == 0 || made_by(buffers, steps, uses, maker).is_none() {
            return None;
        }
        recipe.extend(self::recipe(buffers, steps, uses, (maker, at), depth - 1)?);
    }
    recipe.push(index);
    Some(recipe)
}

/// One pass over memory.
fn is_cheap(kernel: &Kernel) -> bool {
    matches!(
        kernel,
        Kernel::Normalise { .. }
            | Kernel::Elementwise(_)
            | Kernel::Activation(_)
            | Kernel::Broadcast { .. }
            | Kernel::Narrow(Narrow::Sum { .. })
    )
}

fn is_gradient(kernel: &Kernel) -> bool {
    matches!(
        kernel,
        Kernel::ConvWeightGrad(_)
            | Kernel::LinearWeightGrad(_)
            | Kernel::BatchNormGrad { .. }
            | Kernel::MaxPoolGrad(_)
            | Kernel::ActivationGrad(_)
            | Kernel::Elementwise(_)
            | Kernel::Narrow(Narrow::PairImages { .. } | Narrow::ReluGrad { .. })
    )
}

/// Puts each new step before the old step of its number.
fn insert(steps: &mut Vec<Step>, mut again: Vec<(usize, Step)>) {
    again.sort_by_key(|(at, _)| *at); // stable: a recipe stays in order
    let mut again = again.into_iter().peekable();
    for (index, step) in std::mem::take(steps).into_iter().enumerate() {
        while let Some((_, copy)) = again.next_if(|(at, _)| *at == index) {
            steps.push(copy);
        }
        steps.push(step);
    }
}
