//! Running: which tiles and channels each task takes, the input transform, the products, the output transform.

// Index loops over const-generic arrays unroll fully and mirror the pseudo-code.
#![allow(clippy::needless_range_loop)]

use crate::isa::{LANES, Simd, VectorOp};
use crate::layout::blocks;
use crate::threads::{SharedMut, ThreadPool};

use super::super::Epilogue;
use super::super::direct::DirectRun;
use super::super::panels::Panel;
use super::super::tile::{TileArgs, max_pixels, tile};
use super::transform::{F2, F4, Minimal, input_2d, output_2d};
use super::{Variant, Winograd};

/// Numbers of V that a task aims for at most: it shares the second-level cache with a panel of weights.
const TRANSFORMED: usize = 128 * 1024;

/// Most vectors of output channels in a panel.
const MOST_VECTORS: usize = 2;

/// Most tiles of a task: full rows of the micro-kernel, as many as the cache takes.
pub(super) fn most_tiles(w: &Winograd) -> usize {
    let row = max_pixels(w.isa, w.panels.vectors);
    let fits = TRANSFORMED / (w.variant.products() * blocks(w.from.channels) * LANES);
    let rows = (fits / row).clamp(1, 4);
    (rows * row).min(w.total_tiles()).max(1)
}

/// What the tasks share.
struct Job<'a> {
    recipe: &'a Winograd,
    x: &'a [f32],
    packed: &'a [f32],
    epilogue: Epilogue<'a>,
    y: SharedMut<'a, f32>,
    /// Blocks of tiles, and parts into which the panels are split.
    units: usize,
    chunks: usize,
}

pub(super) fn run(w: &Winograd, pool: &ThreadPool, run: DirectRun<'_>) {
    let DirectRun { x, packed, epilogue, scratch, y } = run;
    let plane = |size: [usize; 2]| size[0] * size[1];
    let len = |channels: usize, size| w.batch * blocks(channels) * plane(size) * LANES;
    assert_eq!(x.len(), len(w.from.channels, w.from.size), "input length");
    assert_eq!(y.len(), len(w.to.channels, w.to.size), "output length");
    assert_eq!(packed.len(), w.packed_len(), "packed length");
    assert!(epilogue.residual.is_none_or(|r| r.len() == y.len()), "residual length");
    assert!(epilogue.bias.is_none_or(|b| b.len() == w.to.channels), "one bias per output channel");
    assert!(scratch.len() >= w.scratch_len(pool.threads()), "scratch length");
    let (units, chunks) = split(w, pool.threads());
    let (scratch, y) = (SharedMut::new(scratch), SharedMut::new(y));
    let job = Job { recipe: w, x, packed, epilogue, y, units, chunks };
    let own = w.scratch_len(1);
    pool.run_with_thread(units * chunks, &|thread, task| {
        // SAFETY: each thread has its own part of the scratch memory.
        let scratch = unsafe { scratch.part(thread * own, own) };
        match w.variant {
            Variant::F2 => job.run::<F2, 4, 2>(task, scratch),
            Variant::F4 => job.run::<F4, 6, 4>(task, scratch),
        }
    });
}

/// Blocks of tiles, and chunks of panels. Where there are too few tiles to go round, threads share the output
/// channels instead and each transforms the input for itself. This may depend on the number of threads because it
/// changes no sum.
fn split(w: &Winograd, threads: usize) -> (usize, usize) {
    let fewest = w.total_tiles().div_ceil(most_tiles(w));
    let evenly = fewest.next_multiple_of(threads);
    let row = max_pixels(w.isa, w.panels.vectors);
    // An even share is worth having as long as a block still fills most of a row of the micro-kernel.
    let units = if w.total_tiles().div_ceil(evenly) * 2 >= row { evenly } else { fewest };
    let chunks = if units.is_multiple_of(threads) || units > 4 * threads { 1 } else { threads };
    (units, chunks.min(w.panels.count()))
}

