//! A pointwise convolution and the depthwise one that alone reads its result: MobileNetV2's expansion and what follows.
//!
//! The map between them has several times the channels of either end. A panel of its channels at a time, it need not
//! leave the cache:
//!
//! ```text
//! for each image, strip of output rows, in parallel: for each panel of channels:
//!     e = clamp(x * w1 + bias)      the rows that the strip's windows reach, in the thread's scratch
//!     y = clamp(e * w2 + bias)
//! ```
//!
//! The zeros left and right of e are written, too, so that no window is cut. Rows that two strips reach are computed by both. Every number is summed as it is without this, so the bits are the same.
//! The block is that of Sandler et al., "MobileNetV2: Inverted residuals and linear bottlenecks" (CVPR 2018), section 3.

use crate::layout::{BLOCK, blocks};
use crate::threads::{SharedMut, ThreadPool};

use super::depthwise::Depthwise;
use super::direct::Direct;
use super::source::row_block;
use super::{ConvForward, Epilogue, Kind};

/// Most numbers between the two that a task works with: they stay in the second-level cache.
const BETWEEN: usize = 64 * 1024;

/// How to compute `y = clamp(depthwise(clamp(pointwise(x))))`: plain data. All are in channel blocks.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvChain {
    batch: usize,
    first: Direct,
    /// Of rows with all their padding, which are of `padded` pixels, and in which those of `first` begin at `left`.
    second: Depthwise,
    left: usize,
    padded: usize,
    /// Channels between the two, and pixels of the output.
    channels: usize,
    to: [usize; 2],
    /// Strips of an image's output rows.
    strips: usize,
}

/// The packed weights of one of the two, and what follows its products; there is no residual.
pub type Link<'a> = (&'a [f32], Epilogue<'a>);

impl ConvChain {
    /// The two recipes as one, if they are a pointwise convolution of stride 1 and a depthwise one of its result.
    pub fn new(first: &ConvForward, second: &ConvForward) -> Option<Self> {
        let (Kind::Direct(direct), Kind::Depthwise(depthwise)) = (first.kind(), second.kind()) else {
            return None;
        };
        let (a, b) = (first.geometry(), *second.geometry());
        let fits = (a.batch, a.out_channels, a.output) == (b.batch, b.in_channels, b.input);
        if !fits || !direct.is_pointwise() || b.output.contains(&0) {
            return None;
        }
        let (left, _) = b.window.padding.along(1);
        let reached =
            (b.output[1] - 1) * b.window.stride[1] + (b.window.kernel[1] - 1) * b.window.dilation[1] + 1;
        let padded = reached.max(left + b.input[1]);
        let mut uncut = b;
        uncut.input[1] = padded;
        (uncut.window.padding.left, uncut.window.padding.right) = (0, 0);
        let mut chain = ConvChain {
            batch: b.batch,
            first: direct.clone(),
            second: Depthwise::forward(&uncut, depthwise.isa()),
            left,
            padded,
            channels: b.in_channels,
            to: b.output,
            strips: 1,
        };
        let rows = b.output[0];
        let fitting = BETWEEN / chain.row_len();
        if chain.most_rows() > fitting {
            let window = (b.window.kernel[0] - 1) * b.window.dilation[0] + 1;
            let outputs = fitting.saturating_sub(window) / b.window.stride[0] + 1;
            chain.strips = rows.div_ceil(outputs);
        }
        // An even number of strips keeps rows with the thread that reads them next, unless a quarter is computed twice.
        let strips = chain.strips.next_multiple_of(2);
        let even = ConvChain { strips, ..chain.clone() };
        let worth = strips <= rows && even.most_rows() * strips * 4 <= b.input[0] * 5;
        Some(if worth { even } else { chain })
    }

    /// Most rows that a strip reaches.
    fn most_rows(&self) -> usize {
        (0..self.strips).map(|strip| self.second.reach(&self.rows(strip)).len()).max().unwrap_or(0)
    }

    /// The output rows of a strip.
    fn rows(&self, strip: usize) -> std::ops::Range<usize> {
        row_block(strip, self.strips, self.to[0])
    }

    /// Numbers of one row of a panel between the two.
    fn row_len(&self) -> usize {
        self.first.panels().vectors * self.padded * BLOCK
    }

    /// Numbers between the two that a task works with.
    fn between_len(&self) -> usize {
        self.most_rows() * self.row_len()
    }

    /// Scratch numbers for a pool of `threads` threads.
    pub fn scratch_len(&self, threads: usize) -> usize {
        threads * self.between_len()
    }

    /// Computes `y`, every element of it, padding lanes included. `scratch` has at least
    /// `scratch_len(pool.threads())` numbers of any value.
    pub fn run(
        &self,
        pool: &ThreadPool,
        x: &[f32],
        links: [Link<'_>; 2],
        scratch: &mut [f32],
        y: &mut [f32],
    ) {
        let [(packed, epilogue), second] = links;
        let (channels, [height, width]) = (self.channels, self.to);
        let planes = blocks(channels);
        assert_eq!(x.len(), self.batch * self.first.image_len(), "input length");
        assert_eq!(y.len(), self.batch * planes * height * width * BLOCK, "output length");
        assert!(scratch.len() >= self.scratch_len(pool.threads()), "scratch length");
        assert!(epilogue.residual.is_none() && second.1.residual.is_none(), "a chain adds nothing");
        assert!(
            [epilogue, second.1].iter().all(|e| e.bias.is_none_or(|b| b.len() == channels)),
            "one bias each"
        );
        let (panels, units) = (self.first.panels(), self.batch * self.strips);
        // Which thread does what changes no sum. Rows alone are shared out where that is even.
        let cost =
            |chunks: &usize| (units * chunks).div_ceil(pool.threads()) * panels.count().div_ceil(*chunks);
        let chunks = (1..=panels.count().min(4 * pool.threads())).min_by_key(cost).unwrap_or(1);
        let (scratch, y, len) = (SharedMut::new(scratch), SharedMut::new(y), self.between_len());
        pool.run_with_thread(units * chunks, &|thread, task| {
            let (unit, chunk) = (task / chunks, task % chunks);
            let (image, rows) = (unit / self.strips, self.rows(unit % self.strips));
            let x = &x[image * self.first.image_len()..][..self.first.image_len()];
            let reach = self.second.reach(&rows);
            let block_len = reach.len() * self.padded * BLOCK;
            // SAFETY: each thread has its own part of the scratch memory.
            let between = unsafe { scratch.part(thread * len, len) };
            self.clear_edges(&mut between[..panels.vectors * block_len]);
            let (begin, end) = (chunk * panels.count() / chunks, (chunk + 1) * panels.count() / chunks);
            for index in begin..end {
                let panel = panels.get(index);
                let asks = index == begin;
                let e = (&mut *between, self.left, self.padded);
                self.first.run_pointwise((x, packed, epilogue), panel, (reach.clone(), asks), e);
                for v in 0..panel.vectors {
                    let place = (image * planes + panel.block + v, rows.clone());
                    let e = &between[v * block_len..][..block_len];
                    // SAFETY: each task has its own rows of its own channels.
                    unsafe { self.second.run_rows(e, second, place, y) }
                }
            }
        });
    }

    /// Writes the zeros left and right of some rows.
    fn clear_edges(&self, rows: &mut [f32]) {
        let right = self.left + self.first.width();
        for row in rows.chunks_exact_mut(self.padded * BLOCK) {
            row[..self.left * BLOCK].fill(0.0);
            row[right * BLOCK..].fill(0.0);
        }
    }
}
