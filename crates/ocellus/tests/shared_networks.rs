//! The networks of ../shared/data, each opened as a user would: the reference outputs that belong to it are met within
//! 1e-4 of their largest number, or it is refused with the reason.

use std::path::{Path, PathBuf};

use ocellus::data::Image;
use ocellus::formats::safetensors;
use ocellus::load::{Ask, Found, Preparation, SaveOptions, Trial, open, save_verified};
use ocellus::{Builder, Graph, Options, Session, Summary, Tensor, Weights};

const LIMIT: f32 = 1e-4;

fn data(name: &str) -> Option<PathBuf> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")).join(name);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: {} is not there", path.display());
    None
}

fn word(path: &Path) -> String {
    path.display().to_string()
}

/// All outputs and the values of these nodes for one input.
fn run(found: &Found, input: &[f32], shape: &[usize], blobs: &[&str]) -> Weights {
    let graph = found.graph.for_inference().unwrap();
    let name = graph.value(graph.inputs()[0]).name.clone();
    let graph = graph.with_batch(shape[0]).unwrap();
    let mut graph = if **graph.shape(graph.inputs()[0]) == *shape {
        graph
    } else {
        graph.with_input(&name, shape).unwrap()
    };
    for blob in blobs {
        let node = found.blob(blob).unwrap_or_else(|| blob.to_string());
        let value = graph.node(graph.find_node(&node).unwrap()).outputs[0];
        if graph.find_output(blob).is_none() {
            graph.add_output(*blob, value);
        }
    }
    let mut session = Session::new(&graph, &Options { exact: true, ..Options::default() }).unwrap();
    session.load(found.weights.as_ref().unwrap()).unwrap();
    session.set_input(&name, input).unwrap();
    session.run();
    graph
        .outputs()
        .iter()
        .map(|output| (output.name.clone(), session.output_tensor(&output.name).unwrap()))
        .collect()
}

