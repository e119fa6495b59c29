//! What Caffe's descriptions say of training: losses by their formulas, where gradients go, which statistics count, and
//! which layers belong to a state.

use ocellus_engine::{Options, Session};
use ocellus_formats::caffe::{NetOptions, Phase, data_layers, describe, parse_net};
use ocellus_graph::{Graph, Op, Request, differentiate, initialise};
use ocellus_tensor::{Tensor, Weights};

/// Numbers of no special kind, of both signs.
fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 37 % 23) as f32 - 11.0) / 7.0).collect()
}

fn parse(text: &str, phase: Phase) -> Graph {
    parse_net(text, "net.prototxt", &NetOptions::phase(phase)).unwrap_or_else(|fault| panic!("{fault}"))
}

/// The output or loss `y` for inputs in their order.
fn run(graph: &Graph, weights: &Weights, inputs: &[(&str, Vec<f32>)]) -> f32 {
    let mut session = Session::new(graph, &Options::default().with_threads(1)).unwrap();
    session.load(weights).unwrap();
    inputs.iter().for_each(|(name, numbers)| session.set_input(name, numbers).unwrap());
    session.run();
    session.output("y").unwrap()[0]
}

fn close(got: f32, wanted: f32) {
    assert!((got - wanted).abs() <= 1e-5 * wanted.abs().max(1.0), "{got}, wanted {wanted}");
}

#[test]
fn targets_with_the_ignored_label_do_not_count() {
    let loss = |label: f32, rest: &str| {
        let text = format!(
            "input: 'x' input_shape {{ dim: [2, 3] }} input: 't' input_shape {{ dim: [2, 3] }}
             layer {{ name: 'l' type: 'SigmoidCrossEntropyLoss' bottom: 'x' bottom: 't' top: 'y'
               loss_param {{ ignore_label: {label} {rest} }} }}"
        );
        let targets = vec![1.0, 0.0, label, 0.25, label, 1.0];
        run(&parse(&text, Phase::Test), &Weights::new(), &[("x", numbers(6)), ("t", targets)])
    };
    let x = numbers(6);
    let each = |i: usize, t: f32| (1.0 + x[i].exp()).ln() - x[i] * t;
    let sum = each(0, 1.0) + each(1, 0.0) + each(3, 0.25) + each(5, 1.0);
    close(loss(-1.0, ""), sum / 2.0);
    close(loss(255.0, "normalization: VALID"), sum / 4.0);
    close(loss(-1.0, "normalize: true"), sum / 4.0);
    close(loss(255.0, "normalization: FULL"), sum / 6.0);
    close(loss(-1.0, "normalization: NONE"), sum);
    // Every target from -1 to 1, both left out, is the label 0 without its fraction.
    close(loss(0.0, "normalization: NONE"), each(0, 1.0) + each(5, 1.0));
}

#[test]
fn the_older_contrastive_loss_holds_squares_against_the_margin() {
    let text = "input: 'a' input_shape { dim: [3, 2] } input: 'b' input_shape { dim: [3, 2] }
        input: 's' input_shape { dim: 3 }
        layer { name: 'l' type: 'ContrastiveLoss' bottom: 'a' bottom: 'b' bottom: 's' top: 'y'
          contrastive_loss_param { margin: 2 legacy_version: true } }";
    let (a, b) = (vec![1.0, 2.0, 0.5, 0.0, 3.0, 3.0], vec![0.0, 2.0, 0.0, 0.5, 0.0, 0.0]);
    let inputs = [("a", a), ("b", b), ("s", vec![1.0, 0.0, 0.0])];
    // Squared distances are 1, 0.5 and 18.
    close(run(&parse(text, Phase::Train), &Weights::new(), &inputs), (1.0 + (2.0 - 0.5) + 0.0) / 6.0);
}

