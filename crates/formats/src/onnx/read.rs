//! A model's messages become a graph and weights.
//!
//! ```text
//! functions are put in place of their calls, nodes that no output needs fall away, the others are put in order
//! every initialiser is a constant; every other input is a value of the graph, or a constant that the caller gave
//! for each node: are all its inputs constants, and can it be computed now?  then its outputs are constants too
//!                otherwise its operation's function adds nodes to the graph
//! outputs that are constants become parameters
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use super::budget::Budget;
use super::call::{Call, Item};
use super::fault::Fault;
use super::inline::{Library, Step};
use super::literal::{Kind, Literal, Numbers};
use super::net::Net;
use super::options::ReadOptions;
use super::order::needed_in_order;
use super::proto::{AttributeValue, Dim, GraphProto, ModelProto, ValueInfo};
use super::{fold, ops};
use crate::Model;

/// What a node of a branch takes in memory each time the branch is taken.
const BRANCH_NODE_COST: u64 = 1500;

/// Graphs of If nodes inside one another: no deeper than this.
const DEEPEST: usize = 16;

const DAMAGED: &str = "it is damaged or of another kind: take another copy";

/// The network that `model` describes.
pub(super) fn build(model: ModelProto, options: &ReadOptions, budget: &Budget) -> Result<Model, Fault> {
    let ModelProto { producer, opsets, graph, functions, metadata } = model;
    let graph = graph.ok_or_else(|| Fault::new("it holds no graph", DAMAGED))?;
    if opsets.is_empty() {
        return Err(Fault::new("it does not say which operator set its nodes belong to", DAMAGED));
    }
    let library = Library::new(&functions, &opsets, budget);
    let mut reader =
        Builder { net: Net::new(&graph.name, budget), items: HashMap::new(), library, options, depth: 0 };
    reader.add_inputs(&graph)?;
    let outputs = reader.graph(graph)?;
    reader.add_outputs(&outputs)?;
    let version = opsets.iter().find(|(domain, _)| domain.is_empty() || domain == "ai.onnx");
    let Builder { net, items, .. } = reader;
    drop(items);
    let (graph, weights) = net.finish();
    let mut model = Model { graph, weights, classes: Vec::new(), preprocess: None, info: BTreeMap::new() };
    model.info.insert("source".into(), "onnx".into());
    if let Some((_, version)) = version {
        model.info.insert("opset".into(), version.to_string());
    }
    let [name, version] = producer;
    if !name.is_empty() {
        model.info.insert("producer".into(), format!("{name} {version}").trim_end().to_string());
    }
    super::metadata::restore(metadata, &mut model)?;
    Ok(model)
}

/// What names stand for while the graph grows.
struct Builder<'m> {
    net: Net<'m>,
    items: HashMap<String, Item>,
    library: Library<'m>,
    options: &'m ReadOptions,
    depth: usize,
}

