//! Direct convolution: one or more passes over the blocked layout, tile by tile.
//!
//! ```text
//! for each pass, each (image, block of output rows, group, chunk of panels) in parallel:
//!     prepare the input rows (in place, or staged with halo and stride taken out)
//!     for each panel of up to V * 16 output channels: for each row or pair of rows, each tile of pixels:
//!         micro-kernel with its epilogue
//! ```
//!
//! The panel stays in the second-level cache over the rows, the rows over the panels.

use std::ops::Range;

use crate::format::Format;
use crate::isa::{Isa, LANES};
use crate::layout::{BLOCK, blocks};
use crate::narrow::Coding;
use crate::threads::{SharedMut, ThreadPool};

use super::narrow::NarrowPacking;
use super::pack::{Packing, WeightView};
use super::panels::{Panel, Panels};
use super::pass::Pass;
use super::source::{Source, SourceShape};
use super::tile::{TileArgs, max_pixels_of, pairs, tile_of};
use super::{Epilogue, InputLayout};

/// Most vectors of output channels in any tile.
const MOST_VECTORS: usize = 4;

/// The two sides of a convolution: channels (all groups) and pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Side {
    pub channels: usize,
    pub size: [usize; 2],
}

/// A convolution as passes: plain data, the same for every thread count.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Direct {
    isa: Isa,
    batch: usize,
    groups: usize,
    from: Side,
    to: Side,
    layout: InputLayout,
    /// What the input is, and so the weights.
    coding: Coding,
    /// The output is `f32`, whatever the input is.
    wide: bool,
    /// Vectors of output channels in a full panel.
    vectors: usize,
    passes: Vec<Step>,
}

/// A pass and where its input and packed weights lie.
#[derive(Clone, Debug, PartialEq)]
struct Step {
    pass: Pass,
    source: Source,
    /// Kernel index of each tap.
    taps: Vec<usize>,
    /// Where its packed weights start.
    packed: usize,
}

/// What a [`Direct`] is made of.
pub(crate) struct DirectSpec {
    pub isa: Isa,
    pub batch: usize,
    pub groups: usize,
    pub from: Side,
    pub to: Side,
    pub layout: InputLayout,
    /// What the input is, and so the weights.
    pub coding: Coding,
    /// Whether the output is `f32` all the same.
    pub wide: bool,
    pub kernel_width: usize,
    pub passes: Vec<Pass>,
}

/// The arrays of one run.
pub(crate) struct DirectRun<'a> {
    pub x: &'a [f32],
    pub packed: &'a [f32],
    pub epilogue: Epilogue<'a>,
    pub scratch: &'a mut [f32],
    pub y: &'a mut [f32],
}

/// What the tasks of one pass share.
struct Job<'a> {
    direct: &'a Direct,
    step: &'a Step,
    x: &'a [f32],
    packed: &'a [f32],
    epilogue: Epilogue<'a>,
    y: SharedMut<'a, f32>,
    split: Split,
}

/// How a pass becomes tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Split {
    /// Tasks of the same output channels follow one another, not those of the same rows.
    channels_first: bool,
    /// Parts into which each group's panels are split.
    chunks: usize,
}

/// One task's place.
struct Place {
    image: usize,
    row: usize,
    rows: usize,
    group: usize,
}

/// Where rows of a panel are written: its first pixel, and from one to the next. Steps are in words.
struct Destination {
    y: *mut f32,
    /// What is added, in the layout of `y`; null for none.
    residual: *const f32,
    step: usize,
    row_step: usize,
    block_step: usize,
}

