//! Data from the command line: damaged images, exclusions, tables, shards; and explanations.

mod support;

use std::fs;

use support::Place;

#[test]
fn damaged_images_are_named_counted_and_left_out_up_to_a_share() {
    let place = Place::new();
    place.pictures("photos", 2, 30);
    for name in ["photos/class0/bad1.png", "photos/class1/bad2.jpg", "photos/class1/bad3.gif"] {
        fs::write(place.path(name), b"not a picture").unwrap();
    }
    let words = "train photos --model lenet --size 28 --epochs 1 --batch 8 --out run";
    let refusal = place.refusal(words);
    assert!(refusal.contains("cannot be decoded") && refusal.contains("bad"), "{refusal}");
    let done = place.ok(&format!("{words} --max-bad 0.2"));
    assert!(done.err.contains("left out:"), "{}", done.err);
    let excluded = fs::read_to_string(place.path("run/excluded.csv")).unwrap();
    assert_eq!(excluded.lines().count(), 4, "{excluded}");
    assert!(excluded.contains("class1/bad3.gif"), "{excluded}");
    assert_eq!(fs::read(place.path("photos/class0/bad1.png")).unwrap(), b"not a picture");
    // The division was written down, and is read back: pictures that came later change nothing.
    assert!(place.path("run/split.json").is_file());
    let before = place.ok("val run --json").json();
    support::png(&place.path("photos/class0/zz.png"), 16, |_, _| [9; 3]);
    assert_eq!(place.ok("val run --json").json(), before);
    let again = "train photos --model lenet --size 28 --epochs 1 --batch 8 --out run2";
    place.ok(&format!("{again} --exclude run/excluded.csv --split run/split.json --max-bad 0"));
}

#[test]
fn a_check_says_what_is_wrong_and_writes_what_to_leave_out() {
    let place = Place::new();
    place.pictures("photos/train", 2, 6);
    place.pictures("photos/val", 2, 2);
    fs::write(place.path("photos/train/class0/cut.png"), b"\x89PNG\r\n\x1a\n").unwrap();
    let report = place.ok("data check photos --write out.txt --json").json();
    assert_eq!(report["images"], 17);
    assert_eq!(report["classes"][1]["class"], "class1");
    assert_eq!(report["classes"][0]["train"], 7);
    assert_eq!(report["bad"][0]["image"], "train/class0/cut.png");
    assert!(report["duplicates"].as_array().unwrap().iter().any(|group| group["across"] == true));
    let list = fs::read_to_string(place.path("out.txt")).unwrap();
    assert!(list.lines().any(|line| line == "train/class0/cut.png"), "{list}");
    let text = place.ok("data check photos").out;
    for part in [
        "2 classes, 13 training and 4 validation",
        "damaged images: 1",
        "train sizes: 16x16 (12)",
        "both in train and in val",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    place.ok("train photos --model lenet --size 28 --epochs 1 --batch 4 --max-bad 0 --exclude out.txt");
}

#[test]
fn a_crop_that_loses_pixels_is_told() {
    let place = Place::new();
    for (class, tone) in [("a", 10), ("b", 200)] {
        fs::create_dir_all(place.path(&format!("wide/{class}"))).unwrap();
        for i in 0..8_u8 {
            let file = place.path(&format!("wide/{class}/{i}.png"));
            image::save_buffer(&file, &vec![tone + i; 40 * 20 * 3], 40, 20, image::ColorType::Rgb8).unwrap();
        }
    }
    let words = "train wide --model lenet --size 20 --epochs 1 --batch 4";
    let done = place.ok(words);
    assert!(done.err.contains("cuts away 50% of the pixels"), "{}", done.err);
    let done = place.ok(&format!("{words} --fit letterbox --out boxed"));
    assert!(!done.err.contains("cuts away"), "{}", done.err);
    assert!(fs::read_to_string(place.path("boxed/config.toml")).unwrap().contains("letterbox"));
}

#[test]
fn a_check_says_what_is_missing() {
    let place = Place::new();
    place.pictures("one", 1, 6);
    assert!(place.ok("data check one").out.contains("class0 is the only class"));
    place.pictures("single", 2, 1);
    assert!(place.ok("data check single").out.contains("no images to validate with"));
    place.pictures("parts/train", 3, 4);
    place.pictures("parts/val", 2, 2);
    let text = place.ok("data check parts").out;
    assert!(text.contains("1 class without images to validate with: class2"), "{text}");
}

#[test]
fn folders_of_pictures_are_classified_into_a_table() {
    let place = Place::new();
    place.pictures("photos", 2, 6);
    place.ok("train photos --model lenet --size 28 --epochs 1 --batch 4 --out run");
    let done = place.ok("predict run photos --topk 1 --csv guesses.csv --explain=why");
    let table = fs::read_to_string(place.path("guesses.csv")).unwrap();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!((lines.len(), lines[0]), (13, "image,class,probability"));
    assert!(lines[1].starts_with("photos/class0/") && lines[12].starts_with("photos/class1/"), "{table}");
    assert_eq!(done.out.lines().filter(|line| line.starts_with("photos/")).count(), 12);
    // Pictures of one name in two folders do not write over each other's maps.
    assert_eq!(fs::read_dir(place.path("why")).unwrap().count(), 12);
    fs::create_dir(place.path("none")).unwrap();
    assert!(place.refusal("predict run none").contains("no pictures"));
}

#[test]
fn databases_train() {
    let place = Place::new();
    place.pictures("photos", 3, 10);
    place.ok("convert photos all.lmdb");
    let report = place.ok("data check all.lmdb --json").json();
    assert_eq!((&report["images"], report["classes"].as_array().unwrap().len()), (&30.into(), 3));
    assert_eq!(report["classes"][2]["class"], "class2");
    place.ok("train all.lmdb --model lenet --size 28 --epochs 1 --batch 8");
}

#[test]
fn layers_and_topics_are_explained_in_numbers() {
    let place = Place::new();
    let text = place.ok("explain resnet50 fc").out;
    assert!(text.contains("2,048 x 1,000 + 1,000 = 2,049,000"), "{text}");
    // (1, 2048) -> (1, 3)
    assert!(place.ok("explain resnet50 fc --classes 3").out.contains("2,048 x 3 + 3 = 6,147"));
    assert!(place.ok("summary lenet --classes 3").out.contains("(1, 3)"));
    let bottleneck = place.ok("explain bottleneck --json").json();
    assert_eq!(bottleneck["numbers"]["bottleneck"], 69_632);
    assert_eq!(bottleneck["numbers"]["two_3x3"], 1_179_648);
    assert!(place.ok("explain").out.contains("receptive-field"));
    assert!(place.ok("explain padding lenet").out.contains("from a corner"));
    assert!(place.refusal("explain resnet50 fcc").contains("its layers are"));
    assert!(place.refusal("explain botleneck").contains("did you mean bottleneck?"));
    assert!(place.refusal("explain pading lenet").contains("did you mean padding?"));
    assert!(place.ok("explain Receptive_Field lenet").out.contains("what each layer"));
    // Layers are also known by their tensors' names in checkpoints.
    assert!(place.ok("explain vgg16 classifier.6").out.starts_with("fc8"));
    place.ok("convert lenet five.txt --classes 5");
    assert!(place.refusal("summary five.txt --classes 3").contains("five.txt"));
}
