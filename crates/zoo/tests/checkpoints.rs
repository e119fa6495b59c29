//! Do the parameters carry the names and shapes of the published checkpoints? All of them, by a fingerprint.
//!
//! ```text
//! one line for each tensor of the state_dict (num_batches_tracked aside): its name and its sizes above 1, by spaces
//! the lines sorted, joined by line feeds, hashed by FNV-1a with 64 bits
//! ```
//!
//! The numbers below were found from the state_dicts of torchvision 0.29 and timm 1.0 (`mobilenetv1_100`,
//! `inception_v4`, `seresnet50`, `resnetv2_18` to `resnetv2_152`), not from this zoo. Sizes of 1 are left out because a
//! fully connected layer and a 1x1 convolution stand for each other.

use ocellus_graph::Graph;
use ocellus_zoo::{Options, build};

/// Name, tensors, fingerprint.
const STATE_DICTS: &[(&str, usize, u64)] = &[
    ("alexnet", 16, 0x9240727f2d812e78),
    ("vgg11", 22, 0x999fbcb554fea6cb),
    ("vgg11_bn", 54, 0xe58252b4b8e24fbb),
    ("vgg13", 26, 0x7b5af1067490c306),
    ("vgg13_bn", 66, 0xb94cafec75bdcd3e),
    ("vgg16", 32, 0xb5a456e0527d7dc4),
    ("vgg16_bn", 84, 0xc1bb19620e64b22b),
    ("vgg19", 38, 0xaea988c08af12f30),
    ("vgg19_bn", 102, 0x8970bf7aa1ee9ffe),
    ("googlenet", 305, 0x6e39a38ee2d5cae5),
    ("inception_v3", 484, 0x5a10583f139e3cbe),
    ("inception_v4", 747, 0x4ba5212aec1faab6),
    ("squeezenet1_0", 52, 0x6174217a0766589d),
    ("squeezenet1_1", 52, 0x82c841d71418f1d8),
    ("resnet18", 102, 0x932aaa429338c93c),
    ("resnet34", 182, 0x398268eaf4614364),
    ("resnet50", 267, 0x2eca035c6a19a241),
    ("resnet101", 522, 0xdf673c4e74c7667c),
    ("resnet152", 777, 0xb2cb604843ffc9e8),
    ("resnet18_v2", 90, 0x7a0e0f3da3bae48a),
    ("resnet34_v2", 170, 0x6c6c9fd566804bc0),
    ("resnet50_v2", 251, 0xa0fcd45fd794ee1b),
    ("resnet101_v2", 506, 0xac1b8fd02c1984e9),
    ("resnet152_v2", 761, 0xaed238a9b675b954),
    ("resnext50_32x4d", 267, 0x07cb50cf1dcb7d90),
    ("wide_resnet50_2", 267, 0xa4ed7c112e51ddd5),
    ("se_resnet50", 331, 0x359d7ab61baae86e),
    ("mobilenet_v1", 137, 0xce593af698c91632),
    ("mobilenet_v2", 262, 0x545b54f576a63916),
    ("efficientnet_b0", 311, 0x7661be6e8a7d7f74),
    ("densenet121", 606, 0x8eca897f52c8ba97),
    ("convnext_tiny", 182, 0x1b064b594b013ec1),
];

fn lines(graph: &Graph) -> Vec<String> {
    let line = |param: &ocellus_graph::Param| {
        let sizes = param.shape.iter().filter(|&&size| size != 1).map(|size| format!(" {size}"));
        param.name.clone() + &sizes.collect::<String>()
    };
    let mut lines: Vec<String> = graph.params().iter().map(line).collect();
    lines.sort();
    lines
}

/// Fowler, Noll and Vo's hash, variant 1a.
fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[test]
fn every_tensor_of_the_published_checkpoints_has_its_parameter() {
    for &(name, tensors, expected) in STATE_DICTS {
        let lines = lines(&build(name, &Options::default()).unwrap());
        assert_eq!(lines.len(), tensors, "{name}");
        assert_eq!(fingerprint(&lines.join("\n")), expected, "{name}: {:#?}", &lines[..8.min(lines.len())]);
    }
}
