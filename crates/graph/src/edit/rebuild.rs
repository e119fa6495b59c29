//! Replaying a graph into a new one, with something different on the way.

use std::collections::HashMap;

use ocellus_tensor::Shape;

use crate::graph::Entry;
use crate::ops::{BatchNorm, Binary, BinaryKind, RunningUpdate, Transpose};
use crate::{Graph, GraphError, Init, NodeId, Op, ParamId, ParamSpec, Role, ValueId};

/// What to carry over, and what to change on the way. By default everything, unchanged.
pub(super) struct Changes<'g> {
    graph: &'g Graph,
    /// By node, parameter, input (by value), output and loss: whether it stays.
    pub nodes: Vec<bool>,
    pub params: Vec<bool>,
    pub inputs: Vec<bool>,
    pub outputs: Vec<bool>,
    pub losses: Vec<bool>,
    /// Other shapes for inputs and parameters.
    pub input_shapes: HashMap<ValueId, Shape>,
    pub param_shapes: HashMap<ParamId, Shape>,
    /// What each reader of an input gets in its place: the input minus a new parameter of this name.
    pub subtract: HashMap<ValueId, String>,
    /// What each reader of an input gets in its place: the input with its axes in this order.
    pub turn: HashMap<ValueId, Vec<usize>>,
    /// Another name for anything.
    pub rename: Box<dyn Fn(&str) -> String + 'g>,
}

impl<'g> Changes<'g> {
    pub fn none(graph: &'g Graph) -> Self {
        Changes {
            graph,
            nodes: vec![true; graph.nodes().len()],
            params: vec![true; graph.params().len()],
            inputs: vec![true; graph.values().len()],
            outputs: vec![true; graph.outputs().len()],
            losses: vec![true; graph.losses().len()],
            input_shapes: HashMap::new(),
            param_shapes: HashMap::new(),
            subtract: HashMap::new(),
            turn: HashMap::new(),
            rename: Box::new(str::to_string),
        }
    }

    /// Replays, copying each node that stays.
    pub fn apply(self) -> Result<Graph, GraphError> {
        Ok(self.apply_with(|replay, node| replay.copy(node))?.graph)
    }

    /// Replays with `step` in the place of copying. A step gives what stands for the node's outputs.
    pub fn apply_with(
        self,
        mut step: impl FnMut(&mut Replay<'g>, NodeId) -> Result<Vec<ValueId>, GraphError>,
    ) -> Result<Replay<'g>, GraphError> {
        let old = self.graph;
        let now = vec![None; old.values().len()];
        let mut replay = Replay { old, graph: Graph::new(&old.name), now, changes: self };
        for entry in old.entries() {
            match entry {
                Entry::Input(value) => replay.add_input(value)?,
                Entry::Param(id) => replay.add_param(id)?,
                Entry::Node(id) if replay.changes.nodes[id.index()] => {
                    let made = step(&mut replay, id)?;
                    for (output, value) in old.node(id).outputs.iter().zip(made) {
                        replay.now[output.index()] = Some(value);
                    }
                }
                Entry::Node(_) => {}
            }
        }
        replay.add_outputs_and_losses()?;
        Ok(replay)
    }
}

/// A replay under way: the new graph so far, and where the old values are now.
pub(super) struct Replay<'g> {
    pub old: &'g Graph,
    pub graph: Graph,
    now: Vec<Option<ValueId>>,
    changes: Changes<'g>,
}

