//! The exponential function and its kin on block vectors.
//!
//! ```text
//! n = round(x / ln 2);  r = x - n ln 2, |r| <= ln 2 / 2;  e^x = 2^n (1 + r + r^2 p(r))
//! ```
//!
//! The polynomial, ln 2 in two parts and tanh's polynomial are those of Moshier's Cephes library (expf.c, tanhf.c).
//! 2^n is applied in two factors, so results that overflow or are denormal come out right.

use crate::isa::Simd;

/// Largest error of [`exp`] in units in the last place of the true value.
pub const EXP_ULPS: f64 = 2.0;

/// Largest error of [`sigmoid`] in units in the last place, down to -87, where the result turns denormal.
pub const SIGMOID_ULPS: f64 = 4.0;

/// Largest error of [`tanh`] in units in the last place.
pub const TANH_ULPS: f64 = 4.0;

/// Largest error of [`exp_m1_below_zero`] in units in the last place.
pub const EXP_M1_ULPS: f64 = 4.0;

/// e^x as (1 + q) a b, a and b powers of two. NaN stays NaN.
#[inline(always)]
fn parts<S: Simd>(s: S, x: S::F) -> [S::F; 3] {
    const COEFFICIENTS: [f32; 6] =
        [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    // Beyond these the result is 0 or infinite anyway.
    let x = s.min(s.splat(89.0), s.max(s.splat(-104.0), x));
    let n = s.round(s.mul(x, s.splat(std::f32::consts::LOG2_E)));
    let r = s.fmadd(n, s.splat(-LN_2[0]), x);
    let r = s.fmadd(n, s.splat(-LN_2[1]), r);
    let mut p = s.splat(COEFFICIENTS[0]);
    for coefficient in &COEFFICIENTS[1..] {
        p = s.fmadd(p, r, s.splat(*coefficient));
    }
    let q = s.fmadd(s.mul(p, r), r, r);
    let half = s.round(s.mul(n, s.splat(0.5)));
    [q, s.exp2_int(half), s.exp2_int(s.sub(n, half))]
}

/// e^x.
#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, x: S::F) -> S::F {
    let [q, a, b] = parts(s, x);
    s.mul(s.mul(s.add(s.splat(1.0), q), a), b)
}

/// e^x - 1 for x up to 0, without cancellation.
#[inline(always)]
pub(crate) fn exp_m1_below_zero<S: Simd>(s: S, x: S::F) -> S::F {
    let [q, a, b] = parts(s, x);
    let power = s.mul(a, b);
    s.fmadd(q, power, s.sub(power, s.splat(1.0)))
}

/// |x|.
#[inline(always)]
pub(crate) fn abs<S: Simd>(s: S, x: S::F) -> S::F {
    s.max(s.sub(s.zero(), x), x)
}

/// 1 / (1 + e^-x).
#[inline(always)]
pub(crate) fn sigmoid<S: Simd>(s: S, x: S::F) -> S::F {
    let one = s.splat(1.0);
    s.div(one, s.add(one, exp(s, s.sub(s.zero(), x))))
}

/// The derivative of [`sigmoid`], e^-|x| / (1 + e^-|x|)^2, without cancellation.
#[inline(always)]
pub(crate) fn sigmoid_slope<S: Simd>(s: S, x: S::F) -> S::F {
    let e = exp(s, s.sub(s.zero(), abs(s, x)));
    let sum = s.add(s.splat(1.0), e);
    s.div(e, s.mul(sum, sum))
}

/// Hyperbolic tangent: a polynomial near 0, else (1 - e^-2|x|) / (1 + e^-2|x|) with the sign of x.
#[inline(always)]
pub(crate) fn tanh<S: Simd>(s: S, x: S::F) -> S::F {
    const COEFFICIENTS: [f32; 5] =
        [-5.704_988_7e-3, 2.063_909e-2, -5.373_971_6e-2, 1.333_144_2e-1, -3.333_328e-1];
    let (one, size) = (s.splat(1.0), abs(s, x));
    let e = exp(s, s.mul(size, s.splat(-2.0)));
    let far = s.div(s.sub(one, e), s.add(one, e));
    let far = s.select(s.gt(s.zero(), x), s.sub(s.zero(), far), far);
    let square = s.mul(x, x);
    let mut p = s.splat(COEFFICIENTS[0]);
    for coefficient in &COEFFICIENTS[1..] {
        p = s.fmadd(p, square, s.splat(*coefficient));
    }
    let near = s.fmadd(s.mul(p, square), x, x);
    s.select(s.gt(s.splat(0.625), size), near, far)
}

