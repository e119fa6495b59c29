//! Rows times packed weights.
//!
//! ```text
//! rearrange each tile of rows of x to blocks of 16 columns (not for a single row)
//! for each panel of V * 16 outputs, each range of tiles, in parallel:
//!     for each chunk of the reduction (a piece of the panel that fits the second-level cache):
//!         for each tile: micro-kernel; from the second chunk on it adds to what is there
//! ```
//!
//! A single row reads every weight once, front to back, split over the threads by outputs.

use crate::conv::Epilogue;
use crate::conv::pack::{Packing, WeightView};
use crate::conv::panels::{Panel, Panels};
use crate::conv::tile::{TileArgs, TileFn, max_pixels, tile};
use crate::isa::{Isa, LANES};
use crate::threads::{SharedMut, ThreadPool};

use super::block_rows;

/// Numbers of a panel in a chunk of the reduction.
const CHUNK: usize = 96 * 1024;
/// Most numbers of a tile of any instruction set.
const TILE: usize = 512;

/// `(N, K)` times `(K, O)`: plain data.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Product {
    isa: Isa,
    rows: usize,
    /// K and O.
    features: [usize; 2],
    panels: Panels,
}

/// The arrays of one run.
pub(crate) struct ProductRun<'a> {
    pub x: &'a [f32],
    pub packed: &'a [f32],
    pub epilogue: Epilogue<'a>,
    pub scratch: &'a mut [f32],
    pub y: &'a mut [f32],
}

/// What the tasks share.
struct Job<'a> {
    product: &'a Product,
    /// For each tile of rows `[block][row][16]`, contiguous: a tile read over and over strides through no page.
    x: &'a [f32],
    packed: &'a [f32],
    epilogue: Epilogue<'a>,
    y: SharedMut<'a, f32>,
}

/// A piece of the reduction.
#[derive(Clone, Copy)]
struct Chunk {
    first: usize,
    count: usize,
}

impl Product {
    pub fn new(isa: Isa, rows: usize, features: [usize; 2]) -> Self {
        // Few rows make small tiles: more outputs at once then keep the multiply-adds in flight.
        let wide = max_pixels(isa, 4);
        let vectors = if wide > 0 && rows <= wide { 4 } else { 2 };
        let vectors = if max_pixels(isa, vectors) > 0 { vectors } else { 1 };
        Product { isa, rows, features, panels: Panels { blocks: features[1].div_ceil(LANES), vectors } }
    }

    /// The lengths of the reduction and of an output row.
    pub fn features(&self) -> [usize; 2] {
        self.features
    }

    pub fn packed_len(&self) -> usize {
        self.features[0] * self.panels.blocks * LANES
    }

    pub fn pack(&self, pool: &ThreadPool, view: WeightView<'_>, packed: &mut [f32]) {
        let [reduction, outputs] = self.features;
        assert_eq!(view.weight.len(), reduction * outputs, "weight length");
        assert_eq!(packed.len(), self.packed_len(), "packed length");
        let packing = Packing {
            isa: self.isa,
            view,
            taps: &[0],
            lanes: outputs,
            panels: self.panels,
            channels: reduction,
            block: LANES,
            scale: None,
        };
        packing.pack(pool, packed);
    }

    pub fn scratch_len(&self) -> usize {
        if self.rows == 1 { 0 } else { self.features[0].next_multiple_of(LANES) * self.rows }
    }

    pub fn run(&self, pool: &ThreadPool, run: ProductRun<'_>) {
        let ProductRun { x, packed, epilogue, scratch, y } = run;
        let [reduction, outputs] = self.features;
        assert_eq!(x.len(), self.rows * reduction, "input length");
        assert_eq!(y.len(), self.rows * outputs, "output length");
        assert_eq!(packed.len(), self.packed_len(), "packed length");
        assert!(epilogue.residual.is_none_or(|r| r.len() == y.len()), "residual length");
        assert!(epilogue.bias.is_none_or(|b| b.len() == outputs), "one bias per output");
        let x = if self.rows == 1 {
            x
        } else {
            let scratch = &mut scratch[..self.scratch_len()];
            self.stage(pool, x, SharedMut::new(scratch));
            scratch
        };
        let job = Job { product: self, x, packed, epilogue, y: SharedMut::new(y) };
        let (ranges, tiles) = (self.ranges(pool.threads()), self.tiles());
        pool.run(self.panels.count() * ranges, &|task| {
            let (panel, range) = (self.panels.get(task / ranges), task % ranges);
            job.run(panel, range * tiles / ranges..(range + 1) * tiles / ranges);
        });
    }

    /// Rearranges the rows for the tiles.
    fn stage(&self, pool: &ThreadPool, x: &[f32], to: SharedMut<'_, f32>) {
        let reduction = self.features[0];
        pool.run(self.tiles(), &|tile| {
            let (rows, padded) = (self.tile_rows(tile), reduction.next_multiple_of(LANES));
            // SAFETY: each tile of rows is a task's own.
            let to = unsafe { to.part(rows.start * padded, rows.len() * padded) };
            let x = &x[rows.start * reduction..rows.end * reduction];
            for (block, to) in to.chunks_exact_mut(rows.len() * LANES).enumerate() {
                block_rows(x, reduction, block, to);
            }
        });
    }

