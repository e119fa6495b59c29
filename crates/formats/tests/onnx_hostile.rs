//! Damaged and malicious ONNX files: an answer or one sentence, never a panic.

mod onnx_support;

use std::fs;
use std::path::Path;

use ocellus_formats::Model;
use ocellus_formats::onnx::{self, ReadOptions};
use onnx_support::*;

fn read(bytes: &[u8]) -> Result<Model, String> {
    onnx::read(bytes, None, &ReadOptions::default()).map_err(|error| error.to_string())
}

/// The refusal holds each of these words, and is one sentence with what to do behind a semicolon.
#[track_caller]
fn refused(bytes: &[u8], words: &[&str]) {
    let error = read(bytes).map(|model| model.graph).unwrap_err();
    for word in words {
        assert!(error.contains(word), "{error} lacks {word}");
    }
    assert!(error.starts_with("the ONNX model: ") && error.contains("; "), "{error}");
    assert!(error.len() < 600 && !error.contains('\n'), "{error}");
}

/// A network with most kinds of fields: weights, lists, texts, a function, a branch, folded shapes.
fn network() -> Net {
    let conv = node("conv", "Conv", &["x", "w", "b"], &["c"])
        .message(5, wholes("kernel_shape", &[3, 3]))
        .message(5, wholes("pads", &[1, 1, 1, 1]))
        .message(5, text("auto_pad", "NOTSET"));
    let twice = Proto::default()
        .text(1, "Twice")
        .text(4, "a")
        .text(5, "b")
        .message(7, node("", "Add", &["a", "a"], &["b"]))
        .message(9, Proto::default().text(1, "").whole(2, 17))
        .text(10, "own");
    let branch = |name: &'static str| {
        let mut net = Net::new([node("", name, &["d"], &["inner"])]);
        net.outputs = vec!["inner"];
        net.inputs.clear();
        net.graph()
    };
    let chosen = node("if", "If", &["yes"], &["e"])
        .message(5, graph_attribute("then_branch", branch("Relu")))
        .message(5, graph_attribute("else_branch", branch("Tanh")));
    let nodes = vec![
        conv,
        node("twice", "Twice", &["c"], &["d"]).text(7, "own"),
        chosen,
        node("shape", "Shape", &["e"], &["s"]),
        node("first", "Gather", &["s", "zero"], &["n"]),
        node("rest", "Concat", &["n", "minus"], &["t"]).message(5, whole("axis", 0)),
        node("flat", "Reshape", &["e", "t"], &["f"]),
        node("fc", "Gemm", &["f", "v"], &["y"]).message(5, whole("transB", 1)),
    ];
    let weights = |count: usize| (0..count).map(|i| i as f32 / 10.0).collect::<Vec<_>>();
    let mut net = Net::new(nodes).with([
        floats("w", &[2, 3, 3, 3], &weights(54)),
        floats("b", &[2], &weights(2)),
        floats("v", &[4, 32], &weights(128)),
        longs("zero", &[0]),
        longs("minus", &[-1]),
        tensor("yes", 9, &[], &[1]),
    ]);
    net.functions = vec![twice];
    net
}

#[test]
fn the_network_itself_is_fine() {
    let model = read(&network().bytes()).unwrap();
    let output = model.graph.find_output("y").unwrap();
    assert_eq!(model.graph.shape(output).dims(), [1, 4]);
    assert_eq!(model.weights.len(), 3);
}

#[test]
fn every_truncation() {
    let bytes = network().bytes();
    for length in 0..bytes.len() {
        if let Err(error) = read(&bytes[..length]) {
            assert!(error.starts_with("the ONNX model: ") && error.contains("; "), "{error}");
        }
    }
    let trained = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/models/onnx"));
    let Ok(bytes) = fs::read(trained.join("mnist_cntk_opset8.onnx")) else {
        println!("skipped: {} is not there", trained.display());
        return;
    };
    for length in (0..bytes.len()).step_by(64) {
        let _ = read(&bytes[..length]);
    }
}

