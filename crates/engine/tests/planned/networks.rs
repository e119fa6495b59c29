//! The networks that are run both ways: small, awkward, and together through every kernel.

use ocellus_graph::ops::{Activation, Interpolation, Lrn, LrnRegion, PadMode, Slice};
use ocellus_graph::{BatchNormSpec, Builder, Conv, ConvTranspose, Dense, ValueId};
use ocellus_tensor::{Padding, Window};

/// One network to run both ways.
pub struct Case {
    /// What it is called in messages.
    pub name: &'static str,
    /// Describes it.
    pub build: fn(&mut Builder, ValueId) -> ValueId,
    /// Shape of its input.
    pub input: [usize; 4],
    /// Largest difference, relative to the largest number of the tensor.
    pub tolerance: f32,
    /// Parts of the names of steps that have no fast kernel.
    pub by_reference: &'static [&'static str],
}

pub const CASES: &[Case] = &[
    case("lenet", lenet, [3, 1, 20, 20], 2e-5),
    case("residual", residual, [4, 3, 13, 11], 1e-4),
    RESIDUAL_WIDE,
    // Slices of what comes in plain order stay in plain order.
    Case {
        name: "option A shortcut",
        build: option_a,
        input: [3, 16, 8, 8],
        tolerance: 1e-4,
        by_reference: &["rows", "cols", "half", "short"],
    },
    case("fire", fire, [2, 20, 9, 7], 2e-5),
    case("windows", windows, [2, 5, 17, 15], 2e-5),
    case("groups and depthwise", grouped, [2, 32, 10, 9], 2e-5),
    case("pooling", pooling, [2, 19, 12, 13], 2e-5),
    case("activations", activations, [2, 17, 5, 6], 2e-5),
    case("gates and broadcasting", gates, [3, 18, 6, 5], 1e-4),
    case("twenty branches", branches, [2, 6, 5, 4], 2e-5),
    case("one pixel", one_pixel, [5, 7, 1, 1], 1e-4),
    case("borders and enlargement", borders, [2, 5, 9, 8], 2e-5),
    case("transposed", transposed, [2, 20, 5, 4], 2e-5),
    case("learned slopes and rows", rows, [6, 21, 4, 3], 1e-4),
    case("joined in place", dense, [1, 16, 9, 7], 2e-5),
    case("normalised by image", by_image, [3, 20, 7, 6], 1e-4),
    case("reductions", reductions, [3, 19, 6, 7], 2e-5),
];

/// Residual blocks whose channels fill their blocks.
pub const RESIDUAL_WIDE: Case = case("residual of whole blocks", residual_wide, [2, 16, 14, 14], 1e-4);

/// A case of which every step has a fast kernel.
const fn case(
    name: &'static str,
    build: fn(&mut Builder, ValueId) -> ValueId,
    input: [usize; 4],
    tolerance: f32,
) -> Case {
    Case { name, build, input, tolerance, by_reference: &[] }
}

fn classify(b: &mut Builder, x: ValueId) -> ValueId {
    let pooled = b.global_avg_pool("pool", x);
    let flat = b.flatten("flat", pooled);
    b.linear("fc", flat, Dense::new(7))
}

fn conv_norm_relu(b: &mut Builder, name: &str, x: ValueId, conv: Conv) -> ValueId {
    let y = b.conv2d(name, x, conv.no_bias());
    let y = b.batch_norm(&format!("{name}.bn"), y, BatchNormSpec::default());
    b.relu(&format!("{name}.relu"), y)
}

fn lenet(b: &mut Builder, x: ValueId) -> ValueId {
    let x = b.conv2d("conv1", x, Conv::new(20, 5));
    let x = b.max_pool("pool1", x, Window::square(2).stride(2));
    let x = b.conv2d("conv2", x, Conv::new(50, 5));
    let x = b.max_pool("pool2", x, Window::square(2).stride(2));
    let x = b.flatten("flat", x);
    let x = b.linear("fc1", x, Dense::new(30));
    let x = b.relu("relu1", x);
    b.linear("fc2", x, Dense::new(10))
}

