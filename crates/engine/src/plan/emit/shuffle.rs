//! Parts of images and channels taken out, put together and padded, without leaving channel blocks.

use ocellus_graph::ops::{Interpolation, Pad, PadMode, Slice, Upsample};
use ocellus_graph::{Op, ValueId};
use ocellus_kernels::elementwise::Blocked;
use ocellus_kernels::shuffle::{Edge, Enlarge, Grid};

use crate::passes::{Group, Home, joins_in_place, parts};
use crate::plan::lowering::Lowering;
use crate::plan::step::{Channels, Kernel, MOST_OPERANDS, Step};
use crate::plan::{BufferId, Lifetime};

/// Slices, pads, their gradients, and joined channels.
pub fn emit(l: &mut Lowering, group: &Group) -> bool {
    let node = l.graph.node(group.main);
    let (inputs, result) = (node.inputs.clone(), node.outputs[0]);
    // What lies in plain order stays there: converting it would cost more than the copy.
    if l.graph.shape(result).rank() != 4 || inputs.iter().all(|&v| l.lies_plain(v)) {
        return false;
    }
    if matches!(&node.op, Op::Concat(concat) if concat.axis == 1) {
        match joins_in_place(l.graph, group.main) {
            true => join_in_place(l, group, result),
            false => join(l, group, &inputs, result),
        }
        return true;
    }
    let (outer, inner) = (l.size(inputs[0]), l.size(result));
    let kernel = match &node.op {
        Op::Slice(slice) => take(slice, outer),
        Op::SliceGrad(grad) => put_back(&grad.slice, inner),
        Op::Pad(pad) => border(pad, outer, inner),
        Op::PadGrad(grad) => unborder(&grad.pad, outer, inner),
        _ => None,
    };
    let Some(kernel) = kernel else { return false };
    let reads: Vec<_> = inputs.into_iter().map(|v| l.blocked(v)).collect();
    let to = l.define_blocked(result);
    l.push(Step::new(&l.graph.node(group.main).name, kernel).reading(reads).writing([to]));
    true
}

/// Enlargement and its gradient.
pub fn enlarge(l: &mut Lowering, group: &Group) -> bool {
    let node = l.graph.node(group.main);
    let (from, result) = (node.inputs[0], node.outputs[0]);
    let sizes = |upsample: &Upsample, input: Blocked| Enlarge {
        input,
        factor: upsample.factor,
        bilinear: upsample.interpolation == Interpolation::Bilinear,
    };
    let kernel = match &node.op {
        Op::Upsample(upsample) => Kernel::Enlarge(sizes(upsample, l.size(from))),
        Op::UpsampleGrad(grad) => Kernel::EnlargeGrad(sizes(&grad.upsample, l.size(result))),
        _ => return false,
    };
    let x = l.blocked(from);
    let y = l.define_blocked(result);
    l.push(Step::new(&node.name, kernel).reading([x]).writing([y]));
    true
}

/// The grid of pixels that a slice along height or width takes.
fn grid(slice: &Slice, outer: Blocked) -> Option<Grid> {
    let (mut start, mut step, mut count) = ([0; 2], [1; 2], [outer.height, outer.width]);
    let axis = slice.axis.checked_sub(2)?;
    (start[axis], step[axis], count[axis]) = (slice.start, slice.step, slice.count);
    Some(Grid { outer, start, step, count })
}

fn take(slice: &Slice, outer: Blocked) -> Option<Kernel> {
    if slice.axis == 1 && slice.step == 1 {
        let size = Blocked { channels: slice.count, ..outer };
        let part =
            Channels::Of { operand: 0, channels: outer.channels, first: slice.start, count: slice.count };
        return Some(Kernel::GatherChannels { size, parts: vec![part] });
    }
    Some(Kernel::TakeGrid(grid(slice, outer)?))
}

fn put_back(slice: &Slice, outer: Blocked) -> Option<Kernel> {
    if slice.axis == 1 && slice.step == 1 {
        let after = outer.channels - slice.start - slice.count;
        return Some(between_zeros(outer, slice.count, [slice.start, after]));
    }
    Some(Kernel::PlaceGrid { grid: grid(slice, outer)?, fill: 0.0 })
}

