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
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use ::safetensors::tensor::{Dtype, Metadata, TensorInfo};
use ocellus_tensor::{Parameters, Shape, Tensor, Weights};
use serde_json::json;

use crate::numbers::{ByteOrder, Number, checked_elements, fill, read_numbers, write_f32};
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

/// Tensors that stay in their file until they are needed.
///
/// The file stays open, so that what is read belongs together even if another takes its place.
#[derive(Debug)]
pub struct Stored {
    file: File,
    /// What errors call the file.
    name: String,
    tensors: BTreeMap<String, Place>,
    /// The strings stored beside them.
    pub metadata: BTreeMap<String, String>,
}

/// Where a tensor lies in its file.
#[derive(Debug)]
struct Place {
    shape: Shape,
    number: Number,
    start: u64,
}

impl Stored {
    /// Opens the file at `path` and reads what its header says; [`read`] tells the types of numbers.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, FormatError> {
        let path = path.as_ref();
        let name = path.display().to_string();
        let mut file = File::open(path).map_err(|cause| FormatError::read(path, cause))?;
        let len = file.metadata().map_err(|cause| FormatError::read(path, cause))?.len();
        let header = read_header(&mut BufReader::new(&mut file), len, &name)?;
        let numbers = len - header.data_len() as u64;
        let place = |(key, info): (String, &TensorInfo)| {
            let (number, _) = numbers_of(&key, info, &name)?;
            let start = numbers + info.data_offsets.0 as u64;
            Ok((key, Place { shape: info.shape.clone().into(), number, start }))
        };
        let tensors = in_file_order(&header).into_iter().map(place).collect::<Result<_, FormatError>>()?;
        Ok(Stored { file, name, tensors, metadata: strings_of(&header) })
    }

    /// All tensors, read by several threads.
    pub fn weights(&self) -> Result<Weights, FormatError> {
        let mut order: Vec<(&String, &Place)> = self.tensors.iter().collect();
        order.sort_by_key(|(_, place)| place.start);
        let read_share = |share: &[(&String, &Place)]| -> Result<Vec<(String, Tensor)>, FormatError> {
            share.iter().map(|&(key, place)| Ok((key.clone(), self.tensor(key, place)?))).collect()
        };
        let shares = shares(&order);
        let read: Vec<Result<Vec<_>, FormatError>> = std::thread::scope(|scope| {
            let others: Vec<_> = shares[1..].iter().map(|share| scope.spawn(|| read_share(share))).collect();
            let first = read_share(shares[0]);
            let cut_off = || FormatError::malformed(self.name.as_str(), "it cannot be read", DAMAGED);
            let others = others.into_iter().map(|other| other.join().unwrap_or_else(|_| Err(cut_off())));
            std::iter::once(first).chain(others).collect()
        });
        let mut weights = Weights::new();
        for share in read {
            weights.extend(share?);
        }
        Ok(weights)
    }

    fn tensor(&self, key: &str, place: &Place) -> Result<Tensor, FormatError> {
        let mut numbers = vec![0.0; place.shape.elements()];
        self.read(key, 0, &mut numbers)
            .and_then(|()| Tensor::new(place.shape.clone(), numbers).map_err(|cause| cause.to_string()))
            .map_err(|cause| FormatError::malformed(&self.name, format!("tensor {key}: {cause}"), DAMAGED))
    }
}

impl Parameters for Stored {
    fn names(&self) -> Vec<&str> {
        self.tensors.keys().map(String::as_str).collect()
    }

    fn shape(&self, name: &str) -> Option<&Shape> {
        self.tensors.get(name).map(|place| &place.shape)
    }

    fn read(&self, name: &str, start: usize, out: &mut [f32]) -> Result<(), String> {
        let lies_inside =
            |place: &&Place| start.checked_add(out.len()).is_some_and(|end| end <= place.shape.elements());
        let place = self.tensors.get(name).filter(lies_inside);
        let Some(Place { number, start: first, .. }) = place else {
            return Err(format!("{} has no {} numbers of it from number {start} on", self.name, out.len()));
        };
        let first = first + (start * number.size()) as u64;
        fill(out, *number, |at, bytes| read_at(&self.file, first + at as u64, bytes))
            .map_err(|cause| format!("the numbers in {} cannot be read ({cause})", self.name))
    }
}

/// Fills `bytes` from one place of the file on, whoever else reads it.
#[cfg(unix)]
fn read_at(file: &File, place: u64, bytes: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, place)
}

/// Fills `bytes` from one place of the file on, whoever else reads it.
#[cfg(windows)]
fn read_at(file: &File, mut place: u64, mut bytes: &mut [u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, bytes, place)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => (place, bytes) = (place + read as u64, &mut bytes[read..]),
        }
    }
    Ok(())
}

