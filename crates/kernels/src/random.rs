//! Random bits as a pure function of a counter: Philox4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random
//! numbers: as easy as 1, 2, 3", SC 2011, section 3.3).
//!
//! Ten rounds; each multiplies two of the four counter words by constants, keeps the low halves and mixes the high
//! halves with the other two words and the key, which is bumped by constants between rounds. Any element's bits can
//! be had at any time, in any order and on any thread, so a dropout mask need never be stored.

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const KEY_BUMPS: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// A family of 2^128 blocks of four random words, chosen by a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Philox {
    key: [u32; 2],
}

impl Philox {
    /// The family of this key.
    pub const fn new(key: u64) -> Self {
        Philox { key: [key as u32, (key >> 32) as u32] }
    }

    /// The four random words of block `counter`.
    pub const fn block(&self, counter: [u32; 4]) -> [u32; 4] {
        let mut c = counter;
        let mut k = self.key;
        let mut round = 0;
        while round < 10 {
            let p0 = MULTIPLIERS[0] as u64 * c[0] as u64;
            let p1 = MULTIPLIERS[1] as u64 * c[2] as u64;
            c = [(p1 >> 32) as u32 ^ c[1] ^ k[0], p1 as u32, (p0 >> 32) as u32 ^ c[3] ^ k[1], p0 as u32];
            k = [k[0].wrapping_add(KEY_BUMPS[0]), k[1].wrapping_add(KEY_BUMPS[1])];
            round += 1;
        }
        c
    }
}

/// The words of one random operation at one step. Their key is itself drawn: the first two words of block `(stream,
/// step)` of the family `seed`.
const fn words_of(seed: u64, step: u64, stream: u64) -> Philox {
    let at = [stream as u32, (stream >> 32) as u32, step as u32, (step >> 32) as u32];
    let [low, high, ..] = Philox::new(seed).block(at);
    Philox::new((high as u64) << 32 | low as u64)
}

/// A number for each element of one random operation at one step: a pure function of (seed, step, stream, element
/// index).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draws {
    words: Philox,
}

impl Draws {
    /// The numbers of this operation at this step.
    pub const fn new(seed: u64, step: u64, stream: u64) -> Self {
        Draws { words: words_of(seed, step, stream) }
    }

    /// Evenly above 0 and up to 1: one more than word `index % 4` of block `(index / 4, 0)`, over 2^32.
    pub fn uniform(&self, index: u64) -> f64 {
        let block = index / 4;
        let word = self.words.block([block as u32, (block >> 32) as u32, 0, 0])[(index % 4) as usize];
        (f64::from(word) + 1.0) / 4_294_967_296.0
    }
}

/// Which elements one dropout keeps at one step: a pure function of (seed, step, stream, element index).
///
/// Element `i` is dropped when word `i % 4` of block `(i / 4, 0)` is below `rate * 2^32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropoutMask {
    words: Philox,
    threshold: u64,
}

impl DropoutMask {
    /// The mask that drops a share `rate` (0 up to but not 1) of the elements.
    pub fn new(rate: f32, seed: u64, step: u64, stream: u64) -> Self {
        let words = words_of(seed, step, stream);
        DropoutMask { words, threshold: (f64::from(rate) * 4_294_967_296.0).round() as u64 }
    }

    /// Whether each of the elements `4 block` to `4 block + 3` is kept.
    pub fn keeps_four(&self, block: u64) -> [bool; 4] {
        let words = self.words.block([block as u32, (block >> 32) as u32, 0, 0]);
        words.map(|word| u64::from(word) >= self.threshold)
    }

    /// Whether element `index` is kept.
    pub fn keeps(&self, index: u64) -> bool {
        self.keeps_four(index / 4)[(index % 4) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_gives_the_published_answers() {
        // Random123's known-answer file kat_vectors, philox4x32 10.
        let zeros = Philox::new(0).block([0; 4]);
        assert_eq!(zeros, [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        let ones = Philox::new(u64::MAX).block([u32::MAX; 4]);
        assert_eq!(ones, [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        let pi = Philox::new(0x299f_31d0_a409_3822);
        let pi = pi.block([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344]);
        assert_eq!(pi, [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
    }

    #[test]
    fn a_mask_drops_its_share_and_depends_on_all_of_its_names() {
        let n = 100_000;
        let share = |mask: DropoutMask| (0..n).filter(|&i| !mask.keeps(i)).count() as f64 / n as f64;
        // Four standard deviations of a binomial share: 4 sqrt(0.3 * 0.7 / 1e5) = 0.0058.
        assert!((share(DropoutMask::new(0.3, 7, 0, 0)) - 0.3).abs() < 0.0058);
        assert_eq!(share(DropoutMask::new(0.0, 7, 0, 0)), 0.0);
        let bits = |seed, step, stream| {
            let mask = DropoutMask::new(0.5, seed, step, stream);
            (0..128).map(|i| mask.keeps(i)).collect::<Vec<_>>()
        };
        let base = bits(1, 2, 3);
        assert_eq!(base, bits(1, 2, 3));
        for other in [bits(0, 2, 3), bits(1, 3, 3), bits(1, 2, 4), bits(1, 3, 2), bits(2, 1, 3)] {
            assert_ne!(base, other);
        }
    }
}
