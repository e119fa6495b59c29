//! Protocol Buffers' binary form, written: keys, numbers, strings.
//!
//! Source: "Encoding" on protobuf.dev.

/// A number of seven bits a byte, the lowest first.
pub(crate) fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A field's number and kind: 0 for a varint, 2 for bytes with their length, 5 for four bytes.
pub(crate) fn key(out: &mut Vec<u8>, number: u64, kind: u64) {
    varint(out, number << 3 | kind);
}

/// A field of bytes: a string, a message, packed numbers.
pub(crate) fn bytes(out: &mut Vec<u8>, number: u64, value: &[u8]) {
    key(out, number, 2);
    varint(out, value.len() as u64);
    out.extend(value);
}

/// A field of text.
pub(crate) fn text(out: &mut Vec<u8>, number: u64, value: &str) {
    bytes(out, number, value.as_bytes());
}

/// A field of several numbers.
pub(crate) fn packed_varints(out: &mut Vec<u8>, number: u64, values: impl Iterator<Item = u64>) {
    let mut packed = Vec::new();
    values.for_each(|value| varint(&mut packed, value));
    bytes(out, number, &packed);
}
