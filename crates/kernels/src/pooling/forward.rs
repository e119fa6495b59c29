//! Max and average pooling, forward.
//!
//! ```text
//! for each image, block of channels, band of output rows (parallel):
//!     for each output row, each 4 windows that lie inside the image:
//!         for each tap inside the image: fold the 4 pixels under it into 4 accumulators
//!     windows that hang over the edge: one by one, over the taps they have
//! ```
//!
//! The largest of numbers with a NaN among them is NaN, but the vector maximum forgets one operand's NaN. A sum
//! remembers it, and the window is then done again with more care.

use std::marker::PhantomData;
use std::ops::Range;

use super::Pooling;
use crate::elementwise::operands::share;
use crate::format::{Bf16, F32, Format, Number, U8};
use crate::isa::{Isa, Simd, VectorOp};
use crate::layout::BLOCK;
use crate::threads::{SharedMut, ThreadPool};

impl Pooling {
    /// The largest value under each window; padding never wins, a NaN does. x and y are blocked.
    pub fn max(&self, pool: &ThreadPool, isa: Isa, x: &[f32], y: &mut [f32]) {
        self.forward::<F32>(pool, isa, x, y, Max);
    }

    /// [`Pooling::max`] of numbers of any format; x and y are words.
    pub fn max_of(&self, pool: &ThreadPool, isa: Isa, format: Format, x: &[f32], y: &mut [f32]) {
        match format {
            Format::F32 => self.forward::<F32>(pool, isa, x, y, Max),
            Format::Bf16 => self.forward::<Bf16>(pool, isa, x, y, Max),
            Format::U8 => self.forward::<U8>(pool, isa, x, y, Max),
        }
    }

    /// The mean of each window, over all taps inside the padded image (`include_padding`) or inside the image.
    /// x and y are blocked.
    pub fn avg(&self, pool: &ThreadPool, isa: Isa, include_padding: bool, x: &[f32], y: &mut [f32]) {
        self.forward::<F32>(pool, isa, x, y, Mean { include_padding });
    }

    /// [`Pooling::avg`] of numbers of any format; x and y are words. What lies in the padding counts as 0, also where
    /// another byte stands for 0.
    pub fn avg_of(
        &self,
        (pool, isa): (&ThreadPool, Isa),
        format: Format,
        include_padding: bool,
        x: &[f32],
        y: &mut [f32],
    ) {
        let mean = Mean { include_padding };
        match format {
            Format::F32 => self.forward::<F32>(pool, isa, x, y, mean),
            Format::Bf16 => self.forward::<Bf16>(pool, isa, x, y, mean),
            Format::U8 => self.forward::<U8>(pool, isa, x, y, mean),
        }
    }

    fn forward<N: Number>(&self, pool: &ThreadPool, isa: Isa, x: &[f32], y: &mut [f32], fold: impl Fold) {
        let (input, output) = (self.input(), self.output());
        let words = |elements: usize| elements / N::FORMAT.per_word();
        let lengths = (words(input.elements()), words(output.elements()));
        assert_eq!((x.len(), y.len()), lengths, "lengths of x and y");
        let rows = (BAND / output.width.max(1)).max(1);
        let bands = output.height.div_ceil(rows);
        let out = SharedMut::new(y);
        share(pool, input.elements(), output.batch * output.blocks() * bands, &|task| {
            let (plane, band) = (task / bands, task % bands);
            let rows = band * rows..((band + 1) * rows).min(output.height);
            let row = output.width * BLOCK;
            // SAFETY: each task has its own rows.
            let y = unsafe {
                out.part(words(plane * output.plane() + rows.start * row), words(rows.len() * row))
            };
            let x = &x[words(plane * input.plane())..][..words(input.plane())];
            isa.run(Band { geometry: self, x, rows, y, fold, number: PhantomData::<N> });
        });
    }
}

/// Output pixels of a task, about.
const BAND: usize = 1024;

