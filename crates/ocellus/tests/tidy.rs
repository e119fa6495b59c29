//! Holds the house to its rules: which crate may import which, where `unsafe` may stand, how long a file may be.

use std::fs;
use std::path::{Path, PathBuf};

/// Longest source file, in lines.
const FILE_LINES: usize = 600;
/// Longest function, in lines.
const FUNCTION_LINES: usize = 120;

/// For each crate, the crates of this workspace that it may use.
const IMPORTS: &[(&str, &[&str])] = &[
    ("tensor", &[]),
    ("graph", &["tensor"]),
    ("formats", &["tensor", "graph"]),
    ("zoo", &["tensor", "graph"]),
    ("kernels", &["tensor"]),
    ("engine", &["tensor", "graph", "kernels"]),
    ("data", &["tensor"]),
    ("train", &["tensor", "graph", "formats", "zoo", "kernels", "engine", "data"]),
    ("ocellus", &["tensor", "graph", "formats", "zoo", "kernels", "engine", "data", "train"]),
    ("cli", &["ocellus"]),
];

/// Files that may hold `unsafe`; a folder stands for all in it.
const UNSAFE: &[&str] = &["tensor/src/buffer.rs", "kernels/src/", "kernels/examples/"];

/// What the graph must never touch.
const ABSENT_FROM_GRAPH: &[&str] = &["std::fs", "std::thread", "std::time", "std::net", "std::env"];

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crates folder").to_path_buf()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() && path.file_name().is_some_and(|n| n != "target") {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found
}

fn relative(path: &Path) -> String {
    path.strip_prefix(crates()).expect("inside crates").display().to_string()
}

/// The code of a line: without its comment and string contents.
fn code(line: &str) -> String {
    let mut out = String::new();
    let (mut in_string, mut escaped, mut previous) = (false, false, ' ');
    for c in line.chars() {
        match (in_string, c) {
            (true, _) if escaped => escaped = false,
            (true, '\\') => escaped = true,
            (_, '"') => in_string = !in_string,
            (false, '/') if previous == '/' => return out,
            (false, _) => out.push(c),
            _ => {}
        }
        previous = c;
    }
    out
}

#[test]
fn imports_point_one_way() {
    let mut wrong = Vec::new();
    for entry in fs::read_dir(crates()).expect("the crates folder") {
        let folder = entry.expect("a readable entry").path();
        let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
        let Some((_, allowed)) = IMPORTS.iter().find(|(n, _)| *n == name) else {
            panic!("crate {name} is not in the table of imports");
        };
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).expect("a manifest");
        let dependencies = manifest.split("[dependencies]").nth(1).unwrap_or("");
        let dependencies = dependencies.split("\n[").next().unwrap_or("");
        for line in dependencies.lines().filter(|l| l.starts_with("ocellus")) {
            let used = line.split(['.', ' ', '=']).next().unwrap_or("");
            let used = used.strip_prefix("ocellus-").unwrap_or(used);
            if !allowed.contains(&used) {
                wrong.push(format!("{name} must not use {used}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn unsafe_stands_only_where_it_may() {
    let mut wrong = Vec::new();
    for path in sources(&crates()) {
        let name = relative(&path);
        let text = fs::read_to_string(&path).expect("a readable source");
        let allowed = UNSAFE.iter().any(|place| name.starts_with(place));
        let forbids = text.contains("#![forbid(unsafe_code)]") || text.contains("#![deny(unsafe_code)]");
        let is_root = name.ends_with("src/lib.rs") || name.ends_with("src/main.rs");
        if is_root && !name.starts_with("kernels/") && !forbids {
            wrong.push(format!("{name} does not forbid unsafe code"));
        }
        for (number, line) in text.lines().enumerate() {
            let line = code(line);
            let words = line.split(|c: char| !(c.is_alphanumeric() || c == '_'));
            if !allowed && words.clone().any(|w| w == "unsafe") {
                wrong.push(format!("{name}:{} holds unsafe", number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn unsafe_blocks_say_why() {
    let mut wrong = Vec::new();
    for path in
        sources(&crates().join("kernels/src")).into_iter().chain([crates().join("tensor/src/buffer.rs")])
    {
        let text = fs::read_to_string(&path).expect("a readable source");
        let lines: Vec<&str> = text.lines().collect();
        for (i, line) in lines.iter().enumerate() {
            let opens = code(line).contains("unsafe {");
            let explained = lines[i.saturating_sub(8)..=i].iter().any(|l| l.contains("SAFETY"));
            if opens && !explained {
                wrong.push(format!("{}:{}", relative(&path), i + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "unsafe blocks without a SAFETY comment: {wrong:#?}");
}

#[test]
fn the_graph_touches_nothing_outside_itself() {
    let mut wrong = Vec::new();
    for path in sources(&crates().join("graph/src")) {
        let text = fs::read_to_string(&path).expect("a readable source");
        for absent in ABSENT_FROM_GRAPH {
            if text.lines().any(|l| code(l).contains(absent)) {
                wrong.push(format!("{} uses {absent}", relative(&path)));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn files_and_functions_stay_short() {
    let mut wrong = Vec::new();
    for path in sources(&crates()) {
        let text = fs::read_to_string(&path).expect("a readable source");
        let lines = text.lines().count();
        if lines > FILE_LINES {
            wrong.push(format!("{} has {lines} lines, at most {FILE_LINES}", relative(&path)));
        }
        for (start, length) in functions(&text) {
            if length > FUNCTION_LINES {
                wrong.push(format!("{}:{start} has a function of {length} lines", relative(&path)));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// First line and length of each function, by the indentation that rustfmt gives its closing brace.
fn functions(text: &str) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let head = line.trim_start().trim_start_matches("pub ").trim_start_matches("unsafe ");
        if head.starts_with("fn ") || head.starts_with("const fn ") {
            let close = format!("{}}}", " ".repeat(indent));
            if let Some(end) = lines[i..].iter().position(|l| *l == close) {
                found.push((i + 1, end + 1));
            }
        }
    }
    found
}
