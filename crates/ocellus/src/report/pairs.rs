//! The report of a network that embeds images: how well distances tell which belong together.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use ocellus_train::Verification;

use super::history::{Epoch, curves};
use super::make;
use super::page::STYLE;
use super::svg::{Chart, Series, escaped};
use crate::load::LoadError;

/// Points of a drawn curve; the file has all of them.
const DRAWN: usize = 400;
/// Bins of distances.
const BINS: usize = 50;

/// What is known of a network that embeds images.
pub struct PairReport<'a> {
    /// What it is called.
    pub name: String,
    /// What it was measured on, in words.
    pub measured_on: String,
    /// How it tells pairs apart.
    pub verification: &'a Verification,
    /// Other figures: what they are, and their values as shares.
    pub shares: Vec<(String, f64)>,
    /// The run's epochs.
    pub history: Option<&'a [Epoch]>,
}

/// Writes `report.html`, `roc.csv`, `roc.svg` and `distances.svg` into `folder`, which is made if need be; gives the files.
///
/// Errors: a file cannot be written.
pub fn write_pairs(report: &PairReport<'_>, folder: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let mut files = make(folder)?;
    let (roc, distances) = (roc_chart(report.verification), distance_chart(report.verification));
    files.text("report.html", &html(report, &[&roc, &distances]))?;
    files.text("roc.csv", &roc_csv(report.verification))?;
    files.text("roc.svg", &roc.svg())?;
    files.text("distances.svg", &distances.svg())?;
    Ok(files.written)
}

fn roc_csv(verification: &Verification) -> String {
    let mut out = String::from("threshold,false_accepted,accepted\n");
    for point in verification.roc() {
        let _ = writeln!(out, "{},{:.6},{:.6}", point.threshold, point.false_accepted, point.accepted);
    }
    out
}

fn roc_chart(verification: &Verification) -> Chart {
    let roc = verification.roc();
    let step = roc.len().div_ceil(DRAWN).max(1);
    let last = roc.len().saturating_sub(1);
    let drawn = roc.iter().enumerate().filter(|(index, _)| index % step == 0 || *index == last);
    let line = |name: String, points: Vec<[f64; 2]>, colour: usize, dashed: bool| Series {
        name,
        points,
        colour,
        dashed,
        ..Series::default()
    };
    let points = drawn.map(|(_, point)| [point.false_accepted, point.accepted]).collect();
    // So many points that none is marked.
    let chance = (0..=BINS).map(|i| [i as f64 / BINS as f64; 2]).collect();
    Chart {
        title: "ROC".into(),
        x: "share of strangers taken for the same".into(),
        y: "share of mates found".into(),
        percent: true,
        series: vec![
            line(format!("area {:.4}", verification.auc), points, 0, false),
            line("chance".into(), chance, 7, true),
        ],
    }
}

fn distance_chart(verification: &Verification) -> Chart {
    let most = verification.pairs.iter().map(|pair| pair.distance).fold(0.0, f64::max).max(1e-9);
    let counted = |same: bool, name: &str, colour: usize| {
        let mut counts = [0.0; BINS];
        let own = || verification.pairs.iter().filter(move |pair| pair.same == same);
        own().for_each(|pair| counts[((pair.distance / most * BINS as f64) as usize).min(BINS - 1)] += 1.0);
        let all = own().count().max(1) as f64;
        let at = |(bin, count): (usize, &f64)| [(bin as f64 + 0.5) * most / BINS as f64, count / all];
        let points = counts.iter().enumerate().map(at).collect();
        Series { name: name.into(), points, colour, ..Series::default() }
    };
    Chart {
        title: "Distances".into(),
        x: format!("distance (the best threshold is {:.3})", verification.threshold),
        y: "share of the pairs".into(),
        percent: true,
        series: vec![counted(true, "of one class", 0), counted(false, "of two classes", 1)],
    }
}

fn html(report: &PairReport<'_>, charts: &[&Chart]) -> String {
    let title = escaped(&report.name);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width,initial-scale=1\"><title>{title}</title><style>{STYLE}</style></head><body>\n\
         <h1>{title}</h1>\n<p class=\"sub\">{}</p>\n<div class=\"tiles\">",
        escaped(&report.measured_on)
    );
    let found = report.verification;
    let own = [
        ("equal error rate".to_string(), found.eer),
        ("pairs told rightly".to_string(), found.accuracy),
        ("area under the ROC curve".to_string(), found.auc),
    ];
    for (what, share) in own.iter().chain(&report.shares) {
        let _ = write!(
            out,
            "<div class=\"tile\"><b>{:.2}%</b><span>{}</span></div>",
            100.0 * share,
            escaped(what)
        );
    }
    out.push_str("</div>\n<h2>Same or not</h2>\n<div class=\"charts\">");
    charts.iter().for_each(|chart| out.push_str(&chart.svg()));
    out.push_str("</div>\n");
    if let Some(history) = report.history.filter(|history| !history.is_empty()) {
        out.push_str("<h2>Training</h2>\n<div class=\"charts\">");
        curves(history).iter().for_each(|chart| out.push_str(&chart.svg()));
        out.push_str("</div>\n");
    }
    out.push_str("</body></html>\n");
    out
}
