//! The largest numbers along an axis.
//!
//! ```text
//! y[o, j, i] = the j-th largest of x[o, .., i],  at[o, j, i] = its k
//! ```

use ocellus_tensor::Element;

/// x `(outer, size, inner)`; y and `at` `(outer, count, inner)`. Of equal numbers the first k first, or the `last`. NaN is
/// the largest.
pub fn top_k<T: Element>(
    [outer, size, inner]: [usize; 3],
    (count, last): (usize, bool),
    x: &[T],
    [y, at]: [&mut [T]; 2],
) {
    let larger = |a: T, b: T| a > b || (a.to_f64().is_nan() && !b.to_f64().is_nan());
    for o in 0..outer {
        for i in 0..inner {
            let of = |k: usize| x[(o * size + k) * inner + i];
            // Whether number k stands before number other.
            let before = |k: usize, other: usize| {
                let (a, b) = (of(k), of(other));
                larger(a, b) || (!larger(b, a) && if last { k > other } else { k < other })
            };
            let mut previous = None;
            for j in 0..count {
                let behind = |&k: &usize| previous.is_none_or(|previous| before(previous, k));
                let best = (0..size).filter(behind).reduce(|best, k| if before(k, best) { k } else { best });
                let best = best.unwrap_or(0);
                y[(o * count + j) * inner + i] = of(best);
                at[(o * count + j) * inner + i] = T::from_f64(best as f64);
                previous = Some(best);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_of_a_middle_axis_with_equal_ones() {
        let x = [1., 5., 3., 5., 3., 2., 0., 0., 0., 0., 0., 0.0_f32];
        let (mut y, mut at) = ([f32::NAN; 8], [f32::NAN; 8]);
        top_k([2, 3, 2], (2, false), &x, [&mut y, &mut at]);
        assert_eq!(y, [3., 5., 3., 5., 0., 0., 0., 0.]);
        assert_eq!(at, [1., 0., 2., 1., 0., 0., 1., 1.]);
        top_k([2, 3, 2], (2, true), &x, [&mut y, &mut at]);
        assert_eq!(at, [2., 1., 1., 0., 2., 2., 1., 1.]);
        let (mut y, mut at) = ([0.0; 3], [0.0; 3]);
        top_k([1, 3, 1], (3, false), &[1.0, f32::NAN, 2.0], [&mut y, &mut at]);
        assert_eq!((at, y[1], y[2]), ([1., 2., 0.], 2., 1.));
    }
}
