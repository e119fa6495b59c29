//! Every format of files against damage of every kind, a test each; what is read nevertheless can be used.

mod mutation;
mod onnx_support;

use std::io::{Cursor, Read, Write};
use std::path::Path;

use mutation::{Made, Target, as_they_are, hold, shared};
use ocellus_engine::{Options, Plan};
use ocellus_formats::caffe::{self, Datum, NetOptions, Pixels, SolverState};
use ocellus_formats::hdf5::Hdf5;
use ocellus_formats::lmdb::{self, Lmdb};
use ocellus_formats::onnx::{self, ReadOptions};
use ocellus_formats::{Kind, Model, keras, npy, npz, safetensors, torch};
use ocellus_graph::{BatchNormSpec, Builder, Conv, Dense, Graph, Summary, initialise};
use ocellus_tensor::{Tensor, Weights, Window};

/// Planning stops where a network asks for more than this, in bytes.
const LARGEST_PLAN: usize = 32 << 20;

/// Whatever was read can be looked at, changed, planned and written.
fn use_graph(graph: &Graph) {
    let _ = Summary::of(graph);
    let _ = ocellus_graph::to_text(graph);
    let _ = caffe::to_prototxt(graph);
    let inference = graph.for_inference().unwrap_or_else(|_| graph.clone());
    let _ = inference.with_batch(3);
    let options = Options { memory_limit: Some(LARGEST_PLAN), ..Options::default().with_threads(1) };
    let _ = Plan::new(&inference, &options);
}

fn use_model(model: &Model) {
    use_graph(&model.graph);
    let _ = onnx::write(model);
}

/// A small network with most of what the formats have words for.
fn network() -> Model {
    let mut b = Builder::new("tiny");
    let x = b.input("input", [1, 2, 8, 8]);
    let x = b.conv2d("conv", x, Conv::new(4, 3).padding(1));
    let x = b.batch_norm("bn", x, BatchNormSpec::default());
    let x = b.relu("relu", x);
    let x = b.max_pool("pool", x, Window::square(2).stride(2));
    let x = b.flatten("flat", x);
    let x = b.linear("fc", x, Dense::new(3));
    let x = b.softmax("prob", x);
    b.output("output", x);
    let graph = b.finish().unwrap();
    let weights = initialise(&graph, 1);
    let classes = vec!["cat".into(), "dog".into(), "bird".into()];
    Model { graph, weights, classes, preprocess: None, info: Default::default() }
}

fn weights() -> Weights {
    let image = Tensor::from_fn([2, 3, 1, 2], |i| i as f32);
    Weights::from([("conv.weight".into(), image), ("b".into(), Tensor::scalar(1.0))])
}

/// The bytes that `write` leaves in a file.
fn written(write: impl FnOnce(&Path)) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seed");
    write(&path);
    std::fs::read(path).unwrap()
}

/// Reads through a file on disk; sentences call it `f`.
fn on_disk(bytes: &[u8], read: impl Fn(&Path) -> Result<(), String>) -> Result<(), String> {
    // In memory where there is such a place, so that the time goes into reading.
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    let folder = folder.map_err(|cause| cause.to_string())?;
    let path = folder.path().join("file");
    std::fs::write(&path, bytes).map_err(|cause| cause.to_string())?;
    let kind = Kind::of(&path).map(drop).map_err(|cause| cause.to_string());
    kind.and_then(|()| read(&path)).map_err(|text| text.replace(&path.display().to_string(), "f"))
}

/// A zip archive of stored members.
fn zipped(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, bytes) in members {
        archive.start_file(*name, stored).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

fn target<'t>(
    name: &'static str,
    made: Made,
    seeds: Vec<Vec<u8>>,
    read: &'t dyn Fn(&[u8]) -> Result<(), String>,
) -> Target<'t> {
    Target { name, made, seeds, pack: &as_they_are, read }
}

