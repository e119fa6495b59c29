//! How does one formula with constants per channel run over a blocked tensor?
//!
//! ```text
//! for each part (parallel): k[block] = constants(block)
//!     for each image, block, pixel: outputs = formula(k[block], inputs)
//! ```

use super::blocked::{Blocked, PART_BLOCKS, Part, Parts};
use super::operands::{Operands, Read, share};
use crate::isa::{Isa, LANES, Simd, VectorOp};
use crate::layout::BLOCK;
use crate::threads::ThreadPool;

/// The 16 channels of `block` of a slice with a number per channel; padding lanes read 0.
#[inline(always)]
pub(crate) fn of_block<S: Simd>(s: S, per_channel: &[f32], block: usize) -> S::F {
    s.load_partial(&per_channel[block * BLOCK..], 0.0)
}

/// As [`of_block`]; `default` everywhere if there is no slice.
#[inline(always)]
pub(crate) fn of_block_or<S: Simd>(s: S, per_channel: Option<&[f32]>, block: usize, default: f32) -> S::F {
    match per_channel {
        Some(values) => of_block(s, values, block),
        None => s.splat(default),
    }
}

/// `W` outputs from `R` inputs and `K` constants per channel, each element by itself.
pub(crate) trait PlaneFormula<const K: usize, const R: usize, const W: usize>: Copy + Sync {
    /// The constants of a block of channels; must be `#[inline(always)]`.
    fn constants<S: Simd>(self, s: S, block: usize) -> [S::F; K];
    /// The outputs for a pixel of the block; must be `#[inline(always)]`.
    fn apply<S: Simd>(self, s: S, constants: [S::F; K], inputs: [S::F; R]) -> [S::F; W];
}

/// Runs a formula over blocked tensors of one size.
#[track_caller]
pub(crate) fn map<const K: usize, const R: usize, const W: usize>(
    (pool, isa): (&ThreadPool, Isa),
    size: Blocked,
    reads: [Read<'_>; R],
    writes: [&mut [f32]; W],
    formula: impl PlaneFormula<K, R, W>,
) {
    let operands = Operands::new(size.elements(), reads, writes);
    let parts = Parts::new(size);
    share(pool, size.elements(), parts.count(), &|task| {
        isa.run(MapPart { operands: &operands, parts, part: parts.get(task), formula });
    });
}

struct MapPart<'a, F, const K: usize, const R: usize, const W: usize> {
    operands: &'a Operands<'a, R, W>,
    parts: Parts,
    part: Part,
    formula: F,
}

impl<F: PlaneFormula<K, R, W>, const K: usize, const R: usize, const W: usize> VectorOp
    for MapPart<'_, F, K, R, W>
{
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let MapPart { operands, parts, part, formula } = self;
        let mut constants = [[s.zero(); K]; PART_BLOCKS];
        for (block, constants) in constants.iter_mut().enumerate().take(part.blocks) {
            *constants = formula.constants(s, part.first_block + block);
        }
        for image in 0..part.images {
            for (block, constants) in constants.iter().enumerate().take(part.blocks) {
                let (at, constants) = (operands.at(parts.run_start(&part, image, block)), *constants);
                for i in (0..part.pixels * BLOCK).step_by(LANES) {
                    // SAFETY: inside the part, which is this task's alone.
                    unsafe { at.store(s, i, formula.apply(s, constants, at.load(s, i))) }
                }
                at.finish();
            }
        }
    }
}
