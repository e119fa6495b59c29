//! A model card: what the model is for, what it learned from, how, how good it is, and where it comes from (after M.
//! Mitchell et al., "Model Cards for Model Reporting", 2019).

use std::fmt::Write;

use ocellus_graph::Summary;

use super::Report;
use crate::explain::grouped;

/// The card as Markdown.
pub(super) fn markdown(report: &Report<'_>) -> String {
    let mut out = String::new();
    let metrics = &report.assessment.metrics;
    let summary = Summary::of(&report.model.graph);
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let [low, high] = metrics.top1_interval();
    let _ = writeln!(out, "# {}\n", report.name);
    let _ = writeln!(
        out,
        "An image classifier for {} classes: {}.\n",
        report.model.classes.len(),
        listed(&report.model.classes, 20)
    );
    let _ = writeln!(out, "## How good it is\n");
    let _ =
        writeln!(out, "Measured on {} images it was not trained on ({}).\n", metrics.images(), report.data);
    let _ = writeln!(out, "| | |\n|---|---|");
    let _ = writeln!(
        out,
        "| top-1 accuracy | {} (95 % interval {} to {}) |",
        percent(metrics.top1()),
        percent(low),
        percent(high)
    );
    // Of five classes or fewer it is always all.
    if report.model.classes.len() > 5 {
        let _ = writeln!(out, "| top-5 accuracy | {} |", percent(metrics.top5()));
    }
    let _ = writeln!(out, "| balanced accuracy | {} |", percent(metrics.balanced_accuracy()));
    let _ = writeln!(out, "| macro F1 | {:.3} |", metrics.macro_f1());
    let _ = writeln!(out, "| loss | {:.4} nats |", metrics.loss());
    let _ = writeln!(
        out,
        "| calibration error (ECE, 15 bins) | {} |",
        percent(report.assessment.calibration.ece)
    );
    let _ = writeln!(out);
    let mut classes = metrics.report(&report.model.classes);
    classes.retain(|class| class.images > 0);
    classes.sort_by(|a, b| a.recall.total_cmp(&b.recall));
    let weakest = classes.iter().take(5).map(|c| format!("{} (recall {})", c.class, percent(c.recall)));
    let _ = writeln!(out, "Weakest classes: {}.\n", weakest.collect::<Vec<_>>().join(", "));
    let _ = writeln!(out, "## What it is\n");
    let _ = writeln!(out, "| | |\n|---|---|");
    let _ = writeln!(out, "| network | {} |", summary.name);
    let _ = writeln!(
        out,
        "| parameters | {} |",
        grouped(summary.parameters.trainable + summary.parameters.frozen)
    );
    let _ = writeln!(out, "| multiply-accumulates | {} |", grouped(summary.macs as usize));
    if let Some(preprocess) = &report.preprocess {
        let [height, width] = preprocess.size;
        let _ = writeln!(
            out,
            "| input | {} x {height} x {width}, mean {:?}, deviation {:?} |",
            preprocess.channels, preprocess.mean, preprocess.std
        );
    }
    let _ = writeln!(out);
    if let Some(config) = report.config {
        let _ = writeln!(out, "## How it was trained\n");
        let _ = writeln!(out, "On {} images of {}.", report.train_images, config.data);
        if !report.left_out.is_empty() {
            let _ = writeln!(out, "{} damaged images were left out.", report.left_out.len());
        }
        match config.to_toml() {
            Ok(text) => {
                let short = text.lines().filter(|line| !line.starts_with("classes = "));
                let _ = writeln!(out, "\n```toml\n{}\n```\n", short.collect::<Vec<_>>().join("\n"));
            }
            Err(_) => out.push('\n'),
        }
    }
    let _ = writeln!(out, "## Where it comes from\n");
    let _ = writeln!(out, "Made by Ocellus {}.", env!("CARGO_PKG_VERSION"));
    for (key, value) in &report.model.info {
        if value.len() < 200 {
            let _ = writeln!(out, "- {key}: {value}");
        }
    }
    let _ = writeln!(
        out,
        "\n## What it is not for\n\nIt knows the classes above and nothing else: any other picture is given one of them. Its \
         figures hold for pictures like those it was measured on. The licence of the training images is not recorded here."
    );
    out
}

fn listed(names: &[String], most: usize) -> String {
    let shown = names.iter().take(most).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > most { format!("{shown} and {} more", names.len() - most) } else { shown }
}
