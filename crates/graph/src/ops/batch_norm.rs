//! Batch normalisation (Ioffe and Szegedy 2015).

use ocellus_tensor::Shape;

use crate::autodiff::GradientContext;
use crate::{GraphError, ValueId};

use super::{Op, Refusal, expect};

/// Which mean and variance normalise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Statistics {
    /// The running ones: inference, and frozen BatchNorm while fine-tuning.
    Running,
    /// Those of this batch: training.
    Batch,
}

/// `y = gamma (x - mean) / sqrt(var + eps) + beta`, per channel over N, H and W (biased variance).
///
/// Inputs: x `(N, C, H, W)` or `(N, C)`; gamma `(C)` and beta `(C)` if `affine`; then, with
/// [`Statistics::Running`], running_mean `(C)` and running_var `(C)`.
/// Outputs: y; with [`Statistics::Batch`] also mean `(C)` and var `(C)` of the batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNorm {
    /// Added to the variance.
    pub eps: f32,
    /// Share of the new batch in the running statistics (PyTorch's convention; 0.1 is usual).
    pub momentum: f32,
    /// Whether there are gamma and beta.
    pub affine: bool,
    /// Which statistics normalise.
    pub statistics: Statistics,
}

impl BatchNorm {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let x = self.check(inputs)?;
        let [n, c, h, w] = expect::channels(x, "x")?;
        match self.statistics {
            Statistics::Running => Ok(vec![x.clone()]),
            // One value has no variance, and its unbiased form would divide by zero.
            Statistics::Batch if n == 1 && h == 1 && w == 1 => {
                Err(format!("batch statistics need at least 2 values per channel, x {x} has 1"))
            }
            Statistics::Batch => Ok(vec![x.clone(), Shape::from([c]), Shape::from([c])]),
        }
    }

    pub(super) fn gradient(&self, context: &mut GradientContext) -> Result<Vec<Option<ValueId>>, GraphError> {
        let (x, dy) = (context.input(0), context.dy()?);
        let mut inputs = vec![x, dy];
        if self.affine {
            inputs.push(context.input(1));
        }
        match self.statistics {
            Statistics::Batch => inputs.extend([context.output(1), context.output(2)]),
            Statistics::Running => {
                let first = if self.affine { 3 } else { 1 };
                inputs.extend([context.input(first), context.input(first + 1)]);
            }
        }
        let grad = Op::BatchNormGrad(BatchNormGrad { norm: *self });
        let [dx, dgamma, dbeta] = three(context.add_all("", grad, &inputs)?);
        // The running statistics are gathered, not learned: they get no gradient.
        let mut gradients = vec![dx];
        if self.affine {
            gradients.extend([dgamma, dbeta]);
        }
        gradients.resize(context.inputs().len(), None);
        Ok(gradients)
    }

    /// Checks the count of inputs and the per-channel vectors; gives x.
    fn check<'a>(&self, inputs: &[&'a Shape]) -> Result<&'a Shape, Refusal> {
        const VECTORS: [&str; 4] = ["gamma", "beta", "running_mean", "running_var"];
        let first = if self.affine { 0 } else { 2 };
        let last = if self.statistics == Statistics::Running { 4 } else { 2 };
        let names = &VECTORS[first.min(last)..last];
        let needed = 1 + names.len();
        if inputs.len() != needed {
            let listed: Vec<&str> = std::iter::once("x").chain(names.iter().copied()).collect();
            return Err(format!("needs {needed} inputs ({}), got {}", listed.join(", "), inputs.len()));
        }
        let [_, channels, _, _] = expect::channels(inputs[0], "x")?;
        for (name, shape) in names.iter().zip(&inputs[1..]) {
            expect::vector(shape, name, channels)?;
        }
        Ok(inputs[0])
    }
}

/// A gradient's three outputs.
fn three(outputs: Vec<ValueId>) -> [Option<ValueId>; 3] {
    std::array::from_fn(|slot| outputs.get(slot).copied())
}

/// The gradient of [`BatchNorm`].
///
/// Inputs: x, dy, gamma (if affine), mean `(C)`, var `(C)` (those that normalised).
/// Outputs: dx, dgamma `(C)`, dbeta `(C)`. With [`Statistics::Running`] mean and var are constants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormGrad {
    /// The normalisation this is a gradient of.
    pub norm: BatchNorm,
}

impl BatchNormGrad {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let (x, dy, vectors) = if self.norm.affine {
            let [x, dy, gamma, mean, var] = expect::inputs(inputs, ["x", "dy", "gamma", "mean", "var"])?;
            (x, dy, vec![("gamma", gamma), ("mean", mean), ("var", var)])
        } else {
            let [x, dy, mean, var] = expect::inputs(inputs, ["x", "dy", "mean", "var"])?;
            (x, dy, vec![("mean", mean), ("var", var)])
        };
        let [_, channels, _, _] = expect::channels(x, "x")?;
        expect::same(x, "x", dy, "dy")?;
        for (name, shape) in vectors {
            expect::vector(shape, name, channels)?;
        }
        Ok(vec![x.clone(), Shape::from([channels]), Shape::from([channels])])
    }
}

/// `running = (1 - momentum) running + momentum batch`, the variance first made unbiased by `count / (count - 1)`.
///
/// Inputs: running_mean `(C)`, running_var `(C)` (both parameters, written), mean `(C)`, var `(C)`. No outputs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RunningUpdate {
    /// Share of the new batch.
    pub momentum: f32,
    /// Values per channel in the batch: N H W.
    pub count: usize,
}

impl RunningUpdate {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let names = ["running_mean", "running_var", "mean", "var"];
        let [running_mean, running_var, mean, var] = expect::inputs(inputs, names)?;
        for (name, shape) in [("running_var", running_var), ("mean", mean), ("var", var)] {
            expect::same(running_mean, "running_mean", shape, name)?;
        }
        if self.count < 2 {
            return Err(format!(
                "an unbiased variance needs at least 2 values per channel, count = {}",
                self.count
            ));
        }
        Ok(vec![])
    }
}
