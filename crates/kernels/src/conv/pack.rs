//! Weights in the order in which the micro-kernel reads them.
//!
//! A *panel* holds the weights of up to `V` blocks of 16 destination channels:
//! `[block of source channels][tap][channel][V * 16]`, read front to back once per tile. Destination channels beyond
//! the last are zeros; source channels beyond the last are left out.
//!
//! Reading whole rows of the weights decides the speed, so there are two ways:
//!
//! ```text
//! forward (rows of the weights belong to destination channels): for each panel, source block:
//!     16 x 16 numbers at a time: read 16 rows, transpose in registers, write
//! gradient (rows belong to source channels): for each source block, panel: for each channel: copy its row
//! ```

use crate::isa::{Isa, LANES, Simd, VectorOp};
use crate::threads::{SharedMut, ThreadPool};

use super::panels::{Panel, Panels};

/// How the weights of one group lie in OIHW, seen from a pass: the destination channel of lane `d`, the source
/// channel `s` and kernel tap `t` are at `d * lane_step + s * source_step + t`.
#[derive(Clone, Copy)]
pub(crate) struct WeightView<'a> {
    /// One group's weights.
    pub weight: &'a [f32],
    pub lane_step: usize,
    pub source_step: usize,
    /// Narrower groups inside, between which there are no weights.
    pub inner: Option<Inner>,
}

/// The groups inside a merged one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Inner {
    /// Destination and source channels of each.
    pub lanes: usize,
    pub sources: usize,
    /// Rows of the weights belong to lanes (a forward convolution) rather than to sources.
    pub rows_of_lanes: bool,
}

impl WeightView<'_> {
    /// Rows of the weights belong to destination channels: a forward convolution.
    fn by_lane(&self) -> bool {
        self.lane_step >= self.source_step
    }

    /// Where the weights of a lane and a source channel start, if there are any.
    pub(super) fn at(&self, mut lane: usize, mut source: usize) -> Option<usize> {
        if let Some(Inner { lanes, sources, rows_of_lanes }) = self.inner {
            if lane / lanes != source / sources {
                return None;
            }
            if rows_of_lanes { source %= sources } else { lane %= lanes }
        }
        Some(lane * self.lane_step + source * self.source_step)
    }
}

/// The packing of one group's weights for one pass.
pub(crate) struct Packing<'a> {
    pub isa: Isa,
    pub view: WeightView<'a>,
    /// Index in the kernel of each tap.
    pub taps: &'a [usize],
    /// Destination channels.
    pub lanes: usize,
    pub panels: Panels,
    /// Source channels.
    pub channels: usize,
    /// Source channels in a block: 16, or 1 for plain input.
    pub block: usize,
    /// A factor per destination channel.
    pub scale: Option<&'a [f32]>,
}

/// One panel's part of one source block.
pub(super) struct Part {
    pub panel: Panel,
    /// First source channel, and how many.
    pub first: usize,
    pub count: usize,
}

