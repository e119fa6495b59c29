//! The training loop: data to session to metrics, and now and then to disk.
//!
//! ```text
//! for each epoch:   for each step:  next batch -> forward, backward, update -> finite? -> checkpoint if one is due
//!                   validate -> best model if it is the best -> results, metrics -> checkpoint
//!                   if a number was not finite: name the layer, go back to the epoch's start, halve the rate
//! ```
//!
//! All files of an epoch are written before its checkpoint. So a kill between them only means that the resumed run,
//! which has the same numbers, writes the same files again. Going back to the start of an epoch, and not to whatever
//! checkpoint the clock last made, is what keeps a run that diverged the same however often it was interrupted.

use std::time::{Duration, Instant};

use ocellus_data::{Batch, Loader, LoaderConfig};
use ocellus_engine::Options;
use ocellus_formats::{FormatError, Model};
use ocellus_graph::{Graph, initialise};
use ocellus_tensor::Weights;
use serde_json::{Value, json};

use crate::checkpoint::{Checkpoint, Identity};
use crate::culprit::{self, Fed};
use crate::judge::{Judge, Judged};
use crate::mix::BatchMixer;
use crate::origin::Origin;
use crate::prepare::Prepared;
use crate::progress::{EpochRecord, EpochTime, Progress};
use crate::run_folder::RunFolder;
use crate::schedule::Length;
use crate::schedule::Schedule;
use crate::stepper::{At, Seen, Stepper};
use crate::views::ByViews;
use crate::watch::{Start, StepReport, Watch};
use crate::{Outcome, TrainError};

/// Times that training goes back before it gives up.
const ROLLBACKS: u32 = 3;

