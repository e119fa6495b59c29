//! The training loop: data to session to metrics, and now and then to disk.
//!
//! ```text
//! for each epoch:   for each step:  next batch -> forward, backward, update -> finite? -> checkpoint if one is due
//!                   validate -> best model if it is the best -> results, metrics -> checkpoint
//! ```
//!
//! All files of an epoch are written before its checkpoint. So a kill between them only means that the resumed run,
//! which has the same numbers, writes the same files again.

use std::time::Instant;

use ocellus_data::{Loader, LoaderConfig};
use ocellus_engine::Options;
use ocellus_formats::{FormatError, Model};
use ocellus_graph::initialise;
use ocellus_tensor::Weights;
use serde_json::{Value, json};

use crate::checkpoint::{Checkpoint, Identity};
use crate::metrics::Metrics;
use crate::origin::Origin;
use crate::prepare::Prepared;
use crate::progress::{EpochRecord, EpochTime, Progress};
use crate::run_folder::RunFolder;
use crate::schedule::Length;
use crate::stepper::{At, Stepper};
use crate::validate::Validator;
use crate::watch::{Start, StepReport, Watch};
use crate::{Outcome, TrainError};

/// One run in progress.
pub(crate) struct Fit<'a> {
    prepared: &'a Prepared,
    run: &'a RunFolder,
    watch: &'a mut dyn Watch,
    stepper: Stepper,
    validator: Validator,
    length: Length,
    identity: Identity,
    progress: Progress,
    times: Vec<Option<EpochTime>>,
    /// Classes and confusion matrix of the best epoch, for `metrics.json`.
    detail: Value,
    saved: Saved,
    stopwatch: Stopwatch,
}

/// When the last checkpoint was written.
struct Saved {
    at: Instant,
    step: u64,
}

/// Images and seconds of training, in this process: of the epoch, and of all epochs.
struct Stopwatch {
    since: Instant,
    images: usize,
    total: (usize, f64),
}

/// Where a run begins.
pub(crate) struct Beginning {
    pub weights: Weights,
    pub state: Weights,
    pub progress: Progress,
}

impl Beginning {
    /// Weights drawn by the configuration's seed, nothing done yet.
    ///
    /// Where a run begins with a model, that model's weights are taken where they fit.
    pub fn fresh(prepared: &Prepared) -> Self {
        let seed = prepared.config.seed;
        let weights = match Origin::of(&prepared.config.model) {
            Ok(start) => start.weights(&prepared.net, seed),
            // Whoever prepared the run has read the model a moment ago.
            Err(_) => initialise(&prepared.net, seed),
        };
        Beginning { weights, state: Weights::new(), progress: Progress::default() }
    }
}

/// What the settings and the data of a run are identified by.
pub(crate) fn identity_of(prepared: &Prepared) -> Result<Identity, TrainError> {
    Ok(Identity { config: prepared.config.identity()?, data: prepared.images.identity() })
}

impl<'a> Fit<'a> {
    pub fn new(
        prepared: &'a Prepared,
        run: &'a RunFolder,
        options: &Options,
        beginning: Beginning,
        watch: &'a mut dyn Watch,
    ) -> Result<Self, TrainError> {
        let Prepared { config, images, net } = prepared;
        let mut stepper = Stepper::new(net, config.step(), config.seed, options)?;
        stepper.load(&beginning.weights, &beginning.state)?;
        let validator = Validator::new(net, config.step().part.min(images.val.len()), options)?;
        let metrics = std::fs::read_to_string(run.metrics()).unwrap_or_default();
        let step = beginning.progress.step;
        Ok(Fit {
            prepared,
            run,
            watch,
            stepper,
            validator,
            length: config.length(images.train.len()),
            identity: identity_of(prepared)?,
            progress: beginning.progress,
            times: run.read_times(),
            detail: serde_json::from_str(&metrics).unwrap_or(Value::Null),
            saved: Saved { at: Instant::now(), step },
            stopwatch: Stopwatch::start(),
        })
    }

