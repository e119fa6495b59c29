//! The mean or the sum of the whole image, and their gradients.

use crate::elementwise::Blocked;
use crate::elementwise::operands::share;
use crate::elementwise::sum::GROUP;
use crate::isa::{Isa, Simd, VectorOp};
use crate::layout::BLOCK;
use crate::threads::{SharedMut, ThreadPool};

/// Planes of a task.
const PLANES: usize = 8;

/// The mean of each image's pixels: x blocked of `size`, y blocked with H = W = 1.
pub fn global_avg(pool: &ThreadPool, isa: Isa, size: Blocked, x: &[f32], y: &mut [f32]) {
    totals(pool, isa, (size, size.pixels()), x, y);
}

/// The sum of each image's pixels: x blocked of `size`, y blocked with H = W = 1.
pub fn global_sum(pool: &ThreadPool, isa: Isa, size: Blocked, x: &[f32], y: &mut [f32]) {
    totals(pool, isa, (size, 1), x, y);
}

/// The sums of pixels over `divisor`.
fn totals(pool: &ThreadPool, isa: Isa, (size, divisor): (Blocked, usize), x: &[f32], y: &mut [f32]) {
    let planes = size.batch * size.blocks();
    assert_eq!((x.len(), y.len()), (size.elements(), planes * BLOCK), "lengths of x and y");
    let out = SharedMut::new(y);
    share(pool, size.elements(), planes.div_ceil(PLANES), &|task| {
        let first = task * PLANES;
        let count = PLANES.min(planes - first);
        // SAFETY: each task has its own planes.
        let y = unsafe { out.part(first * BLOCK, count * BLOCK) };
        isa.run(Totals { x: &x[first * size.plane()..], pixels: size.pixels(), divisor, y });
    });
}

struct Totals<'a> {
    x: &'a [f32],
    pixels: usize,
    divisor: usize,
    y: &'a mut [f32],
}

impl VectorOp for Totals<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (plane, y) in self.y.chunks_exact_mut(BLOCK).enumerate() {
            let x = &self.x[plane * self.pixels * BLOCK..][..self.pixels * BLOCK];
            let mut total = [0.0; BLOCK];
            for group in x.chunks(GROUP * BLOCK) {
                for (total, lane) in total.iter_mut().zip(s.to_array(sum(s, group))) {
                    *total += f64::from(lane);
                }
            }
            for (y, total) in y.iter_mut().zip(total) {
                *y = (total / self.divisor as f64) as f32;
            }
        }
    }
}

/// The sum of pixels, in four accumulators.
#[inline(always)]
fn sum<S: Simd>(s: S, x: &[f32]) -> S::F {
    let mut sums = [s.zero(); 4];
    let mut chunks = x.chunks_exact(4 * BLOCK);
    for chunk in chunks.by_ref() {
        for (u, sum) in sums.iter_mut().enumerate() {
            *sum = s.add(*sum, s.load(&chunk[u * BLOCK..]));
        }
    }
    for pixel in chunks.remainder().chunks_exact(BLOCK) {
        sums[0] = s.add(sums[0], s.load(pixel));
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
