//! The interpreter's own promises: clear errors, parameters that are written in place, and randomness by seed and step.

use std::sync::Arc;

use ocellus_engine::lower::Random;
use ocellus_engine::reference::Interpreter;
use ocellus_engine::{Options, Session};
use ocellus_graph::ops::{AdamUpdate, CustomOp, MuonUpdate, SgdUpdate};
use ocellus_graph::{BatchNormSpec, Builder, Dense, Graph, Init, Op, ParamSpec, Role, ValueId, initialise};
use ocellus_tensor::{Shape, Tensor};

fn tensor<const N: usize>(shape: impl Into<Shape>, data: [f64; N]) -> Tensor<f64> {
    Tensor::new(shape, data.to_vec()).expect("as many numbers as the shape needs")
}

fn close(actual: &[f64], expected: &[f64]) {
    assert_eq!(actual.len(), expected.len());
    for (a, e) in actual.iter().zip(expected) {
        // Attributes are f32: 0.9 is off by 2e-8.
        assert!((a - e).abs() < 1e-6, "{actual:?} is not {expected:?}");
    }
}

/// y = x w^T + b for x (1, 2), one output.
fn line() -> Graph {
    let mut b = Builder::new("line");
    let x = b.input("x", [1, 2]);
    let y = b.linear("fc", x, Dense::new(1));
    b.output("y", y);
    b.finish().expect("a network")
}

#[test]
fn a_line_gives_its_value() {
    let mut interpreter = Interpreter::<f64>::new(&line());
    interpreter.set_param("fc.weight", tensor([1, 2], [2.0, -1.0])).expect("fits");
    interpreter.set_param("fc.bias", tensor([1], [0.5])).expect("fits");
    interpreter.run(&[("x", &tensor([1, 2], [3.0, 4.0]))], Random::default()).expect("complete");
    assert_eq!(interpreter.output("y").expect("there").data(), [2.5]);
    let names: Vec<&str> = interpreter.params().map(|(name, _)| name).collect();
    assert_eq!(names, ["fc.weight", "fc.bias"]);
}

#[test]
fn errors_name_what_is_wrong() {
    let mut interpreter = Interpreter::<f64>::new(&line());
    let x = tensor([1, 2], [3.0, 4.0]);
    let error = |result: Result<(), ocellus_engine::EngineError>| result.expect_err("refused").to_string();
    let unset = error(interpreter.run(&[("x", &x)], Random::default()));
    assert!(unset.contains("fc.weight"), "{unset}");
    let shape = error(interpreter.set_param("fc.weight", tensor([2], [1.0, 2.0])));
    assert!(shape.contains("fc.weight") && shape.contains("(2)") && shape.contains("(1, 2)"), "{shape}");
    let unknown = error(interpreter.set_param("fc.wait", tensor([2], [1.0, 2.0])));
    assert!(unknown.contains("fc.wait") && unknown.contains("fc.weight"), "{unknown}");
    interpreter.set_param("fc.weight", tensor([1, 2], [2.0, -1.0])).expect("fits");
    let absent = error(interpreter.run(&[], Random::default()));
    assert!(absent.contains("input") && absent.contains('x'), "{absent}");
    let shape = error(interpreter.run(&[("x", &tensor([2, 1], [1.0, 2.0]))], Random::default()));
    assert!(shape.contains("(2, 1)") && shape.contains("(1, 2)"), "{shape}");
    let unknown = error(interpreter.run(&[("x", &x), ("z", &x)], Random::default()));
    assert!(unknown.contains('z'), "{unknown}");
    assert!(interpreter.output("z").expect_err("refused").to_string().contains("it has y"));
}

/// A parameter of this name and start, one number.
fn number(graph: &mut Graph, name: &str, start: f32) -> ValueId {
    let (name, shape, init) = (name.to_owned(), Shape::from([1]), Init::Constant(start));
    graph.add_param(ParamSpec { name, shape, init, role: Role::Weight }).expect("a new name")
}

#[test]
fn updates_write_their_parameters() {
    let mut graph = Graph::new("update");
    let gradient = graph.add_input("gradient", [1]).expect("new");
    let lr = graph.add_input("lr", Shape::scalar()).expect("new");
    let t = graph.add_input("t", Shape::scalar()).expect("new");
    let [a, velocity, b, m, v] = [("a", 4.0), ("velocity", 2.0), ("b", 2.0), ("m", 0.0), ("v", 0.0)]
        .map(|(n, s)| number(&mut graph, n, s));
    let sgd = SgdUpdate { momentum: 0.5, nesterov: false, weight_decay: 0.25, lr_mult: 0.5 };
    graph.add_node("sgd", Op::SgdUpdate(sgd), vec![a, velocity, gradient, lr]).expect("fits");
    let adam = AdamUpdate { beta1: 0.9, beta2: 0.999, eps: 0.0, weight_decay: 0.5, lr_mult: 1.0 };
    graph.add_node("adam", Op::AdamUpdate(adam), vec![b, m, v, gradient, lr, t]).expect("fits");

    let mut interpreter = Interpreter::<f64>::new(&graph);
    let (g, lr, t) = (tensor([1], [1.0]), Tensor::scalar(1.0), Tensor::scalar(1.0));
    let inputs = [("gradient", &g), ("lr", &lr), ("t", &t)];
    interpreter.run(&inputs, Random::default()).expect("complete");
    let after = |name: &str| interpreter.param(name).expect("there").data()[0];
    // g' = 1 + 0.25 * 4 = 2; velocity = 0.5 * 2 + 2 = 3; a = 4 - 0.5 * 3.
    close(&[after("velocity"), after("a")], &[3.0, 2.5]);
    // The first step is the sign of the gradient, and decay: b = 2 - 1 (1 + 0.5 * 2).
    close(&[after("m"), after("v"), after("b")], &[0.1, 0.001, 0.0]);
}

