//! What can be wrong with a network?

/// A network that cannot be. Every message names the node (or parameter) and quotes the numbers that disagree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// An operation refuses its inputs or attributes.
    #[error("{node}: {message}")]
    Node {
        /// The node's name.
        node: String,
        /// What is wrong, with both numbers.
        message: String,
    },
    /// Two things of one name that may have only one, or a shared parameter used with another shape.
    #[error("{name}: {message}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// Something asked for is not in the network.
    #[error("the network {graph} has no {kind} named {name}{hint}")]
    Missing {
        /// The network's name.
        graph: String,
        /// "node", "parameter", "input", "output" or "loss".
        kind: &'static str,
        /// The name asked for.
        name: String,
        /// "; did you mean X?" or empty.
        hint: String,
    },
    /// The text form cannot be read.
    #[error("line {line}: {message}")]
    Text {
        /// Line number from 1.
        line: usize,
        /// What is wrong and what was expected.
        message: String,
    },
}

impl GraphError {
    /// An error of the node named `node`.
    pub fn node(node: impl Into<String>, message: impl Into<String>) -> Self {
        GraphError::Node { node: node.into(), message: message.into() }
    }
}
