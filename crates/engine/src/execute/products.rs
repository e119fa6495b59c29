//! Convolutions and fully connected layers: packing, products, gradients.

use ocellus_kernels::conv::{Clamp, ConvChain, ConvForward, ConvInputGrad, ConvWeightGrad, Epilogue, Worth};
use ocellus_kernels::gemm::{LinearForward, LinearInputGrad, LinearWeightGrad};

use super::{Call, optional};

/// `scale = gamma / sqrt(var + eps)`, `shift = beta + (bias - mean) scale`.
pub fn fold_batch_norm(mut call: Call<'_>, eps: f32) {
    let ([bias, gamma, beta, mean, var], [scale, shift, _]) = call.parts();
    let or = |slice: &[f32], c: usize, absent: f32| slice.get(c).copied().unwrap_or(absent);
    for c in 0..scale.len() {
        scale[c] = or(gamma, c, 1.0) / (var[c] + eps).sqrt();
        shift[c] = or(beta, c, 0.0) + (or(bias, c, 0.0) - mean[c]) * scale[c];
    }
}

pub fn pack_conv(mut call: Call<'_>, recipe: &ConvForward) {
    let (pool, _) = call.tools();
    let ([w, scale], [packed, _]) = call.parts();
    recipe.pack(pool, w, optional(scale), packed);
}

pub fn conv(mut call: Call<'_>, recipe: &ConvForward, clamp: Option<Clamp>, residual_worth: f32) {
    let (pool, _) = call.tools();
    let ([x, packed, bias, residual, sums], [y, scratch]) = call.parts();
    let worth = optional(sums).map(|sum| Worth { sum, residual: residual_worth });
    let epilogue = Epilogue { bias: optional(bias), residual: optional(residual), clamp, worth };
    recipe.run(pool, x, packed, epilogue, scratch, y);
}

pub fn conv_chain(mut call: Call<'_>, recipe: &ConvChain, clamps: [Option<Clamp>; 2]) {
    let (pool, _) = call.tools();
    let ([x, packed, bias, packed_next, bias_next], [y, scratch]) = call.parts();
    let epilogue = |bias, clamp| Epilogue { bias: optional(bias), residual: None, clamp, worth: None };
    let links = [(packed, epilogue(bias, clamps[0])), (packed_next, epilogue(bias_next, clamps[1]))];
    recipe.run(pool, x, links, scratch, y);
}

pub fn pack_conv_input_grad(mut call: Call<'_>, recipe: &ConvInputGrad) {
    let (pool, _) = call.tools();
    let ([w, _], [packed, _]) = call.parts();
    recipe.pack(pool, w, packed);
}

pub fn conv_input_grad(mut call: Call<'_>, recipe: &ConvInputGrad, clamp: Option<Clamp>) {
    let (pool, _) = call.tools();
    let ([dy, packed, bias, add], [dx, scratch]) = call.parts();
    let epilogue = Epilogue { bias: optional(bias), residual: optional(add), clamp, worth: None };
    recipe.run(pool, dy, packed, epilogue, scratch, dx);
}

pub fn conv_weight_grad(mut call: Call<'_>, recipe: &ConvWeightGrad) {
    let (pool, _) = call.tools();
    let ([x, dy], [dw, scratch]) = call.parts();
    recipe.run(pool, x, dy, scratch, dw);
}

pub fn pack_linear(mut call: Call<'_>, recipe: &LinearForward) {
    let (pool, _) = call.tools();
    let ([w, _], [packed, _]) = call.parts();
    recipe.pack(pool, w, packed);
}

pub fn linear(mut call: Call<'_>, recipe: &LinearForward, clamp: Option<Clamp>) {
    let (pool, _) = call.tools();
    let ([x, packed, bias, residual], [y, scratch]) = call.parts();
    let epilogue = Epilogue { bias: optional(bias), residual: optional(residual), clamp, worth: None };
    recipe.run(pool, x, packed, epilogue, scratch, y);
}

pub fn pack_linear_input_grad(mut call: Call<'_>, recipe: &LinearInputGrad) {
    let (pool, _) = call.tools();
    let ([w, _], [packed, _]) = call.parts();
    recipe.pack(pool, w, packed);
}

pub fn linear_input_grad(mut call: Call<'_>, recipe: &LinearInputGrad) {
    let (pool, _) = call.tools();
    let ([dy, packed, add], [dx, scratch]) = call.parts();
    recipe.run(pool, dy, packed, optional(add), scratch, dx);
}

pub fn linear_weight_grad(mut call: Call<'_>, recipe: &LinearWeightGrad) {
    let (pool, _) = call.tools();
    let ([x, dy], [dw, scratch]) = call.parts();
    recipe.run(pool, x, dy, scratch, dw);
}