#[test]
fn muon_is_the_same_in_a_plan() {
    // More outputs than inputs, and fewer; the last is no matrix that mixes channels, and updated all the same.
    for dims in [[24, 3, 1, 1], [16, 8, 3, 3], [8, 1, 3, 3]] {
        let mut graph = Graph::new("update");
        let shape = Shape::from(dims);
        let gradient = graph.add_input("gradient", shape.clone()).expect("new");
        let lr = graph.add_input("lr", Shape::scalar()).expect("new");
        let [w, velocity] = ["w", "velocity"].map(|name| {
            let init = Init::Uniform { low: -1.0, high: 1.0 };
            let spec = ParamSpec { name: name.into(), shape: shape.clone(), init, role: Role::Weight };
            graph.add_param(spec).expect("a new name")
        });
        let muon = MuonUpdate { momentum: 0.5, weight_decay: 0.1, lr_mult: 2.0 };
        graph.add_node("muon", Op::MuonUpdate(muon), vec![w, velocity, gradient, lr]).expect("fits");

        let weights = initialise(&graph, 1);
        let g = initialise(&graph, 2).get("w").expect("there").data().to_vec();
        let after = |reference: bool| {
            let options = Options { reference, ..Options::default() };
            let mut session = Session::new(&graph, &options).expect("plannable");
            session.load(&weights).expect("its own");
            session.set_input("gradient", &g).expect("one of its inputs");
            session.set_input("lr", &[0.25]).expect("one of its inputs");
            session.run();
            ["w", "velocity"].map(|name| session.param(name).expect("there").to_vec()).concat()
        };
        for (got, want) in after(false).iter().zip(after(true)) {
            assert!((got - want).abs() < 1e-4, "{dims:?}: {got} for {want}");
        }
    }
}

#[test]
fn training_gathers_running_statistics() {
    let mut b = Builder::new("norm");
    let x = b.input("x", [4, 1]);
    let y = b.batch_norm("bn", x, BatchNormSpec::default());
    b.output("y", y);
    let graph = b.finish().expect("a network").for_training().expect("trainable");
    let mut interpreter = Interpreter::<f64>::new(&graph);
    let x = tensor([4, 1], [1.0, 3.0, 5.0, 7.0]); // mean 4, variance 5, unbiased 20/3
    interpreter.run(&[("x", &x)], Random::default()).expect("complete");
    let after = |name: &str| interpreter.param(name).expect("there").data()[0];
    close(&[after("bn.running_mean"), after("bn.running_var")], &[0.4, 0.9 + 2.0 / 3.0]);
    let root = 5.00001f64.sqrt();
    close(
        interpreter.output("y").expect("there").data(),
        &[-3.0 / root, -1.0 / root, 1.0 / root, 3.0 / root],
    );
}

#[test]
fn dropout_depends_on_seed_step_and_stream_alone() {
    let mut b = Builder::new("drop");
    let x = b.input("x", [1, 64]);
    for name in ["first", "second"] {
        let y = b.dropout(name, x, 0.5);
        b.output(name, y);
    }
    let graph = b.finish().expect("a network").for_training().expect("trainable");
    let mut interpreter = Interpreter::<f64>::new(&graph);
    let x = Tensor::full([1, 64], 1.0);
    let mut drawn = |seed, step| {
        interpreter.run(&[("x", &x)], Random { seed, step }).expect("complete");
        ["first", "second"].map(|name| interpreter.output(name).expect("there").clone())
    };
    let [first, second] = drawn(1, 2);
    assert!(first.data().iter().all(|y| [0.0, 2.0].contains(y)));
    assert_ne!(first, second);
    assert_ne!(first, drawn(1, 3)[0]);
    assert_ne!(first, drawn(2, 2)[0]);
    assert_eq!([first, second], drawn(1, 2));
}

/// Promises one shape and gives another.
#[derive(Debug)]
struct Liar;

impl CustomOp for Liar {
    fn name(&self) -> &str {
        "liar"
    }

    fn output_shapes(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        Ok(vec![inputs[0].clone(); 2])
    }

    fn forward(&self, _: &[&Tensor]) -> Vec<Tensor> {
        vec![Tensor::zeros([7])]
    }

    fn backward(&self, _: &[&Tensor], _: &[&Tensor]) -> Vec<Tensor> {
        vec![]
    }
}

#[test]
fn a_custom_operation_that_breaks_its_promise_gives_nan() {
    let mut b = Builder::new("liar");
    let x = b.input("x", [1, 2]);
    let y = b.custom("y", Arc::new(Liar), &[x]);
    b.output("y", y);
    let mut interpreter = Interpreter::<f64>::new(&b.finish().expect("a network"));
    interpreter.run(&[("x", &tensor([1, 2], [3.0, 4.0]))], Random::default()).expect("complete");
    assert!(interpreter.output("y").expect("there").data().iter().all(|y| y.is_nan()));
}
