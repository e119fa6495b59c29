//! Elementwise functions, PReLU, and their gradients.

use ocellus_graph::ops::{Activation, ActivationGrad};
use ocellus_kernels::reference::{activation as f, prelu as kernel};
use ocellus_tensor::Element;

use super::{OpCall, channel_sizes};

pub fn forward<T: Element>(op: &Activation, mut call: OpCall<'_, '_, T>) {
    let x = call.input(0);
    let y = call.output(0);
    match *op {
        Activation::Relu => f::map(x, y, f::relu),
        Activation::LeakyRelu { slope } => f::map(x, y, |x| f::leaky_relu(x, slope.into())),
        Activation::Clip { low, high } => f::map(x, y, |x| f::clip(x, low.into(), high.into())),
        Activation::Elu { alpha } => f::map(x, y, |x| f::elu(x, alpha.into())),
        Activation::Sigmoid => f::map(x, y, f::sigmoid),
        Activation::Tanh => f::map(x, y, f64::tanh),
        Activation::Gelu => f::map(x, y, f::gelu),
        Activation::GeluTanh => f::map(x, y, f::gelu_tanh),
        Activation::Silu => f::map(x, y, f::silu),
        Activation::HardSwish => f::map(x, y, f::hard_swish),
        Activation::HardSigmoid { alpha, beta } => {
            f::map(x, y, |x| f::hard_sigmoid(x, alpha.into(), beta.into()));
        }
        Activation::Softplus => f::map(x, y, f::softplus),
        Activation::Exp => f::map(x, y, f64::exp),
        Activation::Log => f::map(x, y, f64::ln),
        Activation::Abs => f::map(x, y, f64::abs),
        Activation::Sqrt => f::map(x, y, f64::sqrt),
        Activation::Affine { scale, shift } => f::map(x, y, |x| f64::from(scale) * x + f64::from(shift)),
        Activation::Power { exponent } => f::map(x, y, |x| x.powf(exponent.into())),
    }
}

/// Inputs: x, y, dy. Sigmoid, tanh, exp and sqrt read y, the others x, in whose place y may stand for ReLU and leaky
/// ReLU, since only its sign counts.
pub fn grad<T: Element>(op: &ActivationGrad, mut call: OpCall<'_, '_, T>) {
    let (x, y, dy) = (call.input(0), call.input(1), call.input(2));
    let dx = call.output(0);
    match op.activation {
        Activation::Relu => f::map_grad(x, dy, dx, f::relu_derivative),
        Activation::LeakyRelu { slope } => {
            f::map_grad(x, dy, dx, |x| f::leaky_relu_derivative(x, slope.into()));
        }
        Activation::Clip { low, high } => {
            f::map_grad(x, dy, dx, |x| f::clip_derivative(x, low.into(), high.into()));
        }
        Activation::Elu { alpha } => f::map_grad(x, dy, dx, |x| f::elu_derivative(x, alpha.into())),
        Activation::Sigmoid => f::map_grad(y, dy, dx, f::sigmoid_derivative_by_value),
        Activation::Tanh => f::map_grad(y, dy, dx, f::tanh_derivative_by_value),
        Activation::Gelu => f::map_grad(x, dy, dx, f::gelu_derivative),
        Activation::GeluTanh => f::map_grad(x, dy, dx, f::gelu_tanh_derivative),
        Activation::Silu => f::map_grad(x, dy, dx, f::silu_derivative),
        Activation::HardSwish => f::map_grad(x, dy, dx, f::hard_swish_derivative),
        Activation::HardSigmoid { alpha, beta } => {
            f::map_grad(x, dy, dx, |x| f::hard_sigmoid_derivative(x, alpha.into(), beta.into()));
        }
        Activation::Softplus => f::map_grad(x, dy, dx, f::sigmoid),
        Activation::Exp => f::map_grad(y, dy, dx, |y| y),
        Activation::Log => f::map_grad(x, dy, dx, f64::recip),
        Activation::Abs => f::map_grad(x, dy, dx, f::abs_derivative),
        Activation::Sqrt => f::map_grad(y, dy, dx, f::sqrt_derivative_by_value),
        Activation::Affine { scale, .. } => f::map_grad(x, dy, dx, |_| scale.into()),
        Activation::Power { exponent } => {
            f::map_grad(x, dy, dx, |x| f::power_derivative(x, exponent.into()));
        }
    }
}

pub fn prelu<T: Element>(mut call: OpCall<'_, '_, T>) {
    let sizes = channel_sizes(call.inputs[0].shape);
    kernel::prelu(sizes, call.input(0), call.input(1), call.output(0));
}

pub fn prelu_grad<T: Element>(mut call: OpCall<'_, '_, T>) {
    let sizes = channel_sizes(call.inputs[0].shape);
    let (x, slope, dy) = (call.input(0), call.input(1), call.input(2));
    let [dx, dslope] = call.all_outputs();
    kernel::prelu_grad_input(sizes, x, slope, dy, dx);
    kernel::prelu_grad_slope(sizes, x, dy, dslope);
}
