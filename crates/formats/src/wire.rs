//! Protocol Buffers' binary form, read field by field from a stream.
//!
//! Source: "Encoding" on protobuf.dev. Nothing is kept but what the caller asks for, so memory stays with the numbers
//! that are wanted, whatever a file of many empty messages might claim; every length is checked against the message
//! around it before use.

use std::io::Read;

use crate::numbers::{ByteOrder, Number, read_numbers};

/// Numbers read at a time.
const PIECE: usize = 1 << 18;

/// A position in a binary file.
pub(crate) struct Wire<'s> {
    source: &'s mut dyn Read,
    position: u64,
}

/// A field's number and what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    pub number: u64,
    pub payload: Payload,
}

/// What a field holds; of `Bytes`, what has still to be read or skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Payload {
    Varint(u64),
    Fixed32([u8; 4]),
    Fixed64([u8; 8]),
    /// Where the bytes that follow end.
    Bytes(u64),
}

type Result<T> = std::result::Result<T, String>;

impl<'s> Wire<'s> {
    pub(crate) fn new(source: &'s mut dyn Read) -> Self {
        Wire { source, position: 0 }
    }

    /// The next field of a message that ends at `end`; `None` at its end.
    pub(crate) fn next(&mut self, end: u64) -> Result<Option<Tag>> {
        if self.position >= end {
            return Ok(None);
        }
        let key = self.varint(end)?;
        let payload = match key & 7 {
            0 => Payload::Varint(self.varint(end)?),
            1 => Payload::Fixed64(self.fixed(end)?),
            2 => {
                let length = self.varint(end)?;
                let stop = self.position.checked_add(length).filter(|&stop| stop <= end);
                Payload::Bytes(stop.ok_or_else(|| {
                    format!(
                        "at byte {} a field claims {length} bytes, {} are there",
                        self.position,
                        end - self.position
                    )
                })?)
            }
            5 => Payload::Fixed32(self.fixed(end)?),
            kind => return Err(format!("at byte {} a field is of the unknown kind {kind}", self.position)),
        };
        Ok(Some(Tag { number: key >> 3, payload }))
    }

    /// Passes over what is left up to `end`.
    pub(crate) fn skip(&mut self, end: u64) -> Result<()> {
        let mut scratch = [0; 4096];
        while self.position < end {
            let now = (end - self.position).min(scratch.len() as u64) as usize;
            self.fill(&mut scratch[..now])?;
        }
        Ok(())
    }

    /// A string of at most `most` bytes that ends at `end`.
    pub(crate) fn text(&mut self, end: u64, most: u64) -> Result<String> {
        let length = end.saturating_sub(self.position);
        if length > most {
            return Err(format!("at byte {} a name of {length} bytes is too long", self.position));
        }
        let mut bytes = vec![0; length as usize];
        self.fill(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// All bytes up to `end`; memory grows with what really comes.
    pub(crate) fn bytes(&mut self, end: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while self.position < end {
            let now = (end - self.position).min(PIECE as u64) as usize;
            let start = bytes.len();
            bytes.resize(start + now, 0);
            self.fill(&mut bytes[start..])?;
        }
        Ok(bytes)
    }

    /// Packed little-endian numbers up to `end`, appended to `out`.
    pub(crate) fn floats(&mut self, end: u64, number: Number, out: &mut Vec<f32>) -> Result<()> {
        let (length, size) = (end.saturating_sub(self.position), number.size() as u64);
        if length % size != 0 {
            return Err(format!(
                "at byte {} {length} bytes are no whole numbers of {size} bytes",
                self.position
            ));
        }
        let count =
            usize::try_from(length / size).map_err(|_| "more numbers than memory holds".to_string())?;
        // The length was checked against the file's, so this is memory that the numbers will fill.
        out.try_reserve_exact(count).map_err(|_| format!("{count} numbers do not fit memory"))?;
        let mut left = count;
        while left > 0 {
            let now = left.min(PIECE);
            let piece = read_numbers(&mut self.source, now, number, ByteOrder::Little)
                .map_err(|cause| format!("at byte {} its numbers cannot be read ({cause})", self.position))?;
            out.extend(piece);
            self.position += now as u64 * size;
            left -= now;
        }
        Ok(())
    }

    /// Packed varints up to `end`, at most `most` of them.
    pub(crate) fn varints(&mut self, end: u64, most: usize, out: &mut Vec<u64>) -> Result<()> {
        let position = self.position;
        self.each_varint(end, |number| {
            if out.len() >= most {
                return Err(format!("after byte {position} a list has more than {most} entries"));
            }
            out.push(number);
            Ok(())
        })
    }

    /// Hands each of the packed varints up to `end` to `take`.
    pub(crate) fn each_varint(&mut self, end: u64, mut take: impl FnMut(u64) -> Result<()>) -> Result<()> {
        while self.position < end {
            let number = self.varint(end)?;
            take(number)?;
        }
        Ok(())
    }

    /// Bytes from here to `end`.
    pub(crate) fn left(&self, end: u64) -> u64 {
        end.saturating_sub(self.position)
    }

    fn varint(&mut self, end: u64) -> Result<u64> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            if self.position >= end {
                return Err(format!("a number at byte {} does not end", self.position));
            }
            let mut byte = [0];
            self.fill(&mut byte)?;
            value |= u64::from(byte[0] & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte[0] < 0x80 {
                return Ok(value);
            }
        }
        Err(format!("a number before byte {} has more than ten bytes", self.position))
    }

    fn fixed<const SIZE: usize>(&mut self, end: u64) -> Result<[u8; SIZE]> {
        if end - self.position < SIZE as u64 {
            return Err(format!("a number at byte {} does not end", self.position));
        }
        let mut bytes = [0; SIZE];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<()> {
        self.source
            .read_exact(bytes)
            .map_err(|cause| format!("after byte {} it cannot be read ({cause})", self.position))?;
        self.position += bytes.len() as u64;
        Ok(())
    }
}
