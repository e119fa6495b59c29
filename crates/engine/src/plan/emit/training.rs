//! Losses on logits, accuracy, and what training does to parameters.

use ocellus_graph::Op;
use ocellus_graph::ops::LossKind;
use ocellus_kernels::loss::loss_scratch_len;
use ocellus_kernels::update::Muon;

use crate::passes::Group;
use crate::plan::lowering::Lowering;
use crate::plan::step::{Kernel, LossSizes, Step};

/// Softmax cross-entropy on rows of logits, its gradient, and accuracy.
pub fn loss(l: &mut Lowering, group: &Group) -> bool {
    let node = l.graph.node(group.main);
    let scores = l.graph.shape(node.inputs[0]);
    if scores.rank() != 2 {
        return false;
    }
    let (rows, classes) = (scores[0], scores[1]);
    let labels = l.graph.shape(node.inputs[1]).rank() == 1;
    let (kernel, scratch) = match &node.op {
        Op::Loss(loss) => match loss.kind {
            LossKind::SoftmaxCrossEntropy { smoothing } => (
                Kernel::SoftmaxCrossEntropy(LossSizes { classes, labels, smoothing }),
                loss_scratch_len(rows),
            ),
            _ => return false,
        },
        Op::LossGrad(loss) => match loss.kind {
            LossKind::SoftmaxCrossEntropy { smoothing } => {
                (Kernel::SoftmaxCrossEntropyGrad(LossSizes { classes, labels, smoothing }), 0)
            }
            _ => return false,
        },
        Op::Accuracy(accuracy) => (Kernel::Accuracy { top: accuracy.top }, 0),
        _ => return false,
    };
    let (inputs, result) = (node.inputs.clone(), node.outputs[0]);
    let reads: Vec<_> = inputs.into_iter().map(|v| l.plain(v)).collect();
    let to = l.define_plain(result);
    let scratch = l.scratch(scratch);
    l.push(
        Step::new(&l.graph.node(group.main).name, kernel).reading(reads).writing([to]).with_scratch(scratch),
    );
    true
}

/// Optimiser steps, running statistics, accumulated gradients.
pub fn update(l: &mut Lowering, group: &Group) -> bool {
    let node = l.graph.node(group.main);
    let (kernel, scratch) = match &node.op {
        Op::SgdUpdate(update) => (Kernel::Sgd(*update), 0),
        Op::AdamUpdate(update) => (Kernel::Adam(*update), 0),
        Op::MuonUpdate(update) => {
            let w = l.graph.shape(node.inputs[0]);
            let recipe = Muon::new(w[0], w.elements() / w[0].max(1), l.options.isa);
            let scratch = recipe.scratch_len();
            (Kernel::Muon { recipe, update: *update }, scratch)
        }
        Op::Accumulate(accumulate) => (Kernel::Accumulate { scale: accumulate.scale }, 0),
        Op::RunningUpdate(update) => (Kernel::RunningUpdate(*update), 0),
        _ => return false,
    };
    let (written, read) = node.inputs.split_at(node.op.writes());
    let (written, read) = (written.to_vec(), read.to_vec());
    let reads: Vec<_> = read.into_iter().map(|v| l.plain(v)).collect();
    let writes: Vec<_> = written.into_iter().map(|v| l.plain(v)).collect();
    let scratch = l.scratch(scratch);
    l.push(
        Step::new(&l.graph.node(group.main).name, kernel)
            .reading(reads)
            .writing(writes)
            .with_scratch(scratch),
    );
    true
}
