//! The plain functions of one or two slices: ReLU, sums, products, copies.
//!
//! Wherever an operand is a [`Source`], it may be the output itself. All slices of a call have one length.

use super::blocked::Blocked;
use super::flat::{self, Formula};
use super::operands::{Read, Source};
use super::plane::{self, PlaneFormula};
use crate::isa::{Isa, Simd};
use crate::threads::ThreadPool;

/// Defines a formula of so many inputs without numbers of its own.
macro_rules! formula {
    ($name:ident: $inputs:literal, |$s:ident, $pattern:pat_param| $body:expr) => {
        #[derive(Clone, Copy)]
        struct $name;
        impl Formula<$inputs, 1> for $name {
            #[inline(always)]
            fn apply<S: Simd>(self, $s: S, $pattern: [S::F; $inputs]) -> [S::F; 1] {
                [$body]
            }
        }
    };
}

formula!(Relu: 1, |s, [x]| s.max(s.zero(), x));
formula!(ReluGrad: 2, |s, [y, dy]| s.select(s.gt(y, s.zero()), dy, s.zero()));
formula!(Add: 2, |s, [a, b]| s.add(a, b));
formula!(Sub: 2, |s, [a, b]| s.sub(a, b));
formula!(AddRelu: 2, |s, [a, b]| s.max(s.zero(), s.add(a, b)));
formula!(Mul: 2, |s, [a, b]| s.mul(a, b));
formula!(Div: 2, |s, [a, b]| s.div(a, b));
formula!(Maximum: 2, |s, [a, b]| maximum(s, a, b));
formula!(MaximumGrad: 3, |s, [a, b, dy]| {
    let tie = s.select(s.eq(a, b), s.mul(s.splat(0.5), dy), s.zero());
    s.select(s.gt(a, b), dy, tie)
});
formula!(Copied: 1, |_s, [x]| x);

/// `y = max(x, 0)`; NaN stays NaN.
pub fn relu(pool: &ThreadPool, isa: Isa, x: Source<'_>, y: &mut [f32]) {
    flat::run(pool, isa, [x.read()], [y], Relu);
}

/// `dx = dy` where `y > 0`, else 0. `y` may be the ReLU's output or its input.
pub fn relu_grad(pool: &ThreadPool, isa: Isa, y: &[f32], dy: Source<'_>, dx: &mut [f32]) {
    flat::run(pool, isa, [Read::Slice(y), dy.read()], [dx], ReluGrad);
}

/// As [`relu_grad`], of tensors in channel blocks; those that have a word for two numbers are bf16.
pub fn relu_grad_blocked(on: (&ThreadPool, Isa), size: Blocked, y: &[f32], dy: Source<'_>, dx: &mut [f32]) {
    plane::map(on, size, [Read::Slice(y), dy.read()], [dx], ReluGrad);
}

impl PlaneFormula<0, 2, 1> for ReluGrad {
    #[inline(always)]
    fn constants<S: Simd>(self, _: S, _: usize) -> [S::F; 0] {
        []
    }
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, _: [S::F; 0], inputs: [S::F; 2]) -> [S::F; 1] {
        Formula::apply(self, s, inputs)
    }
}

/// `y = a + b`.
pub fn add(pool: &ThreadPool, isa: Isa, a: Source<'_>, b: &[f32], y: &mut [f32]) {
    flat::run(pool, isa, [a.read(), Read::Slice(b)], [y], Add);
}

/// `y = a - b`.
pub fn sub(pool: &ThreadPool, isa: Isa, a: Source<'_>, b: &[f32], y: &mut [f32]) {
    flat::run(pool, isa, [a.read(), Read::Slice(b)], [y], Sub);
}

/// `y = max(a + b, 0)`.
pub fn add_relu(pool: &ThreadPool, isa: Isa, a: Source<'_>, b: &[f32], y: &mut [f32]) {
    flat::run(pool, isa, [a.read(), Read::Slice(b)], [y], AddRelu);
}

/// `y = a * b`.
pub fn mul(pool: &ThreadPool, isa: Isa, a: Source<'_>, b: &[f32], y: &mut [f32]) {
    flat::run(pool, isa, [a.read(), Read::Slice(b)], [y], Mul);
}

/// The larger one; NaN if either is.
#[inline(always)]
pub(super) fn maximum<S: Simd>(s: S, a: S::F, b: S::F) -> S::F {
    // `max` gives its second argument where either is NaN; that leaves a NaN of the first.
    s.select(s.eq(a, a), s.max(a, b), a)
}

/// `y = a / b`.
pub fn div(pool: &ThreadPool, isa: Isa, a: Source<'_>, b: &[f32], y: &mut [f32]) {
    flat::run(pool, isa, [a.read(), Read::Slice(b)], [y], Div);
}

/// `y = max(a, b)`; NaN where either is.
pub fn max(pool: &ThreadPool, isa: Isa, a: Source<'_>, b: &[f32], y: &mut [f32]) {
    flat::run(pool, isa, [a.read(), Read::Slice(b)], [y], Maximum);
}

/// `da = dy` where `a > b`, half of it where they are equal, else 0.
pub fn max_grad(pool: &ThreadPool, isa: Isa, a: &[f32], b: &[f32], dy: Source<'_>, da: &mut [f32]) {
    flat::run(pool, isa, [Read::Slice(a), Read::Slice(b), dy.read()], [da], MaximumGrad);
}

/// `y = x`.
pub fn copy(pool: &ThreadPool, isa: Isa, x: &[f32], y: &mut [f32]) {
    flat::run(pool, isa, [Read::Slice(x)], [y], Copied);
}

/// `y = factor * x`.
pub fn scale(pool: &ThreadPool, isa: Isa, factor: f32, x: Source<'_>, y: &mut [f32]) {
    flat::run(pool, isa, [x.read()], [y], Scale(factor));
}

/// `y += factor * x`.
pub fn axpy(pool: &ThreadPool, isa: Isa, factor: f32, x: &[f32], y: &mut [f32]) {
    flat::run(pool, isa, [Read::Slice(x), Read::Output(0)], [y], Axpy(factor));
}

/// `y = value`.
pub fn fill(pool: &ThreadPool, isa: Isa, value: f32, y: &mut [f32]) {
    flat::run(pool, isa, [], [y], Fill(value));
}

#[derive(Clone, Copy)]
struct Scale(f32);

impl Formula<1, 1> for Scale {
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, [x]: [S::F; 1]) -> [S::F; 1] {
        [s.mul(s.splat(self.0), x)]
    }
}

#[derive(Clone, Copy)]
struct Axpy(f32);

impl Formula<2, 1> for Axpy {
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, [x, y]: [S::F; 2]) -> [S::F; 1] {
        [s.fmadd(s.splat(self.0), x, y)]
    }
}

#[derive(Clone, Copy)]
struct Fill(f32);

impl Formula<0, 1> for Fill {
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, []: [S::F; 0]) -> [S::F; 1] {
        [s.splat(self.0)]
    }
}
