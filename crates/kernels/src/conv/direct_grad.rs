//! The weight gradient of a dense convolution: a correlation of input and output gradient.
//!
//! A *unit* is a block of 16 input channels (one channel of plain input); a *pair* is a unit and a panel of output
//! channels, with sums `[tap][channel of the unit][V * 16]`. A *slab* is a few output rows of one image, or a few small
//! images, whose numbers stay in the first-level cache while all taps pass over them:
//!
//! ```text
//! for each part of the slabs, each range of pairs, in parallel:
//!     for each slab of the part, pair of the range, tap:
//!         sums[pair][tap] += over the pixels at which the tap lies inside the image: x (outer) dy
//!     with one part: dw of the range = its sums, transposed to OIHW while they are in the cache
//! with several parts: for each pair, in parallel: dw = the parts' sums, added in order, as OIHW
//! ```
//!
//! A range is small enough for its sums to stay in the second-level cache: where weights are many and pixels few, the
//! time goes into writing `dw` once.
//!
//! No halo is needed, for each tap runs over its own rectangle of pixels. Plain input makes an exception: there a
//! tile's neighbours are the taps of a kernel row, so rows are first copied with zeros left and right.
//!
//! The number of parts follows from the geometry alone, and so do the slabs: the order of every sum is fixed.

use ocellus_tensor::ConvGeometry;

use crate::format::Format;
use crate::isa::{Isa, LANES};
use crate::layout::{BLOCK, blocked_len, blocks};
use crate::threads::{SharedMut, ThreadPool};

use super::InputLayout;
use super::panels::{Panel, Panels};
use super::pass::{Axis, Pass};
use super::transpose::Transpose;
use super::weight_tile::{WeightTileArgs, weight_tiles};

/// Bytes of `x` and `dy` in a slab for one pair: most of a first-level cache.
const SLAB_BYTES: usize = 24 * 1024;
/// Pixels in a slab worth the loading and storing of sums.
const SLAB_PIXELS: usize = 128;
/// Numbers of sums in a range of pairs at most: a quarter of a second-level cache.
const RANGE_SUMS: usize = 64 * 1024;
/// Panels in a band of pairs.
const BAND: usize = 16;
/// Parts times pairs aimed for, so that a handful of threads finds work.
const TASKS: usize = 16;

/// A dense weight gradient: plain data.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DirectGrad {
    geometry: ConvGeometry,
    isa: Isa,
    /// Of a word: bf16 words hold pairs of images, and `geometry` counts pairs.
    format: Format,
    layout: InputLayout,
    panels: Panels,
    pass: Pass,
    slabs: Slabs,
    /// Into how many parts the slabs are split, each with its own sums.
    parts: usize,
}

/// How the pixels of a batch are cut.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Slabs {
    /// Images of a slab; more than one only where a slab holds whole images.
    images: usize,
    /// Output rows of a slab.
    rows: usize,
    /// Slabs over the rows of an image.
    per_image: usize,
    count: usize,
}

/// The output rows `row..row + rows` of the images `image..image + images`.
#[derive(Clone, Copy)]
struct Slab {
    image: usize,
    images: usize,
    row: usize,
    rows: usize,
}

/// A unit of input channels and a panel of output channels in one group.
#[derive(Clone, Copy)]
struct Pair {
    group: usize,
    unit: usize,
    /// Real input channels of the unit.
    channels: usize,
    panel: Panel,
    /// Where its sums lie among all pairs'.
    start: usize,
}

/// What the tasks share.
struct Job<'a> {
    recipe: &'a DirectGrad,
    x: &'a [f32],
    dy: &'a [f32],
}

/// One task: some slabs over some pairs.
struct Task {
    slabs: std::ops::Range<usize>,
    pairs: std::ops::Range<usize>,
}

