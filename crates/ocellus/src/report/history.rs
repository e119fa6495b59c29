//! What a run's epochs showed, as its `results.csv` keeps it.

use std::path::Path;

use ocellus_train::RunFolder;

use super::svg::{Chart, Series};
use crate::load::LoadError;

/// One epoch. What the file does not say is NaN.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[allow(missing_docs)]
pub struct Epoch {
    pub epoch: f64,
    pub step: f64,
    pub lr: f64,
    pub train_loss: f64,
    pub train_top1: f64,
    pub val_loss: f64,
    pub val_top1: f64,
    pub val_top5: f64,
    pub seconds: f64,
}

/// Reads the epochs of the run in `path`; columns are found by their names.
///
/// Errors: the file cannot be read, or a line does not fit its heading.
pub fn read_history(path: &Path) -> Result<Vec<Epoch>, LoadError> {
    let file = RunFolder::at(path).results();
    let text = std::fs::read_to_string(&file).map_err(|cause| {
        LoadError::Setting(format!("{} cannot be read: {cause}; is it a run?", file.display()))
    })?;
    parse(&text).map_err(|reason| LoadError::Setting(format!("{}: {reason}", file.display())))
}

fn parse(text: &str) -> Result<Vec<Epoch>, String> {
    let mut lines = text.lines();
    let heading: Vec<&str> = lines.next().unwrap_or_default().split(',').map(str::trim).collect();
    let place = |name: &str| heading.iter().position(|column| *column == name);
    if place("epoch").is_none() || place("val_loss").is_none() {
        return Err("its first line does not name the columns epoch and val_loss".into());
    }
    let mut epochs = Vec::new();
    for (number, line) in lines.enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let cells: Vec<&str> = line.split(',').collect();
        if cells.len() != heading.len() {
            let (have, want) = (cells.len(), heading.len());
            return Err(format!("line {} has {have} cells, the heading {want}", number + 2));
        }
        let value = |name: &str| place(name).and_then(|i| cells[i].trim().parse().ok()).unwrap_or(f64::NAN);
        epochs.push(Epoch {
            epoch: value("epoch"),
            step: value("step"),
            lr: value("lr"),
            train_loss: value("train_loss"),
            train_top1: value("train_top1"),
            val_loss: value("val_loss"),
            val_top1: value("val_top1"),
            val_top5: value("val_top5"),
            seconds: value("seconds"),
        });
    }
    Ok(epochs)
}

/// Loss, accuracy and learning rate over the epochs.
pub fn curves(history: &[Epoch]) -> [Chart; 3] {
    let line = |name: &str, colour: usize, value: fn(&Epoch) -> f64| Series {
        name: name.into(),
        points: history.iter().map(|e| [e.epoch, value(e)]).collect(),
        colour,
        ..Series::default()
    };
    let chart = |title: &str, y: &str, percent: bool, series: Vec<Series>| Chart {
        title: title.into(),
        x: "epoch".into(),
        y: y.into(),
        percent,
        series,
    };
    let losses = vec![line("training", 1, |e| e.train_loss), line("validation", 0, |e| e.val_loss)];
    let shares = vec![line("training", 1, |e| e.train_top1), line("validation", 0, |e| e.val_top1)];
    [
        chart("Loss", "nats", false, losses),
        chart("Accuracy (top-1)", "right", true, shares),
        chart("Learning rate", "at the epoch's end", false, vec![line("", 2, |e| e.lr)]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found_by_name_and_gaps_are_not_numbers() {
        let found = parse("val_loss,epoch,other,seconds\n0.5,1,x,\n0.25,2,,3.5\n").unwrap();
        assert_eq!((found.len(), found[1].val_loss, found[1].seconds), (2, 0.25, 3.5));
        assert!(found[0].seconds.is_nan() && found[0].lr.is_nan());
        assert!(parse("a,b\n").is_err() && parse("epoch,val_loss\n1\n").unwrap_err().contains("line 2"));
    }
}
