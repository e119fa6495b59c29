//! Block vectors as four 128-bit registers of an Arm processor.

// Targets that have NEON anyway call what touches no pointer without `unsafe`; others, and the macro, do not.
#![allow(unused_unsafe)]

use std::arch::aarch64::*;
use std::array::from_fn;

use super::{LANES, Simd, VectorOp};

/// Proof that the CPU supports Advanced SIMD ("NEON"). The compiler knows: its targets for 64-bit Arm have it, but for
/// those made for processors without floating-point numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neon {
    detected: (),
}

impl Neon {
    /// The proof, where the program is made for such a CPU.
    pub fn new() -> Option<Self> {
        cfg!(target_feature = "neon").then_some(Neon { detected: () })
    }
}

/// Calls intrinsics from a method of [`Neon`].
macro_rules! proven {
    ($call:expr) => {
        // SAFETY: `self` exists only where `Neon::new` found the instructions; pointers are the caller's promise.
        unsafe {
            $call
        }
    };
}

/// An operation of two vectors, quarter by quarter.
macro_rules! quarters {
    ($a:ident, $b:ident: $call:ident) => {
        proven!(from_fn(|q| $call($a[q], $b[q])))
    };
}

impl Simd for Neon {
    type F = [float32x4_t; 4];
    type M = [uint32x4_t; 4];
    const REGISTERS: usize = 8;