/// The largest difference over the largest number.
#[track_caller]
fn close(what: &str, got: &[f32], wanted: &[f32]) {
    assert_eq!(got.len(), wanted.len(), "{what}");
    let largest = wanted.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
    let worst = got.iter().zip(wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    println!("{what}: within {:.1e} of {largest}", worst / largest);
    assert!(worst <= LIMIT * largest, "{what}: {worst} of {largest}");
}

/// The network of `mnist.pt`, as the data's README describes it.
fn mnist() -> Graph {
    let mut b = Builder::new("mnist");
    let mut x = b.input("input", [1, 1, 28, 28]);
    for (i, channels) in [8, 16, 24].into_iter().enumerate() {
        x = b.conv2d(&format!("conv{}", i + 1), x, ocellus::Conv::new(channels, 3));
        x = b.relu(&format!("relu{}", i + 1), x);
    }
    x = b.batch_norm("norm1", x, ocellus::BatchNormSpec::default());
    x = b.flatten("flatten", x);
    x = b.linear("fc1", x, ocellus::Dense::new(32));
    x = b.relu("relu4", x);
    x = b.linear("fc2", x, ocellus::Dense::new(10));
    x = b.batch_norm("norm2", x, ocellus::BatchNormSpec::default());
    x = b.log_softmax("log_prob", x);
    b.output("log_prob", x);
    b.finish().unwrap()
}

#[test]
fn reference_outputs_are_met() {
    let Some(models) = data("models") else { return };
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("mnist.txt");
    std::fs::write(&text, ocellus_graph::to_text(&mnist()).unwrap()).unwrap();
    let ask = |model: &str, weights: Option<&str>, net: Option<&Path>| Ask {
        word: word(&models.join(model)),
        weights: weights.map(|name| models.join(name)),
        net: net.map(word),
        ..Ask::default()
    };
    let normal = |x: f32| (x / 255.0 - 0.1307) / 0.3081;
    type Feed<'f> = (&'f str, &'f dyn Fn(f32) -> f32);
    let cases: [(Ask, &str, Feed, &[&str]); 6] = [
        (
            ask("caffe/lenet.prototxt", Some("caffe/lenet_iter_10000_v1.caffemodel"), None),
            "caffe/lenet_ref.safetensors",
            ("image", &|x| x * 0.00390625),
            &["prob"],
        ),
        (
            ask("caffe/det1.prototxt", Some("caffe/det1.caffemodel"), None),
            "caffe/det1_ref.safetensors",
            ("data", &|x| x),
            &["conv4-2", "prob1"],
        ),
        (
            ask("pytorch/mnist.pt", None, Some(&text)),
            "pytorch/mnist_ref.safetensors",
            ("image", &normal),
            &["log_prob"],
        ),
        (
            ask("onnx/mnist_cntk_opset8.onnx", None, None),
            "onnx/mnist_cntk_opset8_ref.safetensors",
            ("image", &|x| x),
            &["output"],
        ),
        (
            ask("onnx/mnist_pytorch_opset18.onnx", None, None),
            "onnx/mnist_pytorch_opset18_ref.safetensors",
            ("image", &normal),
            &["output"],
        ),
        (
            ask("caffe/lenet_iter_10000_v1.caffemodel", None, Some(&models.join("caffe/lenet.prototxt"))),
            "caffe/lenet_ref.safetensors",
            ("image", &|x| x * 0.00390625),
            &["prob"],
        ),
    ];
    for (ask, reference, (input, feed), outputs) in cases {
        let found = open(&ask).unwrap_or_else(|cause| panic!("{cause}"));
        let reference = safetensors::read(models.join(reference)).unwrap().weights;
        let input = &reference[input];
        let mut shape = input.shape().to_vec();
        if shape.len() == 3 {
            shape.insert(1, 1);
        }
        let fed: Vec<f32> = input.data().iter().map(|&x| feed(x)).collect();
        let got = run(&found, &fed, &shape, &[]);
        for &output in outputs {
            // ONNX files have names of their own for their only output.
            let own = if got.len() == 1 { got.keys().next().unwrap() } else { output };
            close(&format!("{} {output}", ask.word), got[own].data(), reference[output].data());
        }
    }
}

#[test]
fn a_mean_image_and_a_stored_residual_network() {
    let Some(models) = data("models") else { return };
    let mut found = open(&Ask {
        weights: Some(models.join("caffe/cifar10_quick_iter_5000.caffemodel.h5")),
        ..Ask::word(word(&models.join("caffe/cifar10_quick.prototxt")))
    })
    .unwrap();
    let given = Preparation {
        mean_file: Some(models.join("caffe/cifar10_mean.binaryproto")),
        ..Preparation::default()
    };
    given.apply(&mut found).unwrap();
    let reference = safetensors::read(models.join("caffe/cifar10_quick_h5_ref.safetensors")).unwrap().weights;
    let image = &reference["image_rgb_planar"];
    close(
        "cifar10_quick",
        run(&found, image.data(), image.shape(), &[])["prob"].data(),
        reference["prob"].data(),
    );

    let reference = safetensors::read(models.join("pytorch/resnet20_ref.safetensors")).unwrap().weights;
    // `input` holds these numbers pixel by pixel, whatever its shape says; so they are made here.
    let image = &reference["image_rgb"];
    let input = Tensor::from_fn([20, 3, 32, 32], |i| {
        let (n, c, pixel) = (i / 3072, i / 1024 % 3, i % 1024);
        let x = image.data()[(n * 1024 + pixel) * 3 + c] / 255.0;
        (x - [0.485, 0.456, 0.406][c]) / [0.229, 0.224, 0.225][c]
    });
    for name in ["pytorch/resnet20-12fca82f.th", "pytorch/resnet20_cifar10.onnx"] {
        let found = open(&Ask::word(word(&models.join(name)))).unwrap();
        let got = run(&found, input.data(), input.shape(), &[]);
        assert_eq!(got.len(), 1);
        close(name, got.values().next().unwrap().data(), reference["logits"].data());
    }
}

/// SqueezeNet's activations, from its own files and after a way through every format; each step is verified by itself.
#[test]
fn squeezenet_is_the_same_in_every_format() {
    let Some(folder) = data("squeezenet") else { return };
    let mut found = open(&Ask {
        weights: Some(folder.join("squeezenet_v1.0.caffemodel")),
        ..Ask::word(word(&folder.join("squeezenet_v1.0_deploy.prototxt")))
    })
    .unwrap();
    let given = Preparation {
        bgr: Some(true),
        mean: Some(vec![104.0, 117.0, 123.0]),
        labels: Some(folder.join("synset_words.txt")),
        ..Preparation::default()
    };
    given.apply(&mut found).unwrap();
    let reference = safetensors::read(folder.join("reference_activations.safetensors")).unwrap().weights;
    let crop = Image::open(folder.join("reference_crop.png")).unwrap();
    let plane = 227 * 227;
    let fed = Tensor::from_fn([1, 3, 227, 227], |i| {
        let (c, pixel) = (i / plane, i % plane);
        f32::from(crop.pixels[pixel * 3 + 2 - c]) - [104.0, 117.0, 123.0][c]
    });
    // The reference keeps its input pixel by pixel under a shape of planes; it is the same picture.
    let by_pixel = Tensor::from_fn([1, 3, 227, 227], |i| fed.data()[i % 3 * plane + i / 3]);
    let planar = reference["data"].data() == fed.data();
    assert!(planar || reference["data"].data() == by_pixel.data());
    let blobs = ["fire2/conv1x1_1", "pool4", "pool8", "fire9/concat", "pool_final"];
    let check = |found: &Found, stage: &str, blobs: &[&str]| {
        let got = run(found, fed.data(), fed.shape(), blobs);
        for blob in blobs {
            close(&format!("{stage} {blob}"), got[*blob].data(), reference[*blob].data());
        }
        assert_eq!(found.classes.len(), 1000, "{stage}");
    };
    check(&found, "prototxt", &blobs);

    let place = tempfile::tempdir().unwrap();
    let trial = Trial { pictures: vec![("reference_crop.png".into(), crop)], ..Trial::default() };
    for (number, ending) in ["onnx", "safetensors", "prototxt", "txt", "npz"].into_iter().enumerate() {
        let path = place.path().join(format!("{number}.{ending}"));
        let (saved, agreement) =
            save_verified(&found, &path, &SaveOptions::default(), &trial).unwrap_or_else(|e| panic!("{e}"));
        assert!(saved.files.iter().all(|file| file.is_file()) && agreement.inputs == 1, "{saved:?}");
        println!("{ending}: {agreement:?}");
        if number < 3 {
            let weights = (ending == "prototxt").then(|| path.with_extension("caffemodel"));
            found = open(&Ask { weights, ..Ask::word(word(&path)) }).unwrap();
            check(&found, ending, &["pool_final"]);
        }
    }
    // Pixels go in as they are, red first; scale, mean and order are the network's own.
    let path = place.path().join("pixels.onnx");
    save_verified(&found, &path, &SaveOptions { pixels_inside: true }, &trial).unwrap();
    let inside = open(&Ask::word(word(&path))).unwrap();
    let pixels = Tensor::from_fn([1, 3, 227, 227], |i| {
        f32::from(trial.pictures[0].1.pixels[i % plane * 3 + i / plane])
    });
    let got = run(&inside, pixels.data(), pixels.shape(), &[]);
    close("pixels inside", got["pool_final"].data(), reference["pool_final"].data());
    let left: Vec<_> =
        std::fs::read_dir(place.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with('.')), "{left:?}");
}