impl DirectGrad {
    /// `None` where groups do not fall on block boundaries, or plain input has more than 16 channels.
    pub fn new(geometry: ConvGeometry, isa: Isa, (input, format): (InputLayout, Format)) -> Option<Self> {
        let g = &geometry;
        let whole_blocks = g.group_in().is_multiple_of(BLOCK) && g.group_out().is_multiple_of(BLOCK);
        let plain = input == InputLayout::Plain;
        if (g.groups > 1 && (plain || !whole_blocks)) || (plain && g.in_channels > BLOCK) {
            return None;
        }
        let vectors = if weight_tiles(isa, format, 2).is_empty() { 1 } else { 2 };
        let panels = Panels { blocks: blocks(g.group_out()), vectors };
        let slabs = Slabs::new(g, input, vectors);
        let pairs = g.groups * g.group_in().div_ceil(input.step()) * panels.count();
        let parts = TASKS.div_ceil(pairs).min(slabs.count).max(1);
        let pass = Pass::forward(g);
        Some(DirectGrad { geometry, isa, format, layout: input, panels, pass, slabs, parts })
    }

    /// Of the words of input and output gradient.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Scratch numbers for a pool of `threads` threads: sums, and staged rows of plain input.
    pub fn scratch_len(&self, threads: usize) -> usize {
        self.sums_len(threads) + threads * self.staged_len()
    }

    /// Computes `dw`, every element of it. `scratch` has at least `scratch_len(pool.threads())` numbers of any
    /// value.
    pub fn run(&self, pool: &ThreadPool, x: &[f32], dy: &[f32], scratch: &mut [f32], dw: &mut [f32]) {
        let g = &self.geometry;
        let [h, w] = g.output;
        assert_eq!(x.len(), g.batch * self.image_len(), "input length");
        assert_eq!(dy.len(), blocked_len(g.batch, g.out_channels, h, w), "output gradient length");
        assert_eq!(dw.len(), g.out_channels * g.group_in() * g.window.taps(), "weight gradient length");
        let (sums, staged) = scratch.split_at_mut(self.sums_len(pool.threads()));
        assert!(staged.len() >= pool.threads() * self.staged_len(), "scratch length");
        let (sums, staged, dw) = (SharedMut::new(sums), SharedMut::new(staged), SharedMut::new(dw));
        let job = Job { recipe: self, x, dy };
        let (ranges, staged_len, range_len) =
            (self.ranges(pool.threads()), self.staged_len(), self.range_len(pool.threads()));
        pool.run_with_thread(self.parts * ranges, &|thread, task| {
            let (part, task) = (task / ranges, self.task(task / ranges, task % ranges, ranges));
            // SAFETY: each thread has its own staged rows.
            let staged = unsafe { staged.part(thread * staged_len, staged_len) };
            if self.parts == 1 {
                // SAFETY: each thread has its own sums.
                let sums = unsafe { sums.part(thread * range_len, range_len) };
                job.sum(&task, sums, staged);
                job.write(&task, sums, dw);
            } else {
                let (start, len) = self.sums_of(task.pairs.clone());
                // SAFETY: each task has its own part and pairs.
                job.sum(&task, unsafe { sums.part(part * self.part_len() + start, len) }, staged);
            }
        });
        if self.parts > 1 {
            pool.run(self.pairs(), &|pair| {
                let (start, len) = self.sums_of(pair..pair + 1);
                // SAFETY: each task has its own pair.
                let part = |i: usize| unsafe { sums.part(i * self.part_len() + start, len) };
                let total = part(0);
                for i in 1..self.parts {
                    total.iter_mut().zip(part(i).iter()).for_each(|(t, p)| *t += p);
                }
                job.write(&Task { slabs: 0..0, pairs: pair..pair + 1 }, total, dw);
            });
        }
    }

    /// The task of a part and a range of pairs.
    fn task(&self, part: usize, range: usize, ranges: usize) -> Task {
        let split = |count: usize, i: usize, of: usize| i * count / of..(i + 1) * count / of;
        Task { slabs: split(self.slabs.count, part, self.parts), pairs: split(self.pairs(), range, ranges) }
    }

    /// Into how many ranges to split the pairs; changes no sum, so it may depend on the threads.
    fn ranges(&self, threads: usize) -> usize {
        let pairs = self.pairs();
        let cost = |ranges: usize| (self.parts * ranges).div_ceil(threads) * pairs.div_ceil(ranges);
        let least = if self.parts > 1 { 1 } else { self.part_len().div_ceil(RANGE_SUMS).min(pairs) };
        (least..=pairs.min(least + 4 * threads)).min_by_key(|&ranges| cost(ranges)).unwrap_or(1)
    }

