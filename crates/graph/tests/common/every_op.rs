//! A graph in which every operation but custom ones occurs: a network of all of them, its gradients, its updates.

use ocellus_graph::ops::*;
use ocellus_graph::{
    BatchNormSpec, Builder, Conv, ConvTranspose, Dense, Graph, Init, Op, ParamSpec, Request, Role, ValueId,
    differentiate,
};
use ocellus_tensor::{Padding, Rounding, Window};

const ACTIVATIONS: [Activation; 18] = [
    Activation::Relu,
    Activation::LeakyRelu { slope: 0.1 },
    Activation::Clip { low: -1.0, high: 6.0 },
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
    Activation::Affine { scale: 1e-9, shift: 3.5e20 },
    Activation::Sqrt,
    Activation::Log,
    Activation::Power { exponent: 1.0 / 3.0 },
];

/// Differentiated, with the update of every kind.
pub fn every_op() -> Graph {
    let graph = forward().for_training().unwrap();
    let request = Request { inputs: vec!["input".into()], ..Request::default() };
    let gradients = differentiate(&graph, &request).unwrap();
    let mut graph = gradients.graph;
    let (param, gradient) = gradients.params[0];
    let (w, shape) = (graph.param(param).value, graph.param(param).shape.clone());
    let mut state = |name: &str| {
        let spec = ParamSpec {
            name: name.into(),
            shape: shape.clone(),
            init: Init::Uniform { low: -0.25, high: 1e-7 },
            role: Role::State,
        };
        graph.add_param(spec).unwrap()
    };
    let [sum, velocity, m, v] = ["sum", "velocity", "m", "v"].map(&mut state);
    let (lr, t) = (graph.add_input("lr", []).unwrap(), graph.add_input("t", []).unwrap());
    let mut update = |name: &str, op, inputs| graph.add_node(name, op, inputs).unwrap();
    update("accumulate", Op::Accumulate(Accumulate { scale: 0.5 }), vec![sum, gradient]);
    let sgd = SgdUpdate { momentum: 0.9, nesterov: true, weight_decay: 5e-4, lr_mult: 1.0 };
    update("sgd", Op::SgdUpdate(sgd), vec![w, velocity, gradient, lr]);
    let plain = SgdUpdate { momentum: 0.0, nesterov: false, ..sgd };
    update("plain sgd", Op::SgdUpdate(plain), vec![w, gradient, lr]);
    let adam = AdamUpdate { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01, lr_mult: 2.0 };
    update("adam", Op::AdamUpdate(adam), vec![w, m, v, gradient, lr, t]);
    let muon = MuonUpdate { momentum: 0.95, weight_decay: 0.01, lr_mult: 1.0 };
    update("muon", Op::MuonUpdate(muon), vec![w, velocity, gradient, lr]);
    graph
}

/// A network of all describing operations, with every loss.
pub fn forward() -> Graph {
    let mut b = Builder::new("every \"op\"");
    let x = b.input("input", [4, 4, 8, 8]);
    let x = b.scope("features", |b| features(b, x));
    let x = b.scope("shapes", |b| shapes(b, x));
    let mut x = b.flatten("flatten", x);
    for activation in ACTIVATIONS {
        let name = Op::Activation(activation).name().to_string();
        x = b.activation(&name, x, activation);
    }
    let x = b.linear("fc", x, Dense::new(6).init(Init::Orthogonal { gain: 0.5 }));
    losses(&mut b, x);
    b.finish().unwrap()
}

