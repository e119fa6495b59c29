//! What are the mean and the variance of each channel, read once and without cancellation?
//!
//! ```text
//! for each part (parallel): for each 256 pixels:
//!     k = the mean so far (at first, that of 16 of the pixels)
//!     in f32, over the pixels:  d = x - k;  s += d;  q += d d
//!     in f64: mean' = k + s / n;  m2' = q - s s / n;  merge into the part's (n, mean, m2)
//! for each channel: merge its parts in order, in f64; variance = m2 / n
//! ```
//!
//! Merging is Chan, Golub and LeVeque's ("Updating formulae and a pairwise algorithm for computing sample
//! variances", 1979, eq. 1.5). `x - k` is exact where |mean| is much larger than the deviation (Sterbenz), and k is
//! always near enough that q is no more than a small multiple of m2: the deviation between k and the group's mean is
//! itself part of the variance, being the distance between the new group and at least as many older pixels.

use std::marker::PhantomData;

use crate::elementwise::operands::share;
use crate::elementwise::sum::{self, GROUP, WIDE, load_wide, store_wide};
use crate::elementwise::{Blocked, PART_BLOCKS, Part, Parts};
use crate::format::{Bf16, F32, Number};
use crate::isa::{Isa, Simd, VectorOp};
use crate::layout::BLOCK;
use crate::threads::{SharedMut, ThreadPool};

/// Scratch numbers of [`statistics`].
pub fn statistics_scratch_len(size: Blocked) -> usize {
    sum::scratch_len(size, 2)
}

/// The statistics of a batch, both `(C)`.
#[derive(Debug)]
pub struct Moments<'a> {
    /// Mean of each channel over N, H and W.
    pub mean: &'a mut [f32],
    /// Biased variance of each channel.
    pub var: &'a mut [f32],
}

/// Mean and biased variance of each channel of x (blocked), which holds bf16 numbers if it has a word for two of them.
pub fn statistics(
    pool: &ThreadPool,
    isa: Isa,
    size: Blocked,
    x: &[f32],
    moments: Moments<'_>,
    scratch: &mut [f32],
) {
    let narrow = 2 * x.len() == size.elements() && !x.is_empty();
    assert!(narrow || x.len() == size.elements(), "x length");
    assert_eq!(
        (moments.mean.len(), moments.var.len()),
        (size.channels, size.channels),
        "mean and var lengths"
    );
    let parts = Parts::new(size);
    let scratch = &mut scratch[..parts.slots() * 2 * WIDE];
    let partial = SharedMut::new(scratch);
    share(pool, size.elements(), parts.count(), &|task| {
        let (slot, count) = parts.slots_of(task);
        // SAFETY: each task has its own places.
        let to = unsafe { partial.part(slot * 2 * WIDE, count * 2 * WIDE) };
        let part = parts.get(task);
        if narrow {
            isa.run(PartStatistics::<Bf16> { x, parts, part, to, format: PhantomData });
        } else {
            isa.run(PartStatistics::<F32> { x, parts, part, to, format: PhantomData });
        }
    });
    for block in 0..size.blocks() {
        let mut running = Running::NONE;
        for index in 0..parts.per_block() {
            let (slot, count) = parts.slot(block, index);
            let (mean, m2) = scratch[slot * 2 * WIDE..][..2 * WIDE].split_at(WIDE);
            running.merge(count as f64, |lane| (load_wide(mean, lane), load_wide(m2, lane)));
        }
        for channel in block * BLOCK..((block + 1) * BLOCK).min(size.channels) {
            moments.mean[channel] = running.mean[channel % BLOCK] as f32;
            // Rounding may leave the variance of equal values just below 0.
            moments.var[channel] = (running.m2[channel % BLOCK].max(0.0) / running.count) as f32;
        }
    }
}

/// Count, mean and sum of squared deviations of one block's pixels so far, per lane.
#[derive(Clone, Copy)]
struct Running {
    count: f64,
    mean: [f64; BLOCK],
    m2: [f64; BLOCK],
}

impl Running {
    const NONE: Running = Running { count: 0.0, mean: [0.0; BLOCK], m2: [0.0; BLOCK] };

    /// With `more` further values of each lane, whose mean and sum of squared deviations are `other(lane)`.
    #[inline(always)]
    fn merge(&mut self, more: f64, other: impl Fn(usize) -> (f64, f64)) {
        let share = more / (self.count + more);
        let weight = self.count * share;
        for lane in 0..BLOCK {
            let (mean, m2) = other(lane);
            let delta = mean - self.mean[lane];
            self.mean[lane] += delta * share;
            self.m2[lane] += m2 + delta * delta * weight;
        }
        self.count += more;
    }
}

/// Up to [`GROUP`] pixels' sums of `x - pilot` and of its square, in `U` accumulators.
#[derive(Clone, Copy)]
struct Group<S: Simd, const U: usize> {
    pilot: S::F,
    sums: [[S::F; 2]; U],
    filled: usize,
}

