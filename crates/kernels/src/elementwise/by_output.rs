//! Gradients of functions whose derivative is known from their output alone, so that their input need not be kept.

use super::flat::{self, Formula};
use super::operands::{Read, Source};
use crate::isa::{Isa, Simd};
use crate::threads::ThreadPool;

/// A function whose derivative is a function of its value y.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ByOutput {
    /// y (1 - y).
    Sigmoid,
    /// (1 - y) (1 + y).
    Tanh,
    /// y.
    Exp,
    /// 1 / (2 y).
    Sqrt,
}

/// Defines a formula of y and dy.
macro_rules! formula {
    ($name:ident: |$s:ident, $y:ident, $dy:ident| $body:expr) => {
        #[derive(Clone, Copy)]
        struct $name;
        impl Formula<2, 1> for $name {
            #[inline(always)]
            fn apply<S: Simd>(self, $s: S, [$y, $dy]: [S::F; 2]) -> [S::F; 1] {
                [$body]
            }
        }
    };
}

formula!(Sigmoid: |s, y, dy| s.mul(dy, s.mul(y, s.sub(s.splat(1.0), y))));
formula!(Tanh: |s, y, dy| s.mul(dy, s.mul(s.sub(s.splat(1.0), y), s.add(s.splat(1.0), y))));
formula!(Exp: |s, y, dy| s.mul(dy, y));
formula!(Sqrt: |s, y, dy| s.div(s.mul(s.splat(0.5), dy), y));

/// `dx = dy f'`, f' found from the output `y = f(x)`. All of one length.
pub fn activation_grad_by_output(
    (pool, isa): (&ThreadPool, Isa),
    function: ByOutput,
    y: &[f32],
    dy: Source<'_>,
    dx: &mut [f32],
) {
    let reads = [Read::Slice(y), dy.read()];
    match function {
        ByOutput::Sigmoid => flat::run(pool, isa, reads, [dx], Sigmoid),
        ByOutput::Tanh => flat::run(pool, isa, reads, [dx], Tanh),
        ByOutput::Exp => flat::run(pool, isa, reads, [dx], Exp),
        ByOutput::Sqrt => flat::run(pool, isa, reads, [dx], Sqrt),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elementwise::tests::{close, noise, on_all};
    use crate::reference::activation as reference;

    #[test]
    fn derivatives_by_value() {
        type Scalar = fn(f64) -> f64;
        let cases: [(ByOutput, Scalar); 4] = [
            (ByOutput::Sigmoid, reference::sigmoid_derivative_by_value),
            (ByOutput::Tanh, reference::tanh_derivative_by_value),
            (ByOutput::Exp, |y| y),
            (ByOutput::Sqrt, reference::sqrt_derivative_by_value),
        ];
        for (function, derivative) in cases {
            let (y, dy) = (noise(20_003, 1), noise(20_003, 2));
            let y: Vec<f32> = y.iter().map(|y| 0.4 * y + 0.9).collect();
            let pairs = y.iter().zip(&dy);
            let want: Vec<f64> = pairs.map(|(&y, &dy)| f64::from(dy) * derivative(f64::from(y))).collect();
            let kernel = |pool: &ThreadPool, isa: Isa| {
                let mut dx = dy.clone();
                activation_grad_by_output((pool, isa), function, &y, Source::InPlace, &mut dx);
                dx
            };
            on_all(kernel, |isa, got| close(&format!("{isa} {function:?}"), got, &want, 1e-6));
        }
    }
}
