//! Tensors of narrow numbers: conversions from and to `f32`, and sums.
//!
//! All of these are one formula, computed in `f32` sixteen numbers at a time, over operands of any format:
//!
//! ```text
//! y = clamp(a * factor + b * factor + offset)
//! ```
//!
//! Padding lanes of narrow tensors always hold finite numbers: products of bf16 numbers come in pairs, and a NaN in the
//! padding lane of a pair would reach the real one.

use crate::conv::{Clamp, pixel_words};
use crate::elementwise::Blocked;
use crate::elementwise::operands::share;
use crate::format::{Bf16, F32, Format, Number, U8};
use crate::isa::{Isa, Simd, VectorOp, f32_to_bf16};
use crate::layout::BLOCK;
use crate::threads::{SharedMut, ThreadPool};

/// How numbers are written: a format, and what a byte is worth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Coding {
    /// As they are.
    F32,
    /// Rounded to the nearest bf16 number, ties to even.
    Bf16,
    /// A byte `q` stands for `scale * (q - zero)`.
    U8 {
        /// From one byte to the next, above 0.
        scale: f32,
        /// The byte that stands for 0.
        zero: u8,
    },
}

impl Coding {
    /// The format.
    pub fn format(self) -> Format {
        match self {
            Coding::F32 => Format::F32,
            Coding::Bf16 => Format::Bf16,
            Coding::U8 { .. } => Format::U8,
        }
    }

    /// The worth of one step: 1 where numbers stand for themselves.
    pub fn scale(self) -> f32 {
        match self {
            Coding::U8 { scale, .. } => scale,
            _ => 1.0,
        }
    }

    /// What stands for 0.
    pub fn zero(self) -> f32 {
        match self {
            Coding::U8 { zero, .. } => f32::from(zero),
            _ => 0.0,
        }
    }

    /// The bounds in steps; every tensor of bytes has some.
    pub fn clamp(self, clamp: Clamp) -> Clamp {
        let steps = |bound: f32| bound / self.scale() + self.zero();
        Clamp { low: steps(clamp.low), high: steps(clamp.high) }
    }
}

/// A tensor in channel blocks and how it is written.
pub type Coded<'a> = (&'a [f32], Coding);

/// `y = clamp(a + b)` where there is a `b`, else `clamp(a)`: conversions, ReLU, sums. All have one `size`; the padding
/// lanes of y become finite.
pub fn sum(
    pool: &ThreadPool,
    isa: Isa,
    size: Blocked,
    (a, b, clamp): (Coded<'_>, Option<Coded<'_>>, Option<Clamp>),
    (y, coding): (&mut [f32], Coding),
) {
    let words = |format: Format| size.elements() / format.per_word();
    assert_eq!((a.0.len(), y.len()), (words(a.1.format()), words(coding.format())), "lengths of a and y");
    if let Some((b, of)) = b {
        assert_eq!((b.len(), of.format()), (a.0.len(), a.1.format()), "length and format of b");
    }
    let factor = |of: Coding| of.scale() / coding.scale();
    let zeros = |of: Coding| of.zero() * factor(of);
    let sum = Sum {
        size,
        a: a.0,
        b: b.map(|(b, _)| b),
        factors: [factor(a.1), b.map_or(0.0, |(_, of)| factor(of))],
        offset: coding.zero() - zeros(a.1) - b.map_or(0.0, |(_, of)| zeros(of)),
        clamp: clamp.map(|clamp| coding.clamp(clamp)),
    };
    match (a.1.format(), coding.format()) {
        (Format::F32, Format::Bf16) => sum.run::<F32, Bf16>(pool, isa, y),
        (Format::F32, Format::U8) => sum.run::<F32, U8>(pool, isa, y),
        (Format::Bf16, Format::Bf16) => sum.run::<Bf16, Bf16>(pool, isa, y),
        (Format::U8, Format::U8) => sum.run::<U8, U8>(pool, isa, y),
        (Format::Bf16, _) => sum.run::<Bf16, F32>(pool, isa, y),
        (Format::U8, _) => sum.run::<U8, F32>(pool, isa, y),
        (Format::F32, Format::F32) => sum.run::<F32, F32>(pool, isa, y),
    }
}

/// The formula and its operands.
#[derive(Clone, Copy)]
struct Sum<'a> {
    size: Blocked,
    a: &'a [f32],
    b: Option<&'a [f32]>,
    factors: [f32; 2],
    offset: f32,
    clamp: Option<Clamp>,
}

/// Pixels of a task.
const PIXELS: usize = 1024;

