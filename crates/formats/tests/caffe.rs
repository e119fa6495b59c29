//! Caffe descriptions: every one at hand becomes a whole graph with the published number of parameters.

use std::path::{Path, PathBuf};

use ocellus_formats::FormatError;
use ocellus_formats::caffe::{self, LrPolicy, Method, NetOptions, Phase};
use ocellus_graph::{Graph, Op, Role};

fn data(name: &str) -> Option<PathBuf> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")).join(name);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: {} is not there", path.display());
    None
}

fn learned(graph: &Graph) -> usize {
    graph.params().iter().filter(|p| p.role == Role::Weight).map(|p| p.shape.elements()).sum()
}

fn options(folder: &str, phase: Phase) -> NetOptions {
    let options = NetOptions::phase(phase);
    match folder {
        "lenet" => options.item("data", [1, 28, 28]),
        "cifar10" => options.item("data", [3, 32, 32]),
        "siamese" => options.item("pair_data", [2, 28, 28]),
        _ => options,
    }
}

#[test]
fn every_description_is_read_in_both_phases() {
    let Some(root) = data("prototxt") else { return };
    let (mut nets, mut solvers) = (0, 0);
    for folder in std::fs::read_dir(&root).unwrap() {
        let folder = folder.unwrap().path();
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        for file in std::fs::read_dir(&folder).unwrap() {
            let file = file.unwrap().path();
            if file.file_name().unwrap().to_string_lossy().contains("solver") {
                let solver = caffe::read_solver(&file).unwrap();
                assert!(solver.learning_rate(0) > 0.0 && solver.learning_rate(solver.max_iter / 2) > 0.0);
                solvers += 1;
                continue;
            }
            for phase in [Phase::Train, Phase::Test] {
                let graph = caffe::read_net(&file, &options(&name, phase)).unwrap();
                graph.check().unwrap();
                assert!(!graph.outputs().is_empty() || !graph.losses().is_empty(), "{}", file.display());
                println!(
                    "{name}/{} {phase:?}: {} nodes, {} learned, {} outputs, {} losses",
                    file.file_name().unwrap().to_string_lossy(),
                    graph.nodes().len(),
                    learned(&graph),
                    graph.outputs().len(),
                    graph.losses().len()
                );
                nets += 1;
            }
        }
    }
    println!("{nets} networks, {solvers} solvers");
    assert!(nets >= 40 && solvers >= 14);
}

#[test]
fn parameters_are_as_many_as_published() {
    let published = [
        ("lenet/lenet.prototxt", 431_080),
        ("alexnet/deploy.prototxt", 60_965_224),
        ("caffenet/deploy.prototxt", 60_965_224),
        ("googlenet/deploy.prototxt", 6_998_552),
        ("squeezenet_v1.0/deploy.prototxt", 1_248_424),
        ("squeezenet_v1.1/deploy.prototxt", 1_235_496),
        ("vgg/VGG16_deploy.prototxt", 138_357_544),
        ("vgg/VGG19_deploy_v1format.prototxt", 143_667_240),
        ("resnet/ResNet-50-deploy.prototxt", 25_557_096),
        ("cifar10/cifar10_quick.prototxt", 145_578),
    ];
    for (name, count) in published {
        let Some(path) = data(&format!("prototxt/{name}")) else { return };
        let graph = caffe::read_net(path, &NetOptions::default()).unwrap();
        assert_eq!(learned(&graph), count, "{name}");
        assert_eq!(graph.outputs().len(), 1, "{name}");
    }
}

