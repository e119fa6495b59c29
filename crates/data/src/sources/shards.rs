//! Reads tar shards in WebDataset's form: files of one sample stand together under one key, the label beside the image.
//!
//! ```text
//! 000017.jpg  000017.cls      the label as a word or a number
//! 000018.jpg  000018.json     the label under "label", "cls", "class", ...
//! 000019.jpg  000019.txt      the label as a word or a number, where there is neither of the others
//! ```
//!
//! The key is the path up to the first dot of the file's name (webdataset, "The WebDataset Format").

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::archive::{self, Contents};
use super::input;
use super::labels::{self, Labelled};
use super::layout::{self, Listing};
use crate::dataset::{Dataset, OpenOptions};
use crate::error::DataError;

const JSON_KEYS: [&str; 9] =
    ["label", "cls", "class", "class_name", "label_name", "category", "target", "class_id", "label_id"];

/// Endings of the files that may stand beside an image to label it.
const LABELS: [&str; 3] = ["cls", "json", "txt"];

/// Whether a member stands beside an image to label it. A text does so at the top only: in class folders it may be anything.
pub(crate) fn is_label(name: &str) -> bool {
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    LABELS.contains(&ending) && (ending != "txt" || !name.contains('/'))
}

/// Whether images in this listing have labels beside them.
pub(crate) fn has_labels(listing: &Listing) -> bool {
    !listing.labels.is_empty()
        && listing.files.iter().any(|(name, _)| {
            LABELS.iter().any(|end| listing.labels.contains_key(&format!("{}.{end}", key(name))))
        })
}

/// Opens shards: all in WebDataset's form, or all archives of class folders named after parts (`train.tar`, `val.tar`).
pub(crate) fn open(place: &str, paths: &[PathBuf], options: &OpenOptions) -> Result<Dataset, DataError> {
    let mut left = options.max_archive_bytes;
    let mut shards = Vec::new();
    for path in paths {
        let contents = archive::read(path, left)?;
        left = left.saturating_sub(contents.bytes_in_memory);
        shards.push((path, contents));
    }
    if shards.iter().any(|(_, contents)| has_labels(&contents.listing)) {
        let mut images = Vec::new();
        let mut names = None;
        for (path, contents) in shards {
            names = names.or(class_list(&contents.listing)?);
            take(path, contents, &mut images)?;
        }
        let beside = paths.first().map(|p| p.with_file_name("classes.txt")).filter(|p| p.is_file());
        let names = match (names, beside) {
            (None, Some(list)) => Some(layout::read_classes(&list)?),
            (names, _) => names,
        };
        refuse_captions(place, &images, names.is_some())?;
        return labels::arrange(place, images, names, options);
    }
    let unlabelled = |(path, contents): &(&PathBuf, Contents)| {
        let at_the_top = contents.listing.files.iter().find(|(name, _)| !name.contains('/'));
        // An archive for each class is called after it, one of many shards after a part.
        at_the_top
            .filter(|_| labels::part_named(&stem(path)).is_some())
            .map(|(name, _)| (path.display().to_string(), name.clone()))
    };
    if let Some((shard, image)) = shards.iter().find_map(unlabelled) {
        let key = key(&image);
        let reason = format!(
            "image {image} of {shard} has no label; put its class into {key}.cls, or under \"label\" of {key}.json"
        );
        return Err(DataError::malformed(place, reason));
    }
    let mut whole = Listing { place: place.to_owned(), ..Listing::default() };
    for (path, contents) in shards {
        whole.absorb(&stem(path), contents.listing);
    }
    layout::arrange(whole, options)
}

/// One archive in this form.
pub(crate) fn open_single(
    path: &Path,
    contents: Contents,
    options: &OpenOptions,
) -> Result<Dataset, DataError> {
    let names = class_list(&contents.listing)?;
    let mut images = Vec::new();
    take(path, contents, &mut images)?;
    refuse_captions(&path.display().to_string(), &images, names.is_some())?;
    labels::arrange(&path.display().to_string(), images, names, options)
}

/// Texts that mostly differ describe images and do not class them.
fn refuse_captions(place: &str, images: &[Labelled], listed: bool) -> Result<(), DataError> {
    const FEW: usize = 50;
    let labels: BTreeSet<&str> = images.iter().map(|image| image.label.as_str()).collect();
    let differ = images.len() > FEW && labels.len() * 2 > images.len();
    if listed || !differ || labels.iter().all(|label| label.parse::<u64>().is_ok()) {
        return Ok(());
    }
    let reason = format!(
        "its {} images have {} different labels: are they captions? Put the classes into .cls files, or list them in a \
         classes.txt",
        images.len(),
        labels.len()
    );
    Err(DataError::malformed(place, reason))
}

