//! Do the tensors of a file fit a network, tensor by tensor?

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ocellus_graph::{Graph, Role};
use ocellus_tensor::{Shape, Weights};

use crate::spelling;

/// What training frameworks wrap around a whole network's names.
const WRAPPERS: [&str; 9] = [
    "module.",
    "_orig_mod.",
    "state_dict.",
    "model.",
    "net.",
    "network.",
    "backbone.",
    "encoder.",
    "base_model.",
];

/// What became of one of the network's parameters or one of the file's tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// Name and shape agree.
    Matched,
    /// The name agrees and so do the sizes once those of 1 are left out: `(O, C, 1, 1)` for `(O, C)`; or `(O, C, H, W)` for
    /// `(O, C H W)`.
    Reshaped,
    /// The name agrees, the shapes do not.
    WrongShape,
    /// The network's parameter is not in the file.
    Missing,
    /// The file's tensor belongs to no parameter of the network.
    Unused,
    /// The file's tensor is no part of any network (a counter).
    Ignored,
}

/// One line of a [`MatchReport`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorMatch {
    /// What became of it.
    pub fate: Fate,
    /// The network's parameter, if there is one.
    pub parameter: Option<(String, Shape)>,
    /// The file's tensor, if there is one.
    pub tensor: Option<(String, Shape)>,
}

/// Every parameter of a network and every tensor of a file, and how they met. Printing it gives a line for each.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct MatchReport {
    /// The network's parameters in its order, then what is left of the file by name.
    pub tensors: Vec<TensorMatch>,
}

impl MatchReport {
    /// How many had this fate.
    pub fn count(&self, fate: Fate) -> usize {
        self.with(fate).count()
    }

    /// Those that had this fate.
    pub fn with(&self, fate: Fate) -> impl Iterator<Item = &TensorMatch> {
        self.tensors.iter().filter(move |t| t.fate == fate)
    }

    /// Whether the file fills the whole network.
    pub fn is_complete(&self) -> bool {
        self.count(Fate::Missing) == 0 && self.count(Fate::WrongShape) == 0
    }
}

impl fmt::Display for MatchReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for TensorMatch { fate, parameter, tensor } in &self.tensors {
            let fate = match fate {
                Fate::Matched => "matched",
                Fate::Reshaped => "reshaped",
                Fate::WrongShape => "wrong shape",
                Fate::Missing => "missing",
                Fate::Unused => "unused",
                Fate::Ignored => "ignored",
            };
            write!(f, "{fate:<11}")?;
            match (parameter, tensor) {
                (Some((name, shape)), Some((own, other))) => {
                    write!(f, "  {name} {shape}")?;
                    if shape != other {
                        write!(f, " from {other}")?;
                    }
                    if unwrapped(own).all(|bare| bare != name) {
                        write!(f, ", called {own}")?;
                    }
                }
                (Some((name, shape)), None) | (None, Some((name, shape))) => write!(f, "  {name} {shape}")?,
                (None, None) => {}
            }
            writeln!(f)?;
        }
        let count = |fate| self.count(fate);
        write!(
            f,
            "{} matched, {} reshaped, {} of the wrong shape, {} missing, {} unused",
            count(Fate::Matched),
            count(Fate::Reshaped),
            count(Fate::WrongShape),
            count(Fate::Missing),
            count(Fate::Unused)
        )
    }
}

