use super::*;
use crate::elementwise::tests::{close, noise, on_all};
use crate::reference::loss as reference;

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

/// Loss and gradient by the kernel, end to end.
fn run(op: SoftmaxCrossEntropy<'_>, pool: &ThreadPool, isa: Isa, logits: &[f32]) -> Vec<f32> {
    let mut scratch = vec![f32::NAN; loss_scratch_len(logits.len() / op.classes)];
    let loss = op.loss(pool, isa, logits, &mut scratch);
    let mut dx = vec![f32::NAN; logits.len()];
    op.gradient(pool, isa, logits, 3.0, &mut dx);
    [vec![loss], dx].concat()
}

/// The same by the reference, in f64.
fn want(op: SoftmaxCrossEntropy<'_>, logits: &[f32]) -> Vec<f64> {
    let (logits, smoothing) = (wide(logits), f64::from(op.smoothing));
    let rows = reference::Rows { columns: op.classes, data: &logits };
    let values = match op.target {
        Target::Labels(v) | Target::Probabilities(v) => wide(v),
    };
    let target = match op.target {
        Target::Labels(_) => reference::Target::Labels(&values),
        Target::Probabilities(_) => reference::Target::Probabilities(&values),
    };
    let loss = reference::softmax_cross_entropy(rows, target, smoothing);
    let mut dx = vec![f64::NAN; logits.len()];
    reference::softmax_cross_entropy_grad(rows, target, smoothing, 3.0, &mut dx);
    [vec![loss], dx].concat()
}

const SIZES: [(usize, usize); 6] = [(1, 1), (1, 2), (3, 10), (5, 17), (4, 1000), (50, 999)];

#[test]
fn losses_and_gradients_for_labels_and_probabilities() {
    for (rows, classes) in SIZES {
        for (factor, smoothing) in [(1.0, 0.0), (1.0, 0.1), (40.0, 0.0), (40.0, 0.25)] {
            let logits: Vec<f32> = noise(rows * classes, 1).iter().map(|x| x * factor).collect();
            let labels: Vec<f32> = (0..rows).map(|row| ((row * 7 + 3) % classes) as f32).collect();
            let mut p: Vec<f32> = noise(rows * classes, 2).iter().map(|x| x.max(0.0)).collect();
            for row in p.chunks_mut(classes) {
                let sum: f32 = row.iter().sum::<f32>().max(1e-3);
                row.iter_mut().for_each(|x| *x /= sum);
            }
            for target in [Target::Labels(&labels), Target::Probabilities(&p)] {
                let op = SoftmaxCrossEntropy { classes, target, smoothing };
                let want = want(op, &logits);
                let kernel = |pool: &ThreadPool, isa: Isa| run(op, pool, isa, &logits);
                on_all(kernel, |isa, got| close(&format!("{isa} {rows} x {classes}"), got, &want, 3e-6));
            }
        }
    }
}

#[test]
fn infinite_logits_bad_labels_and_nan() {
    for isa in Isa::available() {
        let pool = ThreadPool::new(1);
        let certain = [f32::NEG_INFINITY, 0.0];
        fn op(target: Target<'_>) -> SoftmaxCrossEntropy<'_> {
            SoftmaxCrossEntropy { classes: 2, target, smoothing: 0.0 }
        }
        assert_eq!(run(op(Target::Labels(&[1.0])), &pool, isa, &certain), [0.0, 0.0, 0.0]);
        assert_eq!(run(op(Target::Probabilities(&[0.0, 1.0])), &pool, isa, &certain), [0.0, 0.0, 0.0]);
        assert_eq!(run(op(Target::Labels(&[0.0])), &pool, isa, &certain)[0], f32::INFINITY);
        for bad in [-1.0, 2.0, 0.5, f32::NAN] {
            let label = [bad];
            let got = run(op(Target::Labels(&label)), &pool, isa, &[1.0, 2.0]);
            assert!(got.iter().all(|v| v.is_nan()), "{} label {bad}: {got:?}", isa.name());
        }
        assert!(run(op(Target::Labels(&[0.0])), &pool, isa, &[1.0, f32::NAN])[0].is_nan());
    }
}

#[test]
fn accuracy_counts_ties_against() {
    let pool = ThreadPool::new(2);
    let scores = [1.0, 2.0, 0.0, 2.0, 2.0, 1.0, f32::NAN, 3.0, 1.0];
    for (labels, top) in
        [([1.0, 0.0, 1.0], 1), ([1.0, 0.0, 1.0], 2), ([2.0, 2.0, 0.0], 2), ([1.0, 9.0, 0.5], 3)]
    {
        let rows = reference::Rows { columns: 3, data: &scores };
        assert_eq!(
            accuracy(&pool, &scores, &labels, top),
            reference::accuracy(rows, &labels, top),
            "{labels:?}"
        );
    }
    let scores = noise(3000 * 11, 3);
    let labels: Vec<f32> = (0..3000).map(|row| (row % 11) as f32).collect();
    for top in [1, 5] {
        let rows = reference::Rows { columns: 11, data: &scores };
        for threads in 1..=4 {
            let got = accuracy(&ThreadPool::new(threads), &scores, &labels, top);
            assert_eq!(got, reference::accuracy(rows, &labels, top));
        }
    }
}
