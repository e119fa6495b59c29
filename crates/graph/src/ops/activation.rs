//! Functions applied to each element alone.

use ocellus_tensor::Shape;

use crate::autodiff::GradientContext;
use crate::{GraphError, ValueId};

use super::{Op, Refusal, expect};

/// An elementwise function. Input: x of any shape. Output: y like x.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// max(x, 0).
    Relu,
    /// x for x > 0, `slope` x otherwise.
    LeakyRelu {
        /// Slope below zero.
        slope: f32,
    },
    /// min(max(x, `low`), `high`); ReLU6 is 0 to 6.
    Clip {
        /// Lower bound.
        low: f32,
        /// Upper bound.
        high: f32,
    },
    /// x for x > 0, `alpha` (e^x - 1) otherwise.
    Elu {
        /// Depth of the floor.
        alpha: f32,
    },
    /// 1 / (1 + e^-x).
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// x Phi(x), Phi by the error function.
    Gelu,
    /// x Phi(x), by the tanh approximation.
    GeluTanh,
    /// x sigmoid(x), also called swish.
    Silu,
    /// x clip(x/6 + 1/2, 0, 1).
    HardSwish,
    /// clip(`alpha` x + `beta`, 0, 1).
    HardSigmoid {
        /// Slope.
        alpha: f32,
        /// Offset.
        beta: f32,
    },
    /// ln(1 + e^x); Caffe's BNLL.
    Softplus,
    /// e^x.
    Exp,
    /// ln x.
    Log,
    /// |x|.
    Abs,
    /// sqrt(x).
    Sqrt,
    /// `scale` x + `shift`.
    Affine {
        /// Factor.
        scale: f32,
        /// Offset.
        shift: f32,
    },
    /// x^`exponent`.
    Power {
        /// Exponent.
        exponent: f32,
    },
}

impl Activation {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let [x] = expect::inputs(inputs, ["x"])?;
        match *self {
            Activation::Clip { low, high } if low > high => {
                Err(format!("the lower bound {low} is above the upper bound {high}"))
            }
            _ => Ok(vec![x.clone()]),
        }
    }

    pub(super) fn gradient(&self, context: &mut GradientContext) -> Result<Vec<Option<ValueId>>, GraphError> {
        let (x, y, dy) = (context.input(0), context.output(0), context.dy()?);
        if let Activation::Affine { scale, .. } = *self {
            let slope = Op::Activation(Activation::Affine { scale, shift: 0.0 });
            return Ok(vec![Some(context.add("", slope, &[dy])?)]);
        }
        // What the derivative does not need is not kept alive for it.
        let (x, y) = match *self {
            Activation::Relu => (y, y),
            Activation::LeakyRelu { slope } if slope >= 0.0 => (y, y),
            Activation::Sigmoid | Activation::Tanh | Activation::Exp | Activation::Sqrt => (y, y),
            _ => (x, x),
        };
        let grad = Op::ActivationGrad(ActivationGrad { activation: *self });
        Ok(vec![Some(context.add("", grad, &[x, y, dy])?)])
    }
}

/// The gradient of an [`Activation`]. Inputs: x, y (its output), dy. Output: dx. At a kink the derivative from the
/// left is taken (ReLU'(0) = 0), as PyTorch does.
///
/// Where one of x and y is enough, [`crate::differentiate`] gives it in both places so that the other need not be
/// kept: y for ReLU and leaky ReLU (slope not negative), whose derivative depends on a sign that x and y share, and
/// for sigmoid, tanh, exp and sqrt, whose derivative is a function of y; x for all others. So kernels read y for the
/// last four, and x, in whose place y may stand, for the rest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ActivationGrad {
    /// The function this is a gradient of.
    pub activation: Activation,
}

impl ActivationGrad {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let [x, y, dy] = expect::inputs(inputs, ["x", "y", "dy"])?;
        expect::same(x, "x", y, "y")?;
        expect::same(x, "x", dy, "dy")?;
        Ok(vec![x.clone()])
    }
}

/// x for x > 0, slope x otherwise, slope learned (He et al. 2015).
///
/// Inputs: x `(N, C, H, W)` or `(N, C)`, slope `(C)` or `(1)`. Output: y like x.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Prelu;

impl Prelu {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let [x, slope] = expect::inputs(inputs, ["x", "slope"])?;
        let [_, channels, _, _] = expect::channels(x, "x")?;
        if slope.dims() != [channels] && slope.dims() != [1] {
            return Err(format!("slope must have shape ({channels}) or (1), got {slope}"));
        }
        Ok(vec![x.clone()])
    }

    pub(super) fn gradient(&self, context: &mut GradientContext) -> Result<Vec<Option<ValueId>>, GraphError> {
        let inputs = [context.input(0), context.input(1), context.dy()?];
        let gradients = context.add_all("", Op::PreluGrad(PreluGrad), &inputs)?;
        Ok(gradients.into_iter().map(Some).collect())
    }
}

/// The gradient of [`Prelu`]. Inputs: x, slope, dy. Outputs: dx, dslope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PreluGrad;

impl PreluGrad {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let [x, slope, dy] = expect::inputs(inputs, ["x", "slope", "dy"])?;
        Prelu.shape(&[x, slope])?;
        expect::same(x, "x", dy, "dy")?;
        Ok(vec![x.clone(), slope.clone()])
    }
}
