//! Is one run better than another? Runs that differ only in their seed are taken together.
//!
//! Two groups are compared by the validation top-1 of their best epochs. With several seeds on both sides, the difference of
//! the means has Welch's 95 % interval (B. L. Welch, "The Generalization of 'Student's' Problem when Several Different
//! Population Variances are Involved", 1947). With one run on a side, chance is that of the validation images alone:
//! `1.96 sqrt(p (1 - p) / n + q (1 - q) / m)`. If 0 lies inside, no difference was shown.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ocellus_train::{RunFolder, TrainConfig};
use serde::Serialize;
use serde_json::Value;

use super::history::{Epoch, read_history};
use super::svg::{Chart, Series, escaped};
use crate::load::LoadError;

/// The setting that holds a described network itself; its name is told instead.
const NETWORK: &str = "network";

/// 97.5 % quantiles of Student's t with 1, 2, .. degrees of freedom; beyond, the normal distribution's.
const T: [f64; 12] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179];
const Z: f64 = 1.96;

/// Runs compared.
#[derive(Clone, Debug, Serialize)]
pub struct Compared {
    /// The groups, the best first.
    pub groups: Vec<Group>,
    /// What was found, in one line.
    pub verdict: String,
    /// Things worth telling, one sentence each.
    pub notes: Vec<String>,
}

/// Runs with the same settings but for their seeds.
#[derive(Clone, Debug, Serialize)]
pub struct Group {
    /// The settings by which it differs from the others.
    pub name: String,
    /// The run folders.
    pub runs: Vec<String>,
    /// Their seeds.
    pub seeds: Vec<u64>,
    /// Best validation top-1 of each run.
    pub best: Vec<f64>,
    /// The mean of those.
    pub mean: f64,
    /// Their standard deviation; 0 for one run.
    pub deviation: f64,
    /// The epoch of each best.
    pub best_epochs: Vec<f64>,
    /// Training time of each run, in seconds; NaN where it is not known.
    pub seconds: Vec<f64>,
    #[serde(skip)]
    histories: Vec<Vec<Epoch>>,
    #[serde(skip)]
    val_images: f64,
    #[serde(skip)]
    settings: BTreeMap<String, String>,
}

/// Reads and compares runs.
///
/// Errors: a folder holds no run, or one without a finished epoch.
pub fn compare_runs(paths: &[String]) -> Result<Compared, LoadError> {
    let mut groups: Vec<Group> = Vec::new();
    for path in paths {
        add(path, &mut groups)?;
    }
    let varying = varying(&groups);
    for group in &mut groups {
        group.name = name_of(group, &varying);
        group.mean = mean(&group.best);
        group.deviation = deviation(&group.best);
    }
    groups.sort_by(|a, b| b.mean.total_cmp(&a.mean));
    let mut notes = Vec::new();
    if varying.contains("data") {
        notes.push("the runs are of different data: their accuracies do not mean the same".to_owned());
    }
    if varying.contains("epochs") {
        notes.push("the runs are of different lengths".to_owned());
    }
    Ok(Compared { verdict: verdict(&groups), groups, notes })
}

fn add(path: &str, groups: &mut Vec<Group>) -> Result<(), LoadError> {
    let run = RunFolder::at(path);
    let config = TrainConfig::of_run(&run)?;
    let history = read_history(Path::new(path))?;
    let top1 = |e: &Epoch| if e.val_top1.is_nan() { f64::MIN } else { e.val_top1 };
    let Some(best) =
        history.iter().max_by(|a, b| top1(a).total_cmp(&top1(b)).then(b.epoch.total_cmp(&a.epoch)))
    else {
        return Err(LoadError::Setting(format!("{path} has no finished epoch yet; compare it when it has")));
    };
    let (best_top1, best_epoch) = (best.val_top1, best.epoch);
    let settings = settings(&config, &run)?;
    let seconds = history.iter().map(|e| e.seconds).sum();
    let group = match groups.iter_mut().find(|group| group.settings == settings) {
        Some(group) => group,
        None => {
            groups.push(Group {
                name: String::new(),
                runs: Vec::new(),
                seeds: Vec::new(),
                best: Vec::new(),
                mean: 0.0,
                deviation: 0.0,
                best_epochs: Vec::new(),
                seconds: Vec::new(),
                histories: Vec::new(),
                val_images: val_images(&run),
                settings,
            });
            let last = groups.len() - 1;
            &mut groups[last]
        }
    };
    group.runs.push(path.to_owned());
    group.seeds.push(config.seed);
    group.best.push(best_top1);
    group.best_epochs.push(best_epoch);
    group.seconds.push(seconds);
    group.histories.push(history);
    Ok(())
}

