//! Sums over all but the channels, and sums, means and maxima of each image's pixels.

use ocellus_graph::ops::{Reduce, ReduceKind};
use ocellus_graph::{Op, ValueId};
use ocellus_kernels::elementwise::{channel_sum_plain_scratch_len, channel_sum_scratch_len};

use super::broadcast::under;
use super::pool::global_max;
use crate::passes::Group;
use crate::plan::lowering::Lowering;
use crate::plan::step::{Kernel, Step};

/// What is left after summing.
enum Left {
    /// Each channel.
    Channels,
    /// Each channel of each image.
    Planes(ReduceKind),
}

/// A sum to a smaller shape, or a reduction over axes.
pub fn emit(l: &mut Lowering, group: &Group) -> bool {
    let node = l.graph.node(group.main);
    let (x, result) = (node.inputs[0], node.outputs[0]);
    let left = match &node.op {
        Op::SumTo(_) => left_of_sum(l, x, result),
        Op::Reduce(reduce) => left_of_axes(reduce, l.graph.shape(x).rank()),
        _ => None,
    };
    match left {
        Some(Left::Channels) => channels(l, group, x, result),
        Some(Left::Planes(kind)) => planes(l, group, [x, result], kind),
        None => false,
    }
}

fn left_of_sum(l: &Lowering, x: ValueId, result: ValueId) -> Option<Left> {
    let rank = l.graph.shape(x).rank();
    let [n, c, ..] = under(l.graph.shape(x), rank)?;
    let [images, channels, rows, columns] = under(l.graph.shape(result), rank)?;
    if channels != c || [rows, columns] != [1, 1] {
        return None;
    }
    match images {
        1 if n > 1 || rank == 2 => Some(Left::Channels),
        images if images == n && rank == 4 => Some(Left::Planes(ReduceKind::Sum)),
        _ => None,
    }
}

fn left_of_axes(reduce: &Reduce, rank: usize) -> Option<Left> {
    match (rank, &reduce.axes[..], reduce.kind) {
        (4, [0, 2, 3], ReduceKind::Sum) | (2, [0], ReduceKind::Sum) => Some(Left::Channels),
        (4, [2, 3], kind) => Some(Left::Planes(kind)),
        _ => None,
    }
}

/// The sum over N, H and W.
fn channels(l: &mut Lowering, group: &Group, x: ValueId, result: ValueId) -> bool {
    let [rows, columns, ..] = l.dims(x);
    let (kernel, from, scratch) = match l.graph.shape(x).rank() {
        4 => {
            let size = l.size(x);
            (Kernel::ChannelSum { size }, l.blocked(x), channel_sum_scratch_len(size))
        }
        _ => (Kernel::ColumnSum, l.plain(x), channel_sum_plain_scratch_len(rows, columns)),
    };
    let to = l.define_plain(result);
    let scratch = l.scratch(scratch);
    let name = &l.graph.node(group.main).name;
    l.push(Step::new(name, kernel).reading([from]).writing([to]).with_scratch(scratch));
    true
}

/// The sum, mean or maximum over H and W.
fn planes(l: &mut Lowering, group: &Group, [x, result]: [ValueId; 2], kind: ReduceKind) -> bool {
    let size = l.size(x);
    let kernel = match kind {
        ReduceKind::Sum => Kernel::GlobalSum { size },
        ReduceKind::Mean => Kernel::GlobalAvgPool { size },
        ReduceKind::Max => match global_max(size) {
            Some(pooling) => Kernel::MaxPool(pooling),
            None => return false,
        },
    };
    let from = l.blocked(x);
    let to = l.define_blocked(result);
    l.push(Step::new(&l.graph.node(group.main).name, kernel).reading([from]).writing([to]));
    true
}
