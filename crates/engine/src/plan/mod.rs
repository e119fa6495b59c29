//! What runs, in which order, with which algorithm, and where everything lies: plain data, for one machine, one set
//! of shapes, one precision. A plan can be printed and compared without running; it is never saved.

mod build;
mod chain;
mod display;
mod emit;
mod lowering;
mod memory;
mod narrow;
mod recompute;
mod step;

use ocellus_graph::Role;
use ocellus_kernels::format::Format;
use ocellus_kernels::isa::Isa;
use ocellus_tensor::Shape;

use crate::Precision;

pub use narrow::Narrow;
pub use step::{Channels, Elementwise, Kernel, LossSizes, MOST_OPERANDS, Mask, Per, Reference, Step};

/// Names a buffer within one plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufferId(pub u32);

impl BufferId {
    /// Position in [`Plan::buffers`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// How long a buffer's numbers must stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lifetime {
    /// From run to run: parameters, inputs, weights packed once.
    Persistent,
    /// While parameters are packed: those that no step of a run reads.
    Preparing,
    /// Until the run ends: outputs.
    ToTheEnd,
    /// From the step that writes it first to the step that reads it last.
    Steps,
}

/// A stretch of the arena.
#[derive(Clone, Debug, PartialEq)]
pub struct Buffer {
    /// The value (or purpose) it is for.
    pub name: String,
    /// What its numbers are.
    pub format: Format,
    /// Its length in 32-bit words: one `f32`, two bf16 numbers or four bytes each.
    pub len: usize,
    /// How long it lives.
    pub lifetime: Lifetime,
    /// The buffer of which it is a part, and how many words from that one's start it begins.
    pub inside: Option<(BufferId, usize)>,
    /// Words of one of its maps, if it is in channel blocks; else 0.
    pub map: usize,
    /// Where it begins, in words from the arena's start; buffers that never live at once may share room.
    pub offset: usize,
}

/// A named tensor that is handed in or out.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Its sizes.
    pub shape: Shape,
    /// Where it lies, in row-major order.
    pub buffer: BufferId,
}

/// A parameter and what it is for.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamPort {
    /// Its name, sizes and place.
    pub port: Port,
    /// What it is for.
    pub role: Role,
}

/// The plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The network's name.
    pub graph: String,
    /// Threads it is made for.
    pub threads: usize,
    /// Instructions it is made for.
    pub isa: Isa,
    /// What it computes with where it can.
    pub precision: Precision,
    /// Run once after parameters change from outside.
    pub prepare: Vec<Step>,
    /// Run every time.
    pub steps: Vec<Step>,
    /// All buffers.
    pub buffers: Vec<Buffer>,
    /// Length of the arena, in words of 32 bits.
    pub floats: usize,
    /// What is handed in.
    pub inputs: Vec<Port>,
    /// What is handed out (outputs and losses).
    pub outputs: Vec<Port>,
    /// The parameters.
    pub params: Vec<ParamPort>,
}

impl Plan {
    /// Bytes that parameters, activations and scratch take together: exact, known before the first step.
    pub fn bytes(&self) -> usize {
        self.floats * size_of::<f32>()
    }

    /// Whether every parameter stays where it was put: else all are set at once.
    pub fn keeps_weights(&self) -> bool {
        self.buffers.iter().all(|buffer| buffer.lifetime != Lifetime::Preparing)
    }

    /// Bytes of the buffers that stay from run to run.
    pub fn persistent_bytes(&self) -> usize {
        let persistent = self.buffers.iter().filter(|b| b.lifetime == Lifetime::Persistent);
        persistent.map(|b| memory::aligned(b.len)).sum::<usize>() * size_of::<f32>()
    }
}
