//! Class indices as vectors.
//!
//! ```text
//! y[i, k] = 1 if x[i] = k, else 0
//! ```

use ocellus_tensor::Element;

/// x `(n)`, y `(n, classes)`.
pub fn one_hot<T: Element>(classes: usize, x: &[T], y: &mut [T]) {
    for (x, row) in x.iter().zip(y.chunks_exact_mut(classes)) {
        for (k, y) in row.iter_mut().enumerate() {
            *y = T::from_f64(f64::from(u8::from(*x == T::from_f64(k as f64))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_index_gives_zeros() {
        let mut y = [f32::NAN; 15];
        one_hot(3, &[2.0, -1.0, 0.0, 0.5, 255.0], &mut y);
        assert_eq!(y, [0., 0., 1., 0., 0., 0., 1., 0., 0., 0., 0., 0., 0., 0., 0.]);
    }
}
