use ocellus_tensor::{Padding, Rounding, Window};

use super::*;
use crate::elementwise::Blocked;
use crate::elementwise::tests::{close, noise, on_all, plain_len, sizes, to_blocked, to_plain};
use crate::isa::Isa;
use crate::reference::pool as reference;
use crate::reference::pool::PoolGeometry;
use crate::threads::ThreadPool;

fn windows() -> Vec<Window> {
    let uneven = Padding { top: 2, left: 0, bottom: 1, right: 2 };
    vec![
        Window::square(1),
        Window::square(2).stride(2),
        Window::square(3).stride(2).padding(1),
        Window::square(3).padding(1),
        Window::square(3).stride(4),
        Window { kernel: [2, 5], stride: [3, 1], padding: uneven, dilation: [1, 1] },
        Window::square(3).padding(2).dilation(2),
        Window::square(1).padding(1),
        Window::square(4).stride(3).padding(3),
    ]
}

/// Every window over every size it fits, with the reference's geometry.
fn for_each_case(mut body: impl FnMut(Pooling, PoolGeometry)) {
    for input in sizes() {
        for window in windows() {
            for rounding in [Rounding::Floor, Rounding::Ceil] {
                let Ok(pooling) = Pooling::new(input, window, rounding) else { continue };
                let output = [pooling.output().height, pooling.output().width];
                let planes = input.batch * input.channels;
                let geometry = PoolGeometry { planes, input: [input.height, input.width], output, window };
                body(pooling, geometry);
            }
        }
    }
}

/// Whole numbers of few values, so that maxima tie and sums are exact.
fn whole(len: usize, seed: u32) -> Vec<f32> {
    noise(len, seed).iter().map(|x| (x * 3.0).round()).collect()
}

#[test]
fn max_and_its_gradient_are_exact() {
    for_each_case(|pooling, geometry| {
        let (input, output) = (pooling.input(), pooling.output());
        let (x, dy) = (whole(plain_len(input), 1), whole(plain_len(output), 2));
        let mut y = vec![f32::NAN; dy.len()];
        reference::max_pool(&geometry, &x, &mut y);
        let mut dx = vec![f32::NAN; x.len()];
        reference::max_pool_grad(&geometry, &x, &dy, &mut dx);
        let want = [y, dx].concat();
        let (x, dy) = (to_blocked(input, &x), to_blocked(output, &dy));
        let kernel = |pool: &ThreadPool, isa: Isa| {
            let mut y = vec![f32::NAN; output.elements()];
            pooling.max(pool, isa, &x, &mut y);
            let mut dx = vec![f32::NAN; input.elements()];
            pooling.max_grad(pool, isa, &x, &dy, &mut dx);
            [to_plain(output, &y), to_plain(input, &dx)].concat()
        };
        on_all(kernel, |isa, got| assert!(got == want, "{isa} {pooling:?}"));
    });
}

#[test]
fn mean_and_its_gradient() {
    for include_padding in [false, true] {
        for_each_case(|pooling, geometry| {
            let (input, output) = (pooling.input(), pooling.output());
            let (x, dy) = (noise(plain_len(input), 3), noise(plain_len(output), 4));
            let mut y = vec![f32::NAN; dy.len()];
            reference::avg_pool(&geometry, include_padding, &x, &mut y);
            let mut dx = vec![f32::NAN; x.len()];
            reference::avg_pool_grad(&geometry, include_padding, &dy, &mut dx);
            let want: Vec<f64> = y.iter().chain(&dx).map(|&v| f64::from(v)).collect();
            let (x, dy) = (to_blocked(input, &x), to_blocked(output, &dy));
            let kernel = |pool: &ThreadPool, isa: Isa| {
                let mut y = vec![f32::NAN; output.elements()];
                pooling.avg(pool, isa, include_padding, &x, &mut y);
                let mut dx = vec![f32::NAN; input.elements()];
                pooling.avg_grad(pool, isa, include_padding, &dy, &mut dx);
                [to_plain(output, &y), to_plain(input, &dx)].concat()
            };
            on_all(kernel, |isa, got| close(&format!("{isa} {pooling:?}"), got, &want, 1e-6));
        });
    }
}

#[test]
fn a_nan_wins_and_takes_the_gradient() {
    let input = Blocked { batch: 1, channels: 17, height: 7, width: 9 };
    let pooling = Pooling::new(input, Window::square(3).stride(2).padding(1), Rounding::Floor).unwrap();
    let output = pooling.output();
    let mut x = whole(plain_len(input), 5);
    for i in (0..x.len()).step_by(31) {
        x[i] = f32::NAN;
        x[(i + 9) % (17 * 63)] = f32::INFINITY;
    }
    x[100] = f32::NEG_INFINITY;
    let dy = whole(plain_len(output), 6);
    let geometry = PoolGeometry {
        planes: 17,
        input: [7, 9],
        output: [4, 5],
        window: Window::square(3).stride(2).padding(1),
    };
    let mut y = vec![0.0; dy.len()];
    reference::max_pool(&geometry, &x, &mut y);
    let mut dx = vec![f32::NAN; x.len()];
    reference::max_pool_grad(&geometry, &x, &dy, &mut dx);
    let (x, dy) = (to_blocked(input, &x), to_blocked(output, &dy));
    let kernel = |pool: &ThreadPool, isa: Isa| {
        let mut y = vec![0.5; output.elements()];
        pooling.max(pool, isa, &x, &mut y);
        let mut dx = vec![f32::NAN; input.elements()];
        pooling.max_grad(pool, isa, &x, &dy, &mut dx);
        [to_plain(output, &y), to_plain(input, &dx)].concat()
    };
    on_all(kernel, |isa, got| {
        let same = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| a == b || (a.is_nan() && b.is_nan()));
        assert!(same(&got[..y.len()], &y), "{isa} values");
        assert!(same(&got[y.len()..], &dx), "{isa} gradient");
    });
}

#[test]
fn global_mean_and_its_gradient() {
    for size in sizes() {
        let x = noise(plain_len(size), 7);
        let one = Blocked { height: 1, width: 1, ..size };
        let dy = noise(plain_len(one), 8);
        let mut want = vec![0.0; dy.len()];
        x.iter()
            .enumerate()
            .for_each(|(i, &x)| want[i / size.pixels()] += f64::from(x) / size.pixels() as f64);
        want.extend((0..x.len()).map(|i| f64::from(dy[i / size.pixels()]) / size.pixels() as f64));
        let (x, dy) = (to_blocked(size, &x), to_blocked(one, &dy));
        let kernel = |pool: &ThreadPool, isa: Isa| {
            let mut y = vec![f32::NAN; one.elements()];
            global_avg(pool, isa, size, &x, &mut y);
            let mut dx = vec![f32::NAN; size.elements()];
            global_avg_grad(pool, isa, size, &dy, &mut dx);
            [to_plain(one, &y), to_plain(size, &dx)].concat()
        };
        on_all(kernel, |isa, got| close(isa, got, &want, 2e-7));
    }
}