impl Builder<'_> {
    fn add_inputs(&mut self, graph: &GraphProto) -> Result<(), Fault> {
        let initialised: BTreeSet<&str> = graph.initializers.iter().map(|(name, _)| name.as_str()).collect();
        for input in &graph.inputs {
            if initialised.contains(input.name.as_str()) {
                continue; // before IR version 4 every initialiser is listed
            }
            if self.items.contains_key(&input.name) {
                return Err(Fault::new(format!("the input {:?} is there twice", input.name), DAMAGED));
            }
            let item = match self.options.values.get(&input.name) {
                Some(value) => Item::Constant(given(input, value)?),
                None => self.input(input)?,
            };
            self.items.insert(input.name.clone(), item);
        }
        let mut named = self.options.shapes.keys().chain(self.options.values.keys());
        if let Some(name) = named.find(|name| !graph.inputs.iter().any(|input| input.name == **name)) {
            let known: Vec<&str> = graph.inputs.iter().map(|input| input.name.as_str()).collect();
            let known = known.iter().filter(|name| !initialised.contains(*name)).copied().collect::<Vec<_>>();
            let next = format!("its inputs are {}", known.join(", "));
            return Err(Fault::new(format!("it has no input {name:?}"), next));
        }
        Ok(())
    }

    /// An input that is fed when the network runs.
    fn input(&mut self, input: &ValueInfo) -> Result<Item, Fault> {
        let name = &input.name;
        let refuse = |what: String| {
            Fault::new(format!("the input {name:?} {what}"), "export it with tensors of numbers")
        };
        let kind =
            Kind::of(input.element).map_err(|cause| refuse(format!("is no tensor of numbers: {cause}")))?;
        let dims = self.input_dims(input)?;
        let value = self
            .net
            .graph
            .add_input(name.clone(), dims)
            .map_err(|cause| refuse(format!("cannot be: {cause}")))?;
        Ok(Item::Value(value, kind))
    }

    /// The sizes of an input: the caller's, or the model's with 1 for a free batch.
    fn input_dims(&self, input: &ValueInfo) -> Result<Vec<usize>, Fault> {
        let name = &input.name;
        let given = self.options.shapes.get(name);
        let Some(dims) = &input.dims else {
            let what = format!("the input {name:?} has no shape");
            return given.cloned().ok_or_else(|| Fault::new(what, "give its shape"));
        };
        if let Some(given) = given {
            let fits = given.len() == dims.len()
                && given.iter().zip(dims).all(|(&size, dim)| match dim {
                    Dim::Known(known) => *known == size as i64 || *known <= 0,
                    _ => true,
                });
            let what =
                format!("the input {name:?} has the shape {}, {given:?} was asked for", shape_text(dims));
            return if fits {
                Ok(given.clone())
            } else {
                Err(Fault::new(what, "choose its free sizes only"))
            };
        }
        let mut sizes = Vec::with_capacity(dims.len());
        for (axis, dim) in dims.iter().enumerate() {
            let chosen = match dim {
                Dim::Named(size) => self.options.sizes.get(size).copied(),
                _ => None,
            };
            sizes.push(match dim {
                Dim::Known(size) if *size > 0 => {
                    usize::try_from(*size).map_err(|cause| Fault::new(cause.to_string(), DAMAGED))?
                }
                _ if chosen.is_some() => chosen.unwrap_or(1),
                _ if axis == 0 => 1,
                _ => {
                    let what =
                        format!("the input {name:?} has the shape {}, which is free", shape_text(dims));
                    let next = format!(
                        "say which shape it is to have: --input {name}=SIZE,.. where the command takes it"
                    );
                    return Err(Fault::new(what, next));
                }
            });
        }
        Ok(sizes)
    }

    /// Runs through a graph; gives the names of its outputs.
    fn graph(&mut self, graph: GraphProto) -> Result<Vec<String>, Fault> {
        let outputs: Vec<String> = graph.outputs.iter().map(|output| output.name.clone()).collect();
        for (name, literal) in graph.initializers {
            if self.options.values.contains_key(&name) && self.items.contains_key(&name) {
                continue; // the caller's value wins over the default
            }
            self.items.insert(name, Item::Constant(literal));
        }
        let steps = self.library.steps(&graph.nodes)?;
        for step in needed_in_order(steps, &outputs, inner_reads)? {
            self.step(&step)?;
        }
        Ok(outputs)
    }

    fn step(&mut self, step: &Step) -> Result<(), Fault> {
        let node = &step.node;
        let base = if node.name.is_empty() {
            node.outputs.iter().find(|name| !name.is_empty()).unwrap_or(&node.op)
        } else {
            &node.name
        };
        let mut call = Call { node, label: self.net.free_name(base), opset: step.opset, inputs: Vec::new() };
        for name in &node.inputs {
            let item = match self.items.get(name) {
                _ if name.is_empty() => None,
                None => {
                    return Err(call.fault_with(format!("it reads {name:?}, which nothing makes"), DAMAGED));
                }
                Some(item) => Some(item.clone()),
            };
            call.inputs.push(item);
        }
        let made = match node.op.as_str() {
            "If" if node.domain.is_empty() => self.branch(&call)?,
            _ => match fold::evaluate(&self.net, &call)? {
                Some(constants) => constants.into_iter().map(Item::Constant).collect(),
                None => ops::add(&mut self.net, &call)?,
            },
        };
        if made.len() < call.wanted() {
            let what = format!("its output {} ({:?}) cannot be had", made.len(), node.outputs[made.len()]);
            return Err(call.fault(what));
        }
        for (name, item) in node.outputs.iter().zip(made) {
            if !name.is_empty() {
                self.items.insert(name.clone(), item);
            }
        }
        Ok(())
    }

    /// An If whose condition is known now becomes the branch that it takes.
    fn branch(&mut self, call: &Call) -> Result<Vec<Item>, Fault> {
        if !matches!(call.need(0)?, Item::Constant(_)) {
            return Err(call.fault("chooses its branch when the network runs: control flow is not supported"));
        }
        let condition = call.number(0, "condition")?.unwrap_or(0.0);
        let name = if condition != 0.0 { "then_branch" } else { "else_branch" };
        let Some(AttributeValue::Graph(graph)) = call.attribute(name) else {
            return Err(call.fault(format!("its {name} is missing")));
        };
        if self.depth == DEEPEST {
            return Err(call.fault(format!("it lies more than {DEEPEST} deep in other nodes")));
        }
        let cost = BRANCH_NODE_COST * graph.nodes.len() as u64;
        self.net.budget.charge(cost).map_err(|what| call.fault(what))?;
        self.depth += 1;
        let outputs = self.graph(GraphProto::clone(graph))?;
        self.depth -= 1;
        let made = outputs.iter().map(|name| {
            let item = self.items.get(name).cloned();
            item.ok_or_else(|| call.fault(format!("its branch hands out {name:?}, which nothing makes")))
        });
        made.collect()
    }

    fn add_outputs(&mut self, names: &[String]) -> Result<(), Fault> {
        if names.is_empty() {
            return Err(Fault::new("it has no outputs", DAMAGED));
        }
        let mut seen = BTreeSet::new();
        for name in names {
            let item = self.items.get(name).cloned();
            let item =
                item.ok_or_else(|| Fault::new(format!("its output {name:?} is made by no node"), DAMAGED))?;
            if !seen.insert(name) {
                return Err(Fault::new(format!("its output {name:?} is there twice"), DAMAGED));
            }
            let node = super::proto::NodeProto {
                outputs: vec![name.clone()],
                op: "output".into(),
                ..Default::default()
            };
            let call = Call { node: &node, label: name.clone(), opset: 0, inputs: Vec::new() };
            let value = match &item {
                Item::Value(value, _) => *value,
                Item::Constant(literal) => self.net.statistic(&call, literal)?,
            };
            self.net.graph.add_output(name.clone(), value);
        }
        Ok(())
    }
}

