//! Every kind of bad input gives one clear sentence and exit status 1, and nothing is lost.

mod support;

use std::fs;

use support::{Done, OCELLUS, Place};

fn assert_says(sentence: &str, words: &[&str]) {
    for word in words {
        assert!(sentence.contains(word), "{word:?} is missing in: {sentence}");
    }
}

#[test]
fn one_damaged_picture_is_named_left_out_and_kept_as_it_is() {
    let place = Place::new();
    place.pictures("photos", 2, 20);
    // A JPEG's first bytes and no more, and a text file with a picture's name.
    let jpeg = [0xFF, 0xD8, 0xFF, 0xE0, 0, 16, b'J', b'F', b'I', b'F', 0, 1, 1, 0, 0, 1, 0, 1, 0, 0];
    for (name, contents) in [("cut.jpg", jpeg.to_vec()), ("notes.jpg", b"only words\n".to_vec())] {
        let path = place.path("photos/class1").join(name);
        fs::write(&path, &contents).unwrap();
        let done = place.ok(&format!("train photos --model digits --epochs 1 --batch 8 --out run-{name}"));
        assert_says(&done.err, &["left out", name]);
        assert_eq!(fs::read(&path).unwrap(), contents);
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn many_damaged_pictures_stop_the_run_before_it_starts() {
    let place = Place::new();
    place.pictures("photos", 2, 10);
    for index in 0..6 {
        fs::write(place.path(&format!("photos/class0/bad{index}.jpg")), "words").unwrap();
    }
    let sentence = place.refusal("train photos --model digits --epochs 1");
    assert_says(&sentence, &["cannot be decoded", "text"]);
    assert!(!place.path("runs/train").exists(), "no run was started");
}

#[test]
fn an_empty_class_folder_is_named() {
    let place = Place::new();
    place.pictures("photos", 2, 6);
    fs::create_dir(place.path("photos/nothing")).unwrap();
    assert_says(&place.refusal("train photos --epochs 1"), &["nothing", "no images"]);
}

#[test]
fn a_batch_larger_than_the_data_gives_both_numbers_and_the_cure() {
    let place = Place::new();
    let sentence = place.refusal("train --batch 5000");
    assert_says(&sentence, &["5000", "1438", "--batch"]);
    assert!(!place.path("runs/train").exists());
}

#[test]
fn unknown_names_are_answered_with_the_nearest() {
    let place = Place::new();
    assert_says(&place.refusal("train --model resnt20"), &["resnt20", "did you mean resnet20"]);
    assert_says(&place.refusal("summary lenett"), &["did you mean lenet"]);
    let usage = place.run("train --epocs 3");
    assert_eq!(usage.code, Some(2));
    assert_says(&usage.err, &["--epocs", "--epochs"]);
    let command = place.run("trian");
    assert_eq!(command.code, Some(2));
    assert_says(&command.err, &["train"]);
}

#[test]
fn missing_and_wrong_files_are_named() {
    let place = Place::new();
    assert_says(&place.refusal("train nowhere"), &["nowhere"]);
    assert_says(&place.refusal("val runs/none digits"), &["runs/none", "ocellus train"]);
    assert_says(&place.refusal("predict resnet18 x.png"), &["resnet18", "no trained weights"]);
    assert_says(&place.refusal("summary models/none.safetensors"), &["models/none.safetensors"]);
    fs::write(place.path("x.safetensors"), "not a model").unwrap();
    assert_says(&place.refusal("summary x.safetensors"), &["x.safetensors"]);
    assert_says(&place.refusal("train --resume runs/none"), &["runs/none", "no run"]);
    assert_says(&place.refusal("train --resume"), &["runs/", "no run"]);
}

#[test]
fn shapes_that_do_not_fit_give_both() {
    let place = Place::new();
    assert_says(&place.refusal("summary lenet --input 1,1,6,6"), &["lenet", "6x6", "at least"]);
    fs::write(place.path("x.npy"), npy("(1, 5, 32, 32)", 5 * 32 * 32)).unwrap();
    place.ok("run resnet20 --input input=x.npy --output output=y.npy");
    fs::write(place.path("flat.npy"), npy("(4, 7)", 28)).unwrap();
    let sentence = place.refusal("run resnet20 --input input=flat.npy --output output=y.npy");
    assert_says(&sentence, &["input", "(4, 7)"]);
    let sentence = place.refusal("run resnet20 --input picture=x.npy --output output=y.npy");
    assert_says(&sentence, &["picture", "input"]);
    let sentence = place.refusal("run resnet20 --input input=x.npy --output nothing=y.npy");
    assert_says(&sentence, &["nothing", "output"]);
    place.ok("train --epochs 1 --out run");
    let sentence = place
        .refusal("run resnet20 --weights run/best.safetensors --input input=x.npy --output output=y.npy");
    assert_says(&sentence, &["run/best.safetensors", "conv1.weight"]);
}

/// A version 1 `.npy` file of `count` zeros.
fn npy(shape: &str, count: usize) -> Vec<u8> {
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(vec![0; count * 4]);
    bytes
}

#[test]
fn a_run_is_never_written_over() {
    let place = Place::new();
    place.ok("train --epochs 1 --out run");
    let before = fs::read(place.path("run/best.safetensors")).unwrap();
    assert_says(&place.refusal("train --epochs 1 --out run"), &["run", "--resume", "--out"]);
    assert_eq!(fs::read(place.path("run/best.safetensors")).unwrap(), before);
}

#[test]
fn a_picture_that_cannot_be_read_does_not_hide_the_others() {
    let place = Place::new();
    place.ok("train --epochs 1 --out run");
    fs::write(place.path("bad.png"), "words").unwrap();
    let done = place.run("predict run bad.png run/sample-7.png --topk 2 --json");
    assert_eq!(done.json()["predictions"].as_array().unwrap().len(), 1);
    assert_says(&done.refusal(), &["bad.png"]);
}

#[test]
#[cfg(unix)]
fn a_disk_that_fills_stops_the_run_and_keeps_its_checkpoint() {
    let place = Place::new();
    place.ok("train --epochs 3 --out whole");
    place.ok("train --epochs 3 --out run");
    // A file-size limit of 64 kB stands for the full disk: best.safetensors alone has 109 kB. (The signal is ignored,
    // so that the write fails as it does on a full disk.)
    let script = |words: &str| format!("trap '' XFSZ; ulimit -f 64; exec {OCELLUS} {words}");
    let limited = |words: &str| {
        let mut shell = std::process::Command::new("bash");
        let output = shell.arg("-c").arg(script(words)).current_dir(place.path(".")).output();
        Done::of(output.expect("bash starts"))
    };
    // Fresh: there is nothing to keep, and the sentence says how to go on.
    assert_says(&limited("train --epochs 3 --out full").refusal(), &["best.safetensors", "--resume full"]);
    place.ok("train --resume full");
    // In the middle: back to the older checkpoint, then a full disk, then on to the end.
    fs::rename(place.path("run/last.prev.ckpt"), place.path("run/last.ckpt")).unwrap();
    let before = fs::read(place.path("run/last.ckpt")).unwrap();
    limited("train --resume run").refusal();
    assert_eq!(fs::read(place.path("run/last.ckpt")).unwrap(), before, "the old checkpoint is untouched");
    assert!(
        fs::read_dir(place.path("run")).unwrap().all(|e| !e
            .unwrap()
            .file_name()
            .to_string_lossy()
            .ends_with(".tmp"))
    );
    place.ok("train --resume run");
    for run in ["full", "run"] {
        let [ours, whole] = [run, "whole"].map(|run| fs::read(place.path(run).join("last.ckpt")).unwrap());
        assert!(ours == whole, "{run} ends as if nothing had happened");
    }
}

#[test]
#[cfg(unix)]
fn a_reader_who_leaves_is_no_failure() {
    let place = Place::new();
    let mut shell = std::process::Command::new("bash");
    let script = format!("set -o pipefail; {OCELLUS} summary resnet50 | head -1");
    let done = Done::of(shell.arg("-c").arg(script).current_dir(place.path(".")).output().unwrap());
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""), "{}", done.out);
}

