//! Runs steps. One loop, one match, no allocation.

use ocellus_graph::ops::{AdamUpdate, SgdUpdate, Statistics};
use ocellus_kernels::conv::Epilogue;
use ocellus_kernels::elementwise::{Blocked, activation, activation_grad, dropout, dropout_blocked};
use ocellus_kernels::elementwise::{Source, add, channel_sum, channel_sum_plain, mul, relu, relu_grad, sub};
use ocellus_kernels::layout::{blocked_to_plain, plain_to_blocked};
use ocellus_kernels::loss::{SoftmaxCrossEntropy, Target, accuracy};
use ocellus_kernels::norm::{self, AffineGrads, Moments, Normalisation, Normalise, NormaliseGrad, ReluMask};
use ocellus_kernels::pooling::{global_avg, global_avg_grad};
use ocellus_kernels::random::DropoutMask;
use ocellus_kernels::shuffle::{ChannelPart, gather_channels};
use ocellus_kernels::threads::ThreadPool;
use ocellus_kernels::update::{Adam, RunningUpdate, Sgd, accumulate};
use ocellus_tensor::AlignedBuffer;

use crate::lower::Random;
use crate::plan::{BufferId, Channels, Elementwise, Kernel, Mask, Plan, Step};

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
        let isa = plan.isa;
        match &step.kernel {
            Kernel::Reference(reference) => crate::reference_step::run(reference, operands, *random),
            &Kernel::ToBlocked { dims } => {
                let ([plain], [blocked, _]) = operands.parts();
                plain_to_blocked(pool, isa, dims, plain, blocked);
            }
            &Kernel::ToPlain { dims } => {
                let ([blocked], [plain, _]) = operands.parts();
                blocked_to_plain(pool, isa, dims, blocked, plain);
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
            Kernel::PackLinear(recipe) => {
                let ([w, _], [packed, _]) = operands.parts();
                recipe.pack(pool, w, packed);
            }
            Kernel::Linear { recipe, relu } => {
                let ([x, packed, bias, residual], [y, scratch]) = operands.parts();
                let epilogue = Epilogue { bias: optional(bias), residual: optional(residual), relu: *relu };
                recipe.run(pool, x, packed, epilogue, scratch, y);
            }
            Kernel::PackLinearInputGrad(recipe) => {
                let ([w, _], [packed, _]) = operands.parts();
                recipe.pack(pool, w, packed);
            }
            Kernel::LinearInputGrad(recipe) => {
                let ([dy, packed, add], [dx, scratch]) = operands.parts();
                recipe.run(pool, dy, packed, optional(add), scratch, dx);
            }
            Kernel::LinearWeightGrad(recipe) => {
                let ([x, dy], [dw, scratch]) = operands.parts();
                recipe.run(pool, x, dy, scratch, dw);
            }
            &Kernel::BatchStatistics { size } => {
                let ([x], [mean, var, scratch]) = operands.parts();
                norm::statistics(pool, isa, size, x, Moments { mean, var }, scratch);
            }
            &Kernel::Normalise { size, eps, relu } => {
                let ([x, gamma, beta, mean, var, residual], [y, _]) = operands.parts();
                let norm = Normalisation { mean, var, gamma: optional(gamma), beta: optional(beta), eps };
                Normalise { size, norm, residual: optional(residual), relu }.run(pool, isa, shared(x), y);
            }
            Kernel::BatchNormGrad { .. } => batch_norm_grad(operands, pool),
            Kernel::MaxPool(pooling) => {
                let ([x], [y, _]) = operands.parts();
                pooling.max(pool, isa, x, y);
            }
            Kernel::MaxPoolGrad(pooling) => {
                let ([x, dy], [dx, _]) = operands.parts();
                pooling.max_grad(pool, isa, x, dy, dx);
            }
            Kernel::AvgPool { pooling, include_padding } => {
                let ([x], [y, _]) = operands.parts();
                pooling.avg(pool, isa, *include_padding, x, y);
            }
            Kernel::AvgPoolGrad { pooling, include_padding } => {
                let ([dy], [dx, _]) = operands.parts();
                pooling.avg_grad(pool, isa, *include_padding, dy, dx);
            }
            &Kernel::GlobalAvgPool { size } => {
                let ([x], [y, _]) = operands.parts();
                global_avg(pool, isa, size, x, y);
            }
            &Kernel::GlobalAvgPoolGrad { size } => {
                let ([dy], [dx, _]) = operands.parts();
                global_avg_grad(pool, isa, size, dy, dx);
            }
            &Kernel::Elementwise(function) => elementwise(function, operands, pool),
            &Kernel::Activation(function) => {
                let ([x], [y, _]) = operands.parts();
                activation(pool, isa, function, shared(x), y);
            }
            &Kernel::ActivationGrad(function) => {
                let ([dy, x], [dx, _]) = operands.parts();
                activation_grad(pool, isa, function, x, shared(dy), dx);
            }
            &Kernel::Dropout { rate, stream, size } => {
                let ([x], [y, _]) = operands.parts();
                let mask = DropoutMask::new(rate, random.seed, random.step, stream);
                match size {
                    Some(size) => dropout_blocked(pool, isa, size, (rate, &mask), shared(x), y),
                    None => dropout(pool, isa, (rate, &mask), shared(x), y),
                }
            }
            Kernel::TakeGrid(grid) => {
                let ([x], [y, _]) = operands.parts();
                grid.take(pool, x, y);
            }
            Kernel::PlaceGrid { grid, fill } => {
                let ([x], [y, _]) = operands.parts();
                grid.place(pool, *fill, x, y);
            }
            Kernel::GatherChannels { size, parts } => gather(*size, parts, operands, pool),
            &Kernel::SoftmaxCrossEntropy { classes, labels, smoothing } => {
                let ([logits, target], [loss, scratch]) = operands.parts();
                let function = SoftmaxCrossEntropy { classes, target: kind_of(labels, target), smoothing };
                loss[0] = function.loss(pool, isa, logits, scratch);
            }
            &Kernel::SoftmaxCrossEntropyGrad { classes, labels, smoothing } => {
                let ([logits, target, dloss], [dx, _]) = operands.parts();
                let function = SoftmaxCrossEntropy { classes, target: kind_of(labels, target), smoothing };
                function.gradient(pool, isa, logits, dloss[0], dx);
            }
            &Kernel::Accuracy { top } => {
                let ([scores, label], [share, _]) = operands.parts();
                share[0] = accuracy(pool, scores, label, top);
            }
            Kernel::Sgd(update) => sgd(update, operands, pool),
            Kernel::Adam(update) => adam(update, operands, pool),
            &Kernel::Accumulate { scale } => {
                let ([gradient], [sum, _]) = operands.parts();
                accumulate(pool, isa, scale, gradient, sum);
            }
            Kernel::RunningUpdate(update) => {
                let ([mean, var], [running_mean, running_var, _]) = operands.parts();
                let update = RunningUpdate { momentum: update.momentum, count: update.count, mean, var };
                update.run(running_mean, running_var);
            }
            &Kernel::ChannelSum { size } => {
                let ([x], [sums, scratch]) = operands.parts();
                channel_sum(pool, isa, size, x, sums, scratch);
            }
            Kernel::ColumnSum => {
                let ([x], [sums, scratch]) = operands.parts();
                channel_sum_plain(pool, isa, x, sums, scratch);
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
    /// The reads, and the writes followed by the scratch room; an absent operand is an empty slice, and so is the
    /// read that shares the first write's room.
    pub fn parts<const R: usize, const W: usize>(&mut self) -> ([&[f32]; R], [&mut [f32]; W]) {
        debug_assert!(
            self.step.reads.len() <= R && self.step.writes.len() < W,
            "operands of {}",
            self.step.name
        );
        let shared = self.step.may_share.filter(|_| self.step.shares);
        let own = |i: usize| self.step.reads.get(i).copied().flatten().filter(|_| shared != Some(i));
        let reads = std::array::from_fn(|i| self.range(own(i)));
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

/// The operand, or the output that holds it if it has no room of its own.
fn shared(slice: &[f32]) -> Source<'_> {
    if slice.is_empty() { Source::InPlace } else { Source::Slice(slice) }
}

fn elementwise(function: Elementwise, mut operands: Operands<'_>, pool: &ThreadPool) {
    let isa = operands.plan.isa;
    if function == Elementwise::Relu {
        let ([x], [y, _]) = operands.parts();
        return relu(pool, isa, shared(x), y);
    }
    let ([a, b], [y, _]) = operands.parts();
    match function {
        Elementwise::Relu => unreachable!("has one operand"),
        Elementwise::ReluGrad => relu_grad(pool, isa, b, shared(a), y),
        Elementwise::Add => add(pool, isa, shared(a), b, y),
        Elementwise::Sub => sub(pool, isa, shared(a), b, y),
        Elementwise::Mul => mul(pool, isa, shared(a), b, y),
    }
}

/// Most parts a step gathers.
const MOST_PARTS: usize = 16;

fn gather(size: Blocked, parts: &[Channels], mut operands: Operands<'_>, pool: &ThreadPool) {
    let isa = operands.plan.isa;
    let (reads, [y, _]) = operands.parts::<MOST_PARTS, 2>();
    let mut sources = [ChannelPart::Zeros(0); MOST_PARTS];
    for (source, part) in sources.iter_mut().zip(parts) {
        *source = match *part {
            Channels::Zeros(count) => ChannelPart::Zeros(count),
            Channels::Of { operand, channels, first, count } => {
                ChannelPart::Of { x: reads[operand], channels, first, count }
            }
        };
    }
    gather_channels(pool, isa, size, &sources[..parts.len()], y);
}

fn kind_of(labels: bool, target: &[f32]) -> Target<'_> {
    if labels { Target::Labels(target) } else { Target::Probabilities(target) }
}

fn sgd(update: &SgdUpdate, mut operands: Operands<'_>, pool: &ThreadPool) {
    let isa = operands.plan.isa;
    let SgdUpdate { momentum, nesterov, weight_decay, lr_mult } = *update;
    let rate = |lr: &[f32]| lr[0] * lr_mult;
    if momentum == 0.0 {
        let ([gradient, lr], [w, _]) = operands.parts();
        return Sgd { rate: rate(lr), momentum, nesterov, weight_decay }.run(pool, isa, gradient, None, w);
    }
    let ([gradient, lr], [w, velocity, _]) = operands.parts();
    Sgd { rate: rate(lr), momentum, nesterov, weight_decay }.run(pool, isa, gradient, Some(velocity), w);
}

fn adam(update: &AdamUpdate, mut operands: Operands<'_>, pool: &ThreadPool) {
    let isa = operands.plan.isa;
    let AdamUpdate { beta1, beta2, eps, weight_decay, lr_mult } = *update;
    let ([gradient, lr, t], [w, m, v, _]) = operands.parts();
    let adam = Adam { rate: lr[0] * lr_mult, step: t[0], beta1, beta2, eps, weight_decay };
    adam.run(pool, isa, gradient, [w, m, v]);
}

fn batch_norm_grad(mut operands: Operands<'_>, pool: &ThreadPool) {
    let isa = operands.plan.isa;
    let Kernel::BatchNormGrad { size, eps, statistics, mask } = operands.step.kernel else { return };
    let ([dy, x, y, gamma, beta, mean, var], [dx, dgamma, dbeta, scratch]) = operands.parts();
    let norm = Normalisation { mean, var, gamma: optional(gamma), beta: optional(beta), eps };
    let mask = match mask {
        Mask::None => ReluMask::None,
        Mask::Output => ReluMask::Output(y),
        Mask::Recompute => ReluMask::Recompute,
    };
    let grad = NormaliseGrad { size, norm, mask };
    let from = shared(dy);
    let incoming = if dy.is_empty() { &*dx } else { dy };
    let sums = AffineGrads { dgamma: &mut *dgamma, dbeta: &mut *dbeta };
    grad.reduce((pool, isa), x, incoming, sums, scratch);
    match statistics {
        Statistics::Batch => grad.apply((pool, isa), x, from, (dgamma, dbeta), dx),
        Statistics::Running => grad.apply_running((pool, isa), x, from, dx),
    }
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
