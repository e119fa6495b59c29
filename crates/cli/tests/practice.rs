//! Practices beyond the recipe, from the command line.

mod support;

use std::fs;
use std::time::{Duration, Instant};

use support::Place;

#[test]
fn every_option_is_taken_and_a_run_with_them_learns() {
    let place = Place::new();
    let words = "train --epochs 3 --out run --ema 0.9 --clip-norm 5 --clip-value 1 --patience 9 --class-weights auto \
                 --lr-mult *.bias=2 --norm-decay false --schedule multi-step --milestones 2 --gamma 0.5 --warmup 0.5 \
                 --mixup 0.2 --cutmix 1 --color-jitter 0.2,0.2 --rotate 5 --erase 0.1 --rand-augment 1,3 \
                 --accumulate 2 --optimizer adam --freeze 1";
    let done = place.ok(words);
    assert_eq!(done.out.lines().filter(|line| line.starts_with("epoch ")).count(), 3, "{}", done.out);
    let config = fs::read_to_string(place.path("run/config.toml")).unwrap();
    for part in
        ["kind = \"adaptive\"", "rule = \"adam\"", "ema = 0.9", "kind = \"multi-step\"", "freeze = [\"1\"]"]
    {
        assert!(config.contains(part), "{part} in {config}");
    }
    let plain = place.ok("val run digits --json").json();
    let views = place.ok("val run digits --tta shifts --json").json();
    assert_eq!(plain["images"], views["images"]);
    assert_ne!(plain["loss"], views["loss"]);
}

#[test]
fn the_best_weights_are_judged_by_several_views_when_training_is_done() {
    let place = Place::new();
    let done = place.ok("train --epochs 1 --out run --tta shifts --json").json();
    let by = &done["best_by_views"];
    assert_eq!(by["views"], 5);
    let again = place.ok("val run digits --tta shifts --json").json();
    assert_eq!((&again["top1"], &again["loss"]), (&by["top1"], &by["loss"]));
    assert_ne!(done["best"]["loss"], by["loss"]);
    let kept: serde_json::Value =
        serde_json::from_slice(&fs::read(place.path("run/metrics.json")).unwrap()).unwrap();
    assert_eq!(&kept["best_by_views"], by);
    let told = place.ok("train --resume run").out;
    assert!(told.contains("by the mean of 5 views"), "{told}");
}

#[test]
fn impossible_practices_get_one_sentence() {
    let place = Place::new();
    for (words, told) in [
        ("--ema 1.5", "--ema 1.5"),
        ("--freeze nothing.*", "nothing.*"),
        ("--freeze *", "leave something to train"),
        ("--class-weights 1,2", "10 classes"),
        ("--power 2", "--power means nothing"),
        ("--rotate 500", "500"),
        ("--color-jitter 1,1,1,1,1", "up to four"),
        ("--auto-augment cifar10 --rand-augment 2,9", "give one"),
        ("--lr-mult fc", "--lr-mult fc"),
        ("--optimizer lamb --momentum 0.5", "lamb has no --momentum"),
        ("--tta --loss contrastive", "--tta"),
    ] {
        let sentence = place.refusal(&format!("train --epochs 1 {words}"));
        assert!(sentence.contains(told), "{told:?} in: {sentence}");
        assert!(!place.path("runs/train").exists(), "{words} left a run");
    }
}

#[test]
fn rates_are_tried_and_one_is_suggested() {
    let place = Place::new();
    let told = place.ok("train --lr-find 40").out;
    assert!(told.contains("<- steepest") && told.contains("--lr "), "{told}");
    let curve = place.ok("train --lr-find 40 --json").json();
    assert!(curve["suggestion"].as_f64().unwrap() > 0.0 && curve["points"].as_array().unwrap().len() > 10);
    assert!(!place.path("runs").exists(), "nothing is trained");
}

#[test]
fn presets_time_and_memory_decide_what_is_open() {
    let place = Place::new();
    let done = place.ok("train --preset fast --time-limit 10m --batch auto --epochs 1 --out run");
    assert!(done.err.contains("a batch of 64 fits"), "{}", done.err);
    let done = place.run("train --time-limit 0.0001s --out brief");
    assert!(done.err.contains("an epoch takes about"), "{}", done.err);
    assert!(place.run("train --time-limit soon").err.contains("20m"));
}

#[test]
fn a_model_for_other_classes_begins_with_what_fits() {
    let place = Place::new();
    place.pictures("four", 4, 12);
    place.pictures("two", 2, 12);
    place.ok("train four --model digits --epochs 1 --batch 8 --out first");
    let words = "train two --weights first/best.safetensors --freeze trunk --trunk-lr 0.1 --epochs 1 --batch 8 --out second";
    let done = place.ok(words);
    assert!(done.err.contains("wrong shape"), "{}", done.err);
    let report = fs::read_to_string(place.path("second/weights.txt")).unwrap();
    assert!(report.lines().filter(|line| line.starts_with("matched")).count() > 2, "{report}");
}

#[cfg(unix)]
#[test]
fn a_signal_makes_a_checkpoint_and_the_same_command_goes_on() {
    let place = Place::new();
    let words = "train --epochs 16 --out run";
    let mut child = place.start(words);
    let begun = Instant::now();
    while !place.path("run/results.csv").exists() && begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(5));
    }
    std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(130));
    assert!(place.path("run/stopped").exists() && place.path("run/last.ckpt").exists());
    let other = place.refusal("train --epochs 17 --out run");
    assert!(other.contains("--resume"), "another command does not go on: {other}");
    let done = place.ok(words);
    assert!(done.err.contains("going on with run"), "{}", done.err);
    assert!(!place.path("run/stopped").exists());
    place.ok("train --epochs 16 --out whole");
    let bytes = |name: &str| fs::read(place.path(name)).unwrap();
    assert!(bytes("run/best.safetensors") == bytes("whole/best.safetensors"));
    assert!(bytes("run/last.ckpt") == bytes("whole/last.ckpt"));
}
