//! A regular grid of an image's pixels: `x[:, :, a..a + s m: s, b..b + t n: t]`.
//!
//! - slice: [`Grid::take`]; its gradient: [`Grid::place`] with 0
//! - border of one value: [`Grid::place`] with step 1; its gradient: [`Grid::take`]

use crate::elementwise::Blocked;
use crate::elementwise::operands::share;
use crate::layout::BLOCK;
use crate::threads::{SharedMut, ThreadPool};

/// A grid of pixels in an image; index 0 is the height, 1 the width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Grid {
    /// Sizes of the tensor that the grid lies in.
    pub outer: Blocked,
    /// The first pixel.
    pub start: [usize; 2],
    /// Distance between pixels, at least 1.
    pub step: [usize; 2],
    /// Rows and columns of the grid.
    pub count: [usize; 2],
}

impl Grid {
    /// Sizes of the tensor that holds just the grid's pixels.
    pub fn inner(&self) -> Blocked {
        Blocked { height: self.count[0], width: self.count[1], ..self.outer }
    }

    #[track_caller]
    fn check(&self, outer: &[f32], inner: &[f32]) {
        let size = [self.outer.height, self.outer.width];
        for (axis, &size) in size.iter().enumerate() {
            let (start, step, count) = (self.start[axis], self.step[axis], self.count[axis]);
            let fits = step > 0 && (count == 0 || start + (count - 1) * step < size);
            assert!(fits, "{count} pixels from {start} in steps of {step} do not fit {size}");
        }
        assert_eq!((outer.len(), inner.len()), (self.outer.elements(), self.inner().elements()), "lengths");
    }

    /// Copies the grid's pixels out of x: `y[n, c, i, j] = x[n, c, start + step (i, j)]`, both blocked.
    pub fn take(&self, pool: &ThreadPool, x: &[f32], y: &mut [f32]) {
        self.check(x, y);
        let (outer, inner) = (self.outer.plane(), self.inner().plane());
        let out = SharedMut::new(y);
        share(pool, self.inner().elements(), self.outer.batch * self.outer.blocks(), &|plane| {
            // SAFETY: each task has its own plane.
            let y = unsafe { out.part(plane * inner, inner) };
            let x = &x[plane * outer..][..outer];
            for (i, y) in y.chunks_exact_mut((self.count[1] * BLOCK).max(1)).enumerate() {
                let x = &x[self.row_start(i)..];
                if self.step[1] == 1 {
                    y.copy_from_slice(&x[..y.len()]);
                    continue;
                }
                for (x, y) in x.chunks(self.step[1] * BLOCK).zip(y.chunks_exact_mut(BLOCK)) {
                    y.copy_from_slice(&x[..BLOCK]);
                }
            }
        });
    }

    /// Writes x to the grid's pixels of y and `fill` to all others, both blocked.
    pub fn place(&self, pool: &ThreadPool, fill: f32, x: &[f32], y: &mut [f32]) {
        self.check(y, x);
        let (outer, inner) = (self.outer.plane(), self.inner().plane());
        let out = SharedMut::new(y);
        share(pool, self.outer.elements(), self.outer.batch * self.outer.blocks(), &|plane| {
            // SAFETY: each task has its own plane.
            let y = unsafe { out.part(plane * outer, outer) };
            let x = &x[plane * inner..][..inner];
            for (row, y) in y.chunks_exact_mut((self.outer.width * BLOCK).max(1)).enumerate() {
                self.place_row(row, fill, x, y);
            }
        });
    }

    /// Writes one row of y.
    fn place_row(&self, row: usize, fill: f32, x: &[f32], y: &mut [f32]) {
        y.fill(fill);
        let Some(below) = row.checked_sub(self.start[0]) else { return };
        let i = below / self.step[0];
        if below % self.step[0] != 0 || i >= self.count[0] || self.count[1] == 0 {
            return;
        }
        let x = &x[i * self.count[1] * BLOCK..][..self.count[1] * BLOCK];
        let y = &mut y[self.start[1] * BLOCK..];
        if self.step[1] == 1 {
            y[..x.len()].copy_from_slice(x);
            return;
        }
        for (y, x) in y.chunks_mut(self.step[1] * BLOCK).zip(x.chunks_exact(BLOCK)) {
            y[..BLOCK].copy_from_slice(x);
        }
    }

    /// Where the first pixel of the grid's row `i` lies in a plane of the outer tensor.
    fn row_start(&self, i: usize) -> usize {
        ((self.start[0] + i * self.step[0]) * self.outer.width + self.start[1]) * BLOCK
    }
}
