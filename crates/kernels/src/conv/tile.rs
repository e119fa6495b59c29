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
//! never changes a bit.
//!
//! The input channels are read in 32-bit words ([`crate::format`]): a word is one `f32`, a pair of bf16 numbers or four
//! bytes, and a weight vector has a word for each of 16 output channels. What is done with two words is a [`Dot`]; the
//! rest is the same for every format. The shape of the tile follows Georganas et al., "Anatomy of high-performance deep learning
//! convolutions on SIMD architectures" (SC 2018), section II.

// Index loops over const-generic arrays unroll fully and mirror the pseudo-code.
#![allow(clippy::needless_range_loop)]

use std::marker::PhantomData;

use crate::format::{Bf16, F32, Format, Number, U8};
#[cfg(target_arch = "aarch64")]
use crate::isa::Neon;
#[cfg(target_arch = "x86_64")]
use crate::isa::{Avx2, Avx512, BF16, VNNI};
use crate::isa::{Isa, LANES, Scalar, Simd, VectorOp};

use super::Clamp;

/// What one call of the micro-kernel reads and writes. Steps are in words.
#[derive(Clone, Copy)]
pub(crate) struct TileArgs<'a> {
    /// Channel 0 of the first pixel's window origin, in the first block.
    pub x: *const f32,
    /// From one block of input channels to the next.
    pub x_block_step: usize,
    /// From the tile's first row of pixels to its second.
    pub x_row_step: usize,
    /// From a pixel to those of the next tile, where they are worth asking for ahead of their use; else 0.
    pub ahead: usize,
    /// From a pixel's window origin to each tap.
    pub taps: &'a [usize],
    /// Words of the real input channels.
    pub channels: usize,
    /// Words that lie side by side at a pixel.
    pub block: usize,
    /// The packed panel: `[block][tap][word][V * 16]`.
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
    /// Factors of the sums of 8-bit products, `V * 16` numbers; formats that sum in `f32` read none.
    pub scale: *const f32,
    /// Factor of an 8-bit residual.
    pub residual_scale: f32,
    pub clamp: Option<Clamp>,
    /// The output and the residual are `f32`, whatever the input is.
    pub wide: bool,
}

/// How two words are multiplied, and what the sum of the products is worth.
pub(crate) trait Dot: Number {
    /// `acc` plus the products of the words' numbers.
    fn dot<S: Simd>(s: S, x: S::F, w: S::F, acc: S::F) -> S::F;

    /// The sum as `f32`, plus the bias.
    ///
    /// # Safety
    /// `scale` points to 16 numbers, if the format has factors.
    #[inline(always)]
    unsafe fn finish<S: Simd>(s: S, sum: S::F, _scale: *const f32, bias: S::F) -> S::F {
        s.add(sum, bias)
    }
}

impl Dot for F32 {
    #[inline(always)]
    fn dot<S: Simd>(s: S, x: S::F, w: S::F, acc: S::F) -> S::F {
        s.fmadd(x, w, acc)
    }
}

impl Dot for Bf16 {
    #[inline(always)]
    fn dot<S: Simd>(s: S, x: S::F, w: S::F, acc: S::F) -> S::F {
        s.dot_bf16(x, w, acc)
    }
}

impl Dot for U8 {
    #[inline(always)]
    fn dot<S: Simd>(s: S, x: S::F, w: S::F, acc: S::F) -> S::F {
        s.dot_u8(x, w, acc)
    }
    #[inline(always)]
    unsafe fn finish<S: Simd>(s: S, sum: S::F, scale: *const f32, bias: S::F) -> S::F {
        // SAFETY: passed on to the caller.
        s.fmadd(s.integers_to_f32(sum), unsafe { s.load_ptr(scale) }, bias)
    }
}

