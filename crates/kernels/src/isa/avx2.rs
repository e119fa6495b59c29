//! Block vectors as two 256-bit registers.

use std::arch::x86_64::*;

use super::{LANES, Simd, VectorOp};

/// Proof that the CPU and the operating system support AVX2 and FMA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx2 {
    detected: (),
}

impl Avx2 {
    /// The proof, where detection finds the instructions.
    pub fn new() -> Option<Self> {
        let supported = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        supported.then_some(Avx2 { detected: () })
    }
}

/// Calls intrinsics from a method of [`Avx2`].
macro_rules! proven {
    ($call:expr) => {
        // SAFETY: `self` exists only where `Avx2::new` found the instructions; pointers are the caller's promise.
        unsafe { $call }
    };
}

impl Simd for Avx2 {
    type F = [__m256; 2];
    type M = [__m256; 2];
    const REGISTERS: usize = 8;

    #[inline(always)]
    unsafe fn assume() -> Self {
        Avx2 { detected: () }
    }
    #[inline(always)]
    fn vectorize<K: VectorOp>(self, op: K) -> K::Output {
        #[target_feature(enable = "avx2,fma")]
        fn enabled<K: VectorOp>(token: Avx2, op: K) -> K::Output {
            op.run(token)
        }
        proven!(enabled(self, op))
    }
    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        [proven!(_mm256_set1_ps(x)); 2]
    }
    #[inline(always)]
    unsafe fn load_ptr(self, from: *const f32) -> Self::F {
        proven!([_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))])
    }
    #[inline(always)]
    unsafe fn store_ptr(self, v: Self::F, to: *mut f32) {
        proven!(_mm256_storeu_ps(to, v[0]));
        proven!(_mm256_storeu_ps(to.add(8), v[1]))
    }
    #[inline(always)]
    fn prefetch(self, at: *const f32) {
        proven!(_mm_prefetch::<_MM_HINT_T0>(at.cast()))
    }
    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        proven!([_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])])
    }
    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        proven!([_mm256_sub_ps(a[0], b[0]), _mm256_sub_ps(a[1], b[1])])
    }
    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        proven!([_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])])
    }
    #[inline(always)]
    fn div(self, a: Self::F, b: Self::F) -> Self::F {
        proven!([_mm256_div_ps(a[0], b[0]), _mm256_div_ps(a[1], b[1])])
    }
    #[inline(always)]
    fn fmadd(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        proven!([_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])])
    }
    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        proven!([_mm256_max_ps(a[0], b[0]), _mm256_max_ps(a[1], b[1])])
    }
    #[inline(always)]
    fn min(self, a: Self::F, b: Self::F) -> Self::F {
        proven!([_mm256_min_ps(a[0], b[0]), _mm256_min_ps(a[1], b[1])])
    }
    #[inline(always)]
    fn sqrt(self, v: Self::F) -> Self::F {
        proven!([_mm256_sqrt_ps(v[0]), _mm256_sqrt_ps(v[1])])
    }
    #[inline(always)]
    fn round(self, v: Self::F) -> Self::F {
        const MODE: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        proven!([_mm256_round_ps::<MODE>(v[0]), _mm256_round_ps::<MODE>(v[1])])
    }
    #[inline(always)]
    fn exp2_int(self, v: Self::F) -> Self::F {
        let mut powers = v;
        for (power, exponent) in powers.iter_mut().zip(v) {
            *power = proven!({
                let biased = _mm256_add_epi32(_mm256_cvtps_epi32(exponent), _mm256_set1_epi32(127));
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
            });
        }
        powers
    }
    #[inline(always)]
    fn gt(self, a: Self::F, b: Self::F) -> Self::M {
        proven!([_mm256_cmp_ps::<_CMP_GT_OQ>(a[0], b[0]), _mm256_cmp_ps::<_CMP_GT_OQ>(a[1], b[1])])
    }
    #[inline(always)]
    fn eq(self, a: Self::F, b: Self::F) -> Self::M {
        proven!([_mm256_cmp_ps::<_CMP_EQ_OQ>(a[0], b[0]), _mm256_cmp_ps::<_CMP_EQ_OQ>(a[1], b[1])])
    }
    #[inline(always)]
    fn select(self, mask: Self::M, a: Self::F, b: Self::F) -> Self::F {
        proven!([_mm256_blendv_ps(b[0], a[0], mask[0]), _mm256_blendv_ps(b[1], a[1], mask[1])])
    }
    #[inline(always)]
    fn bits(self, mask: Self::M) -> u16 {
        let [low, high] = proven!([_mm256_movemask_ps(mask[0]), _mm256_movemask_ps(mask[1])]);
        low as u16 | (high as u16) << 8
    }
    #[inline(always)]
    fn mask(self, bits: u16) -> Self::M {
        proven!({
            let lane_bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
            let low = _mm256_and_si256(_mm256_set1_epi32(i32::from(bits)), lane_bits);
            let high = _mm256_and_si256(_mm256_set1_epi32(i32::from(bits >> 8)), lane_bits);
            [
                _mm256_castsi256_ps(_mm256_cmpeq_epi32(low, lane_bits)),
                _mm256_castsi256_ps(_mm256_cmpeq_epi32(high, lane_bits)),
            ]
        })
    }
    #[inline(always)]
    fn spread<const G: usize>(self, v: Self::F, member: usize) -> Self::F {
        // Groups of at most 8 lanes lie in one of the two registers.
        let first: [i32; 8] = std::array::from_fn(|lane| (lane / G * G) as i32);
        proven!({
            let first = _mm256_loadu_si256(first.as_ptr().cast());
            let lanes = _mm256_add_epi32(first, _mm256_set1_epi32(member as i32));
            v.map(|half| _mm256_permutevar8x32_ps(half, lanes))
        })
    }
    #[inline(always)]
    fn high_half(self, v: Self::F) -> Self::F {
        v.map(|v| proven!(_mm256_and_ps(v, _mm256_castsi256_ps(_mm256_set1_epi32(0xFFFF_0000_u32 as i32)))))
    }
    #[inline(always)]
    fn low_half(self, v: Self::F) -> Self::F {
        v.map(|v| proven!(_mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_castps_si256(v)))))
    }
    #[inline(always)]
    fn dot_u8(self, x: Self::F, w: Self::F, acc: Self::F) -> Self::F {
        let mut sums = acc;
        for (half, sum) in sums.iter_mut().enumerate() {
            *sum = proven!({
                let [x, w] = [_mm256_castps_si256(x[half]), _mm256_castps_si256(w[half])];
                // As 16-bit numbers, first the even bytes, then the odd ones.
                let even = _mm256_madd_epi16(
                    _mm256_and_si256(x, _mm256_set1_epi16(0xFF)),
                    _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(w)),
                );
                let odd = _mm256_madd_epi16(_mm256_srli_epi16::<8>(x), _mm256_srai_epi16::<8>(w));
                let both = _mm256_add_epi32(even, odd);
                _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(*sum), both))
            });
        }
        sums
    }
    #[inline(always)]
    fn integers_to_f32(self, v: Self::F) -> Self::F {
        v.map(|v| proven!(_mm256_cvtepi32_ps(_mm256_castps_si256(v))))
    }
    #[inline(always)]
    unsafe fn load_bf16(self, from: *const u16) -> Self::F {
        proven!([0, 8].map(|first| {
            let words = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.add(first).cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(words))
        }))
    }
    #[inline(always)]
    unsafe fn load_u8(self, from: *const u8) -> Self::F {
        proven!([0, 8].map(|first| {
            _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(from.add(first).cast())))
        }))
    }
    #[inline(always)]
    fn transpose(self, rows: [Self::F; LANES]) -> [Self::F; LANES] {
        // Four 8 x 8 transposes; 16 rows of two registers fit no register file, so the compiler spills anyway.
        let mut columns = rows;
        for (i, j) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let quarter = proven!(transpose8(std::array::from_fn(|k| rows[8 * i + k][j])));
            for k in 0..8 {
                columns[8 * j + k][i] = quarter[k];
            }
        }
        columns
    }
}

