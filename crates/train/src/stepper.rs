//! How is one optimiser step computed?
//!
//! ```text
//! whole batch:  one graph   forward, backward, update
//! in parts:     two graphs  (forward, backward, gradient/NAME += gradient / parts) for each part, then the update
//! ```
//!
//! A step is also cut in two where something needs all gradients at once: clipping, and adaptive rules (see
//! [`crate::adaptive`]). In parts, BatchNorm normalises by each part's own statistics and its running statistics follow every part; all
//! else is as with the whole batch, up to rounding.

use ocellus_engine::{Options, Plan, Precision, Session};
use ocellus_graph::ops::Accuracy;
use ocellus_graph::{Graph, Op, Request, TrainingOptions, differentiate};
use ocellus_tensor::Weights;

use crate::TrainError;
use crate::average::Averages;
use crate::feed::Feed;
pub use crate::gathered::Clip;
use crate::gathered::Gathered;
use crate::optimiser::{self, GRADIENT, Optimiser, RATE, STEP, append_accumulation, append_updates};
use crate::pairs::Pairs;
use crate::soft::with_soft_loss;
use crate::towers::with_pair_losses;
use crate::validate::OUTPUT;

/// The input that [`Graph::with_classifier_loss`] adds for class indices.
pub const LABEL: &str = "label";
/// The input of a step with soft targets: each image's share of each class.
pub const TARGET: &str = "target";
/// The loss, and the accuracy beside it.
const LOSS: &str = "loss";
pub(crate) const TOP1: &str = "top1";

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
    /// Limits of the gradients.
    pub clip: Clip,
    /// Share of the old average kept, if averages of the weights are wanted.
    pub ema: Option<f32>,
    /// Targets are shares of the classes, fed as [`TARGET`].
    pub soft: bool,
    /// Every BatchNorm keeps its running statistics.
    pub frozen_statistics: bool,
    /// Convolutions and their gradients multiply bf16 numbers, whatever the options say.
    pub bf16: bool,
    /// Images come in pairs or triplets, and the network embeds them.
    pub pairs: Option<Pairs>,
}

impl StepSetup {
    /// Steps of `part` images at once by `optimiser`, and nothing else.
    pub fn new(part: usize, optimiser: Optimiser) -> Self {
        StepSetup {
            part,
            parts: 1,
            smoothing: 0.0,
            optimiser,
            clip: Clip::default(),
            ema: None,
            soft: false,
            frozen_statistics: false,
            bf16: false,
            pairs: None,
        }
    }

    /// `options` as the step is planned with them.
    pub fn on(&self, options: &Options) -> Options {
        match self.bf16 {
            true => options.clone().with_precision(Precision::Bf16),
            false => options.clone(),
        }
    }

    /// Whether all gradients are gathered before the first update.
    fn gathers(&self) -> bool {
        self.parts > 1 || !self.clip.is_none() || self.optimiser.rule().is_some()
    }
}

