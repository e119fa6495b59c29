//! Depthwise convolution, forward and input gradient: each channel has its own filter, so 16 channels go through
//! each instruction side by side, and any pixel is one vector: no edge and no stride has to be taken out first.
//!
//! ```text
//! for each pass, each image, strip of output rows, block of channels, in parallel: for each row:
//!     rows of taps = those inside the image
//!     for each tile of pixels whose taps all lie inside:
//!         for each row of taps: K weights in registers
//!             for each pixel: for each k: acc[pixel] += x[pixel + k] w[k], each x read once
//!         y[pixel] = clamp(acc + bias + residual)
//!     for each pixel at the edges: its taps inside, one by one
//! ```
//!
//! The order of additions to an element is (row, column) of the taps, in the order of the source's pixels, whatever
//! the tile.

// Index loops over const-generic arrays unroll fully and mirror the pseudo-code.
#![allow(clippy::needless_range_loop)]

use std::ops::Range;

use ocellus_tensor::ConvGeometry;

#[cfg(target_arch = "aarch64")]
use crate::isa::Neon;
#[cfg(target_arch = "x86_64")]
use crate::isa::{Avx2, Avx512};
use crate::isa::{Isa, LANES, Scalar, Simd, VectorOp};
use crate::layout::{BLOCK, blocks};
use crate::threads::{SharedMut, ThreadPool};

use super::direct::DirectRun;
use super::pass::{Axis, Pass};
use super::source::{evened, row_block};
use super::{Clamp, Epilogue};

/// Output pixels of a task, about.
const STRIP: usize = 2048;

/// A depthwise convolution as passes: plain data.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Depthwise {
    isa: Isa,
    batch: usize,
    channels: usize,
    /// Pixels of the source and of the destination.
    from: [usize; 2],
    to: [usize; 2],
    kernel: [usize; 2],
    /// With the taps in the order of the source's pixels.
    passes: Vec<Pass>,
}

/// Whether every channel is a group of its own.
pub(crate) fn is_depthwise(g: &ConvGeometry) -> bool {
    g.groups > 1 && g.groups == g.in_channels && g.groups == g.out_channels
}

impl Depthwise {
    /// The forward convolution.
    pub fn forward(g: &ConvGeometry, isa: Isa) -> Self {
        Self::new(g, isa, [g.input, g.output], vec![Pass::forward(g)])
    }

    /// The input gradient.
    pub fn gradient(g: &ConvGeometry, isa: Isa) -> Self {
        Self::new(g, isa, [g.output, g.input], Pass::gradient(g))
    }

    fn new(g: &ConvGeometry, isa: Isa, [from, to]: [[usize; 2]; 2], passes: Vec<Pass>) -> Self {
        let in_order = |Pass { rows, cols }| Pass { rows: ascending(rows), cols: ascending(cols) };
        let passes = passes.into_iter().map(in_order).collect();
        let (batch, channels, kernel) = (g.batch, g.in_channels, g.window.kernel);
        Depthwise { isa, batch, channels, from, to, kernel, passes }
    }

    /// Numbers of packed weights.
    pub fn packed_len(&self) -> usize {
        self.passes.iter().map(Pass::taps).sum::<usize>() * blocks(self.channels) * LANES
    }

    /// Packs `weight` (C, 1, kernel) as `[pass][block][row][column][16]`.
    pub fn pack(&self, weight: &[f32], scale: Option<&[f32]>, packed: &mut [f32]) {
        assert_eq!(packed.len(), self.packed_len(), "packed length");
        assert!(scale.is_none_or(|s| s.len() == self.channels), "one scale per output channel");
        let taps = self.kernel[0] * self.kernel[1];
        let mut vectors = packed.chunks_exact_mut(LANES);
        for Pass { rows, cols } in &self.passes {
            for block in 0..blocks(self.channels) {
                for (&ky, &kx) in rows.kernel.iter().flat_map(|ky| cols.kernel.iter().map(move |kx| (ky, kx)))
                {
                    let vector = vectors.next().expect("one vector per tap");
                    for (channel, w) in (block * BLOCK..).zip(vector) {
                        let real = channel < self.channels;
                        let factor = scale.filter(|_| real).map_or(1.0, |s| s[channel]);
                        *w = if real {
                            weight[channel * taps + ky * self.kernel[1] + kx] * factor
                        } else {
                            0.0
                        };
                    }
                }
            }
        }
    }

