//! The weight gradient of a 3x3 convolution of stride 1 by Winograd's algorithm: the transpose of F(4x4, 3x3).
//!
//! Forward, a tile is `y = A^T ((G g G^T) . (B^T d B)) A`; so its share of the gradient of g is
//!
//! ```text
//! dg = G^T ((A dy A^T) . (B^T d B)) G           36 products per pair of channels where the direct way takes 144
//! ```
//!
//! As G does not depend on the tile, products are summed over tiles before it is applied:
//!
//! ```text
//! for each part of the tiles, each range of up to 64 input by 64 output channels, in parallel:
//!     M = 0
//!     for each block of tiles: V = (B^T d B) of the range's input channels, D = (A dy A^T) of its output channels
//!         for each xi, block of input channels, panel of output channels:
//!             M[xi] += over the tiles: V[xi] (outer) D[xi], by the direct gradient's micro-kernel
//!     dw of the part = G^T M G
//! dw = the parts' dw, added in order
//! ```
//!
//! V, D and M of a task stay in the second-level cache. The parts follow from the geometry alone. Rounding: as the
//! forward F(4x4, 3x3), [`F4_ERROR`](super::F4_ERROR) of the largest gradient.

// Index loops over const-generic arrays unroll fully and mirror the pseudo-code.
#![allow(clippy::needless_range_loop)]

use std::ops::Range;

use ocellus_tensor::ConvGeometry;

use crate::format::Format;
use crate::isa::{Isa, LANES, Simd, VectorOp};
use crate::layout::{blocked_len, blocks};
use crate::threads::{SharedMut, ThreadPool};

use super::super::panels::Panels;
use super::super::pass::Pass;
use super::super::transpose::Transpose;
use super::super::weight_tile::{WeightTileArgs, weight_tiles};
use super::run::read_tile;
use super::transform::{F4, input_2d, kernel_gradient_2d, output_gradient_2d};

/// Outputs of a tile along an axis, and products of a tile.
const OUT: usize = 4;
const XI: usize = 36;
/// Most blocks of channels on each side of a range.
const RANGE: usize = 4;
/// Tiles of a block where ranges are full, and at most: enough that M is seldom loaded and stored.
const TILES: usize = 28;
const MOST_TILES: usize = 84;
/// Parts times ranges aimed for, so that a handful of threads finds work.
const TASKS: usize = 16;
/// Numbers of a pair of blocks' weights: `[tap][channel][16]`.
const PAIR: usize = 9 * LANES * LANES;

/// A weight gradient by Winograd's algorithm: plain data.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WinogradGrad {
    isa: Isa,
    geometry: ConvGeometry,
    /// Input pixel of output pixel 0's first tap, along each axis.
    first: [isize; 2],
    /// Vectors of output channels of a panel.
    vectors: usize,
    parts: usize,
}

/// Blocks of input and output channels.
#[derive(Clone)]
struct Channels {
    inputs: Range<usize>,
    outputs: Range<usize>,
}

/// What the tasks share.
struct Job<'a> {
    recipe: &'a WinogradGrad,
    x: &'a [f32],
    dy: &'a [f32],
}

/// The scratch memory of a task.
struct Room<'a> {
    v: &'a mut [f32],
    d: &'a mut [f32],
    m: &'a mut [f32],
}

impl WinogradGrad {
    /// `None` unless it is a dense 3x3 window of stride 1.
    pub fn new(geometry: ConvGeometry, isa: Isa) -> Option<Self> {
        let window = &geometry.window;
        let fits = window.kernel == [3, 3] && window.stride == [1, 1] && window.dilation == [1, 1];
        if !fits || geometry.groups > 1 {
            return None;
        }
        let pass = Pass::forward(&geometry);
        let vectors = if weight_tiles(isa, Format::F32, 2).is_empty() { 1 } else { 2 };
        let first = [pass.rows.first(), pass.cols.first()];
        let mut recipe = WinogradGrad { isa, geometry, first, vectors, parts: 1 };
        let [inputs, outputs] = recipe.ranges();
        let blocks_of_tiles = recipe.total_tiles().div_ceil(recipe.most_tiles());
        recipe.parts = TASKS.div_ceil(inputs * outputs).min(blocks_of_tiles).max(1);
        Some(recipe)
    }

    /// The geometry of the forward convolution.
    pub fn geometry(&self) -> &ConvGeometry {
        &self.geometry
    }

    /// Tiles of one image along each axis.
    fn tiles(&self) -> [usize; 2] {
        self.geometry.output.map(|size| size.div_ceil(OUT))
    }

    pub fn total_tiles(&self) -> usize {
        let [down, across] = self.tiles();
        self.geometry.batch * down * across
    }

