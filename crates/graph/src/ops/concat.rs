//! Tensors laid end to end.

use ocellus_tensor::Shape;

use super::{Refusal, expect};

/// Inputs: one or more tensors that agree on every axis but `axis`. Output: them end to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Concat {
    /// The axis along which they are joined (1 = channels).
    pub axis: usize,
}

impl Concat {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let [first, rest @ ..] = inputs else {
            return Err("needs at least 1 input, got 0".into());
        };
        expect::axis(self.axis, first)?;
        let mut size = first[self.axis];
        for (i, next) in rest.iter().enumerate() {
            if next.rank() != first.rank() || next.with(self.axis, first[self.axis]) != **first {
                let which = i + 1;
                return Err(format!(
                    "input 0 has shape {first}, input {which} has {next}: they may differ only on axis {}",
                    self.axis
                ));
            }
            size = size.checked_add(next[self.axis]).ok_or("the joined axis is too long to count")?;
        }
        Ok(vec![first.with(self.axis, size)])
    }
}