    /// The most sums a range has.
    fn range_len(&self, threads: usize) -> usize {
        let per_pair = self.layout.step().min(self.geometry.group_in()) * self.geometry.window.taps();
        self.pairs().div_ceil(self.ranges(threads))
            * per_pair
            * self.panels.vectors.min(self.panels.blocks)
            * LANES
    }

    /// Numbers of all sums: all parts, or a range for each thread.
    fn sums_len(&self, threads: usize) -> usize {
        if self.parts > 1 { self.parts * self.part_len() } else { threads * self.range_len(threads) }
    }

    fn units(&self) -> usize {
        self.geometry.group_in().div_ceil(self.layout.step())
    }

    fn pairs(&self) -> usize {
        self.geometry.groups * self.units() * self.panels.count()
    }

    /// Pairs in order of group, band of panels, unit, panel: a range is about as many units as panels, so that the
    /// numbers it reads are few.
    fn pair(&self, index: usize) -> Pair {
        let (units, panels) = (self.units(), self.panels.count());
        let (group, index) = (index / (units * panels), index % (units * panels));
        let band = index / (units * BAND) * BAND;
        let width = (panels - band).min(BAND);
        let index = index - band * units;
        let (unit, panel) = (index / width, self.panels.get(band + index % width));
        let step = self.layout.step();
        let channels = (self.geometry.group_in() - unit * step).min(step);
        let band = band * self.panels.vectors;
        let width = (self.panels.blocks - band).min(BAND * self.panels.vectors);
        // Sums of a block of output channels before this pair's: of groups, bands, units, panels.
        let inputs = self.geometry.group_in();
        let before = group * inputs * self.panels.blocks
            + band * inputs
            + unit * step * width
            + (panel.block - band) * channels;
        Pair { group, unit, channels, panel, start: before * self.geometry.window.taps() * LANES }
    }

    /// Numbers of one part's sums.
    fn part_len(&self) -> usize {
        let g = &self.geometry;
        g.in_channels * g.window.taps() * self.panels.blocks * LANES
    }

    /// Where the sums of some pairs lie among all pairs' sums, and how many there are.
    fn sums_of(&self, pairs: std::ops::Range<usize>) -> (usize, usize) {
        let start =
            |index: usize| if index < self.pairs() { self.pair(index).start } else { self.part_len() };
        (start(pairs.start), start(pairs.end) - start(pairs.start))
    }

    /// Floats of one input image.
    fn image_len(&self) -> usize {
        let (g, step) = (&self.geometry, self.layout.step());
        g.in_channels.div_ceil(step) * step * g.input[0] * g.input[1]
    }

    /// Width of a staged row: every column some tap of some output reads.
    fn staged_width(&self) -> usize {
        let cols = &self.pass.cols;
        (cols.count - 1) * cols.stride + self.geometry.window.reach(1)
    }

    /// Staged numbers per thread.
    fn staged_len(&self) -> usize {
        match self.layout {
            InputLayout::Blocked => 0,
            InputLayout::Plain | InputLayout::Pixels => {
                let rows = (self.slabs.rows - 1) * self.pass.rows.stride + self.geometry.window.reach(0);
                (self.slabs.images * rows * self.staged_width()).next_multiple_of(LANES)
            }
        }
    }
}

impl Slabs {
    fn new(g: &ConvGeometry, layout: InputLayout, vectors: usize) -> Self {
        let [height, width] = g.output;
        let per_pixel = vectors * LANES + layout.step() * g.window.stride[0] * g.window.stride[1];
        let most = (SLAB_BYTES / size_of::<f32>() / (per_pixel * width)).max(1);
        let per_image = height.div_ceil(most);
        let rows = height.div_ceil(per_image);
        let per_image = height.div_ceil(rows);
        let whole = rows == height && layout == InputLayout::Blocked;
        let most = if whole { SLAB_PIXELS.div_ceil(height * width) } else { 1 };
        let images = g.batch.div_ceil(g.batch.div_ceil(most).max(1));
        Slabs { images, rows, per_image, count: g.batch.div_ceil(images) * per_image }
    }

    fn get(&self, g: &ConvGeometry, index: usize) -> Slab {
        let (image, row) = (index / self.per_image * self.images, index % self.per_image * self.rows);
        Slab { image, images: self.images.min(g.batch - image), row, rows: self.rows.min(g.output[0] - row) }
    }
}