impl Direct {
    /// `None` where groups do not fall on block boundaries.
    pub fn new(spec: DirectSpec) -> Option<Self> {
        let DirectSpec { isa, batch, groups, from, to, layout, coding, wide, kernel_width, passes } = spec;
        let format = coding.format();
        let whole_blocks = |side: Side| (side.channels / groups).is_multiple_of(BLOCK);
        if groups > 1 && !(whole_blocks(from) && whole_blocks(to) && layout == InputLayout::Blocked) {
            return None;
        }
        if layout == InputLayout::Plain && format != Format::F32 {
            return None;
        }
        let words = (from.channels / groups).div_ceil(format.per_word());
        let lanes = blocks(to.channels / groups) * LANES;
        let shape = source_shape(from, (layout, format), groups);
        let mut packed = 0;
        let mut step = |pass: Pass| {
            let source = Source::new(&pass, shape);
            let tap = |&row: &usize| pass.cols.kernel.iter().map(move |&col| row * kernel_width + col);
            let taps = pass.rows.kernel.iter().flat_map(tap).collect();
            let start = packed;
            packed += groups * lanes * words * pass.taps();
            Step { source, taps, packed: start, pass }
        };
        let passes = passes.into_iter().map(&mut step).collect();
        // Tiny images make small tiles: more output channels at once then keep the multiply-adds in flight.
        let tiny = plane(to) <= max_pixels_of(isa, format, 4) && layout == InputLayout::Blocked;
        let vectors = if tiny { 4 } else { 2 };
        let vectors = if max_pixels_of(isa, format, vectors) > 0 { vectors } else { 1 };
        Some(Direct { isa, batch, groups, from, to, layout, coding, wide, vectors, passes })
    }

    /// Words of packed weights.
    pub fn packed_len(&self) -> usize {
        self.passes.iter().map(|step| self.groups * self.group_packed_len(step)).sum()
    }

    fn group_packed_len(&self, step: &Step) -> usize {
        self.panel_rows(step) * blocks(self.to.channels / self.groups) * LANES
    }

    /// Weight vectors of one output channel block: the length of the reduction.
    fn panel_rows(&self, step: &Step) -> usize {
        self.words() * step.taps.len()
    }

    /// Words of one group's input channels.
    fn words(&self) -> usize {
        (self.from.channels / self.groups).div_ceil(self.format().per_word())
    }

    /// Packs the weights. `view(group)` shows them as the passes see them; `scale` has a factor per output channel.
    pub fn pack<'a>(
        &self,
        pool: &ThreadPool,
        view: &(dyn Fn(usize) -> WeightView<'a> + Sync),
        scale: Option<&[f32]>,
        packed: &mut [f32],
    ) {
        assert_eq!(packed.len(), self.packed_len(), "packed length");
        let lanes = self.to.channels / self.groups;
        assert!(scale.is_none_or(|s| s.len() == self.to.channels), "one scale per output channel");
        for step in &self.passes {
            let len = self.group_packed_len(step);
            let packed = packed[step.packed..].chunks_exact_mut(len.max(1)).take(self.groups);
            for (group, packed) in packed.enumerate() {
                let (view, panels) = (view(group), self.panels());
                let channels = self.from.channels / self.groups;
                let block = self.layout.words(self.format(), channels);
                let (taps, scale) = (&step.taps[..], scale.map(|s| &s[group * lanes..][..lanes]));
                let packing = Packing { isa: self.isa, view, taps, lanes, panels, channels, block, scale };
                match self.format() {
                    Format::F32 => packing.pack(pool, packed),
                    format => NarrowPacking { format, packing }.pack(pool, packed),
                }
            }
        }
    }

    /// Scratch numbers for `threads` threads.
    pub fn scratch_len(&self, threads: usize) -> usize {
        threads * self.thread_scratch_len()
    }

    fn thread_scratch_len(&self) -> usize {
        let blocks = source_shape(self.from, (self.layout, self.format()), self.groups).blocks;
        let most = self.passes.iter().map(|step| step.source.scratch_len(blocks)).max();
        most.unwrap_or(0).next_multiple_of(LANES)
    }

    /// Runs every pass.
    pub fn run(&self, pool: &ThreadPool, run: DirectRun<'_>) {
        let DirectRun { x, packed, epilogue, scratch, y } = run;
        assert_eq!(x.len(), self.batch * self.image_len(), "input length");
        let pixels = self.batch * plane(self.to) * blocks(self.to.channels);
        assert_eq!(y.len(), pixels * self.out_format().block(), "output length");
        assert_eq!(packed.len(), self.packed_len(), "packed length");
        assert!(epilogue.residual.is_none_or(|r| r.len() == y.len()), "residual length");
        assert!(epilogue.bias.is_none_or(|b| b.len() == self.to.channels), "one bias per output channel");
        assert!(
            epilogue.worth.map_or(self.format() != Format::U8, |w| w.sum.len() == self.to.channels),
            "one factor per output channel where products are of 8 bits"
        );
        assert!(scratch.len() >= self.scratch_len(pool.threads()), "scratch length");
        let (scratch, y) = (SharedMut::new(scratch), SharedMut::new(y));
        for step in &self.passes {
            let split = self.split(pool.threads(), step);
            let job = Job { direct: self, step, x, packed, epilogue, y, split };
            let tasks = self.units(step) * split.chunks;
            pool.run_with_thread(tasks, &|thread, task| {
                let len = self.thread_scratch_len();
                // SAFETY: each thread has its own part of the scratch memory.
                job.run(task, unsafe { scratch.part(thread * len, len) });
            });
        }
    }

