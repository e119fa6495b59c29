//! Functions of one number and their gradients, vectorised where a few instructions do it, else lane by lane in f64.

use super::exp::{abs, exp, exp_m1_below_zero, normal, sigmoid, sigmoid_slope, tanh};
use super::flat::{self, Formula};
use super::operands::{Read, Source};
use crate::isa::{Isa, Simd};
use crate::reference::activation as reference;
use crate::threads::ThreadPool;

/// An elementwise function.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// max(x, 0).
    Relu,
    /// x for x > 0, `slope` x otherwise.
    LeakyRelu {
        /// Slope below zero.
        slope: f32,
    },
    /// min(max(x, `low`), `high`).
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
    /// x Phi(x).
    Gelu,
    /// x Phi(x), by the tanh approximation.
    GeluTanh,
    /// x sigmoid(x).
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
    /// ln(1 + e^x); lane by lane, its gradient vectorised.
    Softplus,
    /// e^x.
    Exp,
    /// ln x; lane by lane, its gradient vectorised.
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
    /// x^`exponent`; lane by lane.
    Power {
        /// Exponent.
        exponent: f32,
    },
}

/// A function and its derivative on block vectors.
trait Function: Copy + Sync {
    /// f(x).
    fn value<S: Simd>(self, s: S, x: S::F) -> S::F;
    /// dy f'(x); at a kink, the derivative from the left.
    fn gradient<S: Simd>(self, s: S, x: S::F, dy: S::F) -> S::F;
}

#[derive(Clone, Copy)]
struct Value<F>(F);

impl<F: Function> Formula<1, 1> for Value<F> {
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, [x]: [S::F; 1]) -> [S::F; 1] {
        [self.0.value(s, x)]
    }
}

#[derive(Clone, Copy)]
struct Gradient<F>(F);

impl<F: Function> Formula<2, 1> for Gradient<F> {
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, [x, dy]: [S::F; 2]) -> [S::F; 1] {
        [self.0.gradient(s, x, dy)]
    }
}

/// Defines one [`Function`]: its numbers, its value and its gradient.
macro_rules! function {
    ($name:ident { $($field:ident),* }, |$s:ident, $x:ident| $value:expr, |$dy:ident| $gradient:expr) => {
        #[derive(Clone, Copy)]
        struct $name {
            $($field: f32),*
        }
        impl Function for $name {
            #[inline(always)]
            fn value<S: Simd>(self, $s: S, $x: S::F) -> S::F {
                let $name { $($field),* } = self;
                $value
            }
            #[inline(always)]
            fn gradient<S: Simd>(self, $s: S, $x: S::F, $dy: S::F) -> S::F {
                let $name { $($field),* } = self;
                $gradient
            }
        }
    };
}

/// `f` of each lane, in f64.
#[inline(always)]
fn lanes<S: Simd>(s: S, x: S::F, f: impl Fn(f64) -> f64) -> S::F {
    s.load(&s.to_array(x).map(|x| f(f64::from(x)) as f32))
}

/// `if x > 0 { a } else { b }`.
#[inline(always)]
fn if_positive<S: Simd>(s: S, x: S::F, a: S::F, b: S::F) -> S::F {
    s.select(s.gt(x, s.zero()), a, b)
}

/// The bounded value; NaN stays NaN.
#[inline(always)]
fn clip<S: Simd>(s: S, x: S::F, low: f32, high: f32) -> S::F {
    s.min(s.splat(high), s.max(s.splat(low), x))
}

/// x/6 + 1/2, which hard swish clips.
#[inline(always)]
fn gate<S: Simd>(s: S, x: S::F) -> S::F {
    s.fmadd(x, s.splat(1.0 / 6.0), s.splat(0.5))
}