#[test]
fn numbers_below_zero_are_refused_by_name() {
    let place = Place::new();
    for (option, told) in [
        ("--lr -1", "-1"),
        ("--weight-decay -1", "-1"),
        ("--clip-norm -2", "--clip-norm -2"),
        ("--mixup -1", "-1"),
    ] {
        let refusal = place.refusal(&format!("train {option}"));
        assert!(refusal.contains(told) && !refusal.contains("unexpected argument"), "{option}: {refusal}");
    }
}

#[test]
fn what_cannot_be_learned_is_told_before_it_is_tried() {
    let place = Place::new();
    place.pictures("one", 1, 10);
    place.pictures("two", 2, 10);
    let words = "--model lenet --size 28 --epochs 1 --batch 4";
    assert!(place.ok(&format!("train one {words}")).err.contains("class0 is the only class"));
    let done = place.ok(&format!("train two {words} --freeze trunk --out run"));
    assert!(done.err.contains("--freeze holds random weights back"), "{}", done.err);
    let done = place.ok("train two --weights run/best.safetensors --freeze trunk --epochs 1 --batch 4");
    assert!(!done.err.contains("random weights"), "{}", done.err);
}

#[test]
fn a_rate_is_found_by_a_command_of_its_own() {
    let place = Place::new();
    place.pictures("two", 2, 10);
    let words = "two --model lenet --size 28 --batch 4";
    let found = place.ok(&format!("lr find {words} --json")).json();
    assert_eq!(found, place.ok(&format!("train {words} --lr-find --json")).json());
}