fn residual_block(b: &mut Builder, x: ValueId, out: usize, stride: usize) -> ValueId {
    let y = conv_norm_relu(b, "a", x, Conv::new(out, 1));
    let y = conv_norm_relu(b, "b", y, Conv::new(out, 3).stride(stride).padding(1));
    let y = b.conv2d("c", y, Conv::new(2 * out, 1).no_bias());
    let y = b.batch_norm("c.bn", y, BatchNormSpec::default());
    let short = b.conv2d("short", x, Conv::new(2 * out, 1).stride(stride).no_bias());
    let short = b.batch_norm("short.bn", short, BatchNormSpec::default());
    let sum = b.add("sum", y, short);
    b.relu("out", sum)
}

fn residual(b: &mut Builder, x: ValueId) -> ValueId {
    let x = conv_norm_relu(b, "stem", x, Conv::new(12, 7).stride(2).padding(3));
    let x = b.max_pool("stem.pool", x, Window::square(3).stride(2).padding(1));
    let x = b.scope("block1", |b| residual_block(b, x, 10, 1));
    let x = b.scope("block2", |b| residual_block(b, x, 18, 2));
    classify(b, x)
}

fn residual_wide(b: &mut Builder, x: ValueId) -> ValueId {
    let x = b.scope("block1", |b| residual_block(b, x, 16, 1));
    let x = b.scope("block2", |b| residual_block(b, x, 32, 2));
    classify(b, x)
}

fn option_a(b: &mut Builder, x: ValueId) -> ValueId {
    let y = conv_norm_relu(b, "a", x, Conv::new(32, 3).stride(2).padding(1));
    let y = b.conv2d("b", y, Conv::new(32, 3).padding(1).no_bias());
    let y = b.batch_norm("b.bn", y, BatchNormSpec::default());
    let rows = b.slice("rows", x, Slice { axis: 2, start: 0, step: 2, count: 4 });
    let cols = b.slice("cols", rows, Slice { axis: 3, start: 0, step: 2, count: 4 });
    let zeros = b.affine("zeros", cols, 0.0, 0.0);
    let half = b.slice("half", zeros, Slice { axis: 1, start: 0, step: 1, count: 8 });
    let short = b.concat("short", &[half, cols, half]);
    let sum = b.add("sum", y, short);
    let y = b.relu("out", sum);
    classify(b, y)
}

fn fire(b: &mut Builder, x: ValueId) -> ValueId {
    let s = b.conv2d("squeeze", x, Conv::new(9, 1));
    let s = b.relu("squeeze.relu", s);
    let e1 = b.conv2d("expand1", s, Conv::new(16, 1));
    let e1 = b.relu("expand1.relu", e1);
    let e3 = b.conv2d("expand3", s, Conv::new(21, 3).padding(1));
    let e3 = b.relu("expand3.relu", e3);
    let y = b.concat("concat", &[e1, e3]);
    let y = b.conv2d("last", y, Conv::new(7, 1));
    let pooled = b.global_avg_pool("pool", y);
    b.flatten("flat", pooled)
}

fn windows(b: &mut Builder, x: ValueId) -> ValueId {
    let sides = Padding { top: 2, left: 0, bottom: 1, right: 3 };
    let x = b.conv2d("asymmetric", x, Conv::new(17, 3).padding_sides(sides));
    let x = b.conv2d("strided", x, Conv::new(33, 3).stride(3).padding(2));
    let x = b.conv2d("dilated", x, Conv::new(6, 3).dilation(2).padding(2));
    let x = b.conv2d("even", x, Conv::new(40, 2));
    let x = b.conv2d("pointwise", x, Conv::new(3, 1).stride(2));
    classify(b, x)
}

