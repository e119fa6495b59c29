//! One case, and what is done with it.

use ocellus_engine::lower::Random;
use ocellus_engine::reference::Interpreter;
use ocellus_graph::{Builder, Gradients, Graph, Request, Role, ValueId, differentiate};
use ocellus_kernels::random::Philox;
use ocellus_tensor::{Shape, Tensor};

const EPS: f64 = 1e-6;
const DIRECTIONS: u64 = 3;
/// Attributes are `f32` (a mean's `1 / count`, say), so gradients are exact to about 1e-7.
const RTOL: f64 = 1e-6;
const ATOL: f64 = 1e-8;

/// What an input holds.
#[derive(Clone, Copy, Debug)]
pub enum Fill {
    /// Between 0.1 and 1.1 of either sign: away from a kink at 0.
    Signed,
    /// Between 0.4 and 1.9.
    Positive,
    /// Evenly spaced between -1 and 1 in random order: no two nearly equal, so that no maximum changes hands.
    Distinct,
    /// Just these, over and over.
    Values(&'static [f64]),
    /// Whole numbers below this; no gradient is asked for.
    Labels(usize),
    /// Rows of probabilities; no gradient is asked for.
    Probabilities,
}

impl Fill {
    fn wants_gradient(self) -> bool {
        !matches!(self, Fill::Labels(_) | Fill::Probabilities)
    }
}

/// An input of a case.
#[derive(Clone, Copy, Debug)]
pub struct Input {
    pub name: &'static str,
    pub shape: &'static [usize],
    pub fill: Fill,
}

/// Writes a network onto its inputs. The values it returns are summed with random weights into a loss; it may also
/// add losses itself.
pub type Build = Box<dyn Fn(&mut Builder, &[ValueId]) -> Vec<ValueId>>;

/// A network whose gradients are checked.
pub struct Case {
    pub name: String,
    pub inputs: Vec<Input>,
    pub build: Build,
    /// Dropout is active and BatchNorm uses the batch's statistics.
    pub training: bool,
    /// Parameters that get no gradient, as a pattern.
    pub frozen: Option<&'static str>,
}

impl Case {
    pub fn new(
        name: impl Into<String>,
        inputs: &[Input],
        build: impl Fn(&mut Builder, &[ValueId]) -> Vec<ValueId> + 'static,
    ) -> Self {
        let (name, inputs) = (name.into(), inputs.to_vec());
        Case { name, inputs, build: Box::new(build), training: false, frozen: None }
    }

    pub fn training(mut self) -> Self {
        self.training = true;
        self
    }

    pub fn frozen(mut self, pattern: &'static str) -> Self {
        self.frozen = Some(pattern);
        self
    }

    /// The network with its losses.
    pub fn graph(&self) -> Graph {
        let mut b = Builder::new(self.name.as_str());
        let values: Vec<ValueId> = self.inputs.iter().map(|i| b.input(i.name, i.shape)).collect();
        let outputs = (self.build)(&mut b, &values);
        for (i, y) in outputs.into_iter().enumerate() {
            let shape = b.shape(y);
            let axes: Vec<usize> = (0..shape.rank()).collect();
            let weights = b.input(&format!("projection{i}"), shape);
            let product = b.mul(&format!("projected{i}"), y, weights);
            b.reduce_sum(&format!("sum{i}"), product, &axes, false);
        }
        let mut graph = b.finish().unwrap_or_else(|error| panic!("{}: {error}", self.name));
        for i in 0.. {
            let Some(node) = graph.find_node(&format!("sum{i}")) else { break };
            let value = graph.node(node).outputs[0];
            graph.add_loss(format!("loss{i}"), value, 1.0).expect("a sum over all axes is one number");
        }
        let graph = if self.training { graph.for_training().expect("trainable") } else { graph };
        self.frozen.map_or(graph.clone(), |pattern| graph.freeze(pattern).expect("something to freeze"))
    }
}

/// Random numbers, the same at every run.
pub struct Noise {
    family: Philox,
    count: u32,
}

impl Noise {
    pub fn new(seed: u64) -> Self {
        Noise { family: Philox::new(seed), count: 0 }
    }

