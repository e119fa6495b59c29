//! Safetensors: named arrays in one file, with a map of strings beside them.
//!
//! ```text
//! u64 N | N bytes of JSON: {"__metadata__": {..}, "NAME": {"dtype", "shape", "data_offsets"}, ..} | numbers
//! ```
//!
//! The header is parsed and checked by the `safetensors` crate (which refuses holes, overlaps and sizes that
//! overflow); numbers are then streamed, so memory is that of the tensors alone. Writing is done here, because the
//! crate's writer puts the metadata down in an order that changes from run to run, and the same model must give
//! the same file. Source: <https://huggingface.co/docs/safetensors>, "Format".

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

use ::safetensors::tensor::{Dtype, Metadata, TensorInfo};
use ocellus_tensor::{Tensor, Weights};
use serde_json::json;

use crate::numbers::{ByteOrder, Number, checked_elements, read_numbers, write_f32};
use crate::{FormatError, write_atomically};

/// The longest header that is read, in bytes (the format's own bound).
const MAX_HEADER: u64 = 100_000_000;

/// The key of the string map in the header, which no tensor may have.
const METADATA: &str = "__metadata__";

const DAMAGED: &str = "it is damaged or no safetensors file: fetch or save it again";

/// What a safetensors file holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SafeTensors {
    /// The arrays, as `f32` whatever they were.
    pub weights: Weights,
    /// The strings stored beside them.
    pub metadata: BTreeMap<String, String>,
}

/// Reads the file at `path`.
///
/// F32, F64, F16, BF16, BOOL and all integer types become the nearest `f32`; any other type is an error that names
/// the tensor.
pub fn read(path: impl AsRef<Path>) -> Result<SafeTensors, FormatError> {
    let path = path.as_ref();
    let name = path.display().to_string();
    let open = || File::open(path).map_err(|cause| FormatError::read(path, cause));
    let file = open()?;
    let len = file.metadata().map_err(|cause| FormatError::read(path, cause))?.len();
    let header = read_header(&mut BufReader::new(file), len, &name)?;
    let start = len - header.data_len() as u64;
    let read_share = |share: &[(String, &TensorInfo)]| {
        let Some((_, first)) = share.first() else { return Ok(Vec::new()) };
        let mut file = open()?;
        file.seek(SeekFrom::Start(start + first.data_offsets.0 as u64))
            .map_err(|cause| FormatError::read(path, cause))?;
        let mut source = BufReader::new(file);
        let tensors =
            share.iter().map(|(key, info)| Ok((key.clone(), read_tensor(&mut source, key, info, &name)?)));
        tensors.collect()
    };
    let tensors: Vec<_> = in_file_order(&header);
    let shares = shares(&tensors, header.data_len());
    let read: Vec<Result<Vec<_>, FormatError>> = std::thread::scope(|scope| {
        let others: Vec<_> = shares[1..].iter().map(|share| scope.spawn(|| read_share(share))).collect();
        let first = read_share(shares[0]);
        let others = others.into_iter().map(|other| {
            other
                .join()
                .unwrap_or_else(|_| Err(FormatError::malformed(name.as_str(), "it cannot be read", DAMAGED)))
        });
        std::iter::once(first).chain(others).collect()
    });
    let mut weights = Weights::new();
    for share in read {
        weights.extend(share?);
    }
    Ok(SafeTensors { weights, metadata: strings_of(&header) })
}

/// The tensors as they follow one another.
fn in_file_order(header: &Metadata) -> Vec<(String, &TensorInfo)> {
    let keys = header.offset_keys().into_iter();
    keys.filter_map(|key| header.info(&key).map(|info| (key, info))).collect()
}

/// Bytes that are worth a thread of their own.
const SHARE: usize = 16 << 20;

/// `tensors`, which take `bytes`, in runs of about equal size, one for each thread that may read: filling fresh memory
/// takes longer than the file's way out of the system's cache.
fn shares<'a, 'b>(
    tensors: &'a [(String, &'b TensorInfo)],
    bytes: usize,
) -> Vec<&'a [(String, &'b TensorInfo)]> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(bytes / SHARE).max(1);
    let ends = (1..threads).map(|i| {
        let limit = bytes / threads * i;
        tensors.partition_point(|(_, info)| info.data_offsets.1 <= limit)
    });
    let ends: Vec<usize> = ends.chain([tensors.len()]).collect();
    let starts = std::iter::once(0).chain(ends.iter().copied());
    starts.zip(&ends).map(|(start, &end)| &tensors[start..end]).collect()
}

/// Reads the strings of the file at `path` alone.
pub(crate) fn strings(path: &Path) -> Result<BTreeMap<String, String>, FormatError> {
    let file = File::open(path).map_err(|cause| FormatError::read(path, cause))?;
    let len = file.metadata().map_err(|cause| FormatError::read(path, cause))?.len();
    let header = read_header(&mut BufReader::new(file), len, &path.display().to_string())?;
    Ok(strings_of(&header))
}

