//! What an ONNX file says, message by message.
//!
//! Source: the message and field numbers of `onnx.proto` (onnx/onnx, IR version 13). Documentation strings, shapes of
//! inner values and whatever is not needed to compute are passed over.

mod graph;
mod tensor;

use std::path::Path;

pub(in crate::onnx) use graph::{Attribute, AttributeValue, Dim, Function, GraphProto, NodeProto, ValueInfo};

use super::budget::Budget;
use super::external::External;
use super::literal::Literal;
use crate::wire::{Payload, Wire};

type Result<T> = std::result::Result<T, String>;

/// No name is longer.
const LONGEST_NAME: u64 = 1 << 16;

/// No text that is kept is longer.
const LONGEST_TEXT: u64 = 1 << 24;

/// Bytes that a name takes in memory beyond its letters, with what it stands for.
const TEXT_COST: u64 = 200;

/// A whole file.
#[derive(Debug, Default)]
pub(in crate::onnx) struct ModelProto {
    /// Who wrote it, and which version of it.
    pub producer: [String; 2],
    /// The operator sets by domain, with their versions.
    pub opsets: Vec<(String, i64)>,
    pub graph: Option<GraphProto>,
    pub functions: Vec<Function>,
    /// Free texts by key.
    pub metadata: Vec<(String, String)>,
}

/// Reads messages, and counts the memory that they take.
pub(in crate::onnx) struct Reader<'r, 's> {
    wire: &'r mut Wire<'s>,
    budget: &'r Budget,
    external: External<'r>,
}

/// Reads the model of `length` bytes at `wire`; `folder` is where its external data lies.
pub(in crate::onnx) fn read_model(
    wire: &mut Wire,
    length: u64,
    budget: &Budget,
    folder: Option<&Path>,
) -> Result<ModelProto> {
    Reader { wire, budget, external: External::new(folder, budget) }.model(length)
}

/// Reads the `TensorProto` of `length` bytes at `wire`.
pub(in crate::onnx) fn read_tensor(wire: &mut Wire, length: u64, budget: &Budget) -> Result<Literal> {
    let mut reader = Reader { wire, budget, external: External::new(None, budget) };
    Ok(reader.tensor(length)?.1)
}

impl Reader<'_, '_> {
    fn model(&mut self, end: u64) -> Result<ModelProto> {
        let mut model = ModelProto::default();
        while let Some(tag) = self.wire.next(end)? {
            match (tag.number, tag.payload) {
                (2, Payload::Bytes(stop)) => model.producer[0] = self.name(stop)?,
                (3, Payload::Bytes(stop)) => model.producer[1] = self.name(stop)?,
                (7, Payload::Bytes(stop)) => model.graph = Some(self.graph(stop, 0)?),
                (8, Payload::Bytes(stop)) => model.opsets.push(self.opset(stop)?),
                (14, Payload::Bytes(stop)) => model.metadata.push(self.entry(stop)?),
                (25, Payload::Bytes(stop)) => model.functions.push(self.function(stop)?),
                (_, payload) => self.pass(payload)?,
            }
        }
        Ok(model)
    }

    /// `OperatorSetIdProto`.
    fn opset(&mut self, end: u64) -> Result<(String, i64)> {
        let (mut domain, mut version) = (String::new(), 0);
        while let Some(tag) = self.wire.next(end)? {
            match (tag.number, tag.payload) {
                (1, Payload::Bytes(stop)) => domain = self.name(stop)?,
                (2, Payload::Varint(number)) => version = number as i64,
                (_, payload) => self.pass(payload)?,
            }
        }
        Ok((domain, version))
    }

    /// `StringStringEntryProto`.
    fn entry(&mut self, end: u64) -> Result<(String, String)> {
        let (mut key, mut value) = (String::new(), String::new());
        while let Some(tag) = self.wire.next(end)? {
            match (tag.number, tag.payload) {
                (1, Payload::Bytes(stop)) => key = self.name(stop)?,
                (2, Payload::Bytes(stop)) => value = self.text(stop)?,
                (_, payload) => self.pass(payload)?,
            }
        }
        Ok((key, value))
    }

    /// A name that ends at `end`.
    fn name(&mut self, end: u64) -> Result<String> {
        self.budget.charge(TEXT_COST)?;
        self.wire.text(end, LONGEST_NAME)
    }

    /// A text that ends at `end`.
    fn text(&mut self, end: u64) -> Result<String> {
        self.budget.charge(TEXT_COST)?;
        self.wire.text(end, LONGEST_TEXT)
    }

    /// Leaves a field that is not needed.
    fn pass(&mut self, payload: Payload) -> Result<()> {
        if let Payload::Bytes(stop) = payload { self.wire.skip(stop) } else { Ok(()) }
    }

    /// A repeated whole number, packed or alone: each one to `take`.
    fn wholes(&mut self, payload: Payload, mut take: impl FnMut(i64) -> Result<()>) -> Result<()> {
        match payload {
            Payload::Varint(number) => take(number as i64),
            Payload::Bytes(stop) => self.wire.each_varint(stop, |number| take(number as i64)),
            _ => Ok(()),
        }
    }
}
