//! Convolutions, pooling, normalisations and functions of elements.

use std::f32::consts::{FRAC_1_SQRT_2, PI};

use ocellus_graph::ops::{
    Activation, AvgPool, BatchNorm, BinaryKind, Lrn, LrnRegion, Norm, NormAxes, Statistics, Stepwise,
    StochasticPool,
};
use ocellus_graph::{Node, Op};
use ocellus_tensor::{Padding, Rounding, Window};

use super::DILATED_MEANS;
use super::attribute::Attribute;
use super::graph::Writer;

/// Attributes that are made as they are needed.
pub(super) type Attributes = Vec<(&'static str, Attribute<'static>)>;

/// Writes one of these operations.
pub(super) fn write(writer: &mut Writer, node: &Node) -> Result<(), String> {
    let inputs: Vec<String> = node.inputs.iter().map(|&input| writer.name(input)).collect();
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let Some(&x) = inputs.first() else { return Err("reads nothing".into()) };
    match &node.op {
        Op::Conv2d(conv) => {
            let mut attributes = window_attributes(&conv.window);
            attributes.push(("group", conv.groups.into()));
            writer.last(node, "Conv", &inputs, &attributes);
        }
        Op::ConvTranspose2d(conv) => {
            let mut attributes = window_attributes(&conv.window);
            attributes.push(("group", conv.groups.into()));
            attributes.push(("output_padding", wholes(&conv.output_padding).into()));
            writer.last(node, "ConvTranspose", &inputs, &attributes);
        }
        Op::Linear(_) => writer.last(node, "Gemm", &inputs, &[("transB", true.into())]),
        Op::MaxPool(pool) => match pool.window {
            None => writer.last(node, "GlobalMaxPool", &[x], &[]),
            Some(window) => {
                let window = reaching(writer, node, window, pool.rounding)?;
                writer.last(node, "MaxPool", &[x], &window_attributes(&window));
            }
        },
        Op::AvgPool(pool) => avg_pool(writer, node, x, pool)?,
        Op::StochasticPool(pool) if !pool.active => stochastic_pool(writer, node, x, pool)?,
        Op::BatchNorm(norm) => batch_norm(writer, node, &inputs, norm)?,
        Op::Norm(op) => norm(writer, node, &inputs, op),
        Op::Lrn(op) => lrn(writer, node, x, op),
        Op::Activation(function) => activation(writer, node, x, *function),
        Op::Stepwise(function) => match function {
            Stepwise::Floor => writer.last(node, "Floor", &[x], &[]),
            Stepwise::Round => writer.last(node, "Round", &[x], &[]),
            Stepwise::Held => writer.last(node, "Identity", &[x], &[]),
            Stepwise::Above { threshold } => {
                let threshold = writer.number("threshold", *threshold);
                let above = writer.inner("above", "Greater", &[x, &threshold], &[]);
                writer.last(node, "Cast", &[&above], &[("to", 1_usize.into())]);
            }
        },
        Op::Prelu(_) => {
            // A slope for each channel lines up with the channels.
            let behind = writer.shape(node.inputs[0]).rank().saturating_sub(2);
            let slope = if behind == 0 {
                inputs[1].to_string()
            } else {
                let axes = writer.wholes("axes", (1..=behind as i64).collect());
                writer.inner("slope", "Unsqueeze", &[inputs[1], &axes], &[])
            };
            writer.last(node, "PRelu", &[x, &slope], &[]);
        }
        Op::Dropout(dropout) if !dropout.active => writer.last(node, "Identity", &[x], &[]),
        Op::Binary(binary) => {
            let op = match binary.kind {
                BinaryKind::Add => "Add",
                BinaryKind::Sub => "Sub",
                BinaryKind::Mul => "Mul",
                BinaryKind::Div => "Div",
                BinaryKind::Maximum => "Max",
            };
            writer.last(node, op, &inputs, &[]);
        }
        Op::Softmax(softmax) => {
            let op = if softmax.log { "LogSoftmax" } else { "Softmax" };
            writer.last(node, op, &[x], &[("axis", 1_usize.into())]);
        }
        op => return Err(format!("the operation {} has no form in ONNX", op.name())),
    }
    Ok(())
}

fn wholes(numbers: &[usize]) -> Vec<i64> {
    numbers.iter().map(|&number| number as i64).collect()
}

pub(super) fn window_attributes(window: &Window) -> Attributes {
    let Padding { top, left, bottom, right } = window.padding;
    vec![
        ("kernel_shape", wholes(&window.kernel).into()),
        ("strides", wholes(&window.stride).into()),
        ("dilations", wholes(&window.dilation).into()),
        ("pads", wholes(&[top, left, bottom, right]).into()),
    ]
}

