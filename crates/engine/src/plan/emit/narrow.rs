//! Inference in narrow numbers: convolutions with what follows them, fully connected layers, pooling, sums and joined
//! channels. What has no narrow kernel runs in `f32`, between conversions.

use ocellus_graph::ops::{Activation, AvgPool, BinaryKind};
use ocellus_graph::{NodeId, Op, ValueId};
use ocellus_kernels::conv::{Clamp, ConvForward, InputLayout, Quantise};
use ocellus_kernels::format::Format;
use ocellus_kernels::layout::BLOCK;
use ocellus_kernels::narrow::Coding;
use ocellus_tensor::{ConvGeometry, Window};

use super::conv::{fold, pack};
use super::pool::max_pooling;
use crate::passes::{Group, Home, joins_in_place, parts};
use crate::plan::lowering::Lowering;
use crate::plan::step::{Kernel, MOST_OPERANDS, Step};
use crate::plan::{BufferId, Lifetime, Narrow};

/// Most images of a fully connected layer for which its weights are worth reading once for each.
const FEW_IMAGES: usize = 4;

/// Lowers a group if it runs in narrow numbers.
pub fn emit(l: &mut Lowering, group: &Group) -> bool {
    let node = l.graph.node(group.main);
    if l.trains_narrow() {
        // Sums and ReLUs are the same in training; all else has steps of its own there.
        let is_sum = matches!(node.op, Op::Activation(_) | Op::Binary(_));
        return is_sum && l.stores_narrow(node.outputs[0]) && sum(l, group.main);
    }
    if !l.is_narrow() {
        return false;
    }
    match &node.op {
        Op::Conv2d(_) => conv(l, group),
        Op::Linear(_) => linear(l, group),
        Op::MaxPool(_) | Op::AvgPool(_) => pool(l, group.main),
        Op::Activation(_) | Op::Binary(_) => sum(l, group.main),
        Op::Concat(_) => join(l, group.main),
        _ => false,
    }
}

/// Whether an operation of this kind may read narrow numbers.
fn reads_narrow(op: &Op) -> bool {
    matches!(
        op,
        Op::Conv2d(_)
            | Op::Linear(_)
            | Op::MaxPool(_)
            | Op::AvgPool(_)
            | Op::Activation(Activation::Relu | Activation::Clip { .. })
            | Op::Binary(_)
            | Op::Concat(_)
            | Op::Reshape(_)
            | Op::Dropout(_)
    )
}

/// Whether nobody wants this value in narrow numbers.
fn is_wide(l: &Lowering, value: ValueId) -> bool {
    let is_output = l.graph.outputs().iter().any(|o| o.value == value);
    let nodes = l.graph.nodes().iter();
    let mut readers = nodes.filter(|node| node.inputs.contains(&value)).peekable();
    is_output || readers.peek().is_none() || !readers.any(|node| reads_narrow(&node.op))
}

/// `y = clamp(norm(x * w + b) + other)`, of which everything after the product is optional.
fn conv(l: &mut Lowering, group: &Group) -> bool {
    let node = l.graph.node(group.main);
    let Op::Conv2d(conv) = &node.op else { return false };
    let (x, w) = (node.inputs[0], node.inputs[1]);
    let Ok(geometry) = conv.geometry(l.graph.shape(x), l.graph.shape(w)) else { return false };
    let few_channels = geometry.in_channels < BLOCK && geometry.groups == 1;
    let layout = match few_channels && l.lies_plain(x) {
        true => InputLayout::Pixels,
        false => InputLayout::Blocked,
    };
    product(l, group, geometry, layout)
}

/// `y = clamp(x w^T + b + other)`: a convolution of images of one pixel.
fn linear(l: &mut Lowering, group: &Group) -> bool {
    let node = l.graph.node(group.main);
    let (x, w) = (l.graph.shape(node.inputs[0]), l.graph.shape(node.inputs[1]));
    if x.rank() != 2 || x[0] > FEW_IMAGES {
        return false;
    }
    let geometry = ConvGeometry {
        batch: x[0],
        in_channels: x[1],
        out_channels: w[0],
        groups: 1,
        input: [1, 1],
        output: [1, 1],
        window: Window::square(1),
    };
    product(l, group, geometry, InputLayout::Blocked)
}

