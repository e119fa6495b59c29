//! Printing that survives a reader who has gone away (`ocellus ... | head`).

use std::io::{self, Write};

use serde::Serialize;

/// Prints a line on standard output.
pub fn say(line: &str) {
    write(&mut io::stdout().lock(), line);
}

/// Prints a line on standard error.
pub fn complain(line: &str) {
    write(&mut io::stderr().lock(), line);
}

/// Prints one JSON object on standard output.
pub fn say_json(value: &impl Serialize) -> anyhow::Result<()> {
    say(&serde_json::to_string(value)?);
    Ok(())
}

/// Nobody reads any more: that is no reason to stop working, nor a failure.
fn write(out: &mut dyn Write, line: &str) {
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
