//! The transforms of Winograd's minimal filtering, in one dimension; two dimensions are the same along columns, then
//! rows.
//!
//! F(m, 3) computes m outputs of a 3-tap filter with m + 2 products instead of 3 m:
//!
//! ```text
//! y = A^T ((G g) . (B^T d))        g: 3 taps, d: m + 2 inputs, y: m outputs
//! ```
//!
//! Source: Lavin and Gray, "Fast algorithms for convolutional neural networks" (2015), section 4.1 and equations 8 to
//! 15; the interpolation points are 0, 1, -1 (F(2, 3)) and 0, 1, -1, 2, -2 (F(4, 3)), and infinity.

// Index loops over const-generic arrays unroll fully and mirror the pseudo-code.
#![allow(clippy::needless_range_loop)]

use crate::isa::Simd;

/// One of the algorithms F(OUT, 3): `IN = OUT + 2` products.
pub(super) trait Minimal<const IN: usize, const OUT: usize>: Copy {
    /// `B^T d`.
    fn input<S: Simd>(s: S, d: [S::F; IN]) -> [S::F; IN];
    /// `G g`.
    fn kernel<S: Simd>(s: S, g: [S::F; 3]) -> [S::F; IN];
    /// `A^T m`.
    fn output<S: Simd>(s: S, m: [S::F; IN]) -> [S::F; OUT];
}

/// F(2, 3).
#[derive(Clone, Copy)]
pub(super) struct F2;

impl Minimal<4, 2> for F2 {
    #[inline(always)]
    fn input<S: Simd>(s: S, d: [S::F; 4]) -> [S::F; 4] {
        [s.sub(d[0], d[2]), s.add(d[1], d[2]), s.sub(d[2], d[1]), s.sub(d[1], d[3])]
    }

    #[inline(always)]
    fn kernel<S: Simd>(s: S, g: [S::F; 3]) -> [S::F; 4] {
        let half = s.splat(0.5);
        let outer = s.mul(half, s.add(g[0], g[2]));
        let middle = s.mul(half, g[1]);
        [g[0], s.add(outer, middle), s.sub(outer, middle), g[2]]
    }

    #[inline(always)]
    fn output<S: Simd>(s: S, m: [S::F; 4]) -> [S::F; 2] {
        [s.add(s.add(m[0], m[1]), m[2]), s.sub(s.sub(m[1], m[2]), m[3])]
    }
}

/// F(4, 3).
#[derive(Clone, Copy)]
pub(super) struct F4;

impl Minimal<6, 4> for F4 {
    #[inline(always)]
    fn input<S: Simd>(s: S, d: [S::F; 6]) -> [S::F; 6] {
        let (two, four, five) = (s.splat(2.0), s.splat(4.0), s.splat(-5.0));
        let minus_four = s.splat(-4.0);
        // d4 - 4 d2 and d3 - 4 d1 serve the points 1 and -1; d4 - d2 and 2 (d3 - d1) the points 2 and -2.
        let (even, odd) = (s.fmadd(minus_four, d[2], d[4]), s.fmadd(minus_four, d[1], d[3]));
        let (even2, odd2) = (s.sub(d[4], d[2]), s.mul(two, s.sub(d[3], d[1])));
        [
            s.fmadd(four, d[0], s.fmadd(five, d[2], d[4])),
            s.add(even, odd),
            s.sub(even, odd),
            s.add(even2, odd2),
            s.sub(even2, odd2),
            s.fmadd(four, d[1], s.fmadd(five, d[3], d[5])),
        ]
    }

    #[inline(always)]
    fn kernel<S: Simd>(s: S, g: [S::F; 3]) -> [S::F; 6] {
        let (quarter, sixth) = (s.splat(1.0 / 4.0), s.splat(-1.0 / 6.0));
        let (twelfth, twenty_fourth) = (s.splat(1.0 / 12.0), s.splat(1.0 / 24.0));
        let (even, odd) = (s.mul(sixth, s.add(g[0], g[2])), s.mul(sixth, g[1]));
        let even2 = s.fmadd(twenty_fourth, g[0], s.mul(s.splat(1.0 / 6.0), g[2]));
        let odd2 = s.mul(twelfth, g[1]);
        [
            s.mul(quarter, g[0]),
            s.add(even, odd),
            s.sub(even, odd),
            s.add(even2, odd2),
            s.sub(even2, odd2),
            g[2],
        ]
    }

    #[inline(always)]
    fn output<S: Simd>(s: S, m: [S::F; 6]) -> [S::F; 4] {
        let (sum, difference) = (s.add(m[1], m[2]), s.sub(m[1], m[2]));
        let (sum2, difference2) = (s.add(m[3], m[4]), s.sub(m[3], m[4]));
        [
            s.add(s.add(m[0], sum), sum2),
            s.fmadd(s.splat(2.0), difference2, difference),
            s.fmadd(s.splat(4.0), sum2, sum),
            s.add(s.fmadd(s.splat(8.0), difference2, difference), m[5]),
        ]
    }
}