/// The transpose of 8 x 8: swap within pairs, within quads, then the 128-bit halves.
#[inline]
#[target_feature(enable = "avx2")]
fn transpose8(rows: [__m256; 8]) -> [__m256; 8] {
    let mut t = rows;
    let mut u = rows;
    for i in 0..4 {
        t[2 * i] = _mm256_unpacklo_ps(rows[2 * i], rows[2 * i + 1]);
        t[2 * i + 1] = _mm256_unpackhi_ps(rows[2 * i], rows[2 * i + 1]);
    }
    for i in 0..2 {
        let (a, b, c, d) = (t[4 * i], t[4 * i + 1], t[4 * i + 2], t[4 * i + 3]);
        u[4 * i] = _mm256_shuffle_ps::<0x44>(a, c);
        u[4 * i + 1] = _mm256_shuffle_ps::<0xEE>(a, c);
        u[4 * i + 2] = _mm256_shuffle_ps::<0x44>(b, d);
        u[4 * i + 3] = _mm256_shuffle_ps::<0xEE>(b, d);
    }
    for j in 0..4 {
        t[j] = _mm256_permute2f128_ps::<0x20>(u[j], u[4 + j]);
        t[4 + j] = _mm256_permute2f128_ps::<0x31>(u[j], u[4 + j]);
    }
    t
}
