//! Operators that ONNX's shared cases do not reach in the form that exporters and runtimes write them.

mod onnx_support;

use ocellus_engine::{Options, Session};
use ocellus_formats::onnx::{self, ReadOptions};
use ocellus_tensor::Tensor;
use onnx_support::{Net, Proto, floats, longs, node, port, tensor, text, whole, wholes};

/// The outputs for these inputs, in the order of the model's.
fn run(net: &Net, inputs: &[(&str, &[f32])]) -> Vec<Tensor> {
    let model = onnx::read(&net.bytes(), None, &ReadOptions::default()).unwrap();
    let mut session = Session::new(&model.graph, &Options::default().with_threads(1)).unwrap();
    session.load(&model.weights).unwrap();
    for (name, numbers) in inputs {
        session.set_input(name, numbers).unwrap();
    }
    session.run();
    model.graph.outputs().iter().map(|output| session.output_tensor(&output.name).unwrap()).collect()
}

fn check(net: &Net, x: &[f32], expected: &[f32]) {
    let y = &run(net, &[("x", x)])[0];
    assert_eq!(y.data().len(), expected.len(), "{y:?}");
    for (i, (&a, &b)) in y.data().iter().zip(expected).enumerate() {
        let same = a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-5 * b.abs().max(1.0);
        assert!(same, "number {i} is {a}, must be {b}");
    }
}

/// A network of one node with the input x of `dims` and this operator set.
fn one(opset: i64, dims: &[i64], node: Proto, constants: Vec<Proto>) -> Net {
    Net { inputs: vec![port("x", 1, dims)], opset, ..Net::new([node]).with(constants) }
}

fn attribute(node: Proto, attribute: Proto) -> Proto {
    node.message(5, attribute)
}

fn float(name: &str, number: f32) -> Proto {
    Proto::default().text(1, name).float(2, number).whole(20, 1)
}

/// The same node of ONNX Runtime's own domain.
fn microsoft(node: Proto) -> Proto {
    node.text(7, "com.microsoft")
}

fn scalar(name: &str, number: f32) -> Proto {
    floats(name, &[], &[number])
}

#[test]
fn masks_of_infinity_hide_scores() {
    let hide = node("hide", "Where", &["mask", "x", "never"], &["scores"]);
    let softmax = node("softmax", "Softmax", &["scores"], &["y"]);
    let constants = [tensor("mask", 9, &[4], &[1, 0, 1, 0]), scalar("never", f32::NEG_INFINITY)];
    let x = port("x", 1, &[1, 4]);
    let net = Net { inputs: vec![x.clone()], ..Net::new([hide, softmax]).with(constants.clone()) };
    check(&net, &[2.0, 9.0, 2.0, 9.0], &[0.5, 0.0, 0.5, 0.0]);
    // The mask may come when the network runs, and may hide the other way round.
    let hide = node("hide", "Where", &["mask", "never", "x"], &["y"]);
    let inputs = vec![x, port("mask", 9, &[1, 4])];
    let net = Net { inputs, ..Net::new([hide]).with(constants[1..].to_vec()) };
    let y = &run(&net, &[("x", &[1.0, 2.0, 3.0, 4.0]), ("mask", &[1.0, 0.0, 1.0, 0.0])])[0];
    assert_eq!(y.data(), [f32::NEG_INFINITY, 2.0, f32::NEG_INFINITY, 4.0]);
}

#[test]
fn remainders_have_the_sign_that_is_asked_for() {
    let x = [-7.0, 7.0, -7.0, 7.0];
    let by = || floats("by", &[4], &[3.0, -3.0, -3.0, 3.0]);
    let node = || node("mod", "Mod", &["x", "by"], &["y"]);
    check(&one(13, &[1, 4], node(), vec![by()]), &x, &[2.0, -2.0, -1.0, 1.0]);
    let cut = attribute(node(), whole("fmod", 1));
    check(&one(13, &[1, 4], cut.clone(), vec![by()]), &x, &[-1.0, 1.0, -1.0, 1.0]);
    // Known whole numbers, as shapes and indices are.
    let known = |node: Proto| {
        let shift = onnx_support::node("shift", "Add", &["x", "rest"], &["y"]);
        let cast = attribute(onnx_support::node("cast", "Cast", &["whole"], &["rest"]), whole("to", 1));
        let constants = [longs("a", &[-7, 7, -7, 7]), longs("b", &[3, -3, -3, 3])];
        Net { inputs: vec![port("x", 1, &[1, 4])], ..Net::new([node, cast, shift]).with(constants) }
    };
    let floor = onnx_support::node("mod", "Mod", &["a", "b"], &["whole"]);
    check(&known(floor.clone()), &[0.0; 4], &[2.0, -2.0, -1.0, 1.0]);
    check(&known(attribute(floor, whole("fmod", 1))), &[0.0; 4], &[-1.0, 1.0, -1.0, 1.0]);
}