/// A window of AveragePool, which could not be dilated before operator set 19.
fn mean_attributes(writer: &mut Writer, window: &Window) -> Attributes {
    let mut attributes = window_attributes(window);
    if window.dilation == [1, 1] {
        attributes.retain(|(name, _)| *name != "dilations");
    } else {
        writer.needs(DILATED_MEANS);
    }
    attributes
}

/// A window that comes out even: where sizes are rounded up, the padding is made to reach the last window's end, so
/// that no reader has to round up by itself (they differ in how).
pub(super) fn reaching(
    writer: &Writer,
    node: &Node,
    window: Window,
    rounding: Rounding,
) -> Result<Window, String> {
    if rounding == Rounding::Floor {
        return Ok(window);
    }
    let (x, y) = (writer.shape(node.inputs[0]), writer.shape(node.outputs[0]));
    let mut padding = window.padding;
    for axis in 0..2 {
        let (before, after) = padding.along(axis);
        let reached = (y[axis + 2] - 1) * window.stride[axis] + window.reach(axis);
        let after = after + reached.saturating_sub(x[axis + 2] + before + after);
        if axis == 0 {
            padding.bottom = after;
        } else {
            padding.right = after;
        }
    }
    Ok(Window { padding, ..window })
}

/// A mean whose taps beyond the padded image do not count is one whose taps do, times taps over those that count.
fn avg_pool(writer: &mut Writer, node: &Node, x: &str, pool: &AvgPool) -> Result<(), String> {
    let Some(own) = pool.window else {
        writer.last(node, "GlobalAveragePool", &[x], &[]);
        return Ok(());
    };
    let window = reaching(writer, node, own, pool.rounding)?;
    let mut attributes = mean_attributes(writer, &window);
    // Without padding of its own, all that was added to come out even does not count.
    let counts_pad = pool.count_include_pad && own.padding != Padding::all(0);
    attributes.push(("count_include_pad", counts_pad.into()));
    if window == own || !counts_pad {
        writer.last(node, "AveragePool", &[x], &attributes);
        return Ok(());
    }
    let (from, to) = (writer.shape(node.inputs[0]).clone(), writer.shape(node.outputs[0]).clone());
    let counts = |axis: usize| -> Vec<f32> {
        let (before, after) = own.padding.along(axis);
        let padded = from[axis + 2] + before + after;
        let inside = |i: usize| {
            let tap = |t: &usize| i * own.stride[axis] + t * own.dilation[axis] < padded;
            (0..own.kernel[axis]).filter(tap).count()
        };
        (0..to[axis + 2]).map(|i| own.kernel[axis] as f32 / inside(i) as f32).collect()
    };
    let (down, across) = (counts(0), counts(1));
    let factors: Vec<f32> = down.iter().flat_map(|a| across.iter().map(move |b| a * b)).collect();
    let mean = writer.inner("mean", "AveragePool", &[x], &attributes);
    let factors = writer.floats("share", vec![1, 1, to[2] as i64, to[3] as i64], factors);
    writer.last(node, "Mul", &[&mean, &factors], &[]);
    Ok(())
}

/// A mean of the pixels weighted by themselves: the mean of their squares over their mean, where that is above 0.
fn stochastic_pool(writer: &mut Writer, node: &Node, x: &str, pool: &StochasticPool) -> Result<(), String> {
    let (op, attributes) = match pool.window {
        None => ("GlobalAveragePool", Vec::new()),
        Some(own) => {
            let window = reaching(writer, node, own, pool.rounding)?;
            ("AveragePool", mean_attributes(writer, &window))
        }
    };
    let square = writer.inner("square", "Mul", &[x, x], &[]);
    let squares = writer.inner("squares", op, &[&square], &attributes);
    let mean = writer.inner("mean", op, &[x], &attributes);
    let zero = writer.number("zero", 0.0);
    let above = writer.inner("above", "Greater", &[&mean, &zero], &[]);
    let above = writer.inner("above.number", "Cast", &[&above], &[("to", 1_usize.into())]);
    let squares = writer.inner("squares.above", "Mul", &[&squares, &above], &[]);
    let least = writer.number("least", f32::MIN_POSITIVE);
    let mean = writer.inner("divisor", "Max", &[&mean, &least], &[]);
    writer.last(node, "Div", &[&squares, &mean], &[]);
    Ok(())
}