impl Packing<'_> {
    /// Packs the group into `packed`, panel after panel.
    pub fn pack(&self, pool: &ThreadPool, packed: &mut [f32]) {
        let packed = SharedMut::new(packed);
        self.for_each_part(pool, &|part| {
            let (taps, width) = (self.taps.len(), part.panel.vectors * LANES);
            let start = part.panel.block * LANES * self.channels * taps + part.first * taps * width;
            // SAFETY: the parts of all panels and blocks are disjoint.
            self.fill(part, unsafe { packed.part(start, part.count * taps * width) });
        });
    }

    /// Visits every part of every panel, in the order that reads the weights best.
    pub(super) fn for_each_part(&self, pool: &ThreadPool, visit: &(dyn Fn(&Part) + Sync)) {
        let (panels, blocks) = (self.panels.count(), self.channels.div_ceil(self.block));
        let visit = |panel: usize, block: usize| {
            let (panel, first) = (self.panels.get(panel), block * self.block);
            visit(&Part { panel, first, count: (self.channels - first).min(self.block) });
        };
        if self.view.by_lane() {
            pool.run(panels, &|panel| (0..blocks).for_each(|block| visit(panel, block)));
        } else {
            pool.run(blocks, &|block| (0..panels).for_each(|panel| visit(panel, block)));
        }
    }

    /// Packs a part: `[tap][channel][V * 16]`.
    pub(super) fn fill(&self, part: &Part, to: &mut [f32]) {
        if self.view.inner.is_some() {
            self.copy_some(part, to);
        } else if self.view.by_lane() && self.taps.len() == self.view.source_step {
            self.isa.run(Transpose { packing: self, part, to });
        } else {
            self.copy(part, to);
        }
    }

    /// Number by number, zeros where there are no weights.
    fn copy_some(&self, part: &Part, to: &mut [f32]) {
        let width = part.panel.vectors * LANES;
        for (at, to) in to.iter_mut().enumerate() {
            let (row, lane) = (at / width, part.panel.block * LANES + at % width);
            let (tap, channel) = (self.taps[row / part.count], part.first + row % part.count);
            let from = if lane < self.lanes { self.view.at(lane, channel) } else { None };
            let factor = self.scale.filter(|_| from.is_some()).map_or(1.0, |scale| scale[lane]);
            *to = from.map_or(0.0, |from| self.view.weight[from + tap] * factor);
        }
    }

    /// Number by number, along the taps of one destination channel after another.
    fn copy(&self, part: &Part, to: &mut [f32]) {
        let width = part.panel.vectors * LANES;
        let (lane, WeightView { weight, lane_step, source_step, .. }) = (part.panel.block * LANES, self.view);
        let lanes = (self.lanes - lane).min(width);
        for channel in 0..part.count {
            let from = &weight[(part.first + channel) * source_step + lane * lane_step..];
            for (i, &tap) in self.taps.iter().enumerate() {
                let to = &mut to[(i * part.count + channel) * width..][..width];
                to[lanes..].fill(0.0);
                if lane_step == 1 {
                    to[..lanes].copy_from_slice(&from[tap..tap + lanes]);
                } else {
                    let from = from[tap..].iter().step_by(lane_step);
                    to[..lanes].iter_mut().zip(from).for_each(|(to, &from)| *to = from);
                }
                if let Some(scale) = self.scale {
                    to[..lanes].iter_mut().zip(&scale[lane..]).for_each(|(to, factor)| *to *= factor);
                }
            }
        }
    }
}

/// All taps of a source block for a panel, where they lie side by side: 16 destination channels by 16 pairs of
/// channel and tap at a time.
struct Transpose<'a> {
    packing: &'a Packing<'a>,
    part: &'a Part,
    to: &'a mut [f32],
}

impl VectorOp for Transpose<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Part { panel, first, count } = *self.part;
        let WeightView { weight, lane_step, source_step: taps, .. } = self.packing.view;
        let width = panel.vectors * LANES;
        for v in 0..panel.vectors {
            let lane = (panel.block + v) * LANES;
            let lanes = (self.packing.lanes - lane).min(LANES);
            let scale = self.packing.scale.map(|scale| s.load_partial(&scale[lane..], 0.0));
            let (mut channel, mut tap) = (0, 0);
            for start in (0..count * taps).step_by(LANES) {
                let length = (count * taps - start).min(LANES);
                let mut rows = [s.zero(); LANES];
                for (l, row) in rows.iter_mut().enumerate().take(lanes) {
                    let from = &weight[(lane + l) * lane_step + first * taps + start..][..length];
                    *row = if length == LANES { s.load(from) } else { s.load_partial(from, 0.0) };
                }
                for column in s.transpose(rows).into_iter().take(length) {
                    let column = scale.map_or(column, |scale| s.mul(column, scale));
                    s.store(column, &mut self.to[(tap * count + channel) * width + v * LANES..]);
                    tap += 1;
                    if tap == taps {
                        (channel, tap) = (channel + 1, 0);
                    }
                }
            }
        }
    }
}
