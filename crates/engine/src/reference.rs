//! Runs a whole graph node by node with reference kernels and plain tensors: slow, and the definition of right.

use ocellus_graph::{Graph, Init, NodeId, ParamId, Role, ValueId};
use ocellus_tensor::{Element, Shape, Tensor, Weights};

use crate::EngineError;
use crate::lower::{OpCall, Random, View, ViewMut, run_op};

/// A graph and a tensor for each of its values, kept after a run so that any of them can be looked at.
///
/// ```
/// use ocellus_engine::lower::Random;
/// use ocellus_engine::reference::Interpreter;
/// use ocellus_graph::{Graph, Op, ops::Activation};
/// use ocellus_tensor::Tensor;
///
/// let mut graph = Graph::new("tiny");
/// let x = graph.add_input("x", [1, 3])?;
/// let y = graph.add_node("relu", Op::Activation(Activation::Relu), vec![x])?[0];
/// graph.add_output("y", y);
///
/// let mut interpreter = Interpreter::<f64>::new(&graph);
/// let x = Tensor::new([1, 3], vec![-1.0, 0.0, 2.0])?;
/// interpreter.run(&[("x", &x)], Random::default())?;
/// assert_eq!(interpreter.output("y")?.data(), [0.0, 0.0, 2.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Interpreter<T: Element> {
    graph: Graph,
    /// By value index.
    values: Vec<Tensor<T>>,
    /// By parameter index: whether it holds numbers yet.
    filled: Vec<bool>,
}

impl<T: Element> Interpreter<T> {
    /// Makes room for every value of `graph`. Parameters with a constant initialiser, and the optimiser's state, are
    /// filled; the others must be set before the first run.
    pub fn new(graph: &Graph) -> Self {
        let nan = T::from_f64(f64::NAN);
        let mut values: Vec<_> =
            graph.values().iter().map(|value| Tensor::full(value.shape.clone(), nan)).collect();
        let mut filled = Vec::with_capacity(graph.params().len());
        for param in graph.params() {
            let constant = match param.init {
                Init::Constant(value) => Some(f64::from(value)),
                _ if param.role == Role::State => Some(0.0),
                _ => None,
            };
            if let Some(constant) = constant {
                values[param.value.index()].data_mut().fill(T::from_f64(constant));
            }
            filled.push(constant.is_some());
        }
        Interpreter { graph: graph.clone(), values, filled }
    }

    /// The graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Sets the parameter `name`. Refuses a name that is not there and another shape.
    pub fn set_param(&mut self, name: &str, tensor: Tensor<T>) -> Result<(), EngineError> {
        let id = self.find_param(name)?;
        let value = self.graph.param(id).value;
        self.check_shape(name, value, tensor.shape())?;
        self.values[value.index()] = tensor;
        self.filled[id.index()] = true;
        Ok(())
    }

    /// Sets all parameters that `weights` names.
    pub fn set_weights(&mut self, weights: &Weights) -> Result<(), EngineError> {
        weights.iter().try_for_each(|(name, tensor)| self.set_param(name, tensor.cast()))
    }

    /// The parameter `name` as it stands.
    pub fn param(&self, name: &str) -> Result<&Tensor<T>, EngineError> {
        Ok(self.value(self.graph.param(self.find_param(name)?).value))
    }

    /// All parameters by name, as they stand.
    pub fn params(&self) -> impl Iterator<Item = (&str, &Tensor<T>)> {
        self.graph.params().iter().map(|param| (param.name.as_str(), self.value(param.value)))
    }

    /// Runs every node once, in order. Every input must be given, by its name and in its shape.
    pub fn run(&mut self, inputs: &[(&str, &Tensor<T>)], random: Random) -> Result<(), EngineError> {
        self.check_params()?;
        self.store_inputs(inputs)?;
        for node in 0..self.graph.nodes().len() {
            self.run_node(NodeId(node as u32), random);
        }
        Ok(())
    }