fn grouped(b: &mut Builder, x: ValueId) -> ValueId {
    let x = b.conv2d("wide groups", x, Conv::new(64, 3).padding(1).groups(2));
    let x = b.conv2d("narrow groups", x, Conv::new(64, 3).stride(2).padding(1).groups(16));
    let x = b.conv2d("depthwise", x, Conv::new(64, 3).padding(1).groups(64));
    let x = b.conv2d("depthwise strided", x, Conv::new(64, 5).stride(2).padding(2).groups(64));
    classify(b, x)
}

fn pooling(b: &mut Builder, x: ValueId) -> ValueId {
    let x = b.max_pool("overlapping", x, Window::square(3).stride(2).padding(1));
    let x = b.avg_pool("average", x, Window::square(2));
    let x = b.max_pool_ceil("ceil", x, Window::square(2).stride(2));
    let x = b.avg_pool_ceil("ceil average", x, Window::square(3).stride(2).padding(1));
    let top = b.global_max_pool("top", x);
    let flat = b.flatten("flat", top);
    b.linear("fc", flat, Dense::new(7))
}

fn activations(b: &mut Builder, x: ValueId) -> ValueId {
    let mut x = b.conv2d("conv", x, Conv::new(21, 1));
    let functions = [
        Activation::LeakyRelu { slope: 0.1 },
        Activation::Elu { alpha: 1.0 },
        Activation::Silu,
        Activation::HardSwish,
        Activation::Gelu,
        Activation::Softplus,
        Activation::Tanh,
        Activation::Sigmoid,
        Activation::Clip { low: 0.2, high: 0.7 },
    ];
    for (i, f) in functions.into_iter().enumerate() {
        x = b.activation(&format!("f{i}"), x, f);
    }
    classify(b, x)
}

fn gates(b: &mut Builder, x: ValueId) -> ValueId {
    let y = b.conv2d("conv", x, Conv::new(18, 3).padding(1));
    let squeezed = b.global_avg_pool("squeeze", y);
    let gate = b.conv2d("gate", squeezed, Conv::new(18, 1));
    let gate = b.sigmoid("gate.sigmoid", gate);
    let y = b.mul("scaled", y, gate);
    let y = b.batch_norm("bn", y, BatchNormSpec::default());
    let normed = b.batch_norm("bn2", y, BatchNormSpec::default());
    let y = b.add("itself", normed, y);
    let y = b.maximum("max", y, x);
    let y = b.sub("sub", y, x);
    classify(b, y)
}

fn one_pixel(b: &mut Builder, x: ValueId) -> ValueId {
    let y = conv_norm_relu(b, "a", x, Conv::new(16, 1));
    let y = conv_norm_relu(b, "b", y, Conv::new(20, 3).padding(1));
    classify(b, y)
}

fn branches(b: &mut Builder, x: ValueId) -> ValueId {
    let parts: Vec<ValueId> =
        (0..20).map(|i| b.conv2d(&format!("branch{i}"), x, Conv::new(1 + i % 3, 1))).collect();
    let y = b.concat("all", &parts);
    let y = b.dropout("dropout", y, 0.3);
    classify(b, y)
}

fn borders(b: &mut Builder, x: ValueId) -> ValueId {
    let sides = Padding { top: 2, left: 3, bottom: 1, right: 0 };
    let x = b.conv2d("conv", x, Conv::new(18, 1));
    let x = b.pad("mirrored", x, sides, PadMode::Reflect);
    let x = b.upsample("nearest", x, 2, Interpolation::Nearest);
    let x = b.pad("repeated", x, sides, PadMode::Replicate);
    let x = b.upsample("bilinear", x, 3, Interpolation::Bilinear);
    let x = b.conv2d("mirrored conv", x, Conv::new(7, 3).padding(1).pad_mode(PadMode::Reflect));
    classify(b, x)
}

