//! Differentiation as a transform of the graph: the old nodes, then nodes that compute gradients.
//!
//! Reverse mode. With `wanted` the values on a path from a trainable parameter (or a requested input):
//!
//! ```text
//! for each loss:              gradient[loss] += its weight
//! for each node, last first:  if any output has a gradient and any input is wanted:
//!                                 for each input: gradient[input] += the node's rule
//! ```
//!
//! Since `+=` appends an Add node, a value or parameter with several uses gets the sum of all their gradients, and
//! sharing needs no special case. Frozen parameters are never wanted, so nothing is computed for them, nor behind
//! the last trainable one. Each operation's rule stands in its own file under `ops/`.

use ocellus_tensor::Shape;

use crate::ops::{Activation, Binary, BinaryKind};
use crate::{Graph, GraphError, NodeId, Op, ParamId, Role, Source, ValueId};

/// What [`differentiate`] should find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Names of the inputs whose gradients are wanted; none by default.
    pub inputs: Vec<String>,
    /// Whether gradients of all trainable parameters are wanted; true by default.
    pub params: bool,
}

impl Default for Request {
    fn default() -> Self {
        Request { inputs: Vec::new(), params: true }
    }
}

/// A network with its gradients.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradients {
    /// The old nodes under their old ids, then those that compute gradients.
    pub graph: Graph,
    /// The gradient of the total loss with respect to each trainable parameter that it depends on, in the order of
    /// [`Graph::params`].
    pub params: Vec<(ParamId, ValueId)>,
    /// The same for each requested input, in the order of the request; an input that no loss depends on is absent.
    pub inputs: Vec<(String, ValueId)>,
}

/// Appends the gradient of the weighted sum of all losses with respect to trainable parameters and requested inputs.
///
/// Refused: a network without losses, an input that does not exist, and a path through an operation that has no
/// gradient.
///
/// ```
/// use ocellus_graph::{Builder, Dense, Request, differentiate};
///
/// let mut b = Builder::new("regression");
/// let (x, target) = (b.input("x", [8, 3]), b.input("target", [8, 1]));
/// let y = b.linear("fc", x, Dense::new(1));
/// b.mse("loss", y, target, 1.0);
/// let gradients = differentiate(&b.finish()?, &Request::default())?;
/// let (param, gradient) = gradients.params[0];
/// assert_eq!(gradients.graph.param(param).name, "fc.weight");
/// assert_eq!(gradients.graph.shape(gradient).dims(), [1, 3]);
/// # Ok::<(), ocellus_graph::GraphError>(())
/// ```
pub fn differentiate(graph: &Graph, request: &Request) -> Result<Gradients, GraphError> {
    if graph.losses().is_empty() {
        let message = "there is no loss to differentiate".to_string();
        return Err(GraphError::Name { name: graph.name.clone(), message });
    }
    let inputs = requested_inputs(graph, request)?;
    let mut walk = Walk {
        graph: graph.clone(),
        wanted: wanted_values(graph, request, &inputs),
        gradients: vec![None; graph.values().len()],
    };
    walk.seed_losses()?;
    for index in (0..graph.nodes().len()).rev() {
        walk.visit(NodeId(index as u32))?;
    }
    let Walk { graph: differentiated, gradients, .. } = walk;
    let params = graph.params().iter().enumerate().filter_map(|(index, param)| {
        gradients[param.value.index()].map(|gradient| (ParamId(index as u32), gradient))
    });
    let inputs = request
        .inputs
        .iter()
        .zip(&inputs)
        .filter_map(|(name, value)| gradients[value.index()].map(|gradient| (name.clone(), gradient)));
    Ok(Gradients { params: params.collect(), inputs: inputs.collect(), graph: differentiated })
}

fn requested_inputs(graph: &Graph, request: &Request) -> Result<Vec<ValueId>, GraphError> {
    let find = |name: &String| graph.find_input(name).ok_or_else(|| graph.missing("input", name));
    request.inputs.iter().map(find).collect()
}

/// By value: whether its gradient leads to something asked for.
fn wanted_values(graph: &Graph, request: &Request, inputs: &[ValueId]) -> Vec<bool> {
    let mut wanted: Vec<bool> = graph
        .values()
        .iter()
        .enumerate()
        .map(|(index, value)| match value.source {
            Source::Input => inputs.contains(&ValueId(index as u32)),
            Source::Param(id) => request.params && trainable(graph, id),
            Source::Node { .. } => false,
        })
        .collect();
    for node in graph.nodes() {
        let any = node.inputs.iter().any(|input| wanted[input.index()]);
        node.outputs.iter().for_each(|output| wanted[output.index()] = any);
    }
    wanted
}

fn trainable(graph: &Graph, id: ParamId) -> bool {
    let param = graph.param(id);
    param.role == Role::Weight && !param.frozen
}

/// The state of the walk; `wanted` and `gradients` are by value of the old graph.
struct Walk {
    graph: Graph,
    wanted: Vec<bool>,
    gradients: Vec<Option<ValueId>>,
}

impl Walk {
    /// The gradient of the total with respect to each loss is the loss's weight. As a node without inputs does not
    /// exist, it is written as 0 * loss + weight.
    fn seed_losses(&mut self) -> Result<(), GraphError> {
        for loss in self.graph.losses().to_vec() {
            if self.wanted[loss.value.index()] {
                let name = format!("grad.{}.seed", loss.name);
                let seed = Op::Activation(Activation::Affine { scale: 0.0, shift: loss.weight });
                let seed = append(&mut self.graph, &name, seed, vec![loss.value])?[0];
                self.contribute(loss.value, seed)?;
            }
        }
        Ok(())
    }