    /// The instructions it is for.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// The source's rows that the windows of a forward convolution's output `rows` reach.
    pub fn reach(&self, rows: &Range<usize>) -> Range<usize> {
        let axis = &self.passes[0].rows;
        let last = axis.offsets.last().copied().unwrap_or(0);
        let pixel = |row: usize, offset: isize| ((row * axis.stride) as isize + offset).max(0) as usize;
        let end = if rows.is_empty() { 0 } else { pixel(rows.end - 1, last + 1).min(axis.source) };
        pixel(rows.start, axis.first()).min(end)..end
    }

    /// Computes output `rows` of a `plane` (an image's block of channels) of a forward convolution from `x`, the source's
    /// rows that they [reach](Self::reach).
    ///
    /// # Safety
    /// Nobody else accesses these rows of `y`, which is as long as the output.
    pub unsafe fn run_rows(
        &self,
        x: &[f32],
        (packed, epilogue): (&[f32], Epilogue<'_>),
        (plane, rows): (usize, Range<usize>),
        y: SharedMut<'_, f32>,
    ) {
        let (reach, row_len) = (self.reach(&rows), self.from[1] * BLOCK);
        assert!(packed.len() == self.packed_len() && x.len() >= reach.len() * row_len, "lengths");
        let pass = &self.passes[0];
        let interior = interior(&pass.cols);
        let job = Job { depthwise: self, pass, interior, weights: packed, epilogue, y };
        // SAFETY: all rows that are reached are there; the rest is the caller's promise.
        unsafe { job.run(x.as_ptr().wrapping_sub(reach.start * row_len), plane, rows) }
    }

    /// Runs every pass.
    pub fn run(&self, pool: &ThreadPool, run: DirectRun<'_>) {
        let DirectRun { x, mut packed, epilogue, y, .. } = run;
        let image_len = |[h, w]: [usize; 2]| blocks(self.channels) * h * w * BLOCK;
        assert_eq!(x.len(), self.batch * image_len(self.from), "input length");
        assert_eq!(y.len(), self.batch * image_len(self.to), "output length");
        assert_eq!(packed.len(), self.packed_len(), "packed length");
        assert!(epilogue.residual.is_none_or(|r| r.len() == y.len()), "residual length");
        assert!(epilogue.bias.is_none_or(|b| b.len() == self.channels), "one bias per output channel");
        let y = SharedMut::new(y);
        for pass in &self.passes {
            let (weights, rest) = packed.split_at(blocks(self.channels) * pass.taps() * LANES);
            packed = rest;
            let least = pass.rows.count.div_ceil((STRIP / pass.cols.count).max(1));
            let strips = evened(least, [pass.rows.count, pass.cols.count]);
            let job = Job { depthwise: self, pass, interior: interior(&pass.cols), weights, epilogue, y };
            let (planes, plane_len) = (blocks(self.channels), self.from[0] * self.from[1] * BLOCK);
            // Strips outermost: the rows of a large image then stay with the thread that made them in the convolution
            // before, whose tasks are blocks of rows, too.
            pool.run(self.batch * strips * planes, &|task| {
                let (unit, block) = (task / planes, task % planes);
                let (image, strip) = (unit / strips, unit % strips);
                let plane = image * planes + block;
                let x = x[plane * plane_len..][..plane_len].as_ptr();
                // SAFETY: the whole plane is there.
                unsafe { job.run(x, plane, row_block(strip, strips, pass.rows.count)) }
            });
        }
    }
}

/// The axis with its taps in the order of the source's pixels.
fn ascending(mut axis: Axis) -> Axis {
    let mut taps: Vec<(isize, usize)> =
        axis.offsets.iter().copied().zip(axis.kernel.iter().copied()).collect();
    taps.sort_unstable();
    (axis.offsets, axis.kernel) = taps.into_iter().unzip();
    axis
}

/// Distance between neighbouring taps, in source pixels: they are evenly spaced.
fn spacing(axis: &Axis) -> usize {
    match axis.offsets[..] {
        [first, second, ..] => (second - first) as usize,
        _ => 1,
    }
}

/// The outputs all of whose taps lie inside the source.
fn interior(axis: &Axis) -> Range<usize> {
    let (mut start, mut end) = (0, axis.count);
    for &offset in &axis.offsets {
        let (from, to) = axis.inside(offset, 0, axis.count);
        (start, end) = (start.max(from), end.min(to));
    }
    start.min(end)..end
}

/// The taps of output `o` that lie inside the source: evenly spaced, so they are neighbours.
fn taps_inside(axis: &Axis, o: usize) -> Range<usize> {
    let inside = |offset: &isize| axis.pixel(o, *offset).is_some();
    let start = axis.offsets.iter().position(inside).unwrap_or(axis.taps());
    let count = axis.offsets[start..].iter().take_while(|offset| inside(offset)).count();
    start..start + count
}

/// What the tasks of one pass share.
struct Job<'a> {
    depthwise: &'a Depthwise,
    pass: &'a Pass,
    interior: Range<usize>,
    /// `[block][row][column][16]`.
    weights: &'a [f32],
    epilogue: Epilogue<'a>,
    y: SharedMut<'a, f32>,
}

