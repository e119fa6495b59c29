//! How much memory would a pickle take? Told by its opcodes, without making anything of them.
//!
//! An opcode of one byte becomes an object of a hundred, and compressed it is not even a byte of the file. So opcodes are
//! counted before a reader sees them. Their arguments are those of Python's `Lib/pickletools.py`.

use std::io::{self, BufRead, Read};

/// What one object on the reader's stack, or in its memo, may take, in bytes.
const OBJECT: u64 = 160;

/// The pickles of PyTorch's old stream: magic number, protocol, system, the checkpoint, the storages' keys.
const PICKLES: usize = 5;

/// What follows an opcode.
enum Argument {
    /// So many bytes.
    Bytes(u64),
    /// A length of so many bytes, then as many bytes as it says.
    Counted(usize),
    /// So many lines.
    Lines(usize),
    /// The pickle ends.
    End,
}

/// Whether the pickles at the beginning of `source` take no more than `limit` bytes.
///
/// Where the bytes stop being a pickle the count stops too, as any reader does.
pub(super) fn fit(source: &mut dyn BufRead, limit: u64) -> io::Result<bool> {
    let mut left = limit;
    for _ in 0..PICKLES {
        loop {
            let mut opcode = [0];
            if source.read(&mut opcode)? == 0 {
                return Ok(true);
            }
            let Some(argument) = argument(opcode[0]) else { return Ok(true) };
            let length = match argument {
                Argument::End => break,
                Argument::Bytes(length) => skip(source, length)?,
                Argument::Counted(size) => {
                    let mut number = [0; 8];
                    if source.read_exact(&mut number[..size]).is_err() {
                        return Ok(true);
                    }
                    skip(source, u64::from_le_bytes(number))?
                }
                Argument::Lines(count) => {
                    let mut length = 0;
                    for _ in 0..count {
                        length += source.skip_until(b'\n')? as u64;
                    }
                    length
                }
            };
            match left.checked_sub(OBJECT + length) {
                Some(rest) => left = rest,
                None => return Ok(false),
            }
        }
    }
    Ok(true)
}

/// Passes over up to `length` bytes; gives how many there were.
fn skip(source: &mut dyn BufRead, length: u64) -> io::Result<u64> {
    io::copy(&mut source.take(length), &mut io::sink())
}

fn argument(opcode: u8) -> Option<Argument> {
    Some(match opcode {
        b'.' => Argument::End,
        b'F' | b'I' | b'L' | b'P' | b'S' | b'V' | b'g' | b'p' => Argument::Lines(1),
        b'c' | b'i' => Argument::Lines(2),
        b'K' | b'h' | b'q' | 0x80 | 0x82 => Argument::Bytes(1),
        b'M' | 0x83 => Argument::Bytes(2),
        b'J' | b'j' | b'r' | 0x84 => Argument::Bytes(4),
        b'G' | 0x95 => Argument::Bytes(8),
        b'U' | b'C' | 0x8a | 0x8c => Argument::Counted(1),
        b'T' | b'X' | b'B' | 0x8b => Argument::Counted(4),
        0x8d | 0x8e | 0x96 => Argument::Counted(8),
        b'(' | b'0' | b'1' | b'2' | b'N' | b'Q' | b'R' | b'a' | b'b' | b'd' | b'}' | b'e' | b'l' | b']'
        | b'o' | b's' | b't' | b')' | b'u' => Argument::Bytes(0),
        0x81 | 0x85..=0x89 | 0x8f..=0x94 | 0x97 | 0x98 => Argument::Bytes(0),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opcodes_are_counted_and_their_arguments_passed_over() {
        // {"ab": 1.5}, then a second pickle, then something else.
        let mut bytes =
            b"\x80\x02}X\x02\x00\x00\x00abG\x3f\xf8\x00\x00\x00\x00\x00\x00s.]. no pickle".to_vec();
        assert!(fit(&mut &bytes[..], 6 * OBJECT + 100).unwrap());
        assert!(!fit(&mut &bytes[..], 4 * OBJECT).unwrap());
        // A length beyond the file is what is there.
        bytes.splice(4..8, [0xff; 4]);
        assert!(fit(&mut &bytes[..], 1000).unwrap());
        assert!(!fit(&mut &[b']'; 1000][..], 999 * OBJECT).unwrap());
        assert!(fit(&mut &b"cos\nsystem\nU\x01x\x85R."[..], 1000).unwrap());
    }
}
