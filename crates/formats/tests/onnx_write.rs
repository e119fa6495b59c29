//! What is written as ONNX and read again gives the same numbers.

use ocellus_engine::{Options, Session};
use ocellus_formats::onnx::{self, Pixels, ReadOptions, WriteOptions};
use ocellus_formats::{Model, check_weights};
use ocellus_graph::ops::*;
use ocellus_graph::{
    BatchNormSpec, Builder, Conv, ConvTranspose, Dense, Graph, Init, Op, Role, ValueId, initialise,
};
use ocellus_tensor::{Padding, Tensor, Weights, Window};

fn model(graph: Graph) -> Model {
    let mut weights = initialise(&graph, 7);
    // Statistics and scales as a trained network might have them.
    for (i, param) in graph.params().iter().enumerate() {
        let positive = param.role == Role::Statistic || matches!(param.init, Init::Constant(_));
        if positive && let Some(tensor) = weights.get_mut(&param.name) {
            for (j, x) in tensor.data_mut().iter_mut().enumerate() {
                *x = 0.5 + ((i * 31 + j * 17) % 23) as f32 / 23.0;
            }
        }
    }
    Model { graph, weights, classes: Vec::new(), preprocess: None, info: Default::default() }
}

fn pixels(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7919) % 1009) as f32 / 504.5 - 1.0).collect()
}

/// Every output for a fixed input, computed exactly.
fn run(graph: &Graph, weights: &Weights) -> Vec<(String, Tensor)> {
    let graph = graph.for_inference().unwrap();
    let options = Options { exact: true, ..Options::default().with_threads(1) };
    let mut session = Session::new(&graph, &options).unwrap();
    session.load(weights).unwrap();
    for &input in graph.inputs() {
        let value = graph.value(input);
        session.set_input(&value.name, &pixels(value.shape.elements())).unwrap();
    }
    session.run();
    let outputs = graph.outputs().iter();
    outputs.map(|o| (o.name.clone(), session.output_tensor(&o.name).unwrap())).collect()
}

fn same(name: &str, model: &Model, again: &Model, tolerance: f32) {
    check_weights(&again.graph, &again.weights).unwrap();
    let (before, after) = (run(&model.graph, &model.weights), run(&again.graph, &again.weights));
    assert_eq!(before.len(), after.len(), "{name}");
    for ((name_a, a), (name_b, b)) in before.iter().zip(&after) {
        assert_eq!((name_a, a.shape()), (name_b, b.shape()), "{name}");
        let scale = a.data().iter().fold(1e-3_f32, |largest, x| largest.max(x.abs()));
        assert!(!a.data().iter().chain(b.data()).any(|x| x.is_nan()), "{name} {name_a}");
        let worst = a.data().iter().zip(b.data()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst <= tolerance * scale, "{name} {name_a}: {worst} of {scale}");
    }
}

fn again(model: &Model) -> Model {
    onnx::read(&onnx::write(model).unwrap(), None, &ReadOptions::default()).unwrap()
}

/// Networks of the zoo that are run; all others are written and read.
const RUN: [&str; 5] = ["digits", "lenet", "resnet20", "squeezenet1_1", "mobilenet_v2"];

#[test]
fn every_network_of_the_zoo() {
    for name in ocellus_zoo::names() {
        let graph = ocellus_zoo::build(name, &ocellus_zoo::Options::default()).unwrap();
        let parameters: usize = graph.params().iter().map(|param| param.shape.elements()).sum();
        // Twenty-six million parameters are no more to write than a hundred.
        if parameters > 30_000_000 {
            continue;
        }
        let model = model(graph);
        let again = again(&model);
        // Auxiliary heads stay behind; nothing else is missing, or the graph that was read would not be whole.
        for (param, tensor) in &again.weights {
            assert_eq!(model.weights.get(param), Some(tensor), "{name} {param}");
        }
        let shapes = |graph: &Graph| -> Vec<_> {
            graph.outputs().iter().map(|o| (o.name.clone(), graph.shape(o.value).clone())).collect()
        };
        let inference = model.graph.for_inference().unwrap();
        assert_eq!(shapes(&inference), shapes(&again.graph), "{name}");
        again.graph.with_batch(3).unwrap_or_else(|cause| panic!("{name}: {cause}"));
        if RUN.contains(&name) {
            same(name, &model, &again, 1e-6);
        }
    }
}

/// What adds one node to a network.
type Add = Box<dyn Fn(&mut Builder, ValueId) -> ValueId>;

/// Takes a case: its name, its input's shape and its node.
type Take<'t> = &'t mut dyn FnMut(&str, &[usize], Add);

const IMAGE: [usize; 4] = [2, 6, 7, 9];

