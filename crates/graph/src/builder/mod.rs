//! How is a network written down?
//!
//! Methods of [`Builder`] take a name and values and return a value. The first error is kept and given by
//! [`Builder::finish`]; after it, further calls do nothing, so that descriptions read straight through.

mod elementwise;
mod layers;
mod loss;
mod rearrange;
mod spec;

pub use spec::{BatchNormSpec, Conv, ConvTranspose, Dense};

use std::sync::Arc;

use ocellus_tensor::Shape;

use crate::ops::{Custom, CustomOp};
use crate::{Graph, GraphError, Init, Op, ParamSpec, Role, ValueId};

/// What methods return after an error; never read.
const NOWHERE: ValueId = ValueId(u32::MAX);

/// Writes a network node by node.
///
/// ```
/// use ocellus_graph::{Builder, Conv, Dense};
/// use ocellus_tensor::Window;
///
/// let mut b = Builder::new("small");
/// let x = b.input("input", [1, 1, 28, 28]);
/// let x = b.conv2d("conv1", x, Conv::new(6, 5).padding(2)); // (1, 6, 28, 28)
/// let x = b.relu("relu1", x);
/// let x = b.max_pool("pool1", x, Window::square(2).stride(2)); // (1, 6, 14, 14)
/// let x = b.flatten("flatten", x);
/// let x = b.linear("fc", x, Dense::new(10));
/// b.output("output", x);
/// let graph = b.finish()?;
/// assert_eq!(graph.shape(x).dims(), [1, 10]);
/// # Ok::<(), ocellus_graph::GraphError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Builder {
    graph: Graph,
    error: Option<GraphError>,
    /// Scopes around the next node, joined by dots; and the same for its parameters, which may be another's.
    node_prefix: String,
    param_prefix: String,
    dropouts: u64,
}

impl Builder {
    /// Starts an empty network called `name`.
    pub fn new(name: impl Into<String>) -> Self {
        let (node_prefix, param_prefix) = (String::new(), String::new());
        Builder { graph: Graph::new(name), error: None, node_prefix, param_prefix, dropouts: 0 }
    }

    /// The network, or the first thing that was wrong with it.
    pub fn finish(self) -> Result<Graph, GraphError> {
        match self.error {
            None => Ok(self.graph),
            Some(error) => Err(error),
        }
    }

    /// Runs `body` with every name inside prefixed by `name` and a dot.
    ///
    /// ```
    /// # use ocellus_graph::{Builder, Dense};
    /// let mut b = Builder::new("scoped");
    /// let x = b.input("x", [1, 4]);
    /// let y = b.scope("head", |b| b.linear("fc", x, Dense::new(2)));
    /// let graph = b.finish()?;
    /// assert_eq!(graph.value(y).name, "head.fc");
    /// assert!(graph.find_param("head.fc.weight").is_some());
    /// # Ok::<(), ocellus_graph::GraphError>(())
    /// ```
    pub fn scope<R>(&mut self, name: &str, body: impl FnOnce(&mut Self) -> R) -> R {
        self.in_scope(joined(&self.node_prefix, name), joined(&self.param_prefix, name), body)
    }

    /// As [`Builder::scope`], but parameters are named (and so shared) as if the scope were the one called
    /// `params_of`: the second tower of a Siamese network, the second use of a module.
    ///
    /// `params_of` is a full name, with no scope around it.
    pub fn scope_sharing<R>(&mut self, name: &str, params_of: &str, body: impl FnOnce(&mut Self) -> R) -> R {
        self.in_scope(joined(&self.node_prefix, name), params_of.to_string(), body)
    }

    fn in_scope<R>(&mut self, node: String, param: String, body: impl FnOnce(&mut Self) -> R) -> R {
        let outer_node = std::mem::replace(&mut self.node_prefix, node);
        let outer_param = std::mem::replace(&mut self.param_prefix, param);
        let result = body(self);
        self.node_prefix = outer_node;
        self.param_prefix = outer_param;
        result
    }

    /// Adds an input. Its name takes no prefix.
    pub fn input(&mut self, name: &str, shape: impl Into<Shape>) -> ValueId {
        let shape = shape.into();
        self.attempt(|graph| graph.add_input(name, shape))
    }

