//! Caffe's `BlobProto`: numbers with a shape, of either generation.
//!
//! Fields: `num` 1, `channels` 2, `height` 3, `width` 4 (the old four sizes), `data` 5, `diff` 6, `shape` 7 (its `dim`
//! is 1), `double_data` 8, `double_diff` 9.

use ocellus_tensor::{Shape, Tensor};

use super::wire::{Payload, Wire};
use crate::numbers::{Number, checked_elements};

/// More axes than Caffe allows.
const MOST_AXES: usize = 32;

/// Reads the blob that ends at `end`.
pub(in crate::caffe) fn read(wire: &mut Wire, end: u64) -> Result<Tensor, String> {
    let mut old = [None; 4];
    let mut dims: Option<Vec<u64>> = None;
    let mut data = Vec::new();
    while let Some(tag) = wire.next(end)? {
        match (tag.number, tag.payload) {
            (number @ 1..=4, Payload::Varint(size)) => old[number as usize - 1] = Some(size),
            (5, Payload::Bytes(stop)) => wire.floats(stop, Number::F32, &mut data)?,
            (5, Payload::Fixed32(bytes)) => data.push(f32::from_le_bytes(bytes)),
            (7, Payload::Bytes(stop)) => dims = Some(shape(wire, stop)?),
            (8, Payload::Bytes(stop)) => wire.floats(stop, Number::F64, &mut data)?,
            (8, Payload::Fixed64(bytes)) => data.push(f64::from_le_bytes(bytes) as f32),
            (_, Payload::Bytes(stop)) => wire.skip(stop)?,
            _ => {}
        }
    }
    let dims = match dims {
        Some(dims) => dims,
        None if old.iter().any(Option::is_some) => old.map(|size| size.unwrap_or(0)).to_vec(),
        None => vec![data.len() as u64],
    };
    let sizes: Option<Vec<usize>> = dims.iter().map(|&size| usize::try_from(size).ok()).collect();
    let sizes = sizes
        .filter(|sizes| checked_elements(sizes) == Some(data.len()))
        .ok_or_else(|| format!("a blob of sizes {dims:?} holds {} numbers", data.len()))?;
    Tensor::new(Shape::new(sizes), data).map_err(|cause| cause.to_string())
}

fn shape(wire: &mut Wire, end: u64) -> Result<Vec<u64>, String> {
    let mut dims = Vec::new();
    while let Some(tag) = wire.next(end)? {
        match (tag.number, tag.payload) {
            (1, Payload::Bytes(stop)) => wire.varints(stop, MOST_AXES, &mut dims)?,
            (1, Payload::Varint(size)) if dims.len() < MOST_AXES => dims.push(size),
            (1, Payload::Varint(_)) => return Err(format!("a blob has more than {MOST_AXES} axes")),
            (_, Payload::Bytes(stop)) => wire.skip(stop)?,
            _ => {}
        }
    }
    Ok(dims)
}
