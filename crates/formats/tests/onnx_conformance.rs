//! ONNX's own operator cases: inputs, and the outputs that they must give.
//!
//! Whole numbers of 64 bits (shapes, axes, indices), single conditions, tensors without numbers and what Resize is told
//! are known when a model is read; everything else is fed, as `f32`. Each case runs on the reference kernels (whole networks of ImageNet's size do not) and on the
//! planned ones, and must be within 1e-3 relative and 1e-5 absolute. `docs/onnx.md` lists the cases that are not claimed.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use ocellus_engine::lower::Random;
use ocellus_engine::reference::Interpreter;
use ocellus_engine::{Options, Session};
use ocellus_formats::Model;
use ocellus_formats::onnx::{self, ReadOptions};
use ocellus_tensor::Tensor;

/// Networks of more multiply-accumulates than this do not run on the reference kernels.
const SMALL: u64 = 100_000_000;

/// Cases of the archive that are not claimed: a result without numbers has no place in a graph.
const UNCLAIMED: [&str; 3] = [
    "node/test_reshape_allowzero_reordered",
    "node/test_shape_start_greater_than_end",
    "node/test_split_zero_size_splits_opset18",
];

/// A folder's files by name.
type Files = BTreeMap<String, Vec<u8>>;

fn tensor(files: &Files, name: &str) -> Option<Tensor<f64>> {
    Some(onnx::decode_tensor(files.get(name)?, name).unwrap_or_else(|cause| panic!("{cause}")))
}

/// The inputs of test data set `set`: from its files, or made by the rule of the whole networks.
fn inputs(files: &Files, set: usize, ports: &[onnx::Port]) -> Vec<Tensor<f64>> {
    let of = |(i, port): (usize, &onnx::Port)| {
        tensor(files, &format!("test_data_set_{set}/input_{i}.pb")).unwrap_or_else(|| {
            let shape = port.shape.clone().unwrap_or_default();
            let shape: Vec<usize> = shape.into_iter().map(|size| size.unwrap_or(1)).collect();
            let count: usize = shape.iter().product();
            Tensor::from_fn(shape, |i| (i as f32 / count as f32).into())
        })
    };
    ports.iter().enumerate().map(of).collect()
}

/// Reads and runs a case; an error is a refusal or a difference.
fn run(files: &Files) -> Result<(), String> {
    let bytes = &files["model.onnx"];
    let [ports, outputs] = onnx::ports(bytes, "model.onnx").map_err(|cause| format!("refused: {cause}"))?;
    let sets =
        (0..).take_while(|set| files.keys().any(|name| name.starts_with(&format!("test_data_set_{set}/"))));
    for set in 0..sets.count().max(1) {
        let tensors = inputs(files, set, &ports);
        let mut options = ReadOptions::default();
        let mut fed = Vec::new();
        for (port, tensor) in ports.iter().zip(&tensors) {
            // What Resize is told in floating point says how large the result is, too.
            let is_size = port.element == "int64" || matches!(port.name.as_str(), "scales" | "roi");
            let is_switch = port.element == "bool" && tensor.shape().rank() == 0;
            // A tensor without numbers cannot be fed, but what is made of it may be known.
            if is_size || is_switch || tensor.data().is_empty() {
                options = options.value(&port.name, tensor.clone());
            } else {
                options = options.shape(&port.name, tensor.shape().to_vec());
                fed.push((port.name.as_str(), tensor.cast::<f32>()));
            }
        }
        let model = onnx::read(bytes, None, &options).map_err(|cause| format!("refused: {cause}"))?;
        let from_file = |i: usize| {
            let name = format!("test_data_set_{set}/output_{i}.pb");
            tensor(files, &name).or_else(|| tensor(files, &format!("output_{i}.pb")))
        };
        let expected: Vec<Option<Tensor<f64>>> = (0..outputs.len()).map(from_file).collect();
        let mut runs = vec![("planned", planned(&model, &fed))];
        if model.graph.cost().macs < SMALL {
            runs.push(("reference", reference(&model, &fed)));
        }
        for (backend, actual) in runs {
            for (i, expected) in expected.iter().enumerate() {
                let Some(expected) = expected else { continue };
                compare(&actual[i], expected)
                    .map_err(|what| format!("{backend}, {}: {what}", outputs[i].name))?;
            }
        }
    }
    Ok(())
}