fn op(op: Op) -> Add {
    Box::new(move |b, x| b.node("y", op.clone(), &[x]))
}

/// Each operation that describes networks, on its own.
fn cases() -> Vec<(String, Graph)> {
    let mut cases: Vec<(String, Vec<usize>, Add)> = Vec::new();
    let mut add = |name: &str, shape: &[usize], case: Add| cases.push((name.into(), shape.to_vec(), case));
    layers(&mut add);
    functions(&mut add);
    moves(&mut add);
    places(&mut add);
    let build = |(name, shape, case): (String, Vec<usize>, Add)| {
        let mut b = Builder::new(&name);
        let x = b.input("x", shape);
        let y = case(&mut b, x);
        b.output("output", y);
        (name.clone(), b.finish().unwrap_or_else(|cause| panic!("{name}: {cause}")))
    };
    cases.into_iter().map(build).collect()
}

fn layers(add: Take) {
    let padding = Padding { right: 1, ..Padding::all(0) };
    let window = Window { kernel: [3, 2], stride: [2, 3], padding, dilation: [1, 1] };
    add(
        "conv",
        &IMAGE,
        Box::new(|b, x| b.conv2d("y", x, Conv::new(4, 3).groups(2).stride(2).padding(1).dilation(2))),
    );
    add(
        "deconv",
        &IMAGE,
        Box::new(|b, x| {
            b.conv_transpose2d(
                "y",
                x,
                ConvTranspose::new(Conv::new(4, 3).stride(2).padding(1)).output_padding(1),
            )
        }),
    );
    add("linear", &[3, 5], Box::new(|b, x| b.linear("y", x, Dense::new(4))));
    for rounding in [ocellus_tensor::Rounding::Floor, ocellus_tensor::Rounding::Ceil] {
        add("max", &IMAGE, op(Op::MaxPool(MaxPool { window: Some(window), rounding })));
        for window in [None, Some(window)] {
            let pool = StochasticPool { window, rounding, active: false, stream: 0 };
            add("stochastic", &IMAGE, op(Op::StochasticPool(pool)));
        }
        for count_include_pad in [false, true] {
            let pool = AvgPool { window: Some(window), rounding, count_include_pad };
            add("avg", &IMAGE, op(Op::AvgPool(pool)));
        }
    }
    add("global max", &IMAGE, Box::new(|b, x| b.global_max_pool("y", x)));
    add("global avg", &IMAGE, Box::new(|b, x| b.global_avg_pool("y", x)));
    for affine in [true, false] {
        add(
            "bn",
            &IMAGE,
            Box::new(move |b, x| b.batch_norm("y", x, BatchNormSpec { affine, ..Default::default() })),
        );
        add(
            "bn of vectors",
            &[3, 5],
            Box::new(move |b, x| b.batch_norm("y", x, BatchNormSpec { affine, ..Default::default() })),
        );
    }
    add("gn", &IMAGE, Box::new(|b, x| b.group_norm("y", x, 3)));
    add("ln", &IMAGE, Box::new(|b, x| b.layer_norm("y", x)));
    add("ln of vectors", &[3, 5], Box::new(|b, x| b.layer_norm("y", x)));
    add("in", &IMAGE, Box::new(|b, x| b.instance_norm("y", x)));
    for axes in [NormAxes::Groups(2), NormAxes::Instance, NormAxes::Channels] {
        add("plain norm", &IMAGE, op(Op::Norm(Norm { axes, eps: 1e-3, affine: false })));
    }
    for region in [LrnRegion::AcrossChannels, LrnRegion::WithinChannel] {
        add("lrn", &IMAGE, op(Op::Lrn(Lrn { size: 3, alpha: 0.5, beta: 0.75, k: 1.5, region })));
    }
}

