//! Graphs, nodes, attributes and functions.

use std::rc::Rc;

use super::{Reader, Result};
use crate::onnx::literal::Literal;
use crate::wire::Payload;

/// Graphs inside attributes of nodes of graphs: no deeper than this.
const DEEPEST: usize = 16;

/// More axes than any tensor has.
const MOST_AXES: usize = 32;

/// What a node takes in memory, with what it becomes in the network.
const NODE_COST: u64 = 1000;

/// What an attribute or an input takes in memory.
const ENTRY_COST: u64 = 200;

/// `GraphProto`.
#[derive(Clone, Debug, Default)]
pub(in crate::onnx) struct GraphProto {
    pub name: String,
    pub nodes: Vec<NodeProto>,
    pub initializers: Vec<(String, Literal)>,
    pub inputs: Vec<ValueInfo>,
    pub outputs: Vec<ValueInfo>,
}

/// `NodeProto`.
#[derive(Clone, Debug, Default)]
pub(in crate::onnx) struct NodeProto {
    pub name: String,
    pub op: String,
    pub domain: String,
    /// Names of tensors; an empty one is an input that is left out.
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    pub attributes: Vec<Attribute>,
}

/// `AttributeProto`.
#[derive(Clone, Debug, Default)]
pub(in crate::onnx) struct Attribute {
    pub name: String,
    /// In a function: the attribute of the calling node that is meant.
    pub refers_to: String,
    pub value: AttributeValue,
}

/// What an attribute holds.
#[derive(Clone, Debug, Default)]
pub(in crate::onnx) enum AttributeValue {
    #[default]
    None,
    Float(f32),
    Whole(i64),
    Text(String),
    Tensor(Literal),
    Graph(Rc<GraphProto>),
    Floats(Vec<f32>),
    Wholes(Vec<i64>),
    /// Texts, which no operator of numbers needs.
    Texts,
}

/// `ValueInfoProto` of a tensor.
#[derive(Clone, Debug, Default)]
pub(in crate::onnx) struct ValueInfo {
    pub name: String,
    /// The number of its element type; 0 if it is no tensor.
    pub element: i64,
    /// Its sizes, if they are told.
    pub dims: Option<Vec<Dim>>,
}

/// One size of a shape.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::onnx) enum Dim {
    Known(i64),
    Named(String),
    Unknown,
}

/// `FunctionProto`: a node of this operation stands for these nodes.
#[derive(Clone, Debug, Default)]
pub(in crate::onnx) struct Function {
    pub name: String,
    pub domain: String,
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    pub nodes: Vec<NodeProto>,
    /// Attributes that the caller may leave out.
    pub defaults: Vec<Attribute>,
    pub opsets: Vec<(String, i64)>,
}

impl Reader<'_, '_> {
    pub(super) fn graph(&mut self, end: u64, depth: usize) -> Result<GraphProto> {
        if depth > DEEPEST {
            return Err(format!("its graphs lie more than {DEEPEST} deep in one another"));
        }
        let mut graph = GraphProto::default();
        while let Some(tag) = self.wire.next(end)? {
            match (tag.number, tag.payload) {
                (1, Payload::Bytes(stop)) => graph.nodes.push(self.node(stop, depth)?),
                (2, Payload::Bytes(stop)) => graph.name = self.name(stop)?,
                (5, Payload::Bytes(stop)) => {
                    self.budget.charge(ENTRY_COST)?;
                    let (name, mut literal) = self.tensor(stop)?;
                    literal.name = Some(name.clone());
                    literal.is_weight = depth == 0;
                    graph.initializers.push((name, literal));
                }
                (11, Payload::Bytes(stop)) => graph.inputs.push(self.value_info(stop)?),
                (12, Payload::Bytes(stop)) => graph.outputs.push(self.value_info(stop)?),
                (15, Payload::Bytes(_)) => {
                    return Err("it holds a sparse initialiser, which is not supported".into());
                }
                (_, payload) => self.pass(payload)?,
            }
        }
        Ok(graph)
    }

    fn node(&mut self, end: u64, depth: usize) -> Result<NodeProto> {
        self.budget.charge(NODE_COST)?;
        let mut node = NodeProto::default();
        while let Some(tag) = self.wire.next(end)? {
            match (tag.number, tag.payload) {
                (1, Payload::Bytes(stop)) => node.inputs.push(self.name(stop)?),
                (2, Payload::Bytes(stop)) => node.outputs.push(self.name(stop)?),
                (3, Payload::Bytes(stop)) => node.name = self.name(stop)?,
                (4, Payload::Bytes(stop)) => node.op = self.name(stop)?,
                (5, Payload::Bytes(stop)) => node.attributes.push(self.attribute(stop, depth)?),
                (7, Payload::Bytes(stop)) => node.domain = self.name(stop)?,
                (_, payload) => self.pass(payload)?,
            }
        }
        if node.domain == "ai.onnx" {
            node.domain.clear();
        }
        Ok(node)
    }

