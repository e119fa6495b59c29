//! Weights from any file for a given network.

use std::path::Path;

use ocellus_formats::{
    Fate, FormatError, Kind, MatchReport, Model, caffe, fit_weights, npz, safetensors, torch,
};
use ocellus_graph::Graph;
use ocellus_tensor::Weights;

use super::LoadError;

/// How many faults one sentence lists.
const LISTED: usize = 3;

/// Weights for a network, and how they met it.
#[derive(Clone, Debug)]
pub struct Fitted {
    /// Those that fit, under the network's names and in its shapes.
    pub weights: Weights,
    /// What became of each tensor.
    pub report: MatchReport,
}

impl Fitted {
    /// As [`Fitted::complete`]; but where only what training needs (auxiliary heads) has no weights, `graph` becomes its
    /// inference form.
    pub fn complete_to_predict(self, file: &Path, graph: &mut Graph) -> Result<Weights, LoadError> {
        if self.report.count(Fate::Missing) > 0
            && let Ok(inference) = graph.for_inference()
            && inference.params().len() < graph.params().len()
            && inference.params().iter().all(|param| self.weights.contains_key(&param.name))
        {
            let mut weights = self.weights;
            weights.retain(|name, _| inference.find_param(name).is_some());
            *graph = inference;
            return Ok(weights);
        }
        self.complete(file, graph)
    }

    /// The weights, if none of the network's is missing and none is of another shape; `file` is what the error calls
    /// theirs.
    pub fn complete(self, file: &Path, graph: &Graph) -> Result<Weights, LoadError> {
        let line = |tensor: &ocellus_formats::TensorMatch| match (&tensor.parameter, &tensor.tensor) {
            (Some((name, shape)), Some((_, other))) => {
                format!("tensor {name} is {other}, the network needs {shape}")
            }
            (Some((name, shape)), None) => format!("tensor {name} {shape} is missing"),
            (None, Some((name, shape))) => format!("tensor {name} {shape} belongs to no layer"),
            (None, None) => String::new(),
        };
        let faults: Vec<_> =
            [Fate::WrongShape, Fate::Missing].into_iter().flat_map(|fate| self.report.with(fate)).collect();
        if faults.is_empty() {
            return Ok(self.weights);
        }
        // What is left of the file is often the missing tensor under another name.
        let unused = self.report.with(Fate::Unused);
        let told: Vec<String> =
            faults.iter().copied().take(LISTED).map(line).chain(unused.take(1).map(line)).collect();
        let more = match faults.len().saturating_sub(LISTED) {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        let what = format!("it does not fit {}: {}{more}", graph.name, told.join(", "));
        Err(FormatError::malformed(file.display().to_string(), what, "give that network's own weights")
            .into())
    }
}

/// Reads what the file at `path` has of the weights of `graph`.
///
/// Errors: the file cannot be read or holds no weights.
///
/// ```no_run
/// use ocellus::load::weights_for;
/// let net = ocellus::zoo::build("resnet20", &Default::default())?;
/// let fitted = weights_for("resnet20.th".as_ref(), &net)?;
/// println!("{}", fitted.report);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn weights_for(path: &Path, graph: &Graph) -> Result<Fitted, LoadError> {
    let kind = Kind::of(path)?;
    match kind {
        Some(Kind::CaffeModel) => Ok(fit(graph, caffe::read_weights(path, graph)?)),
        Some(kind @ (Kind::Native | Kind::Tensors | Kind::Npz | Kind::Torch | Kind::Keras)) => {
            Ok(fit(graph, tensors_of(path, kind, Some(graph))?))
        }
        kind => {
            let what = format!(
                "it is {}, which holds no weights",
                kind.map_or("no file that is known here", Kind::name)
            );
            let next = "give a .safetensors, .caffemodel, .pt, .pth, .h5, .keras or .npz file";
            Err(FormatError::malformed(path.display().to_string(), what, next).into())
        }
    }
}

/// All tensors of a file that names them, for `graph` if that is known.
pub(super) fn tensors_of(path: &Path, kind: Kind, graph: Option<&Graph>) -> Result<Weights, LoadError> {
    Ok(match kind {
        Kind::Npz => npz::read(path)?,
        Kind::Torch => torch::read(path)?.weights,
        Kind::Native => Model::load(path)?.weights,
        Kind::Keras => super::keras::tensors(path, graph)?,
        _ => safetensors::read(path)?.weights,
    })
}

/// The weights that fit.
pub(super) fn fit(graph: &Graph, weights: Weights) -> Fitted {
    let (weights, report) = fit_weights(graph, weights);
    Fitted { weights, report }
}
