//! What training does to parameters: ordinary nodes that write the parameters they read first.

use ocellus_tensor::Shape;

use super::{Refusal, expect};

/// `sum += scale * gradient`. Inputs: sum (parameter, written), gradient. No outputs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Accumulate {
    /// Factor, 1 / number of parts for a mean.
    pub scale: f32,
}

impl Accumulate {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let [sum, gradient] = expect::inputs(inputs, ["sum", "gradient"])?;
        expect::same(sum, "sum", gradient, "gradient")?;
        Ok(vec![])
    }
}

/// Stochastic gradient descent with momentum (Sutskever et al. 2013, PyTorch's form):
/// `g = gradient + weight_decay w; v = momentum v + g; w -= lr lr_mult (nesterov ? g + momentum v : v)`.
///
/// Inputs: w (parameter, written), velocity (parameter, written; absent if momentum is 0), gradient, lr `()`.
/// No outputs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdUpdate {
    /// Share of the old velocity kept.
    pub momentum: f32,
    /// Look ahead.
    pub nesterov: bool,
    /// L2 penalty's factor.
    pub weight_decay: f32,
    /// Multiplies lr.
    pub lr_mult: f32,
}

impl SgdUpdate {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let (w, gradient, lr) = if self.momentum == 0.0 {
            let [w, gradient, lr] = expect::inputs(inputs, ["w", "gradient", "lr"])?;
            (w, gradient, lr)
        } else {
            let [w, velocity, gradient, lr] = expect::inputs(inputs, ["w", "velocity", "gradient", "lr"])?;
            expect::same(w, "w", velocity, "velocity")?;
            (w, gradient, lr)
        };
        expect::same(w, "w", gradient, "gradient")?;
        expect::scalar(lr, "lr")?;
        Ok(vec![])
    }
}

/// AdamW (Kingma and Ba 2015; decay decoupled after Loshchilov and Hutter 2019):
/// `m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2; w -= lr lr_mult ((m / (1-b1^t)) / (sqrt(v / (1-b2^t)) + eps) + decay w)`.
///
/// Inputs: w, m, v (parameters, written), gradient, lr `()`, t `()` (the step, from 1). No outputs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamUpdate {
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the root.
    pub eps: f32,
    /// Decoupled weight decay.
    pub weight_decay: f32,
    /// Multiplies lr.
    pub lr_mult: f32,
}

impl AdamUpdate {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let [w, m, v, gradient, lr, t] = expect::inputs(inputs, ["w", "m", "v", "gradient", "lr", "t"])?;
        for (name, shape) in [("m", m), ("v", v), ("gradient", gradient)] {
            expect::same(w, "w", shape, name)?;
        }
        expect::scalar(lr, "lr")?;
        expect::scalar(t, "t")?;
        Ok(vec![])
    }
}

/// Muon (Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"): the momentum's singular
/// values are all brought near 1 before it is taken as the step.
///
/// `v = b v + (1-b) g; u = b v + (1-b) g; w = (1 - lr lr_mult decay) w - lr lr_mult sqrt(max(1, R/C)) O(u)`, where O
/// reads u as the matrix of R = O rows and C = I kh kw columns, and is five Newton-Schulz iterations
/// `X <- 3.4445 X - 4.7750 (X X^T) X + 2.0315 (X X^T)^2 X` from `u / |u|`.
///
/// Inputs: w (parameter of rank 2 or more, written), v (parameter, written), gradient, lr `()`. No outputs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MuonUpdate {
    /// Share of the old velocity kept.
    pub momentum: f32,
    /// Decoupled weight decay.
    pub weight_decay: f32,
    /// Multiplies lr.
    pub lr_mult: f32,
}

impl MuonUpdate {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let [w, velocity, gradient, lr] = expect::inputs(inputs, ["w", "velocity", "gradient", "lr"])?;
        if w.rank() < 2 {
            return Err(format!("muon needs a parameter of rank 2 or more, w has rank {}: {w}", w.rank()));
        }
        expect::same(w, "w", velocity, "velocity")?;
        expect::same(w, "w", gradient, "gradient")?;
        expect::scalar(lr, "lr")?;
        Ok(vec![])
    }
}
