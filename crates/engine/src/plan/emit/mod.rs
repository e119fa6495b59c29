//! From a group of nodes to steps. Each file knows the fast kernels of one kind of operation and answers whether it
//! could lower the group; what none of them can goes to the reference kernels, node by node.

mod broadcast;
mod conv;
mod elementwise;
mod linear;
mod narrow;
mod norm;
mod norm_by_image;
mod pool;
mod reduce;
mod reference;
mod shuffle;
mod stored;
mod training;

use ocellus_graph::Op;

pub use stored::stored_narrow;

use super::lowering::Lowering;
use crate::passes::Group;

/// Lowers one group.
pub fn group(lowering: &mut Lowering, group: &Group) {
    let by_reference = lowering.options.reference;
    if !by_reference && (narrow::emit(lowering, group) || fast(lowering, group)) {
        return;
    }
    for node in group.nodes() {
        // What cannot run as one may have fast parts.
        let single = Group::single(node);
        if by_reference || !(narrow::emit(lowering, &single) || fast(lowering, &single)) {
            reference::emit(lowering, node);
        }
    }
}

fn fast(l: &mut Lowering, group: &Group) -> bool {
    match &l.graph.node(group.main).op {
        Op::Conv2d(_) => conv::forward(l, group),
        Op::Conv2dGradInput(_) => conv::input_gradient(l, group),
        Op::Conv2dGradWeight(_) => conv::weight_gradient(l, group),
        Op::ConvTranspose2d(_) => conv::transposed(l, group),
        Op::Linear(_) => linear::forward(l, group),
        Op::LinearGradInput(_) => linear::input_gradient(l, group),
        Op::LinearGradWeight(_) => linear::weight_gradient(l, group),
        Op::MaxPool(_) | Op::MaxPoolGrad(_) | Op::AvgPool(_) | Op::AvgPoolGrad(_) => pool::emit(l, group),
        Op::BatchNorm(_) => norm::forward(l, group),
        Op::BatchNormGrad(_) => norm::backward(l, group),
        Op::Norm(_) | Op::NormGrad(_) => norm_by_image::emit(l, group),
        Op::Lrn(_) | Op::LrnGrad(_) => norm_by_image::response(l, group),
        Op::Activation(_) | Op::ActivationGrad(_) | Op::MaximumGrad(_) => elementwise::map(l, group),
        Op::Binary(_) => elementwise::map(l, group) || broadcast::binary(l, group),
        Op::BroadcastTo(_) => broadcast::repeat(l, group),
        Op::SumTo(_) | Op::Reduce(_) => reduce::emit(l, group),
        Op::Prelu(_) => elementwise::prelu(l, group),
        Op::PreluGrad(_) => elementwise::prelu_grad(l, group),
        Op::Softmax(_) | Op::SoftmaxGrad(_) => elementwise::softmax(l, group),
        Op::Dropout(_) => elementwise::dropout(l, group),
        Op::Upsample(_) | Op::UpsampleGrad(_) => shuffle::enlarge(l, group),
        Op::Slice(_) | Op::SliceGrad(_) | Op::Pad(_) | Op::PadGrad(_) | Op::Concat(_) => {
            shuffle::emit(l, group)
        }
        Op::Loss(_) | Op::LossGrad(_) | Op::Accuracy(_) => training::loss(l, group),
        Op::SgdUpdate(_)
        | Op::AdamUpdate(_)
        | Op::MuonUpdate(_)
        | Op::Accumulate(_)
        | Op::RunningUpdate(_) => training::update(l, group),
        _ => false,
    }
}