    /// Trains to the end.
    pub fn finish(mut self) -> Result<Outcome, TrainError> {
        self.tell_start();
        self.times.resize(self.progress.epochs(), None);
        while self.progress.epochs() < self.length.epochs {
            self.train_epoch()?;
            self.close_epoch()?;
        }
        let (Some(best), Some(last)) = (self.progress.best(), self.progress.history.last()) else {
            return Err(TrainError::setting("a run needs at least one epoch"));
        };
        let (images, seconds) = self.stopwatch.total;
        Ok(Outcome {
            run: self.run.path().to_owned(),
            best: best.clone(),
            last: last.clone(),
            images_per_second: if images == 0 { 0.0 } else { images as f64 / seconds },
        })
    }

    fn tell_start(&mut self) {
        let Prepared { config, images, .. } = self.prepared;
        self.watch.started(&Start {
            run: self.run.path().to_owned(),
            model: config.model.clone(),
            classes: config.classes.len(),
            train_images: images.train.len(),
            val_images: images.val.len(),
            epochs: self.length.epochs,
            steps_per_epoch: self.length.steps_per_epoch,
            steps_done: self.progress.step,
            planned_bytes: self.stepper.planned_bytes() + self.validator.planned_bytes(),
        });
    }

    /// The rest of the epoch that is under way.
    fn train_epoch(&mut self) -> Result<(), TrainError> {
        let config = &self.prepared.config;
        let setup = config.step();
        let train = &self.prepared.images.train;
        let done = self.progress.step_in_epoch(self.length);
        let loading =
            LoaderConfig::training(config.preprocess.clone(), config.augment, setup.part, config.seed)
                .with_threads_for(train);
        let mut loader =
            Loader::start(train.clone(), &loading, self.progress.epochs() as u32, done * setup.parts)?;
        self.stopwatch.lap();
        for step in done..self.length.steps_per_epoch {
            let at = At { step: self.progress.step, rate: self.rate() };
            self.train_step(at, &mut loader)?;
            self.progress.step += 1;
            self.stopwatch.images += config.batch;
            self.tell_step(step + 1, at.rate);
            if step + 1 < self.length.steps_per_epoch && self.is_save_due() {
                self.save()?;
            }
        }
        Ok(())
    }

    fn train_step(&mut self, at: At, loader: &mut Loader) -> Result<(), TrainError> {
        for part in 0..self.prepared.config.accumulate {
            let batch = loader.next().transpose()?.ok_or_else(|| {
                TrainError::setting(
                    "the training images ended before the epoch did: the data changed on disk",
                )
            })?;
            let seen = self.stepper.part(at, part, &batch.images, &batch.labels)?;
            if !seen.loss.is_finite() {
                return Err(self.diverged(format!("the loss is {}", seen.loss), at));
            }
            self.progress.add_part(seen.loss, seen.top1);
        }
        Ok(())
    }

    /// The learning rate of the next step.
    fn rate(&self) -> f32 {
        let config = &self.prepared.config;
        config.schedule.rate(self.progress.step as usize, self.length, config.lr)
    }

    fn tell_step(&mut self, step: usize, lr: f32) {
        let (loss, top1) = self.progress.means();
        let images_per_second = self.stopwatch.rate();
        let (epoch, steps) = (self.progress.epochs() + 1, self.length.steps_per_epoch);
        self.watch.stepped(&StepReport { epoch, step, steps, loss, top1, lr, images_per_second });
    }

    fn diverged(&self, what: String, at: At) -> TrainError {
        let epoch = self.progress.epochs() + 1;
        TrainError::NonFinite { what, step: at.step + 1, epoch, rate: at.rate }
    }

    /// Validates and writes everything that an epoch leaves behind.
    fn close_epoch(&mut self) -> Result<(), TrainError> {
        let time = self.stopwatch.stop();
        let weights = self.stepper.weights();
        let metrics = self.validate(&weights)?;
        let record = self.record(&metrics);
        if !record.loss.is_finite() {
            let at = At { step: self.progress.step - 1, rate: record.lr };
            return Err(self.diverged(format!("the validation loss is {}", record.loss), at));
        }
        let is_best = self.progress.best().is_none_or(|best| record.beats(best));
        self.progress.finish_epoch(record.clone());
        self.times.push(Some(time));
        if is_best {
            let classes = &self.prepared.config.classes;
            self.detail = json!({"classes": metrics.report(classes), "confusion": metrics.confusion()});
            let model = self.model(weights, &record);
            model.save(self.run.best()).map_err(|cause| self.unsaved(cause))?;
        }
        self.write_epoch()?;
        self.save()?;
        self.watch.finished_epoch(&record, time);
        Ok(())
    }

