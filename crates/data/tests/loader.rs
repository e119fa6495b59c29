//! The loader gives the same batches however it is run.
#![allow(missing_docs)]

mod common;

use std::sync::Arc;

use ocellus_data::{
    Augment, AugmentKind, Batch, DataError, Dataset, Loader, LoaderConfig, OpenOptions, Preprocess, Split,
    VerifyOptions,
};

const AUGMENT: Augment = Augment { kind: AugmentKind::PadCrop { pad: 2 }, flip: true };

fn digits() -> Arc<Split> {
    Arc::new(Dataset::digits(0).unwrap().train)
}

fn config(threads: usize) -> LoaderConfig {
    LoaderConfig { threads, ..LoaderConfig::training(Preprocess::new(1, [8, 8]), AUGMENT, 50, 9) }
}

type Plain = (usize, Vec<u32>, Vec<f32>, Vec<f32>);

fn plain(batch: Result<Batch, DataError>) -> Plain {
    let batch = batch.unwrap();
    assert_eq!(batch.count, batch.labels.len());
    (batch.index, batch.ids.clone(), batch.labels.clone(), batch.images.clone())
}

fn run(split: &Arc<Split>, config: &LoaderConfig, epoch: u32, first: usize) -> Vec<Plain> {
    Loader::start(split.clone(), config, epoch, first).unwrap().map(plain).collect()
}

#[test]
fn threads_make_no_difference() {
    let split = digits();
    let reference = run(&split, &config(0), 3, 0);
    assert_eq!(reference.len(), split.len() / 50);
    for threads in [1, 2, 5] {
        for prefetch in [1, 3] {
            assert_eq!(run(&split, &LoaderConfig { prefetch, ..config(threads) }, 3, 0), reference);
        }
    }
    assert_ne!(run(&split, &config(1), 4, 0), reference);
    assert_ne!(run(&split, &LoaderConfig { seed: 10, ..config(1) }, 3, 0), reference);
}

#[test]
fn an_epoch_resumes_from_its_middle() {
    let split = digits();
    let reference = run(&split, &config(2), 1, 0);
    for first in [1, 13, reference.len() - 1] {
        assert_eq!(run(&split, &config(2), 1, first), reference[first..]);
    }
    assert!(run(&split, &config(2), 1, reference.len()).is_empty());
    assert!(run(&split, &config(2), 1, usize::MAX).is_empty());
}

#[test]
fn evaluation_sees_every_image_once_in_order() {
    let split = digits();
    let config = LoaderConfig::evaluation(Preprocess::new(1, [8, 8]), 100);
    let batches = run(&split, &config, 0, 0);
    let ids: Vec<u32> = batches.iter().flat_map(|b| b.1.clone()).collect();
    assert_eq!(ids, (0..split.len() as u32).collect::<Vec<_>>());
    let labels: Vec<f32> = batches.iter().flat_map(|b| b.2.clone()).collect();
    assert!(labels.iter().zip(split.samples()).all(|(l, s)| *l == s.class as f32));
    assert_eq!(batches.last().unwrap().1.len(), split.len() % 100);
    assert_eq!(batches.last().unwrap().3.len(), split.len() % 100 * 64);
}

#[test]
fn a_dropped_loader_stops() {
    let split = digits();
    for threads in [0, 1, 4] {
        for taken in [0, 1, 5] {
            let mut loader = Loader::start(split.clone(), &config(threads), 0, 0).unwrap();
            let held: Vec<_> = loader.by_ref().take(taken).collect();
            drop(loader);
            drop(held);
        }
    }
    assert_eq!(Arc::strong_count(&split), 1);
}

#[test]
fn buffers_are_reused() {
    let split = digits();
    let mut seen = std::collections::BTreeSet::new();
    let mut batches = 0;
    for batch in Loader::start(split, &LoaderConfig { batch: 5, ..config(2) }, 0, 0).unwrap() {
        seen.insert(batch.unwrap().images.as_ptr() as usize);
        batches += 1;
    }
    assert!(batches > 200 && seen.len() <= 8, "{} buffers for {batches} batches", seen.len());
}

#[test]
fn files_and_kept_pixels_give_the_same_batches() {
    let temp = tempfile::tempdir().unwrap();
    common::write_classes(temp.path(), "", &["a", "b"], 20);
    let mut d = Dataset::open(temp.path(), &OpenOptions::default()).unwrap();
    let augment = Augment { kind: AugmentKind::random_resized_crop(), flip: true };
    let config = LoaderConfig::training(Preprocess::new(3, [12, 12]), augment, 8, 1);
    let from_files = run(&Arc::new(d.train.clone()), &config, 0, 0);
    d.train.verify(&VerifyOptions::default()).unwrap();
    assert!(d.train.is_decoded());
    assert_eq!(run(&Arc::new(d.train), &config, 0, 0), from_files);
}

#[test]
fn a_bad_image_is_an_error_and_not_the_end() {
    let temp = tempfile::tempdir().unwrap();
    common::write_classes(temp.path(), "", &["a", "b"], 20);
    let d = Dataset::open(temp.path(), &OpenOptions::default()).unwrap();
    let victim = &d.train.samples()[9].name;
    common::write(temp.path(), victim, b"now text");
    let config = LoaderConfig::evaluation(Preprocess::new(3, [12, 12]), 8);
    let results: Vec<_> = Loader::start(Arc::new(d.train), &config, 0, 0).unwrap().collect();
    assert_eq!(results.len(), 4);
    let message = results[1].as_ref().unwrap_err().to_string();
    assert!(message.contains("it is text"), "{message}");
    assert!(results[0].is_ok() && results[2].is_ok());
}

#[test]
fn settings_are_checked() {
    let start = |config: &LoaderConfig| Loader::start(digits(), config, 0, 0).map(|_| ());
    assert!(start(&LoaderConfig { batch: 0, ..config(1) }).is_err());
    assert!(start(&LoaderConfig { batch: usize::MAX, ..config(1) }).is_err());
    assert!(start(&LoaderConfig { prefetch: 0, ..config(1) }).is_err());
    let kind = AugmentKind::RandomResizedCrop { scale: [0.5, 2.0], ratio: [1.0, 1.0] };
    assert!(start(&LoaderConfig { augment: Augment { kind, flip: false }, ..config(1) }).is_err());
}
