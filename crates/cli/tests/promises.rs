//! What scripts rely on: the keys of the JSON, the lines of a piped run, and that a first run needs no arguments.

mod support;

use std::fs;

use serde_json::Value;
use support::Place;

fn assert_keys(object: &Value, keys: &[&str]) {
    for key in keys {
        assert!(object.get(key).is_some_and(|value| !value.is_null()), "{key} is missing in {object}");
    }
}

#[test]
fn training_without_arguments_learns_and_says_what_to_type_next() {
    let place = Place::new();
    let done = place.ok("train");
    let lines: Vec<&str> = done.out.lines().collect();
    let epochs: Vec<&&str> = lines.iter().filter(|line| line.starts_with("epoch ")).collect();
    assert_eq!(epochs.len(), 30, "{}", done.out);
    for part in ["epoch 1/30  loss ", "  top1 ", "%  lr ", " img/s  mem ", "  eta "] {
        assert!(epochs[0].contains(part), "{part:?} in {}", epochs[0]);
    }
    assert!(done.out.contains("predict runs/train") && done.out.contains("train PHOTOS"), "{}", done.out);

    let metrics: Value =
        serde_json::from_slice(&fs::read(place.path("runs/train/metrics.json")).unwrap()).unwrap();
    assert!(metrics["best"]["top1"].as_f64().unwrap() >= 0.97, "{}", metrics["best"]);

    let guess = place.ok("predict runs/train runs/train/sample-7.png --json").json();
    assert_eq!(guess["predictions"][0]["classes"][0]["class"], "7");
    assert_eq!(guess["predictions"][0]["classes"].as_array().unwrap().len(), 5);

    place.ok("train --epochs 1");
    assert!(place.path("runs/train2/best.safetensors").is_file());
}

#[test]
fn json_of_train_val_and_predict() {
    let place = Place::new();
    let done = place.ok("train --epochs 2 --out run --json");
    let report = done.json();
    assert_keys(&report, &["run", "best", "last", "images_per_second"]);
    assert_keys(&report["best"], &["epoch", "top1", "loss"]);
    assert_keys(&report["last"], &["epoch", "top1", "loss"]);
    let epochs: Vec<Value> = done.err.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert_eq!(epochs.len(), 2, "{}", done.err);
    assert_keys(&epochs[1], &["epoch", "loss", "top1", "train_loss", "lr", "images_per_second"]);

    let report = place.ok("val run digits --json").json();
    assert_keys(&report, &["images", "top1", "top5", "loss", "classes"]);
    assert_keys(&report["classes"][9], &["class", "precision", "recall", "f1"]);
    assert_eq!(report["images"], 359);

    support::png(&place.path("x.png"), 20, |x, _| [if x > 10 { 250 } else { 0 }; 3]);
    let report = place.ok("predict run/best.safetensors x.png --topk 3 --json").json();
    assert_eq!(report["predictions"][0]["image"], "x.png");
    assert_eq!(report["predictions"][0]["classes"].as_array().unwrap().len(), 3);
    assert_keys(&report["predictions"][0]["classes"][0], &["class", "index", "probability"]);
}

#[test]
fn json_of_summary() {
    let place = Place::new();
    let report = place.ok("summary resnet50 --json").json();
    assert_keys(&report, &["parameters", "macs", "layers", "planned_bytes", "nodes"]);
    assert_eq!(report["parameters"]["trainable"], 25_557_032);
    assert_eq!(report["parameters"]["statistics"], 53_120);
    assert_eq!(report["layers"]["weighted"], 50);
    assert_eq!(report["layers"]["reckoning"], "1 + 16x3 + 1 = 50");
    assert_eq!(report["macs"], 4_089_184_256_u64);
    assert_keys(&report["planned_bytes"], &["inference", "training"]);
    assert_keys(&report["nodes"][0], &["name", "op", "output", "parameters", "macs"]);
    let lenet = place.ok("summary lenet --json").json();
    assert_eq!(lenet["parameters"]["trainable"], 431_080);

    let own = place.ok("summary resnet20 --input 4,3,32,32 --json").json();
    let step = place.ok("summary resnet20 --input 4,3,32,32 --train --json").json();
    assert_eq!(own["nodes"][0]["output"][0], 4);
    assert_eq!(step["parameters"], own["parameters"]);
    assert!(step["macs"].as_u64().unwrap() > 2 * own["macs"].as_u64().unwrap());
}

#[test]
fn json_of_bench() {
    let place = Place::new();
    for mode in ["infer", "train"] {
        let words = format!("bench lenet --batch 4 --mode {mode} --seconds 0.1 --per-layer --json");
        let report = place.ok(&words).json();
        let keys = ["median_ms", "p10_ms", "p90_ms", "images_per_second", "gflops", "peak_gflops"];
        assert_keys(&report, &keys);
        assert_keys(&report, &["fraction_of_peak", "planned_bytes"]);
        assert_keys(&report["layers"][0], &["name", "kernel", "ms", "gflops", "fraction_of_peak"]);
        assert_keys(&report["layers"][0], &["bytes", "gigabytes_per_second", "fraction_of_bandwidth"]);
        assert!(report["memory_gigabytes_per_second"].as_f64().unwrap() > 0.0);
        if cfg!(target_os = "linux") {
            assert_keys(&report, &["real_bytes"]);
        }
        let [low, median, high] = ["p10_ms", "median_ms", "p90_ms"].map(|key| report[key].as_f64().unwrap());
        assert!(low <= median && median <= high && low > 0.0);
    }
}

#[test]
fn every_help_has_an_example() {
    let place = Place::new();
    for command in ["train", "val", "predict", "summary", "run", "bench"] {
        let help = place.ok(&format!("{command} --help")).out;
        assert!(help.contains(&format!("ocellus {command} ")), "{help}");
        for option in ["--json", "--threads", "--seed"] {
            assert!(help.contains(option), "{option} in {help}");
        }
    }
}