/// A micro-kernel of some tile shape.
///
/// # Safety
/// The CPU must support the instruction set it was looked up for, and every address the shape and the arguments
/// imply must be valid; nobody else may access the written pixels meanwhile.
pub(crate) type TileFn = unsafe fn(&TileArgs<'_>);

/// Whether the micro-kernel can step over a stride where pixels are `step` words apart: few channels, side by side.
pub(crate) fn steps_over(step: usize, stride: usize) -> bool {
    step <= 2 && [2, 4].contains(&stride) && step * stride <= 4
}

/// `R` rows of `Q` pixels by `V` vectors of output channels; pixels are `STEP` words apart.
struct Tile<'a, 'b, D, const R: usize, const Q: usize, const V: usize, const STEP: usize>(
    &'a TileArgs<'b>,
    PhantomData<D>,
);

impl<D: Dot, const R: usize, const Q: usize, const V: usize, const STEP: usize> VectorOp
    for Tile<'_, '_, D, R, Q, V, STEP>
{
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let args = self.0;
        let mut acc = [[[s.zero(); V]; Q]; R];
        ask_for_residual::<S, R, Q, V>(s, args);
        let (mut x, mut weights, mut left) = (args.x, args.weights, args.channels);
        while left > 0 {
            let channels = left.min(args.block);
            for &tap in args.taps {
                let origin = x.wrapping_add(tap);
                for channel in 0..channels {
                    if args.ahead != 0 {
                        s.prefetch(origin.wrapping_add(args.ahead + channel * STEP));
                    }
                    // SAFETY: `TileFn`'s contract: the panel holds V vectors per (block, tap, channel), and each
                    // pixel's taps are readable.
                    unsafe {
                        let at = origin.add(channel);
                        accumulate::<S, D, R, Q, V, STEP>(s, &mut acc, at, args.x_row_step, weights);
                    }
                    weights = weights.wrapping_add(V * LANES);
                }
            }
            x = x.wrapping_add(args.x_block_step);
            left -= channels;
        }
        let mut sums = [[[s.zero(); V]; Q]; R];
        if D::FORMAT != Format::F32 {
            // The epilogue of narrow numbers is too long for the compiler to unroll before it gives arrays their
            // registers. With an array of its own it does not keep the accumulators in memory.
            for r in 0..R {
                for q in 0..Q {
                    for v in 0..V {
                        sums[r][q][v] = acc[r][q][v];
                    }
                }
            }
        }
        let sums = if D::FORMAT == Format::F32 { &acc } else { &sums };
        // SAFETY: `TileFn`'s contract: the tile's pixels of `y`, and of the residual, are ours.
        unsafe { store::<S, D, R, Q, V>(s, args, sums) }
    }
}

/// The residual comes from far away, and is needed all at once when the sums are done: it is asked for before them.
#[inline(always)]
fn ask_for_residual<S: Simd, const R: usize, const Q: usize, const V: usize>(s: S, args: &TileArgs<'_>) {
    if args.residual.is_null() {
        return;
    }
    for v in 0..V {
        for r in 0..R {
            for q in 0..Q {
                let at = v * args.y_block_step + r * args.y_row_step + q * args.y_step;
                s.prefetch(args.residual.wrapping_add(at));
            }
        }
    }
}

/// One word of input channels of one tap: V weight vectors times each pixel's word.
#[inline(always)]
unsafe fn accumulate<S: Simd, D: Dot, const R: usize, const Q: usize, const V: usize, const STEP: usize>(
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
                acc[r][q][v] = D::dot(s, pixel, w[v], acc[r][q][v]);
            }
        }
    }
}

/// The epilogue.
///
/// # Safety
/// The tile's pixels of `y`, and of the residual if there is one, must be valid and nobody else's.
#[inline(always)]
pub(crate) unsafe fn store<S: Simd, D: Dot, const R: usize, const Q: usize, const V: usize>(
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
                // SAFETY: passed on to the caller; `scale` holds V vectors where the format needs them.
                let sum = unsafe { D::finish(s, acc[r][q][v], args.scale.wrapping_add(v * LANES), bias) };
                // SAFETY: passed on to the caller.
                unsafe {
                    if D::FORMAT == Format::F32 || args.wide {
                        finish::<S, F32>(s, args, sum, at);
                    } else {
                        finish::<S, D>(s, args, sum, at);
                    }
                }
            }
        }
    }
}

