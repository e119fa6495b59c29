//! Convolution in narrow groups, forward and input gradient: groups of 2, 4 or 8 channels that lie side by side in a
//! block, so that 16 channels of several groups go through each instruction together.
//!
//! ```text
//! for each pass, each (image, block of channels, strip of output rows) in parallel:
//!     stage the input rows with halo and stride taken out, as for the dense kernels
//!     for each member i of a group: a copy in which every channel is its group's member i
//!     for each row, each tile of pixels:
//!         for each tap, member: acc[pixel] += x[member][pixel + tap] * w[tap][member]
//!         y[pixel] = clamp(acc + bias + residual)
//! ```

// Index loops over const-generic arrays unroll fully and mirror the pseudo-code.
#![allow(clippy::needless_range_loop)]

use ocellus_tensor::ConvGeometry;

use crate::format::F32;
#[cfg(target_arch = "aarch64")]
use crate::isa::Neon;
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

/// A convolution in narrow groups as passes: plain data.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Grouped {
    isa: Isa,
    batch: usize,
    channels: usize,
    /// Channels of a group: 2, 4 or 8.
    group: usize,
    /// Pixels of the source and of the destination.
    from: [usize; 2],
    to: [usize; 2],
    kernel: [usize; 2],
    /// Whether the destination channels are the input's: weights are then taken transposed.
    gradient: bool,
    passes: Vec<Step>,
}

/// A pass and how its input is read.
#[derive(Clone, Debug, PartialEq)]
struct Step {
    pass: Pass,
    source: Source,
    /// Offset of each tap and member from an output's origin.
    taps: Vec<usize>,
}

/// The size of the groups, if they are narrow: as many channels in as out, that fill a block together with others. 1 is
/// a depthwise convolution.
pub(crate) fn narrow_group(g: &ConvGeometry) -> Option<usize> {
    let (group, square) = (g.group_in(), g.group_in() == g.group_out());
    (g.groups > 1 && square && matches!(group, 1 | 2 | 4 | 8)).then_some(group)
}

impl Grouped {
    /// The forward convolution, or `None` where groups are not narrow.
    pub fn forward(g: &ConvGeometry, isa: Isa) -> Option<Self> {
        Self::new(g, isa, false)
    }

    /// The input gradient, or `None` where groups are not narrow.
    pub fn gradient(g: &ConvGeometry, isa: Isa) -> Option<Self> {
        Self::new(g, isa, true)
    }

    fn new(g: &ConvGeometry, isa: Isa, gradient: bool) -> Option<Self> {
        let group = narrow_group(g).filter(|&group| group > 1)?;
        let (from, to, passes) = match gradient {
            false => (g.input, g.output, vec![Pass::forward(g)]),
            true => (g.output, g.input, Pass::gradient(g)),
        };
        let passes = passes.into_iter().map(|pass| Step::new(pass, from, group)).collect();
        let (batch, channels, kernel) = (g.batch, g.in_channels, g.window.kernel);
        Some(Grouped { isa, batch, channels, group, from, to, kernel, gradient, passes })
    }

    /// Numbers of packed weights.
    pub fn packed_len(&self) -> usize {
        let vectors = self.passes.iter().map(|step| step.taps.len()).sum::<usize>();
        vectors * blocks(self.channels) * LANES
    }

    /// Packs `weight` (O, G, kernel) as `[pass][block][tap][member][16]`.
    pub fn pack(&self, weight: &[f32], scale: Option<&[f32]>, packed: &mut [f32]) {
        assert_eq!(packed.len(), self.packed_len(), "packed length");
        assert!(scale.is_none_or(|s| s.len() == self.channels), "one scale per output channel");
        let mut vectors = packed.chunks_exact_mut(LANES);
        for Step { pass: Pass { rows, cols }, .. } in &self.passes {
            for block in 0..blocks(self.channels) {
                let taps = rows.kernel.iter().flat_map(|ky| cols.kernel.iter().map(move |kx| (ky, kx)));
                for (tap, member) in taps.flat_map(|tap| (0..self.group).map(move |member| (tap, member))) {
                    let vector = vectors.next().expect("one vector per tap and member");
                    for (channel, w) in (block * BLOCK..).zip(vector) {
                        let real = channel < self.channels;
                        let factor = scale.filter(|_| real).map_or(1.0, |s| s[channel]);
                        let at = self.weight_at(channel, member, [*tap.0, *tap.1]);
                        *w = if real { weight[at] * factor } else { 0.0 };
                    }
                }
            }
        }
    }

    /// Where the weight lies by which destination channel `channel` takes its group's source channel `member`.
    fn weight_at(&self, channel: usize, member: usize, [row, col]: [usize; 2]) -> usize {
        let (first, own) = (channel / self.group * self.group, channel % self.group);
        let (out, input) = if self.gradient { (first + member, own) } else { (channel, member) };
        ((out * self.group + input) * self.kernel[0] + row) * self.kernel[1] + col
    }

    /// Scratch numbers for `threads` threads.
    pub fn scratch_len(&self, threads: usize) -> usize {
        threads * self.thread_scratch_len()
    }

