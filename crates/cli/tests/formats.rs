//! Networks from elsewhere on the command line: opened, prepared, converted, trained.

mod support;

use std::fs;
use std::path::PathBuf;

use support::Place;

fn data(name: &str) -> Option<String> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")).join(name);
    if path.exists() {
        return Some(path.display().to_string());
    }
    println!("skipped: {} is not there", path.display());
    None
}

fn top1(done: &support::Done) -> f64 {
    done.json()["top1"].as_f64().expect("a share")
}

/// A small classifier of 8x8 digits and its solver, in Caffe's words.
const NET: &str = r#"
name: "small"
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
  transform_param { scale: 0.00390625 } data_param { source: "digits_train_lmdb" batch_size: 32 backend: LMDB } }
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST }
  transform_param { scale: 0.00390625 } data_param { source: "digits_val_lmdb" batch_size: 50 backend: LMDB } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" param { lr_mult: 1 } param { lr_mult: 2 }
  convolution_param { num_output: 8 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc"
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "accuracy" type: "Accuracy" bottom: "fc" bottom: "label" top: "accuracy" include { phase: TEST } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
"#;

const SOLVER: &str = r#"
net: "small.prototxt" test_iter: 7 test_interval: 100 base_lr: 0.05 momentum: 0.9 weight_decay: 0.0005
lr_policy: "inv" gamma: 0.001 power: 0.75 display: 50 max_iter: 200 snapshot: 100 snapshot_prefix: "out/small"
"#;

fn place_with_digits() -> Place {
    let place = Place::new();
    place.ok("convert digits digits_train_lmdb --split train");
    place.ok("convert digits digits_val_lmdb --split val");
    fs::write(place.path("small.prototxt"), NET).unwrap();
    fs::write(place.path("solver.prototxt"), SOLVER).unwrap();
    place
}

#[test]
fn a_solver_trains_stops_and_goes_on_to_the_same_bits() {
    let place = place_with_digits();
    let done = place.ok("train --solver solver.prototxt --json").json();
    let accuracy = done["test"][0]["value"].as_f64().unwrap();
    assert!(done["test"][0]["name"] == "accuracy" && accuracy > 0.9, "{done}");
    let whole = fs::read(place.path("out/small_iter_200.caffemodel")).unwrap();
    place
        .ok("train --solver solver.prototxt --out again --resume out/small_iter_100.solverstate --threads 2");
    assert_eq!(fs::read(place.path("again/small_iter_200.caffemodel")).unwrap(), whole);
    // The network for use classifies pictures with the data layer's own scale.
    let measured = top1(&place.ok("val out/small_iter_200.safetensors digits --json"));
    assert!(measured > 0.9, "{measured}");
    // Weights of Caffe for the same description, in another place.
    let deploy = NET.lines().filter(|line| !line.contains("label") && !line.contains("transform_param"));
    let deploy = format!(
        "input: \"data\" input_shape {{ dim: [1, 1, 8, 8] }}\n{}",
        deploy.collect::<Vec<_>>().join("\n")
    );
    fs::write(place.path("deploy.prototxt"), deploy).unwrap();
    let words =
        "val deploy.prototxt --weights out/small_iter_200.caffemodel digits --scale 0.00390625 --json";
    assert_eq!(top1(&place.ok(words)), measured);
}

#[test]
fn stochastic_pooling_trains_to_the_same_bits() {
    let place = place_with_digits();
    let pooled = r#"layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool"
        pooling_param { pool: STOCHASTIC kernel_size: 3 stride: 2 } }
      layer { name: "fc" type: "InnerProduct" bottom: "pool""#;
    let net = NET.replace(r#"layer { name: "fc" type: "InnerProduct" bottom: "conv""#, pooled);
    fs::write(place.path("small.prototxt"), &net).unwrap();
    let done = place.ok("train --solver solver.prototxt --json --threads 1").json();
    let accuracy = done["test"][0]["value"].as_f64().unwrap();
    assert!(accuracy > 0.8, "{done}");
    let whole = fs::read(place.path("out/small_iter_200.caffemodel")).unwrap();
    place
        .ok("train --solver solver.prototxt --out again --resume out/small_iter_100.solverstate --threads 3");
    assert_eq!(fs::read(place.path("again/small_iter_200.caffemodel")).unwrap(), whole);
    // In use nothing is drawn: the network for use is as good, and goes elsewhere.
    let measured = top1(&place.ok("val out/small_iter_200.safetensors digits --json"));
    assert!(measured > 0.8, "{measured}");
    place.ok("convert out/small_iter_200.safetensors used.onnx --verify");
    place.ok("convert out/small_iter_200.safetensors used.prototxt --verify");
}

#[test]
fn a_solver_holds_its_networks_and_leaves_hdf5() {
    let place = place_with_digits();
    let solver = format!(
        "base_lr: 0.05 momentum: 0.9 lr_policy: 'fixed' max_iter: 40 snapshot: 20 snapshot_prefix: 'out/net'
         snapshot_format: HDF5 test_interval: 40 test_iter: 3 test_iter: 7
         test_net_param {{ {NET} }}
         net_param {{
         {NET} }}"
    );
    fs::write(place.path("solver.prototxt"), &solver).unwrap();
    let done = place.ok("train --solver solver.prototxt --json").json();
    assert_eq!(done["test"].as_array().unwrap().len(), 4, "accuracy and loss of both test networks: {done}");
    let whole = fs::read(place.path("out/net_iter_40.caffemodel.h5")).unwrap();
    assert!(whole.starts_with(b"\x89HDF"));
    place.ok("train --solver solver.prototxt --out again --resume out/net_iter_20.solverstate.h5");
    assert_eq!(fs::read(place.path("again/net_iter_40.caffemodel.h5")).unwrap(), whole);
    // What is wrong in a network is told by the solver's own line.
    fs::write(place.path("solver.prototxt"), solver.replace("\"ReLU\"", "\"Relux\"")).unwrap();
    let said = place.refusal("train --solver solver.prototxt");
    let lines: Vec<&str> = solver.lines().collect();
    let line = lines.iter().rposition(|line| line.contains("ReLU")).unwrap() + 1; // training comes first
    assert!(said.contains(&format!("solver.prototxt: line {line}: layer relu (Relux)")), "{said}");
    fs::write(place.path("solver.prototxt"), format!("net: 'a' net: 'b' {solver}")).unwrap();
    let said = place.refusal("train --solver solver.prototxt");
    assert!(said.contains("several networks for training"), "{said}");
}

#[test]
fn every_update_rule_learns() {
    let place = place_with_digits();
    let rules = [
        ("Nesterov", "base_lr: 0.02 momentum: 0.9"),
        ("AdaGrad", "base_lr: 0.02"),
        ("RMSProp", "base_lr: 0.002 rms_decay: 0.98"),
        ("AdaDelta", "base_lr: 1.0 momentum: 0.95 delta: 1e-6"),
        ("Adam", "base_lr: 0.003 momentum: 0.9 momentum2: 0.999"),
    ];
    for (rule, constants) in rules {
        let more =
            "lr_policy: 'fixed' regularization_type: 'L1' weight_decay: 1e-5 clip_gradients: 10 iter_size: 2";
        let solver = format!(
            "net: 'small.prototxt' type: '{rule}' {constants} {more} max_iter: 80 test_iter: 7 test_interval: 80
             snapshot_prefix: 'out/{rule}'"
        );
        fs::write(place.path("rule.prototxt"), solver).unwrap();
        let done = place.ok("train --solver rule.prototxt --json").json();
        let accuracy = done["test"][0]["value"].as_f64().unwrap();
        assert!(accuracy > 0.75, "{rule}: {done}");
    }
}

/// Losses made of several operations leave a network for use behind, as the plain one does.
#[test]
fn losses_with_a_matrix_and_with_an_ignored_label_train() {
    let place = place_with_digits();
    // num, channels, height and width, then 100 numbers: the costs of each class, here ones on the diagonal.
    let mut costs = vec![0x08, 1, 0x10, 1, 0x18, 10, 0x20, 10, 0x2a, 0x90, 0x03];
    costs.extend((0..100).flat_map(|i| f32::from(u8::from(i % 11 == 0)).to_le_bytes()));
    fs::write(place.path("h.binaryproto"), &costs).unwrap();
    let solver =
        "net: 'net.prototxt' test_iter: 7 test_interval: 100 base_lr: 0.05 momentum: 0.9 lr_policy: 'fixed'
        max_iter: 100 snapshot: 50 snapshot_prefix: 'out/net'";
    fs::write(place.path("solver.prototxt"), solver).unwrap();
    let plain = "\"SoftmaxWithLoss\" bottom: \"fc\" bottom: \"label\" top: \"loss\"";
    let losses = [
        plain.to_string(),
        plain.replace("SoftmaxWith", "Infogain") + " infogain_loss_param { source: 'h.binaryproto' }",
        // With an accuracy in training, too, which is no part of what is used.
        plain.to_string()
            + " loss_param { ignore_label: 255 } }
            layer { name: 'acc' type: 'Accuracy' bottom: 'fc' bottom: 'label' top: 'acc'
              accuracy_param { ignore_label: 255 }",
    ];
    let accuracies = losses.map(|loss| {
        fs::write(place.path("net.prototxt"), NET.replace(plain, &loss)).unwrap();
        let done = place.ok("train --solver solver.prototxt --seed 3 --json").json();
        let whole = fs::read(place.path("out/net_iter_100.caffemodel")).unwrap();
        place.ok("train --solver solver.prototxt --seed 3 --resume out/net_iter_50.solverstate");
        assert_eq!(fs::read(place.path("out/net_iter_100.caffemodel")).unwrap(), whole, "{loss}");
        let top1 = top1(&place.ok("val out/net_iter_100.safetensors digits --json"));
        (done["test"][0]["value"].as_f64().unwrap(), top1)
    });
    println!("{accuracies:?}");
    assert!(accuracies[0].0 > 0.75 && accuracies[0].1 > 0.75, "{accuracies:?}");
    // The same losses, up to rounding.
    assert!(accuracies.iter().all(|(test, _)| (test - accuracies[0].0).abs() < 0.02), "{accuracies:?}");
    fs::remove_file(place.path("h.binaryproto")).unwrap();
    fs::write(
        place.path("net.prototxt"),
        NET.replace(
            plain,
            &(plain.replace("SoftmaxWith", "Infogain") + " infogain_loss_param { source: 'h.binaryproto' }"),
        ),
    )
    .unwrap();
    let said = place.refusal("train --solver solver.prototxt");
    assert!(said.contains("h.binaryproto") && said.contains("--root"), "{said}");
}

#[test]
fn stages_choose_layers_on_the_command_line() {
    let place = Place::new();
    let net = "layer { name: 'a' type: 'Input' top: 'data' input_param { shape { dim: [1, 1, 8, 8] } } }
        layer { name: 'small' type: 'InnerProduct' bottom: 'data' top: 'out' include { not_stage: 'large' }
          inner_product_param { num_output: 2 } }
        layer { name: 'large' type: 'InnerProduct' bottom: 'data' top: 'out' include { stage: 'large' min_level: 1 }
          inner_product_param { num_output: 9 } }";
    fs::write(place.path("net.prototxt"), net).unwrap();
    let learned = |words: &str| {
        place.ok(&format!("summary net.prototxt --json {words}")).json()["parameters"]["trainable"].clone()
    };
    assert_eq!((learned(""), learned("--stage large --level 1")), (130.into(), 585.into()));
    // At the level 0 neither belongs to it.
    assert_eq!(learned("--stage large"), 0);
}

/// Lists of images, and what older and newer descriptions say of them.
#[test]
fn a_list_of_images_lies_under_the_root() {
    let place = Place::new();
    place.pictures("far/photos", 3, 2);
    let lines: String = (0..6).map(|i| format!("photos/class{}/{}.png {}\n", i / 2, i % 2, i / 2)).collect();
    fs::write(place.path("far/list.txt"), lines).unwrap();
    let net = "layer { name: 'd' type: 'ImageData' top: 'data' top: 'label' transform_param { mean_value: 100 }
          image_data_param { source: 'list.txt' batch_size: 4 shuffle: true crop_size: 12 scale: 0.01 } }
        layer { name: 'fc' type: 'InnerProduct' bottom: 'data' top: 'fc' inner_product_param { num_output: 3 } }
        layer { name: 'loss' type: 'SoftmaxWithLoss' bottom: 'fc' bottom: 'label' top: 'loss' }";
    fs::write(place.path("net.prototxt"), net).unwrap();
    let solver =
        "net: 'net.prototxt' base_lr: 0.01 lr_policy: 'fixed' max_iter: 4 display: 2 snapshot_prefix: 'n'";
    fs::write(place.path("solver.prototxt"), solver).unwrap();
    let text = place.ok("train --solver solver.prototxt --root far").out;
    // 3 x 12 x 12 numbers for 3 classes; a network without a name has the solver's.
    assert!(text.starts_with("solver.prototxt: 1299 learned numbers"), "{text}");
    assert!(text.contains("iteration 4/4  loss"), "the loss at the end is told as Caffe tells it: {text}");
    let text = place.ok("train --solver solver.prototxt --root far --resume n_iter_4.solverstate").out;
    assert!(text.contains("4 iterations, nothing was left to do"), "{text}");
    // Weights of a network of other sizes.
    fs::write(place.path("net.prototxt"), net.replace("num_output: 3", "num_output: 4")).unwrap();
    let said = place.refusal("train --solver solver.prototxt --root far --weights n_iter_4.caffemodel");
    assert!(said.contains("has shape (3), the network needs (4)") && said.contains("another name"), "{said}");
}

/// As in Caffe, what only the test network has keeps the numbers that it begins with.
#[test]
fn a_test_network_may_have_parameters_of_its_own() {
    let place = place_with_digits();
    let more = "layer { name: 'more' type: 'InnerProduct' bottom: 'conv' top: 'more' include { phase: TEST }
        inner_product_param { num_output: 2 bias_filler { value: 3 } } }";
    fs::write(place.path("small.prototxt"), format!("{NET}{more}")).unwrap();
    fs::write(place.path("solver.prototxt"), SOLVER.replace("max_iter: 200", "max_iter: 2")).unwrap();
    let text = place.ok("train --solver solver.prototxt").out;
    assert!(text.contains("more[1] 3.0000"), "{text}");
    let memory = NET.replacen("\"Data\"", "\"MemoryData\"", 1).replacen("data_param", "memory_data_param", 1);
    fs::write(place.path("small.prototxt"), memory).unwrap();
    let said = place.refusal("train --solver solver.prototxt");
    assert!(said.contains("layer data (MemoryData)"), "{said}");
}

#[test]
fn several_test_networks_are_told_apart() {
    let place = place_with_digits();
    let solver = SOLVER.replace("max_iter: 200", "max_iter: 2") + "test_iter: 3";
    fs::write(place.path("solver.prototxt"), format!("{solver} test_state {{ }} test_state {{ level: 1 }}"))
        .unwrap();
    let text = place.ok("train --solver solver.prototxt").out;
    assert!(text.contains("iteration 0/2  test 1: accuracy"), "{text}");
    fs::write(place.path("solver.prototxt"), format!("{solver} test_state {{ }}")).unwrap();
    let said = place.refusal("train --solver solver.prototxt");
    assert!(said.contains("tests 2 networks, but has 1 entries of test_state"), "{said}");
}

#[test]
fn what_is_wrong_with_a_solver_is_one_sentence() {
    let place = Place::new();
    fs::write(place.path("small.prototxt"), NET).unwrap();
    fs::write(place.path("solver.prototxt"), SOLVER).unwrap();
    let sentence = place.refusal("train --solver solver.prototxt");
    assert!(sentence.contains("digits_train_lmdb") && sentence.contains("--root"), "{sentence}");
    let sentence = place.refusal("summary solver.prototxt");
    assert!(sentence.contains("solver") && sentence.contains("train --solver"), "{sentence}");
    fs::create_dir(place.path("digits_train_lmdb")).unwrap();
    fs::write(place.path("digits_train_lmdb/data.mdb"), vec![7; 9000]).unwrap();
    let sentence = place.refusal("train --solver solver.prototxt");
    assert!(sentence.contains("data.mdb") && sentence.contains("no LMDB"), "{sentence}");
}

#[test]
fn a_trained_network_goes_through_every_format_and_answers_the_same() {
    let place = Place::new();
    place.ok("train --epochs 4 --out run");
    let picture = "run/sample-7.png";
    let answer = |model: &str| {
        let done = place.ok(&format!("predict {model} {picture} --json")).json();
        let classes = done["predictions"][0]["classes"].clone();
        (classes[0]["class"].clone(), classes[0]["probability"].as_f64().unwrap())
    };
    let (class, probability) = answer("run");
    place.ok("convert run one.onnx");
    place.ok("convert one.onnx two.prototxt");
    place.ok("convert two.caffemodel three.safetensors");
    place.ok("convert three.safetensors weights.npz");
    // Options may stand between the names, and HDF5 is one of Caffe's forms.
    place.ok("convert two.prototxt --weights two.caffemodel four.caffemodel.h5 --verify");
    for model in [
        "one.onnx",
        "two.prototxt --weights two.caffemodel",
        "four.caffemodel.h5",
        "three.safetensors",
        "three.safetensors --weights weights.npz",
    ] {
        let (again, share) = answer(model);
        assert!(again == class && (share - probability).abs() < 1e-4, "{model}: {again} {share}");
    }
    // Another run begins where this one ended.
    place.ok("train --weights run/best.safetensors --epochs 1 --lr 0.001 --out more");
    assert!(place.path("more/start.safetensors").is_file());
    let (before, after) = (top1(&place.ok("val run --json")), top1(&place.ok("val more --json")));
    assert!(after > before - 0.05 && after > 0.8, "{before} {after}");
}

#[test]
fn a_conversion_verifies_itself() {
    let place = Place::new();
    let sentence = place.refusal("convert lenet out.keras --untrained --verify");
    assert!(sentence.starts_with("out.keras says no format"), "{sentence}");
    place.pictures("photos", 3, 2);
    let done = place.ok("convert --verify lenet lenet.onnx --untrained --json").json();
    assert_eq!((&done["verified"]["random"], &done["verified"]["inputs"]), (&true.into(), &4.into()));
    let prepared = "--untrained --seed 5 --mean 0.5,0.4,0.3 --std 0.2,0.2,0.3 --bgr";
    place.ok(&format!("convert resnet20 net.safetensors {prepared}"));
    for options in ["net.onnx", "net.prototxt", "net.npz", "net.txt", "pixels.onnx --pixels-inside"] {
        let done = place.ok(&format!("convert net.safetensors {options} --verify photos --json")).json();
        assert_eq!(done["verified"]["inputs"], 6, "{options}: {done}");
        let worst = done["verified"]["worst"].as_f64().unwrap();
        assert!(worst < 1e-5, "{options}: {worst}");
    }
    let text = place.ok("convert net.safetensors again.onnx --verify photos/class0/0.png").out;
    assert!(text.contains("verified: 1 pictures") && text.contains("again.onnx"), "{text}");
    assert!(place.refusal("convert lenet x.onnx --verify").contains("--untrained"));
    assert!(place.refusal("convert net.safetensors x.onnx --verify nowhere").contains("nowhere"));
    assert!(place.refusal("convert net.safetensors x.npz --pixels-inside").contains(".onnx"));
    assert!(!place.path("x.onnx").exists() && !place.path("x.npz").exists());
    // Heads that only training needs have no weights in what was written, and are not missed.
    place.ok("convert googlenet g.safetensors --untrained");
    place.ok("convert googlenet g.onnx --weights g.safetensors");
}

/// A Crop reads the sizes of its second input alone, an InfogainLoss a matrix that has no batch.
#[test]
fn inputs_of_any_kind_are_fed() {
    let place = Place::new();
    let net = "input: 'x' input_shape { dim: [3, 4, 5, 5] } input: 'size' input_shape { dim: [3, 4, 1, 1] }
        input: 'label' input_shape { dim: 3 } input: 'costs' input_shape { dim: [1, 1, 4, 4] }
        layer { name: 'crop' type: 'Crop' bottom: 'x' bottom: 'size' top: 'crop' crop_param { offset: 2 } }
        layer { name: 'loss' type: 'InfogainLoss' bottom: 'crop' bottom: 'label' bottom: 'costs' top: 'loss' }";
    fs::write(place.path("net.prototxt"), net).unwrap();
    let inputs = [
        ("x", "(3, 4, 5, 5)", 300),
        ("size", "(3, 4, 1, 1)", 12),
        ("label", "(3,)", 3),
        ("costs", "(1, 1, 4, 4)", 16),
    ];
    for (name, shape, count) in inputs {
        fs::write(place.path(&format!("{name}.npy")), npy(shape, count)).unwrap();
    }
    let fed = inputs.map(|(name, ..)| format!("--input {name}={name}.npy")).join(" ");
    place.ok(&format!("run net.prototxt {fed} --output crop=y.npy"));
    place.ok(&format!("run net.prototxt {fed} --backward loss --grads g.npz"));
}

#[test]
fn surgery_gives_the_same_numbers_and_maps() {
    let place = Place::new();
    place.ok("convert lenet lenet.prototxt");
    place.ok("train --solver nothing.prototxt --help");
    fs::write(place.path("x.npy"), npy("(1, 1, 28, 28)", 784)).unwrap();
    fs::write(place.path("large.npy"), npy("(1, 1, 36, 40)", 1440)).unwrap();
    place.ok("run lenet --seed 3 --input input=x.npy --output output=a.npy");
    let summary = place.ok("summary lenet.prototxt --json").json();
    assert_eq!(summary["parameters"]["trainable"], 431_080);
    place.ok("convert fc-to-conv lenet maps.prototxt");
    place.ok("run maps.prototxt --input input=large.npy --output output=map.npy");
    let header = String::from_utf8_lossy(&fs::read(place.path("map.npy")).unwrap()).into_owned();
    assert!(header.contains("(1, 10, 3, 4)"), "{header}");
    place.ok("convert conv-to-fc maps.prototxt back.prototxt");
    assert_eq!(place.ok("summary back.prototxt --json").json()["parameters"]["trainable"], 431_080);
    assert!(place.refusal("convert nonsense lenet x.prototxt").contains("fc-to-conv"));
    assert!(place.refusal("convert lenet x.docx").contains(".onnx"));
}

#[test]
fn the_fate_of_every_tensor_is_told() {
    let place = Place::new();
    place.ok("convert lenet lenet.safetensors --untrained");
    let text = place.ok("summary lenet --weights lenet.safetensors").out;
    assert!(text.contains("planned peak memory") && text.contains("8 matched, 0 reshaped"), "{text}");
    let alone = place.ok("summary --weights lenet.safetensors --json").json();
    assert_eq!(
        (&alone["weights"]["matched"], &alone["weights"]["missing"]),
        (&8.into(), &0.into()),
        "{alone}"
    );
    let said = place.refusal("summary resnet20 --weights lenet.safetensors");
    assert!(said.contains("it does not fit resnet20"), "{said}");
}

#[test]
fn channels_that_stand_last_are_noticed() {
    let place = Place::new();
    fs::write(place.path("x.npy"), npy("(2, 28, 28, 1)", 1568)).unwrap();
    let said = place.refusal("run lenet --input input=x.npy --output output=y.npy");
    assert!(said.contains("(2, 28, 28, 1)") && said.contains("(2, 1, 28, 28)"), "{said}");
    assert!(said.contains("channels stand last") && said.contains("transpose(0, 3, 1, 2)"), "{said}");
}

/// A version 1 `.npy` file of `count` numbers.
fn npy(shape: &str, count: usize) -> Vec<u8> {
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend((0..count).flat_map(|i| ((i % 17) as f32 / 17.0).to_le_bytes()));
    bytes
}

#[test]
fn two_counts_of_one_network_are_reconciled() {
    let Some(deploy) = data("prototxt/resnet/ResNet-50-deploy.prototxt") else { return };
    let place = Place::new();
    let done = place.ok(&format!("summary --compare resnet50 {deploy} --json")).json();
    assert_eq!((&done["a"]["learned"], &done["b"]["learned"]), (&25_557_032.into(), &25_557_096.into()));
    assert_eq!(done["differences"].as_array().unwrap().len(), 1);
    assert_eq!(done["differences"][0]["what"], "biases of convolutions");
    let text = place.ok(&format!("summary --compare resnet50 {deploy}")).out;
    assert!(text.contains("conv1.bias (64)") && text.contains("25,557,096 learned"), "{text}");
}

#[test]
fn trained_networks_of_others_reach_their_accuracy() {
    let (Some(cifar), Some(_)) = (data("cifar10-lossless-test1000.bin.gz"), data("models")) else { return };
    let models = data("models").unwrap_or_default();
    let place = Place::new();
    let resnet = format!(
        "val {models}/pytorch/resnet20-12fca82f.th {cifar} --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 --json"
    );
    assert_eq!(top1(&place.ok(&resnet)), 0.912);
    let onnx = format!(
        "val {models}/pytorch/resnet20_cifar10.onnx {cifar} --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 --json"
    );
    assert_eq!(top1(&place.ok(&onnx)), 0.912);
    let caffe = format!("{models}/caffe");
    place.ok(&format!(
        "convert {caffe}/cifar10_quick.prototxt quick.safetensors --mean-file {caffe}/cifar10_mean.binaryproto \
         --weights {caffe}/cifar10_quick_iter_5000.caffemodel.h5"
    ));
    assert_eq!(top1(&place.ok(&format!("val quick.safetensors {cifar} --json"))), 0.764);
}

#[test]
fn squeezenet_sees_in_photographs_what_it_saw_elsewhere() {
    let (Some(folder), Some(_)) = (data("squeezenet"), data("squeezenet/imagenet60.tar")) else { return };
    let place = Place::new();
    let status = std::process::Command::new("tar")
        .args(["xf", &format!("{folder}/imagenet60.tar"), "-C", &place.path("").display().to_string()])
        .status();
    if !status.is_ok_and(|status| status.success()) {
        println!("skipped: there is no tar to unpack the photographs");
        return;
    }
    place.ok(&format!(
        "convert {folder}/squeezenet_v1.0_deploy.prototxt squeeze.safetensors --weights {folder}/squeezenet_v1.0.caffemodel \
         --resize 256 --fit stretch --crop 227 --bgr --mean 104,117,123 --std 1,1,1 --scale 1 --labels {folder}/synset_words.txt"
    ));
    place.ok("convert squeeze.safetensors squeeze.onnx");
    place.ok("convert squeeze.onnx back.prototxt");
    let table = fs::read_to_string(PathBuf::from(&folder).join("imagenet60_top5.csv")).unwrap();
    let rows: Vec<Vec<&str>> = table.lines().skip(1).map(|line| line.split(',').collect()).collect();
    let pictures: Vec<String> = rows.iter().map(|row| format!("imagenet-samples/{}", row[0])).collect();
    let mut answers = Vec::new();
    for model in ["squeeze.safetensors", "squeeze.onnx", "back.caffemodel"] {
        let mut command = place.command(&format!("predict {model} --topk 1 --json"));
        let done = support::Done::of(command.args(&pictures).output().unwrap());
        let found = done.json()["predictions"].clone();
        let best: Vec<String> =
            (0..rows.len()).map(|i| found[i]["classes"][0]["index"].to_string()).collect();
        let agreeing = rows.iter().zip(&best).filter(|(row, best)| row[4] == **best).count();
        let right = rows.iter().zip(&best).filter(|(row, best)| row[1] == **best).count();
        println!("{model}: {agreeing} of {} agree, {right} are right", rows.len());
        assert!(agreeing >= 58 && right * 100 >= 63 * rows.len(), "{model}: {agreeing} {right}");
        answers.push(best);
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "the same after every conversion");
}

#[test]
fn a_model_of_keras_is_summed_up_and_converted() {
    let Some(model) = data("models/keras/gender_mini_xception.hdf5") else { return };
    let place = Place::new();
    let summary = place.ok(&format!("summary {model} --json")).json();
    let counts = &summary["parameters"];
    let sum = counts["trainable"].as_u64().unwrap() + counts["statistics"].as_u64().unwrap();
    assert_eq!(sum, 52_658, "{summary}");
    place.ok(&format!("convert {model} gender.safetensors"));
    place.ok("convert gender.safetensors gender.onnx");
    let again = place.ok("summary gender.onnx --json").json();
    assert_eq!(again["macs"], summary["macs"]);
}
