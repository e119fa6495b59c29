//! The same seed gives the same bits: at any number of threads, and killed with -9 or not.

mod support;

use std::fs;
use std::time::Duration;

use support::Place;

/// The files of a run that must not depend on threads or interruptions.
fn bits(place: &Place, run: &str) -> [Vec<u8>; 2] {
    ["last.ckpt", "best.safetensors"].map(|file| fs::read(place.path(run).join(file)).unwrap())
}

#[test]
fn threads_do_not_change_a_bit() {
    let place = Place::new();
    place.pictures("photos", 3, 24);
    for threads in [1, 2, 4] {
        let words = "train photos --model resnet20 --epochs 2 --batch 16 --seed 5";
        place.ok(&format!("{words} --threads {threads} --out run{threads}"));
    }
    assert!(bits(&place, "run1") == bits(&place, "run2"));
    assert!(bits(&place, "run1") == bits(&place, "run4"));
}

#[test]
fn killed_three_times_and_resumed_gives_the_same_bits() {
    let place = Place::new();
    let words = "train --model resnet20 --epochs 4 --checkpoint-steps 3";
    place.ok(&format!("{words} --out whole"));

    let mut times = [40, 700, 1300].into_iter();
    let mut run = place.start(&format!("{words} --out killed"));
    for next in [Some("train --resume killed"), Some("train --resume killed"), None] {
        std::thread::sleep(Duration::from_millis(times.next().unwrap()));
        // It may have come to its end, or not yet to its folder; both are allowed moments.
        let _ = run.kill();
        run.wait().unwrap();
        if let Some(next) = next {
            let words = if place.path("killed").exists() {
                next.to_string()
            } else {
                format!("{words} --out killed")
            };
            run = place.start(&words);
        }
    }
    let done = place.ok("train --resume killed --json");
    assert_eq!(done.json()["last"]["epoch"], 4);
    assert!(bits(&place, "whole") == bits(&place, "killed"));
}

#[test]
fn killed_while_reading_its_data_still_goes_on() {
    let place = Place::new();
    place.pictures("photos", 2, 12);
    place.ok("train photos --model digits --epochs 1 --batch 8 --out whole");
    // What such a kill leaves: the request alone.
    fs::create_dir(place.path("early")).unwrap();
    fs::copy(place.path("whole/request.toml"), place.path("early/request.toml")).unwrap();
    place.ok("train --resume early");
    assert!(bits(&place, "whole") == bits(&place, "early"));
}

#[test]
fn another_seed_gives_other_bits() {
    let place = Place::new();
    place.ok("train --epochs 1 --seed 1 --out a");
    place.ok("train --epochs 1 --seed 2 --out b");
    assert!(bits(&place, "a") != bits(&place, "b"));
}
