//! Residual networks for CIFAR-10.

use ocellus_graph::ops::{Pad, PadMode, Slice};
use ocellus_graph::{BatchNormSpec, Builder, Conv, Dense, Graph, GraphError, Init, Op, ValueId};
use ocellus_tensor::Padding;

use crate::options::Size;
use crate::parts::torch_bias;
use crate::{Options, ZooError};

/// CIFAR-10: ten classes, 32x32 colour.
pub(crate) const CIFAR: Size = Size { classes: 10, channels: 3, height: 32, width: 32 };

/// Channels of each stage.
const WIDTHS: [usize; 3] = [16, 32, 64];

/// Depths of the paper's table 6.
const DEPTHS: [usize; 5] = [20, 32, 44, 56, 110];

/// ResNet of depth 20, 32, 44, 56 or 110 for small images: 3x32x32, 10 classes, shortcuts without parameters
/// (option A: every second pixel, new channels zero).
///
/// | depth | parameters | multiply-accumulates at 32 |
/// |---|---|---|
/// | 20 | 269,722 | 40.55 million |
/// | 32 | 464,154 | 68.86 million |
/// | 44 | 658,586 | 97.17 million |
/// | 56 | 853,018 | 125.49 million |
/// | 110 | 1,727,962 | 252.89 million |
///
/// Parameters are named and filled as in akamaster's implementation (`conv1.weight`, `layer1.0.bn1.weight`,
/// `linear.bias`), whose checkpoints prefix them with `module.`. Any image size will do. Another depth is an error.
///
/// Source: He et al., "Deep residual learning for image recognition" (2015), section 4.2;
/// `akamaster/pytorch_resnet_cifar10`.
///
/// ```
/// let graph = ocellus_zoo::resnet_cifar(20, &Default::default())?;
/// let learned = graph.params().iter().filter(|p| p.role == ocellus_graph::Role::Weight);
/// assert_eq!(learned.map(|p| p.shape.elements()).sum::<usize>(), 269_722);
/// # Ok::<(), ocellus_zoo::ZooError>(())
/// ```
pub fn resnet_cifar(depth: usize, options: &Options) -> Result<Graph, ZooError> {
    if !DEPTHS.contains(&depth) {
        let known = DEPTHS.map(|known| known.to_string()).join(", ");
        return Err(ZooError::Option(format!("resnet for CIFAR has the depths {known}, got {depth}")));
    }
    let name = format!("resnet{depth}");
    let size = CIFAR.choose(&name, options)?;
    // depth = 1 + 3 stages of n blocks of 2 convolutions + 1.
    Ok(describe(Builder::new(name), &size, (depth - 2) / 6)?)
}

fn describe(mut b: Builder, size: &Size, blocks: usize) -> Result<Graph, GraphError> {
    let x = b.input("input", size.input()); // (1, 3, 32, 32)
    let x = unit(&mut b, 1, x, conv(WIDTHS[0])); // (1, 16, 32, 32)
    let mut x = b.relu("relu", x);
    for (stage, width) in WIDTHS.into_iter().enumerate() {
        for i in 0..blocks {
            // The first block of each later stage halves the image.
            let stride = if stage > 0 && i == 0 { 2 } else { 1 };
            x = b.scope(&format!("layer{}.{i}", stage + 1), |b| residual(b, x, width, stride));
        }
    }
    let x = b.global_avg_pool("avgpool", x); // (1, 64, 1, 1)
    let x = b.flatten("flatten", x);
    let bias = torch_bias(b.channels(x));
    let x = b.linear("linear", x, Dense::new(size.classes).init(Init::he_normal()).bias_init(bias));
    b.output("output", x);
    b.finish()
}

/// Two 3x3 convolutions, and the input beside them.
fn residual(b: &mut Builder, x: ValueId, width: usize, stride: usize) -> ValueId {
    let branch = unit(b, 1, x, conv(width).stride(stride));
    let branch = b.relu("relu1", branch);
    let branch = unit(b, 2, branch, conv(width));
    let shortcut = if stride == 1 { x } else { option_a(b, x, width) };
    let sum = b.add("add", branch, shortcut);
    b.relu("relu", sum)
}

/// `x[:, :, ::2, ::2]`, with as many zero channels before as after, `width` in all.
fn option_a(b: &mut Builder, x: ValueId, width: usize) -> ValueId {
    let mut halved = x;
    for (name, axis) in [("shortcut.rows", 2), ("shortcut.columns", 3)] {
        let count = b.shape(x).get(axis).map_or(1, |pixels| pixels.div_ceil(2));
        halved = b.slice(name, halved, Slice { axis, start: 0, step: 2, count });
    }
    let missing = width.saturating_sub(b.channels(x));
    let channels = [missing / 2, missing - missing / 2];
    let pad = Pad { padding: Padding::all(0), channels, mode: PadMode::Constant(0.0) };
    b.node("shortcut.pad", Op::Pad(pad), &[halved])
}

/// Convolution and batch normalisation number `i` of a block.
fn unit(b: &mut Builder, i: usize, x: ValueId, conv: Conv) -> ValueId {
    let x = b.conv2d(&format!("conv{i}"), x, conv);
    b.batch_norm(&format!("bn{i}"), x, BatchNormSpec::default())
}

/// 3x3, with akamaster's `kaiming_normal_` (He over fan-in).
fn conv(channels: usize) -> Conv {
    Conv::new(channels, 3).padding(1).no_bias().init(Init::he_normal())
}
