//! Max and average pooling, over windows or the whole image.

use ocellus_tensor::{Rounding, Shape, Window};

use crate::autodiff::GradientContext;
use crate::{GraphError, ValueId};

use super::{Op, Refusal, expect};

/// The largest value under each window; padding never wins.
///
/// Input: x `(N, C, H, W)`. Output: y `(N, C, H', W')`. `window: None` is global: y is `(N, C, 1, 1)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MaxPool {
    /// Kernel, stride, padding, dilation; `None` for the whole image.
    pub window: Option<Window>,
    /// How the output size is rounded.
    pub rounding: Rounding,
}

impl MaxPool {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let [x] = expect::inputs(inputs, ["x"])?;
        Ok(vec![pooled(x, self.window.as_ref(), self.rounding)?])
    }

    pub(super) fn gradient(&self, context: &mut GradientContext) -> Result<Vec<Option<ValueId>>, GraphError> {
        let inputs = [context.input(0), context.dy()?];
        Ok(vec![Some(context.add("", Op::MaxPoolGrad(MaxPoolGrad { pool: *self }), &inputs)?)])
    }
}

/// The shape after pooling x by `window`, or wholly.
pub(super) fn pooled(x: &Shape, window: Option<&Window>, rounding: Rounding) -> Result<Shape, Refusal> {
    let [n, c, h, w] = expect::image(x, "x")?;
    let Some(window) = window else {
        return Ok(Shape::from([n, c, 1, 1]));
    };
    let [height, width] = expect::window_output(window, [h, w], rounding)?;
    for axis in 0..2 {
        let ((before, after), reach) = (window.padding.along(axis), window.reach(axis));
        let padding = before.max(after);
        if padding >= reach {
            return Err(format!(
                "padding {padding} with a kernel reaching over {reach} pixels: a window would lie wholly outside"
            ));
        }
    }
    Ok(Shape::from([n, c, height, width]))
}

/// Where the largest value under each window lies: its place in the plane, row by row from 0, as a number; of equal ones
/// the first. Has no gradient.
///
/// Input: x `(N, C, H, W)`. Output: y `(N, C, H', W')`, as that of the pooling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MaxPoolPlaces {
    /// The pooling whose places these are.
    pub pool: MaxPool,
}

impl MaxPoolPlaces {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let [x] = expect::inputs(inputs, ["x"])?;
        let y = self.pool.shape(inputs)?;
        expect::countable(x[2..].iter().product(), "places in a plane")?;
        Ok(y)
    }
}

/// The gradient of [`MaxPool`]: each dy goes to the first largest pixel (row by row) under its window.
///
/// Inputs: x, dy. Output: dx like x.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MaxPoolGrad {
    /// The pooling this is a gradient of.
    pub pool: MaxPool,
}

impl MaxPoolGrad {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let [x, dy] = expect::inputs(inputs, ["x", "dy"])?;
        expect::shape(dy, "dy", &self.pool.shape(&[x])?[0])?;
        Ok(vec![x.clone()])
    }
}

/// The mean of each window.
///
/// Input: x `(N, C, H, W)`. Output: y `(N, C, H', W')`. `window: None` is global: y is `(N, C, 1, 1)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AvgPool {
    /// Kernel, stride, padding, dilation; `None` for the whole image.
    pub window: Option<Window>,
    /// How the output size is rounded.
    pub rounding: Rounding,
    /// Divide by all taps inside the padded image (PyTorch's and Caffe's default) rather than only those inside the
    /// image. Taps that ceil rounding puts beyond the padded image never count.
    pub count_include_pad: bool,
}

impl AvgPool {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let [x] = expect::inputs(inputs, ["x"])?;
        Ok(vec![pooled(x, self.window.as_ref(), self.rounding)?])
    }

    pub(super) fn gradient(&self, context: &mut GradientContext) -> Result<Vec<Option<ValueId>>, GraphError> {
        let (input, dy) = (context.shape(0), context.dy()?);
        Ok(vec![Some(context.add("", Op::AvgPoolGrad(AvgPoolGrad { pool: *self, input }), &[dy])?)])
    }
}

/// The gradient of [`AvgPool`]. Input: dy. Output: dx of shape `input`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AvgPoolGrad {
    /// The pooling this is a gradient of.
    pub pool: AvgPool,
    /// Shape of the pooled x.
    pub input: Shape,
}

impl AvgPoolGrad {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let [dy] = expect::inputs(inputs, ["dy"])?;
        expect::shape(dy, "dy", &self.pool.shape(&[&self.input])?[0])?;
        Ok(vec![self.input.clone()])
    }
}