/// Every setting but the seed, what follows from it (the mean of the images it drew), and when checkpoints are written, by
/// its dotted name.
///
/// A network that the run keeps a description of is told by its name and by what it is, not by where that lies.
fn settings(config: &TrainConfig, run: &RunFolder) -> Result<BTreeMap<String, String>, LoadError> {
    let text = config.to_toml()?;
    let table: toml::Table =
        text.parse().map_err(|cause| LoadError::Setting(format!("the settings cannot be read: {cause}")))?;
    let mut found = BTreeMap::new();
    flatten("", &toml::Value::Table(table), &mut found);
    let follows = ["seed", "preprocess.mean", "preprocess.std"];
    found.retain(|name, _| !follows.contains(&name.as_str()) && !name.starts_with("checkpoint_"));
    if let Ok(text) = std::fs::read_to_string(run.described()) {
        let name = text.lines().find_map(|line| line.strip_prefix("network ")).unwrap_or("network");
        found.insert("model".into(), name.trim_matches('"').to_owned());
        found.insert(NETWORK.into(), text.clone());
    }
    Ok(found)
}

fn flatten(prefix: &str, value: &toml::Value, found: &mut BTreeMap<String, String>) {
    if let toml::Value::Table(table) = value {
        for (name, value) in table {
            let name = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            flatten(&name, value, found);
        }
        return;
    }
    found.insert(prefix.to_owned(), value.to_string().trim_matches('"').to_owned());
}

fn val_images(run: &RunFolder) -> f64 {
    let text = std::fs::read_to_string(run.metrics()).unwrap_or_default();
    let value: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
    let classes = value["classes"].as_array().map(Vec::as_slice).unwrap_or_default();
    classes.iter().filter_map(|class| class["images"].as_f64()).sum()
}

/// The settings that are not the same in all groups.
fn varying(groups: &[Group]) -> BTreeSet<String> {
    let names: BTreeSet<&String> = groups.iter().flat_map(|group| group.settings.keys()).collect();
    let differs = |name: &&&String| {
        groups.iter().any(|group| group.settings.get(**name) != groups[0].settings.get(**name))
    };
    names.iter().filter(differs).map(|name| (*name).clone()).collect()
}

