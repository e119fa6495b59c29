//! Which bytes of the file may be read, and how many for one question?
//!
//! Structures inside a file may point at one another in any way: a list of a thousand attributes that are all the same
//! large one takes a thousand times its size. What is read for one question is therefore counted, and ends somewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hdf5_reader::error::{Error, Result};
use hdf5_reader::storage::DynStorage;
use hdf5_reader::{Storage, StorageBuffer};

/// Bytes that may be read for one question beyond the file's own size.
const BEYOND: u64 = 32 << 20;

/// How many bytes may still be read.
#[derive(Clone)]
pub(super) struct Meter {
    left: Arc<AtomicU64>,
    length: u64,
}

impl Meter {
    /// For a file of this length.
    pub fn new(length: u64) -> Meter {
        let meter = Meter { left: Arc::new(AtomicU64::new(0)), length };
        meter.restart();
        meter
    }

    /// Another question begins.
    pub fn restart(&self) {
        self.left.store(self.length.saturating_add(BEYOND), Ordering::Relaxed);
    }

    /// Numbers are read, whose size is checked before: nothing is counted until the next question.
    pub fn open(&self) {
        self.left.store(u64::MAX, Ordering::Relaxed);
    }
}

/// A file, or the part of one from byte `start` on.
pub(super) struct Metered {
    pub whole: DynStorage,
    pub start: u64,
    pub length: u64,
    pub meter: Meter,
}

impl Storage for Metered {
    fn len(&self) -> u64 {
        self.length
    }

    fn read_range(&self, offset: u64, len: usize) -> Result<StorageBuffer> {
        if offset.checked_add(len as u64).is_none_or(|end| end > self.length) {
            return Err(Error::UnexpectedEof { offset, needed: len as u64, available: 0 });
        }
        let left = &self.meter.left;
        let spent =
            left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(len as u64));
        spent.map_err(|_| Error::InvalidData("the same bytes are read again and again".into()))?;
        self.whole.read_range(self.start + offset, len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdf5_reader::storage::BytesStorage;

    #[test]
    fn one_question_reads_no_more_than_its_share() {
        let meter = Meter::new(1 << 20);
        let whole = Arc::new(BytesStorage::new(vec![7; 2 << 20]));
        let storage = Metered { whole, start: 1 << 20, length: 1 << 20, meter: meter.clone() };
        let reads = || (0..100).take_while(|_| storage.read_range(0, 1 << 20).is_ok()).count();
        assert_eq!(reads(), 33);
        assert_eq!(reads(), 0);
        meter.restart();
        assert_eq!(reads(), 33);
        meter.open();
        assert_eq!(reads(), 100);
        assert!(storage.read_range(1, 1 << 20).is_err() && storage.read_range(u64::MAX, 2).is_err());
    }
}
