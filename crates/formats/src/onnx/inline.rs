//! Functions that a model brings along: a node that calls one becomes the function's nodes.

use std::collections::HashMap;
use std::rc::Rc;

use super::budget::Budget;
use super::fault::Fault;
use super::proto::{Attribute, AttributeValue, Function, GraphProto, NodeProto};

/// Functions that call functions: no deeper than this.
const DEEPEST: usize = 32;

/// What a node of a function takes in memory each time it is called.
const NODE_COST: u64 = 1500;

const EXPORT_AGAIN: &str = "export the network without it";

/// A node and the version of the operator set that it belongs to.
#[derive(Clone, Debug)]
pub(in crate::onnx) struct Step {
    pub node: NodeProto,
    pub opset: i64,
}

/// A model's functions and operator sets.
pub(in crate::onnx) struct Library<'m> {
    functions: HashMap<(&'m str, &'m str), &'m Function>,
    opsets: &'m [(String, i64)],
    budget: &'m Budget,
}

impl<'m> Library<'m> {
    pub(in crate::onnx) fn new(
        functions: &'m [Function],
        opsets: &'m [(String, i64)],
        budget: &'m Budget,
    ) -> Self {
        let functions = functions.iter().map(|f| ((f.domain.as_str(), f.name.as_str()), f)).collect();
        Library { functions, opsets, budget }
    }

    /// The nodes of a graph, each call replaced by what it stands for.
    pub(in crate::onnx) fn steps(&self, nodes: &[NodeProto]) -> Result<Vec<Step>, Fault> {
        let mut steps = Vec::with_capacity(nodes.len());
        self.append(nodes, self.opsets, 0, &mut steps)?;
        Ok(steps)
    }

    fn append(
        &self,
        nodes: &[NodeProto],
        opsets: &[(String, i64)],
        depth: usize,
        steps: &mut Vec<Step>,
    ) -> Result<(), Fault> {
        for node in nodes {
            if let Some(function) = self.functions.get(&(node.domain.as_str(), node.op.as_str())) {
                if depth == DEEPEST {
                    let what =
                        format!("the function {} calls itself, or functions lie {DEEPEST} deep", node.op);
                    return Err(Fault::new(what, EXPORT_AGAIN));
                }
                let body = self.body(node, function, steps.len())?;
                let own = if function.opsets.is_empty() { opsets } else { &function.opsets };
                self.append(&body, own, depth + 1, steps)?;
            } else {
                let opset = version(opsets, &node.domain).or_else(|| version(self.opsets, &node.domain));
                steps.push(Step { node: node.clone(), opset: opset.unwrap_or(1) });
            }
        }
        Ok(())
    }

    /// The nodes of `function` as `call` means them: its tensors under the caller's names, its own ones under names
    /// that nothing else has, its attributes with the caller's values.
    fn body(&self, call: &NodeProto, function: &Function, number: usize) -> Result<Vec<NodeProto>, Fault> {
        let cost = NODE_COST * (function.nodes.len() as u64 + 1);
        self.budget.charge(cost).map_err(|what| Fault::new(what, EXPORT_AGAIN))?;
        let mut names: HashMap<&str, String> = HashMap::new();
        let nothing = String::new();
        for (i, input) in function.inputs.iter().enumerate() {
            names.insert(input, call.inputs.get(i).unwrap_or(&nothing).clone());
        }
        for (output, outside) in function.outputs.iter().zip(&call.outputs) {
            if !outside.is_empty() {
                names.insert(output, outside.clone());
            }
        }
        let base = if call.name.is_empty() { call.outputs.first().unwrap_or(&call.op) } else { &call.name };
        let prefix = format!("{base}.{number}");
        let mut scope = Scope { names, prefix, call, function };
        Ok(function.nodes.iter().map(|node| scope.node(node)).collect())
    }
}

/// The version of a domain's operator set.
fn version(opsets: &[(String, i64)], domain: &str) -> Option<i64> {
    let same = |other: &str| other == domain || (domain.is_empty() && other == "ai.onnx");
    opsets.iter().find(|(other, _)| same(other)).map(|(_, version)| *version)
}

/// What names mean inside one call of a function.
struct Scope<'c> {
    names: HashMap<&'c str, String>,
    prefix: String,
    call: &'c NodeProto,
    function: &'c Function,
}

impl<'c> Scope<'c> {
    fn tensor(&self, name: &str) -> String {
        match self.names.get(name) {
            Some(outside) => outside.clone(),
            None if name.is_empty() => String::new(),
            None => format!("{}/{name}", self.prefix),
        }
    }

    fn node(&mut self, node: &NodeProto) -> NodeProto {
        let name = if node.name.is_empty() { "" } else { &node.name };
        NodeProto {
            name: if name.is_empty() { String::new() } else { format!("{}/{name}", self.prefix) },
            op: node.op.clone(),
            domain: node.domain.clone(),
            inputs: node.inputs.iter().map(|name| self.tensor(name)).collect(),
            outputs: node.outputs.iter().map(|name| self.tensor(name)).collect(),
            attributes: node.attributes.iter().filter_map(|attribute| self.attribute(attribute)).collect(),
        }
    }

    /// An attribute with the caller's value, or the function's own; `None` if neither gives it.
    fn attribute(&self, attribute: &Attribute) -> Option<Attribute> {
        if attribute.refers_to.is_empty() {
            let value = match &attribute.value {
                AttributeValue::Graph(graph) => AttributeValue::Graph(Rc::new(self.graph(graph))),
                value => value.clone(),
            };
            return Some(Attribute { name: attribute.name.clone(), refers_to: String::new(), value });
        }
        let given = self.call.attributes.iter().chain(&self.function.defaults);
        let value = given
            .filter(|other| other.name == attribute.refers_to)
            .map(|other| other.value.clone())
            .next()?;
        Some(Attribute { name: attribute.name.clone(), refers_to: String::new(), value })
    }

    /// A graph inside an attribute, whose nodes may read the function's tensors.
    fn graph(&self, graph: &GraphProto) -> GraphProto {
        let mut inner = Scope {
            names: self.names.clone(),
            prefix: self.prefix.clone(),
            call: self.call,
            function: self.function,
        };
        GraphProto {
            name: graph.name.clone(),
            nodes: graph.nodes.iter().map(|node| inner.node(node)).collect(),
            initializers: graph.initializers.iter().map(|(name, t)| (self.tensor(name), t.clone())).collect(),
            inputs: Vec::new(),
            outputs: graph
                .outputs
                .iter()
                .map(|output| {
                    let mut output = output.clone();
                    output.name = self.tensor(&output.name);
                    output
                })
                .collect(),
        }
    }
}
