//! Convolutions and their gradients, in channel blocks.

use ocellus_graph::ops::Statistics;
use ocellus_graph::{Node, NodeId, Op, ValueId};
use ocellus_kernels::conv::{ConvForward, ConvInputGrad, ConvWeightGrad, InputLayout};
use ocellus_kernels::format::Format;
use ocellus_kernels::layout::BLOCK;
use ocellus_kernels::narrow::Coding;
use ocellus_tensor::ConvGeometry;

use crate::passes::Group;
use crate::plan::lowering::{Lowering, Order};
use crate::plan::step::{Kernel, Step};
use crate::plan::{BufferId, Lifetime};

/// `y = clamp(norm(x * w + b) + other)`, of which everything after the product is optional.
pub fn forward(l: &mut Lowering, group: &Group) -> bool {
    let node = l.graph.node(group.main);
    let Op::Conv2d(conv) = &node.op else { return false };
    let (x, w, bias) = (node.inputs[0], node.inputs[1], node.inputs.get(2).copied());
    let Ok(geometry) = conv.geometry(l.graph.shape(x), l.graph.shape(w)) else { return false };
    let layout = input_layout(l, x, geometry.groups);
    let Some(result) = group.result(l.graph) else { return false };
    let Some(recipe) = forward_recipe(l, geometry, layout, !l.stores_narrow(result)) else { return false };
    let wide = recipe.format() == Format::F32 || !l.stores_narrow(result);

    let from = match (recipe.format(), layout) {
        (Format::F32, _) => in_layout(l, x, layout),
        (_, InputLayout::Blocked) => l.narrow(x),
        _ => l.pixels(x),
    };
    let other = group.add.map(|add| if wide { l.blocked(add.other) } else { l.narrow(add.other) });
    let (scale, bias) = match group.norm {
        Some(norm) => {
            let (scale, shift) = fold(l, norm, bias, geometry.out_channels);
            (Some(scale), Some(shift))
        }
        None => (None, bias.map(|b| l.plain(b))),
    };
    let packed = pack(l, w, recipe.packed_len(), scale, Kernel::PackConv(recipe.clone()));
    let to = if wide { l.define_blocked(result) } else { l.define_narrow(result) };
    let scratch = l.scratch(recipe.scratch_len(l.options.threads));
    let kernel = Kernel::Conv { recipe, clamp: group.clamp(l.graph), residual_worth: 1.0 };
    let step = Step::new(l.group_name(group), kernel).with_macs(geometry.macs());
    l.push(step.reading([Some(from), Some(packed), bias, other]).writing([to]).with_scratch(scratch));
    true
}

/// The quickest recipe that the options allow: bf16 numbers in plans that train with them, Winograd's algorithm where it
/// beats what there is besides, `f32` where nothing else is.
fn choose<R>(
    l: &Lowering,
    winograd: impl Fn(Format) -> Option<R>,
    narrow: impl Fn() -> Option<R>,
    wide: impl Fn() -> Option<R>,
) -> Option<R> {
    let narrow = if l.trains_narrow() { narrow() } else { None };
    let rival = if narrow.is_some() { Format::Bf16 } else { Format::F32 };
    let winograd = if l.options.exact { None } else { winograd(rival) };
    winograd.or(narrow).or_else(wide)
}

/// The recipe of a convolution; a result of bf16 products is `f32` if `wide`.
fn forward_recipe(
    l: &Lowering,
    geometry: ConvGeometry,
    layout: InputLayout,
    wide: bool,
) -> Option<ConvForward> {
    let isa = l.options.isa;
    let of_narrow = if layout == InputLayout::Plain { InputLayout::Pixels } else { layout };
    let winograd = |rival| match layout {
        InputLayout::Blocked => ConvForward::winograd(geometry, isa, rival),
        _ => None,
    };
    let narrow = || ConvForward::narrow(geometry, isa, of_narrow, (Coding::Bf16, wide));
    choose(l, winograd, narrow, || ConvForward::new(geometry, isa, layout))
}

