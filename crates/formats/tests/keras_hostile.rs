//! Files of Keras that are damaged, or made to do harm: one sentence each.

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use ocellus_formats::keras;
use serde_json::{Value, json};
use zip::CompressionMethod;
use zip::write::SimpleFileOptions;

struct Cases {
    folder: tempfile::TempDir,
}

impl Cases {
    fn new() -> Cases {
        let folder = tempfile::tempdir().unwrap();
        let packed = flate2::read::GzDecoder::new(&include_bytes!("keras_cases.tar.gz")[..]);
        tar::Archive::new(packed).unpack(folder.path()).unwrap();
        Cases { folder }
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.folder.path().join(name)).unwrap()
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

/// What is said of a file that cannot be read.
fn sentence(path: &Path) -> String {
    let said = keras::read_file(path, None, None).unwrap_err().to_string();
    assert!(!said.contains('\n'), "{said}");
    said
}

fn sentence_of(config: &Value) -> String {
    let cases = tempfile::tempdir().unwrap();
    let path = cases.path().join("model.json");
    std::fs::write(&path, config.to_string()).unwrap();
    sentence(&path)
}

fn sequential(layers: Value) -> Value {
    json!({"class_name": "Sequential", "config": {"name": "net", "layers": layers}})
}

fn layer(class: &str, config: Value) -> Value {
    let mut config = config;
    config["name"] = json!(class.to_lowercase());
    json!({"class_name": class, "config": config})
}

fn input(shape: Value) -> Value {
    layer("InputLayer", json!({"batch_input_shape": shape}))
}

/// Whatever is wrong with a file, reading it gives a network or a sentence.
#[test]
fn damaged_files_never_panic() {
    let cases = Cases::new();
    for name in ["v3_mnist_dense.keras", "v2_sep.h5", "v3_seq_cnn.weights.h5"] {
        let bytes = cases.bytes(name);
        let json = cases.folder.path().join("v3_seq_cnn.json");
        let read = |path: &Path| match name.contains(".weights") {
            true => keras::read_file(&json, Some(path), None),
            false => keras::read_file(path, None, None),
        };
        let whole = read(&cases.folder.path().join(name)).unwrap().weights;
        let touch = |bytes: &[u8], may_be_changed: bool| {
            let path = cases.write("damaged.keras", bytes);
            match read(&path) {
                Err(fault) => assert!(fault.to_string().contains("damaged.keras"), "{fault}"),
                // What was cut off may have been free space.
                Ok(network) => {
                    assert!(may_be_changed || network.weights == whole, "a part of {name} is something else")
                }
            }
            let _ = keras::tensors(&path);
        };
        let mut lengths: Vec<usize> = (0..bytes.len()).step_by(64).collect();
        lengths.truncate(600);
        for length in lengths {
            touch(&bytes[..length], false);
        }
        let mut seed = 1_u64;
        for _ in 0..400 {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let mut changed = bytes.clone();
            changed[(seed >> 33) as usize % bytes.len()] ^= 1 << (seed % 8);
            touch(&changed, true);
        }
    }
}

/// A .keras file of these members.
fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let packed = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    for (name, bytes) in members {
        archive.start_file(*name, packed).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

#[test]
fn packed_weights_are_read_and_bombs_are_refused() {
    let cases = Cases::new();
    let config = cases.bytes("v3_seq_cnn.json");
    let weights = cases.bytes("v3_seq_cnn.weights.h5");
    let members: [(&str, &[u8]); 2] = [("config.json", &config), ("model.weights.h5", &weights)];
    let path = cases.write("packed.keras", &archive(&members));
    let packed = keras::read_file(path, None, None).unwrap();
    let whole = keras::read_file(cases.folder.path().join("v3_seq_cnn.keras"), None, None).unwrap();
    assert_eq!(packed.weights, whole.weights);

    let zeros = vec![0; 40 << 20];
    let path = cases.write("bomb.keras", &archive(&[("config.json", &config), ("model.weights.h5", &zeros)]));
    let said = sentence(&path);
    assert!(said.contains("more than weights ever do") && said.contains("41943040"), "{said}");

    let spaces = vec![b' '; 40 << 20];
    let path = cases.write("bomb.keras", &archive(&[("config.json", &spaces)]));
    assert!(sentence(&path).contains("config.json is longer than"), "{}", sentence(&path));
    let path = cases.write("empty.keras", &archive(&[("readme.txt", b"hello")]));
    assert!(sentence(&path).contains("no config.json"));
}

#[test]
fn code_is_refused_by_layer_and_class() {
    let with = |class: &str| {
        sentence_of(&sequential(json!([input(json!([null, 4, 4, 1])), layer(class, json!({}))])))
    };
    let said = with("Lambda");
    assert!(said.contains("\"lambda\" (Lambda)") && said.contains("never executed"), "{said}");
    let said = with("Package>Swirl");
    assert!(said.contains("(Package>Swirl)") && said.contains("maker's own"), "{said}");
    assert!(with("Attention3D").contains("is of a class that is not supported"));
    let said = sentence_of(&json!({"class_name": "MyNet", "config": {"depth": 3}}));
    assert!(said.contains("MyNet") && said.contains("not listed"), "{said}");
}

#[test]
fn shapes_that_cannot_be_are_refused() {
    let model = |shape: Value, class: &str, config: Value| {
        sentence_of(&sequential(json!([input(shape), layer(class, config)])))
    };
    let huge = 1_u64 << 62;
    for said in [
        model(json!([null, huge, huge, 3]), "Flatten", json!({})),
        model(json!([null, 4, 4, 3]), "Dense", json!({"units": huge})),
        model(
            json!([null, 4, 4, 3]),
            "Conv2D",
            json!({"filters": 2_000_000_000, "kernel_size": [2_000_000_000, 2_000_000_000]}),
        ),
        model(json!([null, 4, 4, 3]), "Conv2D", json!({"filters": 1, "kernel_size": [0, 1]})),
        model(
            json!([null, 4, 4, 3]),
            "Conv2D",
            json!({"filters": 1, "kernel_size": [2, 2], "strides": [0, 1]}),
        ),
        model(json!([null, 4, 4, 3]), "ZeroPadding2D", json!({"padding": [[huge, 1], [1, 1]]})),
        model(json!([null, 4, 4, 3]), "Cropping2D", json!({"cropping": [[3, 3], [0, 0]]})),
        model(json!([null, 4, 4, 3]), "Reshape", json!({"target_shape": [7, -1]})),
        model(json!([null, 4, 4, 3]), "Resizing", json!({"height": 2_000_000_000, "width": 7})),
        model(json!([null, 4, 4, 3]), "UpSampling2D", json!({"size": [2_000_000_000, 2_000_000_000]})),
        model(json!([null, -4, 4, 3]), "Flatten", json!({})),
        model(json!([null, null, null, 3]), "Flatten", json!({})),
    ] {
        assert!(said.contains("model.json"), "{said}");
    }
}

#[test]
fn circles_and_missing_layers_are_named() {
    let add = |name: &str, from: [&str; 2]| {
        json!({"class_name": "Add", "name": name, "config": {"name": name},
            "inbound_nodes": [[[from[0], 0, 0, {}], [from[1], 0, 0, {}]]]})
    };
    let net = |layers: [Value; 2]| {
        let [a, b] = layers;
        let start = json!({"class_name": "InputLayer", "name": "x", "inbound_nodes": [],
            "config": {"batch_input_shape": [null, 3], "name": "x"}});
        json!({"class_name": "Model", "config": {"name": "net", "layers": [start, a, b],
            "input_layers": [["x", 0, 0]], "output_layers": [["b", 0, 0]]}})
    };
    let said = sentence_of(&net([add("a", ["x", "b"]), add("b", ["a", "x"])]));
    assert!(said.contains("in a circle") && said.contains("\"a\""), "{said}");
    let said = sentence_of(&net([add("a", ["x", "nowhere"]), add("b", ["a", "x"])]));
    assert!(said.contains("nowhere"), "{said}");
    let said = sentence_of(&net([add("b", ["x", "x"]), add("b", ["x", "x"])]));
    assert!(said.contains("same name"), "{said}");
    // Models in one another without end.
    let mut deep = sequential(json!([input(json!([null, 3]))]));
    for _ in 0..40 {
        deep = sequential(json!([deep]));
    }
    assert!(sentence_of(&deep).contains("deep"), "{}", sentence_of(&deep));
}

#[test]
fn weights_of_another_model_are_refused_with_both_shapes() {
    let cases = Cases::new();
    let weights = cases.folder.path().join("v3_seq_cnn.weights.h5");
    let net = sequential(json!([
        input(json!([null, 12, 10, 3])),
        layer("Conv2D", json!({"filters": 9, "kernel_size": [3, 3]})),
    ]));
    let path = cases.write("other.json", net.to_string().as_bytes());
    let said = keras::read_file(&path, Some(&weights), None).unwrap_err().to_string();
    assert!(
        said.contains("(3, 3, 3, 4)") && said.contains("(3, 3, 3, 9)") && said.contains("conv2d"),
        "{said}"
    );
    let said = keras::read_file(&weights, None, None).unwrap_err().to_string();
    assert!(said.contains("no network") && said.contains("--model"), "{said}");
}
