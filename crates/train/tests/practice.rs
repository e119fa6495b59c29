//! Practices beyond the recipe: each does what it says, and with all of them on a stopped run still ends with the same
//! bits.

use ocellus_engine::Options;
use ocellus_formats::Model;
use ocellus_train::checkpoint::Checkpoint;
use ocellus_train::recipe::{OptimiserKind, ScheduleConstants, ScheduleKind};
use ocellus_train::{
    Choices, Outcome, Practice, Prepared, Rule, RunFolder, StepReport, TrainError, TrainPrecision, Views,
    Watch, find_rate, was_stopped,
};

fn threads(threads: usize) -> Options {
    Options::default().with_threads(threads)
}

fn short() -> Choices {
    Choices { epochs: Some(3), batch: Some(64), ..Choices::default() }
}

fn with(practice: Practice) -> Choices {
    Choices { practice, ..short() }
}

/// Everything at once.
fn all() -> Choices {
    let practice = Practice {
        ema: Some(0.9),
        clip_norm: Some(1.0),
        clip_value: Some(0.5),
        patience: Some(20),
        class_weights: Some("auto".into()),
        lr_mult: vec!["*.bias=2".into()],
        freeze: vec!["1".into()],
        freeze_statistics: false,
        trunk_lr: Some(0.5),
        mixup: Some(0.2),
        cutmix: Some(1.0),
        color_jitter: vec![0.2, 0.2],
        rotate: Some(5.0),
        erase: Some(0.2),
        rand_augment: vec![1, 3],
        auto_augment: None,
        warmup: Some(0.5),
        precision: Some(TrainPrecision::Bf16),
        tta: Some(Views::Mirror),
    };
    Choices {
        accumulate: Some(2),
        schedule: Some(ScheduleKind::Plateau),
        schedule_constants: ScheduleConstants { milestones: vec![1.0], gamma: Some(0.5), power: None },
        checkpoint_steps: Some(4),
        ..with(practice)
    }
}

fn train(choices: &Choices, run: &RunFolder, options: &Options) -> Result<Outcome, TrainError> {
    std::fs::create_dir_all(run.path()).unwrap();
    ocellus_train::begin(choices, run, options, &mut ())
}

/// Asks to stop after so many steps, and hears the notes.
#[derive(Default)]
struct Stopper {
    steps: usize,
    notes: Vec<String>,
}

impl Watch for Stopper {
    fn stepped(&mut self, _: &StepReport) {
        self.steps = self.steps.saturating_sub(1);
    }
    fn wants_stop(&mut self) -> bool {
        self.steps == 0
    }
    fn note(&mut self, text: &str) {
        self.notes.push(text.into());
    }
}

fn stopper(steps: usize) -> Stopper {
    Stopper { steps, notes: Vec::new() }
}

fn same_bytes(a: &RunFolder, b: &RunFolder) {
    for (a, b) in [(a.last(), b.last()), (a.best(), b.best())] {
        assert!(std::fs::read(&a).unwrap() == std::fs::read(&b).unwrap(), "{} {}", a.display(), b.display());
    }
}

/// Trains with `choices` at two thread counts, and stopped twice on the way: always the same bytes.
fn never_matters(choices: &Choices) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let [whole, other, stopped] = ["a", "b", "c"].map(|name| RunFolder::at(folder.path().join(name)));
    let outcome = train(choices, &whole, &threads(2)).unwrap();
    train(choices, &other, &threads(1)).unwrap();
    same_bytes(&whole, &other);
    std::fs::create_dir_all(stopped.path()).unwrap();
    let first = ocellus_train::begin(choices, &stopped, &threads(1), &mut stopper(7));
    assert!(matches!(first, Err(TrainError::Stopped { step: 7, .. })), "{first:?}");
    assert!(was_stopped(&stopped, choices) && !was_stopped(&stopped, &short()));
    let second = ocellus_train::resume(&stopped, choices, &threads(2), &mut stopper(17));
    assert!(matches!(second, Err(TrainError::Stopped { epoch: 2, .. })), "{second:?}");
    ocellus_train::resume(&stopped, &Choices::default(), &threads(2), &mut ()).unwrap();
    assert!(!stopped.stopped().exists());
    same_bytes(&whole, &stopped);
    outcome
}

