//! The weight gradient of a convolution in narrow groups.
//!
//! ```text
//! for each part of the (image, row) list, each block of 16 channels, in parallel: for each row of dy, each tap:
//!     for each member i of a group:
//!         sums[tap][i] += over the row's pixels at which the tap lies inside: (group's member i of x[pixel + tap]) * dy[pixel]
//! dw = the parts' sums, added in order
//! ```
//!
//! A depthwise row's sum runs in four chains (every fourth pixel) that are added pairwise, in groups each member has a
//! chain; the number of parts follows from the geometry alone.

use ocellus_tensor::ConvGeometry;

use crate::isa::{Isa, LANES, Simd, VectorOp};
use crate::layout::{BLOCK, blocked_len, blocks};
use crate::threads::{SharedMut, ThreadPool};

use super::grouped::narrow_group;
use super::pass::Pass;

/// Parts times blocks aimed for, so that a handful of threads finds work.
const TASKS: usize = 16;
/// Sums of independent pixels in flight.
const CHAINS: usize = 4;

/// The weight gradient of narrow groups: plain data.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GroupedGrad {
    geometry: ConvGeometry,
    isa: Isa,
    group: usize,
    pass: Pass,
    parts: usize,
}

impl GroupedGrad {
    /// `None` where groups are not narrow.
    pub fn new(geometry: ConvGeometry, isa: Isa) -> Option<Self> {
        let group = narrow_group(&geometry)?;
        let rows = geometry.batch * geometry.output[0];
        let parts = TASKS.div_ceil(blocks(geometry.in_channels)).min(rows).max(1);
        Some(GroupedGrad { geometry, isa, group, pass: Pass::forward(&geometry), parts })
    }

    /// Numbers of a block's sums: `[tap][member][16]`.
    fn block_len(&self) -> usize {
        self.geometry.window.taps() * self.group * LANES
    }

    /// Numbers of a part's sums.
    fn part_len(&self) -> usize {
        blocks(self.geometry.in_channels) * self.block_len()
    }

    /// Scratch numbers.
    pub fn scratch_len(&self) -> usize {
        self.parts * self.part_len()
    }

    /// Computes `dw` (C, G, kernel).
    pub fn run(&self, pool: &ThreadPool, x: &[f32], dy: &[f32], scratch: &mut [f32], dw: &mut [f32]) {
        let g = &self.geometry;
        let len = |[h, w]: [usize; 2]| blocked_len(g.batch, g.in_channels, h, w);
        assert_eq!(x.len(), len(g.input), "input length");
        assert_eq!(dy.len(), len(g.output), "output gradient length");
        assert_eq!(dw.len(), g.out_channels * self.group * g.window.taps(), "weight gradient length");
        let per_block = self.block_len();
        let sums = SharedMut::new(&mut scratch[..self.scratch_len()]);
        let channel_blocks = blocks(g.in_channels);
        pool.run(self.parts * channel_blocks, &|task| {
            let (part, block) = (task / channel_blocks, task % channel_blocks);
            let rows = g.batch * g.output[0];
            // SAFETY: each task has its own sums.
            let sums = unsafe { sums.part(task * per_block, per_block) };
            sums.fill(0.0);
            let rows = part * rows / self.parts..(part + 1) * rows / self.parts;
            let task = Rows { recipe: self, x, dy, block, rows, sums };
            match self.group {
                1 => self.isa.run(task),
                2 => self.isa.run(Members::<2>(task)),
                4 => self.isa.run(Members::<4>(task)),
                _ => self.isa.run(Members::<8>(task)),
            }
        });
        let (first, others) = scratch[..self.scratch_len()].split_at_mut(self.part_len());
        for part in others.chunks_exact(self.part_len()) {
            first.iter_mut().zip(part).for_each(|(t, p)| *t += p);
        }
        let taps = g.window.taps();
        for (row, weights) in dw.chunks_exact_mut(taps).enumerate() {
            let (channel, member) = (row / self.group, row % self.group);
            let sums = &first[channel / BLOCK * per_block + member * LANES + channel % BLOCK..];
            let sums = sums.iter().step_by(self.group * LANES);
            weights.iter_mut().zip(sums).for_each(|(w, &sum)| *w = sum);
        }
    }
}

