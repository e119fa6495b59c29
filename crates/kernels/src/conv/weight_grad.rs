//! The gradient of a convolution with respect to its weights.

use ocellus_tensor::ConvGeometry;

use crate::isa::Isa;
use crate::threads::ThreadPool;

use super::InputLayout;
use super::depthwise::is_depthwise;
use super::depthwise_grad::DepthwiseGrad;
use super::direct_grad::DirectGrad;

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
    Depthwise(DepthwiseGrad),
}

impl ConvWeightGrad {
    /// The recipe for a geometry, or `None` where the fast kernels do not reach: groups whose channels are no
    /// multiple of 16 (except depthwise), or plain input of more than 16 channels or of several groups.
    pub fn new(geometry: ConvGeometry, isa: Isa, input: InputLayout) -> Option<Self> {
        let kind = if is_depthwise(&geometry) && input == InputLayout::Blocked {
            Kind::Depthwise(DepthwiseGrad::new(geometry, isa))
        } else {
            Kind::Direct(DirectGrad::new(geometry, isa, input)?)
        };
        Some(ConvWeightGrad { geometry, kind })
    }

    /// The geometry (of the forward convolution).
    pub fn geometry(&self) -> &ConvGeometry {
        &self.geometry
    }

    /// Scratch numbers for a pool of `threads` threads.
    pub fn scratch_len(&self, threads: usize) -> usize {
        match &self.kind {
            Kind::Direct(direct) => direct.scratch_len(threads),
            Kind::Depthwise(depthwise) => depthwise.scratch_len(),
        }
    }

    /// Computes `dw`, every element of it. `scratch` has at least `scratch_len(pool.threads())` numbers of any
    /// value.
    pub fn run(&self, pool: &ThreadPool, x: &[f32], dy: &[f32], scratch: &mut [f32], dw: &mut [f32]) {
        match &self.kind {
            Kind::Direct(direct) => direct.run(pool, x, dy, scratch, dw),
            Kind::Depthwise(depthwise) => depthwise.run(pool, x, dy, scratch, dw),
        }
    }
}
