//! How large is a channel-blocked tensor, and how is work on it cut into parts?
//!
//! A part is some thousand pixels of one block of 16 channels: a piece of one large plane, or the planes of several
//! images where they are small. The cut depends on the sizes only, never on the threads, so a reduction that sums
//! inside each part and then over the parts in order gives the same bits on any machine's pool.

use crate::layout::{BLOCK, blocks};

/// Sizes of a tensor in the blocked layout `[N][ceil(C / 16)][H][W][16]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Blocked {
    /// Images (N).
    pub batch: usize,
    /// Real channels (C); the last block is filled up with padding lanes.
    pub channels: usize,
    /// Rows (H).
    pub height: usize,
    /// Columns (W).
    pub width: usize,
}

impl Blocked {
    /// Blocks of 16 channels in an image.
    pub const fn blocks(&self) -> usize {
        blocks(self.channels)
    }

    /// Pixels of a plane: H W.
    pub const fn pixels(&self) -> usize {
        self.height * self.width
    }

    /// Numbers in the plane of one block of channels: 16 H W.
    pub const fn plane(&self) -> usize {
        self.pixels() * BLOCK
    }

    /// Numbers in the whole tensor, padding lanes included.
    pub const fn elements(&self) -> usize {
        self.batch * self.blocks() * self.plane()
    }

    /// Values of one channel: N H W.
    pub const fn per_channel(&self) -> usize {
        self.batch * self.pixels()
    }

    /// Where the plane of `block` of `image` starts.
    pub const fn plane_start(&self, image: usize, block: usize) -> usize {
        (image * self.blocks() + block) * self.plane()
    }
}

/// Pixels in a part, about: 128 KiB of each operand.
const PART: usize = 2048;

/// The cut of a tensor into parts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts {
    size: Blocked,
    /// Images whose planes one part takes; 1 where a plane is cut into pieces.
    images: usize,
    /// Pieces of a plane.
    pieces: usize,
}

/// Pixels `first_pixel..first_pixel + pixels` of one block of channels, of some images in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub block: usize,
    pub first_image: usize,
    pub images: usize,
    pub first_pixel: usize,
    /// Pixels taken of each image.
    pub pixels: usize,
}

impl Parts {
    pub fn new(size: Blocked) -> Self {
        let pixels = size.pixels().max(1);
        Parts { size, images: (PART / pixels).clamp(1, size.batch.max(1)), pieces: pixels.div_ceil(PART) }
    }

    /// Parts of each block of channels.
    pub fn per_block(&self) -> usize {
        self.size.batch.div_ceil(self.images) * self.pieces
    }

    /// Parts of the tensor.
    pub fn count(&self) -> usize {
        self.per_block() * self.size.blocks()
    }

    /// Part number `task`. Parts that follow each other lie behind each other in memory.
    pub fn get(&self, task: usize) -> Part {
        let (rest, piece) = (task / self.pieces, task % self.pieces);
        let (group, block) = (rest / self.size.blocks(), rest % self.size.blocks());
        let first_image = group * self.images;
        let cut = |piece: usize| piece * self.size.pixels() / self.pieces;
        Part {
            block,
            first_image,
            images: self.images.min(self.size.batch - first_image),
            first_pixel: cut(piece),
            pixels: cut(piece + 1) - cut(piece),
        }
    }

    /// The number of part `index` of `block`, `index` in `0..per_block()`.
    pub fn number(&self, block: usize, index: usize) -> usize {
        let (group, piece) = (index / self.pieces, index % self.pieces);
        (group * self.size.blocks() + block) * self.pieces + piece
    }

    /// Where the pixels of the part's image number `image` (from 0) start.
    pub fn run_start(&self, part: &Part, image: usize) -> usize {
        self.size.plane_start(part.first_image + image, part.block) + part.first_pixel * BLOCK
    }
}

impl Part {
    /// Pixels in the part.
    pub fn count(&self) -> usize {
        self.images * self.pixels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_every_pixel_once() {
        for (batch, channels, height, width) in
            [(5, 33, 3, 3), (2, 16, 100, 90), (130, 1, 8, 8), (3, 17, 1, 1)]
        {
            let size = Blocked { batch, channels, height, width };
            let parts = Parts::new(size);
            let mut seen = vec![0; size.elements()];
            for task in 0..parts.count() {
                let part = parts.get(task);
                for image in 0..part.images {
                    let start = parts.run_start(&part, image);
                    seen[start..start + part.pixels * BLOCK].iter_mut().for_each(|count| *count += 1);
                }
            }
            assert!(seen.iter().all(|&count| count == 1), "{size:?}");
            for block in 0..size.blocks() {
                for index in 0..parts.per_block() {
                    assert_eq!(parts.get(parts.number(block, index)).block, block);
                }
            }
        }
    }
}
