//! NumPy's `.npy`: one array in one file.
//!
//! ```text
//! "\x93NUMPY" | version | header length | "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }" | numbers
//! ```
//!
//! Source: the NumPy Enhancement Proposal 1 and `numpy.lib.format`. The header is read by a small parser of its
//! own (`header.rs`): it is a Python literal, but only this one form occurs, and one form can be checked whole.

mod header;

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use ocellus_tensor::Tensor;

use crate::numbers::{checked_elements, read_numbers, write_f32};
use crate::{FormatError, write_atomically};
use header::Header;

const DAMAGED: &str = "it is damaged or no .npy file: save it again with numpy.save";

/// Reads the array at `path`.
///
/// Floats of 16, 32 and 64 bits, integers of 8 to 64 bits and booleans, of either byte order, become the nearest
/// `f32`; both memory orders (C and Fortran) become row-major.
pub fn read(path: impl AsRef<Path>) -> Result<Tensor, FormatError> {
    let path = path.as_ref();
    let file = File::open(path).map_err(|cause| FormatError::read(path, cause))?;
    let len = file.metadata().map_err(|cause| FormatError::read(path, cause))?.len();
    decode_stream(&mut BufReader::new(file), len, None, &path.display().to_string())
}

/// Reads a file already in memory; `name` is what errors call it.
pub fn decode(bytes: &[u8], name: &str) -> Result<Tensor, FormatError> {
    decode_stream(&mut &*bytes, bytes.len() as u64, None, name)
}

/// Writes `tensor` to `path` as 32-bit floats, replacing what is there in one step.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("x.npy");
/// use ocellus_formats::npy;
/// use ocellus_tensor::Tensor;
/// let x = Tensor::from_fn([1, 3, 4, 4], |i| i as f32);
/// npy::write(&path, &x)?;
/// assert_eq!(npy::read(&path)?, x);
/// # Ok::<(), ocellus_formats::FormatError>(())
/// ```
pub fn write(path: impl AsRef<Path>, tensor: &Tensor) -> Result<(), FormatError> {
    write_atomically(path, |mut out| encode(&mut out, tensor))
}

/// Writes `tensor` to `out` as 32-bit floats.
pub fn encode(out: &mut dyn Write, tensor: &Tensor) -> io::Result<()> {
    out.write_all(&header::encode(tensor.shape())?)?;
    write_f32(out, tensor.data())
}

/// Reads the `len` bytes of `source`, to the last; its numbers may take up to `limit` bytes, if there is one.
pub(crate) fn decode_stream(
    source: &mut dyn Read,
    len: u64,
    limit: Option<u64>,
    file: &str,
) -> Result<Tensor, FormatError> {
    let malformed = |what: String| FormatError::malformed(file, what, DAMAGED);
    let (header, used) = header::read(source, file)?;
    let Header { number, order, fortran, shape } = header;
    let count = checked_elements(&shape).filter(|count| count.checked_mul(number.size()).is_some());
    let count = count.ok_or_else(|| malformed(format!("it has the impossible shape {shape:?}")))?;
    let (promised, there) = ((count * number.size()) as u64, len.saturating_sub(used));
    if promised != there {
        let what = format!("its header promises {promised} bytes of numbers, {there} are there");
        return Err(malformed(what));
    }
    let taken = (count as u64).saturating_mul(size_of::<f32>() as u64);
    if limit.is_some_and(|limit| taken > limit) {
        let what = format!("it unpacks to {taken} bytes of numbers, more than a file of this size may");
        return Err(FormatError::malformed(file, what, "save it again without compression: numpy.savez"));
    }
    let numbers = read_numbers(source, count, number, order)
        .map_err(|cause| malformed(format!("its numbers cannot be read ({cause})")))?;
    let numbers = if fortran { row_major(&numbers, &shape) } else { numbers };
    Tensor::new(shape, numbers).map_err(|cause| malformed(cause.to_string()))
}

