//! Network in Network: after each convolution a small perceptron at every pixel.

use ocellus_graph::{Builder, Conv, Graph, GraphError, ValueId};
use ocellus_tensor::Window;

use crate::options::Size;
use crate::parts::IMAGENET;
use crate::resnet_cifar::CIFAR;
use crate::{Options, ZooError};

/// Three pixels for the last pooling, six before the one before it.
const SMALLEST_CIFAR: usize = 6;

/// Twelve pixels for three poolings after a convolution of eleven taps in steps of four.
const SMALLEST_IMAGENET: usize = 55;

/// Network in Network for CIFAR-10: 3x32x32, 10 classes, 966,986 parameters, 0.22 billion multiply-accumulates.
///
/// Each of three convolutions is followed by two 1x1 convolutions, a perceptron of two layers that slides over the image
/// (`cccp1` to `cccp6`). The last one gives one image per class, whose mean is the logit. Layers and parameters are
/// called as in the authors' Caffe model (`conv1.weight`, `cccp6.bias`).
///
/// Source: Lin, Chen and Yan, "Network in network" (2013); the authors' `cifar10_nin` in Caffe's model zoo.
///
/// ```
/// let graph = ocellus_zoo::nin_cifar(&Default::default())?;
/// assert_eq!(graph.parameter_count(ocellus_graph::Role::Weight), 966_986);
/// # Ok::<(), ocellus_zoo::ZooError>(())
/// ```
pub fn nin_cifar(options: &Options) -> Result<Graph, ZooError> {
    let size = CIFAR.choose("nin_cifar", options)?;
    size.explain("nin_cifar", SMALLEST_CIFAR, describe_cifar(&size))
}

fn describe_cifar(size: &Size) -> Result<Graph, GraphError> {
    let shrink = Window::square(3).stride(2);
    let mut b = Builder::new("nin_cifar");
    let x = b.input("input", size.input()); // (1, 3, 32, 32)
    let x = stage(&mut b, 1, x, Conv::new(192, 5).padding(2), [160, 96]); // (1, 96, 32, 32)
    let x = b.max_pool_ceil("pool1", x, shrink); // (1, 96, 16, 16)
    let x = b.dropout("drop1", x, 0.5);
    let x = stage(&mut b, 2, x, Conv::new(192, 5).padding(2), [192, 192]); // (1, 192, 16, 16)
    let x = b.avg_pool_ceil("pool2", x, shrink); // (1, 192, 8, 8)
    let x = b.dropout("drop2", x, 0.5);
    let x = stage(&mut b, 3, x, Conv::new(192, 3).padding(1), [192, size.classes]); // (1, classes, 8, 8)
    let x = b.global_avg_pool("pool3", x);
    let x = b.flatten("flatten", x); // (1, classes)
    b.output("output", x);
    b.finish()
}

/// Network in Network for ImageNet: 3x224x224, 1000 classes, 7,595,176 parameters, 1.10 billion multiply-accumulates.
///
/// Four convolutions, each with its sliding perceptron; otherwise as [`nin_cifar`]. The last layers are called
/// `conv4-1024`, `cccp7-1024` and `cccp8-1024`, as in the authors' model.
///
/// Source: Lin, Chen and Yan, "Network in network" (2013); the authors' `nin_imagenet` in Caffe's model zoo.
///
/// ```
/// let graph = ocellus_zoo::nin_imagenet(&Default::default())?;
/// assert_eq!(graph.parameter_count(ocellus_graph::Role::Weight), 7_595_176);
/// # Ok::<(), ocellus_zoo::ZooError>(())
/// ```
pub fn nin_imagenet(options: &Options) -> Result<Graph, ZooError> {
    let size = IMAGENET.choose("nin_imagenet", options)?;
    size.explain("nin_imagenet", SMALLEST_IMAGENET, describe_imagenet(&size))
}

fn describe_imagenet(size: &Size) -> Result<Graph, GraphError> {
    let shrink = Window::square(3).stride(2);
    let mut b = Builder::new("nin_imagenet");
    let x = b.input("input", size.input()); // (1, 3, 224, 224)
    let x = stage(&mut b, 1, x, Conv::new(96, 11).stride(4), [96, 96]); // (1, 96, 54, 54)
    let x = b.max_pool_ceil("pool1", x, shrink); // (1, 96, 27, 27)
    let x = stage(&mut b, 2, x, Conv::new(256, 5).padding(2), [256, 256]);
    let x = b.max_pool_ceil("pool2", x, shrink); // (1, 256, 13, 13)
    let x = stage(&mut b, 3, x, Conv::new(384, 3).padding(1), [384, 384]);
    let x = b.max_pool_ceil("pool3", x, shrink); // (1, 384, 6, 6)
    let x = b.dropout("drop", x, 0.5);
    let x = stage(&mut b, 4, x, Conv::new(1024, 3).padding(1), [1024, size.classes]); // (1, classes, 6, 6)
    let x = b.global_avg_pool("pool4", x);
    let x = b.flatten("flatten", x); // (1, classes)
    b.output("output", x);
    b.finish()
}

/// A convolution and the two 1x1 convolutions after it, each with ReLU.
fn stage(b: &mut Builder, i: usize, x: ValueId, conv: Conv, perceptron: [usize; 2]) -> ValueId {
    let suffix = if i == 4 { "-1024" } else { "" }; // the authors' name for what they changed last
    let x = b.conv2d(&format!("conv{i}{suffix}"), x, conv);
    let mut x = b.relu(&format!("relu{i}"), x);
    for (layer, channels) in (2 * i - 1..).zip(perceptron) {
        x = b.conv2d(&format!("cccp{layer}{suffix}"), x, Conv::new(channels, 1));
        x = b.relu(&format!("relu_cccp{layer}"), x);
    }
    x
}
