//! Running the built binary in a folder of its own.

#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The binary under test.
pub const OCELLUS: &str = env!("CARGO_BIN_EXE_ocellus");

/// A temporary folder in which the binary runs.
pub struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    /// An empty folder.
    pub fn new() -> Self {
        Place { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    /// A path inside it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The command with these words, separated by spaces.
    pub fn command(&self, words: &str) -> Command {
        let mut command = Command::new(OCELLUS);
        command.args(words.split_whitespace()).current_dir(self.folder.path());
        command
    }

    /// Runs it to the end.
    pub fn run(&self, words: &str) -> Done {
        Done::of(self.command(words).output().expect("the binary starts"))
    }

    /// Runs it and expects success.
    pub fn ok(&self, words: &str) -> Done {
        let done = self.run(words);
        assert_eq!(done.code, Some(0), "{words}: {}{}", done.out, done.err);
        done
    }

    /// Runs it and expects one sentence on standard error and exit status 1; gives the sentence.
    pub fn refusal(&self, words: &str) -> String {
        self.run(words).refusal()
    }

    /// Starts it in the background, silent.
    pub fn start(&self, words: &str) -> std::process::Child {
        let mut command = self.command(words);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary starts")
    }

    /// A flat class folder `name` with `each` pictures of every class: class k is bright in row k.
    pub fn pictures(&self, name: &str, classes: usize, each: usize) {
        for class in 0..classes {
            let folder = self.path(name).join(format!("class{class}"));
            std::fs::create_dir_all(&folder).expect("a folder");
            for index in 0..each {
                png(&folder.join(format!("{index}.png")), 16, |x, y| {
                    let bright = y / 4 == class;
                    let noise = ((x * 31 + y * 17 + index * 7) % 40) as u8;
                    if bright { [200 + noise, 180, 160] } else { [noise, noise, 40] }
                });
            }
        }
    }
}

/// Writes a square colour PNG.
pub fn png(path: &Path, side: usize, pixel: impl Fn(usize, usize) -> [u8; 3]) {
    let pixels: Vec<u8> = (0..side * side).flat_map(|i| pixel(i % side, i / side)).collect();
    image::save_buffer(path, &pixels, side as u32, side as u32, image::ColorType::Rgb8).expect("a PNG");
}

/// What a command left behind.
#[derive(Debug)]
pub struct Done {
    /// Exit status; `None` if killed.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Done {
    /// From the process's output.
    pub fn of(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Done { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// The one JSON object on standard output.
    pub fn json(&self) -> serde_json::Value {
        assert_eq!(self.out.lines().count(), 1, "one line of JSON: {}", self.out);
        serde_json::from_str(&self.out).unwrap_or_else(|cause| panic!("{cause}: {}", self.out))
    }

    /// The sentence of a failure: the last line of standard error.
    pub fn refusal(self) -> String {
        assert_eq!(self.code, Some(1), "{}{}", self.out, self.err);
        let errors: Vec<&str> = self.err.lines().filter(|line| line.starts_with("error: ")).collect();
        assert_eq!(errors.len(), 1, "one sentence: {}", self.err);
        for ugly in ["panicked", "backtrace", "RUST_", "Os {", "unwrap", "Error("] {
            assert!(!self.err.contains(ugly), "{ugly} in {}", self.err);
        }
        errors[0].trim_start_matches("error: ").to_string()
    }
}
