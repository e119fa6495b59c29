//! What is wrong with a model, and what to do about it.

use crate::FormatError;

/// For files that hold something else than they say.
pub(in crate::keras) const DAMAGED: &str = "it is damaged or of another kind: take another copy";

/// One sentence about the model, in two parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::keras) struct Fault {
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub next: String,
}

impl Fault {
    pub fn new(what: impl Into<String>, next: impl Into<String>) -> Self {
        Fault { what: what.into(), next: next.into() }
    }

    /// Something that no file of Keras has.
    pub fn damaged(what: impl Into<String>) -> Self {
        Fault::new(what, DAMAGED)
    }

    /// The fault as an error about `file`.
    pub fn of(self, file: &str) -> FormatError {
        FormatError::malformed(file, self.what, self.next)
    }
}
