//! The gradient of a convolution with respect to its input: passes of stride 1 over the output's gradient.

use ocellus_tensor::ConvGeometry;

use crate::format::Format;
use crate::isa::Isa;
use crate::narrow::Coding;
use crate::threads::ThreadPool;

use super::depthwise::{Depthwise, is_depthwise};
use super::direct::{Direct, DirectRun, DirectSpec, Side};
use super::grouped::Grouped;
use super::merged::merged;
use super::pack::{Inner, WeightView};
use super::pass::Pass;
use super::scatter::Scatter;
use super::winograd::{self, WinogradSpec};
use super::{Epilogue, InputLayout, Kind};

/// How to compute `dx = clamp(conv_transpose(dy, w) + bias + residual)`.
///
/// `dy` is blocked `(N, O, H', W')`, `w` is OIHW (packed beforehand), `dx` is blocked `(N, C, H, W)`.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvInputGrad {
    geometry: ConvGeometry,
    kind: Kind,
}

impl ConvInputGrad {
    /// The recipe for a geometry; there is always one.
    pub fn new(geometry: ConvGeometry, isa: Isa) -> Option<Self> {
        if is_depthwise(&geometry) {
            let kind = Kind::Depthwise(Depthwise::gradient(&geometry, isa));
            return Some(ConvInputGrad { geometry, kind });
        }
        if let Some(grouped) = Grouped::gradient(&geometry, isa) {
            return Some(ConvInputGrad { geometry, kind: Kind::Grouped(grouped) });
        }
        if let Some(scatter) = Scatter::choose(&geometry, isa) {
            return Some(ConvInputGrad { geometry, kind: Kind::Scatter(scatter) });
        }
        let (wide, _) = merged(&geometry);
        Self::direct(geometry, isa, wide.groups, (Coding::F32, false))
    }

    /// The recipe for an output gradient and weights of bf16 numbers, or `None` for groups that do not fall on blocks of
    /// channels, depthwise ones among them. The result is bf16 too, or `f32` if `wide`; products are summed in `f32`.
    pub fn narrow(geometry: ConvGeometry, isa: Isa, wide: bool) -> Option<Self> {
        Self::direct(geometry, isa, geometry.groups, (Coding::Bf16, wide))
    }

    fn direct(
        geometry: ConvGeometry,
        isa: Isa,
        groups: usize,
        (coding, wide): (Coding, bool),
    ) -> Option<Self> {
        let direct = Direct::new(DirectSpec {
            isa,
            batch: geometry.batch,
            groups,
            from: Side { channels: geometry.out_channels, size: geometry.output },
            to: Side { channels: geometry.in_channels, size: geometry.input },
            layout: InputLayout::Blocked,
            coding,
            wide,
            kernel_width: geometry.window.kernel[1],
            passes: Pass::gradient(&geometry),
        })?;
        Some(ConvInputGrad { geometry, kind: Kind::Direct(direct) })
    }

    /// The recipe by Winograd's algorithm in `f32`, or `None` where it does not apply or is not expected to be faster than
    /// the direct one with numbers of format `rival`: it takes 3x3 windows of stride 1 over blocked input. Its error is
    /// larger: see [`super::F4_ERROR`].
    pub fn winograd(geometry: ConvGeometry, isa: Isa, rival: Format) -> Option<Self> {
        if geometry.groups > 1 {
            return None;
        }
        let pass = Pass::gradient(&geometry).into_iter().next()?;
        let spec = WinogradSpec {
            isa,
            batch: geometry.batch,
            from: Side { channels: geometry.out_channels, size: geometry.output },
            to: Side { channels: geometry.in_channels, size: geometry.input },
            pass: &pass,
            kernel_width: geometry.window.kernel[1],
        };
        let kind = Kind::Winograd(winograd::choose(spec, rival)?);
        Some(ConvInputGrad { geometry, kind })
    }

    /// The algorithm: "direct", "depthwise", "grouped", "scatter", "winograd 2x2" or "winograd 4x4".
    pub fn algorithm(&self) -> &'static str {
        self.kind.name()
    }

    /// The format of the output gradient and the weights.
    pub fn format(&self) -> Format {
        self.kind.format()
    }

    /// The geometry (of the forward convolution).
    pub fn geometry(&self) -> &ConvGeometry {
        &self.geometry
    }

    /// Numbers of packed weights.
    pub fn packed_len(&self) -> usize {
        self.kind.packed_len()
    }

    /// Packs `weight` (OIHW) into `packed_len()` numbers.
    pub fn pack(&self, pool: &ThreadPool, weight: &[f32], packed: &mut [f32]) {
        let g = &self.geometry;
        let (inputs, taps) = (g.group_in(), g.window.taps());
        assert_eq!(weight.len(), g.out_channels * inputs * taps, "weight length");
        let (wide, merged) = match self.kind.format() {
            Format::F32 => merged(g),
            _ => (*g, false),
        };
        let inner = Inner { lanes: inputs, sources: g.group_out(), rows_of_lanes: false };
        let group_len = wide.group_out() * inputs * taps;
        let view = |group: usize| WeightView {
            weight: &weight[group * group_len..][..group_len],
            lane_step: taps,
            source_step: inputs * taps,
            inner: merged.then_some(inner),
        };
        match &self.kind {
            Kind::Direct(direct) => direct.pack(pool, &view, None, packed),
            Kind::Depthwise(depthwise) => depthwise.pack(weight, None, packed),
            Kind::Grouped(grouped) => grouped.pack(weight, None, packed),
            Kind::Winograd(winograd) => winograd.pack(pool, view(0), None, packed),
            Kind::Scatter(scatter) => scatter.pack(weight, packed),
        }
    }

    /// Scratch numbers for a pool of `threads` threads.
    pub fn scratch_len(&self, threads: usize) -> usize {
        self.kind.scratch_len(threads)
    }

    /// Computes `dx`, every element of it, padding lanes included. The epilogue is made for `dx`: one bias per input
    /// channel, as a transposed convolution has.
    /// `scratch` has at least `scratch_len(pool.threads())` numbers of any value.
    pub fn run(
        &self,
        pool: &ThreadPool,
        dy: &[f32],
        packed: &[f32],
        epilogue: Epilogue<'_>,
        scratch: &mut [f32],
        dx: &mut [f32],
    ) {
        self.kind.run(pool, DirectRun { x: dy, packed, epilogue, scratch, y: dx });
    }
}
