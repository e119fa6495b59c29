//! Dropping what is not needed.

use super::rebuild::Changes;
use crate::{Graph, GraphError, ValueId};

impl Graph {
    /// By value: whether any of `roots` depends on it (each root on itself).
    pub fn needed_by(&self, roots: &[ValueId]) -> Vec<bool> {
        let mut needed = vec![false; self.values().len()];
        roots.iter().for_each(|root| needed[root.index()] = true);
        for node in self.nodes().iter().rev() {
            if node.outputs.iter().any(|output| needed[output.index()]) {
                node.inputs.iter().for_each(|input| needed[input.index()] = true);
            }
        }
        needed
    }

    /// Keeps the outputs and losses of these names and what they need; other inputs and parameters vanish too. An
    /// update of parameters stays if all that it reads stays.
    ///
    /// Refused: a name that is neither an output nor a loss.
    pub fn prune(&self, names: &[&str]) -> Result<Graph, GraphError> {
        for name in names {
            let is_loss = self.losses().iter().any(|loss| loss.name == *name);
            if !is_loss && self.find_output(name).is_none() {
                return Err(self.missing("output", name));
            }
        }
        let mut changes = Changes::none(self);
        changes.outputs = self.outputs().iter().map(|output| names.contains(&output.name.as_str())).collect();
        changes.losses = self.losses().iter().map(|loss| names.contains(&loss.name.as_str())).collect();
        self.keep_needed(&mut changes);
        changes.apply()
    }

    /// The network without its losses, and without what only they need.
    pub fn without_losses(&self) -> Result<Graph, GraphError> {
        let names: Vec<&str> = self.outputs().iter().map(|output| output.name.as_str()).collect();
        self.prune(&names)
    }

    /// The part of the network up to `node`, whose first output becomes the only output, named `output`.
    pub fn cut_at(&self, node: &str) -> Result<Graph, GraphError> {
        let id = self.find_node(node).ok_or_else(|| self.missing("node", node))?;
        let Some(&value) = self.node(id).outputs.first() else {
            return Err(GraphError::node(node, "gives no value that could be the output"));
        };
        let mut open = self.clone();
        open.clear_outputs_and_losses();
        open.add_output("output", value);
        open.prune(&["output"])
    }

    /// Limits `changes` to what its outputs and losses need.
    pub(super) fn keep_needed(&self, changes: &mut Changes) {
        let outputs = self.outputs().iter().zip(&changes.outputs).filter(|(_, stays)| **stays);
        let losses = self.losses().iter().zip(&changes.losses).filter(|(_, stays)| **stays);
        let roots: Vec<ValueId> =
            outputs.map(|(output, _)| output.value).chain(losses.map(|(loss, _)| loss.value)).collect();
        let mut needed = self.needed_by(&roots);
        for (stays, node) in changes.nodes.iter_mut().zip(self.nodes()) {
            let read = &node.inputs[node.op.writes().min(node.inputs.len())..];
            let keeps_updating = node.outputs.is_empty() && read.iter().all(|input| needed[input.index()]);
            let used = node.outputs.iter().any(|output| needed[output.index()]);
            *stays &= used || keeps_updating;
            if *stays {
                // What it writes is needed too, and all of its outputs exist, so updates may read them.
                node.inputs.iter().chain(&node.outputs).for_each(|value| needed[value.index()] = true);
            }
        }
        for (stays, param) in changes.params.iter_mut().zip(self.params()) {
            *stays &= needed[param.value.index()];
        }
        for (stays, needed) in changes.inputs.iter_mut().zip(needed) {
            *stays &= needed;
        }
    }
}
