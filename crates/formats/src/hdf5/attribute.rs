//! What does an attribute say? Texts and single numbers, within bounds that the file cannot set.
//!
//! Source: HDF5 File Format Specification, version 3: IV.A.2.m (attributes), IV.A.2.v (where many of them lie), III.E
//! (the global heap, where texts of variable length lie: a reference is a length of four bytes, the heap's address and
//! the number of the object in it).

use hdf5_reader::attribute_api::Attribute;
use hdf5_reader::btree_v2::{BTreeV2Header, BTreeV2Record, collect_btree_v2_records_storage};
use hdf5_reader::error::{Error, Result};
use hdf5_reader::fractal_heap::FractalHeap;
use hdf5_reader::global_heap::GlobalHeapCollection;
use hdf5_reader::io::Cursor;
use hdf5_reader::messages::HdfMessage;
use hdf5_reader::messages::attribute::{self, AttributeMessage};
use hdf5_reader::messages::attribute_info::AttributeInfoMessage;
use hdf5_reader::{Datatype, Hdf5File, StringSize};

/// Memory that the texts of one attribute may take, in bytes.
const MOST_TEXT: usize = 32 << 20;

/// What a text takes beside its letters.
const PER_TEXT: usize = 40;

/// More attributes than any object has.
const MOST_ATTRIBUTES: usize = 1 << 16;

/// The attribute `name` of the object whose header lies at `address`; `None` if there is none.
pub(super) fn find(file: &Hdf5File, address: u64, name: &str) -> Result<Option<AttributeMessage>> {
    let header = file.get_or_parse_header(address)?;
    for message in &header.messages {
        match message {
            HdfMessage::Attribute(found) if found.name == name => return Ok(Some(found.clone())),
            HdfMessage::AttributeInfo(info) => {
                if let Some(found) = find_in_heap(file, info, name)? {
                    return Ok(Some(found));
                }
            }
            _ => {}
        }
    }
    Ok(None)
}

/// The attribute among many that lie in a heap; each is looked at and let go.
fn find_in_heap(
    file: &Hdf5File,
    info: &AttributeInfoMessage,
    name: &str,
) -> Result<Option<AttributeMessage>> {
    let start = file.superblock();
    let (offset, length) = (start.offset_size, start.length_size);
    let (heap, names) = (info.fractal_heap_address, info.btree_name_index_address);
    if [heap, names].into_iter().any(|address| Cursor::is_undefined_offset(address, offset)) {
        return Ok(None);
    }
    let storage = file.storage();
    let heap = FractalHeap::parse_at_storage(storage, heap, offset, length)?;
    let tree = BTreeV2Header::parse_at_storage(storage, names, offset, length)?;
    let records = collect_btree_v2_records_storage(storage, &tree, offset, length, None, &[], None)?;
    if records.len() > MOST_ATTRIBUTES {
        return Err(Error::InvalidData(format!("it has {} attributes", records.len())));
    }
    for record in records {
        let BTreeV2Record::AttributeNameHash { heap_id, .. } = record else { continue };
        let bytes = heap.get_object_storage(&heap_id, storage, offset, length)?;
        let found = attribute::parse(&mut Cursor::new(&bytes), offset, length, bytes.len())?;
        if found.name == name {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The texts of an attribute, of fixed or of variable length.
pub(super) fn texts(file: &Hdf5File, found: AttributeMessage) -> Result<Vec<String>> {
    let count = usize::try_from(found.dataspace.num_elements()?).unwrap_or(usize::MAX);
    if count.saturating_mul(PER_TEXT) > MOST_TEXT {
        return Err(Error::InvalidData(format!("it holds {count} texts, more than any list of names")));
    }
    match found.datatype {
        Datatype::String { size: StringSize::Fixed(_), .. } => Attribute::from_message(found).read_strings(),
        Datatype::String { size: StringSize::Variable, .. } | Datatype::VarLen { .. } => {
            referenced(file, &found.raw_data, count)
        }
        other => Err(Error::TypeMismatch { expected: "text".into(), actual: format!("{other:?}") }),
    }
}

/// The texts that `count` references name. Nothing keeps them from all naming one long text, so what they take
/// together is counted.
fn referenced(file: &Hdf5File, references: &[u8], count: usize) -> Result<Vec<String>> {
    let start = file.superblock();
    let mut cursor = Cursor::new(references);
    let mut heap: Option<(u64, GlobalHeapCollection)> = None;
    let (mut texts, mut left) = (Vec::new(), MOST_TEXT);
    for _ in 0..count {
        cursor.skip(4)?;
        let address = cursor.read_offset(start.offset_size)?;
        let number = cursor.read_u32_le()?;
        if Cursor::is_undefined_offset(address, start.offset_size) || number == 0 {
            texts.push(String::new());
            continue;
        }
        let objects = match heap.take().filter(|(place, _)| *place == address) {
            Some((_, objects)) => objects,
            None => GlobalHeapCollection::parse_at_storage(
                file.storage(),
                address,
                start.offset_size,
                start.length_size,
            )?,
        };
        let object = u16::try_from(number).ok().and_then(|number| objects.get_object(number));
        let bytes = object.map(|object| object.data.as_slice()).ok_or_else(|| {
            Error::InvalidData(format!("the text {number} of the heap at byte {address} is not there"))
        })?;
        left = left.checked_sub(bytes.len() + PER_TEXT).ok_or_else(|| {
            Error::InvalidData(format!("its texts take more than {MOST_TEXT} bytes together"))
        })?;
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
        let text = std::str::from_utf8(&bytes[..end])
            .map_err(|_| Error::InvalidData("it is no text of Unicode".into()))?;
        texts.push(text.to_string());
        heap = Some((address, objects));
    }
    Ok(texts)
}

/// The number of an attribute, the first of several.
pub(super) fn number(found: AttributeMessage) -> Result<f64> {
    Attribute::from_message(found).read_as_f64()
}
