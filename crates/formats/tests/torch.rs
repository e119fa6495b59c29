//! Real PyTorch checkpoints in both containers, and damaged ones.

use std::path::{Path, PathBuf};

use ocellus_engine::{Options, Session};
use ocellus_formats::{Fate, fit_weights, match_report, safetensors, torch};
use ocellus_graph::{BatchNormSpec, Builder, Conv, Dense, Graph};
use ocellus_tensor::{Tensor, Weights};

fn data(name: &str) -> Option<PathBuf> {
    let path =
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/models/pytorch")).join(name);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: {} is not there", path.display());
    None
}

fn close(actual: &[f32], expected: &[f32], bound: f32) {
    assert_eq!(actual.len(), expected.len());
    let scale = expected.iter().fold(1.0_f32, |largest, x| largest.max(x.abs()));
    let worst = actual.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    println!("largest difference {worst:e} of {scale}");
    assert!(worst <= bound * scale, "differs by {worst}, largest is {scale}");
}

fn run(graph: &Graph, weights: &Weights, input: &[f32], output: &str) -> Vec<f32> {
    let mut session = Session::new(graph, &Options::default().with_threads(1)).unwrap();
    session.load(weights).unwrap();
    let name = graph.value(graph.inputs()[0]).name.clone();
    session.set_input(&name, input).unwrap();
    session.run();
    session.output(output).unwrap().to_vec()
}

#[test]
fn the_old_stream_format_fits_the_zoo_and_gives_the_reference_outputs() {
    let Some(path) = data("resnet20-12fca82f.th") else { return };
    let checkpoint = torch::read(path).unwrap();
    assert_eq!(checkpoint.nested_under, ["state_dict"]);
    assert_eq!(checkpoint.prefix, "module.");
    let graph = ocellus_zoo::build("resnet20", &Default::default()).unwrap();
    let (weights, report) = fit_weights(&graph, checkpoint.weights);
    println!("{report}");
    assert!(report.is_complete());
    assert_eq!(report.count(Fate::Matched), graph.params().len());
    assert_eq!(report.count(Fate::Unused), 0);

    let Some(reference) = data("resnet20_ref.safetensors") else { return };
    let reference = safetensors::read(reference).unwrap().weights;
    let (image, logits) = (&reference["image_rgb"], &reference["logits"]);
    // The file's own `input` holds these numbers pixel by pixel, whatever its shape says; so they are made here.
    let input = Tensor::from_fn([20, 3, 32, 32], |i| {
        let (n, c, pixel) = (i / 3072, i / 1024 % 3, i % 1024);
        (image.data()[(n * 1024 + pixel) * 3 + c] / 255.0 - [0.485, 0.456, 0.406][c])
            / [0.229, 0.224, 0.225][c]
    });
    let graph = graph.with_batch(20).unwrap();
    close(&run(&graph, &weights, input.data(), "output"), logits.data(), 1e-4);
}

/// The network of `mnist.pt`, as the data's README describes it.
fn mnist(batch: usize) -> Graph {
    let mut b = Builder::new("mnist");
    let mut x = b.input("input", [batch, 1, 28, 28]);
    for (i, channels) in [8, 16, 24].into_iter().enumerate() {
        x = b.conv2d(&format!("conv{}", i + 1), x, Conv::new(channels, 3));
        x = b.relu(&format!("relu{}", i + 1), x);
    }
    x = b.batch_norm("norm1", x, BatchNormSpec::default());
    x = b.flatten("flatten", x);
    x = b.linear("fc1", x, Dense::new(32));
    x = b.relu("relu4", x);
    x = b.linear("fc2", x, Dense::new(10));
    x = b.batch_norm("norm2", x, BatchNormSpec::default());
    x = b.log_softmax("output", x);
    b.output("output", x);
    b.finish().unwrap()
}

#[test]
fn the_zip_format_gives_the_reference_outputs() {
    let (Some(path), Some(reference)) = (data("mnist.pt"), data("mnist_ref.safetensors")) else { return };
    let reference = safetensors::read(reference).unwrap().weights;
    let image = reference.values().find(|t| t.shape().last() == Some(&28)).unwrap();
    let expected = reference.values().find(|t| t.shape().last() == Some(&10)).unwrap();
    let checkpoint = torch::read(path).unwrap();
    assert!(checkpoint.nested_under.is_empty() && checkpoint.prefix.is_empty());
    let graph = mnist(image.shape()[0]);
    let (weights, report) = fit_weights(&graph, checkpoint.weights);
    assert!(report.is_complete(), "{report}");
    assert_eq!(report.count(Fate::Ignored), 2, "{report}");
    let input: Vec<f32> = image.data().iter().map(|x| (x / 255.0 - 0.1307) / 0.3081).collect();
    close(&run(&graph, &weights, &input, "output"), expected.data(), 1e-4);
}

#[test]
fn a_pickle_that_calls_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("evil.pt");
    // {"x": os.system("touch /tmp/owned")}
    std::fs::write(&path, b"\x80\x02}U\x01xcos\nsystem\nU\x10touch /tmp/owned\x85Rs.").unwrap();
    let sentence = torch::read(&path).unwrap_err().to_string();
    assert!(sentence.contains("os.system") && sentence.contains("nothing was run"), "{sentence}");
    std::fs::write(&path, b"\x80\x02cos\nsystem\nU\x10touch /tmp/owned\x85R.").unwrap();
    let sentence = torch::read(&path).unwrap_err().to_string();
    assert!(sentence.contains("os.system"), "{sentence}");
    let nowhere = torch::read(folder.path().join("none.pt")).unwrap_err().to_string();
    assert!(nowhere.contains("check the path"), "{nowhere}");
}

