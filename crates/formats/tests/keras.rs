//! Networks of Keras against the outputs that Keras gave.

use std::path::{Path, PathBuf};

use ocellus_engine::{Options, Session};
use ocellus_formats::keras::{self, Network};
use ocellus_formats::{npz, safetensors};
use ocellus_tensor::{Shape, Tensor};

fn data(name: &str) -> Option<PathBuf> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")).join(name);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: {} is not there", path.display());
    None
}

/// Files that Keras 2.15 and 3.15 wrote, made by bench/keras_cases.py.
fn cases() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let packed = flate2::read::GzDecoder::new(&include_bytes!("keras_cases.tar.gz")[..]);
    tar::Archive::new(packed).unpack(folder.path()).unwrap();
    folder
}

/// (N, H, W, C) as (N, C, H, W), for tensors that lie so in Keras.
fn first_channels(tensor: &Tensor) -> Tensor {
    let dims = tensor.shape().dims();
    let [batch, rest @ .., channels] = dims else { return tensor.clone() };
    let pixels: usize = rest.iter().product();
    let turned: Vec<usize> = [&[*batch, *channels], rest].concat();
    let at = |i: usize| {
        let (n, c, p) = (i / (channels * pixels), i / pixels % channels, i % pixels);
        tensor.data()[(n * pixels + p) * channels + c]
    };
    Tensor::from_fn(turned, at)
}

/// The outputs for inputs as Keras has them.
fn outputs(network: &Network, inputs: &[Tensor]) -> Vec<Tensor> {
    let batch = inputs[0].shape()[0];
    let graph = network.graph.with_batch(batch).unwrap();
    let weights = network.weights.as_ref().unwrap();
    let mut session = Session::new(&graph, &Options::default().with_threads(1)).unwrap();
    session.load(weights).unwrap();
    for (&id, input) in graph.inputs().iter().zip(inputs) {
        let value = graph.value(id);
        let (kept, turned) = (input.data(), first_channels(input));
        let is_turned = value.shape.rank() > 2 && *turned.shape() == value.shape;
        session.set_input(&value.name, if is_turned { turned.data() } else { kept }).unwrap();
    }
    session.run();
    let output = |output: &ocellus_graph::Output| {
        let shape: Shape = graph.shape(output.value).clone();
        Tensor::new(shape, session.output(&output.name).unwrap().to_vec()).unwrap()
    };
    graph.outputs().iter().map(output).collect()
}

/// The largest difference, beside the largest number.
fn difference(got: &Tensor, wanted: &Tensor) -> f32 {
    let turned = first_channels(wanted);
    let as_is = got.shape() == wanted.shape();
    let wanted =
        if wanted.shape().rank() > 2 && got.shape() == turned.shape() && !as_is { &turned } else { wanted };
    assert_eq!(got.shape().elements(), wanted.shape().elements(), "{} for {}", got.shape(), wanted.shape());
    let largest = wanted.data().iter().fold(0.0_f32, |most, x| most.max(x.abs()));
    let apart = got.data().iter().zip(wanted.data()).map(|(a, b)| (a - b).abs());
    let worst = apart.fold(0.0_f32, |most, x| if x.is_nan() { f32::INFINITY } else { most.max(x) });
    // Square results could lie either way: the nearer is meant.
    let square = as_is && turned.shape() == wanted.shape();
    let other = got.data().iter().zip(turned.data()).map(|(a, b)| (a - b).abs()).fold(0.0_f32, f32::max);
    (if square { worst.min(other) } else { worst }) / largest.max(1e-20)
}

#[test]
fn the_whole_model_of_keras_2_gives_its_reference_outputs() {
    let (Some(model), Some(reference)) = (
        data("models/keras/gender_mini_xception.hdf5"),
        data("models/keras/gender_mini_xception_ref.safetensors"),
    ) else {
        return;
    };
    let network = keras::read_file(model, None, None).unwrap();
    let reference = safetensors::read(reference).unwrap().weights;
    let got = outputs(&network, &[reference["input_nhwc"].clone()]);
    let apart = difference(&got[0], &reference["prob"]);
    println!("gender_mini_xception: largest relative difference {apart:e}");
    assert!(apart < 1e-4, "{apart}");
    let count: usize = network.graph.params().iter().map(|param| param.shape.elements()).sum();
    assert_eq!(count, 52_658);
}

/// Every file of every case in `folder`, beside the arrays `in0`, ... and `out0`, ... of NAME.npz.
fn run_cases(folder: &Path) -> usize {
    let mut names: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    let (mut count, mut wrong) = (0, Vec::new());
    for arrays in names.iter().filter(|path| path.extension().is_some_and(|ending| ending == "npz")) {
        let stem = arrays.file_stem().unwrap().to_string_lossy().into_owned();
        let arrays = npz::read(arrays).unwrap();
        let numbered =
            |kind: &str| (0..).map_while(|i| arrays.get(&format!("{kind}{i}")).cloned()).collect::<Vec<_>>();
        for path in names.iter().filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy();
            name.starts_with(&format!("{stem}.")) && (name.ends_with(".keras") || name.ends_with(".h5"))
        }) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let network = match name.contains(".weights") {
                true => keras::read_file(folder.join(format!("{stem}.json")), Some(path), None),
                false => keras::read_file(path, None, None),
            };
            count += 1;
            let network = match network {
                Ok(network) => network,
                Err(fault) => {
                    wrong.push(fault.to_string());
                    continue;
                }
            };
            for (i, (got, wanted)) in
                outputs(&network, &numbered("in")).iter().zip(numbered("out")).enumerate()
            {
                let apart = difference(got, &wanted);
                println!("{name}, output {i}: {apart:e}");
                if apart > 1e-4 {
                    wrong.push(format!("{name}, output {i}: apart by {apart:e}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    count
}

#[test]
fn files_that_keras_wrote_give_its_outputs() {
    assert_eq!(run_cases(cases().path()), 42);
}

/// `KERAS_CASES=FOLDER cargo test -p ocellus-formats --test keras -- --ignored --nocapture`
#[test]
#[ignore = "needs a folder of cases"]
fn any_other_cases() {
    let Ok(folder) = std::env::var("KERAS_CASES") else { return };
    println!("{} files", run_cases(Path::new(&folder)));
}