/// The graphs of one step.
#[derive(Clone, Debug, PartialEq)]
pub struct StepGraphs {
    /// Forward and backward, and the update unless the step has parts.
    pub gradients: Graph,
    /// The update of a step that is cut in two, unless a rule outside graphs computes it.
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
    /// let setup = StepSetup::new(16, Optimiser::sgd(5e-4));
    /// let step = StepGraphs::new(&net, &setup)?;
    /// assert!(step.gradients.find_input("lr").is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(net: &Graph, setup: &StepSetup) -> Result<Self, TrainError> {
        let net = StepGraphs::training_form(net, setup)?;
        let found = differentiate(&net, &Request::default())?;
        let mut gradients = found.graph;
        let trained = found.params.iter().map(|&(id, _)| gradients.param(id).name.clone()).collect();
        let update = if setup.gathers() {
            append_accumulation(&mut gradients, &found.params, setup.parts)?;
            let ids: Vec<_> = found.params.iter().map(|&(id, _)| id).collect();
            match setup.optimiser.rule() {
                Some(_) => None,
                None => Some(optimiser::update_graph(&gradients, &ids, &setup.optimiser)?),
            }
        } else {
            append_updates(&mut gradients, &found.params, &setup.optimiser)?;
            None
        };
        Ok(StepGraphs { gradients, update, trained })
    }

    /// `net` for a part of a step, with its losses and nothing else.
    pub(crate) fn training_form(net: &Graph, setup: &StepSetup) -> Result<Graph, TrainError> {
        let options = TrainingOptions { frozen_statistics: setup.frozen_statistics };
        let net = net.with_batch(setup.part)?.for_training_with(options)?;
        let net = match (&setup.pairs, net.losses().is_empty(), setup.soft) {
            (Some(pairs), ..) => with_pair_losses(&net, pairs, setup.smoothing)?,
            (None, true, false) => net.with_classifier_loss(setup.smoothing)?,
            (None, true, true) => with_soft_loss(&net, setup.smoothing)?,
            (None, false, false) => with_accuracy(net)?,
            (None, false, true) => {
                return Err(TrainError::setting(format!(
                    "{} has losses of its own; mixed images and weights of classes need a plain classifier",
                    net.name
                )));
            }
        };
        // All losses, those of auxiliary heads too.
        let losses = net.losses().iter().map(|loss| loss.name.as_str());
        let scores = net.find_output(TOP1).map(|_| TOP1);
        Ok(net.prune(&losses.chain(scores).collect::<Vec<_>>())?)
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
    feed: Feed,
    /// The losses that are told, and how much each counts.
    losses: Vec<(String, f64)>,
    has_score: bool,
    setup: StepSetup,
    seed: u64,
    /// Of a step that is cut in two.
    gathered: Option<Gathered>,
    averages: Option<Averages>,
}

impl Stepper {
    /// Plans the step and takes its memory. `seed` decides the dropout masks, together with the step.
    pub fn new(net: &Graph, setup: StepSetup, seed: u64, options: &Options) -> Result<Self, TrainError> {
        let graphs = StepGraphs::new(net, &setup)?;
        let feed = Feed::of(&graphs.gradients)?;
        let options = &setup.on(options);
        let gradients = Session::new(&graphs.gradients, options)?;
        let update = graphs.update.as_ref().map(|graph| Session::new(graph, options)).transpose()?;
        let gather = || Gathered::new(&graphs.gradients, &graphs.trained, &setup.optimiser);
        let gathered = setup.gathers().then(gather);
        let averages = setup.ema.map(|decay| Averages::of(&gradients.weights(), decay));
        let losses = told_losses(&graphs.gradients);
        let has_score = graphs.gradients.find_output(TOP1).is_some();
        let trained = graphs.trained;
        Ok(Stepper { gradients, update, feed, losses, has_score, setup, seed, gathered, averages, trained })
    }

    /// Sets weights, statistics and, if there is any, the optimiser's state (which is zero at first).
    pub fn load(&mut self, weights: &Weights, state: &Weights) -> Result<(), TrainError> {
        self.gradients.load(weights)?;
        if let Some(update) = &mut self.update {
            update.load(weights)?;
        }
        if let Some(decay) = self.setup.ema {
            let mut averages = Averages::of(&self.gradients.weights(), decay);
            averages.load(state);
            self.averages = Some(averages);
        }
        if let Some(gathered) = &mut self.gathered {
            gathered.load(&self.setup.optimiser, state);
        }
        if self.setup.optimiser.rule().is_some() {
            return Ok(());
        }
        let keeper = self.update.as_mut().unwrap_or(&mut self.gradients);
        // What is absent begins at zero, also when this is not the first load.
        for (name, tensor) in keeper.state() {
            match state.get(&name) {
                Some(kept) => keeper.set_param(&name, kept.data())?,
                None => keeper.set_param(&name, &vec![0.0; tensor.data().len()])?,
            }
        }
        Ok(())
    }

    /// Weights and statistics.
    pub fn weights(&self) -> Weights {
        self.gradients.weights()
    }

    /// Weights and statistics as they are validated: their averages, where those are kept.
    pub fn judged(&self) -> Weights {
        self.averages.as_ref().map_or_else(|| self.weights(), Averages::weights)
    }

    /// The optimiser's memory, and averages. Accumulated gradients are not among it: between steps they are zero.
    pub fn state(&self) -> Weights {
        let mut state = self.update.as_ref().unwrap_or(&self.gradients).state();
        state.retain(|name, _| !name.starts_with(GRADIENT));
        if let Some(gathered) = &self.gathered {
            state.extend(gathered.state(&self.setup.optimiser));
        }
        if let Some(averages) = &self.averages {
            state.extend(averages.state());
        }
        state
    }