impl Job<'_> {
    /// Sums the slabs of a task; `sums` holds its pairs one after another.
    fn sum(&self, task: &Task, sums: &mut [f32], staged: &mut [f32]) {
        let recipe = self.recipe;
        for index in task.slabs.clone() {
            let slab = recipe.slabs.get(&recipe.geometry, index);
            let first = index == task.slabs.start;
            let mut staged_unit = None;
            let mut sums = &mut *sums;
            for index in task.pairs.clone() {
                let pair = recipe.pair(index);
                let (mine, others) = sums.split_at_mut(recipe.sums_of(index..index + 1).1);
                sums = others;
                if recipe.layout == InputLayout::Blocked {
                    self.add_blocked(&pair, slab, mine, first);
                    continue;
                }
                if staged_unit.replace(pair.unit) != Some(pair.unit) {
                    self.stage(pair.unit, slab, staged);
                }
                self.add_plain(&pair, slab, staged, (mine, first));
            }
        }
    }

    /// Adds one slab to a pair's sums, from blocked input in place.
    fn add_blocked(&self, pair: &Pair, slab: Slab, sums: &mut [f32], first: bool) {
        let (recipe, g) = (self.recipe, &self.recipe.geometry);
        let Pass { rows, cols } = &recipe.pass;
        let unit = pair.group * recipe.units() + pair.unit;
        let plane = unit * g.input[0] * g.input[1];
        let mut sums = sums.chunks_exact_mut(pair.channels * pair.panel.vectors * LANES);
        for &row_offset in &rows.offsets {
            let (row, end) = rows.inside(row_offset, slab.row, slab.row + slab.rows);
            for &col_offset in &cols.offsets {
                let (col, stop) = cols.inside(col_offset, 0, cols.count);
                let counts = [slab.images, end - row, stop - col];
                let empty = counts.contains(&0);
                let pixel = |axis: &Axis, o: usize, offset: isize| {
                    if empty { 0 } else { (o * axis.stride).strict_add_signed(offset) }
                };
                let at = plane + pixel(rows, row, row_offset) * g.input[1] + pixel(cols, col, col_offset);
                let args = WeightTileArgs {
                    x: self.x[slab.image * recipe.image_len() + at * BLOCK..].as_ptr(),
                    x_steps: [recipe.image_len(), rows.stride * g.input[1] * BLOCK, cols.stride * BLOCK],
                    counts,
                    first,
                    ..self.dy_args(pair, slab.image, [row, col])
                };
                let sums = sums.next().expect("one group of sums per tap");
                // SAFETY: the pixels lie inside both images; the neighbours are channels of the block.
                unsafe { self.add(args, pair.channels, pair.panel.vectors, sums) };
            }
        }
    }

    /// Copies the rows of `unit` (a channel) that the slab's windows read, with zeros left and right.
    fn stage(&self, unit: usize, slab: Slab, staged: &mut [f32]) {
        let (recipe, g) = (self.recipe, &self.recipe.geometry);
        let Pass { rows, cols } = &recipe.pass;
        let [height, width] = g.input;
        let before = cols.first().min(0).unsigned_abs();
        let skip = cols.first().max(0).unsigned_abs();
        let origin = (slab.row * rows.stride) as isize + rows.first();
        let plane = &self.x[slab.image * recipe.image_len() + unit * height * width..][..height * width];
        for (i, to) in staged.chunks_exact_mut(recipe.staged_width()).enumerate() {
            let row = origin + i as isize;
            if row < 0 || row >= height as isize {
                continue;
            }
            let from = &plane[row as usize * width..][skip..width];
            let start = before.min(to.len());
            let count = from.len().min(to.len() - start);
            to[..start].fill(0.0);
            to[start..start + count].copy_from_slice(&from[..count]);
            to[start + count..].fill(0.0);
        }
    }

    /// Adds one slab to a pair's sums, from staged rows of plain input: neighbours are taps along a row.
    fn add_plain(&self, pair: &Pair, slab: Slab, staged: &[f32], (sums, first): (&mut [f32], bool)) {
        let recipe = self.recipe;
        let Pass { rows, cols } = &recipe.pass;
        let width = recipe.staged_width();
        let [_, kernel_width] = recipe.geometry.window.kernel;
        let dense = recipe.geometry.window.dilation[1] == 1;
        let neighbours = if dense { kernel_width } else { 1 };
        let mut sums = sums.chunks_exact_mut(neighbours * pair.panel.vectors * LANES);
        for &row_offset in &rows.offsets {
            let (row, end) = rows.inside(row_offset, slab.row, slab.row + slab.rows);
            let staged_row = (row - slab.row) * rows.stride + (row_offset - rows.first()) as usize;
            for &col_offset in cols.offsets.iter().step_by(neighbours) {
                let counts = [1, end - row, cols.count];
                let at =
                    if row == end { 0 } else { staged_row * width + (col_offset - cols.first()) as usize };
                let args = WeightTileArgs {
                    x: staged[at..].as_ptr(),
                    x_steps: [0, rows.stride * width, cols.stride],
                    counts,
                    first,
                    ..self.dy_args(pair, slab.image, [row.min(rows.count - 1), 0])
                };
                let sums = sums.next().expect("one group of sums per row of taps");
                // SAFETY: every tap of every output column lies in the staged row, and only rows inside the image
                // are read.
                unsafe { self.add(args, neighbours, pair.panel.vectors, sums) };
            }
        }
    }

    /// The side of `dy`: the panel's first block of channels from an output pixel of an image on.
    fn dy_args(&self, pair: &Pair, image: usize, [row, col]: [usize; 2]) -> WeightTileArgs {
        let g = &self.recipe.geometry;
        let [height, width] = g.output;
        let plane = height * width * BLOCK;
        let image_blocks = g.groups * self.recipe.panels.blocks;
        let block = image * image_blocks + pair.group * self.recipe.panels.blocks + pair.panel.block;
        WeightTileArgs {
            dy: self.dy[block * plane..].as_ptr().wrapping_add((row * width + col) * BLOCK),
            dy_steps: [image_blocks * plane, width * BLOCK],
            dy_block_step: plane,
            x: std::ptr::null(),
            x_steps: [0; 3],
            counts: [0; 3],
            sums: std::ptr::null_mut(),
            first: false,
        }
    }

    /// Adds the pixels of `args` to the `sums` of `neighbours` neighbours, in tiles of nearly equal size.
    unsafe fn add(&self, mut args: WeightTileArgs, neighbours: usize, vectors: usize, sums: &mut [f32]) {
        if args.counts.contains(&0) {
            args.counts = [0; 3];
        }
        // Rows that follow one another in both arrays are one long row.
        let [_, rows, pixels] = args.counts;
        if args.x_steps[1] == pixels * args.x_steps[2] && args.dy_steps[1] == pixels * BLOCK {
            args.counts = [args.counts[0], 1, rows * pixels];
        }
        let tiles = weight_tiles(self.recipe.isa, self.recipe.format, vectors);
        let count = neighbours.div_ceil(tiles.len());
        let x = args.x;
        for i in 0..count {
            let (from, to) = (neighbours * i / count, neighbours * (i + 1) / count);
            args.x = x.wrapping_add(from);
            args.sums = sums[from * vectors * LANES..to * vectors * LANES].as_mut_ptr();
            // SAFETY: the caller's promise about pixels and neighbours; the slice just taken holds the sums.
            unsafe { tiles[to - from - 1](&args) };
        }
    }

    /// Writes the weights of a task's pairs, whose `sums` lie one after another.
    fn write(&self, task: &Task, mut sums: &[f32], dw: SharedMut<'_, f32>) {
        let (recipe, g) = (self.recipe, &self.recipe.geometry);
        let taps = g.window.taps();
        for index in task.pairs.clone() {
            let Pair { group, unit, channels, panel, .. } = recipe.pair(index);
            for v in 0..panel.vectors {
                let lane = (panel.block + v) * LANES;
                let out_channel = group * g.group_out() + lane;
                recipe.isa.run(Transpose {
                    sums: &sums[v * LANES..],
                    width: panel.vectors * LANES,
                    channels,
                    taps,
                    lanes: (g.group_out() - lane).min(LANES),
                    to: dw,
                    at: (out_channel * g.group_in() + unit * recipe.layout.step()) * taps,
                    step: g.group_in() * taps,
                });
            }
            sums = &sums[panel.vectors * LANES * channels * taps..];
        }
    }
}