    /// Tiles of rows; the rest of a panel's vectors can only be fewer, and have room for as many rows.
    fn tiles(&self) -> usize {
        self.rows.div_ceil(max_pixels(self.isa, self.panels.vectors))
    }

    fn tile_rows(&self, tile: usize) -> std::ops::Range<usize> {
        tile * self.rows / self.tiles()..(tile + 1) * self.rows / self.tiles()
    }

    /// Into how many ranges to split the tiles; changes no sum, so it may depend on the threads.
    fn ranges(&self, threads: usize) -> usize {
        let (panels, tiles) = (self.panels.count(), self.tiles());
        // Each range reads the panel anew, which costs about a tile.
        let cost = |ranges: usize| (panels * ranges).div_ceil(threads) * (tiles.div_ceil(ranges) + 1);
        (1..=tiles.min(4 * threads)).min_by_key(|&ranges| cost(ranges)).unwrap_or(1)
    }

    /// Reduction numbers per chunk, whole blocks of them.
    fn chunk(&self, vectors: usize) -> usize {
        CHUNK / (vectors * LANES) / LANES * LANES
    }
}

impl Job<'_> {
    /// Computes some tiles of rows of one panel's outputs.
    fn run(&self, panel: Panel, tiles: std::ops::Range<usize>) {
        let product = self.product;
        let [reduction, _] = product.features;
        // The same chunks for a narrower last panel: equal weights then give equal outputs, wherever they stand.
        let step = product.chunk(product.panels.vectors);
        for first in (0..reduction.max(1)).step_by(step) {
            let chunk = Chunk { first, count: (reduction - first).min(step) };
            for tile in tiles.clone() {
                self.run_tile(panel, product.tile_rows(tile), chunk);
            }
        }
    }

    /// Computes, or adds to, one tile.
    fn run_tile(&self, panel: Panel, rows: std::ops::Range<usize>, chunk: Chunk) {
        let product = self.product;
        let [reduction, outputs] = product.features;
        let (lane, width) = (panel.block * LANES, panel.vectors * LANES);
        let lanes = (outputs - lane).min(width);
        let mut bias = [0.0; 4 * LANES];
        if let Some(all) = self.epilogue.bias.filter(|_| chunk.first == 0) {
            bias[..lanes].copy_from_slice(&all[lane..lane + lanes]);
        }
        let start = rows.start * outputs + lane;
        let before = match self.epilogue.residual {
            Some(residual) if chunk.first == 0 => residual[start..].as_ptr(),
            None if chunk.first == 0 => std::ptr::null(),
            _ => self.y.as_ptr().wrapping_add(start).cast_const(),
        };
        let args = TileArgs {
            x: self.x[rows.start * reduction.next_multiple_of(LANES) + chunk.first * rows.len()..].as_ptr(),
            x_block_step: rows.len() * LANES,
            ahead: 0,
            x_row_step: 0,
            taps: &[0],
            channels: chunk.count,
            block: LANES,
            weights: self.packed[lane * reduction + chunk.first * width..][..chunk.count * width].as_ptr(),
            y: self.y.as_ptr().wrapping_add(start),
            residual: before,
            y_step: outputs,
            y_row_step: 0,
            y_block_step: LANES,
            bias: bias.as_ptr(),
            scale: std::ptr::null(),
            residual_scale: 1.0,
            clamp: self.epilogue.clamp.filter(|_| chunk.first + chunk.count == reduction),
            wide: false,
        };
        let kernel = tile(product.isa, LANES, panel.vectors, [1, rows.len()]);
        // SAFETY: the chunk's columns of these rows lie in `x`, its weights in the panel; these rows and lanes of the
        // output are this task's own; the micro-kernel is that of `product.isa`.
        unsafe {
            if lanes == width { kernel(&args) } else { narrow(kernel, &args, [rows.len(), lanes, width]) }
        }
    }
}

/// Runs a tile of `rows` rows and `width` lanes of which only `lanes` exist in the output: in a copy.
///
/// # Safety
/// As for [`TileFn`], but only `lanes` numbers of each row of the output and the residual need exist.
unsafe fn narrow(kernel: TileFn, args: &TileArgs<'_>, [rows, lanes, width]: [usize; 3]) {
    let mut copy = [0.0; TILE];
    assert!(rows * width <= TILE, "the copy holds a tile");
    if !args.residual.is_null() {
        for (row, to) in copy.chunks_exact_mut(width).enumerate().take(rows) {
            // SAFETY: the caller's promise.
            let from = unsafe { std::slice::from_raw_parts(args.residual.add(row * args.y_step), lanes) };
            to[..lanes].copy_from_slice(from);
        }
    }
    let y = copy.as_mut_ptr();
    let residual = if args.residual.is_null() { args.residual } else { y.cast_const() };
    // SAFETY: the copy holds the tile.
    unsafe { kernel(&TileArgs { y, residual, y_step: width, ..*args }) };
    for (row, from) in copy.chunks_exact(width).enumerate().take(rows) {
        // SAFETY: the caller's promise.
        let to = unsafe { std::slice::from_raw_parts_mut(args.y.add(row * args.y_step), lanes) };
        to.copy_from_slice(&from[..lanes]);
    }
}
