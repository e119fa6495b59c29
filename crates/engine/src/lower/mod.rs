//! From a graph's operation to its reference kernel: one file per operation, and one exhaustive match.
//!
//! The fast engine falls back to these wherever it has no kernel of its own, and [`crate::reference::Interpreter`] runs
//! whole graphs with nothing else. The graph has checked counts and shapes; here they are only read.

mod activation;
mod arg_max;
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
mod one_hot;
mod pad;
mod pool;
mod reduce;
mod reshape;
mod slice;
mod softmax;
mod stepwise;
mod top_k;
mod transpose;
mod update;
mod upsample;

use ocellus_graph::Op;
use ocellus_kernels::reference::ChannelSizes;
use ocellus_tensor::{Element, Shape};

/// A tensor to read: numbers in row-major order and their sizes.
#[derive(Clone, Copy, Debug)]
pub struct View<'a, T> {
    /// The sizes.
    pub shape: &'a Shape,
    /// The numbers.
    pub data: &'a [T],
}

/// A tensor to write.
#[derive(Debug)]
pub struct ViewMut<'a, T> {
    /// The sizes.
    pub shape: &'a Shape,
    /// The numbers.
    pub data: &'a mut [T],
}

/// What random operations draw from: together with an operation's own stream, all that its numbers depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Random {
    /// Chosen once for a training run.
    pub seed: u64,
    /// Number of the training step.
    pub step: u64,
}

/// The tensors of one call of an operation.
#[derive(Debug)]
pub struct OpCall<'a, 'v, T> {
    /// The values read, in the order that the operation documents, less the leading [`Op::writes`] of them.
    pub inputs: &'a [View<'v, T>],
    /// The values made; or, if the operation writes its leading inputs in place, those.
    pub outputs: &'a mut [ViewMut<'v, T>],
    /// What dropout draws from.
    pub random: Random,
}

impl<'v, T: Element> OpCall<'_, 'v, T> {
    /// The numbers of input `i`.
    fn input(&self, i: usize) -> &'v [T] {
        self.inputs[i].data
    }

    /// The numbers of input `i`, if the operation has so many.
    fn optional_input(&self, i: usize) -> Option<&'v [T]> {
        self.inputs.get(i).map(|view| view.data)
    }

    /// The number that input `i` holds.
    fn number(&self, i: usize) -> f64 {
        self.inputs[i].data[0].to_f64()
    }

    /// The numbers of output `i`, to write.
    fn output(&mut self, i: usize) -> &mut [T] {
        self.outputs[i].data
    }

    /// The numbers of all `N` outputs, to write.
    fn all_outputs<const N: usize>(&mut self) -> [&mut [T]; N] {
        let mut outputs = self.outputs.iter_mut();
        std::array::from_fn(|_| &mut *outputs.next().expect("the graph gives every output").data)
    }
}