/// How the pixels under a window become one.
trait Fold: Copy + Sync {
    /// Accumulators before the first pixel.
    fn start<S: Simd>(self, s: S) -> [S::F; 2];
    /// With another pixel.
    fn add<S: Simd>(self, s: S, state: [S::F; 2], x: S::F) -> [S::F; 2];
    /// The result; `None` if the window has to be done with [`Fold::careful`].
    fn finish<S: Simd>(self, s: S, state: [S::F; 2], share: f32) -> Option<S::F>;
    /// With another pixel, slowly but right for any pixel.
    fn careful<S: Simd>(self, s: S, state: S::F, x: S::F) -> S::F;
    /// What the sum over the window of this row and column is multiplied by.
    fn share(self, geometry: &Pooling, row: usize, column: usize) -> f32;
}

#[derive(Clone, Copy)]
struct Max;

impl Fold for Max {
    #[inline(always)]
    fn start<S: Simd>(self, s: S) -> [S::F; 2] {
        [s.splat(f32::NEG_INFINITY), s.zero()]
    }
    #[inline(always)]
    fn add<S: Simd>(self, s: S, [max, sum]: [S::F; 2], x: S::F) -> [S::F; 2] {
        // The maximum keeps the CPU's adders busy; the multipliers are free.
        [s.max(max, x), s.fmadd(x, s.splat(1.0), sum)]
    }
    #[inline(always)]
    fn finish<S: Simd>(self, s: S, [max, sum]: [S::F; 2], _: f32) -> Option<S::F> {
        (s.bits(s.eq(sum, sum)) == u16::MAX).then_some(max)
    }
    #[inline(always)]
    fn careful<S: Simd>(self, s: S, max: S::F, x: S::F) -> S::F {
        s.select(s.eq(max, max), s.max(max, x), max)
    }
    #[inline(always)]
    fn share(self, _: &Pooling, _: usize, _: usize) -> f32 {
        1.0
    }
}

#[derive(Clone, Copy)]
struct Mean {
    include_padding: bool,
}

impl Fold for Mean {
    #[inline(always)]
    fn start<S: Simd>(self, s: S) -> [S::F; 2] {
        [s.zero(); 2]
    }
    #[inline(always)]
    fn add<S: Simd>(self, s: S, [sum, unused]: [S::F; 2], x: S::F) -> [S::F; 2] {
        [s.add(sum, x), unused]
    }
    #[inline(always)]
    fn finish<S: Simd>(self, s: S, [sum, _]: [S::F; 2], share: f32) -> Option<S::F> {
        Some(s.mul(sum, s.splat(share)))
    }
    #[inline(always)]
    fn careful<S: Simd>(self, s: S, sum: S::F, x: S::F) -> S::F {
        s.add(sum, x)
    }
    #[inline(always)]
    fn share(self, geometry: &Pooling, row: usize, column: usize) -> f32 {
        share_of(geometry, self.include_padding, row, column)
    }
}

/// One over the number of taps a mean divides by, 0 if there are none.
pub(super) fn share_of(geometry: &Pooling, include_padding: bool, row: usize, column: usize) -> f32 {
    match geometry.counted(row, 0, include_padding) * geometry.counted(column, 1, include_padding) {
        0 => 0.0,
        count => 1.0 / count as f32,
    }
}

/// Some output rows of one plane.
struct Band<'a, F, N> {
    geometry: &'a Pooling,
    /// The plane of x.
    x: &'a [f32],
    /// Output rows.
    rows: Range<usize>,
    /// Those rows of y.
    y: &'a mut [f32],
    fold: F,
    number: PhantomData<N>,
}

impl<F: Fold, N: Number> VectorOp for Band<'_, F, N> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Band { geometry, x, rows, y, fold, number } = self;
        let width = geometry.output().width;
        let whole = geometry.whole_windows();
        for (row, y) in rows.zip(y.chunks_exact_mut(width * N::FORMAT.block())) {
            let windows = Windows { geometry, x, row, rows: geometry.taps(row, 0), fold, number };
            for column in (0..whole.start).chain(whole.end..width) {
                let share = fold.share(geometry, row, column);
                windows.many::<S, 1>(s, column, (geometry.taps(column, 1), share), y);
            }
            // All whole windows have these.
            let taps = (geometry.taps(whole.start, 1), fold.share(geometry, row, whole.start));
            // Few registers: fewer windows at once.
            if S::REGISTERS >= 16 {
                windows.whole::<S, 4>(s, whole.clone(), taps, y);
            } else {
                windows.whole::<S, 2>(s, whole.clone(), taps, y);
            }
        }
    }
}

