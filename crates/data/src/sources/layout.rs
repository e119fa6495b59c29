//! From a list of files in folders to splits and classes.
//!
//! ```text
//! strip leading folders -> train/ and val/, or flat? -> the classes -> each file to its split and class
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::dataset::{Dataset, OpenOptions, draw_validation};
use crate::error::DataError;
use crate::split::{Location, Sample, Split};

/// Names of the folder of validation images, the preferred first.
const VAL_NAMES: [&str; 8] = ["val", "valid", "validation", "validate", "dev", "test", "testing", "eval"];
const TRAIN_NAMES: [&str; 2] = ["train", "training"];

/// The files and folders of a folder or an archive. Paths are relative, with `/` between components.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// What to call the whole in messages.
    pub(crate) place: String,
    /// Image files, in any order.
    pub(crate) files: Vec<(String, Location)>,
    /// All other files.
    pub(crate) others: Vec<String>,
    /// All folders, also empty ones; parents of files need not be listed.
    pub(crate) folders: BTreeSet<String>,
    /// The contents of each `classes.txt` by path.
    pub(crate) class_lists: BTreeMap<String, String>,
    /// The contents of the .cls and .json files that may stand beside an archive's images, by path.
    pub(crate) labels: BTreeMap<String, String>,
}

/// One folder of class folders, by its path from the listing's root (`""`, or ending in `/`).
struct Part {
    prefix: String,
    class_folders: BTreeSet<String>,
}

impl Listing {
    /// Takes in all of another listing as the folder `name`.
    pub(crate) fn absorb(&mut self, name: &str, other: Listing) {
        let inside = |path: String| format!("{name}/{path}");
        self.files.extend(other.files.into_iter().map(|(path, location)| (inside(path), location)));
        self.others.extend(other.others.into_iter().map(inside));
        self.folders.extend(other.folders.into_iter().map(inside));
        self.class_lists.extend(other.class_lists.into_iter().map(|(path, text)| (inside(path), text)));
    }

    /// Sorts files and completes the set of folders.
    fn normalise(&mut self) {
        // Stable, so that of members with the same path the last stays, as unpacking would have it.
        self.files.sort_by(|a, b| a.0.cmp(&b.0));
        self.files.reverse();
        self.files.dedup_by(|a, b| a.0 == b.0);
        self.files.reverse();
        let parents: Vec<&str> = self.files.iter().map(|f| parent(&f.0)).collect();
        let mut previous = "";
        for folder in parents {
            if folder != previous {
                add_with_parents(&mut self.folders, folder);
                previous = folder;
            }
        }
        let listed: Vec<String> = self.folders.iter().cloned().collect();
        listed.iter().for_each(|folder| add_with_parents(&mut self.folders, folder));
    }

    fn children(&self, prefix: &str) -> BTreeSet<String> {
        self.folders
            .range(prefix.to_owned()..)
            .take_while(|f| f.starts_with(prefix))
            .map(|f| &f[prefix.len()..])
            .filter(|rest| !rest.is_empty() && !rest.contains('/'))
            .map(str::to_owned)
            .collect()
    }

    fn part(&self, prefix: String) -> Part {
        Part { class_folders: self.children(&prefix), prefix }
    }

    fn has_images_directly(&self, prefix: &str) -> bool {
        let first = self.files.partition_point(|f| f.0.as_str() < prefix);
        self.files[first..]
            .iter()
            .take_while(|f| f.0.starts_with(prefix))
            .any(|f| !f.0[prefix.len()..].contains('/'))
    }

    fn display(&self, path: &str) -> String {
        if path.is_empty() {
            self.place.clone()
        } else {
            format!("{}/{}", self.place, path.trim_end_matches('/'))
        }
    }

