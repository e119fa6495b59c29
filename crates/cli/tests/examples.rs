//! The examples of every command's `--help`, run as they stand there.

mod support;

use std::fs;
use std::path::Path;

use support::{Place, png};

/// Parts of examples that are left out: files which only other programs write or only a publisher has, runs of another
/// kind than the one that is here, and what takes minutes.
const NOT_HERE: [&str; 17] = [
    ".prototxt",
    ".caffemodel",
    ".keras",
    ".th",
    ".pt",
    ".pth",
    "lenet_solver",
    "w.safetensors",
    "pull resnet",
    "train-{",
    "holiday/",
    "runs/photos",
    "--solver",
    "--preset good",
    "--model resnet18",
    "embed runs/train",
    "resnet18.safetensors",
];

/// What the examples speak of: photographs, digits in IDX, pictures, an array; runs are made by the examples.
fn furnish(place: &Place) {
    for (name, side) in [("photos", 16), ("faces", 28)] {
        for class in 0..10 {
            let folder = place.path(&format!("{name}/{class}"));
            fs::create_dir_all(&folder).unwrap();
            for index in 0..4 {
                let pixel = |x: usize, y: usize| [(x * class) as u8, (y * 9) as u8, index * 40];
                png(&folder.join(format!("{index}.png")), side, pixel);
            }
        }
    }
    let gate = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/gate.txt");
    fs::copy(gate, place.path("gate.txt")).unwrap();
    png(&place.path("dog.png"), 40, |x, y| [x as u8, y as u8, 90]);
    let grey = vec![120; 3 * 48 * 40];
    image::save_buffer(place.path("cat.jpg"), &grey, 48, 40, image::ColorType::Rgb8).unwrap();
    digits(&place.path("mnist"));
    let mut array = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3, 224, 224), }";
    array.extend(format!("{header:<117}\n").bytes());
    array.extend([0; 4 * 3 * 224 * 224]);
    fs::write(place.path("x.npy"), array).unwrap();
}

/// Forty digits to train on and twenty to test with, in MNIST's own files.
fn digits(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    for (name, count) in [("train", 40_u32), ("t10k", 20)] {
        let mut images = [0x803, count, 28, 28].map(u32::to_be_bytes).concat();
        images.extend((0..count * 28 * 28).map(|i| (i % 251) as u8));
        let mut labels = [0x801, count].map(u32::to_be_bytes).concat();
        labels.extend((0..count).map(|i| (i % 10) as u8));
        fs::write(folder.join(format!("{name}-images-idx3-ubyte")), images).unwrap();
        fs::write(folder.join(format!("{name}-labels-idx1-ubyte")), labels).unwrap();
    }
}

/// The commands that a help text gives as examples, without the remarks behind them.
fn examples(help: &str) -> Vec<String> {
    let joined = help.replace("\\\n", " ");
    let lines = joined.lines().filter_map(|line| line.strip_prefix("  ocellus "));
    let commands =
        lines.flat_map(|line| line.split(['&', ';']).map(str::trim).filter(|part| !part.is_empty()));
    commands
        .map(|command| {
            let command = command.strip_prefix("ocellus ").unwrap_or(command);
            command.split("   ").next().unwrap_or(command).trim().to_owned()
        })
        .collect()
}

/// The words of a command, `*` replaced by what is there.
fn expand(place: &Place, command: &str) -> String {
    let word = |word: &str| match word.split_once('*') {
        Some((start, _)) => {
            let (folder, prefix) = start.rsplit_once('/').expect("a glob inside a folder");
            let names = fs::read_dir(place.path(folder)).unwrap().map(|entry| entry.unwrap().file_name());
            let mut names: Vec<String> = names.filter_map(|name| name.into_string().ok()).collect();
            names.retain(|name| name.starts_with(prefix));
            names.iter().map(|name| format!("{folder}/{name}")).collect::<Vec<_>>().join(" ")
        }
        None => word.to_owned(),
    };
    command.split_whitespace().map(word).collect::<Vec<_>>().join(" ")
}

/// `runs/train` under other names, as a reader would have trained again.
fn more_runs(place: &Place) {
    for name in ["train2", "bn-0", "bn-1", "gn-0", "gn-1"] {
        let (from, to) = (place.path("runs/train"), place.path(&format!("runs/{name}")));
        if !to.exists() {
            fs::create_dir_all(&to).unwrap();
            for entry in fs::read_dir(from).unwrap() {
                let entry = entry.unwrap();
                fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
            }
        }
    }
}

/// The commands that a help text lists.
fn commands(help: &str) -> Vec<String> {
    let listed = help.split_once("Commands:").map_or("", |(_, rest)| rest);
    let listed = listed.split_once("Options:").map_or(listed, |(listed, _)| listed);
    let names = listed.lines().filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn every_commands_examples_work() {
    let place = Place::new();
    furnish(&place);
    place.ok("train --epochs 2");
    more_runs(&place);
    let names = commands(&place.ok("--help").out);
    let mut missing = Vec::new();
    for name in names {
        let help = place.ok(&format!("{name} --help")).out;
        let below = commands(&help).into_iter().map(|sub| place.ok(&format!("{name} {sub} --help")).out);
        let examples = examples(&below.fold(help.clone(), |all, help| all + &help));
        assert!(!examples.is_empty(), "{name} --help has no example");
        let possible = |example: &&String| !NOT_HERE.iter().any(|absent| example.contains(absent));
        if !examples.iter().any(|example| possible(&example)) {
            missing.push(name);
            continue;
        }
        for example in examples.iter().filter(possible) {
            let done = place.run(&expand(&place, example));
            assert_eq!(done.code, Some(0), "ocellus {example}: {}{}", done.out, done.err);
        }
    }
    // Embeddings are asked of a run in `pairs.rs`.
    assert_eq!(missing, ["embed"], "no example of these could be run");
}