/// A pickle of single bytes that each become an object: a small file, compressed, that asks for gigabytes.
#[test]
fn a_pickle_that_grows_is_refused_before_it_does() {
    use std::io::Write;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("grows.pt");
    let pickle: Vec<u8> = b"\x80\x02".iter().copied().chain(std::iter::repeat_n(b']', 8 << 20)).collect();
    std::fs::write(&path, &pickle).unwrap();
    let sentence = torch::read(&path).unwrap_err().to_string();
    assert!(sentence.contains("more memory") && sentence.contains("8388610 bytes"), "{sentence}");
    let mut archive = zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
    archive.start_file("net/data.pkl", zip::write::SimpleFileOptions::default()).unwrap();
    archive.write_all(&pickle).unwrap();
    archive.finish().unwrap();
    let sentence = torch::read(&path).unwrap_err().to_string();
    assert!(sentence.contains("more memory"), "{sentence}");
    let mut archive = zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
    archive.start_file("net/data.pkl", zip::write::SimpleFileOptions::default()).unwrap();
    archive.write_all(b"\x80\x02}.").unwrap();
    archive.start_file("net/data/0", zip::write::SimpleFileOptions::default()).unwrap();
    (0..100).for_each(|_| archive.write_all(&vec![0; 1 << 20]).unwrap());
    archive.finish().unwrap();
    let sentence = torch::read(&path).unwrap_err().to_string();
    assert!(sentence.contains("claim to unpack to"), "{sentence}");
}

#[test]
fn damaged_checkpoints_are_refused_without_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broken.pt");
    let graph = ocellus_zoo::build("resnet20", &Default::default()).unwrap();
    for name in ["resnet20-12fca82f.th", "mnist.pt"] {
        let Some(good) = data(name) else { return };
        let good = std::fs::read(good).unwrap();
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            match torch::read(&path) {
                Ok(checkpoint) => drop(match_report(&graph, &checkpoint.weights)),
                Err(error) => assert!(error.to_string().contains("; "), "{error}"),
            }
        };
        let head = good.len().min(8192);
        for cut in (0..head).step_by(131).chain((0..good.len()).step_by(good.len() / 20)) {
            read(&good[..cut]);
        }
        let mut state = 0x0ce1_1007_u64;
        for _ in 0..300 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let mut bytes = good.clone();
            // The pickles lie at the beginning, the zip's directory at the end.
            let reach = if state >> 63 == 0 { head } else { 4096 };
            let at = (state >> 20) as usize % reach;
            let at = if reach == head { at } else { good.len() - 1 - at };
            bytes[at] ^= 1 << (state >> 60 & 7);
            read(&bytes);
        }
    }
}

/// A program of `torch.export`: tensors by name, each in a member of its own, seen through an offset and strides.
#[test]
fn tensors_of_an_exported_program() {
    use std::io::Write;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.pt2");
    let write = |entry: &str, extra: &str| {
        let mut archive = zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
        let options = zip::write::SimpleFileOptions::default();
        archive.start_file("net/data/weights/weight_0", options).unwrap();
        archive.write_all(&[1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0].map(f32::to_le_bytes).concat()).unwrap();
        archive.start_file("net/data/weights/model_weights_config.json", options).unwrap();
        write!(archive, "{{\"config\": {{\"fc.weight\": {entry}}}}}").unwrap();
        archive.start_file(format!("net/{extra}"), options).unwrap();
        archive.finish().unwrap();
    };
    let entry = |dtype: u8, columns: usize, offset: usize| {
        format!(
            "{{\"path_name\": \"weight_0\", \"is_param\": true, \"use_pickle\": false, \"tensor_meta\": {{\"dtype\": \
             {dtype}, \"sizes\": [{{\"as_int\": 3}}, {{\"as_int\": {columns}}}], \"strides\": [{{\"as_int\": 1}}, \
             {{\"as_int\": 3}}], \"storage_offset\": {{\"as_int\": {offset}}}, \"layout\": 7}}}}"
        )
    };
    write(&entry(7, 2, 1), "archive_format");
    assert_eq!(ocellus_formats::Kind::of(&path).unwrap(), Some(ocellus_formats::Kind::Torch));
    let weights = torch::read(&path).unwrap().weights;
    assert_eq!(weights["fc.weight"], Tensor::new([3, 2], vec![2.0, 5.0, 3.0, 6.0, 4.0, 7.0]).unwrap());
    let refused = |entry: String, extra: &str, word: &str| {
        write(&entry, extra);
        let sentence = torch::read(&path).unwrap_err().to_string();
        assert!(sentence.contains(word) && sentence.contains("net.pt2"), "{sentence}");
    };
    refused(entry(7, 2, 2), "archive_format", "beyond the 7 numbers");
    refused(entry(7, usize::MAX, 0), "archive_format", "too large");
    refused(entry(7, 1 << 30, 0), "archive_format", "more memory");
    refused(entry(9, 2, 0), "archive_format", "kind 9");
    refused("{}".into(), "archive_format", "path_name");
    refused(entry(7, 2, 1), "serialized_exported_program.json", "before 2.8");
}
