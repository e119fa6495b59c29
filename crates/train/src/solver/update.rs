//! Caffe's update rules.
//!
//! With g the gradient of the loss (its mean over `iter_size` batches), d the decay times the parameter's own, r the
//! rate times the parameter's own, w the weight; L2: g += d w, L1: g += d sign(w). In this order:
//!
//! ```text
//! clip        all g *= clip / |all g| where that is below 1
//! SGD         h = r g + m h                                 w -= h
//! Nesterov    h' = r g + m h                                w -= (1 + m) h' - m h
//! AdaGrad     h += g^2                                      w -= r g / (sqrt h + delta)
//! RMSProp     h = a h + (1 - a) g^2                         w -= r g / (sqrt h + delta)
//! AdaDelta    h = m h + (1 - m) g^2                         u = g sqrt((k + delta) / (h + delta))
//!             k = m k + (1 - m) u^2                         w -= r u
//! Adam        h = m h + (1 - m) g, k = b k + (1 - b) g^2    w -= r sqrt(1 - b^t) / (1 - m^t) h / (sqrt k + delta)
//! ```
//!
//! Source: the papers of these methods as Caffe's `sgd_solver.cpp` and its sisters compute them.

use ocellus_engine::Session;
use ocellus_formats::caffe::{Method, Regularization, Solver};
use ocellus_graph::{Graph, Op, Role};
use ocellus_tensor::{Shape, Tensor, Weights};

use crate::TrainError;

/// The output that holds the gradient of a parameter.
pub(super) fn gradient_of(param: &str) -> String {
    format!("gradient of {param}")
}

/// One of Caffe's learnable blobs, in its order.
struct Slot {
    /// The parameter; `None` for a BatchNorm's factor, which is none here.
    name: Option<String>,
    shape: Shape,
    lr_mult: f32,
    decay_mult: f32,
    /// The gradient gathered so far; empty if it has none.
    gradient: Vec<f32>,
    /// The method's memory, one or two lists.
    memory: [Vec<f32>; 2],
}

/// Parameters, their gradients and the method's memory.
pub(super) struct Updater {
    slots: Vec<Slot>,
    /// How many lists of memory the method has.
    lists: usize,
}

impl Updater {
    /// `trained` are the parameters that have a gradient.
    /// `constants` are no blobs of Caffe's.
    pub fn new(solver: &Solver, graph: &Graph, trained: Vec<String>, constants: &Weights) -> Self {
        let lists = if matches!(solver.method, Method::AdaDelta | Method::Adam) { 2 } else { 1 };
        let mut slots = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for node in graph.nodes() {
            let mut params: Vec<_> = node.inputs.iter().filter_map(|&value| graph.param_of(value)).collect();
            // Caffe's BatchNorm has its statistics and a factor, then comes the Scale.
            if matches!(node.op, Op::BatchNorm(_)) {
                let statistics = 2.min(params.len());
                params.rotate_right(statistics);
            }
            for (i, id) in params.into_iter().enumerate() {
                let param = graph.param(id);
                if constants.contains_key(&param.name) || !seen.insert(id) {
                    continue;
                }
                let has_gradient = trained.contains(&param.name);
                let count = param.shape.elements();
                slots.push(Slot {
                    name: Some(param.name.clone()),
                    shape: param.shape.clone(),
                    lr_mult: if param.role == Role::Weight { param.lr_mult } else { 0.0 },
                    decay_mult: param.decay_mult,
                    gradient: if has_gradient { vec![0.0; count] } else { Vec::new() },
                    memory: [vec![0.0; count], if lists == 2 { vec![0.0; count] } else { Vec::new() }],
                });
                if matches!(node.op, Op::BatchNorm(_)) && i == 1 {
                    slots.push(Slot {
                        name: None,
                        shape: [1].into(),
                        lr_mult: 0.0,
                        decay_mult: 0.0,
                        gradient: Vec::new(),
                        memory: [vec![0.0], vec![0.0; lists - 1]],
                    });
                }
            }
        }
        Updater { slots, lists }
    }

    /// How many numbers are learned.
    pub fn learned(&self) -> usize {
        self.slots.iter().map(|slot| slot.gradient.len()).sum()
    }

    /// Adds the gradients that the session has just computed.
    pub fn gather(&mut self, session: &Session) -> Result<(), TrainError> {
        for slot in self.slots.iter_mut().filter(|slot| !slot.gradient.is_empty()) {
            let Some(name) = &slot.name else { continue };
            let now = session.output(&gradient_of(name))?;
            slot.gradient.iter_mut().zip(now).for_each(|(sum, g)| *sum += g);
        }
        Ok(())
    }

