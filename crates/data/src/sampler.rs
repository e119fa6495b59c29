//! The order of the samples in an epoch, and their division into batches.

use crate::rng::{Rng, Stream};

/// Orders `len` samples and divides them into batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampler {
    /// The number of samples, below 2^32.
    pub len: usize,
    /// Samples in a batch, at least 1.
    pub batch: usize,
    /// Whether each epoch has a random order of its own; else the samples keep theirs.
    pub shuffle: bool,
    /// Whether a last batch that is not full is left out.
    pub drop_last: bool,
    /// The seed of the orders.
    pub seed: u64,
}

impl Sampler {
    /// The order of the samples in an epoch, a function of the seed, the epoch and the number of samples.
    pub fn order(&self, epoch: u32) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.len as u32).collect();
        if self.shuffle {
            Rng::new(self.seed, Stream::Shuffle, epoch, 0).shuffle(&mut order);
        }
        order
    }

    /// How many batches an epoch has.
    pub fn batches(&self) -> usize {
        let batch = self.batch.max(1);
        if self.drop_last { self.len / batch } else { self.len.div_ceil(batch) }
    }

    /// Which places of the order a batch takes.
    pub fn range(&self, batch: usize) -> std::ops::Range<usize> {
        let start = batch.saturating_mul(self.batch).min(self.len);
        start..start.saturating_add(self.batch).min(self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLER: Sampler = Sampler { len: 1000, batch: 64, shuffle: true, drop_last: false, seed: 5 };

    #[test]
    fn an_order_is_a_permutation_of_its_epoch() {
        let order = SAMPLER.order(3);
        assert_eq!(order, SAMPLER.order(3));
        assert_ne!(order, SAMPLER.order(4));
        assert_ne!(order, Sampler { seed: 6, ..SAMPLER }.order(3));
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..1000).collect::<Vec<_>>());
        assert_eq!(Sampler { shuffle: false, ..SAMPLER }.order(3), sorted);
    }

    #[test]
    fn batches_cover_the_order() {
        assert_eq!(SAMPLER.batches(), 16);
        assert_eq!(SAMPLER.range(15), 960..1000);
        assert_eq!(SAMPLER.range(16), 1000..1000);
        assert_eq!(Sampler { drop_last: true, ..SAMPLER }.batches(), 15);
        assert_eq!(Sampler { len: 0, ..SAMPLER }.batches(), 0);
    }
}