/// Twice the argument of GELU's tanh, 2 sqrt(2 / pi) (x + 0.044715 x^3), and its derivative.
#[inline(always)]
fn gelu_argument<S: Simd>(s: S, x: S::F) -> [S::F; 2] {
    const LINEAR: f32 = 1.595_769;
    const CUBIC: f32 = 0.044_715 * LINEAR;
    let square = s.mul(x, x);
    let argument = s.mul(x, s.fmadd(s.splat(CUBIC), square, s.splat(LINEAR)));
    [argument, s.fmadd(s.splat(3.0 * CUBIC), square, s.splat(LINEAR))]
}

function!(Relu {}, |s, x| s.max(s.zero(), x), |dy| if_positive(s, x, dy, s.zero()));
function!(Leaky { slope }, |s, x| if_positive(s, x, x, s.mul(s.splat(slope), x)), |dy| if_positive(
    s,
    x,
    dy,
    s.mul(s.splat(slope), dy)
));
function!(Clip { low, high }, |s, x| clip(s, x, low, high), |dy| {
    let below_high = s.select(s.gt(x, s.splat(high)), s.zero(), dy);
    s.select(s.gt(x, s.splat(low)), below_high, s.zero())
});
function!(
    Elu { alpha },
    |s, x| if_positive(s, x, x, s.mul(s.splat(alpha), exp_m1_below_zero(s, s.min(s.zero(), x)))),
    |dy| if_positive(s, x, dy, s.mul(s.mul(s.splat(alpha), exp(s, x)), dy))
);
function!(Sigmoid {}, |s, x| sigmoid(s, x), |dy| s.mul(dy, sigmoid_slope(s, x)));
function!(Tanh {}, |s, x| tanh(s, x), |dy| {
    // 1 - tanh^2 x = 4 sigmoid'(2 x), without cancellation.
    s.mul(s.mul(s.splat(4.0), dy), sigmoid_slope(s, s.add(x, x)))
});
function!(Gelu {}, |s, x| s.mul(x, normal(s, x)[0]), |dy| {
    let [phi, density] = normal(s, x);
    s.mul(dy, s.fmadd(x, density, phi))
});
function!(GeluTanh {}, |s, x| s.mul(x, sigmoid(s, gelu_argument(s, x)[0])), |dy| {
    let [argument, slope] = gelu_argument(s, x);
    let rest = s.mul(s.mul(x, slope), sigmoid_slope(s, argument));
    s.mul(dy, s.add(sigmoid(s, argument), rest))
});
function!(Silu {}, |s, x| s.mul(x, sigmoid(s, x)), |dy| {
    s.mul(dy, s.fmadd(x, sigmoid_slope(s, x), sigmoid(s, x)))
});
function!(HardSwish {}, |s, x| s.mul(x, clip(s, gate(s, x), 0.0, 1.0)), |dy| {
    let middle = s.mul(dy, s.fmadd(x, s.splat(1.0 / 3.0), s.splat(0.5)));
    let up_to_3 = s.select(s.gt(x, s.splat(3.0)), dy, middle);
    s.select(s.gt(x, s.splat(-3.0)), up_to_3, s.zero())
});
function!(
    HardSigmoid { alpha, beta },
    |s, x| clip(s, s.fmadd(s.splat(alpha), x, s.splat(beta)), 0.0, 1.0),
    |dy| {
        let t = s.fmadd(s.splat(alpha), x, s.splat(beta));
        let slope = s.mul(s.splat(alpha), dy);
        // From the left in x: with a falling slope, from above in t.
        let (outside_low, outside_high) = if alpha > 0.0 {
            (s.select(s.gt(t, s.zero()), slope, s.zero()), s.gt(t, s.splat(1.0)))
        } else {
            let below_one = s.select(s.gt(s.splat(1.0), t), slope, s.zero());
            (below_one, s.gt(s.zero(), t))
        };
        s.select(outside_high, s.zero(), outside_low)
    }
);
function!(Softplus {}, |s, x| lanes(s, x, reference::softplus), |dy| s.mul(dy, sigmoid(s, x)));
function!(Exp {}, |s, x| exp(s, x), |dy| s.mul(dy, exp(s, x)));
function!(Log {}, |s, x| lanes(s, x, f64::ln), |dy| s.div(dy, x));
function!(Abs {}, |s, x| abs(s, x), |dy| if_positive(s, x, dy, s.sub(s.zero(), dy)));
function!(Sqrt {}, |s, x| s.sqrt(x), |dy| s.div(s.mul(s.splat(0.5), dy), s.sqrt(x)));
function!(Affine { scale, shift }, |s, x| s.fmadd(s.splat(scale), x, s.splat(shift)), |dy| {
    let _ = (x, shift);
    s.mul(s.splat(scale), dy)
});
function!(Power { exponent }, |s, x| lanes(s, x, |x| x.powf(f64::from(exponent))), |dy| s
    .mul(dy, lanes(s, x, |x| reference::power_derivative(x, f64::from(exponent)))));

