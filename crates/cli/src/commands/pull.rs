//! `ocellus pull`: published weights by name, into a cache.

use std::io::IsTerminal;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use ocellus::pull::{PUBLISHED, Wanted, published, pull};
use serde_json::json;

use crate::args::Common;
use crate::console;

const EXAMPLE: &str = "\
Examples:
  ocellus pull --list
  ocellus pull resnet18
  ocellus pull resnet50.v2 --cache weights/

Weights come from their own publisher over HTTPS and are kept in the cache folder: $XDG_CACHE_HOME/ocellus, else
~/.cache/ocellus (on macOS ~/Library/Caches/ocellus, on Windows %LOCALAPPDATA%\\ocellus). A file that is there with the right
SHA-256 is not fetched again; an interrupted one goes on where it broke off; one with another SHA-256 is thrown away.
What is pinned is what the publisher says: PyTorch puts the first eight hex digits of the SHA-256 into each file's name.";

/// What may be said after `ocellus pull`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct PullArgs {
    /// Which weights: a network's name, as --list has it
    #[arg(value_name = "NAME", required_unless_present = "list")]
    pub name: Option<String>,
    /// Show what can be pulled
    #[arg(long)]
    pub list: bool,
    /// Keep the file here
    #[arg(long, value_name = "FOLDER")]
    pub cache: Option<PathBuf>,
    /// Fetch the file, the same by its SHA-256, from this folder of another server
    #[arg(long, value_name = "URL")]
    pub mirror: Option<String>,
}

/// Pulls.
pub fn run(args: PullArgs, common: &Common) -> anyhow::Result<()> {
    let Some(name) = args.name.as_ref().filter(|_| !args.list) else { return list(common) };
    let Some(known) = published(name) else {
        let names: Vec<&str> = PUBLISHED.iter().map(|known| known.name).collect();
        bail!("{name}: no weights of this name are known; there are {}", names.join(", "));
    };
    let mut wanted = Wanted::from(known);
    if let Some(mirror) = &args.mirror {
        wanted.url = format!("{}/{}", mirror.trim_end_matches('/'), known.file);
    }
    let cache = match &args.cache {
        Some(folder) => folder.clone(),
        None => usual_cache()?,
    };
    let bar = (!common.json && std::io::stderr().is_terminal()).then(|| {
        let style =
            ProgressStyle::with_template("{prefix} [{bar:30}] {bytes}/{total_bytes}  {bytes_per_sec}  {eta}");
        let bar = ProgressBar::new(1).with_prefix(known.file);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
        bar
    });
    let mut fetched = None;
    let pulled = pull(&wanted, &cache, &mut |have, total| {
        let from = *fetched.get_or_insert(have);
        if let Some(bar) = &bar {
            bar.set_length(total.unwrap_or(have).max(1));
            if have == from {
                bar.reset_eta();
            }
            bar.set_position(have);
        }
    });
    bar.iter().for_each(ProgressBar::finish_and_clear);
    let path = pulled?;
    if common.json {
        return console::say_json(&json!({
            "name": known.name, "net": known.net, "file": path, "url": wanted.url, "flags": known.flags,
        }));
    }
    let flags = if known.flags.is_empty() { String::new() } else { format!(" {}", known.flags) };
    console::say(&format!("{}", path.display()));
    console::say(&format!(
        "use it: ocellus predict {} PICTURE --weights {}{flags}",
        known.net,
        path.display()
    ));
    Ok(())
}

fn list(common: &Common) -> anyhow::Result<()> {
    if common.json {
        let all: Vec<_> = PUBLISHED
            .iter()
            .map(|known| json!({"name": known.name, "net": known.net, "url": known.url(), "sha256": known.sha256}))
            .collect();
        return console::say_json(&json!({ "published": all }));
    }
    for known in PUBLISHED {
        console::say(&format!("{:<20}  {}", known.name, known.url()));
    }
    Ok(())
}

/// Where this platform keeps what can be fetched again.
fn usual_cache() -> anyhow::Result<PathBuf> {
    let folder = |key: &str| std::env::var_os(key).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || folder("HOME");
    let found = folder("XDG_CACHE_HOME").or_else(|| match std::env::consts::OS {
        "windows" => folder("LOCALAPPDATA"),
        "macos" => home().map(|home| home.join("Library/Caches")),
        _ => home().map(|home| home.join(".cache")),
    });
    Ok(found.context("this machine names no folder for caches; give one: --cache FOLDER")?.join("ocellus"))
}
