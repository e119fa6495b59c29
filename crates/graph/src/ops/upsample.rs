//! Enlarging an image by a whole factor.

use ocellus_tensor::Shape;

use crate::autodiff::GradientContext;
use crate::{GraphError, ValueId};

use super::{Op, Refusal, expect};

/// How new pixels are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interpolation {
    /// The nearest pixel repeated.
    Nearest,
    /// Linear between pixel centres (half-pixel coordinates, edges clamped; `align_corners=False`).
    Bilinear,
}

/// Input: x `(N, C, H, W)`. Output: y `(N, C, factor[0] H, factor[1] W)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Upsample {
    /// Factors along height and width.
    pub factor: [usize; 2],
    /// How new pixels are made.
    pub interpolation: Interpolation,
}

impl Upsample {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let [x] = expect::inputs(inputs, ["x"])?;
        let [n, c, h, w] = expect::image(x, "x")?;
        let [down, across] = self.factor;
        if down == 0 || across == 0 {
            return Err(format!("factors must be at least 1, got {down}x{across}"));
        }
        match (h.checked_mul(down), w.checked_mul(across)) {
            (Some(height), Some(width)) => Ok(vec![Shape::from([n, c, height, width])]),
            _ => Err(format!("{h}x{w} enlarged {down}x{across} times is larger than can be counted")),
        }
    }

    pub(super) fn gradient(&self, context: &mut GradientContext) -> Result<Vec<Option<ValueId>>, GraphError> {
        let (input, dy) = (context.shape(0), context.dy()?);
        Ok(vec![Some(context.add("", Op::UpsampleGrad(UpsampleGrad { upsample: *self, input }), &[dy])?)])
    }
}

/// The gradient of [`Upsample`]. Input: dy. Output: dx of shape `input`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UpsampleGrad {
    /// The enlargement.
    pub upsample: Upsample,
    /// Shape of the enlarged x.
    pub input: Shape,
}

impl UpsampleGrad {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let [dy] = expect::inputs(inputs, ["dy"])?;
        expect::shape(dy, "dy", &self.upsample.shape(&[&self.input])?[0])?;
        Ok(vec![self.input.clone()])
    }
}
