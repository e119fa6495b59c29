//! Block vectors as one 512-bit register.

use std::arch::x86_64::*;

use super::{LANES, Simd, VectorOp};

/// No instructions beyond those of every [`Avx512`].
pub const PLAIN: u8 = 0;
/// Products of bf16 numbers besides (AVX512-BF16).
pub const BF16: u8 = 1;
/// Products of 8-bit integers besides (AVX512-VNNI).
pub const VNNI: u8 = 2;

/// Proof that the CPU and the operating system support AVX-512 F, BW, DQ and VL, AVX2 and FMA, and what `WITH` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx512<const WITH: u8 = PLAIN> {
    /// Found besides, for whoever asks for a token with them.
    bf16: bool,
    vnni: bool,
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
        let (bf16, vnni) = (is_x86_feature_detected!("avx512bf16"), is_x86_feature_detected!("avx512vnni"));
        supported.then_some(Avx512 { bf16, vnni })
    }

    /// Whether an [`Avx512`] with these may be made.
    pub fn has(self, with: u8) -> bool {
        match with {
            BF16 => self.bf16,
            VNNI => self.vnni,
            _ => true,
        }
    }

    /// As if the CPU had no instructions for products of narrow numbers.
    pub fn without_narrow_products(self) -> Self {
        Avx512 { bf16: false, vnni: false }
    }
}

/// Calls intrinsics from a method of [`Avx512`].
macro_rules! proven {
    ($call:expr) => {
        // SAFETY: `self` exists only where `Avx512::new` found the instructions; pointers are the caller's promise.
        unsafe { $call }
    };
}

impl<const WITH: u8> Avx512<WITH> {
    /// The nearest bf16 number of each lane, ties to even, in its upper half; the lower one holds anything.
    #[inline(always)]
    fn rounded_to_bf16(self, v: __m512) -> __m512i {
        proven!({
            let bits = _mm512_castps_si512(v);
            let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            let rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF)));
            let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v, v);
            let quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x40_0000));
            _mm512_mask_blend_epi32(nan, rounded, quiet)
        })
    }
}

impl<const WITH: u8> Simd for Avx512<WITH> {
    type F = __m512;
    type M = __mmask16;
    const REGISTERS: usize = 32;

    #[inline(always)]
    unsafe fn assume() -> Self {
        Avx512 { bf16: WITH == BF16, vnni: WITH == VNNI }
    }
    #[inline(always)]
    fn vectorize<K: VectorOp>(self, op: K) -> K::Output {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
        fn plain<K: VectorOp, const WITH: u8>(token: Avx512<WITH>, op: K) -> K::Output {
            op.run(token)
        }
        #[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
        fn bf16<K: VectorOp, const WITH: u8>(token: Avx512<WITH>, op: K) -> K::Output {
            op.run(token)
        }
        #[target_feature(enable = "avx512vnni,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
        fn vnni<K: VectorOp, const WITH: u8>(token: Avx512<WITH>, op: K) -> K::Output {
            op.run(token)
        }
        match WITH {
            BF16 => proven!(bf16(self, op)),
            VNNI => proven!(vnni(self, op)),
            _ => proven!(plain(self, op)),
        }
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
    fn prefetch(self, at: *const f32) {
        proven!(_mm_prefetch::<_MM_HINT_T0>(at.cast()))
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
    unsafe fn load_bf16(self, from: *const u16) -> Self::F {
        proven!({
            let words = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(words))
        })
    }
    #[inline(always)]
    unsafe fn store_bf16(self, v: Self::F, to: *mut u16) {
        if WITH == BF16 {
            // Numbers below 2^-126 become zeros here.
            return proven!({
                let rounded = std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(v));
                _mm256_storeu_si256(to.cast(), rounded)
            });
        }
        proven!({
            let upper = _mm512_srli_epi32::<16>(self.rounded_to_bf16(v));
            _mm256_storeu_si256(to.cast(), _mm512_cvtepi32_epi16(upper))
        })
    }
    #[inline(always)]
    fn pair_bf16(self, first: Self::F, second: Self::F) -> Self::F {
        proven!({
            let low = _mm512_srli_epi32::<16>(self.rounded_to_bf16(first));
            let upper = _mm512_set1_epi32(0xFFFF_0000_u32 as i32);
            let high = _mm512_and_si512(self.rounded_to_bf16(second), upper);
            _mm512_castsi512_ps(_mm512_or_si512(low, high))
        })
    }
    #[inline(always)]
    unsafe fn load_u8(self, from: *const u8) -> Self::F {
        proven!(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast()))))
    }
    #[inline(always)]
    unsafe fn store_u8(self, v: Self::F, to: *mut u8) {
        proven!({
            // What is too large for an integer becomes 2^31, which, taken as unsigned, ends as 255 like all else above.
            let integers = _mm512_cvtps_epi32(_mm512_max_ps(v, _mm512_setzero_ps()));
            _mm_storeu_si128(to.cast(), _mm512_cvtusepi32_epi8(integers))
        })
    }
    #[inline(always)]
    fn dot_bf16(self, x: Self::F, w: Self::F, acc: Self::F) -> Self::F {
        if WITH == BF16 {
            return proven!({
                let [x, w] = [x, w].map(|pairs| std::mem::transmute::<__m512, __m512bh>(pairs));
                _mm512_dpbf16_ps(acc, x, w)
            });
        }
        self.fmadd(self.low_half(x), self.low_half(w), self.fmadd(self.high_half(x), self.high_half(w), acc))
    }
    #[inline(always)]
    fn high_half(self, v: Self::F) -> Self::F {
        proven!(_mm512_and_ps(v, _mm512_castsi512_ps(_mm512_set1_epi32(0xFFFF_0000_u32 as i32))))
    }
    #[inline(always)]
    fn low_half(self, v: Self::F) -> Self::F {
        proven!(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_castps_si512(v))))
    }
    #[inline(always)]
    fn dot_u8(self, x: Self::F, w: Self::F, acc: Self::F) -> Self::F {
        proven!({
            let [x, w, acc] = [_mm512_castps_si512(x), _mm512_castps_si512(w), _mm512_castps_si512(acc)];
            if WITH == VNNI {
                return _mm512_castsi512_ps(_mm512_dpbusd_epi32(acc, x, w));
            }
            // As 16-bit numbers, first the even bytes, then the odd ones.
            let even = _mm512_madd_epi16(
                _mm512_and_si512(x, _mm512_set1_epi16(0xFF)),
                _mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(w)),
            );
            let odd = _mm512_madd_epi16(_mm512_srli_epi16::<8>(x), _mm512_srai_epi16::<8>(w));
            _mm512_castsi512_ps(_mm512_add_epi32(acc, _mm512_add_epi32(even, odd)))
        })
    }
    #[inline(always)]
    fn integers_to_f32(self, v: Self::F) -> Self::F {
        proven!(_mm512_cvtepi32_ps(_mm512_castps_si512(v)))
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
