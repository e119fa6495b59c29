//! LMDB: a sorted map of bytes to bytes in one file, as Caffe keeps its data sets.
//!
//! Only what a plain database is made of: one map without duplicates, read in the order of its keys, and written at
//! once. Nothing is mapped into memory and no lock is taken: the file must not be written meanwhile. Source: the
//! structures in LMDB's `mdb.c` (version 0.9: `MDB_page`, `MDB_node`, `MDB_meta`, `MDB_db`), little-endian, 64 bits.
//!
//! ```text
//! page 0, 1   meta pages; the one of the later transaction counts
//! page n      u64 number, u16, u16 flags, u16 lower, u16 upper, u16 node offsets .., free, .. nodes
//!             branch node: child's number in 48 bits, u16 key size, key (the first has none)
//!             leaf node:   u32 size, u16 flags, u16 key size, key, value (or the number of its first own page)
//! own pages   as a page, with a u32 count of pages in the place of lower and upper, then the value
//! ```

mod read;
mod write;

pub use read::Lmdb;
pub use write::write;

/// The file inside a database's folder.
const DATA: &str = "data.mdb";
const MAGIC: u32 = 0xBEEF_C0DE;
const VERSION: u32 = 1;
/// Bytes before a page's offsets or, on a value's own pages, before the value.
const HEADER: usize = 16;
/// Bytes of a node before its key.
const NODE: usize = 8;
/// A database without entries has this root.
const NOTHING: u64 = u64::MAX;

const BRANCH: u16 = 0x01;
const LEAF: u16 = 0x02;
const OVERFLOW: u16 = 0x04;
const META: u16 = 0x08;

/// A leaf's value has pages of its own.
const BIG: u16 = 0x01;
/// A leaf's value is a map, or several values.
const NESTED: u16 = 0x06;

/// Where the parts of a meta page lie.
mod meta {
    pub const MAGIC: usize = 16;
    pub const VERSION: usize = 20;
    pub const MAP_SIZE: usize = 32;
    /// The map of free pages, then the main one: 48 bytes each.
    pub const FREE: usize = 40;
    pub const MAIN: usize = 88;
    pub const LAST_PAGE: usize = 136;
    pub const TRANSACTION: usize = 144;
    pub const END: usize = 152;

    /// Inside a map's 48 bytes.
    pub const DB_PAGE_SIZE: usize = 0;
    pub const DB_FLAGS: usize = 4;
    pub const DB_DEPTH: usize = 6;
    pub const DB_BRANCHES: usize = 8;
    pub const DB_LEAVES: usize = 16;
    pub const DB_OVERFLOWS: usize = 24;
    pub const DB_ENTRIES: usize = 32;
    pub const DB_ROOT: usize = 40;
}
