//! Batch normalisation (Ioffe and Szegedy 2015).

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

/// The gradient of [`BatchNorm`].
///
/// Inputs: x, dy, gamma (if affine), mean `(C)`, var `(C)` (those that normalised).
/// Outputs: dx, dgamma `(C)`, dbeta `(C)`. With [`Statistics::Running`] mean and var are constants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormGrad {
    /// The normalisation this is a gradient of.
    pub norm: BatchNorm,
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
