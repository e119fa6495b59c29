//! A run as its user sees it: a bar on a terminal, a line per epoch, or JSON.

use std::io::IsTerminal;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use ocellus::train::{EpochRecord, EpochTime, Start, StepReport, Watch};

use crate::{console, memory, signals, words};

/// Prints what a run tells.
pub struct Display {
    json: bool,
    bar: Option<ProgressBar>,
    begun: Instant,
    epochs: usize,
    /// Epochs finished in this process.
    finished: usize,
}

impl Display {
    /// With `json`, epochs are JSON objects on standard error; else lines on standard output.
    pub fn new(json: bool) -> Self {
        let on_terminal = !json && std::io::stderr().is_terminal();
        let bar = on_terminal.then(|| {
            let bar = ProgressBar::new(1);
            let style = ProgressStyle::with_template("{prefix} [{bar:30}] {pos}/{len}  {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
            bar
        });
        Display { json, bar, begun: Instant::now(), epochs: 0, finished: 0 }
    }

    /// Takes the bar away.
    pub fn end(&self) {
        self.bar.iter().for_each(ProgressBar::finish_and_clear);
    }

    fn say(&self, line: &str) {
        let print = || if self.json { console::complain(line) } else { console::say(line) };
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// Seconds until the end, by the epochs that this process has seen.
    fn seconds_left(&self, epoch: usize) -> f64 {
        let per_epoch = self.begun.elapsed().as_secs_f64() / self.finished.max(1) as f64;
        per_epoch * (self.epochs - epoch) as f64
    }
}

impl Watch for Display {
    fn started(&mut self, start: &Start) {
        (self.begun, self.epochs) = (Instant::now(), start.epochs);
        if self.json {
            return;
        }
        self.say(&format!(
            "{}: {} classes, {} training and {} validation images, {} epochs of {} steps, {} of memory planned, in {}",
            start.model,
            start.classes,
            start.train_images,
            start.val_images,
            start.epochs,
            start.steps_per_epoch,
            words::bytes(start.planned_bytes as u64),
            start.run.display()
        ));
        if start.steps_done > 0 {
            self.say(&format!("going on after step {}", start.steps_done));
        }
    }

    fn stepped(&mut self, step: &StepReport) {
        let Some(bar) = &self.bar else { return };
        bar.set_length(step.steps as u64);
        bar.set_position(step.step as u64);
        bar.set_prefix(format!("epoch {}/{}", step.epoch, self.epochs));
        let left = (step.steps - step.step) as f64;
        let seconds = bar.elapsed().as_secs_f64() / step.step.max(1) as f64 * left;
        bar.set_message(format!(
            "loss {:.3}  top1 {}  lr {:.4}  {:.0} img/s  {}",
            step.loss,
            words::percent(step.top1),
            step.lr,
            step.images_per_second,
            words::clock(seconds)
        ));
    }

    fn finished_epoch(&mut self, epoch: &EpochRecord, time: EpochTime) {
        self.finished += 1;
        if let Some(bar) = &self.bar {
            bar.reset_elapsed();
        }
        if self.json {
            let mut line = serde_json::json!(epoch);
            line["images_per_second"] = time.images_per_second.into();
            self.say(&line.to_string());
            return;
        }
        let memory = memory::peak().map_or("?".into(), words::bytes);
        self.say(&format!(
            "epoch {}/{}  loss {:.3}  {}  lr {:.4}  {:.0} img/s  mem {memory}  eta {}",
            epoch.epoch,
            self.epochs,
            epoch.loss,
            told(epoch),
            epoch.lr,
            time.images_per_second,
            words::clock(self.seconds_left(epoch.epoch))
        ));
    }

    fn wants_stop(&mut self) -> bool {
        signals::asked_to_stop()
    }

    fn note(&mut self, text: &str) {
        let print = || console::complain(&format!("note: {text}"));
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }
}

/// How much of validation was right.
fn told(epoch: &EpochRecord) -> String {
    let top1 = words::percent(epoch.top1);
    let Some(pairs) = &epoch.pairs else { return format!("top1 {top1}") };
    let classes =
        pairs.class_top1.map(|share| format!("  top1 {}", words::percent(share))).unwrap_or_default();
    format!("pairs {top1}  eer {:.2}%{classes}", 100.0 * pairs.eer)
}
