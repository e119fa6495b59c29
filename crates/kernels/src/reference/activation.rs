//! Functions of one number and their derivatives, in `f64`, and their application to each element.
//!
//! At a kink the derivative from the left is taken, so ReLU'(0) = 0, |x|'(0) = -1, clip'(high) = 1. NaN stays NaN.
//! Sources: GELU, Hendrycks and Gimpel 2016; SiLU, Elfwing et al. 2017; hard swish, Howard et al. 2019; ELU, Clevert
//! et al. 2015.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use ocellus_tensor::Element;

use super::erf::erfc;

/// `y[i] = f(x[i])`.
pub fn map<T: Element>(x: &[T], y: &mut [T], f: impl Fn(f64) -> f64) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = T::from_f64(f(x.to_f64()));
    }
}

/// `dx[i] = dy[i] f'(x[i])`.
pub fn map_grad<T: Element>(x: &[T], dy: &[T], dx: &mut [T], derivative: impl Fn(f64) -> f64) {
    for ((dx, x), dy) in dx.iter_mut().zip(x).zip(dy) {
        *dx = T::from_f64(dy.to_f64() * derivative(x.to_f64()));
    }
}

/// max(x, 0).
pub fn relu(x: f64) -> f64 {
    Element::maximum(x, 0.0)
}

/// 1 above zero, else 0.
pub fn relu_derivative(x: f64) -> f64 {
    leaky_relu_derivative(x, 0.0)
}

/// x above zero, else `slope` x.
pub fn leaky_relu(x: f64, slope: f64) -> f64 {
    if x > 0.0 { x } else { slope * x }
}

/// 1 above zero, else `slope`.
pub fn leaky_relu_derivative(x: f64, slope: f64) -> f64 {
    if x > 0.0 { 1.0 } else { slope }
}

/// min(max(x, `low`), `high`).
pub fn clip(x: f64, low: f64, high: f64) -> f64 {
    Element::minimum(Element::maximum(x, low), high)
}

/// 1 for `low` < x <= `high`, else 0.
pub fn clip_derivative(x: f64, low: f64, high: f64) -> f64 {
    if x > low && x <= high { 1.0 } else { 0.0 }
}

/// x above zero, else `alpha` (e^x - 1).
pub fn elu(x: f64, alpha: f64) -> f64 {
    if x > 0.0 { x } else { alpha * x.exp_m1() }
}

/// 1 above zero, else `alpha` e^x.
pub fn elu_derivative(x: f64, alpha: f64) -> f64 {
    if x > 0.0 { 1.0 } else { alpha * x.exp() }
}

/// 1 / (1 + e^-x).
pub fn sigmoid(x: f64) -> f64 {
    // Only e^-|x| is taken, which cannot overflow.
    if x >= 0.0 { 1.0 / (1.0 + (-x).exp()) } else { x.exp() / (1.0 + x.exp()) }
}

/// s (1 - s), s the sigmoid.
pub fn sigmoid_derivative(x: f64) -> f64 {
    sigmoid(x) * sigmoid(-x)
}

/// The sigmoid's derivative where its value is `y`: y (1 - y).
pub fn sigmoid_derivative_by_value(y: f64) -> f64 {
    y * (1.0 - y)
}

/// The derivative of tanh where its value is `y`: 1 - y^2.
pub fn tanh_derivative_by_value(y: f64) -> f64 {
    (1.0 - y) * (1.0 + y)
}

/// The distribution function of the standard normal.
fn normal_cdf(x: f64) -> f64 {
    0.5 * erfc(-x * FRAC_1_SQRT_2)
}

/// x Phi(x).
pub fn gelu(x: f64) -> f64 {
    x * normal_cdf(x)
}

/// Phi(x) + x phi(x).
pub fn gelu_derivative(x: f64) -> f64 {
    let density = 0.5 * FRAC_2_SQRT_PI * FRAC_1_SQRT_2 * (-0.5 * x * x).exp();
    normal_cdf(x) + x * density
}

/// x times (1 + tanh u) / 2 = sigmoid(2u), u = sqrt(2 / pi) (x + 0.044715 x^3).
pub fn gelu_tanh(x: f64) -> f64 {
    x * sigmoid(2.0 * gelu_tanh_argument(x))
}

/// The derivative of [`gelu_tanh`].
pub fn gelu_tanh_derivative(x: f64) -> f64 {
    let u = gelu_tanh_argument(x);
    let slope = FRAC_2_SQRT_PI * FRAC_1_SQRT_2 * (1.0 + 3.0 * 0.044_715 * x * x);
    sigmoid(2.0 * u) + x * 2.0 * slope * sigmoid_derivative(2.0 * u)
}

fn gelu_tanh_argument(x: f64) -> f64 {
    FRAC_2_SQRT_PI * FRAC_1_SQRT_2 * (x + 0.044_715 * x * x * x)
}

/// x sigmoid(x).
pub fn silu(x: f64) -> f64 {
    x * sigmoid(x)
}

/// s + x s (1 - s), s the sigmoid.
pub fn silu_derivative(x: f64) -> f64 {
    sigmoid(x) + x * sigmoid_derivative(x)
}

/// x clip(x/6 + 1/2, 0, 1).
pub fn hard_swish(x: f64) -> f64 {
    x * clip(x / 6.0 + 0.5, 0.0, 1.0)
}

