//! Other names.

use super::rebuild::Changes;
use crate::{Graph, GraphError};

impl Graph {
    /// Renames everything called `from`, or `from` and a dot and more: inputs, nodes, parameters, outputs, losses. So
    /// a layer takes its parameters along, and a scope all that is in it.
    ///
    /// Refused: a name that nothing has, and a new name that is taken.
    pub fn rename(&self, from: &str, to: &str) -> Result<Graph, GraphError> {
        let is_meant = |name: &str| renamed(name, from, to).is_some();
        let in_values = self.values().iter().any(|value| is_meant(&value.name));
        let in_nodes = self.nodes().iter().any(|node| is_meant(&node.name));
        let in_outputs = self.outputs().iter().any(|output| is_meant(&output.name));
        let in_losses = self.losses().iter().any(|loss| is_meant(&loss.name));
        if !(in_values || in_nodes || in_outputs || in_losses) {
            return Err(self.missing("node", from));
        }
        let mut changes = Changes::none(self);
        changes.rename = Box::new(|name| renamed(name, from, to).unwrap_or_else(|| name.to_string()));
        changes.apply()
    }
}

/// The new name of `name`, if it is meant.
fn renamed(name: &str, from: &str, to: &str) -> Option<String> {
    let rest = name.strip_prefix(from)?;
    (rest.is_empty() || rest.starts_with('.')).then(|| format!("{to}{rest}"))
}
