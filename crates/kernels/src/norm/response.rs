//! Local response normalisation (Krizhevsky et al. 2012, section 3.3).
//!
//! ```text
//! D_i = k + alpha / m * sum of x_j^2 over the neighbours j of i;   y_i = x_i D_i^-beta
//! dx_j = dy_j D_j^-beta - 2 alpha beta / m * x_j * sum of dy_i x_i D_i^(-beta-1) over the i that have j as neighbour
//! ```
//!
//! Across channels (m = size), a task takes an image's pixels one by one: their channels' squares go side by side to a
//! line with zeros at both ends, from which the sums of neighbours are read as shifted vectors. Within a channel
//! (m = size^2), a task takes a plane, whose 16 channels are summed over squares of pixels together.

use crate::elementwise::Blocked;
use crate::isa::{Isa, LANES, Simd, VectorOp};
use crate::layout::BLOCK;
use crate::threads::{SharedMut, ThreadPool};

/// Zeros at both ends of a line: neighbours reach no further.
const MARGIN: usize = LANES;
/// Pixels of a task across channels.
const TASK: usize = 64;
/// Pixels whose lines are worked on together, so that a line is not read while it is being written.
const LINES: usize = 4;

/// A local response normalisation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lrn {
    /// Sizes of x.
    pub size: Blocked,
    /// Neighbours along each summed axis, the element itself included: odd, at most 33 across channels.
    pub neighbours: usize,
    /// Neighbouring channels at the same pixel, rather than pixels of the same channel.
    pub across_channels: bool,
    /// Scale of the sum.
    pub alpha: f32,
    /// Exponent.
    pub beta: f32,
    /// Offset.
    pub k: f32,
}

/// x^-beta.
#[derive(Clone, Copy)]
enum Power {
    ThreeQuarters,
    Half,
    One,
    Other(f32),
}

impl Power {
    fn new(beta: f32) -> Self {
        match beta {
            0.75 => Power::ThreeQuarters,
            0.5 => Power::Half,
            1.0 => Power::One,
            _ => Power::Other(beta),
        }
    }

    #[inline(always)]
    fn inverse<S: Simd>(self, s: S, x: S::F) -> S::F {
        let below = match self {
            Power::ThreeQuarters => {
                let root = s.sqrt(x);
                s.mul(root, s.sqrt(root))
            }
            Power::Half => s.sqrt(x),
            Power::One => x,
            Power::Other(beta) => s.load(&s.to_array(x).map(|x| f64::from(x).powf(f64::from(beta)) as f32)),
        };
        s.div(s.splat(1.0), below)
    }
}

impl Lrn {
    /// Whether these kernels can run it.
    pub fn fits(&self) -> bool {
        self.neighbours % 2 == 1 && (!self.across_channels || self.reach() <= MARGIN)
    }

    /// Scratch numbers for a pool of `threads` threads.
    pub fn scratch_len(&self, threads: usize) -> usize {
        threads * self.thread_len()
    }

    /// Three lines for each pixel of a group, or two planes.
    fn thread_len(&self) -> usize {
        if self.across_channels { 3 * LINES * self.line() } else { 2 * self.size.plane() }
    }

    fn line(&self) -> usize {
        self.size.blocks() * BLOCK + 2 * MARGIN
    }

    /// How far neighbours reach to each side.
    fn reach(&self) -> usize {
        self.neighbours / 2
    }

    /// alpha / m.
    fn factor(&self) -> f32 {
        let m = if self.across_channels { self.neighbours } else { self.neighbours * self.neighbours };
        (f64::from(self.alpha) / m as f64) as f32
    }

    /// y from x, both blocked.
    pub fn run(&self, (pool, isa): (&ThreadPool, Isa), x: &[f32], y: &mut [f32], scratch: &mut [f32]) {
        self.each_task(pool, (x, None), y, scratch, &|task| isa.run(task));
    }