/// One run in progress.
pub(crate) struct Fit<'a> {
    prepared: &'a Prepared,
    run: &'a RunFolder,
    watch: &'a mut dyn Watch,
    options: Options,
    /// The network with what is frozen and slowed.
    net: Graph,
    stepper: Stepper,
    mixer: Option<BatchMixer>,
    validator: Judge,
    /// When this process has to stop.
    deadline: Option<Instant>,
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
        let Prepared { config, images, net, .. } = prepared;
        let shaped = config.practice.shape(net)?;
        let mut stepper = Stepper::new(&shaped, config.step(), config.seed, options)?;
        stepper.load(&beginning.weights, &beginning.state)?;
        let validator = Judge::new(prepared, config.step().part.min(images.val.len()), options)?;
        let metrics = std::fs::read_to_string(run.metrics()).unwrap_or_default();
        let step = beginning.progress.step;
        Ok(Fit {
            prepared,
            run,
            watch,
            options: options.clone(),
            net: shaped,
            stepper,
            mixer: prepared.mixer()?,
            validator,
            deadline: config
                .time_limit
                .map(|seconds| Instant::now() + Duration::from_secs_f64(seconds.min(1e9))),
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
        if self.progress.epochs() > 0 && self.progress.step_in_epoch(self.length) == 0 {
            // A process may have ended between the checkpoint of an epoch and its second name.
            let _ = self.run.keep_epoch();
        }
        self.times.resize(self.progress.epochs(), None);
        while self.progress.epochs() < self.length.epochs && !self.has_waited_enough() {
            match self.train_epoch().and_then(|complete| if complete { self.close_epoch() } else { Ok(()) }) {
                Err(TrainError::NonFinite { what, step, .. }) => self.go_back(what, step - 1)?,
                other => other?,
            }
            if self.is_out_of_time() {
                self.watch.note("the time is up; ocellus train --resume goes on where this stops");
                break;
            }
        }
        let (Some(best), Some(last)) = (self.progress.best(), self.progress.history.last()) else {
            return Err(TrainError::setting(format!(
                "no epoch was finished; go on with: ocellus train --resume {}, or give more time or fewer images",
                self.run.path().display()
            )));
        };
        let (best, last) = (best.clone(), last.clone());
        let by_views = self.judge_by_views()?;
        let (images, seconds) = self.stopwatch.total;
        Ok(Outcome {
            run: self.run.path().to_owned(),
            best,
            by_views,
            last,
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

    /// Whether the best epoch lies as far back as the user's patience goes.
    fn has_waited_enough(&self) -> bool {
        let patience = self.prepared.config.practice.patience;
        patience.is_some_and(|epochs| self.progress.epochs_without_gain() >= epochs)
    }

    fn is_out_of_time(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// The batches of the epoch that is under way, from step `step` of it on.
    fn loader(&self, step: usize) -> Result<Loader, TrainError> {
        let config = &self.prepared.config;
        let setup = config.step();
        let train = &self.prepared.images.train;
        let loading =
            LoaderConfig::training(config.preprocess.clone(), config.augment, setup.part, config.seed)
                .altered(config.practice.alter())
                .grouped(config.grouping())
                .with_threads_for(train);
        Ok(Loader::start(train.clone(), &loading, self.progress.epochs() as u32, step * setup.parts)?)
    }

    /// The rest of the epoch that is under way; whether it came to its end.
    fn train_epoch(&mut self) -> Result<bool, TrainError> {
        let done = self.progress.step_in_epoch(self.length);
        let mut loader = self.loader(done)?;
        self.stopwatch.lap();
        for step in done..self.length.steps_per_epoch {
            let at = At { step: self.progress.step, rate: self.rate_at(self.progress.step) };
            self.train_step(at, &mut loader)?;
            self.progress.step += 1;
            self.stopwatch.images += self.prepared.config.batch;
            self.tell_step(step + 1, at.rate);
            if self.watch.wants_stop() {
                return Err(self.stop()?);
            }
            let is_last = step + 1 == self.length.steps_per_epoch;
            if !is_last && self.is_out_of_time() {
                self.save()?;
                return Ok(false);
            }
            if !is_last && self.is_save_due() {
                self.save()?;
            }
        }
        Ok(true)
    }

    /// Keeps everything; the error that says so.
    fn stop(&mut self) -> Result<TrainError, TrainError> {
        self.save()?;
        // What the next start with the same words goes on from.
        self.run.write(&self.run.stopped(), "").map_err(|cause| self.unsaved(cause))?;
        let (epoch, step) = (self.progress.epochs() + 1, self.progress.step);
        Ok(TrainError::Stopped { epoch, step, run: self.run.path().to_owned() })
    }

    fn train_step(&mut self, at: At, loader: &mut Loader) -> Result<(), TrainError> {
        for part in 0..self.prepared.config.accumulate {
            let seen = self.train_part(at, part, &mut next_batch(loader)?)?;
            if !seen.loss.is_finite() {
                return Err(self.diverged(format!("the loss is {}", seen.loss), at));
            }
            self.progress.add_part(seen.loss, seen.top1);
        }
        match self.stepper.first_not_finite().map(str::to_owned) {
            Some(name) => Err(self.diverged(format!("{name} is no longer finite"), at)),
            None => Ok(()),
        }
    }

    fn train_part(&mut self, at: At, part: usize, batch: &mut Batch) -> Result<Seen, TrainError> {
        let epoch = self.progress.epochs() as u32;
        if let Some(mixer) = &mut self.mixer {
            self.stepper.set_targets(mixer.targets(batch, epoch))?;
        }
        self.stepper.part(at, part, &batch.images, &batch.labels)
    }

    /// The learning rate of step `step`: the schedule's, times what validation, divergence and a warm-up make of it.
    fn rate_at(&self, step: u64) -> f32 {
        let config = &self.prepared.config;
        let rate = config.schedule.rate(step as usize, self.length, config.lr);
        let losses = self.progress.history.iter().map(|record| record.loss);
        let mut share = config.schedule.share_after(losses) * 0.5_f64.powi(self.progress.rollbacks as i32);
        let rises = !matches!(config.schedule, Schedule::Cosine { .. } | Schedule::OneCycle { .. });
        if let Some(epochs) = config.practice.warmup.filter(|_| rises) {
            let steps = epochs * self.length.steps_per_epoch as f64;
            share *= ((step as f64 + 1.0) / (steps + 1.0)).min(1.0);
        }
        if share == 1.0 { rate } else { (f64::from(rate) * share) as f32 }
    }

    /// Back to the start of the epoch, at half the rate, after step `step` (from 0) gave what is not finite.
    fn go_back(&mut self, what: String, step: u64) -> Result<(), TrainError> {
        let at = At { step, rate: self.rate_at(step) };
        // To name the layer is a courtesy: that it cannot be found must not hide what happened.
        let layer = self.culprit(at).ok().flatten();
        let what = layer.map_or(what.clone(), |layer| format!("{what}, first in {layer},"));
        let rollbacks = self.progress.rollbacks;
        if rollbacks >= ROLLBACKS {
            return Err(self.diverged(what, at));
        }
        let epoch = self.progress.epochs() + 1;
        self.watch.note(&format!(
            "{what} at step {} (epoch {epoch}, learning rate {}): going back to the start of epoch {epoch}, at half \
             the rate ({} of {ROLLBACKS})",
            step + 1,
            at.rate,
            rollbacks + 1
        ));
        let start = self.epoch_start()?;
        self.stepper.load(&start.weights, &start.state)?;
        self.progress = Progress { rollbacks: rollbacks + 1, ..start.progress };
        self.times.truncate(self.progress.epochs());
        self.save()
    }

    /// Where the epoch that is under way began.
    fn epoch_start(&self) -> Result<Beginning, TrainError> {
        if self.progress.epochs() == 0 {
            return Ok(Beginning::fresh(self.prepared));
        }
        let own = |checkpoint: &Checkpoint| {
            checkpoint.identity == self.identity && checkpoint.progress.epochs() <= self.progress.epochs()
        };
        let kept = Checkpoint::at(&self.run.epoch_start()).ok().flatten().filter(own);
        // A run that an older program began has no such file yet.
        let newest =
            || Ok::<_, TrainError>(Checkpoint::find(self.run)?.map(|found| found.checkpoint).filter(own));
        let found = match kept {
            Some(kept) => Some(kept),
            None => newest()?,
        };
        match found {
            Some(Checkpoint { weights, state, progress, .. }) => Ok(Beginning { weights, state, progress }),
            None => Err(TrainError::setting("the checkpoint of the epoch's start is gone; start a new run")),
        }
    }

    /// The layer that first gave what is not finite in the step `at`, which is computed again from the newest checkpoint
    /// on the way.
    fn culprit(&mut self, at: At) -> Result<Option<String>, TrainError> {
        let on_the_way = |checkpoint: &Checkpoint| {
            let there = &checkpoint.progress;
            let here = &self.progress;
            (there.epochs(), there.rollbacks) == (here.epochs(), here.rollbacks) && there.step <= at.step
        };
        let newest = Checkpoint::find(self.run).ok().flatten().map(|found| found.checkpoint);
        let start = match newest.filter(on_the_way) {
            Some(Checkpoint { weights, state, progress, .. }) => Beginning { weights, state, progress },
            None => self.epoch_start()?,
        };
        self.stepper.load(&start.weights, &start.state)?;
        let (setup, first) = (self.prepared.config.step(), start.progress.step);
        let mut loader = self.loader(start.progress.step_in_epoch(self.length))?;
        for step in first..at.step {
            let at = At { step, rate: self.rate_at(step) };
            for part in 0..setup.parts {
                self.train_part(at, part, &mut next_batch(&mut loader)?)?;
            }
        }
        let weights = self.stepper.weights();
        for part in 0..setup.parts {
            let mut batch = next_batch(&mut loader)?;
            let epoch = self.progress.epochs() as u32;
            let targets = self.mixer.as_mut().map(|mixer| mixer.targets(&mut batch, epoch).to_vec());
            let random = (self.prepared.config.seed, at.step * setup.parts as u64 + part as u64);
            let fed =
                Fed { images: &batch.images, labels: &batch.labels, targets: targets.as_deref(), random };
            if let Some(layer) = culprit::find(&self.net, &setup, &weights, &fed, &self.options)? {
                return Ok(Some(layer));
            }
        }
        Ok(None)
    }

    fn tell_step(&mut self, step: usize, lr: f32) {
        let (loss, top1) = self.progress.means();
        let images_per_second = self.stopwatch.rate();
        let (epoch, steps) = (self.progress.epochs() + 1, self.length.steps_per_epoch);
        self.watch.stepped(&StepReport { epoch, step, steps, loss, top1, lr, images_per_second });
    }

    fn diverged(&self, what: String, at: At) -> TrainError {
        let epoch = self.progress.epochs() + 1;
        let rollbacks = self.progress.rollbacks;
        TrainError::NonFinite { what, step: at.step + 1, epoch, rate: at.rate, rollbacks }
    }

    /// Validates and writes everything that an epoch leaves behind.
    fn close_epoch(&mut self) -> Result<(), TrainError> {
        let time = self.stopwatch.stop();
        let weights = self.stepper.judged();
        let judged = self.validate(&weights)?;
        let record = self.record(&judged);
        if !record.loss.is_finite() {
            let at = At { step: self.progress.step - 1, rate: record.lr };
            return Err(self.diverged(format!("the validation loss is {}", record.loss), at));
        }
        let is_best = self.progress.best().is_none_or(|best| record.beats(best));
        self.progress.finish_epoch(record.clone());
        self.times.push(Some(time));
        if is_best {
            self.detail = judged.detail;
            let model = self.model(weights, &record);
            model.save(self.run.best()).map_err(|cause| self.unsaved(cause))?;
        }
        self.write_epoch()?;
        self.save()?;
        self.run
            .keep_epoch()
            .map_err(|cause| TrainError::io(&self.run.epoch_start(), "cannot be written", cause))?;
        self.watch.finished_epoch(&record, time);
        Ok(())
    }

    /// What the best weights are worth by the mean of the views that were asked for; `metrics.json` keeps it.
    fn judge_by_views(&mut self) -> Result<Option<ByViews>, TrainError> {
        let Some(views) = self.prepared.config.practice.tta else { return Ok(None) };
        let best = Model::load(self.run.best())?;
        self.validator.load(&best.weights)?;
        let by_views = self.validator.measure_views(self.prepared, views)?;
        self.write_metrics(by_views)?;
        Ok(by_views)
    }

    fn validate(&mut self, weights: &Weights) -> Result<Judged, TrainError> {
        self.validator.load(weights)?;
        self.validator.measure(self.prepared)
    }

    fn record(&self, judged: &Judged) -> EpochRecord {
        let (train_loss, train_top1) = self.progress.means();
        let last = self.progress.step.saturating_sub(1);
        EpochRecord {
            epoch: self.progress.epochs() + 1,
            step: self.progress.step,
            lr: self.rate_at(last),
            train_loss,
            train_top1,
            loss: judged.loss,
            top1: judged.top1,
            top5: judged.top5,
            pairs: judged.pairs,
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
        self.write_metrics(None)
    }

    fn write_metrics(&self, by_views: Option<ByViews>) -> Result<(), TrainError> {
        let mut metrics = json!({
            "best": self.progress.best(),
            "last": self.progress.history.last(),
            "classes": self.detail["classes"],
            "confusion": self.detail["confusion"],
        });
        if let Some(by_views) = by_views {
            metrics["best_by_views"] = json!(by_views);
        }
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
            let step = self.progress.step.saturating_sub(1);
            let at = At { step, rate: self.rate_at(step) };
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

fn next_batch(loader: &mut Loader) -> Result<Batch, TrainError> {
    loader.next().transpose()?.ok_or_else(|| {
        TrainError::setting("the training images ended before the epoch did: the data changed on disk")
    })
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
