//! What is wrong with a network, and what to do about it.

use crate::FormatError;

/// One sentence about the model, in two parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::onnx) struct Fault {
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub next: String,
}

impl Fault {
    pub(in crate::onnx) fn new(what: impl Into<String>, next: impl Into<String>) -> Self {
        Fault { what: what.into(), next: next.into() }
    }

    /// The fault as an error about `file`.
    pub(in crate::onnx) fn of(self, file: &str) -> FormatError {
        FormatError::malformed(file, self.what, self.next)
    }
}
