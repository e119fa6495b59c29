//! What does a node cost?

use std::ops::{Add, AddAssign};

use ocellus_tensor::Shape;

use crate::ops::geometry_macs;
use crate::{Graph, NodeId, Op, Role};

/// Bytes of one number in `f32`.
const BYTES: u64 = size_of::<f32>() as u64;

/// What one run of one node, or of several, costs in `f32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Cost {
    /// Multiply-accumulates of convolutions and linear layers, and of their gradients; all else counts as none.
    pub macs: u64,
    /// Bytes of all inputs.
    pub bytes_read: u64,
    /// Bytes of all outputs, and of parameters written in place.
    pub bytes_written: u64,
}

impl Add for Cost {
    type Output = Cost;
    fn add(self, other: Cost) -> Cost {
        Cost {
            macs: self.macs.saturating_add(other.macs),
            bytes_read: self.bytes_read.saturating_add(other.bytes_read),
            bytes_written: self.bytes_written.saturating_add(other.bytes_written),
        }
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Cost) {
        *self = *self + other;
    }
}

impl Op {
    /// The cost for inputs and outputs of these shapes.
    pub fn cost(&self, inputs: &[&Shape], outputs: &[&Shape]) -> Cost {
        let bytes = |shapes: &[&Shape]| -> u64 {
            let each = shapes.iter().map(|shape| (shape.elements() as u64).saturating_mul(BYTES));
            each.fold(0, u64::saturating_add)
        };
        let (mut bytes_read, mut bytes_written) = (bytes(inputs), bytes(outputs));
        if let Op::Reshape(_) = self {
            // The numbers stay where they are.
            (bytes_read, bytes_written) = (0, 0);
        }
        let written_in_place = bytes(&inputs[..self.writes().min(inputs.len())]);
        bytes_written = bytes_written.saturating_add(written_in_place);
        Cost { macs: self.macs(inputs), bytes_read, bytes_written }
    }

    fn macs(&self, inputs: &[&Shape]) -> u64 {
        match self {
            Op::Conv2d(op) => op.macs(inputs),
            Op::Conv2dGradInput(op) => geometry_macs(&op.geometry),
            Op::Conv2dGradWeight(op) => geometry_macs(&op.geometry),
            Op::ConvTranspose2d(op) => op.macs(inputs),
            Op::Linear(op) => op.macs(inputs),
            Op::LinearGradInput(op) => op.macs(inputs),
            Op::LinearGradWeight(op) => op.macs(inputs),
            _ => 0,
        }
    }
}

impl Graph {
    /// The cost of one node.
    pub fn node_cost(&self, id: NodeId) -> Cost {
        let node = self.node(id);
        let inputs: Vec<&Shape> = node.inputs.iter().map(|&input| self.shape(input)).collect();
        let outputs: Vec<&Shape> = node.outputs.iter().map(|&output| self.shape(output)).collect();
        node.op.cost(&inputs, &outputs)
    }

    /// The cost of all nodes together.
    pub fn cost(&self) -> Cost {
        let nodes = (0..self.nodes().len()).map(|index| self.node_cost(NodeId(index as u32)));
        nodes.fold(Cost::default(), Add::add)
    }

    /// How many numbers the network's parameters of this role hold; shared ones count once.
    pub fn parameter_count(&self, role: Role) -> usize {
        let kept = self.params().iter().filter(|param| param.role == role);
        kept.map(|param| param.shape.elements()).fold(0, usize::saturating_add)
    }
}
