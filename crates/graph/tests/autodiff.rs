//! Differentiation: which nodes it appends, what it leaves out, and what it refuses. (That the numbers are right is
//! checked where numbers are made.)

mod common;

use std::sync::Arc;

use common::every_op::every_op;
use common::{resnet50, small_residual};
use ocellus_graph::ops::CustomOp;
use ocellus_graph::{
    BatchNormSpec, Builder, Conv, ConvTranspose, Dense, Gradients, Graph, Op, Request, differentiate,
};
use ocellus_tensor::{Shape, Tensor, Window};

fn all(graph: &Graph) -> Gradients {
    let gradients = differentiate(graph, &Request::default()).unwrap();
    gradients.graph.check().unwrap();
    for &(param, gradient) in &gradients.params {
        assert_eq!(gradients.graph.shape(gradient), &graph.param(param).shape);
    }
    gradients
}

fn gradient_nodes(gradients: &Gradients) -> Vec<&str> {
    let nodes = gradients.graph.nodes().iter().map(|node| node.name.as_str());
    nodes.filter(|name| name.starts_with("grad.")).collect()
}

fn param_names(gradients: &Gradients) -> Vec<&str> {
    gradients.params.iter().map(|&(id, _)| gradients.graph.param(id).name.as_str()).collect()
}

#[test]
fn a_linear_layer_by_hand() {
    let mut b = Builder::new("net");
    let (x, target) = (b.input("x", [4, 3]), b.input("target", [4, 2]));
    let y = b.linear("fc", x, Dense::new(2));
    b.mse("loss", y, target, 0.5);
    let graph = b.finish().unwrap();
    let gradients = all(&graph);
    assert_eq!(gradient_nodes(&gradients), ["grad.loss.seed", "grad.loss", "grad.fc.weight", "grad.fc.bias"]);
    assert_eq!(gradients.graph.nodes()[..2], graph.nodes()[..]);
    let request = Request { inputs: vec!["x".into()], params: false };
    let gradients = differentiate(&graph, &request).unwrap();
    assert_eq!(gradient_nodes(&gradients), ["grad.loss.seed", "grad.loss", "grad.fc.input"]);
    assert_eq!((gradients.inputs[0].0.as_str(), gradients.params.len()), ("x", 0));
}

#[test]
fn resnet50_has_a_gradient_for_every_parameter() {
    let graph = resnet50().with_batch(2).unwrap().with_classifier_loss(0.1).unwrap().for_training().unwrap();
    let gradients = all(&graph);
    assert_eq!(gradients.params.len(), 53 + 2 * 53 + 2);
    // The image's gradient is nobody's wish.
    assert!(gradients.graph.find_node("grad.conv1.input").is_none());
    assert!(gradients.graph.find_node("grad.layer1.0.conv1.input").is_some());
}

#[test]
fn every_operation_has_its_gradient() {
    let names = every_op();
    let has = |kind: &str| names.nodes().iter().any(|node| node.op.name() == kind);
    for kind in ["maximum_grad", "sum_to", "upsample_bilinear_grad", "global_avg_pool_grad", "triplet_grad"] {
        assert!(has(kind), "{kind}");
    }
}

#[test]
fn a_shared_module_sums_the_gradients_of_its_uses() {
    let mut b = Builder::new("shared");
    let (mut x, target) = (b.input("x", [2, 4]), b.input("target", [2, 4]));
    for use_ in ["one", "two", "three"] {
        x = b.linear(use_, x, Dense::new(4).no_bias().params("fc"));
    }
    b.mse("loss", x, target, 1.0);
    let gradients = all(&b.finish().unwrap());
    assert_eq!(param_names(&gradients), ["fc.weight"]);
    let sums: Vec<&str> =
        gradient_nodes(&gradients).into_iter().filter(|name| name.contains("sum")).collect();
    assert_eq!(sums, ["grad.fc.weight.sum", "grad.fc.weight.sum.2"]);
}

#[test]
fn several_losses_are_weighted_and_summed() {
    let mut b = Builder::new("losses");
    let (x, target) = (b.input("x", [2, 4]), b.input("target", [2, 4]));
    let y = b.linear("fc", x, Dense::new(4));
    b.mse("a", y, target, 1.0);
    b.sigmoid_cross_entropy("b", y, target, 0.25);
    let gradients = all(&b.finish().unwrap());
    assert_eq!(
        gradient_nodes(&gradients),
        ["grad.a.seed", "grad.b.seed", "grad.b", "grad.a", "grad.fc.sum", "grad.fc.weight", "grad.fc.bias"]
    );
}

