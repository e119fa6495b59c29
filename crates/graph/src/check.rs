//! Is a graph whole?
//!
//! A graph built through its methods always is. This checks it again from scratch, for tests of transforms and for
//! graphs whose parameters were changed by hand.

use std::collections::HashSet;

use crate::{Graph, GraphError, NodeId, ParamId, Source, ValueId};

impl Graph {
    /// Checks names, order, sources, every shape, outputs and losses; gives the first thing that is wrong.
    pub fn check(&self) -> Result<(), GraphError> {
        self.check_names()?;
        self.check_inputs()?;
        for index in 0..self.params().len() {
            self.check_param(ParamId(index as u32))?;
        }
        for index in 0..self.nodes().len() {
            self.check_inputs_of(NodeId(index as u32))?;
            self.check_outputs_of(NodeId(index as u32))?;
        }
        self.check_results()
    }

    fn check_names(&self) -> Result<(), GraphError> {
        let mut values = HashSet::new();
        for (index, value) in self.values().iter().enumerate() {
            let known = self.find_value(&value.name) == Some(ValueId(index as u32));
            if !known || !values.insert(&value.name) {
                return Err(wrong(&value.name, "is not the one value of its name"));
            }
        }
        for (index, node) in self.nodes().iter().enumerate() {
            if self.find_node(&node.name) != Some(NodeId(index as u32)) {
                return Err(wrong(&node.name, "is not the one node of its name"));
            }
        }
        let mut handed_out = HashSet::new();
        for name in self.outputs().iter().map(|output| &output.name) {
            if !handed_out.insert(name) {
                return Err(wrong(name, "there are two outputs of this name"));
            }
        }
        Ok(())
    }

    fn check_inputs(&self) -> Result<(), GraphError> {
        for (index, value) in self.values().iter().enumerate() {
            let listed = self.inputs().contains(&ValueId(index as u32));
            if listed != (value.source == Source::Input) {
                return Err(wrong(&value.name, "is an input that is not listed, or listed and none"));
            }
        }
        Ok(())
    }

    fn check_param(&self, id: ParamId) -> Result<(), GraphError> {
        let param = self.param(id);
        let Some(value) = self.values().get(param.value.index()) else {
            return Err(wrong(&param.name, "has no value"));
        };
        if value.source != Source::Param(id) || value.name != param.name {
            return Err(wrong(
                &param.name,
                &format!("is read through the value {}, which is another's", value.name),
            ));
        }
        if value.shape != param.shape {
            return Err(wrong(
                &param.name,
                &format!("has shape {}, its value has {}", param.shape, value.shape),
            ));
        }
        Ok(())
    }

    /// Every input exists, comes from before, and is a parameter if it is written.
    fn check_inputs_of(&self, id: NodeId) -> Result<(), GraphError> {
        let node = self.node(id);
        for (position, &input) in node.inputs.iter().enumerate() {
            let Some(value) = self.values().get(input.index()) else {
                return Err(GraphError::node(&node.name, format!("input {position} does not exist")));
            };
            match value.source {
                Source::Node { node: producer, .. } if producer >= id => {
                    return Err(GraphError::node(
                        &node.name,
                        format!("reads {} before it is made", value.name),
                    ));
                }
                Source::Param(_) => {}
                _ if position < node.op.writes() => {
                    return Err(GraphError::node(&node.name, format!("writes {}, no parameter", value.name)));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The shapes are those that the operation's rule gives.
    fn check_outputs_of(&self, id: NodeId) -> Result<(), GraphError> {
        let node = self.node(id);
        let inputs: Vec<_> = node.inputs.iter().map(|&input| self.shape(input)).collect();
        let shapes =
            node.op.output_shapes(&inputs).map_err(|message| GraphError::node(&node.name, message))?;
        if shapes.len() != node.outputs.len() {
            let message = format!("makes {} values, {} are listed", shapes.len(), node.outputs.len());
            return Err(GraphError::node(&node.name, message));
        }
        for (slot, (shape, &output)) in shapes.iter().zip(&node.outputs).enumerate() {
            let value = self.value(output);
            if value.shape != *shape {
                let message = format!("output {slot} has shape {}, its rule gives {shape}", value.shape);
                return Err(GraphError::node(&node.name, message));
            }
            if value.source != (Source::Node { node: id, slot: slot as u32 }) {
                return Err(GraphError::node(&node.name, format!("output {slot} says that another made it")));
            }
        }
        Ok(())
    }

    fn check_results(&self) -> Result<(), GraphError> {
        let exists = |value: ValueId| value.index() < self.values().len();
        if let Some(output) = self.outputs().iter().find(|output| !exists(output.value)) {
            return Err(wrong(&output.name, "is an output without a value"));
        }
        for loss in self.losses() {
            if !exists(loss.value) || self.shape(loss.value).elements() != 1 {
                return Err(wrong(&loss.name, "is a loss, but not one number"));
            }
            if !loss.weight.is_finite() {
                return Err(wrong(&loss.name, &format!("has weight {}", loss.weight)));
            }
        }
        Ok(())
    }
}

fn wrong(name: &str, message: &str) -> GraphError {
    GraphError::Name { name: name.into(), message: message.into() }
}