fn array() -> Vec<u8> {
    let mut array = Vec::new();
    npy::encode(&mut array, &weights()["conv.weight"]).unwrap();
    array
}

#[test]
fn npy_arrays() {
    let read = |bytes: &[u8]| npy::decode(bytes, "f").map(drop).map_err(|e| e.to_string());
    hold(&[target("npy", Made::OfBytes, vec![array()], &read)]);
}

#[test]
fn npz_archives() {
    let mut archive = Cursor::new(Vec::new());
    npz::encode(&mut archive, &weights()).unwrap();
    let read = |bytes: &[u8]| npz::decode(bytes, "f").map(drop).map_err(|e| e.to_string());
    let pack = |member: &[u8]| zipped(&[("w.npy", member)]);
    hold(&[
        target("npz", Made::OfBytes, vec![archive.into_inner()], &read),
        Target { name: "npz-member", made: Made::OfBytes, seeds: vec![array()], pack: &pack, read: &read },
    ]);
}

#[test]
fn safetensors_files() {
    let mut file = Vec::new();
    let strings = [("graph".to_string(), "a b c".to_string())].into();
    safetensors::encode(&mut file, &weights(), &strings).unwrap();
    let read = |bytes: &[u8]| safetensors::decode(bytes, "f").map(drop).map_err(|e| e.to_string());
    hold(&[target("safetensors", Made::OfBytes, vec![file], &read)]);
}

#[test]
fn models_of_our_own() {
    let file = written(|path| network().save(path).unwrap());
    let read = |bytes: &[u8]| Model::decode(bytes, "f").map(|m| use_model(&m)).map_err(|e| e.to_string());
    hold(&[target("model", Made::OfBytes, vec![file], &read)]);
}

#[test]
fn text_forms() {
    let texts = ["lenet", "resnet20", "squeezenet1_1"].map(|name| {
        let graph = ocellus_zoo::build(name, &Default::default()).unwrap();
        ocellus_graph::to_text(&graph).unwrap().into_bytes()
    });
    let read = |bytes: &[u8]| match ocellus_graph::from_text(&String::from_utf8_lossy(bytes)) {
        Ok(graph) => {
            use_graph(&graph);
            Ok(())
        }
        Err(cause) => Err(format!("f: {cause}; ").replace('\n', " ")),
    };
    hold(&[target("text", Made::OfText, texts.to_vec(), &read)]);
}

