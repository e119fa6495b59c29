//! A database, read by the number of an entry.
//!
//! Opening walks the tree once and remembers where each leaf page lies and how many entries are before it; every number
//! from the file is checked against the page or the file around it before use.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::{BIG, BRANCH, DATA, HEADER, LEAF, MAGIC, NESTED, NODE, NOTHING, OVERFLOW, VERSION, meta};
use crate::FormatError;

/// Deeper trees than any that fit a disk.
const DEEPEST: u32 = 32;

const DAMAGED: &str = "it is damaged or of another kind: take another copy, or make it again";

/// An open database.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("words.lmdb");
/// use ocellus_formats::lmdb::{self, Lmdb};
/// let items = [(b"a".to_vec(), b"first".to_vec()), (b"b".to_vec(), b"second".to_vec())];
/// lmdb::write(&path, items.into_iter().map(Ok))?;
/// let words = Lmdb::open(&path)?;
/// assert_eq!((words.len(), words.entry(1)?), (2, (b"b".to_vec(), b"second".to_vec())));
/// # Ok::<(), ocellus_formats::FormatError>(())
/// ```
pub struct Lmdb {
    file: RefCell<File>,
    path: PathBuf,
    page_size: usize,
    pages: u64,
    /// Each leaf page, and how many entries are before it.
    leaves: Vec<(u64, u64)>,
    entries: u64,
    /// The leaf page that was read last.
    page: RefCell<(u64, Vec<u8>)>,
}

impl Lmdb {
    /// Opens the database in the folder `path`, or in that file.
    pub fn open(path: impl AsRef<Path>) -> Result<Lmdb, FormatError> {
        let path = path.as_ref();
        let path = if path.is_dir() { path.join(DATA) } else { path.to_owned() };
        let fault = |cause| FormatError::read(&path, cause);
        let mut file = File::open(&path).map_err(fault)?;
        let length = file.metadata().map_err(fault)?.len();
        let mut first = [0; meta::END];
        file.read_exact(&mut first)
            .map_err(|_| malformed(&path, format!("{length} bytes are no LMDB database")))?;
        check_meta(&first).map_err(|what| malformed(&path, what))?;
        let page_size = u32_at(&first, meta::FREE + meta::DB_PAGE_SIZE) as usize;
        if !page_size.is_power_of_two() || !(512..=65536).contains(&page_size) {
            return Err(malformed(&path, format!("its pages have {page_size} bytes")));
        }
        let mut second = [0; meta::END];
        file.seek(SeekFrom::Start(page_size as u64)).map_err(fault)?;
        let has_second = file.read_exact(&mut second).is_ok() && check_meta(&second).is_ok();
        let transaction = |page: &[u8]| u64_at(page, meta::TRANSACTION);
        let now = if has_second && transaction(&second) > transaction(&first) { second } else { first };
        let mut lmdb = Lmdb {
            file: RefCell::new(file),
            path,
            page_size,
            pages: length / page_size as u64,
            leaves: Vec::new(),
            entries: 0,
            page: RefCell::new((NOTHING, Vec::new())),
        };
        lmdb.find_leaves(&now).map_err(|what| malformed(&lmdb.path, what))?;
        Ok(lmdb)
    }

    /// Whether `path` is such a database, by its folder's file or its own first bytes.
    pub fn is_at(path: impl AsRef<Path>) -> bool {
        let path = path.as_ref();
        let path = if path.is_dir() { path.join(DATA) } else { path.to_owned() };
        let mut first = [0; meta::END];
        File::open(path).and_then(|mut file| file.read_exact(&mut first)).is_ok()
            && check_meta(&first).is_ok()
    }

