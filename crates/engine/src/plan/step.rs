//! One step: a kernel with its recipe, what it reads and what it writes.

use ocellus_graph::Op;
use ocellus_graph::ops::{AdamUpdate, MuonUpdate, RunningUpdate, SgdUpdate, Statistics};
use ocellus_kernels::conv::{Clamp, ConvChain, ConvForward, ConvInputGrad, ConvWeightGrad};
use ocellus_kernels::elementwise::{Activation, Blocked, Broadcast, ByOutput};
use ocellus_kernels::format::Format;
use ocellus_kernels::gemm::{LinearForward, LinearInputGrad, LinearWeightGrad};
use ocellus_kernels::norm::{GroupNorm, LayerNorm, Lrn};
use ocellus_kernels::pooling::Pooling;
use ocellus_kernels::shuffle::{Edge, Enlarge, Grid};
use ocellus_kernels::softmax::Softmax;
use ocellus_kernels::update::Muon;
use ocellus_tensor::Shape;

use super::{BufferId, Narrow};

/// Most tensors one step reads or writes.
pub const MOST_OPERANDS: usize = 16;

/// What a step runs. Operands stand in the order each variant names; an absent optional operand is `None`.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant)] // a plan has some hundred steps: the room lost is a few kilobytes
pub enum Kernel {
    /// The operation's reference kernel on plain tensors. Reads: the inputs it does not write. Writes: outputs, or the
    /// parameters it updates.
    Reference(Reference),
    /// Of narrow numbers.
    Narrow(Narrow),
    /// Plain order to channel blocks.
    ToBlocked {
        /// N, C, H, W.
        dims: [usize; 4],
    },
    /// Channel blocks to plain order.
    ToPlain {
        /// N, C, H, W.
        dims: [usize; 4],
    },
    /// Running statistics as one scale and one shift per channel. Reads: convolution bias?, gamma?, beta?, mean, var.
    /// Writes: scale, shift.
    FoldBatchNorm {
        /// Added to the variance.
        eps: f32,
    },
    /// Reads: w, scale per output channel?. Writes: packed w.
    PackConv(ConvForward),
    /// Reads: x, packed w, bias?, residual?, worth of sums?. Writes: y.
    Conv {
        /// How.
        recipe: ConvForward,
        /// Bounds at the end.
        clamp: Option<Clamp>,
        /// What a step of an 8-bit residual is worth; 1 otherwise.
        residual_worth: f32,
    },
    /// Reads: x, packed w and bias? of the first, packed w and bias? of the second. Writes: y.
    ConvChain {
        /// How.
        recipe: ConvChain,
        /// Bounds at the end of each.
        clamps: [Option<Clamp>; 2],
    },
    /// Reads: w, nothing. Writes: packed w.
    PackConvInputGrad(ConvInputGrad),
    /// Also a transposed convolution. Reads: dy, packed w, bias?, added gradient?. Writes: dx.
    ConvInputGrad {
        /// How.
        recipe: ConvInputGrad,
        /// Bounds at the end.
        clamp: Option<Clamp>,
    },
    /// Reads: x, dy. Writes: dw.
    ConvWeightGrad(ConvWeightGrad),
    /// Reads: w, nothing. Writes: packed w.
    PackLinear(LinearForward),
    /// Reads: x, packed w, bias?, residual?. Writes: y.
    Linear {
        /// How.
        recipe: LinearForward,
        /// Bounds at the end.
        clamp: Option<Clamp>,
    },
    /// Reads: w, nothing. Writes: packed w.
    PackLinearInputGrad(LinearInputGrad),
    /// Reads: dy, packed w, added gradient?. Writes: dx.
    LinearInputGrad(LinearInputGrad),
    /// Reads: x, dy. Writes: dw.
    LinearWeightGrad(LinearWeightGrad),
    /// Reads: x. Writes: mean, var.
    BatchStatistics {
        /// Sizes of x.
        size: Blocked,
    },
    /// Reads: x, gamma?, beta?, mean, var, residual?. Writes: y.
    Normalise {
        /// Sizes of x.
        size: Blocked,
        /// Added to the variance.
        eps: f32,
        /// ReLU at the end.
        relu: bool,
    },
    /// Reads: dy, x, y?, gamma?, beta?, mean, var. Writes: dx, dgamma, dbeta.
    BatchNormGrad {
        /// Sizes of x.
        size: Blocked,
        /// Added to the variance.
        eps: f32,
        /// Whether mean and var depend on x.
        statistics: Statistics,
        /// The ReLU that came after.
        mask: Mask,
    },
    /// Reads: x, gamma?, beta?. Writes: y.
    GroupNorm(GroupNorm),
    /// Reads: dy, x, gamma?. Writes: dx, dgamma, dbeta.
    GroupNormGrad(GroupNorm),
    /// Reads: x, gamma?, beta?. Writes: y.
    LayerNorm(LayerNorm),
    /// Reads: dy, x, gamma?. Writes: dx, dgamma, dbeta.
    LayerNormGrad(LayerNorm),
    /// Reads: x. Writes: y.
    Lrn(Lrn),
    /// Reads: x, dy. Writes: dx.
    LrnGrad(Lrn),
    /// Reads: x. Writes: y.
    MaxPool(Pooling),
    /// Reads: x, dy. Writes: dx.
    MaxPoolGrad(Pooling),
    /// Reads: x. Writes: y.
    AvgPool {
        /// Sizes and window.
        pooling: Pooling,
        /// Whether padding counts.
        include_padding: bool,
    },
    /// Reads: dy. Writes: dx.
    AvgPoolGrad {
        /// Sizes and window.
        pooling: Pooling,
        /// Whether padding counts.
        include_padding: bool,
    },
    /// Reads: x. Writes: y, one pixel each.
    GlobalAvgPool {
        /// Sizes of x.
        size: Blocked,
    },
    /// The sum of each image's pixels. Reads: x. Writes: y, one pixel each.
    GlobalSum {
        /// Sizes of x.
        size: Blocked,
    },
    /// Reads: dy, one pixel each. Writes: dx.
    GlobalAvgPoolGrad {
        /// Sizes of dx.
        size: Blocked,
    },
    /// Reads: one or two operands. Writes: y.
    Elementwise(Elementwise),
    /// Reads: x. Writes: y.
    Activation(Activation),
    /// Reads: dy, x. Writes: dx.
    ActivationGrad(Activation),
    /// Reads: dy, y. Writes: dx.
    ActivationGradByOutput(ByOutput),
    /// Reads: x, slope. Writes: y.
    Prelu {
        /// Sizes of x.
        size: Blocked,
    },
    /// Reads: dy, x, slope. Writes: dx, dslope.
    PreluGrad {
        /// Sizes of x.
        size: Blocked,
    },
    /// A function of a tensor and a smaller one. Reads: x, the smaller one. Writes: y.
    Broadcast {
        /// The function.
        function: Broadcast,
        /// What the smaller one has numbers for.
        small: Per,
    },
    /// A smaller tensor repeated. Reads: it. Writes: y.
    Repeat {
        /// Sizes of y.
        size: Blocked,
        /// What the smaller one has numbers for.
        small: Per,
    },
    /// Reads: x. Writes: y.
    Softmax(Softmax),
    /// Reads: y, dy. Writes: dx.
    SoftmaxGrad(Softmax),
    /// A border of the image's own pixels. Reads: x. Writes: y.
    PadEdge(Edge),
    /// Reads: dy. Writes: dx.
    PadEdgeGrad(Edge),
    /// Reads: x. Writes: y.
    Enlarge(Enlarge),
    /// Reads: dy. Writes: dx.
    EnlargeGrad(Enlarge),
    /// Reads: x. Writes: y.
    Dropout {
        /// Share of elements zeroed.
        rate: f32,
        /// Which of the network's dropouts.
        stream: u64,
        /// Sizes of x if it lies in channel blocks.
        size: Option<Blocked>,
    },
    /// Pixels on a grid. Reads: x. Writes: y.
    TakeGrid(Grid),
    /// Pixels put on a grid. Reads: x. Writes: y.
    PlaceGrid {
        /// Where.
        grid: Grid,
        /// What lies around them.
        fill: f32,
    },
    /// Channels one after another. Reads: the tensors. Writes: y.
    GatherChannels {
        /// Sizes of y.
        size: Blocked,
        /// Where its channels come from.
        parts: Vec<Channels>,
    },
    /// Reads: logits, target. Writes: loss.
    SoftmaxCrossEntropy(LossSizes),
    /// Reads: logits, target, dloss. Writes: dlogits.
    SoftmaxCrossEntropyGrad(LossSizes),
    /// Reads: scores, label. Writes: the share of rows that are right.
    Accuracy {
        /// How many guesses are allowed.
        top: usize,
    },
    /// Reads: gradient, lr. Writes: w, velocity.
    Sgd(SgdUpdate),
    /// Reads: gradient, lr, t. Writes: w, m, v.
    Adam(AdamUpdate),
    /// Reads: gradient, lr. Writes: w, velocity.
    Muon {
        /// The sizes of the matrix.
        recipe: Muon,
        /// The constants.
        update: MuonUpdate,
    },
    /// Reads: gradient. Writes: sum.
    Accumulate {
        /// Factor of the gradient.
        scale: f32,
    },
    /// Reads: mean, var. Writes: running mean, running var.
    RunningUpdate(RunningUpdate),
    /// Reads: x in channel blocks. Writes: the sum of each channel.
    ChannelSum {
        /// Sizes of x.
        size: Blocked,
    },
    /// Reads: x (N, C). Writes: the sum of each column.
    ColumnSum,
}