impl Job<'_> {
    fn run<M: Minimal<IN, OUT>, const IN: usize, const OUT: usize>(&self, task: usize, scratch: &mut [f32]) {
        let w = self.recipe;
        let (unit, chunk) = (task / self.chunks, task % self.chunks);
        let total = w.total_tiles();
        let (first, end) = (unit * total / self.units, (unit + 1) * total / self.units);
        let count = end - first;
        if count == 0 {
            return;
        }
        let (v_step, m_step) = (w.transformed_step(count), w.product_step(count));
        let (transformed, products) = scratch.split_at_mut(v_step * IN * IN);
        let (x, to) = (self.x, &mut *transformed);
        w.isa.run(Transform::<M, IN, OUT> { recipe: w, x, first, count, to, step: v_step, minimal: None });
        let panels = w.panels.count();
        for index in chunk * panels / self.chunks..(chunk + 1) * panels / self.chunks {
            let panel = w.panels.get(index);
            self.multiply(panel, [v_step, m_step], count, transformed, products);
            let (m, y, epilogue) = (&*products, self.y, self.epilogue);
            let op = Restore::<M, IN, OUT> {
                recipe: w,
                panel,
                first,
                count,
                m,
                step: m_step,
                epilogue,
                y,
                minimal: None,
            };
            w.isa.run(op);
        }
    }

    /// `M[xi] = V[xi] U[xi]` for one panel.
    fn multiply(&self, panel: Panel, [v_step, m_step]: [usize; 2], count: usize, v: &[f32], m: &mut [f32]) {
        let w = self.recipe;
        let row = panel.vectors * LANES * w.from.channels;
        let start = panel.block * LANES * w.panel_row();
        let bias = [0.0; MOST_VECTORS * LANES];
        let tiles = count.div_ceil(max_pixels(w.isa, panel.vectors));
        for xi in 0..w.variant.products() {
            let (v, m) = (&v[xi * v_step..][..v_step], &mut m[xi * m_step..][..m_step]);
            let weights = &self.packed[start + xi * row..][..row];
            for part in 0..tiles {
                let (from, to) = (count * part / tiles, count * (part + 1) / tiles);
                let args = TileArgs {
                    x: v[from * LANES..].as_ptr(),
                    x_block_step: count * LANES,
                    ahead: 0,
                    x_row_step: 0,
                    taps: &[0],
                    channels: w.from.channels,
                    block: LANES,
                    weights: weights.as_ptr(),
                    y: m[from * LANES..].as_mut_ptr(),
                    residual: std::ptr::null(),
                    y_step: LANES,
                    y_row_step: 0,
                    y_block_step: count * LANES,
                    bias: bias.as_ptr(),
                    scale: std::ptr::null(),
                    residual_scale: 1.0,
                    clamp: None,
                    wide: false,
                };
                // SAFETY: V holds `count` pixels for each block of input channels, M for each vector of the panel,
                // and the weights a row per channel; the tile function is one of `w.isa`.
                unsafe { tile(w.isa, LANES, panel.vectors, [1, to - from])(&args) }
            }
        }
    }
}

/// Where a tile lies: image, and its first output row and column.
fn place(w: &Winograd, index: usize) -> (usize, [usize; 2]) {
    let [down, across] = w.tiles();
    let (image, tile) = (index / (down * across), index % (down * across));
    (image, [tile / across * w.variant.outputs(), tile % across * w.variant.outputs()])
}

/// The input transform of `count` tiles from `first` on, all input channels.
struct Transform<'a, M, const IN: usize, const OUT: usize> {
    recipe: &'a Winograd,
    x: &'a [f32],
    first: usize,
    count: usize,
    to: &'a mut [f32],
    step: usize,
    minimal: Option<M>,
}

impl<M: Minimal<IN, OUT>, const IN: usize, const OUT: usize> VectorOp for Transform<'_, M, IN, OUT> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let w = self.recipe;
        let [height, width] = w.from.size;
        let (plane, blocks) = (height * width * LANES, blocks(w.from.channels));
        for index in 0..self.count {
            let (image, at) = place(w, self.first + index);
            let origin = [at[0] as isize + w.first[0], at[1] as isize + w.first[1]];
            for block in 0..blocks {
                let x = &self.x[(image * blocks + block) * plane..][..plane];
                let d = read_tile::<S, IN>(s, x, [height, width], origin);
                let v = input_2d::<S, M, IN, OUT>(s, d);
                let to = &mut self.to[(block * self.count + index) * LANES..];
                for row in 0..IN {
                    for column in 0..IN {
                        s.store(v[row][column], &mut to[(row * IN + column) * self.step..]);
                    }
                }
            }
        }
        let _ = self.minimal;
    }
}

