//! NumPy's `.npz`: named arrays, each a `.npy`, in one zip archive.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::Path;

use ocellus_tensor::{Tensor, Weights};
use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter};

use crate::atomic::Sink;
use crate::{FormatError, npy, write_atomically};

/// Bytes that deflated members may take beyond the file's own size: a small file can claim any.
const BEYOND: u64 = 64 << 20;

const DAMAGED: &str = "it is damaged or no .npz file: save it again with numpy.savez";

/// Reads all arrays of the archive at `path`, by name.
///
/// Members may be stored or deflated (`numpy.savez`, `numpy.savez_compressed`); what [`npy::read`] reads is read.
/// A member that is no `.npy` is an error, and so is an archive whose deflated members would take more memory than the
/// file's size and 64 MiB.
pub fn read(path: impl AsRef<Path>) -> Result<Weights, FormatError> {
    let path = path.as_ref();
    let file = File::open(path).map_err(|cause| FormatError::read(path, cause))?;
    decode_stream(BufReader::new(file), &path.display().to_string())
}

/// Reads an archive already in memory; `name` is what errors call it.
pub fn decode(bytes: &[u8], name: &str) -> Result<Weights, FormatError> {
    decode_stream(io::Cursor::new(bytes), name)
}

/// Writes `arrays` to `path`, each as 32-bit floats, replacing what is there in one step.
///
/// Members are stored as they are, like `numpy.savez` does, and carry no time: the same arrays give the same bytes.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("g.npz");
/// use ocellus_formats::npz;
/// use ocellus_tensor::{Tensor, Weights};
/// let gradients = Weights::from([("conv1.weight".to_string(), Tensor::zeros([2, 1, 3, 3]))]);
/// npz::write(&path, &gradients)?;
/// assert_eq!(npz::read(&path)?, gradients);
/// # Ok::<(), ocellus_formats::FormatError>(())
/// ```
pub fn write(path: impl AsRef<Path>, arrays: &Weights) -> Result<(), FormatError> {
    write_atomically(path, |out| encode(out, arrays))
}

/// Writes `arrays` to `out`.
pub fn encode(out: &mut dyn Sink, arrays: &Weights) -> io::Result<()> {
    let mut archive = ZipWriter::new(out);
    let written = arrays.iter().try_for_each(|(name, tensor)| add_member(&mut archive, name, tensor));
    if written.is_err() {
        // Its destructor would try to finish the archive, fail again and print that on standard error.
        std::mem::forget(archive);
        return written;
    }
    archive.finish()?;
    Ok(())
}

fn add_member(archive: &mut ZipWriter<&mut dyn Sink>, name: &str, tensor: &Tensor) -> io::Result<()> {
    // A member near 4 GiB needs the long form of its size fields.
    let large = size_of_val(tensor.data()) >= (1 << 32) - (1 << 16);
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(DateTime::default())
        .large_file(large);
    archive.start_file(format!("{name}.npy"), options)?;
    npy::encode(archive, tensor)
}

fn decode_stream(mut source: impl Read + Seek, file: &str) -> Result<Weights, FormatError> {
    let malformed = |what: String| FormatError::malformed(file, what, DAMAGED);
    let length = source.seek(io::SeekFrom::End(0)).and_then(|length| source.rewind().map(|()| length));
    let length = length.map_err(|cause| malformed(format!("it cannot be read ({cause})")))?;
    let unreadable = |cause: ZipError| malformed(format!("it cannot be unpacked ({cause})"));
    let mut archive = ZipArchive::new(source).map_err(unreadable)?;
    let mut arrays = Weights::new();
    let mut left = length.saturating_add(BEYOND);
    for index in 0..archive.len() {
        let mut member = archive.by_index(index).map_err(unreadable)?;
        let size = member.size();
        let name = member.name().map_err(unreadable)?.into_owned();
        let name = name
            .strip_suffix(".npy")
            .ok_or_else(|| malformed(format!("its member {name} is no .npy array")))?;
        let label = format!("{file}, array {name}");
        let is_packed = member.compression() != CompressionMethod::Stored;
        let tensor = npy::decode_stream(&mut member, size, is_packed.then_some(left), &label)?;
        if is_packed {
            left = left.saturating_sub(size_of_val(tensor.data()) as u64);
        }
        check_end(&mut member)
            .map_err(|cause| malformed(format!("its array {name} is damaged ({cause})")))?;
        if arrays.insert(name.to_string(), tensor).is_some() {
            return Err(malformed(format!("it has two arrays called {name}")));
        }
    }
    Ok(arrays)
}

/// Reading past the last byte is what makes the archive compare its checksum.
fn check_end(member: &mut dyn Read) -> io::Result<()> {
    match member.read(&mut [0])? {
        0 => Ok(()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "it is longer than the archive says")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn arrays() -> Weights {
        let image = Tensor::from_fn([2, 3, 4], |i| i as f32);
        Weights::from([("layer1.0.conv1.weight".into(), image), ("loss".into(), Tensor::scalar(0.25))])
    }

    fn encoded() -> Vec<u8> {
        let mut out = io::Cursor::new(Vec::new());
        encode(&mut out, &arrays()).unwrap();
        out.into_inner()
    }

    fn deflated(name: &str, contents: &[u8]) -> Vec<u8> {
        let mut out = ZipWriter::new(io::Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
        out.start_file(name, options).unwrap();
        out.write_all(contents).unwrap();
        out.finish().unwrap().into_inner()
    }

    #[test]
    fn round_trips_and_gives_the_same_bytes_again() {
        assert_eq!(decode(&encoded(), "g.npz").unwrap(), arrays());
        assert_eq!(encoded(), encoded());
    }

    #[test]
    fn compressed_members_are_read() {
        let mut array = Vec::new();
        npy::encode(&mut array, &Tensor::zeros([1000])).unwrap();
        let archive = deflated("zeros.npy", &array);
        assert!(archive.len() < 500);
        assert_eq!(decode(&archive, "z.npz").unwrap()["zeros"], Tensor::zeros([1000]));
    }

    #[test]
    fn a_small_archive_does_not_become_large() {
        // 20 million bytes that become as many numbers of four bytes.
        let text = format!("{:117}\n", "{'descr': '|u1', 'fortran_order': False, 'shape': (20000000,), }");
        let mut array = b"\x93NUMPY\x01\x00v\x00".to_vec();
        array.extend(text.as_bytes());
        array.resize(array.len() + 20_000_000, 0);
        let archive = deflated("bomb.npy", &array);
        assert!(archive.len() < 100_000);
        let sentence = decode(&archive, "b.npz").unwrap_err().to_string();
        assert!(sentence.contains("bomb") && sentence.contains("80000000 bytes"), "{sentence}");
    }

    #[test]
    fn errors_name_the_file_the_array_and_the_fault() {
        let sentence = |bytes: &[u8]| decode(bytes, "g.npz").unwrap_err().to_string();
        let notes = sentence(&deflated("notes.txt", b"hello"));
        assert!(notes.contains("g.npz") && notes.contains("notes.txt"), "{notes}");
        let short = sentence(&deflated("x.npy", b"\x93NUMPY"));
        assert!(short.contains("array x") && short.contains("header"), "{short}");
        assert!(sentence(b"nothing of the kind").contains("cannot be unpacked"));
        let mut flipped = encoded();
        let at = flipped.windows(4).position(|w| w == 5.0_f32.to_le_bytes()).unwrap();
        flipped[at] ^= 1;
        assert!(sentence(&flipped).contains("layer1.0.conv1.weight is damaged"), "{}", sentence(&flipped));
    }
}
