use super::*;
use crate::conv::Clamp;

/// Batch, inputs, outputs.
const CASES: &[[usize; 3]] = &[
    [1, 1, 1],
    [1, 100, 10],
    [1, 77, 130],
    [2, 16, 16],
    [5, 33, 50],
    [7, 20, 200],
    [17, 64, 31],
    [64, 120, 84],
    [3, 7000, 5],
    [33, 3100, 33],
];

fn numbers(len: usize, seed: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 31 + seed * 17 + i / 7) % 9) as f32 - 4.0).collect()
}

fn fractions(len: usize, seed: usize) -> Vec<f32> {
    (0..len).map(|i| ((i + seed) as f32 * 0.37).sin()).collect()
}

/// All three results for one kind of numbers, at one thread count.
fn compute(
    isa: Isa,
    threads: usize,
    [n, f, o]: [usize; 3],
    make: fn(usize, usize) -> Vec<f32>,
) -> [Vec<f32>; 3] {
    let pool = ThreadPool::new(threads);
    let (x, w, dy) = (make(n * f, 1), make(o * f, 2), make(n * o, 3));
    let (bias, residual, add) = (make(o, 4), make(n * o, 5), make(n * f, 6));
    let (mut y, mut dx, mut dw) = (vec![f32::NAN; n * o], vec![f32::NAN; n * f], vec![f32::NAN; o * f]);

    let forward = LinearForward::new(n, f, o, isa);
    let mut packed = vec![f32::NAN; forward.packed_len()];
    forward.pack(&pool, &w, &mut packed);
    let mut scratch = vec![f32::NAN; forward.scratch_len()];
    let epilogue =
        Epilogue { bias: Some(&bias), residual: Some(&residual), clamp: Some(Clamp::RELU), worth: None };
    forward.run(&pool, &x, &packed, epilogue, &mut scratch, &mut y);

    let input = LinearInputGrad::new(n, f, o, isa);
    let mut packed = vec![f32::NAN; input.packed_len()];
    input.pack(&pool, &w, &mut packed);
    let mut scratch = vec![f32::NAN; input.scratch_len()];
    input.run(&pool, &dy, &packed, Some(&add), &mut scratch, &mut dx);

    let weight = LinearWeightGrad::new(n, f, o, isa);
    let mut scratch = vec![f32::NAN; weight.scratch_len()];
    weight.run(&pool, &x, &dy, &mut scratch, &mut dw);
    [y, dx, dw]
}

/// The same by loop nests in `f64`.
fn expected([n, f, o]: [usize; 3]) -> [Vec<f64>; 3] {
    let of = |len, seed| -> Vec<f64> { numbers(len, seed).into_iter().map(f64::from).collect() };
    let (x, w, dy, bias, mut y, mut dx) =
        (of(n * f, 1), of(o * f, 2), of(n * o, 3), of(o, 4), of(n * o, 5), of(n * f, 6));
    let mut dw = vec![0.0; o * f];
    for i in 0..n {
        for j in 0..o {
            y[i * o + j] += bias[j];
            for k in 0..f {
                y[i * o + j] += x[i * f + k] * w[j * f + k];
                dx[i * f + k] += dy[i * o + j] * w[j * f + k];
                dw[j * f + k] += dy[i * o + j] * x[i * f + k];
            }
        }
    }
    y.iter_mut().for_each(|y| *y = y.max(0.0));
    [y, dx, dw]
}

#[test]
fn linear_layers_agree_with_the_loop_nest() {
    for isa in Isa::available() {
        for &case in CASES {
            let got = compute(isa, 1, case, numbers);
            for ((got, want), what) in got.iter().zip(expected(case)).zip(["y", "dx", "dw"]) {
                let same = got.iter().zip(&want).all(|(&g, &w)| f64::from(g) == w);
                assert!(same && got.len() == want.len(), "{what} {} {case:?}", isa.name());
            }
        }
    }
}

#[test]
fn threads_never_change_a_bit() {
    for isa in Isa::available() {
        for &case in CASES {
            let one = compute(isa, 1, case, fractions);
            for threads in 2..=4 {
                assert_eq!(compute(isa, threads, case, fractions), one, "{} {case:?}", isa.name());
            }
        }
    }
}
