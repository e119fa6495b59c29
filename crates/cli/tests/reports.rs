//! Reports, comparisons and maps of attention from the command line.

mod support;

use std::fs;

use support::Place;

#[test]
fn a_report_is_one_page_and_the_files_behind_it() {
    let place = Place::new();
    place.ok("train --epochs 3 --out run");
    let told = place.ok("report run --temperature --tensorboard --json").json();
    assert_eq!(told["images"], 359);
    let page = fs::read_to_string(place.path("run/report.html")).unwrap();
    for part in [
        "<svg",
        "Calibration",
        "Highest losses",
        "data:image/png;base64,",
        "config.toml",
        "balanced accuracy",
        "Logits divided by",
    ] {
        assert!(page.contains(part), "{part}");
    }
    for outside in ["http://", "https://", "src=\"/", "href="] {
        let elsewhere = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!elsewhere.contains(outside), "the page needs nothing else: {outside}");
    }
    let confusion = fs::read_to_string(place.path("run/confusion.csv")).unwrap();
    let sum: u64 =
        confusion.lines().skip(1).flat_map(|l| l.split(',').skip(1)).map(|n| n.parse::<u64>().unwrap()).sum();
    assert_eq!((confusion.lines().count(), sum), (11, 359));
    assert_eq!(fs::read_to_string(place.path("run/predictions.csv")).unwrap().lines().count(), 360);
    let card = fs::read_to_string(place.path("run/card.md")).unwrap();
    assert!(card.contains("top-1 accuracy") && card.contains("On 1438 images"), "{card}");
    for file in ["samples.png", "misclassified.png"] {
        assert!(image::open(place.path(&format!("run/{file}"))).is_ok(), "{file}");
    }
    let events = fs::read_dir(place.path("run")).unwrap().flatten();
    assert_eq!(events.filter(|e| e.file_name().to_string_lossy().contains("tfevents")).count(), 1);

    let val = place.ok("val run --temperature --top-losses 3 --json").json();
    assert_eq!(val["top_losses"].as_array().unwrap().len(), 3);
    let [low, high] = [0, 1].map(|i| val["top1_interval"][i].as_f64().unwrap());
    assert!(low < val["top1"].as_f64().unwrap() && val["top1"].as_f64().unwrap() < high);
    assert!(val["temperature"]["loss"].as_f64().unwrap() <= val["loss"].as_f64().unwrap() + 1e-6);
    assert!(place.refusal("report run/best.safetensors digits").contains("--out"));
}

#[test]
fn where_the_network_looked_is_drawn_over_the_picture() {
    let place = Place::new();
    place.ok("train --epochs 2 --out run");
    let told = place.ok("predict run run/sample-7.png --explain=why --json").json();
    let file = told["predictions"][0]["explained"].as_str().unwrap().to_owned();
    assert!(file.starts_with("why/sample-7-why-"), "{file}");
    let drawn = image::open(place.path(&file)).unwrap().into_rgb8();
    assert_eq!((drawn.width(), drawn.height()), (256, 256));
    assert!(drawn.pixels().any(|p| p[0] != p[1] || p[1] != p[2]), "the digit is grey, the map is not");
}

#[test]
fn runs_that_differ_in_their_seed_are_one_line() {
    let place = Place::new();
    for seed in [1, 2] {
        place.ok(&format!("train --epochs 2 --seed {seed} --out a{seed}"));
        place.ok(&format!("train --epochs 2 --lr 0.0001 --seed {seed} --out b{seed}"));
    }
    let told = place.ok("compare a1 b1 a2 b2 --out c.html --json").json();
    let groups = told["groups"].as_array().unwrap();
    assert_eq!(groups.len(), 2, "{told}");
    assert_eq!(groups[0]["runs"].as_array().unwrap().len(), 2);
    assert!(groups[0]["name"].as_str().unwrap().contains("lr "), "{told}");
    assert!(fs::read_to_string(place.path("c.html")).unwrap().contains("polygon"), "a band for the seeds");
    let text = place.ok("compare a1 b1 --out c.svg").out;
    assert!(text.contains("359 validation images"), "{text}");
    assert!(place.refusal("compare nothing").contains("nothing"));
}