/// Descriptions with layers of many kinds, in all three generations, and along many axes.
const DESCRIPTIONS: [&str; 4] = [
    r#"name: "v2" input: "x" input_shape { dim: 1 dim: 3 dim: 12 dim: 12 }
layer { name: "c" type: "Convolution" bottom: "x" top: "c" param { name: "w" lr_mult: 1 decay_mult: 0 }
  convolution_param { num_output: 6 kernel_h: 3 kernel_w: 1 pad: 1 stride: 2 dilation: 1 group: 3 bias_term: true } }
layer { name: "b" type: "BatchNorm" bottom: "c" top: "c" batch_norm_param { use_global_stats: true eps: 1e-5 } }
layer { name: "s" type: "Scale" bottom: "c" top: "c" scale_param { axis: 1 bias_term: true } }
layer { name: "r" type: "ReLU" bottom: "c" top: "c" relu_param { negative_slope: 0.1 } }
layer { name: "l" type: "LRN" bottom: "c" top: "l" lrn_param { local_size: 5 alpha: 1e-4 norm_region: WITHIN_CHANNEL } }
layer { name: "p" type: "Pooling" bottom: "l" top: "p" pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 } }
layer { name: "d" type: "Deconvolution" bottom: "p" top: "d" convolution_param { num_output: 2 kernel_size: 2 stride: 2 } }
layer { name: "cr" type: "Crop" bottom: "d" bottom: "p" top: "cr" crop_param { axis: 2 offset: 1 } }
layer { name: "sl" type: "Slice" bottom: "c" top: "s1" top: "s2" slice_param { axis: 1 slice_point: 2 } }
layer { name: "cc" type: "Concat" bottom: "s2" bottom: "s1" top: "cc" concat_param { axis: -3 } }
layer { name: "e" type: "Eltwise" bottom: "cc" bottom: "c" top: "e" eltwise_param { operation: SUM coeff: 1 coeff: -1 } }
layer { name: "t" type: "Tile" bottom: "e" top: "t" tile_param { axis: 1 tiles: 2 } }
layer { name: "re" type: "Reduction" bottom: "t" top: "re" reduction_param { operation: ASUM axis: 1 coeff: 2 } }
layer { name: "rs" type: "Reshape" bottom: "t" top: "rs" reshape_param { shape { dim: 0 dim: -1 } axis: 0 num_axes: -1 } }
layer { name: "i" type: "InnerProduct" bottom: "rs" top: "i" inner_product_param { num_output: 4 axis: 1 transpose: false } }
layer { name: "pw" type: "Power" bottom: "i" top: "i" power_param { power: 2 scale: 0.5 shift: 1 } }
layer { name: "so" type: "Softmax" bottom: "i" top: "prob" softmax_param { axis: 1 } }
layer { name: "a" type: "ArgMax" bottom: "prob" top: "a" argmax_param { top_k: 1 axis: 1 } }
"#,
    r#"name: "v1" input: "x" input_dim: 2 input_dim: 1 input_dim: 8 input_dim: 8
layers { name: "c" type: CONVOLUTION bottom: "x" top: "c" blobs_lr: 1 blobs_lr: 2 weight_decay: 1 weight_decay: 0
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "gaussian" std: 0.01 } } }
layers { name: "r" type: RELU bottom: "c" top: "c" }
layers { name: "p" type: POOLING bottom: "c" top: "p" pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layers { name: "i" type: INNER_PRODUCT bottom: "p" top: "i" inner_product_param { num_output: 3 } include { phase: TEST } }
layers { name: "s" type: SOFTMAX bottom: "i" top: "prob" }
"#,
    r#"name: "v0" input: "x" input_dim: 1 input_dim: 1 input_dim: 8 input_dim: 8
layers { layer { name: "c" type: "conv" num_output: 4 kernelsize: 3 pad: 1 stride: 1 } bottom: "x" top: "c" }
layers { layer { name: "r" type: "relu" } bottom: "c" top: "c" }
layers { layer { name: "p" type: "pool" pool: MAX kernelsize: 2 stride: 2 } bottom: "c" top: "p" }
layers { layer { name: "i" type: "innerproduct" num_output: 3 } bottom: "p" top: "i" }
layers { layer { name: "s" type: "softmax" } bottom: "i" top: "prob" }
"#,
    r#"name: "axes" input: "x" input_shape { dim: 1 dim: 2 dim: 4 dim: 5 dim: 6 } input: "f" input_shape { dim: 1 dim: 2 }
layer { name: "c" type: "Convolution" bottom: "x" top: "c" param { name: "w" } convolution_param { num_output: 2
  kernel_size: 3 kernel_size: 2 kernel_size: 1 stride: 2 pad: 1 dilation: 1 bias_term: false } }
layer { name: "d" type: "Deconvolution" bottom: "c" top: "d" param { name: "w" share_mode: PERMISSIVE }
  convolution_param { num_output: 2 kernel_size: 3 kernel_size: 2 kernel_size: 1 stride: 3 pad: 0 } }
layer { name: "p" type: "Pooling" bottom: "d" top: "p" pooling_param { pool: AVE kernel_size: 2 stride: 2 pad: 1 } }
layer { name: "sc" type: "Scale" bottom: "p" bottom: "f" top: "sc" scale_param { axis: 0 bias_term: true } }
layer { name: "bi" type: "Bias" bottom: "sc" top: "bi" bias_param { axis: -2 num_axes: -1 } }
layer { name: "r" type: "Reshape" bottom: "bi" top: "r" reshape_param { shape { dim: 0 dim: 2 dim: -1 dim: 4 } } }
layer { name: "m" type: "Pooling" bottom: "r" top: "m" top: "places" pooling_param { pool: MAX kernel_size: 2 stride: 1 } }
layer { name: "st" type: "Pooling" bottom: "m" top: "st" pooling_param { pool: STOCHASTIC kernel_size: 2 } }
layer { name: "a" type: "ArgMax" bottom: "st" top: "a" argmax_param { top_k: 2 out_max_val: true } }
layer { name: "k" type: "ArgMax" bottom: "st" top: "k" argmax_param { top_k: 2 axis: 1 } }
layer { name: "i" type: "InnerProduct" bottom: "st" top: "i" inner_product_param { num_output: 3 axis: 0 } }
layer { name: "so" type: "Softmax" bottom: "i" top: "prob" softmax_param { axis: 0 } }
"#,
];

