//! Activations, arithmetic, dropout, softmax and reductions.

use super::Builder;
use crate::ops::{Activation, Binary, BinaryKind, Dropout, Reduce, ReduceKind, Softmax};
use crate::{Op, ValueId};

impl Builder {
    /// An elementwise function.
    pub fn activation(&mut self, name: &str, x: ValueId, activation: Activation) -> ValueId {
        self.node(name, Op::Activation(activation), &[x])
    }

    /// max(x, 0).
    pub fn relu(&mut self, name: &str, x: ValueId) -> ValueId {
        self.activation(name, x, Activation::Relu)
    }

    /// 1 / (1 + e^-x).
    pub fn sigmoid(&mut self, name: &str, x: ValueId) -> ValueId {
        self.activation(name, x, Activation::Sigmoid)
    }

    /// Hyperbolic tangent.
    pub fn tanh(&mut self, name: &str, x: ValueId) -> ValueId {
        self.activation(name, x, Activation::Tanh)
    }

    /// `scale` x + `shift`, both fixed.
    pub fn affine(&mut self, name: &str, x: ValueId, scale: f32, shift: f32) -> ValueId {
        self.activation(name, x, Activation::Affine { scale, shift })
    }

    /// Dropout, inactive until [`crate::Graph::for_training`].
    pub fn dropout(&mut self, name: &str, x: ValueId, rate: f32) -> ValueId {
        let stream = self.dropouts;
        self.dropouts += 1;
        self.node(name, Op::Dropout(Dropout { rate, active: false, stream }), &[x])
    }

    /// a + b, broadcast.
    pub fn add(&mut self, name: &str, a: ValueId, b: ValueId) -> ValueId {
        self.binary(name, BinaryKind::Add, [a, b])
    }

    /// a - b, broadcast.
    pub fn sub(&mut self, name: &str, a: ValueId, b: ValueId) -> ValueId {
        self.binary(name, BinaryKind::Sub, [a, b])
    }

    /// a * b, broadcast.
    pub fn mul(&mut self, name: &str, a: ValueId, b: ValueId) -> ValueId {
        self.binary(name, BinaryKind::Mul, [a, b])
    }

    /// a / b, broadcast.
    pub fn div(&mut self, name: &str, a: ValueId, b: ValueId) -> ValueId {
        self.binary(name, BinaryKind::Div, [a, b])
    }

    /// The larger of a and b, broadcast.
    pub fn maximum(&mut self, name: &str, a: ValueId, b: ValueId) -> ValueId {
        self.binary(name, BinaryKind::Maximum, [a, b])
    }

    pub(super) fn binary(&mut self, name: &str, kind: BinaryKind, operands: [ValueId; 2]) -> ValueId {
        self.node(name, Op::Binary(Binary { kind }), &operands)
    }

    /// Softmax over axis 1.
    pub fn softmax(&mut self, name: &str, x: ValueId) -> ValueId {
        self.node(name, Op::Softmax(Softmax { log: false }), &[x])
    }

    /// Logarithm of the softmax over axis 1.
    pub fn log_softmax(&mut self, name: &str, x: ValueId) -> ValueId {
        self.node(name, Op::Softmax(Softmax { log: true }), &[x])
    }

    /// Sums over `axes` (ascending); they stay, of size 1, if `keep`.
    pub fn reduce_sum(&mut self, name: &str, x: ValueId, axes: &[usize], keep: bool) -> ValueId {
        self.reduce(name, x, Reduce { kind: ReduceKind::Sum, axes: axes.to_vec(), keep })
    }

    /// Means over `axes` (ascending); they stay, of size 1, if `keep`.
    pub fn reduce_mean(&mut self, name: &str, x: ValueId, axes: &[usize], keep: bool) -> ValueId {
        self.reduce(name, x, Reduce { kind: ReduceKind::Mean, axes: axes.to_vec(), keep })
    }

    /// The largest elements over `axes` (ascending); they stay, of size 1, if `keep`.
    pub fn reduce_max(&mut self, name: &str, x: ValueId, axes: &[usize], keep: bool) -> ValueId {
        self.reduce(name, x, Reduce { kind: ReduceKind::Max, axes: axes.to_vec(), keep })
    }

    fn reduce(&mut self, name: &str, x: ValueId, reduce: Reduce) -> ValueId {
        self.node(name, Op::Reduce(reduce), &[x])
    }
}
