//! How do an image's channels lie in memory?
//!
//! *Plain* is `[N][C][H][W]`. *Blocked* (nChw16c) is `[N][ceil(C / 16)][H][W][16]`: the 16 channels of a block lie
//! side by side at each pixel, one vector register wide and one cache line long. The last block is filled up with
//! padding lanes. [`plain_to_blocked`] writes zeros there; elsewhere they may hold anything, and no kernel lets them
//! touch a real lane.
//!
//! A conversion is a transpose of 16 x 16 numbers at a time, in registers:
//!
//! ```text
//! for each image, block of 16 channels (parallel): for each 16 pixels:
//!     read 16 rows of 16 pixels, one per channel; transpose; write 16 pixels of 16 channels
//! ```

use crate::isa::{Isa, LANES, Simd, VectorOp};
use crate::threads::{SharedMut, ThreadPool};

/// Channels in a block.
pub const BLOCK: usize = LANES;

/// Pixels a task converts at once: 16 channels of them are 64 KiB.
const CHUNK: usize = 1024;

/// Blocks that hold `channels` channels.
pub const fn blocks(channels: usize) -> usize {
    channels.div_ceil(BLOCK)
}

/// Numbers in the blocked layout of `n` images of `c` channels of `h` x `w` pixels.
pub const fn blocked_len(n: usize, c: usize, h: usize, w: usize) -> usize {
    n * blocks(c) * h * w * BLOCK
}

/// Converts `plain` (N, C, H, W) to blocked; padding lanes become 0. `dims` is `[N, C, H, W]`.
pub fn plain_to_blocked(pool: &ThreadPool, isa: Isa, dims: [usize; 4], plain: &[f32], blocked: &mut [f32]) {
    let [n, c, h, w] = dims;
    assert_eq!(plain.len(), n * c * h * w, "plain length for {dims:?}");
    assert_eq!(blocked.len(), blocked_len(n, c, h, w), "blocked length for {dims:?}");
    let chunks = Chunks::new(dims);
    let out = SharedMut::new(blocked);
    pool.run(chunks.tasks(), &|task| {
        let Chunk { plain: from, blocked: to, channels, pixels } = chunks.get(task);
        // SAFETY: chunks are disjoint parts of the blocked array.
        let to = unsafe { out.part(to, pixels * BLOCK) };
        isa.run(Gather { plain: &plain[from..], to, channels, plane: h * w });
    });
}

/// Converts `blocked` back to plain (N, C, H, W), leaving the padding lanes behind. `dims` is `[N, C, H, W]`.
pub fn blocked_to_plain(pool: &ThreadPool, isa: Isa, dims: [usize; 4], blocked: &[f32], plain: &mut [f32]) {
    let [n, c, h, w] = dims;
    assert_eq!(plain.len(), n * c * h * w, "plain length for {dims:?}");
    assert_eq!(blocked.len(), blocked_len(n, c, h, w), "blocked length for {dims:?}");
    let chunks = Chunks::new(dims);
    let out = SharedMut::new(plain);
    pool.run(chunks.tasks(), &|task| {
        let Chunk { plain: to, blocked: from, channels, pixels } = chunks.get(task);
        let from = &blocked[from..][..pixels * BLOCK];
        isa.run(Scatter { from, plain: out, at: to, channels, plane: h * w });
    });
}

/// How a conversion is cut into tasks: image, block of channels, run of pixels.
struct Chunks {
    images: usize,
    channels: usize,
    plane: usize,
    per_plane: usize,
}

/// One task's part.
struct Chunk {
    /// Index of the first channel's first pixel in the plain array.
    plain: usize,
    /// Index of the first pixel in the blocked array.
    blocked: usize,
    channels: usize,
    pixels: usize,
}

impl Chunks {
    fn new([images, channels, h, w]: [usize; 4]) -> Self {
        Chunks { images, channels, plane: h * w, per_plane: (h * w).div_ceil(CHUNK) }
    }

