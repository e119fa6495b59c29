//! Pairs and triplets: embeddings that tell what belongs together, the same bits however often a run was stopped, and what
//! pairs alone cannot teach.

use std::path::Path;

use ocellus_engine::Options;
use ocellus_formats::Model;
use ocellus_graph::{Builder, Dense, to_text};
use ocellus_train::{
    Choices, EMBEDDING, EpochRecord, Handling, Outcome, PairChoices, PairLoss, Pairs, Predictor, RunFolder,
    StepReport, TrainConfig, TrainError, Watch,
};

fn threads(threads: usize) -> Options {
    Options::default().with_threads(threads)
}

fn with(loss: PairLoss) -> Choices {
    let pairs = PairChoices { loss: Some(loss), embedding: Some(16), ..PairChoices::default() };
    Choices { pairs, epochs: Some(5), batch: Some(64), ..Choices::default() }
}

fn train(choices: &Choices, folder: &Path, options: &Options) -> Result<Outcome, TrainError> {
    std::fs::create_dir_all(folder).unwrap();
    ocellus_train::begin(choices, &RunFolder::at(folder), options, &mut ())
}

fn learned(choices: &Choices) -> EpochRecord {
    let folder = tempfile::tempdir().unwrap();
    train(choices, folder.path(), &threads(1)).unwrap().best
}

/// Asks to stop after so many steps.
struct Stopper(usize);

impl Watch for Stopper {
    fn stepped(&mut self, _: &StepReport) {
        self.0 = self.0.saturating_sub(1);
    }
    fn wants_stop(&mut self) -> bool {
        self.0 == 0
    }
}

#[test]
fn every_loss_teaches_which_digits_are_the_same() {
    for (loss, most) in [(PairLoss::Contrastive, 0.12), (PairLoss::Triplet, 0.12), (PairLoss::Joint, 0.2)] {
        let best = learned(&with(loss));
        let pairs = best.pairs.unwrap();
        assert!(pairs.eer < most && pairs.auc > 0.88 && best.top1 > 0.8, "{loss:?}: {best:?}");
        assert!(best.train_top1 > 0.5 && best.top5 == 1.0, "{loss:?}: {best:?}");
    }
}

#[test]
fn joint_training_names_classes_and_pairs_alone_do_not() {
    let joint = learned(&with(PairLoss::Joint)).pairs.unwrap();
    assert!(joint.class_top1.unwrap() > 0.7, "{joint:?}");
    // A head that no loss reaches guesses.
    let mut untaught = with(PairLoss::Joint);
    untaught.pairs.joint_weight = Some(0.0);
    untaught.epochs = Some(2);
    let untaught = learned(&untaught).pairs.unwrap();
    assert!(untaught.class_top1.unwrap() < 0.4, "{untaught:?}");

    let folder = tempfile::tempdir().unwrap();
    let alone = Choices { epochs: Some(1), ..with(PairLoss::Contrastive) };
    let best = train(&alone, folder.path(), &threads(1)).unwrap().best;
    assert_eq!(best.pairs.unwrap().class_top1, None);
    let model = Model::load(RunFolder::at(folder.path()).best()).unwrap();
    assert!(model.graph.find_output(EMBEDDING).is_some() && model.graph.inputs().len() == 1);
    let sentence = Predictor::new(&model, &threads(1)).err().unwrap().to_string();
    assert!(sentence.contains("--loss joint") && sentence.contains("embeddings"), "{sentence}");
}

