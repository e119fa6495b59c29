//! The first convolutional network of Nielsen's book.

use ocellus_graph::{Builder, Conv, Dense, Graph, GraphError, Init};
use ocellus_tensor::Window;

use crate::lenet::MNIST;
use crate::options::Size;
use crate::{Options, ZooError};

/// Five taps and a pooling of two need this many pixels a side.
const SMALLEST: usize = 6;

/// Nielsen's network for handwritten digits: 1x28x28, 10 classes, 4,408 parameters, 47,520 multiply-accumulates.
///
/// One 5x5 convolution to 3 maps of 24x24 (3 x 25 weights and 3 biases), a sigmoid, 2x2 max pooling to 12x12, and one
/// fully connected layer from the 3 x 12 x 12 = 432 numbers to the 10 classes: 4,320 weights and 10 biases. Parameters:
/// `conv`, `fc`, each `.weight` and `.bias`. The fully connected layer is made for the image size asked for.
///
/// Source: Nielsen, "Neural networks and deep learning" (2015), chapter 6, "Introducing convolutional networks".
///
/// ```
/// let graph = ocellus_zoo::nielsen(&Default::default())?;
/// assert_eq!(graph.param(graph.find_param("fc.weight").unwrap()).shape.elements(), 4_320);
/// # Ok::<(), ocellus_zoo::ZooError>(())
/// ```
pub fn nielsen(options: &Options) -> Result<Graph, ZooError> {
    let size = MNIST.choose("nielsen", options)?;
    size.explain("nielsen", SMALLEST, describe(&size))
}

fn describe(size: &Size) -> Result<Graph, GraphError> {
    let mut b = Builder::new("nielsen");
    let x = b.input("input", size.input()); // (1, 1, 28, 28)
    let x = b.conv2d("conv", x, Conv::new(3, 5).init(Init::lecun_normal())); // (1, 3, 24, 24)
    let x = b.sigmoid("sigmoid", x);
    let x = b.max_pool("pool", x, Window::square(2).stride(2)); // (1, 3, 12, 12)
    let x = b.flatten("flatten", x); // (1, 432)
    let x = b.linear("fc", x, Dense::new(size.classes).init(Init::lecun_normal()));
    b.output("output", x);
    b.finish()
}