#[test]
fn probabilities_may_come_from_anywhere() {
    let text = "input: 'p' input_shape { dim: [2, 3] } input: 'l' input_shape { dim: 2 }
        layer { name: 'loss' type: 'MultinomialLogisticLoss' bottom: 'p' bottom: 'l' top: 'y' }";
    let p = vec![0.2, 0.3, 0.5, 0.0, 0.6, 0.1];
    let y = run(&parse(text, Phase::Test), &Weights::new(), &[("p", p.clone()), ("l", vec![2.0, 1.0])]);
    close(y, -(0.5_f32.ln() + 0.6_f32.ln()) / 2.0);
    // Nothing is as unlikely as 0.
    let y = run(&parse(text, Phase::Test), &Weights::new(), &[("p", p), ("l", vec![2.0, 0.0])]);
    close(y, -(0.5_f32.ln() + 1e-20_f32.ln()) / 2.0);
}

#[test]
fn a_matrix_in_a_file_is_a_parameter_that_is_not_learned() {
    let text = "input: 'x' input_shape { dim: [2, 3] } input: 't' input_shape { dim: 2 }
        layer { name: 'fc' type: 'InnerProduct' bottom: 'x' top: 'fc' inner_product_param { num_output: 3 } }
        layer { name: 'l' type: 'InfogainLoss' bottom: 'fc' bottom: 't' top: 'y'
          infogain_loss_param { source: 'costs/h.binaryproto' } }";
    let described = describe(text, "net.prototxt", &NetOptions::phase(Phase::Train)).unwrap();
    assert_eq!(described.beside, [("l.matrix".to_string(), "costs/h.binaryproto".to_string())]);
    assert_eq!(described.judged, [("l".to_string(), vec!["fc".to_string()])]);
    let mut weights = initialise(&described.graph, 1);
    weights.insert("l.matrix".into(), Tensor::from_fn([3, 3], |i| f32::from(u8::from(i % 4 == 0))));
    let with_matrix = run(&described.graph, &weights, &[("x", numbers(6)), ("t", vec![2.0, 1.0])]);
    // By a matrix of ones on the diagonal it is the usual loss.
    let usual = text
        .replace("InfogainLoss", "SoftmaxWithLoss")
        .replace("infogain_loss_param { source: 'costs/h.binaryproto' }", "");
    weights.remove("l.matrix");
    close(
        with_matrix,
        run(&parse(&usual, Phase::Train), &weights, &[("x", numbers(6)), ("t", vec![2.0, 1.0])]),
    );
    let learned = differentiate(&described.graph, &Request::default()).unwrap().params;
    assert_eq!(learned.len(), 2, "the matrix has no gradient");
    let bare = text.replace("infogain_loss_param { source: 'costs/h.binaryproto' }", "");
    let said = parse_net(&bare, "f", &NetOptions::default()).unwrap_err().to_string();
    assert!(said.contains("layer l (InfogainLoss): has no matrix") && said.contains("source"), "{said}");
}

/// Names of the parameters that have a gradient.
fn learned(text: &str) -> Vec<String> {
    let graph = parse(text, Phase::Train).for_training().unwrap();
    let found = differentiate(&graph, &Request::default()).unwrap();
    found.params.into_iter().map(|(id, _)| found.graph.param(id).name.clone()).collect()
}

