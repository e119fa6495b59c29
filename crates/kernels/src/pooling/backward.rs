//! The gradients of max and average pooling.
//!
//! ```text
//! for each image, block of channels (parallel): for each output row:
//!     zero the rows of dx that its windows are the first to touch
//!     for each window:
//!         max:   y = the largest of its pixels;  rest = dy
//!                for each tap in row-major order: where x = y: dx += rest, rest = 0
//!         mean:  for each tap: dx += dy / count
//! ```
//!
//! The maximum is found again rather than remembered: its pixels are read anyway, and an index per output would be
//! one more tensor to write and read. Giving all of `rest` to the first equal pixel, in each lane for itself, leaves
//! nothing for the later ones. Windows may overlap, so a plane is one task.
//!
//! Common windows (`Sweep`) keep the gradient of the pixels under the window in registers and add a column to dx when
//! the last window over it has passed.

use std::ops::Range;

use super::Pooling;
use super::forward::share_of;
use crate::elementwise::operands::share;
use crate::isa::{Isa, Simd, VectorOp};
use crate::layout::BLOCK;
use crate::threads::{SharedMut, ThreadPool};

impl Pooling {
    /// The gradient of [`Pooling::max`]: dy goes to the first largest pixel, row by row (to the first NaN if there is
    /// one). x, dy and dx are blocked.
    pub fn max_grad(&self, pool: &ThreadPool, isa: Isa, x: &[f32], dy: &[f32], dx: &mut [f32]) {
        assert_eq!(x.len(), self.input().elements(), "x length");
        self.backward(pool, dy, dx, &|plane, dy, dx| {
            let x = &x[plane * self.input().plane()..][..self.input().plane()];
            isa.run(Plane { geometry: self, dy, dx, give: GiveToMax { x } });
        });
    }

    /// The gradient of [`Pooling::avg`]. dy and dx are blocked.
    pub fn avg_grad(&self, pool: &ThreadPool, isa: Isa, include_padding: bool, dy: &[f32], dx: &mut [f32]) {
        self.backward(pool, dy, dx, &|_, dy, dx| {
            isa.run(Plane { geometry: self, dy, dx, give: GiveToAll { include_padding } });
        });
    }

    /// Calls `body(plane, dy, dx)` for every plane.
    fn backward(&self, pool: &ThreadPool, dy: &[f32], dx: &mut [f32], body: PlaneBody<'_>) {
        let (input, output) = (self.input(), self.output());
        assert_eq!((dx.len(), dy.len()), (input.elements(), output.elements()), "lengths of dx and dy");
        let out = SharedMut::new(dx);
        share(pool, input.elements(), input.batch * input.blocks(), &|plane| {
            // SAFETY: each task has its own plane.
            let dx = unsafe { out.part(plane * input.plane(), input.plane()) };
            body(plane, &dy[plane * output.plane()..][..output.plane()], dx);
        });
    }
}

/// What is done for each plane: its number, its dy and its dx.
type PlaneBody<'a> = &'a (dyn Fn(usize, &[f32], &mut [f32]) + Sync);

/// One plane.
struct Plane<'a, G> {
    geometry: &'a Pooling,
    dy: &'a [f32],
    dx: &'a mut [f32],
    give: G,
}

impl<G: Give> VectorOp for Plane<'_, G> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Plane { geometry, dy, dx, give } = self;
        let (input_row, output) = (geometry.input().width * BLOCK, geometry.output());
        let whole = geometry.whole_windows();
        let mut zeroed = 0;
        for row in 0..output.height {
            let touched = geometry.rows_done_after(row).max(zeroed);
            dx[zeroed * input_row..touched * input_row].fill(0.0);
            zeroed = touched;
            let dy = &dy[row * output.width * BLOCK..][..output.width * BLOCK];
            for column in (0..whole.start).chain(whole.end..output.width) {
                let window = Target::new(geometry, give, [row, column]);
                give.give(s, &window, s.load(&dy[column * BLOCK..]), dx);
            }
            if !whole.is_empty() {
                give_whole(s, give, Target::new(geometry, give, [row, whole.start]), whole.clone(), dy, dx);
            }
        }
        dx[zeroed * input_row..].fill(0.0);
    }
}