/// What lies outside the image.
static ZEROS: [f32; LANES] = [0.0; LANES];

/// The pixels of a tile whose first is at `origin`; zeros outside the image.
#[inline(always)]
pub(super) fn read_tile<S: Simd, const IN: usize>(
    s: S,
    x: &[f32],
    size: [usize; 2],
    origin: [isize; 2],
) -> [[S::F; IN]; IN] {
    let mut d = [[s.zero(); IN]; IN];
    assert!(x.len() >= size[0] * size[1] * LANES, "the plane holds every pixel");
    let inside = |axis: usize| origin[axis] >= 0 && origin[axis] as usize + IN <= size[axis];
    if inside(0) && inside(1) {
        let start = (origin[0] as usize * size[1] + origin[1] as usize) * LANES;
        for row in 0..IN {
            let line = &x[start + row * size[1] * LANES..][..IN * LANES];
            for column in 0..IN {
                d[row][column] = s.load(&line[column * LANES..]);
            }
        }
        return d;
    }
    // Addresses are chosen rather than branches taken: edges are too irregular to be predicted.
    let real = |axis: usize, i: usize| ((origin[axis] + i as isize) as usize) < size[axis];
    let columns: [bool; IN] = std::array::from_fn(|column| real(1, column));
    for row in 0..IN {
        let is_row = real(0, row);
        let at = (origin[0] + row as isize) * size[1] as isize + origin[1];
        for column in 0..IN {
            let pixel = x.as_ptr().wrapping_offset((at + column as isize) * LANES as isize);
            let from = if is_row & columns[column] { pixel } else { ZEROS.as_ptr() };
            // SAFETY: a pixel of the plane, which holds `size` of them, or zeros.
            d[row][column] = unsafe { s.load_ptr(from) };
        }
    }
    d
}

/// The output transform of `count` tiles of one panel, with the epilogue.
struct Restore<'a, M, const IN: usize, const OUT: usize> {
    recipe: &'a Winograd,
    panel: Panel,
    first: usize,
    count: usize,
    m: &'a [f32],
    step: usize,
    epilogue: Epilogue<'a>,
    y: SharedMut<'a, f32>,
    minimal: Option<M>,
}

impl<M: Minimal<IN, OUT>, const IN: usize, const OUT: usize> VectorOp for Restore<'_, M, IN, OUT> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let w = self.recipe;
        let [height, width] = w.to.size;
        for vector in 0..self.panel.vectors {
            let lane = (self.panel.block + vector) * LANES;
            let bias = match self.epilogue.bias {
                Some(bias) => s.load_partial(&bias[lane..], 0.0),
                None => s.zero(),
            };
            for index in 0..self.count {
                let m = &self.m[(vector * self.count + index) * LANES..];
                let mut tile = [[s.zero(); IN]; IN];
                for row in 0..IN {
                    for column in 0..IN {
                        tile[row][column] = s.load(&m[(row * IN + column) * self.step..]);
                    }
                }
                let out = output_2d::<S, M, IN, OUT>(s, tile);
                let (image, at) = place(w, self.first + index);
                let start = (image * w.panels.blocks + self.panel.block + vector) * height * width;
                for row in 0..OUT.min(height - at[0]) {
                    let pixel = start + (at[0] + row) * width + at[1];
                    for column in 0..OUT.min(width - at[1]) {
                        self.put(s, s.add(out[row][column], bias), (pixel + column) * LANES);
                    }
                }
            }
        }
        let _ = self.minimal;
    }
}

impl<M, const IN: usize, const OUT: usize> Restore<'_, M, IN, OUT> {
    #[inline(always)]
    fn put<S: Simd>(&self, s: S, mut value: S::F, at: usize) {
        if let Some(residual) = self.epilogue.residual {
            value = s.add(value, s.load(&residual[at..]));
        }
        if let Some(clamp) = self.epilogue.clamp {
            value = clamp.apply(s, value);
        }
        // SAFETY: a pixel of an output channel belongs to one tile and one panel, and so to one task.
        s.store(value, unsafe { self.y.part(at, LANES) });
    }
}
