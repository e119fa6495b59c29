//! Residual networks for ImageNet with identity mappings.

use ocellus_graph::{BatchNormSpec, Builder, Conv, Dense, Graph, GraphError, ValueId};
use ocellus_tensor::Window;

use crate::options::Size;
use crate::parts::{HE_FAN_OUT, IMAGENET, normal};
use crate::resnet::{Block, WIDTHS, at_depth};
use crate::{Options, ZooError};

/// ResNet of depth 18, 34, 50, 101 or 152, version 2: 3x224x224, 1000 classes. Batch normalisation and ReLU stand
/// before each convolution, so that nothing changes a signal that takes the shortcuts.
///
/// | depth | parameters | multiply-accumulates at 224 |
/// |---|---|---|
/// | 18 | 11,687,720 | 1.81 billion |
/// | 34 | 21,795,880 | 3.66 billion |
/// | 50 | 25,549,352 | 4.09 billion |
/// | 101 | 44,541,480 | 7.80 billion |
/// | 152 | 60,185,128 | 11.51 billion |
///
/// A bottleneck strides in its 3x3 convolution. Parameters are named as in timm's `resnetv2_50`
/// (`stages.0.blocks.0.norm1.weight`, `head.fc.bias`). Any image size will do. Another depth is an error.
///
/// Source: He et al., "Identity mappings in deep residual networks" (2016), figure 4e; timm, `models/resnetv2.py`.
///
/// ```
/// let graph = ocellus_zoo::resnet_v2(50, &Default::default())?;
/// assert!(graph.find_param("stages.1.blocks.0.downsample.conv.weight").is_some());
/// # Ok::<(), ocellus_zoo::ZooError>(())
/// ```
pub fn resnet_v2(depth: usize, options: &Options) -> Result<Graph, ZooError> {
    let (_, block, blocks) = at_depth(depth)?;
    let name = format!("resnet{depth}_v2");
    let size = IMAGENET.choose(&name, options)?;
    Ok(describe(Builder::new(name), &size, block, blocks)?)
}

fn describe(mut b: Builder, size: &Size, block: Block, blocks: [usize; 4]) -> Result<Graph, GraphError> {
    let x = b.input("input", size.input()); // (1, 3, 224, 224)
    let x = b.conv2d("stem.conv", x, conv(64, 7).stride(2).padding(3)); // (1, 64, 112, 112)
    let mut x = b.max_pool("stem.pool", x, Window::square(3).stride(2).padding(1)); // (1, 64, 56, 56)
    for (stage, (width, count)) in WIDTHS.into_iter().zip(blocks).enumerate() {
        for i in 0..count {
            // The first block of each later stage halves the image.
            let stride = if stage > 0 && i == 0 { 2 } else { 1 };
            x = b.scope(&format!("stages.{stage}.blocks.{i}"), |b| residual(b, x, block, [width, stride]));
        }
    }
    let x = activated(&mut b, "norm", x); // (1, 512 or 2048, 7, 7)
    let x = b.global_avg_pool("head.global_pool", x);
    let x = b.flatten("head.flatten", x);
    let x = b.linear("head.fc", x, Dense::new(size.classes).init(normal(0.01))); // (1, classes)
    b.output("output", x);
    b.finish()
}

/// One block: `shortcut + branch(relu(norm(x)))`. The shortcut is x itself, or a projection of the activated x.
fn residual(b: &mut Builder, x: ValueId, block: Block, [width, stride]: [usize; 2]) -> ValueId {
    let active = activated(b, "norm1", x);
    let (branch, channels) = match block {
        Block::Basic => (basic(b, active, width, stride), width),
        Block::Bottleneck => (bottleneck(b, active, width, stride), 4 * width),
    };
    let shortcut = if stride != 1 || b.channels(x) != channels {
        b.conv2d("downsample.conv", active, conv(channels, 1).stride(stride))
    } else {
        x
    };
    b.add("add", branch, shortcut)
}

fn basic(b: &mut Builder, x: ValueId, width: usize, stride: usize) -> ValueId {
    let x = b.conv2d("conv1", x, conv(width, 3).stride(stride).padding(1));
    let x = activated(b, "norm2", x);
    b.conv2d("conv2", x, conv(width, 3).padding(1))
}

fn bottleneck(b: &mut Builder, x: ValueId, width: usize, stride: usize) -> ValueId {
    let x = b.conv2d("conv1", x, conv(width, 1));
    let x = activated(b, "norm2", x);
    let x = b.conv2d("conv2", x, conv(width, 3).stride(stride).padding(1));
    let x = activated(b, "norm3", x);
    b.conv2d("conv3", x, conv(4 * width, 1))
}

/// Batch normalisation and ReLU: the nodes `NAME` and `NAME.relu`.
fn activated(b: &mut Builder, name: &str, x: ValueId) -> ValueId {
    let x = b.batch_norm(name, x, BatchNormSpec::default());
    b.relu(&format!("{name}.relu"), x)
}

fn conv(channels: usize, kernel: usize) -> Conv {
    Conv::new(channels, kernel).no_bias().init(HE_FAN_OUT)
}