/// Adds the residual, bounds and writes one vector of the output.
///
/// # Safety
/// The vector at `at` of `y`, and of the residual if there is one, must be valid and nobody else's.
#[inline(always)]
unsafe fn finish<S: Simd, N: Number>(s: S, args: &TileArgs<'_>, mut sum: S::F, at: usize) {
    if !args.residual.is_null() {
        // SAFETY: passed on to the caller.
        let residual = unsafe { N::load(s, args.residual.add(at)) };
        sum = match N::FORMAT {
            Format::U8 => s.fmadd(residual, s.splat(args.residual_scale), sum),
            _ => s.add(sum, residual),
        };
    }
    if let Some(clamp) = args.clamp {
        sum = clamp.apply(s, sum);
    }
    // SAFETY: passed on to the caller.
    unsafe { N::store(s, sum, args.y.add(at)) };
}

/// The entry of one tile shape for one instruction set.
unsafe fn entry<S: Simd, D: Dot, const R: usize, const Q: usize, const V: usize, const STEP: usize>(
    args: &TileArgs<'_>,
) {
    // SAFETY: `tile` hands this out only for an `Isa` that holds a value of this type, or the proof for one.
    let s = unsafe { S::assume() };
    s.vectorize(Tile::<D, R, Q, V, STEP>(args, PhantomData));
}

/// The shapes an instruction set has: for each V and R, one function per Q = 1, 2, ...
macro_rules! shapes {
    ($isa:ty, $dot:ty, $step:expr, $v:literal, $r:literal: $($q:literal)*) => {
        &[$(entry::<$isa, $dot, $r, $q, $v, { $step }>),*]
    };
}

/// Most pixels in a tile of `vectors` vectors of output channels; 0 where there is no such tile. They are chosen so
/// that accumulators, weights and one pixel fit the registers.
pub(crate) fn max_pixels(isa: Isa, vectors: usize) -> usize {
    tiles(isa, Format::F32, LANES, vectors, 1).len()
}

/// The micro-kernel for `rows` (1 or 2) rows of `pixels` pixels, `step` (16, or 1 or a stride for plain input) floats
/// apart, by `vectors` vectors.
pub(crate) fn tile(isa: Isa, step: usize, vectors: usize, shape: [usize; 2]) -> TileFn {
    tile_of(isa, Format::F32, step, vectors, shape)
}

/// [`max_pixels`] for numbers of any format in channel blocks.
pub(crate) fn max_pixels_of(isa: Isa, format: Format, vectors: usize) -> usize {
    tiles(isa, format, format.block(), vectors, 1).len()
}

/// [`tile`] for numbers of any format, `step` words apart.
pub(crate) fn tile_of(
    isa: Isa,
    format: Format,
    step: usize,
    vectors: usize,
    [rows, pixels]: [usize; 2],
) -> TileFn {
    tiles(isa, format, step, vectors, rows)[pixels - 1]
}

/// Whether two rows can share a tile of `pixels` pixels each.
pub(crate) fn pairs(isa: Isa, format: Format, step: usize, vectors: usize, pixels: usize) -> bool {
    pixels <= tiles(isa, format, step, vectors, 2).len()
}

/// All tiles of one height and number of vectors, by width - 1.
fn tiles(isa: Isa, format: Format, step: usize, vectors: usize, rows: usize) -> &'static [TileFn] {
    let shape = [step, vectors, rows];
    match (isa, format) {
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512(_), Format::F32) => many_registers::<Avx512, F32, 16>(shape),
        // Without the instructions, the smaller tiles of AVX2, which every AVX-512 CPU has, do what they would.
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512(token), Format::Bf16) if token.has(BF16) => {
            many_registers::<Avx512<BF16>, Bf16, 8>(shape)
        }
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512(token), Format::U8) if token.has(VNNI) => many_registers::<Avx512<VNNI>, U8, 4>(shape),
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx2(_), Format::F32) => few_registers::<Avx2, F32, 16>(shape),
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512(_) | Isa::Avx2(_), Format::Bf16) => few_registers::<Avx2, Bf16, 8>(shape),
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512(_) | Isa::Avx2(_), Format::U8) => few_registers::<Avx2, U8, 4>(shape),
        #[cfg(target_arch = "aarch64")]
        (Isa::Neon(_), Format::F32) => few_registers::<Neon, F32, 16>(shape),
        #[cfg(target_arch = "aarch64")]
        (Isa::Neon(_), Format::Bf16) => few_registers::<Neon, Bf16, 8>(shape),
        #[cfg(target_arch = "aarch64")]
        (Isa::Neon(_), Format::U8) => few_registers::<Neon, U8, 4>(shape),
        (Isa::Scalar, Format::F32) => no_registers::<F32, 16>(shape),
        (Isa::Scalar, Format::Bf16) => no_registers::<Bf16, 8>(shape),
        (Isa::Scalar, Format::U8) => no_registers::<U8, 4>(shape),
    }
}

