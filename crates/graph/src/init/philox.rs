//! Random bits as a function of a counter and a key, with no state between calls: Philox4x32-10.
//!
//! Ten rounds; in each, two of the four counter words are multiplied, high halves are mixed with the others and the
//! key, and the key is stepped. Source: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3",
//! SC 2011, section 3.3. (The engine's dropout has its own copy: kernels and graph do not know each other.)

const MULTIPLIERS: [u64; 2] = [0xD251_1F53, 0xCD9E_8D57];
const KEY_STEPS: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// Four random words for a counter under a key.
pub(super) fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let [a, b, c, d] = counter;
        let (product_a, product_c) = (MULTIPLIERS[0] * u64::from(a), MULTIPLIERS[1] * u64::from(c));
        let (high_a, high_c) = ((product_a >> 32) as u32, (product_c >> 32) as u32);
        counter = [high_c ^ b ^ key[0], product_c as u32, high_a ^ d ^ key[1], product_a as u32];
        key = [key[0].wrapping_add(KEY_STEPS[0]), key[1].wrapping_add(KEY_STEPS[1])];
    }
    counter
}

/// The random numbers of one parameter: a function of (seed, parameter name, element, attempt) alone.
#[derive(Clone, Copy)]
pub(super) struct Stream {
    key: [u32; 2],
    name: u64,
}

impl Stream {
    pub fn new(seed: u64, name: &str) -> Self {
        Stream { key: [seed as u32, (seed >> 32) as u32], name: fnv1a(name) }
    }

    /// Two numbers, even in 0..1; another pair for each `pair` and attempt.
    fn uniform_pair(&self, pair: usize, attempt: u32) -> [f64; 2] {
        // A parameter of more than 2^48 elements would exceed any memory; the attempts have the 16 bits above.
        let position = pair as u64 | u64::from(attempt) << 48;
        let counter = [position as u32, (position >> 32) as u32, self.name as u32, (self.name >> 32) as u32];
        let [a, b, c, d] = philox(counter, self.key);
        [unit(a, b), unit(c, d)]
    }

    /// Two independent numbers of the standard normal distribution (Box and Muller 1958).
    fn normal_pair(&self, pair: usize, attempt: u32) -> [f64; 2] {
        let [radius, angle] = self.uniform_pair(pair, attempt);
        // 1 - radius is never 0, whose logarithm does not exist.
        let radius = (-2.0 * (1.0 - radius).ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * angle).sin_cos();
        [radius * cos, radius * sin]
    }

    /// A number even in 0..1 for this element.
    pub fn uniform(&self, element: usize) -> f64 {
        self.uniform_pair(element / 2, 0)[element % 2]
    }

    /// Standard normal numbers for elements 0, 1, 2, ...
    pub fn normals(self) -> impl FnMut(usize) -> f64 {
        let mut pair = [0.0; 2];
        move |element| {
            // Elements are asked for in order, so one pair serves two of them.
            if element.is_multiple_of(2) {
                pair = self.normal_pair(element / 2, 0);
            }
            pair[element % 2]
        }
    }

    /// Standard normal numbers for elements 0, 1, 2, ..., each redrawn until it lies within two standard deviations.
    pub fn truncated_normals(self) -> impl FnMut(usize) -> f64 {
        let mut first = self.normals();
        move |element| {
            // One in twenty is redrawn, so that all attempts fail has a chance of 20^-65536.
            let again =
                (1..=u32::from(u16::MAX)).map(|attempt| self.normal_pair(element / 2, attempt)[element % 2]);
            std::iter::once(first(element)).chain(again).find(|draw| draw.abs() <= 2.0).unwrap_or(0.0)
        }
    }
}

/// The upper 53 of 64 bits as a number in 0..1.
fn unit(high: u32, low: u32) -> f64 {
    let bits = (u64::from(high) << 32 | u64::from(low)) >> 11;
    bits as f64 / (1u64 << 53) as f64
}

/// A hash of a name (Fowler, Noll and Vo, variant 1a).
fn fnv1a(name: &str) -> u64 {
    name.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers_of_the_authors() {
        // Random123's kat_vectors, philox4x32 10.
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_E8D5, 0xE169_C58D, 0xBC57_AC4C, 0x9B00_DBD8]);
        let ones = philox([u32::MAX; 4], [u32::MAX; 2]);
        assert_eq!(ones, [0x408F_276D, 0x41C8_3B0E, 0xA20B_C7C6, 0x6D54_51FD]);
        let counter = [0x243F_6A88, 0x85A3_08D3, 0x1319_8A2E, 0x0370_7344];
        let pi = philox(counter, [0xA409_3822, 0x299F_31D0]);
        assert_eq!(pi, [0xD16C_FE09, 0x94FD_CCEB, 0x5001_E420, 0x2412_6EA1]);
    }

    #[test]
    fn moments_are_those_of_the_distributions() {
        let stream = Stream::new(7, "weight");
        let count = 200_000;
        let moments = |draw: &mut dyn FnMut(usize) -> f64| {
            let draws: Vec<f64> = (0..count).map(draw).collect();
            let mean = draws.iter().sum::<f64>() / count as f64;
            let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count as f64;
            (mean, variance)
        };
        let near = |(mean, variance): (f64, f64), (m, v): (f64, f64)| {
            assert!((mean - m).abs() < 0.01 && (variance - v).abs() < 0.01, "{mean} {variance}");
        };
        near(moments(&mut |i| stream.uniform(i)), (0.5, 1.0 / 12.0));
        near(moments(&mut stream.normals()), (0.0, 1.0));
        near(moments(&mut stream.truncated_normals()), (0.0, 0.773_7));
    }
}
