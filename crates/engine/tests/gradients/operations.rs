//! Each operation alone, on awkward shapes.

use std::sync::Arc;

use ocellus_graph::ops::{
    Activation, ArgMax, AvgPool, BroadcastTo, Concat, Conv2dGradInput, Conv2dGradWeight, CustomOp,
    Interpolation, Lrn, LrnRegion, MaxPool, Norm, NormAxes, OneHot, Pad, PadMode, Prelu, Reshape, Slice,
    Stepwise, StochasticPool, SumTo, Upsample,
};
use ocellus_graph::{BatchNormSpec, Builder, Conv, ConvTranspose, Dense, Op, ValueId};
use ocellus_tensor::{ConvGeometry, Padding, Rounding, Shape, Tensor, Window};

use crate::runner::{Case, Fill, Input, check_all};

const fn input(name: &'static str, shape: &'static [usize], fill: Fill) -> Input {
    Input { name, shape, fill }
}

/// A case of one operation, without parameters, on inputs of either sign.
fn unary(name: &str, shape: &'static [usize], fill: Fill, op: Op) -> Case {
    Case::new(name, &[input("x", shape, fill)], move |b, v| vec![b.node("y", op.clone(), v)])
}

/// A case of one layer that the builder makes, on one input of either sign.
fn layer(
    name: &str,
    shape: &'static [usize],
    build: impl Fn(&mut Builder, ValueId) -> ValueId + 'static,
) -> Case {
    Case::new(name, &[input("x", shape, Fill::Signed)], move |b, v| vec![build(b, v[0])])
}

const UNEVEN: Padding = Padding { top: 1, left: 0, bottom: 2, right: 1 };

#[test]
fn convolutions() {
    let odd = Window { kernel: [3, 2], stride: [2, 1], padding: UNEVEN, dilation: [1, 2] };
    let reflect = || Conv::new(2, 3).padding(2).pad_mode(PadMode::Reflect);
    let replicate = || Conv::new(2, 3).padding_sides(UNEVEN).pad_mode(PadMode::Replicate);
    check_all(&[
        layer("plain", &[2, 3, 5, 4], |b, x| b.conv2d("conv", x, Conv::new(5, 3).padding(1))),
        layer("odd", &[2, 3, 7, 6], move |b, x| b.conv2d("conv", x, Conv::new(5, 1).window(odd))),
        layer("1x1", &[3, 5, 2, 3], |b, x| b.conv2d("conv", x, Conv::new(7, 1).no_bias())),
        layer("1x1 with stride", &[1, 3, 5, 6], |b, x| b.conv2d("conv", x, Conv::new(2, 1).stride(3))),
        layer("one pixel", &[2, 3, 1, 1], |b, x| b.conv2d("conv", x, Conv::new(2, 3).padding(1))),
        layer("groups", &[2, 6, 5, 5], |b, x| {
            b.conv2d("conv", x, Conv::new(9, 3).groups(3).stride(2).padding(1))
        }),
        layer("depthwise", &[2, 5, 6, 5], |b, x| {
            b.conv2d("conv", x, Conv::new(10, 3).groups(5).dilation(2).padding(2))
        }),
        layer("reflected", &[1, 3, 4, 5], move |b, x| b.conv2d("conv", x, reflect())),
        layer("replicated", &[1, 3, 4, 5], move |b, x| b.conv2d("conv", x, replicate())),
        layer("large strides", &[1, 2, 11, 10], |b, x| {
            b.conv2d("conv", x, Conv::new(3, 3).stride(4).padding(2).dilation(3))
        }),
    ]);
}

#[test]
fn the_convolution_triangle_is_closed() {
    let window = Window { kernel: [3, 2], stride: [2, 1], padding: UNEVEN, dilation: [1, 2] };
    let (input_size, groups) = ([7, 6], 2);
    let output = window.output(input_size, Rounding::Floor).expect("fits");
    assert_eq!(output, [4, 5]);
    let geometry =
        ConvGeometry { batch: 2, in_channels: 4, out_channels: 6, groups, input: input_size, output, window };
    let (x, w, dy) = (&[2, 4, 7, 6], &[6, 2, 3, 2], &[2, 6, 4, 5]);
    let inputs = [input("dy", dy, Fill::Signed), input("w", w, Fill::Signed)];
    let by_input = Op::Conv2dGradInput(Conv2dGradInput { geometry });
    let by_weight = Op::Conv2dGradWeight(Conv2dGradWeight { geometry });
    check_all(&[
        Case::new("gradient by input", &inputs, move |b, v| vec![b.node("dx", by_input.clone(), v)]),
        Case::new(
            "gradient by weight",
            &[input("x", x, Fill::Signed), input("dy", dy, Fill::Signed)],
            move |b, v| vec![b.node("dw", by_weight.clone(), v)],
        ),
    ]);
}

