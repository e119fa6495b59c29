//! A part of a tensor along one axis, `y[o, k, i] = x[o, start + k step, i]`, and its gradient.

use ocellus_tensor::Element;

/// A slice of x `(outer, size, inner)` that gives y `(outer, count, inner)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SliceGeometry {
    /// Indices before the axis.
    pub outer: usize,
    /// Size of the axis in x.
    pub size: usize,
    /// Elements after the axis.
    pub inner: usize,
    /// First index.
    pub start: usize,
    /// Distance between indices.
    pub step: usize,
    /// How many indices.
    pub count: usize,
}

impl SliceGeometry {
    /// Calls `visit(x, y)` with the flat offsets of each element of the slice.
    fn for_each(&self, mut visit: impl FnMut(usize, usize)) {
        for o in 0..self.outer {
            for k in 0..self.count {
                for i in 0..self.inner {
                    let x = (o * self.size + self.start + k * self.step) * self.inner + i;
                    visit(x, (o * self.count + k) * self.inner + i);
                }
            }
        }
    }
}

/// Takes the slice. x `(outer, size, inner)`, y `(outer, count, inner)`.
pub fn slice<T: Element>(g: &SliceGeometry, x: &[T], y: &mut [T]) {
    g.for_each(|xi, yi| y[yi] = x[xi]);
}

/// dy where the slice was, zeros elsewhere. dy `(outer, count, inner)`, dx `(outer, size, inner)`.
pub fn slice_grad<T: Element>(g: &SliceGeometry, dy: &[T], dx: &mut [T]) {
    dx.fill(T::ZERO);
    g.for_each(|xi, yi| dx[xi] = dy[yi]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_other_row() {
        let g = SliceGeometry { outer: 1, size: 5, inner: 2, start: 1, step: 2, count: 2 };
        let x = [0., 1., 10., 11., 20., 21., 30., 31., 40., 41.];
        let mut y = [f32::NAN; 4];
        slice(&g, &x, &mut y);
        assert_eq!(y, [10., 11., 30., 31.]);
        let mut dx = [f32::NAN; 10];
        slice_grad(&g, &y, &mut dx);
        assert_eq!(dx, [0., 0., 10., 11., 0., 0., 30., 31., 0., 0.]);
    }
}