    /// How many entries there are.
    pub fn len(&self) -> u64 {
        self.entries
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Key and value of entry number `index`, in the order of the keys.
    ///
    /// An error if there is no such entry, or if its page is damaged.
    pub fn entry(&self, index: u64) -> Result<(Vec<u8>, Vec<u8>), FormatError> {
        self.find(index).map_err(|what| malformed(&self.path, format!("entry {index}: {what}")))
    }

    fn find(&self, index: u64) -> Result<(Vec<u8>, Vec<u8>), String> {
        if index >= self.entries {
            return Err(format!("there are {}", self.entries));
        }
        let after = self.leaves.partition_point(|&(_, before)| before <= index);
        let &(number, before) = self.leaves.get(after.wrapping_sub(1)).ok_or("its leaf is missing")?;
        let mut cached = self.page.borrow_mut();
        if cached.0 != number {
            *cached = (number, self.page(number)?);
        }
        let page = &cached.1;
        let node = node(page, (index - before) as usize)?;
        let (size, flags) = (u32_at(node, 0) as usize, u16_at(node, 4));
        let key_end = NODE + usize::from(u16_at(node, 6));
        let key = node.get(NODE..key_end).ok_or("its key leaves the page")?.to_vec();
        if flags & NESTED != 0 {
            return Err("it holds a map of its own or several values, which are not read".into());
        }
        if flags & BIG == 0 {
            let value =
                node.get(key_end..).and_then(|rest| rest.get(..size)).ok_or("its value leaves the page")?;
            return Ok((key, value.to_vec()));
        }
        let first = node.get(key_end..key_end + 8).ok_or("the number of its pages leaves the page")?;
        Ok((key, self.big_value(u64_at(first, 0), size)?))
    }

    /// A value on pages of its own.
    fn big_value(&self, number: u64, size: usize) -> Result<Vec<u8>, String> {
        let head = self.page(number)?;
        let count = u64::from(u32_at(&head, 12));
        let room = count.saturating_mul(self.page_size as u64).saturating_sub(HEADER as u64);
        let inside = number.checked_add(count).is_some_and(|end| end <= self.pages);
        if u16_at(&head, 10) & OVERFLOW == 0 || !inside || size as u64 > room {
            return Err(format!("its value of {size} bytes does not lie on the {count} pages from {number}"));
        }
        let mut value = vec![0; size];
        self.read(number * self.page_size as u64 + HEADER as u64, &mut value)?;
        Ok(value)
    }

    /// Walks the tree of the main map.
    fn find_leaves(&mut self, now: &[u8]) -> Result<(), String> {
        if u16_at(now, meta::MAIN + meta::DB_FLAGS) & 0x04 != 0 {
            return Err("its keys have several values each, which is not read".into());
        }
        let (root, entries) =
            (u64_at(now, meta::MAIN + meta::DB_ROOT), u64_at(now, meta::MAIN + meta::DB_ENTRIES));
        if root == NOTHING {
            return Ok(());
        }
        let mut waiting = vec![(root, 0)];
        let mut visited = 0;
        while let Some((number, depth)) = waiting.pop() {
            visited += 1;
            if visited > self.pages || depth > DEEPEST {
                return Err("its tree has more pages than the file".into());
            }
            let page = self.page(number)?;
            let count = node_count(&page)?;
            match u16_at(&page, 10) & (BRANCH | LEAF) {
                LEAF => {
                    self.leaves.push((number, self.entries));
                    self.entries += count as u64;
                }
                BRANCH => {
                    // The last child first, so that the first is taken next.
                    for i in (0..count).rev() {
                        let node = node(&page, i)?;
                        let high = u64::from(u16_at(node, 4));
                        waiting.push((u64::from(u32_at(node, 0)) | high << 32, depth + 1));
                    }
                }
                _ => return Err(format!("page {number} is neither a branch nor a leaf")),
            }
        }
        match self.entries == entries {
            true => Ok(()),
            false => Err(format!("it claims {entries} entries, {} are there", self.entries)),
        }
    }

    fn page(&self, number: u64) -> Result<Vec<u8>, String> {
        if number >= self.pages {
            return Err(format!("page {number} of {} is asked for", self.pages));
        }
        let mut page = vec![0; self.page_size];
        self.read(number * self.page_size as u64, &mut page)?;
        Ok(page)
    }

    fn read(&self, at: u64, out: &mut [u8]) -> Result<(), String> {
        let mut file = self.file.borrow_mut();
        let read = |file: &mut File, out: &mut [u8]| -> io::Result<()> {
            file.seek(SeekFrom::Start(at))?;
            file.read_exact(out)
        };
        read(&mut file, out).map_err(|cause| format!("byte {at} cannot be read ({cause})"))
    }
}

fn check_meta(page: &[u8; meta::END]) -> Result<(), String> {
    let (magic, version) = (u32_at(page, meta::MAGIC), u32_at(page, meta::VERSION));
    if magic != MAGIC {
        return Err("it is no LMDB database".into());
    }
    if version != VERSION {
        return Err(format!("it is an LMDB database of version {version}, version {VERSION} is read"));
    }
    Ok(())
}

/// How many nodes a page has.
fn node_count(page: &[u8]) -> Result<usize, String> {
    let lower = usize::from(u16_at(page, 12));
    if lower < HEADER || lower > page.len() {
        return Err(format!("a page's offsets end at byte {lower} of {}", page.len()));
    }
    Ok((lower - HEADER) / 2)
}

/// The bytes from node number `index` of a page up to the page's end, at least a node's head.
fn node(page: &[u8], index: usize) -> Result<&[u8], String> {
    if index >= node_count(page)? {
        return Err(format!("node {index} is none of its page's"));
    }
    let at = usize::from(u16_at(page, HEADER + 2 * index));
    page.get(at..)
        .filter(|rest| rest.len() >= NODE)
        .ok_or_else(|| format!("a node at byte {at} leaves its page"))
}

fn malformed(path: &Path, what: String) -> FormatError {
    FormatError::malformed(path.display().to_string(), what, DAMAGED)
}

// All callers give at least as many bytes as they read.

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