/// `B^T d B` of a tile given row by row.
#[inline(always)]
pub(super) fn input_2d<S: Simd, M: Minimal<IN, OUT>, const IN: usize, const OUT: usize>(
    s: S,
    mut d: [[S::F; IN]; IN],
) -> [[S::F; IN]; IN] {
    for row in &mut d {
        *row = M::input(s, *row);
    }
    for column in 0..IN {
        let transformed = M::input(s, std::array::from_fn(|row| d[row][column]));
        for row in 0..IN {
            d[row][column] = transformed[row];
        }
    }
    d
}

/// `G g G^T` of a kernel given row by row.
#[inline(always)]
pub(super) fn kernel_2d<S: Simd, M: Minimal<IN, OUT>, const IN: usize, const OUT: usize>(
    s: S,
    g: [[S::F; 3]; 3],
) -> [[S::F; IN]; IN] {
    let rows: [[S::F; IN]; 3] = [M::kernel(s, g[0]), M::kernel(s, g[1]), M::kernel(s, g[2])];
    let mut u = [[s.zero(); IN]; IN];
    for column in 0..IN {
        let transformed = M::kernel(s, [rows[0][column], rows[1][column], rows[2][column]]);
        for row in 0..IN {
            u[row][column] = transformed[row];
        }
    }
    u
}

/// `A dy A^T` of a tile of F(4x4, 3x3), row by row: the transpose of [`output_2d`].
#[inline(always)]
pub(super) fn output_gradient_2d<S: Simd>(s: S, dy: [[S::F; 4]; 4]) -> [[S::F; 6]; 6] {
    let mut rows = [[s.zero(); 6]; 4];
    for row in 0..4 {
        rows[row] = output_gradient(s, dy[row]);
    }
    let mut d = [[s.zero(); 6]; 6];
    for column in 0..6 {
        let along = output_gradient(s, [rows[0][column], rows[1][column], rows[2][column], rows[3][column]]);
        for row in 0..6 {
            d[row][column] = along[row];
        }
    }
    d
}

/// `A y` of F(4, 3).
#[inline(always)]
fn output_gradient<S: Simd>(s: S, y: [S::F; 4]) -> [S::F; 6] {
    let (even, odd) = (s.add(y[0], y[2]), s.add(y[1], y[3]));
    let even2 = s.fmadd(s.splat(4.0), y[2], y[0]);
    let odd2 = s.fmadd(s.splat(8.0), y[3], s.add(y[1], y[1]));
    [y[0], s.add(even, odd), s.sub(even, odd), s.add(even2, odd2), s.sub(even2, odd2), y[3]]
}

/// `G^T m G` of F(4x4, 3x3), row by row: the transpose of [`kernel_2d`].
#[inline(always)]
pub(super) fn kernel_gradient_2d<S: Simd>(s: S, m: [[S::F; 6]; 6]) -> [[S::F; 3]; 3] {
    let mut rows = [[s.zero(); 3]; 6];
    for row in 0..6 {
        rows[row] = kernel_gradient(s, m[row]);
    }
    let mut g = [[s.zero(); 3]; 3];
    for column in 0..3 {
        let mut along = [s.zero(); 6];
        for row in 0..6 {
            along[row] = rows[row][column];
        }
        let along = kernel_gradient(s, along);
        for row in 0..3 {
            g[row][column] = along[row];
        }
    }
    g
}

/// `G^T m` of F(4, 3).
#[inline(always)]
fn kernel_gradient<S: Simd>(s: S, m: [S::F; 6]) -> [S::F; 3] {
    let (sum, difference) = (s.add(m[1], m[2]), s.sub(m[2], m[1]));
    let (sum2, difference2) = (s.add(m[3], m[4]), s.sub(m[3], m[4]));
    let (sixth, twelfth) = (s.splat(1.0 / 6.0), s.splat(1.0 / 12.0));
    let outer = s.fmadd(s.splat(1.0 / 24.0), sum2, s.mul(s.splat(-1.0 / 6.0), sum));
    let last = s.fmadd(sixth, s.sub(sum2, sum), m[5]);
    [s.fmadd(s.splat(0.25), m[0], outer), s.fmadd(twelfth, difference2, s.mul(sixth, difference)), last]
}

/// `A^T m A`, row by row.
#[inline(always)]
pub(super) fn output_2d<S: Simd, M: Minimal<IN, OUT>, const IN: usize, const OUT: usize>(
    s: S,
    m: [[S::F; IN]; IN],
) -> [[S::F; OUT]; OUT] {
    let mut rows = [[s.zero(); OUT]; IN];
    for row in 0..IN {
        rows[row] = M::output(s, m[row]);
    }
    let mut y = [[s.zero(); OUT]; OUT];
    for column in 0..OUT {
        let mut along = [s.zero(); IN];
        for row in 0..IN {
            along[row] = rows[row][column];
        }
        let transformed = M::output(s, along);
        for row in 0..OUT {
            y[row][column] = transformed[row];
        }
    }
    y
}
