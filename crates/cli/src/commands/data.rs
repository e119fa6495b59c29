//! `ocellus data check`: is this data fit to train on?

use clap::{Args, Subcommand};
use ocellus::data::{DataReport, Dataset, Group, Place, check};
use ocellus::formats::write_atomically;
use ocellus::train::{Handling, Source};
use serde_json::json;

use crate::args::Common;
use crate::data_args::DataArgs;
use crate::{console, words};

const EXAMPLE: &str = "\
Examples:
  ocellus data check photos/
  ocellus data check photos/ --write leave-out.txt && ocellus train photos/ --exclude leave-out.txt
  ocellus data check train-{000..015}.tar --json

Every image is decoded once. Nothing is changed: damaged images and copies are named, and --write makes a list of them
for --exclude. Exit status 0 even if something is found.";

/// What may be said after `ocellus data`.
#[derive(Clone, Debug, Args)]
pub struct DataCommandArgs {
    #[allow(missing_docs)]
    #[command(subcommand)]
    pub command: DataCommand,
}

/// What can be done with data.
#[derive(Clone, Debug, Subcommand)]
pub enum DataCommand {
    /// Count classes and sizes, find damaged images, copies, and images that both train and validate
    Check(CheckArgs),
}

/// What may be said after `ocellus data check`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct CheckArgs {
    /// Images, in any form that `ocellus train` takes
    #[arg(value_name = "DATA")]
    pub data: String,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub data_args: DataArgs,
    /// Share of the images that validate, where the data does not say [default: 0.2]
    #[arg(long, value_name = "X")]
    pub val_fraction: Option<f64>,
    /// Write the names of damaged images and of superfluous copies, for --exclude
    #[arg(long, value_name = "FILE")]
    pub write: Option<String>,
    /// Do not look for near duplicates
    #[arg(long)]
    pub no_near: bool,
    /// Images and groups named in full of each kind
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub show: usize,
}

/// Runs the command.
pub fn run(args: DataCommandArgs, common: &Common) -> anyhow::Result<()> {
    let DataCommand::Check(args) = args.command;
    let source = Source {
        data: args.data.clone(),
        val_fraction: args.val_fraction.unwrap_or(0.2),
        seed: common.seed(),
        handling: Handling { max_bad: None, ..args.data_args.handling() },
    };
    let set = source.dataset()?;
    set.notes.iter().for_each(|note| console::complain(&format!("note: {note}")));
    let report = check(&set, !args.no_near, |_| {})?;
    if let Some(file) = &args.write {
        let names: Vec<&str> = report.bad.iter().map(|bad| bad.image.as_str()).collect();
        let copies = report.superfluous();
        let names = names.into_iter().chain(copies.iter().map(|place| place.image.as_str()));
        let text: String = names.map(|name| format!("{name}\n")).collect();
        write_atomically(file, |out| out.write_all(text.as_bytes()))?;
    }
    if common.json {
        let classes = set.classes().iter().enumerate().map(|(class, name)| {
            let count = |part: usize| report.parts.get(part).and_then(|p| p.classes.get(class)).copied();
            json!({"class": name, "train": count(0), "val": count(1)})
        });
        return console::say_json(&json!({
            "images": report.parts.iter().map(|part| part.images).sum::<usize>(),
            "drawn": set.drawn,
            "classes": classes.collect::<Vec<_>>(),
            "imbalance": report.imbalance(),
            "parts": report.parts,
            "bad": report.bad,
            "duplicates": report.duplicates,
            "near_duplicates": report.near_duplicates,
        }));
    }
    print(&set, &report, &args);
    Ok(())
}

fn print(set: &Dataset, report: &DataReport, args: &CheckArgs) {
    let [train, val] = [0, 1].map(|part| report.parts.get(part).cloned().unwrap_or_default());
    console::say(&format!(
        "{}: {}, {} training and {} validation images{}",
        args.data,
        words::count(set.classes().len(), "class"),
        train.images,
        val.images,
        if set.drawn { " (divided by seed)" } else { "" }
    ));
    print_classes(set, report);
    for part in [&train, &val].into_iter().filter(|part| part.images > 0) {
        console::say(&sizes(&part.part, &part.sizes, part.grey));
    }
    section("damaged images", report.bad.len(), args.show, |i| {
        let bad = &report.bad[i];
        format!("{}: {}", bad.image, bad.reason)
    });
    let (across, within): (Vec<&Group>, Vec<&Group>) =
        report.duplicates.iter().partition(|group| group.across);
    let show = |group: &Group| format!("{}{}", listed(&group.images), labels_differ(group.classes_differ));
    section("the same picture in train and val", across.len(), args.show, |i| show(across[i]));
    section("the same picture more than once", within.len(), args.show, |i| show(within[i]));
    let near = &report.near_duplicates;
    let (across, within): (Vec<_>, Vec<_>) = near.iter().partition(|pair| pair.across);
    let show = |pair: &ocellus::data::Pair| {
        format!("{}{}", listed(&pair.images), labels_differ(pair.classes_differ))
    };
    section("almost the same in train and val", across.len(), args.show, |i| show(across[i]));
    section("almost the same within a part", within.len(), args.show, |i| show(within[i]));
    verdict(set, report, args);
}

