//! Every recipe against an obvious loop nest, exactly, on small integers.

use ocellus_tensor::{ConvGeometry, Padding, Rounding, Window};

use super::*;
use crate::isa::Isa;
use crate::layout::{BLOCK, blocked_len, blocked_to_plain, plain_to_blocked};
use crate::threads::ThreadPool;

/// Small integers that depend on the index, so that sums are exact in `f32`.
pub(super) fn integers(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2654435761).wrapping_add(12345);
    let mut next = || {
        state = state.wrapping_mul(1664525).wrapping_add(1013904223);
        (state >> 24) % 9
    };
    (0..len).map(|_| next() as f32 - 4.0).collect()
}

/// Calls `f(y, x, w)` with the flat plain indices of every product of the convolution.
pub(super) fn for_each_product(g: &ConvGeometry, mut f: impl FnMut(usize, usize, usize)) {
    let (inputs, outputs, [kh, kw]) = (g.group_in(), g.group_out(), g.window.kernel);
    let ([h, w], [oh, ow]) = (g.input, g.output);
    for n in 0..g.batch {
        for o in 0..g.out_channels {
            for p in 0..oh * ow {
                for i in 0..inputs * kh * kw {
                    let (c, ky, kx) = (i / (kh * kw), i / kw % kh, i % kw);
                    let row = g.window.pixel(p / ow, ky, 0, h);
                    let col = g.window.pixel(p % ow, kx, 1, w);
                    if let (Some(row), Some(col)) = (row, col) {
                        let channel = n * g.in_channels + o / outputs * inputs + c;
                        let y = (n * g.out_channels + o) * oh * ow + p;
                        f(y, (channel * h + row) * w + col, o * inputs * kh * kw + i);
                    }
                }
            }
        }
    }
}

pub(super) fn x_dims(g: &ConvGeometry) -> [usize; 4] {
    [g.batch, g.in_channels, g.input[0], g.input[1]]
}

pub(super) fn y_dims(g: &ConvGeometry) -> [usize; 4] {
    [g.batch, g.out_channels, g.output[0], g.output[1]]
}

pub(super) fn weight_len(g: &ConvGeometry) -> usize {
    g.out_channels * g.group_in() * g.window.taps()
}

/// Blocked, with garbage in the padding lanes.
fn blocked(dims: [usize; 4], plain: &[f32]) -> Vec<f32> {
    let [n, c, h, w] = dims;
    let mut out = vec![f32::NAN; blocked_len(n, c, h, w)];
    plain_to_blocked(&ThreadPool::new(1), Isa::Scalar, dims, plain, &mut out);
    let pixels = h * w;
    for (i, value) in out.iter_mut().enumerate() {
        if i / BLOCK / pixels % c.div_ceil(BLOCK) * BLOCK + i % BLOCK >= c {
            *value = 1e9;
        }
    }
    out
}

fn plain(dims: [usize; 4], blocked: &[f32]) -> Vec<f32> {
    let mut out = vec![f32::NAN; dims.iter().product()];
    blocked_to_plain(&ThreadPool::new(1), Isa::Scalar, dims, blocked, &mut out);
    out
}

fn assert_same(got: &[f32], want: &[f64], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
        assert!(f64::from(g) == w, "{what}: element {i} is {g}, expected {w}");
    }
}

/// Runs `compute` at 1, 2, 3 and 4 threads and checks that the bits agree.
pub(super) fn at_every_thread_count(what: &str, compute: impl Fn(&ThreadPool) -> Vec<f32>) -> Vec<f32> {
    let one = compute(&ThreadPool::new(1));
    for threads in 2..=4 {
        let more = compute(&ThreadPool::new(threads));
        let same = one.iter().zip(&more).all(|(a, b)| a.to_bits() == b.to_bits());
        assert!(same && one.len() == more.len(), "{what} at {threads} threads");
    }
    one
}

