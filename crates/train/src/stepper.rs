//! How is one optimiser step computed?
//!
//! ```text
//! whole batch:  one graph   forward, backward, update
//! in parts:     two graphs  (forward, backward, gradient/NAME += gradient / parts) for each part, then the update
//! ```
//!
//! In parts, BatchNorm normalises by each part's own statistics and its running statistics follow every part; all
//! else is as with the whole batch, up to rounding.

use ocellus_engine::{Options, Plan, Session};
use ocellus_graph::{Graph, Request, differentiate};
use ocellus_tensor::Weights;

use crate::TrainError;
use crate::optimiser::{self, GRADIENT, Optimiser, RATE, STEP, append_accumulation, append_updates};

/// The input that [`Graph::with_classifier_loss`] adds for class indices.
pub const LABEL: &str = "label";
/// The loss, and the accuracy beside it.
const LOSS: &str = "loss";
const TOP1: &str = "top1";

/// What a training step is made of, beside the network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepSetup {
    /// Images in one part of a step.
    pub part: usize,
    /// Parts in a step; 1 computes the whole batch at once.
    pub parts: usize,
    /// Label smoothing, 0 up to but not 1.
    pub smoothing: f32,
    /// What updates the parameters.
    pub optimiser: Optimiser,
}

/// The graphs of one step.
#[derive(Clone, Debug, PartialEq)]
pub struct StepGraphs {
    /// Forward and backward, and the update unless the step has parts.
    pub gradients: Graph,
    /// The update of a step that has parts.
    pub update: Option<Graph>,
    /// Names of the parameters that are trained.
    pub trained: Vec<String>,
}

impl StepGraphs {
    /// The graphs that train `net`: by the losses it has, or else as a classifier by the logits of its output `output`.
    ///
    /// ```
    /// use ocellus_train::{Optimiser, StepGraphs, StepSetup};
    /// let net = ocellus_zoo::build("digits", &Default::default())?;
    /// let setup = StepSetup { part: 16, parts: 1, smoothing: 0.0, optimiser: Optimiser::sgd(5e-4) };
    /// let step = StepGraphs::new(&net, &setup)?;
    /// assert!(step.gradients.find_input("lr").is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(net: &Graph, setup: &StepSetup) -> Result<Self, TrainError> {
        let net = net.with_batch(setup.part)?.for_training()?;
        let net = if net.losses().is_empty() { net.with_classifier_loss(setup.smoothing)? } else { net };
        // All losses, those of auxiliary heads too.
        let losses = net.losses().iter().map(|loss| loss.name.as_str());
        let scores = net.find_output(TOP1).map(|_| TOP1);
        let net = net.prune(&losses.chain(scores).collect::<Vec<_>>())?;
        let found = differentiate(&net, &Request::default())?;
        let mut gradients = found.graph;
        let trained = found.params.iter().map(|&(id, _)| gradients.param(id).name.clone()).collect();
        let update = if setup.parts > 1 {
            append_accumulation(&mut gradients, &found.params, setup.parts)?;
            let ids: Vec<_> = found.params.iter().map(|&(id, _)| id).collect();
            Some(optimiser::update_graph(&gradients, &ids, &setup.optimiser)?)
        } else {
            append_updates(&mut gradients, &found.params, &setup.optimiser)?;
            None
        };
        Ok(StepGraphs { gradients, update, trained })
    }

    /// Exact peak memory of the step, in bytes.
    pub fn planned_bytes(&self, options: &Options) -> Result<usize, TrainError> {
        let update = self.update.as_ref().map(|update| Plan::new(update, options)).transpose()?;
        Ok(Plan::new(&self.gradients, options)?.bytes() + update.map_or(0, |plan| plan.bytes()))
    }
}

/// Which step this is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct At {
    /// Optimiser steps done before this one.
    pub step: u64,
    /// Learning rate.
    pub rate: f32,
}

/// What one part of a step showed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// Mean loss over the part, in nats.
    pub loss: f64,
    /// Share of its images that were right, 0 to 1.
    pub top1: f64,
}

/// A training step ready to run on this machine.
pub struct Stepper {
    gradients: Session,
    update: Option<Session>,
    trained: Vec<String>,
    image: String,
    setup: StepSetup,
    seed: u64,
}

