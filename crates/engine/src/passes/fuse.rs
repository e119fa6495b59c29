//! Which nodes run as one step?
//!
//! A value that only its next reader needs never has to reach memory. So a chain
//!
//! ```text
//! convolution -> BatchNorm (running statistics) -> Add -> ReLU, ReLU6   inference
//! BatchNorm (batch statistics) -> Add -> ReLU                       training, forward
//! ReLU gradient -> BatchNorm gradient                               training, backward
//! convolution input gradient -> Add                                 a gradient that joins another
//! ```
//!
//! becomes one [`Group`], where each arrow is a value with a single reader that is not an output. The groups are
//! then put in an order in which everything is made before it is read, and no parameter is overwritten before its
//! last reader.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use ocellus_graph::ops::{Activation, BinaryKind, Statistics};
use ocellus_graph::{Graph, NodeId, Op, ParamId, ValueId};
use ocellus_kernels::conv::Clamp;

/// An Add at the end of a chain: the node, and the operand that is not the chain's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addition {
    /// The Add node.
    pub node: NodeId,
    /// The other operand.
    pub other: ValueId,
}

/// Nodes that run together; most groups are one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// ReLU gradient applied to `main`'s dy on the way in.
    pub mask: Option<NodeId>,
    /// The node that does the work.
    pub main: NodeId,
    /// BatchNorm with constant statistics, folded into `main`'s weights.
    pub norm: Option<NodeId>,
    /// Added to the result.
    pub add: Option<Addition>,
    /// ReLU of the result, or (after a product) other bounds.
    pub relu: Option<NodeId>,
}

impl Group {
    /// One node alone.
    pub fn single(main: NodeId) -> Self {
        Group { mask: None, main, norm: None, add: None, relu: None }
    }

    /// The nodes in it, in the order they would run alone.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> {
        let add = self.add.map(|a| a.node);
        [self.mask, Some(self.main), self.norm, add, self.relu].into_iter().flatten()
    }

    /// The node whose first output is the group's result.
    pub fn last(&self) -> NodeId {
        self.relu.or(self.add.map(|a| a.node)).or(self.norm).unwrap_or(self.main)
    }

    /// The bounds that `relu` stands for.
    pub fn clamp(&self, graph: &Graph) -> Option<Clamp> {
        bounds(&graph.node(self.relu?).op)
    }

    /// The group's result.
    pub fn result(&self, graph: &Graph) -> Option<ValueId> {
        graph.node(self.last()).outputs.first().copied()
    }
}

/// Groups the nodes of `graph` and orders the groups for running. `constant(p)` says that no step writes `p`.
pub fn fuse(graph: &Graph, constant: &dyn Fn(ParamId) -> bool) -> Vec<Group> {
    let fuser = Fuser { graph, readers: graph.readers(), is_output: output_flags(graph), constant };
    order(graph, fuser.groups())
}

/// One group for each node, in the graph's own order.
pub fn singles(graph: &Graph) -> Vec<Group> {
    (0..graph.nodes().len()).map(|i| Group::single(NodeId(i as u32))).collect()
}

fn output_flags(graph: &Graph) -> Vec<bool> {
    let mut flags = vec![false; graph.values().len()];
    for value in graph.outputs().iter().map(|o| o.value).chain(graph.losses().iter().map(|l| l.value)) {
        flags[value.index()] = true;
    }
    flags
}

struct Fuser<'a> {
    graph: &'a Graph,
    readers: Vec<Vec<NodeId>>,
    is_output: Vec<bool>,
    constant: &'a dyn Fn(ParamId) -> bool,
}