#[test]
fn every_flipped_bit() {
    let bytes = network().bytes();
    let mut read_anyway = 0;
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        read_anyway += usize::from(read(&flipped).is_ok());
    }
    println!("{read_anyway} of {} flips give a network", bytes.len() * 8);
}

#[test]
fn lengths_beyond_everything() {
    for length in [1_u64 << 63, u64::MAX, 1 << 40, 200] {
        refused(&Proto::default().claiming(7, length, b"abc").0, &["claims", &length.to_string()]);
        let inside = Proto::default().claiming(5, length, b"abc");
        refused(&Proto::default().message(7, inside).0, &["claims"]);
    }
    let endless = [0x3a].into_iter().chain([0xff; 20]).collect::<Vec<u8>>();
    refused(&endless, &["ten bytes"]);
    refused(&[0x3f], &["unknown kind 7"]);
}

#[test]
fn shapes_beyond_everything() {
    let large = i64::MAX;
    for dims in [vec![large, large], vec![-1], vec![1 << 40], vec![3; 40]] {
        let net = Net::new([node("n", "Add", &["x", "w"], &["y"])]).with([floats("w", &dims, &[1.0])]);
        refused(&net.bytes(), &["tensor"]);
    }
    let mut net = Net::new([node("n", "Relu", &["x"], &["y"])]);
    net.inputs = vec![port("x", 1, &[large, large])];
    refused(&net.bytes(), &["input", "x"]);
    net.inputs = vec![port("x", 1, &[0, 3])];
    assert!(read(&net.bytes()).is_ok(), "an empty batch is a free one");
    net.inputs = vec![port("x", 1, &[1, -1, 4])];
    refused(&net.bytes(), &["(?", "x"].map(|w| if w == "(?" { "free" } else { w }));
    net.inputs = vec![port("x", 8, &[1, 3])];
    refused(&net.bytes(), &["string"]);
}

/// Operations that ask for more than a file of their size may have.
#[test]
fn constants_beyond_everything() {
    let many = longs("s", &[1 << 20, 1 << 20]);
    let full = node("full", "ConstantOfShape", &["s"], &["c"]);
    for (op, inputs) in [
        ("Expand", vec!["x", "s"]),
        ("Tile", vec!["w", "s"]),
        ("Reshape", vec!["x", "s"]),
        ("Range", vec!["zero", "large", "one"]),
    ] {
        let net = Net::new([
            node("n", op, &inputs, &["c"]),
            node("m", "Neg", &["c"], &["d"]),
            node("o", "Mul", &["x", "d"], &["y"]),
        ])
        .with([
            many.clone(),
            floats("w", &[1, 2], &[1.0, 2.0]),
            tensor("zero", 7, &[], &0_i64.to_le_bytes()),
            tensor("large", 7, &[], &(1_i64 << 62).to_le_bytes()),
            tensor("one", 7, &[], &1_i64.to_le_bytes()),
        ]);
        refused(&net.bytes(), &["node", op]);
    }
    // No axis is that long, whoever asks for it.
    let net = Net::new([full.clone(), node("o", "Mul", &["x", "c"], &["y"])]).with([longs("s", &[1 << 39])]);
    refused(&net.bytes(), &["\"full\"", "ConstantOfShape", "549755813888"]);
    // One number everywhere costs nothing until somebody wants to see it.
    let list = longs("s", &[1 << 30]);
    for (op, inputs) in [("Reshape", ["x", "c"]), ("Gather", ["x", "c"]), ("Expand", ["x", "c"])] {
        let value = Proto::default().text(1, "value").message(5, longs("", &[1])).whole(20, 4);
        let full = full.clone().message(5, value);
        let net = Net::new([full, node("n", op, &inputs, &["y"])]).with([list.clone()]);
        refused(&net.bytes(), &["node", op]);
    }
    // Doubled again and again.
    let mut nodes = vec![node("", "Concat", &["w", "w"], &["c0"]).message(5, whole("axis", 0))];
    for i in 1..60 {
        let (from, to) = (format!("c{}", i - 1), format!("c{i}"));
        nodes.push(node("", "Concat", &[&from, &from], &[&to]).message(5, whole("axis", 0)));
    }
    nodes.push(node("", "Add", &["x", "c59"], &["y"]));
    let net = Net::new(nodes).with([longs("w", &[1; 64])]);
    refused(&net.bytes(), &["Concat", "memory"]);
}

