//! Weights in the order in which the micro-kernel reads them.
//!
//! A *panel* holds the weights of up to `V` blocks of 16 destination channels:
//! `[block of source channels][tap][channel][V * 16]`, read front to back once per tile. Destination channels beyond
//! the last are zeros; source channels beyond the last are left out.

use crate::isa::LANES;

/// How the weights of one group lie in OIHW, seen from a pass: the destination channel of lane `d`, the source
/// channel `s` and kernel tap `t` are at `d * lane_step + s * source_step + t`.
#[derive(Clone, Copy)]
pub(crate) struct WeightView<'a> {
    /// One group's weights.
    pub weight: &'a [f32],
    pub lane_step: usize,
    pub source_step: usize,
}

/// One panel to pack.
pub(crate) struct PanelJob<'a> {
    pub view: WeightView<'a>,
    /// Index in the kernel of each tap.
    pub taps: &'a [usize],
    /// First destination channel in the group.
    pub lane: usize,
    /// Real destination channels of the panel.
    pub lanes: usize,
    /// Blocks of 16 destination channels.
    pub vectors: usize,
    /// Source channels of the group.
    pub channels: usize,
    /// Source channels in a block: 16, or 1 for plain input.
    pub block: usize,
    /// Factor of each of the panel's destination channels.
    pub scale: Option<&'a [f32]>,
}

impl PanelJob<'_> {
    /// Writes the panel.
    pub fn pack(&self, panel: &mut [f32]) {
        let width = self.vectors * LANES;
        for first in (0..self.channels).step_by(self.block) {
            let count = (self.channels - first).min(self.block);
            let part = &mut panel[first * self.taps.len() * width..][..count * self.taps.len() * width];
            if self.lanes < width {
                part.fill(0.0);
            }
            // The wider-stepping index goes outside, so that the weights are read in runs.
            if self.view.lane_step >= self.view.source_step {
                for lane in 0..self.lanes {
                    (0..count).for_each(|channel| self.pack_taps(part, lane, first, [channel, count]));
                }
            } else {
                for channel in 0..count {
                    (0..self.lanes).for_each(|lane| self.pack_taps(part, lane, first, [channel, count]));
                }
            }
        }
    }

    /// All taps of one pair of channels: `channel` of the `count` of the block that starts at `first`.
    #[inline]
    fn pack_taps(&self, part: &mut [f32], lane: usize, first: usize, [channel, count]: [usize; 2]) {
        let width = self.vectors * LANES;
        let WeightView { weight, lane_step, source_step } = self.view;
        let from = &weight[(self.lane + lane) * lane_step + (first + channel) * source_step..];
        let scale = self.scale.map_or(1.0, |scale| scale[lane]);
        for (i, &tap) in self.taps.iter().enumerate() {
            part[(i * count + channel) * width + lane] = from[tap] * scale;
        }
    }
}