#[test]
fn caffe_descriptions() {
    let mut seeds: Vec<Vec<u8>> = DESCRIPTIONS.iter().map(|text| text.as_bytes().to_vec()).collect();
    let shared_ones = [
        "prototxt/lenet/lenet_train_test.prototxt",
        "prototxt/siamese/mnist_siamese_train_test.prototxt",
        "prototxt/caffenet/train_val.prototxt",
        "prototxt/vgg/VGG19_deploy_v1format.prototxt",
        "models/caffe/det1.prototxt",
    ];
    seeds.extend(shared_ones.iter().filter_map(|name| shared(name)));
    let options = NetOptions::default().item("pair_data", [2, 28, 28]).any_item([3, 32, 32]);
    let read = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let _ = caffe::data_layers(&text, "f", &options);
        caffe::parse_net(&text, "f", &options).map(|graph| use_graph(&graph)).map_err(|e| e.to_string())
    };
    hold(&[target("prototxt", Made::OfText, seeds, &read)]);
}

#[test]
fn caffe_solvers() {
    let solver = "net: 'a.prototxt' test_iter: 10 test_interval: 5 base_lr: 0.01 momentum: 0.9 weight_decay: 1e-4\n\
        lr_policy: 'multistep' gamma: 0.1 stepvalue: 10 stepvalue: 20 max_iter: 100 snapshot: 10\n\
        type: 'Adam' momentum2: 0.99 delta: 1e-8 iter_size: 2 clip_gradients: 3 regularization_type: 'L1'\n";
    let seeds = [Some(solver.as_bytes().to_vec()), shared("prototxt/lenet/lenet_solver.prototxt")];
    let read = |bytes: &[u8]| {
        let solver = caffe::parse_solver(&String::from_utf8_lossy(bytes), "f").map_err(|e| e.to_string())?;
        for iteration in [0, 1, 15, usize::MAX >> 1] {
            let _ = (solver.learning_rate(iteration), solver.steps_behind(iteration));
        }
        Ok(())
    };
    hold(&[target("solver", Made::OfText, seeds.into_iter().flatten().collect(), &read)]);
}

#[test]
fn caffe_models() {
    let net = |text: &str| caffe::parse_net(text, "f", &NetOptions::default()).unwrap();
    let own = network().graph;
    let bytes = written(|path| caffe::write_weights(path, &own, &initialise(&own, 1)).unwrap());
    let mut nets = vec![("caffemodel", own, bytes)];
    for (name, net_file, weights) in [
        ("caffemodel-v2", "models/caffe/det1.prototxt", "models/caffe/det1.caffemodel"),
        ("caffemodel-v1", "models/caffe/lenet.prototxt", "models/caffe/lenet_iter_10000_v1.caffemodel"),
    ] {
        if let (Some(text), Some(bytes)) = (shared(net_file), shared(weights)) {
            nets.push((name, net(&String::from_utf8(text).unwrap()), bytes));
        }
    }
    let reads: Vec<_> = nets
        .iter()
        .map(|(_, graph, _)| {
            move |bytes: &[u8]| caffe::decode_weights(bytes, "f", graph).map(drop).map_err(|e| e.to_string())
        })
        .collect();
    let targets = nets.iter().zip(&reads);
    let targets =
        targets.map(|((name, _, seed), read)| target(name, Made::OfBytes, vec![seed.clone()], read));
    hold(&targets.collect::<Vec<_>>());
}

