//! The gradient of a convolution with respect to its weights.

use ocellus_tensor::ConvGeometry;

use crate::format::Format;
use crate::isa::{Isa, LANES};
use crate::threads::ThreadPool;

use super::InputLayout;
use super::direct_grad::DirectGrad;
use super::grouped_grad::GroupedGrad;
use super::merged::{merged, take_diagonal};
use super::winograd::{WinogradGrad, choose_gradient};

/// How to compute `dw` from `x` and `dy`.
///
/// `x` is blocked `(N, C, H, W)` or plain, `dy` is blocked `(N, O, H', W')`, `dw` is OIHW.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvWeightGrad {
    geometry: ConvGeometry,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Direct(DirectGrad),
    /// Groups merged to dense ones, of whose weights only the diagonal is wanted.
    Merged(DirectGrad),
    Grouped(GroupedGrad),
    Winograd(WinogradGrad),
}

impl ConvWeightGrad {
    /// The recipe for a geometry, or `None` where the fast kernels do not reach: plain input of more than 16 channels
    /// or of several groups.
    pub fn new(geometry: ConvGeometry, isa: Isa, input: InputLayout) -> Option<Self> {
        if let (InputLayout::Blocked, Some(grouped)) = (input, GroupedGrad::new(geometry, isa)) {
            return Some(ConvWeightGrad { geometry, kind: Kind::Grouped(grouped) });
        }
        let (wide, merged) = merged(&geometry);
        let direct = DirectGrad::new(wide, isa, (input, Format::F32))?;
        let kind = if merged { Kind::Merged(direct) } else { Kind::Direct(direct) };
        Some(ConvWeightGrad { geometry, kind })
    }

    /// The recipe for bf16 numbers, or `None` for groups that do not fall on blocks of channels, depthwise ones among
    /// them, and for a single image. `x` and `dy` are words of two images each ([`crate::pairs`]); sums and `dw` are
    /// `f32`.
    pub fn narrow(geometry: ConvGeometry, isa: Isa, input: InputLayout) -> Option<Self> {
        if geometry.batch < 2 {
            return None;
        }
        let pairs = ConvGeometry { batch: geometry.batch.div_ceil(2), ..geometry };
        let direct = DirectGrad::new(pairs, isa, (input, Format::Bf16))?;
        Some(ConvWeightGrad { geometry, kind: Kind::Direct(direct) })
    }

    /// The recipe by Winograd's algorithm in `f32`, or `None` where it does not apply or is not expected to be faster than
    /// the direct one with numbers of format `rival`: it takes 3x3 windows of stride 1 over blocked input. Its error is
    /// larger: see [`super::F4_ERROR`].
    pub fn winograd(geometry: ConvGeometry, isa: Isa, rival: Format) -> Option<Self> {
        let kind = Kind::Winograd(choose_gradient(geometry, isa, rival)?);
        Some(ConvWeightGrad { geometry, kind })
    }

    /// The algorithm: "direct", "depthwise", "grouped" or "winograd 4x4".
    pub fn algorithm(&self) -> &'static str {
        match &self.kind {
            Kind::Direct(_) | Kind::Merged(_) => "direct",
            Kind::Grouped(_) if self.geometry.group_in() == 1 => "depthwise",
            Kind::Grouped(_) => "grouped",
            Kind::Winograd(_) => "winograd 4x4",
        }
    }

    /// The format of `x` and `dy`.
    pub fn format(&self) -> Format {
        match &self.kind {
            Kind::Direct(direct) => direct.format(),
            _ => Format::F32,
        }
    }

    /// The geometry (of the forward convolution).
    pub fn geometry(&self) -> &ConvGeometry {
        &self.geometry
    }

    /// Scratch numbers for a pool of `threads` threads.
    pub fn scratch_len(&self, threads: usize) -> usize {
        match &self.kind {
            Kind::Direct(direct) => direct.scratch_len(threads),
            Kind::Merged(direct) => self.merged_len().next_multiple_of(LANES) + direct.scratch_len(threads),
            Kind::Grouped(grouped) => grouped.scratch_len(),
            Kind::Winograd(winograd) => winograd.scratch_len(threads),
        }
    }

    /// Computes `dw`, every element of it. `scratch` has at least `scratch_len(pool.threads())` numbers of any
    /// value.
    pub fn run(&self, pool: &ThreadPool, x: &[f32], dy: &[f32], scratch: &mut [f32], dw: &mut [f32]) {
        match &self.kind {
            Kind::Direct(direct) => direct.run(pool, x, dy, scratch, dw),
            Kind::Merged(direct) => {
                let (merged, scratch) = scratch.split_at_mut(self.merged_len().next_multiple_of(LANES));
                let merged = &mut merged[..self.merged_len()];
                direct.run(pool, x, dy, scratch, merged);
                take_diagonal(&self.geometry, merged, dw);
            }
            Kind::Grouped(grouped) => grouped.run(pool, x, dy, scratch, dw),
            Kind::Winograd(winograd) => winograd.run(pool, x, dy, scratch, dw),
        }
    }

    /// Numbers of the merged groups' weights.
    fn merged_len(&self) -> usize {
        let (wide, _) = merged(&self.geometry);
        wide.out_channels * wide.group_in() * wide.window.taps()
    }
}
