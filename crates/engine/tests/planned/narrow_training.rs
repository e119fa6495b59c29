//! Training in bf16 against the same step in `f32`.

use super::narrow::instruction_sets;
use super::{run, training_graph};
use crate::networks::CASES;
use ocellus_engine::{Options, Precision, Session};
use ocellus_graph::{BatchNormSpec, Builder, Conv, Dense, Graph, Request, differentiate};
use ocellus_kernels::format::Format;

/// What the rounding of every factor to 2^-9 of itself comes to in all gradients together, as a share of their length.
/// Most of it is where rounding changed what a ReLU let through or which pixel was the largest: if it did for one number
/// in a hundred, the share is a tenth.
const TOLERANCE: f32 = 0.2;
/// The same for a single tensor, some of which are sums in which large terms cancel.
const OF_ONE: f32 = 0.5;

fn length<'a>(x: impl IntoIterator<Item = &'a f32>) -> f32 {
    x.into_iter().map(|x| x * x).sum::<f32>().sqrt()
}

#[track_caller]
fn assert_near(what: &str, actual: &[(String, Vec<f32>)], expected: &[(String, Vec<f32>)]) {
    let (mut all, mut differences) = (Vec::new(), Vec::new());
    for ((name, a), (_, e)) in actual.iter().zip(expected) {
        let difference: Vec<f32> = a.iter().zip(e).map(|(a, e)| a - e).collect();
        let (off, scale) = (length(&difference), length(e).max(1e-3 * (e.len() as f32).sqrt()));
        assert!(off <= OF_ONE * scale, "{what}: {name} is off by {off} of {scale}");
        if name.starts_with("grad/") {
            all.extend(e);
            differences.extend(difference);
        }
    }
    let (off, scale) = (length(&differences), length(&all));
    assert!(off <= TOLERANCE * scale, "{what}: gradients are off by {off} of {scale}");
}

fn bf16() -> Options {
    Options::default().with_precision(Precision::Bf16)
}

#[test]
fn gradients_are_near_those_of_f32() {
    for case in CASES {
        let graph = training_graph(case);
        let expected = run(&graph, &Options::default());
        for isa in instruction_sets() {
            let actual = run(&graph, &Options { isa, ..bf16() }.with_threads(2));
            let what = format!("{} trained in bf16 on {}", case.name, isa.name());
            assert_near(&what, &actual, &expected);
        }
    }
}

#[test]
fn the_same_bits_at_any_number_of_threads() {
    for case in CASES {
        let graph = training_graph(case);
        let one = run(&graph, &bf16().with_threads(1));
        for threads in [2, 3] {
            let many = run(&graph, &bf16().with_threads(threads));
            for ((name, a), (_, b)) in one.iter().zip(&many) {
                let same = a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits());
                assert!(same, "{}: {name} at {threads} threads is not what it is at one", case.name);
            }
        }
    }
}

/// Two convolutions that Winograd's algorithm does not take, each with BatchNorm and ReLU, and a classifier.
fn network() -> Graph {
    let mut b = Builder::new("narrow step");
    let mut y = b.input("input", [5, 20, 44, 40]);
    for (i, channels) in [32, 40].into_iter().enumerate() {
        y = b.conv2d(&format!("conv{i}"), y, Conv::new(channels, 3).stride(1 + i).padding(2 * i).no_bias());
        y = b.batch_norm(&format!("norm{i}"), y, BatchNormSpec::default());
        y = b.relu(&format!("relu{i}"), y);
    }
    let y = b.global_avg_pool("pool", y);
    let y = b.flatten("flat", y);
    let y = b.linear("fc", y, Dense::new(7));
    b.output("output", y);
    b.finish().unwrap()
}

fn step(graph: &Graph) -> Graph {
    let graph = graph.with_classifier_loss(0.0).unwrap().for_training().unwrap();
    let gradients = differentiate(&graph, &Request::default()).unwrap();
    let mut graph = gradients.graph;
    for (param, value) in &gradients.params {
        let name = format!("grad/{}", graph.param(*param).name);
        graph.add_output(name, *value);
    }
    graph
}

#[test]
fn every_product_of_a_convolution_is_of_bf16_numbers() {
    let graph = step(&network());
    let session = Session::new(&graph, &Options { exact: true, ..bf16() }).unwrap();
    let plan = session.plan();
    let of = |start: &str| {
        let names = plan.steps.iter().map(|step| step.kernel.name()).filter(|name| name.starts_with(start));
        names.collect::<Vec<_>>()
    };
    assert_eq!(of("conv "), ["conv direct bf16"; 2], "{plan}");
    assert_eq!(of("input grad"), ["input grad direct bf16"], "{plan}");
    assert_eq!(of("weight grad"), ["weight grad direct bf16"; 2], "{plan}");
    let stored = |name: &str| {
        let buffer = plan.buffers.iter().find(|buffer| buffer.name == name);
        buffer.unwrap_or_else(|| panic!("{name} in {plan}")).format
    };
    // Between two convolutions with whole blocks of channels; not where something else reads, or blocks are padded.
    assert_eq!([stored("conv0"), stored("relu0")], [Format::Bf16; 2], "{plan}");
    assert_eq!([stored("conv1"), stored("relu1")], [Format::F32; 2], "{plan}");
    let expected = run(&graph, &Options { exact: true, ..Options::default() });
    let actual = run(&graph, &Options { exact: true, ..bf16() });
    assert_near("exactly chosen", &actual, &expected);
    assert!(actual != expected, "bf16 numbers were multiplied");
}

#[test]
fn activations_computed_again_change_no_bit() {
    let graph = step(&network());
    let tight = Options { recompute_above: 0, ..bf16() };
    let session = Session::new(&graph, &tight).unwrap();
    assert!(session.plan().steps.iter().any(|step| step.name.ends_with("again")), "{}", session.plan());
    assert_eq!(run(&graph, &tight), run(&graph, &bf16()));
}
