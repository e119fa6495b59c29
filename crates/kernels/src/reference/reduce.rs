//! Sums, means and maxima over axes.
//!
//! ```text
//! y[kept indices] = sum | mean | max over the other indices of x[all indices]
//! ```

use ocellus_tensor::Element;

/// What is made of the elements that share an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reduction {
    /// Their sum.
    Sum,
    /// Their mean.
    Mean,
    /// The largest; NaN if one is NaN, minus infinity if there is none.
    Max,
}

/// Flat offset in a tensor of sizes `dims` of the element whose indices along the reduced axes count as `gone` and
/// along the others as `kept`, each in row-major order.
pub(super) fn member(
    dims: &[usize],
    reduced: &impl Fn(usize) -> bool,
    mut kept: usize,
    mut gone: usize,
) -> usize {
    let (mut offset, mut stride) = (0, 1);
    for (axis, &size) in dims.iter().enumerate().rev() {
        let counter = if reduced(axis) { &mut gone } else { &mut kept };
        offset += *counter % size * stride;
        *counter /= size;
        stride *= size;
    }
    offset
}

/// Sets each `y[i] = value(i, count)`, where `count` elements of a tensor of sizes `dims` share it.
pub(super) fn fold<T: Element>(
    dims: &[usize],
    reduced: &impl Fn(usize) -> bool,
    y: &mut [T],
    value: impl Fn(usize, usize) -> T,
) {
    let count = dims.iter().enumerate().filter(|(axis, _)| reduced(*axis)).map(|(_, size)| size).product();
    for (i, y) in y.iter_mut().enumerate() {
        *y = value(i, count);
    }
}

/// Reduces x of sizes `dims` over `axes`. y has one element for each combination of the other axes' indices.
pub fn reduce<T: Element>(kind: Reduction, axes: &[usize], dims: &[usize], x: &[T], y: &mut [T]) {
    let reduced = |axis: usize| axes.contains(&axis);
    fold(dims, &reduced, y, |i, count| {
        let elements = (0..count).map(|k| x[member(dims, &reduced, i, k)]);
        match kind {
            Reduction::Max => elements.fold(T::LOWEST, T::maximum),
            Reduction::Sum => T::from_f64(elements.map(T::to_f64).sum()),
            Reduction::Mean => T::from_f64(elements.map(T::to_f64).sum::<f64>() / count as f64),
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inner_outer_and_all_axes() {
        let x = [1., 2., 3., 4., 5., -6.];
        let mut y = [f32::NAN; 3];
        reduce(Reduction::Sum, &[0], &[2, 3], &x, &mut y);
        assert_eq!(y, [5., 7., -3.]);
        reduce(Reduction::Mean, &[1], &[2, 3], &x, &mut y[..2]);
        assert_eq!(y[..2], [2., 1.]);
        reduce(Reduction::Max, &[0, 1], &[2, 3], &x, &mut y[..1]);
        assert_eq!(y[0], 5.);
        reduce(Reduction::Max, &[0], &[2, 1, 3], &x, &mut y);
        assert_eq!(y, [4., 5., 3.]);
    }

    #[test]
    fn nan_is_a_maximum() {
        let mut y = [0.0f32; 1];
        reduce(Reduction::Max, &[0], &[3], &[1.0, f32::NAN, 2.0], &mut y);
        assert!(y[0].is_nan());
    }
}
