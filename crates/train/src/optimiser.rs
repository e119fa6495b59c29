//! How do gradients change parameters?
//!
//! An optimiser is nodes: [`append_updates`] adds one update node per trained parameter to a differentiated graph,
//! with the optimiser's memory as `State` parameters beside the weights (`velocity/NAME`; `first/NAME` and
//! `second/NAME`), and the learning rate as the scalar input [`RATE`]. So the planner sees the whole step.
//!
//! For batches larger than memory a step has two graphs: [`append_accumulation`] ends the first with
//! `gradient/NAME += gradient / parts`, and [`update_graph`] is the second, which reads those sums.

use ocellus_graph::ops::{Accumulate, AdamUpdate, MuonUpdate, SgdUpdate};
use ocellus_graph::{Graph, GraphError, Init, Op, Param, ParamId, ParamSpec, Role, ValueId};
use ocellus_tensor::Shape;
use serde::{Deserialize, Serialize};

use crate::TrainError;
use crate::adaptive::{AdaptiveStep, Rule};

/// The scalar input that carries the learning rate.
pub const RATE: &str = "lr";
/// The scalar input that carries the optimiser step, counted from 1 (AdamW only).
pub const STEP: &str = "step";
/// Prefix of the accumulated gradients' names.
pub const GRADIENT: &str = "gradient/";

/// An optimiser and its constants.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Optimiser {
    /// Stochastic gradient descent with momentum (see [`SgdUpdate`] for the formula).
    Sgd {
        /// Share of the old velocity kept; 0 needs no velocity.
        momentum: f32,
        /// Look ahead along the velocity.
        nesterov: bool,
        /// Factor of the L2 penalty.
        weight_decay: f32,
        /// Leave parameters of rank 1 (biases, BatchNorm's gamma and beta) without decay. Off by default: plain SGD
        /// decays all parameters, as PyTorch's does.
        no_decay_on_bias_and_norm: bool,
    },
    /// Adam with decoupled weight decay (see [`AdamUpdate`] for the formula).
    #[serde(rename = "adamw")]
    AdamW {
        /// Decay of the first moment.
        beta1: f32,
        /// Decay of the second moment.
        beta2: f32,
        /// Added to the root of the second moment.
        eps: f32,
        /// Decoupled weight decay, multiplied by the learning rate.
        weight_decay: f32,
        /// Leave parameters of rank 1 without decay. On by default, as AdamW's recipes have it.
        no_decay_on_bias_and_norm: bool,
    },
    /// Muon for convolution kernels (see [`MuonUpdate`] for the formula), Nesterov SGD for all else: biases, norms,
    /// fully connected layers, and depthwise kernels, which are no matrices.
    Muon {
        /// Share of the old velocity kept.
        momentum: f32,
        /// Decoupled weight decay, multiplied by the learning rate.
        weight_decay: f32,
        /// SGD's rate, as a multiple of the learning rate.
        sgd_rate: f32,
        /// SGD's momentum.
        sgd_momentum: f32,
        /// SGD's L2 penalty.
        sgd_weight_decay: f32,
        /// Leave parameters of rank 1 without decay.
        #[serde(default, skip_serializing_if = "is_false")]
        no_decay_on_bias_and_norm: bool,
    },
    /// A rule with rates of its own for numbers or parameters (see [`Rule`]).
    Adaptive {
        /// Which one.
        rule: Rule,
        /// Share of the old first moment or velocity kept.
        momentum: f32,
        /// Share of the old second moment kept.
        decay: f32,
        /// Added to roots.
        eps: f32,
        /// LARS's and LAMB's factor of a parameter's length.
        trust: f32,
        /// Weight decay.
        weight_decay: f32,
        /// Leave parameters of rank 1 without decay.
        no_decay_on_bias_and_norm: bool,
    },
}

fn is_false(x: &bool) -> bool {
    !x
}

impl Optimiser {
    /// SGD with Nesterov momentum 0.9 and this weight decay on all parameters.
    pub fn sgd(weight_decay: f32) -> Self {
        Optimiser::Sgd { momentum: 0.9, nesterov: true, weight_decay, no_decay_on_bias_and_norm: false }
    }

