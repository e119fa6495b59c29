//! The index of the largest number along an axis.
//!
//! ```text
//! y[o, i] = the first (or last) k with x[o, k, i] = max over k of x[o, k, i]
//! ```

use ocellus_tensor::Element;

/// x `(outer, size, inner)`, y `(outer, inner)`; of equal numbers the first, or the `last`. NaN is the largest.
pub fn arg_max<T: Element>([outer, size, inner]: [usize; 3], last: bool, x: &[T], y: &mut [T]) {
    for o in 0..outer {
        for i in 0..inner {
            let at = |k: usize| x[(o * size + k) * inner + i];
            let mut best = 0;
            for k in 1..size {
                let (known, new) = (at(best), at(k));
                let larger = new > known || (new.is_nan() && !known.is_nan());
                let equal = new == known || (new.is_nan() && known.is_nan());
                if larger || (last && equal) {
                    best = k;
                }
            }
            y[o * inner + i] = T::from_f64(best as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_and_last_along_a_middle_axis() {
        let x = [1., 5., 3., 5., 3., 2., 0., 0., 0., 0., 0., 0.0_f32];
        let mut y = [f32::NAN; 4];
        arg_max([2, 3, 2], false, &x, &mut y);
        assert_eq!(y, [1., 0., 0., 0.]);
        arg_max([2, 3, 2], true, &x, &mut y);
        assert_eq!(y, [2., 1., 2., 2.]);
        arg_max([1, 3, 1], false, &[1.0, f32::NAN, 2.0], &mut y[..1]);
        assert_eq!(y[0], 1.);
    }
}
