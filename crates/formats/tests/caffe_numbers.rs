//! Trained Caffe networks give the outputs they gave in Caffe's other runtimes.

use std::path::{Path, PathBuf};

use ocellus_engine::{Options, Session};
use ocellus_formats::caffe::{self, NetOptions};
use ocellus_formats::{match_report, safetensors};
use ocellus_graph::{Graph, Op, ValueId};
use ocellus_tensor::Weights;

fn data(name: &str) -> Option<PathBuf> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")).join(name);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: {} is not there", path.display());
    None
}

/// The network at `net` with all of its weights from `weights`.
fn load(net: &str, weights: &str) -> Option<(Graph, Weights)> {
    let graph = caffe::read_net(data(net)?, &NetOptions::default()).unwrap();
    let weights = caffe::read_weights(data(weights)?, &graph).unwrap();
    let report = match_report(&graph, &weights);
    assert!(report.is_complete(), "{report}");
    Some((graph, weights))
}

fn session(graph: &Graph, weights: &Weights, input: &[f32]) -> Session {
    let mut session = Session::new(graph, &Options::default().with_threads(1)).unwrap();
    session.load(weights).unwrap();
    session.set_input("data", input).unwrap();
    session.run();
    session
}

fn close(name: &str, actual: &[f32], expected: &[f32]) {
    assert_eq!(actual.len(), expected.len(), "{name}");
    let scale = expected.iter().fold(1.0_f32, |largest, x| largest.max(x.abs()));
    let worst = actual.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    println!("{name}: largest difference {worst:e} of {scale}");
    assert!(worst <= 1e-4 * scale, "{name} differs by {worst}, largest is {scale}");
}

#[test]
fn lenet_of_the_old_binary_form() {
    let net = load("models/caffe/lenet.prototxt", "models/caffe/lenet_iter_10000_v1.caffemodel");
    let (Some((graph, weights)), Some(reference)) = (net, data("models/caffe/lenet_ref.safetensors")) else {
        return;
    };
    let reference = safetensors::read(reference).unwrap().weights;
    let graph = graph.with_batch(20).unwrap();
    let input: Vec<f32> = reference["image"].data().iter().map(|x| x * 0.00390625).collect();
    let session = session(&graph, &weights, &input);
    close("prob", session.output("prob").unwrap(), reference["prob"].data());
}

#[test]
fn squeezenet_at_every_reference_activation() {
    let net = load("squeezenet/squeezenet_v1.0_deploy.prototxt", "squeezenet/squeezenet_v1.0.caffemodel");
    let (Some((mut graph, weights)), Some(reference)) =
        (net, data("squeezenet/reference_activations.safetensors"))
    else {
        return;
    };
    let reference = safetensors::read(reference).unwrap().weights;
    let same = safetensors::read(data("squeezenet/squeezenet_v1.0.safetensors").unwrap()).unwrap().weights;
    assert_eq!(weights, same);
    for name in ["fire2/conv1x1_1", "pool4", "pool8", "fire9/concat"] {
        let value = last_in_place(&graph, name);
        graph.add_output(name, value);
    }
    // Of all its arrays, `data` alone holds its numbers pixel by pixel (227 x 227 x 3), whatever its shape says.
    let pixels = 227 * 227;
    let stored = reference["data"].data();
    let data: Vec<f32> = (0..3 * pixels).map(|i| stored[i % pixels * 3 + i / pixels]).collect();
    let session = session(&graph, &weights, &data);
    for (name, tensor) in reference.iter().filter(|(name, _)| !matches!(name.as_str(), "data" | "prob")) {
        close(name, session.output(name).unwrap(), tensor.data());
    }
}

/// The value of the blob `name` after the activation that works on it in place, if one does.
fn last_in_place(graph: &Graph, name: &str) -> ValueId {
    let value = graph.find_value(name).unwrap();
    let reader = graph.nodes().iter().find(|n| n.inputs.contains(&value)).unwrap();
    if matches!(reader.op, Op::Activation(_)) { reader.outputs[0] } else { value }
}

#[test]
fn the_first_network_of_mtcnn() {
    let net = load("models/caffe/det1.prototxt", "models/caffe/det1.caffemodel");
    let (Some((graph, weights)), Some(reference)) = (net, data("models/caffe/det1_ref.safetensors")) else {
        return;
    };
    let reference = safetensors::read(reference).unwrap().weights;
    let graph = graph.with_input("data", [1, 3, 48, 48]).unwrap();
    let session = session(&graph, &weights, reference["data"].data());
    for name in ["conv4-2", "prob1"] {
        close(name, session.output(name).unwrap(), reference[name].data());
    }
}

#[test]
fn mean_image_and_solver_state() {
    let Some(mean) = data("models/caffe/cifar10_mean.binaryproto") else { return };
    let mean = caffe::read_mean(mean).unwrap();
    assert_eq!(mean.shape().elements(), 3 * 32 * 32);
    let average = mean.data().iter().sum::<f32>() / 3072.0;
    println!("mean {} averages {average}", mean.shape());
    assert!((115.0..127.0).contains(&average));

    let state =
        caffe::read_solver_state(data("models/caffe/lenet_iter_10000_v1.solverstate").unwrap()).unwrap();
    println!("{} {} {}", state.iteration, state.learned_net, state.current_step);
    assert_eq!(state.iteration, 10_000);
    assert_eq!(state.history.len(), 8);
    assert_eq!(state.history.iter().map(|t| t.shape().elements()).sum::<usize>(), 431_080);
}
