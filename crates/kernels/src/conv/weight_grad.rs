//! The gradient of a convolution with respect to its weights: a correlation of input and output gradient.
//!
//! A *unit* is a block of 16 input channels (one channel of plain input); a *pair* is a unit and a panel of output
//! channels, with sums `[tap][channel of the unit][V * 16]`. A *slab* is a few output rows of one image, or a few small
//! images, whose numbers stay in the first-level cache while all taps pass over them:
//!
//! ```text
//! for each part of the slabs, each range of pairs, in parallel:
//!     for each slab of the part, pair of the range, tap:
//!         sums[pair][tap] += over the pixels at which the tap lies inside the image: x (outer) dy
//! for each pair, in parallel: dw = the parts' sums, added in order, as OIHW
//! ```
//!
//! No halo is needed, for each tap runs over its own rectangle of pixels. Plain input makes an exception: there a
//! tile's neighbours are the taps of a kernel row, so rows are first copied with zeros left and right.
//!
//! The number of parts follows from the geometry alone, and so do the slabs: the order of every sum is fixed.

use ocellus_tensor::ConvGeometry;

use crate::isa::{Isa, LANES};
use crate::layout::{BLOCK, blocked_len, blocks};
use crate::threads::{SharedMut, ThreadPool};

use super::InputLayout;
use super::panels::{Panel, Panels};
use super::pass::{Axis, Pass};
use super::weight_tile::{WeightTileArgs, weight_tiles};

/// Bytes of `x` and `dy` in a slab for one pair: most of a first-level cache.
const SLAB_BYTES: usize = 24 * 1024;
/// Pixels in a slab worth the loading and storing of sums.
const SLAB_PIXELS: usize = 128;
/// Parts times pairs aimed for, so that a handful of threads finds work.
const TASKS: usize = 16;

/// How to compute `dw` from `x` and `dy`.
///
/// `x` is blocked `(N, C, H, W)` or plain, `dy` is blocked `(N, O, H', W')`, `dw` is OIHW.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvWeightGrad {
    geometry: ConvGeometry,
    isa: Isa,
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
}

/// What the tasks share.
struct Job<'a> {
    recipe: &'a ConvWeightGrad,
    x: &'a [f32],
    dy: &'a [f32],
    sums: SharedMut<'a, f32>,
}

impl ConvWeightGrad {
    /// The recipe for a geometry, or `None` where the fast kernels do not reach: groups whose channels are no
    /// multiple of 16 (except depthwise), or plain input of more than 16 channels.
    pub fn new(geometry: ConvGeometry, isa: Isa, input: InputLayout) -> Option<Self> {
        let g = &geometry;
        let whole_blocks = g.group_in().is_multiple_of(BLOCK) && g.group_out().is_multiple_of(BLOCK);
        let plain = input == InputLayout::Plain;
        if (g.groups > 1 && (plain || !whole_blocks)) || (plain && g.in_channels > BLOCK) {
            return None;
        }
        let vectors = if weight_tiles(isa, 2).is_empty() { 1 } else { 2 };
        let panels = Panels { blocks: blocks(g.group_out()), vectors };
        let slabs = Slabs::new(g, input, vectors);
        let pairs = g.groups * g.group_in().div_ceil(input.step()) * panels.count();
        let parts = TASKS.div_ceil(pairs).min(slabs.count).max(1);
        let pass = Pass::forward(g);
        Some(ConvWeightGrad { geometry, isa, layout: input, panels, pass, slabs, parts })
    }

    /// The geometry (of the forward convolution).
    pub fn geometry(&self) -> &ConvGeometry {
        &self.geometry
    }

    /// Scratch numbers for a pool of `threads` threads: the parts' sums, and staged rows of plain input.
    pub fn scratch_len(&self, threads: usize) -> usize {
        self.parts * self.part_len() + threads * self.staged_len()
    }

    /// Computes `dw`, every element of it. `scratch` has at least `scratch_len(pool.threads())` numbers of any
    /// value.
    pub fn run(&self, pool: &ThreadPool, x: &[f32], dy: &[f32], scratch: &mut [f32], dw: &mut [f32]) {
        let g = &self.geometry;
        let [h, w] = g.output;
        assert_eq!(x.len(), g.batch * self.image_len(), "input length");
        assert_eq!(dy.len(), blocked_len(g.batch, g.out_channels, h, w), "output gradient length");
        assert_eq!(dw.len(), g.out_channels * g.group_in() * g.window.taps(), "weight gradient length");
        let (sums, staged) = scratch.split_at_mut(self.parts * self.part_len());
        assert!(staged.len() >= pool.threads() * self.staged_len(), "scratch length");
        let staged = SharedMut::new(staged);
        let job = Job { recipe: self, x, dy, sums: SharedMut::new(sums) };
        let pairs = self.pairs();
        let ranges = self.ranges(pool.threads());
        pool.run_with_thread(self.parts * ranges, &|thread, task| {
            let (part, range) = (task / ranges, task % ranges);
            let len = self.staged_len();
            // SAFETY: each thread has its own staged rows.
            let staged = unsafe { staged.part(thread * len, len) };
            job.sum(part, range * pairs / ranges..(range + 1) * pairs / ranges, staged);
        });
        let dw = SharedMut::new(dw);
        pool.run(pairs, &|pair| job.finish(self.pair(pair), dw));
    }