impl Fuser<'_> {
    fn groups(&self) -> Vec<Group> {
        let mut taken = vec![false; self.graph.nodes().len()];
        let mut groups = Vec::new();
        // Heads are claimed first so that a ReLU gradient waits for the BatchNorm gradient that absorbs it.
        for index in 0..self.graph.nodes().len() {
            let node = NodeId(index as u32);
            if taken[index] || self.absorbing_norm_grad(node).is_some() {
                continue;
            }
            let group = self.group_at(node, &taken);
            for member in group.nodes() {
                taken[member.index()] = true;
            }
            groups.push(group);
        }
        groups
    }

    fn group_at(&self, node: NodeId, taken: &[bool]) -> Group {
        let mut group = Group::single(node);
        match &self.graph.node(node).op {
            Op::Conv2d(_) => {
                group.norm = self.foldable_norm(node);
                group.add = self.following_add(&group, taken);
                group.relu = self.following(&group, taken, |op| bounds(op).is_some());
            }
            Op::Linear(_) => {
                group.add = self.following_add(&group, taken);
                group.relu = self.following(&group, taken, |op| bounds(op).is_some());
            }
            Op::ConvTranspose2d(_) => {
                group.relu = self.following(&group, taken, |op| bounds(op).is_some());
            }
            Op::BatchNorm(_) => {
                group.add = self.following_add(&group, taken);
                group.relu = self.following(&group, taken, is_relu);
            }
            Op::BatchNormGrad(_) => group.mask = self.absorbed_mask(node),
            Op::Conv2dGradInput(_) | Op::LinearGradInput(_) => group.add = self.following_add(&group, taken),
            _ => {}
        }
        group
    }

    /// The only reader of the group's result so far, if the value goes nowhere else.
    fn sole_reader(&self, value: ValueId) -> Option<NodeId> {
        match self.readers[value.index()][..] {
            [reader] if !self.is_output[value.index()] => Some(reader),
            _ => None,
        }
    }

    fn next(&self, group: &Group, taken: &[bool]) -> Option<(ValueId, NodeId)> {
        let value = group.result(self.graph)?;
        let reader = self.sole_reader(value)?;
        (!taken[reader.index()]).then_some((value, reader))
    }

    fn following_add(&self, group: &Group, taken: &[bool]) -> Option<Addition> {
        let (value, reader) = self.next(group, taken)?;
        let node = self.graph.node(reader);
        let Op::Binary(binary) = &node.op else { return None };
        let &[a, b] = &node.inputs[..] else { return None };
        let same_shape = self.graph.shape(a) == self.graph.shape(b);
        if binary.kind != BinaryKind::Add
            || !same_shape
            || self.graph.param_of(a).or(self.graph.param_of(b)).is_some()
        {
            return None;
        }
        Some(Addition { node: reader, other: if a == value { b } else { a } })
    }

    fn following(&self, group: &Group, taken: &[bool], wanted: impl Fn(&Op) -> bool) -> Option<NodeId> {
        let (_, reader) = self.next(group, taken)?;
        wanted(&self.graph.node(reader).op).then_some(reader)
    }

    /// A BatchNorm after this convolution whose numbers never change, so that it can be part of the weights.
    fn foldable_norm(&self, conv: NodeId) -> Option<NodeId> {
        let conv = self.graph.node(conv);
        let reader = self.sole_reader(conv.outputs[0])?;
        let node = self.graph.node(reader);
        let Op::BatchNorm(norm) = &node.op else { return None };
        let is_constant = |&v: &ValueId| self.graph.param_of(v).is_some_and(|p| (self.constant)(p));
        let constant = conv.inputs[1..].iter().chain(&node.inputs[1..]).all(is_constant);
        (norm.statistics == Statistics::Running && constant).then_some(reader)
    }

    /// The ReLU gradient that makes this BatchNorm gradient's dy, if nobody else reads it.
    fn absorbed_mask(&self, norm_grad: NodeId) -> Option<NodeId> {
        let dy = self.graph.node(norm_grad).inputs[1];
        let producer = self.graph.producer(dy)?;
        (self.absorbing_norm_grad(producer) == Some(norm_grad)).then_some(producer)
    }

    fn absorbing_norm_grad(&self, node: NodeId) -> Option<NodeId> {
        let node = self.graph.node(node);
        let Op::ActivationGrad(grad) = &node.op else { return None };
        if grad.activation != Activation::Relu {
            return None;
        }
        let reader = self.sole_reader(node.outputs[0])?;
        let reading = self.graph.node(reader);
        let absorbs = matches!(reading.op, Op::BatchNormGrad(_)) && reading.inputs[1] == node.outputs[0];
        absorbs.then_some(reader)
    }
}

fn is_relu(op: &Op) -> bool {
    matches!(op, Op::Activation(Activation::Relu))
}

/// The bounds of a function that does nothing else.
fn bounds(op: &Op) -> Option<Clamp> {
    match *op {
        Op::Activation(Activation::Relu) => Some(Clamp::RELU),
        Op::Activation(Activation::Clip { low, high }) => Some(Clamp { low, high }),
        _ => None,
    }
}

/// Kahn's algorithm; among the groups that may run, the one that stood first in the graph does. Updates run as soon as
/// they may: until then the gradient is kept.
fn order(graph: &Graph, groups: Vec<Group>) -> Vec<Group> {
    let edges = dependencies(graph, &groups);
    let mut waiting = vec![0usize; groups.len()];
    for &(_, after) in &edges {
        waiting[after] += 1;
    }
    let mut followers = vec![Vec::new(); groups.len()];
    for (before, after) in edges {
        followers[before].push(after);
    }
    let waits = |g: usize| graph.node(groups[g].main).op.writes() == 0;
    let key = |g: usize| Reverse((waits(g), groups[g].last(), g));
    let mut ready: BinaryHeap<_> = (0..groups.len()).filter(|&g| waiting[g] == 0).map(key).collect();
    let mut sequence = Vec::with_capacity(groups.len());
    while let Some(Reverse((_, _, g))) = ready.pop() {
        sequence.push(groups[g].clone());
        for &follower in &followers[g] {
            waiting[follower] -= 1;
            if waiting[follower] == 0 {
                ready.push(key(follower));
            }
        }
    }
    // A chain whose added operand depends on the chain itself could not be ordered; run every node alone then.
    if sequence.len() == groups.len() { sequence } else { singles(graph) }
}

/// Pairs (before, after) of groups.
fn dependencies(graph: &Graph, groups: &[Group]) -> Vec<(usize, usize)> {
    let mut group_of = vec![0; graph.nodes().len()];
    for (g, group) in groups.iter().enumerate() {
        for node in group.nodes() {
            group_of[node.index()] = g;
        }
    }
    let readers = graph.readers();
    let mut edges = Vec::new();
    let mut edge = |before: usize, after: usize| {
        if before != after {
            edges.push((before, after));
        }
    };
    for (index, node) in graph.nodes().iter().enumerate() {
        for &input in &node.inputs {
            if let Some(producer) = graph.producer(input) {
                edge(group_of[producer.index()], group_of[index]);
            }
        }
        for &written in &node.inputs[..node.op.writes()] {
            for reader in readers[written.index()].iter().map(|r| r.index()).filter(|&r| r != index) {
                let (before, after) = if reader < index { (reader, index) } else { (index, reader) };
                edge(group_of[before], group_of[after]);
            }
        }
    }
    edges
}