    /// `" (but 2 .heic files)"` for the most frequent other extension in a folder; empty if there is none.
    fn describe_others(&self, prefix: &str) -> String {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for path in self.others.iter().filter(|p| p.starts_with(prefix)) {
            let name = path.rsplit('/').next().unwrap_or(path);
            *counts.entry(name.rsplit_once('.').map_or("", |(_, e)| e)).or_default() += 1;
        }
        match counts.into_iter().max_by_key(|c| c.1) {
            Some(("", count)) => format!(" (but {count} files without extension)"),
            Some((extension, count)) => format!(" (but .{extension} files: {count})"),
            None => String::new(),
        }
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn add_with_parents(folders: &mut BTreeSet<String>, folder: &str) {
    let mut folder = folder;
    while !folder.is_empty() && folders.insert(folder.to_owned()) {
        folder = parent(folder);
    }
    // The folder itself may have been there before its parents.
    while !folder.is_empty() {
        folder = parent(folder);
        if !folder.is_empty() {
            folders.insert(folder.to_owned());
        }
    }
}

/// Divides a listing into splits and classes.
pub(crate) fn arrange(mut listing: Listing, options: &OpenOptions) -> Result<Dataset, DataError> {
    listing.normalise();
    let root = find_root(&listing);
    let top = listing.children(&root);
    if top.is_empty() {
        return Err(DataError::NoClasses { place: listing.display(&root) });
    }
    let train = find_name(&top, &TRAIN_NAMES);
    let val = find_name(&top, &VAL_NAMES);
    let only_val_names =
        top.iter().all(|name| find_name(&BTreeSet::from([name.clone()]), &VAL_NAMES).is_some());
    match (train, val) {
        (Some(train), Some(val)) => {
            let parts = [Some(format!("{root}{train}/")), Some(format!("{root}{val}/"))];
            arrange_parts(listing, &root, parts)
        }
        // A class called "train" among other classes is no split.
        (Some(train), None) if top.len() == 1 => {
            let note = format!("there is no validation folder, so part of {train}/ was drawn for validation");
            let prefix = format!("{root}{train}/");
            let mut dataset = arrange_flat(listing, &root, prefix, options)?;
            dataset.notes.push(note);
            Ok(dataset)
        }
        (None, Some(val)) if only_val_names => {
            let prefix = format!("{root}{val}/");
            arrange_parts(listing, &root, [None, Some(prefix)])
        }
        _ => arrange_flat(listing, &root, root.clone(), options),
    }
}

/// Steps over leading folders (`cifar10/train/...`): a single folder that holds folders but no images and
/// has no split's name.
fn find_root(listing: &Listing) -> String {
    let mut root = String::new();
    loop {
        let top = listing.children(&root);
        let Some(only) = top.first().filter(|_| top.len() == 1) else { return root };
        let next = format!("{root}{only}/");
        let is_split = find_name(&top, &TRAIN_NAMES).or(find_name(&top, &VAL_NAMES)).is_some();
        let blocked = is_split
            || listing.has_images_directly(&root)
            || listing.has_images_directly(&next)
            || listing.children(&next).is_empty();
        if blocked {
            return root;
        }
        root = next;
    }
}

/// The first of `wanted` among the names, whatever their case.
fn find_name(names: &BTreeSet<String>, wanted: &[&str]) -> Option<String> {
    wanted.iter().find_map(|w| names.iter().find(|n| n.eq_ignore_ascii_case(w)).cloned())
}

/// The class names and what to call their origin: the lines of `classes.txt` at the root or above it, or
/// else the folder names.
fn find_classes(listing: &Listing, root: &str, part: &Part) -> Result<(Vec<String>, String), DataError> {
    let mut folder = root.trim_end_matches('/');
    loop {
        let path = if folder.is_empty() { "classes.txt".to_owned() } else { format!("{folder}/classes.txt") };
        if let Some(text) = listing.class_lists.get(&path) {
            return Ok((parse_classes(text, &listing.display(&path))?, listing.display(&path)));
        }
        if folder.is_empty() {
            break;
        }
        folder = parent(folder);
    }
    if part.class_folders.is_empty() {
        return Err(DataError::NoClasses { place: listing.display(&part.prefix) });
    }
    Ok((part.class_folders.iter().cloned().collect(), listing.display(&part.prefix)))
}

/// The class names in the file `path`, one a line.
pub(crate) fn read_classes(path: &std::path::Path) -> Result<Vec<String>, DataError> {
    let text = std::fs::read_to_string(path).map_err(|e| DataError::io(path, e))?;
    parse_classes(&text, &path.display().to_string())
}

pub(crate) fn parse_classes(text: &str, file: &str) -> Result<Vec<String>, DataError> {
    let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim).filter(|l| !l.is_empty());
    let classes: Vec<String> = lines.map(str::to_owned).collect();
    if classes.is_empty() {
        return Err(DataError::malformed(file, "names no classes; write one class name on each line"));
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = classes.iter().find(|c| !seen.insert(c.as_str())) {
        return Err(DataError::malformed(
            file,
            format!("names class {twice} twice; remove one of the lines"),
        ));
    }
    Ok(classes)
}

/// The samples of one part, their classes checked; names are relative to the root.
fn take_samples(
    listing: &mut Listing,
    root: &str,
    part: &Part,
    classes: &(Vec<String>, String),
) -> Result<Vec<Sample>, DataError> {
    let index: HashMap<&str, u32> = classes.0.iter().zip(0..).map(|(c, i)| (c.as_str(), i)).collect();
    if part.class_folders.is_empty() {
        return Err(DataError::NoClasses { place: listing.display(&part.prefix) });
    }
    if let Some(unknown) = part.class_folders.iter().find(|f| !index.contains_key(f.as_str())) {
        return Err(DataError::UnknownClass {
            folder: listing.display(&format!("{}{unknown}", part.prefix)),
            list: classes.1.clone(),
            count: classes.0.len(),
        });
    }
    let start = listing.files.partition_point(|f| f.0 < part.prefix);
    let count = listing.files[start..].partition_point(|f| f.0.starts_with(&part.prefix));
    let mut samples = Vec::with_capacity(count);
    for (path, location) in &listing.files[start..start + count] {
        let Some((class, _)) = path[part.prefix.len()..].split_once('/') else { continue };
        let name = path[root.len()..].to_owned();
        samples.push(Sample { class: index[class], name, location: location.clone() });
    }
    let filled: BTreeSet<u32> = samples.iter().map(|s| s.class).collect();
    if let Some(empty) = part.class_folders.iter().find(|f| !filled.contains(&index[f.as_str()])) {
        let prefix = format!("{}{empty}/", part.prefix);
        let found = listing.describe_others(&prefix);
        return Err(DataError::EmptyClass { folder: listing.display(&prefix), found });
    }
    Ok(samples)
}

/// Train and validation folders; one of them may be missing.
fn arrange_parts(
    mut listing: Listing,
    root: &str,
    prefixes: [Option<String>; 2],
) -> Result<Dataset, DataError> {
    let [train, val] = prefixes.map(|prefix| prefix.map(|p| listing.part(p)));
    let first = train.as_ref().or(val.as_ref());
    let classes = match first {
        Some(part) => find_classes(&listing, root, part)?,
        None => return Err(DataError::NoClasses { place: listing.display(root) }),
    };
    let mut samples = |part: &Option<Part>| match part {
        Some(part) => take_samples(&mut listing, root, part, &classes),
        None => Ok(Vec::new()),
    };
    let (train_samples, val_samples) = (samples(&train)?, samples(&val)?);
    let used = train_samples.len() + val_samples.len();
    let names: Arc<[String]> = classes.0.into();
    Ok(Dataset {
        train: Split::new("train", names.clone(), train_samples),
        val: Split::new("val", names, val_samples),
        drawn: false,
        notes: notes(&listing, root, used),
    })
}

/// Class folders without a division: draws one.
fn arrange_flat(
    mut listing: Listing,
    root: &str,
    prefix: String,
    options: &OpenOptions,
) -> Result<Dataset, DataError> {
    let part = listing.part(prefix);
    let classes = find_classes(&listing, root, &part)?;
    let samples = take_samples(&mut listing, root, &part, &classes)?;
    let notes = notes(&listing, root, samples.len());
    let names: Arc<[String]> = classes.0.into();
    let chosen = draw_validation(&samples, names.len(), options.val_fraction, options.seed);
    let (val, train): (Vec<_>, Vec<_>) = samples.into_iter().zip(chosen).partition(|(_, val)| *val);
    let strip = |pairs: Vec<(Sample, bool)>| pairs.into_iter().map(|p| p.0).collect();
    Ok(Dataset {
        train: Split::new("train", names.clone(), strip(train)),
        val: Split::new("val", names, strip(val)),
        drawn: true,
        notes,
    })
}

/// What was passed over.
fn notes(listing: &Listing, root: &str, used: usize) -> Vec<String> {
    let mut notes = Vec::new();
    let mut unused = listing.files.len() - used;
    // Beside train/ and val/ stands test/: it is kept for the end.
    let is_divided = find_name(&listing.children(root), &TRAIN_NAMES).is_some();
    let parts: Vec<String> = VAL_NAMES
        .iter()
        .filter_map(|name| find_name(&listing.children(root), &[name]))
        .filter(|_| is_divided)
        .collect();
    for part in parts.iter().skip(1) {
        let prefix = format!("{root}{part}/");
        let inside = listing.files.iter().filter(|(path, _)| path.starts_with(&prefix)).count();
        unused = unused.saturating_sub(inside);
        if inside > 0 {
            let place = listing.display(&prefix);
            notes.push(format!("{place}: {inside} images were left for later, since {} validates", parts[0]));
        }
    }
    if unused > 0 {
        notes.push(format!("{}: {unused} images outside the class folders were not used", listing.place));
    }
    if !listing.others.is_empty() {
        let first = &listing.others[0];
        let count = listing.others.len();
        notes.push(format!(
            "{}: files that are no images were not used: {count}, such as {first}",
            listing.place
        ));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(paths: &[&str]) -> Listing {
        let mut listing = Listing { place: "data".to_owned(), ..Listing::default() };
        for path in paths {
            match path.rsplit('/').next() {
                Some("classes.txt") => {
                    listing.class_lists.insert((*path).to_owned(), "dog\ncat\n".to_owned());
                }
                Some("") => {
                    listing.folders.insert(path.trim_end_matches('/').to_owned());
                }
                Some(name) if name.ends_with(".jpg") => {
                    listing.files.push(((*path).to_owned(), Location::Pixels));
                }
                _ => listing.others.push((*path).to_owned()),
            }
        }
        listing
    }

    fn open(paths: &[&str]) -> Result<Dataset, DataError> {
        arrange(listing(paths), &OpenOptions::default())
    }

    fn names(split: &Split) -> Vec<&str> {
        split.samples().iter().map(|s| s.name.as_str()).collect()
    }

    #[test]
    fn train_and_val_with_a_leading_folder() {
        let d = open(&[
            "x/train/cat/b.jpg",
            "x/train/cat/a.jpg",
            "x/train/dog/deep/er/c.jpg",
            "x/test/dog/d.jpg",
        ])
        .unwrap();
        assert_eq!(d.classes().as_ref(), ["cat", "dog"]);
        assert_eq!(names(&d.train), ["train/cat/a.jpg", "train/cat/b.jpg", "train/dog/deep/er/c.jpg"]);
        assert_eq!(names(&d.val), ["test/dog/d.jpg"]);
        assert_eq!(d.val.samples()[0].class, 1);
        assert!(!d.drawn);
    }

    #[test]
    fn val_is_preferred_to_test() {
        let d = open(&["train/a/1.jpg", "test/a/2.jpg", "valid/a/3.jpg"]).unwrap();
        assert_eq!(names(&d.val), ["valid/a/3.jpg"]);
        assert_eq!(d.notes.len(), 1);
    }

    #[test]
    fn classes_txt_gives_the_order() {
        let d =
            open(&["x/classes.txt", "x/train/cat/a.jpg", "x/train/dog/b.jpg", "x/val/cat/c.jpg"]).unwrap();
        assert_eq!(d.classes().as_ref(), ["dog", "cat"]);
        assert_eq!(d.train.samples()[0].class, 1);
        let error =
            open(&["classes.txt", "train/cat/a.jpg", "train/cow/b.jpg", "val/cat/c.jpg"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "class folder data/train/cow is not among the 2 classes of data/classes.txt; add it there or remove it"
        );
    }

    #[test]
    fn a_flat_folder_is_divided_and_train_may_be_a_class() {
        let paths: Vec<String> =
            (0..10).flat_map(|i| [format!("train/{i}.jpg"), format!("bus/{i}.jpg")]).collect();
        let d = open(&paths.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
        assert!(d.drawn);
        assert_eq!(d.train.class_counts(), [8, 8]);
        assert_eq!(d.val.class_counts(), [2, 2]);
    }

    #[test]
    fn only_train_is_divided_and_only_test_validates() {
        let d = open(&["train/a/1.jpg", "train/a/2.jpg", "train/b/1.jpg", "train/b/2.jpg"]).unwrap();
        assert_eq!((d.train.len(), d.val.len(), d.drawn, d.notes.len()), (2, 2, true, 1));
        let d = open(&["test/a/1.jpg", "test/b/2.jpg"]).unwrap();
        assert_eq!((d.train.len(), d.val.len(), d.drawn), (0, 2, false));
    }

    #[test]
    fn faults_are_named() {
        let message = |paths: &[&str]| open(paths).unwrap_err().to_string();
        assert_eq!(
            message(&["train/a/1.jpg", "train/b/", "val/a/1.jpg"]),
            "class folder data/train/b holds no images; remove it or add images"
        );
        assert_eq!(
            message(&["a/1.jpg", "b/x.heic", "b/y.heic", "b/"]),
            "class folder data/b holds no images (but .heic files: 2); remove it or add images"
        );
        assert!(message(&[]).contains("holds no class folders"));
        assert!(message(&["1.jpg"]).contains("holds no class folders"));
        assert!(message(&["train/1.jpg", "val/a/1.jpg"]).starts_with("data/train: holds no class folders"));
        assert!(message(&["train/a/1.jpg", "val/"]).starts_with("data/val: holds no class folders"));
        assert!(message(&["train/a/1.jpg", "val/b/1.jpg"]).contains("class folder data/val/b is not among"));
    }

    #[test]
    fn names_that_sort_around_the_separator() {
        let d = open(&["train/a/1.jpg", "train/a-b/1.jpg", "train/a.c/1.jpg", "val/a/1.jpg"]).unwrap();
        assert_eq!(d.classes().as_ref(), ["a", "a-b", "a.c"]);
        assert_eq!(d.train.class_counts(), [1, 1, 1]);
    }
}