impl Job<'_> {
    /// Computes some rows of a `plane` (an image's block of channels) from the source's, which begins at `x`.
    ///
    /// # Safety
    /// The source's rows that the windows reach are there; the rows of the plane are nobody else's.
    unsafe fn run(&self, x: *const f32, plane: usize, rows: Range<usize>) {
        let Job { depthwise: all, pass, epilogue, .. } = self;
        let block = plane % blocks(all.channels);
        let to = all.to[0] * all.to[1] * BLOCK;
        let mut bias = [0.0; LANES];
        if let Some(every) = epilogue.bias {
            let real = &every[block * BLOCK..every.len().min((block + 1) * BLOCK)];
            bias[..real.len()].copy_from_slice(real);
        }
        let row_len = pass.cols.taps() * LANES;
        let weights = &self.weights[block * pass.taps() * LANES..][..pass.taps() * LANES];
        for row in rows {
            let taps = taps_inside(&pass.rows, row);
            let weights = &weights[taps.start * row_len..taps.end * row_len];
            let first = pass.rows.offsets.get(taps.start).map_or(0, |&offset| {
                (row * pass.rows.stride).strict_add_signed(offset) * all.from[1] * BLOCK
            });
            let at =
                plane * to + ((pass.rows.start + row * pass.rows.step) * all.to[1] + pass.cols.start) * BLOCK;
            let args = TileArgs {
                x: x.wrapping_add(first),
                x_step: pass.cols.stride * BLOCK,
                rows: taps.len(),
                row_step: spacing(&pass.rows) * all.from[1] * BLOCK,
                columns: pass.cols.taps(),
                column_step: spacing(&pass.cols) * BLOCK,
                weights: weights.as_ptr(),
                weights_step: row_len,
                y: self.y.as_ptr().wrapping_add(at),
                y_step: pass.cols.step * BLOCK,
                residual: epilogue.residual.map_or(std::ptr::null(), |r| r[at..].as_ptr()),
                bias: bias.as_ptr(),
                clamp: epilogue.clamp,
            };
            // SAFETY: `args` is a row of the plane's output and the rows of the source that it reads: the caller's promise.
            unsafe { self.run_row(&args) }
        }
    }

    /// Computes a row: what is inside in tiles, what is at the edges pixel by pixel.
    ///
    /// # Safety
    /// The rows of taps of `args` lie in the source, and the row of outputs is the task's own.
    unsafe fn run_row(&self, args: &TileArgs) {
        let cols = &self.pass.cols;
        let generic = tiles(self.depthwise.isa);
        for column in (0..self.interior.start).chain(self.interior.end..cols.count) {
            let taps = taps_inside(cols, column);
            let first = cols
                .offsets
                .get(taps.start)
                .map_or(0, |&offset| (column * cols.stride).strict_add_signed(offset) * BLOCK);
            let args = TileArgs {
                x: args.x.wrapping_add(first),
                columns: taps.len(),
                weights: args.weights.wrapping_add(taps.start * LANES),
                ..args.moved(0, column)
            };
            // SAFETY: one pixel of the row, and its taps inside the source.
            unsafe { generic[0](&args) }
        }
        let special = (spacing(cols) == 1).then(|| rows_of_taps(self.depthwise.isa, cols)).flatten();
        let tiles = special.unwrap_or(generic);
        let origin = cols.first();
        let (start, pixels) = (self.interior.start, self.interior.len());
        // Tiles of nearly equal width: a narrow one would wait for its own sums.
        let count = pixels.div_ceil(tiles.len());
        for tile in 0..count {
            let (from, to) = (start + pixels * tile / count, start + pixels * (tile + 1) / count);
            let x = (from * cols.stride).strict_add_signed(origin) * BLOCK;
            // SAFETY: all taps of these pixels lie inside; the tiles are those of the recipe's ISA.
            unsafe { tiles[to - from - 1](&args.moved(x, from)) }
        }
    }
}

