//! HDF5, as far as networks and their data lie in it: groups, arrays of numbers, attributes of text and numbers.
//!
//! The format ("HDF5 File Format Specification", version 3) is read by the crate `hdf5-reader`, which knows superblocks 0
//! to 3, groups of both generations, all layouts and the usual filters, and checks every address against the file. Here
//! stand the limits on memory and the one type of number that networks have. Links into other files are not followed.

mod attribute;
mod storage;
pub(crate) mod write;

use std::cell::Cell;
use std::fmt::Display;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use hdf5_reader::messages::attribute::AttributeMessage;
use hdf5_reader::storage::{BytesStorage, DynStorage};
use hdf5_reader::{
    ByteOrder as Order, Dataset, Datatype, FileStorage, H5Type, Hdf5File, OpenOptions, SliceInfo,
    SliceInfoElem, Storage, StringSize,
};
use ocellus_tensor::Tensor;

use crate::FormatError;
use crate::numbers::{ByteOrder, Number, checked_elements, read_numbers};
use storage::{Meter, Metered};

/// How HDF5 files begin.
pub(crate) const MAGIC: &[u8] = b"\x89HDF\r\n\x1a\n";

/// Memory that all arrays together may take beyond the file's own size, in bytes: packed numbers grow.
const BEYOND: u64 = 64 << 20;

/// The largest chunk that is unpacked at once, in bytes.
const LARGEST_CHUNK: usize = 64 << 20;

/// The most rows that [`Hdf5::rows`] gives at once, in bytes.
const LARGEST_ROWS: u64 = 1 << 30;

/// The longest text that is an array of its own, a file's name, in bytes.
const LONGEST_ARRAY_TEXT: u32 = 1 << 16;

const DAMAGED: &str = "it is damaged or of another kind: take another copy";

/// An open file.
///
/// ```no_run
/// let file = ocellus_formats::hdf5::Hdf5::open("net.caffemodel.h5")?;
/// for layer in file.groups("/data")? {
///     println!("{layer}: {:?}", file.arrays(&format!("/data/{layer}"))?);
/// }
/// # Ok::<(), ocellus_formats::FormatError>(())
/// ```
pub struct Hdf5 {
    file: Hdf5File,
    name: String,
    /// Bytes of numbers that may still be read whole.
    left: Cell<u64>,
    meter: Meter,
}

impl Hdf5 {
    /// Opens the file at `path`.
    pub fn open(path: impl AsRef<Path>) -> Result<Hdf5, FormatError> {
        let path = path.as_ref();
        let fault = |cause| FormatError::read(path, cause);
        let mut source = File::open(path).map_err(fault)?;
        let length = source.metadata().map_err(fault)?.len();
        let mut start = [0; 8];
        let name = path.display().to_string();
        if source.read(&mut start).map_err(fault)? < 8 || start != MAGIC {
            return Err(FormatError::malformed(name, "it is no HDF5 file", DAMAGED));
        }
        let storage = FileStorage::from_file(source).map_err(|cause| malformed(&name, "", &cause))?;
        Hdf5::of(Arc::new(storage), 0, length, name)
    }

    /// Opens the HDF5 file that lies in `file` from byte `start` on and is `length` bytes long.
    pub(crate) fn part(file: File, start: u64, length: u64, name: String) -> Result<Hdf5, FormatError> {
        let whole = FileStorage::from_file(file).map_err(|cause| malformed(&name, "", &cause))?;
        if start.checked_add(length).is_none_or(|end| end > whole.len()) {
            let what =
                format!("it ends at byte {}, {length} bytes from {start} are said to be it", whole.len());
            return Err(FormatError::malformed(name, what, DAMAGED));
        }
        Hdf5::of(Arc::new(whole), start, length, name)
    }

    /// Opens a file already in memory; `name` is what errors call it.
    pub fn decode(bytes: &[u8], name: &str) -> Result<Hdf5, FormatError> {
        Hdf5::of(Arc::new(BytesStorage::new(bytes.to_vec())), 0, bytes.len() as u64, name.to_string())
    }

