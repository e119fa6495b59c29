//! The planned engine against the reference: the same graphs on fast kernels, fused and blocked, and node by node on
//! the reference kernels must give the same numbers; and the same bits at any number of threads.

use ocellus_engine::{Options, Session};
use ocellus_graph::ops::{Activation, Slice};
use ocellus_graph::{BatchNormSpec, Builder, Conv, Dense, Graph, Request, Role, ValueId, differentiate};
use ocellus_kernels::isa::Isa;
use ocellus_tensor::{Padding, Tensor, Weights, Window};

/// One network to run both ways.
struct Case {
    name: &'static str,
    build: fn(&mut Builder, ValueId) -> ValueId,
    input: [usize; 4],
    /// Largest difference, relative to the largest number of the tensor.
    tolerance: f32,
}

const CASES: &[Case] = &[
    Case { name: "lenet", build: lenet, input: [3, 1, 20, 20], tolerance: 2e-5 },
    Case { name: "residual", build: residual, input: [4, 3, 13, 11], tolerance: 1e-4 },
    Case { name: "residual of whole blocks", build: residual_wide, input: [2, 16, 14, 14], tolerance: 1e-4 },
    Case { name: "option A shortcut", build: option_a, input: [3, 16, 8, 8], tolerance: 1e-4 },
    Case { name: "fire", build: fire, input: [2, 20, 9, 7], tolerance: 2e-5 },
    Case { name: "windows", build: windows, input: [2, 5, 17, 15], tolerance: 2e-5 },
    Case { name: "groups and depthwise", build: grouped, input: [2, 32, 10, 9], tolerance: 2e-5 },
    Case { name: "pooling", build: pooling, input: [2, 19, 12, 13], tolerance: 2e-5 },
    Case { name: "activations", build: activations, input: [2, 17, 5, 6], tolerance: 2e-5 },
    Case { name: "gates and broadcasting", build: gates, input: [3, 18, 6, 5], tolerance: 1e-4 },
    Case { name: "twenty branches", build: branches, input: [2, 6, 5, 4], tolerance: 2e-5 },
    Case { name: "one pixel", build: one_pixel, input: [5, 7, 1, 1], tolerance: 1e-4 },
];

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

fn describe(case: &Case) -> Graph {
    let mut b = Builder::new(case.name);
    let x = b.input("input", case.input);
    let y = (case.build)(&mut b, x);
    b.output("output", y);
    b.finish().unwrap()
}

fn branches(b: &mut Builder, x: ValueId) -> ValueId {
    let parts: Vec<ValueId> =
        (0..20).map(|i| b.conv2d(&format!("branch{i}"), x, Conv::new(1 + i % 3, 1))).collect();
    let y = b.concat("all", &parts);
    let y = b.dropout("dropout", y, 0.3);
    classify(b, y)
}

/// The network with a loss, and its gradients as outputs.
fn training_graph(case: &Case) -> Graph {
    let graph = describe(case).with_classifier_loss(0.1).unwrap().for_training().unwrap();
    let request = Request { inputs: vec!["input".into()], ..Request::default() };
    let gradients = differentiate(&graph, &request).unwrap();
    let mut graph = gradients.graph;
    for (param, value) in &gradients.params {
        let name = format!("grad/{}", graph.param(*param).name);
        graph.add_output(name, *value);
    }
    for (input, value) in &gradients.inputs {
        graph.add_output(format!("grad/{input}"), *value);
    }
    graph
}