fn input_gradient_recipe(l: &Lowering, geometry: ConvGeometry, wide: bool) -> Option<ConvInputGrad> {
    let isa = l.options.isa;
    let winograd = |rival| ConvInputGrad::winograd(geometry, isa, rival);
    let narrow = || ConvInputGrad::narrow(geometry, isa, wide);
    choose(l, winograd, narrow, || ConvInputGrad::new(geometry, isa))
}

fn weight_gradient_recipe(
    l: &Lowering,
    geometry: ConvGeometry,
    layout: InputLayout,
) -> Option<ConvWeightGrad> {
    let isa = l.options.isa;
    let winograd = |rival| match layout {
        InputLayout::Blocked => ConvWeightGrad::winograd(geometry, isa, rival),
        _ => None,
    };
    let narrow = || ConvWeightGrad::narrow(geometry, isa, layout);
    choose(l, winograd, narrow, || ConvWeightGrad::new(geometry, isa, layout))
}

/// What a convolution, or one of its gradients, reads tensors in channel blocks as.
pub fn format_of(l: &Lowering, node: &Node) -> Option<Format> {
    let blocks = InputLayout::Blocked;
    match &node.op {
        Op::Conv2d(conv) => {
            let geometry =
                conv.geometry(l.graph.shape(node.inputs[0]), l.graph.shape(node.inputs[1])).ok()?;
            Some(forward_recipe(l, geometry, blocks, true)?.format())
        }
        Op::Conv2dGradInput(grad) => Some(input_gradient_recipe(l, grad.geometry, true)?.format()),
        Op::Conv2dGradWeight(grad) => Some(weight_gradient_recipe(l, grad.geometry, blocks)?.format()),
        _ => None,
    }
}

/// Images of few channels in one group are read as they come; everything else in blocks.
fn input_layout(l: &Lowering, x: ValueId, groups: usize) -> InputLayout {
    let few_channels = l.graph.shape(x)[1] < BLOCK && groups == 1;
    match few_channels && l.lies_plain(x) {
        true => InputLayout::Plain,
        false => InputLayout::Blocked,
    }
}

fn in_layout(l: &mut Lowering, x: ValueId, layout: InputLayout) -> BufferId {
    match layout {
        InputLayout::Plain => l.plain(x),
        InputLayout::Blocked => l.blocked(x),
        InputLayout::Pixels => l.pixels(x),
    }
}

/// The numbers by which BatchNorm with constant statistics scales and shifts each channel.
pub fn fold(l: &mut Lowering, norm: NodeId, bias: Option<ValueId>, channels: usize) -> (BufferId, BufferId) {
    let node = l.graph.node(norm);
    let Op::BatchNorm(attributes) = &node.op else { unreachable!("only BatchNorm is folded") };
    debug_assert_eq!(attributes.statistics, Statistics::Running);
    let operands = match attributes.affine {
        true => {
            [bias, Some(node.inputs[1]), Some(node.inputs[2]), Some(node.inputs[3]), Some(node.inputs[4])]
        }
        false => [bias, None, None, Some(node.inputs[1]), Some(node.inputs[2])],
    };
    let operands = operands.map(|v| v.map(|v| l.plain(v)));
    let scale = l.buffer(format!("{}.scale", node.name), channels, Lifetime::Persistent);
    let shift = l.buffer(format!("{}.shift", node.name), channels, Lifetime::Persistent);
    let step = Step::new(format!("fold {}", node.name), Kernel::FoldBatchNorm { eps: attributes.eps });
    l.prepare.push(step.reading(operands).writing([scale, shift]));
    (scale, shift)
}

/// Lays weights out for a kernel: once if they never change, else each time.
pub fn pack(l: &mut Lowering, w: ValueId, len: usize, scale: Option<BufferId>, kernel: Kernel) -> BufferId {
    let constant = l.is_constant_value(w);
    let name = format!("pack {}", l.graph.value(w).name);
    let packed = l.buffer(&name, len, Lowering::packed_lifetime(constant));
    let from = l.plain(w);
    l.push_packing(Step::new(name, kernel).reading([Some(from), scale]).writing([packed]), constant);
    packed
}