fn features(b: &mut Builder, x: ValueId) -> ValueId {
    let x = b.conv2d("conv", x, Conv::new(8, 3).padding(1).groups(2).init(Init::xavier_uniform()));
    let x = b.conv2d("reflected", x, Conv::new(8, 3).padding(1).pad_mode(PadMode::Reflect).no_bias());
    let x = b.batch_norm("bn", x, BatchNormSpec::default());
    let x = b.batch_norm("bn_plain", x, BatchNormSpec { affine: false, ..BatchNormSpec::default() });
    let x = b.group_norm("gn", x, 2);
    let x = b.layer_norm("ln", x);
    let x = b.instance_norm("in", x);
    let x =
        b.lrn("lrn", x, Lrn { size: 5, alpha: 1e-4, beta: 0.75, k: 2.0, region: LrnRegion::AcrossChannels });
    let x =
        b.lrn("lrn2", x, Lrn { size: 3, alpha: 1.0, beta: 0.5, k: 1.0, region: LrnRegion::WithinChannel });
    let x = b.scale("scale", x);
    let x = b.prelu("prelu", x);
    let x = b.dropout("drop", x, 0.25);
    let up = ConvTranspose::new(Conv::new(8, 3).stride(2).padding(1).init(Init::Bilinear)).output_padding(1);
    let x = b.conv_transpose2d("up", x, up);
    let mut x = b.max_pool("max", x, Window::square(3).stride(2).padding(1));
    let window = Some(Window::square(1));
    for (name, window) in [("stochastic", window), ("stochastic_global", None)] {
        let rounding = Rounding::Ceil;
        let pool = StochasticPool { window, rounding, active: false, stream: 3 };
        let y = b.node(name, Op::StochasticPool(pool), &[x]);
        x = b.add(&format!("plus_{name}"), x, y);
        let pool = MaxPool { window, rounding };
        let places = b.node(&format!("{name}_places"), Op::MaxPoolPlaces(MaxPoolPlaces { pool }), &[x]);
        b.output(&format!("{name}_places"), places);
    }
    let y = b.max_pool_ceil("max_ceil", x, Window::square(2).stride(2));
    let z = b.avg_pool_ceil("avg", x, Window::square(2).stride(2));
    let global = b.global_max_pool("global_max", y);
    let y = b.add("plus_global", y, global);
    let mean = b.global_avg_pool("global_avg", z);
    let z = b.sub("minus_mean", z, mean);
    b.maximum("larger", y, z)
}

fn shapes(b: &mut Builder, x: ValueId) -> ValueId {
    let parts = b.split("split", x, &[3, 5]);
    let x = b.concat("concat", &[parts[1], parts[0]]);
    let x = b.node("tail", Op::Slice(Slice { axis: 2, start: 0, step: 2, count: 2 }), &[x]);
    let x = b.transpose("transpose", x, &[0, 1, 3, 2]);
    let padding = Padding { top: 0, left: 1, bottom: 2, right: 0 };
    let x = b.pad("pad", x, padding, PadMode::Constant(0.5));
    let x = b.pad("pad2", x, padding, PadMode::Replicate);
    let x = b.upsample("near", x, 2, Interpolation::Nearest);
    let x = b.upsample("smooth", x, 2, Interpolation::Bilinear);
    let sum = b.reduce_sum("sum", x, &[2, 3], true);
    let mean = b.reduce_mean("mean", x, &[1], false);
    let mean = b.reshape("mean4", mean, &[0, 1, -1, 16]);
    let max = b.reduce_max("max", x, &[2, 3], false);
    let max = b.softmax("p", max);
    let max = b.reshape("max4", max, &[0, 0, 1, 1]);
    let shape = b.shape(x);
    let sum = b.node("repeated", Op::BroadcastTo(BroadcastTo { shape: shape.clone() }), &[sum]);
    let x = b.div("div", x, sum);
    let x = b.mul("mul", x, mean);
    let x = b.add("add", x, max);
    let one = ocellus_tensor::Shape::from([shape[0], shape[1], 1, 1]);
    b.node("summed", Op::SumTo(SumTo { shape: one }), &[x])
}

fn losses(b: &mut Builder, x: ValueId) {
    let label = b.input("label", [4]);
    let target = b.input("target", [4, 6]);
    let other = b.tanh("other", x);
    let log = b.log_softmax("log_p", x);
    b.softmax_cross_entropy("ce", log, label, 0.1, 1.0);
    b.sigmoid_cross_entropy("sce", x, target, 0.5);
    b.mse("mse", x, target, 0.25);
    b.hinge("hinge", x, label, true, 0.1);
    b.contrastive("contrastive", [x, other], label, 1.0, 1.0);
    b.triplet("triplet", [x, other, log], 0.2, 1.0);
    let top = b.accuracy("top1", x, label, 1);
    b.output("scores", x);
    for (name, op) in [
        ("floor", Stepwise::Floor),
        ("round", Stepwise::Round),
        ("held", Stepwise::Held),
        ("above", Stepwise::Above { threshold: -0.25 }),
    ] {
        let y = b.node(name, Op::Stepwise(op), &[x]);
        b.output(name, y);
    }
    let place = b.node("place", Op::ArgMax(ArgMax { axis: 1, keep: false, last: true }), &[x]);
    b.output("place", place);
    let largest = b.node("largest", Op::TopK(TopK { axis: 1, count: 3, last: true }), &[x]);
    b.output("largest", largest);
    let vectors = b.node("vectors", Op::OneHot(OneHot { classes: 7 }), &[place]);
    b.output("vectors", vectors);
    b.output("top 1", top);
}