    /// Whether every output pixel is made of the input pixel at its place, in `f32` and one group.
    pub fn is_pointwise(&self) -> bool {
        let one = |step: &Step| step.source.dense && !step.source.is_staged() && step.taps.len() == 1;
        let whole = self.groups == 1 && self.format() == Format::F32 && self.layout == InputLayout::Blocked;
        whole && self.passes.len() == 1 && self.passes.iter().all(one)
    }

    /// Some rows of a panel of one image of a pointwise convolution, to `y`: blocks of channels of so many rows, which are
    /// `pitch` pixels apart and begin at pixel `left`.
    pub fn run_pointwise(
        &self,
        (x, packed, epilogue): (&[f32], &[f32], Epilogue<'_>),
        panel: Panel,
        (rows, asks): (Range<usize>, bool),
        (y, left, pitch): (&mut [f32], usize, usize),
    ) {
        let width = self.to.size[1];
        assert!(self.is_pointwise() && x.len() == self.image_len() && rows.end <= self.to.size[0], "rows");
        assert!(left + width <= pitch && y.len() >= panel.vectors * rows.len() * pitch * LANES, "room");
        assert_eq!(packed.len(), self.packed_len(), "packed length");
        let to = Destination {
            y: y.as_mut_ptr().wrapping_add(left * LANES),
            residual: std::ptr::null(),
            step: LANES,
            row_step: pitch * LANES,
            block_step: rows.len() * pitch * LANES,
        };
        let (y, split) = (SharedMut::new(y), Split { channels_first: false, chunks: 1 });
        let job = Job { direct: self, step: &self.passes[0], x, packed, epilogue, y, split };
        // SAFETY: a window is the pixel itself; `y` has room for the rows of every vector of the panel.
        unsafe { job.run_panel_to(panel, (0, rows.len()), (&x[rows.start * width * LANES..], asks), &to) }
    }

    /// Pixels of an output row.
    pub fn width(&self) -> usize {
        self.to.size[1]
    }

    /// Words of one input image.
    pub fn image_len(&self) -> usize {
        let SourceShape { blocks, step, .. } = source_shape(self.from, (self.layout, self.format()), 1);
        blocks * step * plane(self.from)
    }

    /// What the input and the weights are.
    pub fn format(&self) -> Format {
        self.coding.format()
    }

    /// A word of numbers that stand for 0.
    fn zero(&self) -> f32 {
        match self.coding {
            Coding::U8 { zero, .. } => f32::from_bits(u32::from_le_bytes([zero; 4])),
            _ => 0.0,
        }
    }

    /// What the output is.
    fn out_format(&self) -> Format {
        if self.wide { Format::F32 } else { self.format() }
    }

    /// The panels of one group's output channels.
    pub fn panels(&self) -> Panels {
        Panels { blocks: blocks(self.to.channels / self.groups), vectors: self.vectors }
    }

    /// Blocks of rows, over all images and groups.
    fn units(&self, step: &Step) -> usize {
        self.batch * step.source.row_blocks * self.groups
    }

    /// How to split a pass so that all threads have about the same work, rows alone where that will do. This may depend
    /// on the number of threads because it changes no sum.
    fn split(&self, threads: usize, step: &Step) -> Split {
        /// Units from which it does not matter that some have a row fewer.
        const MANY: usize = 16;
        let (panels, units) = (self.panels().count(), self.units(step));
        // Staging a number costs about as much as six multiply-adds of a lane.
        let lanes = self.vectors * LANES * step.taps.len();
        let rows = |unit: usize| {
            let block = unit / self.groups % step.source.row_blocks;
            step.source.row_block(block, step.pass.rows.count).len()
        };
        let cost = |split: &Split| {
            let Split { channels_first, chunks } = *split;
            let tasks = units * chunks;
            let work = |panels: usize| panels * lanes + 6;
            if units > MANY * threads {
                return tasks.div_ceil(threads) * work(panels.div_ceil(chunks)) * rows(0);
            }
            let task = |task: usize| {
                let (unit, chunk) = if channels_first {
                    (task % units, task / units)
                } else {
                    (task / chunks, task % chunks)
                };
                rows(unit) * work((chunk + 1) * panels / chunks - chunk * panels / chunks)
            };
            let part = |t: usize| (t * tasks / threads..(t + 1) * tasks / threads).map(task).sum::<usize>();
            (0..threads).map(part).max().unwrap_or(0)
        };
        let of = |channels_first| {
            (1..=panels.min(4 * threads)).map(move |chunks| Split { channels_first, chunks })
        };
        let splits = of(false).chain(of(true));
        splits.min_by_key(|split| (cost(split), *split)).unwrap_or(Split { channels_first: false, chunks: 1 })
    }
}

impl Job<'_> {
    /// Computes one task's part of the output.
    fn run(&self, task: usize, scratch: &mut [f32]) {
        let (direct, step) = (self.direct, self.step);
        let Split { channels_first, chunks } = self.split;
        let (unit, chunk) = match channels_first {
            true => (task % direct.units(step), task / direct.units(step)),
            false => (task / chunks, task % chunks),
        };
        let (unit, group) = (unit / direct.groups, unit % direct.groups);
        let (image, row_block) = (unit / step.source.row_blocks, unit % step.source.row_blocks);
        let rows = step.source.row_block(row_block, step.pass.rows.count);
        let (row, place) = (rows.start, Place { image, row: rows.start, rows: rows.len(), group });
        let shape = source_shape(direct.from, (direct.layout, direct.format()), direct.groups);
        let group_len = direct.image_len() / direct.groups;
        let x = &self.x[image * direct.image_len() + group * group_len..][..group_len];
        let x = step.source.prepare(x, shape, (row, direct.zero()), scratch);
        let panels = direct.panels();
        let count = panels.count();
        let (first, end) = (chunk * count / chunks, (chunk + 1) * count / chunks);
        for index in first..end {
            let asks = index == first && !step.source.is_staged();
            self.run_panel(panels.get(index), &place, (x, asks));
        }
    }

