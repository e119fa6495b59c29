//! Two tensors of which one is repeated over the other, in channel blocks.

use ocellus_graph::ops::BinaryKind;
use ocellus_graph::{Op, ValueId};
use ocellus_kernels::elementwise::{Broadcast, Pair, SmallSide};
use ocellus_tensor::Shape;

use crate::passes::Group;
use crate::plan::BufferId;
use crate::plan::lowering::Lowering;
use crate::plan::step::{Kernel, Per, Step};

/// `f(a, b)` where one has the result's shape.
pub fn binary(l: &mut Lowering, group: &Group) -> bool {
    let node = l.graph.node(group.main);
    let Op::Binary(binary) = &node.op else { return false };
    let (a, b, result) = (node.inputs[0], node.inputs[1], node.outputs[0]);
    let shape = l.graph.shape(result);
    let (large, small, side) = match (l.graph.shape(a) == shape, l.graph.shape(b) == shape) {
        (true, false) => (a, b, SmallSide::Second),
        (false, true) => (b, a, SmallSide::First),
        _ => return false,
    };
    let Some(per) = per(l, small, result) else { return false };
    let pair = match binary.kind {
        BinaryKind::Add => Pair::Add,
        BinaryKind::Sub => Pair::Sub,
        BinaryKind::Mul => Pair::Mul,
        BinaryKind::Div => Pair::Div,
        BinaryKind::Maximum => Pair::Maximum,
    };
    let function = Broadcast { size: l.size(result), pair, side };
    let reads = [l.blocked(large), numbers(l, small, per)];
    let y = l.define_blocked(result);
    let kernel = Kernel::Broadcast { function, small: per };
    l.push(Step::new(&node.name, kernel).reading(reads).writing([y]).sharing(0));
    true
}

/// A tensor repeated.
pub fn repeat(l: &mut Lowering, group: &Group) -> bool {
    let node = l.graph.node(group.main);
    let (small, result) = (node.inputs[0], node.outputs[0]);
    let Some(per) = per(l, small, result) else { return false };
    let size = l.size(result);
    let from = numbers(l, small, per);
    let y = l.define_blocked(result);
    l.push(Step::new(&node.name, Kernel::Repeat { size, small: per }).reading([from]).writing([y]));
    true
}

/// A shape's sizes under those of an image: lined up from the right, missing axes 1. Rows are images of one pixel.
pub fn under(shape: &Shape, rank: usize) -> Option<[usize; 4]> {
    let mut dims = [1; 4];
    let missing = rank.checked_sub(shape.rank())?;
    match rank {
        2 | 4 => dims[missing..rank].copy_from_slice(shape),
        _ => return None,
    }
    Some(dims)
}

/// What `small` has numbers for, seen from `result`.
fn per(l: &Lowering, small: ValueId, result: ValueId) -> Option<Per> {
    let rank = l.graph.shape(result).rank();
    let [n, c, h, w] = under(l.graph.shape(result), rank)?;
    let dims = under(l.graph.shape(small), rank)?;
    let blocked = !l.lies_plain(small) && l.graph.shape(small).rank() == rank;
    match dims {
        [1, 1, 1, 1] => Some(Per::All),
        // One image's channels may be read in whichever order they lie.
        [1, channels, 1, 1] if channels == c && !(n == 1 && blocked) => Some(Per::Channel),
        [images, channels, 1, 1] if images == n && channels == c => Some(Per::Plane),
        [images, 1, height, width] if (images == 1 || images == n) && [height, width] == [h, w] => {
            Some(Per::Pixel)
        }
        _ => None,
    }
}

fn numbers(l: &mut Lowering, small: ValueId, per: Per) -> BufferId {
    match per {
        Per::Plane => l.blocked(small),
        Per::Channel | Per::Pixel | Per::All => l.plain(small),
    }
}