    fn tasks(&self) -> usize {
        self.images * blocks(self.channels) * self.per_plane
    }

    fn get(&self, task: usize) -> Chunk {
        let (plane_index, chunk) = (task / self.per_plane, task % self.per_plane);
        let (image, block) = (plane_index / blocks(self.channels), plane_index % blocks(self.channels));
        let pixel = chunk * CHUNK;
        Chunk {
            plain: (image * self.channels + block * BLOCK) * self.plane + pixel,
            blocked: (plane_index * self.plane + pixel) * BLOCK,
            channels: (self.channels - block * BLOCK).min(BLOCK),
            pixels: (self.plane - pixel).min(CHUNK),
        }
    }
}

/// Plain to blocked, for one chunk.
struct Gather<'a> {
    /// From the first channel's first pixel on.
    plain: &'a [f32],
    to: &'a mut [f32],
    channels: usize,
    plane: usize,
}

impl VectorOp for Gather<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let pixels = self.to.len() / BLOCK;
        for first in (0..pixels).step_by(LANES) {
            let count = (pixels - first).min(LANES);
            let mut rows = [s.zero(); LANES];
            for (channel, row) in rows.iter_mut().enumerate().take(self.channels) {
                let from = &self.plain[channel * self.plane + first..][..count];
                *row = if count == LANES { s.load(from) } else { s.load_partial(from, 0.0) };
            }
            let columns = s.transpose(rows);
            for (pixel, column) in columns.into_iter().enumerate().take(count) {
                s.store(column, &mut self.to[(first + pixel) * BLOCK..]);
            }
        }
    }
}

/// Blocked to plain, for one chunk.
struct Scatter<'a> {
    from: &'a [f32],
    plain: SharedMut<'a, f32>,
    /// Index of the first channel's first pixel in `plain`.
    at: usize,
    channels: usize,
    plane: usize,
}

impl VectorOp for Scatter<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let pixels = self.from.len() / BLOCK;
        for first in (0..pixels).step_by(LANES) {
            let count = (pixels - first).min(LANES);
            let mut rows = [s.zero(); LANES];
            for (pixel, row) in rows.iter_mut().enumerate().take(count) {
                *row = s.load(&self.from[(first + pixel) * BLOCK..]);
            }
            let columns = s.transpose(rows);
            for (channel, column) in columns.into_iter().enumerate().take(self.channels) {
                // SAFETY: these pixels of this channel belong to this chunk alone.
                let to = unsafe { self.plain.part(self.at + channel * self.plane + first, count) };
                if count == LANES { s.store(column, to) } else { s.store_partial(column, to) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for isa in Isa::available() {
            for threads in [1, 3] {
                let pool = ThreadPool::new(threads);
                for dims in [[1, 1, 1, 1], [2, 3, 5, 7], [1, 16, 4, 4], [3, 17, 2, 9], [1, 50, 33, 35]] {
                    let [n, c, h, w] = dims;
                    let plain: Vec<f32> = (0..n * c * h * w).map(|i| i as f32 + 1.0).collect();
                    let mut blocked = vec![f32::NAN; blocked_len(n, c, h, w)];
                    plain_to_blocked(&pool, isa, dims, &plain, &mut blocked);
                    for (i, &v) in blocked.iter().enumerate() {
                        let (lane, pixel, block) = (i % BLOCK, i / BLOCK % (h * w), i / BLOCK / (h * w));
                        let (image, channel) = (block / blocks(c), block % blocks(c) * BLOCK + lane);
                        let want =
                            if channel < c { plain[(image * c + channel) * h * w + pixel] } else { 0.0 };
                        assert_eq!(v, want, "{} {dims:?} at {i}", isa.name());
                    }
                    let mut back = vec![f32::NAN; plain.len()];
                    blocked_to_plain(&pool, isa, dims, &blocked, &mut back);
                    assert_eq!(back, plain, "{} {dims:?}", isa.name());
                }
            }
        }
    }
}