    /// dx from x and dy, all blocked.
    pub fn gradient(
        &self,
        (pool, isa): (&ThreadPool, Isa),
        (x, dy): (&[f32], &[f32]),
        dx: &mut [f32],
        scratch: &mut [f32],
    ) {
        self.each_task(pool, (x, Some(dy)), dx, scratch, &|task| isa.run(task));
    }

    fn each_task(
        &self,
        pool: &ThreadPool,
        (x, dy): (&[f32], Option<&[f32]>),
        out: &mut [f32],
        scratch: &mut [f32],
        body: &(dyn Fn(Task<'_>) + Sync),
    ) {
        let size = self.size;
        assert!(self.fits(), "{} neighbours", self.neighbours);
        assert_eq!((x.len(), out.len()), (size.elements(), size.elements()), "lengths of input and output");
        assert!(dy.is_none_or(|dy| dy.len() == x.len()), "length of dy");
        let per_image = size.pixels().div_ceil(TASK);
        let tasks = if self.across_channels { size.batch * per_image } else { size.batch * size.blocks() };
        let (len, out) = (self.thread_len(), SharedMut::new(out));
        let lines = SharedMut::new(&mut scratch[..self.scratch_len(pool.threads())]);
        let run = |thread: usize, index: usize| {
            // SAFETY: each thread has its own scratch memory.
            let lines = unsafe { lines.part(thread * len, len) };
            body(Task { lrn: self, x, dy, out, index, per_image, lines });
        };
        pool.run_with_thread(tasks, &run);
    }
}

/// One task: some pixels across channels, or a plane.
struct Task<'a> {
    lrn: &'a Lrn,
    x: &'a [f32],
    /// For the gradient.
    dy: Option<&'a [f32]>,
    out: SharedMut<'a, f32>,
    index: usize,
    per_image: usize,
    lines: &'a mut [f32],
}

impl VectorOp for Task<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        if self.lrn.across_channels { self.across(s) } else { self.within(s) }
    }
}

impl Task<'_> {
    #[inline(always)]
    fn across<S: Simd>(self, s: S) {
        let Task { lrn, x, dy, out, index, per_image, lines } = self;
        let size = lrn.size;
        let (image, part) = (index / per_image, index % per_image);
        lines.fill(0.0);
        let (squares, rest) = lines.split_at_mut(LINES * lrn.line());
        let (scales, terms) = rest.split_at_mut(LINES * lrn.line());
        let end = (part * TASK + TASK).min(size.pixels());
        for first in (part * TASK..end).step_by(LINES) {
            let pixels = first..end.min(first + LINES);
            let run = Pixels { lrn, image, pixels };
            run.each(
                s,
                #[inline(always)]
                |at, line, mask| {
                    let x = s.load(&x[at..]);
                    s.store(s.select(mask, s.mul(x, x), s.zero()), &mut squares[line..]);
                },
            );
            let Some(dy) = dy else {
                run.each(
                    s,
                    #[inline(always)]
                    |at, line, _| {
                        let y =
                            s.mul(s.load(&x[at..]), lrn.denominator(s, lrn.line_sum(s, squares, line))[0]);
                        // SAFETY: these pixels are this task's alone.
                        s.store(y, unsafe { out.part(at, BLOCK) });
                    },
                );
                continue;
            };
            run.each(
                s,
                #[inline(always)]
                |at, line, mask| {
                    let [scale, d] = lrn.denominator(s, lrn.line_sum(s, squares, line));
                    let term = s.div(s.mul(s.mul(s.load(&dy[at..]), s.load(&x[at..])), scale), d);
                    s.store(scale, &mut scales[line..]);
                    s.store(s.select(mask, term, s.zero()), &mut terms[line..]);
                },
            );
            run.each(
                s,
                #[inline(always)]
                |at, line, _| {
                    let direct = s.mul(s.load(&dy[at..]), s.load(&scales[line..]));
                    let through = s.mul(s.load(&x[at..]), lrn.line_sum(s, terms, line));
                    // SAFETY: as above.
                    s.store(lrn.combine(s, direct, through), unsafe { out.part(at, BLOCK) });
                },
            );
        }
    }

    #[inline(always)]
    fn within<S: Simd>(self, s: S) {
        let Task { lrn, x, dy, out, index, lines, .. } = self;
        let plane = lrn.size.plane();
        let x = &x[index * plane..][..plane];
        // SAFETY: each task has its own plane.
        let out = unsafe { out.part(index * plane, plane) };
        let (first, second) = lines.split_at_mut(plane);
        for (x, square) in x.chunks_exact(BLOCK).zip(first.chunks_exact_mut(BLOCK)) {
            s.store(s.mul(s.load(x), s.load(x)), square);
        }
        for at in (0..plane).step_by(BLOCK) {
            let [scale, d] = lrn.denominator(s, lrn.plane_sum(s, first, at));
            match dy {
                None => s.store(s.mul(s.load(&x[at..]), scale), &mut out[at..]),
                Some(dy) => {
                    let direct = s.mul(s.load(&dy[index * plane + at..]), scale);
                    s.store(direct, &mut out[at..]);
                    s.store(s.div(s.mul(direct, s.load(&x[at..])), d), &mut second[at..]);
                }
            }
        }
        if dy.is_some() {
            for at in (0..plane).step_by(BLOCK) {
                let through = s.mul(s.load(&x[at..]), lrn.plane_sum(s, second, at));
                let direct = s.load(&out[at..]);
                s.store(lrn.combine(s, direct, through), &mut out[at..]);
            }
        }
    }
}

