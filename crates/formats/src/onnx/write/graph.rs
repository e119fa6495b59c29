//! Nodes, constants and names of the file.

use std::collections::HashSet;

use ocellus_graph::{Graph, Node, ValueId};
use ocellus_tensor::Shape;

use super::attribute::{Attribute, encoded};
use super::encode::Message;
use super::file::Names;
use super::pixels::Pixels;
use super::{OPSET, layers, places, shapes};

/// A constant that some operator needs beside the network's weights.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Constant {
    Floats(Vec<i64>, Vec<f32>),
    Wholes(Vec<i64>),
}

/// What goes into the file's graph, its weights aside.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Written {
    /// The least operator set that has all of them.
    pub opset: i64,
    pub nodes: Vec<Message>,
    pub constants: Vec<(String, Constant)>,
    pub inputs: Vec<(String, Shape)>,
    pub outputs: Vec<(String, Shape)>,
    /// Parameters whose names an output took from them.
    pub param_names: Names,
}

/// A node's attributes by name.
pub(super) type Attributes<'a> = [(&'a str, Attribute<'a>)];

/// Writes one graph.
pub(super) struct Writer<'g> {
    pub graph: &'g Graph,
    /// What each value is called in the file.
    names: Vec<String>,
    taken: HashSet<String>,
    written: Written,
    /// The node whose operators are being written.
    current: String,
    pixels: Option<&'g Pixels>,
}

impl<'g> Writer<'g> {
    pub(super) fn new(graph: &'g Graph, pixels: Option<&'g Pixels>) -> Result<Self, String> {
        let names: Vec<String> = graph.values().iter().map(|value| value.name.clone()).collect();
        let taken = names.iter().cloned().collect();
        let written = Written {
            opset: OPSET,
            nodes: Vec::new(),
            constants: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            param_names: Names::new(),
        };
        let mut writer = Writer { graph, names, taken, written, current: String::new(), pixels };
        writer.add_inputs()?;
        Ok(writer)
    }

    fn add_inputs(&mut self) -> Result<(), String> {
        let inputs = self.graph.inputs();
        for &input in inputs {
            let name = self.names[input.index()].clone();
            let shape = self.graph.shape(input).clone();
            if let Some(pixels) = self.pixels {
                self.current = format!("{name}.pixels");
                if inputs.len() > 1 {
                    return Err(format!("pixels are asked for, but it has {} inputs", inputs.len()));
                }
                self.names[input.index()] = pixels.write(self, &name, &shape)?;
            }
            self.written.inputs.push((name, shape));
        }
        Ok(())
    }

    /// All nodes, then the outputs under their names.
    pub(super) fn finish(mut self) -> Result<Written, String> {
        let mut handed_out = HashSet::new();
        let mut renamed = HashSet::new();
        for output in self.graph.outputs() {
            if !handed_out.insert(output.name.as_str()) {
                return Err(format!("two outputs are called {}", output.name));
            }
            self.free(&output.name, output.value);
            // A node's own value takes the output's name, the first time it is handed out.
            if self.graph.producer(output.value).is_some() && renamed.insert(output.value) {
                self.names[output.value.index()] = output.name.clone();
            }
        }
        for node in self.graph.nodes() {
            self.current = node.name.clone();
            self.node(node).map_err(|what| format!("{}: {what}", node.name))?;
        }
        for output in self.graph.outputs() {
            let name = self.names[output.value.index()].clone();
            if name != output.name {
                self.current = format!("{}.output", output.name);
                self.push("Identity", &[&name], std::slice::from_ref(&output.name), &[]);
            }
            let shape = self.graph.shape(output.value).clone();
            self.written.outputs.push((output.name.clone(), shape));
        }
        Ok(self.written)
    }