/// Learned numbers of the networks as their publications and tools count them.
const COUNTS: [(&str, usize); 13] = [
    ("lenet/lenet.prototxt", 431_080),
    ("lenet/lenet_train_test.prototxt", 431_080),
    ("cifar10/cifar10_quick.prototxt", 145_578),
    ("cifar10/cifar10_full_train_test.prototxt", 89_578),
    ("alexnet/deploy.prototxt", 60_965_224),
    ("caffenet/train_val.prototxt", 60_965_224),
    ("googlenet/deploy.prototxt", 6_998_552),
    ("googlenet/train_val.prototxt", 13_378_280),
    ("squeezenet_v1.0/deploy.prototxt", 1_248_424),
    ("squeezenet_v1.1/train_val.prototxt", 1_235_496),
    ("resnet/ResNet-50-deploy.prototxt", 25_557_096),
    ("vgg/VGG16_deploy.prototxt", 138_357_544),
    ("vgg/VGG19_deploy_v1format.prototxt", 143_667_240),
];

#[test]
fn every_description_opens_or_says_why_not() {
    let Some(root) = data("prototxt") else { return };
    let (mut open_folders, mut files) = (vec![root.clone()], Vec::new());
    while let Some(folder) = open_folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() { open_folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    let mut counted = 0;
    for file in files {
        let name = word(file.strip_prefix(&root).unwrap());
        let sizes: [usize; 4] = match name.split('/').next().unwrap() {
            "lenet" => [1, 1, 28, 28],
            "siamese" => [1, 2, 28, 28],
            _ => [1, 3, 32, 32],
        };
        let found = match open(&Ask::word(word(&file))) {
            Ok(found) => found,
            Err(cause) => {
                let sentence = cause.to_string();
                println!("{name}: {sentence}");
                if name.contains("solver") {
                    assert!(sentence.contains("train --solver"), "{sentence}");
                    continue;
                }
                assert!(sentence.contains("--input") && sentence.contains("line "), "{sentence}");
                open(&Ask { input: Some(sizes), ..Ask::word(word(&file)) }).unwrap()
            }
        };
        let learned = Summary::of(&found.graph).parameters.trainable;
        println!("{name}: {} nodes, {learned} learned numbers", found.graph.nodes().len());
        if let Some((_, wanted)) = COUNTS.iter().find(|(known, _)| *known == name) {
            assert_eq!(learned, *wanted, "{name}");
            counted += 1;
        }
    }
    assert_eq!(counted, COUNTS.len());
}

#[test]
fn what_is_no_network_says_what_it_is() {
    let Some(root) = data("models") else { return };
    for (name, word_in) in [
        ("caffe/cifar10_mean.binaryproto", "--mean-file"),
        ("caffe/lenet_iter_10000_v1.solverstate", "--resume"),
        ("caffe/lenet_ref.safetensors", "--model"),
        ("onnx/mnist_cntk_opset8_test_data/set0_input_0.pb", ".onnx"),
    ] {
        let sentence = open(&Ask::word(word(&root.join(name)))).unwrap_err().to_string();
        assert!(sentence.contains(word_in) && sentence.contains("; "), "{name}: {sentence}");
    }
}
