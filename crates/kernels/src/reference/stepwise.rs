//! Functions of one number that are constant between steps, in `f64`; applied by [`super::activation::map`].

/// The largest whole number that is not above x.
pub fn floor(x: f64) -> f64 {
    x.floor()
}

/// The nearest whole number, of two that are as near the even one.
pub fn round(x: f64) -> f64 {
    x.round_ties_even()
}

/// 1 above `threshold`, else 0.
pub fn above(x: f64, threshold: f64) -> f64 {
    if x > threshold { 1.0 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_and_thresholds() {
        assert_eq!([-0.5, 0.5, 1.5, 2.5, -2.5].map(round), [-0.0, 0.0, 2.0, 2.0, -2.0]);
        assert_eq!([-0.5, 2.0, 2.9].map(floor), [-1.0, 2.0, 2.0]);
        assert_eq!([1.0, 1.1, f64::NAN].map(|x| above(x, 1.0)), [0.0, 1.0, 0.0]);
    }
}
