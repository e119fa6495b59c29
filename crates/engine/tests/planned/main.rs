//! The planned engine against the reference: the same graphs on fast kernels, fused and blocked, and node by node on
//! the reference kernels must give the same numbers; and the same bits at any number of threads.

mod narrow;
mod narrow_training;
mod networks;

use networks::{CASES, Case};
use ocellus_engine::{Options, Session};
use ocellus_graph::{Builder, Conv, Graph, Request, Role, differentiate};
use ocellus_kernels::isa::Isa;
use ocellus_tensor::{Parameters, Shape, Tensor, Weights};

fn describe(case: &Case) -> Graph {
    let mut b = Builder::new(case.name);
    let x = b.input("input", case.input);
    let y = (case.build)(&mut b, x);
    b.output("output", y);
    b.finish().unwrap()
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

#[test]
fn nothing_is_left_to_the_reference() {
    for case in CASES {
        for graph in [describe(case), training_graph(case)] {
            let session = Session::new(&graph, &Options::default().with_threads(2)).unwrap();
            let steps = session.plan().steps.iter().filter(|step| step.kernel.name() == "reference");
            let left: Vec<&str> = steps.map(|step| step.name.as_str()).collect();
            let allowed = |name: &&str| case.by_reference.iter().any(|part| name.contains(part));
            assert!(left.iter().all(allowed), "{}: {left:?}", case.name);
        }
    }
}

#[test]
fn computing_again_saves_memory_and_changes_no_bit() {
    let case = Case { input: [4, 16, 64, 60], ..networks::RESIDUAL_WIDE };
    let graph = training_graph(&case);
    let keep = Options { recompute_above: usize::MAX, ..Options::default() }.with_threads(2);
    let again = Options { recompute_above: 0, ..keep.clone() };
    let bytes = |options: &Options| Session::new(&graph, options).unwrap().planned_bytes();
    assert!(bytes(&again) < bytes(&keep) * 9 / 10, "{} and {} bytes", bytes(&again), bytes(&keep));
    let plan = Session::new(&graph, &again).unwrap().plan().to_string();
    assert!(plan.contains("again"), "{plan}");
    for ((name, a), (_, b)) in run(&graph, &again).iter().zip(&run(&graph, &keep)) {
        assert!(a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits()), "{name}");
    }
}

#[test]
fn idle_dropout_takes_no_step() {
    let mut b = Builder::new("idle dropout");
    let x = b.input("input", [1, 16, 6, 5]);
    let x = b.conv2d("before", x, Conv::new(16, 1));
    let x = b.dropout("dropout", x, 0.5);
    let x = b.conv2d("after", x, Conv::new(16, 1));
    b.output("output", x);
    let session = Session::new(&b.finish().unwrap(), &Options::default()).unwrap();
    let plan = session.plan();
    assert!(plan.steps.iter().all(|step| !step.name.contains("dropout") && !step.name.contains("before to")));
}

/// Every output of an inference with these weights, loaded `times` times, and the floats of its plan.
fn infer_with(graph: &Graph, options: &Options, times: usize) -> (Vec<f32>, usize) {
    let mut session = Session::new(graph, options).unwrap();
    let image = noise(7, graph.shape(graph.inputs()[0]).elements());
    session.set_input("input", &image).unwrap();
    for _ in 0..times {
        session.load(&weights(graph)).unwrap();
        session.run();
    }
    (session.output("output").unwrap().to_vec(), session.plan().floats)
}

#[test]
fn weights_that_are_not_kept_change_no_bit_and_need_no_room() {
    let options = Options::default().with_threads(2);
    let mut spared = 0;
    for case in CASES {
        let graph = describe(case);
        let (kept, floats) = infer_with(&graph, &options, 1);
        for times in [1, 2] {
            let (packed, fewer) = infer_with(&graph, &options.clone().without_weights(), times);
            assert!(packed == kept, "{}, loaded {times} times", case.name);
            assert!(fewer <= floats, "{}: {fewer} floats, with weights {floats}", case.name);
            spared += floats - fewer;
        }
    }
    assert!(spared > 0, "no plan became smaller");
}

/// Weights of which one cannot be read.
struct Torn(Weights, &'static str);

impl Parameters for Torn {
    fn names(&self) -> Vec<&str> {
        self.0.names()
    }
    fn shape(&self, name: &str) -> Option<&Shape> {
        self.0.shape(name)
    }
    fn read(&self, name: &str, start: usize, out: &mut [f32]) -> Result<(), String> {
        if name == self.1 { Err("the disk is gone".into()) } else { self.0.read(name, start, out) }
    }
}

#[test]
fn a_parameter_that_cannot_be_read_is_named() {
    let graph = describe(&CASES[0]);
    for options in [Options::default(), Options::default().without_weights()] {
        let mut session = Session::new(&graph, &options).unwrap();
        let refusal = session.load(&Torn(weights(&graph), "fc2.weight")).unwrap_err().to_string();
        assert_eq!(refusal, "fc2.weight cannot be read: the disk is gone");
        session.load(&weights(&graph)).unwrap();
    }
}

#[test]
fn weights_that_are_not_kept_cannot_be_reached_alone() {
    let graph = describe(&CASES[0]);
    let mut session = Session::new(&graph, &Options::default().without_weights()).unwrap();
    session.load(&weights(&graph)).unwrap();
    let refusal = session.set_param("fc2.bias", &[0.0; 10]).unwrap_err().to_string();
    assert!(refusal.contains("fc2.bias") && refusal.contains("lenet"), "{refusal}");
    assert!(session.param("fc2.bias").is_err());
    assert!(session.weights().len() < weights(&graph).len());
}
