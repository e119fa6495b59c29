//! The graphs behind pairs and triplets: one tower that embeds an image, and as many of it as a group has images.
//!
//! ```text
//! tower:  image -> network -> (length 1) -> embedding (N, E) [-> class head -> output (N, C)]
//! step:   tower, tower2[, tower3], all parameters shared -> loss on the embeddings [+ softmax loss on each output]
//! ```

use ocellus_graph::ops::{
    Accuracy, Activation, Binary, BinaryKind, Concat, Linear, LossKind, LossOp, Reduce, ReduceKind, Reshape,
};
use ocellus_graph::{Distribution, Fan, Graph, GraphError, Init, Op, ParamSpec, Role, ValueId};

use crate::feed::SAME;
use crate::pairs::{PairLoss, Pairs};
use crate::stepper::{LABEL, TOP1};
use crate::validate::OUTPUT;

/// The output that holds what an image is embedded as.
pub const EMBEDDING: &str = "embedding";
/// Added to a squared length, so that a vector of zeros can be divided by its length.
const LEAST_LENGTH: f32 = 1e-12;

/// `net`, whose output is the embedding, with the outputs [`EMBEDDING`] and, where classes are learned too, [`OUTPUT`].
pub(crate) fn tower(net: &Graph, pairs: &Pairs, classes: usize) -> Result<Graph, GraphError> {
    // Auxiliary heads are made for classes; whatever else is called `output` must make room.
    let mut net = net.prune(&[OUTPUT])?.rename(OUTPUT, "features")?;
    let features = net.find_output("features").unwrap_or(ValueId(0));
    let mut embedding = rows(&mut net, "features.rows", features)?;
    if pairs.unit_length {
        let squares = net.add_node("length.squares", binary(BinaryKind::Mul), vec![embedding; 2])?[0];
        let sum = net.add_node("length.sum", sum_of_rows(), vec![squares])?[0];
        let above = Activation::Affine { scale: 1.0, shift: LEAST_LENGTH };
        let above = net.add_node("length.above_0", Op::Activation(above), vec![sum])?[0];
        let inverse = Op::Activation(Activation::Power { exponent: -0.5 });
        let inverse = net.add_node("length.inverse", inverse, vec![above])?[0];
        embedding = net.add_node("length.divided", binary(BinaryKind::Mul), vec![embedding, inverse])?[0];
    }
    net.add_output(EMBEDDING, embedding);
    let mut kept = vec![EMBEDDING];
    if pairs.joint_weight.is_some() {
        let width = net.shape(embedding)[1];
        let init = Init::VarianceScaling { gain: 1.0, fan: Fan::In, distribution: Distribution::Uniform };
        let mut param = |name: &str, shape: Vec<usize>, init: Init| {
            net.add_param(ParamSpec { name: name.into(), shape: shape.into(), init, role: Role::Weight })
        };
        let weight = param("classes.weight", vec![classes, width], init)?;
        let bias = param("classes.bias", vec![classes], Init::Constant(0.0))?;
        let linear = Op::Linear(Linear);
        let scores = net.add_node("classes", linear, vec![embedding, weight, bias])?[0];
        net.add_output(OUTPUT, scores);
        kept.push(OUTPUT);
    }
    net.prune(&kept)
}

/// The training form of a tower, for a part of a step, as often as there are images in a group, with all losses and the
/// share [`TOP1`] of the groups that are told right: pairs as one or two classes by whether their distance is below half
/// the margin, triplets by which of the two images is nearer.
pub(crate) fn with_pair_losses(tower: &Graph, pairs: &Pairs, smoothing: f32) -> Result<Graph, GraphError> {
    let count = pairs.grouping().images();
    let mut graph = tower.towers(count)?;
    let output = |graph: &Graph, name: &str, index: usize| graph.find_output(&numbered(name, index));
    let embeddings: Vec<ValueId> = (0..count).filter_map(|index| output(&graph, EMBEDDING, index)).collect();
    let batch = graph.shape(embeddings[0])[0];
    let label = match pairs.loss {
        PairLoss::Triplet => {
            let kind = LossKind::Triplet { margin: pairs.margin };
            add_loss(&mut graph, "triplet", kind, embeddings.clone(), 1.0)?;
            None
        }
        PairLoss::Contrastive | PairLoss::Joint => {
            let same = graph.add_input(SAME, [batch])?;
            let kind = LossKind::Contrastive { margin: pairs.margin };
            add_loss(&mut graph, "contrastive", kind, vec![embeddings[0], embeddings[1], same], 1.0)?;
            Some(same)
        }
    };
    if let Some(weight) = pairs.joint_weight {
        for index in 0..count {
            let Some(logits) = output(&graph, OUTPUT, index) else { continue };
            let label = graph.add_input(numbered(LABEL, index), [batch])?;
            let kind = LossKind::SoftmaxCrossEntropy { smoothing };
            add_loss(&mut graph, &numbered("class", index), kind, vec![logits, label], weight)?;
        }
    }
    add_score(&mut graph, &embeddings, label, pairs.margin / 2.0)?;
    Ok(graph)
}

