//! Groups that do not fall on block boundaries, merged until they do.
//!
//! `m` neighbouring groups become one dense group in which the weights between different old groups are zeros. That
//! costs up to `m` times the multiplications, and keeps every shape on the fast kernels.

use ocellus_tensor::ConvGeometry;

use crate::layout::BLOCK;

/// The geometry with the fewest groups merged so that each begins on a block boundary, or a single one; and whether any
/// were merged.
pub(crate) fn merged(g: &ConvGeometry) -> (ConvGeometry, bool) {
    let fits = |m: &usize| {
        let whole = (m * g.group_in()).is_multiple_of(BLOCK) && (m * g.group_out()).is_multiple_of(BLOCK);
        g.groups.is_multiple_of(*m) && whole
    };
    let m = if g.groups == 1 { 1 } else { (1..g.groups).find(fits).unwrap_or(g.groups) };
    (ConvGeometry { groups: g.groups / m, ..*g }, m > 1)
}

/// Takes the weights of `g` out of those of its merged form: the blocks on the diagonal.
pub(crate) fn take_diagonal(g: &ConvGeometry, merged: &[f32], weights: &mut [f32]) {
    let (inputs, outputs, taps) = (g.group_in(), g.group_out(), g.window.taps());
    let row = inputs * taps;
    let width = merged.len() / g.out_channels;
    let groups = width / row; // old groups in a new one
    for (out, weights) in weights.chunks_exact_mut(row).enumerate() {
        let first = out / outputs % groups * row;
        weights.copy_from_slice(&merged[out * width + first..][..row]);
    }
}
