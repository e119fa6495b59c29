//! How does the micro-kernel find a block of rows of its input, edges and strides included?
//!
//! The micro-kernel wants neighbouring pixels one step apart and every tap at a fixed offset. Where no window leaves
//! the image and the columns are dense it reads the input in place. Otherwise each task first *stages* the rows that
//! its block of output rows needs, in scratch memory that stays in the cache:
//!
//! ```text
//! for each block of input channels:
//!     for each row phase p used by a tap, each i: source row (r0 + i) * stride + first + p, or zeros
//!         for each column phase likewise: copy pixels (j * stride + first + p), zeros outside the image
//! ```
//!
//! With stride 1 there is one phase and staging is a copy with a halo of zeros; with stride `s` the phases that some
//! tap uses are taken apart, so that output neighbours read staged neighbours. Columns of plain input, whose pixels are
//! single numbers, stay together where the micro-kernel can step over the stride.

use std::ops::Range;

use super::pass::{Axis, Pass};
use super::tile;

/// Staged numbers a task aims for at most: they share the second-level cache with a panel of weights.
const STAGED: usize = 32 * 1024;

/// Pixels that a block of rows keeps when blocks are added to make their number even: a few tiles.
const LEAST_PIXELS: usize = 28;

/// The staged positions along one axis.
#[derive(Clone, Debug, PartialEq)]
struct Staged {
    segments: Vec<Segment>,
    /// Staged position of output 0's source pixel, per tap.
    taps: Vec<usize>,
    /// Source pixel of phase 0 for output 0.
    first: isize,
    stride: usize,
    source: usize,
    len: usize,
}

/// The source pixels of one phase.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Segment {
    phase: usize,
    start: usize,
    len: usize,
}

impl Staged {
    /// The staging of `count` outputs of an axis.
    fn new(axis: &Axis, count: usize) -> Self {
        let first = axis.first();
        let relative: Vec<usize> = axis.offsets.iter().map(|&o| (o - first) as usize).collect();
        let mut segments: Vec<Segment> = Vec::new();
        let mut len = 0;
        for phase in 0..axis.stride {
            let of_phase = relative.iter().filter(|&&r| r % axis.stride == phase);
            if let Some(last) = of_phase.map(|r| r / axis.stride).max() {
                segments.push(Segment { phase, start: len, len: count + last });
                len += count + last;
            }
        }
        let position = |&r: &usize| {
            let segment = segments.iter().find(|s| s.phase == r % axis.stride);
            segment.map_or(0, |s| s.start) + r / axis.stride
        };
        let taps = relative.iter().map(position).collect();
        Staged { segments, taps, first, stride: axis.stride, source: axis.source, len }
    }

    /// The source pixel of position `i` of a segment, for a block starting at output `from`.
    fn pixel(&self, segment: &Segment, from: usize, i: usize) -> Option<usize> {
        let at = ((from + i) * self.stride + segment.phase) as isize + self.first;
        (at >= 0 && (at as usize) < self.source).then_some(at as usize)
    }

    /// The positions `from..to` of a segment that lie inside the source, for a block starting at output 0.
    fn inside(&self, segment: &Segment) -> (usize, usize) {
        let origin = self.first + segment.phase as isize;
        let stride = self.stride as isize;
        let from = (-origin).max(0).unsigned_abs().div_ceil(self.stride).min(segment.len);
        let to = ((self.source as isize - origin + stride - 1) / stride)
            .clamp(from as isize, segment.len as isize);
        (from, to as usize)
    }
}

/// Where a pass's input lies when the micro-kernel runs. Steps are in words.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Source {
    staging: Option<Staging>,
    /// Offset of each tap (rows outer, columns inner) from an output's origin.
    pub taps: Vec<usize>,
    /// From one output's origin to its neighbour's.
    pub pixel_step: usize,
    /// From one output row's origin to the next.
    pub row_step: usize,
    /// From one block of input channels to the next.
    pub block_step: usize,
    /// Blocks of output rows, each a task's.
    pub row_blocks: usize,
    /// Rows of origins follow one another without a gap.
    pub dense: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct Staging {
    rows: Staged,
    cols: Staged,
}

/// The input as given: `blocks` blocks of channels of `size` pixels, `step` words per pixel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct SourceShape {
    pub blocks: usize,
    pub size: [usize; 2],
    pub step: usize,
}

impl Source {
    /// Decides by the pass alone, so that every thread count does the same.
    pub fn new(pass: &Pass, shape: SourceShape) -> Self {
        let steps = pass.cols.stride == 1 || steps_over(pass, shape);
        let in_place = pass.rows.is_inside() && pass.cols.is_inside() && steps;
        if in_place { Self::in_place(pass, shape) } else { Self::staged(pass, shape) }
    }

    fn in_place(pass: &Pass, shape: SourceShape) -> Self {
        let [height, width] = shape.size;
        let tap = |&row: &isize| {
            pass.cols.offsets.iter().map(move |&col| (row as usize * width + col as usize) * shape.step)
        };
        Source {
            staging: None,
            taps: pass.rows.offsets.iter().flat_map(tap).collect(),
            pixel_step: pass.cols.stride * shape.step,
            row_step: pass.rows.stride * width * shape.step,
            block_step: height * width * shape.step,
            row_blocks: row_blocks(pass, shape),
            dense: pass.rows.stride == 1 && pass.cols.stride == 1 && pass.cols.count == width,
        }
    }

