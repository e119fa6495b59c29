//! How good is a network on these images?

use std::borrow::Cow;
use std::sync::Arc;

use ocellus_data::{LoaderConfig, Preprocess, Split};
use ocellus_engine::{Options, Session};
use ocellus_graph::ops::LossKind;
use ocellus_graph::{Graph, Op, holds_probabilities};
use ocellus_tensor::Weights;

use crate::TrainError;
use crate::metrics::{Metrics, softmax};
use crate::stepper::image_input;
use crate::towers::EMBEDDING;
use crate::views::View;

/// The output that holds logits, in networks of this program.
pub const OUTPUT: &str = "output";

/// A network in its inference form, for batches of one size.
pub struct Validator {
    session: Session,
    image: String,
    output: String,
    gives_probabilities: bool,
    batch: usize,
    classes: usize,
}

impl Validator {
    /// Plans `net` for batches of `batch` images.
    pub fn new(net: &Graph, batch: usize, options: &Options) -> Result<Self, TrainError> {
        let (net, output) = with_scores(net)?;
        let image = image_input(&net)?;
        let graph = net.with_batch(batch)?;
        let scores =
            graph.find_output(&output).ok_or_else(|| TrainError::setting("the network has no output"))?;
        Ok(Validator {
            session: Session::new(&graph, &options.clone().without_weights())?,
            image,
            batch,
            classes: graph.shape(scores).elements() / batch.max(1),
            gives_probabilities: holds_probabilities(&graph, scores),
            output,
        })
    }

    /// Sets the weights and statistics.
    pub fn load(&mut self, weights: &Weights) -> Result<(), TrainError> {
        Ok(self.session.load(weights)?)
    }

    /// Computes whatever lies in the input, to see how long it takes.
    pub(crate) fn run_once(&mut self) {
        self.session.run();
    }

    /// How many scores each image gets.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Bytes of the plan.
    pub fn planned_bytes(&self) -> usize {
        self.session.planned_bytes()
    }

    /// Measures every image of `split` once. The last batch is filled up with zeros, which are not counted.
    ///
    /// `class_of[c]` is the network's class for the split's class c.
    pub fn measure(
        &mut self,
        split: &Arc<Split>,
        preprocess: &Preprocess,
        class_of: &[usize],
    ) -> Result<Metrics, TrainError> {
        self.measure_each(split, preprocess, class_of, &[View::PLAIN], |_, _, _| {})
    }

    /// The same by the mean of the probabilities that the network gives to several views of each image (test-time
    /// augmentation), where one view's scores are taken as they are; and tells `each` the index, the logits and the
    /// network's class of every image, in order.
    pub fn measure_each(
        &mut self,
        split: &Arc<Split>,
        preprocess: &Preprocess,
        class_of: &[usize],
        views: &[View],
        mut each: impl FnMut(usize, &[f32], usize),
    ) -> Result<Metrics, TrainError> {
        let mut metrics = Metrics::new(self.classes);
        let config = LoaderConfig::evaluation(preprocess.clone(), self.batch).with_threads_for(split);
        let size = preprocess.size.map(|side| side as usize);
        let mut mean = Vec::new();
        for batch in ocellus_data::Loader::start(split.clone(), &config, 0, 0)? {
            let batch = batch?;
            mean.clear();
            mean.resize(batch.count * self.classes, 0.0);
            for &view in views {
                let input = self.session.input_mut(&self.image)?;
                let (filled, rest) = input.split_at_mut(batch.images.len().min(input.len()));
                match view == View::PLAIN {
                    true => filled.copy_from_slice(&batch.images[..filled.len()]),
                    false => view.show(&batch.images[..filled.len()], size, filled),
                }
                rest.fill(0.0);
                self.session.run();
                let scores = self.session.output(&self.output)?.chunks_exact(self.classes);
                for (row, sums) in scores.zip(mean.chunks_exact_mut(self.classes)) {
                    if views.len() == 1 {
                        sums.copy_from_slice(&self.logits(row));
                        continue;
                    }
                    let probabilities = softmax(&self.logits(row));
                    sums.iter_mut().zip(probabilities).for_each(|(sum, p)| *sum += p / views.len() as f32);
                }
            }
            if views.len() > 1 {
                mean.iter_mut().for_each(|p| *p = p.max(f32::MIN_POSITIVE).ln());
            }
            for ((logits, label), id) in mean.chunks_exact(self.classes).zip(&batch.labels).zip(&batch.ids) {
                let class = class_of[*label as usize];
                metrics.add(logits, class);
                each(*id as usize, logits, class);
            }
        }
        Ok(metrics)
    }

