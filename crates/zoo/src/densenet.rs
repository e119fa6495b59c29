//! DenseNet: every layer reads all layers before it.

use ocellus_graph::{BatchNormSpec, Builder, Conv, Dense, Graph, GraphError, ValueId};
use ocellus_tensor::Window;

use crate::options::Size;
use crate::parts::IMAGENET;
use crate::{Options, ZooError};

/// Layers of each block (Huang et al. 2016, table 1, DenseNet-121).
const BLOCKS: [usize; 4] = [6, 12, 24, 16];

/// Channels that each layer adds, the paper's k.
const GROWTH: usize = 32;

/// Three transitions halve what is left of a quarter of the image.
const SMALLEST: usize = 29;

/// DenseNet-121: 3x224x224, 1000 classes, 7,978,856 parameters, 2.83 billion multiply-accumulates.
///
/// Four dense blocks, in which each layer adds 32 channels to those it reads: batch normalisation, ReLU, 1x1
/// convolution to 128 channels, and once more with a 3x3 convolution. Between the blocks a transition halves channels
/// and image. Parameters are named and filled as torchvision does (`features.denseblock1.denselayer1.norm1.weight`).
///
/// Source: Huang et al., "Densely connected convolutional networks" (2016), table 1; torchvision, `models/densenet.py`.
///
/// ```
/// let graph = ocellus_zoo::densenet121(&Default::default())?;
/// let last = graph.param(graph.find_param("features.denseblock4.denselayer16.conv1.weight").unwrap());
/// assert_eq!(last.shape.dims(), [128, 992, 1, 1]);
/// # Ok::<(), ocellus_zoo::ZooError>(())
/// ```
pub fn densenet121(options: &Options) -> Result<Graph, ZooError> {
    let size = IMAGENET.choose("densenet121", options)?;
    size.explain("densenet121", SMALLEST, describe(&size))
}

fn describe(size: &Size) -> Result<Graph, GraphError> {
    let mut b = Builder::new("densenet121");
    let x = b.input("input", size.input()); // (1, 3, 224, 224)
    let x = b.scope("features", |b| features(b, x)); // (1, 1024, 7, 7)
    let x = b.global_avg_pool("avgpool", x);
    let x = b.flatten("flatten", x);
    let x = b.linear("classifier", x, Dense::new(size.classes)); // (1, classes)
    b.output("output", x);
    b.finish()
}

fn features(b: &mut Builder, x: ValueId) -> ValueId {
    let x = b.conv2d("conv0", x, conv(64, 7).stride(2).padding(3)); // (1, 64, 112, 112)
    let x = activated(b, "0", x);
    let mut x = b.max_pool("pool0", x, Window::square(3).stride(2).padding(1)); // (1, 64, 56, 56)
    for (block, layers) in (1..).zip(BLOCKS) {
        for layer in 1..=layers {
            x = b.scope(&format!("denseblock{block}.denselayer{layer}"), |b| dense_layer(b, x));
        } // (1, 256, 56, 56), (1, 512, 28, 28), (1, 1024, 14, 14), (1, 1024, 7, 7)
        if block < BLOCKS.len() {
            x = b.scope(&format!("transition{block}"), |b| transition(b, x));
        }
    }
    activated(b, "5", x)
}

/// x `(N, C, H, W)` and the layer's own channels behind it: `(N, C + 32, H, W)`.
fn dense_layer(b: &mut Builder, x: ValueId) -> ValueId {
    let y = activated(b, "1", x);
    let y = b.conv2d("conv1", y, conv(4 * GROWTH, 1));
    let y = activated(b, "2", y);
    let y = b.conv2d("conv2", y, conv(GROWTH, 3).padding(1));
    b.concat("concat", &[x, y])
}

/// Half the channels, half the image.
fn transition(b: &mut Builder, x: ValueId) -> ValueId {
    let x = activated(b, "", x);
    let half = b.channels(x) / 2;
    let x = b.conv2d("conv", x, conv(half, 1));
    b.avg_pool("pool", x, Window::square(2).stride(2))
}

/// Batch normalisation and ReLU number `i`.
fn activated(b: &mut Builder, i: &str, x: ValueId) -> ValueId {
    let x = b.batch_norm(&format!("norm{i}"), x, BatchNormSpec::default());
    b.relu(&format!("relu{i}"), x)
}

fn conv(channels: usize, kernel: usize) -> Conv {
    Conv::new(channels, kernel).no_bias()
}
