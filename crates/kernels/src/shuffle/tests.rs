use super::*;
use crate::elementwise::Blocked;
use crate::elementwise::tests::{close, noise, on_all, plain_len, sizes, to_blocked, to_plain};
use crate::isa::Isa;
use crate::reference::{pad, upsample};
use crate::threads::ThreadPool;
use ocellus_tensor::Padding;

/// A blocked tensor whose padding lanes hold a number that must not show up anywhere.
fn blocked(size: Blocked, seed: u32) -> (Vec<f32>, Vec<f32>) {
    let plain = noise(plain_len(size), seed);
    let blocked = to_blocked(size, &plain);
    (plain, blocked)
}

/// Index in a plain tensor.
fn at(size: Blocked, [n, c, i, j]: [usize; 4]) -> usize {
    ((n * size.channels + c) * size.height + i) * size.width + j
}

/// The indices of a plain tensor in order.
fn indices(size: Blocked) -> impl Iterator<Item = [usize; 4]> {
    (0..plain_len(size)).map(move |k| {
        let (pixel, rest) = (k % size.pixels(), k / size.pixels());
        [rest / size.channels, rest % size.channels, pixel / size.width, pixel % size.width]
    })
}

fn grids(outer: Blocked) -> Vec<Grid> {
    let grid = |start: [usize; 2], step: [usize; 2]| {
        let size = [outer.height, outer.width];
        let count = [0, 1].map(|axis| size[axis].saturating_sub(start[axis]).div_ceil(step[axis]));
        Grid { outer, start, step, count }
    };
    let mut grids =
        vec![grid([0, 0], [1, 1]), grid([0, 0], [2, 2]), grid([1, 0], [3, 1]), grid([2, 1], [1, 2])];
    if outer.height > 3 && outer.width > 3 {
        grids.push(Grid { outer, start: [1, 2], step: [1, 1], count: [2, 1] });
        grids.push(Grid { outer, start: [0, 1], step: [2, 1], count: [2, 0] });
    }
    grids
}

#[test]
fn grids_are_taken_and_placed() {
    for outer in sizes() {
        for grid in grids(outer) {
            let inner = grid.inner();
            let position = |[n, c, i, j]: [usize; 4]| {
                at(outer, [n, c, grid.start[0] + i * grid.step[0], grid.start[1] + j * grid.step[1]])
            };
            let (x_plain, x) = blocked(outer, 1);
            let (small_plain, small) = blocked(inner, 2);
            let taken: Vec<f32> = indices(inner).map(|index| x_plain[position(index)]).collect();
            let mut placed = vec![0.25; x_plain.len()];
            indices(inner).enumerate().for_each(|(k, index)| placed[position(index)] = small_plain[k]);
            let kernel = |pool: &ThreadPool, _: Isa| {
                let mut y = vec![f32::NAN; inner.elements()];
                grid.take(pool, &x, &mut y);
                let mut z = vec![f32::NAN; outer.elements()];
                grid.place(pool, 0.25, &small, &mut z);
                [to_plain(inner, &y), to_plain(outer, &z)].concat()
            };
            let want = [taken, placed].concat();
            on_all(kernel, |_, got| assert!(got == want, "{grid:?}"));
        }
    }
}

#[test]
#[should_panic(expected = "do not fit")]
fn a_grid_beyond_the_image_is_refused() {
    let outer = Blocked { batch: 1, channels: 1, height: 4, width: 4 };
    let grid = Grid { outer, start: [1, 0], step: [2, 1], count: [3, 4] };
    grid.take(&ThreadPool::new(1), &[0.0; 256], &mut [0.0; 192]);
}

/// What is gathered: zeros, or `(seed, channels, first, count)` of a tensor.
#[derive(Clone, Copy)]
enum Want {
    Zeros(usize),
    Of(u32, usize, usize, usize),
}

fn check_gather(space: Blocked, wants: &[Want]) {
    let tensors: Vec<(Vec<f32>, Vec<f32>)> = wants
        .iter()
        .map(|want| match *want {
            Want::Zeros(_) => (vec![], vec![]),
            Want::Of(seed, channels, ..) => blocked(Blocked { channels, ..space }, seed),
        })
        .collect();
    let parts: Vec<ChannelPart<'_>> = wants
        .iter()
        .zip(&tensors)
        .map(|(want, (_, x))| match *want {
            Want::Zeros(count) => ChannelPart::Zeros(count),
            Want::Of(_, channels, first, count) => ChannelPart::Of { x, channels, first, count },
        })
        .collect();
    let channels = wants
        .iter()
        .map(|want| match want {
            Want::Zeros(count) | Want::Of(.., count) => *count,
        })
        .sum();
    let size = Blocked { channels, ..space };
    let mut want = vec![];
    for n in 0..space.batch {
        for (part, (plain, _)) in wants.iter().zip(&tensors) {
            match *part {
                Want::Zeros(count) => want.resize(want.len() + count * space.pixels(), 0.0),
                Want::Of(_, channels, first, count) => {
                    let start = (n * channels + first) * space.pixels();
                    want.extend(&plain[start..start + count * space.pixels()]);
                }
            }
        }
    }
    let kernel = |pool: &ThreadPool, isa: Isa| {
        let mut y = vec![f32::NAN; size.elements()];
        gather_channels(pool, isa, size, &parts, &mut y);
        assert!(y.iter().all(|y| y.is_finite()), "padding lanes are finite");
        to_plain(size, &y)
    };
    on_all(kernel, |isa, got| assert!(got == want, "{isa} {space:?}"));
}

