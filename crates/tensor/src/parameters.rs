//! Where do a network's parameters come from? From memory, or from a file that is read when they are needed.

use crate::{Shape, Weights};

/// Tensors by name, whose numbers can be put wherever they are needed, a part at a time and by several threads at once.
pub trait Parameters: Sync {
    /// All names, in order.
    fn names(&self) -> Vec<&str>;

    /// The sizes of tensor `name`; `None` if there is none.
    fn shape(&self, name: &str) -> Option<&Shape>;

    /// Fills `out` with the numbers of tensor `name` from its `start`th on, in row-major order.
    ///
    /// Errors, as a sentence without its end: there is no such part, or the file that holds it cannot be read.
    fn read(&self, name: &str, start: usize, out: &mut [f32]) -> Result<(), String>;
}

impl Parameters for Weights {
    fn names(&self) -> Vec<&str> {
        self.keys().map(String::as_str).collect()
    }

    fn shape(&self, name: &str) -> Option<&Shape> {
        self.get(name).map(|tensor| tensor.shape())
    }

    fn read(&self, name: &str, start: usize, out: &mut [f32]) -> Result<(), String> {
        let part = self.get(name).and_then(|tensor| tensor.data().get(start..)?.get(..out.len()));
        let part =
            part.ok_or_else(|| format!("there are no {} numbers from number {start} on", out.len()))?;
        out.copy_from_slice(part);
        Ok(())
    }
}

/// The first's tensors, and the second's where the first has none of that name.
pub struct Layered<'a>(pub &'a dyn Parameters, pub &'a dyn Parameters);

impl Layered<'_> {
    fn owner(&self, name: &str) -> &dyn Parameters {
        if self.0.shape(name).is_some() { self.0 } else { self.1 }
    }
}

impl Parameters for Layered<'_> {
    fn names(&self) -> Vec<&str> {
        let mut names = [self.0.names(), self.1.names()].concat();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn shape(&self, name: &str) -> Option<&Shape> {
        self.owner(name).shape(name)
    }

    fn read(&self, name: &str, start: usize, out: &mut [f32]) -> Result<(), String> {
        self.owner(name).read(name, start, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tensor;

    #[test]
    fn parts_are_found_and_nothing_beyond_them() {
        let first = Weights::from([("a".to_string(), Tensor::full([2], 1.0))]);
        let second = Weights::from(["a", "b"].map(|name| (name.to_string(), Tensor::full([3], 2.0))));
        let both = Layered(&first, &second);
        assert_eq!((both.names(), both.shape("a").unwrap().dims()), (vec!["a", "b"], &[2_usize][..]));
        let mut out = [0.0; 2];
        both.read("a", 0, &mut out).unwrap();
        assert_eq!(out, [1.0; 2]);
        both.read("b", 1, &mut out).unwrap();
        assert_eq!(out, [2.0; 2]);
        for (name, start) in [("a", 1), ("b", 2), ("b", usize::MAX), ("c", 0)] {
            assert!(both.read(name, start, &mut out).is_err(), "{name} from {start}");
        }
    }
}