#[test]
fn caffe_models_in_hdf5() {
    let mut nets = vec![(network().graph, hdf5_case("net.caffemodel.h5"))];
    if let (Some(text), Some(bytes)) = (
        shared("models/caffe/cifar10_quick.prototxt"),
        shared("models/caffe/cifar10_quick_iter_5000.caffemodel.h5"),
    ) {
        let text = String::from_utf8(text).unwrap();
        nets.push((caffe::parse_net(&text, "f", &NetOptions::default()).unwrap(), bytes));
    }
    let graphs: Vec<_> = nets.iter().map(|(graph, _)| graph.clone()).collect();
    let read = |bytes: &[u8]| {
        // Whichever network it is for, something is said of all.
        let mut last = Ok(());
        for graph in &graphs {
            last = caffe::decode_weights(bytes, "f", graph).map(drop).map_err(|e| e.to_string());
        }
        last
    };
    let seeds = nets.into_iter().map(|(_, bytes)| bytes).collect();
    hold(&[target("caffemodel-hdf5", Made::OfBytes, seeds, &read)]);
}

#[test]
fn caffe_states() {
    let state = SolverState {
        iteration: 70,
        learned_net: "a.caffemodel".into(),
        current_step: 2,
        history: vec![Tensor::from_fn([2, 3], |i| i as f32), Tensor::scalar(1.0)],
    };
    let state = written(|path| caffe::write_solver_state(path, &state).unwrap());
    let read = |bytes: &[u8]| caffe::decode_solver_state(bytes, "f").map(drop).map_err(|e| e.to_string());
    let seeds = [Some(state), shared("models/caffe/lenet_iter_10000_v1.solverstate")];
    hold(&[
        target("solverstate", Made::OfBytes, seeds.into_iter().flatten().collect(), &read),
        target("solverstate-hdf5", Made::OfBytes, vec![hdf5_case("net.solverstate.h5")], &read),
    ]);
}

#[test]
fn caffe_means() {
    // num, channels, height and width 1, then four numbers in one field (5).
    let mut small = vec![0x08, 1, 0x10, 1, 0x18, 2, 0x20, 2, 0x2a, 16];
    small.extend([1.0_f32, 2.0, 3.0, 4.0].iter().flat_map(|x| x.to_le_bytes()));
    let seeds = [Some(small), shared("models/caffe/cifar10_mean.binaryproto")];
    let read = |bytes: &[u8]| caffe::decode_mean(bytes, "f").map(drop).map_err(|e| e.to_string());
    hold(&[target("binaryproto", Made::OfBytes, seeds.into_iter().flatten().collect(), &read)]);
}

