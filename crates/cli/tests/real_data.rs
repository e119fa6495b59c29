//! Real images in their own forms, from a folder `shared/data` beside the checkout; skipped where that is missing.

mod support;

use std::path::PathBuf;

use support::Place;

/// A file or folder of the real data; `None`, said on standard error, where it is missing.
fn real(name: &str) -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(name);
    if !root.exists() {
        eprintln!("skipped: {} is missing", root.display());
    }
    root.canonicalize().ok()
}

#[test]
fn lenet_learns_mnist_in_one_epoch() {
    let Some(data) = real("mnist") else { return };
    let place = Place::new();
    let words = format!("train {} --model lenet --epochs 1 --out run --json", data.display());
    let report = place.ok(&words).json();
    assert!(report["best"]["top1"].as_f64().unwrap() > 0.97, "{report}");

    // Test files alone are enough to validate on.
    std::fs::create_dir(place.path("test")).unwrap();
    for file in ["t10k5k-images-idx3-ubyte.gz", "t10k5k-labels-idx1-ubyte.gz"] {
        std::fs::copy(data.join(file), place.path("test").join(file)).unwrap();
    }
    let val = place.ok("val run test --json").json();
    assert_eq!((&val["images"], &val["top1"]), (&5000.into(), &report["best"]["top1"]));
}

#[test]
fn cifar_is_read_as_it_is_packed() {
    let (Some(jpegs), Some(lossless)) =
        (real("cifar10-jpeg.tar.gz"), real("cifar10-lossless-test1000.bin.gz"))
    else {
        return;
    };
    let place = Place::new();
    // An untrained network does: this is about the data, not about learning.
    place.ok("convert resnet20 net.safetensors --untrained");
    // The archive's own split: 5,000 test images, 500 a class; the binary records name the same classes by number.
    let prepared = "--mean 0.5,0.5,0.5 --std 0.25,0.25,0.25 --json";
    let val = place.ok(&format!("val net.safetensors {} {prepared}", jpegs.display())).json();
    assert_eq!(val["images"], 5000);
    let classes = val["classes"].as_array().unwrap();
    assert_eq!((&classes[0]["class"], &classes[9]["class"]), (&"airplane".into(), &"truck".into()));
    let val = place.ok(&format!("val net.safetensors {} {prepared}", lossless.display())).json();
    assert_eq!(val["images"], 1000);
}

#[test]
fn photographs_of_any_size_are_classified() {
    let Some(photos) = real("photos") else { return };
    let place = Place::new();
    place.pictures("photos", 3, 8);
    place.ok("train photos --model resnet20 --epochs 1 --batch 8 --out run");
    let files = ["cat.jpg", "cat_gray.jpg", "dog.jpg", "fish-bike.jpg", "kitten_224.png"];
    let paths: Vec<String> = files.iter().map(|file| photos.join(file).display().to_string()).collect();
    let report = place.ok(&format!("predict run {} --topk 9 --json", paths.join(" "))).json();
    for prediction in report["predictions"].as_array().unwrap() {
        let classes = prediction["classes"].as_array().unwrap();
        let sum: f64 = classes.iter().map(|class| class["probability"].as_f64().unwrap()).sum();
        assert!(classes.len() == 3 && (sum - 1.0).abs() < 1e-4, "{prediction}");
    }
}