/// Reads the file at `path`.
///
/// F32, F64, F16, BF16, BOOL and all integer types become the nearest `f32`; any other type is an error that names
/// the tensor.
pub fn read(path: impl AsRef<Path>) -> Result<SafeTensors, FormatError> {
    let stored = Stored::open(path)?;
    Ok(SafeTensors { weights: stored.weights()?, metadata: stored.metadata })
}

/// The tensors as they follow one another.
fn in_file_order(header: &Metadata) -> Vec<(String, &TensorInfo)> {
    let keys = header.offset_keys().into_iter();
    keys.filter_map(|key| header.info(&key).map(|info| (key, info))).collect()
}

/// Bytes that are worth a thread of their own.
const SHARE: u64 = 16 << 20;

/// `tensors`, in the file's order, in runs of about equal size, one for each thread that may read: filling fresh memory
/// takes longer than the file's way out of the system's cache.
fn shares<'a, 'b>(tensors: &'a [(&'b String, &'b Place)]) -> Vec<&'a [(&'b String, &'b Place)]> {
    let size = |place: &Place| (place.shape.elements() * place.number.size()) as u64;
    let (Some((_, first)), Some((_, last))) = (tensors.first(), tensors.last()) else { return vec![tensors] };
    let bytes = last.start + size(last) - first.start;
    let threads =
        std::thread::available_parallelism().map_or(1, |n| n.get() as u64).min(bytes / SHARE).max(1);
    let cut = |i: u64| tensors.partition_point(|(_, place)| place.start < first.start + bytes / threads * i);
    let cuts: Vec<usize> = (1..threads).map(cut).chain([tensors.len()]).collect();
    let starts = std::iter::once(0).chain(cuts.iter().copied());
    starts.zip(&cuts).map(|(start, &end)| &tensors[start..end]).collect()
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
    let (number, count) = numbers_of(name, info, file)?;
    let malformed = |what: String| FormatError::malformed(file, what, DAMAGED);
    let numbers = read_numbers(source, count, number, ByteOrder::Little)
        .map_err(|cause| malformed(format!("the numbers of tensor {name} cannot be read ({cause})")))?;
    Tensor::new(info.shape.clone(), numbers)
        .map_err(|cause| malformed(format!("tensor {name} is inconsistent ({cause})")))
}

/// Of which type a tensor's numbers are, and how many there are.
fn numbers_of(name: &str, info: &TensorInfo, file: &str) -> Result<(Number, usize), FormatError> {
    let number = number_of(info.dtype).ok_or_else(|| {
        let what = format!("tensor {name} has numbers of type {}, which cannot be read", info.dtype);
        FormatError::malformed(file, what, "save it as F32")
    })?;
    let count = checked_elements(&info.shape).ok_or_else(|| {
        let what = format!("tensor {name} has the impossible shape {:?}", info.shape);
        FormatError::malformed(file, what, DAMAGED)
    })?;
    Ok((number, count))
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
    fn what_stays_in_the_file_is_the_same_and_a_file_cut_short_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.safetensors");
        let half = TensorView::new(Dtype::F16, vec![3], &[0x00, 0x3c, 0x00, 0x3e, 0x00, 0x40]).unwrap();
        let mut bytes = Vec::new();
        encode(&mut bytes, &weights(), &BTreeMap::new()).unwrap();
        std::fs::write(&path, &bytes).unwrap();
        let stored = Stored::open(&path).unwrap();
        assert_eq!((stored.names(), stored.weights().unwrap()), (vec!["a", "b", "c"], weights()));
        let mut part = [0.0; 2];
        stored.read("b", 3, &mut part).unwrap();
        assert_eq!(part, weights()["b"].data()[3..5]);
        assert!(stored.read("b", 5, &mut part).unwrap_err().contains("w.safetensors has no 2 numbers"));
        assert!(stored.read("z", 0, &mut part).is_err());

        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(bytes.len() as u64 - 8).unwrap();
        assert!(stored.read("b", 4, &mut part).unwrap_err().contains("w.safetensors cannot be read"));
        let sentence = stored.weights().unwrap_err().to_string();
        assert!(sentence.contains("tensor b") && sentence.contains("w.safetensors"), "{sentence}");

        std::fs::write(&path, ::safetensors::serialize([("h", half)], None).unwrap()).unwrap();
        let stored = Stored::open(&path).unwrap();
        stored.read("h", 1, &mut part).unwrap();
        assert_eq!(part, [1.5, 2.0]);
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