#[test]
fn graphs_that_cannot_be() {
    let relu = |name: &str, from: &str, to: &str| node(name, "Relu", &[from], &[to]);
    let circle = Net::new([relu("a", "c", "b"), relu("z", "b", "c"), relu("o", "c", "y")]);
    refused(&circle.bytes(), &["circle", "\"a\"", "\"z\"", "Relu"]);
    let own = Net::new([relu("a", "y", "y")]);
    refused(&own.bytes(), &["circle", "\"a\""]);
    let missing = Net::new([relu("a", "nowhere", "y")]);
    refused(&missing.bytes(), &["\"a\"", "\"nowhere\"", "nothing makes"]);
    let twice = Net::new([relu("a", "x", "y"), relu("b", "x", "y")]);
    refused(&twice.bytes(), &["\"y\"", "two nodes"]);
    let mut no_output = Net::new([relu("a", "x", "y")]);
    no_output.outputs = vec!["z"];
    refused(&no_output.bytes(), &["\"z\""]);
    no_output.outputs = vec!["y", "y"];
    refused(&no_output.bytes(), &["\"y\"", "twice"]);
    no_output.outputs.clear();
    refused(&no_output.bytes(), &["no outputs"]);
    refused(&[], &["no graph"]);
    // Only out of order: that can be mended.
    let unsorted = Net::new([relu("b", "m", "y"), relu("a", "x", "m")]);
    assert!(read(&unsorted.bytes()).is_ok());
}

#[test]
fn what_is_not_supported_is_named() {
    let unknown = Net::new([node("n", "Frobnicate", &["x"], &["y"])]);
    refused(&unknown.bytes(), &["\"n\"", "Frobnicate", "not supported"]);
    let foreign = Net::new([node("n", "Thing", &["x"], &["y"]).text(7, "org.example")]);
    refused(&foreign.bytes(), &["org.example", "Thing"]);
    for op in ["Loop", "Scan"] {
        refused(&Net::new([node("n", op, &["x"], &["y"])]).bytes(), &[op, "control flow"]);
    }
    let open = Net::new([node("n", "If", &["x"], &["y"])]);
    refused(&open.bytes(), &["If", "control flow"]);
    let training = node("n", "BatchNormalization", &["x", "s", "s", "s", "s"], &["y", "m", "v"]);
    let net = Net::new([training]).with([floats("s", &[3], &[1.0; 3])]);
    refused(&net.bytes(), &["BatchNormalization", "training"]);
    // Nobody needs it, so nobody minds.
    let unused = Net::new([node("n", "Loop", &["x"], &["z"]), node("r", "Relu", &["x"], &["y"])]);
    assert!(read(&unused.bytes()).is_ok());
}

