//! Dropout, its mask drawn again wherever it is needed (see [`crate::random`]).
//!
//! The generator gives four elements at a time, in the order of the plain layout. Over a blocked tensor 16 pixels of
//! each channel are drawn at once and the bits are turned around, so that both layouts drop the same elements.

use super::blocked::Blocked;
use super::operands::{Source, share};
use crate::isa::{Isa, LANES, Simd, VectorOp};
use crate::layout::BLOCK;
use crate::random::DropoutMask;
use crate::threads::{SharedMut, ThreadPool};

/// Elements of a task; a multiple of 4.
const CHUNK: usize = 4096;

/// `y = x / (1 - rate)` where the mask keeps the element, else 0. x and y plain, of any shape. Also the gradient,
/// with dy for x.
pub fn dropout(pool: &ThreadPool, isa: Isa, (rate, mask): (f32, &DropoutMask), x: Source<'_>, y: &mut [f32]) {
    let len = y.len();
    if let Source::Slice(x) = x {
        assert_eq!(x.len(), len, "input length");
    }
    let scale = scale(rate);
    let out = SharedMut::new(y);
    share(pool, len, len.div_ceil(CHUNK), &|task| {
        let start = task * CHUNK;
        let count = CHUNK.min(len - start);
        // SAFETY: each task has its own chunk.
        let y = unsafe { out.part(start, count) };
        if let Source::Slice(x) = x {
            y.copy_from_slice(&x[start..start + count]);
        }
        isa.run(Plain { mask, scale, first: start as u64, y });
    });
}

/// What kept elements are multiplied by.
fn scale(rate: f32) -> f32 {
    (1.0 / (1.0 - f64::from(rate))) as f32
}

struct Plain<'a> {
    mask: &'a DropoutMask,
    scale: f32,
    /// Index of the first element, a multiple of 4.
    first: u64,
    y: &'a mut [f32],
}

impl VectorOp for Plain<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Plain { mask, scale, first, y } = self;
        for (i, y) in y.chunks_mut(LANES).enumerate() {
            let kept = s.mask(sixteen(mask, first + (i * LANES) as u64));
            let x = if y.len() == LANES { s.load(y) } else { s.load_partial(y, 0.0) };
            let value = s.select(kept, s.mul(x, s.splat(scale)), s.zero());
            if y.len() == LANES { s.store(value, y) } else { s.store_partial(value, y) }
        }
    }
}

/// Which of the elements from `first` on are kept, lowest bit first. A multiple of 4 takes four draws, else five.
#[inline(always)]
fn sixteen(mask: &DropoutMask, first: u64) -> u16 {
    let (block, skip) = (first / 4, first % 4);
    let mut bits = 0u32;
    for i in 0..4 + u64::from(skip > 0) {
        for (j, kept) in mask.keeps_four(block + i).into_iter().enumerate() {
            bits |= u32::from(kept) << (4 * i as usize + j);
        }
    }
    (bits >> skip) as u16
}

/// As [`dropout`], x and y blocked; drops the same elements.
pub fn dropout_blocked(
    pool: &ThreadPool,
    isa: Isa,
    size: Blocked,
    (rate, mask): (f32, &DropoutMask),
    x: Source<'_>,
    y: &mut [f32],
) {
    assert_eq!(y.len(), size.elements(), "output length");
    if let Source::Slice(x) = x {
        assert_eq!(x.len(), y.len(), "input length");
    }
    let scale = scale(rate);
    let out = SharedMut::new(y);
    share(pool, size.elements(), size.batch * size.blocks(), &|plane| {
        let (image, block) = (plane / size.blocks(), plane % size.blocks());
        let start = plane * size.plane();
        // SAFETY: each task has its own plane.
        let y = unsafe { out.part(start, size.plane()) };
        if let Source::Slice(x) = x {
            y.copy_from_slice(&x[start..start + size.plane()]);
        }
        let channels = (size.channels - block * BLOCK).min(BLOCK);
        let first = (image * size.channels + block * BLOCK) * size.pixels();
        isa.run(Plane { mask, scale, first: first as u64, channels, pixels: size.pixels(), y });
    });
}

struct Plane<'a> {
    mask: &'a DropoutMask,
    scale: f32,
    /// Plain index of the first channel's first pixel.
    first: u64,
    /// Real channels in the block.
    channels: usize,
    pixels: usize,
    y: &'a mut [f32],
}

impl VectorOp for Plane<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Plane { mask, scale, first, channels, pixels, y } = self;
        for (group, y) in y.chunks_mut(16 * BLOCK).enumerate() {
            let mut of_channel = [0u16; BLOCK];
            for (channel, bits) in of_channel.iter_mut().enumerate().take(channels) {
                *bits = sixteen(mask, first + (channel * pixels + group * 16) as u64);
            }
            for (pixel, y) in y.chunks_exact_mut(BLOCK).enumerate() {
                let mut bits = 0;
                for (channel, of_channel) in of_channel.iter().enumerate() {
                    bits |= (of_channel >> pixel & 1) << channel;
                }
                let value = s.mul(s.load(y), s.splat(scale));
                s.store(s.select(s.mask(bits), value, s.zero()), y);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elementwise::tests::{noise, on_all, plain_len, sizes, to_blocked, to_plain};
    use crate::reference::dropout::dropout as reference;

    const RATE: f32 = 0.3;

    #[test]
    fn plain_tensors_lose_what_the_reference_says() {
        for len in [1, 7, 16, 4099, 50_001] {
            let x = noise(len, 1);
            let mask = DropoutMask::new(RATE, 5, 6, 7);
            let mut want = vec![f32::NAN; len];
            reference(RATE, &mask, &x, &mut want);
            let kernel = |pool: &ThreadPool, isa: Isa| {
                let mut y = vec![f32::NAN; len];
                dropout(pool, isa, (RATE, &mask), (&x).into(), &mut y);
                let mut in_place = x.clone();
                dropout(pool, isa, (RATE, &mask), Source::InPlace, &mut in_place);
                assert_eq!(y, in_place);
                y
            };
            on_all(kernel, |isa, y| assert!(y == want, "{isa} {len}"));
        }
    }

    #[test]
    fn blocked_tensors_lose_the_same_elements() {
        for size in sizes() {
            let x = noise(plain_len(size), 2);
            let mask = DropoutMask::new(RATE, 8, 9, 10);
            let mut want = vec![f32::NAN; x.len()];
            reference(RATE, &mask, &x, &mut want);
            let x = to_blocked(size, &x);
            let kernel = |pool: &ThreadPool, isa: Isa| {
                let mut y = vec![f32::NAN; size.elements()];
                dropout_blocked(pool, isa, size, (RATE, &mask), (&x).into(), &mut y);
                to_plain(size, &y)
            };
            on_all(kernel, |isa, y| assert!(y == want, "{isa} {size:?}"));
        }
    }
}