    fn attribute(&mut self, end: u64, depth: usize) -> Result<Attribute> {
        self.budget.charge(ENTRY_COST)?;
        let budget = self.budget;
        let mut attribute = Attribute::default();
        let (mut floats, mut wholes, mut kind) = (Vec::new(), Vec::new(), 0);
        while let Some(tag) = self.wire.next(end)? {
            let value = match (tag.number, tag.payload) {
                (2, Payload::Fixed32(bytes)) => AttributeValue::Float(f32::from_le_bytes(bytes)),
                (3, Payload::Varint(number)) => AttributeValue::Whole(number as i64),
                (4, Payload::Bytes(stop)) => AttributeValue::Text(self.text(stop)?),
                (5, Payload::Bytes(stop)) => AttributeValue::Tensor(self.tensor(stop)?.1),
                (6, Payload::Bytes(stop)) => AttributeValue::Graph(Rc::new(self.graph(stop, depth + 1)?)),
                (number, payload) => {
                    match (number, payload) {
                        (1, Payload::Bytes(stop)) => attribute.name = self.name(stop)?,
                        (7, Payload::Bytes(stop)) => {
                            self.wire.floats(stop, crate::numbers::Number::F32, &mut floats)?;
                        }
                        (7, Payload::Fixed32(bytes)) => floats.push(f32::from_le_bytes(bytes)),
                        (8, payload) => self.wholes(payload, |number| {
                            budget.charge(size_of::<i64>() as u64)?;
                            wholes.push(number);
                            Ok(())
                        })?,
                        (20, Payload::Varint(number)) => kind = number,
                        (21, Payload::Bytes(stop)) => attribute.refers_to = self.name(stop)?,
                        (_, payload) => self.pass(payload)?,
                    }
                    continue;
                }
            };
            attribute.value = value;
        }
        // Lists may be empty, and then only the kind tells that they are there; old files do not tell the kind.
        match kind {
            6 => attribute.value = AttributeValue::Floats(floats),
            7 => attribute.value = AttributeValue::Wholes(wholes),
            8 => attribute.value = AttributeValue::Texts,
            _ if !floats.is_empty() => attribute.value = AttributeValue::Floats(floats),
            _ if !wholes.is_empty() => attribute.value = AttributeValue::Wholes(wholes),
            // Zeros and empty texts may be left out of the file.
            1 if matches!(attribute.value, AttributeValue::None) => {
                attribute.value = AttributeValue::Float(0.0)
            }
            2 if matches!(attribute.value, AttributeValue::None) => {
                attribute.value = AttributeValue::Whole(0)
            }
            3 if matches!(attribute.value, AttributeValue::None) => {
                attribute.value = AttributeValue::Text(String::new());
            }
            _ => {}
        }
        Ok(attribute)
    }

    fn value_info(&mut self, end: u64) -> Result<ValueInfo> {
        self.budget.charge(ENTRY_COST)?;
        let mut info = ValueInfo::default();
        while let Some(tag) = self.wire.next(end)? {
            match (tag.number, tag.payload) {
                (1, Payload::Bytes(stop)) => info.name = self.name(stop)?,
                (2, Payload::Bytes(stop)) => self.tensor_type(stop, &mut info)?,
                (_, payload) => self.pass(payload)?,
            }
        }
        Ok(info)
    }

    /// `TypeProto`, of which only the tensor's is read.
    fn tensor_type(&mut self, end: u64, info: &mut ValueInfo) -> Result<()> {
        while let Some(tag) = self.wire.next(end)? {
            let Payload::Bytes(stop) = tag.payload else { continue };
            if tag.number != 1 {
                self.wire.skip(stop)?;
                continue;
            }
            while let Some(tag) = self.wire.next(stop)? {
                match (tag.number, tag.payload) {
                    (1, Payload::Varint(element)) => info.element = element as i64,
                    (2, Payload::Bytes(stop)) => info.dims = Some(self.shape(stop)?),
                    (_, payload) => self.pass(payload)?,
                }
            }
        }
        Ok(())
    }

    /// `TensorShapeProto`.
    fn shape(&mut self, end: u64) -> Result<Vec<Dim>> {
        let mut dims = Vec::new();
        while let Some(tag) = self.wire.next(end)? {
            let (1, Payload::Bytes(stop)) = (tag.number, tag.payload) else {
                self.pass(tag.payload)?;
                continue;
            };
            if dims.len() == MOST_AXES {
                return Err(format!("a shape has more than {MOST_AXES} axes"));
            }
            let mut dim = Dim::Unknown;
            while let Some(tag) = self.wire.next(stop)? {
                match (tag.number, tag.payload) {
                    (1, Payload::Varint(size)) => dim = Dim::Known(size as i64),
                    (2, Payload::Bytes(stop)) => dim = Dim::Named(self.name(stop)?),
                    (_, payload) => self.pass(payload)?,
                }
            }
            dims.push(dim);
        }
        Ok(dims)
    }

    pub(super) fn function(&mut self, end: u64) -> Result<Function> {
        self.budget.charge(NODE_COST)?;
        let mut function = Function::default();
        while let Some(tag) = self.wire.next(end)? {
            match (tag.number, tag.payload) {
                (1, Payload::Bytes(stop)) => function.name = self.name(stop)?,
                (4, Payload::Bytes(stop)) => function.inputs.push(self.name(stop)?),
                (5, Payload::Bytes(stop)) => function.outputs.push(self.name(stop)?),
                (7, Payload::Bytes(stop)) => function.nodes.push(self.node(stop, 0)?),
                (9, Payload::Bytes(stop)) => function.opsets.push(self.opset(stop)?),
                (10, Payload::Bytes(stop)) => function.domain = self.name(stop)?,
                (11, Payload::Bytes(stop)) => function.defaults.push(self.attribute(stop, 0)?),
                (_, payload) => self.pass(payload)?,
            }
        }
        Ok(function)
    }
}