impl Sum<'_> {
    fn run<I: Number, O: Number>(self, pool: &ThreadPool, isa: Isa, y: &mut [f32]) {
        let Blocked { channels, .. } = self.size;
        let (pixels, blocks) = (self.size.pixels(), self.size.blocks());
        let parts = pixels.div_ceil(PIXELS);
        let out = SharedMut::new(y);
        share(pool, self.size.elements(), self.size.batch * blocks * parts, &|task| {
            let (plane, part) = (task / parts, task % parts);
            let (first, count) = (part * PIXELS, PIXELS.min(pixels - part * PIXELS));
            let at = |format: Format| (plane * pixels + first) * format.block();
            let operand = |x: &'_ [f32]| x[at(I::FORMAT)..][..count * I::FORMAT.block()].as_ptr();
            let real = (channels - plane % blocks * BLOCK).min(BLOCK);
            // SAFETY: each task has its own pixels.
            let y = unsafe { out.part(at(O::FORMAT), count * O::FORMAT.block()) };
            let (a, b) = (operand(self.a), self.b.map_or(std::ptr::null(), operand));
            isa.run(Part::<I, O> { sum: self, a, b, real, y, formats: std::marker::PhantomData });
        });
    }
}

/// Some pixels of one block of channels.
struct Part<'a, I, O> {
    sum: Sum<'a>,
    /// The pixels of the operands, checked to be there.
    a: *const f32,
    b: *const f32,
    /// Lanes that are no padding.
    real: usize,
    y: &'a mut [f32],
    formats: std::marker::PhantomData<(I, O)>,
}

impl<I: Number, O: Number> VectorOp for Part<'_, I, O> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Sum { factors, offset, clamp, .. } = self.sum;
        let [fa, fb] = factors.map(|factor| s.splat(factor));
        let (offset, mask) = (s.splat(offset), s.mask(((1u32 << self.real) - 1) as u16));
        for (pixel, y) in self.y.chunks_exact_mut(O::FORMAT.block()).enumerate() {
            let at = pixel * I::FORMAT.block();
            // SAFETY: the operands have as many pixels as y.
            let mut value = s.fmadd(unsafe { I::load(s, self.a.add(at)) }, fa, offset);
            if !self.b.is_null() {
                // SAFETY: as above.
                value = s.fmadd(unsafe { I::load(s, self.b.add(at)) }, fb, value);
            }
            if let Some(clamp) = clamp {
                value = clamp.apply(s, value);
            }
            value = s.select(mask, value, s.zero());
            // SAFETY: y has a block of words here.
            unsafe { O::store(s, value, y.as_mut_ptr()) }
        }
    }
}

/// Plain `f32` images of few channels, `dims` = N, C, H, W, to the pixels of
/// [`InputLayout::Pixels`](crate::conv::InputLayout::Pixels).
pub fn to_pixels(
    pool: &ThreadPool,
    isa: Isa,
    dims: [usize; 4],
    x: &[f32],
    (y, coding): (&mut [f32], Coding),
) {
    let [n, c, h, w] = dims;
    let words = pixel_words(coding.format(), c);
    assert_eq!((x.len(), y.len()), (n * c * h * w, n * h * w * words), "lengths of x and y");
    let out = SharedMut::new(y);
    share(pool, x.len(), n * h, &|task| {
        let (image, row) = (task / h, task % h);
        // SAFETY: each task has its own row of pixels.
        let y = unsafe { out.part(task * w * words, w * words) };
        isa.run(Row { x: &x[(image * c * h + row) * w..], plane: h * w, channels: c, coding, y });
    });
}

/// A row of pixels: plain loops, which the compiler turns into the instructions they are run with.
struct Row<'a> {
    /// From the row in the first channel on.
    x: &'a [f32],
    plane: usize,
    channels: usize,
    coding: Coding,
    y: &'a mut [f32],
}

impl VectorOp for Row<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        match self.coding {
            Coding::F32 => self.fill(f32::to_bits),
            Coding::Bf16 => self.fill(|x| u32::from(f32_to_bf16(x))),
            Coding::U8 { scale, zero } => {
                let (inverse, zero) = (1.0 / scale, f32::from(zero));
                self.fill(|x| (x * inverse + zero).round_ties_even().clamp(0.0, 255.0) as i32 as u32);
            }
        }
    }
}

