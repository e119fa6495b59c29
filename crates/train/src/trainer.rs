//! Training on arrays in memory, without files, images or run folders.

use ocellus_data::Sampler;
use ocellus_engine::{Options, Session};
use ocellus_graph::{Graph, holds_probabilities, initialise};
use ocellus_tensor::{Tensor, Weights};

use crate::TrainError;
use crate::metrics::softmax;
use crate::optimiser::Optimiser;
use crate::schedule::{Length, Schedule};
use crate::stepper::{At, Seen, StepSetup, Stepper, image_input};
use crate::validate::OUTPUT;

/// How a [`Trainer`] trains.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainerOptions {
    /// Times that every example is seen.
    pub epochs: usize,
    /// Examples in a step; those left over at the end of an epoch are left out of it.
    pub batch: usize,
    /// Highest learning rate.
    pub lr: f64,
    /// How it moves.
    pub schedule: Schedule,
    /// What updates the parameters.
    pub optimiser: Optimiser,
    /// Share of the target spread evenly over the classes.
    pub label_smoothing: f32,
    /// Seed of weights, order and dropout.
    pub seed: u64,
    /// The machine.
    pub machine: Options,
}

impl Default for TrainerOptions {
    /// Ten epochs of batch 32, SGD with Nesterov momentum, one cycle up to 0.05, seed 0, all of the machine.
    fn default() -> Self {
        TrainerOptions {
            epochs: 10,
            batch: 32,
            lr: 0.05,
            schedule: Schedule::one_cycle(),
            optimiser: Optimiser::sgd(5e-4),
            label_smoothing: 0.0,
            seed: 0,
            machine: Options::default(),
        }
    }
}

/// Trains a classifier on arrays.
///
/// ```
/// use ocellus_graph::{Builder, Dense};
/// use ocellus_tensor::Tensor;
/// use ocellus_train::{Trainer, TrainerOptions};
///
/// // Is the first number the larger one?
/// let mut b = Builder::new("larger");
/// let x = b.input("input", [1, 2]);
/// let y = b.linear("fc", x, Dense::new(2));
/// b.output("output", y);
/// let x = Tensor::from_fn([64, 2], |i| ((i * 37) % 64) as f32 / 64.0);
/// let labels: Vec<usize> = x.data().chunks(2).map(|pair| usize::from(pair[0] > pair[1])).collect();
///
/// let mut trainer = Trainer::new(&b.finish()?, TrainerOptions { lr: 1.0, ..TrainerOptions::default() });
/// let epochs = trainer.fit(&x, &labels)?;
/// assert!(epochs[9].top1 > 0.9);
/// let probabilities = trainer.predict(&Tensor::new([1, 2], vec![0.9, 0.1])?)?;
/// assert!(probabilities.data()[1] > 0.5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Trainer {
    net: Graph,
    weights: Weights,
    options: TrainerOptions,
}

impl Trainer {
    /// A trainer of `net`, which has one input and an output `output` of logits, at weights drawn by the seed.
    pub fn new(net: &Graph, options: TrainerOptions) -> Self {
        Trainer { weights: initialise(net, options.seed), net: net.clone(), options }
    }