fn class_list(listing: &Listing) -> Result<Option<Vec<String>>, DataError> {
    let Some((name, text)) = listing.class_lists.iter().next() else { return Ok(None) };
    layout::parse_classes(text, &format!("{}/{name}", listing.place)).map(Some)
}

/// The labelled images of a shard, in its order.
fn take(path: &Path, contents: Contents, images: &mut Vec<Labelled>) -> Result<(), DataError> {
    let shard = stem(path);
    let part = labels::part_named(&shard);
    let listing = contents.listing;
    // Of several images under one key (photo, mask), the one with the plainest name is meant.
    let mut by_key: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, (name, _)) in listing.files.iter().enumerate() {
        let other = by_key.entry(key(name)).or_insert(index);
        if name.len() < listing.files[*other].0.len() {
            *other = index;
        }
    }
    for (index, (name, location)) in listing.files.iter().enumerate() {
        if by_key[key(name)] != index {
            continue;
        }
        let label =
            label_of(&listing, key(name)).map_err(|reason| DataError::malformed(&listing.place, reason))?;
        let name = format!("{shard}/{name}");
        images.push(Labelled { name, label, part, location: location.clone() });
    }
    Ok(())
}

fn label_of(listing: &Listing, key: &str) -> Result<String, String> {
    if let Some(text) = listing.labels.get(&format!("{key}.cls")) {
        return Ok(text.trim().to_owned());
    }
    let text =
        listing.labels.get(&format!("{key}.txt")).map(|text| text.trim()).filter(|text| !text.contains('\n'));
    let name = format!("{key}.json");
    let Some(json) = listing.labels.get(&name) else {
        return text.map(str::to_owned).ok_or_else(|| {
            format!("image {key} has no label beside it; add {key}.cls with its class, or remove the image")
        });
    };
    let value: serde_json::Value =
        serde_json::from_str(json).map_err(|cause| format!("{name} is no JSON ({cause}); write it again"))?;
    let found = JSON_KEYS.iter().find_map(|key| value.get(key));
    match found.or(Some(&value)) {
        Some(serde_json::Value::String(word)) => Ok(word.trim().to_owned()),
        Some(serde_json::Value::Number(number)) => Ok(number.to_string()),
        _ => text.map(str::to_owned).ok_or_else(|| format!("{name} names no label; put it under \"label\"")),
    }
}

/// The path up to the first dot of the file's name.
fn key(name: &str) -> &str {
    let start = name.rfind('/').map_or(0, |slash| slash + 1);
    name[start..].find('.').map_or(name, |dot| &name[..start + dot])
}

fn stem(path: &Path) -> String {
    let name = input::file_name(path);
    let name = input::without_gz(&name);
    let name = name.strip_suffix(".tar").or(name.strip_suffix(".tgz"));
    name.map_or_else(|| input::file_name(path), str::to_owned)
}

/// The files that `name-{000..012}.tar` stands for, and whether it has that form.
///
/// ```text
/// {A..B}: all numbers from A to B, as wide as A
/// ```
pub(crate) fn expand(pattern: &str) -> Option<Vec<PathBuf>> {
    let (before, rest) = pattern.split_once('{')?;
    let (range, after) = rest.split_once('}')?;
    let (from, to) = range.split_once("..")?;
    let (first, last): (u64, u64) = (from.parse().ok()?, to.parse().ok()?);
    let width = from.len();
    if last < first || last - first > 100_000 {
        return None;
    }
    Some((first..=last).map(|n| PathBuf::from(format!("{before}{n:0width$}{after}"))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_patterns() {
        assert_eq!(key("a.b/17.seg.png"), "a.b/17");
        assert_eq!(key("17"), "17");
        let names = expand("s/x-{08..11}.tar").unwrap();
        assert_eq!(names.len(), 4);
        assert_eq!((names[0].to_str(), names[3].to_str()), (Some("s/x-08.tar"), Some("s/x-11.tar")));
        assert!(expand("x-{3..1}.tar").is_none() && expand("x.tar").is_none());
    }
}