/// How a BatchNorm gradient knows what the ReLU after it let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mask {
    /// There was no ReLU.
    None,
    /// By the sign of the ReLU's output, which is read.
    Output,
    /// By normalising x once more.
    Recompute,
}

/// A softmax cross-entropy's sizes and smoothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossSizes {
    /// Columns of the logits.
    pub classes: usize,
    /// The target holds class numbers, not probabilities.
    pub labels: bool,
    /// Share of the target spread evenly over the classes.
    pub smoothing: f32,
}

/// Where a run of channels comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channels {
    /// So many channels of zeros.
    Zeros(usize),
    /// Channels of one of the step's reads.
    Of {
        /// Which read.
        operand: usize,
        /// Channels it has.
        channels: usize,
        /// The first one wanted.
        first: usize,
        /// How many are wanted.
        count: usize,
    },
}

/// What a tensor that is repeated over a larger one has numbers for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    /// Each channel of each image; in channel blocks.
    Plane,
    /// Each channel.
    Channel,
    /// Each pixel, of all images alike or of each.
    Pixel,
    /// Nothing: one number.
    All,
}

/// A function of single elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elementwise {
    /// max(x, 0).
    Relu,
    /// dy where y > 0. Reads: dy, y.
    ReluGrad,
    /// a + b.
    Add,
    /// a - b.
    Sub,
    /// a b.
    Mul,
    /// a / b.
    Div,
    /// max(a, b).
    Max,
    /// dy where a > b, half of it where they are equal. Reads: dy, a, b.
    MaxGrad,
}