/// Calls `$call` with the [`Function`] of an [`Activation`].
macro_rules! with_function {
    ($activation:expr, |$f:ident| $call:expr) => {
        match $activation {
            Activation::Relu => {
                let $f = Relu {};
                $call
            }
            Activation::LeakyRelu { slope } => {
                let $f = Leaky { slope };
                $call
            }
            Activation::Clip { low, high } => {
                let $f = Clip { low, high };
                $call
            }
            Activation::Elu { alpha } => {
                let $f = Elu { alpha };
                $call
            }
            Activation::Sigmoid => {
                let $f = Sigmoid {};
                $call
            }
            Activation::Tanh => {
                let $f = Tanh {};
                $call
            }
            Activation::Gelu => {
                let $f = Gelu {};
                $call
            }
            Activation::GeluTanh => {
                let $f = GeluTanh {};
                $call
            }
            Activation::Silu => {
                let $f = Silu {};
                $call
            }
            Activation::HardSwish => {
                let $f = HardSwish {};
                $call
            }
            Activation::HardSigmoid { alpha, beta } => {
                let $f = HardSigmoid { alpha, beta };
                $call
            }
            Activation::Softplus => {
                let $f = Softplus {};
                $call
            }
            Activation::Exp => {
                let $f = Exp {};
                $call
            }
            Activation::Log => {
                let $f = Log {};
                $call
            }
            Activation::Abs => {
                let $f = Abs {};
                $call
            }
            Activation::Sqrt => {
                let $f = Sqrt {};
                $call
            }
            Activation::Affine { scale, shift } => {
                let $f = Affine { scale, shift };
                $call
            }
            Activation::Power { exponent } => {
                let $f = Power { exponent };
                $call
            }
        }
    };
}

/// `y = f(x)`; NaN stays NaN.
pub fn activation(pool: &ThreadPool, isa: Isa, function: Activation, x: Source<'_>, y: &mut [f32]) {
    with_function!(function, |f| flat::run(pool, isa, [x.read()], [y], Value(f)));
}