/// Taps along the width that lie inside the image, and what the sum over the window is multiplied by.
type Taps = (Range<usize>, f32);

/// The windows of one output row.
struct Windows<'a, F, N> {
    geometry: &'a Pooling,
    x: &'a [f32],
    row: usize,
    /// Rows of taps inside the image.
    rows: Range<usize>,
    fold: F,
    number: PhantomData<N>,
}

impl<F: Fold, N: Number> Windows<'_, F, N> {
    /// Windows that have the same taps inside the image, `U` at a time.
    #[inline(always)]
    fn whole<S: Simd, const U: usize>(&self, s: S, columns: Range<usize>, taps: Taps, y: &mut [f32]) {
        let groups = columns.len() / U;
        for group in 0..groups {
            let column = columns.start + group * U;
            if let (Some(last), Format::F32) = (self.rows.clone().last(), N::FORMAT) {
                self.geometry.prefetch_below(self.x, [self.row, column], last, U);
            }
            self.many::<S, U>(s, column, taps.clone(), y);
        }
        for column in columns.start + groups * U..columns.end {
            self.many::<S, 1>(s, column, taps.clone(), y);
        }
    }

    /// `U` neighbouring windows with the same taps inside the image.
    #[inline(always)]
    fn many<S: Simd, const U: usize>(&self, s: S, column: usize, (taps, share): Taps, y: &mut [f32]) {
        // The geometry counts numbers; 16 of them are whole words.
        let words = |numbers: usize| numbers / N::FORMAT.per_word();
        let (window_step, tap_step) = (words(self.geometry.column_step()), words(self.geometry.tap_step()));
        let mut states = [self.fold.start(s); U];
        // A window wholly in the padding has no first tap.
        let rows = if taps.is_empty() { 0..0 } else { self.rows.clone() };
        for row_tap in rows {
            let first =
                words(self.geometry.row(self.row, row_tap) + self.geometry.column(column, taps.start));
            let reach = (U - 1) * window_step + (taps.len() - 1) * tap_step + N::FORMAT.block();
            let pixels = &self.x[first..][..reach];
            for tap in 0..taps.len() {
                for (u, state) in states.iter_mut().enumerate() {
                    // SAFETY: the last tap's pixel of the last window ends where `pixels` does.
                    let x = unsafe { N::load(s, pixels.as_ptr().add(tap * tap_step + u * window_step)) };
                    *state = self.fold.add(s, *state, x);
                }
            }
        }
        for (u, state) in states.into_iter().enumerate() {
            let value = match self.fold.finish(s, state, share) {
                Some(value) => value,
                None => self.careful(s, column + u, taps.clone()),
            };
            let y = &mut y[(column + u) * N::FORMAT.block()..][..N::FORMAT.block()];
            // SAFETY: y has a block of words.
            unsafe { N::store(s, value, y.as_mut_ptr()) }
        }
    }

    /// One window, right for any pixels.
    #[inline(always)]
    fn careful<S: Simd>(&self, s: S, column: usize, taps: Range<usize>) -> S::F {
        let [mut state, _] = self.fold.start(s);
        for row_tap in self.rows.clone() {
            for tap in taps.clone() {
                let at = self.geometry.row(self.row, row_tap) + self.geometry.column(column, tap);
                let pixel = &self.x[at / N::FORMAT.per_word()..][..N::FORMAT.block()];
                // SAFETY: the pixel is a block of words.
                state = self.fold.careful(s, state, unsafe { N::load(s, pixel.as_ptr()) });
            }
        }
        state
    }
}
