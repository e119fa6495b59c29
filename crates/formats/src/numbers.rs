//! How do numbers as they lie in a file become `f32`?

use std::io::{self, Read, Write};

use half::{bf16, f16};

/// A stored number's type. Booleans are bytes of 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Number {
    F16,
    Bf16,
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
}

impl Number {
    /// Bytes of one number.
    pub(crate) fn size(self) -> usize {
        match self {
            Number::I8 | Number::U8 => 1,
            Number::F16 | Number::Bf16 | Number::I16 | Number::U16 => 2,
            Number::F32 | Number::I32 | Number::U32 => 4,
            Number::F64 | Number::I64 | Number::U64 => 8,
        }
    }
}

/// Which byte of a stored number comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ByteOrder {
    Little,
    Big,
}

/// Bytes handled at a time; a multiple of every number's size.
const CHUNK: usize = 1 << 16;

/// Numbers set aside for at once, however many a file promises; beyond it memory grows with what really comes.
const TRUSTED: usize = 1 << 24;

/// Reads `count` numbers, each rounded to the nearest `f32`.
pub(crate) fn read_numbers(
    source: &mut dyn Read,
    count: usize,
    number: Number,
    order: ByteOrder,
) -> io::Result<Vec<f32>> {
    let mut out = Vec::with_capacity(count.min(TRUSTED));
    let mut buffer = vec![0; CHUNK];
    let per_chunk = CHUNK / number.size();
    while out.len() < count {
        let now = per_chunk.min(count - out.len());
        let bytes = &mut buffer[..now * number.size()];
        source.read_exact(bytes)?;
        if order == ByteOrder::Big {
            bytes.chunks_exact_mut(number.size()).for_each(<[u8]>::reverse);
        }
        let at = out.len();
        out.resize(at + now, 0.0);
        convert(bytes, number, &mut out[at..]);
    }
    Ok(out)
}

/// Fills `out` with little-endian numbers, each rounded to the nearest `f32`; `read` gives the bytes from one place of
/// theirs on.
pub(crate) fn fill(
    out: &mut [f32],
    number: Number,
    read: impl Fn(usize, &mut [u8]) -> io::Result<()>,
) -> io::Result<()> {
    let per_chunk = CHUNK / number.size();
    let mut buffer = vec![0; number.size() * per_chunk.min(out.len())];
    for (i, part) in out.chunks_mut(per_chunk).enumerate() {
        let bytes = &mut buffer[..part.len() * number.size()];
        read(i * CHUNK, bytes)?;
        convert(bytes, number, part);
    }
    Ok(())
}

/// The little-endian numbers in `bytes`, as many as `out` has.
fn convert(bytes: &[u8], number: Number, out: &mut [f32]) {
    match number {
        Number::F16 => each(bytes, out, |b| f16::from_le_bytes(b).to_f32()),
        Number::Bf16 => each(bytes, out, |b| bf16::from_le_bytes(b).to_f32()),
        Number::F32 => each(bytes, out, f32::from_le_bytes),
        Number::F64 => each(bytes, out, |b| f64::from_le_bytes(b) as f32),
        Number::I8 => each(bytes, out, |b| i8::from_le_bytes(b) as f32),
        Number::I16 => each(bytes, out, |b| i16::from_le_bytes(b) as f32),
        Number::I32 => each(bytes, out, |b| i32::from_le_bytes(b) as f32),
        Number::I64 => each(bytes, out, |b| i64::from_le_bytes(b) as f32),
        Number::U8 => each(bytes, out, |b| u8::from_le_bytes(b) as f32),
        Number::U16 => each(bytes, out, |b| u16::from_le_bytes(b) as f32),
        Number::U32 => each(bytes, out, |b| u32::from_le_bytes(b) as f32),
        Number::U64 => each(bytes, out, |b| u64::from_le_bytes(b) as f32),
    }
}

fn each<const SIZE: usize>(bytes: &[u8], out: &mut [f32], convert: impl Fn([u8; SIZE]) -> f32) {
    out.iter_mut().zip(bytes.as_chunks::<SIZE>().0).for_each(|(x, &b)| *x = convert(b));
}

/// Writes the numbers as little-endian `f32`.
pub(crate) fn write_f32(out: &mut dyn Write, numbers: &[f32]) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(CHUNK);
    for chunk in numbers.chunks(CHUNK / size_of::<f32>()) {
        buffer.clear();
        buffer.extend(chunk.iter().flat_map(|x| x.to_le_bytes()));
        out.write_all(&buffer)?;
    }
    Ok(())
}

/// How many numbers a shape from a file holds; `None` if any product of its sizes, zeros left out, overflows (so
/// that strides can be computed too).
pub(crate) fn checked_elements(dims: &[usize]) -> Option<usize> {
    let product = dims.iter().try_fold(1_usize, |product, &d| product.checked_mul(d.max(1)))?;
    Some(if dims.contains(&0) { 0 } else { product })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], number: Number, order: ByteOrder) -> Vec<f32> {
        read_numbers(&mut &*bytes, bytes.len() / number.size(), number, order).unwrap()
    }

    #[test]
    fn every_type_in_both_byte_orders() {
        let cases: [(Number, &[u8], f32); 12] = [
            (Number::F16, &0x3e00_u16.to_le_bytes(), 1.5),
            (Number::Bf16, &0xc040_u16.to_le_bytes(), -3.0),
            (Number::F32, &0.1_f32.to_le_bytes(), 0.1),
            (Number::F64, &0.1_f64.to_le_bytes(), 0.1),
            (Number::I8, &[0xfe], -2.0),
            (Number::I16, &(-300_i16).to_le_bytes(), -300.0),
            (Number::I32, &(-70_000_i32).to_le_bytes(), -70_000.0),
            (Number::I64, &(1_i64 << 40).to_le_bytes(), 1_099_511_627_776.0),
            (Number::U8, &[200], 200.0),
            (Number::U16, &60_000_u16.to_le_bytes(), 60_000.0),
            (Number::U32, &4_000_000_000_u32.to_le_bytes(), 4_000_000_000.0),
            (Number::U64, &u64::MAX.to_le_bytes(), 18_446_744_073_709_551_615.0),
        ];
        for (number, little, value) in cases {
            assert_eq!(read(little, number, ByteOrder::Little), [value], "{number:?}");
            let big: Vec<u8> = little.iter().rev().copied().collect();
            assert_eq!(read(&big, number, ByteOrder::Big), [value], "{number:?}");
        }
    }

    #[test]
    fn more_than_one_chunk_and_an_early_end() {
        let numbers: Vec<f32> = (0..50_000).map(|i| i as f32).collect();
        let mut bytes = Vec::new();
        write_f32(&mut bytes, &numbers).unwrap();
        assert_eq!(read(&bytes, Number::F32, ByteOrder::Little), numbers);
        let promised = usize::MAX / 4;
        assert!(read_numbers(&mut &*bytes, promised, Number::F32, ByteOrder::Little).is_err());
    }

    #[test]
    fn element_counts_that_overflow_are_refused() {
        assert_eq!(checked_elements(&[]), Some(1));
        assert_eq!(checked_elements(&[2, 0, 3]), Some(0));
        assert_eq!(checked_elements(&[usize::MAX, 2]), None);
        assert_eq!(checked_elements(&[0, usize::MAX, 2]), None);
    }
}
