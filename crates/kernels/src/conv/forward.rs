//! The forward convolution, with its epilogue.

use ocellus_tensor::ConvGeometry;

use crate::format::Format;
use crate::isa::Isa;
use crate::layout::BLOCK;
use crate::narrow::Coding;
use crate::threads::ThreadPool;

use super::depthwise::{Depthwise, is_depthwise};
use super::direct::{Direct, DirectRun, DirectSpec, Side};
use super::grouped::Grouped;
use super::merged::merged;
use super::pack::{Inner, WeightView};
use super::pass::Pass;
use super::winograd::{self, WinogradSpec};
use super::{Epilogue, InputLayout, Kind};

/// How to compute `y = clamp(conv(x, w) + bias + residual)`.
///
/// `x` is blocked `(N, C, H, W)` or plain, `w` is OIHW (packed beforehand), `y` is blocked `(N, O, H', W')`.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvForward {
    geometry: ConvGeometry,
    kind: Kind,
}

impl ConvForward {
    /// The recipe for a geometry, or `None` where the fast kernels do not reach: plain input of more than 16 channels
    /// or of several groups.
    pub fn new(geometry: ConvGeometry, isa: Isa, input: InputLayout) -> Option<Self> {
        if input == InputLayout::Plain && geometry.in_channels > BLOCK {
            return None;
        }
        if is_depthwise(&geometry) && input == InputLayout::Blocked {
            let kind = Kind::Depthwise(Depthwise::forward(&geometry, isa));
            return Some(ConvForward { geometry, kind });
        }
        if let (InputLayout::Blocked, Some(grouped)) = (input, Grouped::forward(&geometry, isa)) {
            return Some(ConvForward { geometry, kind: Kind::Grouped(grouped) });
        }
        let (wide, _) = merged(&geometry);
        let direct = Direct::new(DirectSpec {
            isa,
            batch: geometry.batch,
            groups: wide.groups,
            from: Side { channels: geometry.in_channels, size: geometry.input },
            to: Side { channels: geometry.out_channels, size: geometry.output },
            layout: input,
            coding: Coding::F32,
            wide: false,
            kernel_width: geometry.window.kernel[1],
            passes: vec![Pass::forward(&geometry)],
        })?;
        Some(ConvForward { geometry, kind: Kind::Direct(direct) })
    }

    /// The recipe for an input and weights of narrow numbers, or `None` where the narrow kernels do not reach: groups that
    /// do not fall on blocks of channels, depthwise ones among them, and images in plain order. The output has the same
    /// format, or is `f32` if `wide`.
    ///
    /// All slices are words ([`crate::format`]); bias and factors are `f32`. Products of bf16 numbers are summed in
    /// `f32`, those of bytes in 32-bit integers, which holds for up to 2^16 of them.
    pub fn narrow(
        geometry: ConvGeometry,
        isa: Isa,
        input: InputLayout,
        (coding, wide): (Coding, bool),
    ) -> Option<Self> {
        let few = input != InputLayout::Pixels || (geometry.in_channels <= BLOCK && geometry.groups == 1);
        let sums = geometry.group_in().checked_mul(geometry.window.taps())?;
        if !few || (coding.format() == Format::U8 && sums > 1 << 16) {
            return None;
        }
        let direct = Direct::new(DirectSpec {
            isa,
            batch: geometry.batch,
            groups: geometry.groups,
            from: Side { channels: geometry.in_channels, size: geometry.input },
            to: Side { channels: geometry.out_channels, size: geometry.output },
            layout: input,
            coding,
            wide,
            kernel_width: geometry.window.kernel[1],
            passes: vec![Pass::forward(&geometry)],
        })?;
        Some(ConvForward { geometry, kind: Kind::Direct(direct) })
    }

    /// The recipe by Winograd's algorithm in `f32`, or `None` where it does not apply or is not expected to be faster than
    /// the direct one with numbers of format `rival`: it takes 3x3 windows of stride 1 over blocked input. Its error is
    /// larger: see [`super::F4_ERROR`].
    pub fn winograd(geometry: ConvGeometry, isa: Isa, rival: Format) -> Option<Self> {
        if geometry.groups > 1 {
            return None;
        }
        let pass = Pass::forward(&geometry);
        let spec = WinogradSpec {
            isa,
            batch: geometry.batch,
            from: Side { channels: geometry.in_channels, size: geometry.input },
            to: Side { channels: geometry.out_channels, size: geometry.output },
            pass: &pass,
            kernel_width: geometry.window.kernel[1],
        };
        let kind = Kind::Winograd(winograd::choose(spec, rival)?);
        Some(ConvForward { geometry, kind })
    }

    /// The kernels.
    pub(super) fn kind(&self) -> &Kind {
        &self.kind
    }

    /// The algorithm: "direct", "depthwise", "grouped", "winograd 2x2" or "winograd 4x4".
    pub fn algorithm(&self) -> &'static str {
        self.kind.name()
    }

    /// The format of the input and the weights.
    pub fn format(&self) -> Format {
        self.kind.format()
    }

    /// The geometry.
    pub fn geometry(&self) -> &ConvGeometry {
        &self.geometry
    }

    /// Words of packed weights.
    pub fn packed_len(&self) -> usize {
        self.kind.packed_len()
    }

    /// Packs `weight` (OIHW), each output channel times its `scale` (a folded BatchNorm), into
    /// `packed_len()` numbers.
    pub fn pack(&self, pool: &ThreadPool, weight: &[f32], scale: Option<&[f32]>, packed: &mut [f32]) {
        let g = &self.geometry;
        let (inputs, taps) = (g.group_in(), g.window.taps());
        assert_eq!(weight.len(), g.out_channels * inputs * taps, "weight length");
        let (wide, merged) = match self.kind.format() {
            Format::F32 => merged(g),
            _ => (*g, false),
        };
        let inner = Inner { lanes: g.group_out(), sources: inputs, rows_of_lanes: true };
        let group_len = wide.group_out() * inputs * taps;
        let view = |group: usize| WeightView {
            weight: &weight[group * group_len..][..group_len],
            lane_step: inputs * taps,
            source_step: taps,
            inner: merged.then_some(inner),
        };
        match &self.kind {
            Kind::Direct(direct) => direct.pack(pool, &view, scale, packed),
            Kind::Depthwise(depthwise) => depthwise.pack(weight, scale, packed),
            Kind::Grouped(grouped) => grouped.pack(weight, scale, packed),
            Kind::Winograd(winograd) => winograd.pack(pool, view(0), scale, packed),
            Kind::Scatter(_) => unreachable!("a forward convolution gathers"),
        }
    }

    /// Scratch numbers for a pool of `threads` threads.
    pub fn scratch_len(&self, threads: usize) -> usize {
        self.kind.scratch_len(threads)
    }

    /// Computes `y`, every element of it, padding lanes included. `scratch` has at least
    /// `scratch_len(pool.threads())` numbers of any value.
    pub fn run(
        &self,
        pool: &ThreadPool,
        x: &[f32],
        packed: &[f32],
        epilogue: Epilogue<'_>,
        scratch: &mut [f32],
        y: &mut [f32],
    ) {
        self.kind.run(pool, DirectRun { x, packed, epilogue, scratch, y });
    }
}
