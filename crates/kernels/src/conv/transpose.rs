//! Sums of the weight gradient, turned to the order of weights.

use crate::isa::{LANES, Simd, VectorOp};
use crate::threads::SharedMut;

/// Turns sums `[tap][channel][lane]` of one vector of output channels into weights `[lane][channel][tap]`, 16 x 16 at
/// a time.
pub(crate) struct Transpose<'a> {
    pub sums: &'a [f32],
    /// From one (tap, channel) to the next.
    pub width: usize,
    pub channels: usize,
    pub taps: usize,
    /// Real output channels.
    pub lanes: usize,
    pub to: SharedMut<'a, f32>,
    /// The first output channel's first weight.
    pub at: usize,
    /// From one output channel's weights to the next.
    pub step: usize,
}

impl VectorOp for Transpose<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let weights = self.channels * self.taps;
        let (mut channel, mut tap) = (0, 0);
        for first in (0..weights).step_by(LANES) {
            let count = (weights - first).min(LANES);
            let mut rows = [s.zero(); LANES];
            for row in rows.iter_mut().take(count) {
                *row = s.load(&self.sums[(tap * self.channels + channel) * self.width..]);
                tap += 1;
                if tap == self.taps {
                    (channel, tap) = (channel + 1, 0);
                }
            }
            for (lane, column) in s.transpose(rows).into_iter().enumerate().take(self.lanes) {
                // SAFETY: a pair's weights of one output channel are its own, next to one another.
                let to = unsafe { self.to.part(self.at + lane * self.step + first, count) };
                if count == LANES { s.store(column, to) } else { s.store_partial(column, to) }
            }
        }
    }
}