fn product(l: &mut Lowering, group: &Group, geometry: ConvGeometry, layout: InputLayout) -> bool {
    let node = l.graph.node(group.main);
    let (x, w, bias) = (node.inputs[0], node.inputs[1], node.inputs.get(2).copied());
    let Some(result) = group.result(l.graph) else { return false };
    let wide = is_wide(l, result);
    let of_result = if wide { Some(Coding::F32) } else { l.coding(result) };
    let (Some(of_x), Some(of_y)) = (l.coding(x), of_result) else { return false };
    let of_other = match group.add.map(|add| if wide { Some(Coding::F32) } else { l.coding(add.other) }) {
        Some(None) => return false,
        of_other => of_other.flatten(),
    };
    let recipe = ConvForward::narrow(geometry, l.options.isa, layout, (of_x, wide));
    let Some(recipe) = recipe.filter(|_| l.is_constant_value(w)) else { return false };
    let from = match layout {
        InputLayout::Pixels => l.pixels(x),
        _ => l.narrow(x),
    };
    let other = group.add.map(|add| if wide { l.blocked(add.other) } else { l.narrow(add.other) });
    let (scale, shift) = match group.norm {
        Some(norm) => {
            let (scale, shift) = fold(l, norm, bias, geometry.out_channels);
            (Some(scale), Some(shift))
        }
        None => (None, bias.map(|b| l.plain(b))),
    };
    let quantise = Quantise { x: of_x, y: of_y, residual: of_other };
    let (scale, bias, worth) = match of_x {
        Coding::U8 { .. } => {
            let [factor, worth, bias] = quantised(l, quantise, w, [scale, shift], geometry.out_channels);
            (Some(factor), Some(bias), Some(worth))
        }
        _ => (scale, shift, None),
    };
    let packed = pack(l, w, recipe.packed_len(), scale, Kernel::PackConv(recipe.clone()));
    let to = if wide { l.define_blocked(result) } else { l.define_narrow(result) };
    let scratch = l.scratch(recipe.scratch_len(l.options.threads));
    // Bytes end at 0 and 255 by themselves.
    let says_more = |clamp: &Clamp| of_y.format() != Format::U8 || clamp.low > 0.0 || clamp.high < 255.0;
    let clamp = group.clamp(l.graph).map(|clamp| of_y.clamp(clamp)).filter(says_more);
    let kernel = Kernel::Conv { recipe, clamp, residual_worth: quantise.residual_worth() };
    let step = Step::new(l.group_name(group), kernel).with_macs(geometry.macs());
    let reads = [Some(from), Some(packed), bias, other, worth];
    l.push(step.reading(reads).writing([to]).with_scratch(scratch));
    true
}

/// The numbers that a convolution of bytes needs for each output channel: factors of the weights, worth of the sums, bias.
fn quantised(
    l: &mut Lowering,
    quantise: Quantise,
    w: ValueId,
    [scale, shift]: [Option<BufferId>; 2],
    channels: usize,
) -> [BufferId; 3] {
    let name = l.graph.value(w).name.clone();
    let from = l.plain(w);
    let writes = ["factor", "worth", "bias"]
        .map(|what| l.buffer(format!("{name}.{what}"), channels, Lifetime::Persistent));
    let step = Step::new(format!("quantise {name}"), Kernel::Narrow(Narrow::Quantise(quantise)));
    l.prepare.push(step.reading([Some(from), scale, shift]).writing(writes));
    writes
}

fn pool(l: &mut Lowering, id: NodeId) -> bool {
    let node = l.graph.node(id);
    let (x, result) = (node.inputs[0], node.outputs[0]);
    if l.graph.shape(x).rank() != 4 || !l.lies_narrow(x) {
        return false;
    }
    let size = l.size(x);
    let (Some(from), Some(to)) = (l.coding(x), l.coding(result)) else { return false };
    let kernel = match &node.op {
        Op::AvgPool(AvgPool { window: None, .. }) => Narrow::GlobalAvgPool { size, codings: [from, to] },
        _ if from != to => return false,
        Op::AvgPool(AvgPool { window: Some(window), rounding, count_include_pad }) => {
            let Ok(pooling) = ocellus_kernels::pooling::Pooling::new(size, *window, *rounding) else {
                return false;
            };
            // Padding counts as the byte 0, which must stand for 0 then.
            if *count_include_pad && from.zero() != 0.0 {
                return false;
            }
            Narrow::AvgPool { pooling, include_padding: *count_include_pad, format: from.format() }
        }
        Op::MaxPool(pool) => {
            let Some(pooling) = max_pooling(pool, size) else { return false };
            Narrow::MaxPool { pooling, format: from.format() }
        }
        _ => return false,
    };
    let from = l.narrow(x);
    let to = l.define_narrow(result);
    l.push(Step::new(&node.name, Kernel::Narrow(kernel)).reading([from]).writing([to]));
    true
}