    fn of(whole: DynStorage, start: u64, length: u64, name: String) -> Result<Hdf5, FormatError> {
        let meter = Meter::new(length);
        let storage = Metered { whole, start, length, meter: meter.clone() };
        let file = Hdf5File::from_storage_with_options(Arc::new(storage), options(length))
            .map_err(|cause| malformed(&name, "", &cause))?;
        let start = file.superblock();
        let end = start.base_address.saturating_add(start.eof_address);
        // Arrays that are cut off would else be read as what is usual for a missing one: zeros.
        if start.eof_address != u64::MAX && start.eof_address > length && end > length {
            let what = format!("it says that it has {} bytes, and it has {length}", start.eof_address);
            return Err(FormatError::malformed(name, what, DAMAGED));
        }
        Ok(Hdf5 { file, name, left: Cell::new(length.saturating_add(BEYOND)), meter })
    }

    /// What errors call the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether there is a group of this path.
    pub fn has_group(&self, path: &str) -> bool {
        self.meter.restart();
        self.file.group(path).is_ok()
    }

    /// Whether there is an array of this path.
    pub fn has_array(&self, path: &str) -> bool {
        self.dataset(path).is_ok()
    }

    /// Names of the groups inside the group at `path`, in the file's order.
    pub fn groups(&self, path: &str) -> Result<Vec<String>, FormatError> {
        Ok(self.members(path)?.0)
    }

    /// Names of the arrays inside the group at `path`, in the file's order.
    pub fn arrays(&self, path: &str) -> Result<Vec<String>, FormatError> {
        Ok(self.members(path)?.1)
    }

    fn members(&self, path: &str) -> Result<(Vec<String>, Vec<String>), FormatError> {
        self.meter.restart();
        let group = self.file.group(path).map_err(|cause| malformed(&self.name, path, &cause))?;
        group.member_names().map_err(|cause| malformed(&self.name, path, &cause))
    }

    /// Sizes of the array at `path`.
    pub fn shape(&self, path: &str) -> Result<Vec<usize>, FormatError> {
        self.sizes(&self.dataset(path)?, path)
    }

    /// The array at `path`, every number as `f32`.
    ///
    /// An error if it is none of numbers, or if all arrays read so far would take more than the file's size and 64 MiB.
    pub fn tensor(&self, path: &str) -> Result<Tensor, FormatError> {
        let dataset = self.dataset(path)?;
        let sizes = self.sizes(&dataset, path)?;
        let (number, order) = self.number_of(dataset.dtype(), path)?;
        let count = checked_elements(&sizes).ok_or_else(|| self.impossible(path, &sizes))?;
        let bytes = (count as u64).saturating_mul(number.size().max(4) as u64);
        let left = self.left.get().checked_sub(bytes).ok_or_else(|| {
            let what = format!("{path} takes {bytes} bytes, more than a file of this size may hold");
            FormatError::malformed(&self.name, what, DAMAGED)
        })?;
        self.left.set(left);
        self.meter.open();
        let bytes = dataset.read_raw_bytes().map_err(|cause| malformed(&self.name, path, &cause))?;
        let numbers = read_numbers(&mut &*bytes, count, number, order)
            .map_err(|cause| malformed(&self.name, path, &cause))?;
        Tensor::new(sizes, numbers).map_err(|cause| malformed(&self.name, path, &cause))
    }

