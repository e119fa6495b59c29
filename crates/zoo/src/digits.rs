//! A small network for 8x8 handwritten digits.

use ocellus_graph::{BatchNormSpec, Builder, Conv, Dense, Graph, GraphError, ValueId};
use ocellus_tensor::Window;

use crate::options::Size;
use crate::{Options, ZooError};

/// The built-in digits: ten classes, 8x8 grey.
pub(crate) const DIGITS: Size = Size { classes: 10, channels: 1, height: 8, width: 8 };

/// Two poolings halve the image twice.
const SMALLEST: usize = 4;

/// A network for the built-in digits, to train in seconds: 1x8x8, 10 classes, 25,978 parameters, 0.60 million
/// multiply-accumulates.
///
/// Three 3x3 convolutions with batch normalisation and ReLU, the last two max-pooled, and one fully connected layer.
/// Parameters: `conv1.weight`, `bn1.*`, ..., `fc.weight`, `fc.bias`. There is no paper: it is the VGG pattern
/// (Simonyan and Zisserman 2014) with batch normalisation, as small as the images.
///
/// ```
/// let graph = ocellus_zoo::digits(&Default::default())?;
/// assert_eq!(graph.name, "digits");
/// # Ok::<(), ocellus_zoo::ZooError>(())
/// ```
pub fn digits(options: &Options) -> Result<Graph, ZooError> {
    let size = DIGITS.choose("digits", options)?;
    size.explain("digits", SMALLEST, describe(&size))
}

fn describe(size: &Size) -> Result<Graph, GraphError> {
    let halve = Window::square(2).stride(2);
    let mut b = Builder::new("digits");
    let x = b.input("input", size.input()); // (1, 1, 8, 8)
    let x = unit(&mut b, 1, x, 16); // (1, 16, 8, 8)
    let x = unit(&mut b, 2, x, 32); // (1, 32, 8, 8)
    let x = b.max_pool("pool2", x, halve); // (1, 32, 4, 4)
    let x = unit(&mut b, 3, x, 64); // (1, 64, 4, 4)
    let x = b.max_pool("pool3", x, halve); // (1, 64, 2, 2)
    let x = b.flatten("flatten", x); // (1, 256)
    let x = b.linear("fc", x, Dense::new(size.classes));
    b.output("output", x);
    b.finish()
}

/// Convolution, batch normalisation and ReLU number `i`.
fn unit(b: &mut Builder, i: usize, x: ValueId, channels: usize) -> ValueId {
    let x = b.conv2d(&format!("conv{i}"), x, Conv::new(channels, 3).padding(1).no_bias());
    let x = b.batch_norm(&format!("bn{i}"), x, BatchNormSpec::default());
    b.relu(&format!("relu{i}"), x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_too_small_names_the_layer_and_the_cure() {
        let side = |pixels: usize| digits(&Options::default().with_input([1, 8, pixels]));
        assert!(side(SMALLEST).is_ok());
        let sentence = side(SMALLEST - 1).unwrap_err().to_string();
        assert!(sentence.contains("pool3") && sentence.contains("4x4 pixels"), "{sentence}");
    }
}
