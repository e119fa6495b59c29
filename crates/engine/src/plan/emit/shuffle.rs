//! Parts of images and channels taken out, put together and padded, without leaving channel blocks.

use ocellus_graph::ops::{Pad, PadMode, Slice};
use ocellus_graph::{Op, ValueId};
use ocellus_kernels::elementwise::Blocked;
use ocellus_kernels::shuffle::Grid;

use crate::passes::Group;
use crate::plan::lowering::Lowering;
use crate::plan::step::{Channels, Kernel, MOST_OPERANDS, Step};

/// Slices, pads, their gradients, and joined channels.
pub fn emit(l: &mut Lowering, group: &Group) -> bool {
    let node = l.graph.node(group.main);
    let (inputs, result) = (node.inputs.clone(), node.outputs[0]);
    // What lies in plain order stays there: converting it would cost more than the copy.
    if l.graph.shape(result).rank() != 4 || inputs.iter().all(|&v| l.lies_plain(v)) {
        return false;
    }
    let (outer, inner) = (l.size(inputs[0]), l.size(result));
    let kernel = match &node.op {
        Op::Slice(slice) => take(slice, outer),
        Op::SliceGrad(grad) => put_back(&grad.slice, inner),
        Op::Pad(pad) => border(pad, outer, inner),
        Op::PadGrad(grad) => unborder(&grad.pad, outer, inner),
        Op::Concat(concat) if concat.axis == 1 && inputs.len() <= MOST_OPERANDS => {
            Some(join(l, &inputs, inner))
        }
        _ => None,
    };
    let Some(kernel) = kernel else { return false };
    let reads: Vec<_> = inputs.into_iter().map(|v| l.blocked(v)).collect();
    let to = l.define_blocked(result);
    l.push(Step::new(&l.graph.node(group.main).name, kernel).reading(reads).writing([to]));
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

fn border(pad: &Pad, image: Blocked, outer: Blocked) -> Option<Kernel> {
    let PadMode::Constant(fill) = pad.mode else { return None };
    match (image.channels == outer.channels, image.pixels() == outer.pixels()) {
        (true, _) => Some(Kernel::PlaceGrid { grid: inside(pad, outer, image), fill }),
        (false, true) if fill == 0.0 => Some(between_zeros(outer, image.channels, pad.channels)),
        _ => None,
    }
}

fn unborder(pad: &Pad, outer: Blocked, image: Blocked) -> Option<Kernel> {
    let PadMode::Constant(_) = pad.mode else { return None };
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

fn join(l: &Lowering, inputs: &[ValueId], size: Blocked) -> Kernel {
    let part = |(operand, &value): (usize, &ValueId)| {
        let channels = l.size(value).channels;
        Channels::Of { operand, channels, first: 0, count: channels }
    };
    Kernel::GatherChannels { size, parts: inputs.iter().enumerate().map(part).collect() }
}
