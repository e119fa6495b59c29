//! A message of `onnx.proto` as it is written, field by field.

use crate::wire_out::{key, varint};

/// A message as it grows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Message(Vec<u8>);

impl Message {
    pub(super) fn new() -> Self {
        Message::default()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// A whole number.
    pub(super) fn whole(mut self, field: u64, number: i64) -> Self {
        key(&mut self.0, field, 0);
        varint(&mut self.0, number as u64);
        self
    }

    /// A number in single precision.
    pub(super) fn float(mut self, field: u64, number: f32) -> Self {
        key(&mut self.0, field, 5);
        self.0.extend(number.to_le_bytes());
        self
    }

    /// A text.
    pub(super) fn text(self, field: u64, text: &str) -> Self {
        self.bytes(field, text.as_bytes())
    }

    /// A message inside this one.
    pub(super) fn message(self, field: u64, inner: &Message) -> Self {
        self.bytes(field, &inner.0)
    }

    /// Bytes.
    pub(super) fn bytes(mut self, field: u64, bytes: &[u8]) -> Self {
        self.open(field, bytes.len());
        self.0.extend_from_slice(bytes);
        self
    }

    /// The head of a field of `length` bytes, which the caller appends.
    pub(super) fn open(&mut self, field: u64, length: usize) {
        key(&mut self.0, field, 2);
        varint(&mut self.0, length as u64);
    }

    /// What [`Message::open`] writes for these, in bytes.
    pub(super) fn head_len(field: u64, length: usize) -> usize {
        let mut head = Message::new();
        head.open(field, length);
        head.len()
    }

    /// Appends what is already encoded.
    pub(super) fn append(&mut self, other: &Message) {
        self.0.extend_from_slice(&other.0);
    }

    /// Appends numbers as raw little-endian bytes.
    pub(super) fn append_floats(&mut self, numbers: &[f32]) {
        self.0.extend(numbers.iter().flat_map(|x| x.to_le_bytes()));
    }

    /// Makes room, so that a large message is not moved while it grows.
    pub(super) fn reserve(&mut self, bytes: usize) {
        self.0.reserve_exact(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_specification() {
        assert_eq!(Message::new().whole(1, 150).into_bytes(), [0x08, 0x96, 0x01]);
        assert_eq!(Message::new().text(2, "testing").into_bytes(), b"\x12\x07testing");
        assert_eq!(Message::new().whole(1, -2).len(), 11);
        let mut message = Message::new();
        message.open(5, 300);
        assert_eq!(message.len(), Message::head_len(5, 300));
    }
}
