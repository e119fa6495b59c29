//! The micro-kernel of the forward pass and the input gradient: a few pixels by a few vectors of output channels.
//!
//! The whole reduction of a tile stays in registers, so bias, residual and ReLU ride on the one store:
//!
//! ```text
//! acc[pixel][vector] = 0
//! for each block of input channels, each tap, each real channel of the block:
//!     read V weight vectors (one after the other in the packed panel)
//!     for each pixel: acc[pixel][..] += x[pixel + tap, channel] * weights
//! y[pixel][vector] = clamp(acc + bias + residual)
//! ```
//!
//! The order of additions to an element is (block, tap, channel), whatever the tile: how work is split into tiles
//! never changes a bit. The shape of the tile follows Georganas et al., "Anatomy of high-performance deep learning
//! convolutions on SIMD architectures" (SC 2018), section II.

// Index loops over const-generic arrays unroll fully and mirror the pseudo-code.
#![allow(clippy::needless_range_loop)]

#[cfg(target_arch = "x86_64")]
use crate::isa::{Avx2, Avx512};
use crate::isa::{Isa, LANES, Scalar, Simd, VectorOp};

use super::Clamp;

/// What one call of the micro-kernel reads and writes. Steps are in floats.
#[derive(Clone, Copy)]
pub(crate) struct TileArgs<'a> {
    /// Channel 0 of the first pixel's window origin, in the first block.
    pub x: *const f32,
    /// From one block of input channels to the next.
    pub x_block_step: usize,
    /// From the tile's first row of pixels to its second.
    pub x_row_step: usize,
    /// From a pixel's window origin to each tap.
    pub taps: &'a [usize],
    /// Real input channels.
    pub channels: usize,
    /// The packed panel: `[block][tap][channel][V * 16]`.
    pub weights: *const f32,
    /// The first pixel and vector of the output.
    pub y: *mut f32,
    /// Added to the output before it is bounded, in the layout of `y`; null for none.
    pub residual: *const f32,
    /// From one output pixel to the next.
    pub y_step: usize,
    /// From the tile's first row of output pixels to its second.
    pub y_row_step: usize,
    /// From one vector of output channels to the next.
    pub y_block_step: usize,
    /// `V * 16` numbers.
    pub bias: *const f32,
    pub clamp: Option<Clamp>,
}

/// A micro-kernel of some tile shape.
///
/// # Safety
/// The CPU must support the instruction set it was looked up for, and every address the shape and the arguments
/// imply must be valid; nobody else may access the written pixels meanwhile.
pub(crate) type TileFn = unsafe fn(&TileArgs<'_>);

/// Strides of plain input, whose pixels are single numbers, that the micro-kernel can step over.
pub(crate) const STRIDES: [usize; 2] = [2, 4];

/// Channels that lie side by side where pixels are `step` floats apart: a block, or one channel of plain input.
const fn channels_of(step: usize) -> usize {
    if step == LANES { LANES } else { 1 }
}

/// `R` rows of `Q` pixels by `V` vectors of output channels; pixels are `STEP` floats apart.
struct Tile<'a, 'b, const R: usize, const Q: usize, const V: usize, const STEP: usize>(&'a TileArgs<'b>);

impl<const R: usize, const Q: usize, const V: usize, const STEP: usize> VectorOp
    for Tile<'_, '_, R, Q, V, STEP>
{
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let args = self.0;
        let mut acc = [[[s.zero(); V]; Q]; R];
        let (mut x, mut weights, mut left) = (args.x, args.weights, args.channels);
        while left > 0 {
            let channels = left.min(channels_of(STEP));
            for &tap in args.taps {
                let origin = x.wrapping_add(tap);
                for channel in 0..channels {
                    // SAFETY: `TileFn`'s contract: the panel holds V vectors per (block, tap, channel), and each
                    // pixel's taps are readable.
                    unsafe {
                        let at = origin.add(channel);
                        accumulate::<S, R, Q, V, STEP>(s, &mut acc, at, args.x_row_step, weights);
                    }
                    weights = weights.wrapping_add(V * LANES);
                }
            }
            x = x.wrapping_add(args.x_block_step);
            left -= channels;
        }
        // SAFETY: `TileFn`'s contract: the tile's pixels of `y`, and of the residual, are ours.
        unsafe { store::<S, R, Q, V>(s, args, &acc) }
    }
}

/// One input channel of one tap: V weight vectors times each pixel's number.
#[inline(always)]
unsafe fn accumulate<S: Simd, const R: usize, const Q: usize, const V: usize, const STEP: usize>(
    s: S,
    acc: &mut [[[S::F; V]; Q]; R],
    x: *const f32,
    x_row_step: usize,
    weights: *const f32,
) {
    let mut w = [s.zero(); V];
    for v in 0..V {
        // SAFETY: passed on to the caller.
        w[v] = unsafe { s.load_ptr(weights.add(v * LANES)) };
    }
    for r in 0..R {
        for q in 0..Q {
            // SAFETY: passed on to the caller.
            let pixel = s.splat(unsafe { *x.add(r * x_row_step + q * STEP) });
            for v in 0..V {
                acc[r][q][v] = s.fmadd(pixel, w[v], acc[r][q][v]);
            }
        }
    }
}