    /// Rows `from` up to `from + count` (along the first axis) of the array at `path`, without reading the others.
    pub fn rows(&self, path: &str, from: usize, count: usize) -> Result<Vec<f32>, FormatError> {
        let dataset = self.dataset(path)?;
        let sizes = self.sizes(&dataset, path)?;
        let rows = sizes.first().copied().unwrap_or(0);
        let end = from.checked_add(count).filter(|&end| end <= rows).ok_or_else(|| {
            let what = format!("{path} has {rows} rows, {count} from row {from} are asked for");
            FormatError::malformed(&self.name, what, DAMAGED)
        })?;
        let row = checked_elements(&sizes[1..]).ok_or_else(|| self.impossible(path, &sizes))?;
        if (row as u64).saturating_mul(count as u64).saturating_mul(8) > LARGEST_ROWS {
            let what = format!("{count} rows of {row} numbers of {path} are more than are read at once");
            return Err(FormatError::malformed(&self.name, what, "use a smaller batch"));
        }
        let whole = SliceInfoElem::Slice { start: 0, end: u64::MAX, step: 1 };
        let mut selections = vec![whole; sizes.len()];
        selections[0] = SliceInfoElem::Slice { start: from as u64, end: end as u64, step: 1 };
        let selection = SliceInfo { selections };
        let (number, _) = self.number_of(dataset.dtype(), path)?;
        self.meter.open();
        let numbers = match number {
            Number::F32 => slice::<f32>(&dataset, &selection, |x| x),
            Number::F64 => slice::<f64>(&dataset, &selection, |x| x as f32),
            Number::I8 => slice::<i8>(&dataset, &selection, f32::from),
            Number::U8 => slice::<u8>(&dataset, &selection, f32::from),
            Number::I16 => slice::<i16>(&dataset, &selection, f32::from),
            Number::U16 => slice::<u16>(&dataset, &selection, f32::from),
            Number::I32 => slice::<i32>(&dataset, &selection, |x| x as f32),
            Number::U32 => slice::<u32>(&dataset, &selection, |x| x as f32),
            Number::I64 => slice::<i64>(&dataset, &selection, |x| x as f32),
            Number::U64 => slice::<u64>(&dataset, &selection, |x| x as f32),
            Number::F16 | Number::Bf16 => {
                let what = format!("{path} holds numbers of half precision, which are not read row by row");
                return Err(FormatError::malformed(&self.name, what, "save it as float32"));
            }
        };
        numbers.map_err(|cause| malformed(&self.name, path, &cause))
    }

    /// The text in the attribute `attribute` of the group or array at `path`; `None` if there is no such attribute.
    pub fn text(&self, path: &str, attribute: &str) -> Result<Option<String>, FormatError> {
        Ok(self.texts(path, attribute)?.map(|texts| texts.into_iter().next().unwrap_or_default()))
    }

    /// The texts in an attribute that is a list of them, of fixed or of variable length.
    pub fn texts(&self, path: &str, attribute: &str) -> Result<Option<Vec<String>>, FormatError> {
        let Some(found) = self.attribute(path, attribute)? else { return Ok(None) };
        if found.dataspace.num_elements().is_ok_and(|count| count == 0) {
            return Ok(Some(Vec::new())); // h5py keeps a list of no texts as one of no numbers
        }
        let place = format!("{path}, attribute {attribute}");
        let texts = attribute::texts(&self.file, found);
        texts.map(Some).map_err(|cause| malformed(&self.name, &place, &cause))
    }

    /// The number in an attribute.
    pub fn number(&self, path: &str, attribute: &str) -> Result<Option<f64>, FormatError> {
        let Some(found) = self.attribute(path, attribute)? else { return Ok(None) };
        let place = format!("{path}, attribute {attribute}");
        attribute::number(found).map(Some).map_err(|cause| malformed(&self.name, &place, &cause))
    }

    /// The one number of the array at `path`, which need not be a list.
    pub fn scalar(&self, path: &str) -> Result<f64, FormatError> {
        let tensor = self.tensor(path)?;
        tensor
            .data()
            .first()
            .map(|&x| f64::from(x))
            .ok_or_else(|| FormatError::malformed(&self.name, format!("{path} holds no number"), DAMAGED))
    }

    /// The text that the array at `path` is, one short one.
    pub fn array_text(&self, path: &str) -> Result<String, FormatError> {
        let dataset = self.dataset(path)?;
        let count = checked_elements(&self.sizes(&dataset, path)?);
        let is_short = match dataset.dtype() {
            Datatype::String { size: StringSize::Fixed(size), .. } => *size <= LONGEST_ARRAY_TEXT,
            _ => true, // of variable length: somewhere in the file
        };
        if count != Some(1) || !is_short {
            let what = format!("{path} is no text of at most {LONGEST_ARRAY_TEXT} letters");
            return Err(FormatError::malformed(&self.name, what, DAMAGED));
        }
        dataset.read_string().map_err(|cause| malformed(&self.name, path, &cause))
    }