#[test]
fn a_stopped_run_ends_with_the_same_bits_at_any_number_of_threads() {
    for loss in [PairLoss::Joint, PairLoss::Triplet] {
        let choices =
            Choices { accumulate: Some(2), checkpoint_steps: Some(3), epochs: Some(2), ..with(loss) };
        let folder = tempfile::tempdir().unwrap();
        let [whole, stopped] = ["a", "b"].map(|name| RunFolder::at(folder.path().join(name)));
        train(&choices, whole.path(), &threads(2)).unwrap();
        std::fs::create_dir_all(stopped.path()).unwrap();
        let first = ocellus_train::begin(&choices, &stopped, &threads(1), &mut Stopper(27));
        assert!(matches!(first, Err(TrainError::Stopped { epoch: 2, .. })), "{first:?}");
        ocellus_train::resume(&stopped, &choices, &threads(1), &mut ()).unwrap();
        for (a, b) in [(whole.last(), stopped.last()), (whole.best(), stopped.best())] {
            assert!(std::fs::read(&a).unwrap() == std::fs::read(&b).unwrap(), "{}", a.display());
        }
        let other = Choices { pairs: PairChoices { margin: Some(7.0), ..choices.pairs }, ..choices.clone() };
        let sentence = ocellus_train::resume(&stopped, &other, &threads(1), &mut ()).unwrap_err().to_string();
        assert!(sentence.contains("--margin") && sentence.contains('7'), "{sentence}");
    }
}

#[test]
fn classes_can_be_strangers_to_training() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::at(folder.path());
    let handling = Handling { disjoint_classes: true, ..Handling::default() };
    let choices = Choices { handling, epochs: Some(3), ..with(PairLoss::Joint) };
    let best = train(&choices, run.path(), &threads(1)).unwrap().best;
    let pairs = best.pairs.unwrap();
    assert!(pairs.class_top1.is_none() && pairs.eer < 0.4, "{pairs:?}");
    let config = TrainConfig::of_run(&run).unwrap();
    let split = ocellus_train::division_of(&run);
    let prepared = ocellus_train::Prepared::from_config(config, split).unwrap();
    let counts = [&prepared.images.train, &prepared.images.val].map(|split| split.class_counts());
    assert!(counts[0].iter().zip(&counts[1]).all(|(train, val)| (*train == 0) != (*val == 0)), "{counts:?}");
    ocellus_train::resume(&run, &choices, &threads(1), &mut ()).unwrap();
}

#[test]
fn a_described_siamese_network_is_trained_as_it_says() {
    let mut b = Builder::new("pair");
    let images = ["left", "right"].map(|name| b.input(name, [1, 1, 8, 8]));
    let same = b.input("same", [1]);
    let mut tower = |name: &str, x| {
        b.scope_sharing(name, "", |b| {
            let x = b.flatten("flat", x);
            let x = b.linear("fc1", x, Dense::new(32));
            let x = b.relu("relu", x);
            b.linear("fc2", x, Dense::new(6))
        })
    };
    let pair = [tower("one", images[0]), tower("two", images[1])];
    b.contrastive("loss", pair, same, 2.0, 1.0);
    b.output("output", pair[0]);
    b.output("output2", pair[1]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pair.txt");
    std::fs::write(&file, to_text(&b.finish().unwrap()).unwrap()).unwrap();
    let run = RunFolder::at(folder.path().join("run"));
    let choices = Choices {
        model: Some(file.display().to_string()),
        epochs: Some(3),
        batch: Some(32),
        ..Choices::default()
    };
    let best = train(&choices, run.path(), &threads(1)).unwrap().best;
    assert!(best.pairs.unwrap().auc > 0.8, "{best:?}");
    let pairs = TrainConfig::of_run(&run).unwrap().pairs.unwrap();
    let own = Pairs {
        loss: PairLoss::Contrastive,
        margin: 2.0,
        embedding: 6,
        joint_weight: None,
        unit_length: false,
    };
    assert_eq!(pairs, own);
}

#[test]
fn what_cannot_be_paired_is_refused_before_anything_is_trained() {
    let refusal = |choices: Choices| ocellus_train::Prepared::new(&choices).unwrap_err().to_string();
    let margin = PairChoices { margin: Some(1.0), ..PairChoices::default() };
    assert!(refusal(Choices { pairs: margin, ..Choices::default() }).contains("--loss"));
    let mut mixed = with(PairLoss::Contrastive);
    mixed.practice.mixup = Some(0.2);
    assert!(refusal(mixed).contains("--mixup"));
    let mut negative = with(PairLoss::Contrastive);
    negative.pairs.margin = Some(-1.0);
    assert!(refusal(negative).contains("--margin -1"));
}