    /// Takes the name away from every other value that has it.
    fn free(&mut self, name: &str, owner: ValueId) {
        let holder = (0..self.names.len()).find(|&i| i != owner.index() && self.names[i] == name);
        if let Some(holder) = holder {
            let new = self.unused(&format!("{name}.inner"));
            let value = &self.graph.values()[holder];
            if self.graph.param_of(ValueId(holder as u32)).is_some() {
                self.written.param_names.insert(value.name.clone(), new.clone());
            }
            self.names[holder] = new;
        }
        self.taken.insert(name.to_string());
    }

    fn node(&mut self, node: &Node) -> Result<(), String> {
        if shapes::write(self, node)? || places::write(self, node)? {
            return Ok(());
        }
        layers::write(self, node)
    }

    /// What the value is called in the file.
    pub(super) fn name(&self, value: ValueId) -> String {
        self.names[value.index()].clone()
    }

    pub(super) fn shape(&self, value: ValueId) -> &Shape {
        self.graph.shape(value)
    }

    fn unused(&mut self, base: &str) -> String {
        let mut name = base.to_string();
        for number in 2.. {
            if self.taken.insert(name.clone()) {
                break;
            }
            name = format!("{base}.{number}");
        }
        name
    }

    /// An operator that gives the node's own output.
    pub(super) fn last(&mut self, node: &Node, op: &str, inputs: &[&str], attributes: &Attributes) {
        self.output(node, 0, op, inputs, attributes);
    }

    /// An operator that gives the node's output `i`.
    pub(super) fn output(
        &mut self,
        node: &Node,
        i: usize,
        op: &str,
        inputs: &[&str],
        attributes: &Attributes,
    ) {
        let output = self.name(node.outputs[i]);
        self.push(op, inputs, &[output], attributes);
    }

    /// What is written needs operator set `opset` at least.
    pub(super) fn needs(&mut self, opset: i64) {
        self.written.opset = self.written.opset.max(opset);
    }

    /// An operator on the way to it; gives what its output is called.
    pub(super) fn inner(&mut self, part: &str, op: &str, inputs: &[&str], attributes: &Attributes) -> String {
        let name = format!("{}.{part}", self.current);
        let output = self.unused(&name);
        self.push(op, inputs, std::slice::from_ref(&output), attributes);
        output
    }

    /// An operator of two outputs on the way; gives what they are called.
    pub(super) fn inner_pair(
        &mut self,
        parts: [&str; 2],
        op: &str,
        inputs: &[&str],
        attributes: &Attributes,
    ) -> [String; 2] {
        let outputs = parts.map(|part| {
            let name = format!("{}.{part}", self.current);
            self.unused(&name)
        });
        self.push(op, inputs, &outputs, attributes);
        outputs
    }

    fn push(&mut self, op: &str, inputs: &[&str], outputs: &[String], attributes: &Attributes) {
        let mut node = inputs.iter().fold(Message::new(), |node, input| node.text(1, input));
        node = outputs.iter().fold(node, |node, output| node.text(2, output));
        // The operator that gives a node's output has its name.
        let name = if outputs.first() == Some(&self.current) { &self.current } else { &outputs[0] };
        node = node.text(3, name).text(4, op);
        for (name, value) in attributes {
            node = node.message(5, &encoded(name, value));
        }
        self.written.nodes.push(node);
    }

    /// A list of whole numbers; gives what it is called.
    pub(super) fn wholes(&mut self, part: &str, numbers: Vec<i64>) -> String {
        self.constant(part, Constant::Wholes(numbers))
    }

    /// Numbers; gives what they are called.
    pub(super) fn floats(&mut self, part: &str, dims: Vec<i64>, numbers: Vec<f32>) -> String {
        self.constant(part, Constant::Floats(dims, numbers))
    }

    /// One number; gives what it is called.
    pub(super) fn number(&mut self, part: &str, number: f32) -> String {
        self.constant(part, Constant::Floats(Vec::new(), vec![number]))
    }

    fn constant(&mut self, part: &str, constant: Constant) -> String {
        let base = format!("{}.{part}", self.current);
        let name = self.unused(&base);
        self.written.constants.push((name.clone(), constant));
        name
    }
}