/// How `weights` meet the parameters of `graph` (the optimiser's own memory aside).
///
/// Names are compared as they are, then without what frameworks wrap around them (`module.`, `model.`, ...), then as other
/// libraries have them (timm's and Hugging Face's for torchvision's).
/// PyTorch's `num_batches_tracked` is ignored.
///
/// ```
/// use ocellus_formats::{Fate, match_report};
/// use ocellus_graph::{Builder, Dense};
/// use ocellus_tensor::{Tensor, Weights};
/// let mut b = Builder::new("net");
/// let x = b.input("x", [1, 4]);
/// let y = b.linear("fc", x, Dense::new(2));
/// b.output("output", y);
/// let weights = Weights::from([("module.fc.weight".to_string(), Tensor::zeros([2, 4]))]);
/// let report = match_report(&b.finish()?, &weights);
/// assert_eq!((report.count(Fate::Matched), report.count(Fate::Missing)), (1, 1));
/// # Ok::<(), ocellus_graph::GraphError>(())
/// ```
pub fn match_report(graph: &Graph, weights: &Weights) -> MatchReport {
    let wanted: BTreeSet<&str> =
        graph.params().iter().filter(|p| p.role != Role::State).map(|p| p.name.as_str()).collect();
    let mut found: BTreeMap<&str, &str> = BTreeMap::new(); // parameter -> tensor
    for name in weights.keys() {
        if let Some(parameter) = unwrapped(name).find(|bare| wanted.contains(bare)) {
            // The tensor of exactly the parameter's name wins over a wrapped one.
            let known = found.entry(parameter).or_insert(name);
            if name == parameter {
                *known = name;
            }
        }
    }
    let used: BTreeSet<&str> = found.values().copied().collect();
    // What other libraries call it comes last: only for parameters that have no tensor by their own name.
    let others = weights.keys().map(String::as_str).filter(|name| !used.contains(name));
    let mut respelled: Vec<(&str, &str)> = Vec::new();
    for name in others {
        for bare in unwrapped(name) {
            let known = spelling::respelled(bare).filter_map(|ours| wanted.get(ours.as_str()).copied());
            respelled.extend(known.map(|parameter| (parameter, name)));
        }
    }
    for (parameter, name) in respelled {
        let fits =
            |name: &str| weights.get(name).is_some_and(|tensor| meets(graph, parameter, tensor.shape()));
        match found.get(parameter).copied() {
            None => {
                found.insert(parameter, name);
            }
            Some(known) if !used.contains(known) && !fits(known) && fits(name) => {
                found.insert(parameter, name);
            }
            Some(_) => {}
        }
    }
    let used: BTreeSet<&str> = found.values().copied().collect();
    let mut tensors = Vec::new();
    for param in graph.params().iter().filter(|p| p.role != Role::State) {
        let tensor = found.get(param.name.as_str()).and_then(|&name| Some((name, weights.get(name)?)));
        let fate = match tensor {
            None => Fate::Missing,
            Some((_, tensor)) => shapes_meet(&param.shape, tensor.shape()),
        };
        let tensor = tensor.map(|(name, tensor)| (name.to_string(), tensor.shape().clone()));
        tensors.push(TensorMatch {
            fate,
            parameter: Some((param.name.clone(), param.shape.clone())),
            tensor,
        });
    }
    for (name, tensor) in weights.iter().filter(|(name, _)| !used.contains(name.as_str())) {
        let counter = name.rsplit('.').next() == Some("num_batches_tracked");
        let fate = if counter { Fate::Ignored } else { Fate::Unused };
        tensors.push(TensorMatch {
            fate,
            parameter: None,
            tensor: Some((name.clone(), tensor.shape().clone())),
        });
    }
    MatchReport { tensors }
}

/// The tensors of `weights` that fit `graph`, under its names and in its shapes, and the report of all.
pub fn fit_weights(graph: &Graph, mut weights: Weights) -> (Weights, MatchReport) {
    let report = match_report(graph, &weights);
    let mut fitted = Weights::new();
    for line in &report.tensors {
        let (Fate::Matched | Fate::Reshaped, Some((parameter, shape)), Some((name, _))) =
            (line.fate, &line.parameter, &line.tensor)
        else {
            continue;
        };
        if let Some(Ok(tensor)) = weights.remove(name).map(|tensor| tensor.reshape(shape.clone())) {
            fitted.insert(parameter.clone(), tensor);
        }
    }
    (fitted, report)
}

/// Whether a tensor of this shape can be the parameter.
fn meets(graph: &Graph, parameter: &str, shape: &Shape) -> bool {
    let id = graph.find_param(parameter);
    id.is_some_and(|id| shapes_meet(&graph.param(id).shape, shape) != Fate::WrongShape)
}

