//! What may a plan use?

use std::sync::Arc;

use ocellus_kernels::isa::Isa;

use crate::Ranges;

/// The machine a plan is made for, and its limits.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Threads to compute with. Results are the same to the bit for any number.
    pub threads: usize,
    /// Instructions to use; by default the best this machine has.
    pub isa: Isa,
    /// Bytes that parameters and activations together may take; a plan that needs more is refused.
    pub memory_limit: Option<usize>,
    /// Never trade rounding for speed: no Winograd convolutions, whose error is up to 2e-4 of a layer's largest number.
    pub exact: bool,
    /// Planned bytes from which on activations that are one pass over memory away are computed again for the backward
    /// pass instead of kept: it changes no bit, and costs a percent or two of a step.
    pub recompute_above: usize,
    /// Keep the parameters of an inference plan as they were handed in, beside the packed ones that convolutions read, so
    /// that they can be read and changed one by one. Without, such a plan needs about a third less memory, and its
    /// parameters can only be set all at once, by [`crate::Session::load`].
    pub keep_weights: bool,
    /// Run every operation on its reference kernel: slow, obvious, the definition of right. Always in `f32`.
    pub reference: bool,
    /// What a plan computes with. Bytes are for inference alone: a training plan with them computes in `f32`.
    pub precision: Precision,
}

/// The numbers that activations and weights are held in while a network runs. Parameters, inputs and outputs are `f32`
/// in any case, and so is what has no narrow kernel.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Precision {
    /// IEEE single precision.
    #[default]
    F32,
    /// The upper half of an `f32`, products summed in `f32`. In training, convolutions and their gradients multiply such
    /// numbers; parameters, sums, losses, statistics and updates are `f32`.
    Bf16,
    /// Bytes for activations, by these ranges, and 8-bit weights; products summed in 32-bit integers. Values without a
    /// range stay `f32`.
    Int8(Arc<Ranges>),
}

impl Precision {
    /// "f32", "bf16" or "int8".
    pub fn name(&self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
            Precision::Int8(_) => "int8",
        }
    }
}

impl Default for Options {
    /// All of this machine: one thread per available core, its best instructions, no memory limit.
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Options {
            threads,
            isa: Isa::detect(),
            memory_limit: None,
            exact: false,
            recompute_above: 512 << 20,
            keep_weights: true,
            reference: false,
            precision: Precision::F32,
        }
    }
}

impl Options {
    /// The same with this precision.
    pub fn with_precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// The same for a network whose parameters are loaded and never looked at again.
    pub fn without_weights(mut self) -> Self {
        self.keep_weights = false;
        self
    }

    /// The same with this many threads (at least one).
    pub fn with_threads(mut self, threads: usize) -> Self {
        self.threads = threads.max(1);
        self
    }
}
