//! Local response normalisation (Krizhevsky et al. 2012, section 3.3).

use ocellus_tensor::Shape;

use crate::autodiff::GradientContext;
use crate::{GraphError, ValueId};

use super::{Op, Refusal, expect};

/// Which neighbours are summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LrnRegion {
    /// `size` neighbouring channels at the same pixel.
    AcrossChannels,
    /// A `size` x `size` square of the same channel.
    WithinChannel,
}

/// `y = x / (k + alpha / m * sum of squares of neighbours)^beta`, m = `size` across channels, `size^2` within (always the
/// full window; Caffe's, PyTorch's and ONNX's convention).
///
/// Input: x `(N, C, H, W)`. Output: y like x.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lrn {
    /// Odd number of neighbours, the element itself included.
    pub size: usize,
    /// Scale of the sum.
    pub alpha: f32,
    /// Exponent.
    pub beta: f32,
    /// Offset.
    pub k: f32,
    /// Which neighbours.
    pub region: LrnRegion,
}

impl Lrn {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let [x] = expect::inputs(inputs, ["x"])?;
        expect::image(x, "x")?;
        if self.size.is_multiple_of(2) {
            return Err(format!("size must be odd, got {}", self.size));
        }
        expect::sizes("size", &[self.size])?;
        Ok(vec![x.clone()])
    }

    pub(super) fn gradient(&self, context: &mut GradientContext) -> Result<Vec<Option<ValueId>>, GraphError> {
        let inputs = [context.input(0), context.dy()?];
        Ok(vec![Some(context.add("", Op::LrnGrad(LrnGrad { lrn: *self }), &inputs)?)])
    }
}

/// The gradient of [`Lrn`]. Inputs: x, dy. Output: dx.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LrnGrad {
    /// The normalisation this is a gradient of.
    pub lrn: Lrn,
}

impl LrnGrad {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let [x, dy] = expect::inputs(inputs, ["x", "dy"])?;
        expect::same(x, "x", dy, "dy")?;
        self.lrn.shape(&[x])
    }
}
