//! ONNX files made by hand, field by field, so that they can be wrong.
#![allow(dead_code)] // each test file uses a part of it

/// A message as it grows; field numbers are those of `onnx.proto`.
#[derive(Clone, Default)]
pub struct Proto(pub Vec<u8>);

impl Proto {
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    pub fn whole(mut self, field: u64, number: i64) -> Self {
        self.varint(field << 3);
        self.varint(number as u64);
        self
    }

    pub fn float(mut self, field: u64, number: f32) -> Self {
        self.varint(field << 3 | 5);
        self.0.extend(number.to_le_bytes());
        self
    }

    pub fn bytes(self, field: u64, bytes: &[u8]) -> Self {
        self.claiming(field, bytes.len() as u64, bytes)
    }

    /// A field that says it is `length` bytes long.
    pub fn claiming(mut self, field: u64, length: u64, bytes: &[u8]) -> Self {
        self.varint(field << 3 | 2);
        self.varint(length);
        self.0.extend(bytes);
        self
    }

    pub fn text(self, field: u64, text: &str) -> Self {
        self.bytes(field, text.as_bytes())
    }

    pub fn message(self, field: u64, inner: Proto) -> Self {
        self.bytes(field, &inner.0)
    }

    pub fn messages(self, field: u64, inner: impl IntoIterator<Item = Proto>) -> Self {
        inner.into_iter().fold(self, |message, inner| message.message(field, inner))
    }
}

/// `NodeProto`: a name, an operator, what it reads and what it makes.
pub fn node(name: &str, op: &str, inputs: &[&str], outputs: &[&str]) -> Proto {
    let node = inputs.iter().fold(Proto::default(), |node, input| node.text(1, input));
    outputs.iter().fold(node, |node, output| node.text(2, output)).text(3, name).text(4, op)
}

pub fn whole(name: &str, number: i64) -> Proto {
    Proto::default().text(1, name).whole(3, number).whole(20, 2)
}

pub fn wholes(name: &str, numbers: &[i64]) -> Proto {
    let attribute = Proto::default().text(1, name);
    numbers.iter().fold(attribute, |attribute, &number| attribute.whole(8, number)).whole(20, 7)
}

pub fn text(name: &str, value: &str) -> Proto {
    Proto::default().text(1, name).text(4, value).whole(20, 3)
}

pub fn graph_attribute(name: &str, graph: Proto) -> Proto {
    Proto::default().text(1, name).message(6, graph).whole(20, 5)
}

pub fn floats(name: &str, dims: &[i64], numbers: &[f32]) -> Proto {
    let raw: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
    tensor(name, 1, dims, &raw)
}

pub fn longs(name: &str, numbers: &[i64]) -> Proto {
    let raw: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
    tensor(name, 7, &[numbers.len() as i64], &raw)
}

/// `TensorProto` with raw data.
pub fn tensor(name: &str, kind: i64, dims: &[i64], raw: &[u8]) -> Proto {
    let tensor = dims.iter().fold(Proto::default(), |tensor, &size| tensor.whole(1, size));
    tensor.whole(2, kind).text(8, name).bytes(9, raw)
}

/// `TensorProto` whose numbers lie in another file.
pub fn outside(name: &str, dims: &[i64], entries: &[(&str, &str)]) -> Proto {
    let tensor = dims.iter().fold(Proto::default(), |tensor, &size| tensor.whole(1, size));
    let entries = entries.iter().map(|(key, value)| Proto::default().text(1, key).text(2, value));
    tensor.whole(2, 1).text(8, name).messages(13, entries).whole(14, 1)
}

/// `ValueInfoProto`; a size below 0 is left open.
pub fn port(name: &str, kind: i64, dims: &[i64]) -> Proto {
    let dims = dims.iter().map(|&size| {
        if size < 0 { Proto::default().text(2, "free") } else { Proto::default().whole(1, size) }
    });
    let shape = Proto::default().messages(1, dims);
    let tensor = Proto::default().whole(1, kind).message(2, shape);
    Proto::default().text(1, name).message(2, Proto::default().message(1, tensor))
}

/// A graph's parts.
#[derive(Clone, Default)]
pub struct Net {
    pub nodes: Vec<Proto>,
    pub initializers: Vec<Proto>,
    pub inputs: Vec<Proto>,
    pub outputs: Vec<&'static str>,
    pub functions: Vec<Proto>,
    pub opset: i64,
}

impl Net {
    pub fn new(nodes: impl Into<Vec<Proto>>) -> Self {
        Net {
            nodes: nodes.into(),
            inputs: vec![port("x", 1, &[1, 3, 4, 4])],
            outputs: vec!["y"],
            opset: 17,
            ..Net::default()
        }
    }

    pub fn with(mut self, initializers: impl Into<Vec<Proto>>) -> Self {
        self.initializers = initializers.into();
        self
    }

    pub fn graph(&self) -> Proto {
        Proto::default()
            .messages(1, self.nodes.clone())
            .text(2, "net")
            .messages(5, self.initializers.clone())
            .messages(11, self.inputs.clone())
            .messages(12, self.outputs.iter().map(|name| port(name, 1, &[])))
    }

    /// The file's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        Proto::default()
            .whole(1, 8)
            .message(7, self.graph())
            .message(8, Proto::default().text(1, "").whole(2, self.opset))
            .message(8, Proto::default().text(1, "own").whole(2, 1))
            .messages(25, self.functions.clone())
            .0
    }
}
