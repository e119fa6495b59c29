//! What training does to parameters, in place.
//!
//! ```text
//! accumulate: sum += scale g
//! SGD:  g' = g + decay w;  v = momentum v + g';  w -= rate (nesterov ? g' + momentum v : v)
//! Adam: m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g^2
//!       w -= rate ((m / (1-b1^t)) / (sqrt(v / (1-b2^t)) + eps) + decay w)
//! Muon: v = b v + (1-b) g;  u = b v + (1-b) g, read as R rows of C numbers
//!       w = (1 - rate decay) w - rate sqrt(max(1, R/C)) orthogonal(u)
//! ```
//!
//! Sources: Sutskever et al. 2013 in PyTorch's form; Kingma and Ba 2015, algorithm 1; Loshchilov and Hutter 2019,
//! algorithm 2; Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks".

use ocellus_tensor::Element;

/// `sum += scale * gradient`.
pub fn accumulate<T: Element>(scale: f64, gradient: &[T], sum: &mut [T]) {
    let scale = T::from_f64(scale);
    for (sum, &g) in sum.iter_mut().zip(gradient) {
        *sum += scale * g;
    }
}

/// Attributes of one step of gradient descent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// Learning rate, this parameter's multiplier included.
    pub rate: f64,
    /// Share of the old velocity kept.
    pub momentum: f64,
    /// Look ahead.
    pub nesterov: bool,
    /// L2 penalty's factor.
    pub weight_decay: f64,
}

/// One step of gradient descent on w; velocity is absent if there is no momentum. All of one shape.
pub fn sgd<T: Element>(step: Sgd, gradient: &[T], velocity: Option<&mut [T]>, w: &mut [T]) {
    let [rate, momentum, decay] = [step.rate, step.momentum, step.weight_decay].map(T::from_f64);
    let Some(velocity) = velocity else {
        for (w, &g) in w.iter_mut().zip(gradient) {
            let g = g + decay * *w;
            *w -= rate * g;
        }
        return;
    };
    for ((w, v), &g) in w.iter_mut().zip(velocity).zip(gradient) {
        let g = g + decay * *w;
        *v = momentum * *v + g;
        *w -= rate * if step.nesterov { g + momentum * *v } else { *v };
    }
}

/// Attributes of one step of AdamW.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// Learning rate, this parameter's multiplier included.
    pub rate: f64,
    /// Number of this step, from 1.
    pub step: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root.
    pub eps: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
}

/// One step of AdamW on w, with moments m and v. All of one shape.
pub fn adam<T: Element>(step: Adam, gradient: &[T], w: &mut [T], m: &mut [T], v: &mut [T]) {
    let unbias1 = 1.0 / (1.0 - step.beta1.powf(step.step));
    let unbias2 = 1.0 / (1.0 - step.beta2.powf(step.step));
    for (((w, m), v), g) in w.iter_mut().zip(m).zip(v).zip(gradient) {
        let g = g.to_f64();
        let first = step.beta1 * m.to_f64() + (1.0 - step.beta1) * g;
        let second = step.beta2 * v.to_f64() + (1.0 - step.beta2) * g * g;
        let direction = first * unbias1 / ((second * unbias2).sqrt() + step.eps);
        let moved = w.to_f64() - step.rate * (direction + step.weight_decay * w.to_f64());
        (*w, *m, *v) = (T::from_f64(moved), T::from_f64(first), T::from_f64(second));
    }
}

/// Attributes of one step of Muon.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Muon {
    /// Learning rate, this parameter's multiplier included.
    pub rate: f64,
    /// Share of the old velocity kept.
    pub momentum: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
}

/// Coefficients of the odd polynomial that is applied to the singular values, five times over.
pub const NEWTON_SCHULZ: [f64; 3] = [3.4445, -4.7750, 2.0315];
/// How many times.
pub const NEWTON_SCHULZ_STEPS: usize = 5;

/// One step of Muon on w, a matrix of `rows` rows, with velocity v. All of one shape.
pub fn muon<T: Element>(step: Muon, rows: usize, gradient: &[T], w: &mut [T], v: &mut [T]) {
    let columns = w.len() / rows.max(1);
    let mut u = Vec::with_capacity(w.len());
    for (v, g) in v.iter_mut().zip(gradient) {
        let blend = |old: f64| step.momentum * old + (1.0 - step.momentum) * g.to_f64();
        let velocity = blend(v.to_f64());
        *v = T::from_f64(velocity);
        u.push(blend(velocity));
    }
    let u = orthogonal(&u, rows, columns);
    let scale = step.rate * (rows as f64 / columns as f64).max(1.0).sqrt();
    for (w, u) in w.iter_mut().zip(u) {
        *w = T::from_f64((1.0 - step.rate * step.weight_decay) * w.to_f64() - scale * u);
    }
}

