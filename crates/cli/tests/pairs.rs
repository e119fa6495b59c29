//! Pairs from the command line: train, val, report, embed; a run killed with -9; and a described network.

mod support;

use std::fs;

use support::Place;

#[test]
fn joint_training_is_measured_reported_and_embedded() {
    let place = Place::new();
    let done = place.ok("train --loss joint --embedding 12 --epochs 5 --threads 1 --out run");
    assert!(done.out.contains("  pairs ") && done.out.contains("  eer "), "{}", done.out);
    let told = place.ok("val run digits --json").json();
    assert_eq!((told["images"].as_u64(), told["pairs"].as_u64()), (Some(359), Some(718)));
    for (share, least) in
        [("accuracy", 0.8), ("auc", 0.88), ("recall_at_1", 0.75), ("neighbours", 0.75), ("class_top1", 0.7)]
    {
        assert!(told[share].as_f64().unwrap() > least, "{share} in {told}");
    }
    place.ok("report run --out page");
    let page = fs::read_to_string(place.path("page/report.html")).unwrap();
    assert!(page.contains("equal error rate") && page.matches("<svg").count() == 5, "{page}");
    let roc = fs::read_to_string(place.path("page/roc.csv")).unwrap();
    assert!(
        roc.starts_with("threshold,false_accepted,accepted\n0,")
            && roc.trim_end().ends_with("1.000000,1.000000")
    );

    place.ok("embed run digits --out e.npy");
    let rows = fs::read_to_string(place.path("e.csv")).unwrap();
    assert_eq!(rows.lines().count(), 360);
    assert_eq!(fs::metadata(place.path("e.npy")).unwrap().len() % 64, (359 * 12 * 4) % 64);
    place.ok("embed run digits --part train --out all.csv");
    let table = fs::read_to_string(place.path("all.csv")).unwrap();
    assert!(table.lines().all(|line| line.split(',').count() == 14), "{}", &table[..200]);
    place.ok("predict run run/sample-7.png --json");
}

#[test]
fn a_killed_run_on_pairs_ends_with_the_same_bits() {
    let place = Place::new();
    let words = "train --loss contrastive --embedding 8 --epochs 2 --threads 1 --checkpoint-steps 2";
    place.ok(&format!("{words} --out whole"));
    let mut run = place.start(&format!("{words} --out killed"));
    std::thread::sleep(std::time::Duration::from_millis(500));
    let _ = run.kill();
    run.wait().unwrap();
    match place.path("killed").exists() {
        true => place.ok("train --resume killed --threads 1"),
        false => place.ok(&format!("{words} --out killed")),
    };
    for file in ["last.ckpt", "best.safetensors"] {
        let bytes = |run: &str| fs::read(place.path(run).join(file)).unwrap();
        assert!(bytes("whole") == bytes("killed"), "{file}");
    }
    let sentence = place.refusal("predict whole whole/sample-7.png");
    assert!(sentence.contains("--loss joint"), "{sentence}");
}

#[test]
fn a_described_network_trains_and_goes_on_without_its_file() {
    let place = Place::new();
    let gate = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/gate.txt");
    fs::copy(gate, place.path("gate.txt")).unwrap();
    place.ok("train --model gate.txt --epochs 2 --out run");
    fs::remove_file(place.path("gate.txt")).unwrap();
    place.ok("train --resume run");
    assert!(place.ok("val run digits --json").json()["top1"].as_f64().unwrap() > 0.6);
    let sentence = place.refusal("train --model gate.txt --epochs 1");
    assert!(sentence.contains("gate.txt"), "{sentence}");
    let sentence = place.refusal("train --embedding 3 --epochs 1");
    assert!(sentence.contains("--loss"), "{sentence}");
    let sentence = place.refusal("embed run digits --out e.npy");
    assert!(sentence.contains("--layer"), "{sentence}");
    place.ok("embed run digits --layer v.relu --out e.npy");
}