/// One task: some rows of one block of channels.
struct Rows<'a> {
    recipe: &'a GroupedGrad,
    x: &'a [f32],
    dy: &'a [f32],
    block: usize,
    /// Of the list of all images' output rows.
    rows: std::ops::Range<usize>,
    /// `[tap][16]`.
    sums: &'a mut [f32],
}

impl Rows<'_> {
    /// Calls `body(x, dy, sums)` for each row and tap: x from the first pixel under the tap on, dy of the pixels at
    /// which the tap lies inside, and the sums of the tap.
    #[inline(always)]
    fn for_each_tap(self, mut body: impl FnMut(&[f32], &[f32], &mut [f32])) {
        let (g, Pass { rows, cols }) = (&self.recipe.geometry, &self.recipe.pass);
        let [height, width] = g.output;
        let x_plane = g.input[0] * g.input[1] * BLOCK;
        for row in self.rows {
            let (image, row) = (row / height, row % height);
            let plane = image * blocks(g.in_channels) + self.block;
            let dy = &self.dy[(plane * height + row) * width * BLOCK..][..width * BLOCK];
            let x = &self.x[plane * x_plane..][..x_plane];
            let mut sums = self.sums.chunks_exact_mut(self.recipe.group * LANES);
            for &row_offset in &rows.offsets {
                let source_row = rows.pixel(row, row_offset);
                for &col_offset in &cols.offsets {
                    let sums = sums.next().expect("sums of each tap");
                    let (from, to) = cols.inside(col_offset, 0, cols.count);
                    let Some(source_row) = source_row.filter(|_| from < to) else { continue };
                    let col = (from * cols.stride).strict_add_signed(col_offset);
                    let x = &x[(source_row * g.input[1] + col) * BLOCK..];
                    body(x, &dy[from * BLOCK..to * BLOCK], sums);
                }
            }
        }
    }
}

impl VectorOp for Rows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let step = self.recipe.pass.cols.stride * BLOCK;
        self.for_each_tap(
            #[inline(always)]
            |x, dy, sum| s.store(s.add(s.load(sum), dot(s, x, step, dy)), sum),
        );
    }
}

/// The task for groups of `G` channels.
struct Members<'a, const G: usize>(Rows<'a>);

impl<const G: usize> VectorOp for Members<'_, G> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let step = self.0.recipe.pass.cols.stride * BLOCK;
        self.0.for_each_tap(
            #[inline(always)]
            |x, dy, sums| {
                let mut chains = [s.zero(); G];
                for (dy, x) in dy.chunks_exact(BLOCK).zip(x.chunks(step)) {
                    let (x, dy) = (s.load(x), s.load(dy));
                    for (member, chain) in chains.iter_mut().enumerate() {
                        *chain = s.fmadd(s.spread::<G>(x, member), dy, *chain);
                    }
                }
                for (chain, sum) in chains.into_iter().zip(sums.chunks_exact_mut(LANES)) {
                    s.store(s.add(s.load(sum), chain), sum);
                }
            },
        );
    }
}

/// The sum over pixels of `x` (pixels `step` apart) times `dy` (pixels 16 apart), per channel.
#[inline(always)]
fn dot<S: Simd>(s: S, x: &[f32], step: usize, dy: &[f32]) -> S::F {
    let mut chains = [s.zero(); CHAINS];
    let pixels = dy.len() / BLOCK;
    let mut pixel = 0;
    assert!(pixels == 0 || x.len() >= (pixels - 1) * step + BLOCK, "every pixel of x is there");
    while pixel + CHAINS <= pixels {
        for (i, chain) in chains.iter_mut().enumerate() {
            // SAFETY: pixel + i is below the number of pixels, which both slices hold.
            let (a, b) = unsafe {
                (
                    s.load_ptr(x.as_ptr().add((pixel + i) * step)),
                    s.load_ptr(dy.as_ptr().add((pixel + i) * BLOCK)),
                )
            };
            *chain = s.fmadd(a, b, *chain);
        }
        pixel += CHAINS;
    }
    for (chain, pixel) in chains.iter_mut().zip(pixel..pixels) {
        *chain = s.fmadd(s.load(&x[pixel * step..]), s.load(&dy[pixel * BLOCK..]), *chain);
    }
    s.add(s.add(chains[0], chains[1]), s.add(chains[2], chains[3]))
}