#[test]
fn functions_and_branches_without_end() {
    let own = |name: &str, nodes: Vec<Proto>| {
        Proto::default().text(1, name).text(4, "a").text(5, "b").messages(7, nodes).text(10, "own")
    };
    let call = |name: &str, from: &str, to: &str| node("", name, &[from], &[to]).text(7, "own");
    let mut net = Net::new([call("F", "x", "y")]);
    net.functions = vec![own("F", vec![call("F", "a", "b")])];
    refused(&net.bytes(), &["F", "calls itself"]);
    // Each calls the next twice: a million million nodes, were they written out.
    let twice = |next: &str| vec![call(next, "a", "m"), call(next, "m", "b")];
    net.functions = (0..30).map(|i| own(&format!("F{i}"), twice(&format!("F{}", i + 1)))).collect();
    net.nodes = vec![call("F0", "x", "y")];
    refused(&net.bytes(), &["memory"]);
    // Graphs in graphs in graphs.
    let mut inner = Net::new([node("", "Relu", &["x"], &["y"])]).graph();
    for _ in 0..2000 {
        let node = node("", "If", &["x"], &["y"]).message(5, graph_attribute("then_branch", inner));
        inner = Net::new([node]).graph();
    }
    refused(&Proto::default().message(7, inner).0, &["deep"]);
}

#[test]
fn a_million_nodes_of_two_bytes() {
    let empty = Proto::default().bytes(1, &[]).0.repeat(1_000_000);
    refused(&Proto::default().bytes(7, &empty).0, &["memory"]);
    let names = Proto::default().bytes(1, &[]).0.repeat(1_000_000);
    let node = Proto::default().bytes(1, &names);
    refused(&Proto::default().message(7, node).0, &["memory"]);
}

/// Attributes that are wrong in every way that does not stop the file from being read.
#[test]
fn attributes_that_do_not_fit() {
    let weights = || [floats("w", &[2, 3, 3, 3], &[0.5; 54])];
    let cases = [
        wholes("pads", &[1, 1, 1]),
        wholes("pads", &[-1, 0, 0, 0]),
        wholes("pads", &[i64::MAX; 4]),
        wholes("strides", &[0, 1]),
        wholes("strides", &[i64::MAX, 1]),
        wholes("dilations", &[i64::MAX >> 33, 1]),
        wholes("kernel_shape", &[3]),
        wholes("kernel_shape", &[5, 5]),
        whole("group", 0),
        whole("group", -1),
        whole("group", 2),
        text("auto_pad", "SOMEHOW"),
        text("pads", "1"),
        wholes("auto_pad", &[1]),
    ];
    for attribute in cases {
        for op in ["Conv", "ConvTranspose"] {
            let net =
                Net::new([node("n", op, &["x", "w"], &["y"]).message(5, attribute.clone())]).with(weights());
            refused(&net.bytes(), &["\"n\"", op]);
        }
    }
    let pools = [
        wholes("kernel_shape", &[0, 1]),
        wholes("kernel_shape", &[9, 9]),
        wholes("kernel_shape", &[2]),
        whole("ceil_mode", 1),
    ];
    for attribute in pools {
        for op in ["MaxPool", "AveragePool", "LpPool"] {
            let net = Net::new([node("n", op, &["x"], &["y"]).message(5, attribute.clone())]);
            refused(&net.bytes(), &["\"n\"", op]);
        }
    }
    for (op, attribute) in [
        ("Softmax", whole("axis", 4)),
        ("Softmax", whole("axis", i64::MIN)),
        ("Concat", whole("axis", 9)),
        ("Transpose", wholes("perm", &[0, 0, 1, 2])),
        ("Flatten", whole("axis", 6)),
        ("DepthToSpace", whole("blocksize", 0)),
        ("DepthToSpace", whole("blocksize", i64::MAX)),
        ("SpaceToDepth", whole("blocksize", 3)),
        ("LRN", whole("size", 0)),
        ("ArgMax", whole("axis", -5)),
        ("ReduceMean", wholes("axes", &[7])),
        ("ReduceMean", wholes("axes", &[1, 1])),
        ("Cast", whole("to", 8)),
    ] {
        let net = Net::new([node("n", op, &["x"], &["y"]).message(5, attribute)]);
        refused(&net.bytes(), &["\"n\"", op]);
    }
}

