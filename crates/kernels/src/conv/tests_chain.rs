//! A chain against its two convolutions, one after the other: the same bits.

use ocellus_tensor::{ConvGeometry, Padding, Rounding, Window};

use super::tests::{at_every_thread_count, weight_len, x_dims, y_dims};
use super::*;
use crate::isa::Isa;
use crate::layout::{blocked_len, plain_to_blocked};
use crate::threads::ThreadPool;

/// A depthwise convolution of these sizes: channels, image, window.
fn depthwise(batch: usize, channels: usize, input: [usize; 2], window: Window) -> ConvGeometry {
    let output = window.output(input, Rounding::Floor).expect("fits");
    ConvGeometry {
        batch,
        in_channels: channels,
        out_channels: channels,
        groups: channels,
        input,
        output,
        window,
    }
}

/// Numbers that are not exact, so that another order of sums would show.
fn numbers(len: usize, step: f32) -> Vec<f32> {
    (0..len).map(|i| (i as f32 * step).sin()).collect()
}

fn blocked([n, c, h, w]: [usize; 4], plain: &[f32]) -> Vec<f32> {
    let mut out = vec![f32::NAN; blocked_len(n, c, h, w)];
    plain_to_blocked(&ThreadPool::new(1), Isa::Scalar, [n, c, h, w], plain, &mut out);
    out
}

fn check(isa: Isa, channels_in: usize, second: ConvGeometry) {
    let what = format!("{} {channels_in} to {second:?}", isa.name());
    let (size, window) = (second.input, Window::square(1));
    let (out_channels, batch) = (second.in_channels, second.batch);
    let first = ConvGeometry {
        batch,
        in_channels: channels_in,
        out_channels,
        groups: 1,
        input: size,
        output: size,
        window,
    };
    let recipes = [first, second].map(|g| ConvForward::new(g, isa, InputLayout::Blocked).expect(&what));
    let chain = ConvChain::new(&recipes[0], &recipes[1]).expect(&what);
    let x = blocked(x_dims(&first), &numbers(x_dims(&first).iter().product(), 0.37));
    let biases = [0.73, 0.19].map(|step| numbers(out_channels, step));
    let clamps = [Clamp { low: 0.0, high: 1.5 }, Clamp { low: -0.8, high: 0.8 }];
    let epilogue =
        |i: usize| Epilogue { bias: Some(&biases[i]), clamp: Some(clamps[i]), ..Epilogue::default() };
    let packed = |pool: &ThreadPool| {
        [0, 1].map(|i| {
            let weight = numbers(weight_len(&[first, second][i]), [0.51, 0.29][i]);
            let mut packed = vec![f32::NAN; recipes[i].packed_len()];
            recipes[i].pack(pool, &weight, None, &mut packed);
            packed
        })
    };
    let [n, c, h, w] = y_dims(&second);
    let pool = ThreadPool::new(1);
    let weights = packed(&pool);
    let mut scratch = vec![f32::NAN; recipes[0].scratch_len(1)];
    let mut between = vec![f32::NAN; blocked_len(n, c, size[0], size[1])];
    recipes[0].run(&pool, &x, &weights[0], epilogue(0), &mut scratch, &mut between);
    let mut want = vec![f32::NAN; blocked_len(n, c, h, w)];
    recipes[1].run(&pool, &between, &weights[1], epilogue(1), &mut [], &mut want);

    let got = at_every_thread_count(&what, |pool| {
        let weights = packed(pool);
        let mut scratch = vec![f32::NAN; chain.scratch_len(pool.threads())];
        let mut y = vec![f32::NAN; want.len()];
        let links = [(&weights[0][..], epilogue(0)), (&weights[1][..], epilogue(1))];
        chain.run(pool, &x, links, &mut scratch, &mut y);
        y
    });
    let same = got.iter().zip(&want).all(|(got, want)| got.to_bits() == want.to_bits());
    assert!(same, "{what}: not the bits of the two convolutions");
}

#[test]
fn a_chain_has_the_bits_of_its_two_convolutions() {
    let same = |kernel: usize| Window::square(kernel).padding(kernel / 2);
    let uneven =
        Window { padding: Padding { top: 0, left: 1, bottom: 2, right: 0 }, ..Window::square(3).stride(2) };
    for isa in Isa::available() {
        check(isa, 16, depthwise(1, 96, [14, 14], same(3)));
        check(isa, 24, depthwise(2, 40, [15, 9], same(3).stride(2)));
        check(isa, 7, depthwise(1, 17, [7, 7], same(5)));
        check(isa, 33, depthwise(3, 130, [6, 5], Window { dilation: [2, 2], ..same(3) }.padding(2)));
        check(isa, 20, depthwise(1, 33, [9, 11], uneven));
        check(isa, 16, depthwise(1, 32, [1, 1], same(3)));
        // Windows that lie apart, and several strips.
        check(isa, 16, depthwise(1, 32, [13, 13], Window::square(2).stride(3)));
        check(isa, 18, depthwise(1, 48, [150, 70], same(3)));
        check(isa, 18, depthwise(2, 16, [149, 64], same(7).stride(2)));
    }
}

#[test]
fn other_pairs_are_no_chain() {
    let isa = Isa::detect();
    let recipe = |g: ConvGeometry| ConvForward::new(g, isa, InputLayout::Blocked).expect("blocks");
    let second = recipe(depthwise(1, 32, [8, 8], Window::square(3).padding(1)));
    let dense = |window: Window, input: [usize; 2], out_channels: usize| {
        let output = window.output(input, Rounding::Floor).expect("fits");
        recipe(ConvGeometry { batch: 1, in_channels: 16, out_channels, groups: 1, input, output, window })
    };
    assert!(ConvChain::new(&dense(Window::square(1), [8, 8], 32), &second).is_some());
    assert!(ConvChain::new(&dense(Window::square(3).padding(1), [8, 8], 32), &second).is_none());
    assert!(ConvChain::new(&dense(Window::square(1).stride(2), [16, 16], 32), &second).is_none());
    assert!(ConvChain::new(&dense(Window::square(1), [8, 8], 48), &second).is_none());
    assert!(ConvChain::new(&second, &second).is_none());
    let first = dense(Window::square(1), [8, 8], 32);
    assert!(ConvChain::new(&first, &first).is_none());
}