    /// Even between 0 and 1.
    pub fn uniform(&mut self) -> f64 {
        self.count += 1;
        let [a, b, ..] = self.family.block([self.count, 0, 0, 0]);
        (f64::from(a) + f64::from(b) / 4_294_967_296.0) / 4_294_967_296.0
    }

    /// Even between -1 and 1.
    pub fn direction(&mut self, shape: &Shape) -> Tensor<f64> {
        Tensor::from_fn(shape.clone(), |_| 2.0 * self.uniform() - 1.0)
    }

    pub fn tensor(&mut self, shape: &Shape, fill: Fill) -> Tensor<f64> {
        match fill {
            Fill::Signed => Tensor::from_fn(shape.clone(), |_| {
                let (size, sign) = (0.1 + self.uniform(), self.uniform());
                if sign < 0.5 { -size } else { size }
            }),
            Fill::Positive => Tensor::from_fn(shape.clone(), |_| 0.4 + 1.5 * self.uniform()),
            Fill::Distinct => self.distinct(shape),
            Fill::Values(values) => Tensor::from_fn(shape.clone(), |i| values[i % values.len()]),
            Fill::Labels(classes) => {
                Tensor::from_fn(shape.clone(), |_| (self.uniform() * classes as f64).floor())
            }
            Fill::Probabilities => self.probabilities(shape),
        }
    }

    fn distinct(&mut self, shape: &Shape) -> Tensor<f64> {
        let count = shape.elements();
        let mut order: Vec<usize> = (0..count).collect();
        for i in (1..count).rev() {
            let other = (self.uniform() * (i + 1) as f64) as usize;
            order.swap(i, other);
        }
        Tensor::from_fn(shape.clone(), |i| (2 * order[i] + 1) as f64 / count as f64 - 1.0)
    }

    fn probabilities(&mut self, shape: &Shape) -> Tensor<f64> {
        let mut tensor = Tensor::from_fn(shape.clone(), |_| 0.1 + self.uniform());
        for row in tensor.data_mut().chunks_mut(shape[1]) {
            let sum: f64 = row.iter().sum();
            row.iter_mut().for_each(|p| *p /= sum);
        }
        tensor
    }
}

/// Sets every parameter of a graph to random numbers; `names` gives a parameter the numbers of another.
pub fn fill_params(interpreter: &mut Interpreter<f64>, seed: u64, alias: impl Fn(&str) -> String) {
    let params = interpreter.graph().params().to_vec();
    for param in params.iter().filter(|param| param.role != Role::State) {
        // By name, so that one parameter's numbers do not depend on which others there are.
        let name = alias(&param.name);
        let salt = name.bytes().fold(seed, |sum, byte| sum.wrapping_mul(257).wrapping_add(u64::from(byte)));
        let fill = if param.role == Role::Weight { Fill::Signed } else { Fill::Positive };
        let tensor = Noise::new(salt).tensor(&param.shape, fill);
        interpreter.set_param(&param.name, tensor).expect("its own shape");
    }
}

/// A graph with numbers in all of its inputs and parameters.
#[derive(Clone)]
pub struct Subject {
    pub interpreter: Interpreter<f64>,
    pub inputs: Vec<(String, Tensor<f64>)>,
}

impl Subject {
    /// `case`'s numbers in `graph`, which is its graph or one made of it.
    pub fn new(case: &Case, graph: &Graph) -> Self {
        let mut interpreter = Interpreter::new(graph);
        fill_params(&mut interpreter, 1, str::to_owned);
        let mut noise = Noise::new(2);
        let mut inputs = Vec::new();
        for &value in graph.inputs() {
            let value = graph.value(value);
            let known = case.inputs.iter().find(|input| input.name == value.name);
            let fill = known.map_or(Fill::Signed, |input| input.fill);
            inputs.push((value.name.clone(), noise.tensor(&value.shape, fill)));
        }
        Subject { interpreter, inputs }
    }

    pub fn run(&mut self) {
        let inputs: Vec<_> = self.inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        self.interpreter.run(&inputs, Random { seed: 3, step: 4 }).expect("complete");
    }