#[test]
fn lmdb_databases() {
    let entry = |i: usize| (format!("{i:08}").into_bytes(), vec![i as u8; [0, 5, 900, 4100][i % 4]]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    lmdb::write(&path, (0..40).map(|i| Ok(entry(i)))).unwrap();
    let bytes = std::fs::read(path.join("data.mdb")).unwrap();
    let read = |bytes: &[u8]| {
        on_disk(bytes, |path| {
            let lmdb = Lmdb::open(path).map_err(|e| e.to_string())?;
            for i in 0..lmdb.len().min(50) {
                lmdb.entry(i).map_err(|e| e.to_string())?;
            }
            Ok(())
        })
    };
    let datum = Datum { sizes: [1, 2, 3], label: 4, pixels: Pixels::Bytes((0..6).collect()) };
    let read_item = |bytes: &[u8]| Datum::decode(bytes, "f").map(drop).map_err(|e| e.to_string());
    hold(&[
        target("lmdb", Made::OfBytes, vec![bytes], &read),
        target("datum", Made::OfBytes, vec![datum.encode()], &read_item),
    ]);
}

/// A file of `caffe_hdf5.tar.gz`, made by bench/caffe_hdf5.py.
fn hdf5_case(name: &str) -> Vec<u8> {
    packed_case(&include_bytes!("caffe_hdf5.tar.gz")[..], name)
}

fn packed_case(archive: &[u8], name: &str) -> Vec<u8> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(archive));
    let mut bytes = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.path().unwrap().ends_with(name) {
            entry.read_to_end(&mut bytes).unwrap();
        }
    }
    assert!(!bytes.is_empty(), "{name} is not there");
    bytes
}

#[test]
fn hdf5_data() {
    fn walk(file: &Hdf5, path: &str, depth: usize) -> Result<(), String> {
        if depth == 4 {
            return Ok(());
        }
        for name in file.arrays(path).map_err(|e| e.to_string())?.iter().take(20) {
            let at = format!("{path}/{name}");
            file.rows(&at, 0, 1).map_err(|e| e.to_string())?;
            file.tensor(&at).map_err(|e| e.to_string())?;
        }
        for name in file.groups(path).map_err(|e| e.to_string())?.iter().take(20) {
            walk(file, &format!("{path}/{name}"), depth + 1)?;
        }
        Ok(())
    }
    let read = |bytes: &[u8]| walk(&Hdf5::decode(bytes, "f").map_err(|e| e.to_string())?, "", 0);
    let seeds = [Some(hdf5_case("data.h5")), shared("hdf5/sample_data.h5")].into_iter().flatten();
    hold(&[target("hdf5", Made::OfBytes, seeds.collect(), &read)]);
}

/// Files of `keras_cases.tar.gz`.
fn keras_cases<const N: usize>(names: [&str; N]) -> Vec<Vec<u8>> {
    names.map(|name| packed_case(&include_bytes!("keras_cases.tar.gz")[..], name)).into()
}

fn use_keras(path: &Path, weights: Option<&Path>) -> Result<(), String> {
    let network = keras::read_file(path, weights, None).map_err(|e| e.to_string())?;
    use_graph(&network.graph);
    Ok(())
}

#[test]
fn keras_models_in_hdf5() {
    let mut seeds =
        keras_cases(["v2_sep.h5", "v2_nested.h5", "v2_conv1d.h5", "v3_nested.h5", "v2_shared.h5"]);
    seeds.extend(shared("models/keras/gender_mini_xception.hdf5"));
    let read = |bytes: &[u8]| on_disk(bytes, |path| use_keras(path, None));
    hold(&[target("keras-hdf5", Made::OfBytes, seeds, &read)]);
}

#[test]
fn keras_archives() {
    let read = |bytes: &[u8]| on_disk(bytes, |path| use_keras(path, None));
    let seeds = keras_cases(["v3_seq_cnn.keras", "v3_nested.keras", "v3_norms.keras", "v2_nested.keras"]);
    let whole = target("keras-archive", Made::OfBytes, seeds, &read);
    // Each of the two members alone, beside the other as it should be.
    let [config, weights] =
        ["v3_seq_cnn.json", "v3_seq_cnn.weights.h5"].map(|name| keras_cases([name]).remove(0));
    let with_config = |config: &[u8]| {
        zipped(&[("config.json", config), ("model.weights.h5", &weights), ("metadata.json", b"{}")])
    };
    let with_weights = |weights: &[u8]| zipped(&[("config.json", &config), ("model.weights.h5", weights)]);
    let config_alone = Target {
        name: "keras-config",
        made: Made::OfText,
        seeds: vec![config.clone()],
        pack: &with_config,
        read: &read,
    };
    let weights_alone = Target {
        name: "keras-member",
        made: Made::OfBytes,
        seeds: vec![weights.clone()],
        pack: &with_weights,
        read: &read,
    };
    hold(&[whole, config_alone, weights_alone]);
}