#[test]
fn nothing_is_learned_through_a_bottom_that_is_told_so() {
    let net = |rule: &str| {
        format!(
            "input: 'x' input_shape {{ dim: [2, 4] }} input: 't' input_shape {{ dim: 2 }}
             layer {{ name: 'body' type: 'InnerProduct' bottom: 'x' top: 'body' inner_product_param {{ num_output: 4 }} }}
             layer {{ name: 'head' type: 'InnerProduct' bottom: 'body' top: 'head' {rule}
               inner_product_param {{ num_output: 3 }} }}
             layer {{ name: 'l' type: 'SoftmaxWithLoss' bottom: 'head' bottom: 't' top: 'y' }}"
        )
    };
    assert_eq!(learned(&net("")), ["body.weight", "body.bias", "head.weight", "head.bias"]);
    assert_eq!(learned(&net("propagate_down: true")).len(), 4);
    assert_eq!(learned(&net("propagate_down: false")), ["head.weight", "head.bias"]);
    // The numbers are the same, and a network for use has nothing of it.
    let weights = initialise(&parse(&net(""), Phase::Train), 1);
    let inputs = [("x", numbers(8)), ("t", vec![2.0, 1.0])];
    let of = |rule: &str, phase| run(&parse(&net(rule), phase), &weights, &inputs);
    assert_eq!(of("propagate_down: false", Phase::Train), of("", Phase::Train));
    assert_eq!(
        parse(&net("propagate_down: false"), Phase::Test).nodes().len(),
        parse(&net(""), Phase::Test).nodes().len()
    );
    let said = parse_net(&net("propagate_down: [true, false]"), "f", &NetOptions::phase(Phase::Train));
    assert!(said.unwrap_err().to_string().contains("propagate_down 2 times for 1 bottoms"));
}

#[test]
fn layers_that_share_a_parameter_agree_on_its_multipliers() {
    let net = |first: &str, second: &str| {
        let layer = |name: &str, said: &str| {
            format!(
                "layer {{ name: '{name}' type: 'InnerProduct' bottom: 'x' top: '{name}' param {{ name: 'w' {said} }}
                 inner_product_param {{ num_output: 4 bias_term: false }} }}"
            )
        };
        let [a, b] = [layer("a", first), layer("b", second)];
        format!("input: 'x' input_shape {{ dim: [2, 4] }} {a} {b}")
    };
    let said = |first: &str, second: &str| {
        let graph = parse_net(&net(first, second), "f", &NetOptions::phase(Phase::Train))?;
        let param = &graph.params()[0];
        Ok::<_, ocellus_formats::FormatError>((param.lr_mult, param.decay_mult, param.frozen))
    };
    assert_eq!(said("", "").unwrap(), (1.0, 1.0, false));
    // What the first leaves open, another may say.
    assert_eq!(said("decay_mult: 2", "lr_mult: 0").unwrap(), (0.0, 2.0, true));
    assert_eq!(said("lr_mult: 3", "lr_mult: 3").unwrap(), (3.0, 1.0, false));
    let fault = said("lr_mult: 3", "lr_mult: 1").unwrap_err().to_string();
    assert!(
        fault.contains("layer b (InnerProduct)") && fault.contains("lr_mult 1, another layer with 3"),
        "{fault}"
    );
}

#[test]
fn statistics_are_gathered_unless_the_layer_keeps_them() {
    let net = |norm: &str, scale: &str| {
        format!(
            "input: 'x' input_shape {{ dim: [2, 3, 4, 4] }}
             layer {{ name: 'bn' type: 'BatchNorm' bottom: 'x' top: 'x1' batch_norm_param {{ {norm} }} }}
             layer {{ name: 'sc' type: 'Scale' bottom: 'x1' top: 'x2' {scale} scale_param {{ bias_term: true }} }}
             layer {{ name: 'y' type: 'Reduction' bottom: 'x2' top: 'y' loss_weight: 1 }}"
        )
    };
    let gathers = |norm: &str, scale: &str| {
        let graph = parse(&net(norm, scale), Phase::Train).for_training().unwrap();
        graph.nodes().iter().any(|node| matches!(node.op, Op::RunningUpdate(_)))
    };
    let still = "param { lr_mult: 0 } param { lr_mult: 0 }";
    assert!(gathers("", ""));
    assert!(gathers("use_global_stats: false", still), "a Scale that is not learned does not keep them");
    assert!(!gathers("use_global_stats: true", ""));
    assert_eq!(learned(&net("use_global_stats: true", "")), ["sc.weight", "sc.bias"]);
    // A network for use can be trained again as any other.
    let deploy = parse(&net("use_global_stats: true", ""), Phase::Test).for_training().unwrap();
    assert!(deploy.nodes().iter().any(|node| matches!(node.op, Op::RunningUpdate(_))));
}