#[test]
fn no_work_is_done_for_frozen_parameters_nor_behind_the_last_trainable_one() {
    let graph = small_residual().freeze_until("add").unwrap().with_classifier_loss(0.0).unwrap();
    let gradients = all(&graph.for_training().unwrap());
    assert_eq!(param_names(&gradients), ["fc.weight", "fc.bias"]);
    assert_eq!(gradient_nodes(&gradients), ["grad.loss.seed", "grad.loss", "grad.fc.weight", "grad.fc.bias"]);
    let all_frozen = graph.freeze("*").unwrap();
    assert_eq!(all(&all_frozen).graph, all_frozen);
}

#[test]
fn parameters_that_no_loss_depends_on_have_no_gradient() {
    let mut b = Builder::new("aside");
    let (x, target) = (b.input("x", [2, 4]), b.input("target", [2, 4]));
    let y = b.linear("used", x, Dense::new(4));
    let z = b.linear("aside", x, Dense::new(4));
    b.output("z", z);
    b.mse("loss", y, target, 1.0);
    let gradients = all(&b.finish().unwrap());
    assert_eq!(param_names(&gradients), ["used.weight", "used.bias"]);
}

#[test]
fn relu_keeps_its_output_and_not_its_input() {
    let mut b = Builder::new("relu");
    let (x, target) = (b.input("x", [2, 4]), b.input("target", [2, 4]));
    let x = b.linear("fc", x, Dense::new(4));
    let y = b.relu("relu", x);
    let z = b.activation("gelu", y, ocellus_graph::ops::Activation::Gelu);
    b.mse("loss", z, target, 1.0);
    let gradients = all(&b.finish().unwrap());
    let graph = &gradients.graph;
    let inputs = |name: &str| graph.node(graph.find_node(name).unwrap()).inputs[..2].to_vec();
    assert_eq!(inputs("grad.relu"), [y, y]);
    assert_eq!(inputs("grad.gelu"), [y, y]); // gelu's own input, twice
}

#[test]
fn transposed_convolutions_differentiate_into_convolutions() {
    let mut b = Builder::new("up");
    let (x, target) = (b.input("x", [1, 4, 5, 5]), b.input("target", [1, 6, 11, 11]));
    let up = ConvTranspose::new(Conv::new(6, 4).window(Window::square(4).stride(2).padding(1)).groups(2));
    let y = b.conv_transpose2d("up", x, up.output_padding(1));
    b.mse("loss", y, target, 1.0);
    let request = Request { inputs: vec!["x".into()], ..Request::default() };
    let gradients = differentiate(&b.finish().unwrap(), &request).unwrap();
    let op = |name: &str| &gradients.graph.node(gradients.graph.find_node(name).unwrap()).op;
    assert!(matches!(op("grad.up.input"), Op::Conv2d(_)));
    assert!(matches!(op("grad.up.weight"), Op::Conv2dGradWeight(_)));
    assert_eq!(gradients.graph.shape(gradients.inputs[0].1).dims(), [1, 4, 5, 5]);
}