    /// Updates the session's parameters and forgets the gradients.
    pub fn update(
        &mut self,
        session: &mut Session,
        solver: &Solver,
        iteration: usize,
    ) -> Result<(), TrainError> {
        self.clip(solver);
        let rate = solver.learning_rate(iteration);
        for slot in self.slots.iter_mut().filter(|slot| !slot.gradient.is_empty()) {
            let Some(name) = &slot.name else { continue };
            let mut weights = session.param(name)?.to_vec();
            let rule = Rule::new(solver, rate * slot.lr_mult, iteration);
            let decay = solver.weight_decay * slot.decay_mult;
            let [first, second] = &mut slot.memory;
            for (i, w) in weights.iter_mut().enumerate() {
                let mut g = slot.gradient[i] / solver.iter_size as f32;
                g += match solver.regularization {
                    Regularization::L2 => decay * *w,
                    Regularization::L1 if *w == 0.0 => 0.0,
                    Regularization::L1 => decay * w.signum(),
                };
                *w -= rule.step(g, &mut first[i], second.get_mut(i));
            }
            slot.gradient.fill(0.0);
            session.set_param(name, &weights)?;
        }
        Ok(())
    }

    fn clip(&mut self, solver: &Solver) {
        let Some(limit) = solver.clip_gradients else { return };
        let all = self.slots.iter().flat_map(|slot| &slot.gradient);
        let norm = all.map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt() as f32;
        if norm > limit {
            let share = limit / norm;
            self.slots.iter_mut().flat_map(|slot| &mut slot.gradient).for_each(|g| *g *= share);
        }
    }

    /// The memory as Caffe's `history`: the first list of every blob, then the second.
    pub fn history(&self) -> Vec<Tensor> {
        let lists = (0..self.lists).flat_map(|list| self.slots.iter().map(move |slot| (slot, list)));
        lists
            .filter_map(|(slot, list)| Tensor::new(slot.shape.clone(), slot.memory[list].clone()).ok())
            .collect()
    }

    /// Takes a `history`; a sentence if it is another network's or another method's.
    pub fn load(&mut self, history: Vec<Tensor>) -> Result<(), String> {
        let wanted = self.slots.len() * self.lists;
        if history.len() != wanted {
            return Err(format!("its history has {} blobs, this solver needs {wanted}", history.len()));
        }
        for (i, tensor) in history.into_iter().enumerate() {
            let (slot, list) = (i % self.slots.len(), i / self.slots.len());
            let slot = &mut self.slots[slot];
            if tensor.shape().elements() != slot.shape.elements() {
                let name = slot.name.as_deref().unwrap_or("a BatchNorm's factor");
                return Err(format!("its blob {i} has shape {}, {name} has {}", tensor.shape(), slot.shape));
            }
            slot.memory[list].copy_from_slice(tensor.data());
        }
        Ok(())
    }
}

/// A method with its constants, for one parameter at one iteration.
struct Rule {
    method: Method,
    rate: f32,
    momentum: f32,
    momentum2: f32,
    rms_decay: f32,
    delta: f32,
}

impl Rule {
    fn new(solver: &Solver, rate: f32, iteration: usize) -> Self {
        let mut rule = Rule {
            method: solver.method,
            rate,
            momentum: solver.momentum,
            momentum2: solver.momentum2,
            rms_decay: solver.rms_decay,
            delta: solver.delta,
        };
        if solver.method == Method::Adam {
            let t = iteration as f64 + 1.0;
            let power = |base: f32| f64::from(base).powf(t);
            rule.rate *= ((1.0 - power(solver.momentum2)).sqrt() / (1.0 - power(solver.momentum))) as f32;
        }
        rule
    }

    /// What is subtracted from the weight whose gradient is `g`; its memory moves on.
    fn step(&self, g: f32, h: &mut f32, k: Option<&mut f32>) -> f32 {
        let (rate, m) = (self.rate, self.momentum);
        match (self.method, k) {
            (Method::Sgd, _) => {
                *h = rate * g + m * *h;
                *h
            }
            (Method::Nesterov, _) => {
                let before = *h;
                *h = rate * g + m * before;
                (1.0 + m) * *h - m * before
            }
            (Method::AdaGrad, _) => {
                *h += g * g;
                rate * g / (h.sqrt() + self.delta)
            }
            (Method::RmsProp, _) => {
                *h = self.rms_decay * *h + (1.0 - self.rms_decay) * g * g;
                rate * g / (h.sqrt() + self.delta)
            }
            (Method::AdaDelta, Some(k)) => {
                *h = m * *h + (1.0 - m) * g * g;
                let u = g * ((*k + self.delta) / (*h + self.delta)).sqrt();
                *k = m * *k + (1.0 - m) * u * u;
                rate * u
            }
            (Method::Adam, Some(k)) => {
                *h = m * *h + (1.0 - m) * g;
                *k = self.momentum2 * *k + (1.0 - self.momentum2) * g * g;
                rate * *h / (k.sqrt() + self.delta)
            }
            // Both of these always have a second list.
            (Method::AdaDelta | Method::Adam, None) => 0.0,
        }
    }
}
