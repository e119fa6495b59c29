//! Inference in narrow numbers against the same network in `f32`.

use std::sync::Arc;

use super::{assert_close, describe, noise, run, weights};
use crate::networks::CASES;
use ocellus_engine::{Calibrator, Method, Options, Precision, Session};
use ocellus_graph::{BatchNormSpec, Builder, Conv, Dense, Graph};
use ocellus_kernels::format::Format;
use ocellus_kernels::isa::Isa;

pub fn instruction_sets() -> Vec<Isa> {
    let mut all = Isa::available();
    all.push(Isa::detect().without_narrow_products());
    all
}

/// A bf16 number is off by 2^-9 of itself at most; what several layers of that come to, of the largest number.
const BF16_TOLERANCE: f32 = 0.04;

#[test]
fn bf16_is_near_f32() {
    for case in CASES {
        let graph = describe(case).for_inference().unwrap();
        let expected = run(&graph, &Options::default());
        for isa in instruction_sets() {
            let options = Options { isa, ..Options::default() }.with_precision(Precision::Bf16);
            let actual = run(&graph, &options.with_threads(2));
            let what = format!("{} in bf16 on {}", case.name, isa.name());
            assert_close(&what, &actual, &expected, BF16_TOLERANCE);
        }
    }
}

#[test]
fn bf16_has_the_same_bits_at_any_number_of_threads() {
    for case in CASES {
        let graph = describe(case).for_inference().unwrap();
        let options = Options::default().with_precision(Precision::Bf16);
        let one = run(&graph, &options.clone().with_threads(1));
        for threads in [2, 3] {
            let many = run(&graph, &options.clone().with_threads(threads));
            for ((name, a), (_, b)) in one.iter().zip(&many) {
                let same = a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits());
                assert!(same, "{}: {name} at {threads} threads is not what it is at one", case.name);
            }
        }
    }
}

/// Convolution, BatchNorm, sum, ReLU, pooling and the classifier.
fn residual() -> Graph {
    let mut b = Builder::new("narrow residual");
    let x = b.input("input", [1, 3, 24, 20]);
    let x = b.conv2d("stem", x, Conv::new(32, 5).stride(2).padding(2));
    let x = b.relu("stem.relu", x);
    let y = b.conv2d("c1", x, Conv::new(32, 3).padding(1).no_bias());
    let y = b.batch_norm("n1", y, BatchNormSpec::default());
    let y = b.add("sum", y, x);
    let y = b.relu("relu", y);
    let y = b.global_avg_pool("pool", y);
    let y = b.flatten("flat", y);
    let y = b.linear("fc", y, Dense::new(21));
    b.output("output", y);
    b.finish().unwrap().for_inference().unwrap()
}

#[test]
fn a_chain_never_leaves_bf16_and_takes_less_memory() {
    let graph = residual();
    let session = |precision| {
        Session::new(&graph, &Options::default().with_threads(2).with_precision(precision)).unwrap()
    };
    let (wide, narrow) = (session(Precision::F32), session(Precision::Bf16));
    let plan = narrow.plan();
    let kernels: Vec<&str> = plan.steps.iter().map(|step| step.kernel.name()).collect();
    let bf16 = "conv direct bf16";
    assert_eq!(kernels, ["to pixels", bf16, bf16, "avg pool", bf16, "to plain"], "{plan}");
    assert!(plan.buffers.iter().any(|b| b.format == Format::Bf16));
    assert!(narrow.planned_bytes() < wide.planned_bytes(), "{plan}");
}

#[test]
fn weights_and_inputs_stay_f32() {
    let graph = residual();
    let mut session = Session::new(&graph, &Options::default().with_precision(Precision::Bf16)).unwrap();
    let all = weights(&graph);
    session.load(&all).unwrap();
    session.set_input("input", &noise(1, 3 * 24 * 20)).unwrap();
    session.run();
    assert_eq!(session.weights(), all);
    let first = session.output("output").unwrap().to_vec();
    session.run();
    assert_eq!(session.output("output").unwrap(), first);
}

/// Bytes by the ranges of this very input.
fn int8(graph: &Graph) -> Precision {
    let mut calibrator = Calibrator::new(graph, &Options::default()).unwrap();
    calibrator.load(&weights(graph)).unwrap();
    for &value in graph.inputs() {
        let (name, len) = (graph.value(value).name.clone(), graph.shape(value).elements());
        calibrator.session().set_input(&name, &noise(99, len)).unwrap();
    }
    calibrator.note_bounds(usize::MAX);
    Precision::Int8(Arc::new(calibrator.ranges(Method::MinMax)))
}

/// A byte is off by half a step of 1/255 of the range; what several layers of that and of 8-bit weights come to, of the
/// largest number.
const INT8_TOLERANCE: f32 = 0.12;

#[test]
fn int8_is_near_f32_with_the_same_bits_at_any_number_of_threads() {
    for case in CASES {
        let graph = describe(case).for_inference().unwrap();
        let expected = run(&graph, &Options::default());
        let precision = int8(&graph);
        let mut bits: Option<Vec<u32>> = None;
        for isa in instruction_sets() {
            for threads in [1, 3] {
                let options = Options { isa, ..Options::default() }.with_precision(precision.clone());
                let actual = run(&graph, &options.with_threads(threads));
                let what = format!("{} in int8 on {}, {threads} threads", case.name, isa.name());
                assert_close(&what, &actual, &expected, INT8_TOLERANCE);
                if isa == Isa::detect() {
                    let all = actual.iter().flat_map(|(_, y)| y.iter().map(|y| y.to_bits())).collect();
                    assert_eq!(*bits.get_or_insert_with(|| Vec::clone(&all)), all, "{what}");
                }
            }
        }
    }
}

#[test]
fn a_chain_never_leaves_int8() {
    let graph = residual();
    let options = Options::default().with_threads(2);
    let wide = Session::new(&graph, &options).unwrap();
    let bf16 = Session::new(&graph, &options.clone().with_precision(Precision::Bf16)).unwrap();
    let narrow = Session::new(&graph, &options.with_precision(int8(&graph))).unwrap();
    let plan = narrow.plan();
    let kernels: Vec<&str> = plan.steps.iter().map(|step| step.kernel.name()).collect();
    let int8 = "conv direct int8";
    assert_eq!(kernels, ["to pixels", int8, int8, "avg pool", int8, "to plain"], "{plan}");
    let persistent = |session: &Session| session.plan().persistent_bytes();
    assert!(persistent(&narrow) < persistent(&bf16) && persistent(&bf16) < persistent(&wide), "{plan}");
}

#[test]
fn without_ranges_nothing_is_in_bytes() {
    let graph = residual();
    let expected = run(&graph, &Options::default());
    let none = Precision::Int8(Arc::default());
    assert_eq!(run(&graph, &Options::default().with_precision(none)), expected);
}
