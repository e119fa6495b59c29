//! The fully connected layer and its gradients.

/// `y = x w^T + b`.
///
/// Inputs: x `(N, F)`, w `(O, F)`, optionally b `(O)`. Output: y `(N, O)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Linear;

/// `dx = dy w`. Inputs: dy `(N, O)`, w `(O, F)`. Output: dx `(N, F)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinearGradInput;

/// `dw = dy^T x`. Inputs: x `(N, F)`, dy `(N, O)`. Output: dw `(O, F)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinearGradWeight;