/// The matrix with its singular values brought near 1.
fn orthogonal(u: &[f64], rows: usize, columns: usize) -> Vec<f64> {
    let norm = u.iter().map(|x| x * x).sum::<f64>().sqrt().max(1e-30);
    let mut x: Vec<f64> = u.iter().map(|x| x / norm).collect();
    let [a, b, c] = NEWTON_SCHULZ;
    for _ in 0..NEWTON_SCHULZ_STEPS {
        let gram = times(&x, &transposed(&x, columns), columns, rows);
        let square = times(&gram, &gram, rows, rows);
        let factor: Vec<f64> = gram.iter().zip(&square).map(|(g, s)| b * g + c * s).collect();
        let turned = times(&factor, &x, rows, columns);
        x.iter_mut().zip(turned).for_each(|(x, t)| *x = a * *x + t);
    }
    x
}

/// `left` (rows of `inner` numbers) times `right` (`inner` rows of `columns` numbers).
fn times(left: &[f64], right: &[f64], inner: usize, columns: usize) -> Vec<f64> {
    let mut product = vec![0.0; left.len() / inner * columns];
    for (row, out) in left.chunks_exact(inner).zip(product.chunks_exact_mut(columns)) {
        for (&l, right) in row.iter().zip(right.chunks_exact(columns)) {
            out.iter_mut().zip(right).for_each(|(out, r)| *out += l * r);
        }
    }
    product
}

fn transposed(x: &[f64], columns: usize) -> Vec<f64> {
    let rows = x.len() / columns;
    (0..x.len()).map(|i| x[i % rows * columns + i / rows]).collect()
}

#[cfg(test)]
mod tests {
    use super::super::check::close;
    use super::*;

    #[test]
    fn accumulation_scales() {
        let mut sum = [1.0f32, 2.0];
        accumulate(0.5, &[10., 20.], &mut sum);
        assert_eq!(sum, [6., 12.]);
    }

    #[test]
    fn sgd_by_hand() {
        let step = Sgd { rate: 0.5, momentum: 0.0, nesterov: false, weight_decay: 0.25 };
        let mut w = [4.0f32];
        sgd(step, &[1.0], None, &mut w); // g = 1 + 1
        assert_eq!(w, [3.0]);
        let (mut w, mut v) = ([4.0f32], [2.0f32]);
        let step = Sgd { momentum: 0.5, ..step };
        sgd(step, &[1.0], Some(&mut v), &mut w); // v = 1 + 2
        assert_eq!((w, v), ([2.5], [3.0]));
        let (mut w, mut v) = ([4.0f32], [2.0f32]);
        sgd(Sgd { nesterov: true, ..step }, &[1.0], Some(&mut v), &mut w); // 2 + 1.5
        assert_eq!((w, v), ([2.25], [3.0]));
    }

    #[test]
    fn the_first_adam_step_has_length_rate() {
        let step = Adam { rate: 0.1, step: 1.0, beta1: 0.9, beta2: 0.999, eps: 0.0, weight_decay: 0.5 };
        let (mut w, mut m, mut v) = ([2.0f64], [0.0], [0.0]);
        adam(step, &[-3.0], &mut w, &mut m, &mut v);
        close(&[w[0], m[0], v[0]], &[2.0 + 0.1 - 0.1 * 0.5 * 2.0, -0.3, 0.009]);
        adam(Adam { step: 2.0, weight_decay: 0.0, ..step }, &[1.0], &mut w, &mut m, &mut v);
        // m = -0.27 + 0.1, v = 0.008991 + 0.001.
        let direction = (-0.17 / 0.19) / (0.009991f64 / 0.001999).sqrt();
        close(&[w[0], m[0], v[0]], &[2.0 - 0.1 * direction, -0.17, 0.009991]);
    }
    #[test]
    fn muon_steps_by_nearly_orthogonal_matrices() {
        let step = Muon { rate: 1.0, momentum: 0.0, weight_decay: 0.0 };
        // Singular values 3 and 0.5 both come near 1; the singular vectors stay.
        let (mut w, mut v) = (vec![0.0f64; 6], vec![0.0; 6]);
        muon(step, 2, &[0.0, 3.0, 0.0, 0.5, 0.0, 0.0], &mut w, &mut v);
        for (i, &w) in w.iter().enumerate() {
            let size = if i == 1 || i == 3 { 0.68..1.15 } else { 0.0..1e-12 };
            assert!(size.contains(&-w), "{w} at {i}");
        }
        // Twice as many rows as columns: sqrt(2) times the step.
        let (mut tall, mut v) = (vec![0.0f64; 2], vec![0.0; 2]);
        muon(step, 2, &[1.0, 0.0], &mut tall, &mut v);
        let (mut flat, mut v) = (vec![0.0f64; 2], vec![0.0; 2]);
        muon(step, 1, &[1.0, 0.0], &mut flat, &mut v);
        close(&[tall[0]], &[flat[0] * 2f64.sqrt()]);
    }

    #[test]
    fn muon_blends_velocity_and_decays() {
        let step = Muon { rate: 0.1, momentum: 0.5, weight_decay: 0.5 };
        let (mut w, mut v) = ([2.0f64], [4.0]);
        muon(step, 1, &[0.0], &mut w, &mut v);
        assert_eq!(v, [2.0]);
        let (mut without, mut v) = ([0.0f64], [4.0]);
        muon(step, 1, &[0.0], &mut without, &mut v);
        close(&w, &[2.0 * (1.0 - 0.05) + without[0]]);
    }
}
