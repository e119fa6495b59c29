//! The builder, and the graph's own rules on names, parameters and order.

mod common;

use common::small_residual;
use ocellus_graph::ops::{Accumulate, PadMode};
use ocellus_graph::{
    BatchNormSpec, Builder, Conv, ConvTranspose, Dense, Graph, GraphError, Init, Op, ParamSpec, Role, ValueId,
};

fn first_error(build: impl FnOnce(&mut Builder, ValueId)) -> String {
    let mut b = Builder::new("net");
    let x = b.input("x", [2, 64, 8, 8]);
    build(&mut b, x);
    b.finish().unwrap_err().to_string()
}

#[test]
fn the_first_error_is_kept_and_nothing_panics_after_it() {
    let error = first_error(|b, x| {
        let y = b.scope("layer2", |b| b.conv2d("conv2_3x3", x, Conv::new(6, 3).groups(3)));
        let y = b.batch_norm("bn", y, BatchNormSpec::default());
        let parts = b.split("split", y, &[1, 2]);
        let y = b.concat("concat", &parts);
        let second = b.slot(y, 1);
        assert_eq!((b.channels(second), b.shape(second).rank()), (1, 0));
        b.mse("loss", y, second, 1.0);
        b.output("output", y);
    });
    assert_eq!(error, "layer2.conv2_3x3: input has 64 channels, groups = 3 does not divide it");
}

#[test]
fn errors_name_the_node() {
    let errors = [
        (
            first_error(|b, x| {
                let x = b.flatten("flat", x);
                b.linear("fc1", x, Dense::new(8).params("fc"));
                let y = b.input("y", [2, 5]);
                b.linear("fc2", y, Dense::new(8).params("fc"));
            }),
            "fc.weight: shared parameter has shape (8, 4096), this use needs (8, 5)",
        ),
        (
            first_error(|b, x| {
                b.relu("same", x);
                b.tanh("same", x);
            }),
            "same: there is already a node of this name",
        ),
        (
            first_error(|b, x| {
                b.relu("x", x);
            }),
            "x: there is already a value of this name",
        ),
        (
            first_error(|b, x| {
                b.split("split", x, &[32, 16]);
            }),
            "split: parts of 48 channels together do not split 64",
        ),
        (
            first_error(|b, x| {
                b.slot(x, 1);
            }),
            "x: output 1 was asked for, there are 0",
        ),
        (
            first_error(|b, x| {
                b.conv_transpose2d("up", x, ConvTranspose::new(Conv::new(5, 2).groups(2)));
            }),
            "up: output has 5 channels, groups = 2 does not divide it",
        ),
        (
            first_error(|b, x| {
                b.node("update", Op::Accumulate(Accumulate { scale: 1.0 }), &[x, x]);
            }),
            "update: writes x, which is no parameter",
        ),
    ];
    for (error, expected) in errors {
        assert_eq!(error, expected);
    }
}

#[test]
fn scopes_prefix_nodes_and_parameters_and_may_share() {
    let mut b = Builder::new("siamese");
    let (left, right) = (b.input("left", [2, 8]), b.input("right", [2, 8]));
    let tower = |b: &mut Builder, x| {
        let x = b.scope("body", |b| b.linear("fc", x, Dense::new(4)));
        b.batch_norm("bn", x, BatchNormSpec::default())
    };
    let a = b.scope("tower", |b| tower(b, left));
    let c = b.scope_sharing("twin", "tower", |b| tower(b, right));
    let matching = b.input("matching", [2]);
    b.contrastive("loss", [a, c], matching, 1.0, 1.0);
    let graph = b.finish().unwrap();
    graph.check().unwrap();
    let nodes: Vec<&str> = graph.nodes().iter().map(|node| node.name.as_str()).collect();
    assert_eq!(nodes, ["tower.body.fc", "tower.bn", "twin.body.fc", "twin.bn", "loss"]);
    assert_eq!(graph.params().len(), 6);
    assert!(graph.params().iter().all(|param| param.name.starts_with("tower.")));
}

