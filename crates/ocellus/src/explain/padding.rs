//! How many outputs does each input pixel reach?
//!
//! Along one axis, output `o` reads inputs `o stride - before + tap dilation`. Counting them for every input gives a
//! row of numbers; a pixel's count is that of its row times that of its column.

use ocellus_tensor::Window;

/// For each input position along `axis`, how many of `outputs` windows read it.
pub(super) fn reached(window: &Window, axis: usize, input: usize, outputs: usize) -> Vec<usize> {
    let (before, _) = window.padding.along(axis);
    let mut counts = vec![0; input];
    for output in 0..outputs {
        for tap in 0..window.kernel[axis] {
            let at = output * window.stride[axis] + tap * window.dilation[axis];
            if let Some(count) = at.checked_sub(before).and_then(|at| counts.get_mut(at)) {
                *count += 1;
            }
        }
    }
    counts
}

/// Counts at the corner, in the middle of the top edge and in the middle, for height and width `input`.
pub(super) fn corner_edge_middle(window: &Window, input: [usize; 2], outputs: [usize; 2]) -> [usize; 3] {
    let [rows, columns] = [0, 1].map(|axis| reached(window, axis, input[axis], outputs[axis]));
    let middle = |counts: &[usize]| counts.get(counts.len() / 2).copied().unwrap_or(0);
    let first = |counts: &[usize]| counts.first().copied().unwrap_or(0);
    [first(&rows) * first(&columns), first(&rows) * middle(&columns), middle(&rows) * middle(&columns)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_corner_is_read_once_without_padding_and_four_times_with() {
        let window = Window::square(3);
        assert_eq!(corner_edge_middle(&window, [8, 8], [6, 6]), [1, 3, 9]);
        assert_eq!(corner_edge_middle(&window.padding(1), [8, 8], [8, 8]), [4, 6, 9]);
        assert_eq!(reached(&window.stride(2), 0, 7, 3), [1, 1, 2, 1, 2, 1, 1]);
    }
}
