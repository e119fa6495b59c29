//! Dropout (Srivastava et al. 2014), inverted: kept elements are divided by the share kept, so that the mean stays.
//!
//! ```text
//! y[i] = x[i] / (1 - rate) if mask(i) else 0
//! ```
//!
//! The gradient is the same function applied to dy.

use ocellus_tensor::Element;

use crate::random::DropoutMask;

/// Drops elements of x by the mask of a share `rate`. x and y of any one shape.
pub fn dropout<T: Element>(rate: f32, mask: &DropoutMask, x: &[T], y: &mut [T]) {
    let scale = T::from_f64(1.0 / (1.0 - f64::from(rate)));
    for (i, (y, &x)) in y.iter_mut().zip(x).enumerate() {
        *y = if mask.keeps(i as u64) { x * scale } else { T::ZERO };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_elements_are_scaled_and_the_others_zero() {
        let mask = DropoutMask::new(0.75, 1, 2, 3);
        let x: Vec<f32> = (1..=400).map(|i| i as f32).collect();
        let mut y = vec![f32::NAN; 400];
        dropout(0.75, &mask, &x, &mut y);
        assert!(x.iter().zip(&y).all(|(x, y)| *y == 0.0 || *y == 4.0 * x));
        let kept = y.iter().filter(|y| **y != 0.0).count();
        assert!((60..140).contains(&kept), "{kept} of 400 kept at rate 0.75");
    }
}
