//! What can go wrong between a graph and its numbers?

use ocellus_graph::GraphError;
use ocellus_tensor::Shape;

/// A network that cannot be planned or fed as asked.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EngineError {
    /// The graph itself refuses.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// There is no such input, output or parameter.
    #[error("the network {graph} has no {kind} named {name}; it has {available}")]
    Missing {
        /// The network's name.
        graph: String,
        /// "input", "output" or "parameter".
        kind: &'static str,
        /// The name asked for.
        name: String,
        /// Names there are.
        available: String,
    },
    /// A tensor of another shape than the network's.
    #[error("{name} has shape {actual}, the network needs {expected}")]
    Shape {
        /// Input or parameter.
        name: String,
        /// Shape the network needs.
        expected: Shape,
        /// Shape given.
        actual: Shape,
    },
    /// A parameter that cannot be read from where it lies.
    #[error("{name} cannot be read: {cause}")]
    Unreadable {
        /// The parameter.
        name: String,
        /// Why.
        cause: String,
    },
    /// As many numbers as the shape needs were not given.
    #[error("{name} needs {expected} numbers, got {actual}")]
    Length {
        /// Input or parameter.
        name: String,
        /// Numbers the network needs.
        expected: usize,
        /// Numbers given.
        actual: usize,
    },
    /// One parameter of a plan that keeps none of them as they were.
    #[error(
        "the plan of {graph} keeps only packed weights, so {name} cannot be reached alone; load all weights instead"
    )]
    NotKept {
        /// The network's name.
        graph: String,
        /// The parameter.
        name: String,
    },
    /// The plan would need more memory than allowed.
    #[error("{graph} needs {needed} bytes, the limit is {limit}; use a smaller batch or input")]
    Memory {
        /// The network's name.
        graph: String,
        /// Bytes the plan needs.
        needed: usize,
        /// Bytes allowed.
        limit: usize,
    },
}