/// Lists that come as tensors, wrong in the same ways.
#[test]
fn lists_that_do_not_fit() {
    let big = i64::MAX;
    let cases: [(&str, &[&str], Vec<Proto>); 12] = [
        ("Reshape", &["x", "a"], vec![longs("a", &[-1, -1])]),
        ("Reshape", &["x", "a"], vec![longs("a", &[7, -1])]),
        ("Reshape", &["x", "a"], vec![longs("a", &[big, big])]),
        ("Slice", &["x", "a", "b"], vec![longs("a", &[0, 0]), longs("b", &[1])]),
        (
            "Slice",
            &["x", "a", "b", "c", "d"],
            vec![longs("a", &[0]), longs("b", &[1]), longs("c", &[0]), longs("d", &[0])],
        ),
        ("Slice", &["x", "a", "b"], vec![longs("a", &[3]), longs("b", &[3])]),
        ("Gather", &["x", "a"], vec![longs("a", &[1])]),
        ("Gather", &["x", "a"], vec![longs("a", &[i64::MIN])]),
        ("Pad", &["x", "a"], vec![longs("a", &[0, 0, 0, 0, big, 0, 0, 0])]),
        ("Pad", &["x", "a"], vec![longs("a", &[0, 0, -4, 0, 0, 0, 0, 0])]),
        ("Unsqueeze", &["x", "a"], vec![longs("a", &[0, 0])]),
        ("Squeeze", &["x", "a"], vec![longs("a", &[1])]),
    ];
    for (op, inputs, lists) in cases {
        refused(&Net::new([node("n", op, inputs, &["y"])]).with(lists).bytes(), &["\"n\"", op]);
    }
    // A step that jumps over everything takes the first, whatever its size.
    let steps = [longs("a", &[1]), longs("b", &[3]), longs("c", &[1]), longs("d", &[big])];
    let net = Net::new([node("n", "Slice", &["x", "a", "b", "c", "d"], &["y"])]).with(steps);
    assert!(read(&net.bytes()).is_ok());
    let down = [longs("a", &[big]), longs("b", &[i64::MIN]), longs("c", &[1]), longs("d", &[i64::MIN + 1])];
    let net = Net::new([node("n", "Slice", &["x", "a", "b", "c", "d"], &["y"])]).with(down.clone());
    assert!(read(&net.bytes()).is_ok());
    let folded = Net::new([
        node("n", "Slice", &["w", "a", "b", "c", "d"], &["m"]),
        node("o", "Mul", &["x", "m"], &["y"]),
    ])
    .with(down.into_iter().chain([floats("w", &[1, 3, 4, 4], &[1.0; 48])]).collect::<Vec<_>>());
    assert!(read(&folded.bytes()).is_ok());
}

