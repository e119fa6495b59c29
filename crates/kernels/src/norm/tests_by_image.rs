//! Group, instance, layer and local response normalisation against their reference.

use super::*;
use crate::elementwise::Blocked;
use crate::elementwise::tests::{close, noise, on_all, plain_len, sizes, to_blocked, to_plain};
use crate::isa::Isa;
use crate::reference::ChannelSizes;
use crate::reference::batch_norm::{Affine, NormalizeGradOutputs};
use crate::reference::lrn::{LrnGeometry, lrn, lrn_grad};
use crate::reference::norm::{NormGrad, NormSizes, Sets, norm, norm_grad};
use crate::threads::ThreadPool;

fn wide(v: &[f32]) -> Vec<f64> {
    v.iter().map(|&v| f64::from(v)).collect()
}

/// y, dx, dgamma and dbeta in f64.
fn expected(size: Blocked, sets: Sets, eps: f32, inputs: [&[f32]; 4]) -> Vec<f64> {
    let tensor = ChannelSizes { batch: size.batch, channels: size.channels, inner: size.pixels() };
    let sizes = NormSizes { tensor, sets };
    let [x, dy, gamma, beta] = inputs.map(wide);
    let (mut y, mut dx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
    let (mut dgamma, mut dbeta) = (vec![0.0; size.channels], vec![0.0; size.channels]);
    norm(sizes, eps.into(), Some(Affine { gamma: &gamma, beta: &beta }), &x, &mut y);
    let grad = NormGrad { eps: eps.into(), gamma: Some(&gamma), x: &x, dy: &dy };
    let out = NormalizeGradOutputs { dx: &mut dx, dgamma: Some(&mut dgamma), dbeta: Some(&mut dbeta) };
    norm_grad(sizes, grad, out);
    [y, dx, dgamma, dbeta].concat()
}

fn check(size: Blocked, sets: Sets, kernel: impl Fn(&ThreadPool, Isa, [&[f32]; 4]) -> Vec<f32>, eps: f32) {
    let (x, dy) = (noise(plain_len(size), 1), noise(plain_len(size), 2));
    let x: Vec<f32> = x.iter().map(|x| x + 3.0).collect();
    let (gamma, beta) = (noise(size.channels, 3), noise(size.channels, 4));
    let want = expected(size, sets, eps, [&x, &dy, &gamma, &beta]);
    let (bx, bdy) = (to_blocked(size, &x), to_blocked(size, &dy));
    on_all(
        |pool, isa| kernel(pool, isa, [&bx, &bdy, &gamma, &beta]),
        |isa, got| close(&format!("{isa} {size:?} {sets:?}"), got, &want, 2e-4),
    );
}

#[test]
fn groups_and_instances() {
    for size in sizes() {
        let divisors = [1, 2, 5, size.channels];
        for groups in divisors.into_iter().filter(|&groups| size.channels.is_multiple_of(groups)) {
            let norm = GroupNorm { size, groups, eps: 0.5 };
            let kernel = |pool: &ThreadPool, isa: Isa, [x, dy, gamma, beta]: [&[f32]; 4]| {
                let mut scratch = vec![f32::NAN; norm.scratch_len()];
                let (mut y, mut dx) = (vec![f32::NAN; x.len()], vec![f32::NAN; x.len()]);
                let (mut dgamma, mut dbeta) = (vec![f32::NAN; size.channels], vec![f32::NAN; size.channels]);
                norm.run((pool, isa), (Some(gamma), Some(beta)), x, (&mut y, &mut scratch));
                let grads = AffineGrads { dgamma: &mut dgamma, dbeta: &mut dbeta };
                norm.gradient((pool, isa), Some(gamma), (x, dy), (&mut dx, grads), &mut scratch);
                [to_plain(size, &y), to_plain(size, &dx), dgamma, dbeta].concat()
            };
            check(size, Sets::Groups(groups), kernel, norm.eps);
        }
    }
}

#[test]
fn layers() {
    for size in sizes() {
        let norm = LayerNorm { size, eps: 0.5 };
        let kernel = |pool: &ThreadPool, isa: Isa, [x, dy, gamma, beta]: [&[f32]; 4]| {
            let mut scratch = vec![f32::NAN; norm.gradient_scratch_len()];
            let (mut y, mut dx) = (vec![f32::NAN; x.len()], vec![f32::NAN; x.len()]);
            let (mut dgamma, mut dbeta) = (vec![f32::NAN; size.channels], vec![f32::NAN; size.channels]);
            norm.run((pool, isa), (Some(gamma), Some(beta)), x, &mut y);
            let grads = AffineGrads { dgamma: &mut dgamma, dbeta: &mut dbeta };
            norm.gradient((pool, isa), Some(gamma), (x, dy), (&mut dx, grads), &mut scratch);
            [to_plain(size, &y), to_plain(size, &dx), dgamma, dbeta].concat()
        };
        check(size, Sets::Channels, kernel, norm.eps);
    }
}

#[test]
fn neighbours() {
    let attributes =
        [(5, true, 0.75), (3, false, 0.75), (1, true, 0.5), (33, true, 1.0), (5, false, 0.6), (3, true, 2.5)];
    for size in sizes() {
        for (neighbours, across_channels, beta) in attributes {
            let op = Lrn { size, neighbours, across_channels, alpha: 0.7, beta, k: 1.5 };
            let g = LrnGeometry {
                dims: [size.batch, size.channels, size.height, size.width],
                size: neighbours,
                across_channels,
                alpha: f64::from(op.alpha),
                beta: f64::from(beta),
                k: f64::from(op.k),
            };
            // The reference takes its time.
            if plain_len(size) * neighbours > 400_000 {
                continue;
            }
            let (x, dy) = (noise(plain_len(size), 1), noise(plain_len(size), 2));
            let (mut y, mut dx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
            lrn(&g, &wide(&x), &mut y);
            lrn_grad(&g, &wide(&x), &wide(&dy), &mut dx);
            let want = [y, dx].concat();
            let (bx, bdy) = (to_blocked(size, &x), to_blocked(size, &dy));
            let kernel = |pool: &ThreadPool, isa: Isa| {
                let mut scratch = vec![f32::NAN; op.scratch_len(pool.threads())];
                let (mut y, mut dx) = (vec![f32::NAN; bx.len()], vec![f32::NAN; bx.len()]);
                op.run((pool, isa), &bx, &mut y, &mut scratch);
                op.gradient((pool, isa), (&bx, &bdy), &mut dx, &mut scratch);
                [to_plain(size, &y), to_plain(size, &dx)].concat()
            };
            on_all(kernel, |isa, got| close(&format!("{isa} {op:?}"), got, &want, 2e-5));
        }
    }
}

#[test]
fn reach_is_limited() {
    let size = Blocked { batch: 1, channels: 64, height: 1, width: 1 };
    let op = Lrn { size, neighbours: 35, across_channels: true, alpha: 1.0, beta: 1.0, k: 1.0 };
    assert!(!op.fits());
    assert!(Lrn { across_channels: false, ..op }.fits());
    assert!(!Lrn { neighbours: 4, ..op }.fits());
}
