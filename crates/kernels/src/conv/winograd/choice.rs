//! When is Winograd worth it, and which?
//!
//! A rule, not a measurement, so that the same network gets the same algorithms everywhere. All costs are in cycles
//! of one core with one vector multiply-add a cycle; the constants were fitted to measurements of every 3x3 layer of
//! ResNet-50, VGG-16 and ResNet-20 (see docs/performance.md).

use ocellus_tensor::ConvGeometry;

use crate::conv::tile::speed;
use crate::format::Format;
use crate::isa::{Isa, LANES};
use crate::layout::blocks;

use super::{Variant, Winograd, WinogradGrad, WinogradSpec};

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

/// The better variant, or `None` where the direct kernels are expected to be faster with numbers of format `rival`.
pub(crate) fn choose(spec: WinogradSpec<'_>, rival: Format) -> Option<Winograd> {
    let candidates = [Variant::F2, Variant::F4].into_iter().filter_map(|v| Winograd::new(spec, v));
    let best = candidates.min_by(|a, b| cost(a).total_cmp(&cost(b)))?;
    (cost(&best) < MARGIN * direct_cost(&best, speed(spec.isa, rival))).then_some(best)
}

fn direct_cost(w: &Winograd, speed: f64) -> f64 {
    let pixels = (w.batch * w.to.size[0] * w.to.size[1]) as f64;
    let (from, to) = (w.from.channels as f64, blocks(w.to.channels) as f64);
    let products = pixels * 9.0 * from * to / (DIRECT_SHARE * speed);
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

/// Share of the peak that the direct weight gradient and Winograd's products reach.
const DIRECT_GRAD_SHARE: f64 = 0.85;
const GRAD_PRODUCT_SHARE: f64 = 0.75;
/// Cycles per number of M turned into weights.
const RESTORE_COST: f64 = 5.0;

/// The weight gradient, or `None` where it does not apply or the direct kernels are expected to be faster with numbers of
/// format `rival`.
pub(crate) fn choose_gradient(geometry: ConvGeometry, isa: Isa, rival: Format) -> Option<WinogradGrad> {
    WinogradGrad::new(geometry, isa).filter(|recipe| gradient_pays(recipe, speed(isa, rival)))
}

fn gradient_pays(recipe: &WinogradGrad, speed: f64) -> bool {
    let (g, tiles) = (recipe.geometry(), recipe.total_tiles());
    let (from, to) = (g.in_channels as f64, blocks(g.out_channels) as f64);
    let direct = (g.batch * g.output[0] * g.output[1]) as f64 * 9.0 * from * to / (DIRECT_GRAD_SHARE * speed);
    let (tiles, xi) = (tiles as f64, Variant::F4.products() as f64);
    // Each range of 64 channels is transformed anew for each range of the other side.
    let ranges = |blocks: f64| (blocks / 4.0).ceil();
    let from_blocks = (from / LANES as f64).ceil();
    let transformed = from_blocks * ranges(to) * INPUT_COST + to * ranges(from_blocks) * OUTPUT_COST;
    let products = tiles * xi * from * to / GRAD_PRODUCT_SHARE;
    products + tiles * xi * transformed + xi * from * to * RESTORE_COST < MARGIN * direct
}