/// Runs one operation by its reference kernel. Every output is overwritten whole, except where the operation updates it
/// in place.
///
/// ```
/// use ocellus_engine::lower::{OpCall, Random, View, ViewMut, run_op};
/// use ocellus_graph::{Op, ops::Activation};
/// use ocellus_tensor::Shape;
///
/// let shape = Shape::from([1, 3]);
/// let mut y = [f32::NAN; 3];
/// let inputs = [View { shape: &shape, data: &[-1.0, 0.0, 2.0] }];
/// let mut outputs = [ViewMut { shape: &shape, data: &mut y }];
/// let call = OpCall { inputs: &inputs, outputs: &mut outputs, random: Random::default() };
/// run_op(&Op::Activation(Activation::Relu), call);
/// assert_eq!(y, [0.0, 0.0, 2.0]);
/// ```
pub fn run_op<T: Element>(op: &Op, call: OpCall<'_, '_, T>) {
    match op {
        Op::Conv2d(op) => conv2d::forward(op, call),
        Op::Conv2dGradInput(op) => conv2d::grad_input(op, call),
        Op::Conv2dGradWeight(op) => conv2d::grad_weight(op, call),
        Op::ConvTranspose2d(op) => conv_transpose2d::forward(op, call),
        Op::Linear(_) => linear::forward(call),
        Op::LinearGradInput(_) => linear::grad_input(call),
        Op::LinearGradWeight(_) => linear::grad_weight(call),
        Op::MaxPool(op) => pool::max(op, call),
        Op::MaxPoolGrad(op) => pool::max_grad(op, call),
        Op::MaxPoolPlaces(op) => pool::max_places(op, call),
        Op::StochasticPool(op) => pool::stochastic(op, call),
        Op::StochasticPoolGrad(op) => pool::stochastic_grad(op, call),
        Op::AvgPool(op) => pool::avg(op, call),
        Op::AvgPoolGrad(op) => pool::avg_grad(op, call),
        Op::BatchNorm(op) => batch_norm::forward(op, call),
        Op::BatchNormGrad(op) => batch_norm::grad(op, call),
        Op::RunningUpdate(op) => batch_norm::running_update(op, call),
        Op::Norm(op) => norm::forward(op, call),
        Op::NormGrad(op) => norm::grad(op, call),
        Op::Lrn(op) => lrn::forward(op, call),
        Op::LrnGrad(op) => lrn::grad(op, call),
        Op::Activation(op) => activation::forward(op, call),
        Op::ActivationGrad(op) => activation::grad(op, call),
        Op::Stepwise(op) => stepwise::forward(op, call),
        Op::Prelu(_) => activation::prelu(call),
        Op::PreluGrad(_) => activation::prelu_grad(call),
        Op::Dropout(op) => dropout::forward(op, call),
        Op::Binary(op) => arithmetic::binary(op, call),
        Op::MaximumGrad(_) => arithmetic::maximum_grad(call),
        Op::SumTo(_) => arithmetic::sum_to(call),
        Op::BroadcastTo(_) => arithmetic::broadcast_to(call),
        Op::Concat(op) => concat::forward(op, call),
        Op::Slice(op) => slice::forward(op, call),
        Op::SliceGrad(op) => slice::grad(op, call),
        Op::Reshape(_) => reshape::forward(call),
        Op::Transpose(op) => transpose::forward(op, call),
        Op::Pad(op) => pad::forward(op, call),
        Op::PadGrad(op) => pad::grad(op, call),
        Op::Upsample(op) => upsample::forward(op, call),
        Op::UpsampleGrad(op) => upsample::grad(op, call),
        Op::Softmax(op) => softmax::forward(op, call),
        Op::SoftmaxGrad(op) => softmax::grad(op, call),
        Op::Reduce(op) => reduce::forward(op, call),
        Op::ArgMax(op) => arg_max::forward(op, call),
        Op::TopK(op) => top_k::forward(op, call),
        Op::OneHot(op) => one_hot::forward(op, call),
        Op::Loss(op) => loss::forward(op, call),
        Op::LossGrad(op) => loss::grad(op, call),
        Op::Accuracy(op) => loss::accuracy(op, call),
        Op::Accumulate(op) => update::accumulate(op, call),
        Op::SgdUpdate(op) => update::sgd(op, call),
        Op::AdamUpdate(op) => update::adam(op, call),
        Op::MuonUpdate(op) => update::muon(op, call),
        Op::Custom(op) => custom::forward(op, call),
        Op::CustomGrad(op) => custom::grad(op, call),
    }
}

/// A shape read as `(N, C, everything after)`; absent axes are 1.
fn channel_sizes(shape: &Shape) -> ChannelSizes {
    let size = |axis: usize| shape.get(axis).copied().unwrap_or(1);
    ChannelSizes { batch: size(0), channels: size(1), inner: shape.iter().skip(2).product() }
}

/// A shape read as `(N, C, H, W)` as [`Shape::nchw`] does; the graph admits no other rank where this is used.
fn image_sizes(shape: &Shape) -> [usize; 4] {
    shape.nchw().unwrap_or([1, 1, 1, shape.elements()])
}