/// ReLU and other bounds, and sums of equal shapes, of what lies in narrow numbers.
fn sum(l: &mut Lowering, id: NodeId) -> bool {
    let node = l.graph.node(id);
    let clamp = match node.op {
        Op::Activation(Activation::Relu) => Some(Clamp::RELU),
        Op::Activation(Activation::Clip { low, high }) => Some(Clamp { low, high }),
        Op::Binary(binary) if binary.kind == BinaryKind::Add => None,
        _ => return false,
    };
    let (inputs, result) = (&node.inputs, node.outputs[0]);
    let same_shape = inputs.iter().all(|&v| l.graph.shape(v) == l.graph.shape(result));
    let few_lie_narrow = 2 * inputs.iter().filter(|&&v| l.lies_narrow(v)).count() < inputs.len();
    if !same_shape
        || l.graph.shape(result).rank() != 4
        || few_lie_narrow
        || (is_wide(l, result) && !l.stores_narrow(result))
    {
        return false;
    }
    let (codings, to): (Option<Vec<Coding>>, _) =
        (inputs.iter().map(|&v| l.coding(v)).collect(), l.coding(result));
    let (Some(codings), Some(to)) = (codings, to) else { return false };
    let from = [codings[0], *codings.get(1).unwrap_or(&Coding::F32)];
    let size = l.size(result);
    let reads: Vec<BufferId> = inputs.iter().map(|&v| l.narrow(v)).collect();
    let y = l.define_narrow(result);
    let kernel = Kernel::Narrow(Narrow::Sum { size, from, to, clamp });
    l.push(Step::new(&node.name, kernel).reading(reads).writing([y]));
    true
}

/// Channels side by side, if each part but the last fills its blocks.
fn join(l: &mut Lowering, id: NodeId) -> bool {
    let node = l.graph.node(id);
    let Op::Concat(concat) = &node.op else { return false };
    let (inputs, whole) = (&node.inputs, node.outputs[0]);
    let rank = l.graph.shape(whole).rank();
    let (_, first) = inputs.split_last().expect("a concatenation has parts");
    let whole_blocks = first.iter().all(|&part| l.graph.shape(part)[1].is_multiple_of(BLOCK));
    let lie_narrow = inputs.iter().filter(|&&v| l.lies_narrow(v)).count();
    let coding = l.coding(whole);
    let same = coding.is_some() && inputs.iter().all(|&v| l.coding(v) == coding);
    if concat.axis != 1 || rank != 4 || !whole_blocks || !same || 2 * lie_narrow < inputs.len() {
        return false;
    }
    if joins_in_place(l.graph, id) {
        for (value, channel) in parts(l.graph, id) {
            let (from, home) = (l.narrow(value), Home { whole, channel });
            if !l.lies_narrow_at(from, home) {
                let size = l.size(value);
                let to = l.narrow_part(format!("{} part", node.name), home, size.channels);
                put_together(l, &node.name, size, &[(from, size.channels)], to, coding);
            }
        }
        l.define_narrow(whole);
        return true;
    }
    if inputs.len() > MOST_OPERANDS {
        return false;
    }
    let parts: Vec<_> = inputs.iter().map(|&v| (l.narrow(v), l.size(v).channels)).collect();
    let (size, to) = (l.size(whole), l.define_narrow(whole));
    put_together(l, &node.name, size, &parts, to, coding);
    true
}

fn put_together(
    l: &mut Lowering,
    name: &str,
    size: ocellus_kernels::elementwise::Blocked,
    parts: &[(BufferId, usize)],
    to: BufferId,
    coding: Option<Coding>,
) {
    let format = coding.map_or(Coding::F32, |coding| coding).format();
    let channels = parts.iter().map(|&(_, channels)| channels).collect();
    let kernel = Kernel::Narrow(Narrow::Join { size, channels, format });
    l.push(Step::new(name, kernel).reading(parts.iter().map(|&(buffer, _)| buffer)).writing([to]));
}
