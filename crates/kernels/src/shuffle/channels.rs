//! Channels from several blocked tensors side by side in one.
//!
//! - concatenation: all channels of each tensor; its gradient: a slice for each
//! - slice: some channels of one tensor; its gradient: zeros, the slice, zeros
//! - padding with channels of zeros: the same; its gradient: a slice
//!
//! ```text
//! for each image, block of 16 channels of y (parallel):
//!     pieces = the runs of channels that come from one block of one tensor (at most 16)
//!     one whole block: copy the plane
//!     else, for each pixel: y = 0; for each piece: y = its lanes of (16 numbers read so that they fall in place)
//! ```
//!
//! To move lanes by k, a vector is read k numbers further on: what it holds besides the wanted lanes belongs to
//! neighbouring pixels and is masked away. Only the first and the last pixel of a whole tensor have no neighbour to
//! read; there lanes are copied one by one.

use std::ops::Range;

use crate::elementwise::Blocked;
use crate::elementwise::operands::share;
use crate::isa::{Isa, Simd, VectorOp};
use crate::layout::{BLOCK, blocked_len, blocks};
use crate::threads::{SharedMut, ThreadPool};

/// Where a run of output channels comes from.
#[derive(Clone, Copy, Debug)]
pub enum ChannelPart<'a> {
    /// So many channels of zeros.
    Zeros(usize),
    /// Channels `first..first + count` of x, blocked like the output but with `channels` channels.
    Of {
        /// The tensor.
        x: &'a [f32],
        /// Its real channels.
        channels: usize,
        /// The first one wanted.
        first: usize,
        /// How many are wanted.
        count: usize,
    },
}

impl<'a> ChannelPart<'a> {
    /// All channels of x.
    pub fn all(x: &'a [f32], channels: usize) -> Self {
        ChannelPart::Of { x, channels, first: 0, count: channels }
    }

    fn count(&self) -> usize {
        match self {
            ChannelPart::Zeros(count) | ChannelPart::Of { count, .. } => *count,
        }
    }
}

/// `y` = the parts' channels one after another; `size` is y's, and its channels are the sum of theirs.
pub fn gather_channels(pool: &ThreadPool, isa: Isa, size: Blocked, parts: &[ChannelPart<'_>], y: &mut [f32]) {
    let total: usize = parts.iter().map(ChannelPart::count).sum();
    assert_eq!(total, size.channels, "channels of the parts");
    assert_eq!(y.len(), size.elements(), "output length");
    for part in parts {
        if let ChannelPart::Of { x, channels, first, count } = part {
            assert!(first + count <= *channels, "channels {first} + {count} of {channels}");
            assert_eq!(x.len(), blocked_len(size.batch, *channels, size.height, size.width), "part's length");
        }
    }
    let out = SharedMut::new(y);
    share(pool, size.elements(), size.batch * size.blocks(), &|task| {
        let (image, block) = (task / size.blocks(), task % size.blocks());
        // SAFETY: each task has its own plane.
        let y = unsafe { out.part(task * size.plane(), size.plane()) };
        let pieces = Pieces::of_block(size, image, block, parts);
        let real = (size.channels - block * BLOCK).min(BLOCK);
        match pieces.as_slice() {
            [] => y.fill(0.0),
            // The source's padding lanes may come along.
            [piece] if piece.is_whole(real) => y.copy_from_slice(&piece.x[piece.start..][..y.len()]),
            pieces => isa.run(Gather { pieces, y }),
        }
    });
}

/// Lanes of an output block that come from one block of one tensor.
#[derive(Clone, Copy)]
struct Piece<'a> {
    /// The whole tensor.
    x: &'a [f32],
    /// Where the plane of the block starts.
    start: usize,
    /// Lanes of the output.
    lanes: (usize, usize),
    /// The first one's lane in the tensor.
    from: usize,
}

