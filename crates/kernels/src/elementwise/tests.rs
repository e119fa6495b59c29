use super::*;
use crate::isa::Isa;
use crate::layout::{BLOCK, blocks};
use crate::threads::ThreadPool;

/// Numbers between -2 and 2 without a pattern that a wrong index could match.
pub(crate) fn noise(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2654435761).wrapping_add(12345);
    let mut next = || {
        state = state.wrapping_mul(1664525).wrapping_add(1013904223);
        (state >> 8) as f32 / (1 << 22) as f32 - 2.0
    };
    (0..len).map(|_| next()).collect()
}

/// The same tensor in the blocked layout, with rubbish in the padding lanes.
pub(crate) fn to_blocked(size: Blocked, plain: &[f32]) -> Vec<f32> {
    let mut blocked = vec![777.0; size.elements()];
    for (i, &v) in plain.iter().enumerate() {
        blocked[blocked_index(size, i)] = v;
    }
    blocked
}

/// Back to the plain layout.
pub(crate) fn to_plain(size: Blocked, blocked: &[f32]) -> Vec<f32> {
    (0..plain_len(size)).map(|i| blocked[blocked_index(size, i)]).collect()
}

pub(crate) fn plain_len(size: Blocked) -> usize {
    size.channels * size.per_channel()
}

/// Where plain element `i` lies in the blocked layout.
pub(crate) fn blocked_index(size: Blocked, i: usize) -> usize {
    let (pixel, rest) = (i % size.pixels(), i / size.pixels());
    let (channel, image) = (rest % size.channels, rest / size.channels);
    ((image * blocks(size.channels) + channel / BLOCK) * size.pixels() + pixel) * BLOCK + channel % BLOCK
}

/// Awkward sizes, small and several parts long.
pub(crate) fn sizes() -> Vec<Blocked> {
    let size = |batch, channels, height, width| Blocked { batch, channels, height, width };
    vec![
        size(1, 1, 1, 1),
        size(2, 3, 5, 7),
        size(5, 17, 1, 1),
        size(3, 20, 12, 11),
        size(4, 50, 8, 8),
        size(1, 16, 70, 65),
        size(45, 33, 9, 11),
        size(7, 150, 7, 7),
    ]
}

/// Runs `kernel` on every ISA and on 1 to 4 threads; checks that the bits do not depend on the threads, and gives
/// each ISA's outputs to `check`.
pub(crate) fn on_all(
    mut kernel: impl FnMut(&ThreadPool, Isa) -> Vec<f32>,
    mut check: impl FnMut(&str, &[f32]),
) {
    let pools: Vec<ThreadPool> = (1..=4).map(ThreadPool::new).collect();
    for isa in Isa::available() {
        let bits = |out: &[f32]| out.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        let first = kernel(&pools[0], isa);
        for pool in &pools[1..] {
            let other = kernel(pool, isa);
            assert!(bits(&first) == bits(&other), "{}: {} threads differ", isa.name(), pool.threads());
        }
        check(isa.name(), &first);
    }
}

/// Asserts that numbers agree within `tolerance` times the larger of 1 and the expected size.
#[track_caller]
pub(crate) fn close(what: &str, actual: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    for (i, (&a, &e)) in actual.iter().zip(expected).enumerate() {
        let error = (f64::from(a) - e).abs() / e.abs().max(1.0);
        assert!(error <= tolerance, "{what}: element {i} is {a}, not {e}");
    }
}

const LENGTHS: [usize; 6] = [1, 15, 16, 100, 16 * 1024 + 3, 70_001];

