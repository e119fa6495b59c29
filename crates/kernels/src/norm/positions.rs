//! Layer normalisation over the channels of each pixel.
//!
//! ```text
//! for each run of 16 pixels of an image, in parallel, over all blocks of channels:
//!     mean of each pixel; then its squared deviations; then y = gamma (x - mean) / sqrt(var + eps) + beta
//! gradient, with h = gamma dy, xhat = (x - mean) / deviation, mean() over the pixel's channels:
//!     dx = (h - mean(h) - xhat mean(h xhat)) / deviation
//!     dgamma += dy xhat, dbeta += dy: per task, then the tasks' sums added in order
//! ```
//!
//! Sixteen pixels' sums over lanes are one transpose. Source: Ba et al., "Layer normalization" (2016), section 3.

// Around closures: stable Rust takes attributes on arguments, not on what a `let` binds.
use std::convert::identity;

use crate::elementwise::Blocked;
use crate::elementwise::operands::share;
use crate::isa::{Isa, LANES, Simd, VectorOp};
use crate::layout::BLOCK;
use crate::threads::{SharedMut, ThreadPool};

use super::AffineGrads;

/// Pixels of a task.
const TASK: usize = 128;

/// Layer normalisation of every pixel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerNorm {
    /// Sizes of x.
    pub size: Blocked,
    /// Added to the variance.
    pub eps: f32,
}

/// Some pixels of an image.
#[derive(Clone, Copy)]
struct Run {
    image: usize,
    first: usize,
    count: usize,
}

impl LayerNorm {
    fn tasks_per_image(&self) -> usize {
        self.size.pixels().div_ceil(TASK)
    }

    fn tasks(&self) -> usize {
        self.size.batch * self.tasks_per_image()
    }

    fn task(&self, task: usize) -> Run {
        let (image, part) = (task / self.tasks_per_image(), task % self.tasks_per_image());
        Run { image, first: part * TASK, count: TASK.min(self.size.pixels() - part * TASK) }
    }

    fn padded(&self) -> usize {
        self.size.blocks() * BLOCK
    }

    /// Scratch numbers of [`LayerNorm::gradient`].
    pub fn gradient_scratch_len(&self) -> usize {
        self.tasks() * 2 * self.padded()
    }

    /// y from x, both blocked; gamma and beta `(C)`, 1 and 0 if absent.
    pub fn run(
        &self,
        (pool, isa): (&ThreadPool, Isa),
        (gamma, beta): (Option<&[f32]>, Option<&[f32]>),
        x: &[f32],
        y: &mut [f32],
    ) {
        let elements = self.size.elements();
        assert_eq!((x.len(), y.len()), (elements, elements), "lengths of x and y");
        let y = SharedMut::new(y);
        share(pool, elements, self.tasks(), &|task| {
            isa.run(Forward { norm: self, affine: [gamma, beta], x, y, run: self.task(task) });
        });
    }

