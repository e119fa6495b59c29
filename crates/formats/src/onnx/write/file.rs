//! The file around the nodes: initialisers, inputs and outputs, versions, notes.
//!
//! Lengths are known before anything is written, so that weights are copied once, into their place.

use std::collections::BTreeMap;

use ocellus_graph::{Graph, Role};
use ocellus_tensor::{Shape, Weights};

use super::encode::Message;
use super::graph::{Constant, Written};
use super::ir_version;

/// The largest message that Protocol Buffers' readers take.
const LARGEST: usize = i32::MAX as usize;

/// What is said beside the network.
pub(super) struct About<'a> {
    /// The batch that stands for any.
    pub batch: Option<usize>,
    pub entries: &'a [(String, String)],
}

/// The bytes of the file.
pub(super) fn assemble(
    written: &Written,
    graph: &Graph,
    about: &About,
    weights: &Weights,
) -> Result<Vec<u8>, String> {
    let mut tensors: Vec<Tensor> = Vec::new();
    for param in graph.params().iter().filter(|param| param.role != Role::State) {
        let data = weights.get(&param.name).ok_or_else(|| format!("tensor {} is missing", param.name))?;
        if *data.shape() != param.shape {
            return Err(format!(
                "tensor {} is {}, the network needs {}",
                param.name,
                data.shape(),
                param.shape
            ));
        }
        let name = written.param_names.get(&param.name).unwrap_or(&param.name);
        tensors.push(Tensor { name, shape: &param.shape, numbers: data.data() });
    }
    let head = Message::new();
    let head = written.nodes.iter().fold(head, |head, node| head.message(1, node)).text(2, &name_of(graph));
    let head = written.constants.iter().fold(head, |head, constant| head.message(5, &encoded(constant)));
    let mut tail = Message::new();
    for input in &written.inputs {
        tail = tail.message(11, &value_info(&input.0, &input.1, about.batch));
    }
    for output in &written.outputs {
        tail = tail.message(12, &value_info(&output.0, &output.1, about.batch));
    }
    let tensor_bytes: usize = tensors.iter().map(Tensor::encoded_len).sum();
    let graph_len = head.len() + tensor_bytes + tail.len();
    let opset = Message::new().text(1, "").whole(2, written.opset);
    let front = Message::new()
        .whole(1, ir_version(written.opset))
        .text(2, "ocellus")
        .text(3, env!("CARGO_PKG_VERSION"));
    let mut back = Message::new().message(8, &opset);
    for (key, value) in about.entries {
        back = back.message(14, &Message::new().text(1, key).text(2, value));
    }
    let total = front.len() + Message::head_len(7, graph_len) + graph_len + back.len();
    if total > LARGEST {
        return Err(format!(
            "it takes {total} bytes, an ONNX file without others beside it at most {LARGEST}"
        ));
    }
    let mut file = Message::new();
    file.reserve(total);
    file.append(&front);
    file.open(7, graph_len);
    file.append(&head);
    for tensor in &tensors {
        tensor.append(&mut file);
    }
    file.append(&tail);
    file.append(&back);
    Ok(file.into_bytes())
}

/// ONNX's checker asks for a name.
fn name_of(graph: &Graph) -> String {
    if graph.name.is_empty() { "network".to_string() } else { graph.name.clone() }
}

/// A weight: its numbers are not copied until the file is written.
struct Tensor<'w> {
    name: &'w str,
    shape: &'w Shape,
    numbers: &'w [f32],
}

impl Tensor<'_> {
    /// `TensorProto` up to its raw data.
    fn head(&self) -> Message {
        let dims: Vec<i64> = self.shape.iter().map(|&size| size as i64).collect();
        let mut head = tensor_head(&dims, 1).text(8, self.name);
        head.open(9, self.bytes());
        head
    }

    fn bytes(&self) -> usize {
        size_of_val(self.numbers)
    }

    /// Bytes of the whole field.
    fn encoded_len(&self) -> usize {
        let inner = self.head().len() + self.bytes();
        Message::head_len(5, inner) + inner
    }

    fn append(&self, file: &mut Message) {
        let head = self.head();
        file.open(5, head.len() + self.bytes());
        file.append(&head);
        file.append_floats(self.numbers);
    }
}

/// Sizes and element type of a `TensorProto`.
fn tensor_head(dims: &[i64], kind: i64) -> Message {
    let head = dims.iter().fold(Message::new(), |head, &size| head.whole(1, size));
    head.whole(2, kind)
}

/// A small constant as a `TensorProto`.
fn encoded((name, constant): &(String, Constant)) -> Message {
    match constant {
        Constant::Floats(dims, numbers) => {
            let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
            tensor_head(dims, 1).text(8, name).bytes(9, &bytes)
        }
        Constant::Wholes(numbers) => {
            let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
            tensor_head(&[numbers.len() as i64], 7).text(8, name).bytes(9, &bytes)
        }
    }
}

/// `ValueInfoProto` of an f32 tensor; a first axis of `batch` is called N.
fn value_info(name: &str, shape: &Shape, batch: Option<usize>) -> Message {
    let mut dims = Message::new();
    for (axis, &size) in shape.iter().enumerate() {
        let is_batch = axis == 0 && batch == Some(size);
        let dim = if is_batch { Message::new().text(2, "N") } else { Message::new().whole(1, size as i64) };
        dims = dims.message(1, &dim);
    }
    let tensor = Message::new().whole(1, 1).message(2, &dims);
    Message::new().text(1, name).message(2, &Message::new().message(1, &tensor))
}

/// Names by the graph's own.
pub(super) type Names = BTreeMap<String, String>;