fn check_forward(g: ConvGeometry, isa: Isa, layout: InputLayout) {
    let what = format!("forward {} {layout:?} {g:?}", isa.name());
    let recipe = ConvForward::new(g, isa, layout).expect(&what);
    let x = integers(x_dims(&g).iter().product(), 1);
    let weight = integers(weight_len(&g), 2);
    let bias = integers(g.out_channels, 3);
    let scale: Vec<f32> = (0..g.out_channels).map(|o| [1.0, 2.0, -1.0][o % 3]).collect();
    let residual = integers(y_dims(&g).iter().product(), 4);
    let per_image = g.output[0] * g.output[1];
    let channel = |y: usize| y / per_image % g.out_channels;
    let mut want: Vec<f64> = (0..residual.len()).map(|y| f64::from(residual[y] + bias[channel(y)])).collect();
    for_each_product(&g, |y, i, w| want[y] += f64::from(x[i] * weight[w] * scale[channel(y)]));
    want.iter_mut().for_each(|y| *y = y.max(0.0));

    let input = if layout == InputLayout::Plain { x.clone() } else { blocked(x_dims(&g), &x) };
    let added = blocked(y_dims(&g), &residual);
    let got = at_every_thread_count(&what, |pool| {
        let mut packed = vec![f32::NAN; recipe.packed_len()];
        recipe.pack(pool, &weight, Some(&scale), &mut packed);
        let mut scratch = vec![f32::NAN; recipe.scratch_len(pool.threads())];
        let mut y = vec![f32::NAN; added.len()];
        let epilogue =
            Epilogue { bias: Some(&bias), residual: Some(&added), clamp: Some(Clamp::RELU), worth: None };
        recipe.run(pool, &input, &packed, epilogue, &mut scratch, &mut y);
        assert!(y.iter().all(|v| v.is_finite()), "{what}: not finite");
        plain(y_dims(&g), &y)
    });
    assert_same(&got, &want, &what);
}

fn check_input_grad(g: ConvGeometry, isa: Isa) {
    let what = format!("input gradient {} {g:?}", isa.name());
    let recipe = ConvInputGrad::new(g, isa).expect(&what);
    let dy = integers(y_dims(&g).iter().product(), 5);
    let weight = integers(weight_len(&g), 6);
    let add = integers(x_dims(&g).iter().product(), 7);
    let bias = integers(g.in_channels, 10);
    let clamp = Clamp { low: -30.0, high: 25.0 };
    let channel = |i: usize| i / (g.input[0] * g.input[1]) % g.in_channels;
    let mut want: Vec<f64> = (0..add.len()).map(|i| f64::from(add[i] + bias[channel(i)])).collect();
    for_each_product(&g, |y, i, w| want[i] += f64::from(dy[y] * weight[w]));
    want.iter_mut().for_each(|x| *x = x.clamp(-30.0, 25.0));

    let (dy, add) = (blocked(y_dims(&g), &dy), blocked(x_dims(&g), &add));
    let got = at_every_thread_count(&what, |pool| {
        let mut packed = vec![f32::NAN; recipe.packed_len()];
        recipe.pack(pool, &weight, &mut packed);
        let mut scratch = vec![f32::NAN; recipe.scratch_len(pool.threads())];
        let mut dx = vec![f32::NAN; add.len()];
        let epilogue = Epilogue { residual: Some(&add), bias: Some(&bias), clamp: Some(clamp), worth: None };
        recipe.run(pool, &dy, &packed, epilogue, &mut scratch, &mut dx);
        assert!(dx.iter().all(|v| v.is_finite()), "{what}: not finite");
        plain(x_dims(&g), &dx)
    });
    assert_same(&got, &want, &what);
}

fn check_weight_grad(g: ConvGeometry, isa: Isa, layout: InputLayout) {
    let what = format!("weight gradient {} {layout:?} {g:?}", isa.name());
    let recipe = ConvWeightGrad::new(g, isa, layout).expect(&what);
    let x = integers(x_dims(&g).iter().product(), 8);
    let dy = integers(y_dims(&g).iter().product(), 9);
    let mut want = vec![0.0; weight_len(&g)];
    for_each_product(&g, |y, i, w| want[w] += f64::from(dy[y] * x[i]));

    let input = if layout == InputLayout::Plain { x.clone() } else { blocked(x_dims(&g), &x) };
    let dy = blocked(y_dims(&g), &dy);
    let got = at_every_thread_count(&what, |pool| {
        let mut scratch = vec![f32::NAN; recipe.scratch_len(pool.threads())];
        let mut dw = vec![f32::NAN; want.len()];
        recipe.run(pool, &input, &dy, &mut scratch, &mut dw);
        dw
    });
    assert_same(&got, &want, &what);
}