#[test]
fn powers_of_negative_bases() {
    let power = node("power", "Pow", &["x", "by"], &["y"]);
    let inputs = vec![port("x", 1, &[1, 5]), port("by", 1, &[1, 5])];
    let net = Net { inputs, ..Net::new([power]) };
    let y = &run(&net, &[("x", &[-2.0, -2.0, 3.0, 0.0, 0.0]), ("by", &[3.0, 2.0, 1.5, 2.0, 0.0])])[0];
    for (a, b) in y.data().iter().zip([-8.0, 4.0, 5.196_152, 0.0, 1.0]) {
        assert!((a - b).abs() < 1e-4, "{y:?}");
    }
}

#[test]
fn conversions_round_and_wrap() {
    let cast = |to: i64| attribute(node("cast", "Cast", &["x"], &["y"]), whole("to", to));
    let x = [0.819_105_45, -1.0, 1.003_906_2, 300.0];
    check(&one(13, &[1, 4], cast(16), vec![]), &x, &[0.820_312_5, -1.0, 1.0, 300.0]);
    let whole_input = |to: i64| Net { inputs: vec![port("x", 6, &[1, 4])], ..Net::new([cast(to)]) };
    check(&whole_input(2), &[-1.0, 256.0, 255.0, 513.0], &[255.0, 0.0, 255.0, 1.0]);
    check(&whole_input(3), &[-1.0, 128.0, 127.0, -129.0], &[-1.0, -128.0, 127.0, 127.0]);
    check(&one(21, &[1, 4], cast(22), vec![]), &[-9.0, 7.9, 8.0, -8.0], &[7.0, 7.0, -8.0, -8.0]);
}

#[test]
fn largest_numbers_and_their_places() {
    let top = |more: &[Proto]| {
        more.iter().fold(node("top", "TopK", &["x", "k"], &["y", "i"]), |n, a| n.message(5, a.clone()))
    };
    let net = |node: Proto| Net { outputs: vec!["y", "i"], ..one(13, &[1, 6], node, vec![longs("k", &[3])]) };
    let x = [1.0, 5.0, -2.0, 5.0, 0.0, 4.0];
    let both = run(&net(top(&[])), &[("x", &x)]);
    assert_eq!((both[0].data(), both[1].data()), (&[5.0, 5.0, 4.0][..], &[1.0, 3.0, 5.0][..]));
    let both = run(&net(top(&[whole("largest", 0)])), &[("x", &x)]);
    assert_eq!((both[0].data(), both[1].data()), (&[-2.0, 0.0, 1.0][..], &[2.0, 4.0, 0.0][..]));
}

#[test]
fn pooling_tells_places_and_goes_back() {
    let pool = ["kernel_shape", "strides"]
        .into_iter()
        .fold(node("pool", "MaxPool", &["x"], &["y", "i"]), |n, name| attribute(n, wholes(name, &[2, 2])));
    let back = ["kernel_shape", "strides"]
        .into_iter()
        .fold(node("back", "MaxUnpool", &["y", "i"], &["z"]), |n, name| attribute(n, wholes(name, &[2, 2])));
    let net = Net {
        inputs: vec![port("x", 1, &[1, 2, 2, 4])],
        outputs: vec!["y", "i", "z"],
        ..Net::new([pool, back])
    };
    let x = [1.0, 9.0, -3.0, -1.0, 2.0, 3.0, -4.0, -2.0, 5.0, 5.0, 0.0, 1.0, 5.0, 5.0, 2.0, 3.0];
    let all = run(&net, &[("x", &x)]);
    assert_eq!(all[0].data(), [9.0, -1.0, 5.0, 3.0]);
    assert_eq!(all[1].data(), [1.0, 3.0, 8.0, 15.0]);
    let mut expected = [0.0; 16];
    for (place, number) in [(1, 9.0), (3, -1.0), (8, 5.0), (15, 3.0)] {
        expected[place] = number;
    }
    assert_eq!(all[2].data(), expected);
}

