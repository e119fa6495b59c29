//! When is Winograd worth it, and which?
//!
//! A rule, not a measurement, so that the same network gets the same algorithms everywhere. All costs are in cycles
//! of one core with one vector multiply-add a cycle; the constants were fitted to measurements of every 3x3 layer of
//! ResNet-50, VGG-16 and ResNet-20 (see docs/performance.md).

use crate::isa::LANES;
use crate::layout::blocks;

use super::{Variant, Winograd, WinogradSpec};

/// Share of the peak that the direct kernels and the products of small matrices reach.
const DIRECT_SHARE: f64 = 0.93;
const PRODUCT_SHARE: f64 = 0.85;
/// Cycles per transformed number (16 channels) of the input and of the output, loads and stores included.
const INPUT_COST: f64 = 4.0;
const OUTPUT_COST: f64 = 3.5;
/// Cycles per cache line of weights that come from memory.
const LINE_COST: f64 = 5.0;
/// How much faster it must promise to be.
const MARGIN: f64 = 0.95;

/// The better variant, or `None` where the direct kernels are expected to be faster.
pub(crate) fn choose(spec: WinogradSpec<'_>) -> Option<Winograd> {
    let candidates = [Variant::F2, Variant::F4].into_iter().filter_map(|v| Winograd::new(spec, v));
    let best = candidates.min_by(|a, b| cost(a).total_cmp(&cost(b)))?;
    (cost(&best) < MARGIN * direct_cost(&best)).then_some(best)
}

fn direct_cost(w: &Winograd) -> f64 {
    let pixels = (w.batch * w.to.size[0] * w.to.size[1]) as f64;
    let (from, to) = (w.from.channels as f64, blocks(w.to.channels) as f64);
    let products = pixels * 9.0 * from * to / DIRECT_SHARE;
    let weights = 9.0 * from * to * LINE_COST;
    products.max(weights) + weights / 4.0
}

fn cost(w: &Winograd) -> f64 {
    let (tiles, xi) = (w.total_tiles() as f64, w.variant.products() as f64);
    let (from, to) = (w.from.channels as f64, blocks(w.to.channels) as f64);
    let products = tiles * xi * from * to / PRODUCT_SHARE;
    let weights = xi * from * to * LINE_COST;
    let transforms = tiles * xi * (from / LANES as f64 * INPUT_COST + to * OUTPUT_COST);
    products.max(weights) + weights / 4.0 + transforms
}