#[test]
fn transposed_convolutions() {
    let enlarge = || ConvTranspose::new(Conv::new(6, 3).stride(2).padding(1).groups(2)).output_padding(1);
    let odd = Window { kernel: [2, 3], stride: [3, 1], padding: UNEVEN, dilation: [2, 1] };
    let odd = move || ConvTranspose::new(Conv::new(5, 1).window(odd).no_bias());
    check_all(&[
        layer("enlarging in groups", &[2, 4, 3, 4], move |b, x| b.conv_transpose2d("up", x, enlarge())),
        layer("odd", &[2, 3, 4, 5], move |b, x| b.conv_transpose2d("up", x, odd())),
    ]);
}

#[test]
fn linear_layers() {
    check_all(&[
        layer("with bias", &[3, 5], |b, x| b.linear("fc", x, Dense::new(4))),
        layer("without", &[1, 7], |b, x| b.linear("fc", x, Dense::new(1).no_bias())),
    ]);
}

#[test]
fn pooling() {
    let overlapping = Window::square(3).stride(2).padding(1);
    let odd = Window { kernel: [2, 3], stride: [2, 2], padding: UNEVEN, dilation: [2, 1] };
    let windows = [Some(overlapping), Some(odd), Some(Window::square(2).stride(2)), None];
    let mut cases = Vec::new();
    for (window, rounding) in windows.into_iter().flat_map(|w| [(w, Rounding::Floor), (w, Rounding::Ceil)]) {
        let name = format!("{window:?} {rounding:?}");
        let max = Op::MaxPool(MaxPool { window, rounding });
        cases.push(unary(&name, &[2, 3, 7, 6], Fill::Distinct, max));
        for count_include_pad in [true, false] {
            let mean = Op::AvgPool(AvgPool { window, rounding, count_include_pad });
            cases.push(unary(&format!("{name} {count_include_pad}"), &[2, 3, 7, 6], Fill::Signed, mean));
        }
    }
    check_all(&cases);
}

#[test]
fn stochastic_pooling() {
    let odd = Window { kernel: [2, 3], stride: [2, 2], padding: UNEVEN, dilation: [2, 1] };
    let windows = [Some(Window::square(3).stride(2)), Some(odd), None];
    let mut cases = Vec::new();
    for (window, rounding) in windows.into_iter().flat_map(|w| [(w, Rounding::Floor), (w, Rounding::Ceil)]) {
        let op = Op::StochasticPool(StochasticPool { window, rounding, active: false, stream: 2 });
        let case = || unary(&format!("{window:?} {rounding:?}"), &[2, 3, 7, 6], Fill::Positive, op.clone());
        cases.extend([case(), case().training()]);
    }
    check_all(&cases);
}

#[test]
fn batch_normalisation() {
    let plain = |affine| BatchNormSpec { affine, ..BatchNormSpec::default() };
    let mut cases = Vec::new();
    for (shape, affine) in [(&[2, 3, 4, 3][..], true), (&[2, 3, 4, 3], false), (&[5, 3], true)] {
        let case =
            || layer(&format!("{shape:?} {affine}"), shape, move |b, x| b.batch_norm("bn", x, plain(affine)));
        cases.push(case());
        cases.push(case().training());
    }
    check_all(&cases);
}

#[test]
fn normalisation_of_each_image() {
    let mut cases = Vec::new();
    for axes in [NormAxes::Groups(2), NormAxes::Groups(1), NormAxes::Instance, NormAxes::Channels] {
        for affine in [true, false] {
            let norm = Norm { axes, eps: 1e-3, affine };
            cases.push(layer(&format!("{norm:?}"), &[2, 4, 3, 2], move |b, x| b.norm("norm", x, norm)));
        }
    }
    let vector = Norm { axes: NormAxes::Channels, eps: 1e-3, affine: true };
    cases.push(layer("a vector", &[3, 5], move |b, x| b.norm("norm", x, vector)));
    check_all(&cases);
}

#[test]
fn local_response_normalisation() {
    let lrn = |size, region| Op::Lrn(Lrn { size, alpha: 0.9, beta: 0.75, k: 1.5, region });
    check_all(&[
        unary("across", &[2, 7, 2, 3], Fill::Signed, lrn(5, LrnRegion::AcrossChannels)),
        unary("within", &[2, 2, 5, 4], Fill::Signed, lrn(3, LrnRegion::WithinChannel)),
    ]);
}

