//! Residual networks for ImageNet.

use ocellus_graph::{BatchNormSpec, Builder, Conv, Dense, Graph, GraphError, ValueId};
use ocellus_tensor::Window;

use crate::options::Size;
use crate::parts::{HE_FAN_OUT, IMAGENET, torch_bias};
use crate::{Options, ZooError};

/// Channels inside the blocks of each stage.
const WIDTHS: [usize; 4] = [64, 128, 256, 512];

/// What a residual block is made of.
#[derive(Clone, Copy, PartialEq)]
enum Block {
    /// Two 3x3 convolutions.
    Basic,
    /// 1x1 to the width, 3x3, 1x1 to four times the width.
    Bottleneck,
}

/// Blocks in each stage, by depth (He et al. 2015, table 1).
const DEPTHS: [(usize, Block, [usize; 4]); 5] = [
    (18, Block::Basic, [2, 2, 2, 2]),
    (34, Block::Basic, [3, 4, 6, 3]),
    (50, Block::Bottleneck, [3, 4, 6, 3]),
    (101, Block::Bottleneck, [3, 4, 23, 3]),
    (152, Block::Bottleneck, [3, 8, 36, 3]),
];

/// ResNet of depth 18, 34, 50, 101 or 152: 3x224x224, 1000 classes, version 1.5 (a bottleneck strides in its 3x3
/// convolution).
///
/// | depth | parameters | multiply-accumulates at 224 |
/// |---|---|---|
/// | 18 | 11,689,512 | 1.81 billion |
/// | 34 | 21,797,672 | 3.66 billion |
/// | 50 | 25,557,032 | 4.09 billion |
/// | 101 | 44,549,160 | 7.80 billion |
/// | 152 | 60,192,808 | 11.51 billion |
///
/// Parameters are named and filled as torchvision does (`conv1.weight`, `layer1.0.downsample.0.weight`,
/// `fc.bias`). Any image size will do: the head averages over whatever is left. Another depth is an error.
///
/// Source: He et al., "Deep residual learning for image recognition" (2015), table 1; v1.5 after
/// `facebookarchive/fb.resnet.torch`; torchvision, `models/resnet.py`.
///
/// ```
/// let graph = ocellus_zoo::resnet(18, &Default::default())?;
/// assert!(graph.find_param("layer2.0.downsample.1.running_var").is_some());
/// # Ok::<(), ocellus_zoo::ZooError>(())
/// ```
pub fn resnet(depth: usize, options: &Options) -> Result<Graph, ZooError> {
    let Some(&(_, block, blocks)) = DEPTHS.iter().find(|(known, ..)| *known == depth) else {
        let known = DEPTHS.map(|(known, ..)| known.to_string()).join(", ");
        return Err(ZooError::Option(format!("resnet has the depths {known}, got {depth}")));
    };
    let name = format!("resnet{depth}");
    let size = IMAGENET.choose(&name, options)?;
    Ok(describe(Builder::new(name), &size, block, blocks)?)
}

fn describe(mut b: Builder, size: &Size, block: Block, blocks: [usize; 4]) -> Result<Graph, GraphError> {
    let x = b.input("input", size.input()); // (1, 3, 224, 224)
    let x = b.conv2d("conv1", x, conv(64, 7).stride(2).padding(3)); // (1, 64, 112, 112)
    let x = b.batch_norm("bn1", x, BatchNormSpec::default());
    let x = b.relu("relu", x);
    let mut x = b.max_pool("maxpool", x, Window::square(3).stride(2).padding(1)); // (1, 64, 56, 56)
    for (stage, (width, count)) in WIDTHS.into_iter().zip(blocks).enumerate() {
        for i in 0..count {
            // The first block of each later stage halves the image.
            let stride = if stage > 0 && i == 0 { 2 } else { 1 };
            x = b.scope(&format!("layer{}.{i}", stage + 1), |b| residual(b, x, block, [width, stride]));
        }
    }
    let x = b.global_avg_pool("avgpool", x); // (1, 512 or 2048, 1, 1)
    let x = b.flatten("flatten", x);
    let bias = torch_bias(b.channels(x));
    let x = b.linear("fc", x, Dense::new(size.classes).bias_init(bias)); // (1, classes)
    b.output("output", x);
    b.finish()
}

/// One block, and its input beside it: `relu(branch(x) + shortcut(x))`.
fn residual(b: &mut Builder, x: ValueId, block: Block, [width, stride]: [usize; 2]) -> ValueId {
    let branch = match block {
        Block::Basic => basic(b, x, width, stride),
        Block::Bottleneck => bottleneck(b, x, width, stride),
    };
    let channels = b.channels(branch);
    let shortcut = if stride != 1 || b.channels(x) != channels {
        let projected = b.conv2d("downsample.0", x, conv(channels, 1).stride(stride));
        b.batch_norm("downsample.1", projected, BatchNormSpec::default())
    } else {
        x
    };
    let sum = b.add("add", branch, shortcut);
    b.relu("relu", sum)
}

fn basic(b: &mut Builder, x: ValueId, width: usize, stride: usize) -> ValueId {
    let x = unit(b, 1, x, conv(width, 3).stride(stride).padding(1));
    let x = b.relu("relu1", x);
    unit(b, 2, x, conv(width, 3).padding(1))
}

fn bottleneck(b: &mut Builder, x: ValueId, width: usize, stride: usize) -> ValueId {
    let x = unit(b, 1, x, conv(width, 1));
    let x = b.relu("relu1", x);
    let x = unit(b, 2, x, conv(width, 3).stride(stride).padding(1));
    let x = b.relu("relu2", x);
    unit(b, 3, x, conv(4 * width, 1))
}

/// Convolution and batch normalisation number `i` of a block.
fn unit(b: &mut Builder, i: usize, x: ValueId, conv: Conv) -> ValueId {
    let x = b.conv2d(&format!("conv{i}"), x, conv);
    b.batch_norm(&format!("bn{i}"), x, BatchNormSpec::default())
}

fn conv(channels: usize, kernel: usize) -> Conv {
    Conv::new(channels, kernel).no_bias().init(HE_FAN_OUT)
}
