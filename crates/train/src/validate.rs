//! How good is a network on these images?

use std::sync::Arc;

use ocellus_data::{LoaderConfig, Preprocess, Split};
use ocellus_engine::{Options, Session};
use ocellus_graph::Graph;
use ocellus_tensor::Weights;

use crate::TrainError;
use crate::metrics::Metrics;
use crate::stepper::image_input;

/// The output that holds logits.
pub const OUTPUT: &str = "output";

/// A network in its inference form, for batches of one size.
pub struct Validator {
    session: Session,
    image: String,
    batch: usize,
    classes: usize,
}

impl Validator {
    /// Plans `net` for batches of `batch` images.
    pub fn new(net: &Graph, batch: usize, options: &Options) -> Result<Self, TrainError> {
        let image = image_input(net)?;
        let graph = net.for_inference()?.with_batch(batch)?.prune(&[OUTPUT])?;
        let output = graph.find_output(OUTPUT).map(|id| graph.shape(id).elements() / batch);
        let session = Session::new(&graph, options)?;
        Ok(Validator { session, image, batch, classes: output.unwrap_or(0) })
    }

    /// Sets the weights and statistics.
    pub fn load(&mut self, weights: &Weights) -> Result<(), TrainError> {
        Ok(self.session.load(weights)?)
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
        let mut metrics = Metrics::new(self.classes);
        let config = LoaderConfig::evaluation(preprocess.clone(), self.batch).with_threads_for(split);
        for batch in ocellus_data::Loader::start(split.clone(), &config, 0, 0)? {
            let batch = batch?;
            let input = self.session.input_mut(&self.image)?;
            let (filled, rest) = input.split_at_mut(batch.images.len().min(input.len()));
            filled.copy_from_slice(&batch.images[..filled.len()]);
            rest.fill(0.0);
            self.session.run();
            let logits = self.session.output(OUTPUT)?.chunks_exact(self.classes);
            for (row, label) in logits.zip(&batch.labels).take(batch.count) {
                metrics.add(row, class_of[*label as usize]);
            }
        }
        Ok(metrics)
    }
}

/// For each class of the data the network's class of the same name.
///
/// Errors: the data has a class that the network does not know.
pub fn match_classes(data: &[String], model: &[String]) -> Result<Vec<usize>, TrainError> {
    let find = |name: &String| {
        model.iter().position(|known| known == name).ok_or_else(|| {
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
        let sentence = match_classes(&names(&["x"]), &names(&["a", "b"])).unwrap_err().to_string();
        assert!(sentence.contains("class x") && sentence.contains("a, b"), "{sentence}");
    }
}