    /// A value as the last run left it; NaN before.
    pub fn value(&self, id: ValueId) -> &Tensor<T> {
        &self.values[id.index()]
    }

    /// The value handed out under `name`.
    pub fn output(&self, name: &str) -> Result<&Tensor<T>, EngineError> {
        let names = || self.graph.outputs().iter().map(|output| output.name.as_str()).collect();
        let id = self.graph.find_output(name).ok_or_else(|| self.missing("output", name, names()))?;
        Ok(self.value(id))
    }

    fn run_node(&mut self, id: NodeId, random: Random) {
        let node = self.graph.node(id);
        let (written, read) = node.inputs.split_at(node.op.writes());
        // Taken out, so that the node can read other values while it writes these.
        let targets: Vec<ValueId> = written.iter().chain(&node.outputs).copied().collect();
        let mut taken: Vec<Tensor<T>> = targets
            .iter()
            .map(|value| std::mem::replace(&mut self.values[value.index()], Tensor::zeros([0])))
            .collect();
        for output in &mut taken[written.len()..] {
            output.data_mut().fill(T::from_f64(f64::NAN)); // whatever is not written will be noticed
        }
        let inputs: Vec<View<'_, T>> = read.iter().map(|&value| self.view(value)).collect();
        let mut outputs: Vec<ViewMut<'_, T>> = taken
            .iter_mut()
            .zip(&targets)
            .map(|(tensor, &value)| ViewMut { shape: self.graph.shape(value), data: tensor.data_mut() })
            .collect();
        run_op(&node.op, OpCall { inputs: &inputs, outputs: &mut outputs, random });
        for (value, tensor) in targets.into_iter().zip(taken) {
            self.values[value.index()] = tensor;
        }
    }

    fn view(&self, value: ValueId) -> View<'_, T> {
        View { shape: self.graph.shape(value), data: self.value(value).data() }
    }

    fn store_inputs(&mut self, inputs: &[(&str, &Tensor<T>)]) -> Result<(), EngineError> {
        for (name, tensor) in inputs {
            let names = || self.graph.inputs().iter().map(|&v| self.graph.value(v).name.as_str()).collect();
            let value = self.graph.find_input(name).ok_or_else(|| self.missing("input", name, names()))?;
            self.check_shape(name, value, tensor.shape())?;
            self.values[value.index()].data_mut().copy_from_slice(tensor.data());
        }
        for &value in self.graph.inputs() {
            let name = &self.graph.value(value).name;
            if !inputs.iter().any(|(given, _)| given == name) {
                let given = inputs.iter().map(|(given, _)| *given).collect();
                return Err(self.missing("number given for the input", name, given));
            }
        }
        Ok(())
    }

    fn check_params(&self) -> Result<(), EngineError> {
        let Some(empty) = self.filled.iter().position(|filled| !filled) else { return Ok(()) };
        let name = &self.graph.params()[empty].name;
        let filled = self.graph.params().iter().zip(&self.filled).filter(|(_, filled)| **filled);
        let filled = filled.map(|(param, _)| param.name.as_str()).collect();
        Err(self.missing("number set for the parameter", name, filled))
    }

    fn check_shape(&self, name: &str, value: ValueId, actual: &Shape) -> Result<(), EngineError> {
        let expected = self.graph.shape(value);
        if actual == expected {
            return Ok(());
        }
        let (expected, actual) = (expected.clone(), actual.clone());
        Err(EngineError::Shape { name: name.to_owned(), expected, actual })
    }

    fn find_param(&self, name: &str) -> Result<ParamId, EngineError> {
        let names = || self.graph.params().iter().map(|param| param.name.as_str()).collect();
        self.graph.find_param(name).ok_or_else(|| self.missing("parameter", name, names()))
    }

    fn missing(&self, kind: &'static str, name: &str, available: Vec<&str>) -> EngineError {
        let available = if available.is_empty() { "none".to_owned() } else { available.join(", ") };
        EngineError::Missing { graph: self.graph.name.clone(), kind, name: name.to_owned(), available }
    }
}