fn batch_norm(writer: &mut Writer, node: &Node, inputs: &[&str], norm: &BatchNorm) -> Result<(), String> {
    if norm.statistics != Statistics::Running {
        return Err("normalises by the batch's statistics, which is the training form".into());
    }
    let eps = [("epsilon", norm.eps.into())];
    if norm.affine {
        writer.last(node, "BatchNormalization", inputs, &eps);
        return Ok(());
    }
    let channels = writer.shape(node.inputs[1]).elements();
    let [gamma, beta] = plain_affine(writer, channels);
    writer.last(node, "BatchNormalization", &[inputs[0], &gamma, &beta, inputs[1], inputs[2]], &eps);
    Ok(())
}

/// A scale of ones and a bias of zeros.
fn plain_affine(writer: &mut Writer, channels: usize) -> [String; 2] {
    [("gamma", 1.0), ("beta", 0.0)]
        .map(|(name, number)| writer.floats(name, vec![channels as i64], vec![number; channels]))
}

fn norm(writer: &mut Writer, node: &Node, inputs: &[&str], norm: &Norm) {
    let x = inputs[0];
    let shape = writer.shape(node.inputs[0]).clone();
    let (rank, channels) = (shape.rank(), shape.get(1).copied().unwrap_or(1));
    let eps = || ("epsilon", norm.eps.into());
    let groups = match norm.axes {
        NormAxes::Channels => {
            let [gamma, beta] = match inputs {
                [_, gamma, beta] => [gamma.to_string(), beta.to_string()],
                _ => plain_affine(writer, channels),
            };
            if rank == 2 {
                writer.last(
                    node,
                    "LayerNormalization",
                    &[x, &gamma, &beta],
                    &[eps(), ("axis", 1_usize.into())],
                );
                return;
            }
            // Channels come last for ONNX's layer normalisation.
            let last: Vec<i64> = [0].into_iter().chain(2..rank as i64).chain([1]).collect();
            let back: Vec<i64> = [0, rank as i64 - 1].into_iter().chain(1..rank as i64 - 1).collect();
            let turned = writer.inner("channels_last", "Transpose", &[x], &[("perm", last.into())]);
            let axis = ("axis", Attribute::Whole(-1));
            let y = writer.inner("norm", "LayerNormalization", &[&turned, &gamma, &beta], &[eps(), axis]);
            writer.last(node, "Transpose", &[&y], &[("perm", back.into())]);
            return;
        }
        NormAxes::Instance if rank > 2 => {
            let [gamma, beta] = match inputs {
                [_, gamma, beta] => [gamma.to_string(), beta.to_string()],
                _ => plain_affine(writer, channels),
            };
            writer.last(node, "InstanceNormalization", &[x, &gamma, &beta], &[eps()]);
            return;
        }
        NormAxes::Instance => channels,
        NormAxes::Groups(groups) => groups,
    };
    // Each group is a channel of its own, of one axis.
    let [ones, zeros] = plain_affine(writer, groups);
    let rows = writer.wholes("groups", vec![0, groups as i64, -1]);
    let rows = writer.inner("grouped", "Reshape", &[x, &rows], &[]);
    let y = writer.inner("norm", "InstanceNormalization", &[&rows, &ones, &zeros], &[eps()]);
    let sizes: Vec<i64> =
        shape.iter().enumerate().map(|(i, &size)| if i == 0 { 0 } else { size as i64 }).collect();
    let sizes = writer.wholes("shape", sizes);
    let [_, gamma, beta] = inputs else {
        writer.last(node, "Reshape", &[&y, &sizes], &[]);
        return;
    };
    let y = writer.inner("ungrouped", "Reshape", &[&y, &sizes], &[]);
    let [gamma, beta] = [("scale", gamma), ("bias", beta)].map(|(name, param)| {
        let axes = writer.wholes(&format!("{name}.axes"), (1..rank as i64 - 1).collect());
        if rank == 2 { param.to_string() } else { writer.inner(name, "Unsqueeze", &[param, &axes], &[]) }
    });
    let y = writer.inner("scaled", "Mul", &[&y, &gamma], &[]);
    writer.last(node, "Add", &[&y, &beta], &[]);
}

fn lrn(writer: &mut Writer, node: &Node, x: &str, op: &Lrn) {
    if op.region == LrnRegion::AcrossChannels {
        let attributes = [
            ("size", op.size.into()),
            ("alpha", op.alpha.into()),
            ("beta", op.beta.into()),
            ("bias", op.k.into()),
        ];
        writer.last(node, "LRN", &[x], &attributes);
        return;
    }
    // x / (k + alpha mean of squares)^beta
    let square = writer.inner("square", "Mul", &[x, x], &[]);
    let half = op.size / 2;
    let window = Window::square(op.size).padding(half);
    let mut attributes = mean_attributes(writer, &window);
    attributes.push(("count_include_pad", true.into()));
    let mean = writer.inner("mean", "AveragePool", &[&square], &attributes);
    let scaled = affine(writer, "base", &mean, (op.alpha, op.k));
    let beta = writer.number("exponent", op.beta);
    let below = writer.inner("below", "Pow", &[&scaled, &beta], &[]);
    writer.last(node, "Div", &[x, &below], &[]);
}

