//! What is written for Caffe is the same network when it is read again: its numbers prove it.

use std::path::{Path, PathBuf};

use ocellus_engine::{Options, Session};
use ocellus_formats::caffe::{self, NetOptions};
use ocellus_graph::ops::{
    Activation, ArgMax, AvgPool, Binary, BinaryKind, MaxPool, MaxPoolPlaces, Pad, PadMode, Reduce,
    ReduceKind, Slice, StochasticPool, TopK, Transpose, Upsample,
};
use ocellus_graph::ops::{Interpolation, Reshape};
use ocellus_graph::{BatchNormSpec, Builder, Conv, Dense, Graph, Init, Op, from_text, initialise};
use ocellus_tensor::{Padding, Rounding, Weights, Window};

fn data(name: &str) -> Option<PathBuf> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")).join(name);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: {} is not there", path.display());
    None
}

/// All outputs for an input that no two places have in common.
fn outputs(graph: &Graph, weights: &Weights) -> Vec<(String, Vec<f32>)> {
    let options = Options { exact: true, ..Options::default().with_threads(1) };
    let mut session = Session::new(graph, &options).unwrap();
    session.load(weights).unwrap();
    for &id in graph.inputs() {
        let count = graph.shape(id).elements();
        let numbers: Vec<f32> = (0..count).map(|i| ((i * 37 % 101) as f32 - 40.0) / 50.0).collect();
        session.set_input(&graph.value(id).name, &numbers).unwrap();
    }
    session.run();
    graph.outputs().iter().map(|o| (o.name.clone(), session.output(&o.name).unwrap().to_vec())).collect()
}

/// Writes, reads again, and compares the outputs.
fn round_trip(graph: &Graph, weights: &Weights) {
    let folder = tempfile::tempdir().unwrap();
    let [text, binary] = ["net.prototxt", "net.caffemodel"].map(|name| folder.path().join(name));
    caffe::write(&text, &binary, graph, weights).unwrap();
    let back = caffe::read_net(&text, &NetOptions::default()).unwrap_or_else(|fault| {
        panic!("{fault}\n{}", std::fs::read_to_string(&text).unwrap());
    });
    let read = caffe::read_weights(&binary, &back).unwrap();
    let (wanted, got) = (outputs(graph, weights), outputs(&back, &read));
    for (name, numbers) in &wanted {
        let (_, again) = got.iter().find(|(other, _)| other == name).expect("the same outputs");
        let scale = numbers.iter().fold(1.0_f32, |a, x| a.max(x.abs()));
        let worst = numbers.iter().zip(again).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(numbers.len() == again.len() && worst <= 2e-6 * scale, "{} {name}: {worst}", graph.name);
    }
    assert_eq!(wanted.len(), got.len());
}

/// Weights and statistics of no special values.
fn filled(graph: &Graph) -> Weights {
    let mut weights = initialise(graph, 7);
    for (name, tensor) in &mut weights {
        let positive = name.ends_with("running_var");
        for (i, x) in tensor.data_mut().iter_mut().enumerate() {
            let other = (i * 29 % 13) as f32 / 20.0 - 0.3;
            *x = if positive { other.abs() + 0.2 } else { *x + 0.1 * other };
        }
    }
    weights
}

fn check(name: &str, describe: impl FnOnce(&mut Builder) -> ocellus_graph::ValueId) {
    let mut b = Builder::new(name);
    let y = describe(&mut b);
    b.output("output", y);
    let graph = b.finish().unwrap();
    round_trip(&graph, &filled(&graph));
}

#[test]
fn windows_and_norms() {
    check("windows", |b| {
        let x = b.input("data", [2, 6, 13, 11]);
        let x = b.conv2d("conv1", x, Conv::new(8, 3).stride(2).padding(1).groups(2));
        let x = b.batch_norm("bn1", x, BatchNormSpec::default());
        let x = b.relu("relu1", x);
        let window = Some(Window::square(3).stride(2).padding(1));
        let x = b.node(
            "pool",
            Op::AvgPool(AvgPool { window, rounding: Rounding::Ceil, count_include_pad: true }),
            &[x],
        );
        let x = b.conv2d("conv2", x, Conv::new(5, 3).padding(2).dilation(2).no_bias());
        let x = b.max_pool("pool2", x, Window::square(2).stride(2));
        let x = b.flatten("flatten", x);
        let x = b.linear("fc", x, Dense::new(4));
        b.softmax("prob", x)
    });
}