/// Numbers whose first axis lies contiguous, put so that the last one does.
fn row_major(columns: &[f32], shape: &[usize]) -> Vec<f32> {
    let mut out = vec![0.0; columns.len()];
    let strides = ocellus_tensor::Shape::from(shape).strides();
    let mut index = vec![0; shape.len()];
    let mut to = 0;
    for &x in columns {
        out[to] = x;
        // The next index, first axis fastest.
        for axis in 0..shape.len() {
            index[axis] += 1;
            to += strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            to -= index[axis] * strides[axis];
            index[axis] = 0;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A version 1 file with this header text.
    fn file(text: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((text.len() as u16).to_le_bytes());
        bytes.extend(text.as_bytes());
        bytes.extend(data);
        bytes
    }

    /// What `numpy.save` writes for `numpy.arange(3, dtype='f4')`, padding and all.
    fn arange() -> Vec<u8> {
        let text = format!("{:117}\n", "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }");
        let data: Vec<u8> = [0.0_f32, 1.0, 2.0].iter().flat_map(|x| x.to_le_bytes()).collect();
        file(&text, &data)
    }

    #[test]
    fn writes_the_very_bytes_numpy_writes() {
        let mut bytes = Vec::new();
        encode(&mut bytes, &Tensor::from_fn([3], |i| i as f32)).unwrap();
        assert_eq!(bytes, arange());
        assert_eq!(decode(&bytes, "x").unwrap().data(), [0.0, 1.0, 2.0]);
    }

    #[test]
    fn every_rank_round_trips() {
        for dims in [vec![], vec![0], vec![5], vec![2, 3], vec![2, 3, 4, 5], vec![1; 9]] {
            let tensor = Tensor::from_fn(dims, |i| i as f32 - 2.5);
            let mut bytes = Vec::new();
            encode(&mut bytes, &tensor).unwrap();
            assert_eq!(bytes.len() % 64, tensor.data().len() * 4 % 64);
            assert_eq!(decode(&bytes, "x").unwrap(), tensor);
        }
    }

    #[test]
    fn fortran_order_becomes_row_major() {
        let text = "{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3, 2), }\n";
        // Element (i, j, k) is 100 i + 10 j + k, stored with i fastest.
        let data: Vec<u8> = (0..12).map(|n| 100 * (n % 2) + 10 * (n / 2 % 3) + n / 6).collect();
        let expected = [0.0, 1.0, 10.0, 11.0, 20.0, 21.0, 100.0, 101.0, 110.0, 111.0, 120.0, 121.0];
        assert_eq!(decode(&file(text, &data), "x").unwrap().data(), expected);
    }

    #[test]
    fn big_endian_and_old_python_headers() {
        let text = "{'shape': (1L, 2L), \"fortran_order\":False,'descr':'>i4'}";
        let data = [0, 0, 1, 0, 255, 255, 255, 255];
        let tensor = decode(&file(text, &data), "x").unwrap();
        assert_eq!(tensor, Tensor::new([1, 2], vec![256.0, -1.0]).unwrap());
    }

    #[test]
    fn errors_name_the_file_and_the_fault() {
        let sentence = |bytes: &[u8]| decode(bytes, "x.npy").unwrap_err().to_string();
        let cut = sentence(&arange()[..arange().len() - 2]);
        assert!(
            cut.contains("x.npy") && cut.contains("promises 12") && cut.contains("10 are there"),
            "{cut}"
        );
        let longer = [arange(), vec![0]].concat();
        assert!(sentence(&longer).contains("13 are there"));
        assert!(sentence(b"\x89PNG\r\n\x1a\n and so on").contains("does not begin"));
        let faults = [
            ("{'descr': '|O', 'fortran_order': False, 'shape': (3,), }", "Python objects"),
            ("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3,), }", "structured"),
            ("{'descr': '<c8', 'fortran_order': False, 'shape': (3,), }", "c8"),
            ("{'descr': '<f4', 'fortran_order': False}", "shape"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (-3,), }", "-"),
            ("{'descr': '<f4', 'fortran_order': 1, 'shape': (3,), }", "True or False"),
            (
                "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296, 2), }",
                "impossible",
            ),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }", "99999"),
        ];
        for (text, expected) in faults {
            let said = sentence(&file(text, &[]));
            assert!(said.contains(expected), "{text}: {said}");
        }
    }
}
