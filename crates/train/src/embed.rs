//! What does a network make of each image: its embedding, and its class scores if it gives any?

use std::sync::Arc;

use ocellus_data::{Loader, LoaderConfig, Preprocess, Split};
use ocellus_engine::{Options, Session};
use ocellus_graph::Graph;
use ocellus_tensor::Weights;

use crate::TrainError;
use crate::stepper::image_input;
use crate::towers::EMBEDDING;
use crate::validate::OUTPUT;

/// The embeddings of a split's images, in its order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Embeddings {
    /// Numbers of an embedding.
    pub width: usize,
    /// All embeddings, one after the other.
    pub values: Vec<f32>,
    /// The class of each image.
    pub classes: Vec<u32>,
    /// Class scores of all images, one after the other; empty if the network gives none.
    pub scores: Vec<f32>,
}

impl Embeddings {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.classes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.classes.is_empty()
    }

    /// The embedding of image `index`.
    pub fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.width..][..self.width]
    }

    /// Squared Euclidean distance of two of them.
    pub fn squared_distance(&self, a: usize, b: usize) -> f64 {
        squared_distance(self.row(a), self.row(b))
    }
}

/// Squared Euclidean distance.
pub(crate) fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    // Sums side by side, which the processor forms at once.
    let mut sums = [0.0_f32; 8];
    for (a, b) in a.chunks(8).zip(b.chunks(8)) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += (a - b) * (a - b);
        }
    }
    sums.iter().map(|&sum| f64::from(sum)).sum()
}

/// A network in its inference form that embeds images in batches of one size.
pub struct Embedder {
    session: Session,
    image: String,
    batch: usize,
    width: usize,
    classes: usize,
}

impl Embedder {
    /// Plans `net`, which has an output [`EMBEDDING`], for batches of `batch` images.
    ///
    /// Errors: it has no such output.
    pub fn new(net: &Graph, batch: usize, options: &Options) -> Result<Self, TrainError> {
        let missing = || {
            TrainError::setting(format!(
                "{} has no output {EMBEDDING}; train one with --loss contrastive, triplet or joint",
                net.name
            ))
        };
        let inference = net.for_inference()?;
        inference.find_output(EMBEDDING).ok_or_else(missing)?;
        let names: Vec<&str> =
            [EMBEDDING, OUTPUT].into_iter().filter(|name| inference.find_output(name).is_some()).collect();
        let graph = inference.prune(&names)?.with_batch(batch)?;
        let width =
            |name: &str| graph.find_output(name).map_or(0, |id| graph.shape(id).elements() / batch.max(1));
        Ok(Embedder {
            session: Session::new(&graph, options)?,
            image: image_input(&graph)?,
            batch,
            width: width(EMBEDDING),
            classes: width(OUTPUT),
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

    /// How many class scores each image gets; 0 if the network gives none.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Bytes of the plan.
    pub fn planned_bytes(&self) -> usize {
        self.session.planned_bytes()
    }

    /// Embeds every image of `split`. The last batch is filled up with zeros, which are not kept.
    pub fn embed(&mut self, split: &Arc<Split>, preprocess: &Preprocess) -> Result<Embeddings, TrainError> {
        let mut all = Embeddings { width: self.width, ..Embeddings::default() };
        let config = LoaderConfig::evaluation(preprocess.clone(), self.batch).with_threads_for(split);
        for batch in Loader::start(split.clone(), &config, 0, 0)? {
            let batch = batch?;
            let input = self.session.input_mut(&self.image)?;
            let (filled, rest) = input.split_at_mut(batch.images.len().min(input.len()));
            filled.copy_from_slice(&batch.images[..filled.len()]);
            rest.fill(0.0);
            self.session.run();
            all.values.extend_from_slice(&self.session.output(EMBEDDING)?[..batch.count * self.width]);
            if self.classes > 0 {
                all.scores.extend_from_slice(&self.session.output(OUTPUT)?[..batch.count * self.classes]);
            }
            all.classes.extend(batch.labels.iter().map(|&label| label as u32));
        }
        Ok(all)
    }
}