    /// AdamW with beta 0.9 and 0.999, eps 1e-8 and this weight decay on parameters of rank 2 and more.
    pub fn adamw(weight_decay: f32) -> Self {
        Optimiser::AdamW {
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay,
            no_decay_on_bias_and_norm: true,
        }
    }

    /// Muon with momentum 0.95 and this weight decay; SGD for the rest, with 5 times the rate, momentum 0.9 and decay
    /// 5e-4.
    pub fn muon(weight_decay: f32) -> Self {
        Optimiser::Muon {
            momentum: 0.95,
            weight_decay,
            sgd_rate: 5.0,
            sgd_momentum: 0.9,
            sgd_weight_decay: 5e-4,
            no_decay_on_bias_and_norm: false,
        }
    }

    /// An adaptive rule with the constants of its paper (RMSProp's share is 0.99, as PyTorch's), and this weight decay
    /// on parameters of rank 2 and more.
    pub fn adaptive(rule: Rule, weight_decay: f32) -> Self {
        let (decay, eps, trust) = match rule {
            Rule::Adam => (0.999, 1e-8, 0.0),
            Rule::RmsProp => (0.99, 1e-8, 0.0),
            Rule::AdaGrad => (0.0, 1e-10, 0.0),
            Rule::AdaDelta => (0.9, 1e-6, 0.0),
            Rule::Lars => (0.0, 0.0, 0.001),
            Rule::Lamb => (0.999, 1e-6, 1.0),
        };
        Optimiser::Adaptive {
            rule,
            momentum: 0.9,
            decay,
            eps,
            trust,
            weight_decay,
            no_decay_on_bias_and_norm: true,
        }
    }

    /// The rule, if it is an adaptive one.
    pub fn rule(&self) -> Option<Rule> {
        match *self {
            Optimiser::Adaptive { rule, .. } => Some(rule),
            _ => None,
        }
    }

    /// Momentum, 0 where there is none to choose.
    pub fn momentum(&self) -> f32 {
        match *self {
            Optimiser::Sgd { momentum, .. } | Optimiser::Muon { momentum, .. } => momentum,
            Optimiser::Adaptive { rule: Rule::Lars, momentum, .. } => momentum,
            _ => 0.0,
        }
    }

    /// Weight decay.
    pub fn weight_decay_mut(&mut self) -> &mut f32 {
        let (Optimiser::Sgd { weight_decay, .. }
        | Optimiser::AdamW { weight_decay, .. }
        | Optimiser::Muon { weight_decay, .. }
        | Optimiser::Adaptive { weight_decay, .. }) = self;
        weight_decay
    }

    /// Whether biases and norms have no decay.
    pub fn spares_norms_mut(&mut self) -> &mut bool {
        let (Optimiser::Sgd { no_decay_on_bias_and_norm, .. }
        | Optimiser::AdamW { no_decay_on_bias_and_norm, .. }
        | Optimiser::Muon { no_decay_on_bias_and_norm, .. }
        | Optimiser::Adaptive { no_decay_on_bias_and_norm, .. }) = self;
        no_decay_on_bias_and_norm
    }

    /// The constants of an adaptive rule for a parameter of this rank; rate and step are yet to be set.
    pub(crate) fn adaptive_step(&self, rank: usize, decay_mult: f32) -> Option<AdaptiveStep> {
        let Optimiser::Adaptive {
            rule,
            momentum,
            decay,
            eps,
            trust,
            weight_decay,
            no_decay_on_bias_and_norm,
        } = *self
        else {
            return None;
        };
        let spared = no_decay_on_bias_and_norm && rank < 2;
        Some(AdaptiveStep {
            rule,
            rate: 0.0,
            step: 0,
            momentum: momentum.into(),
            decay: decay.into(),
            eps: eps.into(),
            weight_decay: if spared { 0.0 } else { f64::from(weight_decay * decay_mult) },
            trust: if rank < 2 { 0.0 } else { trust.into() },
        })
    }

