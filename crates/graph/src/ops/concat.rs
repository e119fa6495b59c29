//! Tensors laid end to end.

/// Inputs: one or more tensors that agree on every axis but `axis`. Output: them end to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Concat {
    /// The axis along which they are joined (1 = channels).
    pub axis: usize,
}
