use super::*;
use crate::elementwise::tests::{close, noise, on_all, plain_len, sizes, to_blocked, to_plain};
use crate::elementwise::{Blocked, Source};
use crate::isa::Isa;
use crate::threads::ThreadPool;

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

fn channel_of(size: Blocked, i: usize) -> usize {
    i / size.pixels() % size.channels
}

/// Mean and biased variance of each channel, by two plain passes in f64.
fn obvious_statistics(size: Blocked, plain: &[f32]) -> (Vec<f64>, Vec<f64>) {
    let n = size.per_channel() as f64;
    let (mut mean, mut var) = (vec![0.0; size.channels], vec![0.0; size.channels]);
    plain.iter().enumerate().for_each(|(i, &x)| mean[channel_of(size, i)] += f64::from(x) / n);
    for (i, &x) in plain.iter().enumerate() {
        let channel = channel_of(size, i);
        var[channel] += (f64::from(x) - mean[channel]).powi(2) / n;
    }
    (mean, var)
}

/// How far the variance may be from the true one, relative to it.
const VARIANCE_ERROR: f64 = 1e-6;

#[test]
fn statistics_lose_no_digits() {
    for size in sizes() {
        for (offset, spread) in [(0.0, 1.0), (1000.0, 1.0), (-3e4, 0.1), (1e6, 1.0)] {
            let plain: Vec<f32> = noise(plain_len(size), 8).iter().map(|x| x * spread + offset).collect();
            let x = to_blocked(size, &plain);
            let (mean, var) = obvious_statistics(size, &plain);
            let kernel = |pool: &ThreadPool, isa: Isa| {
                let mut out = vec![f32::NAN; 2 * size.channels];
                let mut scratch = vec![f32::NAN; statistics_scratch_len(size)];
                let (mean, var) = out.split_at_mut(size.channels);
                statistics(pool, isa, size, &x, Moments { mean, var }, &mut scratch);
                out
            };
            on_all(kernel, |isa, out| {
                let name = format!("{isa} {size:?} around {offset}");
                close(&name, &out[..size.channels], &mean, 3e-7);
                for (got, want) in out[size.channels..].iter().zip(&var) {
                    let error = (f64::from(*got) - want).abs();
                    assert!(error <= VARIANCE_ERROR * want, "{name}: variance {got}, not {want}");
                }
            });
        }
    }
}

#[test]
fn statistics_survive_outliers_at_the_start() {
    let size = Blocked { batch: 3, channels: 16, height: 50, width: 60 };
    let mut plain = noise(plain_len(size), 9);
    for (i, x) in plain.iter_mut().enumerate() {
        *x = if i % size.pixels() < 16 { 0.0 } else { 5000.0 + *x };
    }
    let x = to_blocked(size, &plain);
    let (_, want) = obvious_statistics(size, &plain);
    let kernel = |pool: &ThreadPool, isa: Isa| {
        let (mut mean, mut var) = ([f32::NAN; 16], vec![f32::NAN; 16]);
        let mut scratch = vec![f32::NAN; statistics_scratch_len(size)];
        statistics(pool, isa, size, &x, Moments { mean: &mut mean, var: &mut var }, &mut scratch);
        var
    };
    on_all(kernel, |isa, var| {
        for (got, want) in var.iter().zip(&want) {
            assert!((f64::from(*got) - want).abs() <= VARIANCE_ERROR * want, "{isa}: {got}, not {want}");
        }
    });
}

/// A problem with its statistics, in f32 as the kernels get them.
struct Case {
    size: Blocked,
    plain: Vec<f32>,
    x: Vec<f32>,
    mean: Vec<f32>,
    var: Vec<f32>,
    gamma: Vec<f32>,
    beta: Vec<f32>,
    residual: Vec<f32>,
}

const EPS: f32 = 1e-5;

impl Case {
    fn new(size: Blocked) -> Self {
        let plain = noise(plain_len(size), 10);
        let (mean, var) = obvious_statistics(size, &plain);
        let narrow = |values: Vec<f64>| values.iter().map(|&v| v as f32).collect();
        Case {
            size,
            x: to_blocked(size, &plain),
            mean: narrow(mean),
            var: narrow(var),
            gamma: noise(size.channels, 11),
            beta: noise(size.channels, 12),
            residual: noise(plain.len(), 13),
            plain,
        }
    }

