//! The published figures: parameters, multiply-accumulates and names of every network.

use ocellus_graph::{Graph, Node, Op, Role, Summary};
use ocellus_zoo::{Options, build};

fn graph(name: &str) -> Graph {
    build(name, &Options::default()).unwrap()
}

fn parameters(graph: &Graph, role: Role) -> usize {
    graph.params().iter().filter(|p| p.role == role).map(|p| p.shape.elements()).sum()
}

/// Multiply-accumulates of convolutions and fully connected layers in one prediction, as papers count them; reckoned
/// here from the shapes alone, apart from the graph's own cost rules.
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

/// Name, learned parameters (those of auxiliary heads too), multiply-accumulates (without theirs), and those in billions
/// as published ("" if they are not): torchvision's table of weights; for timm's networks PyTorch's own counter,
/// `torch.utils.flop_counter`; for Caffe's AlexNet Sze et al., "Efficient processing of deep neural networks" (2017),
/// table 2; for ResNet v1 and the CIFAR ones He et al. 2015, tables 1 and 6 (whose 3.8 for depth 50 is not rounded).
const FIGURES: &[(&str, usize, usize, &str)] = &[
    ("digits", 25_978, 601_600, ""),
    ("nielsen", 4_408, 47_520, ""),
    ("mlp", 669_706, 668_672, ""),
    ("lenet", 431_080, 2_293_000, ""),
    ("siamese_lenet", 431_102, 4_586_040, ""),
    ("alexnet", 61_100_840, 714_188_480, "0.714"),
    ("alexnet_caffe", 60_965_224, 724_406_816, "0.724"),
    ("caffenet", 60_965_224, 724_406_816, ""),
    ("vgg11", 132_863_336, 7_609_090_048, "7.609"),
    ("vgg11_bn", 132_868_840, 7_609_090_048, "7.609"),
    ("vgg13", 133_047_848, 11_308_466_176, "11.308"),
    ("vgg13_bn", 133_053_736, 11_308_466_176, "11.308"),
    ("vgg16", 138_357_544, 15_470_264_320, "15.47"),
    ("vgg16_bn", 138_365_992, 15_470_264_320, "15.47"),
    ("vgg19", 143_667_240, 19_632_062_464, "19.632"),
    ("vgg19_bn", 143_678_248, 19_632_062_464, "19.632"),
    ("nin_cifar", 966_986, 222_486_528, ""),
    ("nin_imagenet", 7_595_176, 1_100_188_800, ""),
    ("googlenet", 13_004_888, 1_498_376_192, "1.498"),
    ("inception_v3", 27_161_264, 5_713_216_096, "5.713"),
    ("inception_v4", 42_679_816, 12_253_974_624, "12.25"),
    ("squeezenet1_0", 1_248_424, 818_924_576, "0.819"),
    ("squeezenet1_1", 1_235_496, 349_151_936, "0.349"),
    ("resnet18", 11_689_512, 1_814_073_344, "1.814"),
    ("resnet34", 21_797_672, 3_663_761_408, "3.664"),
    ("resnet50", 25_557_032, 4_089_184_256, "4.089"),
    ("resnet101", 44_549_160, 7_801_405_440, "7.801"),
    ("resnet152", 60_192_808, 11_513_626_624, "11.514"),
    ("resnet18_v1", 11_689_512, 1_814_073_344, ""),
    ("resnet34_v1", 21_797_672, 3_663_761_408, ""),
    ("resnet50_v1", 25_557_032, 3_857_973_248, ""),
    ("resnet101_v1", 44_549_160, 7_570_194_432, "7.6"),
    ("resnet152_v1", 60_192_808, 11_282_415_616, "11.3"),
    ("resnet18_v2", 11_687_720, 1_814_073_344, ""),
    ("resnet34_v2", 21_795_880, 3_663_761_408, ""),
    ("resnet50_v2", 25_549_352, 4_089_184_256, "4.09"),
    ("resnet101_v2", 44_541_480, 7_801_405_440, ""),
    ("resnet152_v2", 60_185_128, 11_513_626_624, ""),
    ("resnext50_32x4d", 25_028_904, 4_230_479_872, "4.23"),
    ("wide_resnet50_2", 68_883_240, 11_398_021_120, "11.398"),
    ("se_resnet50", 28_088_024, 4_091_699_200, "4.09"),
    ("resnet20", 269_722, 40_551_040, "0.041"),
    ("resnet32", 464_154, 68_862_592, "0.069"),
    ("resnet44", 658_586, 97_174_144, "0.097"),
    ("resnet56", 853_018, 125_485_696, "0.125"),
    ("resnet110", 1_727_962, 252_887_680, "0.253"),
    ("airbench94", 1_972_792, 118_147_360, ""),
    ("mobilenet_v1", 4_231_976, 568_740_352, "0.569"),
    ("mobilenet_v2", 3_504_872, 300_774_272, "0.301"),
    ("efficientnet_b0", 5_288_548, 385_814_752, "0.386"),
    ("densenet121", 7_978_856, 2_834_161_664, "2.834"),
    ("convnext_tiny", 28_589_128, 4_455_531_264, "4.456"),
];

