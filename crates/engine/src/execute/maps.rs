//! What touches every element a few times: order in memory, pooling, functions of single elements.

use ocellus_kernels::elementwise::{self, Activation, Blocked, Broadcast, ByOutput, Small};
use ocellus_kernels::layout::{blocked_to_plain, plain_to_blocked};
use ocellus_kernels::pooling::{self, Pooling};
use ocellus_kernels::random::DropoutMask;
use ocellus_kernels::softmax::Softmax;

use super::{Call, shared};
use crate::plan::{Elementwise, Per};

pub fn to_blocked(mut call: Call<'_>, dims: [usize; 4]) {
    let (pool, isa) = call.tools();
    let ([plain], [blocked, _]) = call.parts();
    plain_to_blocked(pool, isa, dims, plain, blocked);
}

pub fn to_plain(mut call: Call<'_>, dims: [usize; 4]) {
    let (pool, isa) = call.tools();
    let ([blocked], [plain, _]) = call.parts();
    blocked_to_plain(pool, isa, dims, blocked, plain);
}

pub fn max_pool(mut call: Call<'_>, pooling: &Pooling) {
    let (pool, isa) = call.tools();
    let ([x], [y, _]) = call.parts();
    pooling.max(pool, isa, x, y);
}

pub fn max_pool_grad(mut call: Call<'_>, pooling: &Pooling) {
    let (pool, isa) = call.tools();
    let ([x, dy], [dx, _]) = call.parts();
    pooling.max_grad(pool, isa, x, dy, dx);
}

pub fn avg_pool(mut call: Call<'_>, pooling: &Pooling, include_padding: bool) {
    let (pool, isa) = call.tools();
    let ([x], [y, _]) = call.parts();
    pooling.avg(pool, isa, include_padding, x, y);
}

pub fn avg_pool_grad(mut call: Call<'_>, pooling: &Pooling, include_padding: bool) {
    let (pool, isa) = call.tools();
    let ([dy], [dx, _]) = call.parts();
    pooling.avg_grad(pool, isa, include_padding, dy, dx);
}

pub fn global_avg_pool(mut call: Call<'_>, size: Blocked) {
    let (pool, isa) = call.tools();
    let ([x], [y, _]) = call.parts();
    pooling::global_avg(pool, isa, size, x, y);
}

pub fn global_avg_pool_grad(mut call: Call<'_>, size: Blocked) {
    let (pool, isa) = call.tools();
    let ([dy], [dx, _]) = call.parts();
    pooling::global_avg_grad(pool, isa, size, dy, dx);
}

pub fn elementwise(mut call: Call<'_>, function: Elementwise) {
    let (pool, isa) = call.tools();
    let ([a, b, c], [y, _]) = call.parts();
    match function {
        Elementwise::Relu => elementwise::relu(pool, isa, shared(a), y),
        Elementwise::ReluGrad => elementwise::relu_grad(pool, isa, b, shared(a), y),
        Elementwise::Add => elementwise::add(pool, isa, shared(a), b, y),
        Elementwise::Sub => elementwise::sub(pool, isa, shared(a), b, y),
        Elementwise::Mul => elementwise::mul(pool, isa, shared(a), b, y),
        Elementwise::Div => elementwise::div(pool, isa, shared(a), b, y),
        Elementwise::Max => elementwise::max(pool, isa, shared(a), b, y),
        Elementwise::MaxGrad => elementwise::max_grad(pool, isa, b, c, shared(a), y),
    }
}

pub fn activation(mut call: Call<'_>, function: Activation) {
    let (pool, isa) = call.tools();
    let ([x], [y, _]) = call.parts();
    elementwise::activation(pool, isa, function, shared(x), y);
}

pub fn activation_grad(mut call: Call<'_>, function: Activation) {
    let (pool, isa) = call.tools();
    let ([dy, x], [dx, _]) = call.parts();
    elementwise::activation_grad(pool, isa, function, x, shared(dy), dx);
}

pub fn activation_grad_by_output(mut call: Call<'_>, function: ByOutput) {
    let tools = call.tools();
    let ([dy, y], [dx, _]) = call.parts();
    elementwise::activation_grad_by_output(tools, function, y, shared(dy), dx);
}

pub fn prelu(mut call: Call<'_>, size: Blocked) {
    let (pool, isa) = call.tools();
    let ([x, slope], [y, _]) = call.parts();
    elementwise::prelu(pool, isa, size, slope, shared(x), y);
}

pub fn prelu_grad(mut call: Call<'_>, size: Blocked) {
    let tools = call.tools();
    let ([dy, x, slope], [dx, dslope, scratch]) = call.parts();
    elementwise::prelu_grad(tools, size, (slope, x), shared(dy), (dx, dslope), scratch);
}

fn small(per: Per, numbers: &[f32]) -> Small<'_> {
    match per {
        Per::Plane => Small::PerPlane(numbers),
        Per::Channel => Small::PerChannel(numbers),
        Per::Pixel => Small::PerPixel(numbers),
        Per::All => Small::One(numbers),
    }
}

pub fn broadcast(mut call: Call<'_>, function: &Broadcast, per: Per) {
    let (pool, isa) = call.tools();
    let ([x, numbers], [y, _]) = call.parts();
    function.run(pool, isa, (shared(x), small(per, numbers)), y);
}

pub fn repeat(mut call: Call<'_>, size: Blocked, per: Per) {
    let (pool, isa) = call.tools();
    let ([numbers], [y, _]) = call.parts();
    elementwise::repeat(pool, isa, size, small(per, numbers), y);
}

pub fn softmax(mut call: Call<'_>, softmax: &Softmax) {
    let (pool, isa) = call.tools();
    let ([x], [y, _]) = call.parts();
    softmax.run(pool, isa, x, y);
}

pub fn softmax_grad(mut call: Call<'_>, softmax: &Softmax) {
    let (pool, isa) = call.tools();
    let ([y, dy], [dx, _]) = call.parts();
    softmax.gradient(pool, isa, (y, dy), dx);
}

pub fn global_sum(mut call: Call<'_>, size: Blocked) {
    let (pool, isa) = call.tools();
    let ([x], [y, _]) = call.parts();
    pooling::global_sum(pool, isa, size, x, y);
}

pub fn dropout(mut call: Call<'_>, rate: f32, stream: u64, size: Option<Blocked>) {
    let (pool, isa) = call.tools();
    let mask = DropoutMask::new(rate, call.random.seed, call.random.step, stream);
    let ([x], [y, _]) = call.parts();
    match size {
        Some(size) => elementwise::dropout_blocked(pool, isa, size, (rate, &mask), shared(x), y),
        None => elementwise::dropout(pool, isa, (rate, &mask), shared(x), y),
    }
}

pub fn channel_sum(mut call: Call<'_>, size: Blocked) {
    let (pool, isa) = call.tools();
    let ([x], [sums, scratch]) = call.parts();
    elementwise::channel_sum(pool, isa, size, x, sums, scratch);
}

pub fn column_sum(mut call: Call<'_>) {
    let (pool, isa) = call.tools();
    let ([x], [sums, scratch]) = call.parts();
    elementwise::channel_sum_plain(pool, isa, x, sums, scratch);
}
