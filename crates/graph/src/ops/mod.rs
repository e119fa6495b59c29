//! The operations. `Op` is matched exhaustively everywhere, so the compiler lists what a new one is missing.
//!
//! Each file holds one operation (with the operations that are its gradients): documentation, attributes, shape
//! rule, gradient rule, cost rule, in that order. All tensors are logically N,C,H,W.

mod activation;
mod arg_max;
mod arithmetic;
mod batch_norm;
mod concat;
mod conv2d;
mod conv_transpose2d;
mod custom;
mod dropout;
mod expect;
mod linear;
mod loss;
mod lrn;
mod name;
mod norm;
mod one_hot;
mod pad;
mod pool;
mod reduce;
mod reshape;
mod slice;
mod softmax;
mod stepwise;
mod stochastic_pool;
mod top_k;
mod transpose;
mod update;
mod upsample;

pub(crate) use conv2d::geometry_macs;
pub(crate) use expect::representable;

pub use activation::{Activation, ActivationGrad, Prelu, PreluGrad};
pub use arg_max::ArgMax;
pub use arithmetic::{Binary, BinaryKind, BroadcastTo, MaximumGrad, SumTo};
pub use batch_norm::{BatchNorm, BatchNormGrad, RunningUpdate, Statistics};
pub use concat::Concat;
pub use conv_transpose2d::ConvTranspose2d;
pub use conv2d::{Conv2d, Conv2dGradInput, Conv2dGradWeight};
pub use custom::{Custom, CustomGrad, CustomOp};
pub use dropout::Dropout;
pub use linear::{Linear, LinearGradInput, LinearGradWeight};
pub use loss::{Accuracy, LossGrad, LossKind, LossOp};
pub use lrn::{Lrn, LrnGrad, LrnRegion};
pub use norm::{Norm, NormAxes, NormGrad};
pub use one_hot::OneHot;
pub use pad::{Pad, PadGrad, PadMode};
pub use pool::{AvgPool, AvgPoolGrad, MaxPool, MaxPoolGrad, MaxPoolPlaces};
pub use reduce::{Reduce, ReduceKind};
pub use reshape::Reshape;
pub use slice::{Slice, SliceGrad};
pub use softmax::{Softmax, SoftmaxGrad};
pub use stepwise::Stepwise;
pub use stochastic_pool::{StochasticPool, StochasticPoolGrad};
pub use top_k::TopK;
pub use transpose::Transpose;
pub use update::{Accumulate, AdamUpdate, MuonUpdate, SgdUpdate};
pub use upsample::{Interpolation, Upsample, UpsampleGrad};

use ocellus_tensor::Shape;

use crate::autodiff::GradientContext;
use crate::{GraphError, ValueId};

/// An operation with its attributes. Variants ending in `Grad...`, `...Update` and the like are appended by
/// differentiation and training; the others describe networks.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // each variant is documented at its attributes
pub enum Op {
    Conv2d(Conv2d),
    Conv2dGradInput(Conv2dGradInput),
    Conv2dGradWeight(Conv2dGradWeight),
    ConvTranspose2d(ConvTranspose2d),
    Linear(Linear),
    LinearGradInput(LinearGradInput),
    LinearGradWeight(LinearGradWeight),
    MaxPool(MaxPool),
    MaxPoolGrad(MaxPoolGrad),
    MaxPoolPlaces(MaxPoolPlaces),
    StochasticPool(StochasticPool),
    StochasticPoolGrad(StochasticPoolGrad),
    AvgPool(AvgPool),
    AvgPoolGrad(AvgPoolGrad),
    BatchNorm(BatchNorm),
    BatchNormGrad(BatchNormGrad),
    RunningUpdate(RunningUpdate),
    Norm(Norm),
    NormGrad(NormGrad),
    Lrn(Lrn),
    LrnGrad(LrnGrad),
    Activation(Activation),
    ActivationGrad(ActivationGrad),
    Stepwise(Stepwise),
    Prelu(Prelu),
    PreluGrad(PreluGrad),
    Dropout(Dropout),
    Binary(Binary),
    MaximumGrad(MaximumGrad),
    SumTo(SumTo),
    BroadcastTo(BroadcastTo),
    Concat(Concat),
    Slice(Slice),
    SliceGrad(SliceGrad),
    Reshape(Reshape),
    Transpose(Transpose),
    Pad(Pad),
    PadGrad(PadGrad),
    Upsample(Upsample),
    UpsampleGrad(UpsampleGrad),
    Softmax(Softmax),
    SoftmaxGrad(SoftmaxGrad),
    Reduce(Reduce),
    ArgMax(ArgMax),
    TopK(TopK),
    OneHot(OneHot),
    Loss(LossOp),
    LossGrad(LossGrad),
    Accuracy(Accuracy),
    Accumulate(Accumulate),
    SgdUpdate(SgdUpdate),
    AdamUpdate(AdamUpdate),
    MuonUpdate(MuonUpdate),
    Custom(Custom),
    CustomGrad(CustomGrad),
}

/// A refusal: what is wrong, with both numbers. The graph adds the node's name.
pub type Refusal = String;

