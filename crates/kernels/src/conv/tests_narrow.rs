//! Convolutions of narrow numbers against the reference, on the same awkward shapes as those of `f32`.

use super::tests::{at_every_thread_count, cases, integers, weight_len, x_dims, y_dims};
use super::*;
use crate::isa::Isa;
use crate::layout::{BLOCK, blocked_to_plain, plain_to_blocked};
use crate::narrow::{Coding, sum, to_pixels};
use crate::reference::narrow::{After, conv2d_bf16, conv2d_u8, round_to_bf16};
use ocellus_tensor::ConvGeometry;

/// Every instruction set, and the best one without its narrow products.
pub(super) fn instruction_sets() -> Vec<Isa> {
    let mut all = Isa::available();
    all.push(Isa::detect().without_narrow_products());
    all
}

fn size([batch, channels, height, width]: [usize; 4]) -> crate::elementwise::Blocked {
    crate::elementwise::Blocked { batch, channels, height, width }
}

/// Plain `f32` to narrow blocks.
pub(super) fn encode(dims: [usize; 4], x: &[f32], coding: Coding) -> Vec<f32> {
    let (pool, [n, c, h, w]) = (ThreadPool::new(1), dims);
    let mut blocked = vec![f32::NAN; Format::F32.blocked_len(n, c, h, w)];
    plain_to_blocked(&pool, Isa::Scalar, dims, x, &mut blocked);
    // Converting must not let anything through from the padding lanes.
    for (i, value) in blocked.iter_mut().enumerate() {
        if i / BLOCK / (h * w) % c.div_ceil(BLOCK) * BLOCK + i % BLOCK >= c {
            *value = f32::NAN;
        }
    }
    let mut y = vec![f32::NAN; coding.format().blocked_len(n, c, h, w)];
    let from = (&blocked[..], Coding::F32);
    sum(&pool, Isa::Scalar, size(dims), (from, None, None), (&mut y, coding));
    y
}

pub(super) fn decode(dims: [usize; 4], x: &[f32], coding: Coding) -> Vec<f32> {
    let (pool, [n, c, h, w]) = (ThreadPool::new(1), dims);
    let mut blocked = vec![f32::NAN; Format::F32.blocked_len(n, c, h, w)];
    sum(&pool, Isa::Scalar, size(dims), ((x, coding), None, None), (&mut blocked, Coding::F32));
    let mut plain = vec![f32::NAN; n * c * h * w];
    blocked_to_plain(&pool, Isa::Scalar, dims, &blocked, &mut plain);
    plain
}

fn input(g: &ConvGeometry, layout: InputLayout, x: &[f32], coding: Coding) -> Vec<f32> {
    let [n, c, h, w] = x_dims(g);
    if layout == InputLayout::Blocked {
        return encode(x_dims(g), x, coding);
    }
    let mut y = vec![f32::NAN; n * h * w * pixel_words(coding.format(), c)];
    to_pixels(&ThreadPool::new(2), Isa::detect(), x_dims(g), x, (&mut y, coding));
    y
}

/// Runs the recipe and returns the plain output.
fn run(
    recipe: &ConvForward,
    (x, weight, scale): (&[f32], &[f32], Option<&[f32]>),
    epilogue: Epilogue<'_>,
    coding: Coding,
    what: &str,
) -> Vec<f32> {
    let g = recipe.geometry();
    let [n, c, h, w] = y_dims(g);
    at_every_thread_count(what, |pool| {
        let mut packed = vec![f32::NAN; recipe.packed_len()];
        recipe.pack(pool, weight, scale, &mut packed);
        let mut scratch = vec![f32::NAN; recipe.scratch_len(pool.threads())];
        let mut y = vec![f32::NAN; coding.format().blocked_len(n, c, h, w)];
        recipe.run(pool, x, &packed, epilogue, &mut scratch, &mut y);
        decode(y_dims(g), &y, coding)
    })
}

