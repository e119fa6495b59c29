//! The text form: it round-trips, and says where it cannot be read.

mod common;

use std::collections::HashSet;
use std::mem::discriminant;
use std::sync::Arc;

use common::every_op::every_op;
use common::{lenet, resnet50, small_residual};
use ocellus_graph::ops::CustomOp;
use ocellus_graph::{Builder, Graph, from_text, to_text};
use ocellus_tensor::{Shape, Tensor};

fn round_trips(graph: &Graph) {
    let text = to_text(graph).unwrap();
    let read = from_text(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(&read, graph);
    read.check().unwrap();
}

#[test]
fn networks_round_trip_to_equal_graphs() {
    for graph in [lenet(), small_residual(), resnet50(), Graph::default()] {
        round_trips(&graph);
    }
    round_trips(&small_residual().freeze("conv1.*").unwrap().for_training().unwrap());
}

#[test]
fn every_operation_round_trips() {
    let graph = every_op();
    graph.check().unwrap();
    let kinds: HashSet<_> = graph.nodes().iter().map(|node| discriminant(&node.op)).collect();
    assert_eq!(kinds.len(), 53, "all operations but Custom and CustomGrad");
    round_trips(&graph);
}

#[test]
fn a_convolution_reads_well() {
    let text = to_text(&lenet()).unwrap();
    let expected = "conv1 = conv2d(input, conv1.weight, conv1.bias; kernel=5x5 stride=1x1 padding=0,0,0,0 \
                    dilation=1x1 groups=1)";
    assert!(text.lines().any(|line| line == expected), "{text}");
    let param = "param conv1.weight (20, 1, 5, 5) init=variance_scaling:1.4142135:in:normal role=weight lr_mult=1 \
                 decay_mult=1 frozen=false";
    assert!(text.lines().any(|line| line == param), "{text}");
}

#[test]
fn odd_names_stand_in_quotes() {
    let mut graph = Graph::new("line\none \\ \"two\"");
    let x = graph.add_input("a, b = (c; d)", [1]).unwrap();
    graph.add_output("", x);
    graph.add_output("été", x);
    round_trips(&graph);
}

#[derive(Debug)]
struct Twice;

impl CustomOp for Twice {
    fn name(&self) -> &str {
        "twice"
    }
    fn output_shapes(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        Ok(vec![inputs[0].clone()])
    }
    fn forward(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        vec![inputs[0].clone()]
    }
    fn backward(&self, _: &[&Tensor], output_gradients: &[&Tensor]) -> Vec<Tensor> {
        vec![output_gradients[0].clone()]
    }
}

#[test]
fn custom_operations_are_refused() {
    let mut b = Builder::new("custom");
    let x = b.input("x", [1]);
    b.custom("double", Arc::new(Twice), &[x]);
    let error = to_text(&b.finish().unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "double: a custom operation is code, which the text form cannot hold");
}

#[test]
fn errors_name_the_line_and_what_was_expected() {
    let says = |text: &str, message: &str| {
        let error = from_text(text).unwrap_err().to_string();
        assert_eq!(error, message, "for {text}");
    };
    says("nonsense", "line 1: expected network, input, param, output, loss or NAME = ..., found nonsense");
    says("\n# comment\ninput x (1, z)", "line 3: expected a size, found z");
    says("input x (1, 2", "line 1: expected ) before the end of the line");
    says("input x (0, 2)", "line 1: x: shape (0, 2) has size 0 along axis 0; every size must be at least 1");
    says("input x (1)\ny = relu(x", "line 2: expected ) before the end of the line");
    says("input x (1)\ny = relu(x; slope=1)", "line 2: relu has no attribute named slope");
    says("input x (1)\ny = leaky_relu(x)", "line 2: leaky_relu needs the attribute slope");
    says("input x (1)\ny = leaky_relu(x; slope=a)", "line 2: slope=a: expected a number");
    says("input x (1)\ny = leaky_relu(x; slope=1 slope=2)", "line 2: the attribute slope stands twice");
    says("input x (1)\ny = wobble(x)", "line 2: there is no operation named wobble");
    says("input x (1)\ny = relu(x, x)", "line 2: y: needs 1 inputs (x), got 2");
    says("input x (1)\ninput x (1)", "line 2: x: there is already a value of this name");
    says("output y = x", "line 1: there is no value named x");
    says("input \"x (1)", "line 1: a name in quotes does not end");
    says(
        "param w (1) init=magic role=weight",
        "line 1: init=magic: expected an initialiser such as constant:0 or variance_scaling:1:in:normal",
    );
}

#[test]
fn damaged_text_is_an_error_and_never_a_panic() {
    let text = to_text(&every_op()).unwrap();
    let signs = ['(', ')', ';', '=', '"', ',', '-', '9', 'x', ' ', '\n', ':', 'é'];
    let mut random = 1u64;
    let mut next = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % below
    };
    let lines: Vec<&str> = text.lines().collect();
    for _ in 0..300 {
        // One line is damaged; those before it are whole, so that the damage is reached.
        let index = next(lines.len());
        let mut damaged: Vec<char> = lines[index].chars().collect();
        for _ in 0..=next(3) {
            let at = next(damaged.len());
            match next(3) {
                0 => damaged[at] = signs[next(signs.len())],
                1 => damaged.truncate(at + 1),
                _ => damaged.insert(at, signs[next(signs.len())]),
            }
        }
        let before = lines[..index].join("\n");
        let _ = from_text(&format!("{before}\n{}", damaged.into_iter().collect::<String>()));
    }
}

#[test]
fn sizes_that_overflow_are_refused() {
    let huge = usize::MAX;
    for text in [
        format!("input x ({huge}, {huge})"),
        "input x (2147483647, 2147483647, 2147483647)".to_string(),
        format!(
            "input x (1, 1, 8, 8)\ny = max_pool(x; kernel={huge}x2 stride=1x1 padding=0,0,0,0 dilation=1x1 rounding=floor)"
        ),
        format!(
            "input x (1, 1, 8, 8)\ny = max_pool(x; kernel=2x2 stride=1x1 padding={huge},0,0,0 dilation=1x1 rounding=ceil)"
        ),
        format!("input x (1, 8)\ny = slice(x; axis=1 start=1 step={huge} count=3)"),
        format!("input x (1, 1, 8, 8)\ny = upsample_nearest(x; factor={huge}x2)"),
        format!("input x (1, 8)\ny = reshape(x; dims=[{0},{0}])", isize::MAX),
        format!("input x (1, 1, 8, 8)\ny = pad(x; padding=0,0,0,0 channels={huge}x{huge} mode=constant:0)"),
    ] {
        assert!(from_text(&text).is_err(), "{text}");
    }
}