    /// Blocks of input and of output channels.
    fn blocks(&self) -> [usize; 2] {
        [blocks(self.geometry.in_channels), blocks(self.geometry.out_channels)]
    }

    /// Ranges of input and of output channels.
    fn ranges(&self) -> [usize; 2] {
        self.blocks().map(|blocks| blocks.div_ceil(RANGE))
    }

    fn range(&self, index: usize) -> Channels {
        let ([inputs, outputs], [all_in, all_out]) = (self.ranges(), self.blocks());
        let (i, o) = (index / outputs, index % outputs);
        Channels {
            inputs: i * all_in / inputs..(i + 1) * all_in / inputs,
            outputs: o * all_out / outputs..(o + 1) * all_out / outputs,
        }
    }

    /// Tiles whose V and D take the room that those of full ranges take.
    fn most_tiles(&self) -> usize {
        let blocks: usize = self.blocks().map(|blocks| blocks.min(RANGE)).iter().sum();
        (TILES * 2 * RANGE / blocks).min(MOST_TILES)
    }

    /// Most tiles of a block.
    fn block_tiles(&self) -> usize {
        self.most_tiles().min(self.total_tiles().div_ceil(self.parts)).max(1)
    }

    /// Numbers of V or D per xi; one cache line more than needed, so that the xi of a tile do not share a cache set.
    fn step(blocks: usize, tiles: usize) -> usize {
        (blocks * tiles + 1) * LANES
    }

    /// Numbers of V, D and M of a task.
    fn lens(&self) -> [usize; 3] {
        let [inputs, outputs] = self.blocks().map(|blocks| blocks.min(RANGE));
        let tiles = self.block_tiles();
        [
            XI * Self::step(inputs, tiles),
            XI * Self::step(outputs, tiles),
            XI * inputs * outputs * LANES * LANES,
        ]
    }

    fn own_len(&self) -> usize {
        self.lens().iter().sum()
    }

    /// Numbers of all parts' gradients, if there are several.
    fn sums_len(&self) -> usize {
        let [inputs, outputs] = self.blocks();
        if self.parts > 1 { self.parts * inputs * outputs * PAIR } else { 0 }
    }

    /// Scratch numbers for `threads` threads.
    pub fn scratch_len(&self, threads: usize) -> usize {
        self.sums_len() + threads * self.own_len()
    }

    /// Computes `dw`, every element of it.
    pub fn run(&self, pool: &ThreadPool, x: &[f32], dy: &[f32], scratch: &mut [f32], dw: &mut [f32]) {
        let g = &self.geometry;
        let len = |channels: usize, [h, w]: [usize; 2]| blocked_len(g.batch, channels, h, w);
        assert_eq!(x.len(), len(g.in_channels, g.input), "input length");
        assert_eq!(dy.len(), len(g.out_channels, g.output), "output gradient length");
        assert_eq!(dw.len(), g.out_channels * g.in_channels * 9, "weight gradient length");
        assert!(scratch.len() >= self.scratch_len(pool.threads()), "scratch length");
        let (sums, own) = scratch.split_at_mut(self.sums_len());
        let (sums, own, dw) = (SharedMut::new(sums), SharedMut::new(own), SharedMut::new(dw));
        let job = Job { recipe: self, x, dy };
        let ranges: usize = self.ranges().iter().product();
        pool.run_with_thread(self.parts * ranges, &|thread, task| {
            let (part, channels) = (task / ranges, self.range(task % ranges));
            let tiles = self.total_tiles();
            let tiles = part * tiles / self.parts..(part + 1) * tiles / self.parts;
            // SAFETY: each thread has its own part of the scratch memory.
            let own = unsafe { own.part(thread * self.own_len(), self.own_len()) };
            let [v, d, _] = self.lens();
            let (v, rest) = own.split_at_mut(v);
            let (d, m) = rest.split_at_mut(d);
            let mut room = Room { v, d, m };
            job.sum(&channels, tiles, &mut room);
            self.each_pair(&channels, |input, output| {
                let mut pair = [0.0; PAIR];
                job.restore(&channels, [input, output], room.m, &mut pair);
                if self.parts == 1 {
                    return self.write([input, output], &pair, dw);
                }
                // SAFETY: a pair of blocks in a part belongs to one task.
                unsafe { sums.part(self.pair_start(part, [input, output]), PAIR) }.copy_from_slice(&pair);
            });
        });
        if self.parts > 1 {
            let [inputs, outputs] = self.blocks();
            pool.run(inputs * outputs, &|task| {
                let pair = [task / outputs, task % outputs];
                // SAFETY: each task has its own pair.
                let part = |i: usize| unsafe { sums.part(self.pair_start(i, pair), PAIR) };
                let total = part(0);
                for i in 1..self.parts {
                    total.iter_mut().zip(part(i).iter()).for_each(|(t, p)| *t += p);
                }
                self.write(pair, total, dw);
            });
        }
    }