    /// Computes the output channels of one panel for a block of rows. Who `asks` for `x` ahead of its use is the first to
    /// read it: it may lie far away.
    fn run_panel(&self, panel: Panel, place: &Place, x: (&[f32], bool)) {
        let (direct, step) = (self.direct, self.step);
        let Side { size: [_, width], .. } = direct.to;
        let block = (place.image * direct.groups + place.group) * blocks(direct.to.channels / direct.groups);
        let pixel = (step.pass.rows.start + place.row * step.pass.rows.step) * width + step.pass.cols.start;
        let out = direct.out_format().block();
        let y = ((block + panel.block) * plane(direct.to) + pixel) * out;
        let to = Destination {
            y: self.y.as_ptr().wrapping_add(y),
            residual: self.epilogue.residual.map_or(std::ptr::null(), |r| r[y..].as_ptr()),
            step: step.pass.cols.step * out,
            row_step: step.pass.rows.step * width * out,
            block_step: plane(direct.to) * out,
        };
        // SAFETY: `to` is the task's own rows of its own channels, inside the checked length, and those of the residual.
        unsafe { self.run_panel_to(panel, (place.group, place.rows), x, &to) }
    }

    /// Computes some rows of a panel of a group.
    ///
    /// # Safety
    /// `x` begins with the first row's windows; the panel's rows at `to` are nobody else's, those of its residual readable.
    unsafe fn run_panel_to(
        &self,
        panel: Panel,
        (group, rows): (usize, usize),
        (x, asks): (&[f32], bool),
        to: &Destination,
    ) {
        let (direct, step) = (self.direct, self.step);
        let group_lanes = direct.to.channels / direct.groups;
        let (mut bias, mut factors) = ([0.0; MOST_VECTORS * LANES], [0.0; MOST_VECTORS * LANES]);
        let lane = panel.block * LANES;
        let own = |all: &[f32], to: &mut [f32]| {
            let count = (group_lanes - lane).min(panel.vectors * LANES);
            to[..count].copy_from_slice(&all[group * group_lanes + lane..][..count]);
        };
        if let Some(all) = self.epilogue.bias {
            own(all, &mut bias);
        }
        if let Some(worth) = self.epilogue.worth {
            own(worth.sum, &mut factors);
        }
        let panel_rows = direct.panel_rows(step);
        let weights = step.packed + group * direct.group_packed_len(step) + panel.block * LANES * panel_rows;
        let weights = &self.packed[weights..][..panel.vectors * LANES * panel_rows];
        let channels = direct.from.channels / direct.groups;
        let args = TileArgs {
            x: x.as_ptr(),
            x_block_step: step.source.block_step,
            x_row_step: step.source.row_step,
            ahead: 0,
            taps: &step.source.taps,
            channels: direct.words(),
            block: direct.layout.words(direct.format(), channels),
            weights: weights.as_ptr(),
            y: to.y,
            residual: to.residual,
            y_step: to.step,
            y_row_step: to.row_step,
            y_block_step: to.block_step,
            bias: bias.as_ptr(),
            scale: factors.as_ptr(),
            residual_scale: self.epilogue.worth.map_or(1.0, |worth| worth.residual),
            clamp: self.epilogue.clamp,
            wide: direct.wide,
        };
        // SAFETY: `prepare` laid out every tap of every pixel of these rows for all blocks; the panel was packed for
        // this step; the tile functions are those of `direct.isa`; the rest is the caller's promise.
        unsafe { self.run_rows(args, panel.vectors, (rows, asks)) }
    }