/// Reads a file already in memory; `name` is what errors call it.
pub fn decode(bytes: &[u8], name: &str) -> Result<SafeTensors, FormatError> {
    decode_stream(&mut &*bytes, bytes.len() as u64, name)
}

/// Writes `weights` and `metadata` to `path`, replacing what is there in one step.
///
/// The same arguments always give the same bytes.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("w.safetensors");
/// use ocellus_formats::safetensors;
/// use ocellus_tensor::{Tensor, Weights};
/// let weights = Weights::from([("fc.bias".to_string(), Tensor::full([10], 0.5))]);
/// safetensors::write(&path, &weights, &Default::default())?;
/// assert_eq!(safetensors::read(&path)?.weights, weights);
/// # Ok::<(), ocellus_formats::FormatError>(())
/// ```
pub fn write(
    path: impl AsRef<Path>,
    weights: &Weights,
    metadata: &BTreeMap<String, String>,
) -> Result<(), FormatError> {
    write_atomically(path, |mut out| encode(&mut out, weights, metadata))
}

/// Writes `weights` and `metadata` to `out`.
///
/// An error if `out` fails, if a tensor is called `__metadata__`, or if names and metadata pass 100 MB.
pub fn encode(out: &mut dyn Write, weights: &Weights, metadata: &BTreeMap<String, String>) -> io::Result<()> {
    let tensors: Vec<(&str, &Tensor)> = weights.iter().map(|(name, t)| (name.as_str(), t)).collect();
    encode_tensors(out, &tensors, metadata)
}

/// Writes `tensors`, in this order and of different names, and `metadata` to `out`.
pub(crate) fn encode_tensors(
    out: &mut dyn Write,
    tensors: &[(&str, &Tensor)],
    metadata: &BTreeMap<String, String>,
) -> io::Result<()> {
    let header = encode_header(tensors, metadata)?;
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    tensors.iter().try_for_each(|(_, tensor)| write_f32(out, tensor.data()))
}

fn encode_header(tensors: &[(&str, &Tensor)], metadata: &BTreeMap<String, String>) -> io::Result<Vec<u8>> {
    let invalid = |message: &str| io::Error::new(io::ErrorKind::InvalidInput, message);
    let mut header = serde_json::Map::new();
    if !metadata.is_empty() {
        header.insert(METADATA.into(), json!(metadata));
    }
    let mut start = 0;
    for &(name, tensor) in tensors {
        if name == METADATA {
            return Err(invalid("a tensor is called __metadata__, which safetensors keeps for itself"));
        }
        let end = start + size_of_val(tensor.data());
        let entry = json!({"dtype": "F32", "shape": tensor.shape().dims(), "data_offsets": [start, end]});
        header.insert(name.into(), entry);
        start = end;
    }
    let mut text = serde_json::to_vec(&header)?;
    // Spaces up to a multiple of eight bytes, so that the numbers lie aligned.
    text.resize(text.len().next_multiple_of(8), b' ');
    if text.len() as u64 > MAX_HEADER {
        return Err(invalid("its names and metadata take more than 100 MB"));
    }
    Ok(text)
}

/// Reads `len` bytes of `source`.
fn decode_stream(source: &mut dyn Read, len: u64, file: &str) -> Result<SafeTensors, FormatError> {
    let header = read_header(source, len, file)?;
    let mut weights = Weights::new();
    for (name, info) in in_file_order(&header) {
        let tensor = read_tensor(source, &name, info, file)?;
        weights.insert(name, tensor);
    }
    Ok(SafeTensors { weights, metadata: strings_of(&header) })
}