    /// Into how many ranges to split the pairs; changes no sum, so it may depend on the threads.
    fn ranges(&self, threads: usize) -> usize {
        let pairs = self.pairs();
        let cost = |ranges: usize| (self.parts * ranges).div_ceil(threads) * pairs.div_ceil(ranges);
        (1..=pairs.min(4 * threads)).min_by_key(|&ranges| cost(ranges)).unwrap_or(1)
    }

    fn units(&self) -> usize {
        self.geometry.group_in().div_ceil(self.layout.step())
    }

    fn pairs(&self) -> usize {
        self.geometry.groups * self.units() * self.panels.count()
    }

    /// Pairs of a unit are neighbours, so that its pixels stay in the cache.
    fn pair(&self, index: usize) -> Pair {
        let (unit, panel) = (index / self.panels.count(), index % self.panels.count());
        let (group, unit) = (unit / self.units(), unit % self.units());
        let step = self.layout.step();
        let channels = (self.geometry.group_in() - unit * step).min(step);
        Pair { group, unit, channels, panel: self.panels.get(panel) }
    }

    /// Numbers of one part's sums.
    fn part_len(&self) -> usize {
        let g = &self.geometry;
        g.in_channels * g.window.taps() * self.panels.blocks * LANES
    }

    /// Where a pair's sums lie in a part, and how many there are.
    fn sums_of(&self, pair: &Pair) -> (usize, usize) {
        let g = &self.geometry;
        let per_channel = g.window.taps() * self.panels.blocks * LANES;
        let unit = (pair.group * g.group_in() + pair.unit * self.layout.step()) * per_channel;
        let per_block = pair.channels * g.window.taps() * LANES;
        (unit + pair.panel.block * per_block, pair.panel.vectors * per_block)
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
            InputLayout::Plain => {
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
        let images = if whole { SLAB_PIXELS.div_ceil(height * width).min(g.batch) } else { 1 };
        Slabs { images, rows, per_image, count: g.batch.div_ceil(images) * per_image }
    }

    fn get(&self, g: &ConvGeometry, index: usize) -> Slab {
        let (image, row) = (index / self.per_image * self.images, index % self.per_image * self.rows);
        Slab { image, images: self.images.min(g.batch - image), row, rows: self.rows.min(g.output[0] - row) }
    }
}

impl Job<'_> {
    /// Sums one part of the slabs for a range of pairs.
    fn sum(&self, part: usize, pairs: std::ops::Range<usize>, staged: &mut [f32]) {
        let recipe = self.recipe;
        let slabs = part * recipe.slabs.count / recipe.parts..(part + 1) * recipe.slabs.count / recipe.parts;
        let first = slabs.start;
        for index in slabs {
            let slab = recipe.slabs.get(&recipe.geometry, index);
            let mut staged_unit = None;
            for pair in pairs.clone() {
                let pair = recipe.pair(pair);
                let (start, len) = recipe.sums_of(&pair);
                // SAFETY: each task has its own part and pairs.
                let sums = unsafe { self.sums.part(part * recipe.part_len() + start, len) };
                if recipe.layout == InputLayout::Blocked {
                    self.add_blocked(&pair, slab, sums, index == first);
                    continue;
                }
                if staged_unit.replace(pair.unit) != Some(pair.unit) {
                    self.stage(pair.unit, slab, staged);
                }
                self.add_plain(&pair, slab, staged, (sums, index == first));
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
            let (row, end) = inside(rows, row_offset, slab.row, slab.row + slab.rows);
            for &col_offset in &cols.offsets {
                let (col, stop) = inside(cols, col_offset, 0, cols.count);
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
            let (row, end) = inside(rows, row_offset, slab.row, slab.row + slab.rows);
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
        let tiles = weight_tiles(self.recipe.isa, vectors);
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

    /// Adds up the parts of a pair and writes its weights.
    fn finish(&self, pair: Pair, dw: SharedMut<'_, f32>) {
        let (recipe, g) = (self.recipe, &self.recipe.geometry);
        let (start, len) = recipe.sums_of(&pair);
        // SAFETY: each task has its own pair.
        let part = |i: usize| unsafe { self.sums.part(i * recipe.part_len() + start, len) };
        let total = part(0);
        for i in 1..recipe.parts {
            total.iter_mut().zip(part(i).iter()).for_each(|(t, p)| *t += p);
        }
        let (taps, width) = (g.window.taps(), pair.panel.vectors * LANES);
        let lane = pair.panel.block * LANES;
        let lanes = (g.group_out() - lane).min(width);
        for l in 0..lanes {
            let out_channel = pair.group * g.group_out() + lane + l;
            let channel = pair.unit * recipe.layout.step();
            let at = (out_channel * g.group_in() + channel) * taps;
            // SAFETY: a pair's weights of one output channel are its own, next to one another.
            let to = unsafe { dw.part(at, pair.channels * taps) };
            for (c, to) in to.chunks_exact_mut(taps).enumerate() {
                for (tap, to) in to.iter_mut().enumerate() {
                    *to = total[(tap * pair.channels + c) * width + l];
                }
            }
        }
    }
}

/// The outputs among `from..to` for which the tap at `offset` lies inside the source; an empty range starts inside
/// `from..=to`.
fn inside(axis: &Axis, offset: isize, from: usize, to: usize) -> (usize, usize) {
    let lowest = offset.min(0).unsigned_abs().div_ceil(axis.stride);
    let room = axis.source as isize - offset;
    let highest = if room > 0 { (room as usize).div_ceil(axis.stride) } else { 0 };
    let start = lowest.clamp(from, to);
    (start, highest.clamp(start, to))
}
