//! Batch normalisation of bf16 tensors: what it is of the same numbers as `f32`, rounded once as it is stored.

use super::*;
use crate::elementwise::{Blocked, Source, relu_grad_blocked};
use crate::isa::Isa;
use crate::narrow::{Coding, sum};
use crate::reference::narrow::round_to_bf16;
use crate::threads::ThreadPool;

/// Between the two ways of writing tensors.
fn code(size: Blocked, x: &[f32], [from, to]: [Coding; 2]) -> Vec<f32> {
    let mut y = vec![f32::NAN; size.elements() / to.format().per_word()];
    sum(&ThreadPool::new(1), Isa::Scalar, size, ((x, from), None, None), (&mut y, to));
    y
}

fn narrow(size: Blocked, x: &[f32]) -> Vec<f32> {
    code(size, x, [Coding::F32, Coding::Bf16])
}

fn wide(size: Blocked, x: &[f32]) -> Vec<f32> {
    code(size, x, [Coding::Bf16, Coding::F32])
}

/// Numbers that are bf16 already.
fn numbers(size: Blocked, step: f32) -> Vec<f32> {
    (0..size.elements()).map(|i| round_to_bf16((i as f32 * step).sin() * 3.0 + 0.5)).collect()
}

fn rounded(x: &[f32]) -> Vec<f32> {
    x.iter().copied().map(round_to_bf16).collect()
}

#[test]
fn bf16_tensors_are_those_of_f32_rounded_once() {
    let pool = ThreadPool::new(2);
    for isa in Isa::available() {
        for (batch, channels, height, width) in [(2, 16, 3, 5), (3, 48, 29, 31), (2, 64, 200, 201)] {
            let size = Blocked { batch, channels, height, width };
            let what = format!("{size:?} on {}", isa.name());
            let [x, dy, other] = [0.37, 0.71, 1.13].map(|step| numbers(size, step));
            let [narrow_x, narrow_dy, narrow_other] = [&x, &dy, &other].map(|x| narrow(size, x));
            let mut scratch = vec![0.0; statistics_scratch_len(size).max(reduce_scratch_len(size))];
            let [mut mean, mut var, mut mean16, mut var16] = std::array::from_fn(|_| vec![0.0; channels]);
            let moments = Moments { mean: &mut mean, var: &mut var };
            statistics(&pool, isa, size, &x, moments, &mut scratch);
            let moments = Moments { mean: &mut mean16, var: &mut var16 };
            statistics(&pool, isa, size, &narrow_x, moments, &mut scratch);
            assert!((&mean, &var) == (&mean16, &var16), "statistics of {what}");

            let norm = Normalisation { mean: &mean, var: &var, gamma: None, beta: None, eps: 1e-5 };
            let forward = |residual, x: Source<'_>, y: &mut [f32]| {
                Normalise { size, norm, residual, relu: true }.run(&pool, isa, x, y);
            };
            let mut y = vec![f32::NAN; x.len()];
            let mut narrow_y = vec![f32::NAN; narrow_x.len()];
            forward(Some(&other), (&x).into(), &mut y);
            forward(Some(&narrow_other), (&narrow_x).into(), &mut narrow_y);
            assert!(wide(size, &narrow_y) == rounded(&y), "normalised {what}");
            let mut in_place = narrow_x.clone();
            forward(Some(&narrow_other), Source::InPlace, &mut in_place);
            assert!(in_place == narrow_y, "in place {what}");
            // From `f32` to bf16 and back.
            forward(Some(&other), (&x).into(), &mut narrow_y);
            assert!(in_place == narrow_y, "f32 to bf16 {what}");
            let mut back = vec![f32::NAN; x.len()];
            forward(Some(&narrow_other), (&narrow_x).into(), &mut back);
            assert!(back == y, "bf16 to f32 {what}");

            let backward = |x: &[f32], dy: &[f32], y: &[f32], dx: &mut [f32], scratch: &mut [f32]| {
                let grad = NormaliseGrad { size, norm, mask: ReluMask::Output(y) };
                let [mut dgamma, mut dbeta] = std::array::from_fn(|_| vec![0.0; channels]);
                let sums = AffineGrads { dgamma: &mut dgamma, dbeta: &mut dbeta };
                grad.reduce((&pool, isa), x, dy, sums, scratch);
                grad.apply((&pool, isa), x, dy.into(), (&dgamma, &dbeta), dx);
                (dgamma, dbeta)
            };
            let mut dx = vec![f32::NAN; x.len()];
            let mut narrow_dx = vec![f32::NAN; narrow_x.len()];
            let y = rounded(&y);
            let sums = backward(&x, &dy, &y, &mut dx, &mut scratch);
            let narrow_sums = backward(&narrow_x, &narrow_dy, &narrow_y, &mut narrow_dx, &mut scratch);
            assert!(sums == narrow_sums, "sums of {what}");
            assert!(wide(size, &narrow_dx) == rounded(&dx), "gradient of {what}");

            relu_grad_blocked((&pool, isa), size, &narrow_y, (&narrow_dy).into(), &mut narrow_dx);
            let masked: Vec<f32> =
                dy.iter().zip(&y).map(|(&dy, &y)| if y > 0.0 { dy } else { 0.0 }).collect();
            assert!(wide(size, &narrow_dx) == masked, "ReLU gradient of {what}");
        }
    }
}
