//! Axes in another order: output axis i is input axis `order[i]`. The gradient is the inverse order.

use ocellus_tensor::Element;

/// x of sizes `dims`, y of sizes `dims[order[0]], dims[order[1]], ...`.
pub fn transpose<T: Element>(dims: &[usize], order: &[usize], x: &[T], y: &mut [T]) {
    for (i, y) in y.iter_mut().enumerate() {
        let (mut rest, mut offset) = (i, 0);
        for &axis in order.iter().rev() {
            let stride: usize = dims[axis + 1..].iter().product();
            offset += rest % dims[axis] * stride;
            rest /= dims[axis];
        }
        *y = x[offset];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrices_and_channels_last() {
        let x = [1., 2., 3., 4., 5., 6.];
        let mut y = [f32::NAN; 6];
        transpose(&[2, 3], &[1, 0], &x, &mut y);
        assert_eq!(y, [1., 4., 2., 5., 3., 6.]);
        transpose(&[1, 3, 2], &[0, 2, 1], &x, &mut y);
        assert_eq!(y, [1., 3., 5., 2., 4., 6.]);
        transpose(&[3, 1, 2], &[2, 0, 1], &x, &mut y);
        assert_eq!(y, [1., 3., 5., 2., 4., 6.]);
    }
}
