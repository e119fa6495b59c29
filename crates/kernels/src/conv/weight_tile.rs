//! The micro-kernel of the weight gradient: a few neighbouring numbers of the input by a few vectors of the output's
//! gradient, summed over pixels.
//!
//! ```text
//! acc[a][v] = what was summed before, or 0
//! for each image, row, pixel: for each v: d = dy[v][pixel]; for each a: acc[a][v] += x[pixel + a] * d
//! ```
//!
//! The neighbours are channels of a block, or, for plain input, taps of a row. The sums run over pixels in order,
//! whatever `A` and `V`. A word of `x` or `dy` is one `f32`, or a pair of bf16 numbers of two images ([`crate::pairs`]),
//! whose products come with one instruction.

// Index loops over const-generic arrays unroll fully and mirror the pseudo-code.
#![allow(clippy::needless_range_loop)]

use std::marker::PhantomData;

use super::tile::Dot;
use crate::format::{Bf16, F32, Format};
#[cfg(target_arch = "aarch64")]
use crate::isa::Neon;
#[cfg(target_arch = "x86_64")]
use crate::isa::{Avx2, Avx512, BF16};
use crate::isa::{Isa, LANES, Scalar, Simd, VectorOp};

/// What one call reads and writes. Steps are in words.
#[derive(Clone, Copy)]
pub(crate) struct WeightTileArgs {
    /// The first neighbour at the first pixel.
    pub x: *const f32,
    /// The first vector at the first pixel; pixels are 16 apart.
    pub dy: *const f32,
    /// Images, rows, pixels.
    pub counts: [usize; 3],
    /// From one image, row, pixel of `x` to the next.
    pub x_steps: [usize; 3],
    /// From one image, row of `dy` to the next.
    pub dy_steps: [usize; 2],
    /// From one vector of `dy` to the next.
    pub dy_block_step: usize,
    /// The sums, `[A][V * 16]`.
    pub sums: *mut f32,
    /// Start from zero rather than from `sums`.
    pub first: bool,
}

/// A micro-kernel of some shape.
///
/// # Safety
/// The CPU must support the instruction set it was looked up for, and every address the shape and the arguments
/// imply must be valid; nobody else may access the sums meanwhile.
pub(crate) type WeightTileFn = unsafe fn(&WeightTileArgs);

struct WeightTile<'a, D, const A: usize, const V: usize>(&'a WeightTileArgs, PhantomData<D>);

impl<D: Dot, const A: usize, const V: usize> VectorOp for WeightTile<'_, D, A, V> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let args = self.0;
        let [images, rows, pixels] = args.counts;
        let mut acc = [[s.zero(); V]; A];
        if !args.first {
            for a in 0..A {
                for v in 0..V {
                    // SAFETY: `WeightTileFn`'s contract: the sums are A x V vectors.
                    acc[a][v] = unsafe { s.load_ptr(args.sums.add((a * V + v) * LANES)) };
                }
            }
        }
        for image in 0..images {
            for row in 0..rows {
                let mut x = args.x.wrapping_add(image * args.x_steps[0] + row * args.x_steps[1]);
                let mut dy = args.dy.wrapping_add(image * args.dy_steps[0] + row * args.dy_steps[1]);
                for _ in 0..pixels {
                    // SAFETY: `WeightTileFn`'s contract: both arrays reach over every pixel.
                    unsafe { accumulate::<S, D, A, V>(s, &mut acc, x, dy, args.dy_block_step) };
                    x = x.wrapping_add(args.x_steps[2]);
                    dy = dy.wrapping_add(LANES);
                }
            }
        }
        for a in 0..A {
            for v in 0..V {
                // SAFETY: as for the load; the sums are ours.
                unsafe { s.store_ptr(acc[a][v], args.sums.add((a * V + v) * LANES)) };
            }
        }
    }
}

/// One pixel.
#[inline(always)]
unsafe fn accumulate<S: Simd, D: Dot, const A: usize, const V: usize>(
    s: S,
    acc: &mut [[S::F; V]; A],
    x: *const f32,
    dy: *const f32,
    dy_block_step: usize,
) {
    let mut d = [s.zero(); V];
    for v in 0..V {
        // SAFETY: passed on to the caller.
        d[v] = unsafe { s.load_ptr(dy.add(v * dy_block_step)) };
    }
    for a in 0..A {
        // SAFETY: passed on to the caller.
        let x = s.splat(unsafe { *x.add(a) });
        for v in 0..V {
            acc[a][v] = D::dot(s, x, d[v], acc[a][v]);
        }
    }
}

/// The entry of one shape for one instruction set.
unsafe fn entry<S: Simd, D: Dot, const A: usize, const V: usize>(args: &WeightTileArgs) {
    // SAFETY: `weight_tiles` hands this out only for an `Isa` that holds a value of this type, or the proof for one.
    let s = unsafe { S::assume() };
    s.vectorize(WeightTile::<D, A, V>(args, PhantomData));
}

macro_rules! shapes {
    ($isa:ty, $dot:ty, $v:literal: $($a:literal)*) => { &[$(entry::<$isa, $dot, $a, $v>),*] };
}

/// The micro-kernels for words of `format` and `vectors` vectors, by number of neighbours - 1; empty where there are none.
/// They are chosen so that the sums, `dy` and one number of `x` fit the registers.
pub(crate) fn weight_tiles(isa: Isa, format: Format, vectors: usize) -> &'static [WeightTileFn] {
    match (isa, format) {
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512(_), Format::F32) => many_registers::<Avx512, F32>(vectors),
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512(token), Format::Bf16) if token.has(BF16) => {
            many_registers::<Avx512<BF16>, Bf16>(vectors)
        }
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx2(_), Format::F32) => few_registers::<Avx2, F32>(vectors),
        // Every AVX-512 CPU has AVX2, as in `tile`.
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512(_) | Isa::Avx2(_), Format::Bf16) => few_registers::<Avx2, Bf16>(vectors),
        #[cfg(target_arch = "aarch64")]
        (Isa::Neon(_), Format::F32) => few_registers::<Neon, F32>(vectors),
        #[cfg(target_arch = "aarch64")]
        (Isa::Neon(_), Format::Bf16) => few_registers::<Neon, Bf16>(vectors),
        (Isa::Scalar, Format::F32) => no_registers::<F32>(vectors),
        (Isa::Scalar, Format::Bf16) => no_registers::<Bf16>(vectors),
        (_, Format::U8) => &[],
    }
}

#[cfg(target_arch = "x86_64")]
fn many_registers<S: Simd, D: Dot>(vectors: usize) -> &'static [WeightTileFn] {
    match vectors {
        1 => shapes!(S, D, 1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16),
        2 => shapes!(S, D, 2: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
        _ => &[],
    }
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn few_registers<S: Simd, D: Dot>(vectors: usize) -> &'static [WeightTileFn] {
    if vectors == 1 { shapes!(S, D, 1: 1 2 3 4 5 6) } else { &[] }
}

fn no_registers<D: Dot>(vectors: usize) -> &'static [WeightTileFn] {
    if vectors == 1 { shapes!(Scalar, D, 1: 1 2) } else { &[] }
}
