//! Block vectors as one 512-bit register.

use std::arch::x86_64::*;

use super::{LANES, Simd, VectorOp};

/// Proof that the CPU and the operating system support AVX-512 F, BW, DQ and VL, AVX2 and FMA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx512 {
    detected: (),
}

impl Avx512 {
    /// The proof, where detection finds the instructions.
    pub fn new() -> Option<Self> {
        let supported = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma");
        supported.then_some(Avx512 { detected: () })
    }
}

/// Calls intrinsics from a method of [`Avx512`].
macro_rules! proven {
    ($call:expr) => {
        // SAFETY: `self` exists only where `Avx512::new` found the instructions; pointers are the caller's promise.
        unsafe { $call }
    };
}

impl Simd for Avx512 {
    type F = __m512;
    type M = __mmask16;
    const REGISTERS: usize = 32;

    #[inline(always)]
    unsafe fn assume() -> Self {
        Avx512 { detected: () }
    }
    #[inline(always)]
    fn vectorize<K: VectorOp>(self, op: K) -> K::Output {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
        fn enabled<K: VectorOp>(token: Avx512, op: K) -> K::Output {
            op.run(token)
        }
        proven!(enabled(self, op))
    }
    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        proven!(_mm512_set1_ps(x))
    }
    #[inline(always)]
    unsafe fn load_ptr(self, from: *const f32) -> Self::F {
        proven!(_mm512_loadu_ps(from))
    }
    #[inline(always)]
    unsafe fn store_ptr(self, v: Self::F, to: *mut f32) {
        proven!(_mm512_storeu_ps(to, v))
    }
    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        proven!(_mm512_add_ps(a, b))
    }
    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        proven!(_mm512_sub_ps(a, b))
    }
    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        proven!(_mm512_mul_ps(a, b))
    }
    #[inline(always)]
    fn div(self, a: Self::F, b: Self::F) -> Self::F {
        proven!(_mm512_div_ps(a, b))
    }
    #[inline(always)]
    fn fmadd(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        proven!(_mm512_fmadd_ps(a, b, c))
    }
    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        proven!(_mm512_max_ps(a, b))
    }
    #[inline(always)]
    fn min(self, a: Self::F, b: Self::F) -> Self::F {
        proven!(_mm512_min_ps(a, b))
    }
    #[inline(always)]
    fn sqrt(self, v: Self::F) -> Self::F {
        proven!(_mm512_sqrt_ps(v))
    }
    #[inline(always)]
    fn round(self, v: Self::F) -> Self::F {
        proven!(_mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(v))
    }
    #[inline(always)]
    fn exp2_int(self, v: Self::F) -> Self::F {
        proven!({
            let biased = _mm512_add_epi32(_mm512_cvtps_epi32(v), _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(biased))
        })
    }
    #[inline(always)]
    fn gt(self, a: Self::F, b: Self::F) -> Self::M {
        proven!(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, b))
    }
    #[inline(always)]
    fn eq(self, a: Self::F, b: Self::F) -> Self::M {
        proven!(_mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a, b))
    }
    #[inline(always)]
    fn select(self, mask: Self::M, a: Self::F, b: Self::F) -> Self::F {
        proven!(_mm512_mask_blend_ps(mask, b, a))
    }
    #[inline(always)]
    fn bits(self, mask: Self::M) -> u16 {
        mask
    }
    #[inline(always)]
    fn mask(self, bits: u16) -> Self::M {
        bits
    }
    #[inline(always)]
    fn load_partial(self, from: &[f32], fill: f32) -> Self::F {
        let count = from.len().min(LANES);
        let mask = ((1u32 << count) - 1) as __mmask16;
        proven!(_mm512_mask_loadu_ps(_mm512_set1_ps(fill), mask, from.as_ptr()))
    }
    #[inline(always)]
    fn store_partial(self, v: Self::F, to: &mut [f32]) {
        let count = to.len().min(LANES);
        let mask = ((1u32 << count) - 1) as __mmask16;
        proven!(_mm512_mask_storeu_ps(to.as_mut_ptr(), mask, v))
    }
    #[inline(always)]
    fn spread<const G: usize>(self, v: Self::F, member: usize) -> Self::F {
        let first: [i32; LANES] = std::array::from_fn(|lane| (lane / G * G) as i32);
        proven!({
            let first = _mm512_loadu_epi32(first.as_ptr());
            _mm512_permutexvar_ps(_mm512_add_epi32(first, _mm512_set1_epi32(member as i32)), v)
        })
    }
    #[inline(always)]
    fn transpose(self, rows: [Self::F; LANES]) -> [Self::F; LANES] {
        // Swap ever larger halves: pairs of numbers, pairs of pairs, 128-bit quarters, 256-bit halves.
        let mut t = rows;
        let mut u = rows;
        for i in 0..8 {
            t[2 * i] = proven!(_mm512_unpacklo_ps(rows[2 * i], rows[2 * i + 1]));
            t[2 * i + 1] = proven!(_mm512_unpackhi_ps(rows[2 * i], rows[2 * i + 1]));
        }
        // u[4 i + j], quarter q: column 4 q + j of rows 4 i .. 4 i + 4.
        for i in 0..4 {
            let (a, b, c, d) = (t[4 * i], t[4 * i + 1], t[4 * i + 2], t[4 * i + 3]);
            u[4 * i] = proven!(_mm512_shuffle_ps::<0x44>(a, c));
            u[4 * i + 1] = proven!(_mm512_shuffle_ps::<0xEE>(a, c));
            u[4 * i + 2] = proven!(_mm512_shuffle_ps::<0x44>(b, d));
            u[4 * i + 3] = proven!(_mm512_shuffle_ps::<0xEE>(b, d));
        }
        for j in 0..4 {
            let (a, b, c, d) = (u[j], u[4 + j], u[8 + j], u[12 + j]);
            let even_low = proven!(_mm512_shuffle_f32x4::<0x88>(a, b));
            let odd_low = proven!(_mm512_shuffle_f32x4::<0xDD>(a, b));
            let even_high = proven!(_mm512_shuffle_f32x4::<0x88>(c, d));
            let odd_high = proven!(_mm512_shuffle_f32x4::<0xDD>(c, d));
            t[j] = proven!(_mm512_shuffle_f32x4::<0x88>(even_low, even_high));
            t[4 + j] = proven!(_mm512_shuffle_f32x4::<0x88>(odd_low, odd_high));
            t[8 + j] = proven!(_mm512_shuffle_f32x4::<0xDD>(even_low, even_high));
            t[12 + j] = proven!(_mm512_shuffle_f32x4::<0xDD>(odd_low, odd_high));
        }
        t
    }
}