fn geometry(dims: [usize; 4], out_channels: usize, groups: usize, window: Window) -> ConvGeometry {
    let [batch, in_channels, h, w] = dims;
    let output = window.output([h, w], Rounding::Floor).expect("the window fits");
    ConvGeometry { batch, in_channels, out_channels, groups, input: [h, w], output, window }
}

/// Awkward shapes.
pub(super) fn cases() -> Vec<ConvGeometry> {
    let square = Window::square;
    let lopsided = Padding { top: 0, left: 2, bottom: 3, right: 1 };
    vec![
        geometry([1, 1, 1, 1], 1, 1, square(1)),
        geometry([2, 16, 1, 1], 16, 1, square(1)),
        geometry([2, 40, 2, 3], 112, 1, square(3).padding(1)),
        geometry([2, 3, 9, 11], 5, 1, square(3).padding(1)),
        geometry([1, 17, 7, 7], 20, 1, square(3).padding(1)),
        geometry([2, 50, 7, 7], 70, 1, square(1)),
        geometry([5, 32, 8, 8], 33, 1, square(3).padding(1)),
        geometry([1, 20, 14, 14], 50, 1, square(3).stride(2).padding(1)),
        geometry([1, 16, 13, 15], 32, 1, square(1).stride(2)),
        geometry([2, 5, 12, 10], 17, 1, square(5).stride(3).padding(2)),
        geometry([1, 3, 19, 23], 24, 1, square(7).stride(2).padding(3)),
        geometry([1, 4, 21, 17], 16, 1, square(3).stride(4)),
        geometry([2, 3, 47, 43], 40, 1, square(11).stride(4).padding(2)),
        geometry([1, 3, 33, 30], 20, 1, square(3).stride(2)),
        geometry([1, 18, 9, 9], 6, 1, square(3).dilation(2).padding(2)),
        geometry([1, 1, 28, 28], 20, 1, square(5)),
        geometry([3, 6, 8, 9], 10, 1, Window { padding: lopsided, ..square(3) }),
        geometry(
            [1, 6, 8, 9],
            10,
            1,
            Window { padding: lopsided, stride: [2, 1], dilation: [1, 3], ..square(2) },
        ),
        geometry([1, 9, 5, 6], 8, 1, square(1).padding(1)),
        geometry([1, 8, 1, 40], 8, 1, Window { kernel: [1, 9], ..square(1) }),
        geometry([2, 32, 6, 6], 64, 2, square(3).padding(1)),
        geometry([1, 48, 9, 9], 48, 3, square(3).stride(2).padding(1)),
        geometry([1, 16, 40, 33], 16, 1, square(3).padding(1)),
        geometry([2, 20, 9, 23], 20, 20, square(3).padding(1)),
        geometry([1, 33, 14, 14], 33, 33, square(5).stride(2).padding(2)),
        geometry([2, 17, 30, 31], 17, 17, square(7).padding(3)),
        geometry([1, 16, 12, 29], 16, 16, square(5).padding(2)),
        geometry([1, 20, 11, 17], 20, 20, square(3).stride(3).padding(2)),
        geometry([1, 16, 40, 41], 16, 16, square(7).stride(2).padding(3)),
        geometry([1, 16, 2, 3], 16, 16, square(5).padding(2)),
        geometry([3, 16, 7, 8], 16, 16, Window { padding: lopsided, dilation: [1, 2], ..square(3) }),
        geometry([1, 40, 3, 3], 600, 1, square(1)),
        geometry([2, 24, 9, 11], 24, 6, square(3).padding(1)),
        geometry([1, 64, 8, 7], 64, 32, square(3).stride(2).padding(1)),
        geometry([2, 40, 6, 5], 40, 5, square(3).padding(1)),
        geometry([1, 48, 5, 5], 48, 12, square(1)),
        geometry([2, 48, 7, 7], 96, 4, square(3).padding(1)),
        geometry([2, 10, 6, 5], 20, 10, square(3).padding(1)),
        geometry([1, 15, 6, 9], 10, 5, Window { padding: lopsided, ..square(3) }),
        geometry([3, 72, 4, 4], 48, 3, square(3).stride(2).padding(1)),
        geometry([8, 20, 7, 6], 18, 1, square(5)),
        geometry([9, 3, 13, 15], 20, 1, square(7).stride(2).padding(3)),
        geometry([8, 5, 30, 33], 17, 1, Window { padding: lopsided, dilation: [1, 2], ..square(5) }),
    ]
}

