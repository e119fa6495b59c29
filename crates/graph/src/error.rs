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

    /// An error for a name that is not among `known`; the nearest known one becomes the hint.
    pub fn missing(graph: &str, kind: &'static str, name: &str, known: &[&str]) -> Self {
        let nearest = known.iter().map(|&candidate| (distance(name, candidate), candidate)).min();
        let length = name.chars().count();
        let hint = match nearest {
            // Two letters wrong, or a third of them, is still a slip; more is another name.
            Some((edits, candidate)) if edits < length && edits <= (length / 3).max(2) => {
                format!("; did you mean {candidate}?")
            }
            _ if !known.is_empty() && known.len() <= 6 => format!("; it has {}", known.join(", ")),
            _ => String::new(),
        };
        GraphError::Missing { graph: graph.into(), kind, name: name.into(), hint }
    }
}

/// How many letters must be added, dropped or changed to come from `a` to `b` (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &to) in b.iter().enumerate() {
            let changed = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}
