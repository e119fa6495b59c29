//! Weights of narrow numbers in the order in which the micro-kernel reads them.
//!
//! A panel is `[block of source words][tap][word][V * 16]`, as in [`super::pack`], where a word holds the weights of two
//! (bf16) or four (8 bits) neighbouring source channels; those beyond the last are zeros. Weights of 8 bits are the
//! nearest integers to weight times scale, within -127 to 127: the scale makes them fit.

use crate::format::Format;
use crate::isa::{LANES, f32_to_bf16};
use crate::threads::{SharedMut, ThreadPool};

use super::pack::WeightView;
use super::panels::Panels;

/// The packing of one group's weights for one pass.
pub(crate) struct NarrowPacking<'a> {
    pub format: Format,
    pub view: WeightView<'a>,
    /// Index in the kernel of each tap.
    pub taps: &'a [usize],
    /// Destination channels.
    pub lanes: usize,
    pub panels: Panels,
    /// Source channels.
    pub channels: usize,
    /// Words of source channels in a block.
    pub block: usize,
    /// A factor per destination channel.
    pub scale: Option<&'a [f32]>,
}

impl NarrowPacking<'_> {
    /// Packs the group into `packed`, panel after panel.
    pub fn pack(&self, pool: &ThreadPool, packed: &mut [f32]) {
        let words = self.channels.div_ceil(self.format.per_word());
        let packed = SharedMut::new(packed);
        pool.run(self.panels.count(), &|index| {
            let panel = self.panels.get(index);
            let (width, row) = (panel.vectors * LANES, words * self.taps.len());
            // SAFETY: panels are disjoint.
            let to = unsafe { packed.part(panel.block * LANES * row, row * width) };
            for lane in 0..width {
                self.pack_lane(panel.block * LANES + lane, words, &mut to[lane..], width);
            }
        });
    }

    /// The words of one destination channel, `step` apart.
    fn pack_lane(&self, lane: usize, words: usize, to: &mut [f32], step: usize) {
        let taps = self.taps.len();
        let factor = self.scale.filter(|_| lane < self.lanes).map_or(1.0, |scale| scale[lane]);
        for word in 0..words {
            let (block, inside) = (word / self.block, word % self.block);
            let in_block = (words - block * self.block).min(self.block);
            for (t, &tap) in self.taps.iter().enumerate() {
                let at = block * self.block * taps + t * in_block + inside;
                let weight = |i: usize| self.weight(lane, word * self.format.per_word() + i, tap) * factor;
                to[at * step] = self.word(weight);
            }
        }
    }

    /// The weight of two channels, or zero where there is none.
    fn weight(&self, lane: usize, source: usize, tap: usize) -> f32 {
        if lane >= self.lanes || source >= self.channels {
            return 0.0;
        }
        self.view.at(lane, source).map_or(0.0, |from| self.view.weight[from + tap])
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