#[test]
fn activations() {
    // Inputs lie between 0.1 and 1.1 of either sign, or are positive: no kink of these is near.
    let signed = [
        Activation::Relu,
        Activation::LeakyRelu { slope: 0.1 },
        Activation::LeakyRelu { slope: -0.3 },
        Activation::Elu { alpha: 1.3 },
        Activation::Sigmoid,
        Activation::Tanh,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Silu,
        Activation::HardSwish,
        Activation::HardSigmoid { alpha: 0.2, beta: 0.5 },
        Activation::Softplus,
        Activation::Exp,
        Activation::Abs,
        Activation::Affine { scale: -1.5, shift: 0.3 },
        Activation::Power { exponent: 3.0 },
    ];
    let positive = [Activation::Log, Activation::Sqrt, Activation::Power { exponent: -0.5 }];
    let apart = [
        Activation::Clip { low: -0.5, high: 0.5 },
        Activation::HardSwish,
        Activation::HardSigmoid { alpha: -0.7, beta: 0.5 },
        Activation::Gelu,
        Activation::Softplus,
    ];
    const APART: Fill = Fill::Values(&[-5.0, -2.9, -0.6, -0.4, 0.2, 0.6, 0.8, 2.9, 4.0]);
    let case = |fill| move |a| unary(&format!("{a:?}"), &[2, 3, 2, 3], fill, Op::Activation(a));
    let cases = signed.map(case(Fill::Signed)).into_iter();
    let cases = cases.chain(positive.map(case(Fill::Positive))).chain(apart.map(case(APART)));
    check_all(&cases.collect::<Vec<_>>());
    let slopes = |count: &'static [usize]| {
        let inputs = [input("x", &[2, 3, 2, 3], Fill::Signed), input("slope", count, Fill::Signed)];
        Case::new("prelu", &inputs, |b, v| vec![b.node("y", Op::Prelu(Prelu), v)])
    };
    check_all(&[slopes(&[3]), slopes(&[1]), layer("prelu layer", &[4, 5], |b, x| b.prelu("prelu", x))]);
}

/// Nothing is learned through a step: x round(x) grows by round(x), x floor(x) by floor(x), and so on.
#[test]
fn steps_are_constants() {
    let gated = |op: Op| {
        let inputs = [input("x", &[2, 5], Fill::Values(&[-1.7, -0.8, 0.2, 0.7, 1.3]))];
        Case::new(format!("{op:?}"), &inputs, move |b, v| {
            let step = b.node("step", op.clone(), &[v[0]]);
            vec![b.mul("y", v[0], step)]
        })
    };
    let steps = [Stepwise::Floor, Stepwise::Round, Stepwise::Above { threshold: 0.5 }].map(Op::Stepwise);
    let place = Op::ArgMax(ArgMax { axis: 1, keep: true, last: false });
    let mut cases: Vec<Case> = steps.into_iter().chain([place]).map(gated).collect();
    let inputs = [input("x", &[2, 3], Fill::Values(&[0.2, 1.7, -0.8]))];
    cases.push(Case::new("one hot".to_string(), &inputs, |b, v| {
        let place = b.node("place", Op::Stepwise(Stepwise::Floor), &[v[0]]);
        let vectors = b.node("vectors", Op::OneHot(OneHot { classes: 3 }), &[place]);
        let rows = b.node("rows", Op::Reshape(Reshape { dims: vec![0, 9] }), &[vectors]);
        let wide = b.concat("wide", &[v[0], v[0], v[0]]);
        vec![b.mul("y", wide, rows)]
    }));
    check_all(&cases);
}

#[test]
fn dropout() {
    let drop = || layer("dropout", &[3, 4, 5], |b, x| b.dropout("drop", x, 0.4));
    check_all(&[drop(), drop().training()]);
}

