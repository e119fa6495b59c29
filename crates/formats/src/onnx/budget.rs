//! How much memory may reading a network take?
//!
//! A message of two bytes becomes a node of hundreds, and an operation of a few bytes can ask for a constant of any
//! size. So whatever is larger in memory than in the file is charged here: all of it together may be the file's size
//! (a stored number takes at most four bytes) and 64 MiB.

use std::cell::Cell;

/// What may be taken beyond the file's own size.
const ALLOWANCE: u64 = 64 << 20;

/// Numbers that may be computed beyond those in the file, so that a small file cannot keep its reader busy for hours.
const WORK: u64 = 1 << 28;

/// Bytes that may still be taken, and numbers that may still be computed.
#[derive(Debug)]
pub(super) struct Budget {
    left: Cell<u64>,
    work: Cell<u64>,
}

impl Budget {
    /// For a file of `length` bytes.
    pub(super) fn new(length: u64) -> Self {
        Budget {
            left: Cell::new(length.saturating_mul(4).saturating_add(ALLOWANCE)),
            work: Cell::new(length.saturating_mul(16).saturating_add(WORK)),
        }
    }

    /// Takes `bytes`, or says that there is no room for them.
    pub(super) fn charge(&self, bytes: u64) -> Result<(), String> {
        if self.take(bytes) {
            return Ok(());
        }
        let left = self.left.get();
        Err(format!("it would take {bytes} bytes of memory where {left} are left for a file of its size"))
    }

    /// Takes `bytes` if they are left.
    pub(super) fn take(&self, bytes: u64) -> bool {
        let rest = self.left.get().checked_sub(bytes);
        if let Some(rest) = rest {
            self.left.set(rest);
        }
        rest.is_some()
    }

    /// Computes `numbers` numbers, or says that it would take too long.
    pub(super) fn work(&self, numbers: u64) -> Result<(), String> {
        match self.work.get().checked_sub(numbers) {
            Some(rest) => {
                self.work.set(rest);
                Ok(())
            }
            None => Err("its constants take more computing than a network of its size can need".into()),
        }
    }
}
