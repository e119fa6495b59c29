//! The operations. `Op` is matched exhaustively everywhere, so the compiler lists what a new one is missing.
//!
//! Each file holds one operation (with the operations that are its gradients): documentation, attributes, shape
//! rule, gradient rule, cost rule, in that order. All tensors are logically N,C,H,W.

mod activation;
mod arithmetic;
mod batch_norm;
mod concat;
mod conv2d;
mod conv_transpose2d;
mod custom;
mod dropout;
mod linear;
mod loss;
mod lrn;
mod norm;
mod pad;
mod pool;
mod reduce;
mod reshape;
mod slice;
mod softmax;
mod transpose;
mod update;
mod upsample;

pub use activation::{Activation, ActivationGrad, Prelu, PreluGrad};
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
pub use pad::{Pad, PadGrad, PadMode};
pub use pool::{AvgPool, AvgPoolGrad, MaxPool, MaxPoolGrad};
pub use reduce::{Reduce, ReduceKind};
pub use reshape::Reshape;
pub use slice::{Slice, SliceGrad};
pub use softmax::{Softmax, SoftmaxGrad};
pub use transpose::Transpose;
pub use update::{Accumulate, AdamUpdate, SgdUpdate};
pub use upsample::{Interpolation, Upsample, UpsampleGrad};

use ocellus_tensor::Shape;

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
    Loss(LossOp),
    LossGrad(LossGrad),
    Accuracy(Accuracy),
    Accumulate(Accumulate),
    SgdUpdate(SgdUpdate),
    AdamUpdate(AdamUpdate),
    Custom(Custom),
    CustomGrad(CustomGrad),
}

/// A refusal: what is wrong, with both numbers. The graph adds the node's name.
pub type Refusal = String;

impl Op {
    /// The shapes of the outputs, or what is wrong with the inputs.
    pub fn output_shapes(&self, _inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        Err("shape rules are being written".into())
    }
}