#[test]
fn arithmetic_with_broadcasting() {
    type Two = fn(&mut Builder, ValueId, ValueId) -> ValueId;
    let kinds: [(&str, Two); 5] = [
        ("add", |b, x, y| b.add("z", x, y)),
        ("sub", |b, x, y| b.sub("z", x, y)),
        ("mul", |b, x, y| b.mul("z", x, y)),
        ("div", |b, x, y| b.div("z", x, y)),
        ("maximum", |b, x, y| b.maximum("z", x, y)),
    ];
    let shapes: [[&'static [usize]; 2]; 5] = [
        [&[2, 3, 2, 2], &[2, 3, 2, 2]],
        [&[2, 3, 2, 2], &[3, 1, 1]],
        [&[2, 1, 2, 1], &[1, 3, 1, 4]],
        [&[], &[2, 3]],
        [&[5], &[2, 3, 5]],
    ];
    let mut cases = Vec::new();
    for (name, op) in kinds {
        for [a, b] in shapes {
            let inputs = [input("a", a, Fill::Signed), input("b", b, Fill::Signed)];
            let name = format!("{name} {a:?} {b:?}");
            cases.push(Case::new(name, &inputs, move |b, v| vec![op(b, v[0], v[1])]));
        }
        let inputs = [input("x", &[2, 3], Fill::Signed)];
        let twice = move |b: &mut Builder, v: &[ValueId]| vec![op(b, v[0], v[0])];
        if name != "maximum" {
            cases.push(Case::new(format!("{name} with itself"), &inputs, twice));
        }
    }
    check_all(&cases);
    check_all(&[
        unary("sum to", &[2, 3, 4], Fill::Signed, Op::SumTo(SumTo { shape: [3, 1].into() })),
        unary("sum to one", &[2, 3, 4], Fill::Signed, Op::SumTo(SumTo { shape: Shape::scalar() })),
        unary("repeat", &[3, 1], Fill::Signed, Op::BroadcastTo(BroadcastTo { shape: [2, 3, 4].into() })),
        layer("scale", &[2, 3, 2, 2], |b, x| b.scale("scale", x)),
    ]);
}

#[test]
fn moving_numbers() {
    let join = |axis| Op::Concat(Concat { axis });
    let inputs = [input("a", &[2, 3, 4], Fill::Signed), input("b", &[2, 3, 4], Fill::Signed)];
    let joined = |axis| {
        let op = join(axis);
        Case::new("concat", &inputs, move |b, v| vec![b.node("y", op.clone(), &[v[0], v[1], v[0]])])
    };
    let part = |axis, start, step, count| Op::Slice(Slice { axis, start, step, count });
    let border = |padding, channels, mode| Op::Pad(Pad { padding, channels, mode });
    let enlarge = |interpolation| Op::Upsample(Upsample { factor: [2, 3], interpolation });
    const IMAGE: &[usize] = &[2, 3, 4, 5];
    check_all(&[
        joined(0),
        joined(1),
        joined(2),
        unary("slice", IMAGE, Fill::Signed, part(1, 1, 1, 2)),
        unary("slice with steps", IMAGE, Fill::Signed, part(3, 1, 3, 2)),
        layer("reshape", IMAGE, |b, x| b.reshape("y", x, &[0, -1, 10])),
        layer("transpose", IMAGE, |b, x| b.transpose("y", x, &[2, 0, 3, 1])),
        unary("pad", IMAGE, Fill::Signed, border(UNEVEN, [1, 2], PadMode::Constant(0.7))),
        unary("reflect", IMAGE, Fill::Signed, border(Padding::all(3), [0, 0], PadMode::Reflect)),
        unary("replicate", IMAGE, Fill::Signed, border(Padding::all(3), [0, 0], PadMode::Replicate)),
        unary("nearest", IMAGE, Fill::Signed, enlarge(Interpolation::Nearest)),
        unary("bilinear", IMAGE, Fill::Signed, enlarge(Interpolation::Bilinear)),
        unary("bilinear, one pixel", &[1, 2, 1, 1], Fill::Signed, enlarge(Interpolation::Bilinear)),
    ]);
}

#[test]
fn softmax_and_reductions() {
    let mut cases = Vec::new();
    for shape in [&[3, 5][..], &[2, 3, 2, 2]] {
        cases.push(layer("softmax", shape, |b, x| b.softmax("y", x)));
        cases.push(layer("log softmax", shape, |b, x| b.log_softmax("y", x)));
    }
    for (axes, keep) in [(&[0][..], false), (&[1, 3], true), (&[0, 1, 2, 3], false), (&[2, 3], false)] {
        const IMAGE: &[usize] = &[2, 3, 2, 4];
        cases.push(layer("sum", IMAGE, move |b, x| b.reduce_sum("y", x, axes, keep)));
        cases.push(layer("mean", IMAGE, move |b, x| b.reduce_mean("y", x, axes, keep)));
        let inputs = [input("x", IMAGE, Fill::Distinct)];
        cases.push(Case::new("max", &inputs, move |b, v| vec![b.reduce_max("y", v[0], axes, keep)]));
    }
    check_all(&cases);
}

#[test]
fn losses() {
    const SCORES: Input = input("x", &[4, 5], Fill::Signed);
    const LABELS: Input = input("label", &[4], Fill::Labels(5));
    const TARGETS: Input = input("target", &[4, 5], Fill::Probabilities);
    const SECOND: Input = input("second", &[4, 5], Fill::Signed);
    const THIRD: Input = input("third", &[4, 5], Fill::Signed);
    const MATCHING: Input = input("matching", &[4], Fill::Labels(2));
    /// A case that adds its own loss, with a weight other than 1.
    fn loss(name: &str, inputs: &[Input], add: fn(&mut Builder, &[ValueId]) -> ValueId) -> Case {
        Case::new(name, inputs, move |b, v| {
            add(b, v);
            vec![]
        })
    }
    check_all(&[
        loss("labels", &[SCORES, LABELS], |b, v| b.softmax_cross_entropy("loss", v[0], v[1], 0.0, 0.7)),
        loss("smoothed", &[SCORES, LABELS], |b, v| b.softmax_cross_entropy("loss", v[0], v[1], 0.1, 1.0)),
        loss("targets", &[SCORES, TARGETS], |b, v| b.softmax_cross_entropy("loss", v[0], v[1], 0.2, 1.0)),
        loss("sigmoid", &[SCORES, TARGETS], |b, v| b.sigmoid_cross_entropy("loss", v[0], v[1], 2.0)),
        loss("squares", &[SCORES, SECOND], |b, v| b.mse("loss", v[0], v[1], 0.3)),
        loss("hinge", &[SCORES, LABELS], |b, v| b.hinge("loss", v[0], v[1], false, 1.0)),
        loss("squared hinge", &[SCORES, LABELS], |b, v| b.hinge("loss", v[0], v[1], true, 1.0)),
        loss("contrastive", &[SCORES, SECOND, MATCHING], |b, v| {
            b.contrastive("loss", [v[0], v[1]], v[2], 3.0, 1.5)
        }),
        loss("triplet", &[SCORES, SECOND, THIRD], |b, v| b.triplet("loss", [v[0], v[1], v[2]], 0.5, 1.0)),
    ]);
}

/// `y = (a b, a)`, by the user.
#[derive(Debug)]
struct Product;

impl CustomOp for Product {
    fn name(&self) -> &str {
        "product"
    }

    fn output_shapes(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        Ok(vec![inputs[0].clone(), inputs[0].clone()])
    }

    fn forward(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let [a, b] = [inputs[0], inputs[1]];
        let product = Tensor::from_fn(a.shape().clone(), |i| a.data()[i] * b.data()[i]);
        vec![product, a.clone()]
    }

    fn backward(&self, inputs: &[&Tensor], dy: &[&Tensor]) -> Vec<Tensor> {
        let [a, b] = [inputs[0], inputs[1]];
        let da = Tensor::from_fn(a.shape().clone(), |i| dy[0].data()[i] * b.data()[i] + dy[1].data()[i]);
        let db = Tensor::from_fn(a.shape().clone(), |i| dy[0].data()[i] * a.data()[i]);
        vec![da, db]
    }
}

#[test]
fn a_users_operation_has_exact_gradients() {
    // It runs in f32, too coarse for differences; its gradients are known: da = b p + q, db = a p.
    let inputs = [input("a", &[2, 3], Fill::Signed), input("b", &[2, 3], Fill::Signed)];
    for slots in [&[0][..], &[1], &[0, 1]] {
        let case = Case::new("custom", &inputs, move |b, v| {
            let y = b.custom("y", Arc::new(Product), v);
            slots.iter().map(|&slot| b.slot(y, slot)).collect()
        });
        let gradients = crate::runner::gradients(&case, &case.graph());
        let mut subject = crate::runner::Subject::new(&case, &gradients.graph);
        subject.run();
        let numbers = |name: &str, i: usize| {
            subject.inputs.iter().find(|(input, _)| input == name).map_or(0.0, |(_, tensor)| tensor.data()[i])
        };
        let projection = |slot: usize, i: usize| match slots.iter().position(|&s| s == slot) {
            Some(position) => numbers(&format!("projection{position}"), i),
            None => 0.0,
        };
        for i in 0..6 {
            let (p, q) = (projection(0, i), projection(1, i));
            let expected = [numbers("b", i) * p + q, numbers("a", i) * p];
            for ((name, gradient), expected) in gradients.inputs.iter().zip(expected) {
                let actual = subject.interpreter.value(*gradient).data()[i];
                assert!((actual - expected).abs() < 1e-6, "d{name}[{i}] = {actual}, not {expected}");
            }
        }
    }
}