fn layouts(g: &ConvGeometry) -> &'static [InputLayout] {
    match g.in_channels <= BLOCK && g.groups == 1 {
        true => &[InputLayout::Blocked, InputLayout::Pixels],
        false => &[InputLayout::Blocked],
    }
}

/// Small integers: sums are exact, so every instruction set must give the same bits as the reference.
#[test]
fn bf16_agrees_with_the_reference_to_the_bit() {
    for isa in instruction_sets() {
        for g in cases() {
            for &layout in layouts(&g) {
                let what = format!("bf16 {} {layout:?} {g:?}", isa.name());
                let Some(recipe) = ConvForward::narrow(g, isa, layout, (Coding::Bf16, false)) else {
                    assert!(g.groups > 1, "{what}");
                    continue;
                };
                let x = integers(x_dims(&g).iter().product(), 1);
                let weight = integers(weight_len(&g), 2);
                let (bias, residual) =
                    (integers(g.out_channels, 3), integers(y_dims(&g).iter().product(), 4));
                let mut want = vec![0.0; residual.len()];
                let after = After { bias: &bias, residual: &residual, residual_worth: 1.0, low: 0.0 };
                conv2d_bf16(&g, &x, &weight, after, &mut want);
                let added = encode(y_dims(&g), &residual, Coding::Bf16);
                let epilogue = Epilogue {
                    bias: Some(&bias),
                    residual: Some(&added),
                    clamp: Some(Clamp::RELU),
                    worth: None,
                };
                let x = input(&g, layout, &x, Coding::Bf16);
                let got = run(&recipe, (&x, &weight, None), epilogue, Coding::Bf16, &what);
                assert_eq!(got, want, "{what}");
            }
        }
    }
}

/// Numbers that round: within half a unit of bf16's last place of the exact sum, plus what `f32` sums lose, which is
/// counted against the sum of the products' magnitudes.
#[test]
fn bf16_rounds_once() {
    for isa in instruction_sets() {
        for g in cases().into_iter().filter(|g| g.groups == 1) {
            let what = format!("bf16 {} {g:?}", isa.name());
            let recipe =
                ConvForward::narrow(g, isa, InputLayout::Blocked, (Coding::Bf16, false)).expect(&what);
            let wave = |len: usize, step: f32| -> Vec<f32> {
                (0..len).map(|i| round_to_bf16((i as f32 * step).sin())).collect()
            };
            let (x, weight) = (wave(x_dims(&g).iter().product(), 0.37), wave(weight_len(&g), 0.71));
            let outputs = y_dims(&g).iter().product();
            let (mut exact, mut size) = (vec![0.0f64; outputs], vec![0.0f64; outputs]);
            super::tests::for_each_product(&g, |y, i, w| {
                exact[y] += f64::from(x[i]) * f64::from(weight[w]);
                size[y] += f64::from((x[i] * weight[w]).abs());
            });
            let x = encode(x_dims(&g), &x, Coding::Bf16);
            let got = run(&recipe, (&x, &weight, None), Epilogue::default(), Coding::Bf16, &what);
            for (i, &got) in got.iter().enumerate() {
                let bound = exact[i].abs() / 256.0 + size[i] * 1e-6 + 1e-37;
                let error = (f64::from(got) - exact[i]).abs();
                assert!(error <= bound, "{what}: element {i} is {got}, exactly {}", exact[i]);
            }
        }
    }
}

#[test]
fn bytes_agree_with_exact_integers() {
    for isa in instruction_sets() {
        for (i, g) in cases().into_iter().enumerate() {
            for (j, &layout) in layouts(&g).iter().enumerate() {
                check_bytes(g, isa, layout, [0, 128, 3][(i + j) % 3]);
            }
        }
    }
}

