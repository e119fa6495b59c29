//! A database written at once, from entries in the order of their keys.
//!
//! ```text
//! entries -> leaf pages as they fill, large values on their own pages before them
//!         -> branch pages, level by level, until one page is left: the root
//!         -> meta pages
//! ```

use std::io::{self, SeekFrom};
use std::path::Path;

use super::{BIG, BRANCH, DATA, HEADER, LEAF, MAGIC, META, NODE, NOTHING, OVERFLOW, VERSION, meta};
use crate::{FormatError, Sink, write_atomically};

const PAGE: usize = 4096;
/// The longest key, as LMDB has it.
const LONGEST_KEY: usize = 511;
/// A leaf node above this has its value on own pages: two nodes must fit a page.
const LARGEST_NODE: usize = (PAGE - HEADER) / 2 / 2 * 2 - 2;
/// The map of free pages has whole numbers for keys.
const INTEGER_KEY: u16 = 0x08;

/// Writes `entries` as the database in the folder `path`, which is made if it is not there; gives their number.
///
/// Errors: keys that do not ascend (byte by byte), are empty or longer than 511 bytes; a value of 4 GiB; an error among
/// the entries; a file that cannot be written. Then nothing is left behind.
pub fn write(
    path: impl AsRef<Path>,
    entries: impl Iterator<Item = io::Result<(Vec<u8>, Vec<u8>)>>,
) -> Result<u64, FormatError> {
    let folder = path.as_ref();
    let is_new = !folder.exists();
    std::fs::create_dir_all(folder).map_err(|cause| FormatError::write(folder, cause))?;
    let mut count = 0;
    let written = write_atomically(folder.join(DATA), |out| {
        let mut writer = Writer::new(out)?;
        for entry in entries {
            let (key, value) = entry?;
            writer.add(key, &value)?;
        }
        count = writer.entries;
        writer.finish()
    });
    if written.is_err() && is_new {
        let _ = std::fs::remove_dir(folder);
    }
    written.map(|()| count)
}

struct Writer<'o> {
    out: &'o mut dyn Sink,
    /// The number of the next page.
    next: u64,
    page: Page,
    /// Finished pages of the level below: first key and number.
    level: Vec<(Vec<u8>, u64)>,
    last: Vec<u8>,
    entries: u64,
    leaves: u64,
    branches: u64,
    overflows: u64,
}

/// A page as it fills.
#[derive(Default)]
struct Page {
    /// The key of its first node.
    first: Vec<u8>,
    nodes: Vec<Vec<u8>>,
    /// Bytes of nodes and offsets.
    used: usize,
}

impl<'o> Writer<'o> {
    fn new(out: &'o mut dyn Sink) -> io::Result<Self> {
        out.write_all(&[0; 2 * PAGE])?;
        Ok(Writer {
            out,
            next: 2,
            page: Page::default(),
            level: Vec::new(),
            last: Vec::new(),
            entries: 0,
            leaves: 0,
            branches: 0,
            overflows: 0,
        })
    }