#[test]
fn padding_other_than_zeros_is_a_node() {
    let mut b = Builder::new("padded");
    let x = b.input("x", [1, 2, 8, 8]);
    let y = b.conv2d("conv", x, Conv::new(4, 5).padding(2).pad_mode(PadMode::Replicate));
    assert_eq!(b.shape(y).dims(), [1, 4, 8, 8]);
    let graph = b.finish().unwrap();
    assert_eq!(graph.shape(graph.find_value("conv.pad").unwrap()).dims(), [1, 2, 12, 12]);
}

#[test]
fn scale_has_a_factor_and_an_offset_per_channel() {
    let mut b = Builder::new("scaled");
    let (image, vector) = (b.input("image", [2, 3, 4, 4]), b.input("vector", [2, 3]));
    b.scale("a", image);
    b.scale("b", vector);
    let graph = b.finish().unwrap();
    let shape = |name: &str| graph.shape(graph.find_value(name).unwrap()).to_vec();
    assert_eq!((shape("a.weight"), shape("b.bias")), (vec![3, 1, 1], vec![3]));
    assert_eq!((shape("a"), shape("b")), (vec![2, 3, 4, 4], vec![2, 3]));
}

#[test]
fn dropouts_have_streams_of_their_own() {
    let mut b = Builder::new("dropouts");
    let mut x = b.input("x", [1, 8]);
    for name in ["a", "b", "c"] {
        x = b.dropout(name, x, 0.5);
    }
    let graph = b.finish().unwrap();
    let streams: Vec<u64> = graph
        .nodes()
        .iter()
        .map(|node| if let Op::Dropout(dropout) = node.op { dropout.stream } else { u64::MAX })
        .collect();
    assert_eq!(streams, [0, 1, 2]);
}

#[test]
fn losses_are_one_number() {
    let mut graph = Graph::new("net");
    let x = graph.add_input("x", [2]).unwrap();
    let error = graph.add_loss("loss", x, 1.0).unwrap_err();
    assert_eq!(error, GraphError::node("loss", "a loss is one number, this value has shape (2)"));
}

#[test]
fn values_of_another_graph_are_refused() {
    let mut graph = Graph::new("net");
    let relu = Op::Activation(ocellus_graph::ops::Activation::Relu);
    let error = graph.add_node("relu", relu, vec![ValueId(3)]).unwrap_err();
    assert_eq!(error.to_string(), "relu: reads value 3, the network has 0");
}

#[test]
fn the_check_finds_what_was_changed_by_hand() {
    let mut graph = small_residual();
    graph.check().unwrap();
    let id = graph.find_param("fc.weight").unwrap();
    graph.param_mut(id).shape = [5, 9].into();
    assert_eq!(graph.check().unwrap_err().to_string(), "fc.weight: has shape (5, 9), its value has (5, 4)");
    graph.param_mut(id).shape = [5, 4].into();
    graph.param_mut(id).name = "other".into();
    assert!(graph.check().unwrap_err().to_string().starts_with("other: is read through the value fc.weight"));
}

#[test]
fn two_outputs_of_one_name_are_found() {
    let mut graph = small_residual();
    let value = graph.find_output("output").unwrap();
    graph.add_output("output", value);
    assert_eq!(graph.check().unwrap_err().to_string(), "output: there are two outputs of this name");
}

#[test]
fn parameters_are_shared_by_name_and_keep_the_first_initialiser() {
    let mut graph = Graph::new("net");
    let spec = |value| ParamSpec {
        name: "w".into(),
        shape: [3].into(),
        init: Init::Constant(value),
        role: Role::Weight,
    };
    let first = graph.add_param(spec(1.0)).unwrap();
    assert_eq!(graph.add_param(spec(2.0)).unwrap(), first);
    assert_eq!(graph.params()[0].init, Init::Constant(1.0));
}
