//! What tests of Caffe's layers share: a description, its numbers, its answer.

use ocellus_engine::{Options, Session};
use ocellus_formats::caffe::{NetOptions, parse_net};
use ocellus_graph::Graph;
use ocellus_tensor::Weights;

/// Numbers of no special kind, of both signs.
pub fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 37 % 23) as f32 - 11.0) / 7.0).collect()
}

pub fn parse(text: &str) -> Graph {
    parse_net(text, "net.prototxt", &NetOptions::default()).unwrap_or_else(|fault| panic!("{fault}"))
}

/// What the output `y` is for inputs in their order.
pub fn run(graph: &Graph, weights: &Weights, inputs: &[(&str, Vec<f32>)]) -> Vec<f32> {
    let mut session = Session::new(graph, &Options::default().with_threads(1)).unwrap();
    session.load(weights).unwrap();
    for (name, numbers) in inputs {
        session.set_input(name, numbers).unwrap();
    }
    session.run();
    session.output("y").unwrap().to_vec()
}