/// The differing settings in few words: the plainest first, as those that follow from them (means, rates) say less.
fn name_of(group: &Group, varying: &BTreeSet<String>) -> String {
    const FIRST: [&str; 9] =
        ["model", "data", "optimiser", "lr", "batch", "epochs", "schedule", "augment", "preprocess.size"];
    const MOST: usize = 3;
    let rank = |name: &str| FIRST.iter().position(|first| name.starts_with(first)).unwrap_or(FIRST.len());
    // Another optimiser or schedule has other constants, too: its name says enough.
    let follows = |name: &str| {
        ["optimiser", "schedule"].iter().any(|part| {
            let kind = format!("{part}.kind");
            name != kind && name.starts_with(&format!("{part}.")) && varying.contains(&kind)
        })
    };
    let mut names: Vec<&String> = varying.iter().filter(|name| *name != NETWORK && !follows(name)).collect();
    names.sort_by_key(|name| (rank(name), name.len()));
    let told = names.iter().take(MOST).map(|name| {
        let value = group.settings.get(*name).map_or("-", String::as_str);
        let short = name.rsplit('.').next().unwrap_or(name);
        match name.as_str() {
            "model" | "optimiser.kind" | "schedule.kind" => value.to_owned(),
            _ => format!("{short} {value}"),
        }
    });
    let told: Vec<String> = told.collect();
    if told.is_empty() { group.runs.first().cloned().unwrap_or_default() } else { told.join(", ") }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn deviation(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let middle = mean(values);
    let squares: f64 = values.iter().map(|v| (v - middle).powi(2)).sum();
    (squares / (values.len() - 1) as f64).sqrt()
}

/// The half-width of the 95 % interval of the difference of two groups, and what it rests on.
fn half_width(a: &Group, b: &Group) -> (f64, String) {
    let seeds = [a.best.len(), b.best.len()];
    if seeds.iter().all(|&n| n >= 2) {
        let [va, vb] = [a, b].map(|g| g.deviation.powi(2) / g.best.len() as f64);
        let parts = va.powi(2) / (seeds[0] - 1) as f64 + vb.powi(2) / (seeds[1] - 1) as f64;
        let freedom = if parts > 0.0 { (va + vb).powi(2) / parts } else { f64::INFINITY };
        let t = T.get((freedom.floor() as usize).saturating_sub(1)).copied().unwrap_or(Z);
        return (t * (va + vb).sqrt(), format!("{} and {} seeds", seeds[0], seeds[1]));
    }
    let chance = |g: &Group| g.mean * (1.0 - g.mean) / g.val_images;
    let half = Z * (chance(a) + chance(b)).sqrt();
    (half, format!("one run on a side, {} validation images", a.val_images.min(b.val_images)))
}

fn verdict(groups: &[Group]) -> String {
    let percent = |x: f64| format!("{:.2}%", 100.0 * x);
    let [best, second, ..] = groups else {
        let Some(only) = groups.first() else { return "nothing to compare".into() };
        return format!(
            "one setting, {} seeds: top1 {} ± {:.2} points",
            only.best.len(),
            percent(only.mean),
            100.0 * only.deviation
        );
    };
    let (gain, (half, basis)) = (best.mean - second.mean, half_width(best, second));
    if gain > half {
        return format!(
            "{} is better than {}: top1 {} against {}, {:.2} ± {:.2} points ({basis}, 95% interval)",
            best.name,
            second.name,
            percent(best.mean),
            percent(second.mean),
            100.0 * gain,
            100.0 * half
        );
    }
    format!(
        "no difference is shown between {} and {}: top1 {} against {}, {:.2} ± {:.2} points ({basis}, 95% interval)",
        best.name,
        second.name,
        percent(best.mean),
        percent(second.mean),
        100.0 * gain,
        100.0 * half
    )
}

impl Compared {
    /// Validation loss and top-1 and training loss of all groups on the same axes, seeds as bands.
    pub fn charts(&self) -> [Chart; 3] {
        let chart = |title: &str, y: &str, percent: bool, value: fn(&Epoch) -> f64| Chart {
            title: title.into(),
            x: "epoch".into(),
            y: y.into(),
            percent,
            series: self.groups.iter().enumerate().map(|(colour, g)| g.series(colour, value)).collect(),
        };
        [
            chart("Validation accuracy (top-1)", "right", true, |e| e.val_top1),
            chart("Validation loss", "nats", false, |e| e.val_loss),
            chart("Training loss", "nats", false, |e| e.train_loss),
        ]
    }

    /// A page that needs nothing else.
    pub fn html(&self) -> String {
        let rows: String = self
            .groups
            .iter()
            .map(|g| {
                format!(
                    "<tr><td>{}</td><td>{}</td><td>{:.2}%</td><td>{}</td><td>{}</td></tr>",
                    escaped(&g.name),
                    g.best.len(),
                    100.0 * g.mean,
                    if g.best.len() > 1 { format!("{:.2}", 100.0 * g.deviation) } else { "-".into() },
                    escaped(&g.runs.join(", "))
                )
            })
            .collect();
        let charts: String = self.charts().iter().map(Chart::svg).collect();
        let notes: String =
            self.notes.iter().map(|note| format!("<p class=\"note\">{}</p>", escaped(note))).collect();
        format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Runs compared</title><style>\
             body{{font:15px/1.5 system-ui,sans-serif;max-width:1340px;margin:0 auto;padding:28px 20px;color:#1c1c1e}}\
             h1{{font-size:24px;margin:0}}.verdict{{font-size:17px;margin:8px 0 20px}}.note{{color:#a33}}\
             table{{border-collapse:collapse;margin:18px 0}}td,th{{padding:5px 14px 5px 0;border-bottom:1px solid #e3e3e6;\
             text-align:left;font-variant-numeric:tabular-nums}}th{{color:#6b6b70;font-size:13px}}\
             .charts{{display:flex;flex-wrap:wrap;gap:16px}}svg{{max-width:100%;height:auto}}</style></head><body>\
             <h1>Runs compared</h1><p class=\"verdict\">{}</p>{notes}<div class=\"charts\">{charts}</div>\
             <table><tr><th>settings</th><th>seeds</th><th>best top-1</th><th>± points</th><th>runs</th></tr>{rows}</table>\
             </body></html>\n",
            escaped(&self.verdict)
        )
    }
}

impl Group {
    /// The mean over the seeds, with a band from the lowest to the highest.
    fn series(&self, colour: usize, value: fn(&Epoch) -> f64) -> Series {
        let mut by_epoch: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
        for epoch in self.histories.iter().flatten() {
            by_epoch.entry(epoch.epoch as i64).or_default().push(value(epoch));
        }
        // Only where every run got to: a mean of fewer would jump.
        by_epoch.retain(|_, values| values.len() == self.histories.len());
        let low = |v: &[f64]| v.iter().copied().fold(f64::INFINITY, f64::min);
        let high = |v: &[f64]| v.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let band = by_epoch.iter().map(|(&e, v)| [e as f64, low(v), high(v)]);
        Series {
            name: match self.best.len() {
                1 => self.name.clone(),
                seeds => format!("{} ({seeds} seeds)", self.name),
            },
            points: by_epoch.iter().map(|(&e, v)| [e as f64, mean(v)]).collect(),
            band: if self.histories.len() > 1 { band.collect() } else { Vec::new() },
            dashed: false,
            colour,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(name: &str, best: &[f64], images: f64) -> Group {
        Group {
            name: name.into(),
            runs: Vec::new(),
            seeds: Vec::new(),
            best: best.to_vec(),
            mean: mean(best),
            deviation: deviation(best),
            best_epochs: Vec::new(),
            seconds: Vec::new(),
            histories: Vec::new(),
            val_images: images,
            settings: BTreeMap::new(),
        }
    }

    #[test]
    fn a_gain_within_chance_is_no_gain() {
        let sure = verdict(&[group("a", &[0.91, 0.92, 0.93], 0.0), group("b", &[0.80, 0.81, 0.82], 0.0)]);
        assert!(sure.starts_with("a is better than b: top1 92.00% against 81.00%, 11.00 ± 2.27"), "{sure}");
        let close = verdict(&[group("a", &[0.91, 0.95], 0.0), group("b", &[0.90, 0.94], 0.0)]);
        assert!(close.starts_with("no difference is shown"), "{close}");
        let single = verdict(&[group("a", &[0.92], 100.0), group("b", &[0.88], 100.0)]);
        assert!(single.starts_with("no difference") && single.contains("100 validation images"), "{single}");
        assert!(verdict(&[group("a", &[0.92], 1e4), group("b", &[0.88], 1e4)]).contains("better"));
        assert!(verdict(&[group("a", &[0.9, 0.8], 1.0)]).contains("2 seeds: top1 85.00%"));
    }
}