#[test]
fn resnet_50_has_its_batch_norms_with_gamma_and_beta() {
    let Some(path) = data("prototxt/resnet/ResNet-50-deploy.prototxt") else { return };
    let graph = caffe::read_net(path, &NetOptions::default()).unwrap();
    let norms: Vec<_> = graph.nodes().iter().filter(|n| matches!(n.op, Op::BatchNorm(_))).collect();
    assert_eq!(norms.len(), 53);
    assert!(norms.iter().all(|n| matches!(n.op, Op::BatchNorm(norm) if norm.affine)));
    assert!(graph.find_param("scale_conv1.weight").is_some());
    assert!(graph.find_param("bn_conv1.running_var").is_some());
    assert_eq!(graph.nodes().iter().filter(|n| matches!(n.op, Op::Binary(_))).count(), 16);
}

#[test]
fn siamese_towers_share_their_parameters() {
    let Some(path) = data("prototxt/siamese/mnist_siamese_train_test.prototxt") else { return };
    let graph = caffe::read_net(path, &options("siamese", Phase::Train)).unwrap();
    let names: Vec<&str> = graph.params().iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names.len(), 10, "{names:?}");
    let [a, b] = ["conv1", "conv1_p"].map(|name| graph.node(graph.find_node(name).unwrap()).inputs.clone());
    assert_eq!(a[1..], b[1..]);
    assert_eq!(graph.losses().len(), 1);
    let bias = graph.param(graph.find_param("conv1.bias").unwrap());
    assert_eq!((bias.lr_mult, bias.decay_mult), (2.0, 1.0));
}

#[test]
fn googlenet_trains_three_losses_of_different_weight() {
    let Some(path) = data("prototxt/googlenet/train_val.prototxt") else { return };
    let graph = caffe::read_net(path, &NetOptions::phase(Phase::Train)).unwrap();
    let weights: Vec<f32> = graph.losses().iter().map(|loss| loss.weight).collect();
    assert_eq!(weights, [0.3, 0.3, 1.0]);
}

#[test]
fn solvers_keep_their_policies() {
    let Some(path) = data("prototxt/lenet/lenet_solver.prototxt") else { return };
    let solver = caffe::read_solver(path).unwrap();
    assert_eq!(solver.net, caffe::NetSource::File("examples/mnist/lenet_train_test.prototxt".into()));
    assert_eq!(solver.method, Method::Sgd);
    assert_eq!(solver.lr_policy, LrPolicy::Inv { gamma: 0.0001, power: 0.75 });
    assert_eq!((solver.max_iter, solver.test_iter.as_slice(), solver.momentum), (10_000, &[100][..], 0.9));
    // 0.01 (1 + 0.0001 * 10000)^-0.75
    assert!((solver.learning_rate(10_000) - 0.01 * 2.0_f32.powf(-0.75)).abs() < 1e-8);
    let adam = caffe::parse_solver(
        "net: 'n' solver_type: ADAM lr_policy: 'multistep' stepvalue: 5 stepvalue: 9 gamma: 0.1 base_lr: 1",
        "s",
    )
    .unwrap();
    assert_eq!(adam.method, Method::Adam);
    assert!((adam.learning_rate(9) - 0.01).abs() < 1e-7 && adam.learning_rate(4) == 1.0);
    for (text, words) in [
        ("lr_policy: 'warm'", ["warm", "sigmoid"]),
        // As Caffe: these two have no momentum, and a method is named once.
        ("type: 'AdaGrad' momentum: 0.9", ["momentum", "0.9"]),
        ("type: 'RMSProp' momentum: 0.5", ["momentum", "0.5"]),
        ("type: 'SGD' solver_type: ADAM", ["type", "solver_type"]),
    ] {
        let wrong = caffe::parse_solver(&format!("net: 'n'\n{text}"), "s.prototxt").unwrap_err().to_string();
        assert!(wrong.contains("s.prototxt: line 2"), "{wrong}");
        assert!(words.iter().all(|word| wrong.contains(word)), "{wrong}");
    }
}

fn parse(text: &str) -> Result<Graph, FormatError> {
    caffe::parse_net(text, "net.prototxt", &NetOptions::default())
}

