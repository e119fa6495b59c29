//! ReLU with a learned slope below zero, over blocked tensors.
//!
//! ```text
//! y = x if x > 0 else slope x;   dx = dy (1 or slope);   dslope = sum of dy x over x <= 0
//! ```

use super::blocked::Blocked;
use super::operands::{Read, Source};
use super::plane::{self, PlaneFormula, of_block};
use super::sum::{self, PlaneSum};
use crate::isa::{Isa, Simd};
use crate::threads::ThreadPool;

/// The slopes `(C)` or `(1)`.
#[derive(Clone, Copy)]
struct Slopes<'a>(&'a [f32]);

impl Slopes<'_> {
    #[track_caller]
    fn check(&self, size: Blocked) {
        let slopes = self.0.len();
        assert!(slopes == 1 || slopes == size.channels, "{slopes} slopes of {} channels", size.channels);
    }

    #[inline(always)]
    fn of<S: Simd>(self, s: S, block: usize) -> S::F {
        if self.0.len() == 1 { s.splat(self.0[0]) } else { of_block(s, self.0, block) }
    }
}

impl PlaneFormula<1, 1, 1> for Slopes<'_> {
    #[inline(always)]
    fn constants<S: Simd>(self, s: S, block: usize) -> [S::F; 1] {
        [self.of(s, block)]
    }
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, [slope]: [S::F; 1], [x]: [S::F; 1]) -> [S::F; 1] {
        [s.select(s.gt(x, s.zero()), x, s.mul(slope, x))]
    }
}

/// `y = x` above zero, `slope x` otherwise; x and y blocked, slope `(C)` or `(1)`.
pub fn prelu(pool: &ThreadPool, isa: Isa, size: Blocked, slope: &[f32], x: Source<'_>, y: &mut [f32]) {
    Slopes(slope).check(size);
    plane::map((pool, isa), size, [x.read()], [y], Slopes(slope));
}

/// Scratch numbers of [`prelu_grad`].
pub fn prelu_grad_scratch_len(size: Blocked) -> usize {
    sum::scratch_len(size, 1)
}

#[derive(Clone, Copy)]
struct Gradient<'a>(Slopes<'a>);

impl PlaneSum<1, 2, 1, 1> for Gradient<'_> {
    #[inline(always)]
    fn constants<S: Simd>(self, s: S, block: usize) -> [S::F; 1] {
        [self.0.of(s, block)]
    }
    #[inline(always)]
    fn add<S: Simd>(self, s: S, [slope]: [S::F; 1], [x, dy]: [S::F; 2], [sum]: &mut [S::F; 1]) -> [S::F; 1] {
        let above = s.gt(x, s.zero());
        *sum = s.add(*sum, s.select(above, s.zero(), s.mul(dy, x)));
        [s.select(above, dy, s.mul(slope, dy))]
    }
}

/// dx (blocked) and dslope (like slope) from x and dy (blocked); dy may be dx itself.
pub fn prelu_grad(
    (pool, isa): (&ThreadPool, Isa),
    size: Blocked,
    (slope, x): (&[f32], &[f32]),
    dy: Source<'_>,
    (dx, dslope): (&mut [f32], &mut [f32]),
    scratch: &mut [f32],
) {
    Slopes(slope).check(size);
    assert_eq!(slope.len(), dslope.len(), "lengths of slope and dslope");
    let mut only = 0.0;
    let each = dslope.len() > 1;
    let finish = |channel: usize, [sum]: [f64; 1]| {
        if each {
            dslope[channel] = sum as f32;
        } else {
            only += sum;
        }
    };
    let operands = ([Read::Slice(x), dy.read()], [dx]);
    sum::run((pool, isa), size, operands, Gradient(Slopes(slope)), scratch, finish);
    if !each {
        dslope[0] = only as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elementwise::tests::{close, noise, on_all, plain_len, sizes, to_blocked, to_plain};
    use crate::reference::{ChannelSizes, prelu as reference};

    #[test]
    fn values_and_gradients() {
        for size in sizes() {
            for slopes in [1, size.channels] {
                let (x, dy) = (noise(plain_len(size), 1), noise(plain_len(size), 2));
                let slope = noise(slopes, 3);
                let wide = |v: &[f32]| v.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
                let sizes = ChannelSizes { batch: size.batch, channels: size.channels, inner: size.pixels() };
                let (wx, wdy, wslope) = (wide(&x), wide(&dy), wide(&slope));
                let mut y = vec![0.0; x.len()];
                let (mut dx, mut dslope) = (y.clone(), vec![0.0; slopes]);
                reference::prelu(sizes, &wx, &wslope, &mut y);
                reference::prelu_grad_input(sizes, &wx, &wslope, &wdy, &mut dx);
                reference::prelu_grad_slope(sizes, &wx, &wdy, &mut dslope);
                let want = [y, dx, dslope].concat();
                let (bx, bdy) = (to_blocked(size, &x), to_blocked(size, &dy));
                let kernel = |pool: &ThreadPool, isa: Isa| {
                    let mut y = vec![f32::NAN; bx.len()];
                    prelu(pool, isa, size, &slope, (&bx).into(), &mut y);
                    let (mut dx, mut dslope) = (bdy.clone(), vec![f32::NAN; slopes]);
                    let mut scratch = vec![f32::NAN; prelu_grad_scratch_len(size)];
                    let out = (&mut dx[..], &mut dslope[..]);
                    prelu_grad((pool, isa), size, (&slope, &bx), Source::InPlace, out, &mut scratch);
                    [to_plain(size, &y), to_plain(size, &dx), dslope].concat()
                };
                on_all(kernel, |isa, got| close(&format!("{isa} {size:?} {slopes}"), got, &want, 1e-4));
            }
        }
    }
}