    fn norm(&self, affine: bool) -> Normalisation<'_> {
        let [gamma, beta] = [&self.gamma, &self.beta].map(|v| affine.then_some(v.as_slice()));
        Normalisation { mean: &self.mean, var: &self.var, gamma, beta, eps: EPS }
    }

    fn xhat(&self, i: usize) -> f64 {
        let c = channel_of(self.size, i);
        let deviation = (f64::from(self.var[c]) + f64::from(EPS)).sqrt();
        (f64::from(self.plain[i]) - f64::from(self.mean[c])) / deviation
    }

    /// The forward pass in f64.
    fn forward(&self, affine: bool, residual: bool, relu: bool) -> Vec<f64> {
        let one = |i: usize| {
            let c = channel_of(self.size, i);
            let (gamma, beta) = if affine { (self.gamma[c], self.beta[c]) } else { (1.0, 0.0) };
            let mut y = f64::from(gamma) * self.xhat(i) + f64::from(beta);
            if residual {
                y += f64::from(self.residual[i]);
            }
            if relu { y.max(0.0) } else { y }
        };
        (0..self.plain.len()).map(one).collect()
    }

    /// The backward pass in f64: dx, dgamma, dbeta.
    fn backward(&self, g: &[f64], affine: bool, running: bool) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
        let n = self.size.per_channel() as f64;
        let (mut dgamma, mut dbeta) = (vec![0.0; self.size.channels], vec![0.0; self.size.channels]);
        for (i, g) in g.iter().enumerate() {
            let c = channel_of(self.size, i);
            dgamma[c] += g * self.xhat(i);
            dbeta[c] += g;
        }
        let one = |(i, g): (usize, &f64)| {
            let c = channel_of(self.size, i);
            let gamma = if affine { f64::from(self.gamma[c]) } else { 1.0 };
            let a = gamma / (f64::from(self.var[c]) + f64::from(EPS)).sqrt();
            if running { a * g } else { a * (g - dbeta[c] / n - self.xhat(i) * dgamma[c] / n) }
        };
        let dx = g.iter().enumerate().map(one).collect();
        (dx, dgamma, dbeta)
    }
}

#[test]
fn normalise_adds_and_cuts() {
    for size in sizes() {
        let case = Case::new(size);
        let residual = to_blocked(size, &case.residual);
        for (affine, add, relu) in
            [(false, false, false), (true, false, true), (true, true, true), (true, true, false)]
        {
            let want = case.forward(affine, add, relu);
            let op = Normalise { size, norm: case.norm(affine), residual: add.then_some(&residual), relu };
            let fresh = |pool: &ThreadPool, isa: Isa| {
                let mut y = vec![f32::NAN; size.elements()];
                op.run(pool, isa, (&case.x).into(), &mut y);
                to_plain(size, &y)
            };
            on_all(fresh, |isa, y| close(isa, y, &want, 4e-6));
            let in_place = |pool: &ThreadPool, isa: Isa| {
                let mut y = case.x.clone();
                op.run(pool, isa, Source::InPlace, &mut y);
                to_plain(size, &y)
            };
            on_all(in_place, |isa, y| close(isa, y, &want, 4e-6));
        }
    }
}

#[test]
fn scale_shift_adds_and_cuts() {
    for size in sizes() {
        let case = Case::new(size);
        let residual = to_blocked(size, &case.residual);
        for (add, relu) in [(false, false), (false, true), (true, true)] {
            let one = |(i, &x): (usize, &f32)| {
                let c = channel_of(size, i);
                let y = f64::from(case.gamma[c]) * f64::from(x) + f64::from(case.beta[c]);
                let y = y + if add { f64::from(case.residual[i]) } else { 0.0 };
                if relu { y.max(0.0) } else { y }
            };
            let want: Vec<f64> = case.plain.iter().enumerate().map(one).collect();
            let residual = add.then_some(residual.as_slice());
            let op = ScaleShift { size, scale: &case.gamma, shift: &case.beta, residual, relu };
            let kernel = |pool: &ThreadPool, isa: Isa| {
                let mut y = vec![f32::NAN; size.elements()];
                op.run(pool, isa, (&case.x).into(), &mut y);
                to_plain(size, &y)
            };
            on_all(kernel, |isa, y| close(isa, y, &want, 1e-6));
        }
    }
}