/// The epilogue.
///
/// # Safety
/// The tile's pixels of `y`, and of the residual if there is one, must be valid and nobody else's.
#[inline(always)]
pub(crate) unsafe fn store<S: Simd, const R: usize, const Q: usize, const V: usize>(
    s: S,
    args: &TileArgs<'_>,
    acc: &[[[S::F; V]; Q]; R],
) {
    for v in 0..V {
        // SAFETY: passed on to the caller; `bias` holds V vectors.
        let bias = unsafe { s.load_ptr(args.bias.add(v * LANES)) };
        for r in 0..R {
            for q in 0..Q {
                let at = v * args.y_block_step + r * args.y_row_step + q * args.y_step;
                let mut sum = s.add(acc[r][q][v], bias);
                if !args.residual.is_null() {
                    // SAFETY: passed on to the caller.
                    sum = s.add(sum, unsafe { s.load_ptr(args.residual.add(at)) });
                }
                if let Some(clamp) = args.clamp {
                    sum = clamp.apply(s, sum);
                }
                // SAFETY: passed on to the caller.
                unsafe { s.store_ptr(sum, args.y.add(at)) };
            }
        }
    }
}

/// The entry of one tile shape for one instruction set.
unsafe fn entry<S: Simd, const R: usize, const Q: usize, const V: usize, const STEP: usize>(
    args: &TileArgs<'_>,
) {
    // SAFETY: `tile` hands this out only for an `Isa` that holds a value of this type.
    let s = unsafe { S::assume() };
    s.vectorize(Tile::<R, Q, V, STEP>(args));
}

/// The shapes an instruction set has: for each V and R, one function per Q = 1, 2, ...
macro_rules! shapes {
    ($isa:ty, $step:literal, $v:literal, $r:literal: $($q:literal)*) => {
        &[$(entry::<$isa, $r, $q, $v, $step>),*]
    };
}

/// Most pixels in a tile of `vectors` vectors of output channels; 0 where there is no such tile. They are chosen so
/// that accumulators, weights and one pixel fit the registers.
pub(crate) fn max_pixels(isa: Isa, vectors: usize) -> usize {
    tiles(isa, LANES, vectors, 1).len()
}

/// The micro-kernel for `rows` (1 or 2) rows of `pixels` pixels, `step` (16, or 1 or a stride for plain input) floats
/// apart, by `vectors` vectors.
pub(crate) fn tile(isa: Isa, step: usize, vectors: usize, [rows, pixels]: [usize; 2]) -> TileFn {
    tiles(isa, step, vectors, rows)[pixels - 1]
}

/// All tiles of one height and number of vectors, by width - 1.
fn tiles(isa: Isa, step: usize, vectors: usize, rows: usize) -> &'static [TileFn] {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512(_) => match (step, vectors, rows) {
            (1, 1, 1) => shapes!(Avx512, 1, 1, 1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16),
            (1, 2, 1) => shapes!(Avx512, 1, 2, 1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
            (2, 1, 1) => shapes!(Avx512, 2, 1, 1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16),
            (2, 2, 1) => shapes!(Avx512, 2, 2, 1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
            (4, 1, 1) => shapes!(Avx512, 4, 1, 1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16),
            (4, 2, 1) => shapes!(Avx512, 4, 2, 1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
            (16, 1, 1) => shapes!(Avx512, 16, 1, 1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16),
            (16, 2, 1) => shapes!(Avx512, 16, 2, 1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
            (16, 4, 1) => shapes!(Avx512, 16, 4, 1: 1 2 3 4 5 6),
            (16, 1, 2) => shapes!(Avx512, 16, 1, 2: 1 2 3 4 5 6 7 8),
            (16, 2, 2) => shapes!(Avx512, 16, 2, 2: 1 2 3 4 5 6 7),
            _ => &[],
        },
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2(_) => match (step, vectors, rows) {
            (1, 1, 1) => shapes!(Avx2, 1, 1, 1: 1 2 3 4 5 6),
            (2, 1, 1) => shapes!(Avx2, 2, 1, 1: 1 2 3 4 5 6),
            (4, 1, 1) => shapes!(Avx2, 4, 1, 1: 1 2 3 4 5 6),
            (16, 1, 1) => shapes!(Avx2, 16, 1, 1: 1 2 3 4 5 6),
            (16, 1, 2) => shapes!(Avx2, 16, 1, 2: 1 2 3),
            _ => &[],
        },
        Isa::Scalar => match (step, vectors, rows) {
            (1, 1, 1) => shapes!(Scalar, 1, 1, 1: 1 2),
            (2, 1, 1) => shapes!(Scalar, 2, 1, 1: 1 2),
            (4, 1, 1) => shapes!(Scalar, 4, 1, 1: 1 2),
            (16, 1, 1) => shapes!(Scalar, 16, 1, 1: 1 2),
            _ => &[],
        },
    }
}

/// Whether two rows can share a tile of `pixels` pixels each.
pub(crate) fn pairs(isa: Isa, step: usize, vectors: usize, pixels: usize) -> bool {
    pixels <= tiles(isa, step, vectors, 2).len()
}