    /// The weighted sum of all losses.
    pub fn loss(&mut self) -> f64 {
        self.run();
        let losses = self.interpreter.graph().losses();
        let term = |loss: &ocellus_graph::Loss| {
            f64::from(loss.weight) * self.interpreter.value(loss.value).data()[0]
        };
        losses.iter().map(term).sum()
    }

    fn tensor(&self, at: &Place) -> Tensor<f64> {
        match at {
            Place::Param(name) => self.interpreter.param(name).expect("there").clone(),
            Place::Input(index) => self.inputs[*index].1.clone(),
        }
    }

    fn set(&mut self, at: &Place, tensor: Tensor<f64>) {
        match at {
            Place::Param(name) => self.interpreter.set_param(name, tensor).expect("its own shape"),
            Place::Input(index) => self.inputs[*index].1 = tensor,
        }
    }
}

/// A tensor that gets a gradient.
#[derive(Clone, Debug)]
enum Place {
    Param(String),
    Input(usize),
}

/// Differentiates `graph` with respect to its trainable parameters and the inputs that `case` wants gradients for.
pub fn gradients(case: &Case, graph: &Graph) -> Gradients {
    let wanted = case.inputs.iter().filter(|input| input.fill.wants_gradient());
    let inputs = wanted.map(|input| input.name.to_owned()).collect();
    differentiate(graph, &Request { inputs, params: true })
        .unwrap_or_else(|error| panic!("{}: {error}", case.name))
}

/// Checks all gradients of all cases.
pub fn check_all(cases: &[Case]) {
    cases.iter().for_each(check);
}

/// Checks all gradients of `case`, and that none is missing.
pub fn check(case: &Case) {
    let graph = case.graph();
    let gradients = gradients(case, &graph);
    let trainable = graph.params().iter().filter(|param| param.role == Role::Weight && !param.frozen);
    assert_eq!(gradients.params.len(), trainable.count(), "{}: parameters with a gradient", case.name);
    let wanted = case.inputs.iter().filter(|input| input.fill.wants_gradient()).count();
    assert_eq!(gradients.inputs.len(), wanted, "{}: inputs with a gradient", case.name);

    let mut backward = Subject::new(case, &gradients.graph);
    backward.run();
    let mut forward = Subject::new(case, &graph);
    for (place, gradient) in places(&gradients, &forward) {
        let gradient = backward.interpreter.value(gradient);
        compare(case, &mut forward, &place, gradient);
    }
}

/// Every tensor with its gradient.
fn places(gradients: &Gradients, subject: &Subject) -> Vec<(Place, ValueId)> {
    let params = gradients
        .params
        .iter()
        .map(|&(id, gradient)| (Place::Param(gradients.graph.param(id).name.clone()), gradient));
    let index = |name: &str| subject.inputs.iter().position(|(input, _)| input == name).expect("an input");
    let inputs = gradients.inputs.iter().map(|(name, gradient)| (Place::Input(index(name)), *gradient));
    params.chain(inputs).collect()
}

/// Compares one gradient with differences along random directions.
fn compare(case: &Case, subject: &mut Subject, at: &Place, gradient: &Tensor<f64>) {
    let base = subject.tensor(at);
    for number in 0..DIRECTIONS {
        let direction = Noise::new(100 + number).direction(base.shape());
        let mut moved = |by: f64| {
            let data = base.data().iter().zip(direction.data()).map(|(x, d)| x + by * d).collect();
            subject.set(at, Tensor::new(base.shape().clone(), data).expect("its own shape"));
            subject.loss()
        };
        let numeric = (moved(EPS) - moved(-EPS)) / (2.0 * EPS);
        let analytic: f64 = gradient.data().iter().zip(direction.data()).map(|(g, d)| g * d).sum();
        let error = (numeric - analytic).abs();
        assert!(
            error <= ATOL + RTOL * numeric.abs(),
            "{}, {at:?}, direction {number}: differences give {numeric}, the gradient {analytic}",
            case.name
        );
    }
    subject.set(at, base);
}
