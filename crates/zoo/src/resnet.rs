//! Residual networks for ImageNet.

use ocellus_graph::{BatchNormSpec, Builder, Conv, Dense, Graph, GraphError, ValueId};
use ocellus_tensor::Window;

use crate::options::Size;
use crate::parts::{HE_FAN_OUT, IMAGENET, torch_bias};
use crate::{Options, ZooError};

/// Channels inside the blocks of each stage.
pub(crate) const WIDTHS: [usize; 4] = [64, 128, 256, 512];

/// What a residual block is made of.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Block {
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

/// What a residual network of this family is made of.
#[derive(Clone, Copy)]
struct Layout {
    block: Block,
    blocks: [usize; 4],
    /// Groups of a bottleneck's 3x3 convolution, and channels of each group in the first stage.
    groups: usize,
    group_width: usize,
    /// Whether a bottleneck strides in its first 1x1 convolution (v1) rather than in its 3x3 one (v1.5).
    early_stride: bool,
    /// Whether each branch is gated by squeeze and excitation.
    squeeze: bool,
}

impl Layout {
    /// ResNet of this depth, version 1.5; an error if there is none.
    fn of(depth: usize) -> Result<Layout, ZooError> {
        let (_, block, blocks) = at_depth(depth)?;
        Ok(Layout { block, blocks, groups: 1, group_width: 64, early_stride: false, squeeze: false })
    }

    /// Channels of the 3x3 convolution in a stage whose blocks are `width` wide.
    fn inner(&self, width: usize) -> usize {
        width * self.group_width / WIDTHS[0] * self.groups
    }
}

/// The row of the paper's table.
pub(crate) fn at_depth(depth: usize) -> Result<(usize, Block, [usize; 4]), ZooError> {
    DEPTHS.into_iter().find(|(known, ..)| *known == depth).ok_or_else(|| {
        let known = DEPTHS.map(|(known, ..)| known.to_string()).join(", ");
        ZooError::Option(format!("resnet has the depths {known}, got {depth}"))
    })
}

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
    make(format!("resnet{depth}"), Layout::of(depth)?, options)
}

/// ResNet as it was published, version 1: a bottleneck strides in its first 1x1 convolution, which saves 6% of the work
/// and loses half a point of accuracy. Otherwise as [`resnet`].
///
/// | depth | parameters | multiply-accumulates at 224 |
/// |---|---|---|
/// | 18 | 11,689,512 | 1.81 billion |
/// | 34 | 21,797,672 | 3.66 billion |
/// | 50 | 25,557,032 | 3.86 billion |
/// | 101 | 44,549,160 | 7.57 billion |
/// | 152 | 60,192,808 | 11.28 billion |
///
/// Depths 18 and 34 have no bottlenecks and are those of [`resnet`].
///
/// Source: He et al., "Deep residual learning for image recognition" (2015), table 1; the authors' Caffe models,
/// `KaimingHe/deep-residual-networks`.
///
/// ```
/// let graph = ocellus_zoo::resnet_v1(50, &Default::default())?;
/// let rows = |node: &str| graph.shape(graph.find_value(node).unwrap())[2];
/// assert_eq!((rows("layer1.2.relu"), rows("layer2.0.conv1")), (56, 28));
/// # Ok::<(), ocellus_zoo::ZooError>(())
/// ```
pub fn resnet_v1(depth: usize, options: &Options) -> Result<Graph, ZooError> {
    make(format!("resnet{depth}_v1"), Layout { early_stride: true, ..Layout::of(depth)? }, options)
}

/// ResNeXt-50 32x4d: 3x224x224, 1000 classes, 25,028,904 parameters, 4.23 billion multiply-accumulates.
///
/// ResNet-50 whose 3x3 convolutions work in 32 groups of 4 channels in the first stage, 8, 16 and 32 in the others.
/// Parameters as in [`resnet`]. Any image size will do.
///
/// Source: Xie et al., "Aggregated residual transformations for deep neural networks" (2016), table 1; torchvision,
/// `models/resnet.py`.
///
/// ```
/// let graph = ocellus_zoo::resnext50_32x4d(&Default::default())?;
/// let conv = graph.param(graph.find_param("layer1.0.conv2.weight").unwrap());
/// assert_eq!(conv.shape.dims(), [128, 4, 3, 3]);
/// # Ok::<(), ocellus_zoo::ZooError>(())
/// ```
pub fn resnext50_32x4d(options: &Options) -> Result<Graph, ZooError> {
    make("resnext50_32x4d".into(), Layout { groups: 32, group_width: 4, ..Layout::of(50)? }, options)
}