impl Stepper {
    /// Plans the step and takes its memory. `seed` decides the dropout masks, together with the step.
    pub fn new(net: &Graph, setup: StepSetup, seed: u64, options: &Options) -> Result<Self, TrainError> {
        let graphs = StepGraphs::new(net, &setup)?;
        let image = image_input(net)?;
        let gradients = Session::new(&graphs.gradients, options)?;
        let update = graphs.update.as_ref().map(|graph| Session::new(graph, options)).transpose()?;
        Ok(Stepper { gradients, update, trained: graphs.trained, image, setup, seed })
    }

    /// Sets weights, statistics and, if there is any, the optimiser's state (which is zero at first).
    pub fn load(&mut self, weights: &Weights, state: &Weights) -> Result<(), TrainError> {
        self.gradients.load(weights)?;
        if let Some(update) = &mut self.update {
            update.load(weights)?;
        }
        let keeper = self.update.as_mut().unwrap_or(&mut self.gradients);
        for (name, tensor) in state {
            keeper.set_param(name, tensor.data())?;
        }
        Ok(())
    }

    /// Weights and statistics.
    pub fn weights(&self) -> Weights {
        self.gradients.weights()
    }

    /// The optimiser's memory. Accumulated gradients are not among it: between steps they are zero.
    pub fn state(&self) -> Weights {
        let mut state = self.update.as_ref().unwrap_or(&self.gradients).state();
        state.retain(|name, _| !name.starts_with(GRADIENT));
        state
    }

    /// Bytes of the step's plans.
    pub fn planned_bytes(&self) -> usize {
        self.gradients.planned_bytes() + self.update.as_ref().map_or(0, Session::planned_bytes)
    }

    /// Computes part `part` (from 0) of the step `at`; after the last part the parameters are updated.
    ///
    /// `images` are `(part, C, H, W)`, `labels` class indices `(part)`.
    pub fn part(&mut self, at: At, part: usize, images: &[f32], labels: &[f32]) -> Result<Seen, TrainError> {
        self.gradients.set_input(&self.image, images)?;
        self.gradients.set_input(LABEL, labels)?;
        self.gradients.set_random(self.seed, at.step * self.setup.parts as u64 + part as u64);
        if self.update.is_none() {
            set_clock(&mut self.gradients, &self.setup.optimiser, at)?;
        }
        self.gradients.run();
        let seen = Seen { loss: scalar(&self.gradients, LOSS)?, top1: scalar(&self.gradients, TOP1)? };
        if part + 1 == self.setup.parts {
            self.finish(at)?;
        }
        Ok(seen)
    }

    /// Carries the gradients to the update graph and the new weights back.
    fn finish(&mut self, at: At) -> Result<(), TrainError> {
        let Some(update) = &mut self.update else { return Ok(()) };
        set_clock(update, &self.setup.optimiser, at)?;
        for name in &self.trained {
            let gradient = format!("{GRADIENT}{name}");
            let sum = self.gradients.param(&gradient)?;
            update.set_param(&gradient, sum)?;
            let zeros = vec![0.0; sum.len()];
            self.gradients.set_param(&gradient, &zeros)?;
        }
        update.run();
        for name in &self.trained {
            self.gradients.set_param(name, update.param(name)?)?;
        }
        Ok(())
    }
}

fn set_clock(session: &mut Session, optimiser: &Optimiser, at: At) -> Result<(), TrainError> {
    session.set_input(RATE, &[at.rate])?;
    if optimiser.needs_step() {
        session.set_input(STEP, &[(at.step + 1) as f32])?;
    }
    Ok(())
}

fn scalar(session: &Session, name: &str) -> Result<f64, TrainError> {
    Ok(session.output(name)?.first().map_or(f64::NAN, |&x| f64::from(x)))
}

/// The input through which images come in.
pub fn image_input(net: &Graph) -> Result<String, TrainError> {
    let mut inputs = net.inputs().iter().map(|&id| net.value(id));
    match (inputs.next(), inputs.next()) {
        (Some(image), None) => Ok(image.name.clone()),
        _ => Err(TrainError::setting(format!(
            "the network {} has {} inputs; training on images needs exactly one",
            net.name,
            net.inputs().len()
        ))),
    }
}
