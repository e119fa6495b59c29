//! Pooling and its gradients, in channel blocks.

use ocellus_graph::ops::{AvgPool, MaxPool};
use ocellus_graph::{Op, ValueId};
use ocellus_kernels::elementwise::Blocked;
use ocellus_kernels::pooling::Pooling;
use ocellus_tensor::{Padding, Rounding, Window};

use crate::passes::Group;
use crate::plan::lowering::Lowering;
use crate::plan::step::{Kernel, Step};

/// Any pooling or pooling gradient.
pub fn emit(l: &mut Lowering, group: &Group) -> bool {
    let node = l.graph.node(group.main);
    let image = match &node.op {
        Op::MaxPool(_) | Op::MaxPoolGrad(_) | Op::AvgPool(_) => node.inputs[0],
        Op::AvgPoolGrad(_) => node.outputs[0],
        _ => return false,
    };
    if l.graph.shape(image).rank() != 4 {
        return false;
    }
    let size = l.size(image);
    let kernel = match &node.op {
        Op::MaxPool(pool) => max_pooling(pool, size).map(Kernel::MaxPool),
        Op::MaxPoolGrad(grad) => max_pooling(&grad.pool, size).map(Kernel::MaxPoolGrad),
        Op::AvgPool(pool) => average(pool, size, false),
        Op::AvgPoolGrad(grad) => average(&grad.pool, size, true),
        _ => None,
    };
    let Some(kernel) = kernel else { return false };
    let (inputs, result): (Vec<ValueId>, _) = (node.inputs.clone(), node.outputs[0]);
    let reads: Vec<_> = inputs.into_iter().map(|v| l.blocked(v)).collect();
    let to = l.define_blocked(result);
    l.push(Step::new(&node.name, kernel).reading(reads).writing([to]));
    true
}

pub fn max_pooling(pool: &MaxPool, size: Blocked) -> Option<Pooling> {
    match pool.window {
        Some(window) => Pooling::new(size, window, pool.rounding).ok(),
        None => global_max(size),
    }
}

/// A global maximum is a window as large as the image.
pub fn global_max(size: Blocked) -> Option<Pooling> {
    let whole = Window {
        kernel: [size.height, size.width],
        stride: [1; 2],
        padding: Padding::all(0),
        dilation: [1; 2],
    };
    Pooling::new(size, whole, Rounding::Floor).ok()
}

fn average(pool: &AvgPool, size: Blocked, gradient: bool) -> Option<Kernel> {
    let Some(window) = pool.window else {
        return Some(if gradient {
            Kernel::GlobalAvgPoolGrad { size }
        } else {
            Kernel::GlobalAvgPool { size }
        });
    };
    let pooling = Pooling::new(size, window, pool.rounding).ok()?;
    let include_padding = pool.count_include_pad;
    Some(match gradient {
        true => Kernel::AvgPoolGrad { pooling, include_padding },
        false => Kernel::AvgPool { pooling, include_padding },
    })
}