fn between_zeros(size: Blocked, count: usize, [before, after]: [usize; 2]) -> Kernel {
    let middle = Channels::Of { operand: 0, channels: count, first: 0, count };
    Kernel::GatherChannels { size, parts: vec![Channels::Zeros(before), middle, Channels::Zeros(after)] }
}

/// Where the image lies inside its border.
fn inside(pad: &Pad, outer: Blocked, image: Blocked) -> Grid {
    Grid {
        outer,
        start: [pad.padding.top, pad.padding.left],
        step: [1; 2],
        count: [image.height, image.width],
    }
}

/// A border made of the image's own pixels, if it is one.
fn edge(pad: &Pad, image: Blocked) -> Option<Edge> {
    let reflect = match pad.mode {
        PadMode::Constant(_) => return None,
        PadMode::Reflect => true,
        PadMode::Replicate => false,
    };
    Some(Edge { image, padding: pad.padding, reflect })
}

fn border(pad: &Pad, image: Blocked, outer: Blocked) -> Option<Kernel> {
    let PadMode::Constant(fill) = pad.mode else { return edge(pad, image).map(Kernel::PadEdge) };
    match (image.channels == outer.channels, image.pixels() == outer.pixels()) {
        (true, _) => Some(Kernel::PlaceGrid { grid: inside(pad, outer, image), fill }),
        (false, true) if fill == 0.0 => Some(between_zeros(outer, image.channels, pad.channels)),
        _ => None,
    }
}

fn unborder(pad: &Pad, outer: Blocked, image: Blocked) -> Option<Kernel> {
    let PadMode::Constant(_) = pad.mode else { return edge(pad, image).map(Kernel::PadEdgeGrad) };
    match (image.channels == outer.channels, image.pixels() == outer.pixels()) {
        (true, _) => Some(Kernel::TakeGrid(inside(pad, outer, image))),
        (false, true) => {
            let count = image.channels;
            let part = Channels::Of { operand: 0, channels: outer.channels, first: pad.channels[0], count };
            Some(Kernel::GatherChannels { size: image, parts: vec![part] })
        }
        _ => None,
    }
}

/// Most parts have been made in place; the others are copied there.
fn join_in_place(l: &mut Lowering, group: &Group, whole: ValueId) {
    let graph = l.graph;
    for (value, channel) in parts(graph, group.main) {
        let (from, home) = (l.blocked(value), Home { whole, channel });
        if l.lies_at(from, home) {
            continue;
        }
        let (name, size) = (&graph.node(group.main).name, l.size(value));
        let to = l.part(format!("{name} part"), home, size.channels);
        let all = Channels::Of { operand: 0, channels: size.channels, first: 0, count: size.channels };
        let kernel = Kernel::GatherChannels { size, parts: vec![all] };
        l.push(Step::new(name, kernel).reading([from]).writing([to]));
    }
    l.define_blocked(whole);
}

/// Puts channels side by side, as many tensors at a time as a step may read: what is joined so far is the first part of
/// the next step.
fn join(l: &mut Lowering, group: &Group, inputs: &[ValueId], result: ValueId) {
    let name = &l.graph.node(group.main).name;
    let mut left = inputs;
    let mut joined: Option<(BufferId, usize)> = None;
    while !left.is_empty() {
        let (now, later) = left.split_at(left.len().min(MOST_OPERANDS - usize::from(joined.is_some())));
        left = later;
        let mut reads: Vec<(BufferId, usize)> = joined.into_iter().collect();
        reads.extend(now.iter().map(|&value| (l.blocked(value), l.size(value).channels)));
        let channels = reads.iter().map(|(_, channels)| channels).sum();
        let size = Blocked { channels, ..l.size(result) };
        let to = match left {
            [] => l.define_blocked(result),
            _ => l.buffer(format!("{name} so far"), size.elements(), Lifetime::Steps),
        };
        let all = |(operand, &(_, channels)): (usize, &(_, usize))| Channels::Of {
            operand,
            channels,
            first: 0,
            count: channels,
        };
        let parts = reads.iter().enumerate().map(all).collect();
        let reads = reads.iter().map(|&(buffer, _)| buffer);
        l.push(Step::new(name, Kernel::GatherChannels { size, parts }).reading(reads).writing([to]));
        joined = Some((to, channels));
    }
}
