//! A border that copies the image: mirrored, or its edge repeated; and the gradient, in which every border pixel gives
//! its gradient to the pixel it copies.
//!
//! ```text
//! reflect: ... x2 x1 | x0 x1 x2 ...;   replicate: ... x0 x0 | x0 x1 x2 ...      along height and width alike
//! ```

use ocellus_tensor::Padding;

use crate::elementwise::Blocked;
use crate::elementwise::operands::share;
use crate::isa::{Isa, Simd, VectorOp};
use crate::layout::BLOCK;
use crate::threads::{SharedMut, ThreadPool};

/// A border made of the image's own pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Edge {
    /// Sizes of the image.
    pub image: Blocked,
    /// Rows and columns of the border.
    pub padding: Padding,
    /// Mirrored without the edge pixel, which needs a border narrower than the image; else the edge pixel repeated.
    pub reflect: bool,
}

impl Edge {
    /// Sizes of the image with its border.
    pub fn outer(&self) -> Blocked {
        let Padding { top, left, bottom, right } = self.padding;
        let Blocked { height, width, .. } = self.image;
        Blocked { height: height + top + bottom, width: width + left + right, ..self.image }
    }

    /// The index in an axis of `size` pixels that index `at` of the axis with its border copies.
    fn source(&self, at: usize, before: usize, size: usize) -> usize {
        if !self.reflect {
            return at.saturating_sub(before).min(size - 1);
        }
        let distance = at.abs_diff(before);
        if distance < size { distance } else { 2 * (size - 1) - distance }
    }

    #[track_caller]
    fn check(&self, image: &[f32], outer: &[f32]) {
        let Padding { top, left, bottom, right } = self.padding;
        let Blocked { height, width, .. } = self.image;
        assert!(height > 0 && width > 0, "an image to copy");
        let fits = !self.reflect || (top.max(bottom) < height && left.max(right) < width);
        assert!(fits, "a mirrored border is narrower than the image");
        assert_eq!((image.len(), outer.len()), (self.image.elements(), self.outer().elements()), "lengths");
    }

    /// y = x (the image) with its border, both blocked.
    pub fn pad(&self, pool: &ThreadPool, x: &[f32], y: &mut [f32]) {
        self.check(x, y);
        let (outer, image) = (self.outer(), self.image);
        let out = SharedMut::new(y);
        share(pool, outer.elements(), outer.batch * outer.blocks(), &|plane| {
            // SAFETY: each task has its own plane.
            let y = unsafe { out.part(plane * outer.plane(), outer.plane()) };
            let x = &x[plane * image.plane()..][..image.plane()];
            for (i, y) in y.chunks_exact_mut((outer.width * BLOCK).max(1)).enumerate() {
                let row = self.source(i, self.padding.top, image.height);
                self.pad_row(&x[row * image.width * BLOCK..][..image.width * BLOCK], y);
            }
        });
    }

    fn pad_row(&self, x: &[f32], y: &mut [f32]) {
        let (left, width) = (self.padding.left, self.image.width);
        y[left * BLOCK..][..x.len()].copy_from_slice(x);
        for j in (0..left).chain(left + width..y.len() / BLOCK) {
            let from = self.source(j, left, width) * BLOCK;
            y[j * BLOCK..][..BLOCK].copy_from_slice(&x[from..from + BLOCK]);
        }
    }

    /// dx (the image's gradient) from dy (of the image with its border), both blocked.
    pub fn gradient(&self, pool: &ThreadPool, isa: Isa, dy: &[f32], dx: &mut [f32]) {
        self.check(dx, dy);
        let (outer, image) = (self.outer(), self.image);
        let out = SharedMut::new(dx);
        share(pool, outer.elements(), outer.batch * outer.blocks(), &|plane| {
            // SAFETY: each task has its own plane.
            let dx = unsafe { out.part(plane * image.plane(), image.plane()) };
            isa.run(Gather { edge: self, dy: &dy[plane * outer.plane()..][..outer.plane()], dx });
        });
    }
}

/// The gradient of one plane, row by row of dy.
struct Gather<'a> {
    edge: &'a Edge,
    dy: &'a [f32],
    dx: &'a mut [f32],
}

impl VectorOp for Gather<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Gather { edge, dy, dx } = self;
        let (image, padding) = (edge.image, edge.padding);
        dx.fill(0.0);
        for (i, dy) in dy.chunks_exact(edge.outer().width * BLOCK).enumerate() {
            let row = edge.source(i, padding.top, image.height);
            let dx = &mut dx[row * image.width * BLOCK..][..image.width * BLOCK];
            for (j, dy) in dy.chunks_exact(BLOCK).enumerate() {
                let to = &mut dx[edge.source(j, padding.left, image.width) * BLOCK..];
                s.store(s.add(s.load(to), s.load(dy)), to);
            }
        }
    }
}
