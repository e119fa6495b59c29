//! A Siamese network: two towers that share every parameter, and a loss on the distance between what they see.

use ocellus_graph::{Builder, Graph, GraphError};

use crate::lenet::{SMALLEST, dense, layers};
use crate::options::Size;
use crate::{Options, ZooError};

/// Pairs of MNIST digits, each embedded in the plane.
pub(crate) const PAIRS: Size = Size { classes: 2, channels: 1, height: 28, width: 28 };

/// Distance that digits of different classes should keep.
const MARGIN: f32 = 1.0;

/// Siamese LeNet for pairs of handwritten digits: twice 1x28x28, 431,102 parameters (which both towers use), 2 x 2.29
/// million multiply-accumulates.
///
/// Each tower is LeNet with a layer `feat` of two numbers behind its ten. The inputs `input` and `input2` are the two
/// images, `same` `(N)` is 1 for a pair of one class and 0 for others; the outputs `output` and `output2` are the two
/// embeddings, and the loss `contrastive` draws pairs together or keeps them at least 1 apart. Nodes are `tower1.conv1`,
/// `tower2.conv1`, ...; parameters are named once: `conv1`, `conv2`, `fc1`, `fc2`, `feat`, each `.weight` and `.bias`.
/// The options' `classes` are the numbers of an embedding. `Graph::prune(&["output"])` is one tower alone.
///
/// Source: BVLC Caffe, `examples/siamese/mnist_siamese_train_test.prototxt`; Hadsell, Chopra and LeCun, "Dimensionality
/// reduction by learning an invariant mapping" (2006); Bromley et al., "Signature verification using a Siamese time
/// delay neural network" (1993).
///
/// ```
/// let graph = ocellus_zoo::siamese_lenet(&Default::default())?;
/// assert_eq!(graph.parameter_count(ocellus_graph::Role::Weight), 431_102);
/// assert_eq!(graph.losses()[0].name, "contrastive");
/// # Ok::<(), ocellus_zoo::ZooError>(())
/// ```
pub fn siamese_lenet(options: &Options) -> Result<Graph, ZooError> {
    let size = PAIRS.choose("siamese_lenet", options)?;
    size.explain("siamese_lenet", SMALLEST, describe(&size))
}

fn describe(size: &Size) -> Result<Graph, GraphError> {
    let mut b = Builder::new("siamese_lenet");
    let images = ["input", "input2"].map(|name| b.input(name, size.input())); // (1, 1, 28, 28) each
    let same = b.input("same", [1]);
    let mut tower = |name: &str, x| {
        // No name before the parameters': both towers use the same ones.
        b.scope_sharing(name, "", |b| {
            let x = layers(b, x, 10);
            b.linear("feat", x, dense(size.classes))
        })
    };
    let pair = [tower("tower1", images[0]), tower("tower2", images[1])]; // (1, 2) each
    b.contrastive("contrastive", pair, same, MARGIN, 1.0);
    b.output("output", pair[0]);
    b.output("output2", pair[1]);
    b.finish()
}
