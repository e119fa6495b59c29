//! A small network made to learn CIFAR-10 in the shortest time.

use ocellus_graph::ops::Activation;
use ocellus_graph::{BatchNormSpec, Builder, Conv, Dense, Graph, GraphError, Init, ValueId};
use ocellus_tensor::Window;

use crate::options::Size;
use crate::parts::torch_bias;
use crate::resnet_cifar::CIFAR;
use crate::{Options, ZooError};

/// Channels after the first convolution: both signs of each of the 12 numbers under its window.
const FIRST: usize = 24;

/// Channels of each stage.
const WIDTHS: [usize; 3] = [64, 256, 256];

/// Nine pixels for three poolings that each halve.
const SMALLEST: usize = 9;

/// The network of airbench94, for small images: 3x32x32, 10 classes, 1,972,792 parameters, 118 million
/// multiply-accumulates.
///
/// A 2x2 convolution, then three times a 3x3 convolution, a pooling that halves the image, and a second 3x3 convolution,
/// each with batch normalisation and GELU; the largest value of each channel goes to a linear head. Few layers on small
/// images and many channels: three times the arithmetic of a ResNet-20, at which it learns as much in a quarter of the
/// epochs. Any image of at least 9x9 will do.
///
/// Departures from the source: the first convolution is learned like the others, not fixed at the data's principal
/// components, and so are the scales of the normalisations.
///
/// Source: Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU" (2024), section 3 and appendix A.
///
/// ```
/// let graph = ocellus_zoo::airbench94(&Default::default())?;
/// assert_eq!(graph.parameter_count(ocellus_graph::Role::Weight), 1_972_792);
/// # Ok::<(), ocellus_zoo::ZooError>(())
/// ```
pub fn airbench94(options: &Options) -> Result<Graph, ZooError> {
    let size = CIFAR.choose("airbench94", options)?;
    size.explain("airbench94", SMALLEST, describe(&size))
}

fn describe(size: &Size) -> Result<Graph, GraphError> {
    let mut b = Builder::new("airbench94");
    let x = b.input("input", size.input()); // (1, 3, 32, 32)
    let x = b.conv2d("conv0", x, Conv::new(FIRST, 2).init(Init::he_normal())); // (1, 24, 31, 31)
    let mut x = b.activation("gelu0", x, Activation::Gelu);
    for (i, width) in WIDTHS.into_iter().enumerate() {
        x = b.scope(&format!("layer{}", i + 1), |b| stage(b, x, width)); // 15x15, 7x7, 3x3
    }
    let x = b.global_max_pool("maxpool", x); // (1, 256, 1, 1)
    let x = b.flatten("flatten", x);
    let bound = torch_bias(b.channels(x));
    let x = b.linear("linear", x, Dense::new(size.classes).no_bias().init(bound));
    // Logits start small, so that no class is ruled out early.
    let x = b.affine("scale", x, 1.0 / 9.0, 0.0);
    b.output("output", x);
    b.finish()
}

/// Two 3x3 convolutions, the image halved between the first and its normalisation.
fn stage(b: &mut Builder, x: ValueId, width: usize) -> ValueId {
    let conv = || Conv::new(width, 3).padding(1).no_bias().init(Init::he_normal());
    let x = b.conv2d("conv1", x, conv());
    let x = b.max_pool("pool", x, Window::square(2).stride(2));
    let x = b.batch_norm("bn1", x, BatchNormSpec::default());
    let x = b.activation("gelu1", x, Activation::Gelu);
    let x = b.conv2d("conv2", x, conv());
    let x = b.batch_norm("bn2", x, BatchNormSpec::default());
    b.activation("gelu2", x, Activation::Gelu)
}