#[test]
fn convolutions_differentiate_twice() {
    // Penalties on the gradients of a sum: their gradients lead through both gradients of the convolution.
    let mut b = Builder::new("net");
    let x = b.input("x", [2, 4, 6, 6]);
    let y = b.conv2d("conv", x, Conv::new(4, 3).stride(2).padding(1).groups(2).no_bias());
    let y = b.activation("half", y, ocellus_graph::ops::Activation::Affine { scale: 0.5, shift: 0.0 });
    let mut sum = b.clone();
    let total = sum.reduce_sum("total", y, &[0, 1, 2, 3], false);
    let mut graph = sum.finish().unwrap();
    graph.add_loss("total", total, 1.0).unwrap();
    let request = Request { inputs: vec!["x".into()], ..Request::default() };
    let first = differentiate(&graph, &request).unwrap();
    let mut graph = first.graph;
    for (name, gradient) in [("dx", first.inputs[0].1), ("dw", first.params[0].1)] {
        let shape = graph.shape(gradient).clone();
        let target = graph.add_input(format!("{name}.target"), shape).unwrap();
        let kind = ocellus_graph::ops::LossKind::MeanSquaredError;
        let op = Op::Loss(ocellus_graph::ops::LossOp { kind });
        let loss = graph.add_node(format!("{name}.loss"), op, vec![gradient, target]).unwrap()[0];
        graph.add_loss(format!("{name}.loss"), loss, 1.0).unwrap();
    }
    let second = differentiate(&graph, &request).unwrap();
    second.graph.check().unwrap();
    let op = |name: &str| second.graph.node(second.graph.find_node(name).unwrap()).op.name();
    assert_eq!(op("grad.grad.conv.input.weight"), "conv2d_grad_weight");
    assert_eq!(op("grad.grad.conv.weight.input"), "conv2d_grad_input");
    // A loss's gradient is where it ends.
    let mut b = b;
    let target = b.input("target", [2, 4, 3, 3]);
    b.mse("mse", y, target, 1.0);
    let mut graph = differentiate(&b.finish().unwrap(), &request).unwrap().graph;
    let dy = graph.find_value("grad.mse").unwrap();
    let op = Op::Reduce(ocellus_graph::ops::Reduce {
        kind: ocellus_graph::ops::ReduceKind::Max,
        axes: vec![0, 1, 2, 3],
        keep: false,
    });
    let penalty = graph.add_node("penalty", op, vec![dy]).unwrap()[0];
    graph.add_loss("penalty", penalty, 1.0).unwrap();
    let error = differentiate(&graph, &Request::default()).unwrap_err().to_string();
    assert_eq!(error, "grad.mse: the gradient of this gradient is not known; only convolutions' are");
}

#[test]
fn normalisations_by_running_statistics_give_them_no_gradient() {
    let mut b = Builder::new("bn");
    let (x, target) = (b.input("x", [2, 4]), b.input("target", [2, 4]));
    let y = b.batch_norm("bn", x, BatchNormSpec::default());
    let y = b.batch_norm("plain", y, BatchNormSpec { affine: false, ..BatchNormSpec::default() });
    b.mse("loss", y, target, 1.0);
    let gradients = all(&b.finish().unwrap());
    assert_eq!(param_names(&gradients), ["bn.weight", "bn.bias"]);
}

#[test]
fn refusals() {
    let says = |b: Builder, request: Request, expected: &str| {
        let error = differentiate(&b.finish().unwrap(), &request).unwrap_err().to_string();
        assert_eq!(error, expected);
    };
    let mut b = Builder::new("net");
    let x = b.input("x", [2, 4]);
    let y = b.linear("fc", x, Dense::new(4));
    says(b.clone(), Request::default(), "net: there is no loss to differentiate");
    let label = b.input("label", [2]);
    let mut with_loss = b.clone();
    with_loss.softmax_cross_entropy("loss", y, label, 0.0, 1.0);
    let request = Request { inputs: vec!["lable".into()], ..Request::default() };
    says(with_loss, request, "the network net has no input named lable; did you mean label?");
    let top = b.accuracy("top1", y, label, 1);
    let mut graph = b.finish().unwrap();
    graph.add_loss("top1", top, 1.0).unwrap();
    let error = differentiate(&graph, &Request::default()).unwrap_err().to_string();
    assert_eq!(error, "top1: accuracy has no gradient; train on a loss");
}

/// Two outputs, the second unused.
#[derive(Debug)]
struct Fork;

impl CustomOp for Fork {
    fn name(&self) -> &str {
        "fork"
    }
    fn output_shapes(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        Ok(vec![inputs[0].clone(), inputs[0].clone()])
    }
    fn forward(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        vec![inputs[0].clone(), inputs[0].clone()]
    }
    fn backward(&self, _: &[&Tensor], output_gradients: &[&Tensor]) -> Vec<Tensor> {
        vec![output_gradients[0].clone()]
    }
}

#[test]
fn custom_operations_get_zeros_for_outputs_that_no_loss_depends_on() {
    let mut b = Builder::new("custom");
    let (x, target) = (b.input("x", [2, 4]), b.input("target", [2, 4]));
    let x = b.linear("fc", x, Dense::new(4));
    let first = b.custom("fork", Arc::new(Fork), &[x]);
    b.mse("loss", first, target, 1.0);
    let gradients = all(&b.finish().unwrap());
    let graph = &gradients.graph;
    let node = graph.node(graph.find_node("grad.fork").unwrap());
    assert_eq!((node.inputs.len(), node.op.name()), (3, "custom_grad"));
    assert!(graph.find_node("grad.fork.zeros1").is_some());
}
