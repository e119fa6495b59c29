//! What can be wrong with a file?

use std::io;
use std::path::Path;

/// A file could not be read or written. Each message is one sentence: which file, what is wrong, what to do next.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The operating system refused to hand the file's bytes out.
    #[error("{file}: cannot be read: {source}; {next}")]
    Read {
        /// The file.
        file: String,
        /// Why.
        source: io::Error,
        /// What to do.
        next: &'static str,
    },
    /// The operating system refused to take the bytes, or what was to be written does not fit the format.
    #[error("{file}: cannot be written: {source}; {next}")]
    Write {
        /// The file.
        file: String,
        /// Why.
        source: io::Error,
        /// What to do, and what became of the file that was there.
        next: &'static str,
    },
    /// The bytes are not what the format says they must be.
    #[error("{file}: {what}; {next}")]
    Malformed {
        /// The file (and the part of it).
        file: String,
        /// What is wrong, with the numbers that disagree.
        what: String,
        /// What to do.
        next: String,
    },
}

impl FormatError {
    /// An error about the contents of `file`.
    pub fn malformed(file: impl Into<String>, what: impl Into<String>, next: impl Into<String>) -> Self {
        FormatError::Malformed {
            file: printable(file.into()),
            what: printable(what.into()),
            next: printable(next.into()),
        }
    }

    pub(crate) fn read(path: &Path, source: io::Error) -> Self {
        let next = match source.kind() {
            io::ErrorKind::NotFound => "check the path",
            io::ErrorKind::PermissionDenied => "check that you may read it",
            io::ErrorKind::IsADirectory => "name a file inside it",
            _ => "check the disk it lies on",
        };
        FormatError::Read { file: one_line(path), source, next }
    }

    pub(crate) fn write(path: &Path, source: io::Error) -> Self {
        let next = match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                "free some space there and try again; what was there before is unchanged"
            }
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => "create its folder first",
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                "choose a folder you may write to; what was there before is unchanged"
            }
            io::ErrorKind::IsADirectory => "choose a name that is not a folder's",
            _ => "what was there before is unchanged",
        };
        FormatError::Write { file: path.display().to_string(), source, next }
    }
}

/// The longest part of a sentence, in characters: a file can quote itself at any length.
const LONGEST: usize = 600;

/// What a file says, fit for one line of a terminal: no control characters, and of bearable length.
fn printable(text: String) -> String {
    if text.len() <= LONGEST && !text.contains(char::is_control) {
        return text;
    }
    let mut out = String::new();
    for c in text.chars().take(LONGEST) {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    if text.chars().count() > LONGEST {
        out.push_str("...");
    }
    out
}

/// A path as one line of a sentence: line breaks and other control characters in it are spelled out.
///
/// ```
/// assert_eq!(ocellus_formats::one_line("a\nb.txt".as_ref()), "a\\nb.txt");
/// ```
pub fn one_line(path: &Path) -> String {
    let spelled = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    path.display().to_string().chars().map(spelled).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_says_stays_on_one_line() {
        let error = FormatError::malformed("f", "its name is \"a\n\u{1b}[2J\0b\"", "mend it").to_string();
        assert_eq!(error, "f: its name is \"a\\n\\u{1b}[2J\\u{0}b\"; mend it");
        let long = FormatError::malformed("f", "x".repeat(100_000), "mend it").to_string();
        assert!(long.len() < 700 && long.ends_with("...; mend it"), "{long}");
    }
}