fn functions(add: Take) {
    let activations = [
        Activation::Relu,
        Activation::LeakyRelu { slope: 0.1 },
        Activation::Clip { low: -0.5, high: 0.25 },
        Activation::Elu { alpha: 1.5 },
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
        Activation::Affine { scale: -1.5, shift: 0.25 },
        Activation::Affine { scale: 1.0, shift: 0.25 },
        Activation::Affine { scale: -3.0, shift: 0.0 },
        Activation::Power { exponent: 3.0 },
    ];
    for activation in activations {
        add(&format!("{activation:?}"), &IMAGE, op(Op::Activation(activation)));
    }
    add(
        "sqrt and log",
        &IMAGE,
        Box::new(|b, x| {
            let x = b.activation("abs", x, Activation::Affine { scale: 0.25, shift: 1.0 });
            let x = b.activation("sqrt", x, Activation::Sqrt);
            b.activation("y", x, Activation::Log)
        }),
    );
    for step in [Stepwise::Floor, Stepwise::Round, Stepwise::Held, Stepwise::Above { threshold: 0.3 }] {
        add(
            "step",
            &IMAGE,
            Box::new(move |b, x| {
                let x = b.affine("three", x, 3.0, 0.0);
                b.node("y", Op::Stepwise(step), &[x])
            }),
        );
    }
    add("prelu", &IMAGE, Box::new(|b, x| b.prelu("y", x)));
    add("prelu of vectors", &[3, 5], Box::new(|b, x| b.prelu("y", x)));
    add("dropout", &IMAGE, Box::new(|b, x| b.dropout("y", x, 0.4)));
    add(
        "arithmetic",
        &IMAGE,
        Box::new(|b, x| {
            let twice = b.add("twice", x, x);
            let mean = b.reduce_mean("mean", twice, &[2, 3], true);
            let less = b.sub("less", x, mean);
            let square = b.mul("square", less, less);
            let one = b.affine("one", square, 1.0, 1.0);
            let share = b.div("share", less, one);
            b.maximum("y", share, mean)
        }),
    );
}

fn moves(add: Take) {
    let uneven = Padding { top: 1, left: 0, bottom: 2, right: 1 };
    add(
        "split and concat",
        &IMAGE,
        Box::new(|b, x| {
            let parts = b.split("parts", x, &[1, 5]);
            b.concat("y", &[parts[1], parts[0]])
        }),
    );
    add("slice", &IMAGE, op(Op::Slice(Slice { axis: 3, start: 1, step: 3, count: 2 })));
    add("reshape", &IMAGE, Box::new(|b, x| b.reshape("y", x, &[0, -1, 7])));
    add("transpose", &IMAGE, Box::new(|b, x| b.transpose("y", x, &[0, 3, 1, 2])));
    for (channels, mode) in
        [([1, 2], PadMode::Constant(0.75)), ([0, 0], PadMode::Reflect), ([0, 0], PadMode::Replicate)]
    {
        add("pad", &IMAGE, op(Op::Pad(Pad { padding: uneven, channels, mode })));
    }
    for interpolation in [Interpolation::Nearest, Interpolation::Bilinear] {
        add("upsample", &IMAGE, op(Op::Upsample(Upsample { factor: [2, 3], interpolation })));
    }
    for log in [false, true] {
        add("softmax", &IMAGE, op(Op::Softmax(Softmax { log })));
        add("softmax of vectors", &[3, 5], op(Op::Softmax(Softmax { log })));
    }
    for kind in [ReduceKind::Sum, ReduceKind::Mean, ReduceKind::Max] {
        for (axes, keep) in [(vec![1], true), (vec![2, 3], false), (vec![0, 1, 2, 3], false)] {
            add("reduce", &IMAGE, op(Op::Reduce(Reduce { kind, axes, keep })));
        }
    }
    add("sum to", &IMAGE, op(Op::SumTo(SumTo { shape: [6, 1, 9].into() })));
    add("repeat", &[2, 6, 1, 9], op(Op::BroadcastTo(BroadcastTo { shape: IMAGE.into() })));
}

fn places(add: Take) {
    for last in [false, true] {
        add("place", &IMAGE, op(Op::ArgMax(ArgMax { axis: 1, keep: last, last })));
        add("top", &IMAGE, op(Op::TopK(TopK { axis: 1, count: 3, last })));
        // Of numbers that are equal, those that are wanted first.
        let place = move |b: &mut Builder, x| {
            let rough = b.node("rough", Op::Stepwise(Stepwise::Round), &[x]);
            let top = b.node("top", Op::TopK(TopK { axis: 3, count: 4, last }), &[rough]);
            b.slot(top, 1)
        };
        add("top's places", &IMAGE, Box::new(place));
    }
    let window = Window::square(3).stride(2).padding(1);
    for window in [None, Some(window)] {
        for rounding in [ocellus_tensor::Rounding::Floor, ocellus_tensor::Rounding::Ceil] {
            let pool = MaxPool { window, rounding };
            add("pool's places", &IMAGE, op(Op::MaxPoolPlaces(MaxPoolPlaces { pool })));
        }
    }
    let hot = |b: &mut Builder, x| {
        let x = b.affine("larger", x, 4.0, 0.0);
        let x = b.node("whole", Op::Stepwise(Stepwise::Round), &[x]);
        b.node("y", Op::OneHot(OneHot { classes: 4 }), &[x])
    };
    add("one hot", &[3, 5], Box::new(hot));
}