#[test]
fn with_everything_on_a_stopped_run_ends_with_the_same_bits() {
    let outcome = never_matters(&all());
    assert!(outcome.best.top1 > 0.3, "{:?}", outcome.best);
    let by_views = outcome.by_views.unwrap();
    assert!(by_views.views == 2 && by_views.top1 > 0.3 && by_views.loss != outcome.best.loss, "{by_views:?}");
}

#[test]
fn every_adaptive_rule_trains_and_resumes() {
    for rule in [Rule::Adam, Rule::RmsProp, Rule::AdaGrad, Rule::AdaDelta, Rule::Lars, Rule::Lamb] {
        let folder = tempfile::tempdir().unwrap();
        let choices = Choices { optimiser: Some(OptimiserKind::Adaptive(rule)), ..with(Practice::default()) };
        let [whole, stopped] = ["a", "b"].map(|name| RunFolder::at(folder.path().join(name)));
        let outcome = train(&choices, &whole, &threads(2)).unwrap();
        assert!(outcome.best.top1 > 0.7, "{rule:?}: {:?}", outcome.best);
        std::fs::create_dir_all(stopped.path()).unwrap();
        assert!(ocellus_train::begin(&choices, &stopped, &threads(2), &mut stopper(13)).is_err());
        ocellus_train::resume(&stopped, &choices, &threads(2), &mut ()).unwrap();
        same_bytes(&whole, &stopped);
    }
}

#[test]
fn limits_that_are_never_reached_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let [plain, clipped] = ["a", "b"].map(|name| RunFolder::at(folder.path().join(name)));
    let one = Choices { epochs: Some(1), ..short() };
    train(&one, &plain, &threads(2)).unwrap();
    let practice = Practice { clip_norm: Some(1e9), clip_value: Some(1e9), ..Practice::default() };
    train(&Choices { practice, ..one.clone() }, &clipped, &threads(2)).unwrap();
    let weights = |run: &RunFolder| Model::load(run.best()).unwrap().weights;
    assert!(weights(&plain) == weights(&clipped));
    let practice = Practice { clip_norm: Some(1e-3), ..Practice::default() };
    let tight = RunFolder::at(folder.path().join("c"));
    let sgd = Choices { optimiser: Some(OptimiserKind::Sgd), practice, ..one };
    let outcome = train(&sgd, &tight, &threads(2)).unwrap();
    assert!(outcome.last.train_loss > 1.5, "gradients of length 0.001 teach little: {:?}", outcome.last);
}

#[test]
fn the_average_is_what_is_validated_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::at(folder.path().join("run"));
    train(&with(Practice { ema: Some(0.9), ..Practice::default() }), &run, &threads(2)).unwrap();
    let checkpoint = Checkpoint::find(&run).unwrap().unwrap().checkpoint;
    let best = Model::load(run.best()).unwrap().weights;
    assert_eq!(checkpoint.progress.best().unwrap().epoch, 3, "else the checkpoint is not the best model's");
    for (name, tensor) in &best {
        assert!(*tensor == checkpoint.state[&format!("average/{name}")], "{name}");
    }
    assert!(best != checkpoint.weights);
}

#[test]
fn what_is_frozen_stays_with_its_statistics() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::at(folder.path().join("run"));
    let choices = with(Practice { freeze: vec!["trunk".into()], ..Practice::default() });
    let prepared = Prepared::new(&choices).unwrap();
    let before = ocellus_graph::initialise(&prepared.net, prepared.config.seed);
    train(&choices, &run, &threads(2)).unwrap();
    let after = Model::load(run.best()).unwrap();
    let moved: Vec<&String> = before.keys().filter(|name| before[*name] != after.weights[*name]).collect();
    assert!(!moved.is_empty() && moved.len() <= 2, "{moved:?}");
    assert!(after.graph.params().iter().all(|param| !param.frozen), "the model itself is not frozen");
}