#[test]
fn channels_come_from_anywhere() {
    use Want::*;
    for (batch, height, width) in [(1, 1, 1), (2, 3, 5), (3, 20, 21)] {
        let space = Blocked { batch, channels: 0, height, width };
        check_gather(space, &[Zeros(8), Of(1, 16, 0, 16), Zeros(8)]);
        check_gather(space, &[Of(1, 32, 0, 32), Of(2, 16, 0, 16), Of(3, 20, 0, 20)]);
        check_gather(space, &[Of(1, 3, 0, 3), Of(2, 17, 0, 17), Of(3, 1, 0, 1), Of(4, 50, 0, 50)]);
        check_gather(space, &[Of(1, 50, 7, 33)]);
        check_gather(space, &[Of(1, 50, 16, 32)]);
        check_gather(space, &[Zeros(17), Of(1, 33, 0, 33), Zeros(40)]);
        check_gather(space, &[Of(1, 40, 31, 2), Zeros(3), Of(2, 40, 39, 1)]);
        let singles: Vec<Want> = (0..35).map(|i| Of(i, 5, i as usize % 5, 1)).collect();
        check_gather(space, &singles);
    }
}

/// Runs a map of a plain tensor and its transpose against the reference.
fn check_repeats(
    [from, to]: [Blocked; 2],
    what: &str,
    reference: impl Fn(&[f64], &mut [f64], bool),
    kernel: impl Fn(&ThreadPool, Isa, &[f32], &mut [f32], bool),
) {
    let (x_plain, x) = blocked(from, 1);
    let (dy_plain, dy) = blocked(to, 2);
    let wide = |v: &[f32]| v.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
    let (mut y, mut dx) = (vec![f64::NAN; dy_plain.len()], vec![f64::NAN; x_plain.len()]);
    reference(&wide(&x_plain), &mut y, true);
    reference(&wide(&dy_plain), &mut dx, false);
    let want = [y, dx].concat();
    let both = |pool: &ThreadPool, isa: Isa| {
        let (mut y, mut dx) = (vec![f32::NAN; dy.len()], vec![f32::NAN; x.len()]);
        kernel(pool, isa, &x, &mut y, true);
        kernel(pool, isa, &dy, &mut dx, false);
        [to_plain(to, &y), to_plain(from, &dx)].concat()
    };
    on_all(both, |isa, got| close(&format!("{isa} {what}"), got, &want, 1e-5));
}

#[test]
fn borders_copy_the_image() {
    for image in sizes() {
        for (padding, reflect) in [([0, 3, 2, 1], false), ([1, 2, 3, 0], true), ([7, 5, 0, 6], true)] {
            let [top, left, bottom, right] = padding;
            let padding = Padding { top, left, bottom, right };
            if reflect && (top.max(bottom) >= image.height || left.max(right) >= image.width) {
                continue;
            }
            let edge = Edge { image, padding, reflect };
            let border = if reflect { pad::Border::Reflect } else { pad::Border::Replicate };
            let input = [image.batch, image.channels, image.height, image.width];
            let g = pad::PadGeometry { input, channels: [0; 2], padding, border };
            check_repeats(
                [image, edge.outer()],
                &format!("{edge:?}"),
                |x, y, forward| if forward { pad::pad(&g, x, y) } else { pad::pad_grad(&g, x, y) },
                |pool, isa, x, y, forward| match forward {
                    true => edge.pad(pool, x, y),
                    false => edge.gradient(pool, isa, x, y),
                },
            );
        }
    }
}

#[test]
fn images_are_enlarged() {
    for input in sizes() {
        for (factor, bilinear) in [([2, 2], false), ([3, 1], false), ([2, 2], true), ([1, 4], true)] {
            let enlarge = Enlarge { input, factor, bilinear };
            let planes = input.batch * input.channels;
            let size = [input.height, input.width];
            let g = upsample::UpsampleGeometry { planes, input: size, factor, bilinear };
            check_repeats(
                [input, enlarge.output()],
                &format!("{enlarge:?}"),
                |x, y, forward| match forward {
                    true => upsample::upsample(&g, x, y),
                    false => upsample::upsample_grad(&g, x, y),
                },
                |pool, isa, x, y, forward| match forward {
                    true => enlarge.run(pool, isa, x, y),
                    false => enlarge.gradient(pool, isa, x, y),
                },
            );
        }
    }
}