/// An operation and the shapes it runs at.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    /// The operation.
    pub op: Op,
    /// Shapes of what it reads (written parameters left out).
    pub inputs: Vec<Shape>,
    /// Shapes of what it writes.
    pub outputs: Vec<Shape>,
}

/// A kernel at its place in the plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The nodes it runs.
    pub name: String,
    /// What runs.
    pub kernel: Kernel,
    /// What it reads.
    pub reads: Vec<Option<BufferId>>,
    /// What it writes.
    pub writes: Vec<BufferId>,
    /// Room it needs while it runs.
    pub scratch: Option<BufferId>,
    /// The read that may lie where the first write goes, if nobody reads it later.
    pub may_share: Option<usize>,
    /// Whether it does.
    pub shares: bool,
    /// Multiply-accumulates.
    pub macs: u64,
}

impl Step {
    /// A step that reads and writes nothing yet.
    pub fn new(name: impl Into<String>, kernel: Kernel) -> Self {
        Step {
            name: name.into(),
            kernel,
            reads: Vec::new(),
            writes: Vec::new(),
            scratch: None,
            may_share: None,
            shares: false,
            macs: 0,
        }
    }

    /// The same, reading these.
    pub fn reading<R: Into<Option<BufferId>>>(mut self, reads: impl IntoIterator<Item = R>) -> Self {
        self.reads.extend(reads.into_iter().map(Into::into));
        self
    }

    /// The same, writing these.
    pub fn writing(mut self, writes: impl IntoIterator<Item = BufferId>) -> Self {
        self.writes.extend(writes);
        self
    }

    /// The same with room to work in.
    pub fn with_scratch(mut self, scratch: Option<BufferId>) -> Self {
        self.scratch = scratch;
        self
    }

    /// The same, where the first write may take the room of this read.
    pub fn sharing(mut self, read: usize) -> Self {
        self.may_share = Some(read);
        self
    }

    /// The same, doing this many multiply-accumulates.
    pub fn with_macs(mut self, macs: u64) -> Self {
        self.macs = macs;
        self
    }

    /// Every buffer it touches.
    pub fn buffers(&self) -> impl Iterator<Item = BufferId> {
        self.reads.iter().flatten().chain(&self.writes).chain(&self.scratch).copied()
    }
}

