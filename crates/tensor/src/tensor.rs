//! An owned tensor in row-major order.

use crate::{Element, Shape};

/// Numbers with a shape, in row-major order (the last axis lies contiguous).
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor<T = f32> {
    shape: Shape,
    data: Vec<T>,
}

/// A tensor could not be made as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// The number of elements disagrees with the shape.
    #[error("shape {shape} needs {expected} elements, got {actual}")]
    Length {
        /// The shape asked for.
        shape: Shape,
        /// Elements the shape needs.
        expected: usize,
        /// Elements given.
        actual: usize,
    },
}

impl<T: Element> Tensor<T> {
    /// A tensor of `shape` over `data` in row-major order.
    ///
    /// ```
    /// use ocellus_tensor::Tensor;
    /// let t = Tensor::new([2, 3], vec![1.0_f32; 6])?;
    /// assert_eq!(t.shape().dims(), [2, 3]);
    /// # Ok::<(), ocellus_tensor::TensorError>(())
    /// ```
    pub fn new(shape: impl Into<Shape>, data: Vec<T>) -> Result<Self, TensorError> {
        let shape = shape.into();
        if shape.elements() != data.len() {
            let (expected, actual) = (shape.elements(), data.len());
            return Err(TensorError::Length { shape, expected, actual });
        }
        Ok(Tensor { shape, data })
    }

    /// A tensor of `shape` with every element `value`.
    pub fn full(shape: impl Into<Shape>, value: T) -> Self {
        let shape = shape.into();
        let data = vec![value; shape.elements()];
        Tensor { shape, data }
    }

    /// A tensor of `shape` of zeros.
    pub fn zeros(shape: impl Into<Shape>) -> Self {
        Self::full(shape, T::ZERO)
    }

    /// A tensor whose element at flat index `i` is `f(i)`.
    pub fn from_fn(shape: impl Into<Shape>, f: impl FnMut(usize) -> T) -> Self {
        let shape = shape.into();
        let data = (0..shape.elements()).map(f).collect();
        Tensor { shape, data }
    }

    /// One number.
    pub fn scalar(value: T) -> Self {
        Self::full(Shape::scalar(), value)
    }

    /// The shape.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The numbers, row by row.
    pub fn data(&self) -> &[T] {
        &self.data
    }

    /// The numbers, to change in place.
    pub fn data_mut(&mut self) -> &mut [T] {
        &mut self.data
    }

    /// The numbers, owned.
    pub fn into_data(self) -> Vec<T> {
        self.data
    }

    /// The same numbers under another shape of as many elements.
    pub fn reshape(self, shape: impl Into<Shape>) -> Result<Self, TensorError> {
        Tensor::new(shape, self.data)
    }

    /// Each number converted to another element type.
    pub fn cast<U: Element>(&self) -> Tensor<U> {
        Tensor {
            shape: self.shape.clone(),
            data: self.data.iter().map(|x| U::from_f64(x.to_f64())).collect(),
        }
    }
}
