//! AlexNet as torchvision has it.

use ocellus_graph::{Builder, Conv, Dense, Graph, Init};
use ocellus_tensor::Window;

use crate::parts::{FixedHead, IMAGENET, torch_bias};
use crate::{Options, ZooError};

/// Channels, kernel, stride and padding of the convolutions, and torchvision's number of each.
const CONVS: [([usize; 4], usize); 5] = [
    ([64, 11, 4, 2], 0),
    ([192, 5, 1, 2], 3),
    ([384, 3, 1, 1], 6),
    ([256, 3, 1, 1], 8),
    ([256, 3, 1, 1], 10),
];

/// AlexNet for one machine: 3x224x224, 1000 classes, 61,100,840 parameters, 0.71 billion multiply-accumulates.
///
/// Krizhevsky's later version, without groups and without local response normalisation; the published one is
/// [`crate::alexnet_caffe`]. Nodes are called as in Caffe's model (`conv1`, `fc6`), parameters are named and filled as
/// torchvision does (`features.0.weight`, `classifier.1.weight`). `fc6` is made for the 6x6 values that 224x224
/// pixels leave; with [`Options::global_pooling`] any image of 63x63 or more will do.
///
/// Source: Krizhevsky, "One weird trick for parallelizing convolutional neural networks" (2014); torchvision,
/// `models/alexnet.py`.
///
/// ```
/// let graph = ocellus_zoo::alexnet(&Default::default())?;
/// let fc6 = graph.param(graph.find_param("classifier.1.weight").unwrap());
/// assert_eq!(fc6.shape.dims(), [4096, 9216]);
/// # Ok::<(), ocellus_zoo::ZooError>(())
/// ```
pub fn alexnet(options: &Options) -> Result<Graph, ZooError> {
    let head =
        FixedHead { network: "alexnet", layer: "fc6", weight: "classifier.1.weight", side: 6, smallest: 63 };
    let size = IMAGENET.choose(&head.name(options), options)?;

    let mut b = Builder::new(head.name(options));
    let mut x = b.input("input", size.input()); // (1, 3, 224, 224)
    for (i, ([channels, kernel, stride, padding], module)) in (1..).zip(CONVS) {
        let fan_in = b.channels(x).saturating_mul(kernel * kernel);
        let conv = Conv::new(channels, kernel).stride(stride).padding(padding);
        let conv = conv.init(Init::inverse_root_fan_in()).bias_init(torch_bias(fan_in));
        x = b.conv2d(&format!("conv{i}"), x, conv.params(format!("features.{module}")));
        x = b.relu(&format!("relu{i}"), x); // (1, 64, 55, 55), (1, 192, 27, 27), (1, 384 and 256, 13, 13)
        if matches!(i, 1 | 2 | 5) {
            x = b.max_pool(&format!("pool{i}"), x, Window::square(3).stride(2)); // 27, 13 and 6 pixels
        }
    }
    let left = x; // (1, 256, 6, 6)
    x = head.flatten(&mut b, x, options); // (1, 9216)
    for (i, module) in [(6, 1), (7, 4)] {
        x = b.dropout(&format!("dropout{i}"), x, 0.5);
        let bias = torch_bias(b.channels(x));
        x = b.linear(
            &format!("fc{i}"),
            x,
            Dense::new(4096).bias_init(bias).params(format!("classifier.{module}")),
        );
        x = b.relu(&format!("relu{i}"), x);
    }
    let bias = torch_bias(b.channels(x));
    let x = b.linear("fc8", x, Dense::new(size.classes).bias_init(bias).params("classifier.6")); // (1, classes)
    b.output("output", x);
    head.finish(b, left, &size, options)
}