fn reference(model: &Model, fed: &[(&str, Tensor)]) -> Vec<Tensor> {
    let mut interpreter = Interpreter::<f32>::new(&model.graph);
    interpreter.set_weights(&model.weights).unwrap();
    let fed: Vec<(&str, &Tensor)> = fed.iter().map(|(name, tensor)| (*name, tensor)).collect();
    interpreter.run(&fed, Random::default()).unwrap();
    model.graph.outputs().iter().map(|output| interpreter.output(&output.name).unwrap().clone()).collect()
}

fn planned(model: &Model, fed: &[(&str, Tensor)]) -> Vec<Tensor> {
    let mut session = Session::new(&model.graph, &Options::default().with_threads(2)).unwrap();
    session.load(&model.weights).unwrap();
    for (name, tensor) in fed {
        session.set_input(name, tensor.data()).unwrap();
    }
    session.run();
    model.graph.outputs().iter().map(|output| session.output_tensor(&output.name).unwrap()).collect()
}

fn compare(actual: &Tensor, expected: &Tensor<f64>) -> Result<(), String> {
    if actual.shape() != expected.shape() {
        return Err(format!("has the shape {}, must have {}", actual.shape(), expected.shape()));
    }
    for (i, (&a, &b)) in actual.data().iter().zip(expected.data()).enumerate() {
        let a = f64::from(a);
        let same = a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-5 + 1e-3 * b.abs();
        if !same {
            return Err(format!("number {i} is {a}, must be {b}"));
        }
    }
    Ok(())
}

fn data(name: &str) -> Option<PathBuf> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")).join(name);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: {} is not there", path.display());
    None
}

/// All cases of a folder of folders: `KIND/CASE/model.onnx`.
fn in_folder(folder: &Path) -> BTreeMap<String, Files> {
    fn collect(folder: &Path, prefix: &str, files: &mut Files) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = format!("{prefix}{}", path.file_name().unwrap().to_string_lossy());
            if path.is_dir() {
                collect(&path, &format!("{name}/"), files);
            } else {
                files.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    let mut files = Files::new();
    collect(folder, "", &mut files);
    by_case(files)
}

/// Files by the folder that holds their `model.onnx`.
fn by_case(files: Files) -> BTreeMap<String, Files> {
    let folders: Vec<String> =
        files.keys().filter_map(|name| name.strip_suffix("/model.onnx").map(str::to_string)).collect();
    let mut cases = BTreeMap::new();
    for folder in folders {
        let inside = files.iter().filter_map(|(name, bytes)| {
            let name = name.strip_prefix(&folder)?.strip_prefix('/')?;
            Some((name.to_string(), bytes.clone()))
        });
        cases.insert(folder.clone(), inside.collect());
    }
    cases
}

fn in_archive(path: &Path) -> BTreeMap<String, Files> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(fs::File::open(path).unwrap()));
    let mut files = Files::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_string_lossy().trim_start_matches("./").to_string();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        files.insert(name, bytes);
    }
    by_case(files)
}

/// Runs every case; gives those that do not pass, and why.
fn failures(cases: &BTreeMap<String, Files>) -> BTreeMap<String, String> {
    let failed = cases.iter().filter_map(|(name, files)| Some((name.clone(), run(files).err()?)));
    failed.collect()
}

#[test]
fn operator_cases() {
    let Some(path) = data("onnx-conformance-third.tar.gz") else { return };
    let cases = in_archive(&path);
    let failed = failures(&cases);
    for (name, why) in &failed {
        println!("{name}: {why}");
    }
    println!("{} of {} cases pass", cases.len() - failed.len(), cases.len());
    assert_eq!(cases.len(), 250);
    let names: Vec<&str> = failed.keys().map(String::as_str).collect();
    assert_eq!(names, UNCLAIMED, "{failed:#?}");
    assert!(failed.values().all(|why| why.starts_with("refused: ")), "{failed:#?}");
}

/// The cases below the folder that `ONNX_CASES` names, for use by hand.
#[test]
#[ignore = "needs a folder of cases"]
fn cases_of_a_folder() {
    let Some(folder) = std::env::var_os("ONNX_CASES") else { return };
    let cases = in_folder(Path::new(&folder));
    let failed = failures(&cases);
    for (name, why) in &failed {
        println!("{name}: {why}");
    }
    println!("{} of {} cases pass", cases.len() - failed.len(), cases.len());
}
