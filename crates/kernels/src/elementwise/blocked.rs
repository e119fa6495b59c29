//! How large is a channel-blocked tensor, and how is work on it cut into parts?
//!
//! A part is some thousand pixels: a piece of one large plane, or of several images the planes of some neighbouring
//! blocks of channels, so that memory is read in runs longer than one small plane. The cut depends on the sizes only,
//! never on the threads, so a reduction that sums each channel inside each part and then over the parts in order gives
//! the same bits on any machine's pool.

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

/// Pixels that should lie behind each other in memory, about: 32 KiB.
const RUN: usize = 512;

/// Blocks of channels in a part, at most.
pub(crate) const PART_BLOCKS: usize = 8;

/// The cut of a tensor into parts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts {
    size: Blocked,
    /// Neighbouring blocks that one part takes; 1 where planes are large.
    blocks: usize,
    /// Images whose planes one part takes; 1 where a plane is cut into pieces.
    images: usize,
    /// Pieces of a plane.
    pieces: usize,
}

/// Pixels `first_pixel..first_pixel + pixels` of some blocks of channels of some images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub first_block: usize,
    /// At most [`PART_BLOCKS`].
    pub blocks: usize,
    pub first_image: usize,
    pub images: usize,
    pub first_pixel: usize,
    /// Pixels taken of each plane.
    pub pixels: usize,
}

impl Parts {
    pub fn new(size: Blocked) -> Self {
        let pixels = size.pixels().max(1);
        let blocks = (RUN / pixels).clamp(1, PART_BLOCKS).min(size.blocks().max(1));
        let images = (PART / (pixels * blocks)).clamp(1, size.batch.max(1));
        Parts { size, blocks, images, pieces: pixels.div_ceil(PART) }
    }

    /// Parts that share a block of channels.
    pub fn per_block(&self) -> usize {
        self.size.batch.div_ceil(self.images) * self.pieces
    }

    /// Groups of neighbouring blocks.
    fn groups(&self) -> usize {
        self.size.blocks().div_ceil(self.blocks)
    }

    /// Parts of the tensor.
    pub fn count(&self) -> usize {
        self.per_block() * self.groups()
    }

    /// Part number `task`. Parts that follow each other lie behind each other in memory.
    pub fn get(&self, task: usize) -> Part {
        let (rest, piece) = (task / self.pieces, task % self.pieces);
        let (image_group, group) = (rest / self.groups(), rest % self.groups());
        let (first_image, first_block) = (image_group * self.images, group * self.blocks);
        let cut = |piece: usize| piece * self.size.pixels() / self.pieces;
        Part {
            first_block,
            blocks: self.blocks.min(self.size.blocks() - first_block),
            first_image,
            images: self.images.min(self.size.batch - first_image),
            first_pixel: cut(piece),
            pixels: cut(piece + 1) - cut(piece),
        }
    }

    /// Places for one result per block and part.
    pub fn slots(&self) -> usize {
        self.count() * self.blocks
    }

    /// The places of part number `task`: the first one and how many there are.
    pub fn slots_of(&self, task: usize) -> (usize, usize) {
        (task * self.blocks, self.get(task).blocks)
    }

    /// The place of the result for `block` of the part number `index` (in `0..per_block()`) that shares it, and the
    /// values of each channel that it is made of.
    pub fn slot(&self, block: usize, index: usize) -> (usize, usize) {
        let (image_group, piece) = (index / self.pieces, index % self.pieces);
        let task = (image_group * self.groups() + block / self.blocks) * self.pieces + piece;
        let part = self.get(task);
        (task * self.blocks + block % self.blocks, part.images * part.pixels)
    }

    /// Where the pixels of the part's image and block of these numbers (both from 0) start.
    pub fn run_start(&self, part: &Part, image: usize, block: usize) -> usize {
        self.size.plane_start(part.first_image + image, part.first_block + block) + part.first_pixel * BLOCK
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
                for (image, block) in (0..part.images).flat_map(|i| (0..part.blocks).map(move |b| (i, b))) {
                    let start = parts.run_start(&part, image, block);
                    seen[start..start + part.pixels * BLOCK].iter_mut().for_each(|count| *count += 1);
                }
            }
            assert!(seen.iter().all(|&count| count == 1), "{size:?}");
        }
    }

    #[test]
    fn slots_are_told_apart_and_count_every_value() {
        for (batch, channels, height, width) in [(5, 333, 3, 3), (2, 16, 100, 90), (130, 150, 8, 8)] {
            let size = Blocked { batch, channels, height, width };
            let parts = Parts::new(size);
            let mut taken = vec![false; parts.slots()];
            for block in 0..size.blocks() {
                let mut values = 0;
                for index in 0..parts.per_block() {
                    let (slot, count) = parts.slot(block, index);
                    assert!(!std::mem::replace(&mut taken[slot], true), "slot {slot} of {size:?}");
                    values += count;
                }
                assert_eq!(values, size.per_channel());
            }
        }
    }
}
