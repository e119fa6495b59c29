//! `ocellus run`: outputs and gradients as arrays, checked against finite differences from the outside.

mod support;

use ocellus::formats::{npy, npz};
use ocellus::{Tensor, Weights, initialise, zoo};
use support::Place;

fn put(place: &Place, name: &str, tensor: &Tensor) {
    npy::write(place.path(name), tensor).unwrap();
}

/// The loss at weights `w.safetensors` as written.
fn loss(place: &Place, weights: &Weights) -> f32 {
    ocellus::formats::safetensors::write(place.path("w.safetensors"), weights, &Default::default()).unwrap();
    let words = "run digits --weights w.safetensors --input input=x.npy --input label=t.npy --output loss=l.npy \
                 --train-mode --backward loss --grads g.npz";
    place.ok(words);
    npy::read(place.path("l.npy")).unwrap().data()[0]
}

#[test]
fn gradients_agree_with_finite_differences() {
    let place = Place::new();
    let net = zoo::build("digits", &zoo::Options::default()).unwrap();
    let mut weights = initialise(&net, 3);
    put(&place, "x.npy", &Tensor::from_fn([4, 1, 8, 8], |i| ((i * 37) % 29) as f32 / 14.0 - 1.0));
    put(&place, "t.npy", &Tensor::from_fn([4], |i| (i * 3) as f32));
    loss(&place, &weights);
    let gradients = npz::read(place.path("g.npz")).unwrap();
    let mut names: Vec<&str> = gradients.keys().map(String::as_str).collect();
    names.retain(|name| *name != "input");
    let trained: Vec<&String> = weights.keys().filter(|name| !name.contains("running")).collect();
    assert_eq!(names.len(), trained.len(), "{names:?}");
    assert_eq!(gradients["input"].shape().dims(), [4, 1, 8, 8]);
    for (name, at) in [("fc.weight", 41), ("fc.bias", 3), ("bn3.weight", 5)] {
        let step = 1e-2;
        let mut moved = |by: f32| {
            weights.get_mut(name).unwrap().data_mut()[at] += by;
            loss(&place, &weights)
        };
        let difference = (moved(step) - moved(-2.0 * step)) / (2.0 * step);
        moved(step);
        let slope = gradients[name].data()[at];
        assert!((slope - difference).abs() < 2e-3 * slope.abs().max(1.0), "{name}: {slope} {difference}");
    }
}

#[test]
fn any_node_can_be_an_output_and_shapes_follow_the_files() {
    let place = Place::new();
    put(&place, "x.npy", &Tensor::full([3, 3, 40, 24], 0.5));
    let report =
        place.ok("run resnet20 --input input=x.npy --output output=y.npy --output conv1=c.npy --json").json();
    assert_eq!(npy::read(place.path("y.npy")).unwrap().shape().dims(), [3, 10]);
    assert_eq!(npy::read(place.path("c.npy")).unwrap().shape().dims(), [3, 16, 40, 24]);
    assert_eq!(report["outputs"]["output"]["shape"], serde_json::json!([3, 10]));
}

#[test]
fn a_trained_run_can_be_run_and_differs_from_random_weights() {
    let place = Place::new();
    place.ok("train --epochs 1 --out run");
    put(&place, "x.npy", &Tensor::full([2, 1, 8, 8], 0.5));
    place.ok("run run --input input=x.npy --output output=y.npy");
    place.ok("run digits --input input=x.npy --output output=z.npy --seed 9");
    let [trained, random] = ["y.npy", "z.npy"].map(|file| npy::read(place.path(file)).unwrap());
    assert_eq!(trained.shape().dims(), [2, 10]);
    assert_ne!(trained, random);
    assert_eq!(trained.data()[..10], trained.data()[10..], "equal images, equal logits");
}
