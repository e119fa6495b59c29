//! The mean or the sum of the whole image, and their gradients.

use std::marker::PhantomData;

use crate::elementwise::Blocked;
use crate::elementwise::operands::share;
use crate::elementwise::sum::GROUP;
use crate::format::{Bf16, F32, Format, Number, U8};
use crate::isa::{Isa, Simd, VectorOp};
use crate::layout::BLOCK;
use crate::threads::{SharedMut, ThreadPool};

/// Planes of a task.
const PLANES: usize = 8;

/// The mean of each image's pixels: x blocked of `size`, y blocked with H = W = 1.
pub fn global_avg(pool: &ThreadPool, isa: Isa, size: Blocked, x: &[f32], y: &mut [f32]) {
    totals::<F32>(pool, isa, (size, size.pixels()), (x, [1.0, 0.0]), y);
}

/// [`global_avg`] of numbers of any format, `means * factor + offset`; x and y are words.
pub fn global_avg_of(
    (pool, isa): (&ThreadPool, Isa),
    size: Blocked,
    (format, factor, offset): (Format, f32, f32),
    x: &[f32],
    y: &mut [f32],
) {
    let (pixels, x) = (size.pixels(), (x, [factor, offset]));
    match format {
        Format::F32 => totals::<F32>(pool, isa, (size, pixels), x, y),
        Format::Bf16 => totals::<Bf16>(pool, isa, (size, pixels), x, y),
        Format::U8 => totals::<U8>(pool, isa, (size, pixels), x, y),
    }
}

/// The sum of each image's pixels: x blocked of `size`, y blocked with H = W = 1.
pub fn global_sum(pool: &ThreadPool, isa: Isa, size: Blocked, x: &[f32], y: &mut [f32]) {
    totals::<F32>(pool, isa, (size, 1), (x, [1.0, 0.0]), y);
}

/// The sums of pixels over `divisor`.
fn totals<N: Number>(
    pool: &ThreadPool,
    isa: Isa,
    (size, divisor): (Blocked, usize),
    (x, worth): (&[f32], [f32; 2]),
    y: &mut [f32],
) {
    let (planes, block) = (size.batch * size.blocks(), N::FORMAT.block());
    let lengths = (size.elements() / N::FORMAT.per_word(), planes * block);
    assert_eq!((x.len(), y.len()), lengths, "lengths of x and y");
    let out = SharedMut::new(y);
    share(pool, size.elements(), planes.div_ceil(PLANES), &|task| {
        let first = task * PLANES;
        let count = PLANES.min(planes - first);
        // SAFETY: each task has its own planes.
        let y = unsafe { out.part(first * block, count * block) };
        let x = &x[first * size.pixels() * block..];
        isa.run(Totals { x, pixels: size.pixels(), divisor, worth, y, number: PhantomData::<N> });
    });
}

struct Totals<'a, N> {
    x: &'a [f32],
    pixels: usize,
    divisor: usize,
    /// Factor of the quotients, and what is added to them.
    worth: [f32; 2],
    y: &'a mut [f32],
    number: PhantomData<N>,
}

impl<N: Number> VectorOp for Totals<'_, N> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (block, [factor, offset]) = (N::FORMAT.block(), self.worth);
        for (plane, y) in self.y.chunks_exact_mut(block).enumerate() {
            let x = &self.x[plane * self.pixels * block..][..self.pixels * block];
            let mut total = [0.0; BLOCK];
            for group in x.chunks(GROUP * block) {
                for (total, lane) in total.iter_mut().zip(s.to_array(sum::<S, N>(s, group))) {
                    *total += f64::from(lane);
                }
            }
            let means = s.load(&total.map(|total| (total / self.divisor as f64) as f32));
            let worth = match N::FORMAT {
                Format::U8 => s.fmadd(means, s.splat(factor), s.splat(offset)),
                _ => means,
            };
            // SAFETY: y has a block of words.
            unsafe { N::store(s, worth, y.as_mut_ptr()) }
        }
    }
}

/// The sum of pixels, in four accumulators.
#[inline(always)]
fn sum<S: Simd, N: Number>(s: S, x: &[f32]) -> S::F {
    let mut sums = [s.zero(); 4];
    let block = N::FORMAT.block();
    let mut chunks = x.chunks_exact(4 * block);
    for chunk in chunks.by_ref() {
        for (u, sum) in sums.iter_mut().enumerate() {
            // SAFETY: the chunk has four blocks of words.
            *sum = s.add(*sum, unsafe { N::load(s, chunk.as_ptr().add(u * block)) });
        }
    }
    for pixel in chunks.remainder().chunks_exact(block) {
        // SAFETY: the pixel is a block of words.
        sums[0] = s.add(sums[0], unsafe { N::load(s, pixel.as_ptr()) });
    }
    s.add(s.add(sums[0], sums[1]), s.add(sums[2], sums[3]))
}

/// The gradient of [`global_avg`]: dy blocked with H = W = 1, dx blocked of `size`.
pub fn global_avg_grad(pool: &ThreadPool, isa: Isa, size: Blocked, dy: &[f32], dx: &mut [f32]) {
    let planes = size.batch * size.blocks();
    assert_eq!((dx.len(), dy.len()), (size.elements(), planes * BLOCK), "lengths of dx and dy");
    let out = SharedMut::new(dx);
    share(pool, size.elements(), planes.div_ceil(PLANES), &|task| {
        let first = task * PLANES;
        let count = PLANES.min(planes - first);
        // SAFETY: each task has its own planes.
        let dx = unsafe { out.part(first * size.plane(), count * size.plane()) };
        isa.run(Spread { dy: &dy[first * BLOCK..], pixels: size.pixels(), dx });
    });
}

struct Spread<'a> {
    dy: &'a [f32],
    pixels: usize,
    dx: &'a mut [f32],
}

impl VectorOp for Spread<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let planes = self.dx.chunks_exact_mut(self.pixels * BLOCK);
        for (dx, dy) in planes.zip(self.dy.chunks_exact(BLOCK)) {
            let part = s.div(s.load(dy), s.splat(self.pixels as f32));
            for pixel in dx.chunks_exact_mut(BLOCK) {
                s.store(part, pixel);
            }
        }
    }
}
