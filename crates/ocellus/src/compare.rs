//! Two descriptions of a network, tensor by tensor: why does one source count other parameters than another?
//!
//! ```text
//! layers with parameters, in order -> aligned (fewest changes), then those left over that stand elsewhere
//!                                  -> their tensors, part by part -> sums by kind
//! ```
//!
//! Layers are the same if they are of one kind and their first parameters have the same sizes; names play no part, since
//! every format has its own.

use std::collections::BTreeMap;

use ocellus_graph::{Graph, Node, Op, Role};
use ocellus_tensor::Shape;
use serde::Serialize;

/// More pairs of layers than this are not aligned, but taken in their order.
const MOST_PAIRS: usize = 1 << 22;

/// What two networks have and have not in common.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Sums of the first network.
    pub a: Counts,
    /// Sums of the second network.
    pub b: Counts,
    /// Kinds of tensors that the two do not have as many numbers of; with these the sums agree.
    pub differences: Vec<Difference>,
    /// Every tensor.
    pub tensors: Vec<Pair>,
}

/// How many numbers a network has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// The network.
    pub name: String,
    /// Numbers that are learned.
    pub learned: usize,
    /// Numbers that are gathered: running means and variances.
    pub statistics: usize,
    /// Both.
    pub total: usize,
}

/// Numbers of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// `biases of convolutions` and the like.
    pub what: String,
    /// Numbers of it in the first network.
    pub a: usize,
    /// Numbers of it in the second network.
    pub b: usize,
}

/// One tensor of either network, or the same of both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pair {
    /// What it is to its layer: `weight`, `bias`, `gamma`, ...
    pub part: &'static str,
    /// Its name and sizes in the first network.
    pub a: Option<(String, Vec<usize>)>,
    /// Its name and sizes in the second network.
    pub b: Option<(String, Vec<usize>)>,
}

impl Pair {
    /// Whether both networks have it, in the same sizes (those of 1 aside).
    pub fn is_same(&self) -> bool {
        let bare = |sizes: &[usize]| sizes.iter().copied().filter(|&size| size != 1).collect::<Vec<_>>();
        matches!((&self.a, &self.b), (Some((_, a)), Some((_, b))) if bare(a) == bare(b))
    }
}

/// A layer's parameters.
struct Layer {
    kind: &'static str,
    tensors: Vec<Tensor>,
}

impl Layer {
    /// Whether the other is of the same kind, with a first parameter of the same sizes.
    fn is_like(&self, other: &Layer) -> bool {
        self.kind == other.kind && self.tensors[0].shape == other.tensors[0].shape
    }
}

struct Tensor {
    part: &'static str,
    /// What it is counted under.
    group: &'static str,
    name: String,
    shape: Shape,
    is_learned: bool,
}

/// Compares two networks.
///
/// ```
/// use ocellus::compare::compare;
/// let (a, b) = (ocellus::zoo::build("resnet20", &Default::default())?, ocellus::zoo::build("resnet32", &Default::default())?);
/// let comparison = compare(&a, &b);
/// let missing = comparison.tensors.iter().filter(|pair| pair.a.is_none()).count();
/// assert_eq!((missing, comparison.b.learned), (6 * 2 * 5, 464_154));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn compare(a: &Graph, b: &Graph) -> Comparison {
    let (layers_a, layers_b) = (layers(a), layers(b));
    let mut tensors = Vec::new();
    for (i, j) in align(&layers_a, &layers_b) {
        let [a, b] =
            [(&layers_a, i), (&layers_b, j)].map(|(all, at)| at.map_or(&[][..], |at| &all[at].tensors));
        let parts_a = a.iter().map(|tensor| tensor.part);
        let more =
            b.iter().map(|tensor| tensor.part).filter(|part| a.iter().all(|tensor| tensor.part != *part));
        for part in parts_a.chain(more).collect::<Vec<_>>() {
            let find = |tensors: &[Tensor]| {
                tensors
                    .iter()
                    .find(|tensor| tensor.part == part)
                    .map(|tensor| (tensor.name.clone(), tensor.shape.to_vec()))
            };
            tensors.push(Pair { part, a: find(a), b: find(b) });
        }
    }
    let [sums_a, sums_b] = [&layers_a[..], &layers_b[..]].map(sums);
    let groups = sums_a.keys().chain(sums_b.keys().filter(|group| !sums_a.contains_key(*group)));
    let of = |sums: &BTreeMap<&'static str, usize>, group: &str| sums.get(group).copied().unwrap_or(0);
    let differences = groups
        .map(|group| Difference { what: group.to_string(), a: of(&sums_a, group), b: of(&sums_b, group) })
        .filter(|difference| difference.a != difference.b)
        .collect();
    Comparison { a: counts(a, &layers_a), b: counts(b, &layers_b), differences, tensors }
}

