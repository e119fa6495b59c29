use ocellus_tensor::{ConvGeometry, Padding, Window};

use super::super::Epilogue;
use super::super::direct::{DirectRun, Side};
use super::super::pack::WeightView;
use super::super::pass::Pass;
use super::{F2_ERROR, F4_ERROR, Variant, Winograd, WinogradGrad, WinogradSpec};
use crate::isa::Isa;
use crate::layout::{blocked_len, blocked_to_plain, plain_to_blocked};
use crate::reference;
use crate::threads::ThreadPool;

/// Sizes of a 3x3 convolution of stride 1.
fn geometry(batch: usize, channels: [usize; 2], input: [usize; 2], padding: Padding) -> ConvGeometry {
    let window = Window { kernel: [3, 3], stride: [1, 1], padding, dilation: [1, 1] };
    let output = window.output(input, Default::default()).unwrap();
    let [in_channels, out_channels] = channels;
    ConvGeometry { batch, in_channels, out_channels, groups: 1, input, output, window }
}

fn cases() -> Vec<ConvGeometry> {
    let uneven = Padding { top: 0, left: 2, bottom: 1, right: 0 };
    vec![
        geometry(1, [16, 16], [8, 8], Padding::all(1)),
        geometry(2, [20, 35], [7, 7], Padding::all(1)),
        geometry(3, [3, 50], [5, 9], Padding::all(0)),
        geometry(1, [64, 64], [14, 13], uneven),
        geometry(2, [33, 5], [3, 3], Padding::all(2)),
        geometry(1, [17, 96], [1, 1], Padding::all(1)),
        geometry(1, [40, 48], [31, 30], Padding::all(1)),
    ]
}

