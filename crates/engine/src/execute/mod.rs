//! Runs steps: one match, in which every kernel is one call, and no allocation.

mod maps;
mod narrow;
mod norms;
mod products;
mod reference;
mod shuffle;
mod training;

use std::ops::Range;

use ocellus_kernels::elementwise::Source;
use ocellus_kernels::isa::Isa;
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
        Machine { arena, pool: ThreadPool::new(plan.threads), random: Random::default() }
    }

    /// Runs one step of `plan`.
    pub fn execute(&mut self, plan: &Plan, step: &Step) {
        let Machine { arena, pool, random } = self;
        let call = Call { plan, step, arena, pool, random: *random };
        match &step.kernel {
            Kernel::Reference(kernel) => reference::run(call, kernel),
            Kernel::Narrow(kernel) => narrow::run(call, kernel),
            Kernel::ToBlocked { dims } => maps::to_blocked(call, *dims),
            Kernel::ToPlain { dims } => maps::to_plain(call, *dims),
            Kernel::FoldBatchNorm { eps } => products::fold_batch_norm(call, *eps),
            Kernel::PackConv(recipe) => products::pack_conv(call, recipe),
            Kernel::Conv { recipe, clamp, residual_worth } => {
                products::conv(call, recipe, *clamp, *residual_worth);
            }
            Kernel::ConvChain { recipe, clamps } => products::conv_chain(call, recipe, *clamps),
            Kernel::PackConvInputGrad(recipe) => products::pack_conv_input_grad(call, recipe),
            Kernel::ConvInputGrad { recipe, clamp } => products::conv_input_grad(call, recipe, *clamp),
            Kernel::ConvWeightGrad(recipe) => products::conv_weight_grad(call, recipe),
            Kernel::PackLinear(recipe) => products::pack_linear(call, recipe),
            Kernel::Linear { recipe, clamp } => products::linear(call, recipe, *clamp),
            Kernel::PackLinearInputGrad(recipe) => products::pack_linear_input_grad(call, recipe),
            Kernel::LinearInputGrad(recipe) => products::linear_input_grad(call, recipe),
            Kernel::LinearWeightGrad(recipe) => products::linear_weight_grad(call, recipe),
            Kernel::BatchStatistics { size } => norms::batch_statistics(call, *size),
            Kernel::Normalise { size, eps, relu } => norms::normalise(call, *size, *eps, *relu),
            Kernel::BatchNormGrad { size, eps, statistics, mask } => {
                norms::batch_norm_grad(call, *size, *eps, (*statistics, *mask));
            }
            Kernel::GroupNorm(norm) => norms::group(call, norm),
            Kernel::GroupNormGrad(norm) => norms::group_grad(call, norm),
            Kernel::LayerNorm(norm) => norms::layer(call, norm),
            Kernel::LayerNormGrad(norm) => norms::layer_grad(call, norm),
            Kernel::Lrn(lrn) => norms::response(call, lrn),
            Kernel::LrnGrad(lrn) => norms::response_grad(call, lrn),
            Kernel::MaxPool(pooling) => maps::max_pool(call, pooling),
            Kernel::MaxPoolGrad(pooling) => maps::max_pool_grad(call, pooling),
            Kernel::AvgPool { pooling, include_padding } => maps::avg_pool(call, pooling, *include_padding),
            Kernel::AvgPoolGrad { pooling, include_padding } => {
                maps::avg_pool_grad(call, pooling, *include_padding);
            }
            Kernel::GlobalAvgPool { size } => maps::global_avg_pool(call, *size),
            Kernel::GlobalAvgPoolGrad { size } => maps::global_avg_pool_grad(call, *size),
            Kernel::Elementwise(function) => maps::elementwise(call, *function),
            Kernel::Activation(function) => maps::activation(call, *function),
            Kernel::ActivationGrad(function) => maps::activation_grad(call, *function),
            Kernel::ActivationGradByOutput(function) => maps::activation_grad_by_output(call, *function),
            Kernel::Prelu { size } => maps::prelu(call, *size),
            Kernel::PreluGrad { size } => maps::prelu_grad(call, *size),
            Kernel::Broadcast { function, small } => maps::broadcast(call, function, *small),
            Kernel::Repeat { size, small } => maps::repeat(call, *size, *small),
            Kernel::Softmax(softmax) => maps::softmax(call, softmax),
            Kernel::SoftmaxGrad(softmax) => maps::softmax_grad(call, softmax),
            Kernel::PadEdge(edge) => shuffle::pad_edge(call, edge),
            Kernel::PadEdgeGrad(edge) => shuffle::pad_edge_grad(call, edge),
            Kernel::Enlarge(enlarge) => shuffle::enlarge(call, enlarge),
            Kernel::EnlargeGrad(enlarge) => shuffle::enlarge_grad(call, enlarge),
            Kernel::GlobalSum { size } => maps::global_sum(call, *size),
            Kernel::Dropout { rate, stream, size } => maps::dropout(call, *rate, *stream, *size),
            Kernel::ChannelSum { size } => maps::channel_sum(call, *size),
            Kernel::ColumnSum => maps::column_sum(call),
            Kernel::TakeGrid(grid) => shuffle::take_grid(call, grid),
            Kernel::PlaceGrid { grid, fill } => shuffle::place_grid(call, grid, *fill),
            Kernel::GatherChannels { size, parts } => shuffle::gather_channels(call, *size, parts),
            Kernel::SoftmaxCrossEntropy(loss) => training::softmax_cross_entropy(call, *loss),
            Kernel::SoftmaxCrossEntropyGrad(loss) => training::softmax_cross_entropy_grad(call, *loss),
            Kernel::Accuracy { top } => training::accuracy(call, *top),
            Kernel::Sgd(update) => training::sgd(call, update),
            Kernel::Adam(update) => training::adam(call, update),
            Kernel::Muon { recipe, update } => training::muon(call, recipe, update),
            Kernel::Accumulate { scale } => training::accumulate(call, *scale),
            Kernel::RunningUpdate(update) => training::running_update(call, update),
        }
    }
}

