//! LeNet as Caffe has it.

use ocellus_graph::{Builder, Conv, Dense, Distribution, Fan, Graph, GraphError, Init, ValueId};
use ocellus_tensor::Window;

use crate::options::Size;
use crate::{Options, ZooError};

/// MNIST: ten digits, 28x28 grey.
pub(crate) const MNIST: Size = Size { classes: 10, channels: 1, height: 28, width: 28 };

/// Below this many pixels a side nothing is left for the second pooling.
pub(crate) const SMALLEST: usize = 15;

/// Caffe's `xavier` filler: uniform with variance 1 / fan-in.
const CAFFE_XAVIER: Init =
    Init::VarianceScaling { gain: 1.0, fan: Fan::In, distribution: Distribution::Uniform };

/// LeNet for handwritten digits: 1x28x28, 10 classes, 431,080 parameters, 2.29 million multiply-accumulates.
///
/// Two convolutions, each max-pooled, and two fully connected layers with one ReLU between them; pooling keeps a
/// partial window at the end, as Caffe does. Parameters: `conv1`, `conv2`, `fc1`, `fc2`, each `.weight` and `.bias`
/// (Caffe calls the last two `ip1` and `ip2`). The first fully connected layer is made for the image size asked for.
///
/// Source: BVLC Caffe, `examples/mnist/lenet.prototxt`, after LeCun et al., "Gradient-based learning applied to
/// document recognition" (1998).
///
/// ```
/// let graph = ocellus_zoo::lenet(&Default::default())?;
/// assert_eq!(graph.params().iter().map(|p| p.shape.elements()).sum::<usize>(), 431_080);
/// # Ok::<(), ocellus_zoo::ZooError>(())
/// ```
pub fn lenet(options: &Options) -> Result<Graph, ZooError> {
    let size = MNIST.choose("lenet", options)?;
    size.explain("lenet", SMALLEST, describe(&size))
}

fn describe(size: &Size) -> Result<Graph, GraphError> {
    let mut b = Builder::new("lenet");
    let x = b.input("input", size.input()); // (1, 1, 28, 28)
    let x = layers(&mut b, x, size.classes);
    b.output("output", x);
    b.finish()
}

/// All of LeNet up to its `features` last numbers: x `(1, 1, 28, 28)` to `(1, features)`.
pub(crate) fn layers(b: &mut Builder, x: ValueId, features: usize) -> ValueId {
    let conv = |channels: usize| Conv::new(channels, 5).init(CAFFE_XAVIER);
    let halve = Window::square(2).stride(2);
    let x = b.conv2d("conv1", x, conv(20)); // (1, 20, 24, 24)
    let x = b.max_pool_ceil("pool1", x, halve); // (1, 20, 12, 12)
    let x = b.conv2d("conv2", x, conv(50)); // (1, 50, 8, 8)
    let x = b.max_pool_ceil("pool2", x, halve); // (1, 50, 4, 4)
    let x = b.flatten("flatten", x); // (1, 800)
    let x = b.linear("fc1", x, dense(500));
    let x = b.relu("relu1", x);
    b.linear("fc2", x, dense(features))
}

/// A fully connected layer, filled as Caffe does.
pub(crate) fn dense(features: usize) -> Dense {
    Dense::new(features).init(CAFFE_XAVIER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_too_small_names_the_layer_and_the_cure() {
        let side = |pixels: usize| lenet(&Options::default().with_input([1, pixels, 28]));
        assert!(side(SMALLEST).is_ok());
        let sentence = side(SMALLEST - 1).unwrap_err().to_string();
        for part in ["lenet", "14x28", "pool2", "15x15 pixels"] {
            assert!(sentence.contains(part), "{part}: {sentence}");
        }
        assert!(side(4).unwrap_err().to_string().contains("conv1"));
    }
}