    fn validate(&mut self, weights: &Weights) -> Result<Metrics, TrainError> {
        let Prepared { config, images, .. } = self.prepared;
        let classes: Vec<usize> = (0..config.classes.len()).collect();
        self.validator.load(weights)?;
        self.validator.measure(&images.val, &config.preprocess, &classes)
    }

    fn record(&self, metrics: &Metrics) -> EpochRecord {
        let (train_loss, train_top1) = self.progress.means();
        let config = &self.prepared.config;
        let last = self.progress.step.saturating_sub(1) as usize;
        EpochRecord {
            epoch: self.progress.epochs() + 1,
            step: self.progress.step,
            lr: config.schedule.rate(last, self.length, config.lr),
            train_loss,
            train_top1,
            loss: metrics.loss(),
            top1: metrics.top1(),
            top5: metrics.top5(),
        }
    }

    fn model(&self, weights: Weights, record: &EpochRecord) -> Model {
        let config = &self.prepared.config;
        let info = [("zoo", config.model.clone()), ("epoch", record.epoch.to_string())];
        Model {
            graph: self.prepared.net.clone(),
            weights,
            classes: config.classes.clone(),
            preprocess: serde_json::to_value(&config.preprocess).ok(),
            info: info.map(|(key, value)| (key.to_string(), value)).into(),
        }
    }

    /// `results.csv` and `metrics.json`.
    fn write_epoch(&self) -> Result<(), TrainError> {
        let history = &self.progress.history;
        self.run.write_results(history, &self.times).map_err(|cause| self.unsaved(cause))?;
        let metrics = json!({
            "best": self.progress.best(),
            "last": history.last(),
            "classes": self.detail["classes"],
            "confusion": self.detail["confusion"],
        });
        let text = format!("{metrics:#}\n");
        self.run.write(&self.run.metrics(), &text).map_err(|cause| self.unsaved(cause))
    }

    fn is_save_due(&self) -> bool {
        let config = &self.prepared.config;
        let steps = self.progress.step - self.saved.step;
        let by_steps = config.checkpoint_steps > 0 && steps >= config.checkpoint_steps;
        by_steps || self.saved.at.elapsed().as_secs_f64() >= config.checkpoint_seconds
    }

    /// Writes a checkpoint; never one whose numbers are not finite.
    fn save(&mut self) -> Result<(), TrainError> {
        let checkpoint = Checkpoint {
            weights: self.stepper.weights(),
            state: self.stepper.state(),
            progress: self.progress.clone(),
            identity: self.identity.clone(),
        };
        if let Some(name) = checkpoint.first_not_finite() {
            let at = At { step: self.progress.step - 1, rate: self.rate() };
            return Err(self.diverged(format!("{name} is no longer finite"), at));
        }
        checkpoint.save(self.run).map_err(|cause| self.unsaved(cause))?;
        self.saved = Saved { at: Instant::now(), step: self.progress.step };
        Ok(())
    }

    fn unsaved(&self, source: FormatError) -> TrainError {
        let (epoch, step) = (self.progress.epochs().max(1), self.progress.step);
        TrainError::Save { epoch, step, run: self.run.path().to_owned(), source }
    }
}

impl Stopwatch {
    fn start() -> Self {
        Stopwatch { since: Instant::now(), images: 0, total: (0, 0.0) }
    }

    /// Begins an epoch.
    fn lap(&mut self) {
        (self.since, self.images) = (Instant::now(), 0);
    }

    fn rate(&self) -> f64 {
        self.images as f64 / self.since.elapsed().as_secs_f64().max(1e-9)
    }

    /// Ends an epoch.
    fn stop(&mut self) -> EpochTime {
        let time = EpochTime { images_per_second: self.rate(), seconds: self.since.elapsed().as_secs_f64() };
        self.total = (self.total.0 + self.images, self.total.1 + time.seconds);
        time
    }
}
