//! Transposed 2-D convolution: the input gradient of a convolution, used forwards to enlarge.

use ocellus_tensor::{ConvGeometry, Shape, Window};

use crate::autodiff::GradientContext;
use crate::{GraphError, ValueId};

use super::conv2d::{bias_gradient, geometry_macs, kernel_agrees};
use super::{Conv2d, Conv2dGradWeight, Op, Refusal, expect};

/// Each input pixel adds its kernel, scaled, to the output: `H' = (H-1) stride - padding + reach + output_padding`.
///
/// Inputs: x `(N, C, H, W)`, w `(C, O/groups, kh, kw)`, optionally b `(O)`. Output: y `(N, O, H', W')`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvTranspose2d {
    /// Kernel, stride, padding (which crops the output here), dilation.
    pub window: Window,
    /// Independent groups of channels.
    pub groups: usize,
    /// Extra rows and columns at the bottom and right; smaller than the stride.
    pub output_padding: [usize; 2],
}

impl ConvTranspose2d {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let ([x, w], b) = expect::inputs_and_maybe(inputs, ["x", "w"], "b")?;
        let geometry = self.geometry(x, w)?;
        if let Some(b) = b {
            expect::vector(b, "the bias", geometry.in_channels)?;
        }
        let [height, width] = geometry.input;
        Ok(vec![Shape::from([geometry.batch, geometry.in_channels, height, width])])
    }

    pub(super) fn gradient(&self, context: &mut GradientContext) -> Result<Vec<Option<ValueId>>, GraphError> {
        let (x, w, dy) = (context.input(0), context.input(1), context.dy()?);
        let geometry = self
            .geometry(&context.shape(0), &context.shape(1))
            .map_err(|message| context.refuse(&message))?;
        // This is the input gradient of a convolution from y to x, so its own gradients are that convolution's
        // forward pass and weight gradient.
        let mut gradients = vec![None; context.inputs().len()];
        if context.wants(0) {
            let op = Op::Conv2d(Conv2d { window: self.window, groups: self.groups });
            gradients[0] = Some(context.add("input", op, &[dy, w])?);
        }
        if context.wants(1) {
            let op = Op::Conv2dGradWeight(Conv2dGradWeight { geometry });
            gradients[1] = Some(context.add("weight", op, &[dy, x])?);
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

    /// The sizes of the convolution whose input gradient this is: its `out_channels` and `output` are those of x
    /// `(N, C, H, W)`, its `in_channels` and `input` those of y.
    pub fn geometry(&self, x: &Shape, w: &Shape) -> Result<ConvGeometry, Refusal> {
        let [batch, channels, height, width] = expect::image(x, "input")?;
        let [weight_channels, group_out, kh, kw] = expect::image(w, "weight")?;
        let (groups, window) = (self.groups, self.window);
        expect::divides(groups, channels, "input")?;
        if channels != weight_channels {
            return Err(format!("input has {channels} channels, the weight {w} expects {weight_channels}"));
        }
        kernel_agrees(&window, [kh, kw])?;
        expect::window(&window)?;
        expect::sizes("input", x)?;
        expect::sizes("weight", w)?;
        let in_channels = group_out.checked_mul(groups).ok_or("more output channels than can be counted")?;
        let input = [self.enlarged(height, 0)?, self.enlarged(width, 1)?];
        Ok(ConvGeometry {
            batch,
            in_channels,
            out_channels: channels,
            groups,
            input,
            output: [height, width],
            window,
        })
    }

    /// The output size along `axis`, the inverse of [`Window::output_size`].
    fn enlarged(&self, size: usize, axis: usize) -> Result<usize, Refusal> {
        let (stride, extra) = (self.window.stride[axis], self.output_padding[axis]);
        if extra >= stride {
            return Err(format!("output padding {extra} must be smaller than the stride {stride}"));
        }
        let (before, after) = self.window.padding.along(axis);
        // No overflow: every factor is at most i32::MAX.
        let full = size.saturating_sub(1) * stride + self.window.reach(axis) + extra;
        match full.checked_sub(before + after) {
            Some(enlarged) if enlarged > 0 => Ok(enlarged),
            _ => Err(format!("padding {before} + {after} crops all {full} pixels of the output")),
        }
    }
}