fn counts(graph: &Graph, layers: &[Layer]) -> Counts {
    let tensors = || layers.iter().flat_map(|layer| &layer.tensors);
    let sum = |learned: bool| {
        tensors().filter(|tensor| tensor.is_learned == learned).map(|tensor| tensor.shape.elements()).sum()
    };
    let (learned, statistics): (usize, usize) = (sum(true), sum(false));
    Counts { name: graph.name.clone(), learned, statistics, total: learned + statistics }
}

fn sums(layers: &[Layer]) -> BTreeMap<&'static str, usize> {
    let mut sums = BTreeMap::new();
    for tensor in layers.iter().flat_map(|layer| &layer.tensors) {
        *sums.entry(tensor.group).or_default() += tensor.shape.elements();
    }
    sums
}

/// Layers with parameters, in order; a parameter that several nodes share counts for the first.
fn layers(graph: &Graph) -> Vec<Layer> {
    let mut seen = std::collections::HashSet::new();
    let mut layers = Vec::new();
    for node in graph.nodes() {
        let (kind, parts) = parts(node);
        let mut tensors = Vec::new();
        let params = node.inputs.iter().filter_map(|&value| graph.param_of(value));
        for (i, id) in params.enumerate() {
            let param = graph.param(id);
            if param.role == Role::State || !seen.insert(id) {
                continue;
            }
            // A BatchNorm without gamma and beta has its statistics alone.
            let shift = if kind == "BatchNorm" && node.inputs.len() == 3 { 2 } else { 0 };
            let (part, group) = parts.get(i + shift).copied().unwrap_or(("parameter", "other parameters"));
            let is_learned = param.role == Role::Weight;
            tensors.push(Tensor {
                part,
                group,
                name: param.name.clone(),
                shape: param.shape.clone(),
                is_learned,
            });
        }
        if !tensors.is_empty() {
            layers.push(Layer { kind, tensors });
        }
    }
    layers
}

type Parts = &'static [(&'static str, &'static str)];

/// What a node's parameters are, in their order, and what they are counted under.
fn parts(node: &Node) -> (&'static str, Parts) {
    match &node.op {
        Op::Conv2d(_) => {
            ("convolution", &[("weight", "weights of convolutions"), ("bias", "biases of convolutions")])
        }
        Op::ConvTranspose2d(_) => (
            "transposed convolution",
            &[
                ("weight", "weights of transposed convolutions"),
                ("bias", "biases of transposed convolutions"),
            ],
        ),
        Op::Linear(_) => {
            ("linear", &[("weight", "weights of linear layers"), ("bias", "biases of linear layers")])
        }
        Op::BatchNorm(_) => (
            "BatchNorm",
            &[
                ("gamma", "gammas and betas of normalisation"),
                ("beta", "gammas and betas of normalisation"),
                ("running mean", "running statistics"),
                ("running variance", "running statistics"),
            ],
        ),
        Op::Norm(_) => (
            "norm",
            &[("gamma", "gammas and betas of normalisation"), ("beta", "gammas and betas of normalisation")],
        ),
        Op::Prelu(_) => ("PReLU", &[("slope", "slopes of PReLUs")]),
        Op::Binary(_) => ("arithmetic", &[("operand", "factors and offsets")]),
        _ => ("other", &[]),
    }
}

/// Positions of layers that belong together; `None` where one network has none. Fewest changes (Needleman and Wunsch 1970).
fn align(a: &[Layer], b: &[Layer]) -> Vec<(Option<usize>, Option<usize>)> {
    let (rows, columns) = (a.len() + 1, b.len() + 1);
    if rows.saturating_mul(columns) > MOST_PAIRS {
        let at = |i: usize, all: &[Layer]| (i < all.len()).then_some(i);
        return (0..a.len().max(b.len())).map(|i| (at(i, a), at(i, b))).collect();
    }
    let change = |i: usize, j: usize| match a[i].kind == b[j].kind {
        true if a[i].is_like(&b[j]) => 0,
        true => 3,
        false => 5, // more than leaving both out
    };
    let mut cost = vec![0_u32; rows * columns];
    for i in 0..rows {
        for j in 0..columns {
            if i + j == 0 {
                continue;
            }
            let left = |i: usize, j: usize| cost[i * columns + j] + 2;
            let mut best = u32::MAX;
            if i > 0 {
                best = best.min(left(i - 1, j));
            }
            if j > 0 {
                best = best.min(left(i, j - 1));
            }
            if i > 0 && j > 0 {
                best = best.min(cost[(i - 1) * columns + j - 1] + change(i - 1, j - 1));
            }
            cost[i * columns + j] = best;
        }
    }
    let (mut i, mut j) = (a.len(), b.len());
    let mut pairs = Vec::new();
    while i + j > 0 {
        let here = cost[i * columns + j];
        if i > 0 && j > 0 && here == cost[(i - 1) * columns + j - 1] + change(i - 1, j - 1) {
            (i, j) = (i - 1, j - 1);
            pairs.push((Some(i), Some(j)));
        } else if i > 0 && here == cost[(i - 1) * columns + j] + 2 {
            i -= 1;
            pairs.push((Some(i), None));
        } else {
            j -= 1;
            pairs.push((None, Some(j)));
        }
    }
    pairs.reverse();
    meet_elsewhere(pairs, a, b)
}