    fn visit(&mut self, id: NodeId) -> Result<(), GraphError> {
        let node = self.graph.node(id).clone();
        let wanted: Vec<bool> = node.inputs.iter().map(|input| self.wanted[input.index()]).collect();
        let output_gradients: Vec<Option<ValueId>> =
            node.outputs.iter().map(|output| self.gradients[output.index()]).collect();
        if !wanted.contains(&true) || output_gradients.iter().all(Option::is_none) {
            return Ok(());
        }
        let mut context = GradientContext {
            graph: &mut self.graph,
            name: &node.name,
            inputs: &node.inputs,
            outputs: &node.outputs,
            output_gradients,
            wanted: &wanted,
        };
        let contributions = node.op.gradient(&mut context)?;
        debug_assert_eq!(contributions.len(), node.inputs.len(), "{}: one gradient per input", node.name);
        for ((&input, contribution), wanted) in node.inputs.iter().zip(contributions).zip(wanted) {
            if let (Some(gradient), true) = (contribution, wanted) {
                self.contribute(input, gradient)?;
            }
        }
        Ok(())
    }

    /// Adds to a value's gradient, at once rather than at the end, so that few partial sums live at a time.
    fn contribute(&mut self, value: ValueId, gradient: ValueId) -> Result<(), GraphError> {
        let sum = match self.gradients[value.index()] {
            None => gradient,
            Some(so_far) => {
                let name = format!("grad.{}.sum", self.graph.value(value).name);
                let add = Op::Binary(Binary { kind: BinaryKind::Add });
                append(&mut self.graph, &name, add, vec![so_far, gradient])?[0]
            }
        };
        self.gradients[value.index()] = Some(sum);
        Ok(())
    }
}

/// What an operation's gradient rule sees: its node, which gradients came in and which should go out.
pub(crate) struct GradientContext<'a> {
    graph: &'a mut Graph,
    name: &'a str,
    inputs: &'a [ValueId],
    outputs: &'a [ValueId],
    output_gradients: Vec<Option<ValueId>>,
    wanted: &'a [bool],
}

impl GradientContext<'_> {
    /// Input number `i`.
    pub fn input(&self, i: usize) -> ValueId {
        self.inputs[i]
    }

    /// All inputs.
    pub fn inputs(&self) -> &[ValueId] {
        self.inputs
    }

    /// Output number `i`.
    pub fn output(&self, i: usize) -> ValueId {
        self.outputs[i]
    }

    /// Shape of input number `i`.
    pub fn shape(&self, i: usize) -> Shape {
        self.graph.shape(self.inputs[i]).clone()
    }

    /// Shape of any value.
    pub fn shape_of(&self, value: ValueId) -> Shape {
        self.graph.shape(value).clone()
    }

    /// Whether the gradient of input `i` is wanted (and the input exists).
    pub fn wants(&self, i: usize) -> bool {
        self.wanted.get(i).copied().unwrap_or(false)
    }

    /// The gradient of the first output, when it is the only one through which gradients may come.
    pub fn dy(&self) -> Result<ValueId, GraphError> {
        match self.output_gradients[..] {
            [Some(dy), ref rest @ ..] if rest.iter().all(Option::is_none) => Ok(dy),
            _ => Err(self.refuse("only its first output has a gradient, and a loss depends on another one")),
        }
    }

    /// The gradients of all outputs, zeros where no loss depends on one.
    pub fn all_output_gradients(&mut self) -> Result<Vec<ValueId>, GraphError> {
        let mut gradients = Vec::with_capacity(self.outputs.len());
        for slot in 0..self.outputs.len() {
            gradients.push(match self.output_gradients[slot] {
                Some(gradient) => gradient,
                None => {
                    let zeros = Op::Activation(Activation::Affine { scale: 0.0, shift: 0.0 });
                    self.add(&format!("zeros{slot}"), zeros, &[self.outputs[slot]])?
                }
            });
        }
        Ok(gradients)
    }

    /// Appends the node `grad.NODE.PART` and gives its first output.
    pub fn add(&mut self, part: &str, op: Op, inputs: &[ValueId]) -> Result<ValueId, GraphError> {
        Ok(self.add_all(part, op, inputs)?[0])
    }

    /// Appends the node `grad.NODE.PART` and gives its outputs.
    pub fn add_all(&mut self, part: &str, op: Op, inputs: &[ValueId]) -> Result<Vec<ValueId>, GraphError> {
        let name = match part {
            "" => format!("grad.{}", self.name),
            part => format!("grad.{}.{part}", self.name),
        };
        append(self.graph, &name, op, inputs.to_vec())
    }

    /// An error of this node.
    pub fn refuse(&self, message: &str) -> GraphError {
        GraphError::node(self.name, message)
    }
}

/// Appends a node under the first free one of NAME, NAME.2, NAME.3, ...
fn append(graph: &mut Graph, name: &str, op: Op, inputs: Vec<ValueId>) -> Result<Vec<ValueId>, GraphError> {
    let mut free = name.to_string();
    let mut count = 1;
    while graph.find_node(&free).is_some() || graph.find_value(&free).is_some() {
        count += 1;
        free = format!("{name}.{count}");
    }
    graph.add_node(free, op, inputs)
}