#[test]
fn keras_weights() {
    let [config, three, two] = ["v2_nested.json", "v2_nested.weights.h5", "v2_nested.weights_legacy.h5"]
        .map(|name| keras_cases([name]).remove(0));
    let folder = tempfile::tempdir().unwrap();
    let net = folder.path().join("net.json");
    std::fs::write(&net, &config).unwrap();
    let both = format!("{} with ", net.display());
    let read = |bytes: &[u8]| {
        on_disk(bytes, |path| use_keras(&net, Some(path)).map_err(|text| text.replace(&both, "")))
    };
    hold(&[target("keras-weights", Made::OfBytes, vec![three, two], &read)]);
}

#[test]
fn keras_descriptions() {
    let seeds = keras_cases([
        "v2_nested.json",
        "v3_norms.json",
        "v3_seq_cnn.json",
        "v3_pool_edges.json",
        "v2_sep.json",
    ]);
    let read = |bytes: &[u8]| on_disk(bytes, |path| use_keras(path, None));
    hold(&[target("keras-json", Made::OfText, seeds, &read)]);
}

/// A checkpoint of one tensor of 2x3 numbers: its pickle, as `torch.save` writes it (protocol 2).
fn pickle() -> Vec<u8> {
    let mut p = b"\x80\x02}q\x00X\x01\x00\x00\x00wq\x01ctorch._utils\n_rebuild_tensor_v2\nq\x02((".to_vec();
    p.extend(b"X\x07\x00\x00\x00storageq\x03ctorch\nFloatStorage\nq\x04X\x01\x00\x00\x000q\x05");
    p.extend(b"X\x03\x00\x00\x00cpuq\x06K\x06tq\x07QK\x00K\x02K\x03\x86q\x08K\x03K\x01\x86q\t\x89");
    p.extend(b"ccollections\nOrderedDict\nq\n)Rq\x0btq\x0cRq\x0ds.");
    p
}

/// The same checkpoint as the oldest `torch.save` wrote it: five pickles in a row, then each storage's count and numbers.
fn old_stream() -> Vec<u8> {
    let mut stream = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02".to_vec();
    stream.extend(b"}q\x00X\x0d\x00\x00\x00little_endianq\x01\x88s.");
    let text = pickle();
    // Here a storage's name has a sixth part, what it is a view of: None.
    let at = text.windows(6).position(|part| part == b"K\x06tq\x07Q").unwrap();
    stream.extend([&text[..at], b"K\x06Ntq\x07Q", &text[at + 6..]].concat());
    stream.extend(b"\x80\x02]q\x00X\x01\x00\x00\x000q\x01a.\x06\x00\x00\x00\x00\x00\x00\x00");
    stream.extend((0..6).flat_map(|i| (i as f32).to_le_bytes()));
    stream
}

fn read_torch(bytes: &[u8]) -> Result<(), String> {
    on_disk(bytes, |path| torch::read(path).map(drop).map_err(|e| e.to_string()))
}

#[test]
fn torch_zip() {
    let numbers: Vec<u8> = (0..6).flat_map(|i| (i as f32).to_le_bytes()).collect();
    let pack = |pickle: &[u8]| {
        zipped(&[("net/data.pkl", pickle), ("net/data/0", &numbers), ("net/version", b"3\n")])
    };
    let whole = pack(&pickle());
    let mut wholes = vec![whole];
    wholes.extend(shared("models/pytorch/mnist.pt"));
    hold(&[
        Target { name: "pickle", made: Made::OfBytes, seeds: vec![pickle()], pack: &pack, read: &read_torch },
        target("torch-zip", Made::OfBytes, wholes, &read_torch),
    ]);
}