#[test]
fn places_and_draws() {
    let window = Some(Window::square(3).stride(2));
    let rounding = Rounding::Ceil;
    check("draws", |b| {
        let x = b.input("data", [2, 3, 8, 7]);
        let x = b.relu("relu", x);
        let pool = StochasticPool { window, rounding, active: false, stream: 0 };
        b.node("pool", Op::StochasticPool(pool), &[x])
    });
    check("places", |b| {
        let x = b.input("data", [2, 3, 8, 7]);
        let pool = MaxPool { window, rounding };
        b.node("places", Op::MaxPoolPlaces(MaxPoolPlaces { pool }), &[x])
    });
    check("largest", |b| {
        let x = b.input("data", [2, 9, 2]);
        let x = b.node("largest", Op::TopK(TopK { axis: 1, count: 3, last: true }), &[x]);
        b.node("place", Op::ArgMax(ArgMax { axis: 2, keep: true, last: true }), &[x])
    });
}

#[test]
fn elementwise_functions() {
    let functions = [
        Activation::LeakyRelu { slope: 0.1 },
        Activation::Clip { low: -0.2, high: 0.3 },
        Activation::Elu { alpha: 0.7 },
        Activation::Sigmoid,
        Activation::Tanh,
        Activation::Silu,
        Activation::Softplus,
        Activation::Exp,
        Activation::Abs,
        Activation::Affine { scale: 0.5, shift: 2.0 },
        Activation::HardSigmoid { alpha: 0.2, beta: 0.5 },
        Activation::HardSwish,
    ];
    for function in functions {
        check(&format!("{function:?}"), |b| {
            let x = b.input("data", [1, 2, 3, 4]);
            b.node("f", Op::Activation(function), &[x])
        });
    }
    check("positive", |b| {
        let x = b.input("data", [1, 2, 3, 4]);
        let x = b.node("exp", Op::Activation(Activation::Exp), &[x]);
        let x = b.node("sqrt", Op::Activation(Activation::Sqrt), &[x]);
        b.node("log", Op::Activation(Activation::Log), &[x])
    });
}

#[test]
fn values_put_together_and_taken_apart() {
    check("arithmetic", |b| {
        let x = b.input("data", [2, 4, 6, 6]);
        let y = b.conv2d("conv", x, Conv::new(4, 1));
        let sum = b.add("sum", x, y);
        let difference = b.node("difference", Op::Binary(Binary { kind: BinaryKind::Sub }), &[sum, y]);
        let most = b.node("most", Op::Binary(Binary { kind: BinaryKind::Maximum }), &[difference, y]);
        let mean = Reduce { kind: ReduceKind::Mean, axes: vec![2, 3], keep: true };
        let gate = b.node("squeeze", Op::Reduce(mean), &[most]);
        let gate = b.node("gate", Op::Activation(Activation::Sigmoid), &[gate]);
        let gated = b.node("gated", Op::Binary(Binary { kind: BinaryKind::Mul }), &[gate, most]);
        let part = b.node("part", Op::Slice(Slice { axis: 1, start: 1, step: 1, count: 2 }), &[gated]);
        let turned = b.node("turned", Op::Transpose(Transpose { order: vec![0, 1, 3, 2] }), &[part]);
        b.concat("concat", &[turned, sum])
    });
}

#[test]
fn what_is_made_of_other_layers() {
    check("shortcut", |b| {
        let x = b.input("data", [1, 3, 7, 8]);
        let rows = b.node("rows", Op::Slice(Slice { axis: 2, start: 0, step: 2, count: 4 }), &[x]);
        let both = b.node("both", Op::Slice(Slice { axis: 3, start: 0, step: 2, count: 4 }), &[rows]);
        let pad = Pad { padding: Padding::default(), channels: [1, 2], mode: PadMode::Constant(0.0) };
        let wide = b.node("wide", Op::Pad(pad), &[both]);
        let border = Pad { padding: Padding::all(2), channels: [0, 0], mode: PadMode::Constant(0.0) };
        let framed = b.node("framed", Op::Pad(border), &[wide]);
        let up = Upsample { factor: [2, 3], interpolation: Interpolation::Nearest };
        let large = b.node("large", Op::Upsample(up), &[framed]);
        b.node("rows2", Op::Reshape(Reshape { dims: vec![0, 2, 3, -1] }), &[large])
    });
}