/// How many times as fast as those of `f32` products of this format are summed, about.
pub(crate) fn speed(isa: Isa, format: Format) -> f64 {
    match (isa, format) {
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512(token), Format::Bf16) if token.has(BF16) => 1.9,
        _ => 1.0,
    }
}

/// Tiles for 32 registers of 16 lanes. Whole blocks are `BLOCK` words apart; pixels of few channels fewer, or a stride.
#[cfg(target_arch = "x86_64")]
fn many_registers<S: Simd, D: Dot, const BLOCK: usize>(shape: [usize; 3]) -> &'static [TileFn] {
    match shape {
        [step, 1, 1] if step == BLOCK => shapes!(S, D, BLOCK, 1, 1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16),
        [step, 2, 1] if step == BLOCK => shapes!(S, D, BLOCK, 2, 1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
        [step, 4, 1] if step == BLOCK => shapes!(S, D, BLOCK, 4, 1: 1 2 3 4 5 6),
        [step, 1, 2] if step == BLOCK => shapes!(S, D, BLOCK, 1, 2: 1 2 3 4 5 6 7 8),
        [step, 2, 2] if step == BLOCK => shapes!(S, D, BLOCK, 2, 2: 1 2 3 4 5 6 7),
        [1, 1, 1] => shapes!(S, D, 1, 1, 1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16),
        [1, 2, 1] => shapes!(S, D, 1, 2, 1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
        [2, 1, 1] => shapes!(S, D, 2, 1, 1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16),
        [2, 2, 1] => shapes!(S, D, 2, 2, 1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
        [4, 1, 1] => shapes!(S, D, 4, 1, 1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16),
        [4, 2, 1] => shapes!(S, D, 4, 2, 1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
        _ => &[],
    }
}

/// Tiles for 16 registers of 8 lanes, or 32 of 4.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn few_registers<S: Simd, D: Dot, const BLOCK: usize>(shape: [usize; 3]) -> &'static [TileFn] {
    match shape {
        [step, 1, 1] if step == BLOCK => shapes!(S, D, BLOCK, 1, 1: 1 2 3 4 5 6),
        [step, 1, 2] if step == BLOCK => shapes!(S, D, BLOCK, 1, 2: 1 2 3),
        [1, 1, 1] => shapes!(S, D, 1, 1, 1: 1 2 3 4 5 6),
        [2, 1, 1] => shapes!(S, D, 2, 1, 1: 1 2 3 4 5 6),
        [4, 1, 1] => shapes!(S, D, 4, 1, 1: 1 2 3 4 5 6),
        _ => &[],
    }
}

/// Tiles without vector registers.
fn no_registers<D: Dot, const BLOCK: usize>(shape: [usize; 3]) -> &'static [TileFn] {
    match shape {
        [step, 1, 1] if step == BLOCK => shapes!(Scalar, D, BLOCK, 1, 1: 1 2),
        [1, 1, 1] => shapes!(Scalar, D, 1, 1, 1: 1 2),
        [2, 1, 1] => shapes!(Scalar, D, 2, 1, 1: 1 2),
        [4, 1, 1] => shapes!(Scalar, D, 4, 1, 1: 1 2),
        _ => &[],
    }
}