#[test]
fn numbers_by_known_places() {
    let picked = attribute(node("pick", "GatherElements", &["x", "i"], &["y"]), whole("axis", 1));
    let index = tensor("i", 7, &[2, 2], &[2_i64, 0, -1, 1].map(i64::to_le_bytes).concat());
    let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    check(&one(13, &[2, 3], picked, vec![index]), &x, &[3.0, 1.0, 6.0, 5.0]);
    let blocks = tensor("i", 7, &[2, 1], &[1_i64, 0].map(i64::to_le_bytes).concat());
    let gather = node("gather", "GatherND", &["x", "i"], &["y"]);
    check(&one(13, &[2, 3], gather, vec![blocks.clone()]), &x, &[4.0, 5.0, 6.0, 1.0, 2.0, 3.0]);
    let updates = floats("u", &[2, 3], &[9.0, 8.0, 7.0, 6.0, 5.0, 4.0]);
    let scatter = node("scatter", "ScatterND", &["x", "i", "u"], &["y"]);
    let constants = vec![blocks, updates];
    check(&one(13, &[2, 3], scatter.clone(), constants.clone()), &x, &[6.0, 5.0, 4.0, 9.0, 8.0, 7.0]);
    let adding = attribute(scatter, text("reduction", "add"));
    check(&one(16, &[2, 3], adding, constants), &x, &[7.0, 7.0, 7.0, 13.0, 13.0, 13.0]);
}