#[test]
fn a_mean_image_becomes_a_bias() {
    let mut b = Builder::new("centred");
    let x = b.input("data", [2, 3, 4, 4]);
    let x = b.conv2d("conv", x, Conv::new(2, 3));
    b.output("conv", x);
    let graph = b.finish().unwrap().with_mean_image("data", "mean_image").unwrap();
    round_trip(&graph, &filled(&graph));
}

#[test]
fn a_parameter_with_a_batch_of_one_is_a_bias_or_a_scale() {
    for (sizes, other) in [(vec![2, 10], vec![1, 10]), (vec![2, 3, 4, 4], vec![1, 3, 1, 1])] {
        check("repeated", |b| {
            let x = b.input("data", sizes.clone());
            let bias = b.param("bias", other.clone(), Init::Normal { mean: 0.0, std: 1.0 });
            let factor = b.param("factor", other.clone(), Init::Normal { mean: 0.0, std: 1.0 });
            let x = b.add("plus", x, bias);
            b.mul("times", x, factor)
        });
    }
}

#[test]
fn an_output_that_is_read_again_keeps_its_name() {
    let mut b = Builder::new("two");
    let x = b.input("data", [1, 2, 4, 4]);
    let x = b.conv2d("conv", x, Conv::new(2, 3));
    b.output("features", x);
    let x = b.relu("relu", x);
    b.output("output", x);
    let graph = b.finish().unwrap();
    round_trip(&graph, &filled(&graph));
}

#[test]
fn what_caffe_does_not_have_is_refused_by_name() {
    let mut b = Builder::new("net");
    let x = b.input("data", [1, 3, 8, 8]);
    let x = b.conv2d("conv", x, Conv::new(4, 3).padding(1));
    let x = b.node("act", Op::Activation(Activation::Gelu), &[x]);
    b.output("output", x);
    let sentence = caffe::to_prototxt(&b.finish().unwrap()).unwrap_err().to_string();
    assert!(sentence.contains("act: gelu"), "{sentence}");
}

/// Layers that are called twice, as Keras has them: gamma and beta are shared, each call has a layer of its own.
#[test]
fn batch_norms_may_share_what_they_learn() {
    let param = |name: &str, role: &str| {
        format!("param {name} (2) init=constant:1 role={role} lr_mult=1 decay_mult=1 frozen=false\n")
    };
    let norm = |name: &str, x: &str, statistics: &str| {
        let of = |part: &str| format!("{statistics}.{part}");
        let [mean, var] = [of("running_mean"), of("running_var")];
        let both = param(&mean, "statistic") + &param(&var, "statistic");
        format!(
            "{both}{name} = batch_norm({x}, a.weight, a.bias, {mean}, {var}; eps=0.001 momentum=0.1 affine=true \
             statistics=running)\n"
        )
    };
    let text = format!(
        "network twice\ninput x (2, 2, 3, 3)\n{}{}{}{}output output = a.2\n",
        param("a.weight", "weight"),
        param("a.bias", "weight"),
        norm("a", "x", "a"),
        norm("a.2", "a", "other")
    );
    let graph = from_text(&text).unwrap();
    round_trip(&graph, &filled(&graph));
}

#[test]
fn networks_of_the_zoo_and_of_caffe() {
    for name in ["resnet20", "lenet", "digits"] {
        let graph = ocellus_zoo::build(name, &Default::default()).unwrap();
        round_trip(&graph, &filled(&graph));
    }
    for name in ["resnet/ResNet-50-deploy", "googlenet/deploy", "squeezenet_v1.0/deploy"] {
        let Some(path) = data(&format!("prototxt/{name}.prototxt")) else { return };
        let graph = caffe::read_net(path, &NetOptions::default()).unwrap().with_batch(1).unwrap();
        let text = caffe::to_prototxt(&graph).unwrap();
        let back = caffe::parse_net(&text, "again", &NetOptions::default()).unwrap();
        let sizes = |graph: &Graph| {
            graph.params().iter().map(|p| (p.name.clone(), p.shape.clone())).collect::<Vec<_>>()
        };
        assert_eq!(sizes(&graph), sizes(&back), "{name}");
    }
}
