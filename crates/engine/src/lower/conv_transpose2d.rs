//! Transposed convolution: the geometry is that of the convolution from its output back to its input.

use ocellus_graph::ops::ConvTranspose2d;
use ocellus_kernels::reference::conv_transpose2d;
use ocellus_tensor::{ConvGeometry, Element};

use super::{OpCall, image_sizes};

pub fn forward<T: Element>(op: &ConvTranspose2d, mut call: OpCall<'_, '_, T>) {
    let [batch, channels, height, width] = image_sizes(call.inputs[0].shape);
    let [_, enlarged_channels, enlarged_height, enlarged_width] = image_sizes(call.outputs[0].shape);
    let geometry = ConvGeometry {
        batch,
        in_channels: enlarged_channels,
        out_channels: channels,
        groups: op.groups,
        input: [enlarged_height, enlarged_width],
        output: [height, width],
        window: op.window,
    };
    let (x, w, b) = (call.input(0), call.input(1), call.optional_input(2));
    conv_transpose2d::conv_transpose2d(&geometry, x, w, b, call.output(0));
}