    fn thread_scratch_len(&self) -> usize {
        self.passes.iter().map(|step| step.scratch_len(self.group)).max().unwrap_or(0)
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
        for step in &self.passes {
            let (weights, rest) = packed.split_at(blocks(self.channels) * step.taps.len() * LANES);
            packed = rest;
            let strips = step.source.row_blocks;
            pool.run_with_thread(self.batch * blocks(self.channels) * strips, &|thread, task| {
                let (plane, strip) = (task / strips, task % strips);
                // SAFETY: each thread has its own scratch memory.
                let scratch = unsafe { scratch.part(thread * scratch_len, scratch_len) };
                let job = Job { grouped: self, step, x, weights, epilogue, y };
                job.run([plane, strip], scratch);
            });
        }
    }
}

impl Step {
    fn new(pass: Pass, from: [usize; 2], group: usize) -> Self {
        // A strip's copies share the cache.
        let source = Source::staged(&pass, SourceShape { blocks: group, ..shape(from) });
        let copy = source.block_step;
        let members = |&tap: &usize| (0..group).map(move |member| member * copy + tap);
        Step { taps: source.taps.iter().flat_map(members).collect(), source, pass }
    }

    /// Scratch numbers of a task: staged rows, and a copy for each member.
    fn scratch_len(&self, group: usize) -> usize {
        self.source.scratch_len(group + 1)
    }

    /// The rows that the strip of output rows from `row` on reads, a copy for each member of a group.
    fn prepare<'a>(&self, all: &Grouped, x: &'a [f32], row: usize, scratch: &'a mut [f32]) -> &'a [f32] {
        let (copies, staged) =
            scratch[..self.scratch_len(all.group)].split_at_mut(all.group * self.source.block_step);
        let x = self.source.prepare(x, shape(all.from), (row, 0.0), staged);
        let x = &x[..self.source.block_step];
        match all.group {
            2 => all.isa.run(Spread::<2> { x, copies }),
            4 => all.isa.run(Spread::<4> { x, copies }),
            _ => all.isa.run(Spread::<8> { x, copies }),
        }
        copies
    }
}

/// For each member of a group of `G` channels a copy of `x` in which every channel is its group's member.
struct Spread<'a, const G: usize> {
    x: &'a [f32],
    copies: &'a mut [f32],
}

impl<const G: usize> VectorOp for Spread<'_, G> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let len = self.x.len();
        for (at, pixel) in (0..len).step_by(BLOCK).zip(self.x.chunks_exact(BLOCK)) {
            let pixel = s.load(pixel);
            for member in 0..G {
                s.store(s.spread::<G>(pixel, member), &mut self.copies[member * len + at..]);
            }
        }
    }
}

/// What the tasks of one pass share.
struct Job<'a> {
    grouped: &'a Grouped,
    step: &'a Step,
    x: &'a [f32],
    /// `[block][tap][member][16]`.
    weights: &'a [f32],
    epilogue: Epilogue<'a>,
    y: SharedMut<'a, f32>,
}

impl Job<'_> {
    /// Computes a strip of rows of a `plane` (an image's block of channels).
    fn run(&self, [plane, strip]: [usize; 2], scratch: &mut [f32]) {
        let Job { grouped: all, step: Step { pass, source, taps }, epilogue, .. } = self;
        let rows = source.row_block(strip, pass.rows.count);
        let (block, row) = (plane % blocks(all.channels), rows.start);
        let (from, to) = (all.from[0] * all.from[1] * BLOCK, all.to[0] * all.to[1] * BLOCK);
        let x = self.step.prepare(all, &self.x[plane * from..][..from], row, scratch);
        let mut bias = [0.0; LANES];
        if let Some(every) = epilogue.bias {
            let real = &every[block * BLOCK..every.len().min((block + 1) * BLOCK)];
            bias[..real.len()].copy_from_slice(real);
        }
        let weights = &self.weights[block * taps.len() * LANES..][..taps.len() * LANES];
        let tiles = tiles(all.isa);
        let count = pass.cols.count.div_ceil(tiles.len());
        for i in 0..rows.len() {
            let y_row = (pass.rows.start + (row + i) * pass.rows.step) * all.to[1] + pass.cols.start;
            for tile in 0..count {
                let (first, end) = (pass.cols.count * tile / count, pass.cols.count * (tile + 1) / count);
                let at = plane * to + (y_row + first * pass.cols.step) * BLOCK;
                let args = TileArgs {
                    x: x.as_ptr().wrapping_add(i * source.row_step + first * BLOCK),
                    x_block_step: 0,
                    ahead: 0,
                    x_row_step: 0,
                    taps,
                    channels: 0,
                    block: LANES,
                    weights: weights.as_ptr(),
                    y: self.y.as_ptr().wrapping_add(at),
                    residual: epilogue.residual.map_or(std::ptr::null(), |r| r[at..].as_ptr()),
                    y_step: pass.cols.step * BLOCK,
                    y_row_step: 0,
                    y_block_step: 0,
                    bias: bias.as_ptr(),
                    scale: std::ptr::null(),
                    residual_scale: 1.0,
                    clamp: epilogue.clamp,
                    wide: false,
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
        unsafe { store::<S, F32, 1, P, 1>(s, args, &acc) }
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
        #[cfg(target_arch = "aarch64")]
        Isa::Neon(_) => shapes!(Neon: 1 2 3 4 5 6),
        Isa::Scalar => shapes!(Scalar: 1 2),
    }
}
