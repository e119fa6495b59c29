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

use crate::elementwise::operands::share;
use crate::elementwise::sum::{self, GROUP, WIDE, load_wide, store_wide};
use crate::elementwise::{Blocked, Part, Parts};
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

/// Mean and biased variance of each channel of x (blocked).
pub fn statistics(
    pool: &ThreadPool,
    isa: Isa,
    size: Blocked,
    x: &[f32],
    moments: Moments<'_>,
    scratch: &mut [f32],
) {
    assert_eq!(x.len(), size.elements(), "x length");
    assert_eq!(
        (moments.mean.len(), moments.var.len()),
        (size.channels, size.channels),
        "mean and var lengths"
    );
    let parts = Parts::new(size);
    let scratch = &mut scratch[..parts.count() * 2 * WIDE];
    let partial = SharedMut::new(scratch);
    share(pool, size.elements(), parts.count(), &|task| {
        let running = isa.run(PartStatistics { x, parts, part: parts.get(task) });
        // SAFETY: each task has its own place.
        let to = unsafe { partial.part(task * 2 * WIDE, 2 * WIDE) };
        store_wide(&running.mean, &mut to[..WIDE]);
        store_wide(&running.m2, &mut to[WIDE..]);
    });
    for channel in 0..size.channels {
        let (block, lane) = (channel / BLOCK, channel % BLOCK);
        let (mut count, mut mean, mut m2) = (0.0, 0.0, 0.0);
        for index in 0..parts.per_block() {
            let number = parts.number(block, index);
            let from = &scratch[number * 2 * WIDE..];
            let more = parts.get(number).count() as f64;
            merge(count, (&mut mean, &mut m2), more, (load_wide(from, lane), load_wide(&from[WIDE..], lane)));
            count += more;
        }
        moments.mean[channel] = mean as f32;
        moments.var[channel] = (m2 / count) as f32;
    }
}

/// Merges the mean and sum of squared deviations of `more` values into those of `count` values.
#[inline(always)]
fn merge(count: f64, (mean, m2): (&mut f64, &mut f64), more: f64, (other_mean, other_m2): (f64, f64)) {
    let share = more / (count + more);
    let delta = other_mean - *mean;
    *mean += delta * share;
    *m2 += other_m2 + delta * delta * count * share;
}

/// Count, mean and sum of squared deviations of the pixels so far, per lane.
struct Running {
    count: f64,
    mean: [f64; BLOCK],
    m2: [f64; BLOCK],
}

/// Up to [`GROUP`] pixels' sums of `x - pilot` and of its square, in `U` accumulators.
struct Group<S: Simd, const U: usize> {
    pilot: S::F,
    sums: [[S::F; 2]; U],
    filled: usize,
}

struct PartStatistics<'a> {
    x: &'a [f32],
    parts: Parts,
    part: Part,
}

impl VectorOp for PartStatistics<'_> {
    type Output = Running;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Running {
        // As in `elementwise::sum`: the registers decide how many accumulators there are.
        if S::REGISTERS >= 16 { self.running::<S, 4>(s) } else { self.running::<S, 2>(s) }
    }
}

impl PartStatistics<'_> {
    #[inline(always)]
    fn running<S: Simd, const U: usize>(self, s: S) -> Running {
        let PartStatistics { x, parts, part } = self;
        let mut running = Running { count: 0.0, mean: [0.0; BLOCK], m2: [0.0; BLOCK] };
        let mut group = Group::<S, U> { pilot: s.zero(), sums: [[s.zero(); 2]; U], filled: 0 };
        for image in 0..part.images {
            let run = &x[parts.run_start(&part, image)..][..part.pixels * BLOCK];
            if image == 0 {
                group.pilot = mean_of_some(s, run);
            }
            let mut pixel = 0;
            while pixel < part.pixels {
                let count = (part.pixels - pixel).min(GROUP - group.filled);
                group.add(s, &run[pixel * BLOCK..][..count * BLOCK]);
                pixel += count;
                if group.filled == GROUP {
                    group.flush(s, &mut running);
                }
            }
        }
        group.flush(s, &mut running);
        running
    }
}

/// The mean of at most 16 pixels, spread over those of the first group lest a border decide it.
#[inline(always)]
fn mean_of_some<S: Simd>(s: S, run: &[f32]) -> S::F {
    let pixels = (run.len() / BLOCK).min(GROUP);
    let count = pixels.min(16);
    let mut sum = s.zero();
    for i in 0..count {
        sum = s.add(sum, s.load(&run[i * pixels / count * BLOCK..]));
    }
    s.mul(sum, s.splat(1.0 / count.max(1) as f32))
}

impl<S: Simd, const U: usize> Group<S, U> {
    /// Adds pixels.
    #[inline(always)]
    fn add(&mut self, s: S, pixels: &[f32]) {
        let (pilot, mut sums) = (self.pilot, self.sums);
        let mut chunks = pixels.chunks_exact(U * BLOCK);
        for chunk in chunks.by_ref() {
            for (u, sums) in sums.iter_mut().enumerate() {
                add_pixel(s, pilot, s.load(&chunk[u * BLOCK..]), sums);
            }
        }
        for pixel in chunks.remainder().chunks_exact(BLOCK) {
            add_pixel(s, pilot, s.load(pixel), &mut sums[0]);
        }
        self.sums = sums;
        self.filled += pixels.len() / BLOCK;
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
        let mut next = [0.0; BLOCK];
        for lane in 0..BLOCK {
            let (sum, square) = (f64::from(sum[lane]), f64::from(square[lane]));
            let mean = f64::from(pilot[lane]) + sum / more;
            let m2 = (square - sum * sum / more).max(0.0);
            let into = (&mut running.mean[lane], &mut running.m2[lane]);
            merge(running.count, into, more, (mean, m2));
            next[lane] = running.mean[lane] as f32;
        }
        running.count += more;
        *self = Group { pilot: s.load(&next), sums: [[s.zero(); 2]; U], filled: 0 };
    }
}

#[inline(always)]
fn add_pixel<S: Simd>(s: S, pilot: S::F, x: S::F, sums: &mut [S::F; 2]) {
    let d = s.sub(x, pilot);
    sums[0] = s.add(sums[0], d);
    sums[1] = s.fmadd(d, d, sums[1]);
}
