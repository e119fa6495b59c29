//! `ocellus compare`: which run is better, and is that more than chance?

use std::path::PathBuf;

use clap::Args;
use ocellus::formats::write_atomically;
use ocellus::report::{Compared, compare_runs};

use crate::args::Common;
use crate::{console, words};

const EXAMPLE: &str = "\
Examples:
  ocellus compare runs/train runs/train2
  ocellus compare runs/bn-* runs/gn-* --out norms.html

Runs that differ only in --seed are taken together and drawn as one line with a band from the lowest to the highest seed.
The verdict says whether the difference is more than chance; with one run on a side, only the chance of the validation
images is known. --out FILE.html writes a page, FILE.svg the validation accuracy alone.";

/// What may be said after `ocellus compare`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct CompareArgs {
    /// Run folders
    #[arg(value_name = "RUN", required = true, num_args = 1..)]
    pub runs: Vec<String>,
    /// Draw the curves: .html for a page, .svg for one chart
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Compares.
pub fn run(args: CompareArgs, common: &Common) -> anyhow::Result<()> {
    let compared = compare_runs(&args.runs)?;
    if let Some(file) = &args.out {
        let text = match file.extension().is_some_and(|ending| ending == "svg") {
            true => compared.charts()[0].svg(),
            false => compared.html(),
        };
        write_atomically(file, |out| out.write_all(text.as_bytes()))?;
    }
    if common.json {
        return console::say_json(&compared);
    }
    print(&compared);
    if let Some(file) = &args.out {
        console::say(&format!("drawn: {}", file.display()));
    }
    Ok(())
}

fn print(compared: &Compared) {
    let width =
        compared.groups.iter().map(|g| g.name.chars().count()).max().unwrap_or(0).max("settings".len());
    console::say(&format!(
        "{:<width$}  {:>5}  {:>9}  {:>8}  {:>6}  {:>8}",
        "settings", "seeds", "best top1", "± points", "epoch", "time"
    ));
    for group in &compared.groups {
        let average = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
        let spread = match group.best.len() {
            1 => "-".to_owned(),
            _ => format!("{:.2}", 100.0 * group.deviation),
        };
        let seconds = average(&group.seconds);
        console::say(&format!(
            "{:<width$}  {:>5}  {:>8.2}%  {:>8}  {:>6.0}  {:>8}",
            group.name,
            group.best.len(),
            100.0 * group.mean,
            spread,
            average(&group.best_epochs),
            if seconds.is_finite() { words::clock(seconds) } else { "-".into() }
        ));
    }
    compared.notes.iter().for_each(|note| console::say(&format!("note: {note}")));
    console::say(&compared.verdict);
}