fn strings_of(header: &Metadata) -> BTreeMap<String, String> {
    header.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// The header, checked to promise as many bytes as follow it.
fn read_header(source: &mut dyn Read, len: u64, file: &str) -> Result<Metadata, FormatError> {
    let malformed = |what: String| FormatError::malformed(file, what, DAMAGED);
    let after_length =
        len.checked_sub(8).ok_or_else(|| malformed(format!("{len} bytes are too few for a header")))?;
    let mut length = [0; 8];
    source.read_exact(&mut length).map_err(|cause| malformed(cause.to_string()))?;
    let length = u64::from_le_bytes(length);
    if length > after_length.min(MAX_HEADER) {
        return Err(malformed(format!("its header claims {length} bytes, the file has {len}")));
    }
    let mut text = vec![0; length as usize];
    source.read_exact(&mut text).map_err(|cause| malformed(cause.to_string()))?;
    let header: Metadata = serde_json::from_slice(&text)
        .map_err(|cause| malformed(format!("its header cannot be understood ({cause})")))?;
    let (promised, there) = (header.data_len() as u64, after_length - length);
    if promised != there {
        return Err(malformed(format!("its header promises {promised} bytes of numbers, {there} are there")));
    }
    Ok(header)
}

fn read_tensor(
    source: &mut dyn Read,
    name: &str,
    info: &TensorInfo,
    file: &str,
) -> Result<Tensor, FormatError> {
    let number = number_of(info.dtype).ok_or_else(|| {
        let what = format!("tensor {name} has numbers of type {}, which cannot be read", info.dtype);
        FormatError::malformed(file, what, "save it as F32")
    })?;
    let malformed = |what: String| FormatError::malformed(file, what, DAMAGED);
    let count = checked_elements(&info.shape)
        .ok_or_else(|| malformed(format!("tensor {name} has the impossible shape {:?}", info.shape)))?;
    let numbers = read_numbers(source, count, number, ByteOrder::Little)
        .map_err(|cause| malformed(format!("the numbers of tensor {name} cannot be read ({cause})")))?;
    Tensor::new(info.shape.clone(), numbers)
        .map_err(|cause| malformed(format!("tensor {name} is inconsistent ({cause})")))
}

fn number_of(dtype: Dtype) -> Option<Number> {
    Some(match dtype {
        Dtype::F16 => Number::F16,
        Dtype::BF16 => Number::Bf16,
        Dtype::F32 => Number::F32,
        Dtype::F64 => Number::F64,
        Dtype::I8 => Number::I8,
        Dtype::I16 => Number::I16,
        Dtype::I32 => Number::I32,
        Dtype::I64 => Number::I64,
        Dtype::U8 | Dtype::BOOL => Number::U8,
        Dtype::U16 => Number::U16,
        Dtype::U32 => Number::U32,
        Dtype::U64 => Number::U64,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::safetensors::tensor::TensorView;

    fn weights() -> Weights {
        let b = Tensor::new([2, 3], vec![1.0, -0.0, f32::INFINITY, 4e-42, 5.5, -6.25]).unwrap();
        Weights::from([
            ("b".into(), b),
            ("a".into(), Tensor::scalar(7.0)),
            ("c".into(), Tensor::zeros([0, 4])),
        ])
    }

    fn encoded() -> Vec<u8> {
        let metadata =
            BTreeMap::from([("who".into(), "me, \"quoted\"\n".into()), ("what".into(), "x".into())]);
        let mut bytes = Vec::new();
        encode(&mut bytes, &weights(), &metadata).unwrap();
        bytes
    }

    #[test]
    fn what_is_written_is_read_back_to_the_bit_and_the_crate_agrees() {
        let bytes = encoded();
        let back = decode(&bytes, "test").unwrap();
        assert_eq!(back.weights, weights());
        assert_eq!(back.metadata["who"], "me, \"quoted\"\n");
        let theirs = ::safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(theirs.tensor("b").unwrap().shape(), [2, 3]);
        assert_eq!(theirs.len(), 3);
        assert_eq!(encoded(), bytes);
    }

    #[test]
    fn half_precision_and_integers_become_f32() {
        let views = [
            ("h", TensorView::new(Dtype::F16, vec![1], &[0x00, 0x3e]).unwrap()),
            ("n", TensorView::new(Dtype::I64, vec![], &[0xff; 8]).unwrap()),
            ("t", TensorView::new(Dtype::BOOL, vec![2], &[1, 0]).unwrap()),
        ];
        let bytes = ::safetensors::serialize(views, None).unwrap();
        let read = decode(&bytes, "test").unwrap().weights;
        assert_eq!(read["h"].data(), [1.5]);
        assert_eq!(read["n"].data(), [-1.0]);
        assert_eq!(read["t"].data(), [1.0, 0.0]);
    }

    #[test]
    fn errors_name_the_file_and_the_fault() {
        let sentence = |bytes: &[u8]| decode(bytes, "w.safetensors").unwrap_err().to_string();
        let bytes = encoded();
        let cut = sentence(&bytes[..bytes.len() - 4]);
        assert!(
            cut.contains("w.safetensors") && cut.contains("promises 28") && cut.contains("24 are"),
            "{cut}"
        );
        assert!(sentence(b"PK").contains("2 bytes"));
        assert!(sentence(&[255; 64]).contains("claims"));
        let view = TensorView::new(Dtype::F8_E4M3, vec![1], &[0]).unwrap();
        let eight = ::safetensors::serialize([("small", view)], None).unwrap();
        assert!(sentence(&eight).contains("small") && sentence(&eight).contains("F8_E4M3"));
        let nowhere = read("/nowhere/w.safetensors").unwrap_err().to_string();
        assert!(
            nowhere.contains("/nowhere/w.safetensors") && nowhere.contains("check the path"),
            "{nowhere}"
        );
    }

    #[test]
    fn sizes_that_overflow_are_refused() {
        let huge = |shape: &str, end: u64| {
            let text = format!(r#"{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":[0,{end}]}}}}"#);
            let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
            bytes.extend(text.as_bytes());
            decode(&bytes, "w").unwrap_err()
        };
        huge("[4611686018427387904]", 0);
        huge("[4611686018427387904]", 18446744073709551612);
        huge("[0,9223372036854775807,9223372036854775807]", 0);
    }

    #[test]
    fn a_tensor_called_metadata_is_refused() {
        let weights = Weights::from([(METADATA.to_string(), Tensor::scalar(1.0))]);
        assert!(encode(&mut Vec::new(), &weights, &BTreeMap::new()).is_err());
    }
}
