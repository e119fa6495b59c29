use super::*;
use crate::elementwise::tests::{close, noise, on_all};
use crate::reference::update as reference;

const LENGTHS: [usize; 4] = [1, 17, 16 * 1024, 50_003];

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

#[test]
fn accumulation_scales() {
    let kernel = |pool: &ThreadPool, isa: Isa| {
        let mut sum = vec![1.0; 20];
        accumulate(pool, isa, 0.5, &[3.0; 20], &mut sum);
        sum
    };
    on_all(kernel, |_, sum| assert!(sum.iter().all(|&s| s == 2.5)));
}

#[test]
fn sgd_follows_the_reference() {
    for len in LENGTHS {
        for (momentum, nesterov) in [(0.0, false), (0.9, false), (0.9, true)] {
            let (g, w0, v0) = (noise(len, 1), noise(len, 2), noise(len, 3));
            let step = Sgd { rate: 0.1, momentum, nesterov, weight_decay: 0.01 };
            let wide_step = reference::Sgd {
                rate: f64::from(step.rate),
                momentum: f64::from(momentum),
                nesterov,
                weight_decay: f64::from(step.weight_decay),
            };
            let (mut w, mut v) = (wide(&w0), wide(&v0));
            reference::sgd(wide_step, &wide(&g), (momentum > 0.0).then_some(&mut v[..]), &mut w);
            let kernel = |pool: &ThreadPool, isa: Isa| {
                let (mut w, mut v) = (w0.clone(), v0.clone());
                step.run(pool, isa, &g, (momentum > 0.0).then_some(&mut v[..]), &mut w);
                [w, v].concat()
            };
            let want = [w, v].concat();
            on_all(kernel, |isa, got| close(isa, got, &want, 5e-7));
        }
    }
}

#[test]
fn adam_follows_the_reference() {
    for len in LENGTHS {
        for t in [1.0f32, 2.0, 1000.0] {
            let (g, w0, m0) = (noise(len, 1), noise(len, 2), noise(len, 3));
            let v0: Vec<f32> = noise(len, 4).iter().map(|v| v * v).collect();
            let step = Adam { rate: 1e-2, step: t, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.05 };
            let wide_step = reference::Adam {
                rate: f64::from(step.rate),
                step: f64::from(t),
                beta1: f64::from(step.beta1),
                beta2: f64::from(step.beta2),
                eps: f64::from(step.eps),
                weight_decay: f64::from(step.weight_decay),
            };
            let (mut w, mut m, mut v) = (wide(&w0), wide(&m0), wide(&v0));
            reference::adam(wide_step, &wide(&g), &mut w, &mut m, &mut v);
            let kernel = |pool: &ThreadPool, isa: Isa| {
                let (mut w, mut m, mut v) = (w0.clone(), m0.clone(), v0.clone());
                step.run(pool, isa, &g, [&mut w, &mut m, &mut v]);
                [w, m, v].concat()
            };
            let want = [w, m, v].concat();
            on_all(kernel, |isa, got| close(isa, got, &want, 5e-7));
        }
    }
}

#[test]
fn muon_follows_the_reference() {
    for [rows, columns] in [[1, 1], [1, 40], [16, 27], [40, 5], [64, 576], [33, 33]] {
        let len = rows * columns;
        let (g, w0, v0) = (noise(len, 1), noise(len, 2), noise(len, 3));
        let step = MuonStep { rate: 0.5, momentum: 0.9, weight_decay: 0.1 };
        let wide_step = reference::Muon {
            rate: f64::from(step.rate),
            momentum: f64::from(step.momentum),
            weight_decay: f64::from(step.weight_decay),
        };
        let (mut w, mut v) = (wide(&w0), wide(&v0));
        reference::muon(wide_step, rows, &wide(&g), &mut w, &mut v);
        let kernel = |pool: &ThreadPool, isa: Isa| {
            let (muon, mut w, mut v) = (Muon::new(rows, columns, isa), w0.clone(), v0.clone());
            let mut scratch = vec![f32::NAN; muon.scratch_len()];
            muon.run(pool, step, &g, [&mut w, &mut v], &mut scratch);
            [w, v].concat()
        };
        let want = [w, v].concat();
        // The iterations stretch small singular values, and their rounding, some hundredfold.
        on_all(kernel, |isa, got| close(isa, got, &want, 1e-4));
    }
}

#[test]
fn muon_stands_still_without_a_gradient() {
    let kernel = |pool: &ThreadPool, isa: Isa| {
        let (muon, mut w, mut v) = (Muon::new(4, 6, isa), vec![1.0; 24], vec![0.0; 24]);
        let mut scratch = vec![f32::NAN; muon.scratch_len()];
        let step = MuonStep { rate: 0.5, momentum: 0.9, weight_decay: 0.0 };
        muon.run(pool, step, &[0.0; 24], [&mut w, &mut v], &mut scratch);
        w
    };
    on_all(kernel, |_, w| assert!(w.iter().all(|&w| w == 1.0), "{w:?}"));
}

#[test]
fn the_running_variance_is_unbiased() {
    let (mut mean, mut var) = ([1.0], [1.0]);
    RunningUpdate { momentum: 0.25, count: 4, mean: &[9.0], var: &[3.0] }.run(&mut mean, &mut var);
    assert_eq!((mean, var), ([3.0], [1.75]));
    RunningUpdate { momentum: 0.5, count: 1, mean: &[3.0], var: &[0.0] }.run(&mut mean, &mut var);
    assert_eq!((mean, var), ([3.0], [0.875]));
}