/// What the kernels give: dx, g, dgamma, dbeta end to end.
fn run_backward(pool: &ThreadPool, isa: Isa, op: NormaliseGrad<'_>, x: &[f32], dy: &[f32]) -> Vec<f32> {
    let size = op.size;
    let mut scratch = vec![f32::NAN; reduce_scratch_len(size)];
    let (mut dgamma, mut dbeta) = (vec![f32::NAN; size.channels], vec![f32::NAN; size.channels]);
    let grads = AffineGrads { dgamma: &mut dgamma, dbeta: &mut dbeta };
    op.reduce((pool, isa), x, dy, grads, &mut scratch);
    let mut dx = vec![f32::NAN; size.elements()];
    op.apply((pool, isa), x, dy.into(), (&dgamma, &dbeta), &mut dx);

    let (mut dgamma2, mut dbeta2) = (vec![f32::NAN; size.channels], vec![f32::NAN; size.channels]);
    let grads = AffineGrads { dgamma: &mut dgamma2, dbeta: &mut dbeta2 };
    let mut g = dy.to_vec();
    op.reduce_masking((pool, isa), x, (Source::InPlace, &mut g), grads, &mut scratch);
    assert!(dgamma == dgamma2 && dbeta == dbeta2, "writing g must not change the sums");
    let mut in_place = g.clone();
    let unmasked = NormaliseGrad { mask: ReluMask::None, ..op };
    unmasked.apply((pool, isa), x, Source::InPlace, (&dgamma, &dbeta), &mut in_place);
    assert_eq!(to_plain(size, &in_place), to_plain(size, &dx), "apply on g, in place");

    let mut running = vec![f32::NAN; size.elements()];
    op.apply_running((pool, isa), x, dy.into(), &mut running);
    [to_plain(size, &dx), to_plain(size, &g), to_plain(size, &running), dgamma, dbeta].concat()
}

#[test]
fn gradients_under_every_mask() {
    for size in sizes() {
        let case = Case::new(size);
        let dy_plain = noise(case.plain.len(), 14);
        let dy = to_blocked(size, &dy_plain);
        // As the kernel rounds them: at a value near 0 the mask must be the one the forward pass took.
        let pool = ThreadPool::new(1);
        for mask in 0..3 {
            for affine in [false, true] {
                let norm = case.norm(affine);
                for isa in Isa::available() {
                    let mut y = vec![f32::NAN; size.elements()];
                    let residual = None;
                    Normalise { size, norm, residual, relu: true }.run(&pool, isa, (&case.x).into(), &mut y);
                    let y_plain = to_plain(size, &y);
                    let g: Vec<f64> = (0..y_plain.len())
                        .map(|i| if mask > 0 && y_plain[i] <= 0.0 { 0.0 } else { f64::from(dy_plain[i]) })
                        .collect();
                    let (dx, dgamma, dbeta) = case.backward(&g, affine, false);
                    let (running, ..) = case.backward(&g, affine, true);
                    let mask = [ReluMask::None, ReluMask::Output(&y), ReluMask::Recompute][mask];
                    let op = NormaliseGrad { size, norm, mask };
                    let mut first: Option<Vec<f32>> = None;
                    for threads in 1..=4 {
                        let out = run_backward(&ThreadPool::new(threads), isa, op, &case.x, &dy);
                        check_backward(size, &out, [&dx, &g, &running, &dgamma, &dbeta]);
                        let first = first.get_or_insert_with(|| out.clone());
                        assert!(*first == out, "{threads} threads differ");
                    }
                }
            }
        }
    }
}

#[track_caller]
fn check_backward(size: Blocked, out: &[f32], [dx, g, running, dgamma, dbeta]: [&Vec<f64>; 5]) {
    let n = dx.len();
    let name = format!("{size:?}");
    // One value per channel divides by sqrt(eps): 300 times the rounding errors.
    let single = if size.per_channel() == 1 { 300.0 } else { 1.0 };
    close(&name, &out[..n], dx, 1e-5 * single);
    close(&name, &out[n..2 * n], g, 0.0);
    close(&name, &out[2 * n..3 * n], running, 1e-6);
    let tolerance = 1e-6 * (size.per_channel() as f64).sqrt();
    close(&name, &out[3 * n..3 * n + size.channels], dgamma, tolerance);
    close(&name, &out[3 * n + size.channels..], dbeta, tolerance);
}

#[test]
fn constants_are_exact_for_whole_numbers() {
    // mean 3, var 4 - eps' = 0: deviation 2, so every result is a short binary fraction.
    let size = Blocked { batch: 1, channels: 3, height: 2, width: 1 };
    let norm = Normalisation { mean: &[3.0; 3], var: &[4.0; 3], gamma: None, beta: None, eps: 0.0 };
    let x = to_blocked(size, &[1.0, 5.0, 3.0, 4.0, 0.0, 7.0]);
    let pool = ThreadPool::new(1);
    for isa in Isa::available() {
        let mut y = vec![f32::NAN; size.elements()];
        Normalise { size, norm, residual: None, relu: false }.run(&pool, isa, (&x).into(), &mut y);
        assert_eq!(wide(&to_plain(size, &y)), [-1.0, 1.0, 0.0, 0.5, -1.5, 2.0]);
    }
}
