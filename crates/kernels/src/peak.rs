//! What could this machine do at best, right now?
//!
//! A kernel's speed means something only against the machine's own limits, taken in the same run: the rate of
//! multiply-adds on registers alone, and the rate of reading memory. Each is the best of several short rounds, for a
//! busy neighbour can only make a round slower.

use std::hint::black_box;
use std::time::Instant;

use ocellus_tensor::AlignedBuffer;

use crate::isa::{Isa, LANES, Simd, VectorOp};
use crate::threads::{SharedMut, ThreadPool};

/// Rounds, of which the best counts.
const ROUNDS: usize = 8;
/// Repetitions of the register loop in a round: some milliseconds.
const REPEATS: usize = 400_000;
/// Accumulators in flight: more than latency times throughput of any CPU so far.
const CHAINS: usize = 12;
/// Numbers read per round: far more than any cache holds.
const READ: usize = 64 << 20;

/// Floating-point operations per second (a multiply-add counts two) of all threads of `pool` together, on registers.
pub fn peak_flops(pool: &ThreadPool, isa: Isa) -> f64 {
    let seconds = best_round(|| {
        pool.run(pool.threads(), &|_| {
            black_box(isa.run(MultiplyAdds));
        })
    });
    let flops = 2 * LANES * CHAINS * REPEATS * pool.threads();
    flops as f64 / seconds
}

/// Bytes per second that all threads of `pool` together read from memory beyond the caches.
pub fn memory_read_bandwidth(pool: &ThreadPool, isa: Isa) -> f64 {
    let mut numbers = AlignedBuffer::zeroed(READ);
    let part = READ / pool.threads();
    let shared = SharedMut::new(&mut numbers);
    // Written once, since pages never touched all show the same page of zeros.
    // SAFETY: each thread writes its own part.
    pool.run(pool.threads(), &|thread| unsafe { shared.part(thread * part, part) }.fill(1.0));
    let numbers = &numbers;
    let seconds = best_round(|| {
        pool.run(pool.threads(), &|thread| {
            black_box(isa.run(Sum(&numbers[thread * part..][..part])));
        });
    });
    (pool.threads() * part * size_of::<f32>()) as f64 / seconds
}

fn best_round(mut round: impl FnMut()) -> f64 {
    let time = |()| {
        let start = Instant::now();
        round();
        start.elapsed().as_secs_f64()
    };
    std::iter::repeat_n((), ROUNDS).map(time).fold(f64::INFINITY, f64::min)
}

/// Independent chains of multiply-adds.
struct MultiplyAdds;

impl VectorOp for MultiplyAdds {
    type Output = f32;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let (factor, term) = (s.splat(black_box(0.999)), s.splat(black_box(0.001)));
        // Fewer chains where registers are few, or the loop would measure spills.
        let mut chains = [s.zero(); CHAINS];
        // Each from a number of its own, or the compiler could see that the chains are all one.
        for (i, chain) in chains.iter_mut().enumerate() {
            *chain = s.splat(black_box(i as f32));
        }
        let live = CHAINS.min(S::REGISTERS - 2);
        for _ in 0..REPEATS * CHAINS / live {
            for chain in chains.iter_mut().take(live) {
                *chain = s.fmadd(*chain, factor, term);
            }
        }
        // Every lane, or the compiler leaves out half of a two-register vector.
        chains.into_iter().map(|chain| s.reduce_add(chain)).sum()
    }
}

/// Reads every number.
struct Sum<'a>(&'a [f32]);

impl VectorOp for Sum<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let mut sums = [s.zero(); 4];
        for chunk in self.0.chunks_exact(4 * LANES) {
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum = s.add(*sum, s.load(&chunk[i * LANES..]));
            }
        }
        s.reduce_add(s.add(s.add(sums[0], sums[1]), s.add(sums[2], sums[3])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peaks_are_positive() {
        let pool = ThreadPool::new(1);
        for isa in Isa::available() {
            // Little under emulation.
            assert!(peak_flops(&pool, isa) > 1e5, "{}", isa.name());
        }
    }
}
