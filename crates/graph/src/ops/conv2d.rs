//! 2-D convolution (cross-correlation, as every framework means it) and its two gradients: a closed triangle, since
//! the derivative of each of the three is made of the other two.

use ocellus_tensor::{ConvGeometry, Rounding, Shape, Window};

use crate::autodiff::GradientContext;
use crate::{GraphError, ValueId};

use super::{Op, Reduce, ReduceKind, Refusal, expect};

/// `y[n,o,i,j] = sum over c,p,q of x[n, c, i sh + p dh - top, j sw + q dw - left] w[o,c,p,q] (+ b[o])`, zeros
/// outside the image. (Reflect and replicate padding are a [`super::Pad`] before it.)
///
/// Inputs: x `(N, C, H, W)`, w `(O, C/groups, kh, kw)`, optionally b `(O)`. Output: y `(N, O, H', W')`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conv2d {
    /// Kernel, stride, padding, dilation.
    pub window: Window,
    /// Independent groups of channels; `C` for a depthwise convolution.
    pub groups: usize,
}

impl Conv2d {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let ([x, w], b) = expect::inputs_and_maybe(inputs, ["x", "w"], "b")?;
        let geometry = self.geometry(x, w)?;
        if let Some(b) = b {
            expect::vector(b, "the bias", geometry.out_channels)?;
        }
        Ok(vec![y_shape(&geometry)])
    }

    pub(super) fn gradient(&self, context: &mut GradientContext) -> Result<Vec<Option<ValueId>>, GraphError> {
        let (x, w, dy) = (context.input(0), context.input(1), context.dy()?);
        let geometry = self
            .geometry(&context.shape(0), &context.shape(1))
            .map_err(|message| context.refuse(&message))?;
        let mut gradients = vec![None; context.inputs().len()];
        if context.wants(0) {
            let op = Op::Conv2dGradInput(Conv2dGradInput { geometry });
            gradients[0] = Some(context.add("input", op, &[dy, w])?);
        }
        if context.wants(1) {
            let op = Op::Conv2dGradWeight(Conv2dGradWeight { geometry });
            gradients[1] = Some(context.add("weight", op, &[x, dy])?);
        }
        if context.wants(2) {
            gradients[2] = Some(bias_gradient(context, dy)?);
        }
        Ok(gradients)
    }

    /// Multiply-accumulates for inputs of these shapes.
    pub(crate) fn macs(&self, inputs: &[&Shape]) -> u64 {
        let [x, w] = [inputs[0], inputs[1]];
        self.geometry(x, w).map_or(0, |geometry| geometry_macs(&geometry))
    }

    /// All sizes of this convolution of x `(N, C, H, W)` with w `(O, C/groups, kh, kw)`, or what does not fit.
    pub fn geometry(&self, x: &Shape, w: &Shape) -> Result<ConvGeometry, Refusal> {
        let [batch, in_channels, height, width] = expect::image(x, "input")?;
        let [out_channels, group_in, kh, kw] = expect::image(w, "weight")?;
        let (groups, window) = (self.groups, self.window);
        expect::divides(groups, in_channels, "input")?;
        expect::divides(groups, out_channels, "output")?;
        if in_channels / groups != group_in {
            let expected = group_in.saturating_mul(groups);
            return Err(format!(
                "input has {in_channels} channels, the weight {w} with groups = {groups} expects {expected}"
            ));
        }
        kernel_agrees(&window, [kh, kw])?;
        let input = [height, width];
        let output = expect::window_output(&window, input, Rounding::Floor)?;
        Ok(ConvGeometry { batch, in_channels, out_channels, groups, input, output, window })
    }
}

/// dy `(N, O, H, W)` summed over all but the channels: `(O)`.
pub(super) fn bias_gradient(context: &mut GradientContext, dy: ValueId) -> Result<ValueId, GraphError> {
    let sum = Reduce { kind: ReduceKind::Sum, axes: vec![0, 2, 3], keep: false };
    context.add("bias", Op::Reduce(sum), &[dy])
}

/// [`ConvGeometry::macs`], at most the largest number there is.
pub(crate) fn geometry_macs(geometry: &ConvGeometry) -> u64 {
    let [height, width] = geometry.output;
    [geometry.batch, geometry.out_channels, height, width, geometry.group_in(), geometry.window.taps()]
        .iter()
        .fold(1, |product: u64, &size| product.saturating_mul(size as u64))
}