    /// Adds a learned parameter, or shares the one of this name.
    pub fn param(&mut self, name: &str, shape: impl Into<Shape>, init: Init) -> ValueId {
        let name = joined(&self.param_prefix, name);
        self.param_with(ParamSpec { name, shape: shape.into(), init, role: Role::Weight })
    }

    /// Adds a parameter of any role, or shares the one of this name. The name takes no prefix.
    pub fn param_with(&mut self, spec: ParamSpec) -> ValueId {
        self.attempt(|graph| graph.add_param(spec))
    }

    /// Adds any operation; returns its first output. [`Builder::slot`] gives further ones.
    pub fn node(&mut self, name: &str, op: Op, inputs: &[ValueId]) -> ValueId {
        let name = joined(&self.node_prefix, name);
        self.attempt(|graph| match graph.add_node(&name, op, inputs.to_vec())?.first() {
            Some(&value) => Ok(value),
            None => Err(GraphError::node(&name, "gives no output that could be used")),
        })
    }

    /// Output number `slot` of the node whose first output is `value`.
    pub fn slot(&mut self, value: ValueId, slot: usize) -> ValueId {
        self.attempt(|graph| {
            let outputs = graph.producer(value).map_or(&[][..], |node| &graph.node(node).outputs);
            outputs.get(slot).copied().ok_or_else(|| {
                let message = format!("output {slot} was asked for, there are {}", outputs.len());
                GraphError::node(&graph.value(value).name, message)
            })
        })
    }

    /// Adds an operation of the user's own; returns its first output.
    pub fn custom(&mut self, name: &str, op: Arc<dyn CustomOp>, inputs: &[ValueId]) -> ValueId {
        self.node(name, Op::Custom(Custom { op }), inputs)
    }

    /// Hands `value` out under `name`, which takes no prefix.
    pub fn output(&mut self, name: &str, value: ValueId) {
        self.attempt(|graph| {
            graph.add_output(name, value);
            Ok(value)
        });
    }

    /// Hands class scores out while training, as [`Graph::add_auxiliary_output`] does. The name takes no prefix.
    pub fn auxiliary_output(&mut self, name: &str, value: ValueId, weight: f32) {
        self.attempt(|graph| {
            graph.add_auxiliary_output(name, value, weight);
            Ok(value)
        });
    }

    /// The shape of a value, `()` after an error.
    pub fn shape(&self, value: ValueId) -> Shape {
        self.graph.values().get(value.index()).map(|value| value.shape.clone()).unwrap_or_default()
    }

    /// The size of a value's axis 1, 1 after an error.
    pub fn channels(&self, value: ValueId) -> usize {
        self.shape(value).get(1).copied().unwrap_or(1)
    }

    /// Does `step` unless something went wrong before, and keeps its error.
    fn attempt(&mut self, step: impl FnOnce(&mut Graph) -> Result<ValueId, GraphError>) -> ValueId {
        if self.error.is_some() {
            return NOWHERE;
        }
        step(&mut self.graph).unwrap_or_else(|error| {
            self.error = Some(error);
            NOWHERE
        })
    }

    /// Keeps an error of the node `name` found before the node could be made.
    fn refuse(&mut self, name: &str, message: String) -> ValueId {
        let name = joined(&self.node_prefix, name);
        self.attempt(|_| Err(GraphError::node(name, message)))
    }

    /// The parameter `part` of the layer `name`, or of the layer whose parameters it shares.
    fn layer_param(&mut self, layer: &Layer, part: &str, shape: Shape, init: Init) -> ValueId {
        self.layer_state(layer, part, (shape, init, Role::Weight))
    }

    fn layer_state(&mut self, layer: &Layer, part: &str, filled: (Shape, Init, Role)) -> ValueId {
        let (shape, init, role) = filled;
        let name = match layer.shares {
            Some(shared) => joined(shared, part),
            None => joined(&joined(&self.param_prefix, layer.name), part),
        };
        self.param_with(ParamSpec { name, shape, init, role })
    }
}

/// A layer's name and the full name of the layer whose parameters it uses, if not its own.
struct Layer<'a> {
    name: &'a str,
    shares: Option<&'a str>,
}

fn joined(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_string() } else { format!("{prefix}.{name}") }
}
