//! `ocellus train --lr-find`: the loss over the learning rate.

use ocellus::train::{Choices, Prepared, RateCurve, find_rate};

use crate::args::Common;
use crate::{console, words};

/// Lines of the curve, and the width of its longest bar.
const LINES: usize = 24;
const WIDTH: f64 = 48.0;

/// Tries rates and shows what they did.
pub fn run(choices: &Choices, steps: usize, common: &Common) -> anyhow::Result<()> {
    let prepared = Prepared::new(choices)?;
    prepared.images.notes.iter().for_each(|note| console::complain(&format!("note: {note}")));
    let curve = find_rate(&prepared, steps, &common.machine())?;
    if common.json {
        return console::say_json(&curve);
    }
    draw(&curve);
    console::say(&format!(
        "the loss falls fastest at {:.2e} and is lowest at {:.2e}; the recipe takes {:.2e}",
        curve.suggestion, curve.lowest, prepared.config.lr
    ));
    console::say(&format!("next: {} train ... --lr {:.2e}", words::program(), curve.suggestion));
    Ok(())
}

/// A bar per rate, the suggestion marked.
fn draw(curve: &RateCurve) {
    let losses = || curve.points.iter().map(|point| point.smoothed);
    let low = losses().fold(f64::INFINITY, f64::min);
    // What is beyond twice the first loss is off the chart.
    let high = losses().next().map_or(1.0, |first| losses().fold(0.0, f64::max).min(2.0 * first));
    let every = curve.points.len().div_ceil(LINES).max(1);
    console::say(&format!("{:>9}  {:>8}", "rate", "loss"));
    for chunk in curve.points.chunks(every) {
        let point = &chunk[chunk.len() / 2];
        let share = ((point.smoothed - low) / (high - low).max(1e-12)).clamp(0.0, 1.0);
        let bar = "#".repeat((share * WIDTH).round() as usize);
        let mark = if chunk.iter().any(|p| p.lr == curve.suggestion) { "  <- steepest" } else { "" };
        console::say(&format!("{:>9.2e}  {:>8.4}  {bar}{mark}", point.lr, point.smoothed));
    }
}
