//! AlexNet as it was published and as Caffe trained it.

use ocellus_graph::ops::{Lrn, LrnRegion};
use ocellus_graph::{Builder, Conv, Dense, Graph, Init, ValueId};
use ocellus_tensor::Window;

use crate::options::Size;
use crate::parts::{FixedHead, normal};
use crate::{Options, ZooError};

/// ImageNet in Caffe's crop: a thousand classes, 227x227 colour.
pub(crate) const IMAGENET_227: Size = Size { classes: 1000, channels: 3, height: 227, width: 227 };

/// Local response normalisation over five channels (Krizhevsky et al. 2012, section 3.3, in Caffe's constants).
const LRN: Lrn = Lrn { size: 5, alpha: 1e-4, beta: 0.75, k: 1.0, region: LrnRegion::AcrossChannels };

/// What is different between the two networks.
struct Variant {
    network: &'static str,
    /// Normalise before pooling, as the paper does; Caffe's own network pools first, which is less work.
    norm_first: bool,
    /// Bias at first of the layers that feed a ReLU and are not the first or third (section 5 of the paper).
    bias: f32,
}

/// AlexNet: 3x227x227, 1000 classes, 60,965,224 parameters, 0.72 billion multiply-accumulates.
///
/// Five convolutions, three of them in two groups that the authors' two GPUs held, local response normalisation after
/// the first two, and three fully connected layers with dropout. Layers and parameters are called as in Caffe's model
/// (`conv1.weight`, `fc8.bias`). `fc6` is made for the 6x6 values that 227x227 pixels leave; with
/// [`Options::global_pooling`] any image of 55x55 or more will do.
///
/// Source: Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional neural networks" (2012);
/// BVLC Caffe, `models/bvlc_alexnet`.
///
/// ```
/// let graph = ocellus_zoo::alexnet_caffe(&Default::default())?;
/// let conv2 = graph.param(graph.find_param("conv2.weight").unwrap());
/// assert_eq!(conv2.shape.dims(), [256, 48, 5, 5]);
/// # Ok::<(), ocellus_zoo::ZooError>(())
/// ```
pub fn alexnet_caffe(options: &Options) -> Result<Graph, ZooError> {
    describe(&Variant { network: "alexnet_caffe", norm_first: true, bias: 0.1 }, options)
}

/// CaffeNet: AlexNet with the first two poolings before the normalisations; 60,965,224 parameters, 0.72 billion
/// multiply-accumulates.
///
/// Otherwise as [`alexnet_caffe`]. Source: BVLC Caffe, `models/bvlc_reference_caffenet`; Jia et al., "Caffe:
/// convolutional architecture for fast feature embedding" (2014).
///
/// ```
/// let graph = ocellus_zoo::caffenet(&Default::default())?;
/// assert_eq!(graph.parameter_count(ocellus_graph::Role::Weight), 60_965_224);
/// # Ok::<(), ocellus_zoo::ZooError>(())
/// ```
pub fn caffenet(options: &Options) -> Result<Graph, ZooError> {
    describe(&Variant { network: "caffenet", norm_first: false, bias: 1.0 }, options)
}

fn describe(variant: &Variant, options: &Options) -> Result<Graph, ZooError> {
    let network = variant.network;
    let head = FixedHead { network, layer: "fc6", weight: "fc6.weight", side: 6, smallest: 55 };
    let size = IMAGENET_227.choose(&head.name(options), options)?;
    let biased = Init::Constant(variant.bias);
    let conv = |channels: usize, kernel: usize| Conv::new(channels, kernel).init(normal(0.01));

    let mut b = Builder::new(head.name(options));
    let x = b.input("input", size.input()); // (1, 3, 227, 227)
    let x = unit(&mut b, 1, x, conv(96, 11).stride(4)); // (1, 96, 55, 55)
    let x = norm_and_pool(&mut b, 1, x, variant.norm_first); // (1, 96, 27, 27)
    let x = unit(&mut b, 2, x, conv(256, 5).padding(2).groups(2).bias_init(biased)); // (1, 256, 27, 27)
    let x = norm_and_pool(&mut b, 2, x, variant.norm_first); // (1, 256, 13, 13)
    let x = unit(&mut b, 3, x, conv(384, 3).padding(1)); // (1, 384, 13, 13)
    let x = unit(&mut b, 4, x, conv(384, 3).padding(1).groups(2).bias_init(biased));
    let x = unit(&mut b, 5, x, conv(256, 3).padding(1).groups(2).bias_init(biased)); // (1, 256, 13, 13)
    let left = pool(&mut b, 5, x); // (1, 256, 6, 6)
    let mut x = head.flatten(&mut b, left, options); // (1, 9216)
    for i in [6, 7] {
        x = b.linear(&format!("fc{i}"), x, Dense::new(4096).init(normal(0.005)).bias_init(biased));
        x = b.relu(&format!("relu{i}"), x);
        x = b.dropout(&format!("drop{i}"), x, 0.5);
    }
    let x = b.linear("fc8", x, Dense::new(size.classes).init(normal(0.01))); // (1, classes)
    b.output("output", x);
    head.finish(b, left, &size, options)
}

/// Convolution and ReLU number `i`.
fn unit(b: &mut Builder, i: usize, x: ValueId, conv: Conv) -> ValueId {
    let x = b.conv2d(&format!("conv{i}"), x, conv);
    b.relu(&format!("relu{i}"), x)
}

/// Normalisation and pooling, in the order of the one network or the other.
fn norm_and_pool(b: &mut Builder, i: usize, x: ValueId, norm_first: bool) -> ValueId {
    let norm = format!("norm{i}");
    if norm_first {
        let x = b.lrn(&norm, x, LRN);
        pool(b, i, x)
    } else {
        let x = pool(b, i, x);
        b.lrn(&norm, x, LRN)
    }
}

/// Pooling over 3x3 in steps of two.
fn pool(b: &mut Builder, i: usize, x: ValueId) -> ValueId {
    b.max_pool_ceil(&format!("pool{i}"), x, Window::square(3).stride(2))
}