/// What graphs inside a step's attributes read from outside.
fn inner_reads(step: &Step) -> Vec<String> {
    let mut reads = Vec::new();
    let mut open: Vec<Rc<GraphProto>> = Vec::new();
    let graphs = |attributes: &[super::proto::Attribute], open: &mut Vec<Rc<GraphProto>>| {
        for attribute in attributes {
            if let AttributeValue::Graph(graph) = &attribute.value {
                open.push(graph.clone());
            }
        }
    };
    graphs(&step.node.attributes, &mut open);
    while let Some(graph) = open.pop() {
        for node in &graph.nodes {
            reads.extend(node.inputs.iter().cloned());
            graphs(&node.attributes, &mut open);
        }
        reads.extend(graph.outputs.iter().map(|output| output.name.clone()));
    }
    reads
}

/// A value that the caller gave for an input.
fn given(input: &ValueInfo, value: &ocellus_tensor::Tensor<f64>) -> Result<Literal, Fault> {
    let refuse =
        |cause: String| Fault::new(format!("the input {:?}: {cause}", input.name), "give no value for it");
    let kind = Kind::of(input.element).map_err(refuse)?;
    let dims = value.shape().to_vec();
    let numbers = match kind.is_float() {
        true => Numbers::Float(value.data().iter().map(|&x| x as f32).collect()),
        false if kind.is_byte() => Numbers::Bytes(value.data().iter().map(|&x| x as i64 as u8).collect()),
        false => Numbers::Whole(value.data().iter().map(|&x| x as i64).collect()),
    };
    Ok(Literal::new(kind, dims, numbers))
}

/// A shape as the model writes it: `(N, 3, ?, 224)`.
fn shape_text(dims: &[Dim]) -> String {
    let sizes: Vec<String> = dims
        .iter()
        .map(|dim| match dim {
            Dim::Known(size) => size.to_string(),
            Dim::Named(name) if !name.is_empty() => name.clone(),
            _ => "?".into(),
        })
        .collect();
    format!("({})", sizes.join(", "))
}
