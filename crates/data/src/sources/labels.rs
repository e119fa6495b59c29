//! From the labels that a table or a shard gives each image to class indices.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::dataset::{Dataset, OpenOptions, draw_validation};
use crate::error::DataError;
use crate::split::{Location, Sample, Split};

/// Which part of the data an image says it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Train,
    Val,
}

/// An image and the label that stands beside it.
#[derive(Debug)]
pub(crate) struct Labelled {
    pub(crate) name: String,
    pub(crate) label: String,
    pub(crate) part: Option<Part>,
    pub(crate) location: Location,
}

/// What part a file's or a column's word means: any spelling of train, val and test, also as a part of a file's name.
pub(crate) fn part_named(word: &str) -> Option<Part> {
    let word = word.to_lowercase();
    let mut words = word.split(|c: char| !c.is_ascii_alphabetic());
    words.find_map(|w| match w {
        "train" | "training" | "trn" => Some(Part::Train),
        "val" | "valid" | "validation" | "validate" | "dev" | "test" | "testing" | "eval" => Some(Part::Val),
        _ => None,
    })
}

/// Divides labelled images into splits: by the parts they name, else by seed. Classes are `names` in their order (a label
/// is one of them or the index of one), or else the labels that occur: by value if all are numbers, else by name.
pub(crate) fn arrange(
    place: &str,
    images: Vec<Labelled>,
    names: Option<Vec<String>>,
    options: &OpenOptions,
) -> Result<Dataset, DataError> {
    if images.is_empty() {
        return Err(DataError::malformed(place, "holds no labelled images; check that it is the right file"));
    }
    let classes = names.unwrap_or_else(|| occurring(&images));
    let index: HashMap<&str, u32> = classes.iter().zip(0..).map(|(c, i)| (c.as_str(), i)).collect();
    let class_of = |image: &Labelled| {
        let by_number = || image.label.parse().ok().filter(|&i: &u32| (i as usize) < classes.len());
        index.get(image.label.as_str()).copied().or_else(by_number).ok_or_else(|| {
            let (name, label, count) = (&image.name, &image.label, classes.len());
            let reason =
                format!("{name} has label {label}, which is none of the {count} classes; correct either");
            DataError::malformed(place, reason)
        })
    };
    let (mut samples, mut parts) = (Vec::with_capacity(images.len()), Vec::new());
    for image in &images {
        let (class, location) = (class_of(image)?, image.location.clone());
        samples.push(Sample { class, name: image.name.clone(), location });
        parts.push(image.part);
    }
    let drawn = !parts.contains(&Some(Part::Val));
    let unnamed = parts.iter().filter(|part| part.is_none()).count();
    let is_val: Vec<bool> = if drawn && parts.contains(&Some(Part::Train)) || unnamed == parts.len() {
        draw_validation(&samples, classes.len(), options.val_fraction, options.seed)
    } else {
        // Where some images say that they validate, all others train.
        parts.iter().map(|part| *part == Some(Part::Val)).collect()
    };
    let names: Arc<[String]> = classes.into();
    let (val, train): (Vec<_>, Vec<_>) = samples.into_iter().zip(is_val).partition(|(_, val)| *val);
    let strip = |pairs: Vec<(Sample, bool)>| pairs.into_iter().map(|p| p.0).collect();
    Ok(Dataset {
        train: Split::new("train", names.clone(), strip(train)),
        val: Split::new("val", names, strip(val)),
        drawn,
        notes: Vec::new(),
    })
}

fn occurring(images: &[Labelled]) -> Vec<String> {
    let labels: BTreeSet<&str> = images.iter().map(|image| image.label.as_str()).collect();
    let mut labels: Vec<String> = labels.into_iter().map(str::to_owned).collect();
    if labels.iter().all(|label| label.parse::<u64>().is_ok()) {
        labels.sort_by_key(|label| label.parse::<u64>().unwrap_or(u64::MAX));
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(name: &str, label: &str, part: Option<Part>) -> Labelled {
        Labelled { name: name.into(), label: label.into(), part, location: Location::Pixels }
    }

    #[test]
    fn numbers_sort_by_value_and_parts_are_kept() {
        let images = vec![
            image("a", "10", Some(Part::Train)),
            image("b", "9", Some(Part::Train)),
            image("c", "9", Some(Part::Val)),
        ];
        let set = arrange("x", images, None, &OpenOptions::default()).unwrap();
        assert_eq!(set.classes().as_ref(), ["9", "10"]);
        assert_eq!((set.train.len(), set.val.len(), set.drawn), (2, 1, false));
        assert_eq!(set.train.samples()[0].class, 1);
    }

    #[test]
    fn labels_are_names_or_indices_of_the_list() {
        let list = || Some(vec!["cat".to_owned(), "dog".to_owned()]);
        let images = vec![image("a", "dog", None), image("b", "0", None), image("c", "1", None)];
        let set = arrange("x", images, list(), &OpenOptions::default()).unwrap();
        assert!(set.drawn);
        let all = set.train.samples().iter().chain(set.val.samples());
        let mut found: Vec<_> = all.map(|s| (s.name.as_str(), s.class)).collect();
        found.sort();
        assert_eq!(found, [("a", 1), ("b", 0), ("c", 1)]);
        let fault = arrange("x", vec![image("a", "2", None)], list(), &OpenOptions::default()).unwrap_err();
        assert_eq!(fault.to_string(), "x: a has label 2, which is none of the 2 classes; correct either");
    }

    #[test]
    fn parts_are_found_in_words() {
        assert_eq!(part_named("imagenet-train-000012.tar"), Some(Part::Train));
        assert_eq!(part_named("VALID"), Some(Part::Val));
        assert_eq!(part_named("trainer"), None);
        assert_eq!(part_named("shard-0001.tar"), None);
    }
}