/// The windows of a row that have all their columns inside the image, of which `window` is the first.
#[inline(always)]
fn give_whole<S: Simd>(
    s: S,
    give: impl Give,
    mut window: Target<'_>,
    columns: Range<usize>,
    dy: &[f32],
    dx: &mut [f32],
) {
    let whole = |&(taps, _): &(usize, usize)| taps == window.rows.len();
    match window.geometry.dense().filter(whole) {
        Some((2, 2)) => Sweep::<_, 2, 2> { give, window }.run(s, columns, dy, dx),
        Some((3, 1)) => Sweep::<_, 3, 1> { give, window }.run(s, columns, dy, dx),
        Some((3, 2)) => Sweep::<_, 3, 2> { give, window }.run(s, columns, dy, dx),
        _ => {
            for column in columns {
                window.column = column;
                give.give(s, &window, s.load(&dy[column * BLOCK..]), dx);
            }
        }
    }
}

/// One window and its taps inside the image.
struct Target<'a> {
    geometry: &'a Pooling,
    row: usize,
    column: usize,
    rows: Range<usize>,
    columns: Range<usize>,
    /// What its mean multiplies the sum by.
    share: f32,
}

impl<'a> Target<'a> {
    fn new(geometry: &'a Pooling, give: impl Give, [row, column]: [usize; 2]) -> Self {
        let (rows, columns) = (geometry.taps(row, 0), geometry.taps(column, 1));
        Target { geometry, row, column, rows, columns, share: give.share(geometry, [row, column]) }
    }

    /// The rows of taps; none for a window wholly in the padding.
    #[inline(always)]
    fn tap_rows(&self) -> Range<usize> {
        if self.columns.is_empty() { 0..0 } else { self.rows.clone() }
    }

    /// Where in a plane of x the pixels under a row of taps lie, from the first to the last.
    #[inline(always)]
    fn pixels(&self, row_tap: usize) -> Range<usize> {
        let first =
            self.geometry.row(self.row, row_tap) + self.geometry.column(self.column, self.columns.start);
        first..first + (self.columns.len() - 1) * self.geometry.tap_step() + BLOCK
    }
}

/// `K` x `K` numbers per lane: the pixels under a window.
type Square<S, const K: usize> = [[<S as Simd>::F; K]; K];

/// Windows of `K` x `K` taps side by side, `STEP` pixels apart, all inside the image.
struct Sweep<'a, G, const K: usize, const STEP: usize> {
    give: G,
    /// The first window.
    window: Target<'a>,
}

impl<G: Give, const K: usize, const STEP: usize> Sweep<'_, G, K, STEP> {
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S, columns: Range<usize>, dy: &[f32], dx: &mut [f32]) {
        // What the windows so far gave to the pixels under this one.
        let mut pending = [[s.zero(); K]; K];
        let mut x = pending;
        let (geometry, row, last) = (self.window.geometry, self.window.row, self.window.rows.end - 1);
        let mut starts: [usize; K] = std::array::from_fn(|i| self.window.pixels(i).start);
        // The columns that the first window shares with one before it; later ones find them in `x`.
        self.give.load(s, starts, 0, &mut x);
        for column in columns {
            self.window.column = column;
            geometry.prefetch_below(self.give.plane(), [row, column], last, 1);
            self.give.load(s, starts, K - STEP, &mut x);
            let dy = s.load(&dy[column * BLOCK..]);
            if !self.give.give_square(s, dy, self.window.share, &x, &mut pending) {
                self.give.give(s, &self.window, dy, dx);
            }
            add_columns(s, starts, STEP, &pending, dx);
            pending = shifted::<S, K, STEP>(s, pending);
            x = shifted::<S, K, STEP>(s, x);
            for start in &mut starts {
                *start += STEP * BLOCK;
            }
        }
        add_columns(s, starts, K - STEP, &pending, dx);
    }
}

