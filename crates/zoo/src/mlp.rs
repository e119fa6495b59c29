//! A multilayer perceptron: no convolution at all.

use ocellus_graph::{Builder, Dense, Graph, GraphError, Init};

use crate::lenet::MNIST;
use crate::options::Size;
use crate::{Options, ZooError};

/// Features of each hidden layer.
const HIDDEN: usize = 512;

/// A multilayer perceptron for handwritten digits: 1x28x28, 10 classes, 669,706 parameters, 0.67 million
/// multiply-accumulates.
///
/// Two hidden layers of 512 features, each with ReLU and dropout of 0.2. Parameters: `fc1`, `fc2`, `fc3`, each `.weight`
/// and `.bias`. The first layer is made for the image size asked for.
///
/// Source: Keras, `examples/mnist_mlp.py` (2015); the idea is Rumelhart, Hinton and Williams, "Learning representations
/// by back-propagating errors" (1986).
///
/// ```
/// let graph = ocellus_zoo::mlp(&Default::default())?;
/// assert_eq!(graph.parameter_count(ocellus_graph::Role::Weight), 669_706);
/// # Ok::<(), ocellus_zoo::ZooError>(())
/// ```
pub fn mlp(options: &Options) -> Result<Graph, ZooError> {
    let size = MNIST.choose("mlp", options)?;
    Ok(describe(&size)?)
}

fn describe(size: &Size) -> Result<Graph, GraphError> {
    let mut b = Builder::new("mlp");
    let x = b.input("input", size.input()); // (1, 1, 28, 28)
    let mut x = b.flatten("flatten", x); // (1, 784)
    for i in 1..=2 {
        x = b.linear(&format!("fc{i}"), x, Dense::new(HIDDEN).init(Init::xavier_uniform()));
        x = b.relu(&format!("relu{i}"), x);
        x = b.dropout(&format!("dropout{i}"), x, 0.2);
    }
    let x = b.linear("fc3", x, Dense::new(size.classes).init(Init::xavier_uniform()));
    b.output("output", x);
    b.finish()
}