/// One step about to run: its operands, before they are turned into slices, and its tools.
pub struct Call<'a> {
    plan: &'a Plan,
    step: &'a Step,
    arena: &'a mut AlignedBuffer,
    pool: &'a ThreadPool,
    random: Random,
}

impl<'a> Call<'a> {
    /// The threads and the instructions to use.
    fn tools(&self) -> (&'a ThreadPool, Isa) {
        (self.pool, self.plan.isa)
    }

    /// The reads, and the writes followed by the scratch room; an absent operand is an empty slice, and so is the
    /// read that shares the first write's room.
    fn parts<const R: usize, const W: usize>(&mut self) -> ([&[f32]; R], [&mut [f32]; W]) {
        let step = self.step;
        debug_assert!(step.reads.len() <= R && step.writes.len() < W, "operands of {}", step.name);
        let shared = step.may_share.filter(|_| step.shares);
        let own = |i: usize| step.reads.get(i).copied().flatten().filter(|_| shared != Some(i));
        let reads = std::array::from_fn(|i| self.range(own(i)));
        let scratch = |i: usize| step.scratch.filter(|_| i == step.writes.len());
        let writes = std::array::from_fn(|i| self.range(step.writes.get(i).copied().or_else(|| scratch(i))));
        self.arena.parts(reads, writes)
    }

    /// Where a buffer lies.
    fn range(&self, buffer: Option<BufferId>) -> Range<usize> {
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
fn optional(slice: &[f32]) -> Option<&[f32]> {
    (!slice.is_empty()).then_some(slice)
}

/// The operand, or the output that holds it if it has no room of its own.
fn shared(slice: &[f32]) -> Source<'_> {
    if slice.is_empty() { Source::InPlace } else { Source::Slice(slice) }
}
