//! How do the numbers of a network come about? Reckoned on the graph in hand, in words.
//!
//! [`layer`] explains one layer: shapes, parameters, cost, what it sees. [`topic`] answers a question that people ask
//! about networks, with the numbers of theirs. Nothing is looked up: every number is counted on a graph.

mod comparisons;
mod layer;
mod padding;
mod topics;

use std::collections::BTreeMap;

use serde_json::Value;

pub use layer::layer;
pub use topics::{TOPICS, find_topic, nearest_topic, topic};

/// An explanation: sentences, and the numbers in them by name.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Explanation {
    /// What is explained.
    pub title: String,
    /// One statement a line.
    pub lines: Vec<String>,
    /// The numbers, for programs.
    pub numbers: BTreeMap<String, Value>,
}

impl Explanation {
    fn new(title: impl Into<String>) -> Self {
        Explanation { title: title.into(), ..Explanation::default() }
    }

    fn say(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }

    fn number(&mut self, name: &str, value: impl Into<Value>) {
        self.numbers.insert(name.into(), value.into());
    }
}

/// A number with commas: 25,557,032.
pub(crate) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 kernel`, `16 kernels`.
fn count(number: usize, what: &str) -> String {
    format!("{} {what}{}", grouped(number), if number == 1 { "" } else { "s" })
}

fn percent(part: usize, whole: usize) -> String {
    format!("{:.1}%", 100.0 * part as f64 / whole.max(1) as f64)
}
