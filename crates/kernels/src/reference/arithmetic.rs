//! Two tensors element by element with broadcasting, and the sums and copies that are its gradient.
//!
//! Axes are lined up from the right; an axis of size 1, or a missing leading one, is repeated (NumPy's broadcasting
//! rule).

use ocellus_tensor::Element;

use super::reduce::{fold, member};

/// Numbers and their sizes, to be broadcast.
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a, T> {
    /// Sizes, outermost first.
    pub dims: &'a [usize],
    /// The numbers, row-major.
    pub data: &'a [T],
}

/// The flat offset in a tensor of `source` sizes that lies under flat offset `at` of one of `target` sizes.
fn under(mut at: usize, target: &[usize], source: &[usize]) -> usize {
    let (mut offset, mut stride) = (0, 1);
    for (axis, &size) in target.iter().enumerate().rev() {
        let index = at % size;
        at /= size;
        // `source` ends where `target` ends; its missing leading axes repeat.
        let Some(axis) = (axis + source.len()).checked_sub(target.len()) else { break };
        if source[axis] != 1 {
            offset += index * stride;
        }
        stride *= source[axis];
    }
    offset
}

/// `y = f(a, b)`, y of the common sizes `dims`.
pub fn binary<T: Element>(
    a: Operand<'_, T>,
    b: Operand<'_, T>,
    dims: &[usize],
    y: &mut [T],
    f: impl Fn(T, T) -> T,
) {
    for (i, y) in y.iter_mut().enumerate() {
        *y = f(a.data[under(i, dims, a.dims)], b.data[under(i, dims, b.dims)]);
    }
}

/// The gradient of `maximum(a, b)` with respect to a: dy where a > b, half of it where they are equal, else 0.
/// All of one shape.
pub fn maximum_grad<T: Element>(a: &[T], b: &[T], dy: &[T], da: &mut [T]) {
    let half = T::from_f64(0.5);
    for (((da, &a), &b), &dy) in da.iter_mut().zip(a).zip(b).zip(dy) {
        *da = if a > b {
            dy
        } else if a == b {
            half * dy
        } else {
            T::ZERO
        };
    }
}

/// Repeats x until it has sizes `dims`.
pub fn broadcast_to<T: Element>(x: Operand<'_, T>, dims: &[usize], y: &mut [T]) {
    for (i, y) in y.iter_mut().enumerate() {
        *y = x.data[under(i, dims, x.dims)];
    }
}

/// Sums x over the axes along which `dims` was repeated to reach x's sizes. y of sizes `dims`.
pub fn sum_to<T: Element>(x: Operand<'_, T>, dims: &[usize], y: &mut [T]) {
    let missing = x.dims.len() - dims.len();
    let summed = |axis: usize| axis < missing || dims[axis - missing] == 1;
    fold(x.dims, &summed, y, |y, count| {
        let terms = (0..count).map(|k| x.data[member(x.dims, &summed, y, k)].to_f64());
        T::from_f64(terms.sum())
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_line_up_from_the_right() {
        let a = Operand { dims: &[2, 1], data: &[10., 20.] };
        let b = Operand { dims: &[3], data: &[1., 2., 3.] };
        let mut y = [f32::NAN; 6];
        binary(a, b, &[2, 3], &mut y, |a, b| a - b);
        assert_eq!(y, [9., 8., 7., 19., 18., 17.]);
        let scalar = Operand { dims: &[], data: &[2.0] };
        binary(scalar, b, &[3], &mut y[..3], |a, b| a * b);
        assert_eq!(y[..3], [2., 4., 6.]);
    }

    #[test]
    fn sums_and_copies_are_each_others_transpose() {
        let x = Operand { dims: &[2, 2, 3], data: &[1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12.] };
        let mut y = [f32::NAN; 2];
        sum_to(x, &[2, 1], &mut y);
        assert_eq!(y, [30., 48.]); // 1+2+3 + 7+8+9, 4+5+6 + 10+11+12
        let mut total = [f32::NAN];
        sum_to(x, &[], &mut total);
        assert_eq!(total, [78.]);
        let mut wide = [f32::NAN; 12];
        broadcast_to(Operand { dims: &[2, 1], data: &y }, &[2, 2, 3], &mut wide);
        assert_eq!(wide, [30., 30., 30., 48., 48., 48., 30., 30., 30., 48., 48., 48.]);
    }

    #[test]
    fn the_maximums_gradient_is_shared_at_a_tie() {
        let mut da = [f32::NAN; 3];
        maximum_grad(&[1., 2., 3.], &[2., 2., 2.], &[10., 10., 10.], &mut da);
        assert_eq!(da, [0., 5., 10.]);
    }
}