#[test]
fn parameters_and_multiply_accumulates_are_the_published_ones() {
    let named: Vec<&str> = FIGURES.iter().map(|(name, ..)| *name).collect();
    assert_eq!(named, ocellus_zoo::names(), "every network has its figures");
    for &(name, learned, work, published) in FIGURES {
        let graph = graph(name);
        assert_eq!(parameters(&graph, Role::Weight), learned, "parameters of {name}");
        assert_eq!(macs(&graph.for_inference().unwrap()), work, "multiply-accumulates of {name}");
        assert_eq!(Summary::of(&graph).macs, work as u64, "the summary's count for {name}");
        if let Some((_, decimals)) = published.split_once('.') {
            let billions = format!("{:.*}", decimals.len(), work as f64 / 1e9);
            assert_eq!(billions, published, "published multiply-accumulates of {name}");
        }
    }
}

#[test]
fn auxiliary_heads_are_counted_apart_as_published() {
    for (name, without) in [("googlenet", 6_624_904), ("inception_v3", 23_834_568)] {
        let graph = graph(name);
        assert_eq!(parameters(&graph.for_inference().unwrap(), Role::Weight), without, "{name}");
        assert_eq!(Summary::of(&graph).parameters.auxiliary, parameters(&graph, Role::Weight) - without);
    }
}

#[test]
fn nielsens_network_is_that_of_his_drawing() {
    let graph = graph("nielsen");
    let shape = |value: &str| graph.shape(graph.find_value(value).unwrap()).to_vec();
    assert_eq!([shape("conv"), shape("pool")], [[1, 3, 24, 24], [1, 3, 12, 12]]);
    assert_eq!(shape("fc.weight"), [10, 432]);
}

#[test]
fn both_towers_of_the_siamese_network_read_the_same_parameters() {
    let graph = graph("siamese_lenet");
    for param in graph.params() {
        let readers = &graph.readers()[param.value.index()];
        let towers: Vec<&str> = readers.iter().map(|&id| &graph.node(id).name[..6]).collect();
        assert_eq!(towers, ["tower1", "tower2"], "{}", param.name);
    }
    let embedding = graph.prune(&["output"]).unwrap();
    assert_eq!(embedding.inputs().len(), 1);
    assert_eq!(parameters(&embedding, Role::Weight), 431_102);
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
    let expected: &[(&str, &str, &[usize])] = &[
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
        ("alexnet", "features.3.weight", &[192, 64, 5, 5]),
        ("alexnet", "classifier.6.bias", &[1000]),
        ("vgg16", "features.28.weight", &[512, 512, 3, 3]),
        ("vgg16", "classifier.0.weight", &[4096, 25_088]),
        ("vgg16_bn", "features.40.weight", &[512, 512, 3, 3]),
        ("vgg16_bn", "features.41.running_var", &[512]),
        ("squeezenet1_0", "features.12.expand3x3.weight", &[256, 64, 3, 3]),
        ("squeezenet1_1", "features.6.squeeze.bias", &[32]),
        ("squeezenet1_1", "classifier.1.weight", &[1000, 512, 1, 1]),
        ("mobilenet_v2", "features.1.conv.1.weight", &[16, 32, 1, 1]),
        ("mobilenet_v2", "features.2.conv.1.0.weight", &[96, 1, 3, 3]),
        ("mobilenet_v2", "features.17.conv.3.running_mean", &[320]),
        ("mobilenet_v2", "features.18.1.weight", &[1280]),
    ];
    for &(network, name, shape) in expected {
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