#[test]
fn forward_agrees_with_the_loop_nest() {
    for isa in Isa::available() {
        for g in cases() {
            check_forward(g, isa, InputLayout::Blocked);
            if g.in_channels <= BLOCK && g.groups == 1 {
                check_forward(g, isa, InputLayout::Plain);
            }
        }
    }
}

#[test]
fn input_gradient_agrees_with_the_loop_nest() {
    for isa in Isa::available() {
        for g in cases() {
            check_input_grad(g, isa);
        }
    }
}

#[test]
fn weight_gradient_agrees_with_the_loop_nest() {
    for isa in Isa::available() {
        for g in cases() {
            check_weight_grad(g, isa, InputLayout::Blocked);
            if g.in_channels <= BLOCK && g.groups == 1 {
                check_weight_grad(g, isa, InputLayout::Plain);
            }
        }
    }
}

#[test]
fn few_channels_are_scattered() {
    for g in cases() {
        let algorithm = ConvInputGrad::new(g, Isa::detect()).map(|recipe| recipe.algorithm());
        let few = g.batch >= 8;
        assert_eq!(algorithm == Some("scatter"), few, "{g:?}: {algorithm:?}");
    }
}

/// Numbers whose sums do round, so that another order of additions would show.
#[test]
fn threads_never_change_a_bit() {
    let fractions = |len: usize| -> Vec<f32> { (0..len).map(|i| (i as f32 * 0.37).sin() + 0.3).collect() };
    for g in cases() {
        let isa = Isa::detect();
        let (x, dy) = (blocked(x_dims(&g), &fractions(x_dims(&g).iter().product())), fractions(1 << 20));
        let dy = &dy[..blocked_len(g.batch, g.out_channels, g.output[0], g.output[1])];
        let weight = fractions(weight_len(&g));
        at_every_thread_count("forward", |pool| {
            let recipe = ConvForward::new(g, isa, InputLayout::Blocked).expect("supported");
            let mut packed = vec![f32::NAN; recipe.packed_len()];
            recipe.pack(pool, &weight, None, &mut packed);
            let mut scratch = vec![f32::NAN; recipe.scratch_len(pool.threads())];
            let mut y = vec![f32::NAN; dy.len()];
            recipe.run(pool, &x, &packed, Epilogue::default(), &mut scratch, &mut y);
            y
        });
        at_every_thread_count("input gradient", |pool| {
            let recipe = ConvInputGrad::new(g, isa).expect("supported");
            let mut packed = vec![f32::NAN; recipe.packed_len()];
            recipe.pack(pool, &weight, &mut packed);
            let mut scratch = vec![f32::NAN; recipe.scratch_len(pool.threads())];
            let mut dx = vec![f32::NAN; x.len()];
            recipe.run(pool, dy, &packed, Epilogue::default(), &mut scratch, &mut dx);
            dx
        });
        at_every_thread_count("weight gradient", |pool| {
            let recipe = ConvWeightGrad::new(g, isa, InputLayout::Blocked).expect("supported");
            let mut scratch = vec![f32::NAN; recipe.scratch_len(pool.threads())];
            let mut dw = vec![f32::NAN; weight.len()];
            recipe.run(pool, &x, dy, &mut scratch, &mut dw);
            dw
        });
    }
}
