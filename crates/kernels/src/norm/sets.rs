//! Group and instance normalisation: statistics of some channels of one image, over all its pixels.
//!
//! ```text
//! for each plane (an image's block of 16 channels, in parallel): each channel's mean and sum of squared deviations
//! for each image, group: mean and variance of its channels together
//! for each plane, in parallel: y = gamma (x - mean) / sqrt(var + eps) + beta
//!
//! gradient, with h = gamma dy, xhat = (x - mean) / deviation, mean() over the group:
//! for each plane, in parallel: sum dy and sum dy (x - mean) of each channel
//! for each plane, in parallel: dx = (h - mean(h) - xhat mean(h xhat)) / deviation
//! dgamma = sum dy xhat, dbeta = sum dy, per channel over all images, added in order
//! ```
//!
//! Sources: Wu and He, "Group normalization" (2018), section 3; Ulyanov et al. (2016) for as many groups as channels.
//! Sums run in f32 over 256 pixels at a time and in f64 beyond.

// Around closures: stable Rust takes attributes on arguments, not on what a `let` binds.
use std::convert::identity;

use crate::elementwise::Blocked;
use crate::elementwise::operands::share;
use crate::elementwise::sum::{GROUP, WIDE, load_wide, store_wide};
use crate::isa::{Isa, Simd, VectorOp};
use crate::layout::BLOCK;
use crate::threads::{SharedMut, ThreadPool};

use super::AffineGrads;

/// Numbers per plane that the passes hand on: two f64 sums, or up to four f32 constants, of each channel.
const PER_PLANE: usize = 2 * WIDE;

/// Group normalisation; as many groups as channels is instance normalisation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupNorm {
    /// Sizes of x.
    pub size: Blocked,
    /// Groups of channels, a divisor of their number.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f32,
}

/// Mean and 1 / sqrt(var + eps) of a group.
#[derive(Clone, Copy)]
struct Moments {
    mean: f64,
    scale: f64,
}

impl GroupNorm {
    /// Scratch numbers of [`GroupNorm::run`] and [`GroupNorm::gradient`].
    pub fn scratch_len(&self) -> usize {
        2 * self.planes() * PER_PLANE
    }

    fn planes(&self) -> usize {
        self.size.batch * self.size.blocks()
    }

    fn group_channels(&self) -> usize {
        self.size.channels / self.groups
    }

    /// Each image's groups.
    fn sets(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let groups = self.groups;
        (0..self.size.batch).flat_map(move |image| (0..groups).map(move |group| (image, group)))
    }

    /// The channels of a group.
    fn channels(&self, group: usize) -> std::ops::Range<usize> {
        group * self.group_channels()..(group + 1) * self.group_channels()
    }

    #[track_caller]
    fn check(&self, lens: &[usize]) {
        let (channels, groups) = (self.size.channels, self.groups);
        assert!(groups > 0 && channels.is_multiple_of(groups), "{groups} groups of {channels} channels");
        assert!(lens.iter().all(|&len| len == self.size.elements()), "lengths for {:?}", self.size);
    }

    /// y from x, both blocked; gamma and beta `(C)`, 1 and 0 if absent.
    pub fn run(
        &self,
        (pool, isa): (&ThreadPool, Isa),
        (gamma, beta): (Option<&[f32]>, Option<&[f32]>),
        x: &[f32],
        (y, scratch): (&mut [f32], &mut [f32]),
    ) {
        self.check(&[x.len(), y.len()]);
        let (sums, constants) = scratch[..self.scratch_len()].split_at_mut(self.planes() * PER_PLANE);
        self.each_plane(pool, sums, &|plane, to| isa.run(PlaneMoments { x: self.plane(x, plane), to }));
        for (image, group) in self.sets() {
            let moments = self.moments(sums, image, group);
            for channel in self.channels(group) {
                let factor = gamma.map_or(1.0, |gamma| f64::from(gamma[channel])) * moments.scale;
                let shift = beta.map_or(0.0, |beta| beta[channel]);
                self.put(constants, image, channel, [moments.mean as f32, factor as f32, shift, 0.0]);
            }
        }
        let (out, constants) = (SharedMut::new(y), &*constants);
        share(pool, self.size.elements(), self.planes(), &|plane| {
            // SAFETY: each task has its own plane.
            let y = unsafe { out.part(plane * self.size.plane(), self.size.plane()) };
            isa.run(Apply { x: self.plane(x, plane), k: &constants[plane * PER_PLANE..], y });
        });
    }