    /// Checks the constants, which may come from a file or a command line.
    pub fn validate(&self) -> Result<(), TrainError> {
        let share = |x: f32| (0.0..1.0).contains(&x);
        let fault = |what: &str, value: f32, range: &str| {
            Err(TrainError::setting(format!("the optimiser's {what} must lie {range}, got {value}")))
        };
        let (Optimiser::Sgd { weight_decay, .. }
        | Optimiser::AdamW { weight_decay, .. }
        | Optimiser::Muon { weight_decay, .. }
        | Optimiser::Adaptive { weight_decay, .. }) = *self;
        if !(0.0..f32::INFINITY).contains(&weight_decay) {
            return fault("weight decay", weight_decay, "at or above 0");
        }
        match *self {
            Optimiser::Sgd { momentum, .. }
            | Optimiser::Muon { momentum, .. }
            | Optimiser::Adaptive { momentum, .. }
                if !share(momentum) =>
            {
                fault("momentum", momentum, "between 0 and 1")
            }
            Optimiser::Adaptive { decay, .. } if !share(decay) => {
                fault("share of old squares", decay, "between 0 and 1")
            }
            Optimiser::Adaptive { eps, trust, .. } if !(eps >= 0.0 && (0.0..1e3).contains(&trust)) => {
                fault("eps or trust", eps.min(trust), "at or above 0")
            }
            Optimiser::AdamW { beta1, .. } if !share(beta1) => fault("beta1", beta1, "between 0 and 1"),
            Optimiser::AdamW { beta2, .. } if !share(beta2) => fault("beta2", beta2, "between 0 and 1"),
            Optimiser::Muon { sgd_momentum, .. } if !share(sgd_momentum) => {
                fault("momentum of SGD", sgd_momentum, "between 0 and 1")
            }
            Optimiser::Muon { sgd_rate, .. } if !(0.0..f32::INFINITY).contains(&sgd_rate) => {
                fault("rate of SGD", sgd_rate, "at or above 0")
            }
            Optimiser::Muon { sgd_weight_decay, .. } if !(0.0..f32::INFINITY).contains(&sgd_weight_decay) => {
                fault("weight decay of SGD", sgd_weight_decay, "at or above 0")
            }
            Optimiser::AdamW { eps, .. } if !(eps > 0.0 && eps.is_finite()) => fault("eps", eps, "above 0"),
            _ => Ok(()),
        }
    }

    /// Whether the graph has the input [`STEP`].
    pub fn needs_step(&self) -> bool {
        matches!(self, Optimiser::AdamW { .. })
    }

    /// The update node of `param`: its operation, and the names of the state it keeps.
    fn update_of(&self, param: &Param) -> (Op, Vec<&'static str>) {
        let (lr_mult, decay_mult) = (param.lr_mult, param.decay_mult);
        // Biases, and BatchNorm's gamma and beta, have rank 1.
        let decay_of = |decay: f32, spared: bool| match spared && param.shape.rank() < 2 {
            true => 0.0,
            false => decay * decay_mult,
        };
        match *self {
            Optimiser::Sgd { momentum, nesterov, weight_decay, no_decay_on_bias_and_norm } => {
                let weight_decay = decay_of(weight_decay, no_decay_on_bias_and_norm);
                sgd(SgdUpdate { momentum, nesterov, weight_decay, lr_mult })
            }
            Optimiser::AdamW { beta1, beta2, eps, weight_decay, no_decay_on_bias_and_norm } => {
                let weight_decay = decay_of(weight_decay, no_decay_on_bias_and_norm);
                let op = AdamUpdate { beta1, beta2, eps, weight_decay, lr_mult };
                (Op::AdamUpdate(op), vec!["first/", "second/"])
            }
            Optimiser::Muon { momentum, weight_decay, .. } if is_matrix(&param.shape) => {
                let op = MuonUpdate { momentum, weight_decay: weight_decay * decay_mult, lr_mult };
                (Op::MuonUpdate(op), vec!["velocity/"])
            }
            Optimiser::Muon {
                sgd_rate, sgd_momentum, sgd_weight_decay, no_decay_on_bias_and_norm, ..
            } => sgd(SgdUpdate {
                momentum: sgd_momentum,
                nesterov: true,
                weight_decay: decay_of(sgd_weight_decay, no_decay_on_bias_and_norm),
                lr_mult: lr_mult * sgd_rate,
            }),
            // Computed outside graphs: this is never asked for (`StepSetup::gathers`), and harmless if it were.
            Optimiser::Adaptive { .. } => {
                sgd(SgdUpdate { momentum: 0.0, nesterov: false, weight_decay: 0.0, lr_mult })
            }
        }
    }
}