#[test]
fn places_that_are_only_known_at_run_time() {
    let gather = attribute(node("gather", "Gather", &["table", "x"], &["y"]), whole("axis", 1));
    let table = floats("table", &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let net = Net { inputs: vec![port("x", 6, &[1, 2])], ..Net::new([gather]).with([table]) };
    check(&net, &[2.0, -3.0], &[3.0, 1.0, 6.0, 4.0]);
}

#[test]
fn sums_by_letters() {
    let net = |equation: &str, shape: &[i64], other: &[i64]| {
        let node = attribute(node("einsum", "Einsum", &["x", "b"], &["y"]), text("equation", equation));
        let count = other.iter().product::<i64>();
        let numbers: Vec<f32> = (1..=count).map(|i| i as f32).collect();
        one(13, shape, node, vec![floats("b", other, &numbers)])
    };
    let x = [1.0, 2.0, 3.0, 4.0];
    check(&net("ij,jk->ki", &[2, 2], &[2, 2]), &x, &[7.0, 15.0, 10.0, 22.0]);
    check(&net("bij, bj -> bi", &[1, 2, 2], &[1, 2]), &x, &[5.0, 11.0]);
    check(&net("...j,j", &[2, 2], &[2]), &x, &[5.0, 11.0]);
    check(&net("ij,kl->", &[2, 2], &[1, 2]), &x, &[30.0]);
}

#[test]
fn triangles_and_running_sums() {
    let x = [1.0, 2.0, 3.0, 4.0];
    let lower = attribute(node("tri", "Trilu", &["x"], &["y"]), whole("upper", 0));
    check(&one(14, &[2, 2], lower, vec![]), &x, &[1.0, 0.0, 3.0, 4.0]);
    let sum = node("sum", "CumSum", &["x", "axis"], &["y"]);
    let reverse = attribute(attribute(sum.clone(), whole("reverse", 1)), whole("exclusive", 1));
    check(&one(14, &[2, 2], sum, vec![longs("axis", &[0])]), &x, &[1.0, 2.0, 4.0, 6.0]);
    check(&one(14, &[2, 2], reverse, vec![longs("axis", &[1])]), &x, &[2.0, 0.0, 4.0, 0.0]);
}

#[test]
fn batch_statistics_when_a_model_asks_for_them() {
    let norm = node("norm", "BatchNormalization", &["x", "s", "b", "m", "v"], &["y", "mean", "var"]);
    let norm = attribute(attribute(norm, whole("training_mode", 1)), float("momentum", 0.75));
    let constants =
        [("s", 2.0), ("b", 1.0), ("m", 4.0), ("v", 8.0)].map(|(name, x)| floats(name, &[1], &[x]));
    let net = Net { outputs: vec!["y", "mean", "var"], ..one(15, &[2, 1, 1, 2], norm, constants.to_vec()) };
    let all = run(&net, &[("x", &[1.0, 3.0, 1.0, 3.0])]);
    for (a, b) in all[0].data().iter().zip([-1.0, 3.0, -1.0, 3.0]) {
        assert!((a - b).abs() < 1e-4, "{all:?}");
    }
    assert_eq!((all[1].data(), all[2].data()), (&[3.5][..], &[6.25][..]));
}

#[test]
fn sizes_that_are_rounded_keep_their_scale() {
    // 5 pixels times 2.1 are 10, but lie where a scale of 2.1 puts them.
    let resize = attribute(node("resize", "Resize", &["x", "", "scales"], &["y"]), text("mode", "linear"));
    let x = [0.0, 1.0, 2.0, 3.0, 4.0];
    let expected: Vec<f32> = (0..10).map(|i| ((i as f32 + 0.5) / 2.1 - 0.5).clamp(0.0, 4.0)).collect();
    let scales = floats("scales", &[4], &[1.0, 1.0, 1.0, 2.1]);
    check(&one(13, &[1, 1, 1, 5], resize, vec![scales]), &x, &expected);
}

#[test]
fn what_onnx_runtime_writes_when_it_optimises() {
    let x = [1.0, -2.0, 3.0, -4.0];
    let conv = attribute(node("conv", "FusedConv", &["x", "w", "", "x"], &["y"]), text("activation", "Relu"));
    let weight = floats("w", &[1, 1, 1, 1], &[2.0]);
    check(&one(13, &[1, 1, 2, 2], microsoft(conv), vec![weight]), &x, &[3.0, 0.0, 9.0, 0.0]);
    let product = node("product", "FusedMatMul", &["x", "x"], &["y"]);
    let product = attribute(attribute(product, whole("transA", 1)), float("alpha", 0.5));
    check(&one(13, &[2, 2], microsoft(product), vec![]), &x, &[5.0, -7.0, -7.0, 10.0]);
    let gelu = node("gelu", "QuickGelu", &["x"], &["y"]);
    let quick: Vec<f32> = x.iter().map(|x| x / (1.0 + (-1.702 * x).exp())).collect();
    check(&one(13, &[2, 2], microsoft(gelu), vec![]), &x, &quick);
}

#[test]
fn quantised_linear_layers_and_softmax() {
    let byte = |name: &str, kind: i64, dims: &[i64], numbers: &[i8]| {
        tensor(name, kind, dims, &numbers.iter().map(|&x| x as u8).collect::<Vec<_>>())
    };
    // x (1, 2) in steps of 0.5 from 10, B (2, 2) in steps of 0.25 by column 0 and 0.5 by column 1.
    let names = ["x", "as", "az", "b", "bs", "bz", "c", "ys", "yz"];
    let gemm = attribute(microsoft(node("gemm", "QGemm", &names, &["y"])), whole("transB", 1));
    let constants = vec![
        scalar("as", 0.5),
        byte("az", 2, &[], &[10]),
        byte("b", 3, &[2, 2], &[4, -8, 2, 6]),
        floats("bs", &[2], &[0.25, 0.5]),
        byte("bz", 3, &[2], &[0, 0]),
        tensor("c", 6, &[2], &[8_i32, -4].map(i32::to_le_bytes).concat()),
        scalar("ys", 0.5),
        byte("yz", 2, &[], &[100]),
    ];
    let net = Net { inputs: vec![port("x", 2, &[1, 2])], ..Net::new([gemm]).with(constants) };
    // x = (1, -2); y = (1 * 1 + 2 * 2 + 1, 1 * 1 - 2 * 3 - 1) = (6, -6)
    check(&net, &[12.0, 6.0], &[112.0, 88.0]);
    let softmax = microsoft(node("softmax", "QLinearSoftmax", &["x", "s", "z", "ys", "z"], &["y"]));
    let softmax = attribute(attribute(softmax, whole("axis", 1)), whole("opset", 13));
    let constants = vec![scalar("s", 1.0), byte("z", 2, &[], &[0]), scalar("ys", 0.01)];
    let inputs = vec![port("x", 2, &[1, 2, 1, 2])];
    let net = Net { inputs, ..Net::new([softmax]).with(constants) };
    // Along the channels of each pixel alone.
    check(&net, &[1.0, 3.0, 1.0, 3.0], &[50.0; 4]);
}

#[test]
fn shape_arithmetic_by_clips_sums_and_places() {
    // The padding that a window of 3 in steps of 2 needs over 4 pixels, as exporters of TensorFlow's rule compute it.
    let nodes = [
        node("shape", "Shape", &["x"], &["s"]),
        node("height", "Gather", &["s", "two"], &["h"]),
        attribute(node("float", "Cast", &["h"], &["f"]), whole("to", 1)),
        node("rest", "Sub", &["five", "f"], &["r"]),
        node("clip", "Clip", &["r", "zero", ""], &["c"]),
        attribute(node("whole", "Cast", &["c"], &["p"]), whole("to", 7)),
        node("scatter", "ScatterND", &["none", "last", "p"], &["pads"]),
        node("pad", "Pad", &["x", "pads"], &["y"]),
    ];
    let constants = [
        longs("two", &[2]),
        floats("five", &[1], &[5.0]),
        scalar("zero", 0.0),
        longs("none", &[0; 8]),
        tensor("last", 7, &[1, 1], &7_i64.to_le_bytes()),
    ];
    let net = Net { inputs: vec![port("x", 1, &[1, 1, 4, 1])], ..Net::new(nodes).with(constants) };
    check(&net, &[1.0, 2.0, 3.0, 4.0], &[1.0, 0.0, 2.0, 0.0, 3.0, 0.0, 4.0, 0.0]);
    // What is known is summed along any axis, in any direction, and picked by places.
    let sum = attribute(node("sum", "CumSum", &["a", "one"], &["b"]), whole("reverse", 1));
    let sum = attribute(sum, whole("exclusive", 1));
    let pick = attribute(node("pick", "GatherElements", &["b", "i"], &["c"]), whole("axis", 1));
    let nodes = [sum, pick, node("reshape", "Reshape", &["x", "c2"], &["y"])];
    let flat = node("flat", "Reshape", &["c", "minus"], &["c2"]);
    let constants = [
        tensor("a", 7, &[1, 3], &[7_i64, 2, 3].map(i64::to_le_bytes).concat()),
        longs("one", &[1]),
        tensor("i", 7, &[1, 2], &[1_i64, -3].map(i64::to_le_bytes).concat()),
        longs("minus", &[-1]),
    ];
    let [sum, pick, reshape] = nodes;
    let net =
        Net { inputs: vec![port("x", 1, &[1, 15])], ..Net::new([sum, pick, flat, reshape]).with(constants) };
    let model = onnx::read(&net.bytes(), None, &ReadOptions::default()).unwrap();
    let y = model.graph.find_output("y").unwrap();
    assert_eq!(model.graph.shape(y).dims(), [3, 5]);
}

#[test]
fn many_places_in_no_order() {
    let order: Vec<i64> = (0..3000).map(|i| i * 7 % 50).collect();
    let gather = attribute(node("gather", "Gather", &["x", "i"], &["y"]), whole("axis", 1));
    let x: Vec<f32> = (0..50).map(|i| i as f32).collect();
    let expected: Vec<f32> = order.iter().map(|&i| i as f32).collect();
    check(&one(13, &[1, 50], gather, vec![longs("i", &order)]), &x, &expected);
}

#[test]
fn sums_that_onnx_runtime_normalises_at_once() {
    let names = ["x", "skip", "scale", "shift", "bias"];
    let norm = microsoft(node("norm", "SkipLayerNormalization", &names, &["y", "", "", "sum"]));
    let constants =
        [("skip", [0.0, 2.0]), ("scale", [1.0, 3.0]), ("shift", [0.5, 0.0]), ("bias", [1.0, 1.0])];
    let constants = constants.map(|(name, numbers)| floats(name, &[2], &numbers));
    let net = Net { outputs: vec!["y", "sum"], ..one(17, &[1, 2], norm, constants.to_vec()) };
    let both = run(&net, &[("x", &[1.0, 3.0])]);
    // x + skip + bias = (2, 6): mean 4, deviation 2.
    assert!(both[0].data().iter().zip([-0.5, 3.0]).all(|(a, b)| (a - b).abs() < 1e-5), "{both:?}");
    assert_eq!(both[1].data(), [2.0, 6.0]);
    let simple = microsoft(node("norm", "SkipSimplifiedLayerNormalization", &["x", "skip", "scale"], &["y"]));
    let constants = [("skip", [0.0, 4.0]), ("scale", [1.0, 5.0])];
    let constants = constants.map(|(name, numbers)| floats(name, &[2], &numbers)).to_vec();
    // (1, 7) by the root of 25.
    check(&one(17, &[1, 2], simple, constants), &[1.0, 3.0], &[0.2, 7.0]);
}

#[test]
fn images_whose_channels_are_last() {
    let pool = microsoft(node("pool", "NhwcMaxPool", &["x"], &["y"]));
    let pool = attribute(pool, wholes("kernel_shape", &[2, 2]));
    let net = Net { inputs: vec![port("x", 2, &[1, 2, 2, 2])], ..Net::new([pool]) };
    check(&net, &[1.0, 8.0, 2.0, 7.0, 3.0, 6.0, 4.0, 5.0], &[4.0, 8.0]);
    let mean = microsoft(node("mean", "QLinearGlobalAveragePool", &["x", "s", "z", "s", "z"], &["y"]));
    let mean = attribute(mean, whole("channels_last", 1));
    let constants = vec![scalar("s", 0.5), tensor("z", 2, &[], &[2])];
    let net = Net { inputs: vec![port("x", 2, &[1, 2, 1, 2])], ..Net::new([mean]).with(constants) };
    check(&net, &[2.0, 10.0, 4.0, 20.0], &[3.0, 15.0]);
}

#[test]
fn products_with_integers_that_are_fed_numbers() {
    let bytes = |name: &str, kind: i64, dims: &[i64], raw: &[u8]| tensor(name, kind, dims, raw);
    // x in steps of 1 from 0 to 255; B (2, 1) = (2 - 1, 5 - 1) / 2.
    let product = microsoft(node("product", "DynamicQuantizeMatMul", &["x", "b", "s", "z", "c"], &["y"]));
    let constants = vec![
        bytes("b", 2, &[2, 1], &[2, 5]),
        scalar("s", 0.5),
        bytes("z", 2, &[], &[1]),
        floats("c", &[1], &[10.0]),
    ];
    check(&one(13, &[1, 2], product, constants), &[255.0, 0.0], &[137.5]);
    let product = microsoft(node("product", "MatMulIntegerToFloat", &["x", "b", "a", "s", "", "z"], &["y"]));
    let constants = vec![
        bytes("b", 3, &[2, 2], &[1, 2, 3, 4]),
        scalar("a", 0.5),
        floats("s", &[2], &[1.0, 2.0]),
        bytes("z", 3, &[2], &[0, 1]),
    ];
    let net = Net { inputs: vec![port("x", 2, &[1, 2])], ..Net::new([product]).with(constants) };
    // (1, 2) times ((1, 2), (3, 6))
    check(&net, &[2.0, 4.0], &[7.0, 14.0]);
}

#[test]
fn weights_of_four_bits() {
    let sizes = [("K", 3), ("N", 2), ("bits", 4), ("block_size", 2)];
    let product = microsoft(node("product", "MatMulNBits", &["x", "b", "s", "z"], &["y"]));
    let product = sizes.into_iter().fold(product, |node, (name, size)| attribute(node, whole(name, size)));
    let constants = vec![
        // Rows (1, 2, 3) and (4, 5, 6), two numbers to a byte, the last byte of each row half used.
        tensor("b", 2, &[2, 2, 1], &[0x21, 0x03, 0x54, 0x06]),
        floats("s", &[4], &[1.0, 10.0, 100.0, 1000.0]),
        tensor("z", 2, &[2], &[0x10, 0x64]),
    ];
    // Zeros (0, 1) and (4, 6): rows (1, 2, 20) and (0, 100, 0).
    check(&one(13, &[1, 3], product, constants), &[1.0, 1.0, 2.0], &[43.0, 100.0]);
}