impl Kernel {
    /// What it is called in tables.
    pub fn name(&self) -> &'static str {
        match self {
            Kernel::Reference(_) => "reference",
            Kernel::Narrow(narrow) => narrow.name(),
            Kernel::ToBlocked { .. } => "to blocks",
            Kernel::ToPlain { .. } => "to plain",
            Kernel::FoldBatchNorm { .. } => "fold batch norm",
            Kernel::PackConv(_) | Kernel::PackConvInputGrad(_) => "pack",
            Kernel::PackLinear(_) | Kernel::PackLinearInputGrad(_) => "pack",
            Kernel::Linear { .. } => "linear",
            Kernel::LinearInputGrad(_) => "linear input grad",
            Kernel::LinearWeightGrad(_) => "linear weight grad",
            Kernel::BatchStatistics { .. } => "batch statistics",
            Kernel::Normalise { .. } => "normalise",
            Kernel::BatchNormGrad { .. } => "batch norm grad",
            Kernel::GroupNorm(_) => "group norm",
            Kernel::GroupNormGrad(_) => "group norm grad",
            Kernel::LayerNorm(_) => "layer norm",
            Kernel::LayerNormGrad(_) => "layer norm grad",
            Kernel::Lrn(_) => "lrn",
            Kernel::LrnGrad(_) => "lrn grad",
            Kernel::MaxPool(_) => "max pool",
            Kernel::MaxPoolGrad(_) => "max pool grad",
            Kernel::AvgPool { .. } | Kernel::GlobalAvgPool { .. } => "avg pool",
            Kernel::AvgPoolGrad { .. } | Kernel::GlobalAvgPoolGrad { .. } => "avg pool grad",
            Kernel::Elementwise(Elementwise::Relu) => "relu",
            Kernel::Elementwise(Elementwise::ReluGrad) => "relu grad",
            Kernel::Elementwise(Elementwise::Add) => "add",
            Kernel::Elementwise(Elementwise::Sub) => "sub",
            Kernel::Elementwise(Elementwise::Mul) => "mul",
            Kernel::Elementwise(Elementwise::Div) => "div",
            Kernel::Elementwise(Elementwise::Max) => "max",
            Kernel::Elementwise(Elementwise::MaxGrad) => "max grad",
            Kernel::Activation(_) | Kernel::Prelu { .. } => "activation",
            Kernel::ActivationGrad(_) | Kernel::ActivationGradByOutput(_) => "activation grad",
            Kernel::PreluGrad { .. } => "activation grad",
            Kernel::Broadcast { .. } | Kernel::Repeat { .. } => "broadcast",
            Kernel::Softmax(_) => "softmax",
            Kernel::SoftmaxGrad(_) => "softmax grad",
            Kernel::PadEdge(_) | Kernel::PadEdgeGrad(_) => "pad",
            Kernel::Enlarge(_) | Kernel::EnlargeGrad(_) => "enlarge",
            Kernel::GlobalSum { .. } => "sum",
            Kernel::Dropout { .. } => "dropout",
            Kernel::TakeGrid(_) | Kernel::PlaceGrid { .. } | Kernel::GatherChannels { .. } => "shuffle",
            Kernel::SoftmaxCrossEntropy(_) => "loss",
            Kernel::SoftmaxCrossEntropyGrad(_) => "loss grad",
            Kernel::Accuracy { .. } => "accuracy",
            Kernel::Sgd(_)
            | Kernel::Adam(_)
            | Kernel::Muon { .. }
            | Kernel::Accumulate { .. }
            | Kernel::RunningUpdate(_) => "update",
            Kernel::ChannelSum { .. } | Kernel::ColumnSum => "bias grad",
            Kernel::Conv { recipe, .. } => match (recipe.algorithm(), recipe.format()) {
                ("direct", Format::Bf16) => "conv direct bf16",
                ("direct", Format::U8) => "conv direct int8",
                ("direct", _) => "conv direct",
                ("depthwise", _) => "conv depthwise",
                ("grouped", _) => "conv grouped",
                ("winograd 2x2", _) => "conv winograd 2x2",
                _ => "conv winograd 4x4",
            },
            Kernel::ConvChain { .. } => "conv 1x1 + depthwise",
            Kernel::ConvInputGrad { recipe, .. } => match recipe.algorithm() {
                "direct" if recipe.format() == Format::Bf16 => "input grad direct bf16",
                "direct" => "input grad direct",
                "depthwise" => "input grad depthwise",
                "grouped" => "input grad grouped",
                "scatter" => "input grad scatter",
                "winograd 2x2" => "input grad winograd 2x2",
                _ => "input grad winograd 4x4",
            },
            Kernel::ConvWeightGrad(recipe) => match recipe.algorithm() {
                "direct" if recipe.format() == Format::Bf16 => "weight grad direct bf16",
                "direct" => "weight grad direct",
                "depthwise" => "weight grad depthwise",
                "grouped" => "weight grad grouped",
                _ => "weight grad winograd 4x4",
            },
        }
    }
}