    fn each_pair(&self, channels: &Channels, mut body: impl FnMut(usize, usize)) {
        for input in channels.inputs.clone() {
            channels.outputs.clone().for_each(|output| body(input, output));
        }
    }

    /// Where a part's numbers of a pair of blocks lie.
    fn pair_start(&self, part: usize, [input, output]: [usize; 2]) -> usize {
        let [inputs, outputs] = self.blocks();
        ((part * inputs + input) * outputs + output) * PAIR
    }

    /// Real channels of a block of input channels.
    fn channels(&self, input: usize) -> usize {
        (self.geometry.in_channels - input * LANES).min(LANES)
    }

    /// Writes the weights of a pair of blocks of channels, given as `[tap][channel][16]`.
    fn write(&self, [input, output]: [usize; 2], sums: &[f32], dw: SharedMut<'_, f32>) {
        let (g, lane) = (&self.geometry, output * LANES);
        self.isa.run(Transpose {
            sums,
            width: LANES,
            channels: self.channels(input),
            taps: 9,
            lanes: (g.out_channels - lane).min(LANES),
            to: dw,
            at: (lane * g.in_channels + input * LANES) * 9,
            step: g.in_channels * 9,
        });
    }
}

impl Job<'_> {
    /// M of the range, summed over `tiles`.
    fn sum(&self, channels: &Channels, tiles: Range<usize>, room: &mut Room<'_>) {
        let w = self.recipe;
        let count = tiles.len().div_ceil(w.block_tiles()).max(1);
        for block in 0..count {
            let (from, to) = (tiles.len() * block / count, tiles.len() * (block + 1) / count);
            let these = tiles.start + from..tiles.start + to;
            let g = &w.geometry;
            let (image_blocks, size) = (blocks(g.in_channels), g.input);
            let source = Source { x: self.x, image_blocks, size, blocks: channels.inputs.clone() };
            let place = Place { recipe: w, tiles: these.clone() };
            w.isa.run(TransformInput { place: place.clone(), source, to: room.v });
            let (image_blocks, size) = (blocks(g.out_channels), g.output);
            let source = Source { x: self.dy, image_blocks, size, blocks: channels.outputs.clone() };
            w.isa.run(TransformGradient { place, source, to: room.d });
            self.multiply(channels, these.len(), room, block == 0);
        }
    }

    /// `M[xi] += V[xi] (outer) D[xi]`, summed over the tiles; `first` starts from zero.
    fn multiply(&self, channels: &Channels, tiles: usize, room: &mut Room<'_>, first: bool) {
        let w = self.recipe;
        let panels = Panels { blocks: channels.outputs.len(), vectors: w.vectors };
        let [v_step, d_step] =
            [&channels.inputs, &channels.outputs].map(|b| WinogradGrad::step(b.len(), tiles));
        for xi in 0..XI {
            for (i, input) in channels.inputs.clone().enumerate() {
                let real = w.channels(input);
                for panel in (0..panels.count()).map(|index| panels.get(index)) {
                    let width = panel.vectors * LANES;
                    let start = (xi * channels.inputs.len() + i) * channels.outputs.len() + panel.block;
                    let sums = &mut room.m[start * LANES * LANES..][..width * LANES];
                    let kernels = weight_tiles(w.isa, Format::F32, panel.vectors);
                    let count = real.div_ceil(kernels.len());
                    for part in 0..count {
                        let (from, to) = (real * part / count, real * (part + 1) / count);
                        let args = WeightTileArgs {
                            x: room.v[xi * v_step + i * tiles * LANES + from..].as_ptr(),
                            dy: room.d[xi * d_step + panel.block * tiles * LANES..].as_ptr(),
                            counts: [1, 1, tiles],
                            x_steps: [0, 0, LANES],
                            dy_steps: [0; 2],
                            dy_block_step: tiles * LANES,
                            sums: sums[from * width..to * width].as_mut_ptr(),
                            first,
                        };
                        // SAFETY: V and D hold a vector per tile for each block; the sums are rows of the panel's
                        // width, as many as the kernel has neighbours; the kernel is one of `isa`.
                        unsafe { kernels[to - from - 1](&args) }
                    }
                }
            }
        }
    }

    /// `G^T M G` of a pair of blocks, as `[tap][channel][16]`.
    fn restore(&self, channels: &Channels, [input, output]: [usize; 2], m: &[f32], to: &mut [f32]) {
        let w = self.recipe;
        let (i, o) = (input - channels.inputs.start, output - channels.outputs.start);
        let panels = Panels { blocks: channels.outputs.len(), vectors: w.vectors };
        let panel =
            (0..panels.count()).map(|index| panels.get(index)).take_while(|panel| panel.block <= o).last();
        let Some(panel) = panel else { return };
        let step = channels.inputs.len() * channels.outputs.len() * LANES * LANES;
        let start = (i * channels.outputs.len() + panel.block) * LANES * LANES + (o - panel.block) * LANES;
        let (width, channels) = (panel.vectors * LANES, w.channels(input));
        w.isa.run(Restore { m: &m[start..], step, width, channels, to });
    }
}