// Below, every loop runs from 0 to `K` whatever it does: the compiler then unrolls it and keeps squares in registers.

/// The columns moved left by `STEP`, zeros behind them.
#[inline(always)]
fn shifted<S: Simd, const K: usize, const STEP: usize>(s: S, square: Square<S, K>) -> Square<S, K> {
    let mut moved = [[s.zero(); K]; K];
    for i in 0..K {
        for j in 0..K {
            if j + STEP < K {
                moved[i][j] = square[i][j + STEP];
            }
        }
    }
    moved
}

/// Adds the first `count` columns to dx; row `i` of the square lies from `starts[i]` on.
#[inline(always)]
fn add_columns<S: Simd, const K: usize>(
    s: S,
    starts: [usize; K],
    count: usize,
    square: &Square<S, K>,
    dx: &mut [f32],
) {
    for i in 0..K {
        let to = &mut dx[starts[i]..][..count * BLOCK];
        for j in 0..K {
            if j < count {
                let to = &mut to[j * BLOCK..][..BLOCK];
                s.store(s.add(s.load(to), square[i][j]), to);
            }
        }
    }
}

/// How a window gives its gradient to its pixels.
trait Give: Copy {
    /// See [`Target::share`].
    fn share(self, geometry: &Pooling, at: [usize; 2]) -> f32;
    /// The plane of x, if it matters.
    fn plane(&self) -> &[f32];
    /// Gives `dy` to the pixels under the window.
    fn give<S: Simd>(self, s: S, window: &Target<'_>, dy: S::F, dx: &mut [f32]);
    /// Loads the columns of x but the first `known`; row `i` lies from `starts[i]` on.
    fn load<S: Simd, const K: usize>(self, s: S, starts: [usize; K], known: usize, x: &mut Square<S, K>);
    /// Adds what each pixel of a square window is given to `dx`, or gives nothing and returns false.
    fn give_square<S: Simd, const K: usize>(
        self,
        s: S,
        dy: S::F,
        share: f32,
        x: &Square<S, K>,
        dx: &mut Square<S, K>,
    ) -> bool;
}

#[derive(Clone, Copy)]
struct GiveToAll {
    include_padding: bool,
}

impl Give for GiveToAll {
    fn share(self, geometry: &Pooling, [row, column]: [usize; 2]) -> f32 {
        share_of(geometry, self.include_padding, row, column)
    }
    #[inline(always)]
    fn plane(&self) -> &[f32] {
        &[]
    }
    #[inline(always)]
    fn give<S: Simd>(self, s: S, window: &Target<'_>, dy: S::F, dx: &mut [f32]) {
        let part = s.mul(dy, s.splat(window.share));
        for row in window.tap_rows() {
            let to = &mut dx[window.pixels(row)];
            for at in (0..to.len()).step_by(window.geometry.tap_step()) {
                s.store(s.add(s.load(&to[at..]), part), &mut to[at..]);
            }
        }
    }
    #[inline(always)]
    fn load<S: Simd, const K: usize>(self, _: S, _: [usize; K], _: usize, _: &mut Square<S, K>) {}
    #[inline(always)]
    fn give_square<S: Simd, const K: usize>(
        self,
        s: S,
        dy: S::F,
        share: f32,
        _: &Square<S, K>,
        dx: &mut Square<S, K>,
    ) -> bool {
        let part = s.mul(dy, s.splat(share));
        for value in dx.as_flattened_mut() {
            *value = s.add(*value, part);
        }
        true
    }
}

#[derive(Clone, Copy)]
struct GiveToMax<'a> {
    /// The plane of x.
    x: &'a [f32],
}