#[test]
fn every_operation() {
    for (name, graph) in cases() {
        let model = model(graph);
        let options = WriteOptions { fixed_batch: true, ..WriteOptions::default() };
        let bytes = onnx::write_with(&model, &options).unwrap_or_else(|cause| panic!("{name}: {cause}"));
        let again = onnx::read(&bytes, None, &ReadOptions::default())
            .unwrap_or_else(|cause| panic!("{name}: {cause}"));
        same(&name, &model, &again, 2e-6);
    }
}

#[test]
fn names_that_meet_and_values_handed_out_twice() {
    let mut b = Builder::new("");
    let x = b.input("x", [1, 3]);
    let hidden = b.linear("output", x, Dense::new(3)); // a node called as an output is
    let y = b.relu("relu", hidden);
    b.output("output", y);
    b.output("same", y);
    b.output("weights", x);
    let model = model(b.finish().unwrap());
    let again = again(&model);
    let names: Vec<&str> = again.graph.outputs().iter().map(|o| o.name.as_str()).collect();
    assert_eq!(names, ["output", "same", "weights"]);
    same("names", &model, &again, 0.0);
}

#[test]
fn what_only_training_needs_is_left_out() {
    let mut b = Builder::new("trained");
    let x = b.input("x", [2, 3, 4, 4]);
    let y = b.conv2d("conv", x, Conv::new(4, 3));
    let y = b.batch_norm("bn", y, BatchNormSpec::default());
    let y = b.flatten("flat", y);
    let y = b.linear("fc", y, Dense::new(5));
    let label = b.input("label", [2]);
    b.softmax_cross_entropy("loss", y, label, 0.0, 1.0);
    b.output("output", y);
    let graph = b.finish().unwrap().for_training().unwrap();
    let written = again(&model(graph));
    assert_eq!(written.graph.inputs().len(), 1);
    assert!(written.graph.losses().is_empty());
}

#[test]
fn classes_and_preprocessing_travel_along() {
    let mut b = Builder::new("net");
    let x = b.input("input", [1, 3, 4, 4]);
    let y = b.conv2d("conv", x, Conv::new(2, 4));
    let y = b.flatten("flat", y);
    b.output("output", y);
    let mut model = model(b.finish().unwrap());
    model.classes = vec!["cat".into(), "\"dog\" é".into()];
    model.preprocess = Some(serde_json::json!({"size": [4, 4]}));
    model.info.insert("zoo".into(), "none".into());
    let again = again(&model);
    assert_eq!((&again.classes, &again.preprocess), (&model.classes, &model.preprocess));
    assert_eq!(again.info.get("zoo"), model.info.get("zoo"));
    assert_eq!(again.info["producer"].split(' ').next(), Some("ocellus"));

    let pixels =
        Pixels { scale: 1.0 / 255.0, mean: vec![0.5, 0.25, 0.0], std: vec![0.5, 1.0, 2.0], reversed: true };
    let options = WriteOptions { pixels: Some(pixels), ..WriteOptions::default() };
    let inside =
        onnx::read(&onnx::write_with(&model, &options).unwrap(), None, &ReadOptions::default()).unwrap();
    // What is left to be done before is the caller's to say.
    assert_eq!(inside.preprocess, model.preprocess);
    let image: Vec<f32> = (0..48).map(|i| (i * 5) as f32).collect();
    // By hand: blue first, (x / 255 - mean) / std.
    let by_hand: Vec<f32> = (0..48)
        .map(|i| {
            let (c, p) = (i / 16, i % 16);
            let x = image[(2 - c) * 16 + p] / 255.0;
            (x - [0.5, 0.25, 0.0][c]) / [0.5, 1.0, 2.0][c]
        })
        .collect();
    let run = |model: &Model, input: &[f32]| {
        let mut session = Session::new(&model.graph, &Options::default().with_threads(1)).unwrap();
        session.load(&model.weights).unwrap();
        session.set_input("input", input).unwrap();
        session.run();
        session.output("output").unwrap().to_vec()
    };
    for (a, b) in run(&inside, &image).iter().zip(run(&model, &by_hand)) {
        assert!((a - b).abs() < 1e-5, "{a} {b}");
    }
}

#[test]
fn weights_that_do_not_fit_are_refused() {
    let mut b = Builder::new("net");
    let x = b.input("x", [1, 3]);
    let y = b.linear("fc", x, Dense::new(2));
    b.output("output", y);
    let mut model = model(b.finish().unwrap());
    model.weights.insert("fc.weight".into(), Tensor::zeros([2, 4]));
    let error = onnx::write(&model).unwrap_err().to_string();
    assert!(error.contains("fc.weight") && error.contains("(2, 4)"), "{error}");
    model.weights.remove("fc.bias");
    model.weights.insert("fc.weight".into(), Tensor::zeros([2, 3]));
    assert!(onnx::write(&model).unwrap_err().to_string().contains("fc.bias"));
}
