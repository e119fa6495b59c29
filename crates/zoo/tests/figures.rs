//! The published figures: parameters, multiply-accumulates and names of every network.

use ocellus_graph::{Graph, Node, Op, Role};
use ocellus_zoo::{Options, build};

fn graph(name: &str) -> Graph {
    build(name, &Options::default()).unwrap()
}

fn parameters(graph: &Graph, role: Role) -> usize {
    graph.params().iter().filter(|p| p.role == role).map(|p| p.shape.elements()).sum()
}

/// Multiply-accumulates of convolutions and fully connected layers, as papers count them; reckoned here from the
/// shapes alone, apart from the graph's own cost rules.
fn macs(graph: &Graph) -> usize {
    let of = |node: &Node| {
        let weight = |i: usize| graph.shape(node.inputs[i]);
        let outputs = graph.shape(node.outputs[0]).elements();
        match node.op {
            Op::Conv2d(_) => outputs * weight(1)[1..].iter().product::<usize>(),
            Op::Linear(_) => outputs * weight(1)[1],
            _ => 0,
        }
    };
    graph.nodes().iter().map(of).sum()
}

#[test]
fn parameters_and_multiply_accumulates_are_the_published_ones() {
    let expected = [
        ("lenet", 431_080, 2_293_000),
        ("digits", 25_978, 601_600),
        ("resnet18", 11_689_512, 1_814_073_344),
        ("resnet34", 21_797_672, 3_663_761_408),
        ("resnet50", 25_557_032, 4_089_184_256),
        ("resnet101", 44_549_160, 7_801_405_440),
        ("resnet152", 60_192_808, 11_513_626_624),
        ("resnet20", 269_722, 40_551_040),
        ("resnet32", 464_154, 68_862_592),
        ("resnet44", 658_586, 97_174_144),
        ("resnet56", 853_018, 125_485_696),
        ("resnet110", 1_727_962, 252_887_680),
    ];
    assert_eq!(expected.len(), ocellus_zoo::names().len());
    for (name, learned, work) in expected {
        let graph = graph(name);
        assert_eq!(parameters(&graph, Role::Weight), learned, "parameters of {name}");
        assert_eq!(macs(&graph), work, "multiply-accumulates of {name}");
        assert_eq!(graph.cost().macs, work as u64, "the graph's own count for {name}");
    }
}

#[test]
fn resnet50_has_53_normalisations_and_54_weighted_layers_with_its_4_projections() {
    let graph = graph("resnet50");
    let count = |is: fn(&Op) -> bool| graph.nodes().iter().filter(|n| is(&n.op)).count();
    assert_eq!(count(|op| matches!(op, Op::BatchNorm(_))), 53);
    assert_eq!(count(|op| matches!(op, Op::Conv2d(_) | Op::Linear(_))), 50 + 4);
    assert_eq!(graph.nodes().iter().filter(|n| n.name.ends_with("downsample.0")).count(), 4);
    assert_eq!(parameters(&graph, Role::Statistic), 2 * 26_560);
}

#[test]
fn every_network_is_kept_by_its_text_form() {
    for name in ocellus_zoo::names() {
        let graph = graph(name);
        let text = ocellus_graph::to_text(&graph).unwrap();
        assert_eq!(ocellus_graph::from_text(&text).unwrap(), graph, "{name}");
    }
}

#[test]
fn names_and_shapes_are_those_of_the_checkpoints() {
    let expected: [(&str, &str, &[usize]); 12] = [
        ("lenet", "fc1.weight", &[500, 800]),
        ("lenet", "conv2.bias", &[50]),
        ("resnet20", "conv1.weight", &[16, 3, 3, 3]),
        ("resnet20", "layer2.0.conv1.weight", &[32, 16, 3, 3]),
        ("resnet20", "layer3.2.bn2.running_mean", &[64]),
        ("resnet20", "linear.weight", &[10, 64]),
        ("resnet18", "layer1.1.conv2.weight", &[64, 64, 3, 3]),
        ("resnet18", "layer4.0.downsample.0.weight", &[512, 256, 1, 1]),
        ("resnet50", "layer1.0.downsample.1.running_var", &[256]),
        ("resnet50", "layer3.5.conv3.weight", &[1024, 256, 1, 1]),
        ("resnet50", "fc.weight", &[1000, 2048]),
        ("resnet152", "layer3.35.bn3.bias", &[1024]),
    ];
    for (network, name, shape) in expected {
        let graph = graph(network);
        let id = graph.find_param(name).unwrap_or_else(|| panic!("{network} has no {name}"));
        assert_eq!(graph.param(id).shape.dims(), shape, "{network} {name}");
    }
    assert!(graph("resnet18").find_param("layer1.0.downsample.0.weight").is_none());
}

#[test]
fn a_bottleneck_strides_in_its_3x3_convolution() {
    let graph = graph("resnet50");
    let side = |name: &str| graph.shape(graph.node(graph.find_node(name).unwrap()).outputs[0])[2];
    assert_eq!(["layer2.0.conv1", "layer2.0.conv2"].map(side), [56, 28]);
}

#[test]
fn option_a_takes_every_second_pixel_and_pads_channels_evenly() {
    let graph = graph("resnet20");
    let node = |name: &str| &graph.node(graph.find_node(name).unwrap()).op;
    let Op::Pad(pad) = node("layer3.0.shortcut.pad") else { panic!("no padding") };
    assert_eq!(pad.channels, [16, 16]);
    let Op::Slice(slice) = node("layer3.0.shortcut.columns") else { panic!("no slice") };
    assert_eq!((slice.axis, slice.start, slice.step, slice.count), (3, 0, 2, 8));
}