fn labels_differ(differ: bool) -> &'static str {
    if differ { "  (labelled differently)" } else { "" }
}

fn listed(places: &[Place]) -> String {
    const MOST: usize = 4;
    let mut text: Vec<&str> = places.iter().take(MOST).map(|place| place.image.as_str()).collect();
    let more = format!("{} more", places.len().saturating_sub(MOST));
    if places.len() > MOST {
        text.push(&more);
    }
    text.join(" = ")
}

fn print_classes(set: &Dataset, report: &DataReport) {
    const MOST: usize = 40;
    let classes = set.classes();
    let width = classes.iter().take(MOST).map(|c| c.chars().count()).max().unwrap_or(0).max("class".len());
    let count = |part: usize, class: usize| {
        report.parts.get(part).and_then(|p| p.classes.get(class)).copied().unwrap_or(0)
    };
    let most = (0..classes.len()).map(|class| count(0, class)).max().unwrap_or(0).max(1);
    console::say(&format!("  {:<width$}  {:>7}  {:>7}", "class", "train", "val"));
    for (class, name) in classes.iter().enumerate().take(MOST) {
        let bar = "█".repeat((24 * count(0, class)).div_ceil(most));
        let line = format!("  {name:<width$}  {:>7}  {:>7}  {bar}", count(0, class), count(1, class));
        console::say(line.trim_end());
    }
    if classes.len() > MOST {
        console::say(&format!("  ... {} more classes", classes.len() - MOST));
    }
}

fn sizes(part: &str, sizes: &[([u32; 2], usize)], grey: usize) -> String {
    const MOST: usize = 3;
    let named = sizes.iter().take(MOST).map(|([w, h], count)| format!("{w}x{h} ({count})"));
    let mut text = format!("{part} sizes: {}", named.collect::<Vec<_>>().join(", "));
    if sizes.len() > MOST {
        let sides = |side: usize| sizes.iter().map(move |(size, _)| size[side]);
        let range = |side: usize| (sides(side).min().unwrap_or(0), sides(side).max().unwrap_or(0));
        let ((w0, w1), (h0, h1)) = (range(0), range(1));
        text.push_str(&format!(" and {} more, {w0} to {w1} wide, {h0} to {h1} high", sizes.len() - MOST));
    }
    if grey > 0 {
        text.push_str(&format!("; {grey} grey"));
    }
    text
}

fn section(title: &str, count: usize, show: usize, line: impl Fn(usize) -> String) {
    if count == 0 {
        return;
    }
    console::say(&format!("{title}: {count}"));
    (0..count.min(show)).for_each(|i| console::say(&format!("  {}", line(i))));
    if count > show {
        console::say(&format!("  ... {} more (--show {count} names them all)", count - show));
    }
}

/// What training or validation needs and is not there.
fn missing(set: &Dataset, report: &DataReport) -> Vec<String> {
    let mut advice = Vec::new();
    if let [only] = &set.classes()[..] {
        advice.push(format!(
            "{only} is the only class: there is nothing to tell apart; give the folder in which several class folders lie"
        ));
    }
    for (part, verb) in report.parts.iter().zip(["learn", "validate"]) {
        let without: Vec<&str> = set
            .classes()
            .iter()
            .zip(&part.classes)
            .filter(|(_, n)| **n == 0)
            .map(|(c, _)| c.as_str())
            .collect();
        if part.images == 0 {
            advice.push(format!("there are no images to {verb} with"));
        } else if !without.is_empty() {
            const MOST: usize = 5;
            let more = if without.len() > MOST { ", ..." } else { "" };
            let named = without.iter().take(MOST).copied().collect::<Vec<_>>().join(", ");
            let many = words::count(without.len(), "class");
            advice.push(format!("{many} without images to {verb} with: {named}{more}"));
        }
    }
    advice
}

/// What to do about it, a line each.
fn verdict(set: &Dataset, report: &DataReport, args: &CheckArgs) {
    let mut advice = missing(set, report);
    let leaks = report.duplicates.iter().filter(|g| g.across).count()
        + report.near_duplicates.iter().filter(|p| p.across).count();
    if leaks > 0 {
        advice.push(format!(
            "{} both in train and in val: validation will look better than it is",
            words::count(leaks, "picture")
        ));
    }
    let torn = report.duplicates.iter().filter(|g| g.classes_differ).count();
    if torn > 0 {
        advice.push(format!(
            "{} with more than one label: one of them is wrong",
            words::count(torn, "picture")
        ));
    }
    if let Some(ratio) = report.imbalance().filter(|&ratio| ratio >= 3.0) {
        advice.push(format!(
            "the largest class has {ratio:.1} times the images of the smallest: look at balanced accuracy, not at top1"
        ));
    }
    if args.write.is_none() && !(report.bad.is_empty() && report.superfluous().is_empty()) {
        let data = words::quoted(&args.data);
        advice.push(format!(
            "to leave them out: {0} data check {data} --write leave-out.txt && {0} train {data} --exclude leave-out.txt",
            words::program()
        ));
    }
    if advice.is_empty() {
        advice.push("nothing wrong was found".into());
    }
    advice.iter().for_each(|line| console::say(line));
}
