//! A graph as it grows, node by node.
//!
//! Operations' functions ask for values; a constant becomes a parameter the first time it is read by something that
//! runs, under its initialiser's name.

use std::collections::HashMap;
use std::rc::Rc;

use ocellus_graph::ops::{Activation, BroadcastTo, Reshape};
use ocellus_graph::{Graph, GraphError, Init, Op, ParamSpec, Role, ValueId};
use ocellus_tensor::{Shape, Tensor, Weights};

use super::budget::Budget;
use super::call::{Call, Item};
use super::fault::Fault;
use super::literal::{Literal, Numbers};
use crate::numbers::checked_elements;
use crate::volume::folding;

/// What a node of the graph takes in memory.
const NODE_COST: u64 = 600;

/// Whose numbers these are, and in which shape they are a parameter.
type Known = (*const Numbers, Vec<usize>);

/// A graph under construction.
pub(in crate::onnx) struct Net<'b> {
    pub graph: Graph,
    pub budget: &'b Budget,
    /// The numbers of each parameter, by its position.
    numbers: Vec<(String, Literal)>,
    known: HashMap<Known, ValueId>,
    turned: HashMap<Known, (Rc<Numbers>, Literal)>,
    /// Error functions, and what they are of.
    erfs: HashMap<ValueId, ValueId>,
    /// The last number behind each name that was taken.
    numbered: HashMap<String, u64>,
    dropouts: u64,
}

impl<'b> Net<'b> {
    pub(in crate::onnx) fn new(name: &str, budget: &'b Budget) -> Self {
        let graph = Graph::new(name);
        Net {
            graph,
            budget,
            numbers: Vec::new(),
            known: HashMap::new(),
            turned: HashMap::new(),
            erfs: HashMap::new(),
            numbered: HashMap::new(),
            dropouts: 0,
        }
    }

    /// The finished graph and its weights.
    pub(in crate::onnx) fn finish(self) -> (Graph, Weights) {
        drop((self.known, self.turned));
        let mut weights = Weights::new();
        for (name, literal) in self.numbers {
            let shape = Shape::new(literal.dims.clone());
            if let Ok(tensor) = Tensor::new(shape, literal.into_floats()) {
                weights.insert(name, tensor);
            }
        }
        (self.graph, weights)
    }

    pub(in crate::onnx) fn shape(&self, value: ValueId) -> &Shape {
        self.graph.shape(value)
    }

    pub(in crate::onnx) fn dims(&self, value: ValueId) -> Vec<usize> {
        self.graph.shape(value).to_vec()
    }

    /// The shape of an input, known now or not.
    pub(in crate::onnx) fn dims_of(&self, item: &Item) -> Vec<usize> {
        match item {
            Item::Value(value, _) => self.dims(*value),
            Item::Constant(literal) => literal.dims.clone(),
        }
    }

    /// A number that tells this network's dropouts apart.
    pub(in crate::onnx) fn next_dropout(&mut self) -> u64 {
        self.dropouts += 1;
        self.dropouts - 1
    }

    /// `y` is the error function of `x`.
    pub(in crate::onnx) fn remember_erf(&mut self, y: ValueId, x: ValueId) {
        self.erfs.insert(y, x);
    }

    /// What `y` is the error function of, if it is one.
    pub(in crate::onnx) fn erf_of(&self, y: ValueId) -> Option<ValueId> {
        self.erfs.get(&y).copied()
    }

    /// (x, scale, shift) if `y` is scale x + shift.
    pub(in crate::onnx) fn affine_of(&self, y: ValueId) -> Option<(ValueId, f32, f32)> {
        let node = self.graph.node(self.graph.producer(y)?);
        match (&node.op, node.inputs.as_slice()) {
            (Op::Activation(Activation::Affine { scale, shift }), &[x]) => Some((x, *scale, *shift)),
            _ => None,
        }
    }

    /// Input `i` as a value that nodes can read.
    pub(in crate::onnx) fn value(&mut self, call: &Call, i: usize) -> Result<ValueId, Fault> {
        let item = call.need(i)?.clone();
        self.item_value(call, &item)
    }

    /// Input `i` as a value, if it is there.
    pub(in crate::onnx) fn optional(&mut self, call: &Call, i: usize) -> Result<Option<ValueId>, Fault> {
        if call.item(i).is_some() { self.value(call, i).map(Some) } else { Ok(None) }
    }

    pub(in crate::onnx) fn item_value(&mut self, call: &Call, item: &Item) -> Result<ValueId, Fault> {
        match item {
            Item::Value(value, _) => Ok(*value),
            Item::Constant(literal) => self.parameter(call, literal),
        }
    }

    /// A constant as a parameter: learned if it is one of the network's weights.
    pub(in crate::onnx) fn parameter(&mut self, call: &Call, literal: &Literal) -> Result<ValueId, Fault> {
        let role = if literal.is_weight && literal.kind.is_float() { Role::Weight } else { Role::Statistic };
        self.parameter_of(call, literal, role)
    }

    /// A constant as a parameter that is gathered or fixed, not learned.
    pub(in crate::onnx) fn statistic(&mut self, call: &Call, literal: &Literal) -> Result<ValueId, Fault> {
        self.parameter_of(call, literal, Role::Statistic)
    }