struct PartStatistics<'a, N> {
    x: &'a [f32],
    parts: Parts,
    part: Part,
    /// Where each block's mean and m2 go.
    to: &'a mut [f32],
    format: PhantomData<N>,
}

impl<N: Number> VectorOp for PartStatistics<'_, N> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        // As in `elementwise::sum`: the registers decide how many accumulators there are.
        if S::REGISTERS >= 16 { self.gather::<S, 4>(s) } else { self.gather::<S, 2>(s) }
    }
}

impl<N: Number> PartStatistics<'_, N> {
    #[inline(always)]
    fn gather<S: Simd, const U: usize>(self, s: S) {
        let PartStatistics { x, parts, part, to, .. } = self;
        let words = N::FORMAT.block();
        let group = Group::<S, U> { pilot: s.zero(), sums: [[s.zero(); 2]; U], filled: 0 };
        let mut blocks = [(group, Running::NONE); PART_BLOCKS];
        for image in 0..part.images {
            for (block, (group, running)) in blocks.iter_mut().enumerate().take(part.blocks) {
                let run = &x[parts.run_start(&part, image, block) / BLOCK * words..][..part.pixels * words];
                if image == 0 {
                    group.pilot = mean_of_some::<S, N>(s, run);
                }
                let mut pixel = 0;
                while pixel < part.pixels {
                    let count = (part.pixels - pixel).min(GROUP - group.filled);
                    group.add::<N>(s, &run[pixel * words..][..count * words]);
                    pixel += count;
                    if group.filled == GROUP {
                        group.flush(s, running);
                    }
                }
            }
        }
        for ((group, running), to) in blocks.iter_mut().zip(to.chunks_exact_mut(2 * WIDE)) {
            group.flush(s, running);
            store_wide(&running.mean, &mut to[..WIDE]);
            store_wide(&running.m2, &mut to[WIDE..]);
        }
    }
}

/// The mean of at most 16 pixels, spread over those of the first group lest a border decide it.
#[inline(always)]
fn mean_of_some<S: Simd, N: Number>(s: S, run: &[f32]) -> S::F {
    let words = N::FORMAT.block();
    let pixels = (run.len() / words).min(GROUP);
    let count = pixels.min(16);
    let mut sum = s.zero();
    for i in 0..count {
        sum = s.add(sum, load::<S, N>(s, &run[i * pixels / count * words..]));
    }
    s.mul(sum, s.splat(1.0 / count.max(1) as f32))
}

impl<S: Simd, const U: usize> Group<S, U> {
    /// Adds pixels.
    #[inline(always)]
    fn add<N: Number>(&mut self, s: S, pixels: &[f32]) {
        let (pilot, mut sums, words) = (self.pilot, self.sums, N::FORMAT.block());
        let mut chunks = pixels.chunks_exact(U * words);
        for chunk in chunks.by_ref() {
            for (u, sums) in sums.iter_mut().enumerate() {
                add_pixel(s, pilot, load::<S, N>(s, &chunk[u * words..]), sums);
            }
        }
        for pixel in chunks.remainder().chunks_exact(words) {
            add_pixel(s, pilot, load::<S, N>(s, pixel), &mut sums[0]);
        }
        self.sums = sums;
        self.filled += pixels.len() / words;
    }

    /// Merges the group into `running` and starts the next one around the new mean.
    #[inline(always)]
    fn flush(&mut self, s: S, running: &mut Running) {
        if self.filled == 0 {
            return;
        }
        let [mut sum, mut square] = self.sums[0];
        for more in self.sums.iter().skip(1) {
            sum = s.add(sum, more[0]);
            square = s.add(square, more[1]);
        }
        let (pilot, sum, square) = (s.to_array(self.pilot), s.to_array(sum), s.to_array(square));
        let more = self.filled as f64;
        let per_pixel = 1.0 / more;
        running.merge(more, |lane| {
            let (sum, square) = (f64::from(sum[lane]), f64::from(square[lane]));
            (f64::from(pilot[lane]) + sum * per_pixel, square - sum * sum * per_pixel)
        });
        let next = running.mean.map(|mean| mean as f32);
        *self = Group { pilot: s.load(&next), sums: [[s.zero(); 2]; U], filled: 0 };
    }
}

/// The first 16 numbers; panics if there are fewer.
#[inline(always)]
fn load<S: Simd, N: Number>(s: S, pixel: &[f32]) -> S::F {
    let pixel = &pixel[..N::FORMAT.block()];
    // SAFETY: the slice holds a block.
    unsafe { N::load(s, pixel.as_ptr()) }
}

#[inline(always)]
fn add_pixel<S: Simd>(s: S, pilot: S::F, x: S::F, sums: &mut [S::F; 2]) {
    let d = s.sub(x, pilot);
    sums[0] = s.add(sums[0], d);
    sums[1] = s.fmadd(d, d, sums[1]);
}
