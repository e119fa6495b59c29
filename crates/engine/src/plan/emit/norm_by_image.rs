//! Normalisation with statistics of one image: groups, instances, layers, neighbours.

use ocellus_graph::Op;
use ocellus_graph::ops::{self, LrnRegion, NormAxes};
use ocellus_kernels::elementwise::Blocked;
use ocellus_kernels::norm::{GroupNorm, LayerNorm, Lrn};

use crate::passes::Group;
use crate::plan::lowering::Lowering;
use crate::plan::step::{Kernel, Step};

/// The kernels for one way of taking statistics.
enum Chosen {
    Groups(GroupNorm),
    Layers(LayerNorm),
}

fn choose(norm: &ops::Norm, size: Blocked) -> Chosen {
    match norm.axes {
        NormAxes::Groups(groups) => Chosen::Groups(GroupNorm { size, groups, eps: norm.eps }),
        NormAxes::Instance => Chosen::Groups(GroupNorm { size, groups: size.channels, eps: norm.eps }),
        NormAxes::Channels => Chosen::Layers(LayerNorm { size, eps: norm.eps }),
    }
}

/// Group, instance and layer normalisation, and their gradients.
pub fn emit(l: &mut Lowering, group: &Group) -> bool {
    let node = l.graph.node(group.main);
    let size = l.size(node.inputs[0]);
    let (kernel, reads, scratch) = match &node.op {
        Op::Norm(norm) => {
            let reads = [Some(l.blocked(node.inputs[0]))].into_iter();
            let affine: Vec<_> = node.inputs[1..].iter().map(|&v| Some(l.plain(v))).collect();
            let (kernel, scratch) = match choose(norm, size) {
                Chosen::Groups(norm) => (Kernel::GroupNorm(norm), norm.scratch_len()),
                Chosen::Layers(norm) => (Kernel::LayerNorm(norm), 0),
            };
            (kernel, reads.chain(affine).collect::<Vec<_>>(), scratch)
        }
        Op::NormGrad(grad) => {
            let reads = vec![Some(l.blocked(node.inputs[1])), Some(l.blocked(node.inputs[0]))];
            let gamma = node.inputs.get(2).map(|&v| l.plain(v));
            let (kernel, scratch) = match choose(&grad.norm, size) {
                Chosen::Groups(norm) => (Kernel::GroupNormGrad(norm), norm.scratch_len()),
                Chosen::Layers(norm) => (Kernel::LayerNormGrad(norm), norm.gradient_scratch_len()),
            };
            (kernel, reads.into_iter().chain([gamma]).collect(), scratch)
        }
        _ => return false,
    };
    // y or dx in blocks; the gradients of gamma and beta are vectors.
    let mut writes = vec![l.define_blocked(node.outputs[0])];
    writes.extend(node.outputs[1..].iter().map(|&v| l.define_plain(v)));
    let scratch = l.scratch(scratch);
    l.push(Step::new(&node.name, kernel).reading(reads).writing(writes).with_scratch(scratch));
    true
}

/// Local response normalisation and its gradient.
pub fn response(l: &mut Lowering, group: &Group) -> bool {
    let node = l.graph.node(group.main);
    let size = l.size(node.inputs[0]);
    let recipe = |lrn: &ops::Lrn| Lrn {
        size,
        neighbours: lrn.size,
        across_channels: lrn.region == LrnRegion::AcrossChannels,
        alpha: lrn.alpha,
        beta: lrn.beta,
        k: lrn.k,
    };
    let (lrn, gradient) = match &node.op {
        Op::Lrn(lrn) => (recipe(lrn), false),
        Op::LrnGrad(grad) => (recipe(&grad.lrn), true),
        _ => return false,
    };
    if !lrn.fits() {
        return false;
    }
    let reads: Vec<_> = node.inputs.iter().map(|&v| l.blocked(v)).collect();
    let to = l.define_blocked(node.outputs[0]);
    let scratch = l.scratch(lrn.scratch_len(l.options.threads));
    let kernel = if gradient { Kernel::LrnGrad(lrn) } else { Kernel::Lrn(lrn) };
    l.push(Step::new(&node.name, kernel).reading(reads).writing([to]).with_scratch(scratch));
    true
}
