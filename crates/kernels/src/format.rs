//! How are a tensor's numbers written in memory?
//!
//! Arenas and operands are slices of 32-bit *words*. A word is one `f32`, two bf16 numbers or four bytes, the first in
//! its low bits. In channel blocks the 16 channels of a pixel lie side by side in any format, so they take 16, 8 or 4
//! words, and the layout is otherwise the same ([`crate::layout`]).

use crate::isa::Simd;
use crate::layout::{BLOCK, blocked_len};

/// What a number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Format {
    /// IEEE single precision.
    #[default]
    F32,
    /// The upper half of an `f32`: 8 bits of precision.
    Bf16,
    /// 0 to 255, to be scaled.
    U8,
}

impl Format {
    /// Numbers in a word.
    pub const fn per_word(self) -> usize {
        match self {
            Format::F32 => 1,
            Format::Bf16 => 2,
            Format::U8 => 4,
        }
    }

    /// Words of a pixel's block of 16 channels.
    pub const fn block(self) -> usize {
        BLOCK / self.per_word()
    }

    /// Words in the blocked layout of `n` images of `c` channels of `h` x `w` pixels.
    pub const fn blocked_len(self, n: usize, c: usize, h: usize, w: usize) -> usize {
        blocked_len(n, c, h, w) / self.per_word()
    }

    /// "f32", "bf16" or "u8".
    pub const fn name(self) -> &'static str {
        match self {
            Format::F32 => "f32",
            Format::Bf16 => "bf16",
            Format::U8 => "u8",
        }
    }
}

/// A format as a type, for kernels that compute in `f32` and only read or write it.
pub(crate) trait Number: Copy + Send + Sync + 'static {
    /// Which format.
    const FORMAT: Format;

    /// 16 numbers.
    ///
    /// # Safety
    /// `from` points to `FORMAT.block()` readable words.
    unsafe fn load<S: Simd>(s: S, from: *const f32) -> S::F;

    /// Writes 16 numbers, rounded to the nearest.
    ///
    /// # Safety
    /// `to` points to `FORMAT.block()` writable words.
    unsafe fn store<S: Simd>(s: S, v: S::F, to: *mut f32);
}

/// [`Format::F32`].
#[derive(Clone, Copy)]
pub(crate) struct F32;
/// [`Format::Bf16`].
#[derive(Clone, Copy)]
pub(crate) struct Bf16;
/// [`Format::U8`].
#[derive(Clone, Copy)]
pub(crate) struct U8;

/// Implements [`Number`] by two methods of [`Simd`].
macro_rules! number {
    ($name:ident, $load:ident, $store:ident) => {
        impl Number for $name {
            const FORMAT: Format = Format::$name;
            #[inline(always)]
            unsafe fn load<S: Simd>(s: S, from: *const f32) -> S::F {
                // SAFETY: passed on to the caller.
                unsafe { s.$load(from.cast()) }
            }
            #[inline(always)]
            unsafe fn store<S: Simd>(s: S, v: S::F, to: *mut f32) {
                // SAFETY: passed on to the caller.
                unsafe { s.$store(v, to.cast()) }
            }
        }
    };
}

number!(F32, load_ptr, store_ptr);
number!(Bf16, load_bf16, store_bf16);
number!(U8, load_u8, store_u8);