/// What one call of a micro-kernel reads and writes. Steps are in floats.
#[derive(Clone, Copy)]
struct TileArgs {
    /// The first pixel under the first tap.
    x: *const f32,
    /// From the source pixel of one output to that of the next.
    x_step: usize,
    /// Rows of taps, and from one to the next.
    rows: usize,
    row_step: usize,
    /// Taps in a row, and from one to the next.
    columns: usize,
    column_step: usize,
    /// A vector per tap, and from one row of taps to the next.
    weights: *const f32,
    weights_step: usize,
    y: *mut f32,
    y_step: usize,
    /// Null for none.
    residual: *const f32,
    /// One vector.
    bias: *const f32,
    clamp: Option<Clamp>,
}

impl TileArgs {
    /// The same `x` numbers further on in the source, from output `column` on.
    fn moved(&self, x: usize, column: usize) -> Self {
        let at = column * self.y_step;
        let residual = match self.residual.is_null() {
            true => self.residual,
            false => self.residual.wrapping_add(at),
        };
        TileArgs { x: self.x.wrapping_add(x), y: self.y.wrapping_add(at), residual, ..*self }
    }

    /// The epilogue of pixel `p`.
    ///
    /// # Safety
    /// The pixel of `y`, and of the residual if there is one, must be valid and nobody else's.
    #[inline(always)]
    unsafe fn store<S: Simd>(&self, s: S, p: usize, acc: S::F) {
        let at = p * self.y_step;
        // SAFETY: passed on to the caller; `bias` is a vector.
        let mut sum = s.add(acc, unsafe { s.load_ptr(self.bias) });
        if !self.residual.is_null() {
            // SAFETY: passed on to the caller.
            sum = s.add(sum, unsafe { s.load_ptr(self.residual.add(at)) });
        }
        if let Some(clamp) = self.clamp {
            sum = clamp.apply(s, sum);
        }
        // SAFETY: passed on to the caller.
        unsafe { s.store_ptr(sum, self.y.add(at)) }
    }
}

/// A micro-kernel for some number of pixels.
///
/// # Safety
/// The CPU must support the instruction set it was looked up for, and every address the arguments imply must be valid;
/// nobody else may access the written pixels meanwhile.
type TileFn = unsafe fn(&TileArgs);

/// `P` pixels under any taps.
struct Tile<'a, const P: usize>(&'a TileArgs);

impl<const P: usize> VectorOp for Tile<'_, P> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let args = self.0;
        let mut acc = [s.zero(); P];
        for row in 0..args.rows {
            for column in 0..args.columns {
                // SAFETY: `TileFn`'s contract: there is a weight vector per tap, and each pixel's taps are readable.
                unsafe {
                    let w = s.load_ptr(args.weights.add(row * args.weights_step + column * LANES));
                    let x = args.x.add(row * args.row_step + column * args.column_step);
                    for p in 0..P {
                        acc[p] = s.fmadd(s.load_ptr(x.add(p * args.x_step)), w, acc[p]);
                    }
                }
            }
        }
        for p in 0..P {
            // SAFETY: `TileFn`'s contract: the pixels are ours.
            unsafe { args.store(s, p, acc[p]) }
        }
    }
}