#[test]
fn patience_ends_a_run_that_gains_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::at(folder.path().join("run"));
    let choices = Choices {
        model: Some("mlp".into()),
        epochs: Some(9),
        lr: Some(1e-30),
        weight_decay: Some(0.0),
        ..with(Practice { patience: Some(2), ..Practice::default() })
    };
    let outcome = train(&choices, &run, &threads(2)).unwrap();
    assert_eq!((outcome.best.epoch, outcome.last.epoch), (1, 3));
    let again = ocellus_train::resume(&run, &choices, &threads(2), &mut ()).unwrap();
    assert_eq!(again.last.epoch, 3, "a run that is over stays over");
}

#[test]
fn divergence_names_the_layer_and_goes_back_three_times() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::at(folder.path().join("run"));
    std::fs::create_dir_all(run.path()).unwrap();
    let choices = Choices {
        model: Some("mlp".into()),
        lr: Some(1e30),
        optimiser: Some(OptimiserKind::Sgd),
        schedule: Some(ScheduleKind::Constant),
        ..short()
    };
    let mut watch = stopper(usize::MAX);
    let refusal = ocellus_train::begin(&choices, &run, &threads(2), &mut watch).unwrap_err();
    let TrainError::NonFinite { rollbacks: 3, .. } = &refusal else { panic!("{refusal}") };
    assert!(refusal.to_string().contains("layer "), "{refusal}");
    assert_eq!(
        watch.notes.iter().filter(|note| note.contains("half the rate")).count(),
        3,
        "{:?}",
        watch.notes
    );
    let kept = Checkpoint::find(&run).unwrap().unwrap().checkpoint;
    assert_eq!(kept.first_not_finite(), None);
    assert_eq!(kept.progress.rollbacks, 3);
}

#[test]
fn a_practice_cannot_change_on_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::at(folder.path().join("run"));
    train(
        &Choices { epochs: Some(1), ..with(Practice { ema: Some(0.9), ..Practice::default() }) },
        &run,
        &threads(2),
    )
    .unwrap();
    let refusal = |choices: Choices| {
        ocellus_train::resume(&run, &choices, &threads(2), &mut ()).unwrap_err().to_string()
    };
    let other = Practice { ema: Some(0.5), ..Practice::default() };
    assert!(refusal(Choices { practice: other, ..Choices::default() }).contains("--ema"));
    let new = Practice { mixup: Some(0.5), ..Practice::default() };
    assert!(refusal(Choices { practice: new, ..Choices::default() }).contains("--mixup"));
}

#[test]
fn without_practices_nothing_of_them_is_written_down() {
    let text = Prepared::new(&short()).unwrap().config.to_toml().unwrap();
    assert!(
        !text.contains("practice") && !text.contains("time_limit") && !text.contains("no_decay"),
        "{text}"
    );
}

#[test]
fn memory_and_time_decide_batch_and_epochs() {
    let adapted = |choices: &Choices| {
        let mut prepared = Prepared::new(choices).unwrap();
        prepared.adapt(choices, &threads(2), &mut ()).map(|()| prepared.config)
    };
    let roomy = adapted(&Choices { batch_bytes: Some(1 << 34), ..Choices::default() }).unwrap();
    let tight = adapted(&Choices { batch_bytes: Some(1_000_000), ..Choices::default() }).unwrap();
    assert_eq!(roomy.batch, 64);
    assert!(tight.batch < 64 && tight.lr < roomy.lr, "{} {}", tight.batch, tight.lr);
    let none = adapted(&Choices { batch_bytes: Some(1), ..Choices::default() }).unwrap_err().to_string();
    assert!(none.contains("even a batch of"), "{none}");
    let brief = adapted(&Choices { time_limit: Some(1e-6), ..Choices::default() }).unwrap();
    assert_eq!(brief.epochs, 1);
}

#[test]
fn rates_are_tried_from_low_to_high() {
    let prepared = Prepared::new(&short()).unwrap();
    let curve = find_rate(&prepared, 60, &threads(2)).unwrap();
    assert!(curve.points.len() > 20 && curve.points.windows(2).all(|pair| pair[0].lr < pair[1].lr));
    assert!(curve.suggestion > 1e-5 && curve.suggestion <= curve.lowest, "{curve:?}");
    assert!(find_rate(&prepared, 3, &threads(2)).is_err());
}