    /// Logits behind the scores of one image: those of probabilities are their logarithms.
    fn logits<'a>(&self, scores: &'a [f32]) -> Cow<'a, [f32]> {
        match self.gives_probabilities {
            true => scores.iter().map(|&p| p.max(f32::MIN_POSITIVE).ln()).collect(),
            false => scores.into(),
        }
    }
}

/// `net` in its inference form with one output alone, that of the class scores `(N, K)` or `(N, K, 1, 1)`, and the
/// output's name.
///
/// That is `output`, or the only one of such a shape; in a network that only has a loss, what the loss reads.
///
/// Errors: there is none, or there are several.
pub fn with_scores(net: &Graph) -> Result<(Graph, String), TrainError> {
    if let Ok(inference) = net.for_inference()
        && let Some(name) = score_output(&inference)?
    {
        return Ok((inference.prune(&[&name])?, name));
    }
    let mut net = net.clone();
    let name = read_by_loss(&mut net)?;
    Ok((net.for_inference()?.prune(&[&name])?, name))
}

/// The one output of scores; `None` if there is none.
fn score_output(net: &Graph) -> Result<Option<String>, TrainError> {
    let is_scores = |shape: &[usize]| matches!(shape, [_, _] | [_, _, 1, 1]);
    let outputs = net.outputs().iter().filter(|output| output.name != EMBEDDING);
    let outputs = outputs.filter(|output| is_scores(net.shape(output.value)));
    let names: Vec<&str> = outputs.map(|output| output.name.as_str()).collect();
    match names.as_slice() {
        [] => Ok(None),
        [only] => Ok(Some(only.to_string())),
        names if names.contains(&OUTPUT) => Ok(Some(OUTPUT.into())),
        several => Err(TrainError::setting(format!(
            "{} has several outputs of scores ({}); cut it to the one that is meant",
            net.name,
            several.join(", ")
        ))),
    }
}

/// Makes the scores that a classifier's loss reads an output.
fn read_by_loss(net: &mut Graph) -> Result<String, TrainError> {
    let is_loss = |op: &Op| matches!(op, Op::Loss(loss) if matches!(loss.kind, LossKind::SoftmaxCrossEntropy { .. } | LossKind::Hinge { .. }));
    let losses: Vec<_> =
        net.nodes().iter().filter(|node| is_loss(&node.op)).map(|node| node.inputs[0]).collect();
    match losses.last() {
        // The last loss is the network's own; those before it are auxiliary.
        Some(&scores) => {
            net.add_output(OUTPUT, scores);
            Ok(OUTPUT.into())
        }
        None if net.find_output(EMBEDDING).is_some() => Err(TrainError::setting(format!(
            "{} gives embeddings and no class scores: pairs alone teach which images belong together, not what their \
             classes are called; train with --loss joint to have them named, or write the embeddings by ocellus embed",
            net.name
        ))),
        None => {
            let shapes: Vec<String> =
                net.outputs().iter().map(|o| format!("{} {}", o.name, net.shape(o.value))).collect();
            Err(TrainError::setting(format!(
                "{} gives no class scores (N, K), only {}",
                net.name,
                if shapes.is_empty() { "nothing".into() } else { shapes.join(", ") }
            )))
        }
    }
}

/// For each class of the data the network's class of the same name.
///
/// Errors: the data has a class that the network does not know.
pub fn match_classes(data: &[String], model: &[String]) -> Result<Vec<usize>, TrainError> {
    // Lists of class names often begin with a code by which data is sorted: "n01440764 tench, Tinca tinca".
    let code_is = |known: &String, name: &String| known.split_whitespace().next() == Some(name.as_str());
    let find = |name: &String| {
        let exact = model.iter().position(|known| known == name);
        exact.or_else(|| model.iter().position(|known| code_is(known, name))).ok_or_else(|| {
            let known = model.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
            let more = if model.len() > 5 { ", ..." } else { "" };
            TrainError::setting(format!(
                "the data has a class {name} that the model does not know (it knows {known}{more}); validate on data \
                 with the model's own classes"
            ))
        })
    };
    data.iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_matched_by_name() {
        let names = |names: &[&str]| names.iter().map(|n| n.to_string()).collect::<Vec<_>>();
        assert_eq!(match_classes(&names(&["c", "a"]), &names(&["a", "b", "c"])).unwrap(), [2, 0]);
        let coded = names(&["n2 tench, Tinca tinca", "n1 goldfish"]);
        assert_eq!(match_classes(&names(&["n1", "n2"]), &coded).unwrap(), [1, 0]);
        let sentence = match_classes(&names(&["x"]), &names(&["a", "b"])).unwrap_err().to_string();
        assert!(sentence.contains("class x") && sentence.contains("a, b"), "{sentence}");
    }
}