    /// Cuts `rows` rows into tiles: all rows as one line where they follow one another, else pairs of narrow rows.
    unsafe fn run_rows(&self, mut args: TileArgs<'_>, vectors: usize, (rows, asks): (usize, bool)) {
        let (direct, step) = (self.direct, self.step);
        let width = step.pass.cols.count;
        let dense_output = args.y_row_step == width * args.y_step;
        if step.source.dense && dense_output {
            // SAFETY: passed on to the caller.
            return unsafe { self.run_line(&args, vectors, [1, rows * width], asks) };
        }
        let paired = pairs(direct.isa, direct.format(), step.source.pixel_step, vectors, width);
        let mut row = 0;
        while row < rows {
            let height = if paired && row + 1 < rows { 2 } else { 1 };
            // SAFETY: passed on to the caller.
            unsafe { self.run_line(&args, vectors, [height, width], false) };
            args.x = args.x.wrapping_add(height * args.x_row_step);
            args.y = args.y.wrapping_add(height * args.y_row_step);
            if !args.residual.is_null() {
                args.residual = args.residual.wrapping_add(height * args.y_row_step);
            }
            row += height;
        }
    }

    /// One line of pixels, one or two rows high, in tiles of nearly equal width.
    unsafe fn run_line(&self, args: &TileArgs<'_>, vectors: usize, [height, width]: [usize; 2], asks: bool) {
        let (isa, format, x_step) = (self.direct.isa, self.direct.format(), self.step.source.pixel_step);
        let tiles = if height == 2 { 1 } else { width.div_ceil(max_pixels_of(isa, format, vectors)) };
        let mut args = *args;
        let (mut from, mut done) = (0, 0);
        while done < tiles {
            done += 1;
            let to = width * done / tiles;
            let pixels = to - from;
            args.ahead = if asks && args.taps.len() == 1 { pixels * x_step } else { 0 };
            // SAFETY: passed on to the caller.
            unsafe { tile_of(isa, format, x_step, vectors, [height, pixels])(&args) };
            args.x = args.x.wrapping_add(pixels * x_step);
            args.y = args.y.wrapping_add(pixels * args.y_step);
            if !args.residual.is_null() {
                args.residual = args.residual.wrapping_add(pixels * args.y_step);
            }
            from = to;
        }
    }
}

/// Pixels of one side's image.
fn plane(side: Side) -> usize {
    side.size[0] * side.size[1]
}

/// One group's input, as the source sees it.
fn source_shape(from: Side, (layout, format): (InputLayout, Format), groups: usize) -> SourceShape {
    let channels = from.channels / groups;
    let step = layout.words(format, channels);
    SourceShape { blocks: channels.div_ceil(format.per_word()).div_ceil(step), size: from.size, step }
}