    fn parameter_of(&mut self, call: &Call, literal: &Literal, role: Role) -> Result<ValueId, Fault> {
        let known: Known = (Rc::as_ptr(&literal.numbers), literal.dims.clone());
        if let Some(&value) = self.known.get(&known) {
            return Ok(value);
        }
        if let Numbers::Same(number) = *literal.numbers {
            let bytes = (literal.len() as u64).saturating_mul(size_of::<f32>() as u64);
            // Too many to be kept: one of them is, and it is repeated when the network runs.
            if !self.budget.take(bytes) {
                let one = Literal::floats(vec![1; literal.rank()], vec![number as f32]);
                let one = Literal { name: literal.name.clone(), ..one };
                let value = self.parameter_of(call, &one, role)?;
                return self.broadcast(call, ".repeated", value, &literal.dims);
            }
        }
        let base = literal.name.clone().unwrap_or_else(|| format!("{}.constant", call.label));
        let name = self.free_name(&base);
        let spec = ParamSpec {
            name: name.clone(),
            shape: Shape::new(literal.dims.clone()),
            init: Init::Constant(0.0),
            role,
        };
        let value = self.graph.add_param(spec).map_err(|cause| explain(call, &cause))?;
        if role != Role::Weight
            && let Some(id) = self.graph.param_of(value)
        {
            self.graph.param_mut(id).frozen = true;
        }
        self.numbers.push((name, literal.clone()));
        self.known.insert(known, value);
        Ok(value)
    }

    /// `turned`, which is `original` with its axes in another order, as a parameter that is made once.
    pub(in crate::onnx) fn turned_parameter(
        &mut self,
        call: &Call,
        original: &Literal,
        turned: Literal,
    ) -> Result<ValueId, Fault> {
        let key = (Rc::as_ptr(&original.numbers), original.dims.clone());
        if let Some((_, known)) = self.turned.get(&key) {
            return self.parameter(call, &known.clone());
        }
        // The original is kept beside it, so that its address stays its own.
        self.turned.insert(key, (original.numbers.clone(), turned.clone()));
        self.parameter(call, &turned)
    }

    /// `base`, or with a number behind it if something has that name.
    pub(in crate::onnx) fn free_name(&mut self, base: &str) -> String {
        let taken =
            |name: &str| self.graph.find_value(name).is_some() || self.graph.find_node(name).is_some();
        if !taken(base) {
            return base.to_string();
        }
        // Counted on from the last time, so that a thousand nodes of one name are named in a thousand steps.
        let number = self.numbered.entry(base.to_string()).or_insert(1);
        loop {
            *number += 1;
            let name = format!("{base}.{number}");
            if !taken(&name) {
                return name;
            }
        }
    }

    /// A node called after the call; `suffix` tells the nodes of one call apart, the last has none.
    pub(in crate::onnx) fn add(
        &mut self,
        call: &Call,
        suffix: &str,
        op: Op,
        inputs: &[ValueId],
    ) -> Result<ValueId, Fault> {
        self.budget.charge(NODE_COST).map_err(|what| call.fault(what))?;
        let name = self.free_name(&format!("{}{suffix}", call.label));
        let outputs =
            self.graph.add_node(name, op, inputs.to_vec()).map_err(|cause| explain(call, &cause))?;
        outputs.first().copied().ok_or_else(|| call.fault("gives no value"))
    }

    /// `value` in another shape. A first axis that stays is kept whatever its size, so that the batch stays free.
    pub(in crate::onnx) fn reshape(
        &mut self,
        call: &Call,
        suffix: &str,
        value: ValueId,
        dims: &[usize],
    ) -> Result<ValueId, Fault> {
        let from = self.shape(value);
        if **from == *dims {
            return Ok(value);
        }
        let keeps_first = !from.is_empty() && from.first() == dims.first();
        let mut target: Vec<isize> = dims.iter().map(|&size| size as isize).collect();
        if keeps_first {
            target[0] = 0;
        }
        self.add(call, suffix, Op::Reshape(Reshape { dims: target }), &[value])
    }

    /// `value` in another shape, whose first axis is whatever remains: for images and channels laid together.
    pub(in crate::onnx) fn fold(
        &mut self,
        call: &Call,
        suffix: &str,
        value: ValueId,
        dims: &[usize],
    ) -> Result<ValueId, Fault> {
        match folding(self.shape(value), dims) {
            Some(op) => self.add(call, suffix, op, &[value]),
            None => Ok(value),
        }
    }

    /// A table of these sizes, worked out number by number.
    pub(in crate::onnx) fn table(
        &mut self,
        call: &Call,
        dims: Vec<usize>,
        number: impl Fn(usize) -> f32,
    ) -> Result<ValueId, Fault> {
        let count = checked_elements(&dims).ok_or_else(|| call.fault("is too large"))?;
        self.budget.charge((count as u64).saturating_mul(4)).map_err(|what| call.fault(what))?;
        self.statistic(call, &Literal::floats(dims, (0..count).map(number).collect()))
    }

    /// `value` repeated to `dims`.
    pub(in crate::onnx) fn broadcast(
        &mut self,
        call: &Call,
        suffix: &str,
        value: ValueId,
        dims: &[usize],
    ) -> Result<ValueId, Fault> {
        if **self.shape(value) == *dims {
            return Ok(value);
        }
        let shape = Shape::new(dims.to_vec());
        self.add(call, suffix, Op::BroadcastTo(BroadcastTo { shape }), &[value])
    }
}

/// The graph's refusal, told by ONNX's node.
pub(in crate::onnx) fn explain(call: &Call, cause: &GraphError) -> Fault {
    let what = match cause {
        GraphError::Node { message, .. } => message.clone(),
        cause => cause.to_string(),
    };
    call.fault(what)
}
