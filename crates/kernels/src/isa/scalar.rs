//! Block vectors as plain arrays, for CPUs without wider instructions; the compiler vectorises the loops.

use super::{LANES, Simd, VectorOp};

/// Needs nothing of the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scalar;

#[inline(always)]
fn map2(a: [f32; LANES], b: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> [f32; LANES] {
    std::array::from_fn(|i| f(a[i], b[i]))
}

impl Simd for Scalar {
    type F = [f32; LANES];
    type M = [bool; LANES];
    const REGISTERS: usize = 4;

    #[inline(always)]
    unsafe fn assume() -> Self {
        Scalar
    }
    #[inline(always)]
    fn vectorize<K: VectorOp>(self, op: K) -> K::Output {
        op.run(self)
    }
    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        [x; LANES]
    }
    #[inline(always)]
    unsafe fn load_ptr(self, from: *const f32) -> Self::F {
        // SAFETY: the caller promises 16 readable numbers.
        unsafe { from.cast::<[f32; LANES]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store_ptr(self, v: Self::F, to: *mut f32) {
        // SAFETY: the caller promises 16 writable numbers.
        unsafe { to.cast::<[f32; LANES]>().write_unaligned(v) }
    }
    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        map2(a, b, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        map2(a, b, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        map2(a, b, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, a: Self::F, b: Self::F) -> Self::F {
        map2(a, b, |a, b| a / b)
    }
    #[inline(always)]
    fn fmadd(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        // Not `f32::mul_add`: without the instruction that is a slow library call.
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        map2(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn min(self, a: Self::F, b: Self::F) -> Self::F {
        map2(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn sqrt(self, v: Self::F) -> Self::F {
        v.map(f32::sqrt)
    }
    #[inline(always)]
    fn round(self, v: Self::F) -> Self::F {
        // Adding 1.5 * 2^23 leaves no bits for a fraction; the CPU rounds to even.
        const SHIFT: f32 = 12582912.0;
        v.map(|x| (x + SHIFT) - SHIFT)
    }
    #[inline(always)]
    fn exp2_int(self, v: Self::F) -> Self::F {
        v.map(|x| f32::from_bits(((x as i32 + 127) as u32) << 23))
    }
    #[inline(always)]
    fn gt(self, a: Self::F, b: Self::F) -> Self::M {
        std::array::from_fn(|i| a[i] > b[i])
    }
    #[inline(always)]
    fn eq(self, a: Self::F, b: Self::F) -> Self::M {
        std::array::from_fn(|i| a[i] == b[i])
    }
    #[inline(always)]
    fn select(self, mask: Self::M, a: Self::F, b: Self::F) -> Self::F {
        std::array::from_fn(|i| if mask[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn bits(self, mask: Self::M) -> u16 {
        mask.iter().enumerate().fold(0, |bits, (i, &m)| bits | (u16::from(m) << i))
    }
    #[inline(always)]
    fn mask(self, bits: u16) -> Self::M {
        std::array::from_fn(|i| bits >> i & 1 == 1)
    }
    #[inline(always)]
    fn transpose(self, rows: [Self::F; LANES]) -> [Self::F; LANES] {
        std::array::from_fn(|i| std::array::from_fn(|j| rows[j][i]))
    }
}
