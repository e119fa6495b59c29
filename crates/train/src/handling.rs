//! What did the user say about the data beside where it is: what to leave out, how to divide it, how much may be bad?

use std::path::Path;

use ocellus_data::{Excluded, OpenOptions, Preprocess, Preprocessor, Split, SplitLists, VerifyOptions};
use serde::{Deserialize, Serialize};

use crate::TrainError;

/// A crop that cuts away less than this share of the pixels is not worth a word.
const NOTABLE_CROP: f64 = 0.1;

/// How data is opened; all of it may be left unsaid.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Handling {
    /// The share of images that may be damaged before that is an error, 0 to 1; 0.01 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bad: Option<f64>,
    /// A file of the names of images to leave out, one a line, or in the first column of a .csv.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exclude: Option<String>,
    /// A file that says which images train and which validate: a run's `split.json`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// No class is in both training and validation images.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub disjoint_classes: bool,
}

impl Handling {
    /// Whether nothing was said.
    pub fn is_default(&self) -> bool {
        *self == Handling::default()
    }

    /// These settings, and where they leave something open, `other`'s.
    #[must_use]
    pub fn or(self, other: Handling) -> Handling {
        Handling {
            max_bad: self.max_bad.or(other.max_bad),
            exclude: self.exclude.or(other.exclude),
            split: self.split.or(other.split),
            disjoint_classes: self.disjoint_classes || other.disjoint_classes,
        }
    }

    /// The data crate's options.
    ///
    /// Errors: a file cannot be read or is not what it should be.
    pub(crate) fn options(&self, val_fraction: f64, seed: u64) -> Result<OpenOptions, TrainError> {
        let exclude = self.exclude.as_deref().map(|file| read_names(Path::new(file))).transpose()?;
        let split = self.split.as_deref().map(|file| read_split(Path::new(file))).transpose()?;
        let exclude = exclude.unwrap_or_default();
        Ok(OpenOptions { val_fraction, seed, exclude, split, ..OpenOptions::default() })
    }

    pub(crate) fn verification(&self) -> Result<VerifyOptions, TrainError> {
        let usual = VerifyOptions::default();
        let max_bad_share = self.max_bad.unwrap_or(usual.max_bad_share);
        if !(0.0..=1.0).contains(&max_bad_share) {
            return Err(TrainError::setting(format!(
                "the share of images that may be bad lies between 0 and 1, not {max_bad_share}; 0.01 is usual"
            )));
        }
        Ok(VerifyOptions { max_bad_share, ..usual })
    }
}

/// An image that was left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Its name in the data.
    pub image: String,
    /// Why.
    pub reason: String,
}

/// The list of images left out as CSV, which [`Handling::exclude`] reads again.
pub(crate) fn excluded_csv(images: &[LeftOut]) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\"").replace(['\n', '\r'], " "));
    let lines: Vec<String> =
        images.iter().map(|bad| format!("{},{}\n", quoted(&bad.image), quoted(&bad.reason))).collect();
    format!("image,reason\n{}", lines.concat())
}

pub(crate) fn left_out(excluded: &Excluded) -> Vec<LeftOut> {
    let pairs = excluded.names.iter().zip(&excluded.images);
    pairs.map(|(image, fault)| LeftOut { image: image.clone(), reason: fault.reason.clone() }).collect()
}

/// One name a line, or the first cell of each; `#` begins a comment.
fn read_names(path: &Path) -> Result<Vec<String>, TrainError> {
    let text =
        std::fs::read_to_string(path).map_err(|cause| TrainError::io(path, "cannot be read", cause))?;
    let is_table = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("csv"));
    let mut names = Vec::new();
    for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') || (is_table && number == 0 && line.starts_with("image,"))
        {
            continue;
        }
        names.push(if is_table { first_cell(line) } else { line.to_owned() });
    }
    Ok(names)
}

fn first_cell(line: &str) -> String {
    let Some(quoted) = line.strip_prefix('"') else {
        return line.split(',').next().unwrap_or(line).to_owned();
    };
    let mut cell = String::new();
    let mut chars = quoted.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if chars.peek() == Some(&'"') => cell.extend(chars.next()),
            '"' => break,
            _ => cell.push(c),
        }
    }
    cell
}

fn read_split(path: &Path) -> Result<SplitLists, TrainError> {
    let text =
        std::fs::read_to_string(path).map_err(|cause| TrainError::io(path, "cannot be read", cause))?;
    serde_json::from_str(&text).map_err(|cause| {
        TrainError::setting(format!(
            "{}: {cause}; a division is written {{\"train\": [NAME, ..], \"val\": [NAME, ..]}}",
            path.display()
        ))
    })
}

/// What share of the pixels evaluation never shows, where that is worth telling: one sentence.
pub(crate) fn crop_note(preprocess: &Preprocess, split: &Split) -> Option<String> {
    let (sizes, preprocessor) = (split.sizes()?, Preprocessor::new(preprocess).ok()?);
    let cut = |[width, height]: [u32; 2]| 1.0 - preprocessor.share_shown(width, height);
    let (mut sum, mut most) = (0.0, (0.0, 0));
    for (index, size) in sizes.iter().enumerate() {
        let share = cut(*size);
        sum += share;
        if share > most.0 {
            most = (share, index);
        }
    }
    let mean = sum / sizes.len().max(1) as f64;
    let worst = &split.samples().get(most.1)?.name;
    (mean >= NOTABLE_CROP).then(|| {
        format!(
            "--fit crop cuts away {:.0}% of the pixels of the {} images on average, {:.0}% of {worst}; --fit letterbox \
             shows all of each, --fit stretch all of it out of shape",
            100.0 * mean,
            split.name(),
            100.0 * most.0
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_exclusions_comes_back() {
        let place = tempfile::tempdir().unwrap();
        let bad = |image: &str, reason: &str| LeftOut { image: image.into(), reason: reason.into() };
        let all = [bad("train/a, b/\"1\".jpg", "cut, short"), bad("x.png", "empty")];
        let csv = place.path().join("excluded.csv");
        std::fs::write(&csv, excluded_csv(&all)).unwrap();
        assert_eq!(read_names(&csv).unwrap(), ["train/a, b/\"1\".jpg", "x.png"]);
        let list = place.path().join("list.txt");
        std::fs::write(&list, "# two\na,b.png\n\n c.png \n").unwrap();
        assert_eq!(read_names(&list).unwrap(), ["a,b.png", "c.png"]);
    }

    #[test]
    fn a_share_beyond_all_is_refused() {
        let handling = Handling { max_bad: Some(1.5), ..Handling::default() };
        assert!(handling.verification().unwrap_err().to_string().contains("1.5"));
    }
}