/// Some blocks of channels of a tensor.
struct Source<'a> {
    x: &'a [f32],
    /// Blocks of an image.
    image_blocks: usize,
    size: [usize; 2],
    /// Those wanted.
    blocks: Range<usize>,
}

impl<'a> Source<'a> {
    /// One block of an image.
    fn plane(&self, image: usize, block: usize) -> &'a [f32] {
        let plane = self.size[0] * self.size[1] * LANES;
        &self.x[(image * self.image_blocks + block) * plane..][..plane]
    }
}

/// Some tiles.
#[derive(Clone)]
struct Place<'a> {
    recipe: &'a WinogradGrad,
    tiles: Range<usize>,
}

impl Place<'_> {
    /// A tile's image, and its first output row and column.
    fn get(&self, tile: usize) -> (usize, [usize; 2]) {
        let [down, across] = self.recipe.tiles();
        let (image, tile) = (tile / (down * across), tile % (down * across));
        (image, [tile / across * OUT, tile % across * OUT])
    }
}

/// `B^T d B` of tiles of the input.
struct TransformInput<'a> {
    place: Place<'a>,
    source: Source<'a>,
    to: &'a mut [f32],
}

impl VectorOp for TransformInput<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let TransformInput { place, source, to } = self;
        let (count, first) = (place.tiles.len(), place.recipe.first);
        let step = WinogradGrad::step(source.blocks.len(), count);
        for (index, tile) in place.tiles.clone().enumerate() {
            let (image, at) = place.get(tile);
            let origin = [at[0] as isize + first[0], at[1] as isize + first[1]];
            for (i, block) in source.blocks.clone().enumerate() {
                let d = read_tile::<S, 6>(s, source.plane(image, block), source.size, origin);
                let v = input_2d::<S, F4, 6, 4>(s, d);
                let to = &mut to[(i * count + index) * LANES..];
                for row in 0..6 {
                    for column in 0..6 {
                        s.store(v[row][column], &mut to[(row * 6 + column) * step..]);
                    }
                }
            }
        }
    }
}

/// `A dy A^T` of tiles of the output's gradient.
struct TransformGradient<'a> {
    place: Place<'a>,
    source: Source<'a>,
    to: &'a mut [f32],
}

impl VectorOp for TransformGradient<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let TransformGradient { place, source, to } = self;
        let count = place.tiles.len();
        let step = WinogradGrad::step(source.blocks.len(), count);
        for (index, tile) in place.tiles.clone().enumerate() {
            let (image, at) = place.get(tile);
            let origin = at.map(|at| at as isize);
            for (i, block) in source.blocks.clone().enumerate() {
                let dy = read_tile::<S, 4>(s, source.plane(image, block), source.size, origin);
                let d = output_gradient_2d(s, dy);
                let to = &mut to[(i * count + index) * LANES..];
                for row in 0..6 {
                    for column in 0..6 {
                        s.store(d[row][column], &mut to[(row * 6 + column) * step..]);
                    }
                }
            }
        }
    }
}

/// `G^T M G` of the channels of a block.
struct Restore<'a> {
    m: &'a [f32],
    /// From one xi to the next.
    step: usize,
    /// From one channel to the next.
    width: usize,
    channels: usize,
    to: &'a mut [f32],
}

impl VectorOp for Restore<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Restore { m, step, width, channels, to } = self;
        for channel in 0..channels {
            let m = &m[channel * width..];
            let mut tile = [[s.zero(); 6]; 6];
            for row in 0..6 {
                for column in 0..6 {
                    tile[row][column] = s.load(&m[(row * 6 + column) * step..]);
                }
            }
            let taps = kernel_gradient_2d(s, tile);
            for row in 0..3 {
                for column in 0..3 {
                    s.store(taps[row][column], &mut to[((row * 3 + column) * channels + channel) * LANES..]);
                }
            }
        }
    }
}
