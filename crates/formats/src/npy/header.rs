//! What does a `.npy` header say?
//!
//! ```text
//! header := '{' (key ':' value) separated by ',' '}'     key := 'descr' | 'fortran_order' | 'shape', quoted
//! value  := quoted string | True | False | '(' integers separated by ',' ')'
//! ```

use std::io::{self, Read};

use ocellus_tensor::Shape;

use super::DAMAGED;
use crate::FormatError;
use crate::numbers::{ByteOrder, Number};

/// The longest header text that is read, in bytes. NumPy itself refuses more than 10,000.
const MAX_TEXT: usize = 1 << 16;

/// The most axes an array may have, as in NumPy.
const MAX_AXES: usize = 64;

/// Type, order and shape of the numbers that follow.
#[derive(Debug, PartialEq)]
pub(super) struct Header {
    pub(super) number: Number,
    pub(super) order: ByteOrder,
    pub(super) fortran: bool,
    pub(super) shape: Vec<usize>,
}

/// Reads the header from the beginning of `source`; also how many bytes it took.
pub(super) fn read(source: &mut dyn Read, file: &str) -> Result<(Header, u64), FormatError> {
    let malformed = |what: String| FormatError::malformed(file, what, DAMAGED);
    let short = |_: io::Error| malformed("it ends within its header".into());
    let mut start = [0; 8];
    source.read_exact(&mut start).map_err(short)?;
    if start[..6] != *b"\x93NUMPY" {
        return Err(malformed("it does not begin as .npy files do".into()));
    }
    let length_bytes = match start[6] {
        1 => 2,
        2 | 3 => 4,
        version => return Err(malformed(format!("it is of version {version}, 1 to 3 can be read"))),
    };
    let mut length = [0; 4];
    source.read_exact(&mut length[..length_bytes]).map_err(short)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_TEXT {
        return Err(malformed(format!("its header claims {length} bytes, {MAX_TEXT} is the most")));
    }
    let mut text = vec![0; length];
    source.read_exact(&mut text).map_err(short)?;
    let header = parse(&text).map_err(malformed)?;
    Ok((header, (8 + length_bytes + length) as u64))
}

/// The bytes before the numbers of an `f32` array: version 1, padded to a multiple of 64 as NumPy does.
pub(super) fn encode(shape: &Shape) -> io::Result<Vec<u8>> {
    let dims: Vec<String> = shape.iter().map(usize::to_string).collect();
    let comma = if dims.len() == 1 { "," } else { "" };
    let shape = format!("({}{comma})", dims.join(", "));
    let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
    const BEFORE: usize = 10;
    let total = (BEFORE + text.len() + 1).next_multiple_of(64);
    let length = u16::try_from(total - BEFORE)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "the array has too many axes for .npy"))?;
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(length.to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes.resize(total - 1, b' ');
    bytes.push(b'\n');
    Ok(bytes)
}

/// Reads the header's text.
fn parse(text: &[u8]) -> Result<Header, String> {
    let mut cursor = Cursor { rest: text };
    let (mut descr, mut fortran, mut shape) = (None, None, None);
    cursor.expect(b'{')?;
    while !cursor.take(b'}') {
        let key = cursor.quoted()?;
        cursor.expect(b':')?;
        match key.as_str() {
            "descr" => descr = Some(number(&cursor.descr()?)?),
            "fortran_order" => fortran = Some(cursor.boolean()?),
            "shape" => shape = Some(cursor.integers()?),
            other => return Err(format!("its header has the unknown key '{other}'")),
        }
        if !cursor.take(b',') {
            cursor.expect(b'}')?;
            break;
        }
    }
    let missing = |key: &str| format!("its header says nothing about '{key}'");
    let (number, order) = descr.ok_or_else(|| missing("descr"))?;
    let fortran = fortran.ok_or_else(|| missing("fortran_order"))?;
    let shape = shape.ok_or_else(|| missing("shape"))?;
    Ok(Header { number, order, fortran, shape })
}

