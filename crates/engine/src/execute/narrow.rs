//! Narrow numbers: conversions, sums, pooling, joined channels.

use ocellus_kernels::conv::Quantised;
use ocellus_kernels::elementwise;
use ocellus_kernels::layout::blocks;
use ocellus_kernels::narrow;
use ocellus_kernels::pairs::pair_images;
use ocellus_kernels::pooling;

use super::{Call, optional, shared};
use crate::plan::{MOST_OPERANDS, Narrow};

pub fn run(mut call: Call<'_>, kernel: &Narrow) {
    let (pool, isa) = call.tools();
    match kernel {
        Narrow::Sum { size, from, to, clamp } => {
            let ([a, b], [y, _]) = call.parts();
            let b = optional(b).map(|b| (b, from[1]));
            narrow::sum(pool, isa, *size, ((a, from[0]), b, *clamp), (y, *to));
        }
        Narrow::Quantise(quantise) => {
            let ([w, scale, shift], [factor, worth, bias, _]) = call.parts();
            quantise.run(w, optional(scale), optional(shift), Quantised { factor, worth, bias });
        }
        Narrow::ToPixels { dims, to } => {
            let ([x], [y, _]) = call.parts();
            narrow::to_pixels(pool, isa, *dims, x, (y, *to));
        }
        Narrow::ReluGrad { size } => {
            let ([dy, y], [dx, _]) = call.parts();
            elementwise::relu_grad_blocked((pool, isa), *size, y, shared(dy), dx);
        }
        Narrow::PairImages { images, format } => {
            let ([x], [y, _]) = call.parts();
            pair_images((pool, isa), (*images, *format), x, y);
        }
        Narrow::MaxPool { pooling, format } => {
            let ([x], [y, _]) = call.parts();
            pooling.max_of(pool, isa, *format, x, y);
        }
        Narrow::AvgPool { pooling, include_padding, format } => {
            let ([x], [y, _]) = call.parts();
            pooling.avg_of((pool, isa), *format, *include_padding, x, y);
        }
        Narrow::GlobalAvgPool { size, codings: [from, to] } => {
            let ([x], [y, _]) = call.parts();
            let factor = from.scale() / to.scale();
            let worth = (from.format(), factor, to.zero() - from.zero() * factor);
            pooling::global_avg_of((pool, isa), *size, worth, x, y);
        }
        Narrow::Join { size, channels, format } => {
            let (reads, [y, _]) = call.parts::<MOST_OPERANDS, 2>();
            let plane = size.pixels() * format.block();
            for (image, y) in y.chunks_exact_mut(size.blocks() * plane).enumerate() {
                let mut first = 0;
                for (part, &channels) in reads.iter().zip(channels) {
                    let len = blocks(channels) * plane;
                    y[first..first + len].copy_from_slice(&part[image * len..][..len]);
                    first += len;
                }
            }
        }
    }
}