fn noise(seed: usize, len: usize) -> Vec<f32> {
    let mut state = seed as u64 * 2 + 1;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((state >> 40) as f32 / (1u64 << 24) as f32) * 2.0 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// Weights that keep activations near one; BatchNorm's numbers away from their trivial start, variances positive.
fn weights(graph: &Graph) -> Weights {
    let params = graph.params().iter().filter(|p| p.role != Role::State).enumerate();
    let filled = params.map(|(i, p)| {
        let centred = p.name.ends_with("bias") || p.name.ends_with("mean");
        let (scale, shift) = match p.shape.rank() {
            1 if centred => (0.5, 0.0),
            1 => (0.5, 1.2),
            _ => (2.0 / (p.shape[1..].iter().product::<usize>() as f32).sqrt(), 0.0),
        };
        let values = noise(i, p.shape.elements()).into_iter().map(|v| v * scale + shift).collect();
        (p.name.clone(), Tensor::new(p.shape.clone(), values).unwrap())
    });
    filled.collect()
}

/// Runs the graph and returns every output by name.
fn run(graph: &Graph, options: &Options) -> Vec<(String, Vec<f32>)> {
    let mut session = Session::new(graph, options).unwrap();
    session.load(&weights(graph)).unwrap();
    for &value in graph.inputs() {
        let value = graph.value(value);
        let len = value.shape.elements();
        let numbers = match value.name.as_str() {
            "label" => (0..len).map(|i| (i * 5 % 7) as f32).collect(),
            _ => noise(99, len),
        };
        session.set_input(&value.name, &numbers).unwrap();
    }
    session.run();
    let ports = session.plan().outputs.iter();
    ports.map(|p| (p.name.clone(), session.output(&p.name).unwrap().to_vec())).collect()
}

#[track_caller]
fn assert_close(what: &str, actual: &[(String, Vec<f32>)], expected: &[(String, Vec<f32>)], tolerance: f32) {
    for ((name, a), (_, e)) in actual.iter().zip(expected) {
        let scale = e.iter().fold(1e-3f32, |m, x| m.max(x.abs()));
        let differences = a.iter().zip(e).map(|(a, e)| (a - e).abs());
        let worst = differences.fold(0.0f32, |m, d| if d > m || d.is_nan() { d } else { m });
        assert!(worst <= tolerance * scale, "{what}: {name} differs by {worst}, largest number {scale}");
    }
}

#[test]
fn fast_plans_agree_with_the_reference() {
    for case in CASES {
        for graph in [describe(case), training_graph(case)] {
            let reference = Options { reference: true, ..Options::default() };
            let expected = run(&graph, &reference);
            for isa in Isa::available() {
                let actual = run(&graph, &Options { isa, ..Options::default() }.with_threads(2));
                assert_close(&format!("{} on {}", case.name, isa.name()), &actual, &expected, case.tolerance);
            }
        }
    }
}

#[test]
fn the_same_bits_at_any_number_of_threads() {
    for case in CASES {
        let graph = training_graph(case);
        let one = run(&graph, &Options::default().with_threads(1));
        for threads in [2, 3, 4] {
            let many = run(&graph, &Options::default().with_threads(threads));
            for ((name, a), (_, b)) in one.iter().zip(&many) {
                let same = a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits());
                assert!(same, "{}: {name} at {threads} threads is not what it is at one", case.name);
            }
        }
    }
}

#[test]
fn a_second_run_gives_the_same_numbers() {
    let graph = training_graph(&CASES[1]);
    let mut session = Session::new(&graph, &Options::default()).unwrap();
    session.load(&weights(&graph)).unwrap();
    session.set_input("input", &noise(3, 4 * 3 * 13 * 11)).unwrap();
    session.set_input("label", &[0.0, 1.0, 2.0, 3.0]).unwrap();
    session.run();
    let first = session.output("loss").unwrap().to_vec();
    let gradient = session.output("grad/fc.weight").unwrap().to_vec();
    session.run();
    assert_eq!(session.output("loss").unwrap(), first);
    assert_eq!(session.output("grad/fc.weight").unwrap(), gradient);
}

#[test]
fn a_plan_is_plain_data() {
    let graph = training_graph(&CASES[1]);
    let session = || Session::new(&graph, &Options::default()).unwrap();
    let (a, b) = (session(), session());
    assert_eq!(a.plan(), b.plan());
    assert!(a.plan().to_string().contains("block1.c"));
    let small = Options { memory_limit: Some(1000), ..Options::default() };
    let error = Session::new(&graph, &small).err().unwrap().to_string();
    assert!(error.contains("1000"), "{error}");
}
