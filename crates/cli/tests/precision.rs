//! Narrow numbers from the command line: the same answers, nearly, and clear words where they cannot be had.

mod support;

use serde_json::Value;
use support::Place;

fn top1(place: &Place, words: &str) -> f64 {
    let report: Value = place.ok(&format!("{words} --json")).json();
    report["top1"].as_f64().expect("a share")
}

#[test]
fn a_digit_is_told_in_half_and_a_quarter_of_the_bits() {
    let place = Place::new();
    place.ok("train --epochs 8 --out run");
    let exact = top1(&place, "val run digits");
    assert!((top1(&place, "val run digits --precision bf16") - exact).abs() < 0.01);
    for method in ["minmax", "percentile", "entropy"] {
        let words = format!("quantize run digits --out q.safetensors --samples 64 --method {method} --json");
        assert_eq!(place.ok(&words).json()["images"], 64, "{method}");
        let near = top1(&place, "val q.safetensors digits --precision int8");
        assert!((near - exact).abs() < 0.02, "{method}: {near} instead of {exact}");
        // Its weights are what they were.
        assert_eq!(top1(&place, "val q.safetensors digits"), exact);
    }
    let guess = place.ok("predict q.safetensors run/sample-7.png --precision int8 --json").json();
    assert_eq!(guess["predictions"][0]["classes"][0]["class"], "7");
}

#[test]
fn a_run_in_bf16_says_so_and_keeps_to_it() {
    let place = Place::new();
    place.ok("train --epochs 3 --precision bf16 --out run");
    let config = std::fs::read_to_string(place.path("run/config.toml")).unwrap();
    assert!(config.contains("precision = \"bf16\""), "{config}");
    assert!(top1(&place, "val run digits") > 0.5);
    let sentence = place.refusal("train --resume run --precision f32");
    assert!(sentence.contains("--precision bf16") && sentence.contains("f32"), "{sentence}");
}

#[test]
fn bench_measures_every_precision() {
    let place = Place::new();
    for precision in ["f32", "bf16", "int8"] {
        let report =
            place.ok(&format!("bench squeezenet1_1 --precision {precision} --seconds 0.1 --json")).json();
        assert!(report["median_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{report}");
    }
    let words = "bench resnet20 --batch 4 --mode train --precision bf16 --per-layer --seconds 0.1 --json";
    let report = place.ok(words).json();
    let layers = report["layers"].as_array().expect("layers");
    assert!(layers.iter().any(|layer| layer["kernel"] == "weight grad direct bf16"), "{report}");
}

#[test]
fn what_cannot_be_had_is_refused_in_a_sentence() {
    let place = Place::new();
    place.ok("convert resnet20 net.safetensors --untrained --mean 0.5,0.5,0.5 --std 0.25,0.25,0.25");
    let sentence = place.refusal("val net.safetensors digits --precision int8");
    assert!(sentence.contains("net.safetensors") && sentence.contains("ocellus quantize"), "{sentence}");
    let sentence = place.refusal("quantize net.safetensors digits --out net.onnx");
    assert!(sentence.contains("net.onnx") && sentence.contains(".safetensors"), "{sentence}");
    assert!(!place.path("net.onnx").exists());
    let sentence = place.refusal("bench lenet --mode train --precision int8");
    assert!(sentence.contains("int8") && sentence.contains("bf16"), "{sentence}");
}
