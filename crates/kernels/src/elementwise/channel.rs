//! One number per channel: adding a bias, and its gradient, the sum over everything else.

use super::blocked::Blocked;
use super::operands::{Read, Source, share};
use super::plane::{self, PlaneFormula, of_block};
use super::sum::{self, PlaneSum, WIDE, load_wide, store_wide};
use crate::isa::{Isa, LANES, Simd, VectorOp};
use crate::layout::{BLOCK, blocks};
use crate::threads::{SharedMut, ThreadPool};

/// `y = x + bias`, x and y blocked, bias `(C)`.
pub fn bias_add(pool: &ThreadPool, isa: Isa, size: Blocked, bias: &[f32], x: Source<'_>, y: &mut [f32]) {
    assert_eq!(bias.len(), size.channels, "bias length");
    plane::map((pool, isa), size, [x.read()], [y], Bias(bias));
}

#[derive(Clone, Copy)]
struct Bias<'a>(&'a [f32]);

impl PlaneFormula<1, 1, 1> for Bias<'_> {
    #[inline(always)]
    fn constants<S: Simd>(self, s: S, block: usize) -> [S::F; 1] {
        [of_block(s, self.0, block)]
    }
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, [bias]: [S::F; 1], [x]: [S::F; 1]) -> [S::F; 1] {
        [s.add(x, bias)]
    }
}

/// Scratch numbers of [`channel_sum`].
pub fn channel_sum_scratch_len(size: Blocked) -> usize {
    sum::scratch_len(size, 1)
}

/// `sums[c]` = the sum of x over N, H and W; x blocked, sums `(C)`.
pub fn channel_sum(
    pool: &ThreadPool,
    isa: Isa,
    size: Blocked,
    x: &[f32],
    sums: &mut [f32],
    scratch: &mut [f32],
) {
    assert_eq!(sums.len(), size.channels, "sums length");
    let operands = ([Read::Slice(x)], []);
    sum::run((pool, isa), size, operands, Total, scratch, |channel, [total]| sums[channel] = total as f32);
}

#[derive(Clone, Copy)]
struct Total;

impl PlaneSum<0, 1, 1, 0> for Total {
    #[inline(always)]
    fn constants<S: Simd>(self, _: S, _: usize) -> [S::F; 0] {
        []
    }
    #[inline(always)]
    fn add<S: Simd>(self, s: S, []: [S::F; 0], [x]: [S::F; 1], [sum]: &mut [S::F; 1]) -> [S::F; 0] {
        *sum = s.add(*sum, x);
        []
    }
}

/// Rows that one task adds a bias to, or sums.
const ROWS: usize = 64;

/// `y = x + bias`, x and y plain `(N, O)`, bias `(O)`.
pub fn bias_add_plain(pool: &ThreadPool, isa: Isa, bias: &[f32], x: Source<'_>, y: &mut [f32]) {
    let (columns, len) = (bias.len(), y.len());
    assert!(columns > 0 && len.is_multiple_of(columns), "{len} numbers in rows of {columns}");
    if let Source::Slice(x) = x {
        assert_eq!(x.len(), len, "input length");
    }
    let out = SharedMut::new(y);
    share(pool, len, (len / columns).div_ceil(ROWS), &|task| {
        let start = task * ROWS * columns;
        let count = (ROWS * columns).min(len - start);
        // SAFETY: each task has its own rows.
        let y = unsafe { out.part(start, count) };
        if let Source::Slice(x) = x {
            y.copy_from_slice(&x[start..start + count]);
        }
        isa.run(BiasRows { bias, y });
    });
}

struct BiasRows<'a> {
    bias: &'a [f32],
    y: &'a mut [f32],
}

impl VectorOp for BiasRows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for row in self.y.chunks_exact_mut(self.bias.len()) {
            for (y, bias) in row.chunks_mut(LANES).zip(self.bias.chunks(LANES)) {
                if y.len() == LANES {
                    s.store(s.add(s.load(y), s.load(bias)), y);
                } else {
                    s.store_partial(s.add(s.load_partial(y, 0.0), s.load_partial(bias, 0.0)), y);
                }
            }
        }
    }
}

/// Scratch numbers of [`channel_sum_plain`] for `rows` rows.
pub fn channel_sum_plain_scratch_len(rows: usize, columns: usize) -> usize {
    rows.div_ceil(ROWS) * blocks(columns) * WIDE
}

/// `sums[o]` = the sum of x over its rows; x plain `(N, O)`, sums `(O)`.
pub fn channel_sum_plain(pool: &ThreadPool, isa: Isa, x: &[f32], sums: &mut [f32], scratch: &mut [f32]) {
    let columns = sums.len();
    assert!(columns > 0 && x.len().is_multiple_of(columns), "{} numbers in rows of {columns}", x.len());
    let groups = (x.len() / columns).div_ceil(ROWS);
    let scratch = &mut scratch[..groups * blocks(columns) * WIDE];
    let partial = SharedMut::new(scratch);
    share(pool, x.len(), groups * blocks(columns), &|task| {
        let (group, block) = (task / blocks(columns), task % blocks(columns));
        let x = &x[group * ROWS * columns..][..(ROWS * columns).min(x.len() - group * ROWS * columns)];
        // SAFETY: each task has its own place.
        let to = unsafe { partial.part(task * WIDE, WIDE) };
        store_wide(&isa.run(SumRows { x, columns, first: block * BLOCK }), to);
    });
    for (column, sum) in sums.iter_mut().enumerate() {
        let place = |group: usize| (group * blocks(columns) + column / BLOCK) * WIDE;
        let total: f64 = (0..groups).map(|group| load_wide(&scratch[place(group)..], column % BLOCK)).sum();
        *sum = total as f32;
    }
}

/// Sums up to 16 columns of at most [`ROWS`] rows.
struct SumRows<'a> {
    x: &'a [f32],
    columns: usize,
    first: usize,
}

impl VectorOp for SumRows<'_> {
    type Output = [f64; BLOCK];
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> [f64; BLOCK] {
        let width = (self.columns - self.first).min(BLOCK);
        let mut sum = s.zero();
        for row in self.x.chunks_exact(self.columns) {
            let x = &row[self.first..][..width];
            sum = s.add(sum, if width == BLOCK { s.load(x) } else { s.load_partial(x, 0.0) });
        }
        s.to_array(sum).map(f64::from)
    }
}
