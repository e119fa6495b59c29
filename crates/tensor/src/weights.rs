//! Parameters by name.

use std::collections::BTreeMap;

use crate::Tensor;

/// A network's parameters: name to numbers, in name order.
pub type Weights = BTreeMap<String, Tensor<f32>>;