    /// dx, dgamma and dbeta from x and dy; dx, x and dy blocked.
    pub fn gradient(
        &self,
        (pool, isa): (&ThreadPool, Isa),
        gamma: Option<&[f32]>,
        (x, dy): (&[f32], &[f32]),
        (dx, grads): (&mut [f32], AffineGrads<'_>),
        scratch: &mut [f32],
    ) {
        let elements = self.size.elements();
        assert_eq!([x.len(), dy.len(), dx.len()], [elements; 3], "lengths of x, dy and dx");
        let (per_task, dx) = (2 * self.padded(), SharedMut::new(dx));
        let scratch = &mut scratch[..self.gradient_scratch_len()];
        let partial = SharedMut::new(scratch);
        share(pool, elements, self.tasks(), &|task| {
            // SAFETY: each task has its own sums.
            let sums = unsafe { partial.part(task * per_task, per_task) };
            isa.run(Backward { norm: self, gamma, x, dy, dx, run: self.task(task), sums });
        });
        for channel in 0..self.size.channels {
            let sum = |first: usize| {
                let parts = scratch.chunks_exact(per_task).map(|sums| f64::from(sums[first + channel]));
                parts.sum::<f64>() as f32
            };
            grads.dgamma[channel] = sum(0);
            grads.dbeta[channel] = sum(self.padded());
        }
    }

    /// Where pixel `pixel` of a block of an image lies.
    #[inline(always)]
    fn at(&self, image: usize, block: usize, pixel: usize) -> usize {
        self.size.plane_start(image, block) + pixel * BLOCK
    }

    /// The lanes of a block that are channels.
    #[inline(always)]
    fn mask<S: Simd>(&self, s: S, block: usize) -> S::M {
        let real = (self.size.channels - block * BLOCK).min(BLOCK);
        s.mask(((1u32 << real) - 1) as u16)
    }

    /// For each of up to 16 pixels, the sum over its channels of `term(block, pixel)` over the number of channels.
    #[inline(always)]
    fn means<S: Simd>(&self, s: S, count: usize, term: impl Fn(usize, usize) -> S::F) -> S::F {
        let mut sums = [s.zero(); LANES];
        for block in 0..self.size.blocks() {
            let mask = self.mask(s, block);
            for (pixel, sum) in sums.iter_mut().enumerate().take(count) {
                *sum = s.add(*sum, s.select(mask, term(block, pixel), s.zero()));
            }
        }
        let mut total = s.zero();
        for row in s.transpose(sums) {
            total = s.add(total, row);
        }
        s.mul(total, s.splat(1.0 / self.size.channels as f32))
    }

    /// Mean and 1 / sqrt(var + eps) of up to 16 pixels.
    #[inline(always)]
    fn moments<S: Simd>(
        &self,
        s: S,
        x: &[f32],
        image: usize,
        [first, count]: [usize; 2],
    ) -> [[f32; LANES]; 2] {
        let load = identity(
            #[inline(always)]
            |block: usize, pixel: usize| s.load(&x[self.at(image, block, first + pixel)..]),
        );
        let mean = s.to_array(self.means(s, count, load));
        let var = self.means(
            s,
            count,
            #[inline(always)]
            |block, pixel| {
                let d = s.sub(s.load(&x[self.at(image, block, first + pixel)..]), s.splat(mean[pixel]));
                s.mul(d, d)
            },
        );
        let scale = s.div(s.splat(1.0), s.sqrt(s.add(var, s.splat(self.eps))));
        [mean, s.to_array(scale)]
    }
}

/// The channels of a block of an optional `(C)`.
#[inline(always)]
fn of_block<S: Simd>(s: S, numbers: Option<&[f32]>, block: usize, absent: f32) -> S::F {
    numbers.map_or(s.splat(absent), |numbers| s.load_partial(&numbers[block * BLOCK..], 0.0))
}

struct Forward<'a> {
    norm: &'a LayerNorm,
    affine: [Option<&'a [f32]>; 2],
    x: &'a [f32],
    y: SharedMut<'a, f32>,
    run: Run,
}

impl VectorOp for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Forward { norm, affine, x, y, run } = self;
        for first in (run.first..run.first + run.count).step_by(LANES) {
            let count = (run.first + run.count - first).min(LANES);
            let [mean, scale] = norm.moments(s, x, run.image, [first, count]);
            for block in 0..norm.size.blocks() {
                let (gamma, beta) = (of_block(s, affine[0], block, 1.0), of_block(s, affine[1], block, 0.0));
                let at = norm.at(run.image, block, first);
                // SAFETY: these pixels of the block are this task's alone.
                let y = unsafe { y.part(at, count * BLOCK) };
                for (pixel, y) in y.chunks_exact_mut(BLOCK).enumerate() {
                    let deviation = s.sub(s.load(&x[at + pixel * BLOCK..]), s.splat(mean[pixel]));
                    let xhat = s.mul(deviation, s.splat(scale[pixel]));
                    s.store(s.fmadd(xhat, gamma, beta), y);
                }
            }
        }
    }
}

struct Backward<'a> {
    norm: &'a LayerNorm,
    gamma: Option<&'a [f32]>,
    x: &'a [f32],
    dy: &'a [f32],
    dx: SharedMut<'a, f32>,
    run: Run,
    /// Sums of dgamma, then of dbeta.
    sums: &'a mut [f32],
}

impl VectorOp for Backward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Backward { norm, gamma, x, dy, dx, run, sums } = self;
        sums.fill(0.0);
        let (dgamma, dbeta) = sums.split_at_mut(norm.padded());
        for first in (run.first..run.first + run.count).step_by(LANES) {
            let count = (run.first + run.count - first).min(LANES);
            let [mean, scale] = norm.moments(s, x, run.image, [first, count]);
            let at = identity(
                #[inline(always)]
                |block: usize, pixel: usize| norm.at(run.image, block, first + pixel),
            );
            let h = identity(
                #[inline(always)]
                |block: usize, pixel: usize| {
                    s.mul(of_block(s, gamma, block, 1.0), s.load(&dy[at(block, pixel)..]))
                },
            );
            let xhat = identity(
                #[inline(always)]
                |block: usize, pixel: usize| {
                    let deviation = s.sub(s.load(&x[at(block, pixel)..]), s.splat(mean[pixel]));
                    s.mul(deviation, s.splat(scale[pixel]))
                },
            );
            let mean_h = s.to_array(norm.means(s, count, h));
            let product = identity(
                #[inline(always)]
                |block: usize, pixel: usize| s.mul(h(block, pixel), xhat(block, pixel)),
            );
            let mean_product = s.to_array(norm.means(s, count, product));
            for block in 0..norm.size.blocks() {
                // SAFETY: these pixels of the block are this task's alone.
                let dx = unsafe { dx.part(at(block, 0), count * BLOCK) };
                let (mut of_gamma, mut of_beta) = (s.zero(), s.zero());
                for (pixel, dx) in dx.chunks_exact_mut(BLOCK).enumerate() {
                    let (xhat, dy) = (xhat(block, pixel), s.load(&dy[at(block, pixel)..]));
                    let rest = s.sub(h(block, pixel), s.splat(mean_h[pixel]));
                    let rest = s.sub(rest, s.mul(xhat, s.splat(mean_product[pixel])));
                    s.store(s.mul(rest, s.splat(scale[pixel])), dx);
                    of_gamma = s.fmadd(dy, xhat, of_gamma);
                    of_beta = s.add(of_beta, dy);
                }
                let lanes = block * BLOCK..(block + 1) * BLOCK;
                let (dgamma, dbeta) = (&mut dgamma[lanes.clone()], &mut dbeta[lanes]);
                s.store(s.add(s.load(dgamma), of_gamma), dgamma);
                s.store(s.add(s.load(dbeta), of_beta), dbeta);
            }
        }
    }
}