    /// dx, dgamma and dbeta from x and dy; dx, x and dy blocked.
    pub fn gradient(
        &self,
        (pool, isa): (&ThreadPool, Isa),
        gamma: Option<&[f32]>,
        (x, dy): (&[f32], &[f32]),
        (dx, grads): (&mut [f32], AffineGrads<'_>),
        scratch: &mut [f32],
    ) {
        self.check(&[x.len(), dy.len(), dx.len()]);
        let (sums, constants) = scratch[..self.scratch_len()].split_at_mut(self.planes() * PER_PLANE);
        self.each_plane(pool, sums, &|plane, to| isa.run(PlaneMoments { x: self.plane(x, plane), to }));
        for (image, group) in self.sets() {
            let moments = self.moments(sums, image, group);
            for channel in self.channels(group) {
                let mean = moments.mean as f32;
                self.put(constants, image, channel, [mean, moments.scale as f32, 0.0, 0.0]);
            }
        }
        let means = &*constants;
        self.each_plane(pool, sums, &|plane, to| {
            let (x, dy) = (self.plane(x, plane), self.plane(dy, plane));
            isa.run(PlaneProducts { x, dy, mean: &means[plane * PER_PLANE..], to });
        });
        self.affine(sums, constants, grads);
        self.slopes(sums, constants, gamma);
        let (out, constants) = (SharedMut::new(dx), &*constants);
        share(pool, self.size.elements(), self.planes(), &|plane| {
            // SAFETY: each task has its own plane.
            let dx = unsafe { out.part(plane * self.size.plane(), self.size.plane()) };
            let (x, dy) = (self.plane(x, plane), self.plane(dy, plane));
            isa.run(ApplyGradient { x, dy, k: &constants[plane * PER_PLANE..], dx });
        });
    }

    /// dgamma and dbeta from the planes' sums; `constants` hold `[mean, scale, ..]`.
    fn affine(&self, sums: &[f32], constants: &[f32], grads: AffineGrads<'_>) {
        for channel in 0..self.size.channels {
            let (mut gamma, mut beta) = (0.0, 0.0);
            for image in 0..self.size.batch {
                let [dy, product] = self.sums_of(sums, image, channel);
                let scale = constants[self.at(image, channel) + BLOCK];
                beta += dy;
                gamma += product * f64::from(scale);
            }
            grads.dgamma[channel] = gamma as f32;
            grads.dbeta[channel] = beta as f32;
        }
    }

    /// Replaces `[mean, scale, ..]` by the constants of dx: `a dy + b (x - mean) + c` as `[mean, a, b, c]`.
    fn slopes(&self, sums: &[f32], constants: &mut [f32], gamma: Option<&[f32]>) {
        let count = (self.group_channels() * self.size.pixels()) as f64;
        let gamma = |channel: usize| gamma.map_or(1.0, |gamma| f64::from(gamma[channel]));
        for (image, group) in self.sets() {
            let (mut h, mut product) = (0.0, 0.0);
            for channel in self.channels(group) {
                let [dy, dy_deviation] = self.sums_of(sums, image, channel);
                h += gamma(channel) * dy;
                product += gamma(channel) * dy_deviation;
            }
            for channel in self.channels(group) {
                let at = self.at(image, channel);
                let scale = f64::from(constants[at + BLOCK]);
                let b = -scale * scale * scale * product / count;
                let k =
                    [constants[at], (scale * gamma(channel)) as f32, b as f32, (-scale * h / count) as f32];
                self.put(constants, image, channel, k);
            }
        }
    }

    fn plane<'a>(&self, tensor: &'a [f32], plane: usize) -> &'a [f32] {
        &tensor[plane * self.size.plane()..][..self.size.plane()]
    }

    /// Calls `body` with each plane and its numbers in `to`, in parallel.
    fn each_plane(&self, pool: &ThreadPool, to: &mut [f32], body: &(dyn Fn(usize, &mut [f32]) + Sync)) {
        let to = SharedMut::new(to);
        share(pool, self.size.elements(), self.planes(), &|plane| {
            // SAFETY: each task has its own plane.
            body(plane, unsafe { to.part(plane * PER_PLANE, PER_PLANE) });
        });
    }

    /// Where the first number of an image's channel lies.
    fn at(&self, image: usize, channel: usize) -> usize {
        (image * self.size.blocks() + channel / BLOCK) * PER_PLANE + channel % BLOCK
    }

    fn put(&self, constants: &mut [f32], image: usize, channel: usize, numbers: [f32; 4]) {
        let at = self.at(image, channel);
        for (i, number) in numbers.into_iter().enumerate() {
            constants[at + i * BLOCK] = number;
        }
    }

    /// The two f64 sums of an image's channel.
    fn sums_of(&self, sums: &[f32], image: usize, channel: usize) -> [f64; 2] {
        let at = self.at(image, channel);
        [load_wide(&sums[at..], 0), load_wide(&sums[at + WIDE..], 0)]
    }

    /// A group's channels together: the mean of the means, and the squares around it.
    fn moments(&self, sums: &[f32], image: usize, group: usize) -> Moments {
        let (channels, pixels) = (self.group_channels() as f64, self.size.pixels() as f64);
        let of = |channel: usize| self.sums_of(sums, image, channel);
        let mean = self.channels(group).map(|c| of(c)[0]).sum::<f64>() / channels;
        let squares = self.channels(group).map(|c| {
            let [own, m2] = of(c);
            m2 + pixels * (own - mean) * (own - mean)
        });
        let var = squares.sum::<f64>() / (channels * pixels);
        Moments { mean, scale: 1.0 / (var + f64::from(self.eps)).sqrt() }
    }
}

