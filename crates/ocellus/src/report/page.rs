//! The page: one file that needs nothing else.

use std::fmt::Write;

use ocellus_graph::Summary;

use super::svg::{escaped, matrix, reliability};
use super::{Pictures, Report, history};
use crate::explain::grouped;

pub(super) const STYLE: &str = "
:root{color-scheme:light;--ink:#1c1c1e;--dim:#6b6b70;--line:#e3e3e6;--blue:#0072b2;--red:#c8401a}
*{box-sizing:border-box}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:#fff;max-width:1080px;margin:0 auto;padding:28px 20px 60px}
h1{font-size:26px;margin:0 0 2px} h2{font-size:19px;margin:38px 0 10px;padding-top:14px;border-top:1px solid var(--line)}
p.sub{color:var(--dim);margin:0 0 18px}
.tiles{display:flex;flex-wrap:wrap;gap:12px}
.tile{flex:1 1 150px;border:1px solid var(--line);border-radius:10px;padding:12px 14px}
.tile b{display:block;font-size:24px;font-weight:650} .tile span{color:var(--dim);font-size:13px}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:5px 10px;text-align:right;border-bottom:1px solid var(--line)} th:first-child,td:first-child{text-align:left}
th{font-weight:600;color:var(--dim);font-size:13px}
.bar{display:inline-block;height:9px;background:var(--blue);border-radius:2px;vertical-align:middle;opacity:.75}
.charts{display:flex;flex-wrap:wrap;gap:16px} .charts svg{max-width:100%;height:auto}
.gallery{display:flex;flex-wrap:wrap;gap:14px} figure{margin:0;max-width:270px}
figure img{height:128px;width:auto;max-width:270px;border-radius:6px;margin-right:4px;image-rendering:auto;background:#f3f3f3}
figcaption{font-size:13px;line-height:1.35;margin-top:3px} .wrong{color:var(--red)} .right{color:#1d7a3a} small{color:var(--dim)}
.sheet{max-width:100%;border-radius:6px} pre{background:#f6f6f8;padding:12px 14px;border-radius:8px;overflow:auto;font-size:13px}
details summary{cursor:pointer;color:var(--dim)} .scroll{overflow-x:auto}
";

/// The page as HTML.
pub(super) fn html(report: &Report<'_>, pictures: &Pictures) -> String {
    let mut out = String::new();
    let title = escaped(&report.name);
    let _ = writeln!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width,initial-scale=1\"><title>{title}</title><style>{STYLE}</style></head><body>\n\
         <h1>{title}</h1>\n<p class=\"sub\">{}</p>",
        escaped(&subtitle(report))
    );
    tiles(&mut out, report);
    if let Some(history) = report.history.filter(|h| !h.is_empty()) {
        out.push_str("<h2>Training</h2>\n<div class=\"charts\">");
        history::curves(history).iter().for_each(|chart| out.push_str(&chart.svg()));
        out.push_str("</div>\n");
    }
    classes(&mut out, report);
    confusion(&mut out, report);
    calibration(&mut out, report);
    section(&mut out, "Highest losses", "What it was surest about and wrong.", &pictures.top_losses);
    section(
        &mut out,
        "Misclassified",
        "One of each confusion, the most frequent first.",
        &pictures.misclassified,
    );
    if let Some(url) = &pictures.samples {
        let _ = writeln!(
            out,
            "<h2>What the network sees</h2>\n<p class=\"sub\">Training images as they are fed: resized, cut, changed at random; \
             normalisation undone.</p>\n<img class=\"sheet\" src=\"{url}\" alt=\"training images as the network sees them\">"
        );
    }
    details(&mut out, report);
    out.push_str("</body></html>\n");
    out
}

fn percent(share: f64) -> String {
    format!("{:.1}%", 100.0 * share)
}

fn subtitle(report: &Report<'_>) -> String {
    let summary = Summary::of(&report.model.graph);
    format!(
        "{} · {} parameters · {} classes · measured on {} images of {}",
        summary.name,
        grouped(summary.parameters.trainable + summary.parameters.frozen),
        report.model.classes.len(),
        grouped(report.assessment.metrics.images() as usize),
        report.data
    )
}

fn tiles(out: &mut String, report: &Report<'_>) {
    let metrics = &report.assessment.metrics;
    let [low, high] = metrics.top1_interval();
    let mut tiles = vec![
        (percent(metrics.top1()), format!("top-1 (95% interval {} to {})", percent(low), percent(high))),
        (percent(metrics.balanced_accuracy()), "balanced accuracy".into()),
        (format!("{:.3}", metrics.macro_f1()), "macro F1".into()),
        (format!("{:.3}", metrics.loss()), "loss, nats".into()),
        (percent(report.assessment.calibration.ece), "calibration error".into()),
    ];
    if report.model.classes.len() > 5 {
        tiles.insert(1, (percent(metrics.top5()), "top-5".into()));
    }
    out.push_str("<div class=\"tiles\">");
    for (number, what) in tiles {
        let _ = write!(out, "<div class=\"tile\"><b>{number}</b><span>{what}</span></div>");
    }
    out.push_str("</div>\n");
}

fn classes(out: &mut String, report: &Report<'_>) {
    const OPEN: usize = 40;
    let classes = report.assessment.metrics.report(&report.model.classes);
    out.push_str("<h2>Classes</h2>\n");
    let folded = classes.len() > OPEN;
    if folded {
        let _ = write!(out, "<details><summary>{} classes</summary>", classes.len());
    }
    out.push_str(
        "<div class=\"scroll\"><table><tr><th>class</th><th>images</th><th>precision</th><th>recall</th><th>95% interval</th>\
         <th>F1</th><th></th></tr>\n",
    );
    for class in &classes {
        let [low, high] = class.recall_interval;
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{} to {}</td><td>{:.3}</td><td style=\"text-align:left\">\
             <span class=\"bar\" style=\"width:{:.0}px\"></span></td></tr>",
            escaped(&class.class),
            class.images,
            percent(class.precision),
            percent(class.recall),
            percent(low),
            percent(high),
            class.f1,
            120.0 * class.f1
        );
    }
    out.push_str("</table></div>\n");
    if folded {
        out.push_str("</details>\n");
    }
}

fn confusion(out: &mut String, report: &Report<'_>) {
    let (classes, rows) = (&report.model.classes, report.assessment.metrics.confusion());
    let rows: Vec<Vec<u64>> = rows.iter().map(|row| row.to_vec()).collect();
    out.push_str("<h2>Confusion</h2>\n<div class=\"charts scroll\">");
    out.push_str(&matrix("Images", classes, &rows, false));
    if classes.len() <= super::LARGEST_MATRIX {
        out.push_str(&matrix("Share of each class, in per cent", classes, &rows, true));
    }
    out.push_str("</div>\n");
    let confused = report.assessment.confusions(10);
    if !confused.is_empty() {
        out.push_str("<table><tr><th>what it is</th><th>taken for</th><th>images</th></tr>\n");
        for (count, actual, predicted) in confused {
            let _ = writeln!(
                out,
                "<tr><td>{}</td><td>{}</td><td>{count}</td></tr>",
                escaped(&classes[actual]),
                escaped(&classes[predicted])
            );
        }
        out.push_str("</table>\n");
    }
}

fn calibration(out: &mut String, report: &Report<'_>) {
    let now = &report.assessment.calibration;
    out.push_str("<h2>Is it as sure as it should be?</h2>\n<div class=\"charts\">");
    out.push_str(&reliability(&now.bins, now.ece));
    out.push_str("<div style=\"flex:1 1 300px\"><p>On the dashed line, of the images it is 80% sure of, 80% are right. Below it the \
                  model is too sure of itself, above it not sure enough.</p>");
    if let Some(temperature) = report.temperature {
        let after = report.assessment.calibration_at(temperature);
        let _ = write!(
            out,
            "<p>Logits divided by <b>{temperature:.3}</b> fit best: calibration error {} instead of {}, loss {:.4} instead of \
             {:.4}. (Fitted on these very images; no prediction changes.)</p>",
            percent(after.ece),
            percent(now.ece),
            after.loss,
            now.loss
        );
    }
    out.push_str("</div></div>\n");
}

fn section(out: &mut String, title: &str, what: &str, figures: &str) {
    if figures.contains("<figure>") {
        let _ = writeln!(
            out,
            "<h2>{title}</h2>\n<p class=\"sub\">{what} Beside each picture, where the network looked.</p>\n{figures}"
        );
    }
}

fn details(out: &mut String, report: &Report<'_>) {
    if let Some(text) = report.config.and_then(|config| config.to_toml().ok()) {
        let _ = writeln!(
            out,
            "<h2>Settings</h2>\n<details><summary>config.toml</summary><pre>{}</pre></details>",
            escaped(&text)
        );
    }
    if !report.left_out.is_empty() {
        let _ = write!(
            out,
            "<h2>Left out</h2>\n<p class=\"sub\">{} damaged images.</p>\n<table><tr><th>image</th><th>why</th></tr>",
            report.left_out.len()
        );
        for bad in report.left_out.iter().take(200) {
            let _ =
                writeln!(out, "<tr><td>{}</td><td>{}</td></tr>", escaped(&bad.image), escaped(&bad.reason));
        }
        out.push_str("</table>\n");
    }
    let _ =
        writeln!(out, "<p class=\"sub\" style=\"margin-top:40px\">Ocellus {}</p>", env!("CARGO_PKG_VERSION"));
}
