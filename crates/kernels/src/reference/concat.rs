//! Tensors laid end to end along one axis: for each index of the axes before it, one run of numbers from each part.

use ocellus_tensor::Element;

/// Joins `parts`. Part k is `(outer, widths[k])`, where `outer` counts the indices before the joined axis and a width is
/// the axis's size times everything after it; y is `(outer, sum of widths)`.
pub fn concat<'a, T: Element>(outer: usize, parts: impl Iterator<Item = &'a [T]> + Clone, y: &mut [T]) {
    if outer == 0 {
        return;
    }
    let mut rest = y;
    for row in 0..outer {
        for part in parts.clone() {
            let width = part.len() / outer;
            let (run, after) = rest.split_at_mut(width);
            run.copy_from_slice(&part[row * width..][..width]);
            rest = after;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_alternate() {
        let (a, b): (&[f32], &[f32]) = (&[1., 2., 3., 4.], &[5., 6.]);
        let mut y = [f32::NAN; 6];
        concat(2, [a, b].into_iter(), &mut y);
        assert_eq!(y, [1., 2., 5., 3., 4., 6.]);
    }
}
