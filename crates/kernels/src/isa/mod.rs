//! Which vector instructions may this process use, and how is a kernel written once for all of them?
//!
//! CPU support is a value: [`Avx512`] and [`Avx2`] exist only where detection found the instructions, so whoever
//! holds one may use them. To write a kernel with it:
//!
//! 1. Make a struct of the kernel's slices and numbers and implement [`VectorOp`] for it.
//! 2. In `run<S: Simd>(self, s: S)` compute on *block vectors*: `S::F` is always 16 `f32` (one zmm, two ymm, four
//!    NEON registers or `[f32; 16]`), so the loop is the same everywhere: `let v = s.load(&x[i..]); s.store(s.max(s.zero(), v), &mut y[i..])`.
//! 3. Slices shorter than 16 go through [`Simd::load_partial`] and [`Simd::store_partial`].
//! 4. Mark `run` and every helper that takes `S` `#[inline(always)]`: the instructions are enabled by the entry point
//!    in [`Isa::run`] and reach only what is inlined into it. Use plain loops, not iterator closures, around `s`.
//! 5. Call it with `isa.run(op)`, once per chunk of work (a call costs a few nanoseconds), inside a pool task.
//! 6. Test it for every `isa` of [`Isa::available`].
//!
//! `Simd` promises the same rounding on every ISA for add, sub, mul, div, sqrt and the reductions; `fmadd` rounds
//! once on AVX2, AVX-512 and NEON and twice on Scalar.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;

#[cfg(target_arch = "x86_64")]
pub use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub use avx512::Avx512;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::{BF16, VNNI};
#[cfg(target_arch = "aarch64")]
pub use neon::Neon;
pub use scalar::Scalar;

/// Lanes of a block vector, and channels of a block of the blocked layout.
pub const LANES: usize = 16;

/// An algorithm over block vectors, runnable with any instruction set.
pub trait VectorOp {
    /// What it returns.
    type Output;
    /// Runs it; must be `#[inline(always)]`.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// Sixteen `f32` at a time. An implementing value proves that the CPU has the instructions.
pub trait Simd: Copy + Send + Sync + std::fmt::Debug + 'static {
    /// A block vector: 16 `f32`.
    type F: Copy;
    /// A truth value per lane.
    type M: Copy;
    /// Block vectors that fit the register file.
    const REGISTERS: usize;

    /// The proof, without a check.
    ///
    /// # Safety
    /// The CPU must support the instructions: detection must have made a value of this type before.
    unsafe fn assume() -> Self;

    /// Runs `op` in a function compiled with these instructions.
    fn vectorize<K: VectorOp>(self, op: K) -> K::Output;

