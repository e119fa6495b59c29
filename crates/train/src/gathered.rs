//! What becomes of a step's gradients once all its parts have given theirs?
//!
//! ```text
//! gather gradient/NAME -> clip -> the update graph, or an adaptive rule -> new weights back to the gradients' graph
//! ```
//!
//! Clipping needs all gradients before the first update, so a step that clips is cut in two as one in parts is.

use ocellus_engine::Session;
use ocellus_graph::Graph;
use ocellus_tensor::{Shape, Tensor, Weights};

use crate::TrainError;
use crate::adaptive::{AdaptiveStep, length};
use crate::optimiser::{GRADIENT, Optimiser};

/// Limits of gradients.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Clip {
    /// Longest Euclidean length of all gradients together.
    pub norm: Option<f32>,
    /// Largest number of any gradient.
    pub value: Option<f32>,
}

impl Clip {
    /// Whether there is no limit.
    pub fn is_none(&self) -> bool {
        *self == Clip::default()
    }
}

/// One parameter that is trained.
struct Slot {
    name: String,
    /// `gradient/NAME`.
    sum: String,
    shape: Shape,
    gradient: Vec<f32>,
    lr_mult: f32,
    decay_mult: f32,
    /// Of adaptive rules: the weights for the time of an update, and the rule's lists.
    weights: Vec<f32>,
    memory: [Vec<f32>; 2],
}

/// The gradients of all trained parameters, and the memory of adaptive rules.
pub struct Gathered {
    slots: Vec<Slot>,
    zeros: Vec<f32>,
}

impl Gathered {
    /// For the parameters `trained` of `graph`.
    pub fn new(graph: &Graph, trained: &[String], optimiser: &Optimiser) -> Self {
        let lists = optimiser.rule().map_or(0, |rule| rule.state().len());
        let params = trained.iter().filter_map(|name| graph.find_param(name).map(|id| graph.param(id)));
        let slots: Vec<Slot> = params
            .map(|param| {
                let count = param.shape.elements();
                let list = |index: usize| vec![0.0; if index < lists { count } else { 0 }];
                Slot {
                    name: param.name.clone(),
                    sum: format!("{GRADIENT}{}", param.name),
                    shape: param.shape.clone(),
                    gradient: vec![0.0; count],
                    lr_mult: param.lr_mult,
                    decay_mult: param.decay_mult,
                    weights: list(0),
                    memory: [list(0), list(1)],
                }
            })
            .collect();
        let longest = slots.iter().map(|slot| slot.gradient.len()).max().unwrap_or(0);
        Gathered { slots, zeros: vec![0.0; longest] }
    }

    /// Takes the sums out of `session`, which begins anew.
    pub fn take(&mut self, session: &mut Session) -> Result<(), TrainError> {
        for slot in &mut self.slots {
            slot.gradient.copy_from_slice(session.param(&slot.sum)?);
            session.set_param(&slot.sum, &self.zeros[..slot.gradient.len()])?;
        }
        Ok(())
    }

    /// Brings the gradients within `clip`: first each number, then the length of all.
    pub fn clip(&mut self, clip: &Clip) {
        if let Some(limit) = clip.value {
            let all = self.slots.iter_mut().flat_map(|slot| &mut slot.gradient);
            all.for_each(|g| *g = if g.is_nan() { *g } else { g.clamp(-limit, limit) });
        }
        if let Some(limit) = clip.norm {
            let squares = self.slots.iter().map(|slot| length(&slot.gradient).powi(2));
            let norm = squares.sum::<f64>().sqrt();
            if norm > f64::from(limit) {
                let share = (f64::from(limit) / norm) as f32;
                self.slots.iter_mut().flat_map(|slot| &mut slot.gradient).for_each(|g| *g *= share);
            }
        }
    }

    /// Hands the gradients to the update graph, runs it, and carries the weights to `session`.
    pub fn update_by(&mut self, update: &mut Session, session: &mut Session) -> Result<(), TrainError> {
        for slot in &self.slots {
            update.set_param(&slot.sum, &slot.gradient)?;
        }
        update.run();
        for slot in &self.slots {
            session.set_param(&slot.name, update.param(&slot.name)?)?;
        }
        Ok(())
    }

    /// Updates the weights in `session` by the adaptive rule of `optimiser`.
    pub fn adapt(
        &mut self,
        session: &mut Session,
        optimiser: &Optimiser,
        rate: f32,
        step: u64,
    ) -> Result<(), TrainError> {
        for slot in &mut self.slots {
            let Some(recipe) = optimiser.adaptive_step(slot.shape.rank(), slot.decay_mult) else {
                return Ok(());
            };
            let recipe = AdaptiveStep { rate: f64::from(rate) * f64::from(slot.lr_mult), step, ..recipe };
            slot.weights.copy_from_slice(session.param(&slot.name)?);
            let [second, first] = &mut slot.memory;
            recipe.run(&slot.gradient, &mut slot.weights, second, first);
            session.set_param(&slot.name, &slot.weights)?;
        }
        Ok(())
    }

    /// The rules' memory, to be kept.
    pub fn state(&self, optimiser: &Optimiser) -> Weights {
        let prefixes = optimiser.rule().map_or(&[][..], |rule| rule.state());
        let mut state = Weights::new();
        for slot in &self.slots {
            for (prefix, list) in prefixes.iter().zip(&slot.memory) {
                if let Ok(tensor) = Tensor::new(slot.shape.clone(), list.clone()) {
                    state.insert(format!("{prefix}{}", slot.name), tensor);
                }
            }
        }
        state
    }

    /// Goes on with memory that was kept.
    pub fn load(&mut self, optimiser: &Optimiser, state: &Weights) {
        let prefixes = optimiser.rule().map_or(&[][..], |rule| rule.state());
        for slot in &mut self.slots {
            for (prefix, list) in prefixes.iter().zip(&mut slot.memory) {
                match state.get(&format!("{prefix}{}", slot.name)) {
                    Some(kept) if kept.data().len() == list.len() => list.copy_from_slice(kept.data()),
                    _ => list.fill(0.0),
                }
            }
        }
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        let lists = self.slots.iter().map(|slot| {
            slot.gradient.len() + slot.weights.len() + slot.memory.iter().map(Vec::len).sum::<usize>()
        });
        size_of::<f32>() * (lists.sum::<usize>() + self.zeros.len())
    }
}
