//! Random numbers that depend only on where they are used, never on when.
//!
//! Philox4x32-10 (J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random numbers: as easy as 1, 2, 3",
//! SC 2011, section 3.3) is a keyed bijection of 128-bit counters: ten rounds of two 32x32 multiplications
//! with the key mixed in. The seed is the key; the counter is (block, stream, epoch, sample). So any
//! thread can make the numbers of any sample of any epoch without making those before it.

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: usize = 10;

/// What the numbers are for: different purposes never share numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Stream {
    /// The order of the samples in an epoch.
    Shuffle = 1,
    /// The augmentation of one sample in one epoch.
    Augment = 2,
    /// The division of a flat data set into training and validation parts.
    Split = 3,
    /// The choice of the images that statistics are taken from.
    Statistics = 4,
    /// Whether a sample is first mirrored in the first epoch or in the second.
    Mirror = 5,
    /// How the images of one batch are mixed.
    Mix = 6,
    /// The changes to colours and shape of one sample in one epoch.
    Alter = 7,
    /// Inputs that a network is tried with.
    Trial = 8,
    /// The other images of one pair or triplet in one epoch.
    Companions = 9,
    /// Which classes validate, where whole classes do.
    Classes = 10,
}

/// A counter-based generator for one (seed, stream, epoch, sample).
///
/// ```
/// use ocellus_data::{Rng, Stream};
/// let mut a = Rng::new(7, Stream::Augment, 3, 1000);
/// let mut b = Rng::new(7, Stream::Augment, 3, 1000);
/// assert_eq!(a.next_u32(), b.next_u32());
/// ```
#[derive(Debug, Clone)]
pub struct Rng {
    key: [u32; 2],
    /// (block, stream, epoch, sample); `block` counts up.
    counter: [u32; 4],
    block: [u32; 4],
    used: usize,
}

impl Rng {
    /// The generator for this place.
    pub fn new(seed: u64, stream: Stream, epoch: u32, sample: u32) -> Self {
        Self {
            key: [seed as u32, (seed >> 32) as u32],
            counter: [0, stream as u32, epoch, sample],
            block: [0; 4],
            used: 4,
        }
    }

    /// The next 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.used == 4 {
            self.block = philox(self.counter, self.key);
            self.counter[0] = self.counter[0].wrapping_add(1);
            self.used = 0;
        }
        self.used += 1;
        self.block[self.used - 1]
    }

    /// A number in `[0, 1)`, a multiple of 2^-24.
    pub fn uniform(&mut self) -> f32 {
        (self.next_u32() >> 8) as f32 / (1 << 24) as f32
    }

    /// A number in `[low, high)`; `low` when the two are equal.
    pub fn range(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.uniform()
    }

    /// An integer in `0..bound`, each equally likely (D. Lemire, "Fast random integer generation in an
    /// interval", 2019). A bound of 0 gives 0.
    pub fn below(&mut self, bound: u32) -> u32 {
        if bound == 0 {
            return 0;
        }
        let threshold = bound.wrapping_neg() % bound;
        loop {
            let product = u64::from(self.next_u32()) * u64::from(bound);
            if product as u32 >= threshold {
                return (product >> 32) as u32;
            }
        }
    }

    /// True half of the time.
    pub fn coin(&mut self) -> bool {
        self.next_u32() >> 31 == 1
    }

    /// Puts the items in a random order (Fisher and Yates). At most 2^32 items.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            let j = self.below(u32::try_from(i + 1).unwrap_or(u32::MAX)) as usize;
            items.swap(i, j);
        }
    }
}

fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for round in 0..ROUNDS {
        if round > 0 {
            key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
        }
        let p0 = u64::from(MULTIPLIERS[0]) * u64::from(counter[0]);
        let p1 = u64::from(MULTIPLIERS[1]) * u64::from(counter[2]);
        counter = [
            (p1 >> 32) as u32 ^ counter[1] ^ key[0],
            p1 as u32,
            (p0 >> 32) as u32 ^ counter[3] ^ key[1],
            p0 as u32,
        ];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers published with the paper's library (Random123, kat_vectors).
    #[test]
    fn philox_gives_the_published_answers() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox([!0; 4], [!0; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        let pi = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        let key = [0xa409_3822, 0x299f_31d0];
        assert_eq!(philox(pi, key), [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
    }

    #[test]
    fn below_is_even_and_in_range() {
        let mut rng = Rng::new(1, Stream::Shuffle, 0, 0);
        let mut counts = [0; 9];
        for _ in 0..90_000 {
            counts[rng.below(9) as usize] += 1;
        }
        assert!(counts.iter().all(|&c| (9_600..10_400).contains(&c)), "{counts:?}");
        assert_eq!(rng.below(0), 0);
    }

    #[test]
    fn places_differ() {
        let first = |seed, stream, epoch, sample| Rng::new(seed, stream, epoch, sample).next_u32();
        let base = first(1, Stream::Augment, 2, 3);
        assert_ne!(base, first(1 << 32, Stream::Augment, 2, 3));
        assert_ne!(base, first(1, Stream::Shuffle, 2, 3));
        assert_ne!(base, first(1, Stream::Augment, 3, 3));
        assert_ne!(base, first(1, Stream::Augment, 2, 4));
    }
}
