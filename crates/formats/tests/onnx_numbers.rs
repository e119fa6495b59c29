//! Trained ONNX networks give the outputs they gave in ONNX's own runtime.

use std::path::{Path, PathBuf};

use ocellus_engine::{Options, Session};
use ocellus_formats::onnx::{self, ReadOptions};
use ocellus_formats::{Model, check_weights, safetensors};
use ocellus_tensor::Weights;

fn data(name: &str) -> Option<PathBuf> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")).join(name);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: {} is not there", path.display());
    None
}

/// The numbers of the first output for this input.
fn run(model: &Model, input: &[f32]) -> Vec<f32> {
    check_weights(&model.graph, &model.weights).unwrap();
    let mut session = Session::new(&model.graph, &Options::default().with_threads(1)).unwrap();
    session.load(&model.weights).unwrap();
    let name = &model.graph.value(model.graph.inputs()[0]).name;
    session.set_input(name, input).unwrap();
    session.run();
    session.output(&model.graph.outputs()[0].name).unwrap().to_vec()
}

fn close(name: &str, actual: &[f32], expected: &[f32]) {
    assert_eq!(actual.len(), expected.len(), "{name}");
    let scale = expected.iter().fold(1.0_f32, |largest, x| largest.max(x.abs()));
    let worst = actual.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    println!("{name}: largest difference {worst:e} of {scale}");
    assert!(worst <= 1e-4 * scale, "{name} differs by {worst}, largest is {scale}");
}

/// Twenty images, as the network takes them: one at a time, and all at once.
fn meets(model: &str, reference: &str, output: &str, input: impl Fn(&Weights) -> Vec<f32>) {
    let (Some(path), Some(reference)) = (data(model), data(reference)) else { return };
    let reference = safetensors::read(reference).unwrap().weights;
    let (input, output) = (input(&reference), &reference[output]);
    let one = onnx::read_file(&path, &ReadOptions::default()).unwrap();
    let count = output.shape()[0];
    let (size, classes) = (input.len() / count, output.shape()[1]);
    for i in 0..3 {
        let actual = run(&one, &input[i * size..(i + 1) * size]);
        close(&format!("{model} {i}"), &actual, &output.data()[i * classes..(i + 1) * classes]);
    }
    let batched = Model { graph: one.graph.with_batch(count).unwrap(), ..one };
    close(model, &run(&batched, &input), output.data());
}

#[test]
fn resnet_of_opset_13() {
    let reference = "models/pytorch/resnet20_ref.safetensors";
    meets("models/pytorch/resnet20_cifar10.onnx", reference, "logits", |reference| {
        // The file's own `input` holds these numbers pixel by pixel, whatever its shape says; so they are made here.
        let image = reference["image_rgb"].data();
        let number = |i: usize| {
            let (n, c, pixel) = (i / 3072, i / 1024 % 3, i % 1024);
            (image[(n * 1024 + pixel) * 3 + c] / 255.0 - [0.485, 0.456, 0.406][c]) / [0.229, 0.224, 0.225][c]
        };
        (0..20 * 3072).map(number).collect()
    });
}

#[test]
fn new_exporter_of_pytorch() {
    let reference = "models/onnx/mnist_pytorch_opset18_ref.safetensors";
    meets("models/onnx/mnist_pytorch_opset18.onnx", reference, "output", |reference| {
        reference["image"].data().iter().map(|x| (x / 255.0 - 0.1307) / 0.3081).collect()
    });
}

#[test]
fn cntk_of_opset_8() {
    let reference = "models/onnx/mnist_cntk_opset8_ref.safetensors";
    meets("models/onnx/mnist_cntk_opset8.onnx", reference, "output", |reference| {
        reference["image"].data().to_vec()
    });
}

#[test]
fn its_own_test_pairs() {
    let Some(path) = data("models/onnx/mnist_cntk_opset8.onnx") else { return };
    let model = onnx::read_file(&path, &ReadOptions::default()).unwrap();
    for set in 0..3 {
        let pair = ["input", "output"].map(|name| {
            let path =
                data(&format!("models/onnx/mnist_cntk_opset8_test_data/set{set}_{name}_0.pb")).unwrap();
            let tensor = onnx::decode_tensor(&std::fs::read(path).unwrap(), name).unwrap();
            tensor.cast::<f32>()
        });
        close(&format!("set {set}"), &run(&model, pair[0].data()), pair[1].data());
    }
}