    /// All lanes `x`.
    fn splat(self, x: f32) -> Self::F;
    /// Reads 16 numbers.
    ///
    /// # Safety
    /// `from` must point to 16 readable `f32` (any alignment).
    unsafe fn load_ptr(self, from: *const f32) -> Self::F;
    /// Writes 16 numbers.
    ///
    /// # Safety
    /// `to` must point to 16 writable `f32` (any alignment).
    unsafe fn store_ptr(self, v: Self::F, to: *mut f32);
    /// Asks for the cache line at `at` ahead of its use; any address will do.
    #[inline(always)]
    fn prefetch(self, _at: *const f32) {}
    /// `a + b`.
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a - b`.
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b`.
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a / b`.
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once where the CPU can.
    fn fmadd(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `if a > b { a } else { b }`: `b` where either is NaN, so `max(zero, v)` is a ReLU that keeps NaN.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// `if a < b { a } else { b }`: `b` where either is NaN.
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    /// Square root.
    fn sqrt(self, v: Self::F) -> Self::F;
    /// Nearest integer, ties to even, for values within ±2^22.
    fn round(self, v: Self::F) -> Self::F;
    /// 2 to the power of `v`, for integral `v` in -126..=127.
    fn exp2_int(self, v: Self::F) -> Self::F;
    /// `a > b`, false where either is NaN.
    fn gt(self, a: Self::F, b: Self::F) -> Self::M;
    /// `a == b`, false where either is NaN.
    fn eq(self, a: Self::F, b: Self::F) -> Self::M;
    /// `if mask { a } else { b }`.
    fn select(self, mask: Self::M, a: Self::F, b: Self::F) -> Self::F;
    /// The mask as bits, lane 0 lowest.
    fn bits(self, mask: Self::M) -> u16;
    /// A mask from bits, lane 0 lowest.
    fn mask(self, bits: u16) -> Self::M;
    /// With the lanes in groups of `G` neighbours (1, 2, 4 or 8): each lane takes lane `member` of its group.
    #[inline(always)]
    fn spread<const G: usize>(self, v: Self::F, member: usize) -> Self::F {
        let lanes = self.to_array(v);
        self.load(&std::array::from_fn::<f32, LANES, _>(|lane| lanes[lane / G * G + member]))
    }
    /// Reads 16 bf16 numbers.
    ///
    /// # Safety
    /// `from` must point to 16 readable bf16 numbers (any alignment).
    #[inline(always)]
    unsafe fn load_bf16(self, from: *const u16) -> Self::F {
        // SAFETY: the caller promises 16 readable numbers.
        let bits = unsafe { from.cast::<[u16; LANES]>().read_unaligned() };
        self.load(&bits.map(bf16_to_f32))
    }
    /// Writes 16 numbers as bf16, rounded to the nearest, ties to even.
    ///
    /// # Safety
    /// `to` must point to 16 writable bf16 numbers (any alignment).
    #[inline(always)]
    unsafe fn store_bf16(self, v: Self::F, to: *mut u16) {
        let bits = self.to_array(v).map(f32_to_bf16);
        // SAFETY: the caller promises 16 writable numbers.
        unsafe { to.cast::<[u16; LANES]>().write_unaligned(bits) }
    }
    /// Pairs for [`Simd::dot_bf16`]: in each lane `first` in the low half and `second` in the high one, both rounded
    /// to the nearest bf16 number, ties to even.
    #[inline(always)]
    fn pair_bf16(self, first: Self::F, second: Self::F) -> Self::F {
        let (first, second) = (self.to_array(first), self.to_array(second));
        let word =
            |lane: usize| u32::from(f32_to_bf16(first[lane])) | u32::from(f32_to_bf16(second[lane])) << 16;
        self.load(&std::array::from_fn::<f32, LANES, _>(|lane| f32::from_bits(word(lane))))
    }
    /// Reads 16 bytes as the numbers 0 to 255.
    ///
    /// # Safety
    /// `from` must point to 16 readable bytes.
    #[inline(always)]
    unsafe fn load_u8(self, from: *const u8) -> Self::F {
        // SAFETY: the caller promises 16 readable bytes.
        let bytes = unsafe { from.cast::<[u8; LANES]>().read_unaligned() };
        self.load(&bytes.map(f32::from))
    }
    /// Writes 16 numbers as bytes: the nearest integers, ties to even, kept within 0 to 255; NaN becomes 0.
    ///
    /// # Safety
    /// `to` must point to 16 writable bytes.
    #[inline(always)]
    unsafe fn store_u8(self, v: Self::F, to: *mut u8) {
        // `max` gives its second operand for NaN.
        let bounded = self.min(self.splat(255.0), self.max(v, self.zero()));
        let bytes = self.to_array(self.round(bounded)).map(|x| x as u8);
        // SAFETY: the caller promises 16 writable bytes.
        unsafe { to.cast::<[u8; LANES]>().write_unaligned(bytes) }
    }
    /// Each lane as a pair of bf16 numbers, the first in the low half: `acc` plus the products of both pairs' members,
    /// in `f32`. Rounding may differ between instruction sets.
    #[inline(always)]
    fn dot_bf16(self, x: Self::F, w: Self::F, acc: Self::F) -> Self::F {
        let acc = self.fmadd(self.high_half(x), self.high_half(w), acc);
        self.fmadd(self.low_half(x), self.low_half(w), acc)
    }
    /// The second bf16 number of each lane's pair.
    #[inline(always)]
    fn high_half(self, v: Self::F) -> Self::F {
        self.load(&self.to_array(v).map(|x| f32::from_bits(x.to_bits() & 0xFFFF_0000)))
    }
    /// The first bf16 number of each lane's pair.
    #[inline(always)]
    fn low_half(self, v: Self::F) -> Self::F {
        self.load(&self.to_array(v).map(|x| f32::from_bits(x.to_bits() << 16)))
    }
    /// Each lane as four bytes, of x from 0 to 255 and of w from -128 to 127: `acc`, whose lanes are the bits of 32-bit
    /// integers, plus the four products, exactly.
    #[inline(always)]
    fn dot_u8(self, x: Self::F, w: Self::F, acc: Self::F) -> Self::F {
        let (x, w, mut acc) = (self.to_array(x), self.to_array(w), self.to_array(acc));
        for (lane, acc) in acc.iter_mut().enumerate() {
            let (x, w) = (x[lane].to_bits().to_le_bytes(), w[lane].to_bits().to_le_bytes());
            let products = x.into_iter().zip(w).map(|(x, w)| i32::from(x) * i32::from(w as i8));
            *acc = f32::from_bits((acc.to_bits() as i32).wrapping_add(products.sum()) as u32);
        }
        self.load(&acc)
    }
    /// The numbers of lanes that are the bits of 32-bit integers.
    #[inline(always)]
    fn integers_to_f32(self, v: Self::F) -> Self::F {
        self.load(&self.to_array(v).map(|x| x.to_bits() as i32 as f32))
    }
    /// The transpose of a 16 x 16 matrix of rows.
    fn transpose(self, rows: [Self::F; LANES]) -> [Self::F; LANES];

    /// All lanes 0.
    #[inline(always)]
    fn zero(self) -> Self::F {
        self.splat(0.0)
    }
    /// The first 16 numbers of `from`; panics if there are fewer.
    #[inline(always)]
    fn load(self, from: &[f32]) -> Self::F {
        let from = &from[..LANES];
        // SAFETY: the slice holds 16 numbers.
        unsafe { self.load_ptr(from.as_ptr()) }
    }
    /// Writes to the first 16 numbers of `to`; panics if there are fewer.
    #[inline(always)]
    fn store(self, v: Self::F, to: &mut [f32]) {
        let to = &mut to[..LANES];
        // SAFETY: the slice holds 16 numbers.
        unsafe { self.store_ptr(v, to.as_mut_ptr()) }
    }
    /// All of `from` (at most 16 numbers are read), then `fill`.
    #[inline(always)]
    fn load_partial(self, from: &[f32], fill: f32) -> Self::F {
        let mut lanes = [fill; LANES];
        let count = from.len().min(LANES);
        lanes[..count].copy_from_slice(&from[..count]);
        self.load(&lanes)
    }
    /// The first lanes of `v` to all of `to` (at most 16 numbers are written).
    #[inline(always)]
    fn store_partial(self, v: Self::F, to: &mut [f32]) {
        let count = to.len().min(LANES);
        to[..count].copy_from_slice(&self.to_array(v)[..count]);
    }
    /// The lanes as an array.
    #[inline(always)]
    fn to_array(self, v: Self::F) -> [f32; LANES] {
        let mut lanes = [0.0; LANES];
        self.store(v, &mut lanes);
        lanes
    }
    /// The sum of the lanes, added in halves: `(i) + (i + 8)`, then `+ 4`, `+ 2`, `+ 1`. The same bits on every ISA.
    #[inline(always)]
    fn reduce_add(self, v: Self::F) -> f32 {
        let mut lanes = self.to_array(v);
        for width in [8, 4, 2, 1] {
            for i in 0..width {
                lanes[i] += lanes[i + width];
            }
        }
        lanes[0]
    }
    /// The largest lane (no promise for NaN).
    #[inline(always)]
    fn reduce_max(self, v: Self::F) -> f32 {
        let mut lanes = self.to_array(v);
        for width in [8, 4, 2, 1] {
            for i in 0..width {
                lanes[i] = if lanes[i] > lanes[i + width] { lanes[i] } else { lanes[i + width] };
            }
        }
        lanes[0]
    }
}

/// A bf16 number, which is the upper half of an `f32`.
#[inline(always)]
pub fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// The nearest bf16 number, ties to even; NaN stays NaN.
#[inline(always)]
pub fn f32_to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    if x.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    (bits.wrapping_add(0x7FFF + (bits >> 16 & 1)) >> 16) as u16
}

/// The instruction set a kernel is to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// AVX-512 F, BW, DQ and VL.
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    /// AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    /// Advanced SIMD of 64-bit Arm.
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
    /// No more than the compiler's baseline.
    Scalar,
}

impl Isa {
    /// The best instruction set of this CPU.
    pub fn detect() -> Isa {
        #[cfg(target_arch = "x86_64")]
        {
            if let Some(token) = Avx512::new() {
                return Isa::Avx512(token);
            }
            if let Some(token) = Avx2::new() {
                return Isa::Avx2(token);
            }
        }
        #[cfg(target_arch = "aarch64")]
        if let Some(token) = Neon::new() {
            return Isa::Neon(token);
        }
        Isa::Scalar
    }

    /// Every instruction set this CPU can run, best first.
    pub fn available() -> Vec<Isa> {
        #[cfg(target_arch = "x86_64")]
        let vector = [Avx512::new().map(Isa::Avx512), Avx2::new().map(Isa::Avx2)];
        #[cfg(target_arch = "aarch64")]
        let vector = [Neon::new().map(Isa::Neon)];
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let vector = [None; 0];
        vector.into_iter().flatten().chain([Isa::Scalar]).collect()
    }

    /// The same without instructions for products of bf16 or 8-bit numbers, which are then computed by wider ones.
    pub fn without_narrow_products(self) -> Isa {
        match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(token) => Isa::Avx512(token.without_narrow_products()),
            other => other,
        }
    }

    /// "avx512", "avx2", "neon" or "scalar".
    pub fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(_) => "avx2",
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(_) => "neon",
            Isa::Scalar => "scalar",
        }
    }

    /// Runs `op` with these instructions.
    pub fn run<K: VectorOp>(self, op: K) -> K::Output {
        match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(s) => s.vectorize(op),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(s) => s.vectorize(op),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(s) => s.vectorize(op),
            Isa::Scalar => Scalar.vectorize(op),
        }
    }
}

#[cfg(test)]
mod tests;
