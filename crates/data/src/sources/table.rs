//! Reads a table of images and labels: a .csv (or .tsv) of path,label and perhaps split.
//!
//! Lines are as RFC 4180 has them, but a field holds no line break. A first line that names its columns may put them
//! in any order; without one they are path, label, split.

use std::path::{Path, PathBuf};

use super::input::{self, DataFile};
use super::labels::{self, Labelled, Part};
use crate::dataset::{Dataset, OpenOptions};
use crate::error::DataError;
use crate::split::Location;

const MAX_BYTES: u64 = 1 << 30;
const PATH_NAMES: [&str; 9] =
    ["path", "file", "filename", "file_name", "filepath", "image", "image_path", "img", "image_id"];
const LABEL_NAMES: [&str; 8] =
    ["label", "class", "category", "target", "class_name", "label_name", "species", "y"];
const SPLIT_NAMES: [&str; 5] = ["split", "set", "subset", "part", "partition"];

/// Whether the lower-case name is a table's.
pub(crate) fn is_table(name: &str) -> bool {
    let name = input::without_gz(name);
    name.ends_with(".csv") || name.ends_with(".tsv")
}

/// The tables of a folder that are named after parts (`train.csv`, `val.csv`); empty if none is for training.
pub(crate) fn named_after_parts(files: &[DataFile]) -> Vec<PathBuf> {
    let part = |f: &&DataFile| labels::part_named(input::without_gz(&f.name));
    let tables = files.iter().filter(|f| is_table(&f.name) && part(f).is_some());
    let tables: Vec<&DataFile> = tables.collect();
    if !tables.iter().any(|f| part(f) == Some(Part::Train)) {
        return Vec::new();
    }
    tables.iter().filter_map(|f| f.path().map(Path::to_owned)).collect()
}

/// Reads the tables. Images are looked for beside the table that names them.
///
/// A lone `train.csv` takes a `val.csv` (or `valid`, `test`, ...) beside it along.
pub(crate) fn open(paths: &[PathBuf], options: &OpenOptions) -> Result<Dataset, DataError> {
    let mut images = Vec::new();
    for path in paths {
        read(path, &mut images)?;
    }
    let place = paths.first().map(|p| p.display().to_string()).unwrap_or_default();
    let beside = paths.first().map(|p| p.with_file_name("classes.txt")).filter(|p| p.is_file());
    let names = beside.map(|list| super::layout::read_classes(&list)).transpose()?;
    labels::arrange(&place, images, names, options)
}

/// A table and what belongs to it.
pub(crate) fn with_companions(path: &Path) -> Result<Vec<PathBuf>, DataError> {
    let stem = |p: &Path| input::file_name(p).split('.').next().unwrap_or_default().to_owned();
    if labels::part_named(&stem(path)) != Some(Part::Train) {
        return Ok(vec![path.to_owned()]);
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut found = vec![path.to_owned()];
    let mut others: Vec<PathBuf> =
        super::folder::data_files(folder)?.iter().filter_map(|f| f.path().map(Path::to_owned)).collect();
    // The preferred spelling comes first, and one is enough.
    let rank = |p: &Path| ["val", "valid", "validation", "dev", "test"].iter().position(|n| *n == stem(p));
    others.retain(|p| is_table(&input::file_name(p)) && rank(p).is_some());
    others.sort_by_key(|p| rank(p));
    found.extend(others.into_iter().next());
    Ok(found)
}

/// Where path, label and split stand in a line.
struct Columns {
    path: usize,
    label: usize,
    split: Option<usize>,
}

fn read(path: &Path, images: &mut Vec<Labelled>) -> Result<(), DataError> {
    let file = DataFile::on_disk(path);
    let text = String::from_utf8(file.read_all(MAX_BYTES)?).map_err(|_| {
        DataError::malformed(&file.display, "is not UTF-8 text; save it as CSV in that encoding")
    })?;
    let text = text.trim_start_matches('\u{feff}');
    let first = text.lines().next().unwrap_or_default();
    let separator =
        [',', '\t', ';'].into_iter().max_by_key(|&c| (first.matches(c).count(), c == ',')).unwrap_or(',');
    let (columns, has_heading) = columns(&fields(first, separator), &file.display)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let whole = labels::part_named(input::without_gz(&file.name));
    for (number, line) in text.lines().enumerate().skip(usize::from(has_heading)) {
        if line.trim().is_empty() {
            continue;
        }
        let cells = fields(line, separator);
        let cell = |index: usize| cells.get(index).map(|c| c.trim()).filter(|c| !c.is_empty());
        let (Some(name), Some(label)) = (cell(columns.path), cell(columns.label)) else {
            let reason = format!("line {} has no path and label; write PATH,LABEL on each line", number + 1);
            return Err(DataError::malformed(&file.display, reason));
        };
        let part = columns.split.and_then(cell).and_then(labels::part_named).or(whole);
        let location = Location::File(folder.join(name));
        images.push(Labelled { name: name.to_owned(), label: label.to_owned(), part, location });
    }
    Ok(())
}

/// Finds the columns by the first line, and whether that is a heading.
fn columns(first: &[String], file: &str) -> Result<(Columns, bool), DataError> {
    let find =
        |names: &[&str]| first.iter().position(|cell| names.contains(&cell.trim().to_lowercase().as_str()));
    match (find(&PATH_NAMES), find(&LABEL_NAMES)) {
        (Some(path), Some(label)) => Ok((Columns { path, label, split: find(&SPLIT_NAMES) }, true)),
        _ if (2..=3).contains(&first.len()) => {
            Ok((Columns { path: 0, label: 1, split: (first.len() == 3).then_some(2) }, false))
        }
        _ => {
            let count = first.len();
            let reason =
                format!("has {count} columns and no heading path,label; name the columns in its first line");
            Err(DataError::malformed(file, reason))
        }
    }
}

/// The cells of a line; a quoted one may hold separators and doubled quotes.
fn fields(line: &str, separator: char) -> Vec<String> {
    let (mut cells, mut cell, mut quoted) = (Vec::new(), String::new(), false);
    let mut chars = line.trim_end_matches('\r').chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                cell.push('"');
                chars.next();
            }
            '"' => quoted = !quoted,
            _ if c == separator && !quoted => cells.push(std::mem::take(&mut cell)),
            _ => cell.push(c),
        }
    }
    cells.push(cell);
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_cut_at_separators_outside_quotes() {
        assert_eq!(fields("a/1.jpg,cat", ','), ["a/1.jpg", "cat"]);
        assert_eq!(fields("\"a, b \"\"x\"\".jpg\",cat\r", ','), ["a, b \"x\".jpg", "cat"]);
        assert_eq!(fields("a\tb\t", '\t'), ["a", "b", ""]);
    }

    #[test]
    fn columns_are_found_by_name_or_place() {
        let heading: Vec<String> = ["Split", "label", "filename"].map(String::from).to_vec();
        let (columns, has_heading) = columns(&heading, "t").unwrap();
        assert_eq!((columns.path, columns.label, columns.split, has_heading), (2, 1, Some(0), true));
        let many = vec![String::from("0"); 65];
        assert!(super::columns(&many, "t").err().unwrap().to_string().contains("65 columns"));
    }
}
