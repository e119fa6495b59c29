//! What sizes does a tensor have?

use std::fmt;
use std::ops::Deref;

/// The sizes of a tensor, outermost first: `(N, C, H, W)` for images, `(N, C)` for vectors, `()` for a scalar.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Shape(Vec<usize>);

impl Shape {
    /// A shape with these sizes.
    pub fn new(dims: impl Into<Vec<usize>>) -> Self {
        Shape(dims.into())
    }

    /// The shape of a single number.
    pub const fn scalar() -> Self {
        Shape(Vec::new())
    }

    /// The sizes.
    pub fn dims(&self) -> &[usize] {
        &self.0
    }

    /// How many axes there are.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// How many numbers a tensor of this shape holds (1 for a scalar).
    pub fn elements(&self) -> usize {
        self.0.iter().product()
    }

    /// How far apart, in elements, neighbours along each axis lie in row-major order.
    pub fn strides(&self) -> Vec<usize> {
        let mut strides = vec![1; self.rank()];
        for axis in (1..self.rank()).rev() {
            strides[axis - 1] = strides[axis] * self.0[axis];
        }
        strides
    }

    /// The same shape with `axis` of size `size`.
    pub fn with(&self, axis: usize, size: usize) -> Self {
        let mut dims = self.0.clone();
        dims[axis] = size;
        Shape(dims)
    }

    /// Reads the shape as `(N, C, H, W)`, with H = W = 1 where the axes are absent: `(N, C)` is `(N, C, 1, 1)`
    /// and `(N, C, L)` is `(N, C, 1, L)`. `None` above four axes or below two.
    pub fn nchw(&self) -> Option<[usize; 4]> {
        match *self.0 {
            [n, c] => Some([n, c, 1, 1]),
            [n, c, w] => Some([n, c, 1, w]),
            [n, c, h, w] => Some([n, c, h, w]),
            _ => None,
        }
    }
}

impl Deref for Shape {
    type Target = [usize];
    fn deref(&self) -> &[usize] {
        &self.0
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(dims: [usize; N]) -> Self {
        Shape(dims.to_vec())
    }
}

impl From<Vec<usize>> for Shape {
    fn from(dims: Vec<usize>) -> Self {
        Shape(dims)
    }
}

impl From<&[usize]> for Shape {
    fn from(dims: &[usize]) -> Self {
        Shape(dims.to_vec())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "(")?;
        for (i, d) in self.0.iter().enumerate() {
            if i > 0 {
                write!(f, ", ")?;
            }
            write!(f, "{d}")?;
        }
        write!(f, ")")
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
