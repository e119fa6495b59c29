//! TIFF images of colours from a table, which the decoder does not know: their indices are read as grey values and looked up.
//!
//! TIFF revision 6.0 (Aldus 1992), section 5: PhotometricInterpretation (tag 262) 3, and ColorMap (tag 320) with all reds, then
//! all greens, then all blues, in 16 bits.

const PHOTOMETRIC: u16 = 262;
const COLOR_MAP: u16 = 320;
const BITS: u16 = 258;
const SHORT: u16 = 3;
const BLACK_IS_ZERO: u16 = 1;
const PALETTE: u16 = 3;
const COLOURS: usize = 256;

/// A TIFF's colours, and the same file as one of grey values.
pub(crate) struct Indexed {
    /// The file, its indices called grey values.
    pub(crate) grey: Vec<u8>,
    colours: Vec<[u8; 3]>,
}

impl Indexed {
    /// Looks at the first page; `None` if it is not one of 256 colours from a table.
    pub(crate) fn find(bytes: &[u8]) -> Option<Self> {
        let little = match bytes.get(..4)? {
            b"II\x2a\0" => true,
            b"MM\0\x2a" => false,
            _ => return None,
        };
        let file = File { bytes, little };
        let start = file.long(4)? as usize;
        let mut entries = [None; 3];
        for index in 0..usize::from(file.short(start)?) {
            let entry = start.checked_add(2 + 12 * index)?;
            let tag = file.short(entry)?;
            if let Some(wanted) = [PHOTOMETRIC, BITS, COLOR_MAP].iter().position(|&one| one == tag) {
                entries[wanted] = Some(entry);
            }
        }
        let [photometric, bits, map] = entries;
        let (photometric, bits, map) = (photometric?, bits?, map?);
        let is_short = |entry: usize| file.short(entry + 2) == Some(SHORT);
        let counts = (file.long(bits + 4)?, file.long(map + 4)?);
        let fits =
            is_short(photometric) && is_short(bits) && is_short(map) && counts == (1, 3 * COLOURS as u32);
        if !fits || file.short(photometric + 8)? != PALETTE || file.short(bits + 8)? != 8 {
            return None;
        }
        let table = file.long(map + 8)? as usize;
        let value = |place: usize| file.short(table.checked_add(2 * place)?).map(|value| (value >> 8) as u8);
        let colour = |i: usize| Some([value(i)?, value(COLOURS + i)?, value(2 * COLOURS + i)?]);
        let colours: Vec<[u8; 3]> = (0..COLOURS).map(colour).collect::<Option<_>>()?;
        let mut grey = bytes.to_vec();
        let plain = if little { BLACK_IS_ZERO.to_le_bytes() } else { BLACK_IS_ZERO.to_be_bytes() };
        grey[photometric + 8..photometric + 10].copy_from_slice(&plain);
        Some(Self { grey, colours })
    }

    /// The colours of these indices: red, green, blue.
    pub(crate) fn look_up(&self, indices: &[u8]) -> Vec<u8> {
        indices.iter().flat_map(|&index| self.colours[usize::from(index)]).collect()
    }
}

struct File<'a> {
    bytes: &'a [u8],
    little: bool,
}

impl File<'_> {
    fn short(&self, at: usize) -> Option<u16> {
        let two = self.bytes.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(if self.little { u16::from_le_bytes(two) } else { u16::from_be_bytes(two) })
    }

    fn long(&self, at: usize) -> Option<u32> {
        let four = self.bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(if self.little { u32::from_le_bytes(four) } else { u32::from_be_bytes(four) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::decode;

    /// Two pixels, of the colours 7 and 200, in one strip.
    fn file(little: bool) -> Vec<u8> {
        let short = |v: u16| if little { v.to_le_bytes() } else { v.to_be_bytes() };
        let long = |v: u32| if little { v.to_le_bytes() } else { v.to_be_bytes() };
        let mut out = if little { b"II\x2a\0".to_vec() } else { b"MM\0\x2a".to_vec() };
        out.extend(long(8));
        let entries: [(u16, u16, u32, u32); 9] = [
            (256, 4, 1, 2),
            (257, 4, 1, 1),
            (BITS, SHORT, 1, 8),
            (259, SHORT, 1, 1),
            (PHOTOMETRIC, SHORT, 1, 3),
            (273, 4, 1, 122),
            (277, SHORT, 1, 1),
            (279, 4, 1, 2),
            (COLOR_MAP, SHORT, 768, 124),
        ];
        out.extend(short(entries.len() as u16));
        for (tag, kind, count, value) in entries {
            out.extend(short(tag));
            out.extend(short(kind));
            out.extend(long(count));
            if kind == SHORT && count == 1 {
                out.extend(short(value as u16));
                out.extend([0, 0]);
            } else {
                out.extend(long(value));
            }
        }
        out.extend([0; 4]);
        out.resize(122, 0);
        out.extend([7, 200]);
        for plane in 0..3_u16 {
            (0..256_u16).for_each(|i| out.extend(short((i ^ (plane * 17)) << 8)));
        }
        out
    }

    #[test]
    fn colours_are_looked_up() {
        for little in [true, false] {
            let image = decode(&file(little), "p.tif").unwrap();
            assert_eq!((image.width, image.height, image.channels), (2, 1, 3));
            assert_eq!(image.pixels, [7, 7 ^ 17, 7 ^ 34, 200, 200 ^ 17, 200 ^ 34]);
        }
    }

    #[test]
    fn a_file_cut_anywhere_is_refused_or_decoded_but_never_panics() {
        let whole = file(true);
        for length in 0..whole.len() {
            assert!(decode(&whole[..length], "cut.tif").is_err(), "cut at {length}");
        }
        for at in 0..whole.len() {
            let mut broken = whole.clone();
            broken[at] ^= 0xFF;
            let _ = decode(&broken, "broken.tif");
        }
    }
}