impl Row<'_> {
    /// Puts the `bits` of every channel's number at their place in the pixels' words.
    #[inline(always)]
    fn fill(self, bits: impl Fn(f32) -> u32) {
        let Row { x, plane, channels, coding, y } = self;
        let (per_word, words) = (coding.format().per_word(), pixel_words(coding.format(), channels));
        let width = y.len() / words;
        y.fill(f32::from_bits(0));
        for channel in 0..channels {
            let shift = 32 / per_word * (channel % per_word);
            let x = &x[channel * plane..][..width];
            for (pixel, &x) in y.chunks_exact_mut(words).zip(x) {
                let word = &mut pixel[channel / per_word];
                *word = f32::from_bits(word.to_bits() | bits(x) << shift);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::bf16_to_f32;
    use crate::layout::{blocked_to_plain, plain_to_blocked};
    use crate::pooling::{Pooling, global_avg, global_avg_of};
    use ocellus_tensor::{Rounding, Window};

    const BYTES: Coding = Coding::U8 { scale: 0.5, zero: 40 };

    fn instruction_sets() -> Vec<Isa> {
        let mut all = Isa::available();
        all.push(Isa::detect().without_narrow_products());
        all
    }

    fn size([batch, channels, height, width]: [usize; 4]) -> Blocked {
        Blocked { batch, channels, height, width }
    }

    /// Plain numbers to narrow blocks on this instruction set.
    fn encode(pool: &ThreadPool, isa: Isa, dims: [usize; 4], x: &[f32], coding: Coding) -> Vec<f32> {
        let mut blocked = vec![f32::NAN; size(dims).elements()];
        plain_to_blocked(pool, isa, dims, x, &mut blocked);
        let mut y = vec![f32::NAN; blocked.len() / coding.format().per_word()];
        sum(pool, isa, size(dims), ((&blocked, Coding::F32), None, None), (&mut y, coding));
        y
    }

    fn decode(pool: &ThreadPool, isa: Isa, dims: [usize; 4], x: &[f32], coding: Coding) -> Vec<f32> {
        let mut blocked = vec![f32::NAN; size(dims).elements()];
        sum(pool, isa, size(dims), ((x, coding), None, None), (&mut blocked, Coding::F32));
        let mut plain = vec![f32::NAN; dims.iter().product()];
        blocked_to_plain(pool, isa, dims, &blocked, &mut plain);
        plain
    }

    #[test]
    fn bf16_is_the_nearest_half_of_an_f32() {
        // Between neighbours, ties go to the even one; beyond the largest lies infinity.
        let ulp = 2.0f32.powi(-7);
        let cases = [
            (1.0 + ulp * 0.49, 1.0),
            (1.0 + ulp * 0.5, 1.0),
            (1.0 + ulp * 1.5, 1.0 + ulp * 2.0),
            (-1.0 - ulp * 0.51, -1.0 - ulp),
            (f32::MAX, f32::INFINITY),
            (-0.0, -0.0),
        ];
        for (x, want) in cases {
            assert_eq!(bf16_to_f32(f32_to_bf16(x)).to_bits(), want.to_bits(), "{x}");
        }
        assert!(bf16_to_f32(f32_to_bf16(f32::from_bits(0x7F80_0001))).is_nan());
    }

    #[test]
    fn there_and_back_and_sums() {
        let pool = ThreadPool::new(2);
        for isa in instruction_sets() {
            for dims in [[1, 1, 1, 1], [2, 17, 5, 7], [1, 48, 33, 35]] {
                let len = dims.iter().product();
                // Halves from -20 to 100: exact in both formats.
                let number = |i: usize, k: usize| ((i * k % 241) as f32 - 40.0) * 0.5;
                let a: Vec<f32> = (0..len).map(|i| number(i, 7)).collect();
                let b: Vec<f32> = (0..len).map(|i| number(i, 11)).collect();
                for coding in [Coding::Bf16, BYTES] {
                    let what = format!("{coding:?} on {} {dims:?}", isa.name());
                    let [x, y] = [&a, &b].map(|x| encode(&pool, isa, dims, x, coding));
                    assert_eq!(decode(&pool, isa, dims, &x, coding), a, "{what}");
                    let mut both = vec![f32::NAN; x.len()];
                    let operands = ((&x[..], coding), Some((&y[..], coding)), Some(Clamp::RELU));
                    sum(&pool, isa, size(dims), operands, (&mut both, coding));
                    let exact = a.iter().zip(&b).map(|(a, b)| (a + b).max(0.0));
                    let want: Vec<f32> = match coding {
                        Coding::Bf16 => exact.map(|x| bf16_to_f32(f32_to_bf16(x))).collect(),
                        _ => exact.map(|x| x.min((255.0 - 40.0) * 0.5)).collect(),
                    };
                    assert_eq!(decode(&pool, isa, dims, &both, coding), want, "{what}");
                }
            }
        }
    }

    #[test]
    fn pooling_is_that_of_f32() {
        let (pool, dims) = (ThreadPool::new(2), [2, 19, 13, 15]);
        let x: Vec<f32> = (0..dims.iter().product()).map(|i: usize| (i * 37 % 120) as f32).collect();
        let bytes = Coding::U8 { scale: 1.0, zero: 0 };
        for isa in instruction_sets() {
            let pooling = Pooling::new(size(dims), Window::square(3).stride(2).padding(1), Rounding::Ceil)
                .expect("fits");
            let mut blocked = vec![f32::NAN; size(dims).elements()];
            plain_to_blocked(&pool, isa, dims, &x, &mut blocked);
            let out = pooling.output();
            let out_dims = [out.batch, out.channels, out.height, out.width];
            let plain = |y: &[f32]| {
                let mut plain = vec![f32::NAN; out_dims.iter().product()];
                blocked_to_plain(&pool, isa, out_dims, y, &mut plain);
                plain
            };
            let (mut max, mut avg) = (vec![f32::NAN; out.elements()], vec![f32::NAN; out.elements()]);
            pooling.max(&pool, isa, &blocked, &mut max);
            pooling.avg(&pool, isa, false, &blocked, &mut avg);
            for coding in [Coding::Bf16, bytes] {
                let what = format!("{coding:?} on {}", isa.name());
                let narrow = encode(&pool, isa, dims, &x, coding);
                let mut y = vec![f32::NAN; out.elements() / coding.format().per_word()];
                pooling.max_of(&pool, isa, coding.format(), &narrow, &mut y);
                assert_eq!(decode(&pool, isa, out_dims, &y, coding), plain(&max), "{what}");
                pooling.avg_of((&pool, isa), coding.format(), false, &narrow, &mut y);
                let got = decode(&pool, isa, out_dims, &y, coding);
                for (got, want) in got.iter().zip(plain(&avg)) {
                    assert!((got - want).abs() <= 0.5, "{what}: {got} for {want}");
                }
            }
        }
    }

    #[test]
    fn global_means_are_requantised() {
        let (pool, dims) = (ThreadPool::new(2), [2, 20, 7, 7]);
        let x: Vec<f32> = (0..dims.iter().product()).map(|i: usize| (i * 53 % 200) as f32 * 0.25).collect();
        let (from, to) = (Coding::U8 { scale: 0.25, zero: 0 }, Coding::U8 { scale: 0.125, zero: 3 });
        let one = [dims[0], dims[1], 1, 1];
        for isa in instruction_sets() {
            let mut blocked = vec![f32::NAN; size(dims).elements()];
            plain_to_blocked(&pool, isa, dims, &x, &mut blocked);
            let mut means = vec![f32::NAN; size(one).elements()];
            global_avg(&pool, isa, size(dims), &blocked, &mut means);
            let mut want = vec![f32::NAN; 40];
            blocked_to_plain(&pool, isa, one, &means, &mut want);
            let narrow = encode(&pool, isa, dims, &x, from);
            let mut y = vec![f32::NAN; size(one).elements() / 4];
            let worth = (Format::U8, from.scale() / to.scale(), to.zero());
            global_avg_of((&pool, isa), size(dims), worth, &narrow, &mut y);
            let got = decode(&pool, isa, one, &y, to);
            let near = got.iter().zip(&want).all(|(got, want)| (got - want.min(31.5)).abs() <= 0.0626);
            assert!(near, "{}: {got:?} for {want:?}", isa.name());
        }
    }

    #[test]
    fn pixels_keep_their_channels_together() {
        let (pool, dims) = (ThreadPool::new(2), [2, 3, 2, 3]);
        let x: Vec<f32> = (0..36).map(|i| i as f32).collect();
        let mut y = vec![f32::NAN; 12];
        to_pixels(&pool, Isa::detect(), dims, &x, (&mut y, Coding::U8 { scale: 1.0, zero: 0 }));
        let bytes: Vec<[u8; 4]> = y.iter().map(|word| word.to_bits().to_le_bytes()).collect();
        assert_eq!(bytes[..2], [[0, 6, 12, 0], [1, 7, 13, 0]]);
        assert_eq!(bytes[6], [18, 24, 30, 0]);
        let mut y = vec![f32::NAN; 24];
        to_pixels(&pool, Isa::detect(), dims, &x, (&mut y, Coding::Bf16));
        let halves = |word: f32| [word.to_bits() as u16, (word.to_bits() >> 16) as u16].map(bf16_to_f32);
        assert_eq!([halves(y[2]), halves(y[3])], [[1.0, 7.0], [13.0, 0.0]]);
    }
}