/// Runs `$body` with `$op` bound to the attributes, whichever operation it is.
macro_rules! each_op {
    ($self:expr, $op:ident => $body:expr) => {
        match $self {
            Op::Conv2d($op) => $body,
            Op::Conv2dGradInput($op) => $body,
            Op::Conv2dGradWeight($op) => $body,
            Op::ConvTranspose2d($op) => $body,
            Op::Linear($op) => $body,
            Op::LinearGradInput($op) => $body,
            Op::LinearGradWeight($op) => $body,
            Op::MaxPool($op) => $body,
            Op::MaxPoolGrad($op) => $body,
            Op::MaxPoolPlaces($op) => $body,
            Op::StochasticPool($op) => $body,
            Op::StochasticPoolGrad($op) => $body,
            Op::AvgPool($op) => $body,
            Op::AvgPoolGrad($op) => $body,
            Op::BatchNorm($op) => $body,
            Op::BatchNormGrad($op) => $body,
            Op::RunningUpdate($op) => $body,
            Op::Norm($op) => $body,
            Op::NormGrad($op) => $body,
            Op::Lrn($op) => $body,
            Op::LrnGrad($op) => $body,
            Op::Activation($op) => $body,
            Op::ActivationGrad($op) => $body,
            Op::Stepwise($op) => $body,
            Op::Prelu($op) => $body,
            Op::PreluGrad($op) => $body,
            Op::Dropout($op) => $body,
            Op::Binary($op) => $body,
            Op::MaximumGrad($op) => $body,
            Op::SumTo($op) => $body,
            Op::BroadcastTo($op) => $body,
            Op::Concat($op) => $body,
            Op::Slice($op) => $body,
            Op::SliceGrad($op) => $body,
            Op::Reshape($op) => $body,
            Op::Transpose($op) => $body,
            Op::Pad($op) => $body,
            Op::PadGrad($op) => $body,
            Op::Upsample($op) => $body,
            Op::UpsampleGrad($op) => $body,
            Op::Softmax($op) => $body,
            Op::SoftmaxGrad($op) => $body,
            Op::Reduce($op) => $body,
            Op::ArgMax($op) => $body,
            Op::TopK($op) => $body,
            Op::OneHot($op) => $body,
            Op::Loss($op) => $body,
            Op::LossGrad($op) => $body,
            Op::Accuracy($op) => $body,
            Op::Accumulate($op) => $body,
            Op::SgdUpdate($op) => $body,
            Op::AdamUpdate($op) => $body,
            Op::MuonUpdate($op) => $body,
            Op::Custom($op) => $body,
            Op::CustomGrad($op) => $body,
        }
    };
}

impl Op {
    /// The shapes of the outputs, or what is wrong with the inputs.
    ///
    /// ```
    /// use ocellus_graph::{Op, ops::Linear};
    /// use ocellus_tensor::Shape;
    ///
    /// let (x, w) = (Shape::from([8, 1024]), Shape::from([10, 512]));
    /// let refusal = Op::Linear(Linear).output_shapes(&[&x, &w]).unwrap_err();
    /// assert_eq!(refusal, "input has 1024 features, the weight expects 512");
    /// ```
    pub fn output_shapes(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let outputs = each_op!(self, op => op.shape(inputs))?;
        for output in &outputs {
            expect::representable(output)?;
        }
        Ok(outputs)
    }

    /// Appends what computes the gradients of the inputs from those of the outputs: one per input, `None` where the
    /// input has no gradient or nobody wants it.
    pub(crate) fn gradient(&self, context: &mut GradientContext) -> Result<Vec<Option<ValueId>>, GraphError> {
        match self {
            Op::Conv2d(op) => op.gradient(context),
            Op::Conv2dGradInput(op) => op.gradient(context),
            Op::Conv2dGradWeight(op) => op.gradient(context),
            Op::ConvTranspose2d(op) => op.gradient(context),
            Op::Linear(op) => op.gradient(context),
            Op::MaxPool(op) => op.gradient(context),
            Op::AvgPool(op) => op.gradient(context),
            Op::StochasticPool(op) => op.gradient(context),
            Op::BatchNorm(op) => op.gradient(context),
            Op::Norm(op) => op.gradient(context),
            Op::Lrn(op) => op.gradient(context),
            Op::Activation(op) => op.gradient(context),
            Op::Prelu(op) => op.gradient(context),
            Op::Dropout(op) => op.gradient(context),
            Op::Binary(op) => op.gradient(context),
            Op::SumTo(op) => op.gradient(context),
            Op::BroadcastTo(op) => op.gradient(context),
            Op::Concat(op) => op.gradient(context),
            Op::Slice(op) => op.gradient(context),
            Op::Reshape(op) => op.gradient(context),
            Op::Transpose(op) => op.gradient(context),
            Op::Pad(op) => op.gradient(context),
            Op::Upsample(op) => op.gradient(context),
            Op::Softmax(op) => op.gradient(context),
            Op::Reduce(op) => op.gradient(context),
            Op::Custom(op) => op.gradient(context),
            Op::Loss(op) => op.gradient(context),
            // Flat, or whole numbers: nothing is learned through them.
            Op::Stepwise(_) | Op::ArgMax(_) | Op::OneHot(_) | Op::MaxPoolPlaces(_) => Ok(vec![None]),
            Op::TopK(_) => {
                Err(context.refuse("nothing is learned through the largest numbers and their indices"))
            }
            Op::Accuracy(_) => Err(context.refuse("accuracy has no gradient; train on a loss")),
            Op::RunningUpdate(_)
            | Op::Accumulate(_)
            | Op::SgdUpdate(_)
            | Op::AdamUpdate(_)
            | Op::MuonUpdate(_) => Err(context.refuse("an update has no gradient")),
            _ => Err(context.refuse("the gradient of this gradient is not known; only convolutions' are")),
        }
    }

    /// How many of the inputs, counted from the first, are parameters that the operation writes in place.
    pub fn writes(&self) -> usize {
        match self {
            Op::RunningUpdate(_) => 2,
            Op::Accumulate(_) => 1,
            Op::SgdUpdate(op) if op.momentum == 0.0 => 1,
            Op::SgdUpdate(_) | Op::MuonUpdate(_) => 2,
            Op::AdamUpdate(_) => 3,
            _ => 0,
        }
    }
}