    /// The first parameter, in the network's order, that holds a number which is not finite.
    pub fn first_not_finite(&self) -> Option<&str> {
        // A sum of zeros is zero; a zero times what is not finite is not a number.
        let is_finite = |x: &[f32]| x.iter().map(|x| x * 0.0).sum::<f32>() == 0.0;
        let broken = |name: &&String| self.gradients.param(name).is_ok_and(|values| !is_finite(values));
        self.trained.iter().find(broken).map(String::as_str)
    }

    /// Bytes of the step's plans, and of what stands beside them.
    pub fn planned_bytes(&self) -> usize {
        let plans = self.gradients.planned_bytes() + self.update.as_ref().map_or(0, Session::planned_bytes);
        let beside = self.gathered.as_ref().map_or(0, Gathered::bytes);
        plans + beside + self.averages.as_ref().map_or(0, Averages::bytes)
    }

    /// Sets the shares of the classes `(part, C)` that the next part's images are to be taken for.
    pub fn set_targets(&mut self, targets: &[f32]) -> Result<(), TrainError> {
        Ok(self.gradients.set_input(TARGET, targets)?)
    }

    /// How many images go into the network together.
    pub fn images(&self) -> usize {
        self.feed.images()
    }

    /// Computes part `part` (from 0) of the step `at`; after the last part the parameters are updated.
    ///
    /// `images` are `(part, C, H, W)`, `labels` class indices `(part)`; of pairs and triplets first all first images, then
    /// all second ones, and so on.
    pub fn part(&mut self, at: At, part: usize, images: &[f32], labels: &[f32]) -> Result<Seen, TrainError> {
        self.feed.set(&mut self.gradients, images, labels)?;
        self.gradients.set_random(self.seed, at.step * self.setup.parts as u64 + part as u64);
        if self.gathered.is_none() {
            set_clock(&mut self.gradients, &self.setup.optimiser, at)?;
        }
        self.gradients.run();
        let mut loss = 0.0;
        for (name, weight) in &self.losses {
            loss += weight * scalar(&self.gradients, name)?;
        }
        let top1 = if self.has_score { scalar(&self.gradients, TOP1)? } else { 0.0 };
        let seen = Seen { loss, top1 };
        if part + 1 == self.setup.parts {
            self.finish(at)?;
        }
        Ok(seen)
    }

    /// Updates the parameters from gathered gradients, and the averages from the parameters.
    fn finish(&mut self, at: At) -> Result<(), TrainError> {
        let Stepper { gradients, update, setup, gathered, averages, .. } = self;
        if let Some(gathered) = gathered {
            gathered.take(gradients)?;
            gathered.clip(&setup.clip);
            match update {
                Some(update) => {
                    set_clock(update, &setup.optimiser, at)?;
                    gathered.update_by(update, gradients)?;
                }
                None => gathered.adapt(gradients, &setup.optimiser, at.rate, at.step + 1)?,
            }
        }
        match averages {
            Some(averages) => averages.follow(gradients, at.step),
            None => Ok(()),
        }
    }
}

/// The loss called `loss` if there is one (those beside it are auxiliary), else all of them.
fn told_losses(graph: &Graph) -> Vec<(String, f64)> {
    let losses = graph.losses();
    match losses.iter().any(|loss| loss.name == LOSS) {
        true => vec![(LOSS.into(), 1.0)],
        false => losses.iter().map(|loss| (loss.name.clone(), f64::from(loss.weight))).collect(),
    }
}

/// A network with losses of its own, with the share of right answers if it gives class scores and reads labels.
fn with_accuracy(mut net: Graph) -> Result<Graph, TrainError> {
    let (Some(scores), Some(label)) = (net.find_output(OUTPUT), net.find_input(LABEL)) else {
        return Ok(net);
    };
    let fits = matches!(*net.shape(scores).dims(), [rows, _] if net.shape(label).dims() == [rows]);
    if fits && net.find_output(TOP1).is_none() && net.find_node(TOP1).is_none() {
        let top1 = net.add_node(TOP1, Op::Accuracy(Accuracy { top: 1 }), vec![scores, label])?[0];
        net.add_output(TOP1, top1);
    }
    Ok(net)
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