impl Replay<'_> {
    /// The old value in the new graph.
    pub fn now(&self, old: ValueId) -> Result<ValueId, GraphError> {
        self.now[old.index()].ok_or_else(|| {
            let message = "is still needed, but the edit removes it";
            GraphError::node(&self.old.value(old).name, message)
        })
    }

    /// The new inputs of an old node.
    pub fn inputs(&self, id: NodeId) -> Result<Vec<ValueId>, GraphError> {
        self.old.node(id).inputs.iter().map(|&input| self.now(input)).collect()
    }

    /// Copies a node.
    pub fn copy(&mut self, id: NodeId) -> Result<Vec<ValueId>, GraphError> {
        let op = match &self.old.node(id).op {
            Op::RunningUpdate(update) => Op::RunningUpdate(self.recounted(id, *update)?),
            op => op.clone(),
        };
        self.copy_as(id, op)
    }

    /// Copies a node with another operation.
    pub fn copy_as(&mut self, id: NodeId, op: Op) -> Result<Vec<ValueId>, GraphError> {
        let inputs = self.inputs(id)?;
        let name = (self.changes.rename)(&self.old.node(id).name);
        self.graph.add_node(name, op, inputs)
    }

    /// Running statistics count the batch's values, which may have changed with the input's size.
    fn recounted(&self, id: NodeId, update: RunningUpdate) -> Result<RunningUpdate, GraphError> {
        let mean = self.now(self.old.node(id).inputs[2])?;
        let norm = self.graph.producer(mean).map(|node| self.graph.node(node));
        match norm {
            Some(norm) if matches!(norm.op, Op::BatchNorm(BatchNorm { .. })) => {
                let x = self.graph.shape(norm.inputs[0]);
                Ok(RunningUpdate { count: x.elements() / x[1], ..update })
            }
            _ => Ok(update),
        }
    }

    fn add_input(&mut self, value: ValueId) -> Result<(), GraphError> {
        if self.changes.inputs[value.index()] {
            let old = self.old.value(value);
            let shape = self.changes.input_shapes.get(&value).unwrap_or(&old.shape).clone();
            let name = (self.changes.rename)(&old.name);
            let mut now = self.graph.add_input(name, shape)?;
            if let Some(name) = self.changes.subtract.get(&value).cloned() {
                now = self.subtract(now, name)?;
            }
            if let Some(order) = self.changes.turn.get(&value).cloned() {
                let node = format!("{}.turned", old.name);
                now = self.graph.add_node(node, Op::Transpose(Transpose { order }), vec![now])?[0];
            }
            self.now[value.index()] = Some(now);
        }
        Ok(())
    }

    /// A value (N, ...) minus a frozen parameter (...) of this name.
    fn subtract(&mut self, x: ValueId, name: String) -> Result<ValueId, GraphError> {
        let shape = self.graph.shape(x).get(1..).unwrap_or_default().to_vec();
        let node = format!("{}.minus_mean", self.graph.value(x).name);
        let spec = ParamSpec { name, shape: shape.into(), init: Init::Constant(0.0), role: Role::Statistic };
        let mean = self.graph.add_param(spec)?;
        if let Some(id) = self.graph.param_of(mean) {
            self.graph.param_mut(id).frozen = true;
        }
        let difference = Op::Binary(Binary { kind: BinaryKind::Sub });
        Ok(self.graph.add_node(node, difference, vec![x, mean])?[0])
    }

    fn add_param(&mut self, id: ParamId) -> Result<(), GraphError> {
        if !self.changes.params[id.index()] {
            return Ok(());
        }
        let old = self.old.param(id);
        let shape = self.changes.param_shapes.get(&id).unwrap_or(&old.shape).clone();
        let name = (self.changes.rename)(&old.name);
        if self.graph.find_param(&name).is_some() {
            let message = "there is already a parameter of this name".into();
            return Err(GraphError::Name { name, message });
        }
        let value = self.graph.add_param(ParamSpec { name, shape, init: old.init, role: old.role })?;
        if let Some(new) = self.graph.param_of(value) {
            let new = self.graph.param_mut(new);
            (new.lr_mult, new.decay_mult, new.frozen) = (old.lr_mult, old.decay_mult, old.frozen);
        }
        self.now[old.value.index()] = Some(value);
        Ok(())
    }

    fn add_outputs_and_losses(&mut self) -> Result<(), GraphError> {
        for (output, &stays) in self.old.outputs().iter().zip(&self.changes.outputs) {
            if stays {
                let (name, value) = ((self.changes.rename)(&output.name), self.now(output.value)?);
                match output.auxiliary {
                    Some(weight) => self.graph.add_auxiliary_output(name, value, weight),
                    None => self.graph.add_output(name, value),
                }
            }
        }
        for (loss, &stays) in self.old.losses().iter().zip(&self.changes.losses) {
            if stays {
                let name = (self.changes.rename)(&loss.name);
                self.graph.add_loss(name, self.now(loss.value)?, loss.weight)?;
            }
        }
        Ok(())
    }
}