#[test]
fn data_outside_the_file() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("model");
    fs::create_dir(&folder).unwrap();
    fs::create_dir(folder.join("sub")).unwrap();
    let numbers: Vec<u8> = (0..12).flat_map(|i| (i as f32).to_le_bytes()).collect();
    for name in ["model/weights.bin", "model/sub/weights.bin", "secret.bin"] {
        fs::write(home.path().join(name), &numbers).unwrap();
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(home.path().join("secret.bin"), folder.join("link.bin")).unwrap();
        std::os::unix::fs::symlink(home.path(), folder.join("up")).unwrap();
    }
    let net = |entries: &[(&str, &str)]| {
        Net::new([node("n", "Mul", &["x", "w"], &["y"])]).with([outside("w", &[1, 3, 1, 1], entries)]).bytes()
    };
    let read = |bytes: &[u8]| {
        onnx::read(bytes, Some(&folder), &ReadOptions::default()).map_err(|error| error.to_string())
    };
    let weights = |model: Model| model.weights["w"].data().to_vec();
    assert_eq!(
        weights(
            read(&net(&[("location", "weights.bin"), ("length", "12")])).unwrap_or_else(|e| panic!("{e}"))
        ),
        [0.0, 1.0, 2.0]
    );
    let inside = [("location", "./sub/weights.bin"), ("offset", "8"), ("length", "12"), ("checksum", "?")];
    assert_eq!(weights(read(&net(&inside)).unwrap()), [2.0, 3.0, 4.0]);
    assert!(self::read(&net(&inside)).unwrap_err().contains("folder is not known"));
    let path = folder.join("net.onnx");
    fs::write(&path, net(&inside)).unwrap();
    let [inputs, outputs] = onnx::ports_of(&path).unwrap();
    assert_eq!((inputs[0].name.as_str(), outputs[0].name.as_str()), ("x", "y"));

    let secret = home.path().join("secret.bin").display().to_string();
    for location in
        ["../secret.bin", "sub/../../secret.bin", &secret, "..", "", "sub", "\\..\\secret.bin", "a\0b"]
    {
        let error = read(&net(&[("location", location)])).unwrap_err();
        assert!(error.contains("tensor \"w\"") && error.contains("; "), "{location:?}: {error}");
    }
    #[cfg(unix)]
    for location in ["link.bin", "up/secret.bin"] {
        let error = read(&net(&[("location", location)])).unwrap_err();
        assert!(error.contains("link"), "{location}: {error}");
    }
    for (key, value, words) in [
        ("offset", "37", "the file has 48"),
        ("offset", "18446744073709551615", "the file has 48"),
        ("offset", "-4", "no length"),
        ("length", "9223372036854775808", "needs 12 bytes"),
        ("length", "8", "needs 12 bytes"),
    ] {
        let error = read(&net(&[("location", "weights.bin"), (key, value)])).unwrap_err();
        assert!(error.contains(words), "{key} {value}: {error}");
    }
    let gone = read(&net(&[("location", "nothing.bin")])).unwrap_err();
    assert!(gone.contains("nothing.bin"), "{gone}");

    // The same bytes a million times over.
    fs::write(folder.join("large.bin"), vec![0; 1 << 20]).unwrap();
    let many = (0..200).map(|i| outside(&format!("w{i}"), &[1 << 18], &[("location", "large.bin")]));
    let net = Net::new([node("n", "Relu", &["x"], &["y"])]).with(many.collect::<Vec<_>>());
    let error = read(&net.bytes()).unwrap_err();
    assert!(error.contains("overlap") && error.contains("memory"), "{error}");
}

#[test]
fn floats_of_every_size() {
    let numbers = [1.5_f32, -2.0, 0.0];
    let half: Vec<u8> = [0x3e00_u16, 0xc000, 0].iter().flat_map(|h| h.to_le_bytes()).collect();
    let brain: Vec<u8> = [0x3fc0_u16, 0xc000, 0].iter().flat_map(|h| h.to_le_bytes()).collect();
    let double: Vec<u8> = [1.5_f64, -2.0, 0.0].iter().flat_map(|d| d.to_le_bytes()).collect();
    let dims: &[i64] = &[1, 3, 1, 1];
    let bits = Proto::default().whole(1, 1).whole(1, 3).whole(1, 1).whole(1, 1).whole(2, 10).text(8, "w");
    let bits = [0x3e00, 0xc000, 0].iter().fold(bits, |tensor, &half| tensor.whole(5, half));
    for weight in
        [tensor("w", 10, dims, &half), tensor("w", 16, dims, &brain), tensor("w", 11, dims, &double), bits]
    {
        let net = Net::new([node("n", "Mul", &["x", "w"], &["y"])]).with([weight]);
        assert_eq!(read(&net.bytes()).unwrap().weights["w"].data(), numbers);
    }
    let four = tensor("q", 22, dims, &[0xf7, 0x08]);
    let nodes = [node("d", "DequantizeLinear", &["q", "s"], &["w"]), node("n", "Mul", &["x", "w"], &["y"])];
    let net = Net::new(nodes).with([four, floats("s", &[], &[0.5])]);
    assert_eq!(read(&net.bytes()).unwrap().weights["q"].data(), [3.5, -0.5, -4.0]);
}