fn check_bytes(g: ConvGeometry, isa: Isa, layout: InputLayout, zero: u8) {
    let what = format!("bytes from {zero} {} {layout:?} {g:?}", isa.name());
    let coding = Coding::U8 { scale: 1.0, zero };
    let Some(recipe) = ConvForward::narrow(g, isa, layout, (coding, false)) else {
        assert!(g.groups > 1, "{what}");
        return;
    };
    let spread = |len: usize, seed: u32, most: u32| -> Vec<u32> {
        (0..len as u32).map(|i| (i ^ seed).wrapping_mul(2_654_435_761).rotate_left(11) % (most + 1)).collect()
    };
    let x: Vec<u8> = spread(x_dims(&g).iter().product(), 1, 255).into_iter().map(|x| x as u8).collect();
    let weight: Vec<i8> =
        spread(weight_len(&g), 2, 254).into_iter().map(|w| (w as i32 - 127) as i8).collect();
    let outputs: usize = y_dims(&g).iter().product();
    let residual: Vec<f32> = spread(outputs, 3, 255).into_iter().map(|x| x as f32).collect();
    // Powers of two, so that no product rounds.
    let worth: Vec<f32> = (0..g.out_channels).map(|o| [1.0, 0.5, 2.0][o % 3] / 1024.0).collect();
    let bias: Vec<f32> = (0..g.out_channels).map(|o| 100.0 + o as f32).collect();
    let after = After { bias: &bias, residual: &residual, residual_worth: 0.25, low: 3.0 };
    let mut want = vec![0; outputs];
    conv2d_u8(&g, (&x, zero), (&weight, &worth), after, &mut want);

    // The kernel multiplies bytes as they are; what `zero` adds to each sum is a constant of its channel.
    let per_channel = g.group_in() * g.window.taps();
    let constant = |o: usize| -> i32 {
        let weights = &weight[o * per_channel..(o + 1) * per_channel];
        weights.iter().map(|&w| i32::from(w)).sum::<i32>() * i32::from(zero)
    };
    let shifted: Vec<f32> = (0..g.out_channels).map(|o| bias[o] - constant(o) as f32 * worth[o]).collect();
    let values: Vec<f32> = x.iter().map(|&x| f32::from(x) - f32::from(zero)).collect();
    let bytes = Coding::U8 { scale: 1.0, zero: 0 };
    let added = encode(y_dims(&g), &residual, bytes);
    let epilogue = Epilogue {
        bias: Some(&shifted),
        residual: Some(&added),
        clamp: Some(Clamp { low: 3.0, high: f32::INFINITY }),
        worth: Some(Worth { sum: &worth, residual: 0.25 }),
    };
    let weights: Vec<f32> = weight.iter().map(|&w| f32::from(w)).collect();
    let x = input(&g, layout, &values, coding);
    let got = run(&recipe, (&x, &weights, None), epilogue, bytes, &what);
    for (i, (&got, &want)) in got.iter().zip(&want).enumerate() {
        assert!(got == f32::from(want), "{what}: element {i} is {got}, expected {want}");
    }
}

#[test]
fn wide_output_is_not_rounded() {
    let g = cases()[5];
    for isa in instruction_sets() {
        let recipe =
            ConvForward::narrow(g, isa, InputLayout::Blocked, (Coding::Bf16, true)).expect("supported");
        let x = integers(x_dims(&g).iter().product(), 1);
        let weight: Vec<f32> = integers(weight_len(&g), 2).into_iter().map(|w| w * 17.0).collect();
        let mut want = vec![0.0; y_dims(&g).iter().product()];
        super::tests::for_each_product(&g, |y, i, w| want[y] += x[i] * weight[w]);
        let x = encode(x_dims(&g), &x, Coding::Bf16);
        let got = run(&recipe, (&x, &weight, None), Epilogue::default(), Coding::F32, "wide");
        assert_eq!(got, want);
        assert!(want.iter().any(|&y| y != round_to_bf16(y)), "some sum needs more than bf16");
    }
}