fn sgd(update: SgdUpdate) -> (Op, Vec<&'static str>) {
    let state = if update.momentum == 0.0 { vec![] } else { vec!["velocity/"] };
    (Op::SgdUpdate(update), state)
}

/// Whether this is the kernel of a convolution that mixes channels.
fn is_matrix(shape: &Shape) -> bool {
    shape.rank() == 4 && shape[1] > 1
}

/// Adds an update node per parameter to `graph`, for `gradients` as differentiation returns them.
///
/// The graph gets the scalar input [`RATE`] and, for AdamW, [`STEP`]. Fails if it has inputs of those names.
pub fn append_updates(
    graph: &mut Graph,
    gradients: &[(ParamId, ValueId)],
    optimiser: &Optimiser,
) -> Result<(), GraphError> {
    let rate = graph.add_input(RATE, Shape::scalar())?;
    let mut clock = vec![rate];
    if optimiser.needs_step() {
        clock.push(graph.add_input(STEP, Shape::scalar())?);
    }
    for &(param, gradient) in gradients {
        let param = graph.param(param).clone();
        let (op, state) = optimiser.update_of(&param);
        let mut inputs = vec![param.value];
        for prefix in state {
            inputs.push(add_state(graph, prefix, &param)?);
        }
        inputs.push(gradient);
        inputs.extend(&clock);
        graph.add_node(format!("update/{}", param.name), op, inputs)?;
    }
    Ok(())
}

/// Ends `graph` with `gradient/NAME += gradient / parts` for each of `gradients`: a step's gradient is the mean over
/// its parts.
pub fn append_accumulation(
    graph: &mut Graph,
    gradients: &[(ParamId, ValueId)],
    parts: usize,
) -> Result<(), GraphError> {
    let op = Op::Accumulate(Accumulate { scale: 1.0 / parts as f32 });
    for &(param, gradient) in gradients {
        let param = graph.param(param).clone();
        let sum = add_state(graph, GRADIENT, &param)?;
        graph.add_node(format!("accumulate/{}", param.name), op.clone(), vec![sum, gradient])?;
    }
    Ok(())
}

/// The second graph of an accumulated step: the trained parameters of `graph`, their accumulated gradients, and an
/// update node for each.
pub fn update_graph(graph: &Graph, trained: &[ParamId], optimiser: &Optimiser) -> Result<Graph, GraphError> {
    let mut update = Graph::new(format!("{} update", graph.name));
    let mut gradients = Vec::with_capacity(trained.len());
    for &id in trained {
        let param = graph.param(id);
        update.add_param(spec(param.name.clone(), param, Role::Weight))?;
        let own = update.find_param(&param.name).expect("added on the line before");
        update.param_mut(own).lr_mult = param.lr_mult;
        update.param_mut(own).decay_mult = param.decay_mult;
        let copy = update.param(own).clone();
        gradients.push((own, add_state(&mut update, GRADIENT, &copy)?));
    }
    append_updates(&mut update, &gradients, optimiser)?;
    Ok(update)
}

fn add_state(graph: &mut Graph, prefix: &str, like: &Param) -> Result<ValueId, GraphError> {
    graph.add_param(spec(format!("{prefix}{}", like.name), like, Role::State))
}

fn spec(name: String, like: &Param, role: Role) -> ParamSpec {
    ParamSpec { name, shape: like.shape.clone(), init: Init::Constant(0.0), role }
}
