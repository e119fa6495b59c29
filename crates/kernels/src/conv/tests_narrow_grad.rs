//! Gradients of convolutions in bf16 against the loop nest, on the same awkward shapes as those of `f32`.

use ocellus_tensor::ConvGeometry;

use super::tests::{at_every_thread_count, cases, for_each_product, integers, weight_len, x_dims, y_dims};
use super::tests_narrow::{decode, encode, instruction_sets};
use super::*;
use crate::isa::Isa;
use crate::layout::BLOCK;
use crate::narrow::Coding;
use crate::pairs::pair_images;
use crate::reference::narrow::round_to_bf16;

/// What may differ from the exact sum of products of rounded numbers: what `f32` sums lose, counted against the sum of the
/// products' magnitudes, and the rounding of a result that is bf16 itself.
fn assert_near(got: &[f32], exact: &[f64], size: &[f64], of_result: f64, what: &str) {
    assert_eq!(got.len(), exact.len(), "{what}");
    for (i, &got) in got.iter().enumerate() {
        let bound = exact[i].abs() * of_result + size[i] * 1e-6 + 1e-37;
        let error = (f64::from(got) - exact[i]).abs();
        assert!(error <= bound, "{what}: element {i} is {got}, exactly {}", exact[i]);
    }
}

/// Integers, whose sums are exact, and numbers that round, already bf16 ones.
fn numbers(len: usize, seed: u32) -> [Vec<f32>; 2] {
    let wave = |i: usize| round_to_bf16((i as f32 * (0.37 + seed as f32 * 0.01)).sin());
    [integers(len, seed), (0..len).map(wave).collect()]
}

fn run_input_grad(recipe: &ConvInputGrad, [dy, weight]: [&[f32]; 2], wide: bool, what: &str) -> Vec<f32> {
    let g = recipe.geometry();
    let [n, c, h, w] = x_dims(g);
    let of_dx = if wide { Coding::F32 } else { Coding::Bf16 };
    at_every_thread_count(what, |pool| {
        let mut packed = vec![f32::NAN; recipe.packed_len()];
        recipe.pack(pool, weight, &mut packed);
        let mut scratch = vec![f32::NAN; recipe.scratch_len(pool.threads())];
        let mut dx = vec![f32::NAN; of_dx.format().blocked_len(n, c, h, w)];
        recipe.run(pool, dy, &packed, Epilogue::default(), &mut scratch, &mut dx);
        decode(x_dims(g), &dx, of_dx)
    })
}

#[test]
fn input_gradient_agrees_with_the_loop_nest() {
    for isa in instruction_sets() {
        for g in cases() {
            for wide in [true, false] {
                let what = format!("bf16 input gradient {} {g:?}", isa.name());
                let Some(recipe) = ConvInputGrad::narrow(g, isa, wide) else {
                    assert!(g.groups > 1, "{what}");
                    continue;
                };
                let dys = numbers(y_dims(&g).iter().product(), 5);
                let weights = numbers(weight_len(&g), 6);
                for (dy, weight) in dys.iter().zip(&weights) {
                    let mut exact = vec![0.0; x_dims(&g).iter().product()];
                    let mut size = exact.clone();
                    for_each_product(&g, |y, i, w| {
                        exact[i] += f64::from(dy[y]) * f64::from(weight[w]);
                        size[i] += f64::from((dy[y] * weight[w]).abs());
                    });
                    let dy = encode(y_dims(&g), dy, Coding::Bf16);
                    let got = run_input_grad(&recipe, [&dy, weight], wide, &what);
                    assert_near(&got, &exact, &size, if wide { 0.0 } else { 1.0 / 256.0 }, &what);
                }
            }
        }
    }
}

/// Images in pairs, from `f32` in this layout, or from bf16 blocks.
fn pairs(dims: [usize; 4], layout: InputLayout, x: &[f32], coding: Coding) -> Vec<f32> {
    let [n, c, h, w] = dims;
    let from = if layout == InputLayout::Plain { x.to_vec() } else { encode(dims, x, coding) };
    let per_image = match layout {
        InputLayout::Plain => c * h * w,
        _ => Format::F32.blocked_len(1, c, h, w),
    };
    let mut y = vec![f32::NAN; n.div_ceil(2) * per_image];
    pair_images((&ThreadPool::new(2), Isa::detect()), (n, coding.format()), &from, &mut y);
    y
}

#[test]
fn weight_gradient_agrees_with_the_loop_nest() {
    for isa in instruction_sets() {
        for g in cases() {
            for layout in [InputLayout::Blocked, InputLayout::Plain] {
                let what = format!("bf16 weight gradient {} {layout:?} {g:?}", isa.name());
                if layout == InputLayout::Plain && (g.in_channels > BLOCK || g.groups > 1) {
                    continue;
                }
                let Some(recipe) = ConvWeightGrad::narrow(g, isa, layout) else {
                    assert!(g.groups > 1 || g.batch == 1, "{what}");
                    continue;
                };
                check_weight_grad(&recipe, layout, &what);
            }
        }
    }
}

fn check_weight_grad(recipe: &ConvWeightGrad, layout: InputLayout, what: &str) {
    let g: &ConvGeometry = recipe.geometry();
    let codings: &[Coding] = match layout {
        InputLayout::Plain => &[Coding::F32],
        _ => &[Coding::F32, Coding::Bf16],
    };
    let xs = numbers(x_dims(g).iter().product(), 8);
    let dys = numbers(y_dims(g).iter().product(), 9);
    for (x, dy) in xs.iter().zip(&dys) {
        let mut exact = vec![0.0; weight_len(g)];
        let mut size = exact.clone();
        for_each_product(g, |y, i, w| {
            exact[w] += f64::from(dy[y]) * f64::from(x[i]);
            size[w] += f64::from((dy[y] * x[i]).abs());
        });
        for &coding in codings {
            let x = pairs(x_dims(g), layout, x, coding);
            let dy = pairs(y_dims(g), InputLayout::Blocked, dy, coding);
            let got = at_every_thread_count(what, |pool| {
                let mut scratch = vec![f32::NAN; recipe.scratch_len(pool.threads())];
                let mut dw = vec![f32::NAN; exact.len()];
                recipe.run(pool, &x, &dy, &mut scratch, &mut dw);
                dw
            });
            assert_near(&got, &exact, &size, 0.0, what);
        }
    }
}
