//! A border around the image.

use ocellus_tensor::{Padding, Shape};

use crate::autodiff::GradientContext;
use crate::{GraphError, ValueId};

use super::{Op, Refusal, expect};

/// What fills the border.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PadMode {
    /// One value.
    Constant(f32),
    /// The image mirrored, the edge pixel not repeated.
    Reflect,
    /// The edge pixel repeated.
    Replicate,
}

/// Adds rows and columns (and, with constants, channels).
///
/// Input: x `(N, C, H, W)`. Output: y `(N, C + channels, H + top + bottom, W + left + right)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pad {
    /// Rows and columns.
    pub padding: Padding,
    /// Channels before and after; only with [`PadMode::Constant`].
    pub channels: [usize; 2],
    /// What fills them.
    pub mode: PadMode,
}

impl Pad {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let [x] = expect::inputs(inputs, ["x"])?;
        let [n, c, h, w] = expect::image(x, "x")?;
        let (Padding { top, left, bottom, right }, [first, last]) = (self.padding, self.channels);
        expect::padding_sizes(&self.padding)?;
        expect::sizes("channel padding", &self.channels)?;
        expect::sizes("input", x)?;
        if first + last > 0 && !matches!(self.mode, PadMode::Constant(_)) {
            return Err(format!("only constants pad channels, asked for {first} before and {last} after"));
        }
        if self.mode == PadMode::Reflect {
            reflects(h, "height", top.max(bottom))?;
            reflects(w, "width", left.max(right))?;
        }
        Ok(vec![Shape::from([n, c + first + last, h + top + bottom, w + left + right])])
    }

    pub(super) fn gradient(&self, context: &mut GradientContext) -> Result<Vec<Option<ValueId>>, GraphError> {
        let (input, dy) = (context.shape(0), context.dy()?);
        Ok(vec![Some(context.add("", Op::PadGrad(PadGrad { pad: *self, input }), &[dy])?)])
    }
}

/// A mirror without the edge pixel shows at most `size - 1` others.
fn reflects(size: usize, what: &str, padding: usize) -> Result<(), Refusal> {
    if padding < size {
        return Ok(());
    }
    Err(format!("reflecting {padding} pixels needs a {what} above {padding}, got {size}"))
}

/// The gradient of [`Pad`]: dy of the image itself, plus (reflect, replicate) that of the border pixels it made.
///
/// Input: dy. Output: dx of shape `input`.
#[derive(Clone, Debug, PartialEq)]
pub struct PadGrad {
    /// The padding.
    pub pad: Pad,
    /// Shape of the padded x.
    pub input: Shape,
}

impl PadGrad {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let [dy] = expect::inputs(inputs, ["dy"])?;
        expect::shape(dy, "dy", &self.pad.shape(&[&self.input])?[0])?;
        Ok(vec![self.input.clone()])
    }
}