/// One description for training, testing and use, told apart by stages, with levels.
const STAGES: &str = "state { level: 2 stage: 'half' }
    layer { name: 'd' type: 'Input' top: 'x' input_param { shape { dim: [1, 3] } } include { stage: 'deploy' } }
    layer { name: 'd' type: 'DummyData' top: 'x' include { stage: 'train' } dummy_data_param { shape { dim: [4, 3] } } }
    layer { name: 'low' type: 'ReLU' bottom: 'x' top: 'low' include { max_level: 1 } }
    layer { name: 'high' type: 'ReLU' bottom: 'x' top: 'high' include { min_level: 2 max_level: 3 } }
    layer { name: 'half' type: 'ReLU' bottom: 'x' top: 'half' include { stage: 'half' not_stage: 'whole' } }
    layer { name: 'not' type: 'ReLU' bottom: 'x' top: 'not' exclude { stage: 'deploy' } exclude { min_level: 3 } }
    layer { name: 'both' type: 'ReLU' bottom: 'x' top: 'both' include { phase: TRAIN } include { level_is: 0 } }";

#[test]
fn stages_and_levels_choose_layers() {
    let text = STAGES.replace(
        " include { phase: TRAIN } include { level_is: 0 }",
        " include { phase: TRAIN } include { stage: 'a' stage: 'b' }",
    );
    let outputs = |stages: &[&str], level: i32, phase: Phase| {
        let stages = stages.iter().map(|stage| stage.to_string()).collect();
        let options = NetOptions { stages, level, ..NetOptions::phase(phase) };
        let graph = parse_net(&text, "f", &options).unwrap();
        graph.outputs().iter().map(|output| output.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(outputs(&["deploy"], 0, Phase::Test), ["high", "half"]);
    assert_eq!(outputs(&["deploy", "whole"], 1, Phase::Test), ["low"]);
    assert_eq!(outputs(&["train"], 3, Phase::Test), ["high", "half"]);
    assert_eq!(outputs(&["train"], 0, Phase::Train), ["high", "half", "not", "both"]);
    assert_eq!(outputs(&["train", "a", "b"], 0, Phase::Test), ["high", "half", "not", "both"]);
    assert_eq!(outputs(&["train", "a"], 0, Phase::Test), ["high", "half", "not"]);
    let train = NetOptions { stages: vec!["train".into()], ..NetOptions::default() };
    assert_eq!(data_layers(&text, "f", &train).unwrap().len(), 1);
    let said = parse_net(STAGES, "f", &train).unwrap_err().to_string();
    assert!(said.contains("level_is"), "{said}");
}

#[test]
fn losses_and_accuracies_take_their_classes_along_any_axis() {
    let net = |kind: &str, dims: &str, labels: &str, rest: &str| {
        format!(
            "input: 'x' input_shape {{ dim: {dims} }} input: 't' input_shape {{ dim: {labels} }}
             layer {{ name: 'l' type: '{kind}' bottom: 'x' bottom: 't' top: 'y' {rest} }}"
        )
    };
    // Two items of four places with three classes: the classes last, or second.
    let last = numbers(24);
    let second: Vec<f32> = (0..24).map(|i| last[i / 12 * 12 + i % 4 * 3 + i / 4 % 3]).collect();
    let labels = vec![0.0, 1.0, 2.0, 1.0, 2.0, 0.0, 2.0, 1.0];
    for (kind, message, loss_param) in [
        ("SoftmaxWithLoss", "softmax_param", ""),
        ("SoftmaxWithLoss", "softmax_param", "loss_param { ignore_label: 1 }"),
        ("SoftmaxWithLoss", "softmax_param", "loss_param { normalization: NONE }"),
        ("SoftmaxWithLoss", "softmax_param", "loss_param { normalization: FULL ignore_label: 0 }"),
        ("Accuracy", "accuracy_param", ""),
        ("Accuracy", "accuracy_param", "accuracy_param { top_k: 2 }"),
        ("Accuracy", "accuracy_param", "accuracy_param { ignore_label: 1 }"),
    ] {
        let of = |dims: &str, axis: i64, x: &[f32]| {
            let text = net(kind, dims, "[2, 4]", &format!("{loss_param} {message} {{ axis: {axis} }}"));
            run(&parse(&text, Phase::Test), &Weights::new(), &[("x", x.to_vec()), ("t", labels.clone())])
        };
        let wanted = of("[2, 3, 4]", 1, &second);
        assert!(wanted > 0.0, "{kind} {loss_param}: {wanted}");
        close(of("[2, 4, 3]", 2, &last), wanted);
        close(of("[2, 4, 3]", -1, &last), wanted);
    }
    // What Caffe calls the batch are all axes before that of the classes.
    let batch = "loss_param { normalization: BATCH_SIZE } softmax_param { axis: 2 }";
    let full = "loss_param { normalization: FULL } softmax_param { axis: 2 }";
    let of = |rest: &str| {
        let graph = parse(&net("SoftmaxWithLoss", "[2, 4, 3]", "[2, 4]", rest), Phase::Test);
        run(&graph, &Weights::new(), &[("x", last.clone()), ("t", labels.clone())])
    };
    close(of(batch), of(full));
    let said = net("SoftmaxWithLoss", "[2, 4, 3]", "[2, 3]", "softmax_param { axis: 2 }");
    let said = parse_net(&said, "f", &NetOptions::default()).unwrap_err().to_string();
    assert!(said.contains("axis 2 need 8 labels") && said.contains("layer l (SoftmaxWithLoss)"), "{said}");
}

/// All numbers of the output `name`.
fn all_of(graph: &Graph, inputs: &[(&str, Vec<f32>)], name: &str) -> Vec<f32> {
    let mut session = Session::new(graph, &Options::default().with_threads(1)).unwrap();
    session.load(&initialise(graph, 1)).unwrap();
    inputs.iter().for_each(|(name, numbers)| session.set_input(name, numbers).unwrap());
    session.run();
    session.output(name).unwrap().to_vec()
}

#[test]
fn an_accuracy_is_told_for_each_class() {
    let text = |rest: &str| {
        format!(
            "input: 'x' input_shape {{ dim: [4, 3] }} input: 't' input_shape {{ dim: 4 }}
             layer {{ name: 'l' type: 'Accuracy' bottom: 'x' bottom: 't' top: 'y' top: 'each' {rest} }}"
        )
    };
    // Right, wrong (it is 2), right, right; no answer is of class 1.
    let x = vec![3.0, 1.0, 0.0, 1.0, 0.0, 2.0, 0.0, 1.0, 4.0, 0.0, 1.0, 2.0];
    let inputs = [("x", x), ("t", vec![0.0, 0.0, 2.0, 2.0])];
    let graph = parse(&text(""), Phase::Test);
    assert_eq!(all_of(&graph, &inputs, "y"), [0.75]);
    assert_eq!(all_of(&graph, &inputs, "each"), [0.5, 0.0, 1.0]);
    let graph = parse(&text("accuracy_param { ignore_label: 2 }"), Phase::Test);
    assert_eq!(all_of(&graph, &inputs, "y"), [0.5]);
    assert_eq!(all_of(&graph, &inputs, "each"), [0.5, 0.0, 0.0]);
}

#[test]
fn statistics_of_the_tested_batch_are_used_where_they_are_asked_for() {
    let net = |rule: &str| {
        format!(
            "input: 'x' input_shape {{ dim: [3, 2, 2, 1] }}
             layer {{ name: 'bn' type: 'BatchNorm' bottom: 'x' top: 'b' batch_norm_param {{ eps: 0 {rule} }} }}
             layer {{ name: 'sc' type: 'Scale' bottom: 'b' top: 'y' scale_param {{ bias_term: true
               filler {{ type: 'constant' value: 2 }} bias_filler {{ type: 'constant' value: 0.5 }} }} }}"
        )
    };
    let x = numbers(12);
    let graph = parse(&net("use_global_stats: false"), Phase::Test);
    let y = all_of(&graph, &[("x", x.clone())], "y");
    for channel in 0..2 {
        let places: Vec<usize> = (0..12).filter(|i| i / 2 % 2 == channel).collect();
        let mean = places.iter().map(|&i| x[i]).sum::<f32>() / 6.0;
        let var = places.iter().map(|&i| (x[i] - mean).powi(2)).sum::<f32>() / 6.0;
        places.iter().for_each(|&i| close(y[i], 2.0 * (x[i] - mean) / var.sqrt() + 0.5));
    }
    // Unless it is asked for, the running ones count: 0 and 1 before any training.
    let usual = all_of(&parse(&net(""), Phase::Test), &[("x", x.clone())], "y");
    usual.iter().zip(&x).for_each(|(&y, &x)| close(y, 2.0 * x + 0.5));
}

#[test]
fn targets_need_as_many_numbers_as_scores_not_their_shape() {
    let loss = |kind: &str, sizes: &str| {
        let text = format!(
            "input: 'x' input_shape {{ dim: [3, 2] }} input: 't' input_shape {{ dim: [{sizes}] }}
             layer {{ name: 'l' type: '{kind}' bottom: 'x' bottom: 't' top: 'y' }}"
        );
        parse_net(&text, "net.prototxt", &NetOptions::phase(Phase::Train))
    };
    let inputs = [("x", numbers(6)), ("t", vec![1.0, 0.0, 0.5, 1.0, 0.0, 1.0])];
    for kind in ["EuclideanLoss", "SigmoidCrossEntropyLoss"] {
        let wanted = run(&loss(kind, "3, 2").unwrap(), &Weights::new(), &inputs);
        close(run(&loss(kind, "3, 1, 2, 1").unwrap(), &Weights::new(), &inputs), wanted);
        let said = loss(kind, "3, 3").unwrap_err().to_string();
        assert!(said.contains("(3, 2)") && said.contains("(3, 3)"), "{said}");
    }
}

#[test]
fn a_layer_that_a_stage_leaves_out_is_named_where_it_is_missed() {
    let text = "layer { name: 'd' type: 'Input' top: 'x' include { stage: 'real' } input_param { shape { dim: [1, 2] } } }
        layer { name: 'r' type: 'ReLU' bottom: 'x' top: 'y' }";
    let said = parse_net(text, "f", &NetOptions::default()).unwrap_err().to_string();
    assert!(
        said.contains("(d, line 1)") && said.contains("phase TEST") && said.contains("--stage"),
        "{said}"
    );
}

#[test]
fn learned_numbers_of_a_layer_of_their_own() {
    let text = "input: 'x' input_shape { dim: [2, 3] }
        layer { name: 'p' type: 'Parameter' top: 'p' parameter_param { shape { dim: 3 } } }
        layer { name: 's' type: 'Scale' bottom: 'x' bottom: 'p' top: 's' }
        layer { name: 'l' type: 'Reduction' bottom: 's' top: 'y' loss_weight: 1 }";
    let graph = parse(text, Phase::Train);
    let mut weights = initialise(&graph, 1);
    weights.insert("p.weight".into(), Tensor::from_fn([3], |i| i as f32));
    let x = numbers(6);
    close(run(&graph, &weights, &[("x", x.clone())]), x[1] + 2.0 * x[2] + x[4] + 2.0 * x[5]);
    assert_eq!(differentiate(&graph, &Request::default()).unwrap().params.len(), 1);
}
