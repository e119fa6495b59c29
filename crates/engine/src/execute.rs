//! Runs steps. One loop, one match, no allocation.

use ocellus_kernels::conv::Epilogue;
use ocellus_kernels::layout::{blocked_to_plain, plain_to_blocked};
use ocellus_kernels::threads::ThreadPool;
use ocellus_tensor::AlignedBuffer;

use crate::lower::Random;
use crate::plan::{BufferId, Kernel, Plan, Step};

/// Everything steps work with.
pub struct Machine {
    /// The arena all of the plan's buffers lie in.
    pub arena: AlignedBuffer,
    /// The threads.
    pub pool: ThreadPool,
    /// What random operations draw from.
    pub random: Random,
}

impl Machine {
    /// An arena of zeros and threads for `plan`.
    pub fn new(plan: &Plan) -> Self {
        let arena = AlignedBuffer::zeroed(plan.floats);
        Machine { arena, pool: ThreadPool::new(plan.threads), random: Random { seed: 0, step: 0 } }
    }

    /// Runs one step of `plan`.
    pub fn execute(&mut self, plan: &Plan, step: &Step) {
        let Machine { arena, pool, random } = self;
        let mut operands = Operands { plan, step, arena };
        match &step.kernel {
            Kernel::Reference(reference) => crate::reference_step::run(reference, operands, *random),
            &Kernel::ToBlocked { dims } => {
                let ([plain], [blocked, _]) = operands.parts();
                plain_to_blocked(pool, plan.isa, dims, plain, blocked);
            }
            &Kernel::ToPlain { dims } => {
                let ([blocked], [plain, _]) = operands.parts();
                blocked_to_plain(pool, plan.isa, dims, blocked, plain);
            }
            &Kernel::FoldBatchNorm { eps } => fold_batch_norm(operands, eps),
            Kernel::PackConv(recipe) => {
                let ([w, scale], [packed, _]) = operands.parts();
                recipe.pack(pool, w, optional(scale), packed);
            }
            Kernel::Conv { recipe, relu } => {
                let ([x, packed, bias, residual], [y, scratch]) = operands.parts();
                let epilogue = Epilogue { bias: optional(bias), residual: optional(residual), relu: *relu };
                recipe.run(pool, x, packed, epilogue, scratch, y);
            }
            Kernel::PackConvInputGrad(recipe) => {
                let ([w, _], [packed, _]) = operands.parts();
                recipe.pack(pool, w, packed);
            }
            Kernel::ConvInputGrad(recipe) => {
                let ([dy, packed, add], [dx, scratch]) = operands.parts();
                recipe.run(pool, dy, packed, optional(add), scratch, dx);
            }
            Kernel::ConvWeightGrad(recipe) => {
                let ([x, dy], [dw, scratch]) = operands.parts();
                recipe.run(pool, x, dy, scratch, dw);
            }
        }
    }
}

/// A step's operands, before they are turned into slices.
pub struct Operands<'a> {
    pub plan: &'a Plan,
    pub step: &'a Step,
    pub arena: &'a mut AlignedBuffer,
}

impl Operands<'_> {
    /// The reads, and the writes followed by the scratch room; an absent operand is an empty slice.
    pub fn parts<const R: usize, const W: usize>(&mut self) -> ([&[f32]; R], [&mut [f32]; W]) {
        debug_assert_eq!(
            (self.step.reads.len(), self.step.writes.len() + 1),
            (R, W),
            "operands of {}",
            self.step.name
        );
        let reads = std::array::from_fn(|i| self.range(self.step.reads[i]));
        let writes =
            std::array::from_fn(|i| self.range(self.step.writes.get(i).copied().or(self.step.scratch)));
        self.arena.parts(reads, writes)
    }

    /// Where a buffer lies.
    pub fn range(&self, buffer: Option<BufferId>) -> std::ops::Range<usize> {
        match buffer {
            Some(id) => {
                let buffer = &self.plan.buffers[id.index()];
                buffer.offset..buffer.offset + buffer.len
            }
            None => 0..0,
        }
    }
}

/// `None` for an absent operand.
pub fn optional(slice: &[f32]) -> Option<&[f32]> {
    (!slice.is_empty()).then_some(slice)
}

/// `scale = gamma / sqrt(var + eps)`, `shift = beta + (bias - mean) scale`.
fn fold_batch_norm(mut operands: Operands<'_>, eps: f32) {
    let ([bias, gamma, beta, mean, var], [scale, shift, _]) = operands.parts();
    let or = |slice: &[f32], c: usize, absent: f32| slice.get(c).copied().unwrap_or(absent);
    for c in 0..scale.len() {
        scale[c] = or(gamma, c, 1.0) / (var[c] + eps).sqrt();
        shift[c] = or(beta, c, 0.0) + (or(bias, c, 0.0) - mean[c]) * scale[c];
    }
}
