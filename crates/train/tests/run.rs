//! Whole runs on the built-in digits: they learn, and stopping changes nothing.

use std::path::Path;

use ocellus_data::{Dataset, Image};
use ocellus_engine::Options;
use ocellus_formats::Model;
use ocellus_train::checkpoint::Checkpoint;
use ocellus_train::recipe::OptimiserKind;
use ocellus_train::{
    Choices, EpochRecord, EpochTime, Outcome, Practice, Predictor, Prepared, RunFolder, StepReport,
    TrainError, TrainPrecision, Watch,
};

fn threads(threads: usize) -> Options {
    Options::default().with_threads(threads)
}

fn short() -> Choices {
    Choices { epochs: Some(3), batch: Some(64), ..Choices::default() }
}

fn train(choices: &Choices, run: &RunFolder, options: &Options) -> Result<Outcome, TrainError> {
    std::fs::create_dir_all(run.path()).unwrap();
    ocellus_train::start(&Prepared::new(choices)?, run, options, &mut ())
}

/// The bytes that must not depend on threads or interruptions.
fn bytes(run: &RunFolder) -> [Vec<u8>; 2] {
    [run.last(), run.best()].map(|path| std::fs::read(path).unwrap())
}

/// Stops the process's part in a run by a panic at a given step, as a kill would.
struct Killer(u64);

impl Watch for Killer {
    fn stepped(&mut self, _: &StepReport) {
        self.0 -= 1;
        if self.0 == 0 {
            std::panic::panic_any("killed");
        }
    }
}

/// Runs `work` until `killer` ends it; whether it came to its own end.
fn killed(work: impl FnOnce()) -> bool {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_err();
    std::panic::set_hook(hook);
    ended
}

#[test]
fn stopped_three_times_and_resumed_gives_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    for accumulate in [1, 2] {
        let choices = Choices { accumulate: Some(accumulate), checkpoint_steps: Some(4), ..short() };
        let whole = RunFolder::at(folder.path().join(format!("whole{accumulate}")));
        train(&choices, &whole, &threads(2)).unwrap();

        let stopped = RunFolder::at(folder.path().join(format!("stopped{accumulate}")));
        let prepared = Prepared::new(&choices).unwrap();
        std::fs::create_dir(stopped.path()).unwrap();
        assert!(killed(|| {
            let _ = ocellus_train::start(&prepared, &stopped, &threads(1), &mut Killer(2));
        }));
        for steps in [9, 23] {
            assert!(killed(|| {
                let _ = ocellus_train::resume(&stopped, &choices, &threads(2), &mut Killer(steps));
            }));
        }
        let outcome = ocellus_train::resume(&stopped, &Choices::default(), &threads(4), &mut ()).unwrap();
        assert_eq!(outcome.last.epoch, 3);
        assert!(bytes(&whole) == bytes(&stopped), "accumulate {accumulate}");
        let csv = |run: &RunFolder| {
            let text = std::fs::read_to_string(run.results()).unwrap();
            text.lines().map(|line| line.rsplitn(3, ',').last().unwrap().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(csv(&whole), csv(&stopped));
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    let folder = tempfile::tempdir().unwrap();
    let runs: Vec<RunFolder> = [1, 2, 4]
        .map(|count| {
            let run = RunFolder::at(folder.path().join(count.to_string()));
            let choices = Choices { epochs: Some(1), ..short() };
            train(&choices, &run, &threads(count)).unwrap();
            run
        })
        .into();
    assert!(bytes(&runs[0]) == bytes(&runs[1]) && bytes(&runs[1]) == bytes(&runs[2]));
}

#[test]
fn bf16_learns_as_well_and_resumes_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let wide = Choices { checkpoint_steps: Some(5), ..short() };
    let practice = Practice { precision: Some(TrainPrecision::Bf16), ..Practice::default() };
    let narrow = Choices { practice, ..wide.clone() };
    let [f32, whole, stopped] =
        ["f32", "whole", "stopped"].map(|name| RunFolder::at(folder.path().join(name)));
    let of_f32 = train(&wide, &f32, &threads(2)).unwrap().best.top1;
    let of_bf16 = train(&narrow, &whole, &threads(2)).unwrap().best.top1;
    assert!(of_bf16 > 0.8 && (of_bf16 - of_f32).abs() < 0.05, "{of_bf16} in bf16, {of_f32} in f32");
    assert!(bytes(&f32) != bytes(&whole), "bf16 numbers were multiplied");

    let prepared = Prepared::new(&narrow).unwrap();
    std::fs::create_dir(stopped.path()).unwrap();
    assert!(killed(|| {
        let _ = ocellus_train::start(&prepared, &stopped, &threads(1), &mut Killer(13));
    }));
    // The run knows what it is computed in; another precision is refused.
    let practice = Practice { precision: Some(TrainPrecision::F32), ..Practice::default() };
    let asked = Choices { practice, ..Choices::default() };
    let refused = ocellus_train::resume(&stopped, &asked, &threads(2), &mut ()).unwrap_err().to_string();
    assert!(refused.contains("--precision bf16") && refused.contains("f32"), "{refused}");
    ocellus_train::resume(&stopped, &Choices::default(), &threads(2), &mut ()).unwrap();
    assert!(bytes(&whole) == bytes(&stopped));
}

#[test]
fn every_optimiser_trains_and_resumes() {
    for kind in [OptimiserKind::Sgd, OptimiserKind::AdamW, OptimiserKind::Muon] {
        let folder = tempfile::tempdir().unwrap();
        let choices = Choices { optimiser: Some(kind), checkpoint_steps: Some(5), ..short() };
        let [whole, stopped] = ["a", "b"].map(|name| RunFolder::at(folder.path().join(name)));
        let outcome = train(&choices, &whole, &threads(2)).unwrap();
        assert!(outcome.best.top1 > 0.8, "{kind:?}: {:?}", outcome.best);
        let prepared = Prepared::new(&choices).unwrap();
        std::fs::create_dir(stopped.path()).unwrap();
        assert!(killed(|| {
            let _ = ocellus_train::start(&prepared, &stopped, &threads(2), &mut Killer(13));
        }));
        ocellus_train::resume(&stopped, &choices, &threads(2), &mut ()).unwrap();
        assert!(bytes(&whole) == bytes(&stopped), "{kind:?}");
    }
}

#[test]
fn a_run_folder_holds_what_it_promises() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::at(folder.path().join("run"));
    let outcome = train(&short(), &run, &threads(2)).unwrap();
    assert!(outcome.best.top1 > 0.85, "{:?}", outcome.best);
    assert_eq!(std::fs::read_to_string(run.results()).unwrap().lines().count(), 4);

    let model = Model::load(run.best()).unwrap();
    assert_eq!(model.classes.len(), 10);
    let mut predictor = Predictor::new(&model, &threads(1)).unwrap();
    let digits = Dataset::digits(0).unwrap();
    let right = (0..50).filter(|&i| {
        let picture: Image = digits.val.image(i).unwrap();
        let guess = &predictor.predict(&picture, 1).unwrap()[0];
        guess.index == digits.val.samples()[i].class as usize
    });
    assert!(right.count() > 40);

    let metrics = std::fs::read_to_string(run.metrics()).unwrap();
    for key in ["\"best\"", "\"last\"", "\"classes\"", "\"confusion\"", "\"f1\""] {
        assert!(metrics.contains(key), "{key} in {metrics}");
    }
}