/// scale x + shift on the way.
fn affine(writer: &mut Writer, part: &str, x: &str, (scale, shift): (f32, f32)) -> String {
    let factor = writer.number(&format!("{part}.scale"), scale);
    let scaled = writer.inner(&format!("{part}.scaled"), "Mul", &[x, &factor], &[]);
    let offset = writer.number(&format!("{part}.shift"), shift);
    writer.inner(part, "Add", &[&scaled, &offset], &[])
}

fn activation(writer: &mut Writer, node: &Node, x: &str, function: Activation) {
    let plain = match function {
        Activation::Relu => Some("Relu"),
        Activation::Sigmoid => Some("Sigmoid"),
        Activation::Tanh => Some("Tanh"),
        Activation::HardSwish => Some("HardSwish"),
        Activation::Softplus => Some("Softplus"),
        Activation::Exp => Some("Exp"),
        Activation::Log => Some("Log"),
        Activation::Abs => Some("Abs"),
        Activation::Sqrt => Some("Sqrt"),
        _ => None,
    };
    if let Some(op) = plain {
        writer.last(node, op, &[x], &[]);
        return;
    }
    match function {
        Activation::LeakyRelu { slope } => writer.last(node, "LeakyRelu", &[x], &[("alpha", slope.into())]),
        Activation::Elu { alpha } => writer.last(node, "Elu", &[x], &[("alpha", alpha.into())]),
        Activation::HardSigmoid { alpha, beta } => {
            writer.last(node, "HardSigmoid", &[x], &[("alpha", alpha.into()), ("beta", beta.into())]);
        }
        Activation::Clip { low, high } => {
            let (low, high) = (writer.number("low", low), writer.number("high", high));
            writer.last(node, "Clip", &[x, &low, &high], &[]);
        }
        Activation::Silu => {
            let gate = writer.inner("sigmoid", "Sigmoid", &[x], &[]);
            writer.last(node, "Mul", &[x, &gate], &[]);
        }
        Activation::Gelu => {
            // x (1 + erf(x / sqrt 2)) / 2
            let factor = writer.number("factor", FRAC_1_SQRT_2);
            let inner = writer.inner("inner", "Mul", &[x, &factor], &[]);
            let erf = writer.inner("erf", "Erf", &[&inner], &[]);
            half_of_one_plus(writer, node, x, &erf);
        }
        Activation::GeluTanh => {
            // x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2
            let three = writer.number("three", 3.0);
            let cube = writer.inner("cube", "Pow", &[x, &three], &[]);
            let share = writer.number("cube.share", 0.044_715);
            let cube = writer.inner("cube.scaled", "Mul", &[&cube, &share], &[]);
            let sum = writer.inner("sum", "Add", &[x, &cube], &[]);
            let factor = writer.number("factor", (2.0 / PI).sqrt());
            let inner = writer.inner("inner", "Mul", &[&sum, &factor], &[]);
            let tanh = writer.inner("tanh", "Tanh", &[&inner], &[]);
            half_of_one_plus(writer, node, x, &tanh);
        }
        Activation::Affine { scale, shift } => {
            if shift == 0.0 {
                let factor = writer.number("scale", scale);
                writer.last(node, "Mul", &[x, &factor], &[]);
            } else if scale == 1.0 {
                let offset = writer.number("shift", shift);
                writer.last(node, "Add", &[x, &offset], &[]);
            } else {
                let factor = writer.number("scale", scale);
                let scaled = writer.inner("scaled", "Mul", &[x, &factor], &[]);
                let offset = writer.number("shift", shift);
                writer.last(node, "Add", &[&scaled, &offset], &[]);
            }
        }
        Activation::Power { exponent } => {
            let exponent = writer.number("exponent", exponent);
            writer.last(node, "Pow", &[x, &exponent], &[]);
        }
        _ => {}
    }
}

/// x (1 + gate) / 2.
fn half_of_one_plus(writer: &mut Writer, node: &Node, x: &str, gate: &str) {
    let one = writer.number("one", 1.0);
    let gate = writer.inner("gate", "Add", &[gate, &one], &[]);
    let product = writer.inner("product", "Mul", &[x, &gate], &[]);
    let half = writer.number("half", 0.5);
    writer.last(node, "Mul", &[&product, &half], &[]);
}
