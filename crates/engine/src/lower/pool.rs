//! Pooling over windows or the whole image, and its gradients.

use ocellus_graph::ops::{
    AvgPool, AvgPoolGrad, MaxPool, MaxPoolGrad, MaxPoolPlaces, StochasticPool, StochasticPoolGrad,
};
use ocellus_kernels::random::Draws;
use ocellus_kernels::reference::pool::{self, PoolGeometry};
use ocellus_kernels::reference::stochastic_pool as stochastic;
use ocellus_tensor::{Element, Shape, Window};

use super::{OpCall, Random, image_sizes};

/// Sizes of a pooling of x to y; no window is one as large as the image.
fn geometry(window: Option<Window>, x: &Shape, y: &Shape) -> PoolGeometry {
    let [batch, channels, height, width] = image_sizes(x);
    let [_, _, out_height, out_width] = image_sizes(y);
    let input = [height, width];
    let window = window.unwrap_or(Window { kernel: input, ..Window::square(1) });
    PoolGeometry { planes: batch * channels, input, output: [out_height, out_width], window }
}

pub fn max<T: Element>(op: &MaxPool, mut call: OpCall<'_, '_, T>) {
    let geometry = geometry(op.window, call.inputs[0].shape, call.outputs[0].shape);
    pool::max_pool(&geometry, call.input(0), call.output(0));
}

pub fn max_grad<T: Element>(op: &MaxPoolGrad, mut call: OpCall<'_, '_, T>) {
    let geometry = geometry(op.pool.window, call.inputs[0].shape, call.inputs[1].shape);
    pool::max_pool_grad(&geometry, call.input(0), call.input(1), call.output(0));
}

pub fn max_places<T: Element>(op: &MaxPoolPlaces, mut call: OpCall<'_, '_, T>) {
    let geometry = geometry(op.pool.window, call.inputs[0].shape, call.outputs[0].shape);
    pool::max_pool_places(&geometry, call.input(0), call.output(0));
}

fn draws(op: &StochasticPool, random: Random) -> Draws {
    Draws::new(random.seed, random.step, op.stream)
}

pub fn stochastic<T: Element>(op: &StochasticPool, mut call: OpCall<'_, '_, T>) {
    let geometry = geometry(op.window, call.inputs[0].shape, call.outputs[0].shape);
    if op.active {
        let draws = draws(op, call.random);
        stochastic::drawn_pool(&geometry, &draws, call.input(0), call.output(0));
    } else {
        stochastic::weighted_pool(&geometry, call.input(0), call.output(0));
    }
}

pub fn stochastic_grad<T: Element>(op: &StochasticPoolGrad, mut call: OpCall<'_, '_, T>) {
    let geometry = geometry(op.pool.window, call.inputs[0].shape, call.inputs[1].shape);
    let (x, dy) = (call.input(0), call.input(1));
    if op.pool.active {
        let draws = draws(&op.pool, call.random);
        stochastic::drawn_pool_grad(&geometry, &draws, x, dy, call.output(0));
    } else {
        stochastic::weighted_pool_grad(&geometry, x, dy, call.output(0));
    }
}

pub fn avg<T: Element>(op: &AvgPool, mut call: OpCall<'_, '_, T>) {
    let geometry = geometry(op.window, call.inputs[0].shape, call.outputs[0].shape);
    pool::avg_pool(&geometry, op.count_include_pad, call.input(0), call.output(0));
}

pub fn avg_grad<T: Element>(op: &AvgPoolGrad, mut call: OpCall<'_, '_, T>) {
    let geometry = geometry(op.pool.window, call.outputs[0].shape, call.inputs[0].shape);
    pool::avg_pool_grad(&geometry, op.pool.count_include_pad, call.input(0), call.output(0));
}