impl Piece<'_> {
    /// Whether it is the same lanes of the tensor, all the `real` ones there are.
    fn is_whole(&self, real: usize) -> bool {
        self.lanes == (0, real) && self.from == 0
    }

    /// Where to read so that the piece's lanes fall in place at pixel 0; may lie before the tensor.
    fn address(&self) -> isize {
        (self.start + self.from) as isize - self.lanes.0 as isize
    }

    /// The pixels at which 16 numbers from there on lie in the tensor.
    fn readable(&self, pixels: usize) -> Range<usize> {
        let (first, len) = (self.address(), self.x.len() as isize);
        let start = if first < 0 { 1 } else { 0 };
        let last_fits = first + (pixels * BLOCK) as isize <= len;
        start..if last_fits { pixels } else { pixels - 1 }
    }
}

/// The pieces of a block: no more than it has lanes.
struct Pieces<'a> {
    pieces: [Piece<'a>; BLOCK],
    count: usize,
}

impl<'a> Pieces<'a> {
    fn of_block(size: Blocked, image: usize, block: usize, parts: &[ChannelPart<'a>]) -> Self {
        let none = Piece { x: &[], start: 0, lanes: (0, 0), from: 0 };
        let mut pieces = Pieces { pieces: [none; BLOCK], count: 0 };
        let wanted = block * BLOCK..((block + 1) * BLOCK).min(size.channels);
        let mut before = 0;
        for part in parts {
            let own = before.max(wanted.start)..(before + part.count()).min(wanted.end);
            if let (ChannelPart::Of { x, channels, first, .. }, false) = (part, own.is_empty()) {
                let plane = |block: usize| (image * blocks(*channels) + block) * size.plane();
                let mut channel = own.start;
                while channel < own.end {
                    let source = first + channel - before;
                    let count = (BLOCK - source % BLOCK).min(own.end - channel);
                    let lane = channel - wanted.start;
                    let (lanes, from) = ((lane, lane + count), source % BLOCK);
                    pieces.pieces[pieces.count] = Piece { x, start: plane(source / BLOCK), lanes, from };
                    pieces.count += 1;
                    channel += count;
                }
            }
            before += part.count();
        }
        pieces
    }

    fn as_slice(&self) -> &[Piece<'a>] {
        &self.pieces[..self.count]
    }
}

/// Puts pieces together.
struct Gather<'a> {
    pieces: &'a [Piece<'a>],
    y: &'a mut [f32],
}

impl VectorOp for Gather<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Gather { pieces, y } = self;
        let pixels = y.len() / BLOCK;
        let mut masks = [s.mask(0); BLOCK];
        let mut readable = 0..pixels;
        for (piece, mask) in pieces.iter().zip(&mut masks) {
            *mask = s.mask(((1u32 << piece.lanes.1) - (1u32 << piece.lanes.0)) as u16);
            let own = piece.readable(pixels);
            readable = readable.start.max(own.start)..readable.end.min(own.end);
        }
        for (pixel, y) in y.chunks_exact_mut(BLOCK).enumerate() {
            if !readable.contains(&pixel) {
                copy_lanes(pieces, pixel, y);
                continue;
            }
            let mut value = s.zero();
            for (piece, mask) in pieces.iter().zip(masks) {
                let at = piece.address() + (pixel * BLOCK) as isize;
                // SAFETY: `readable` holds the pixels at which these 16 numbers lie in x.
                let lanes = unsafe { s.load_ptr(piece.x.as_ptr().offset(at)) };
                value = s.select(mask, lanes, value);
            }
            s.store(value, y);
        }
    }
}

/// One pixel, lane by lane.
#[cold]
fn copy_lanes(pieces: &[Piece<'_>], pixel: usize, y: &mut [f32]) {
    y.fill(0.0);
    for piece in pieces {
        let (first, end) = piece.lanes;
        let from = piece.start + pixel * BLOCK + piece.from;
        y[first..end].copy_from_slice(&piece.x[from..from + (end - first)]);
    }
}