impl Lrn {
    /// `D^-beta` and `D` where the neighbours' squares are `sum`.
    #[inline(always)]
    fn denominator<S: Simd>(&self, s: S, sum: S::F) -> [S::F; 2] {
        let d = s.fmadd(s.splat(self.factor()), sum, s.splat(self.k));
        [Power::new(self.beta).inverse(s, d), d]
    }

    /// `direct - 2 alpha beta / m through`.
    #[inline(always)]
    fn combine<S: Simd>(&self, s: S, direct: S::F, through: S::F) -> S::F {
        s.fmadd(s.splat(-2.0 * self.factor() * self.beta), through, direct)
    }

    /// The sum of the numbers around those at `at` in a line.
    #[inline(always)]
    fn line_sum<S: Simd>(&self, s: S, lines: &[f32], at: usize) -> S::F {
        let around = &lines[at - self.reach()..][..LANES + 2 * self.reach()];
        let mut sum = s.zero();
        for place in 0..self.neighbours {
            sum = s.add(sum, s.load(&around[place..]));
        }
        sum
    }

    /// The sum of the pixels around the one at `at` in a plane.
    #[inline(always)]
    fn plane_sum<S: Simd>(&self, s: S, plane: &[f32], at: usize) -> S::F {
        let (height, width, reach) = (self.size.height, self.size.width, self.reach());
        let (row, column) = (at / BLOCK / width, at / BLOCK % width);
        let mut sum = s.zero();
        for i in row.saturating_sub(reach)..(row + reach + 1).min(height) {
            for j in column.saturating_sub(reach)..(column + reach + 1).min(width) {
                sum = s.add(sum, s.load(&plane[(i * width + j) * BLOCK..]));
            }
        }
        sum
    }
}

/// A few pixels of an image, each with a line.
struct Pixels<'a> {
    lrn: &'a Lrn,
    image: usize,
    pixels: std::ops::Range<usize>,
}

impl Pixels<'_> {
    /// Calls `body(at, line, mask)` for each pixel and block: where it lies in the tensor and in the lines, and which of
    /// its lanes are channels.
    #[inline(always)]
    fn each<S: Simd>(&self, s: S, mut body: impl FnMut(usize, usize, S::M)) {
        let size = self.lrn.size;
        for (own, pixel) in self.pixels.clone().enumerate() {
            for block in 0..size.blocks() {
                let real = (size.channels - block * BLOCK).min(BLOCK);
                let mask = s.mask(((1u32 << real) - 1) as u16);
                let at = size.plane_start(self.image, block) + pixel * BLOCK;
                body(at, own * self.lrn.line() + MARGIN + block * BLOCK, mask);
            }
        }
    }
}
