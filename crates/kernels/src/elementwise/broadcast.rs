//! A blocked tensor with a smaller one that is repeated over it: gates, scales, masks.
//!
//! ```text
//! for each plane (an image's block of channels, in parallel): k = the small operand's vector for the plane
//!     for each pixel: y = f(x, k), or f(x, the small operand's number at the pixel)
//! ```

use super::basic::maximum;
use super::blocked::Blocked;
use super::operands::{Operands, Source, share};
use super::plane::of_block;
use crate::isa::{Isa, Simd, VectorOp};
use crate::layout::BLOCK;
use crate::threads::{SharedMut, ThreadPool};

/// What is done with each pair of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Pair {
    Add,
    Sub,
    Mul,
    Div,
    Maximum,
}

/// The smaller tensor.
#[derive(Clone, Copy, Debug)]
pub enum Small<'a> {
    /// `(N, C, 1, 1)` in channel blocks: one number per channel of each image.
    PerPlane(&'a [f32]),
    /// `(C)`: one number per channel.
    PerChannel(&'a [f32]),
    /// `(N, 1, H, W)` or `(1, 1, H, W)`: one number per pixel.
    PerPixel(&'a [f32]),
    /// One number for all.
    One(&'a [f32]),
}

/// On which side of the function the smaller tensor stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SmallSide {
    /// `f(small, x)`.
    First,
    /// `f(x, small)`.
    Second,
}

/// A function of a tensor and a smaller one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Broadcast {
    /// Sizes of x and y.
    pub size: Blocked,
    /// The function.
    pub pair: Pair,
    /// Which of its arguments is the smaller tensor.
    pub side: SmallSide,
}

impl Small<'_> {
    #[track_caller]
    fn check(&self, size: Blocked) {
        let pixels = size.pixels();
        let fits = match self {
            Small::PerPlane(small) => small.len() == size.batch * size.blocks() * BLOCK,
            Small::PerChannel(small) => small.len() == size.channels,
            Small::PerPixel(small) => small.len() == pixels || small.len() == size.batch * pixels,
            Small::One(small) => small.len() == 1,
        };
        assert!(fits, "the smaller tensor's length fits {size:?}");
    }

    /// The vector of a plane, if it has one.
    #[inline(always)]
    fn of_plane<S: Simd>(&self, s: S, size: Blocked, plane: usize) -> Option<S::F> {
        match self {
            Small::PerPlane(small) => Some(s.load(&small[plane * BLOCK..])),
            Small::PerChannel(small) => Some(of_block(s, small, plane % size.blocks())),
            Small::One(small) => Some(s.splat(small[0])),
            Small::PerPixel(_) => None,
        }
    }

    /// The numbers of a plane's pixels, if they differ.
    #[inline(always)]
    fn pixels(&self, size: Blocked, plane: usize) -> &[f32] {
        match self {
            Small::PerPixel(small) => {
                let image = if small.len() == size.pixels() { 0 } else { plane / size.blocks() };
                &small[image * size.pixels()..][..size.pixels()]
            }
            _ => &[],
        }
    }
}

impl Broadcast {
    /// Runs the function; x and y are blocked, x may be y itself.
    pub fn run(&self, pool: &ThreadPool, isa: Isa, (x, small): (Source<'_>, Small<'_>), y: &mut [f32]) {
        match (self.pair, self.side) {
            (Pair::Add, _) => self.map(pool, isa, (x, small), y, Add),
            (Pair::Mul, _) => self.map(pool, isa, (x, small), y, Mul),
            (Pair::Maximum, _) => self.map(pool, isa, (x, small), y, Max),
            (Pair::Sub, SmallSide::Second) => self.map(pool, isa, (x, small), y, Sub),
            (Pair::Div, SmallSide::Second) => self.map(pool, isa, (x, small), y, Div),
            (Pair::Sub, SmallSide::First) => self.map(pool, isa, (x, small), y, SubFrom),
            (Pair::Div, SmallSide::First) => self.map(pool, isa, (x, small), y, Under),
        }
    }

    fn map(
        &self,
        pool: &ThreadPool,
        isa: Isa,
        (x, small): (Source<'_>, Small<'_>),
        y: &mut [f32],
        function: impl Function,
    ) {
        let size = self.size;
        small.check(size);
        let operands = Operands::new(size.elements(), [x.read()], [y]);
        share(pool, size.elements(), size.batch * size.blocks(), &|plane| {
            isa.run(MapPlane { operands: &operands, size, small, plane, function });
        });
    }
}

/// `y` = the smaller tensor repeated; y is blocked.
pub fn repeat(pool: &ThreadPool, isa: Isa, size: Blocked, small: Small<'_>, y: &mut [f32]) {
    small.check(size);
    assert_eq!(y.len(), size.elements(), "output length");
    let out = SharedMut::new(y);
    share(pool, size.elements(), size.batch * size.blocks(), &|plane| {
        // SAFETY: each task has its own plane.
        let y = unsafe { out.part(plane * size.plane(), size.plane()) };
        isa.run(RepeatPlane { size, small, plane, y });
    });
}

/// A function of a number of x and one of the smaller tensor.
trait Function: Copy + Sync {
    fn apply<S: Simd>(self, s: S, x: S::F, small: S::F) -> S::F;
}