/// Wide ResNet-50-2: 3x224x224, 1000 classes, 68,883,240 parameters, 11.40 billion multiply-accumulates.
///
/// ResNet-50 with twice the channels inside its bottlenecks. Parameters as in [`resnet`]. Any image size will do.
///
/// Source: Zagoruyko and Komodakis, "Wide residual networks" (2016), table 8; torchvision, `models/resnet.py`.
///
/// ```
/// let graph = ocellus_zoo::wide_resnet50_2(&Default::default())?;
/// let conv = graph.param(graph.find_param("layer1.0.conv2.weight").unwrap());
/// assert_eq!(conv.shape.dims(), [128, 128, 3, 3]);
/// # Ok::<(), ocellus_zoo::ZooError>(())
/// ```
pub fn wide_resnet50_2(options: &Options) -> Result<Graph, ZooError> {
    make("wide_resnet50_2".into(), Layout { group_width: 128, ..Layout::of(50)? }, options)
}

/// SE-ResNet-50: 3x224x224, 1000 classes, 28,088,024 parameters, 4.09 billion multiply-accumulates.
///
/// ResNet-50 (v1.5) in which each branch scales its channels by factors that it finds from their means: squeeze to a
/// sixteenth, ReLU, back, sigmoid. Parameters are named as in timm's `seresnet50` (`layer1.0.se.fc1.weight`). Any image
/// size will do.
///
/// Source: Hu et al., "Squeeze-and-excitation networks" (2017), table 1; timm, `models/resnet.py`.
///
/// ```
/// let graph = ocellus_zoo::se_resnet50(&Default::default())?;
/// let squeeze = graph.param(graph.find_param("layer4.2.se.fc1.weight").unwrap());
/// assert_eq!(squeeze.shape.dims(), [128, 2048, 1, 1]);
/// # Ok::<(), ocellus_zoo::ZooError>(())
/// ```
pub fn se_resnet50(options: &Options) -> Result<Graph, ZooError> {
    make("se_resnet50".into(), Layout { squeeze: true, ..Layout::of(50)? }, options)
}

fn make(name: String, layout: Layout, options: &Options) -> Result<Graph, ZooError> {
    let size = IMAGENET.choose(&name, options)?;
    Ok(describe(Builder::new(name), &size, &layout)?)
}

fn describe(mut b: Builder, size: &Size, layout: &Layout) -> Result<Graph, GraphError> {
    let x = b.input("input", size.input()); // (1, 3, 224, 224)
    let x = b.conv2d("conv1", x, conv(64, 7).stride(2).padding(3)); // (1, 64, 112, 112)
    let x = b.batch_norm("bn1", x, BatchNormSpec::default());
    let x = b.relu("relu", x);
    let mut x = b.max_pool("maxpool", x, Window::square(3).stride(2).padding(1)); // (1, 64, 56, 56)
    for (stage, (width, count)) in WIDTHS.into_iter().zip(layout.blocks).enumerate() {
        for i in 0..count {
            // The first block of each later stage halves the image.
            let stride = if stage > 0 && i == 0 { 2 } else { 1 };
            x = b.scope(&format!("layer{}.{i}", stage + 1), |b| residual(b, x, layout, [width, stride]));
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
fn residual(b: &mut Builder, x: ValueId, layout: &Layout, [width, stride]: [usize; 2]) -> ValueId {
    let mut branch = match layout.block {
        Block::Basic => basic(b, x, width, stride),
        Block::Bottleneck => bottleneck(b, x, layout, [width, stride]),
    };
    let channels = b.channels(branch);
    if layout.squeeze {
        branch = b.scope("se", |b| squeeze_and_excite(b, branch, channels / 16));
    }
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

fn bottleneck(b: &mut Builder, x: ValueId, layout: &Layout, [width, stride]: [usize; 2]) -> ValueId {
    let inner = layout.inner(width);
    let [early, late] = if layout.early_stride { [stride, 1] } else { [1, stride] };
    let x = unit(b, 1, x, conv(inner, 1).stride(early));
    let x = b.relu("relu1", x);
    let x = unit(b, 2, x, conv(inner, 3).stride(late).padding(1).groups(layout.groups));
    let x = b.relu("relu2", x);
    unit(b, 3, x, conv(4 * width, 1))
}

/// x times a factor for each channel, found from the channels' means (Hu et al. 2017, section 3).
fn squeeze_and_excite(b: &mut Builder, x: ValueId, squeezed: usize) -> ValueId {
    let channels = b.channels(x);
    let means = b.global_avg_pool("squeeze", x); // (1, C, 1, 1)
    let gate = b.conv2d("fc1", means, Conv::new(squeezed, 1).init(HE_FAN_OUT)); // (1, C/16, 1, 1)
    let gate = b.relu("relu", gate);
    let gate = b.conv2d("fc2", gate, Conv::new(channels, 1).init(HE_FAN_OUT)); // (1, C, 1, 1)
    let gate = b.sigmoid("sigmoid", gate);
    b.mul("excite", x, gate)
}

/// Convolution and batch normalisation number `i` of a block.
fn unit(b: &mut Builder, i: usize, x: ValueId, conv: Conv) -> ValueId {
    let x = b.conv2d(&format!("conv{i}"), x, conv);
    b.batch_norm(&format!("bn{i}"), x, BatchNormSpec::default())
}

fn conv(channels: usize, kernel: usize) -> Conv {
    Conv::new(channels, kernel).no_bias().init(HE_FAN_OUT)
}
