//! Weights of narrow numbers in the order in which the micro-kernel reads them.
//!
//! A panel is `[block of source words][tap][word][V * 16]`, as in [`super::pack`], where a word holds the weights of two
//! (bf16) or four (8 bits) neighbouring source channels; those beyond the last are zeros. Weights of 8 bits are the
//! nearest integers to weight times scale, within -127 to 127: the scale makes them fit.
//!
//! Training packs bf16 weights at each step, so those of channel blocks are packed by the vectors of [`super::pack`], a
//! part at a time, whose rows are then joined two by two.

use crate::format::Format;
use crate::isa::{LANES, Simd, VectorOp, f32_to_bf16};
use crate::layout::BLOCK;
use crate::threads::{SharedMut, ThreadPool};

use super::pack::{Packing, Part};

/// Most numbers of a part that is packed as `f32` first: on the stack, 16 channels by 9 taps by 4 vectors.
const PART: usize = BLOCK * 9 * 4 * LANES;
/// The same for one tap.
const SMALL_PART: usize = BLOCK * 4 * LANES;

/// The packing of one group's weights for one pass.
pub(crate) struct NarrowPacking<'a> {
    pub format: Format,
    /// What is packed; a block of its source channels counts words.
    pub packing: Packing<'a>,
}

impl NarrowPacking<'_> {
    /// Packs the group into `packed`, panel after panel.
    pub fn pack(&self, pool: &ThreadPool, packed: &mut [f32]) {
        let Packing { taps, panels, channels, block, .. } = self.packing;
        let words = channels.div_ceil(self.format.per_word());
        let packed = SharedMut::new(packed);
        let part = BLOCK * taps.len() * panels.vectors * LANES;
        if self.format == Format::Bf16 && block == self.format.block() && part <= PART {
            return self.pack_pairs(pool, words, packed);
        }
        pool.run(panels.count(), &|index| {
            let panel = panels.get(index);
            let (width, row) = (panel.vectors * LANES, words * taps.len());
            // SAFETY: panels are disjoint.
            let to = unsafe { packed.part(panel.block * LANES * row, row * width) };
            for lane in 0..width {
                self.pack_lane(panel.block * LANES + lane, words, &mut to[lane..], width);
            }
        });
    }

    /// Packs bf16 weights part by part.
    fn pack_pairs(&self, pool: &ThreadPool, words: usize, packed: SharedMut<'_, f32>) {
        let wide = Packing { block: BLOCK, ..self.packing };
        let taps = wide.taps;
        wide.for_each_part(pool, &|part| {
            let width = part.panel.vectors * LANES;
            let (first, count) = (part.first / 2, part.count.div_ceil(2));
            let start = (part.panel.block * LANES * words + first * width) * taps.len();
            // SAFETY: the parts of all panels and blocks are disjoint.
            let to = unsafe { packed.part(start, count * width * taps.len()) };
            let len = part.count * width * taps.len();
            // Clearing the room should not take longer than filling it.
            if len <= SMALL_PART {
                join_rows(&wide, part, &mut [0.0; SMALL_PART][..len], to);
            } else {
                join_rows(&wide, part, &mut [0.0; PART][..len], to);
            }
        });
    }

    /// The words of one destination channel, `step` apart.
    fn pack_lane(&self, lane: usize, words: usize, to: &mut [f32], step: usize) {
        let Packing { taps, lanes, block: size, scale, .. } = self.packing;
        let factor = scale.filter(|_| lane < lanes).map_or(1.0, |scale| scale[lane]);
        for word in 0..words {
            let (block, inside) = (word / size, word % size);
            let in_block = (words - block * size).min(size);
            for (t, &tap) in taps.iter().enumerate() {
                let at = block * size * taps.len() + t * in_block + inside;
                let weight = |i: usize| self.weight(lane, word * self.format.per_word() + i, tap) * factor;
                to[at * step] = self.word(weight);
            }
        }
    }

    /// The weight of two channels, or zero where there is none.
    fn weight(&self, lane: usize, source: usize, tap: usize) -> f32 {
        let Packing { view, lanes, channels, .. } = self.packing;
        if lane >= lanes || source >= channels {
            return 0.0;
        }
        view.at(lane, source).map_or(0.0, |from| view.weight[from + tap])
    }

    /// The word of these numbers.
    fn word(&self, number: impl Fn(usize) -> f32) -> f32 {
        f32::from_bits(match self.format {
            Format::F32 => number(0).to_bits(),
            Format::Bf16 => u32::from(f32_to_bf16(number(0))) | u32::from(f32_to_bf16(number(1))) << 16,
            Format::U8 => {
                let byte = |i| number(i).round_ties_even().clamp(-127.0, 127.0) as i8 as u8;
                u32::from_le_bytes(std::array::from_fn(byte))
            }
        })
    }
}

/// Packs a part in `rows`, and from there into `to`.
fn join_rows(wide: &Packing<'_>, part: &Part, rows: &mut [f32], to: &mut [f32]) {
    wide.fill(part, rows);
    wide.isa.run(JoinRows { rows, count: part.count, width: part.panel.vectors * LANES, to });
}

/// Pairs of neighbouring rows as words of bf16 numbers, within every `count` rows of `width` numbers; a last row without a
/// partner is paired with zeros.
struct JoinRows<'a> {
    rows: &'a [f32],
    count: usize,
    width: usize,
    to: &'a mut [f32],
}

impl VectorOp for JoinRows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let JoinRows { rows, count, width, to } = self;
        let to = to.chunks_exact_mut(count.div_ceil(2) * width);
        for (rows, to) in rows.chunks_exact(count * width).zip(to) {
            for (pair, to) in rows.chunks(2 * width).zip(to.chunks_exact_mut(width)) {
                let (first, second) = pair.split_at(width);
                for at in (0..width).step_by(LANES) {
                    let second = if second.is_empty() { s.zero() } else { s.load(&second[at..]) };
                    s.store(s.pair_bf16(s.load(&first[at..]), second), &mut to[at..]);
                }
            }
        }
    }
}