type Kernel = fn(&ThreadPool, Isa, Source<'_>, &[f32], &mut [f32]);

/// Name, kernel of a (or in place) and b, and what it should give.
type Case = (&'static str, Kernel, fn(f32, f32) -> f32);

#[test]
fn functions_of_two_slices_and_in_place() {
    let cases: [Case; 8] = [
        ("relu", |p, i, a, _, y| relu(p, i, a, y), |a, _| a.max(0.0)),
        ("relu_grad", |p, i, a, b, y| relu_grad(p, i, b, a, y), |a, b| if b > 0.0 { a } else { 0.0 }),
        ("add", add, |a, b| a + b),
        ("sub", sub, |a, b| a - b),
        ("add_relu", add_relu, |a, b| (a + b).max(0.0)),
        ("mul", mul, |a, b| a * b),
        ("scale", |p, i, a, _, y| scale(p, i, 1.5, a, y), |a, _| 1.5 * a),
        (
            "copy",
            |p, i, a, _, y| {
                if let Source::Slice(a) = a {
                    copy(p, i, a, y)
                }
            },
            |a, _| a,
        ),
    ];
    for (name, kernel, want) in cases {
        for len in LENGTHS {
            let (a, b) = (noise(len, 1), noise(len, 2));
            let want: Vec<f32> = a.iter().zip(&b).map(|(&a, &b)| want(a, b)).collect();
            let fresh = |pool: &ThreadPool, isa: Isa| {
                let mut y = vec![f32::NAN; len];
                kernel(pool, isa, Source::Slice(&a), &b, &mut y);
                y
            };
            on_all(fresh, |isa, y| assert_eq!(y, want, "{name} {isa} {len}"));
            let in_place = |pool: &ThreadPool, isa: Isa| {
                let mut y = a.clone();
                kernel(pool, isa, Source::InPlace, &b, &mut y);
                y
            };
            on_all(in_place, |isa, y| assert_eq!(y, want, "{name} in place {isa} {len}"));
        }
    }
}

#[test]
fn axpy_and_fill() {
    for len in LENGTHS {
        let (x, y0) = (noise(len, 1), noise(len, 2));
        let want: Vec<f64> = x.iter().zip(&y0).map(|(&x, &y)| 0.3f32 as f64 * x as f64 + y as f64).collect();
        let kernel = |pool: &ThreadPool, isa: Isa| {
            let mut y = y0.clone();
            axpy(pool, isa, 0.3, &x, &mut y);
            y
        };
        on_all(kernel, |isa, y| close(isa, y, &want, 2e-7));
        let kernel = |pool: &ThreadPool, isa: Isa| {
            let mut y = vec![f32::NAN; len];
            fill(pool, isa, -2.5, &mut y);
            y
        };
        on_all(kernel, |_, y| assert!(y.iter().all(|&y| y == -2.5)));
    }
}

#[test]
fn streamed_outputs_arrive() {
    // Long enough to be written around the caches.
    let len = (13 << 20) + 5;
    let x = noise(len, 3);
    let pool = ThreadPool::new(2);
    let mut y = ocellus_tensor::AlignedBuffer::zeroed(len);
    for isa in Isa::available() {
        y.fill(f32::NAN);
        relu(&pool, isa, Source::Slice(&x), &mut y);
        assert!(x.iter().zip(y.iter()).all(|(x, y)| *y == x.max(0.0)), "{}", isa.name());
    }
}

#[test]
fn relu_keeps_nan() {
    let pool = ThreadPool::new(1);
    for isa in Isa::available() {
        let mut y = [0.0; 3];
        relu(&pool, isa, Source::Slice(&[f32::NAN, -1.0, 2.0]), &mut y);
        assert!(y[0].is_nan() && y[1..] == [0.0, 2.0]);
    }
}

#[test]
fn bias_and_channel_sum_of_blocked_tensors() {
    for size in sizes() {
        let plain = noise(plain_len(size), 4);
        let x = to_blocked(size, &plain);
        let bias = noise(size.channels, 5);
        let channel = |i: usize| i / size.pixels() % size.channels;
        let want: Vec<f64> = plain.iter().enumerate().map(|(i, &x)| (x + bias[channel(i)]) as f64).collect();
        let kernel = |pool: &ThreadPool, isa: Isa| {
            let mut y = vec![f32::NAN; size.elements()];
            bias_add(pool, isa, size, &bias, (&x).into(), &mut y);
            to_plain(size, &y)
        };
        on_all(kernel, |isa, y| close(isa, y, &want, 0.0));
        let mut want = vec![0.0; size.channels];
        plain.iter().enumerate().for_each(|(i, &x)| want[channel(i)] += f64::from(x));
        let kernel = |pool: &ThreadPool, isa: Isa| {
            let mut sums = vec![f32::NAN; size.channels];
            let mut scratch = vec![f32::NAN; channel_sum_scratch_len(size)];
            channel_sum(pool, isa, size, &x, &mut sums, &mut scratch);
            sums
        };
        let magnitude = (size.per_channel() as f64).sqrt();
        on_all(kernel, |isa, sums| close(isa, sums, &want, 6e-7 * magnitude));
    }
}

#[test]
fn bias_and_channel_sum_of_plain_rows() {
    for (rows, columns) in [(1, 1), (3, 17), (5, 16), (130, 50), (700, 100)] {
        let x = noise(rows * columns, 6);
        let bias = noise(columns, 7);
        let want: Vec<f64> = x.iter().enumerate().map(|(i, &x)| (x + bias[i % columns]) as f64).collect();
        let kernel = |pool: &ThreadPool, isa: Isa| {
            let mut y = vec![f32::NAN; x.len()];
            bias_add_plain(pool, isa, &bias, (&x).into(), &mut y);
            let mut in_place = x.clone();
            bias_add_plain(pool, isa, &bias, Source::InPlace, &mut in_place);
            assert_eq!(y, in_place);
            y
        };
        on_all(kernel, |isa, y| close(isa, y, &want, 0.0));
        let mut want = vec![0.0; columns];
        x.iter().enumerate().for_each(|(i, &x)| want[i % columns] += f64::from(x));
        let kernel = |pool: &ThreadPool, isa: Isa| {
            let mut sums = vec![f32::NAN; columns];
            let mut scratch = vec![f32::NAN; channel_sum_plain_scratch_len(rows, columns)];
            channel_sum_plain(pool, isa, &x, &mut sums, &mut scratch);
            sums
        };
        on_all(kernel, |isa, sums| close(isa, sums, &want, 6e-7 * (rows as f64).sqrt()));
    }
}
