//! MobileNet, version 2: depthwise convolutions between linear bottlenecks.

use ocellus_graph::ops::Activation;
use ocellus_graph::{Builder, Conv, Dense, Graph, GraphError, ValueId};

use crate::options::Size;
use crate::parts::{HE_FAN_OUT, IMAGENET, conv_norm, normal};
use crate::{Options, ZooError};

/// Blocks of one width (Sandler et al. 2018, table 2).
struct Stage {
    /// How many times more channels a block has inside.
    expand: usize,
    channels: usize,
    count: usize,
    /// Of its first block.
    stride: usize,
}

const STAGES: [Stage; 7] = [
    Stage { expand: 1, channels: 16, count: 1, stride: 1 },
    Stage { expand: 6, channels: 24, count: 2, stride: 2 },
    Stage { expand: 6, channels: 32, count: 3, stride: 2 },
    Stage { expand: 6, channels: 64, count: 4, stride: 2 },
    Stage { expand: 6, channels: 96, count: 3, stride: 1 },
    Stage { expand: 6, channels: 160, count: 3, stride: 2 },
    Stage { expand: 6, channels: 320, count: 1, stride: 1 },
];

/// MobileNetV2 at width 1: 3x224x224, 1000 classes, 3,504,872 parameters, 0.30 billion multiply-accumulates.
///
/// Each block widens with a 1x1 convolution, filters each channel with a 3x3 one, and narrows with a 1x1 one that no
/// ReLU follows. Nodes are `block3.expand`, `.depthwise`, `.project`; parameters are named and filled as torchvision
/// does (`features.3.conv.0.0.weight`, `classifier.1.bias`). Any image size will do.
///
/// Source: Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks" (2018), table 2; torchvision,
/// `models/mobilenetv2.py`.
///
/// ```
/// let graph = ocellus_zoo::mobilenet_v2(&Default::default())?;
/// assert!(graph.find_param("features.18.0.weight").is_some());
/// # Ok::<(), ocellus_zoo::ZooError>(())
/// ```
pub fn mobilenet_v2(options: &Options) -> Result<Graph, ZooError> {
    let size = IMAGENET.choose("mobilenet_v2", options)?;
    Ok(describe(&size)?)
}

fn describe(size: &Size) -> Result<Graph, GraphError> {
    let mut b = Builder::new("mobilenet_v2");
    let x = b.input("input", size.input()); // (1, 3, 224, 224)
    let stem = Conv::new(32, 3).stride(2).padding(1);
    let mut x = unit(&mut b, "stem", x, stem, "features.0".into()); // (1, 32, 112, 112)
    let mut module = 0;
    for Stage { expand, channels, count, stride } in STAGES {
        for i in 0..count {
            module += 1;
            let block = Block { module, expand, channels, stride: if i == 0 { stride } else { 1 } };
            x = b.scope(&format!("block{module}"), |b| bottleneck(b, x, &block));
        }
    }
    let x = unit(&mut b, "head", x, Conv::new(1280, 1), "features.18".into()); // (1, 1280, 7, 7)
    let x = b.global_avg_pool("avgpool", x);
    let x = b.flatten("flatten", x);
    let x = b.dropout("dropout", x, 0.2);
    let x = b.linear("classifier", x, Dense::new(size.classes).init(normal(0.01)).params("classifier.1"));
    b.output("output", x);
    b.finish()
}

/// One inverted residual.
struct Block {
    /// Its number among torchvision's `features`.
    module: usize,
    expand: usize,
    channels: usize,
    stride: usize,
}

fn bottleneck(b: &mut Builder, x: ValueId, block: &Block) -> ValueId {
    let inside = b.channels(x).saturating_mul(block.expand);
    let part = |i: usize| format!("features.{}.conv.{i}", block.module);
    let mut module = 0; // a block that does not expand has one part less
    let mut y = x;
    if block.expand != 1 {
        y = unit(b, "expand", y, Conv::new(inside, 1), part(module));
        module += 1;
    }
    let depthwise = Conv::new(inside, 3).stride(block.stride).padding(1).groups(inside);
    y = unit(b, "depthwise", y, depthwise, part(module));
    let project = Conv::new(block.channels, 1).init(HE_FAN_OUT);
    y = conv_norm(b, "project", y, project, [part(module + 1), part(module + 2)]);
    if block.stride == 1 && b.channels(x) == block.channels { b.add("add", x, y) } else { y }
}

/// Convolution, batch normalisation and ReLU6 with the parameters `PARAMS.0` and `PARAMS.1`.
fn unit(b: &mut Builder, name: &str, x: ValueId, conv: Conv, params: String) -> ValueId {
    let params = [format!("{params}.0"), format!("{params}.1")];
    let x = conv_norm(b, name, x, conv.init(HE_FAN_OUT), params);
    b.activation(&format!("{name}.relu6"), x, Activation::Clip { low: 0.0, high: 6.0 })
}