/// Descriptions name the branches of a block in different orders: layers without a fellow in their place get one from
/// another place, if there is one.
fn meet_elsewhere(
    pairs: Vec<(Option<usize>, Option<usize>)>,
    a: &[Layer],
    b: &[Layer],
) -> Vec<(Option<usize>, Option<usize>)> {
    let mut left: Vec<usize> = pairs.iter().filter(|(i, _)| i.is_none()).filter_map(|&(_, j)| j).collect();
    let mut met = Vec::with_capacity(pairs.len());
    for (i, j) in pairs {
        let place = match (i, j) {
            (Some(i), None) => left.iter().position(|&other| a[i].is_like(&b[other])),
            _ => None,
        };
        met.push((i, place.map(|place| left.remove(place)).or(j)));
    }
    // What met a fellow stands with it, not in its own place, too.
    met.retain(|&(i, j)| i.is_some() || j.is_some_and(|j| left.contains(&j)));
    met
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocellus_formats::caffe::{NetOptions, parse_net};

    #[test]
    fn branches_may_stand_in_another_order() {
        let layer = |name: &str, bottom: &str, kernel: usize| {
            format!(
                "layer {{ name: '{name}' type: 'Convolution' bottom: '{bottom}' top: '{name}' convolution_param {{
                 num_output: 4 kernel_size: {kernel} bias_term: false }} }} "
            )
        };
        let [narrow, first, second] = [layer("n", "x", 1), layer("a", "x", 3), layer("b", "a", 5)];
        let net = |layers: String| {
            let text = format!("input: 'x' input_shape {{ dim: [1, 3, 9, 9] }} {layers}");
            parse_net(&text, "n", &NetOptions::default()).unwrap()
        };
        let found =
            compare(&net(format!("{narrow}{first}{second}")), &net(format!("{first}{second}{narrow}")));
        assert!(found.tensors.len() == 3 && found.tensors.iter().all(Pair::is_same), "{found:?}");
        let found = compare(&net(format!("{narrow}{first}")), &net(format!("{first}{second}{narrow}")));
        let odd: Vec<&Pair> = found.tensors.iter().filter(|pair| !pair.is_same()).collect();
        assert_eq!((odd.len(), odd[0].b.as_ref().map(|(name, _)| name.as_str())), (1, Some("b.weight")));
    }

    #[test]
    fn three_counts_of_one_network_are_reconciled() {
        let text = |bias: &str| {
            format!(
                "input: 'x' input_shape {{ dim: [1, 3, 8, 8] }}
                 layer {{ name: 'c' type: 'Convolution' bottom: 'x' top: 'c'
                   convolution_param {{ num_output: 4 kernel_size: 3 bias_term: {bias} }} }}
                 layer {{ name: 'b' type: 'BatchNorm' bottom: 'c' top: 'b' }}
                 layer {{ name: 's' type: 'Scale' bottom: 'b' top: 's' scale_param {{ bias_term: true }} }}
                 layer {{ name: 'f' type: 'InnerProduct' bottom: 's' top: 'f' inner_product_param {{ num_output: 2 }} }}"
            )
        };
        let net = |bias: &str| parse_net(&text(bias), "n", &NetOptions::default()).unwrap();
        let found = compare(&net("false"), &net("true"));
        assert_eq!((found.b.learned - found.a.learned, found.a.statistics), (4, 8));
        let wanted = Difference { what: "biases of convolutions".into(), a: 0, b: 4 };
        assert_eq!(found.differences, [wanted]);
        let odd: Vec<&Pair> = found.tensors.iter().filter(|pair| !pair.is_same()).collect();
        assert_eq!((odd.len(), odd[0].part, odd[0].a.is_none()), (1, "bias", true));
        assert_eq!(found.tensors.len(), 8);
    }
}