/// Adds `term` over pixels, in f32 within groups and in f64 beyond.
#[inline(always)]
fn add_up<S: Simd>(s: S, pixels: usize, term: impl Fn(usize) -> S::F) -> [f64; BLOCK] {
    let mut total = [0.0; BLOCK];
    for first in (0..pixels).step_by(GROUP) {
        let mut sums = [s.zero(); 4];
        let count = GROUP.min(pixels - first);
        for i in 0..count {
            sums[i % 4] = s.add(sums[i % 4], term(first + i));
        }
        let sum = s.add(s.add(sums[0], sums[1]), s.add(sums[2], sums[3]));
        for (total, lane) in total.iter_mut().zip(s.to_array(sum)) {
            *total += f64::from(lane);
        }
    }
    total
}

/// Mean and sum of squared deviations of each channel of a plane.
struct PlaneMoments<'a> {
    x: &'a [f32],
    to: &'a mut [f32],
}

impl VectorOp for PlaneMoments<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let PlaneMoments { x, to } = self;
        let pixels = x.len() / BLOCK;
        let load = identity(
            #[inline(always)]
            |i: usize| s.load(&x[i * BLOCK..]),
        );
        let mean = add_up(s, pixels, load).map(|sum| sum / pixels as f64);
        let middle = s.load(&mean.map(|mean| mean as f32));
        let squares = add_up(
            s,
            pixels,
            #[inline(always)]
            |i| {
                let d = s.sub(s.load(&x[i * BLOCK..]), middle);
                s.mul(d, d)
            },
        );
        store_wide(&mean, to);
        store_wide(&squares, &mut to[WIDE..]);
    }
}

/// Sums of dy and dy (x - mean) of each channel of a plane.
struct PlaneProducts<'a> {
    x: &'a [f32],
    dy: &'a [f32],
    mean: &'a [f32],
    to: &'a mut [f32],
}

impl VectorOp for PlaneProducts<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let PlaneProducts { x, dy, mean, to } = self;
        let (pixels, mean) = (x.len() / BLOCK, s.load(mean));
        let sum = add_up(
            s,
            pixels,
            #[inline(always)]
            |i| s.load(&dy[i * BLOCK..]),
        );
        let products = add_up(
            s,
            pixels,
            #[inline(always)]
            |i| s.mul(s.load(&dy[i * BLOCK..]), s.sub(s.load(&x[i * BLOCK..]), mean)),
        );
        store_wide(&sum, to);
        store_wide(&products, &mut to[WIDE..]);
    }
}

/// `y = (x - mean) a + beta` for a plane.
struct Apply<'a> {
    x: &'a [f32],
    k: &'a [f32],
    y: &'a mut [f32],
}

impl VectorOp for Apply<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (mean, a, beta) = (s.load(self.k), s.load(&self.k[BLOCK..]), s.load(&self.k[2 * BLOCK..]));
        for (x, y) in self.x.chunks_exact(BLOCK).zip(self.y.chunks_exact_mut(BLOCK)) {
            s.store(s.fmadd(s.sub(s.load(x), mean), a, beta), y);
        }
    }
}

/// `dx = a dy + b (x - mean) + c` for a plane.
struct ApplyGradient<'a> {
    x: &'a [f32],
    dy: &'a [f32],
    k: &'a [f32],
    dx: &'a mut [f32],
}

impl VectorOp for ApplyGradient<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let ApplyGradient { x, dy, k, dx } = self;
        let (mean, a) = (s.load(k), s.load(&k[BLOCK..]));
        let (b, c) = (s.load(&k[2 * BLOCK..]), s.load(&k[3 * BLOCK..]));
        let pixels = x.chunks_exact(BLOCK).zip(dy.chunks_exact(BLOCK));
        for ((x, dy), dx) in pixels.zip(dx.chunks_exact_mut(BLOCK)) {
            let fitted = s.fmadd(s.sub(s.load(x), mean), b, c);
            s.store(s.fmadd(a, s.load(dy), fitted), dx);
        }
    }
}
