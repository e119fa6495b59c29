//! What a model leaves open, and what its file is called.

use std::collections::BTreeMap;

use ocellus_tensor::Tensor;

/// What is to be known when a model is read beyond the model itself.
///
/// Sizes that a model leaves free (a dynamic batch) have to be chosen: the first axis of an input is 1 unless told
/// otherwise, any other free size has to be given, either by the input's whole shape or by the size's own name.
#[derive(Clone, Debug, Default)]
pub struct ReadOptions {
    /// Whole shapes of inputs by name; they may differ from the model's where its sizes are free.
    pub shapes: BTreeMap<String, Vec<usize>>,
    /// Free sizes by name: `("batch_size", 8)`.
    pub sizes: BTreeMap<String, usize>,
    /// Inputs that are no inputs of the network but known now: shapes, axes, indices that a model leaves to its caller.
    pub values: BTreeMap<String, Tensor<f64>>,
    /// What errors call the model; its path is used if it is read from one.
    pub file: Option<String>,
}

impl ReadOptions {
    /// The same, where the input `name` has this shape.
    pub fn shape(mut self, name: impl Into<String>, shape: impl Into<Vec<usize>>) -> Self {
        self.shapes.insert(name.into(), shape.into());
        self
    }

    /// The same, where the free size `name` is `size`.
    pub fn size(mut self, name: impl Into<String>, size: usize) -> Self {
        self.sizes.insert(name.into(), size);
        self
    }

    /// The same, where the input `name` is known to be `value`.
    pub fn value(mut self, name: impl Into<String>, value: Tensor<f64>) -> Self {
        self.values.insert(name.into(), value);
        self
    }
}
