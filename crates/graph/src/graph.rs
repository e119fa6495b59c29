//! The network itself: values, nodes, parameters, inputs, outputs and losses.

use std::collections::HashMap;

use ocellus_tensor::Shape;

use crate::guard::refuse_probabilities;
use crate::{GraphError, Init, Op, ops};

/// Names a value within one graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub u32);

/// Names a node within one graph; nodes are numbered in topological order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u32);

/// Names a parameter within one graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParamId(pub u32);

impl ValueId {
    /// Position in [`Graph::values`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl NodeId {
    /// Position in [`Graph::nodes`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl ParamId {
    /// Position in [`Graph::params`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// Handed in from outside at every run.
    Input,
    /// A parameter, which stays from run to run.
    Param(ParamId),
    /// Output number `slot` of a node.
    Node {
        /// The node.
        node: NodeId,
        /// Which of its outputs.
        slot: u32,
    },
}

/// One tensor that flows through the network.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// The producing node's, parameter's or input's name; further outputs of a node are `NAME:1`, `NAME:2`, ...
    pub name: String,
    /// Its sizes, logically N,C,H,W.
    pub shape: Shape,
    /// Who produces it.
    pub source: Source,
}

/// One operation and the values it reads and makes.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Unique within the graph.
    pub name: String,
    /// What is computed, with its attributes.
    pub op: Op,
    /// Values read, parameters included, in the order the operation documents.
    pub inputs: Vec<ValueId>,
    /// Values made.
    pub outputs: Vec<ValueId>,
}

/// What a parameter is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Learned by gradient descent (weights, biases, BatchNorm's gamma and beta).
    Weight,
    /// Gathered, not learned (BatchNorm's running mean and variance).
    Statistic,
    /// The optimiser's own memory (momentum, accumulated gradients); never part of a saved model.
    State,
}

/// Numbers that stay from run to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// Unique within the graph; nodes that name the same parameter share it.
    pub name: String,
    /// Its sizes.
    pub shape: Shape,
    /// How it is filled before training.
    pub init: Init,
    /// What it is for.
    pub role: Role,
    /// Multiplies the learning rate.
    pub lr_mult: f32,
    /// Multiplies the weight decay.
    pub decay_mult: f32,
    /// A frozen parameter gets no gradient and no update, and no work is done for either.
    pub frozen: bool,
    /// The value through which nodes read it.
    pub value: ValueId,
}

/// A value the network hands out, by name.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// The name under which it is asked for.
    pub name: String,
    /// The value.
    pub value: ValueId,
    /// For a head that only helps to train (GoogLeNet's auxiliary classifiers): the weight of its loss beside that of the
    /// output proper. Inference leaves such an output out.
    pub auxiliary: Option<f32>,
}

/// A scalar to be made small; the total loss is the weighted sum.
#[derive(Clone, Debug, PartialEq)]
pub struct Loss {
    /// The name under which it is reported.
    pub name: String,
    /// A scalar value.
    pub value: ValueId,
    /// Its share in the total.
    pub weight: f32,
}

/// A network: plain data, cheap to clone (it holds no weights).
///
/// Nodes are only ever appended, and read only values that exist, so the order of nodes is topological by
/// construction. Shapes are checked as each node is added.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Graph {
    /// What the network is called.
    pub name: String,
    values: Vec<Value>,
    nodes: Vec<Node>,
    params: Vec<Param>,
    inputs: Vec<ValueId>,
    outputs: Vec<Output>,
    losses: Vec<Loss>,
    values_by_name: HashMap<String, ValueId>,
    nodes_by_name: HashMap<String, NodeId>,
}

impl Graph {
    /// An empty network.
    pub fn new(name: impl Into<String>) -> Self {
        Graph { name: name.into(), ..Graph::default() }
    }

    /// All values.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// All nodes, in topological order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// All parameters.
    pub fn params(&self) -> &[Param] {
        &self.params
    }

    /// The values handed in from outside.
    pub fn inputs(&self) -> &[ValueId] {
        &self.inputs
    }

    /// The values handed out.
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// The losses.
    pub fn losses(&self) -> &[Loss] {
        &self.losses
    }