/// Defines a [`Function`].
macro_rules! function {
    ($name:ident: |$s:ident, $x:ident, $small:ident| $body:expr) => {
        #[derive(Clone, Copy)]
        struct $name;
        impl Function for $name {
            #[inline(always)]
            fn apply<S: Simd>(self, $s: S, $x: S::F, $small: S::F) -> S::F {
                $body
            }
        }
    };
}

function!(Add: |s, x, small| s.add(x, small));
function!(Sub: |s, x, small| s.sub(x, small));
function!(SubFrom: |s, x, small| s.sub(small, x));
function!(Mul: |s, x, small| s.mul(x, small));
function!(Div: |s, x, small| s.div(x, small));
function!(Under: |s, x, small| s.div(small, x));
function!(Max: |s, x, small| maximum(s, x, small));

struct MapPlane<'a, F> {
    operands: &'a Operands<'a, 1, 1>,
    size: Blocked,
    small: Small<'a>,
    plane: usize,
    function: F,
}

impl<F: Function> VectorOp for MapPlane<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let MapPlane { operands, size, small, plane, function } = self;
        let at = operands.at(plane * size.plane());
        match small.of_plane(s, size, plane) {
            Some(k) => {
                for i in (0..size.plane()).step_by(BLOCK) {
                    // SAFETY: inside the plane, which is this task's alone.
                    unsafe {
                        let [x] = at.load(s, i);
                        at.store(s, i, [function.apply(s, x, k)]);
                    }
                }
            }
            None => {
                for (pixel, &k) in small.pixels(size, plane).iter().enumerate() {
                    // SAFETY: as above.
                    unsafe {
                        let [x] = at.load(s, pixel * BLOCK);
                        at.store(s, pixel * BLOCK, [function.apply(s, x, s.splat(k))]);
                    }
                }
            }
        }
        at.finish();
    }
}

struct RepeatPlane<'a> {
    size: Blocked,
    small: Small<'a>,
    plane: usize,
    y: &'a mut [f32],
}

impl VectorOp for RepeatPlane<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let RepeatPlane { size, small, plane, y } = self;
        match small.of_plane(s, size, plane) {
            Some(k) => {
                for y in y.chunks_exact_mut(BLOCK) {
                    s.store(k, y);
                }
            }
            None => {
                for (&k, y) in small.pixels(size, plane).iter().zip(y.chunks_exact_mut(BLOCK)) {
                    s.store(s.splat(k), y);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elementwise::tests::{noise, on_all, plain_len, sizes, to_blocked, to_plain};

    type Scalar = fn(f32, f32) -> f32;

    const PAIRS: [(Pair, Scalar); 5] = [
        (Pair::Add, |a, b| a + b),
        (Pair::Sub, |a, b| a - b),
        (Pair::Mul, |a, b| a * b),
        (Pair::Div, |a, b| a / b),
        (Pair::Maximum, f32::max),
    ];

    /// A smaller tensor, plain, and the index in it of a plain element of the larger one.
    type Plain = (Vec<f32>, Box<dyn Fn(usize) -> usize>);

    fn smaller(size: Blocked, seed: u32) -> [Plain; 5] {
        let (n, c, p) = (size.batch, size.channels, size.pixels());
        [
            (noise(n * c, seed), Box::new(move |i| i / p)),
            (noise(c, seed), Box::new(move |i| i / p % c)),
            (noise(p, seed), Box::new(move |i| i % p)),
            (noise(n * p, seed), Box::new(move |i| i / (c * p) * p + i % p)),
            (noise(1, seed), Box::new(|_| 0)),
        ]
    }

    #[test]
    fn every_function_of_every_smaller_tensor() {
        for size in sizes() {
            let x = noise(plain_len(size), 1);
            let blocked_x = to_blocked(size, &x);
            for (which, (small, index)) in smaller(size, 2).into_iter().enumerate() {
                let one_pixel = Blocked { height: 1, width: 1, ..size };
                let blocked_small = if which == 0 { to_blocked(one_pixel, &small) } else { vec![] };
                let operand = match which {
                    0 => Small::PerPlane(&blocked_small),
                    1 => Small::PerChannel(&small),
                    4 => Small::One(&small),
                    _ => Small::PerPixel(&small),
                };
                let repeated: Vec<f32> = (0..x.len()).map(|i| small[index(i)]).collect();
                for (pair, f) in PAIRS {
                    for side in [SmallSide::First, SmallSide::Second] {
                        let both = x.iter().zip(&repeated);
                        let want: Vec<f32> = match side {
                            SmallSide::First => both.map(|(&x, &k)| f(k, x)).collect(),
                            SmallSide::Second => both.map(|(&x, &k)| f(x, k)).collect(),
                        };
                        let kernel = |pool: &ThreadPool, isa: Isa| {
                            let mut y = blocked_x.clone();
                            let broadcast = Broadcast { size, pair, side };
                            broadcast.run(pool, isa, (Source::InPlace, operand), &mut y);
                            to_plain(size, &y)
                        };
                        on_all(kernel, |isa, y| {
                            assert!(y == want, "{isa} {size:?} {which} {pair:?} {side:?}")
                        });
                    }
                }
                let kernel = |pool: &ThreadPool, isa: Isa| {
                    let mut y = vec![f32::NAN; size.elements()];
                    repeat(pool, isa, size, operand, &mut y);
                    to_plain(size, &y)
                };
                on_all(kernel, |isa, y| assert!(y == repeated, "{isa} {size:?} {which}"));
            }
        }
    }
}