    /// Trains on `examples` `(N, ...)` and their class indices, and gives each epoch's mean loss and top-1 share.
    ///
    /// The weights go on from where they are; schedule and optimiser begin anew.
    pub fn fit(&mut self, examples: &Tensor, labels: &[usize]) -> Result<Vec<Seen>, TrainError> {
        let TrainerOptions { epochs, batch, lr, seed, .. } = self.options;
        self.check(examples, labels)?;
        let smoothing = self.options.label_smoothing;
        let setup = StepSetup { smoothing, ..StepSetup::new(batch, self.options.optimiser) };
        let mut stepper = Stepper::new(&self.net, setup, seed, &self.options.machine)?;
        stepper.load(&self.weights, &Weights::new())?;
        let sampler = Sampler { len: labels.len(), batch, shuffle: true, drop_last: true, seed };
        let length = Length { steps_per_epoch: sampler.batches(), epochs };
        let mut history = Vec::with_capacity(epochs);
        let mut gather = Gather::new(examples, labels, batch);
        for epoch in 0..epochs {
            let order = sampler.order(epoch as u32);
            let mut sum = Seen { loss: 0.0, top1: 0.0 };
            for index in 0..length.steps_per_epoch {
                let step = epoch * length.steps_per_epoch + index;
                let at = At { step: step as u64, rate: self.options.schedule.rate(step, length, lr) };
                gather.fill(&order[sampler.range(index)]);
                let seen = stepper.part(at, 0, &gather.examples, &gather.labels)?;
                if !seen.loss.is_finite() {
                    let what = format!("the loss is {}", seen.loss);
                    return Err(TrainError::NonFinite {
                        what,
                        step: at.step + 1,
                        epoch: epoch + 1,
                        rate: at.rate,
                        rollbacks: 0,
                    });
                }
                sum = Seen { loss: sum.loss + seen.loss, top1: sum.top1 + seen.top1 };
            }
            let steps = length.steps_per_epoch as f64;
            history.push(Seen { loss: sum.loss / steps, top1: sum.top1 / steps });
        }
        self.weights = stepper.weights();
        Ok(history)
    }

    /// Class probabilities `(N, classes)` of `examples` `(N, ...)`.
    pub fn predict(&self, examples: &Tensor) -> Result<Tensor, TrainError> {
        let count = examples.shape().first().copied().unwrap_or(0);
        let graph = self.net.for_inference()?.with_batch(count.max(1))?.prune(&[OUTPUT])?;
        let mut session = Session::new(&graph, &self.options.machine)?;
        session.load(&self.weights)?;
        session.set_input(&image_input(&self.net)?, examples.data())?;
        session.run();
        let output = session.output_tensor(OUTPUT)?;
        let classes = output.shape().elements() / count.max(1);
        if graph.find_output(OUTPUT).is_some_and(|id| holds_probabilities(&graph, id)) {
            return Ok(output);
        }
        let rows = output.data().chunks(classes.max(1)).flat_map(softmax).collect();
        Tensor::new([count, classes], rows).map_err(|cause| TrainError::setting(cause.to_string()))
    }

    /// Weights and statistics as they are now.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// Goes on from these weights.
    pub fn set_weights(&mut self, weights: Weights) {
        self.weights = weights;
    }

    fn check(&self, examples: &Tensor, labels: &[usize]) -> Result<(), TrainError> {
        let (count, batch) = (examples.shape().first().copied().unwrap_or(0), self.options.batch);
        if count != labels.len() {
            return Err(TrainError::setting(format!("{count} examples have {} labels", labels.len())));
        }
        if batch == 0 || batch > count {
            return Err(TrainError::setting(format!(
                "a batch of {batch} cannot be made of {count} examples; choose a batch from 1 to {count}"
            )));
        }
        Ok(())
    }
}

/// Copies the examples of a batch side by side.
struct Gather<'a> {
    source: &'a Tensor,
    classes: &'a [usize],
    stride: usize,
    examples: Vec<f32>,
    labels: Vec<f32>,
}

impl<'a> Gather<'a> {
    fn new(source: &'a Tensor, classes: &'a [usize], batch: usize) -> Self {
        let stride = source.data().len() / classes.len().max(1);
        Gather { source, classes, stride, examples: vec![0.0; batch * stride], labels: vec![0.0; batch] }
    }

    fn fill(&mut self, indices: &[u32]) {
        let targets = self.examples.chunks_mut(self.stride).zip(&mut self.labels);
        for (&index, (example, label)) in indices.iter().zip(targets) {
            let start = index as usize * self.stride;
            example.copy_from_slice(&self.source.data()[start..start + self.stride]);
            *label = self.classes[index as usize] as f32;
        }
    }
}