#[test]
fn a_damaged_newest_checkpoint_is_told_and_the_older_one_serves() {
    struct Notes(Vec<String>);
    impl Watch for Notes {
        fn note(&mut self, text: &str) {
            self.0.push(text.into());
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let (whole, run) = (RunFolder::at(folder.path().join("a")), RunFolder::at(folder.path().join("b")));
    train(&short(), &whole, &threads(2)).unwrap();
    train(&short(), &run, &threads(2)).unwrap();
    let good = std::fs::read(run.last()).unwrap();
    std::fs::write(run.last(), &good[..good.len() - 9]).unwrap();
    assert_eq!(Checkpoint::find(&run).unwrap().unwrap().checkpoint.progress.epochs(), 2);
    let mut notes = Notes(Vec::new());
    ocellus_train::resume(&run, &Choices::default(), &threads(2), &mut notes).unwrap();
    assert!(notes.0.iter().any(|note| note.contains("last.ckpt") && note.contains("last.prev.ckpt")));
    assert!(bytes(&whole) == bytes(&run));
}

#[test]
fn a_rate_that_diverges_stops_with_the_step_and_keeps_the_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::at(folder.path().join("run"));
    let choices = Choices {
        lr: Some(1e18),
        schedule: Some(ocellus_train::recipe::ScheduleKind::Constant),
        checkpoint_steps: Some(1),
        ..short()
    };
    let sentence = train(&choices, &run, &threads(2)).unwrap_err().to_string();
    assert!(sentence.contains("step") && sentence.contains("--lr"), "{sentence}");
    if let Some(found) = Checkpoint::find(&run).unwrap() {
        assert_eq!(found.checkpoint.first_not_finite(), None);
    }
}

#[test]
fn what_may_not_change_on_the_way_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::at(folder.path().join("run"));
    train(&Choices { epochs: Some(1), ..short() }, &run, &threads(2)).unwrap();
    let refusal = |choices: &Choices| {
        ocellus_train::resume(&run, choices, &threads(2), &mut ()).unwrap_err().to_string()
    };
    assert!(refusal(&Choices { lr: Some(0.5), ..Choices::default() }).contains("--lr"));
    assert!(refusal(&Choices { model: Some("lenet".into()), ..Choices::default() }).contains("digits"));
    let text = std::fs::read_to_string(run.config()).unwrap();
    std::fs::write(run.config(), text.replace("label_smoothing", "seed = 3\nlabel_smoothing")).unwrap();
    assert!(refusal(&Choices::default()).contains("config.toml"));
}

#[test]
fn impossible_wishes_are_refused_before_anything_is_written() {
    let refusal = |choices: Choices| Prepared::new(&choices).unwrap_err().to_string();
    let large = refusal(Choices { batch: Some(5000), ..Choices::default() });
    assert!(large.contains("5000") && large.contains("--batch"), "{large}");
    let name = refusal(Choices { model: Some("resnt50".into()), ..Choices::default() });
    assert!(name.contains("did you mean resnet50"), "{name}");
    let missing = refusal(Choices { data: Some("no/such/folder".into()), ..Choices::default() });
    assert!(missing.contains("no/such/folder"), "{missing}");
    assert!(!Path::new("runs").exists());
}

#[test]
fn every_step_and_epoch_is_told() {
    #[derive(Default)]
    struct Counter(usize, usize);
    impl Watch for Counter {
        fn stepped(&mut self, step: &StepReport) {
            self.0 += 1;
            assert!(step.step <= step.steps && step.loss.is_finite());
        }
        fn finished_epoch(&mut self, _: &EpochRecord, time: EpochTime) {
            self.1 += 1;
            assert!(time.images_per_second > 0.0);
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::create(folder.path().join("run")).unwrap();
    let mut counter = Counter::default();
    let prepared = Prepared::new(&short()).unwrap();
    ocellus_train::start(&prepared, &run, &threads(2), &mut counter).unwrap();
    assert_eq!((counter.0, counter.1), (3 * (prepared.images.train.len() / 64), 3));
}
