//! Caffe's `Datum`: one labelled image in a database.
//!
//! Fields: `channels` 1, `height` 2, `width` 3, `data` 4 (bytes, plane by plane), `label` 5, `float_data` 6, `encoded` 7
//! (then `data` is a JPEG or PNG file).

use super::wire::{Payload, Wire};
use super::wire_out::{bytes, key, varint};
use crate::FormatError;
use crate::numbers::Number;

/// One labelled image.
#[derive(Clone, Debug, PartialEq)]
pub struct Datum {
    /// Channels, height and width; zeros for an encoded image.
    pub sizes: [usize; 3],
    /// Its class.
    pub label: i32,
    /// Its values, channel by channel, row by row.
    pub pixels: Pixels,
}

/// How an image lies in a [`Datum`].
#[derive(Clone, Debug, PartialEq)]
pub enum Pixels {
    /// A byte for each value; colours are blue, green, red.
    Bytes(Vec<u8>),
    /// A number for each value.
    Numbers(Vec<f32>),
    /// A whole JPEG or PNG file.
    File(Vec<u8>),
}

impl Datum {
    /// Reads a message; `name` is what errors call it.
    ///
    /// ```
    /// use ocellus_formats::caffe::{Datum, Pixels};
    /// let datum = Datum { sizes: [1, 1, 2], label: 7, pixels: Pixels::Bytes(vec![0, 255]) };
    /// assert_eq!(Datum::decode(&datum.encode(), "entry 0")?, datum);
    /// # Ok::<(), ocellus_formats::FormatError>(())
    /// ```
    pub fn decode(message: &[u8], name: &str) -> Result<Datum, FormatError> {
        let mut source = message;
        read(&mut Wire::new(&mut source), message.len() as u64).map_err(|what| {
            FormatError::malformed(name, what, "it is no Datum of Caffe: make the database again")
        })
    }

    /// The message.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let is_file = matches!(self.pixels, Pixels::File(_));
        for (number, size) in [1, 2, 3].into_iter().zip(self.sizes).filter(|_| !is_file) {
            key(&mut out, number, 0);
            varint(&mut out, size as u64);
        }
        match &self.pixels {
            Pixels::Bytes(data) | Pixels::File(data) => bytes(&mut out, 4, data),
            Pixels::Numbers(_) => {}
        }
        key(&mut out, 5, 0);
        varint(&mut out, i64::from(self.label) as u64);
        if let Pixels::Numbers(numbers) = &self.pixels {
            // Not packed: the field is older than packing.
            for x in numbers {
                key(&mut out, 6, 5);
                out.extend(x.to_le_bytes());
            }
        }
        if is_file {
            key(&mut out, 7, 0);
            varint(&mut out, 1);
        }
        out
    }
}

fn read(wire: &mut Wire, end: u64) -> Result<Datum, String> {
    let (mut sizes, mut label, mut is_file) = ([0_u64; 3], 0, false);
    let (mut data, mut numbers) = (Vec::new(), Vec::new());
    while let Some(tag) = wire.next(end)? {
        match (tag.number, tag.payload) {
            (number @ 1..=3, Payload::Varint(size)) => sizes[number as usize - 1] = size,
            (4, Payload::Bytes(stop)) => data = wire.bytes(stop)?,
            (5, Payload::Varint(value)) => label = value as i32,
            (6, Payload::Bytes(stop)) => wire.floats(stop, Number::F32, &mut numbers)?,
            (6, Payload::Fixed32(value)) => numbers.push(f32::from_le_bytes(value)),
            (7, Payload::Varint(value)) => is_file = value != 0,
            (_, Payload::Bytes(stop)) => wire.skip(stop)?,
            _ => {}
        }
    }
    if is_file {
        return Ok(Datum { sizes: [0; 3], label, pixels: Pixels::File(data) });
    }
    let pixels = if data.is_empty() { Pixels::Numbers(numbers) } else { Pixels::Bytes(data) };
    let there = match &pixels {
        Pixels::Bytes(data) => data.len(),
        Pixels::Numbers(numbers) => numbers.len(),
        Pixels::File(_) => 0,
    };
    let count = sizes.iter().try_fold(1_u64, |product, &size| product.checked_mul(size));
    match count == Some(there as u64) {
        true => Ok(Datum { sizes: sizes.map(|size| size as usize), label, pixels }),
        false => Err(format!("an image of sizes {sizes:?} holds {there} values")),
    }
}