/// `P` pixels under rows of `K` neighbouring taps, `STEP` source pixels apart: every source pixel is read once per row.
struct RowTile<'a, const P: usize, const K: usize, const STEP: usize>(&'a TileArgs);

impl<const P: usize, const K: usize, const STEP: usize> VectorOp for RowTile<'_, P, K, STEP> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let args = self.0;
        let mut acc = [s.zero(); P];
        for row in 0..args.rows {
            let mut w = [s.zero(); K];
            for k in 0..K {
                // SAFETY: `TileFn`'s contract: there is a weight vector per tap.
                w[k] = unsafe { s.load_ptr(args.weights.add(row * args.weights_step + k * LANES)) };
            }
            let x = args.x.wrapping_add(row * args.row_step);
            for p in 0..P {
                for k in 0..K {
                    // Neighbours' equal loads become one when this is unrolled.
                    // SAFETY: `TileFn`'s contract: each pixel's taps are readable.
                    let pixel = unsafe { s.load_ptr(x.add((p * STEP + k) * BLOCK)) };
                    acc[p] = s.fmadd(pixel, w[k], acc[p]);
                }
            }
        }
        for p in 0..P {
            // SAFETY: `TileFn`'s contract: the pixels are ours.
            unsafe { args.store(s, p, acc[p]) }
        }
    }
}

/// The entry of a [`Tile`] for one instruction set.
unsafe fn entry<S: Simd, const P: usize>(args: &TileArgs) {
    // SAFETY: `tiles` hands this out only for an `Isa` that holds a value of this type.
    let s = unsafe { S::assume() };
    s.vectorize(Tile::<P>(args));
}

/// The entry of a [`RowTile`] for one instruction set.
unsafe fn row_entry<S: Simd, const P: usize, const K: usize, const STEP: usize>(args: &TileArgs) {
    // SAFETY: `rows_of_taps` hands this out only for an `Isa` that holds a value of this type.
    let s = unsafe { S::assume() };
    s.vectorize(RowTile::<P, K, STEP>(args));
}

macro_rules! shapes {
    ($isa:ty: $($p:literal)*) => { &[$(entry::<$isa, $p>),*] };
    ($isa:ty, $k:literal, $step:literal: $($p:literal)*) => { &[$(row_entry::<$isa, $p, $k, $step>),*] };
}

/// The micro-kernels for any taps, by number of pixels - 1.
fn tiles(isa: Isa) -> &'static [TileFn] {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512(_) => shapes!(Avx512: 1 2 3 4 5 6 7 8),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2(_) => shapes!(Avx2: 1 2 3 4),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon(_) => shapes!(Neon: 1 2 3 4),
        Isa::Scalar => shapes!(Scalar: 1 2),
    }
}

/// The micro-kernels for these taps, which are neighbours, by number of pixels - 1, if there are any.
fn rows_of_taps(isa: Isa, cols: &Axis) -> Option<&'static [TileFn]> {
    /// All sizes of one instruction set, for the filters that networks use.
    macro_rules! sizes {
        ($isa:ty: $($p:literal)*) => {
            match (cols.taps(), cols.stride) {
                (2, 1) => shapes!($isa, 2, 1: $($p)*),
                (3, 1) => shapes!($isa, 3, 1: $($p)*),
                (4, 1) => shapes!($isa, 4, 1: $($p)*),
                (5, 1) => shapes!($isa, 5, 1: $($p)*),
                (7, 1) => shapes!($isa, 7, 1: $($p)*),
                (3, 2) => shapes!($isa, 3, 2: $($p)*),
                (5, 2) => shapes!($isa, 5, 2: $($p)*),
                (7, 2) => shapes!($isa, 7, 2: $($p)*),
                _ => return None,
            }
        };
    }
    let tiles: &[TileFn] = match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512(_) => sizes!(Avx512: 1 2 3 4 5 6 7 8 9 10 11 12),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2(_) => sizes!(Avx2: 1 2 3 4),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon(_) => sizes!(Neon: 1 2 3 4),
        Isa::Scalar => return None,
    };
    Some(tiles)
}
