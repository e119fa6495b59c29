//! Depthwise convolution, forward and input gradient: each channel has its own filter, so 16 channels go through
//! each instruction side by side.
//!
//! ```text
//! for each pass, each (image, block of channels, strip of output rows) in parallel:
//!     prepare the input rows (in place, or staged with halo and stride taken out, as for the dense kernels)
//!     for each row, each tile of pixels:
//!         for each tap: acc[pixel] += x[pixel + tap] * w[tap]
//!         y[pixel] = relu(acc + bias + residual)
//! ```

// Index loops over const-generic arrays unroll fully and mirror the pseudo-code.
#![allow(clippy::needless_range_loop)]

use ocellus_tensor::ConvGeometry;

#[cfg(target_arch = "x86_64")]
use crate::isa::{Avx2, Avx512};
use crate::isa::{Isa, LANES, Scalar, Simd, VectorOp};
use crate::layout::{BLOCK, blocks};
use crate::threads::{SharedMut, ThreadPool};

use super::Epilogue;
use super::direct::DirectRun;
use super::pass::Pass;
use super::source::{Source, SourceShape};
use super::tile::{TileArgs, TileFn, store};

/// A depthwise convolution as passes: plain data.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Depthwise {
    isa: Isa,
    batch: usize,
    channels: usize,
    /// Pixels of the source and of the destination.
    from: [usize; 2],
    to: [usize; 2],
    kernel: [usize; 2],
    passes: Vec<(Pass, Source)>,
}

/// Whether every channel is a group of its own.
pub(crate) fn is_depthwise(g: &ConvGeometry) -> bool {
    g.groups > 1 && g.groups == g.in_channels && g.groups == g.out_channels
}

impl Depthwise {
    /// The forward convolution.
    pub fn forward(g: &ConvGeometry, isa: Isa) -> Self {
        Self::new(g, isa, [g.input, g.output], vec![Pass::forward(g)])
    }

    /// The input gradient.
    pub fn gradient(g: &ConvGeometry, isa: Isa) -> Self {
        Self::new(g, isa, [g.output, g.input], Pass::gradient(g))
    }

    fn new(g: &ConvGeometry, isa: Isa, [from, to]: [[usize; 2]; 2], passes: Vec<Pass>) -> Self {
        let (batch, channels, kernel) = (g.batch, g.in_channels, g.window.kernel);
        let source = |pass: Pass| {
            let source = Source::new(&pass, shape(from));
            (pass, source)
        };
        let passes = passes.into_iter().map(source).collect();
        Depthwise { isa, batch, channels, from, to, kernel, passes }
    }

    /// Numbers of packed weights.
    pub fn packed_len(&self) -> usize {
        self.passes.iter().map(|(pass, _)| pass.taps()).sum::<usize>() * blocks(self.channels) * LANES
    }

    /// Packs `weight` (C, 1, kernel) as `[pass][block][tap][16]`.
    pub fn pack(&self, weight: &[f32], scale: Option<&[f32]>, packed: &mut [f32]) {
        assert_eq!(packed.len(), self.packed_len(), "packed length");
        assert!(scale.is_none_or(|s| s.len() == self.channels), "one scale per output channel");
        let taps = self.kernel[0] * self.kernel[1];
        let mut vectors = packed.chunks_exact_mut(LANES);
        for (Pass { rows, cols }, _) in &self.passes {
            for block in 0..blocks(self.channels) {
                for (&ky, &kx) in rows.kernel.iter().flat_map(|ky| cols.kernel.iter().map(move |kx| (ky, kx)))
                {
                    let vector = vectors.next().expect("one vector per tap");
                    for (channel, w) in (block * BLOCK..).zip(vector) {
                        let real = channel < self.channels;
                        let factor = scale.filter(|_| real).map_or(1.0, |s| s[channel]);
                        *w = if real {
                            weight[channel * taps + ky * self.kernel[1] + kx] * factor
                        } else {
                            0.0
                        };
                    }
                }
            }
        }
    }

    /// Scratch numbers for `threads` threads.
    pub fn scratch_len(&self, threads: usize) -> usize {
        threads * self.thread_scratch_len()
    }

    fn thread_scratch_len(&self) -> usize {
        self.passes.iter().map(|(_, source)| source.scratch_len(1)).max().unwrap_or(0)
    }

    /// Runs every pass.
    pub fn run(&self, pool: &ThreadPool, run: DirectRun<'_>) {
        let DirectRun { x, mut packed, epilogue, scratch, y } = run;
        let image_len = |[h, w]: [usize; 2]| blocks(self.channels) * h * w * BLOCK;
        assert_eq!(x.len(), self.batch * image_len(self.from), "input length");
        assert_eq!(y.len(), self.batch * image_len(self.to), "output length");
        assert_eq!(packed.len(), self.packed_len(), "packed length");
        assert!(epilogue.residual.is_none_or(|r| r.len() == y.len()), "residual length");
        assert!(epilogue.bias.is_none_or(|b| b.len() == self.channels), "one bias per output channel");
        assert!(scratch.len() >= self.scratch_len(pool.threads()), "scratch length");
        let (y, scratch, scratch_len) =
            (SharedMut::new(y), SharedMut::new(scratch), self.thread_scratch_len());
        for (pass, source) in &self.passes {
            let (weights, rest) = packed.split_at(blocks(self.channels) * pass.taps() * LANES);
            packed = rest;
            let strips = pass.rows.count.div_ceil(source.rows);
            pool.run_with_thread(self.batch * blocks(self.channels) * strips, &|thread, task| {
                let (plane, strip) = (task / strips, task % strips);
                // SAFETY: each thread has its own scratch memory.
                let scratch = unsafe { scratch.part(thread * scratch_len, scratch_len) };
                let job = Job { depthwise: self, pass, source, x, weights, epilogue, y };
                job.run([plane, strip], scratch);
            });
        }
    }
}

