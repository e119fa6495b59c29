//! Images two by two: what the weight gradient of bf16 numbers reads.
//!
//! A weight gradient sums over pixels and images, so the pairs of numbers in its words ([`crate::format`]) are
//! neighbours there, not in the channels. Pairs of pixels would have to be made anew for each tap and stride; pairs of
//! images are made once, and all else is as in `f32`:
//!
//! ```text
//! y[pair][i] = the word (x[2 pair][i], x[2 pair + 1][i]);  (x[2 pair][i], 0) for a last image without a partner
//! ```
//!
//! That holds for images in any order of their numbers.

use std::marker::PhantomData;

use crate::elementwise::operands::share;
use crate::format::{Bf16, F32, Format, Number};
use crate::isa::{Isa, LANES, Simd, VectorOp};
use crate::threads::{SharedMut, ThreadPool};

/// Words of a task.
const WORDS: usize = 16 * 1024;

/// Pairs up the `images` of x, which are `f32`, or bf16 in channel blocks. y has a word for each number of each pair.
pub fn pair_images(
    (pool, isa): (&ThreadPool, Isa),
    (images, format): (usize, Format),
    x: &[f32],
    y: &mut [f32],
) {
    match format {
        Format::F32 => pair::<F32>((pool, isa), images, x, y),
        Format::Bf16 => pair::<Bf16>((pool, isa), images, x, y),
        Format::U8 => unreachable!("bytes are not trained with"),
    }
}

fn pair<N: Number>((pool, isa): (&ThreadPool, Isa), images: usize, x: &[f32], y: &mut [f32]) {
    let per_word = N::FORMAT.per_word();
    let len = x.len() * per_word / images.max(1);
    assert_eq!(x.len() * per_word, images * len, "whole images");
    assert_eq!(y.len(), images.div_ceil(2) * len, "length of y");
    assert!(N::FORMAT == Format::F32 || len.is_multiple_of(LANES), "whole blocks");
    let parts = len.div_ceil(WORDS);
    let (elements, y) = (y.len(), SharedMut::new(y));
    share(pool, elements, images.div_ceil(2) * parts, &|task| {
        let (pair, first) = (task / parts, task % parts * WORDS);
        let count = WORDS.min(len - first);
        let part = |image: usize| &x[(image * len + first) / per_word..][..count / per_word];
        let second = if 2 * pair + 1 < images { part(2 * pair + 1) } else { &[] };
        // SAFETY: each task has its own words.
        let y = unsafe { y.part(pair * len + first, count) };
        isa.run(Pair::<N> { first: part(2 * pair), second, y, format: PhantomData });
    });
}

/// Some numbers of two images.
struct Pair<'a, N> {
    first: &'a [f32],
    /// As long, or empty.
    second: &'a [f32],
    y: &'a mut [f32],
    format: PhantomData<N>,
}

impl<N: Number> VectorOp for Pair<'_, N> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Pair { first, second, y, .. } = self;
        let whole = y.len() / LANES;
        for (i, y) in y.chunks_exact_mut(LANES).enumerate() {
            let at = i * N::FORMAT.block();
            // SAFETY: both slices hold a number for each word of y; `second` may be empty instead.
            let a = unsafe { N::load(s, first.as_ptr().add(at)) };
            // SAFETY: as above.
            let b = if second.is_empty() { s.zero() } else { unsafe { N::load(s, second.as_ptr().add(at)) } };
            s.store(s.pair_bf16(a, b), y);
        }
        let (y, from) = (&mut y[whole * LANES..], whole * LANES);
        if !y.is_empty() {
            // Only `f32` images end within a vector: a number is a word.
            let b = if second.is_empty() { s.zero() } else { s.load_partial(&second[from..], 0.0) };
            s.store_partial(s.pair_bf16(s.load_partial(&first[from..], 0.0), b), y);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::{bf16_to_f32, f32_to_bf16};

    #[test]
    fn neighbours_share_a_word() {
        let pool = ThreadPool::new(2);
        let mut sets = Isa::available();
        sets.push(Isa::detect().without_narrow_products());
        for isa in sets {
            for (images, len) in [(1, 5), (2, 16), (3, 37), (4, 20_000)] {
                let x: Vec<f32> = (0..images * len).map(|i| (i as f32 * 0.77).sin()).collect();
                let rounded: Vec<u16> = x.iter().map(|&x| f32_to_bf16(x)).collect();
                let want = |pair: usize, i: usize, half: usize| {
                    rounded.get((2 * pair + half) * len + i).copied().map_or(0.0, bf16_to_f32)
                };
                let check = |y: &[f32], what: &str| {
                    for (at, y) in y.iter().enumerate() {
                        let halves = [y.to_bits() as u16, (y.to_bits() >> 16) as u16].map(bf16_to_f32);
                        let (pair, i) = (at / len, at % len);
                        assert_eq!(
                            halves,
                            [want(pair, i, 0), want(pair, i, 1)],
                            "{what} {images} {len} {at}"
                        );
                    }
                };
                let mut y = vec![f32::NAN; images.div_ceil(2) * len];
                pair_images((&pool, isa), (images, Format::F32), &x, &mut y);
                check(&y, isa.name());
                if len.is_multiple_of(LANES) {
                    let halves: Vec<f32> = rounded
                        .chunks_exact(2)
                        .map(|w| f32::from_bits(u32::from(w[0]) | u32::from(w[1]) << 16))
                        .collect();
                    y.fill(f32::NAN);
                    pair_images((&pool, isa), (images, Format::Bf16), &halves, &mut y);
                    check(&y, "from bf16");
                }
            }
        }
    }
}
