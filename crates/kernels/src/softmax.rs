//! Softmax and its logarithm along the rows of a matrix, and their gradients.
//!
//! ```text
//! log y_c = x_c - m - ln sum e^(x_k - m),  m = max x   (so that nothing overflows)
//! softmax: dx = y (dy - sum dy y);   log-softmax: dx = dy - e^y sum dy
//! ```
//!
//! Source: Goodfellow, Bengio and Courville 2016, section 4.1.

use crate::elementwise::exp::exp;
use crate::elementwise::operands::share;
use crate::isa::{Isa, LANES, Simd, VectorOp};
use crate::threads::{SharedMut, ThreadPool};

/// Softmax of rows, or its logarithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Softmax {
    /// Numbers of a row.
    pub columns: usize,
    /// Give the logarithm.
    pub log: bool,
}

impl Softmax {
    /// y from x, both `(N, columns)`.
    pub fn run(&self, pool: &ThreadPool, isa: Isa, x: &[f32], y: &mut [f32]) {
        self.rows(pool, y, x.len(), &|at, y| {
            isa.run(Row { x: &x[at..][..self.columns], y, log: self.log });
        });
    }

    /// dx from the output y and dy, all `(N, columns)`.
    pub fn gradient(&self, pool: &ThreadPool, isa: Isa, (y, dy): (&[f32], &[f32]), dx: &mut [f32]) {
        assert_eq!(y.len(), dy.len(), "lengths of y and dy");
        self.rows(pool, dx, dy.len(), &|at, dx| {
            let (y, dy) = (&y[at..][..self.columns], &dy[at..][..self.columns]);
            isa.run(RowGradient { y, dy, dx, log: self.log });
        });
    }

    /// Calls `body(start, row)` for each row of `out`, in parallel.
    fn rows(
        &self,
        pool: &ThreadPool,
        out: &mut [f32],
        len: usize,
        body: &(dyn Fn(usize, &mut [f32]) + Sync),
    ) {
        let columns = self.columns;
        assert!(columns > 0 && len.is_multiple_of(columns), "{len} numbers in rows of {columns}");
        assert_eq!(out.len(), len, "output length");
        let out = SharedMut::new(out);
        share(pool, len, len / columns, &|row| {
            // SAFETY: each task has its own row.
            body(row * columns, unsafe { out.part(row * columns, columns) });
        });
    }
}

struct Row<'a> {
    x: &'a [f32],
    y: &'a mut [f32],
    log: bool,
}

impl VectorOp for Row<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Row { x, y, log } = self;
        let mut largest = s.splat(f32::NEG_INFINITY);
        for x in x.chunks(LANES) {
            largest = s.max(s.load_partial(x, f32::NEG_INFINITY), largest);
        }
        let largest = s.reduce_max(largest);
        let m = s.splat(largest);
        let mut sum = s.zero();
        for (x, y) in x.chunks(LANES).zip(y.chunks_mut(LANES)) {
            let e = exp(s, s.sub(s.load_partial(x, f32::NEG_INFINITY), m));
            sum = s.add(sum, e);
            s.store_partial(e, y);
        }
        let total = f64::from(s.reduce_add(sum));
        if !log {
            let share = s.splat((1.0 / total) as f32);
            for y in y.chunks_mut(LANES) {
                s.store_partial(s.mul(s.load_partial(y, 0.0), share), y);
            }
            return;
        }
        let total = s.splat((f64::from(largest) + total.ln()) as f32);
        for (x, y) in x.chunks(LANES).zip(y.chunks_mut(LANES)) {
            s.store_partial(s.sub(s.load_partial(x, 0.0), total), y);
        }
    }
}

struct RowGradient<'a> {
    y: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
    log: bool,
}

impl VectorOp for RowGradient<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let RowGradient { y, dy, dx, log } = self;
        let mut sum = s.zero();
        for (y, dy) in y.chunks(LANES).zip(dy.chunks(LANES)) {
            let dy = s.load_partial(dy, 0.0);
            sum = if log { s.add(sum, dy) } else { s.fmadd(dy, s.load_partial(y, 0.0), sum) };
        }
        let sum = s.splat(s.reduce_add(sum));
        for ((y, dy), dx) in y.chunks(LANES).zip(dy.chunks(LANES)).zip(dx.chunks_mut(LANES)) {
            let (y, dy) = (s.load_partial(y, 0.0), s.load_partial(dy, 0.0));
            let value = match log {
                true => s.sub(dy, s.mul(exp(s, y), sum)),
                false => s.mul(y, s.sub(dy, sum)),
            };
            s.store_partial(value, dx);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elementwise::tests::{close, noise, on_all};
    use crate::reference::{ChannelSizes, softmax as reference};

    #[test]
    fn rows_of_any_length() {
        for (rows, columns) in [(1, 1), (3, 10), (5, 16), (40, 1000), (2, 33)] {
            for log in [false, true] {
                let x: Vec<f32> = noise(rows * columns, 1).iter().map(|x| 20.0 * x).collect();
                let dy = noise(rows * columns, 2);
                let sizes = ChannelSizes { batch: rows, channels: columns, inner: 1 };
                let wide = |v: &[f32]| v.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
                let (mut y, mut dx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
                reference::softmax(sizes, log, &wide(&x), &mut y);
                reference::softmax_grad(sizes, log, &y, &wide(&dy), &mut dx);
                let want = [y, dx].concat();
                let softmax = Softmax { columns, log };
                let kernel = |pool: &ThreadPool, isa: Isa| {
                    let (mut y, mut dx) = (vec![f32::NAN; x.len()], vec![f32::NAN; x.len()]);
                    softmax.run(pool, isa, &x, &mut y);
                    softmax.gradient(pool, isa, (&y, &dy), &mut dx);
                    [y, dx].concat()
                };
                on_all(kernel, |isa, got| close(&format!("{isa} {rows}x{columns} {log}"), got, &want, 2e-5));
            }
        }
    }
}