impl Give for GiveToMax<'_> {
    fn share(self, _: &Pooling, _: [usize; 2]) -> f32 {
        1.0
    }
    #[inline(always)]
    fn plane(&self) -> &[f32] {
        self.x
    }
    #[inline(always)]
    fn give<S: Simd>(self, s: S, window: &Target<'_>, dy: S::F, dx: &mut [f32]) {
        let step = window.geometry.tap_step();
        let (mut max, mut sum) = (s.splat(f32::NEG_INFINITY), s.zero());
        for row in window.tap_rows() {
            let x = &self.x[window.pixels(row)];
            for at in (0..x.len()).step_by(step) {
                let x = s.load(&x[at..]);
                max = s.max(max, x);
                sum = s.add(sum, x);
            }
        }
        if s.bits(s.eq(sum, sum)) != u16::MAX {
            return self.give_to_nan(s.to_array(dy), window, dx);
        }
        let mut rest = dy;
        for row in window.tap_rows() {
            let (x, to) = (&self.x[window.pixels(row)], &mut dx[window.pixels(row)]);
            for at in (0..x.len()).step_by(step) {
                let first = s.eq(s.load(&x[at..]), max);
                s.store(s.add(s.load(&to[at..]), s.select(first, rest, s.zero())), &mut to[at..]);
                rest = s.select(first, s.zero(), rest);
            }
        }
    }
    #[inline(always)]
    fn load<S: Simd, const K: usize>(self, s: S, starts: [usize; K], known: usize, x: &mut Square<S, K>) {
        for i in 0..K {
            let from = &self.x[starts[i]..][..K * BLOCK];
            for j in 0..K {
                if j >= known {
                    x[i][j] = s.load(&from[j * BLOCK..]);
                }
            }
        }
    }
    #[inline(always)]
    fn give_square<S: Simd, const K: usize>(
        self,
        s: S,
        dy: S::F,
        _: f32,
        x: &Square<S, K>,
        dx: &mut Square<S, K>,
    ) -> bool {
        let (mut max, mut sum) = ([s.splat(f32::NEG_INFINITY); K], [s.zero(); K]);
        for row in x {
            for (j, &pixel) in row.iter().enumerate() {
                max[j] = s.max(max[j], pixel);
                // As in the forward pass: the multipliers are free.
                sum[j] = s.fmadd(pixel, s.splat(1.0), sum[j]);
            }
        }
        for j in 1..K {
            max[0] = s.max(max[0], max[j]);
            sum[0] = s.add(sum[0], sum[j]);
        }
        if s.bits(s.eq(sum[0], sum[0])) != u16::MAX {
            return false;
        }
        let mut rest = dy;
        for (pixel, dx) in x.as_flattened().iter().zip(dx.as_flattened_mut()) {
            let first = s.eq(*pixel, max[0]);
            *dx = s.add(*dx, s.select(first, rest, s.zero()));
            rest = s.select(first, s.zero(), rest);
        }
        true
    }
}

impl GiveToMax<'_> {
    /// A window of which some lane holds a NaN, which takes all (or infinities of both signs, which do no harm).
    #[cold]
    fn give_to_nan(self, dy: [f32; BLOCK], window: &Target<'_>, dx: &mut [f32]) {
        for (lane, dy) in dy.into_iter().enumerate() {
            let mut best: Option<usize> = None;
            for row in window.tap_rows() {
                for at in window.pixels(row).step_by(window.geometry.tap_step()) {
                    let at = at + lane;
                    let wins = |best: usize| {
                        self.x[at] > self.x[best] || (self.x[at].is_nan() && !self.x[best].is_nan())
                    };
                    if best.is_none_or(wins) {
                        best = Some(at);
                    }
                }
            }
            if let Some(best) = best {
                dx[best] += dy;
            }
        }
    }
}
