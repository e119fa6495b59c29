//! `TensorProto`: numbers in one of a dozen types, in one of three places.
//!
//! The numbers lie as raw little-endian bytes, in a list of the nearest protobuf type (half floats and small integers in
//! `int32_data`), or in another file. Two numbers of four bits share a byte, the first in the lower half.

use half::{bf16, f16};

use super::{Reader, Result};
use crate::numbers::{ByteOrder, Number, checked_elements, read_numbers};
use crate::onnx::external::Place;
use crate::onnx::literal::{Kind, Literal, Numbers};
use crate::wire::Payload;

/// More axes than any tensor has.
const MOST_AXES: usize = 32;

/// What of a tensor has been read so far.
#[derive(Default)]
struct Parts {
    name: String,
    kind: i64,
    dims: Vec<i64>,
    floats: Vec<f32>,
    wholes: Vec<i64>,
    raw: Option<Vec<u8>>,
    /// Raw numbers whose type was known when they came.
    numbers: Option<Numbers>,
    place: Place,
    is_external: bool,
}

impl Reader<'_, '_> {
    /// The tensor that ends at `end`, with its name.
    pub(super) fn tensor(&mut self, end: u64) -> Result<(String, Literal)> {
        let budget = self.budget;
        let mut parts = Parts::default();
        while let Some(tag) = self.wire.next(end)? {
            match (tag.number, tag.payload) {
                (1, payload) => self.wholes(payload, |size| {
                    if parts.dims.len() == MOST_AXES {
                        return Err(format!("a tensor has more than {MOST_AXES} axes"));
                    }
                    parts.dims.push(size);
                    Ok(())
                })?,
                (2, Payload::Varint(kind)) => parts.kind = kind as i64,
                (4, Payload::Bytes(stop)) => self.wire.floats(stop, Number::F32, &mut parts.floats)?,
                (4, Payload::Fixed32(bytes)) => parts.floats.push(f32::from_le_bytes(bytes)),
                (5 | 7 | 11, payload) => self.wholes(payload, |number| {
                    budget.charge(size_of::<i64>() as u64)?;
                    parts.wholes.push(number);
                    Ok(())
                })?,
                (8, Payload::Bytes(stop)) => parts.name = self.name(stop)?,
                (9, Payload::Bytes(stop)) => match Kind::of(parts.kind) {
                    Ok(kind) => parts.numbers = Some(self.raw(kind, stop)?),
                    Err(_) => parts.raw = Some(self.wire.bytes(stop)?),
                },
                (10, Payload::Bytes(stop)) => self.wire.floats(stop, Number::F64, &mut parts.floats)?,
                (10, Payload::Fixed64(bytes)) => parts.floats.push(f64::from_le_bytes(bytes) as f32),
                (13, Payload::Bytes(stop)) => {
                    let (key, value) = self.entry(stop)?;
                    parts.place.set(&key, value)?;
                }
                (14, Payload::Varint(place)) => parts.is_external = place == 1,
                (_, payload) => self.pass(payload)?,
            }
        }
        let name = std::mem::take(&mut parts.name);
        let literal = self.finish(parts).map_err(|what| format!("tensor {name:?}: {what}"))?;
        Ok((name, literal))
    }

    /// Raw numbers up to `end`.
    fn raw(&mut self, kind: Kind, end: u64) -> Result<Numbers> {
        if kind.is_byte() {
            return Ok(Numbers::Bytes(self.wire.bytes(end)?));
        }
        if let Some(number) = float_number(kind) {
            let mut floats = Vec::new();
            self.wire.floats(end, number, &mut floats)?;
            return Ok(Numbers::Float(floats));
        }
        let size = whole_size(kind);
        // They take eight bytes each from here on.
        self.budget.charge(self.wire.left(end) / size as u64 * 8)?;
        let bytes = self.wire.bytes(end)?;
        whole_numbers(kind, &bytes)
    }

    fn finish(&mut self, parts: Parts) -> Result<Literal> {
        let kind = Kind::of(parts.kind)?;
        let sizes = parts.dims.iter().map(|&size| usize::try_from(size).ok()).collect::<Option<Vec<_>>>();
        let shaped = sizes.and_then(|sizes| Some((checked_elements(&sizes)?, sizes)));
        let (count, dims) =
            shaped.ok_or_else(|| format!("its shape {:?} cannot be that of a tensor", parts.dims))?;
        let numbers = if parts.is_external {
            self.outside(kind, count, &parts.place)?
        } else if let Some(numbers) = parts.numbers {
            numbers
        } else if let Some(raw) = parts.raw {
            self.budget.charge(raw.len() as u64)?;
            typed(kind, raw)?
        } else if matches!(kind, Kind::F32 | Kind::F64) {
            Numbers::Float(parts.floats)
        } else {
            listed(kind, parts.wholes, count)
        };
        let numbers =
            if matches!(kind, Kind::I4 | Kind::U4) { unpacked(kind, numbers, count) } else { numbers };
        let actual = match &numbers {
            Numbers::Float(numbers) => numbers.len(),
            Numbers::Whole(numbers) => numbers.len(),
            Numbers::Bytes(numbers) => numbers.len(),
            Numbers::Same(_) => count,
        };
        if actual != count {
            return Err(format!("its shape {dims:?} needs {count} numbers, it holds {actual}"));
        }
        Ok(Literal::new(kind, dims, numbers))
    }