fn noise(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

fn run(g: &ConvGeometry, variant: Variant, isa: Isa, threads: usize, x: &[f32], w: &[f32]) -> Vec<f32> {
    let pool = ThreadPool::new(threads);
    let from = Side { channels: g.in_channels, size: g.input };
    let to = Side { channels: g.out_channels, size: g.output };
    let pass = Pass::forward(g);
    let spec = WinogradSpec { isa, batch: g.batch, from, to, pass: &pass, kernel_width: 3 };
    let recipe = Winograd::new(spec, variant).unwrap();
    let view = WeightView { weight: w, lane_step: g.in_channels * 9, source_step: 9, inner: None };
    let mut packed = vec![f32::NAN; recipe.packed_len()];
    recipe.pack(&pool, view, None, &mut packed);
    let dims = |channels: usize, [h, w]: [usize; 2]| [g.batch, channels, h, w];
    let (di, d_o) = (dims(g.in_channels, g.input), dims(g.out_channels, g.output));
    let mut blocked = vec![0.0; blocked_len(di[0], di[1], di[2], di[3])];
    plain_to_blocked(&pool, isa, di, x, &mut blocked);
    let mut y = vec![f32::NAN; blocked_len(d_o[0], d_o[1], d_o[2], d_o[3])];
    let mut scratch = vec![f32::NAN; recipe.scratch_len(threads)];
    let epilogue = Epilogue::default();
    recipe.run(&pool, DirectRun { x: &blocked, packed: &packed, epilogue, scratch: &mut scratch, y: &mut y });
    let mut plain = vec![f32::NAN; d_o.iter().product()];
    blocked_to_plain(&pool, isa, d_o, &y, &mut plain);
    plain
}

#[test]
fn both_variants_agree_with_the_reference_within_their_stated_error() {
    for g in cases() {
        let x = noise(1, g.batch * g.in_channels * g.input[0] * g.input[1]);
        let w = noise(2, g.out_channels * g.in_channels * 9);
        let (x64, w64): (Vec<f64>, Vec<f64>) =
            (x.iter().map(|&v| v as f64).collect(), w.iter().map(|&v| v as f64).collect());
        let mut expected = vec![0.0; g.batch * g.out_channels * g.output[0] * g.output[1]];
        reference::conv2d::conv2d(&g, &x64, &w64, None, &mut expected);
        let largest = expected.iter().fold(0.0f64, |m, e| m.max(e.abs()));
        for (variant, bound) in [(Variant::F2, F2_ERROR), (Variant::F4, F4_ERROR)] {
            for isa in Isa::available() {
                let y = run(&g, variant, isa, 2, &x, &w);
                let error = y.iter().zip(&expected).map(|(y, e)| (*y as f64 - e).abs());
                let worst = error.fold(0.0f64, |m, d| if d > m || d.is_nan() { d } else { m });
                assert!(worst <= bound * largest, "{variant:?} {} {g:?}: {worst} of {largest}", isa.name());
            }
        }
    }
}

#[test]
fn the_same_bits_at_any_number_of_threads() {
    for g in cases() {
        let x = noise(1, g.batch * g.in_channels * g.input[0] * g.input[1]);
        let w = noise(2, g.out_channels * g.in_channels * 9);
        for variant in [Variant::F2, Variant::F4] {
            let one = run(&g, variant, Isa::detect(), 1, &x, &w);
            for threads in [2, 3, 4] {
                let many = run(&g, variant, Isa::detect(), threads, &x, &w);
                assert!(one.iter().zip(&many).all(|(a, b)| a.to_bits() == b.to_bits()), "{variant:?} {g:?}");
            }
        }
    }
}

fn run_gradient(g: &ConvGeometry, isa: Isa, threads: usize, x: &[f32], dy: &[f32]) -> Vec<f32> {
    let pool = ThreadPool::new(threads);
    let recipe = WinogradGrad::new(*g, isa).unwrap();
    let blocked = |channels: usize, [h, w]: [usize; 2], plain: &[f32]| {
        let dims = [g.batch, channels, h, w];
        let mut out = vec![0.0; blocked_len(dims[0], dims[1], dims[2], dims[3])];
        plain_to_blocked(&pool, isa, dims, plain, &mut out);
        out
    };
    let (x, dy) = (blocked(g.in_channels, g.input, x), blocked(g.out_channels, g.output, dy));
    let mut scratch = vec![f32::NAN; recipe.scratch_len(threads)];
    let mut dw = vec![f32::NAN; g.out_channels * g.in_channels * 9];
    recipe.run(&pool, &x, &dy, &mut scratch, &mut dw);
    dw
}

#[test]
fn the_weight_gradient_agrees_with_the_reference_and_itself() {
    let large =
        [geometry(5, [70, 130], [15, 18], Padding::all(1)), geometry(40, [5, 7], [9, 9], Padding::all(1))];
    for g in cases().into_iter().chain(large) {
        let x = noise(1, g.batch * g.in_channels * g.input[0] * g.input[1]);
        let dy = noise(2, g.batch * g.out_channels * g.output[0] * g.output[1]);
        let wide = |v: &[f32]| v.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
        let mut expected = vec![0.0; g.out_channels * g.in_channels * 9];
        reference::conv2d::conv2d_grad_weight(&g, &wide(&x), &wide(&dy), &mut expected);
        let largest = expected.iter().fold(0.0f64, |m, e| m.max(e.abs()));
        for isa in Isa::available() {
            let one = run_gradient(&g, isa, 1, &x, &dy);
            let error = one.iter().zip(&expected).map(|(y, e)| (f64::from(*y) - e).abs());
            let worst = error.fold(0.0f64, |m, d| if d > m || d.is_nan() { d } else { m });
            assert!(worst <= F4_ERROR * largest, "{} {g:?}: {worst} of {largest}", isa.name());
            for threads in [2, 3] {
                let many = run_gradient(&g, isa, threads, &x, &dy);
                assert!(
                    one.iter().zip(&many).all(|(a, b)| a.to_bits() == b.to_bits()),
                    "{} {g:?}",
                    isa.name()
                );
            }
        }
    }
}
