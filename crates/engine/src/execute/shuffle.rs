//! Pixels and channels moved about, in channel blocks.

use ocellus_kernels::elementwise::Blocked;
use ocellus_kernels::shuffle::{self, ChannelPart, Edge, Enlarge, Grid};

use super::Call;
use crate::plan::{Channels, MOST_OPERANDS};

pub fn take_grid(mut call: Call<'_>, grid: &Grid) {
    let (pool, _) = call.tools();
    let ([x], [y, _]) = call.parts();
    grid.take(pool, x, y);
}

pub fn place_grid(mut call: Call<'_>, grid: &Grid, fill: f32) {
    let (pool, _) = call.tools();
    let ([x], [y, _]) = call.parts();
    grid.place(pool, fill, x, y);
}

pub fn pad_edge(mut call: Call<'_>, edge: &Edge) {
    let (pool, _) = call.tools();
    let ([x], [y, _]) = call.parts();
    edge.pad(pool, x, y);
}

pub fn pad_edge_grad(mut call: Call<'_>, edge: &Edge) {
    let (pool, isa) = call.tools();
    let ([dy], [dx, _]) = call.parts();
    edge.gradient(pool, isa, dy, dx);
}

pub fn enlarge(mut call: Call<'_>, enlarge: &Enlarge) {
    let (pool, isa) = call.tools();
    let ([x], [y, _]) = call.parts();
    enlarge.run(pool, isa, x, y);
}

pub fn enlarge_grad(mut call: Call<'_>, enlarge: &Enlarge) {
    let (pool, isa) = call.tools();
    let ([dy], [dx, _]) = call.parts();
    enlarge.gradient(pool, isa, dy, dx);
}

pub fn gather_channels(mut call: Call<'_>, size: Blocked, parts: &[Channels]) {
    let (pool, isa) = call.tools();
    let (reads, [y, _]) = call.parts::<MOST_OPERANDS, 2>();
    let mut sources = [ChannelPart::Zeros(0); MOST_OPERANDS];
    for (source, part) in sources.iter_mut().zip(parts) {
        *source = match *part {
            Channels::Zeros(count) => ChannelPart::Zeros(count),
            Channels::Of { operand, channels, first, count } => {
                ChannelPart::Of { x: reads[operand], channels, first, count }
            }
        };
    }
    shuffle::gather_channels(pool, isa, size, &sources[..parts.len()], y);
}