/// The name of the thing number `index` (from 0) of its kind.
pub(crate) fn numbered(name: &str, index: usize) -> String {
    if index == 0 { name.to_string() } else { format!("{name}{}", index + 1) }
}

fn add_loss(
    graph: &mut Graph,
    name: &str,
    kind: LossKind,
    inputs: Vec<ValueId>,
    weight: f32,
) -> Result<(), GraphError> {
    let loss = graph.add_node(format!("loss.{name}"), Op::Loss(LossOp { kind }), inputs)?[0];
    graph.add_loss(name, loss, weight)
}

/// An accuracy with two scores per group: how far the second image is, and what that is compared with.
fn add_score(
    graph: &mut Graph,
    embeddings: &[ValueId],
    same: Option<ValueId>,
    threshold: f32,
) -> Result<(), GraphError> {
    let constant = |shift: f32| Op::Activation(Activation::Affine { scale: 0.0, shift });
    let near = squared_distance(graph, "score.near", embeddings[0], embeddings[1])?;
    let (far, label) = match same {
        Some(same) => (graph.add_node("score.far", constant(threshold * threshold), vec![near])?[0], same),
        None => {
            let far = squared_distance(graph, "score.far", embeddings[0], embeddings[2])?;
            let ones = graph.add_node("score.ones", constant(1.0), vec![near])?[0];
            let flat = Op::Reshape(Reshape { dims: vec![-1] });
            (far, graph.add_node("score.label", flat, vec![ones])?[0])
        }
    };
    let both = graph.add_node("score.both", Op::Concat(Concat { axis: 1 }), vec![near, far])?[0];
    let top1 = graph.add_node(TOP1, Op::Accuracy(Accuracy { top: 1 }), vec![both, label])?[0];
    graph.add_output(TOP1, top1);
    Ok(())
}

/// |a - b|^2 by row, `(N, 1)`.
fn squared_distance(graph: &mut Graph, name: &str, a: ValueId, b: ValueId) -> Result<ValueId, GraphError> {
    let difference = graph.add_node(format!("{name}.difference"), binary(BinaryKind::Sub), vec![a, b])?[0];
    let squares = graph.add_node(format!("{name}.squares"), binary(BinaryKind::Mul), vec![difference; 2])?[0];
    Ok(graph.add_node(format!("{name}.distance"), sum_of_rows(), vec![squares])?[0])
}

fn binary(kind: BinaryKind) -> Op {
    Op::Binary(Binary { kind })
}

fn sum_of_rows() -> Op {
    Op::Reduce(Reduce { kind: ReduceKind::Sum, axes: vec![1], keep: true })
}

/// Values of any shape as `(N, F)`.
fn rows(graph: &mut Graph, name: &str, value: ValueId) -> Result<ValueId, GraphError> {
    match graph.shape(value).rank() {
        2 => Ok(value),
        _ => Ok(graph.add_node(name, Op::Reshape(Reshape { dims: vec![0, -1] }), vec![value])?[0]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pairs::PairChoices;

    fn pairs(loss: PairLoss) -> Pairs {
        let choices = PairChoices { loss: Some(loss), embedding: Some(8), ..PairChoices::default() };
        choices.resolve(None).unwrap().unwrap()
    }

    fn net() -> Graph {
        ocellus_zoo::build("digits", &ocellus_zoo::Options::default().with_classes(8)).unwrap()
    }

    #[test]
    fn towers_share_every_parameter() {
        for (loss, images, losses) in
            [(PairLoss::Contrastive, 2, 1), (PairLoss::Triplet, 3, 1), (PairLoss::Joint, 2, 3)]
        {
            let pairs = pairs(loss);
            let one = tower(&net(), &pairs, 10).unwrap();
            let all =
                with_pair_losses(&one.with_batch(6).unwrap().for_training().unwrap(), &pairs, 0.0).unwrap();
            all.check().unwrap();
            let count = |graph: &Graph| graph.parameter_count(Role::Weight);
            assert_eq!(count(&one), count(&all), "{loss:?}");
            let is_image = |&&id: &&ValueId| all.shape(id).rank() == 4;
            assert_eq!(all.inputs().iter().filter(is_image).count(), images);
            assert_eq!(all.losses().len(), losses);
            assert_eq!(one.find_output(OUTPUT).is_some(), loss == PairLoss::Joint);
        }
    }

    #[test]
    fn any_network_of_the_zoo_can_be_a_tower() {
        for name in ["googlenet", "squeezenet1_1", "siamese_lenet", "resnet18"] {
            let net = ocellus_zoo::build(name, &ocellus_zoo::Options::default().with_classes(8)).unwrap();
            let one =
                tower(&net, &pairs(PairLoss::Joint), 3).unwrap_or_else(|error| panic!("{name}: {error}"));
            let shape = |name: &str| one.shape(one.find_output(name).unwrap()).dims().to_vec();
            assert_eq!((shape(EMBEDDING), shape(OUTPUT)), (vec![1, 8], vec![1, 3]), "{name}");
            assert_eq!(one.inputs().len(), 1);
        }
    }
}