/// The type that a description such as `<f4` names.
fn number(descr: &str) -> Result<(Number, ByteOrder), String> {
    let (order, kind) = match descr.split_at_checked(1) {
        Some(("<" | "|" | "=", kind)) => (ByteOrder::Little, kind),
        Some((">", kind)) => (ByteOrder::Big, kind),
        _ => (ByteOrder::Little, descr),
    };
    let number = match kind {
        "f2" => Number::F16,
        "f4" => Number::F32,
        "f8" => Number::F64,
        "i1" => Number::I8,
        "i2" => Number::I16,
        "i4" => Number::I32,
        "i8" => Number::I64,
        "u1" | "b1" => Number::U8,
        "u2" => Number::U16,
        "u4" => Number::U32,
        "u8" => Number::U64,
        "O" => return Err("it holds Python objects, which are never read".into()),
        _ => {
            return Err(format!(
                "it holds numbers of type '{descr}', only floats, integers and bool are read"
            ));
        }
    };
    Ok((number, order))
}

/// What is left to read of the header's text.
struct Cursor<'a> {
    rest: &'a [u8],
}

impl Cursor<'_> {
    /// The next byte after any blanks, not yet taken.
    fn peek(&mut self) -> Option<u8> {
        self.rest = self.rest.trim_ascii_start();
        self.rest.first().copied()
    }

    /// Takes `byte` if it comes next.
    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        if found {
            self.rest = &self.rest[1..];
        }
        found
    }

    fn expect(&mut self, byte: u8) -> Result<(), String> {
        if self.take(byte) {
            return Ok(());
        }
        let found = String::from_utf8_lossy(&self.rest[..self.rest.len().min(20)]).into_owned();
        Err(format!("its header has {found:?} where '{}' should be", byte as char))
    }

    /// Takes the first `count` bytes.
    fn split(&mut self, count: usize) -> String {
        let (taken, rest) = self.rest.split_at(count);
        self.rest = rest;
        String::from_utf8_lossy(taken).into_owned()
    }

    fn quoted(&mut self) -> Result<String, String> {
        let quote = if self.take(b'"') { b'"' } else { b'\'' };
        if quote == b'\'' {
            self.expect(b'\'')?;
        }
        let end = self.rest.iter().position(|&b| b == quote);
        let text = self.split(end.ok_or("a quotation in its header does not end")?);
        self.rest = &self.rest[1..];
        Ok(text)
    }

    fn descr(&mut self) -> Result<String, String> {
        if self.peek() == Some(b'[') {
            return Err("it is a structured array of several fields, only plain numbers are read".into());
        }
        self.quoted()
    }

    fn boolean(&mut self) -> Result<bool, String> {
        self.peek();
        for (word, value) in [("True", true), ("False", false)] {
            if let Some(rest) = self.rest.strip_prefix(word.as_bytes()) {
                self.rest = rest;
                return Ok(value);
            }
        }
        Err("its header's 'fortran_order' is neither True nor False: it must be True or False".into())
    }

    fn integers(&mut self) -> Result<Vec<usize>, String> {
        self.expect(b'(')?;
        let mut sizes = Vec::new();
        while !self.take(b')') {
            if sizes.len() == MAX_AXES {
                return Err(format!("it has more than {MAX_AXES} axes"));
            }
            sizes.push(self.integer()?);
            if !self.take(b',') {
                self.expect(b')')?;
                break;
            }
        }
        Ok(sizes)
    }

    fn integer(&mut self) -> Result<usize, String> {
        self.peek();
        let end = self.rest.iter().position(|b| matches!(b, b',' | b')')).unwrap_or(self.rest.len());
        let text = self.split(end);
        // Python 2 wrote large sizes with an L.
        let digits = text.trim().trim_end_matches('L');
        digits.parse().map_err(|_| format!("its header has a size of '{digits}'"))
    }
}