/// `dx = dy * w transposed (+ other)`.
pub fn input_gradient(l: &mut Lowering, group: &Group) -> bool {
    let node = l.graph.node(group.main);
    let Op::Conv2dGradInput(grad) = &node.op else { return false };
    let (geometry, dy, w) = (grad.geometry, node.inputs[0], node.inputs[1]);
    let Some(result) = group.result(l.graph) else { return false };
    let Some(recipe) = input_gradient_recipe(l, geometry, !l.stores_narrow(result)) else { return false };
    let wide = recipe.format() == Format::F32 || !l.stores_narrow(result);
    let from = if recipe.format() == Format::F32 { l.blocked(dy) } else { l.narrow(dy) };
    let other = group.add.map(|add| if wide { l.blocked(add.other) } else { l.narrow(add.other) });
    let packed = pack(l, w, recipe.packed_len(), None, Kernel::PackConvInputGrad(recipe.clone()));
    let to = if wide { l.define_blocked(result) } else { l.define_narrow(result) };
    let scratch = l.scratch(recipe.scratch_len(l.options.threads));
    let kernel = Kernel::ConvInputGrad { recipe, clamp: None };
    let step = Step::new(l.group_name(group), kernel).with_macs(geometry.macs());
    l.push(step.reading([Some(from), Some(packed), None, other]).writing([to]).with_scratch(scratch));
    true
}

/// `y = clamp(x * w transposed + b)`: the input gradient of a convolution from y to x.
pub fn transposed(l: &mut Lowering, group: &Group) -> bool {
    let node = l.graph.node(group.main);
    let Op::ConvTranspose2d(conv) = &node.op else { return false };
    let (x, w, bias) = (node.inputs[0], node.inputs[1], node.inputs.get(2).copied());
    let Ok(geometry) = conv.geometry(l.graph.shape(x), l.graph.shape(w)) else { return false };
    let Some(recipe) = ConvInputGrad::new(geometry, l.options.isa) else { return false };
    let Some(result) = group.result(l.graph) else { return false };
    let from = l.blocked(x);
    let bias = bias.map(|b| l.plain(b));
    let packed = pack(l, w, recipe.packed_len(), None, Kernel::PackConvInputGrad(recipe.clone()));
    let to = l.define_blocked(result);
    let scratch = l.scratch(recipe.scratch_len(l.options.threads));
    let kernel = Kernel::ConvInputGrad { recipe, clamp: group.clamp(l.graph) };
    let step = Step::new(l.group_name(group), kernel).with_macs(geometry.macs());
    l.push(step.reading([Some(from), Some(packed), bias]).writing([to]).with_scratch(scratch));
    true
}

/// `dw = x correlated with dy`.
pub fn weight_gradient(l: &mut Lowering, group: &Group) -> bool {
    let node = l.graph.node(group.main);
    let Op::Conv2dGradWeight(grad) = &node.op else { return false };
    let (geometry, x, dy): (ConvGeometry, _, _) = (grad.geometry, node.inputs[0], node.inputs[1]);
    let layout = input_layout(l, x, geometry.groups);
    let Some(recipe) = weight_gradient_recipe(l, geometry, layout) else { return false };
    let (from, gradient) = match recipe.format() {
        Format::F32 => (in_layout(l, x, layout), l.blocked(dy)),
        _ if layout == InputLayout::Plain => (l.pairs(x, Order::Plain), l.pairs(dy, Order::Blocked)),
        _ => (l.pairs(x, Order::Blocked), l.pairs(dy, Order::Blocked)),
    };
    let to = l.define_plain(node.outputs[0]);
    let scratch = l.scratch(recipe.scratch_len(l.options.threads));
    let step = Step::new(l.group_name(group), Kernel::ConvWeightGrad(recipe)).with_macs(geometry.macs());
    l.push(step.reading([from, gradient]).writing([to]).with_scratch(scratch));
    true
}