/// What the tasks of one pass share.
struct Job<'a> {
    depthwise: &'a Depthwise,
    pass: &'a Pass,
    source: &'a Source,
    x: &'a [f32],
    /// `[block][tap][16]`.
    weights: &'a [f32],
    epilogue: Epilogue<'a>,
    y: SharedMut<'a, f32>,
}

impl Job<'_> {
    /// Computes a strip of rows of a `plane` (an image's block of channels).
    fn run(&self, [plane, strip]: [usize; 2], scratch: &mut [f32]) {
        let Job { depthwise: all, pass, source, epilogue, .. } = self;
        let (block, row) = (plane % blocks(all.channels), strip * source.rows);
        let (from, to) = (all.from[0] * all.from[1] * BLOCK, all.to[0] * all.to[1] * BLOCK);
        let x = source.prepare(&self.x[plane * from..][..from], shape(all.from), row, scratch);
        let mut bias = [0.0; LANES];
        if let Some(every) = epilogue.bias {
            let real = &every[block * BLOCK..every.len().min((block + 1) * BLOCK)];
            bias[..real.len()].copy_from_slice(real);
        }
        let weights = &self.weights[block * pass.taps() * LANES..][..pass.taps() * LANES];
        let tiles = tiles(all.isa);
        let count = pass.cols.count.div_ceil(tiles.len());
        for i in 0..source.rows.min(pass.rows.count - row) {
            let y_row = (pass.rows.start + (row + i) * pass.rows.step) * all.to[1] + pass.cols.start;
            for tile in 0..count {
                let (first, end) = (pass.cols.count * tile / count, pass.cols.count * (tile + 1) / count);
                let at = plane * to + (y_row + first * pass.cols.step) * BLOCK;
                let args = TileArgs {
                    x: x.as_ptr().wrapping_add(i * source.row_step + first * BLOCK),
                    x_block_step: 0,
                    x_row_step: 0,
                    taps: &source.taps,
                    channels: 0,
                    weights: weights.as_ptr(),
                    y: self.y.as_ptr().wrapping_add(at),
                    residual: epilogue.residual.map_or(std::ptr::null(), |r| r[at..].as_ptr()),
                    y_step: pass.cols.step * BLOCK,
                    y_row_step: 0,
                    y_block_step: 0,
                    bias: bias.as_ptr(),
                    relu: epilogue.relu,
                };
                // SAFETY: `prepare` laid out every tap of every pixel of these rows; every output pixel belongs to
                // one pass, strip and tile alone; the tiles are those of the recipe's ISA.
                unsafe { tiles[end - first - 1](&args) };
            }
        }
    }
}

/// One block of channels, as the source sees it.
fn shape(size: [usize; 2]) -> SourceShape {
    SourceShape { blocks: 1, size, step: BLOCK }
}

/// `P` pixels of 16 channels.
struct Tile<'a, 'b, const P: usize>(&'a TileArgs<'b>);

impl<const P: usize> VectorOp for Tile<'_, '_, P> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let args = self.0;
        let mut acc = [[[s.zero(); 1]; P]; 1];
        for (i, &tap) in args.taps.iter().enumerate() {
            // SAFETY: `TileFn`'s contract: there is a weight vector per tap, and each pixel's taps are readable.
            unsafe {
                let w = s.load_ptr(args.weights.add(i * LANES));
                for p in 0..P {
                    let pixel = s.load_ptr(args.x.add(tap + p * BLOCK));
                    acc[0][p][0] = s.fmadd(pixel, w, acc[0][p][0]);
                }
            }
        }
        // SAFETY: `TileFn`'s contract: the tile's pixels of `y`, and of the residual, are ours.
        unsafe { store::<S, 1, P, 1>(s, args, &acc) }
    }
}

/// The entry of one tile for one instruction set.
unsafe fn entry<S: Simd, const P: usize>(args: &TileArgs<'_>) {
    // SAFETY: `tiles` hands this out only for an `Isa` that holds a value of this type.
    let s = unsafe { S::assume() };
    s.vectorize(Tile::<P>(args));
}

macro_rules! shapes {
    ($isa:ty: $($p:literal)*) => { &[$(entry::<$isa, $p>),*] };
}

/// The micro-kernels by number of pixels - 1.
fn tiles(isa: Isa) -> &'static [TileFn] {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512(_) => shapes!(Avx512: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2(_) => shapes!(Avx2: 1 2 3 4 5 6),
        Isa::Scalar => shapes!(Scalar: 1 2),
    }
}
