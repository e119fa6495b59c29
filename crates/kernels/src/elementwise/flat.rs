//! How does one formula run over long flat slices, on all cores?
//!
//! ```text
//! for each chunk of 16 Ki elements (parallel): for each 16 elements: outputs = formula(inputs)
//! ```

use super::operands::{Addresses, Operands, Read, share};
use crate::isa::{Isa, LANES, Simd, VectorOp};
use crate::threads::ThreadPool;

/// `W` outputs from `R` inputs, each element by itself.
pub(crate) trait Formula<const R: usize, const W: usize>: Copy + Sync {
    /// The outputs for 16 elements; must be `#[inline(always)]`.
    fn apply<S: Simd>(self, s: S, inputs: [S::F; R]) -> [S::F; W];
}

/// Elements of a task: 64 KiB of each operand.
const CHUNK: usize = 16 * 1024;

/// Runs a formula over slices of one length.
#[track_caller]
pub(crate) fn run<const R: usize, const W: usize>(
    pool: &ThreadPool,
    isa: Isa,
    reads: [Read<'_>; R],
    writes: [&mut [f32]; W],
    formula: impl Formula<R, W>,
) {
    let len = writes[0].len();
    let operands = Operands::new(len, reads, writes);
    share(pool, len, len.div_ceil(CHUNK), &|task| {
        let start = task * CHUNK;
        isa.run(Chunk { at: operands.at(start), len: CHUNK.min(len - start), formula });
    });
}

/// One task.
struct Chunk<F, const R: usize, const W: usize> {
    at: Addresses<R, W>,
    len: usize,
    formula: F,
}

impl<F: Formula<R, W>, const R: usize, const W: usize> VectorOp for Chunk<F, R, W> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Chunk { at, len, formula } = self;
        let whole = len - len % LANES;
        for i in (0..whole).step_by(LANES) {
            // SAFETY: inside the chunk, which is this task's alone.
            unsafe { at.store(s, i, formula.apply(s, at.load(s, i))) }
        }
        if whole < len {
            // SAFETY: as above.
            unsafe {
                let inputs = at.load_partial(s, whole, len - whole);
                at.store_partial(s, whole, len - whole, formula.apply(s, inputs));
            }
        }
        at.finish();
    }
}