    fn attribute(&self, path: &str, attribute: &str) -> Result<Option<AttributeMessage>, FormatError> {
        self.meter.restart();
        let address = match self.file.group(path) {
            Ok(group) => group.address(),
            Err(_) => self.dataset(path)?.address(),
        };
        attribute::find(&self.file, address, attribute).map_err(|cause| malformed(&self.name, path, &cause))
    }

    fn dataset(&self, path: &str) -> Result<Dataset, FormatError> {
        self.meter.restart();
        self.file.dataset(path).map_err(|cause| malformed(&self.name, path, &cause))
    }

    fn sizes(&self, dataset: &Dataset, path: &str) -> Result<Vec<usize>, FormatError> {
        let sizes: Option<Vec<usize>> =
            dataset.shape().iter().map(|&size| usize::try_from(size).ok()).collect();
        sizes.ok_or_else(|| self.impossible(path, &dataset.shape()))
    }

    fn impossible(&self, path: &str, sizes: &dyn std::fmt::Debug) -> FormatError {
        FormatError::malformed(&self.name, format!("{path} has the impossible sizes {sizes:?}"), DAMAGED)
    }

    fn number_of(&self, datatype: &Datatype, path: &str) -> Result<(Number, ByteOrder), FormatError> {
        let order = |order: &Order| match order {
            Order::LittleEndian => ByteOrder::Little,
            Order::BigEndian => ByteOrder::Big,
        };
        let number = match datatype {
            Datatype::FloatingPoint { size: 2, byte_order } => Some((Number::F16, order(byte_order))),
            Datatype::FloatingPoint { size: 4, byte_order } => Some((Number::F32, order(byte_order))),
            Datatype::FloatingPoint { size: 8, byte_order } => Some((Number::F64, order(byte_order))),
            Datatype::FixedPoint { size, signed, byte_order } => {
                whole(*size, *signed).map(|n| (n, order(byte_order)))
            }
            // Booleans, as Python's h5py keeps them.
            Datatype::Enum { base, .. } => return self.number_of(base, path),
            _ => None,
        };
        number.ok_or_else(|| {
            let what = format!("{path} holds {}, no numbers", kind_of(datatype));
            FormatError::malformed(&self.name, what, "save it as float32")
        })
    }
}

fn slice<T: H5Type>(
    dataset: &Dataset,
    selection: &SliceInfo,
    convert: fn(T) -> f32,
) -> hdf5_reader::error::Result<Vec<f32>> {
    Ok(dataset.read_slice::<T>(selection)?.into_iter().map(convert).collect())
}

fn whole(size: u8, signed: bool) -> Option<Number> {
    Some(match (size, signed) {
        (1, true) => Number::I8,
        (1, false) => Number::U8,
        (2, true) => Number::I16,
        (2, false) => Number::U16,
        (4, true) => Number::I32,
        (4, false) => Number::U32,
        (8, true) => Number::I64,
        (8, false) => Number::U64,
        _ => return None,
    })
}

fn kind_of(datatype: &Datatype) -> &'static str {
    match datatype {
        Datatype::String { .. } | Datatype::VarLen { .. } => "text",
        Datatype::Compound { .. } => "records",
        Datatype::Reference { .. } => "references",
        _ => "values of a rare type",
    }
}

/// What the crate may take for a file of this length.
fn options(length: u64) -> OpenOptions {
    let most = usize::try_from(length.saturating_add(BEYOND)).unwrap_or(usize::MAX);
    OpenOptions {
        chunk_cache_bytes: 0,
        max_chunk_bytes: LARGEST_CHUNK,
        max_read_bytes: most.max(LARGEST_ROWS as usize),
        max_object_header_bytes: 4 << 20,
        ..OpenOptions::default()
    }
}

fn malformed(file: &str, place: &str, cause: &dyn Display) -> FormatError {
    let cause = cause.to_string();
    let what = match place {
        "" => format!("it cannot be read ({cause})"),
        place => format!("{place} cannot be read ({cause})"),
    };
    FormatError::malformed(file, what, DAMAGED)
}