    /// Numbers that lie in another file.
    fn outside(&mut self, kind: Kind, count: usize, place: &Place) -> Result<Numbers> {
        let bytes = match kind {
            Kind::I4 | Kind::U4 => count.div_ceil(2),
            kind if kind.is_byte() => count,
            kind => count
                .checked_mul(float_number(kind).map_or(whole_size(kind), Number::size))
                .ok_or("too large")?,
        };
        let mut source = self.external.open(place, bytes as u64)?;
        let failed = |cause| format!("its data cannot be read ({cause})");
        if let Some(number) = float_number(kind) {
            return read_numbers(&mut source, count, number, ByteOrder::Little)
                .map(Numbers::Float)
                .map_err(failed);
        }
        let mut raw = Vec::new();
        std::io::Read::read_to_end(&mut source, &mut raw).map_err(failed)?;
        typed(kind, raw)
    }
}

/// The type that raw numbers are read as, if they are floating-point.
fn float_number(kind: Kind) -> Option<Number> {
    match kind {
        Kind::F32 => Some(Number::F32),
        Kind::F16 => Some(Number::F16),
        Kind::Bf16 => Some(Number::Bf16),
        Kind::F64 => Some(Number::F64),
        _ => None,
    }
}

/// Bytes of one raw whole number.
fn whole_size(kind: Kind) -> usize {
    match kind {
        Kind::U16 | Kind::I16 => 2,
        Kind::I32 | Kind::U32 => 4,
        Kind::I64 | Kind::U64 => 8,
        _ => 1,
    }
}

/// Raw bytes as numbers of their type.
fn typed(kind: Kind, raw: Vec<u8>) -> Result<Numbers> {
    if kind.is_byte() {
        return Ok(Numbers::Bytes(raw));
    }
    let Some(number) = float_number(kind) else { return whole_numbers(kind, &raw) };
    let count = whole_count(raw.len(), number.size())?;
    let numbers = read_numbers(&mut &*raw, count, number, ByteOrder::Little);
    numbers.map(Numbers::Float).map_err(|cause| cause.to_string())
}

fn whole_numbers(kind: Kind, raw: &[u8]) -> Result<Numbers> {
    whole_count(raw.len(), whole_size(kind))?;
    Ok(Numbers::Whole(match kind {
        Kind::U16 => raw.as_chunks().0.iter().map(|&b| i64::from(u16::from_le_bytes(b))).collect(),
        Kind::I16 => raw.as_chunks().0.iter().map(|&b| i64::from(i16::from_le_bytes(b))).collect(),
        Kind::I32 => raw.as_chunks().0.iter().map(|&b| i64::from(i32::from_le_bytes(b))).collect(),
        Kind::U32 => raw.as_chunks().0.iter().map(|&b| i64::from(u32::from_le_bytes(b))).collect(),
        _ => raw.as_chunks().0.iter().map(|&b| i64::from_le_bytes(b)).collect(),
    }))
}

fn whole_count(bytes: usize, size: usize) -> Result<usize> {
    match bytes.is_multiple_of(size) {
        true => Ok(bytes / size),
        false => Err(format!("{bytes} bytes are no whole numbers of {size} bytes")),
    }
}

/// Numbers from `int32_data` and its like, where half floats stand as their bits.
fn listed(kind: Kind, wholes: Vec<i64>, count: usize) -> Numbers {
    match kind {
        Kind::F16 => {
            Numbers::Float(wholes.iter().map(|&bits| f16::from_bits(bits as u16).to_f32()).collect())
        }
        Kind::Bf16 => {
            Numbers::Float(wholes.iter().map(|&bits| bf16::from_bits(bits as u16).to_f32()).collect())
        }
        // Numbers of four bits lie packed in each entry; how many bytes an entry means depends on the writer.
        Kind::U4 | Kind::I4 if wholes.len() == count && count > 1 => Numbers::Bytes(pack(&wholes)),
        kind if kind.is_byte() => Numbers::Bytes(wholes.iter().map(|&number| number as u8).collect()),
        _ => Numbers::Whole(wholes),
    }
}

/// One number of four bits per entry, two to a byte.
fn pack(wholes: &[i64]) -> Vec<u8> {
    let half = |number: i64| (number & 15) as u8;
    wholes.chunks(2).map(|pair| half(pair[0]) | half(pair.get(1).copied().unwrap_or(0)) << 4).collect()
}

/// Two numbers of four bits from each byte, `count` in all if so many are there.
fn unpacked(kind: Kind, numbers: Numbers, count: usize) -> Numbers {
    let Numbers::Bytes(bytes) = numbers else { return numbers };
    let halves = bytes.iter().flat_map(|&byte| [byte & 15, byte >> 4]);
    let signed = |half: u8| if kind == Kind::I4 && half > 7 { half | 0xf0 } else { half };
    Numbers::Bytes(halves.map(signed).take(count).collect())
}