    #[inline(always)]
    unsafe fn assume() -> Self {
        Neon { detected: () }
    }
    #[inline(always)]
    fn vectorize<K: VectorOp>(self, op: K) -> K::Output {
        #[target_feature(enable = "neon")]
        fn enabled<K: VectorOp>(token: Neon, op: K) -> K::Output {
            op.run(token)
        }
        proven!(enabled(self, op))
    }
    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        [proven!(vdupq_n_f32(x)); 4]
    }
    #[inline(always)]
    unsafe fn load_ptr(self, from: *const f32) -> Self::F {
        proven!(from_fn(|q| vld1q_f32(from.add(4 * q))))
    }
    #[inline(always)]
    unsafe fn store_ptr(self, v: Self::F, to: *mut f32) {
        for (q, v) in v.into_iter().enumerate() {
            proven!(vst1q_f32(to.add(4 * q), v));
        }
    }
    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        quarters!(a, b: vaddq_f32)
    }
    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        quarters!(a, b: vsubq_f32)
    }
    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        quarters!(a, b: vmulq_f32)
    }
    #[inline(always)]
    fn div(self, a: Self::F, b: Self::F) -> Self::F {
        quarters!(a, b: vdivq_f32)
    }
    #[inline(always)]
    fn fmadd(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        proven!(from_fn(|q| vfmaq_f32(c[q], a[q], b[q])))
    }
    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        // Not `vmaxq_f32`, which gives NaN for NaN in either.
        self.select(self.gt(a, b), a, b)
    }
    #[inline(always)]
    fn min(self, a: Self::F, b: Self::F) -> Self::F {
        self.select(self.gt(b, a), a, b)
    }
    #[inline(always)]
    fn sqrt(self, v: Self::F) -> Self::F {
        v.map(|v| proven!(vsqrtq_f32(v)))
    }
    #[inline(always)]
    fn round(self, v: Self::F) -> Self::F {
        v.map(|v| proven!(vrndnq_f32(v)))
    }
    #[inline(always)]
    fn exp2_int(self, v: Self::F) -> Self::F {
        v.map(|v| {
            proven!({
                let biased = vaddq_s32(vcvtnq_s32_f32(v), vdupq_n_s32(127));
                vreinterpretq_f32_s32(vshlq_n_s32::<23>(biased))
            })
        })
    }
    #[inline(always)]
    fn gt(self, a: Self::F, b: Self::F) -> Self::M {
        quarters!(a, b: vcgtq_f32)
    }
    #[inline(always)]
    fn eq(self, a: Self::F, b: Self::F) -> Self::M {
        quarters!(a, b: vceqq_f32)
    }
    #[inline(always)]
    fn select(self, mask: Self::M, a: Self::F, b: Self::F) -> Self::F {
        proven!(from_fn(|q| vbslq_f32(mask[q], a[q], b[q])))
    }
    #[inline(always)]
    fn bits(self, mask: Self::M) -> u16 {
        let mut bits = 0;
        for (q, mask) in mask.into_iter().enumerate() {
            let lanes = proven!(vaddvq_u32(vandq_u32(mask, lane_bits(self, q))));
            bits |= lanes as u16;
        }
        bits
    }
    #[inline(always)]
    fn mask(self, bits: u16) -> Self::M {
        proven!(from_fn(|q| vtstq_u32(vdupq_n_u32(u32::from(bits)), lane_bits(self, q))))
    }
    #[inline(always)]
    fn spread<const G: usize>(self, v: Self::F, member: usize) -> Self::F {
        from_fn(|q| {
            // A group of 8 spans two quarters; smaller ones lie in one.
            let quarter = if G == 8 { q / 2 * 2 + member / 4 } else { q };
            let bytes: [u8; LANES] = from_fn(|byte| {
                let lane = byte / 4;
                let from = if G == 8 { member % 4 } else { lane / G * G + member };
                (4 * from + byte % 4) as u8
            });
            proven!({
                let source = vreinterpretq_u8_f32(v[quarter]);
                vreinterpretq_f32_u8(vqtbl1q_u8(source, vld1q_u8(bytes.as_ptr())))
            })
        })
    }
    #[inline(always)]
    fn high_half(self, v: Self::F) -> Self::F {
        v.map(|v| {
            proven!(vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(v), vdupq_n_u32(0xFFFF_0000))))
        })
    }
    #[inline(always)]
    fn low_half(self, v: Self::F) -> Self::F {
        v.map(|v| proven!(vreinterpretq_f32_u32(vshlq_n_u32::<16>(vreinterpretq_u32_f32(v)))))
    }
    #[inline(always)]
    fn dot_u8(self, x: Self::F, w: Self::F, acc: Self::F) -> Self::F {
        from_fn(|q| {
            proven!({
                let (x, w) = (vreinterpretq_u8_f32(x[q]), vreinterpretq_s8_f32(w[q]));
                // As 16-bit numbers, eight by eight; their products, and the sums of neighbours, in 32 bits.
                let (x0, x1) = (
                    vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(x))),
                    vreinterpretq_s16_u16(vmovl_high_u8(x)),
                );
                let (w0, w1) = (vmovl_s8(vget_low_s8(w)), vmovl_high_s8(w));
                let first = vpaddq_s32(vmull_s16(vget_low_s16(x0), vget_low_s16(w0)), vmull_high_s16(x0, w0));
                let second =
                    vpaddq_s32(vmull_s16(vget_low_s16(x1), vget_low_s16(w1)), vmull_high_s16(x1, w1));
                let sums = vaddq_s32(vreinterpretq_s32_f32(acc[q]), vpaddq_s32(first, second));
                vreinterpretq_f32_s32(sums)
            })
        })
    }
    #[inline(always)]
    fn integers_to_f32(self, v: Self::F) -> Self::F {
        v.map(|v| proven!(vcvtq_f32_s32(vreinterpretq_s32_f32(v))))
    }
    #[inline(always)]
    unsafe fn load_bf16(self, from: *const u16) -> Self::F {
        proven!(from_fn(|q| vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(from.add(4 * q))))))
    }
    #[inline(always)]
    unsafe fn load_u8(self, from: *const u8) -> Self::F {
        proven!({
            let bytes = vld1q_u8(from);
            let [low, high] = [vmovl_u8(vget_low_u8(bytes)), vmovl_high_u8(bytes)];
            [vget_low_u16(low), vget_high_u16(low), vget_low_u16(high), vget_high_u16(high)]
                .map(|four| vcvtq_f32_u32(vmovl_u16(four)))
        })
    }
    #[inline(always)]
    fn transpose(self, rows: [Self::F; LANES]) -> [Self::F; LANES] {
        let mut columns = rows;
        for i in 0..4 {
            for j in 0..4 {
                let square = proven!(transpose4(from_fn(|k| rows[4 * i + k][j])));
                for (k, column) in square.into_iter().enumerate() {
                    columns[4 * j + k][i] = column;
                }
            }
        }
        columns
    }
}

/// The bits that quarter `q` of a mask has in the mask's 16.
#[inline(always)]
fn lane_bits(_proof: Neon, q: usize) -> uint32x4_t {
    let bits: [u32; 4] = from_fn(|lane| 1 << (4 * q + lane));
    // SAFETY: the proof is here, and the array has four numbers.
    unsafe { vld1q_u32(bits.as_ptr()) }
}

/// The transpose of 4 x 4: swap within pairs, then the halves.
#[inline]
#[target_feature(enable = "neon")]
fn transpose4([a, b, c, d]: [float32x4_t; 4]) -> [float32x4_t; 4] {
    let pairs = [vtrn1q_f32(a, b), vtrn2q_f32(a, b), vtrn1q_f32(c, d), vtrn2q_f32(c, d)]
        .map(|v| vreinterpretq_f64_f32(v));
    [
        vtrn1q_f64(pairs[0], pairs[2]),
        vtrn1q_f64(pairs[1], pairs[3]),
        vtrn2q_f64(pairs[0], pairs[2]),
        vtrn2q_f64(pairs[1], pairs[3]),
    ]
    .map(|v| vreinterpretq_f32_f64(v))
}
