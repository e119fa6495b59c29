//! Edits: what they change, what they keep, and what they refuse.

mod common;

use common::every_op::{every_op, forward};
use common::{lenet, resnet50, small_residual};
use ocellus_graph::ops::{BatchNorm, LossKind, Statistics};
use ocellus_graph::{
    Builder, Conv, Dense, Graph, Op, Request, Summary, TrainingOptions, differentiate, from_text, to_text,
};

fn names(graph: &Graph) -> Vec<&str> {
    graph.nodes().iter().map(|node| node.name.as_str()).collect()
}

fn shape_of(graph: &Graph, name: &str) -> Vec<usize> {
    graph.shape(graph.find_value(name).unwrap()).to_vec()
}

fn statistics(graph: &Graph, name: &str) -> Statistics {
    match graph.node(graph.find_node(name).unwrap()).op {
        Op::BatchNorm(BatchNorm { statistics, .. }) => statistics,
        _ => panic!("{name} is no BatchNorm"),
    }
}

fn message<T: std::fmt::Debug>(result: Result<T, ocellus_graph::GraphError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn another_batch_changes_every_batch_and_nothing_else() {
    let graph = small_residual().with_classifier_loss(0.0).unwrap();
    let batched = graph.with_batch(7).unwrap();
    batched.check().unwrap();
    assert_eq!(shape_of(&batched, "input"), [7, 3, 8, 8]);
    assert_eq!(shape_of(&batched, "label"), [7]);
    assert_eq!(shape_of(&batched, "fc"), [7, 5]);
    assert_eq!(batched.with_batch(2).unwrap(), graph);
}

#[test]
fn running_statistics_are_recounted() {
    let counts = |graph: &Graph| -> Vec<usize> {
        let updates = graph.nodes().iter().filter_map(|node| match &node.op {
            Op::RunningUpdate(update) => Some(update.count),
            _ => None,
        });
        updates.collect()
    };
    let training = small_residual().for_training().unwrap();
    assert_eq!(counts(&training), [128, 128]);
    assert_eq!(counts(&training.with_batch(3).unwrap()), [192, 192]);
}

#[test]
fn another_image_size_reaches_through_or_names_the_node_that_fixes_it() {
    let wide = resnet50().with_input("input", [1, 3, 256, 320]).unwrap();
    assert_eq!(shape_of(&wide, "layer4.2.relu3"), [1, 2048, 8, 10]);
    let error = message(lenet().with_input("input", [1, 1, 32, 32]));
    assert_eq!(
        error,
        "ip1: input has 1250 features, the weight expects 800; this node fixes the input's size: global average pooling \
         before it would take any size"
    );
    let error = message(lenet().with_input("image", [1, 1, 28, 28]));
    assert_eq!(error, "the network lenet has no input named image; it has input");
    let error = message(lenet().with_input("input", [1, 3, 28, 28]));
    assert!(
        error.starts_with("conv1: input has 3 channels, the weight (20, 1, 5, 5) with groups = 1 expects 1")
    );
}

#[test]
fn several_inputs_change_at_once() {
    let mut b = Builder::new("net");
    let (x, y) = (b.input("x", [1, 4]), b.input("y", [1, 4]));
    let sum = b.add("sum", x, y);
    b.output("output", sum);
    let graph = b.finish().unwrap();
    let wide = |inputs: &[&str]| graph.with_inputs(inputs.iter().map(|&name| (name, [3, 6].into())));
    assert_eq!(shape_of(&wide(&["x", "y"]).unwrap(), "sum"), [3, 6]);
    assert!(message(wide(&["x"])).contains("sum"));
    assert!(message(wide(&["x", "z"])).contains('z'));
}

#[test]
fn pruning_keeps_what_is_named_and_drops_unused_inputs_and_parameters() {
    let graph = small_residual().with_classifier_loss(0.1).unwrap();
    let pruned = graph.prune(&["output"]).unwrap();
    pruned.check().unwrap();
    assert_eq!(pruned, small_residual());
    assert_eq!(graph.without_losses().unwrap().outputs().len(), 2);
    assert!(graph.prune(&["loss"]).unwrap().find_input("label").is_some());
    assert_eq!(
        message(graph.prune(&["outptu"])),
        "the network small has no output named outptu; did you mean output?"
    );
}

#[test]
fn pruning_keeps_updates_of_what_stays() {
    let training = small_residual().for_training().unwrap();
    let cut = training.cut_at("relu1").unwrap();
    cut.check().unwrap();
    assert_eq!(names(&cut), ["conv1", "bn1", "relu1", "bn1.update"]);
    assert!(cut.find_param("bn2.running_mean").is_none());
}

#[test]
fn training_uses_the_batch_and_gathers() {
    let training = small_residual().for_training().unwrap();
    training.check().unwrap();
    assert_eq!(statistics(&training, "bn1"), Statistics::Batch);
    assert_eq!(names(&training)[9..], ["fc", "bn1.update", "bn2.update"]);
    assert!(
        matches!(&training.node(training.find_node("drop").unwrap()).op, Op::Dropout(drop) if drop.active)
    );
    assert_eq!(training.for_training().unwrap(), training);
}

#[test]
fn frozen_batch_norms_keep_their_statistics() {
    let training = small_residual().freeze("bn1.*").unwrap().for_training().unwrap();
    assert_eq!(
        (statistics(&training, "bn1"), statistics(&training, "bn2")),
        (Statistics::Running, Statistics::Batch)
    );
    let options = TrainingOptions { frozen_statistics: true };
    let training = small_residual().for_training_with(options).unwrap();
    assert_eq!(statistics(&training, "bn2"), Statistics::Running);
    assert!(training.find_node("bn2.update").is_none());
}

#[test]
fn a_batch_of_one_value_cannot_be_normalised_by_itself() {
    let mut b = Builder::new("one");
    let x = b.input("x", [1, 4]);
    let y = b.batch_norm("bn", x, Default::default());
    b.output("output", y);
    let error = message(b.finish().unwrap().for_training());
    assert_eq!(error, "bn: batch statistics need at least 2 values per channel, x (1, 4) has 1");
}

#[test]
fn inference_undoes_training() {
    let graph = small_residual();
    let training = graph.with_classifier_loss(0.1).unwrap().for_training().unwrap();
    let inference = training.for_inference().unwrap();
    inference.check().unwrap();
    assert_eq!(names(&inference), names(&graph));
    assert_eq!(statistics(&inference, "bn2"), Statistics::Running);
    assert!(inference.losses().is_empty() && inference.find_input("label").is_none());
    assert!(inference.find_param("bn1.running_var").is_some());
    assert_eq!(graph.for_inference().unwrap(), graph);
    let only_loss = graph.with_classifier_loss(0.0).unwrap().prune(&["loss"]).unwrap();
    assert_eq!(
        message(only_loss.for_inference()),
        "small: no output is left for inference but losses and accuracies"
    );
}

#[test]
fn every_operation_survives_every_replay() {
    let graph = every_op();
    assert_eq!(graph.with_batch(4).unwrap(), graph);
    for edited in [
        graph.for_inference(),
        graph.for_training(),
        graph.rename("features", "body"),
        forward().for_inference(),
    ] {
        edited.unwrap().check().unwrap();
    }
}

#[test]
fn a_classifier_gets_label_loss_and_accuracy() {
    let graph = lenet().with_batch(8).unwrap().with_classifier_loss(0.1).unwrap();
    graph.check().unwrap();
    assert_eq!(shape_of(&graph, "label"), [8]);
    let loss = &graph.losses()[0];
    assert_eq!((loss.name.as_str(), loss.weight), ("loss", 1.0));
    let node = graph.node(graph.find_node("loss").unwrap());
    assert!(
        matches!(&node.op, Op::Loss(loss) if loss.kind == LossKind::SoftmaxCrossEntropy { smoothing: 0.1 })
    );
    assert!(graph.find_output("top1").is_some());
}

/// A trunk of 6 -> 5 features, a head for 3 classes, and a wider auxiliary head beside it.
fn with_auxiliary_head() -> Graph {
    let mut b = Builder::new("net");
    let x = b.input("x", [2, 6]);
    let x = b.linear("trunk", x, Dense::new(5).no_bias());
    let logits = b.linear("fc", x, Dense::new(3).no_bias());
    b.output("output", logits);
    let x = b.linear("aux.wide", x, Dense::new(7).no_bias());
    let scores = b.linear("aux.fc", x, Dense::new(3).no_bias());
    b.auxiliary_output("aux", scores, 0.3);
    b.finish().unwrap()
}

#[test]
fn an_auxiliary_head_adds_its_weighted_loss_and_is_gone_from_inference() {
    let graph = with_auxiliary_head();
    let training = graph.with_batch(4).unwrap().for_training().unwrap().with_classifier_loss(0.0).unwrap();
    let losses: Vec<_> = training.losses().iter().map(|loss| (loss.name.as_str(), loss.weight)).collect();
    assert_eq!(losses, [("loss", 1.0), ("loss.aux", 0.3)]);
    let found = differentiate(&training, &Request::default()).unwrap();
    assert_eq!(found.params.len(), 4, "both heads are trained");

    for inference in [graph.for_inference().unwrap(), training.for_inference().unwrap()] {
        assert_eq!(names(&inference), ["trunk", "fc"]);
        assert_eq!(inference.params().len(), 2);
    }
    assert_eq!(shape_of(&graph.replace_head(9).unwrap(), "aux.fc"), [2, 9]);
    assert_eq!(from_text(&to_text(&graph).unwrap()).unwrap(), graph);
}

#[test]
fn a_summary_counts_auxiliary_heads_apart() {
    let summary = Summary::of(&with_auxiliary_head());
    let [trunk, head, auxiliary] = [6 * 5, 5 * 3, 5 * 7 + 7 * 3];
    assert_eq!(summary.parameters.trainable, trunk + head + auxiliary);
    assert_eq!(summary.parameters.auxiliary, auxiliary);
    assert_eq!((summary.macs, summary.auxiliary_macs), (2 * 45, 2 * 56));
    assert!(summary.to_string().contains("56 of the parameters (45 without them), 112 further"), "{summary}");
    assert_eq!(summary.layers.auxiliary_layers, 2);
}

#[test]
fn probabilities_are_refused_where_logits_are_expected() {
    let build = |finish: &dyn Fn(&mut Builder, ocellus_graph::ValueId) -> ocellus_graph::ValueId| {
        let mut b = Builder::new("net");
        let x = b.input("x", [2, 6]);
        let logits = b.linear("fc", x, Dense::new(4));
        let y = finish(&mut b, logits);
        b.output("output", y);
        b.finish().unwrap().with_classifier_loss(0.0)
    };
    let error = message(build(&|b, x| b.softmax("prob", x)));
    assert_eq!(
        error,
        "loss: this loss applies the softmax itself and expects logits, but prob already holds probabilities; give \
         it the value before the softmax or sigmoid"
    );
    let mixed = |b: &mut Builder, x| {
        let (p, q) = (b.softmax("p", x), b.sigmoid("q", x));
        let gate = b.sigmoid("gate", x);
        let rest = b.affine("rest", gate, -1.0, 1.0);
        let (p, q) = (b.mul("gp", gate, p), b.mul("rq", rest, q));
        b.add("mix", p, q)
    };
    assert!(
        message(build(&mixed)).contains("mix already holds a mix of probabilities; mix the values before")
    );
    // A gate times logits is no probability, and the logarithm of a softmax is a valid logit.
    assert!(
        build(&|b, x| {
            let gate = b.sigmoid("gate", x);
            b.mul("gated", gate, x)
        })
        .is_ok()
    );
    assert!(build(&|b, x| b.log_softmax("log", x)).is_ok());
    assert!(
        build(&|b, x| {
            let p = b.softmax("p", x);
            b.affine("sharp", p, 10.0, 0.0)
        })
        .is_ok()
    );
}

#[test]
fn a_head_for_other_classes() {
    let graph = resnet50().replace_head(7).unwrap();
    graph.check().unwrap();
    assert_eq!((shape_of(&graph, "fc.weight"), shape_of(&graph, "fc.bias")), (vec![7, 2048], vec![7]));
    assert_eq!(shape_of(&graph, "fc"), [1, 7]);

    let mut b = Builder::new("squeeze");
    let x = b.input("x", [1, 3, 9, 9]);
    let x = b.conv2d("fire", x, Conv::new(8, 3));
    let x = b.conv2d("classifier", x, Conv::new(10, 1));
    let x = b.relu("relu", x);
    let x = b.global_avg_pool("pool", x);
    b.output("output", x);
    let graph = b.finish().unwrap().replace_head(3).unwrap();
    assert_eq!(
        (shape_of(&graph, "classifier.weight"), shape_of(&graph, "pool")),
        (vec![3, 8, 1, 1], vec![1, 3, 1, 1])
    );
    assert_eq!(shape_of(&graph.with_classifier_loss(0.0).unwrap(), "logits"), [1, 3]);
}

#[test]
fn auxiliary_heads_are_replaced_too_and_shared_ones_refused() {
    let mut b = Builder::new("two heads");
    let x = b.input("x", [2, 8]);
    let label = b.input("label", [2]);
    let aux = b.linear("aux", x, Dense::new(10));
    b.softmax_cross_entropy("aux_loss", aux, label, 0.0, 0.3);
    let y = b.linear("fc", x, Dense::new(10));
    b.output("output", y);
    let graph = b.finish().unwrap().replace_head(4).unwrap();
    assert_eq!((shape_of(&graph, "aux"), shape_of(&graph, "fc")), (vec![2, 4], vec![2, 4]));

    let mut b = Builder::new("shared");
    let x = b.input("x", [2, 8]);
    let x = b.linear("one", x, Dense::new(8).params("fc"));
    let x = b.linear("two", x, Dense::new(8).params("fc"));
    b.output("output", x);
    let error = message(b.finish().unwrap().replace_head(4));
    assert_eq!(error, "two: its fc.weight is shared, so it cannot be replaced here");
}

#[test]
fn a_convolution_over_more_than_a_pixel_is_no_head() {
    let mut b = Builder::new("net");
    let x = b.input("x", [1, 3, 9, 9]);
    let x = b.conv2d("conv", x, Conv::new(8, 3));
    b.output("output", x);
    let error = message(b.finish().unwrap().replace_head(3));
    assert_eq!(error, "conv: is the last weighted layer, but neither linear nor a 1x1 convolution");
}

#[test]
fn renaming_takes_parameters_and_scopes_along() {
    let graph = lenet().rename("ip2", "head").unwrap();
    graph.check().unwrap();
    assert!(graph.find_node("head").is_some() && graph.find_param("head.bias").is_some());
    assert!(graph.find_node("ip2").is_none() && graph.find_param("ip2.bias").is_none());
    let graph = resnet50().rename("layer1", "stage1").unwrap();
    assert!(graph.find_param("stage1.0.conv1.weight").is_some() && graph.find_node("layer2.0.add").is_some());
    assert_eq!(
        message(lenet().rename("conv1", "conv2")),
        "conv2.weight: there is already a parameter of this name"
    );
    assert_eq!(
        message(lenet().rename("con1", "c")),
        "the network lenet has no node named con1; did you mean conv1?"
    );
}

#[test]
fn cutting_makes_a_node_the_output() {
    let graph = resnet50().cut_at("layer4.2.relu3").unwrap();
    graph.check().unwrap();
    assert_eq!(graph.shape(graph.find_output("output").unwrap()).dims(), [1, 2048, 7, 7]);
    assert!(graph.find_param("fc.weight").is_none());
    let error = message(resnet50().cut_at("layer4.2.relu4"));
    assert!(error.ends_with("has no node named layer4.2.relu4; did you mean layer4.2.relu1?"), "{error}");
}

#[test]
fn freezing_by_pattern_and_up_to_a_node() {
    let frozen = |graph: &Graph| graph.params().iter().filter(|param| param.frozen).count();
    assert_eq!(frozen(&resnet50().freeze("layer*.0.downsample.*").unwrap()), 4 * 5);
    assert_eq!(message(lenet().freeze("conv9.*")), "the network lenet has no parameter named conv9.*");
    let graph = lenet().freeze_until("pool2").unwrap();
    assert_eq!(frozen(&graph), 4);
    assert!(!graph.param(graph.find_param("ip1.weight").unwrap()).frozen);
}

#[test]
fn linear_layers_become_convolutions_and_come_back() {
    let mut b = Builder::new("net");
    let x = b.input("x", [2, 3, 8, 8]);
    let x = b.conv2d("conv", x, Conv::new(4, 3)); // (2, 4, 6, 6)
    let x = b.flatten("flatten", x);
    let x = b.linear("fc1", x, Dense::new(7));
    let x = b.relu("relu", x);
    let x = b.linear("fc2", x, Dense::new(5));
    let x = b.softmax("prob", x);
    b.output("output", x);
    let graph = b.finish().unwrap();
    let maps = graph.to_convolutions().unwrap();
    let shape = |graph: &Graph, param: &str| graph.param(graph.find_param(param).unwrap()).shape.clone();
    assert_eq!(shape(&maps, "fc1.weight").dims(), [7, 4, 6, 6]);
    assert_eq!(shape(&maps, "fc2.weight").dims(), [5, 7, 1, 1]);
    let output = |graph: &Graph| graph.shape(graph.find_output("output").unwrap()).clone();
    assert_eq!(output(&maps).dims(), [2, 5, 1, 1]);
    assert_eq!(output(&maps.with_input("x", [2, 3, 10, 9]).unwrap()).dims(), [2, 5, 3, 2]);
    let back = maps.to_linear().unwrap();
    assert_eq!(shape(&back, "fc1.weight").dims(), [7, 144]);
    assert_eq!(shape(&back, "fc2.weight").dims(), [5, 7]);
    assert_eq!(output(&back).dims(), [2, 5]);
    assert!(graph.to_linear().unwrap_err().to_string().contains("covers its whole input"));
}

#[test]
fn what_cannot_be_a_map_is_refused_by_name() {
    let mut b = Builder::new("net");
    let x = b.input("x", [1, 2, 4, 4]);
    let flat = b.flatten("flatten", x);
    let y = b.softmax("pixels", flat);
    let y = b.linear("fc", y, Dense::new(5));
    b.output("output", y);
    let sentence = b.finish().unwrap().to_convolutions().unwrap_err().to_string();
    assert!(sentence.contains("pixels") && sentence.contains("map"), "{sentence}");
}