fn transposed(b: &mut Builder, x: ValueId) -> ValueId {
    let x = b.conv_transpose2d("up", x, ConvTranspose::new(Conv::new(18, 3).stride(2).padding(1)));
    let x = b.relu("up.relu", x);
    let x = b.conv_transpose2d("up2", x, ConvTranspose::new(Conv::new(5, 4).stride(2)).output_padding(1));
    classify(b, x)
}

fn rows(b: &mut Builder, x: ValueId) -> ValueId {
    let x = b.conv2d("conv", x, Conv::new(33, 1));
    let x = b.prelu("prelu", x);
    let pooled = b.global_avg_pool("pool", x);
    let x = b.flatten("flat", pooled);
    let x = b.linear("fc1", x, Dense::new(40).no_bias());
    let x = b.batch_norm("bn", x, BatchNormSpec::default());
    let x = b.prelu("prelu2", x);
    let x = b.softmax("softmax", x);
    let x = b.linear("fc2", x, Dense::new(19));
    let x = b.log_softmax("log softmax", x);
    b.linear("fc3", x, Dense::new(7))
}

fn reductions(b: &mut Builder, x: ValueId) -> ValueId {
    let x = b.conv2d("conv", x, Conv::new(19, 3).padding(1).no_bias());
    let mean = b.reduce_mean("mean", x, &[2, 3], true);
    let centred = b.sub("centred", x, mean);
    let top = b.reduce_max("top", centred, &[2, 3], true);
    let scaled = b.div("scaled", centred, top);
    let x = b.scale("scale", scaled);
    let x = b.relu("relu", x);
    let sum = b.reduce_sum("sum", x, &[2, 3], false);
    b.linear("fc", sum, Dense::new(7))
}

fn by_image(b: &mut Builder, x: ValueId) -> ValueId {
    let x = b.conv2d("conv", x, Conv::new(36, 3).padding(1));
    let x = b.group_norm("groups", x, 4);
    let x = b.instance_norm("instance", x);
    let x = b.conv2d("conv2", x, Conv::new(21, 1));
    let x = b.layer_norm("layer", x);
    let x = b.lrn("across", x, lrn(5, LrnRegion::AcrossChannels));
    let x = b.lrn("within", x, lrn(3, LrnRegion::WithinChannel));
    let x = b.activation("gelu", x, Activation::Gelu);
    let x = b.global_avg_pool("pool", x);
    let x = b.flatten("flat", x);
    let x = b.linear("fc", x, Dense::new(18));
    let x = b.layer_norm("rows", x);
    b.linear("fc2", x, Dense::new(7))
}

fn lrn(size: usize, region: LrnRegion) -> Lrn {
    Lrn { size, alpha: 0.5, beta: 0.75, k: 1.0, region }
}

/// Concatenations inside concatenations, of a value twice, of what is joined already, of blocks not filled.
fn dense(b: &mut Builder, x: ValueId) -> ValueId {
    let mut all = b.conv2d("first", x, Conv::new(32, 3).padding(1));
    for i in 0..3 {
        let y = b.relu(&format!("relu{i}"), all);
        let y = b.conv2d(&format!("grow{i}"), y, Conv::new(16, 3).padding(1));
        all = b.concat(&format!("join{i}"), &[all, y]);
    }
    let squeezed = b.conv2d("squeeze", all, Conv::new(16, 1));
    let pooled = b.max_pool("widest", all, Window::square(3).padding(1));
    let odd = b.conv2d("odd", squeezed, Conv::new(21, 1));
    let y = b.concat("twice", &[squeezed, pooled, squeezed, x, odd]);
    let z = b.concat("again", &[pooled, y]);
    let w = b.concat("not filled", &[odd, squeezed]);
    let z = b.conv2d("last", z, Conv::new(12, 1));
    let w = b.conv2d("last too", w, Conv::new(12, 1));
    let sum = b.add("sum", z, w);
    classify(b, sum)
}
