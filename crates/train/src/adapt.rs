//! Fitting a run to the machine: how large a batch its memory holds, how many epochs a time allows.

use std::time::Instant;

use ocellus_engine::Options;
use ocellus_graph::initialise;
use ocellus_tensor::Weights;

use crate::TrainError;
use crate::judge::Judge;
use crate::prepare::{Choices, Prepared};
use crate::stepper::{At, StepGraphs, StepSetup, Stepper};
use crate::watch::Watch;

/// Share of a time limit that is planned for training and validation; the rest is for reading data and writing files.
const PLANNED: f64 = 0.9;
/// Most epochs that a time limit makes.
const MOST_EPOCHS: usize = 300;
/// Steps that are timed, and how long at most.
const TIMED_STEPS: u64 = 12;
const TIMED_SECONDS: f64 = 5.0;

impl Prepared {
    /// Decides what depends on the machine: the batch by memory, the epochs by time.
    pub fn adapt(
        &mut self,
        choices: &Choices,
        options: &Options,
        watch: &mut dyn Watch,
    ) -> Result<(), TrainError> {
        let mut choices = choices.clone();
        if let (None, Some(bytes)) = (choices.batch, choices.batch_bytes) {
            let batch = self.batch_within(bytes, options)?;
            choices.batch = Some(batch);
            watch.note(&format!("a batch of {batch} fits into {} MB of memory", bytes / 1_000_000));
            self.decide(&choices)?;
        }
        if let (None, Some(seconds)) = (choices.epochs, choices.time_limit) {
            let per_epoch = self.seconds_per_epoch(options)?;
            let epochs = ((PLANNED * seconds / per_epoch) as usize).clamp(1, MOST_EPOCHS);
            choices.epochs = Some(epochs);
            watch.note(&format!(
                "an epoch takes about {per_epoch:.1} s here: {epochs} of them in the {seconds:.0} s given"
            ));
            self.decide(&choices)?;
        }
        Ok(())
    }

    /// The configuration's batch, halved until its step's plan needs at most `bytes`.
    fn batch_within(&self, bytes: u64, options: &Options) -> Result<usize, TrainError> {
        let net = self.config.practice.shape(&self.net)?;
        let mut batch = self.config.batch;
        loop {
            let setup = StepSetup { part: (batch / self.config.accumulate).max(1), ..self.config.step() };
            let needed = StepGraphs::new(&net, &setup)?.planned_bytes(&setup.on(options))? as u64;
            if needed <= bytes {
                return Ok(batch);
            }
            if batch / 2 < self.config.accumulate.max(1) {
                return Err(TrainError::setting(format!(
                    "even a batch of {batch} needs {} MB, and {} MB of memory are to be used; give a smaller network \
                     or --size",
                    needed / 1_000_000,
                    bytes / 1_000_000
                )));
            }
            batch /= 2;
        }
    }

    /// Seconds of an epoch's steps and validation, by a few of each on empty images.
    fn seconds_per_epoch(&self, options: &Options) -> Result<f64, TrainError> {
        let config = &self.config;
        let net = config.practice.shape(&self.net)?;
        let setup = config.step();
        let mut stepper = Stepper::new(&net, setup, config.seed, options)?;
        let weights = initialise(&net, config.seed);
        stepper.load(&weights, &Weights::new())?;
        let count = setup.part * stepper.images();
        let images = vec![0.0; count * config.preprocess.output_len()];
        let labels = vec![0.0; count];
        let (mut step, mut begun) = (0, Instant::now());
        // The first step also packs weights and meets cold memory: it is not counted.
        while step <= TIMED_STEPS && (step < 2 || begun.elapsed().as_secs_f64() < TIMED_SECONDS) {
            if step == 1 {
                begun = Instant::now();
            }
            for part in 0..setup.parts {
                stepper.part(At { step, rate: 0.0 }, part, &images, &labels)?;
            }
            step += 1;
        }
        let per_step = begun.elapsed().as_secs_f64() / (step - 1).max(1) as f64;
        let (train, val) = (self.images.train.len(), self.images.val.len());
        let batch = setup.part.min(val);
        let mut validator = Judge::new(self, batch, options)?;
        validator.load(&weights)?;
        validator.run_once();
        let begun = Instant::now();
        validator.run_once();
        let per_batch = begun.elapsed().as_secs_f64();
        let steps = config.length(train).steps_per_epoch as f64;
        Ok(steps * per_step + val.div_ceil(batch.max(1)) as f64 * per_batch)
    }
}
