//! EfficientNet: inverted residuals with squeeze and excitation, found by search.

use ocellus_graph::ops::Activation;
use ocellus_graph::{Builder, Conv, Dense, Distribution, Fan, Graph, GraphError, Init, ValueId};

use crate::options::Size;
use crate::parts::{HE_FAN_OUT, IMAGENET, conv_norm};
use crate::{Options, ZooError};

/// Blocks of one width (Tan and Le 2019, table 1).
struct Stage {
    /// How many times more channels a block has inside.
    expand: usize,
    kernel: usize,
    /// Of its first block.
    stride: usize,
    channels: usize,
    count: usize,
}

const STAGES: [Stage; 7] = [
    Stage { expand: 1, kernel: 3, stride: 1, channels: 16, count: 1 },
    Stage { expand: 6, kernel: 3, stride: 2, channels: 24, count: 2 },
    Stage { expand: 6, kernel: 5, stride: 2, channels: 40, count: 2 },
    Stage { expand: 6, kernel: 3, stride: 2, channels: 80, count: 3 },
    Stage { expand: 6, kernel: 5, stride: 1, channels: 112, count: 3 },
    Stage { expand: 6, kernel: 5, stride: 2, channels: 192, count: 4 },
    Stage { expand: 6, kernel: 3, stride: 1, channels: 320, count: 1 },
];

/// EfficientNet-B0: 3x224x224, 1000 classes, 5,288,548 parameters, 0.39 billion multiply-accumulates.
///
/// Each block widens with a 1x1 convolution, filters each channel, scales the channels by factors found from their
/// means, and narrows with a 1x1 convolution. Nodes are `block3.expand`, `.depthwise`, `.excite`, `.project`; parameters
/// are named and filled as torchvision does (`features.2.0.block.1.0.weight`). Any image size will do. The paper's
/// stochastic depth, which skips blocks at random while training, is left out.
///
/// Source: Tan and Le, "EfficientNet: rethinking model scaling for convolutional neural networks" (2019), table 1;
/// torchvision, `models/efficientnet.py`.
///
/// ```
/// let graph = ocellus_zoo::efficientnet_b0(&Default::default())?;
/// let squeeze = graph.param(graph.find_param("features.2.0.block.2.fc1.weight").unwrap());
/// assert_eq!(squeeze.shape.dims(), [4, 96, 1, 1]);
/// # Ok::<(), ocellus_zoo::ZooError>(())
/// ```
pub fn efficientnet_b0(options: &Options) -> Result<Graph, ZooError> {
    let size = IMAGENET.choose("efficientnet_b0", options)?;
    Ok(describe(&size)?)
}

fn describe(size: &Size) -> Result<Graph, GraphError> {
    let mut b = Builder::new("efficientnet_b0");
    let x = b.input("input", size.input()); // (1, 3, 224, 224)
    let stem = Conv::new(32, 3).stride(2).padding(1);
    let mut x = unit(&mut b, "stem", x, stem, "features.0"); // (1, 32, 112, 112)
    let mut number = 0;
    for (stage, settings) in (1..).zip(&STAGES) {
        for i in 0..settings.count {
            number += 1;
            let block = Block {
                params: format!("features.{stage}.{i}.block"),
                stage: settings,
                stride: if i == 0 { settings.stride } else { 1 },
            };
            x = b.scope(&format!("block{number}"), |b| inverted_residual(b, x, &block));
        }
    }
    let x = unit(&mut b, "head", x, Conv::new(1280, 1), "features.8"); // (1, 1280, 7, 7)
    let x = b.global_avg_pool("avgpool", x);
    let x = b.flatten("flatten", x);
    let x = b.dropout("dropout", x, 0.2);
    // Even between -1/sqrt(classes) and 1/sqrt(classes).
    let init = Init::VarianceScaling {
        gain: 1.0 / 3.0_f32.sqrt(),
        fan: Fan::Out,
        distribution: Distribution::Uniform,
    };
    let x = b.linear("classifier", x, Dense::new(size.classes).init(init).params("classifier.1"));
    b.output("output", x);
    b.finish()
}

/// One inverted residual.
struct Block<'a> {
    /// What the names of its parameters begin with.
    params: String,
    stage: &'a Stage,
    stride: usize,
}

fn inverted_residual(b: &mut Builder, x: ValueId, block: &Block) -> ValueId {
    let Stage { expand, kernel, channels, .. } = *block.stage;
    let inputs = b.channels(x);
    let inside = inputs.saturating_mul(expand);
    let part = |i: usize| format!("{}.{i}", block.params);
    let mut module = 0; // a block that does not expand has one part less
    let mut y = x;
    if expand != 1 {
        y = unit(b, "expand", y, Conv::new(inside, 1), &part(module));
        module += 1;
    }
    let depthwise = Conv::new(inside, kernel).stride(block.stride).padding(kernel / 2).groups(inside);
    y = unit(b, "depthwise", y, depthwise, &part(module));
    y = squeeze_and_excite(b, y, (inputs / 4).max(1), &part(module + 1));
    let project = Conv::new(channels, 1).init(HE_FAN_OUT);
    let params = [".0", ".1"].map(|which| part(module + 2) + which);
    y = conv_norm(b, "project", y, project, params);
    if block.stride == 1 && inputs == channels { b.add("add", x, y) } else { y }
}

/// x times a factor for each channel, found from the channels' means.
fn squeeze_and_excite(b: &mut Builder, x: ValueId, squeezed: usize, params: &str) -> ValueId {
    let channels = b.channels(x);
    let conv = |channels: usize, which: &str| {
        Conv::new(channels, 1).init(HE_FAN_OUT).params(format!("{params}.{which}"))
    };
    let gate = b.global_avg_pool("squeeze", x); // (1, C, 1, 1)
    let gate = b.conv2d("fc1", gate, conv(squeezed, "fc1"));
    let gate = b.activation("fc1.silu", gate, Activation::Silu);
    let gate = b.conv2d("fc2", gate, conv(channels, "fc2")); // (1, C, 1, 1)
    let gate = b.sigmoid("fc2.sigmoid", gate);
    b.mul("excite", x, gate)
}

/// Convolution, batch normalisation and SiLU with the parameters `PARAMS.0` and `PARAMS.1`.
fn unit(b: &mut Builder, name: &str, x: ValueId, conv: Conv, params: &str) -> ValueId {
    let params = [format!("{params}.0"), format!("{params}.1")];
    let x = conv_norm(b, name, x, conv.init(HE_FAN_OUT), params);
    b.activation(&format!("{name}.silu"), x, Activation::Silu)
}
