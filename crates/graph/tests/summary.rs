//! Counting: parameters, multiply-accumulates, layers, receptive fields.

mod common;

use common::{lenet, resnet50, small_residual};
use ocellus_graph::{Builder, Conv, Dense, Layers, Role, Summary};
use ocellus_tensor::Window;

#[test]
fn resnet50_is_what_the_paper_says() {
    let graph = resnet50();
    graph.check().unwrap();
    let summary = Summary::of(&graph);
    assert_eq!(summary.parameters.trainable, 25_557_032);
    assert_eq!(summary.parameters.statistics, 2 * 26_560);
    assert_eq!(summary.macs, 4_089_184_256);
    let field = summary.receptive_field.unwrap();
    assert_eq!((field.size, field.stride), ([427, 427], [32.0, 32.0])); // torchvision's, stride in the 3x3
}

#[test]
fn resnet50_has_fifty_layers_and_says_why() {
    let layers = Layers::of(&resnet50());
    assert_eq!(layers.weighted, 50);
    assert_eq!(layers.reckoning, [(1, 1), (16, 3), (1, 1)]);
    assert_eq!(layers.sum(), "1 + 16x3 + 1 = 50");
    assert_eq!((layers.shortcut_projections, layers.batch_norms, layers.weighted_modules), (4, 53, 54));
    assert_eq!((layers.gate_layers, layers.parallel_layers, layers.auxiliary_layers), (0, 0, 0));
    let text = layers.to_string();
    assert!(text.contains("4 shortcut projections, beside a longer path"), "{text}");
    assert!(text.contains("53 BatchNorms"), "{text}");
}

#[test]
fn lenet_in_numbers_and_as_a_table() {
    let summary = Summary::of(&lenet());
    assert_eq!(summary.parameters.trainable, 431_080);
    assert_eq!(summary.macs, 288_000 + 1_600_000 + 400_000 + 5_000);
    assert_eq!((summary.layers.weighted, summary.layers.sum().as_str()), (4, "4"));
    assert_eq!(summary.receptive_field.unwrap().size, [16, 16]);
    let text = summary.to_string();
    let row = text.lines().find(|line| line.starts_with("ip1")).unwrap();
    assert_eq!(
        row.split_whitespace().collect::<Vec<_>>(),
        ["ip1", "linear", "(1,", "500)", "400,500", "400,000"]
    );
    let widths: Vec<usize> = text.lines().skip(1).take(9).map(str::len).collect();
    assert!(widths.windows(2).all(|pair| pair[0] == pair[1]), "{text}");
}

#[test]
fn parallel_branches_gates_and_auxiliary_heads_add_no_depth() {
    let mut b = Builder::new("branches");
    let x = b.input("x", [1, 8, 8, 8]);
    let stem = b.conv2d("stem", x, Conv::new(8, 3).padding(1));
    let long = b.conv2d("long1", stem, Conv::new(4, 1));
    let long = b.conv2d("long2", long, Conv::new(4, 3).padding(1));
    let short = b.conv2d("short", stem, Conv::new(4, 1));
    let both = b.concat("concat", &[short, long]);
    let squeezed = b.global_avg_pool("squeeze", both);
    let gate = b.conv2d("gate1", squeezed, Conv::new(2, 1));
    let gate = b.conv2d("gate2", gate, Conv::new(8, 1));
    let gate = b.sigmoid("gate", gate);
    let gated = b.mul("gated", both, gate);
    let aux = b.conv2d("aux", both, Conv::new(3, 1));
    let y = b.conv2d("last", gated, Conv::new(3, 1));
    b.output("output", y);
    b.output("aux", aux);
    let layers = Layers::of(&b.finish().unwrap());
    assert_eq!((layers.weighted, layers.sum().as_str()), (4, "1 + 2 + 1 = 4"));
    assert_eq!((layers.parallel_layers, layers.gate_layers, layers.auxiliary_layers), (1, 2, 1));
    assert_eq!((layers.shortcut_projections, layers.weighted_modules), (0, 8));
    let text = layers.to_string();
    assert!(text.contains("1 layer of parallel branches,") && text.contains("2 gate layers,"), "{text}");
}

#[test]
fn a_module_used_three_times_counts_once_as_a_module_and_thrice_in_depth() {
    let mut b = Builder::new("repeated");
    let mut x = b.input("x", [1, 8]);
    for step in 0..3 {
        x = b.scope_sharing(&format!("step{step}"), "module", |b| b.linear("fc", x, Dense::new(8)));
    }
    b.output("output", x);
    let graph = b.finish().unwrap();
    let summary = Summary::of(&graph);
    assert_eq!((summary.layers.weighted, summary.layers.weighted_modules), (3, 1));
    assert_eq!(summary.parameters.trainable, 72);
    assert_eq!(summary.nodes.iter().map(|node| node.parameters).collect::<Vec<_>>(), [72, 0, 0]);
    assert_eq!(graph.parameter_count(Role::Weight), 72);
}

#[test]
fn receptive_fields_grow_and_shrink() {
    let mut b = Builder::new("fields");
    let x = b.input("x", [1, 1, 32, 32]);
    let down = b.conv2d("down", x, Conv::new(2, 3).stride(2).padding(1));
    let dilated = b.conv2d("dilated", down, Conv::new(2, 3).dilation(2).padding(2));
    let up = b.conv_transpose2d(
        "up",
        dilated,
        ocellus_graph::ConvTranspose::new(Conv::new(1, 4).stride(2).padding(1)),
    );
    let pooled = b.avg_pool("pool", up, Window::square(2).stride(2));
    let vector = b.global_avg_pool("global", pooled);
    b.output("output", vector);
    let graph = b.finish().unwrap();
    let fields = graph.receptive_fields();
    let of = |name: &str| fields[graph.find_value(name).unwrap().index()];
    assert_eq!(of("down").unwrap().size, [3, 3]);
    assert_eq!((of("dilated").unwrap().size, of("dilated").unwrap().stride), ([11, 11], [2.0, 2.0]));
    assert_eq!((of("up").unwrap().size, of("up").unwrap().stride), ([13, 13], [1.0, 1.0]));
    assert_eq!(of("pool").unwrap().size, [14, 14]);
    assert_eq!(of("global"), None);
}

#[test]
fn costs_count_bytes_and_gradients() {
    let graph = small_residual();
    let conv1 = graph.node_cost(graph.find_node("conv1").unwrap());
    assert_eq!(conv1.macs, 2 * 4 * 64 * 27);
    assert_eq!(conv1.bytes_read, 4 * (2 * 3 * 64 + 4 * 27));
    assert_eq!(conv1.bytes_written, 4 * 2 * 4 * 64);
    assert_eq!(graph.node_cost(graph.find_node("flatten").unwrap()).bytes_read, 0);
    let training = graph.with_classifier_loss(0.0).unwrap().for_training().unwrap();
    let gradients = ocellus_graph::differentiate(&training, &Default::default()).unwrap();
    // conv1 has no input gradient; conv2 and fc have both.
    let conv2 = 2 * 4 * 64 * 36;
    let fc = 2 * 4 * 5;
    assert_eq!(gradients.graph.cost().macs, 2 * conv1.macs + 3 * conv2 + 3 * fc);
}