/// 0 up to -3, x/3 + 1/2 up to 3, then 1.
pub fn hard_swish_derivative(x: f64) -> f64 {
    if x <= -3.0 {
        0.0
    } else if x <= 3.0 {
        x / 3.0 + 0.5
    } else {
        1.0
    }
}

/// clip(`alpha` x + `beta`, 0, 1).
pub fn hard_sigmoid(x: f64, alpha: f64, beta: f64) -> f64 {
    clip(alpha * x + beta, 0.0, 1.0)
}

/// `alpha` on the slope, else 0.
pub fn hard_sigmoid_derivative(x: f64, alpha: f64, beta: f64) -> f64 {
    // With a negative slope, "from the left" is from above.
    let t = alpha * x + beta;
    let on_slope = if alpha > 0.0 { t > 0.0 && t <= 1.0 } else { (0.0..1.0).contains(&t) };
    if on_slope { alpha } else { 0.0 }
}

/// ln(1 + e^x).
pub fn softplus(x: f64) -> f64 {
    relu(x) + (-x.abs()).exp().ln_1p()
}

/// -1 up to zero, then 1.
pub fn abs_derivative(x: f64) -> f64 {
    if x > 0.0 { 1.0 } else { -1.0 }
}

/// The square root's derivative where its value is `y`: 1 / (2 y).
pub fn sqrt_derivative_by_value(y: f64) -> f64 {
    0.5 / y
}

/// `exponent` x^(`exponent` - 1).
pub fn power_derivative(x: f64, exponent: f64) -> f64 {
    if exponent == 0.0 { 0.0 } else { exponent * x.powf(exponent - 1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(actual: f64, expected: f64) {
        assert!((actual - expected).abs() < 1e-12, "{actual} is not {expected}");
    }

    #[test]
    fn values_by_hand() {
        assert_eq!((relu(-1.0), relu(2.0), leaky_relu(-2.0, 0.5)), (0.0, 2.0, -1.0));
        assert_eq!((clip(-1.0, 0.0, 6.0), clip(7.0, 0.0, 6.0), clip(3.0, 0.0, 6.0)), (0.0, 6.0, 3.0));
        near(elu(-1.0, 2.0), 2.0 * ((-1.0f64).exp() - 1.0));
        near(sigmoid(1.0), 0.731_058_578_630_004_9);
        near(gelu(1.0), 0.841_344_746_068_542_9);
        near(gelu_tanh(1.0), 0.841_191_990_608_276_8);
        near(silu(-1.0), -0.268_941_421_369_995_1);
        near(hard_swish(1.5), 1.5 * 0.75);
        near(hard_sigmoid(1.0, 0.2, 0.5), 0.7);
        near(softplus(1.0), 1.313_261_687_518_222_8);
        assert_eq!((softplus(1000.0), softplus(-1000.0)), (1000.0, 0.0));
    }

    #[test]
    fn derivatives_agree_with_differences() {
        type Pair = (fn(f64) -> f64, fn(f64) -> f64);
        let pairs: [Pair; 15] = [
            (relu, relu_derivative),
            (|x| leaky_relu(x, 0.1), |x| leaky_relu_derivative(x, 0.1)),
            (|x| clip(x, -1.0, 2.0), |x| clip_derivative(x, -1.0, 2.0)),
            (|x| elu(x, 1.5), |x| elu_derivative(x, 1.5)),
            (sigmoid, sigmoid_derivative),
            (sigmoid, |x| sigmoid_derivative_by_value(sigmoid(x))),
            (f64::tanh, |x| tanh_derivative_by_value(x.tanh())),
            (gelu, gelu_derivative),
            (gelu_tanh, gelu_tanh_derivative),
            (silu, silu_derivative),
            (hard_swish, hard_swish_derivative),
            (|x| hard_sigmoid(x, -0.3, 0.4), |x| hard_sigmoid_derivative(x, -0.3, 0.4)),
            (softplus, sigmoid),
            (f64::abs, abs_derivative),
            (|x| x.powf(3.0), |x| power_derivative(x, 3.0)),
        ];
        for (i, (f, derivative)) in pairs.into_iter().enumerate() {
            for x in [-5.3, -1.7, -0.31, 0.23, 1.1, 4.7] {
                let difference = (f(x + 1e-6) - f(x - 1e-6)) / 2e-6;
                assert!((difference - derivative(x)).abs() < 1e-8 * f(x).abs().max(1.0), "pair {i} at {x}");
            }
        }
        near(sqrt_derivative_by_value(2.0), 0.25);
    }

    #[test]
    fn kinks_take_the_derivative_from_the_left_and_nan_stays() {
        assert_eq!((relu_derivative(0.0), abs_derivative(0.0)), (0.0, -1.0));
        assert_eq!((clip_derivative(0.0, 0.0, 6.0), clip_derivative(6.0, 0.0, 6.0)), (0.0, 1.0));
        assert_eq!((hard_swish_derivative(-3.0), hard_swish_derivative(3.0)), (0.0, 1.5));
        assert!(relu(f64::NAN).is_nan() && clip(f64::NAN, 0.0, 1.0).is_nan());
    }

    #[test]
    fn maps_round_once() {
        let mut y = [f32::NAN; 2];
        map(&[1.0f32, -2.0], &mut y, |x| x * x + 0.5);
        assert_eq!(y, [1.5, 4.5]);
        map_grad(&[1.0f32, -2.0], &[10.0, 100.0], &mut y, |x| 2.0 * x);
        assert_eq!(y, [20.0, -400.0]);
    }
}