/// The name as it is, and with one wrapper after the other taken off.
fn unwrapped(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name), |name| {
        WRAPPERS.iter().find_map(|wrapper| name.strip_prefix(wrapper)).filter(|bare| !bare.is_empty())
    })
}

pub(crate) fn shapes_meet(parameter: &Shape, tensor: &Shape) -> Fate {
    let without_ones = |shape: &Shape| shape.iter().copied().filter(|&size| size != 1).collect::<Vec<_>>();
    if parameter == tensor {
        Fate::Matched
    } else if without_ones(parameter) == without_ones(tensor) || is_window_of_all(parameter, tensor) {
        Fate::Reshaped
    } else {
        Fate::WrongShape
    }
}

/// A linear layer kept as the convolution by whole images that it is: `(O, C, H, W)` for `(O, C H W)`.
fn is_window_of_all(parameter: &Shape, tensor: &Shape) -> bool {
    match (parameter.dims(), tensor.dims()) {
        (&[out, features], &[own, channels, height, width]) => {
            let product = channels.checked_mul(height).and_then(|product| product.checked_mul(width));
            out == own && product == Some(features)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocellus_graph::{BatchNormSpec, Builder, Dense};
    use ocellus_tensor::Tensor;

    fn graph() -> Graph {
        let mut b = Builder::new("net");
        let x = b.input("x", [2, 4]);
        let x = b.linear("fc", x, Dense::new(3));
        let x = b.batch_norm("bn", x, BatchNormSpec::default());
        b.output("output", x);
        b.finish().unwrap()
    }

    #[test]
    fn every_fate_is_told() {
        let named = |name: &str, shape: &[usize]| (name.to_string(), Tensor::zeros(shape));
        let weights = Weights::from([
            named("module.fc.weight", &[3, 4, 1, 1]),
            named("module.fc.bias", &[3]),
            named("module.bn.weight", &[5]),
            named("module.bn.num_batches_tracked", &[]),
            named("module.head.bias", &[7]),
        ]);
        let (fitted, report) = fit_weights(&graph(), weights);
        let fates =
            [Fate::Matched, Fate::Reshaped, Fate::WrongShape, Fate::Missing, Fate::Unused, Fate::Ignored];
        assert_eq!(fates.map(|fate| report.count(fate)), [1, 1, 1, 3, 1, 1]);
        assert!(!report.is_complete());
        assert_eq!(fitted.len(), 2);
        assert_eq!(fitted["fc.weight"].shape().dims(), [3, 4]);
        let text = report.to_string();
        assert!(text.contains("wrong shape  bn.weight (3) from (5)"), "{text}");
        assert!(text.ends_with("1 matched, 1 reshaped, 1 of the wrong shape, 3 missing, 1 unused"), "{text}");
    }

    #[test]
    fn a_convolution_by_whole_images_is_a_linear_layer() {
        let weights = Weights::from([("fc.weight".to_string(), Tensor::from_fn([3, 1, 2, 2], |i| i as f32))]);
        let (fitted, report) = fit_weights(&graph(), weights);
        assert_eq!(report.count(Fate::Reshaped), 1);
        assert_eq!((fitted["fc.weight"].shape().dims(), fitted["fc.weight"].data()[11]), (&[3, 4][..], 11.0));
    }

    #[test]
    fn the_exact_name_wins_and_sizes_that_only_agree_in_number_do_not_fit() {
        let weights = Weights::from([
            ("fc.weight".to_string(), Tensor::full([3, 4], 1.0)),
            ("model.fc.weight".to_string(), Tensor::full([3, 4], 2.0)),
            ("fc.bias".to_string(), Tensor::zeros([1, 3])),
            ("bn.bias".to_string(), Tensor::zeros([4, 3])),
        ]);
        let (fitted, report) = fit_weights(&graph(), weights);
        assert_eq!(fitted["fc.weight"].data()[0], 1.0);
        assert_eq!((report.count(Fate::Unused), report.count(Fate::WrongShape)), (1, 1));
    }
}