    /// Staged even where the input could be read in place.
    pub fn staged(pass: &Pass, shape: SourceShape) -> Self {
        let row_blocks = row_blocks(pass, shape);
        let rows = pass.rows.count.div_ceil(row_blocks);
        let (cols, stride) = match steps_over(pass, shape) {
            true => {
                let count = (pass.cols.count.max(1) - 1) * pass.cols.stride + 1;
                let together = Axis { stride: 1, count, ..pass.cols.clone() };
                (Staged::new(&together, count), pass.cols.stride)
            }
            false => (Staged::new(&pass.cols, pass.cols.count), 1),
        };
        let staged = Staging { rows: Staged::new(&pass.rows, rows), cols };
        let pitch = staged.cols.len;
        let tap = |&row: &usize| {
            let cols = staged.cols.taps.clone();
            cols.into_iter().map(move |col| (row * pitch + col) * shape.step)
        };
        Source {
            taps: staged.rows.taps.iter().flat_map(tap).collect(),
            pixel_step: stride * shape.step,
            row_step: pitch * shape.step,
            block_step: staged.rows.len * pitch * shape.step,
            row_blocks,
            dense: pitch == pass.cols.count && stride == 1,
            staging: Some(staged),
        }
    }

    /// The rows of block `index`, of `count` output rows.
    pub fn row_block(&self, index: usize, count: usize) -> Range<usize> {
        row_block(index, self.row_blocks, count)
    }

    /// Whether the input is copied before it is read.
    pub fn is_staged(&self) -> bool {
        self.staging.is_some()
    }

    /// Scratch numbers a task needs.
    pub fn scratch_len(&self, blocks: usize) -> usize {
        if self.staging.is_some() { blocks * self.block_step } else { 0 }
    }

    /// The numbers the micro-kernel reads for the output rows from `row` on, and which of them is the origin of the
    /// first output. `x` holds the pass's blocks of one image; `scratch` at least [`Source::scratch_len`] numbers. Outside
    /// the image lie words of `zero`.
    pub fn prepare<'a>(
        &self,
        x: &'a [f32],
        shape: SourceShape,
        (row, zero): (usize, f32),
        scratch: &'a mut [f32],
    ) -> &'a [f32] {
        let Some(staging) = &self.staging else { return &x[row * self.row_step..] };
        let plane = shape.size[0] * shape.size[1] * shape.step;
        for block in 0..shape.blocks {
            let to = &mut scratch[block * self.block_step..][..self.block_step];
            staging.fill(&x[block * plane..][..plane], shape, (row, zero), to);
        }
        scratch
    }
}

impl Staging {
    /// Stages one block of channels.
    fn fill(&self, plane: &[f32], shape: SourceShape, (row, zero): (usize, f32), to: &mut [f32]) {
        let (pitch, width) = (self.cols.len * shape.step, shape.size[1] * shape.step);
        for segment in &self.rows.segments {
            for i in 0..segment.len {
                let staged = &mut to[(segment.start + i) * pitch..][..pitch];
                match self.rows.pixel(segment, row, i) {
                    Some(at) => self.fill_row(&plane[at * width..][..width], (shape.step, zero), staged),
                    None => staged.fill(zero),
                }
            }
        }
    }

    /// Stages one row.
    fn fill_row(&self, row: &[f32], (step, zero): (usize, f32), to: &mut [f32]) {
        for segment in &self.cols.segments {
            let staged = &mut to[segment.start * step..][..segment.len * step];
            let (from, end) = self.cols.inside(segment);
            staged[..from * step].fill(zero);
            staged[end * step..].fill(zero);
            let Some(first) = self.cols.pixel(segment, 0, from).filter(|_| from < end) else { continue };
            let (row, staged) = (&row[first * step..], &mut staged[from * step..end * step]);
            match (self.cols.stride, step) {
                (1, _) => staged.copy_from_slice(&row[..staged.len()]),
                (stride, 1) => copy_strided::<1>(row, stride, staged),
                (stride, 2) => copy_strided::<2>(row, stride, staged),
                (stride, 4) => copy_strided::<4>(row, stride, staged),
                (stride, 8) => copy_strided::<8>(row, stride, staged),
                (stride, 16) => copy_strided::<16>(row, stride, staged),
                (_, step) => unreachable!("no format has pixels of {step} words"),
            }
        }
    }
}

/// Copies every `stride`-th pixel of `STEP` numbers.
fn copy_strided<const STEP: usize>(row: &[f32], stride: usize, to: &mut [f32]) {
    for (to, from) in to.chunks_exact_mut(STEP).zip(row.chunks(stride * STEP)) {
        to.copy_from_slice(&from[..STEP]);
    }
}

/// Whether the micro-kernel can step over the stride of the columns.
fn steps_over(pass: &Pass, shape: SourceShape) -> bool {
    tile::steps_over(shape.step, pass.cols.stride)
}

/// How many blocks of output rows there are: as few as keep a task's input small.
fn row_blocks(pass: &Pass, shape: SourceShape) -> usize {
    let per_row = (shape.blocks * pass.cols.stride * pass.cols.count * shape.step).max(1);
    let most = (STAGED / per_row).max(1);
    evened(pass.rows.count.max(1).div_ceil(most), [pass.rows.count, pass.cols.count])
}

/// At least so many blocks of an image's rows, an even number where rows are plenty: so two threads get the same number
/// of rows, and the same rows from one layer to the next.
pub(crate) fn evened(blocks: usize, [rows, cols]: [usize; 2]) -> usize {
    let even = blocks.next_multiple_of(2);
    if rows / even * cols >= LEAST_PIXELS { even } else { blocks }
}

/// The rows of block `index` of `blocks`: as many as those of any other block, or one fewer.
pub(crate) fn row_block(index: usize, blocks: usize, rows: usize) -> Range<usize> {
    rows * index / blocks..rows * (index + 1) / blocks
}