    fn add(&mut self, key: Vec<u8>, value: &[u8]) -> io::Result<()> {
        let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidInput, what);
        if key.is_empty() || key.len() > LONGEST_KEY {
            return Err(invalid(format!("a key has {} bytes, 1 to {LONGEST_KEY} are allowed", key.len())));
        }
        if self.entries > 0 && key <= self.last {
            return Err(invalid("keys do not ascend".into()));
        }
        let size = u32::try_from(value.len()).map_err(|_| invalid("a value has 4 GiB or more".into()))?;
        let mut node = size.to_le_bytes().to_vec();
        let is_big = NODE + key.len() + value.len() > LARGEST_NODE;
        node.extend(if is_big { BIG } else { 0 }.to_le_bytes());
        node.extend((key.len() as u16).to_le_bytes());
        node.extend(&key);
        if is_big {
            let number = self.write_big(value)?;
            node.extend(number.to_le_bytes());
        } else {
            node.extend(value);
        }
        self.put(key.clone(), node, LEAF)?;
        self.last = key;
        self.entries += 1;
        Ok(())
    }

    /// Puts a node on the page, or on a new one if it is full.
    fn put(&mut self, key: Vec<u8>, mut node: Vec<u8>, kind: u16) -> io::Result<()> {
        node.resize(node.len().next_multiple_of(2), 0);
        if self.page.used + node.len() + 2 > PAGE - HEADER {
            self.flush(kind)?;
        }
        if self.page.nodes.is_empty() {
            self.page.first = key;
        }
        self.page.used += node.len() + 2;
        self.page.nodes.push(node);
        Ok(())
    }

    /// A value on pages of its own; gives the number of the first.
    fn write_big(&mut self, value: &[u8]) -> io::Result<u64> {
        let count = (HEADER + value.len()).div_ceil(PAGE);
        let mut head = head(self.next, OVERFLOW);
        head[12..16].copy_from_slice(&(count as u32).to_le_bytes());
        self.out.write_all(&head)?;
        self.out.write_all(value)?;
        let rest = count * PAGE - HEADER - value.len();
        self.out.write_all(&vec![0; rest])?;
        let number = self.next;
        self.next += count as u64;
        self.overflows += count as u64;
        Ok(number)
    }

    /// Writes the page down.
    fn flush(&mut self, kind: u16) -> io::Result<()> {
        let Page { first, nodes, .. } = std::mem::take(&mut self.page);
        let mut page = vec![0; PAGE];
        let mut upper = PAGE;
        for (i, node) in nodes.iter().enumerate() {
            upper -= node.len();
            page[upper..upper + node.len()].copy_from_slice(node);
            page[HEADER + 2 * i..][..2].copy_from_slice(&(upper as u16).to_le_bytes());
        }
        page[..HEADER].copy_from_slice(&head(self.next, kind));
        page[12..14].copy_from_slice(&((HEADER + 2 * nodes.len()) as u16).to_le_bytes());
        page[14..16].copy_from_slice(&(upper as u16).to_le_bytes());
        self.out.write_all(&page)?;
        self.level.push((first, self.next));
        self.next += 1;
        *(if kind == LEAF { &mut self.leaves } else { &mut self.branches }) += 1;
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        let mut depth = 0_u16;
        if self.entries > 0 {
            self.flush(LEAF)?;
            depth = 1;
        }
        while self.level.len() > 1 {
            for (key, number) in std::mem::take(&mut self.level) {
                // A page's first key is never looked at; LMDB leaves it out.
                let is_first =
                    self.page.nodes.is_empty() || self.page.used + NODE + key.len() + 3 > PAGE - HEADER;
                let kept: &[u8] = if is_first { &[] } else { &key };
                let mut node = number.to_le_bytes()[..6].to_vec();
                node.extend((kept.len() as u16).to_le_bytes());
                node.extend(kept);
                if is_first && !self.page.nodes.is_empty() {
                    self.flush(BRANCH)?;
                }
                self.put(key, node, BRANCH)?;
            }
            self.flush(BRANCH)?;
            depth += 1;
        }
        let root = self.level.first().map_or(NOTHING, |&(_, number)| number);
        self.out.seek(SeekFrom::Start(0))?;
        self.out.write_all(&self.meta(0, 0, NOTHING))?;
        self.out.write_all(&self.meta(1, depth, root))
    }

    /// The meta page of a transaction; number 0 is that of the empty database.
    fn meta(&self, number: u64, depth: u16, root: u64) -> Vec<u8> {
        let mut page = vec![0; PAGE];
        let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &head(number, META));
        put(meta::MAGIC, &MAGIC.to_le_bytes());
        put(meta::VERSION, &VERSION.to_le_bytes());
        let size = (self.next * PAGE as u64).max(1 << 20);
        put(meta::MAP_SIZE, &size.to_le_bytes());
        put(meta::FREE + meta::DB_PAGE_SIZE, &(PAGE as u32).to_le_bytes());
        put(meta::FREE + meta::DB_FLAGS, &INTEGER_KEY.to_le_bytes());
        put(meta::FREE + meta::DB_ROOT, &NOTHING.to_le_bytes());
        let is_empty = root == NOTHING;
        let count = |n: u64| if is_empty { 0 } else { n }.to_le_bytes();
        put(meta::MAIN + meta::DB_DEPTH, &depth.to_le_bytes());
        put(meta::MAIN + meta::DB_BRANCHES, &count(self.branches));
        put(meta::MAIN + meta::DB_LEAVES, &count(self.leaves));
        put(meta::MAIN + meta::DB_OVERFLOWS, &count(self.overflows));
        put(meta::MAIN + meta::DB_ENTRIES, &count(self.entries));
        put(meta::MAIN + meta::DB_ROOT, &root.to_le_bytes());
        put(meta::LAST_PAGE, &if is_empty { 1 } else { self.next - 1 }.to_le_bytes());
        put(meta::TRANSACTION, &number.to_le_bytes());
        page
    }
}

/// A page's first bytes: its number and kind.
fn head(number: u64, kind: u16) -> [u8; HEADER] {
    let mut head = [0; HEADER];
    head[..8].copy_from_slice(&number.to_le_bytes());
    head[10..12].copy_from_slice(&kind.to_le_bytes());
    head
}