/// `dx = dy f'(x)`.
pub fn activation_grad(
    pool: &ThreadPool,
    isa: Isa,
    function: Activation,
    x: &[f32],
    dy: Source<'_>,
    dx: &mut [f32],
) {
    let reads = [Read::Slice(x), dy.read()];
    with_function!(function, |f| flat::run(pool, isa, reads, [dx], Gradient(f)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elementwise::tests::{close, noise, on_all};

    type Scalar = fn(f64) -> f64;

    /// Each function with its value and derivative in f64.
    fn cases() -> Vec<(Activation, Scalar, Scalar)> {
        use Activation::*;
        use reference as r;
        vec![
            (Relu, r::relu, r::relu_derivative),
            (LeakyRelu { slope: 0.125 }, |x| r::leaky_relu(x, 0.125), |x| r::leaky_relu_derivative(x, 0.125)),
            (Clip { low: -1.0, high: 2.5 }, |x| r::clip(x, -1.0, 2.5), |x| r::clip_derivative(x, -1.0, 2.5)),
            (Elu { alpha: 1.5 }, |x| r::elu(x, 1.5), |x| r::elu_derivative(x, 1.5)),
            (Sigmoid, r::sigmoid, r::sigmoid_derivative),
            (Tanh, f64::tanh, |x| 4.0 * r::sigmoid_derivative(2.0 * x)),
            (Gelu, r::gelu, r::gelu_derivative),
            (GeluTanh, r::gelu_tanh, r::gelu_tanh_derivative),
            (Silu, r::silu, r::silu_derivative),
            (HardSwish, r::hard_swish, r::hard_swish_derivative),
            (
                HardSigmoid { alpha: 0.25, beta: 0.5 },
                |x| r::hard_sigmoid(x, 0.25, 0.5),
                |x| r::hard_sigmoid_derivative(x, 0.25, 0.5),
            ),
            (
                HardSigmoid { alpha: -0.25, beta: 0.5 },
                |x| r::hard_sigmoid(x, -0.25, 0.5),
                |x| r::hard_sigmoid_derivative(x, -0.25, 0.5),
            ),
            (Softplus, r::softplus, r::sigmoid),
            (Exp, f64::exp, f64::exp),
            (Abs, f64::abs, r::abs_derivative),
            (Affine { scale: 0.5, shift: -3.0 }, |x| 0.5 * x - 3.0, |_| 0.5),
            (Power { exponent: 2.0 }, |x| x * x, |x| 2.0 * x),
        ]
    }

    /// Noise between -12 and 12, and the points where functions have kinks.
    fn arguments() -> Vec<f32> {
        let mut x: Vec<f32> = noise(20_003, 1).iter().map(|x| 6.0 * x).collect();
        x[..12].copy_from_slice(&[0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 2.5, 3.0, -3.0, 6.0, 1e-7, -1e-7]);
        x
    }

    fn check(function: Activation, x: &[f32], value: impl Fn(f64) -> f64, derivative: impl Fn(f64) -> f64) {
        let dy = noise(x.len(), 2);
        let want: Vec<f64> = x.iter().map(|&x| value(f64::from(x))).collect();
        let slopes = x.iter().zip(&dy).map(|(&x, &dy)| f64::from(dy) * derivative(f64::from(x)));
        let want = [want, slopes.collect()].concat();
        let kernel = |pool: &ThreadPool, isa: Isa| {
            let mut y = vec![f32::NAN; x.len()];
            activation(pool, isa, function, x.into(), &mut y);
            let mut dx = dy.clone();
            activation_grad(pool, isa, function, x, Source::InPlace, &mut dx);
            [y, dx].concat()
        };
        on_all(kernel, |isa, got| close(&format!("{isa} {function:?}"), got, &want, 2e-6));
    }

    #[test]
    fn values_and_gradients() {
        for (function, value, derivative) in cases() {
            check(function, &arguments(), value, derivative);
        }
    }

    #[test]
    fn functions_of_positive_numbers() {
        let x: Vec<f32> = noise(1003, 3).iter().map(|x| x.abs() + 0.01).collect();
        check(Activation::Sqrt, &x, f64::sqrt, |x| 0.5 / x.sqrt());
        check(Activation::Log, &x, f64::ln, |x| 1.0 / x);
        let power = |x: f64| reference::power_derivative(x, 0.75);
        check(Activation::Power { exponent: 0.75 }, &x, |x| x.powf(0.75), power);
    }

    #[test]
    fn nan_stays() {
        let pool = ThreadPool::new(1);
        for isa in Isa::available() {
            for (function, ..) in cases() {
                let mut y = [0.0];
                activation(&pool, isa, function, (&[f32::NAN][..]).into(), &mut y);
                assert!(y[0].is_nan(), "{} {function:?}", isa.name());
            }
        }
    }
}