/// The standard normal's distribution function Phi(x) and density.
///
/// For u = |x|, Phi(-u) e^(u^2 / 2) is a polynomial in t = 1 / (1 + 0.3 u) without constant term; its coefficients are a
/// least-squares fit of the relative error (1.3e-7) up to u = 13.5, where Phi(-u) leaves f32.
#[inline(always)]
pub(crate) fn normal<S: Simd>(s: S, x: S::F) -> [S::F; 2] {
    const COEFFICIENTS: [f32; 8] = [
        0.035_932_034,
        -0.158_277_14,
        0.208_208_4,
        -0.055_395_34,
        0.129_469_91,
        0.099_637_3,
        0.120_798_39,
        0.119_626_39,
    ];
    const DENSITY: f32 = 0.398_942_3; // 1 / sqrt(2 pi)
    let one = s.splat(1.0);
    let t = s.div(one, s.fmadd(s.splat(0.3), abs(s, x), one));
    let mut p = s.splat(COEFFICIENTS[0]);
    for coefficient in &COEFFICIENTS[1..] {
        p = s.fmadd(p, t, s.splat(*coefficient));
    }
    let decay = exp(s, s.mul(s.mul(x, x), s.splat(-0.5)));
    let below = s.mul(s.mul(p, t), decay);
    let phi = s.select(s.gt(x, s.zero()), s.sub(one, below), below);
    [phi, s.mul(decay, s.splat(DENSITY))]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::{Isa, VectorOp};

    struct All([f32; 16]);

    impl VectorOp for All {
        type Output = [[f32; 16]; 5];
        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Self::Output {
            let x = s.load(&self.0);
            let below = s.min(x, s.zero());
            [exp(s, x), sigmoid(s, x), tanh(s, x), exp_m1_below_zero(s, below), sigmoid_slope(s, x)]
                .map(|v| s.to_array(v))
        }
    }

    /// The error in units in the last place of an f32 near the true value.
    fn ulps(got: f32, want: f64) -> f64 {
        let unit = f64::from((want.abs() as f32).max(f32::MIN_POSITIVE).next_up())
            - f64::from((want.abs() as f32).max(f32::MIN_POSITIVE));
        (f64::from(got) - want).abs() / unit
    }

    #[test]
    fn errors_stay_within_the_stated_units() {
        for isa in Isa::available() {
            let mut worst = [0.0f64; 4];
            for group in 0..80_000 {
                let x: [f32; 16] =
                    std::array::from_fn(|i| (group * 16 + i) as f32 * (174.0 / 1_280_000.0) - 86.5);
                let [e, sigmoid, tanh, m1, slope] = isa.run(All(x));
                for i in 0..16 {
                    let v = f64::from(x[i]);
                    worst[0] = worst[0].max(ulps(e[i], v.exp()));
                    worst[1] = worst[1].max(ulps(sigmoid[i], 1.0 / (1.0 + (-v).exp())));
                    worst[2] = worst[2].max(ulps(tanh[i], v.tanh()));
                    worst[3] = worst[3].max(ulps(m1[i], v.min(0.0).exp_m1()));
                    let want = (-v.abs()).exp() / (1.0 + (-v.abs()).exp()).powi(2);
                    assert!((f64::from(slope[i]) - want).abs() <= 1e-6 * want + 1e-45, "slope at {v}");
                }
            }
            let bounds = [EXP_ULPS, SIGMOID_ULPS, TANH_ULPS, EXP_M1_ULPS];
            assert!(
                worst.iter().zip(bounds).all(|(w, b)| *w <= b),
                "{}: {worst:?} of {bounds:?}",
                isa.name()
            );
        }
    }

    #[test]
    fn small_arguments_keep_their_digits() {
        for isa in Isa::available() {
            let x: [f32; 16] =
                std::array::from_fn(|i| 10f32.powi(-(i as i32)) * if i % 2 == 0 { 0.7 } else { -0.7 });
            let [_, _, tanh, m1, _] = isa.run(All(x));
            for i in 0..16 {
                let v = f64::from(x[i]);
                assert!(ulps(tanh[i], v.tanh()) <= TANH_ULPS, "{} tanh {v}", isa.name());
                assert!(ulps(m1[i], v.min(0.0).exp_m1()) <= EXP_M1_ULPS, "{} exp_m1 {v}", isa.name());
            }
        }
    }

    #[test]
    fn ends_of_the_range() {
        for isa in Isa::available() {
            let mut x = [0.0; 16];
            x[..6].copy_from_slice(&[f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 100.0, -200.0, -95.0]);
            let [e, sigmoid, tanh, ..] = isa.run(All(x));
            assert_eq!((e[0], e[1], e[3], e[4], e[6]), (f32::INFINITY, 0.0, f32::INFINITY, 0.0, 1.0));
            assert!(e[2].is_nan() && sigmoid[2].is_nan() && tanh[2].is_nan());
            assert!(e[5] > 0.0 && (f64::from(e[5]) - (-95f64).exp()).abs() < 1e-43, "denormal: {}", e[5]);
            assert_eq!((sigmoid[0], sigmoid[1], tanh[0], tanh[1]), (1.0, 0.0, 1.0, -1.0));
        }
    }
}