#[test]
fn torch_stream() {
    let mut seeds = vec![old_stream()];
    seeds.extend(shared("models/pytorch/resnet20-12fca82f.th"));
    hold(&[target("torch-stream", Made::OfBytes, seeds, &read_torch)]);
}

/// Models of the operator cases, which hold every operator; no more than a few, and small ones.
fn operator_cases() -> Vec<Vec<u8>> {
    let Some(archive) = shared("onnx-conformance-third.tar.gz") else { return Vec::new() };
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(Cursor::new(archive)));
    let mut seeds = Vec::new();
    for entry in archive.entries().unwrap().flatten() {
        let mut entry = entry;
        if entry.path().is_ok_and(|path| path.ends_with("model.onnx")) && entry.size() < 20_000 {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            seeds.push(bytes);
        }
    }
    seeds.retain(|bytes| onnx::read(bytes, None, &ReadOptions::default()).is_ok());
    seeds
}

#[test]
fn onnx_models() {
    use onnx_support::*;
    let nodes = [
        node("shape", "Shape", &["x"], &["s"]),
        node("conv", "Conv", &["x", "w"], &["c"]).message(5, wholes("pads", &[1, 1, 1, 1])),
        node("slice", "Slice", &["s", "zero", "one"], &["n"]),
        node("join", "Concat", &["n", "minus"], &["t"]).message(5, whole("axis", 0)),
        node("flat", "Reshape", &["c", "t"], &["y"]),
    ];
    let weights: Vec<f32> = (0..54).map(|i| i as f32 / 10.0).collect();
    let lists = [("zero", 0), ("one", 1), ("minus", -1)].map(|(name, number)| longs(name, &[number]));
    let net = Net::new(nodes)
        .with(lists.into_iter().chain([floats("w", &[2, 3, 3, 3], &weights)]).collect::<Vec<_>>());
    let mut seeds = vec![net.bytes(), onnx::write(&network()).unwrap()];
    seeds.extend(operator_cases());
    seeds.extend(shared("models/onnx/mnist_cntk_opset8.onnx"));
    let read = |bytes: &[u8]| {
        let model = onnx::read(bytes, None, &ReadOptions::default());
        model.map(|m| use_model(&m)).map_err(|e| e.to_string().replace("the ONNX model", "f"))
    };
    hold(&[target("onnx", Made::OfBytes, seeds, &read)]);
}

#[test]
fn onnx_models_with_data_beside_them() {
    use onnx_support::*;
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("sub")).unwrap();
    let numbers: Vec<u8> = (0..66).flat_map(|i| (i as f32).to_le_bytes()).collect();
    std::fs::write(folder.path().join("weights.bin"), &numbers).unwrap();
    std::fs::write(folder.path().join("sub/bias.bin"), &numbers[..24]).unwrap();
    let nodes = [
        node("conv", "Conv", &["x", "w"], &["c"]).message(5, wholes("pads", &[1, 1, 1, 1])),
        node("add", "Add", &["c", "b"], &["y"]),
    ];
    let net = Net::new(nodes).with([
        outside("w", &[2, 3, 3, 3], &[("location", "weights.bin"), ("offset", "48"), ("length", "216")]),
        outside("b", &[2, 1, 1], &[("location", "sub/bias.bin"), ("offset", "16"), ("length", "8")]),
    ]);
    let read = |bytes: &[u8]| {
        let model = onnx::read(bytes, Some(folder.path()), &ReadOptions::default());
        model.map(|m| use_model(&m)).map_err(|e| e.to_string().replace("the ONNX model", "f"))
    };
    hold(&[target("onnx-outside", Made::OfBytes, vec![net.bytes()], &read)]);
}