/// Refuses a weight whose kernel is not the window's.
pub(super) fn kernel_agrees(window: &Window, [kh, kw]: [usize; 2]) -> Result<(), Refusal> {
    if window.kernel == [kh, kw] {
        return Ok(());
    }
    Err(format!(
        "the weight's kernel is {kh}x{kw}, the window's is {}x{}",
        window.kernel[0], window.kernel[1]
    ))
}

/// Refuses a geometry that no convolution has.
fn consistent(geometry: &ConvGeometry) -> Result<(), Refusal> {
    expect::divides(geometry.groups, geometry.in_channels, "input")?;
    expect::divides(geometry.groups, geometry.out_channels, "output")?;
    let [height, width] = expect::window_output(&geometry.window, geometry.input, Rounding::Floor)?;
    if geometry.output != [height, width] {
        let [h, w] = geometry.output;
        return Err(format!("the geometry's output is {h}x{w}, its window makes {height}x{width}"));
    }
    Ok(())
}

fn x_shape(g: &ConvGeometry) -> Shape {
    Shape::from([g.batch, g.in_channels, g.input[0], g.input[1]])
}

fn w_shape(g: &ConvGeometry) -> Shape {
    Shape::from([g.out_channels, g.group_in(), g.window.kernel[0], g.window.kernel[1]])
}

fn y_shape(g: &ConvGeometry) -> Shape {
    Shape::from([g.batch, g.out_channels, g.output[0], g.output[1]])
}

/// The gradient of [`Conv2d`] with respect to x; also, read forwards, a transposed convolution.
///
/// Inputs: dy `(N, O, H', W')`, w `(O, C/groups, kh, kw)`. Output: dx `(N, C, H, W)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conv2dGradInput {
    /// All sizes of the convolution this is a gradient of.
    pub geometry: ConvGeometry,
}

impl Conv2dGradInput {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let [dy, w] = expect::inputs(inputs, ["dy", "w"])?;
        consistent(&self.geometry)?;
        expect::shape(dy, "dy", &y_shape(&self.geometry))?;
        expect::shape(w, "w", &w_shape(&self.geometry))?;
        Ok(vec![x_shape(&self.geometry)])
    }

    pub(super) fn gradient(&self, context: &mut GradientContext) -> Result<Vec<Option<ValueId>>, GraphError> {
        let (dy, w, ddx) = (context.input(0), context.input(1), context.dy()?);
        let geometry = self.geometry;
        let mut gradients = vec![None; 2];
        if context.wants(0) {
            let op = Op::Conv2d(Conv2d { window: geometry.window, groups: geometry.groups });
            gradients[0] = Some(context.add("output", op, &[ddx, w])?);
        }
        if context.wants(1) {
            let op = Op::Conv2dGradWeight(Conv2dGradWeight { geometry });
            gradients[1] = Some(context.add("weight", op, &[ddx, dy])?);
        }
        Ok(gradients)
    }
}

/// The gradient of [`Conv2d`] with respect to w.
///
/// Inputs: x `(N, C, H, W)`, dy `(N, O, H', W')`. Output: dw `(O, C/groups, kh, kw)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conv2dGradWeight {
    /// All sizes of the convolution this is a gradient of.
    pub geometry: ConvGeometry,
}

impl Conv2dGradWeight {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let [x, dy] = expect::inputs(inputs, ["x", "dy"])?;
        consistent(&self.geometry)?;
        expect::shape(x, "x", &x_shape(&self.geometry))?;
        expect::shape(dy, "dy", &y_shape(&self.geometry))?;
        Ok(vec![w_shape(&self.geometry)])
    }

    pub(super) fn gradient(&self, context: &mut GradientContext) -> Result<Vec<Option<ValueId>>, GraphError> {
        let (x, dy, ddw) = (context.input(0), context.input(1), context.dy()?);
        let geometry = self.geometry;
        let mut gradients = vec![None; 2];
        if context.wants(0) {
            let op = Op::Conv2dGradInput(Conv2dGradInput { geometry });
            gradients[0] = Some(context.add("input", op, &[dy, ddw])?);
        }
        if context.wants(1) {
            let op = Op::Conv2d(Conv2d { window: geometry.window, groups: geometry.groups });
            gradients[1] = Some(context.add("output", op, &[x, ddw])?);
        }
        Ok(gradients)
    }
}