    /// The value `id`.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.index()]
    }

    /// The shape of value `id`.
    pub fn shape(&self, id: ValueId) -> &Shape {
        &self.values[id.index()].shape
    }

    /// The node `id`.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// The parameter `id`.
    pub fn param(&self, id: ParamId) -> &Param {
        &self.params[id.index()]
    }

    /// The parameter `id`, to change its multipliers, initialiser or frozen flag.
    pub fn param_mut(&mut self, id: ParamId) -> &mut Param {
        &mut self.params[id.index()]
    }

    /// The parameter behind a value, if it is one.
    pub fn param_of(&self, value: ValueId) -> Option<ParamId> {
        match self.value(value).source {
            Source::Param(id) => Some(id),
            _ => None,
        }
    }

    /// The node that makes a value, if one does.
    pub fn producer(&self, value: ValueId) -> Option<NodeId> {
        match self.value(value).source {
            Source::Node { node, .. } => Some(node),
            _ => None,
        }
    }

    /// The value of this name: an input, a parameter, or a node's output.
    pub fn find_value(&self, name: &str) -> Option<ValueId> {
        self.values_by_name.get(name).copied()
    }

    /// The parameter of this name.
    pub fn find_param(&self, name: &str) -> Option<ParamId> {
        self.find_value(name).and_then(|value| self.param_of(value))
    }

    /// The node of this name.
    pub fn find_node(&self, name: &str) -> Option<NodeId> {
        self.nodes_by_name.get(name).copied()
    }

    /// The input of this name.
    pub fn find_input(&self, name: &str) -> Option<ValueId> {
        self.find_value(name).filter(|&value| self.value(value).source == Source::Input)
    }

    /// The output of this name.
    pub fn find_output(&self, name: &str) -> Option<ValueId> {
        self.outputs.iter().find(|o| o.name == name).map(|o| o.value)
    }

    /// The error for something that is not in this network, with the nearest name as a hint.
    pub(crate) fn missing(&self, kind: &'static str, name: &str) -> GraphError {
        let names: Vec<&str> = match kind {
            "node" => self.nodes.iter().map(|node| node.name.as_str()).collect(),
            "parameter" => self.params.iter().map(|param| param.name.as_str()).collect(),
            "input" => self.inputs.iter().map(|&input| self.value(input).name.as_str()).collect(),
            "output" => self.outputs.iter().map(|output| output.name.as_str()).collect(),
            _ => self.losses.iter().map(|loss| loss.name.as_str()).collect(),
        };
        GraphError::missing(&self.name, kind, name, &names)
    }

    /// Inputs, parameters and nodes in the order in which they were added.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let mut entries = Vec::with_capacity(self.values.len());
        let mut next = 0;
        // Nodes without outputs leave no value behind; they go before the next node that does.
        let mut nodes_up_to = |end: usize, entries: &mut Vec<Entry>| {
            entries.extend((next..end).map(|node| Entry::Node(NodeId(node as u32))));
            next = next.max(end);
        };
        for (index, value) in self.values.iter().enumerate() {
            match value.source {
                Source::Input => entries.push(Entry::Input(ValueId(index as u32))),
                Source::Param(id) => entries.push(Entry::Param(id)),
                Source::Node { node, .. } => nodes_up_to(node.index() + 1, &mut entries),
            }
        }
        nodes_up_to(self.nodes.len(), &mut entries);
        entries
    }

    /// Forgets what is handed out and what is made small.
    pub(crate) fn clear_outputs_and_losses(&mut self) {
        self.outputs.clear();
        self.losses.clear();
    }

    /// The nodes that read each value, by value index; a node that reads a value twice is listed twice.
    pub fn readers(&self) -> Vec<Vec<NodeId>> {
        let mut readers = vec![Vec::new(); self.values.len()];
        for (i, node) in self.nodes.iter().enumerate() {
            for input in &node.inputs {
                readers[input.index()].push(NodeId(i as u32));
            }
        }
        readers
    }

    /// Adds an input of this shape.
    pub fn add_input(
        &mut self,
        name: impl Into<String>,
        shape: impl Into<Shape>,
    ) -> Result<ValueId, GraphError> {
        let (name, shape) = (name.into(), shape.into());
        ops::representable(&shape).map_err(|message| GraphError::node(&name, message))?;
        let value = self.add_value(name, shape, Source::Input)?;
        self.inputs.push(value);
        Ok(value)
    }

    /// Adds a parameter, or returns the one of this name if it has the same shape (so it is shared).
    pub fn add_param(&mut self, spec: ParamSpec) -> Result<ValueId, GraphError> {
        if let Some(id) = self.find_param(&spec.name) {
            let param = self.param(id);
            if param.shape != spec.shape {
                let message =
                    format!("shared parameter has shape {}, this use needs {}", param.shape, spec.shape);
                return Err(GraphError::Name { name: spec.name, message });
            }
            return Ok(param.value);
        }
        ops::representable(&spec.shape).map_err(|message| GraphError::node(&spec.name, message))?;
        let id = ParamId(self.params.len() as u32);
        let value = self.add_value(spec.name.clone(), spec.shape.clone(), Source::Param(id))?;
        let ParamSpec { name, shape, init, role } = spec;
        let (lr_mult, decay_mult) = (1.0, 1.0);
        self.params.push(Param { name, shape, init, role, lr_mult, decay_mult, frozen: false, value });
        Ok(value)
    }

    /// Appends a node; its output shapes follow from the operation's rule. Returns its output values.
    ///
    /// Refused: a name that is taken, inputs that the operation's shape rule refuses, writing anything but a
    /// parameter, and a loss on logits that is given probabilities.
    pub fn add_node(
        &mut self,
        name: impl Into<String>,
        op: Op,
        inputs: Vec<ValueId>,
    ) -> Result<Vec<ValueId>, GraphError> {
        let name = name.into();
        let shapes = self.check_node(&name, &op, &inputs)?;
        let node = NodeId(self.nodes.len() as u32);
        let mut outputs = Vec::with_capacity(shapes.len());
        for (slot, shape) in shapes.into_iter().enumerate() {
            let value_name = output_name(&name, slot);
            outputs.push(self.add_value(value_name, shape, Source::Node { node, slot: slot as u32 })?);
        }
        self.nodes_by_name.insert(name.clone(), node);
        self.nodes.push(Node { name, op, inputs, outputs: outputs.clone() });
        Ok(outputs)
    }

    /// Everything that can be wrong with a node, found before anything is added; gives its output shapes.
    fn check_node(&self, name: &str, op: &Op, inputs: &[ValueId]) -> Result<Vec<Shape>, GraphError> {
        if self.nodes_by_name.contains_key(name) {
            return Err(already(name, "a node"));
        }
        if let Some(value) = inputs.iter().find(|value| value.index() >= self.values.len()) {
            let message = format!("reads value {}, the network has {}", value.0, self.values.len());
            return Err(GraphError::node(name, message));
        }
        for &value in inputs.iter().take(op.writes()) {
            if self.param_of(value).is_none() {
                let written = &self.value(value).name;
                return Err(GraphError::node(name, format!("writes {written}, which is no parameter")));
            }
        }
        let shapes: Vec<&Shape> = inputs.iter().map(|&v| self.shape(v)).collect();
        let shapes = op.output_shapes(&shapes).map_err(|message| GraphError::node(name, message))?;
        refuse_probabilities(self, op, inputs).map_err(|message| GraphError::node(name, message))?;
        for slot in 0..shapes.len() {
            let value = output_name(name, slot);
            if self.values_by_name.contains_key(&value) {
                return Err(already(&value, "a value"));
            }
        }
        Ok(shapes)
    }

    /// Hands `value` out under `name`.
    pub fn add_output(&mut self, name: impl Into<String>, value: ValueId) {
        self.outputs.push(Output { name: name.into(), value, auxiliary: None });
    }

    /// Hands `value` out under `name` while training: class scores whose loss counts `weight` times.
    pub fn add_auxiliary_output(&mut self, name: impl Into<String>, value: ValueId, weight: f32) {
        self.outputs.push(Output { name: name.into(), value, auxiliary: Some(weight) });
    }

    /// By node: whether nothing but auxiliary outputs needs it.
    pub fn auxiliary_nodes(&self) -> Vec<bool> {
        let auxiliary = self.outputs().iter().filter(|output| output.auxiliary.is_some());
        let others = self.outputs().iter().filter(|output| output.auxiliary.is_none());
        let losses = self.losses().iter().map(|loss| loss.value);
        let wanted = self.needed_by(&auxiliary.map(|output| output.value).collect::<Vec<_>>());
        let needed = self.needed_by(&others.map(|output| output.value).chain(losses).collect::<Vec<_>>());
        let is_auxiliary = |node: &Node| {
            let any = |which: &[bool]| node.outputs.iter().any(|output| which[output.index()]);
            any(&wanted) && !any(&needed)
        };
        self.nodes().iter().map(is_auxiliary).collect()
    }

    /// Adds `weight` times the scalar `value` to the total loss.
    pub fn add_loss(
        &mut self,
        name: impl Into<String>,
        value: ValueId,
        weight: f32,
    ) -> Result<(), GraphError> {
        let name = name.into();
        let shape = self.shape(value);
        if shape.elements() != 1 {
            return Err(GraphError::node(
                name,
                format!("a loss is one number, this value has shape {shape}"),
            ));
        }
        self.losses.push(Loss { name, value, weight });
        Ok(())
    }

    fn add_value(&mut self, name: String, shape: Shape, source: Source) -> Result<ValueId, GraphError> {
        let id = ValueId(self.values.len() as u32);
        if self.values_by_name.contains_key(&name) {
            return Err(already(&name, "a value"));
        }
        self.values_by_name.insert(name.clone(), id);
        self.values.push(Value { name, shape, source });
        Ok(id)
    }
}

/// The name of output number `slot` of a node.
fn output_name(node: &str, slot: usize) -> String {
    if slot == 0 { node.to_string() } else { format!("{node}:{slot}") }
}

fn already(name: &str, what: &str) -> GraphError {
    GraphError::Name { name: name.into(), message: format!("there is already {what} of this name") }
}

/// One thing that was added to a graph.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Entry {
    Input(ValueId),
    Param(ParamId),
    Node(NodeId),
}

/// What [`Graph::add_param`] needs to know.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamSpec {
    /// Unique name; an existing parameter of this name is shared.
    pub name: String,
    /// Its sizes.
    pub shape: Shape,
    /// How it is filled before training.
    pub init: Init,
    /// What it is for.
    pub role: Role,
}
