//! Networks described in files: gates, joined branches, losses of their own; and a mix of probabilities that is refused.

use std::path::{Path, PathBuf};

use ocellus_engine::Options;
use ocellus_formats::Model;
use ocellus_graph::{from_text, initialise};
use ocellus_train::{Choices, Outcome, RunFolder, StepGraphs, StepSetup, TrainError, with_scores};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name)
}

fn train(file: &Path, run: &Path) -> Result<Outcome, TrainError> {
    let model = Some(file.display().to_string());
    let choices = Choices { model, epochs: Some(4), batch: Some(32), ..Choices::default() };
    std::fs::create_dir_all(run).unwrap();
    ocellus_train::begin(&choices, &RunFolder::at(run), &Options::default().with_threads(1), &mut ())
}

#[test]
fn a_gate_begins_at_one_half_and_learns() {
    let text = std::fs::read_to_string(example("gate.txt")).unwrap();
    let start = initialise(&from_text(&text).unwrap(), 0);
    assert_eq!(start["gate"].data(), [0.0], "sigmoid(0) is one half");
    let folder = tempfile::tempdir().unwrap();
    let best = train(&example("gate.txt"), folder.path()).unwrap().best;
    assert!(best.top1 > 0.85, "{best:?}");
    let gate = Model::load(RunFolder::at(folder.path()).best()).unwrap().weights["gate"].data()[0];
    assert!(gate != 0.0 && gate.is_finite(), "{gate}");
}

#[test]
fn a_small_network_on_two_branches_learns() {
    let folder = tempfile::tempdir().unwrap();
    let best = train(&example("concatenation.txt"), folder.path()).unwrap().best;
    assert!(best.top1 > 0.85, "{best:?}");
}

/// The gate's description with other lines from `from` on.
fn gate_with(end: &str) -> String {
    let text = std::fs::read_to_string(example("gate.txt")).unwrap();
    let features = text.split("share1 = ").next().unwrap().to_owned();
    features.replace("(32, ", "(10, ").replace("(32)", "(10)") + end
}

#[test]
fn a_mix_of_probabilities_is_refused_with_the_cure() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mix.txt");
    let mix = "p1 = softmax(v1)\np2 = softmax(v2)\nshare1 = mul(a, p1)\nshare2 = mul(rest, p2)\n\
               mix = add(share1, share2)\noutput output = mix\n";
    std::fs::write(&file, gate_with(mix)).unwrap();
    let sentence = train(&file, &folder.path().join("a")).unwrap_err().to_string();
    for part in
        ["mix already holds a mix of probabilities", "applies the softmax itself", "before each softmax"]
    {
        assert!(sentence.contains(part), "{part}: {sentence}");
    }
    // The same two branches, mixed before the softmax, are what the sentence asks for.
    let logits =
        "share1 = mul(a, v1)\nshare2 = mul(rest, v2)\nmix = add(share1, share2)\noutput output = mix\n";
    std::fs::write(&file, gate_with(logits)).unwrap();
    assert!(train(&file, &folder.path().join("b")).unwrap().best.top1 > 0.8);
    // A loss of the network's own is held to the same.
    let own = mix.replace(
        "output output = mix",
        "input label (1)\nce = softmax_cross_entropy(mix, label; smoothing=0)",
    );
    std::fs::write(&file, gate_with(&own)).unwrap();
    let sentence = train(&file, &folder.path().join("c")).unwrap_err().to_string();
    assert!(sentence.contains("mix of probabilities") && sentence.contains("line "), "{sentence}");
}

#[test]
fn losses_of_a_networks_own_are_summed_with_their_weights() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("two.txt");
    let two = "input label (1)\nshare1 = mul(a, v1)\nshare2 = mul(rest, v2)\nmix = add(share1, share2)\n\
               whole = softmax_cross_entropy(mix, label; smoothing=0)\n\
               branch = softmax_cross_entropy(v1, label; smoothing=0)\noutput output = mix\n\
               loss whole = whole\nloss branch = branch weight=0.5\n";
    std::fs::write(&file, gate_with(two)).unwrap();
    let outcome = train(&file, &folder.path().join("run")).unwrap();
    assert!(outcome.best.top1 > 0.8 && outcome.best.train_top1 > 0.5, "{:?}", outcome.best);
}

#[test]
fn an_input_that_nothing_fills_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("more.txt");
    let more = "input depth (1, 10)\nmix = add(v1, depth)\noutput output = mix\n";
    std::fs::write(&file, gate_with(more)).unwrap();
    let sentence = train(&file, &folder.path().join("run")).unwrap_err().to_string();
    assert!(sentence.contains("depth (32, 10)") && sentence.contains("label2"), "{sentence}");
}

#[test]
fn googlenet_trains_with_three_losses_and_predicts_with_one_head() {
    let net = ocellus_zoo::build("googlenet", &ocellus_zoo::Options::default().with_classes(5)).unwrap();
    let setup = StepSetup::new(2, ocellus_train::Optimiser::sgd(0.0));
    let step = StepGraphs::new(&net, &setup).unwrap();
    let weights: Vec<f32> = step.gradients.losses().iter().map(|loss| loss.weight).collect();
    assert_eq!(weights, [1.0, 0.3, 0.3]);
    let heads: Vec<&String> = step.trained.iter().filter(|name| name.contains("aux")).collect();
    assert!(!heads.is_empty());
    let (inference, _) = with_scores(&net).unwrap();
    assert!(heads.iter().all(|head| inference.find_param(head).is_none()), "{heads:?}");
}