/// A layer behind an image of (2, 4, 8, 8).
fn behind_image(layer: &str) -> Result<Graph, FormatError> {
    parse(&format!("input: 'x' input_dim: 2 input_dim: 4 input_dim: 8 input_dim: 8\nlayer {{ {layer} }}"))
}

#[test]
fn layers_give_caffes_shapes() {
    let cases: [(&str, &[usize]); 22] = [
        ("type: 'Pooling' pooling_param { kernel_size: 3 stride: 2 }", &[2, 4, 4, 4]),
        ("type: 'Pooling' pooling_param { kernel_size: 3 stride: 2 round_mode: FLOOR }", &[2, 4, 3, 3]),
        ("type: 'Pooling' pooling_param { kernel_size: 3 stride: 2 ceil_mode: false }", &[2, 4, 3, 3]),
        ("type: 'Pooling' pooling_param { pool: AVE global_pooling: true }", &[2, 4, 1, 1]),
        (
            "type: 'Convolution' convolution_param { num_output: 6 kernel_h: 1 kernel_w: 3 pad_w: 1 group: 2 }",
            &[2, 6, 8, 8],
        ),
        ("type: 'Convolution' convolution_param { num_output: 6 kernel_size: 3 dilation: 2 }", &[2, 6, 4, 4]),
        ("type: 'ConvolutionDepthwise' convolution_param { num_output: 4 kernel_size: 3 }", &[2, 4, 6, 6]),
        (
            "type: 'Deconvolution' convolution_param { num_output: 2 kernel_size: 4 stride: 2 pad: 1 }",
            &[2, 2, 16, 16],
        ),
        ("type: 'InnerProduct' inner_product_param { num_output: 5 }", &[2, 5]),
        ("type: 'Flatten' flatten_param { axis: 2 }", &[2, 4, 64]),
        ("type: 'Reshape' reshape_param { shape { dim: 0 dim: -1 dim: 16 } }", &[2, 16, 16]),
        ("type: 'Reshape' reshape_param { shape { dim: 2 dim: 2 } axis: 1 num_axes: 1 }", &[2, 2, 2, 8, 8]),
        ("type: 'Permute' permute_param { order: 0 order: 2 order: 3 order: 1 }", &[2, 8, 8, 4]),
        ("type: 'Scale' scale_param { bias_term: true }", &[2, 4, 8, 8]),
        ("type: 'Bias'", &[2, 4, 8, 8]),
        ("type: 'LRN' lrn_param { norm_region: WITHIN_CHANNEL local_size: 3 }", &[2, 4, 8, 8]),
        ("type: 'Exp' exp_param { base: 2 }", &[2, 4, 8, 8]),
        ("type: 'Log' log_param { base: 10 }", &[2, 4, 8, 8]),
        ("type: 'Power' power_param { power: 2 scale: 3 shift: 1 }", &[2, 4, 8, 8]),
        ("type: 'Swish' swish_param { beta: 2 }", &[2, 4, 8, 8]),
        ("type: 'Clip' clip_param { min: 0 max: 1 }", &[2, 4, 8, 8]),
        ("type: 'PReLU' prelu_param { channel_shared: true }", &[2, 4, 8, 8]),
    ];
    for (layer, shape) in cases {
        let graph = behind_image(&format!("name: 'y' {layer} bottom: 'x' top: 'y'")).unwrap();
        graph.check().unwrap();
        assert_eq!(graph.shape(graph.find_output("y").unwrap()).dims(), shape, "{layer}");
    }
}

