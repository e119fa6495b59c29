//! Convolution and its gradients: sizes from the graph, numbers from the kernels.

use ocellus_graph::ops::{Conv2d, Conv2dGradInput, Conv2dGradWeight};
use ocellus_kernels::reference::conv2d;
use ocellus_tensor::{ConvGeometry, Element};

use super::{OpCall, image_sizes};

pub fn forward<T: Element>(op: &Conv2d, mut call: OpCall<'_, '_, T>) {
    let [batch, in_channels, height, width] = image_sizes(call.inputs[0].shape);
    let [_, out_channels, out_height, out_width] = image_sizes(call.outputs[0].shape);
    let geometry = ConvGeometry {
        batch,
        in_channels,
        out_channels,
        groups: op.groups,
        input: [height, width],
        output: [out_height, out_width],
        window: op.window,
    };
    conv2d::conv2d(&geometry, call.input(0), call.input(1), call.optional_input(2), call.output(0));
}

pub fn grad_input<T: Element>(op: &Conv2dGradInput, mut call: OpCall<'_, '_, T>) {
    conv2d::conv2d_grad_input(&op.geometry, call.input(0), call.input(1), call.output(0));
}

pub fn grad_weight<T: Element>(op: &Conv2dGradWeight, mut call: OpCall<'_, '_, T>) {
    conv2d::conv2d_grad_weight(&op.geometry, call.input(0), call.input(1), call.output(0));
}
