//! Images enlarged by whole factors, by nearest pixel or bilinearly, and the gradients.
//!
//! ```text
//! nearest:  y[i] = x[i / f]
//! bilinear: s = max((i + 1/2) / f - 1/2, 0);  y[i] = (1 - t) x[a] + t x[b],  a = floor s, t = s - a, b = min(a + 1, last)
//! ```
//!
//! Along height and width alike; the gradient sends each dy back with the same weights, in the order of dy.

use crate::elementwise::Blocked;
use crate::elementwise::operands::share;
use crate::isa::{Isa, Simd, VectorOp};
use crate::layout::BLOCK;
use crate::threads::{SharedMut, ThreadPool};

/// An enlargement; index 0 is the height, 1 the width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Enlarge {
    /// Sizes of x.
    pub input: Blocked,
    /// Factors, at least 1.
    pub factor: [usize; 2],
    /// Linear between pixel centres, rather than the nearest pixel.
    pub bilinear: bool,
}

/// The two pixels that make an output, and the second one's weight.
#[derive(Clone, Copy)]
struct Taps {
    first: usize,
    second: usize,
    weight: f32,
}

impl Enlarge {
    /// Sizes of y.
    pub fn output(&self) -> Blocked {
        let Blocked { height, width, .. } = self.input;
        Blocked { height: height * self.factor[0], width: width * self.factor[1], ..self.input }
    }

    #[inline(always)]
    fn taps(&self, at: usize, axis: usize) -> Taps {
        let factor = self.factor[axis];
        if !self.bilinear {
            return Taps { first: at / factor, second: at / factor, weight: 0.0 };
        }
        let size = [self.input.height, self.input.width][axis];
        let source = ((at as f64 + 0.5) / factor as f64 - 0.5).max(0.0);
        let first = source as usize;
        Taps { first, second: (first + 1).min(size - 1), weight: (source - first as f64) as f32 }
    }

    /// y from x, both blocked.
    pub fn run(&self, pool: &ThreadPool, isa: Isa, x: &[f32], y: &mut [f32]) {
        let (input, output) = (self.input, self.output());
        assert_eq!((x.len(), y.len()), (input.elements(), output.elements()), "lengths of x and y");
        let out = SharedMut::new(y);
        share(pool, output.elements(), output.batch * output.blocks(), &|plane| {
            // SAFETY: each task has its own plane.
            let y = unsafe { out.part(plane * output.plane(), output.plane()) };
            isa.run(Forward { enlarge: self, x: &x[plane * input.plane()..][..input.plane()], y });
        });
    }

    /// dx from dy, both blocked.
    pub fn gradient(&self, pool: &ThreadPool, isa: Isa, dy: &[f32], dx: &mut [f32]) {
        let (input, output) = (self.input, self.output());
        assert_eq!((dx.len(), dy.len()), (input.elements(), output.elements()), "lengths of dx and dy");
        let out = SharedMut::new(dx);
        share(pool, output.elements(), output.batch * output.blocks(), &|plane| {
            // SAFETY: each task has its own plane.
            let dx = unsafe { out.part(plane * input.plane(), input.plane()) };
            isa.run(Backward { enlarge: self, dy: &dy[plane * output.plane()..][..output.plane()], dx });
        });
    }
}

/// One plane.
struct Forward<'a> {
    enlarge: &'a Enlarge,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl VectorOp for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Forward { enlarge, x, y } = self;
        let width = enlarge.input.width * BLOCK;
        for (i, y) in y.chunks_exact_mut(enlarge.output().width * BLOCK).enumerate() {
            let rows = enlarge.taps(i, 0);
            let (above, below) = (&x[rows.first * width..][..width], &x[rows.second * width..][..width]);
            let down = s.splat(rows.weight);
            for (j, y) in y.chunks_exact_mut(BLOCK).enumerate() {
                let cols = enlarge.taps(j, 1);
                let (a, b) = (cols.first * BLOCK, cols.second * BLOCK);
                let value = if enlarge.bilinear {
                    let across = s.splat(cols.weight);
                    let top = between(s, across, s.load(&above[a..]), s.load(&above[b..]));
                    let bottom = between(s, across, s.load(&below[a..]), s.load(&below[b..]));
                    between(s, down, top, bottom)
                } else {
                    s.load(&above[a..])
                };
                s.store(value, y);
            }
        }
    }
}

/// `(1 - t) a + t b`.
#[inline(always)]
fn between<S: Simd>(s: S, t: S::F, a: S::F, b: S::F) -> S::F {
    s.fmadd(t, s.sub(b, a), a)
}

/// One plane's gradient.
struct Backward<'a> {
    enlarge: &'a Enlarge,
    dy: &'a [f32],
    dx: &'a mut [f32],
}

impl VectorOp for Backward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Backward { enlarge, dy, dx } = self;
        let width = enlarge.input.width;
        dx.fill(0.0);
        for (i, dy) in dy.chunks_exact(enlarge.output().width * BLOCK).enumerate() {
            let rows = enlarge.taps(i, 0);
            for (j, dy) in dy.chunks_exact(BLOCK).enumerate() {
                let (cols, dy) = (enlarge.taps(j, 1), s.load(dy));
                let mut send = |row: usize, col: usize, weight: f32| {
                    let to = &mut dx[(row * width + col) * BLOCK..];
                    s.store(s.fmadd(s.splat(weight), dy, s.load(to)), to);
                };
                if !enlarge.bilinear {
                    send(rows.first, cols.first, 1.0);
                    continue;
                }
                for (row, down) in [(rows.first, 1.0 - rows.weight), (rows.second, rows.weight)] {
                    send(row, cols.first, down * (1.0 - cols.weight));
                    send(row, cols.second, down * cols.weight);
                }
            }
        }
    }
}