#[test]
fn what_cannot_be_had_is_refused_by_name_type_and_line() {
    let cases = [
        ("name: 'p' type: 'Python' bottom: 'x' top: 'p'", ["layer p (Python)", "line 2"]),
        ("name: 'r' type: 'ROIPooling' bottom: 'x' top: 'r'", ["detectors", "line 2"]),
        (
            "name: 'c' type: 'Convolution' bottom: 'x' top: 'c' convolution_param { num_ouput: 3 }",
            ["num_ouput", "line 2"],
        ),
        ("name: 'c' type: 'Convolution' bottom: 'z' top: 'c'", ["bottom z", "layer c"]),
        (
            "name: 'c' type: 'Convolution' bottom: 'x' top: 'c' convolution_param { num_output: 3 kernel_size: 9 }",
            ["9", "8"],
        ),
        ("name: 'c' type: 'ReLU' bottom: 'x' top: 'c' pooling_parm { }", ["pooling_parm", "relu_param"]),
        ("name: 'c' type: 'Eltwise' bottom: 'x' top: 'c'", ["2 bottoms", "layer c"]),
    ];
    for (layer, words) in cases {
        let sentence = behind_image(layer).unwrap_err().to_string();
        assert!(sentence.starts_with("net.prototxt: line ") && sentence.contains("; "), "{sentence}");
        assert!(words.iter().all(|word| sentence.contains(word)), "{sentence}");
    }
    // As Caffe, settings of other layers are passed over.
    assert!(behind_image("name: 'c' type: 'ReLU' bottom: 'x' top: 'c' pooling_param { pool: AVE }").is_ok());
    let unknown = parse("layer { name: 'd' type: 'Data' top: 'data' }").unwrap_err().to_string();
    assert!(unknown.contains("database"), "{unknown}");
    let nothing = parse("base_lr: 0.1").unwrap_err().to_string();
    assert!(nothing.contains("base_lr"), "{nothing}");
}

#[test]
fn rules_choose_layers() {
    let text = "input: 'x' input_shape { dim: 1 dim: 3 }
        layer { name: 'a' type: 'ReLU' bottom: 'x' top: 'a' include { phase: TRAIN } }
        layer { name: 'b' type: 'ReLU' bottom: 'x' top: 'b' exclude { phase: TRAIN } }
        layer { name: 'c' type: 'ReLU' bottom: 'x' top: 'c' include { stage: 'deep' min_level: 2 } }
        layer { name: 'd' type: 'ReLU' bottom: 'x' top: 'd' include { not_stage: 'deep' } include { phase: TRAIN } }";
    let nodes = |options: &NetOptions| {
        let graph = caffe::parse_net(text, "n", options).unwrap();
        graph.nodes().iter().map(|n| n.name.clone()).collect::<String>()
    };
    assert_eq!(nodes(&NetOptions::phase(Phase::Train)), "ad");
    assert_eq!(nodes(&NetOptions::phase(Phase::Test)), "bd");
    let deep = NetOptions { stages: vec!["deep".into()], level: 2, ..NetOptions::default() };
    assert_eq!(nodes(&deep), "bc");
}

#[test]
fn the_oldest_form_is_upgraded() {
    let text = "name: 'old' input: 'data' input_dim: 1 input_dim: 1 input_dim: 8 input_dim: 8
        layers { layer { name: 'pad1' type: 'padding' pad: 2 } bottom: 'data' top: 'pad1' }
        layers { layer { name: 'conv1' type: 'conv' num_output: 2 kernelsize: 5 biasterm: true blobs_lr: 1. blobs_lr: 2. }
            bottom: 'pad1' top: 'conv1' }
        layers { layer { name: 'pool1' type: 'pool' pool: MAX kernelsize: 3 stride: 2 } bottom: 'conv1' top: 'pool1' }
        layers { layer { name: 'ip' type: 'innerproduct' num_output: 3 } bottom: 'pool1' top: 'ip' }";
    let graph = parse(text).unwrap();
    assert_eq!(graph.shape(graph.find_value("conv1").unwrap()).dims(), [1, 2, 8, 8]);
    assert_eq!(graph.shape(graph.find_value("pool1").unwrap()).dims(), [1, 2, 4, 4]);
    assert_eq!(graph.param(graph.find_param("conv1.bias").unwrap()).lr_mult, 2.0);
}
