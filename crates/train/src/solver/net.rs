//! A network of one phase with the data that it reads.

use ocellus_engine::Session;
use ocellus_formats::FormatError;
use ocellus_formats::caffe::{
    self, DataLayer, DataSource, NetOptions, NetState, Phase, StoredLayers, Transform,
};
use ocellus_graph::{Graph, Output, ValueId, initialise};
use ocellus_tensor::{Tensor, Weights};
use serde::Serialize;

use super::feed::Feed;
use super::paths::Places;
use crate::TrainError;
/// Outputs of more numbers than this are told by their first alone.
const MOST_NUMBERS: usize = 100;

/// The mean of one of a test network's outputs, or of one of its numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TestResult {
    /// Which of the test networks, from 0.
    pub net: usize,
    /// The output; with the number's place, as `accuracy[2]`, if it has several.
    pub name: String,
    /// Its mean over all batches.
    pub value: f64,
    /// Its share of the loss; `None` for what is none.
    pub loss_weight: Option<f32>,
}

/// A network and its data layers.
pub(super) struct Net {
    pub graph: Graph,
    pub seed: u64,
    feeds: Vec<Feed>,
    /// Parameters that are never learned: read from files of their own, or a test network's alone.
    pub constants: Weights,
    /// For each loss the values that it judges.
    judged: Vec<(String, Vec<String>)>,
    /// What its layers store.
    pub layers: StoredLayers,
    /// Next batch of a test, which goes on where the last one ended.
    next: usize,
}

impl Net {
    /// The network of the description `text`, with what its data layers name opened; errors call its file `file`.
    pub fn open(
        (text, file): (String, String),
        phase: Phase,
        state: &NetState,
        places: &Places,
        seed: u64,
    ) -> Result<Net, TrainError> {
        let mut options =
            NetOptions { phase, stages: state.stages.clone(), level: state.level, ..NetOptions::default() };
        let layers = caffe::data_layers(&text, &file, &options)?;
        let mut feeds = Vec::new();
        for layer in &layers {
            let feed = Feed::open(layer, phase, places, seed)?.ok_or_else(|| {
                TrainError::setting(format!(
                    "{file}: layer {} (MemoryData) is filled by a program; let a Data, ImageData or HDF5Data layer read",
                    layer.name
                ))
            })?;
            for (top, sizes) in feed.sizes()? {
                options = options.item(top, sizes);
            }
            feeds.push(feed);
        }
        let described = caffe::describe(&text, &file, &options)?;
        let graph = described.graph;
        let constants = constants(&graph, &described.beside, places)?;
        for &input in graph.inputs() {
            let name = &graph.value(input).name;
            if !feeds.iter().any(|feed| feed.layer.tops.contains(name)) {
                return Err(TrainError::setting(format!(
                    "{file}: the input {name} gets no data; give it a layer that reads some"
                )));
            }
        }
        Ok(Net { graph, seed, feeds, constants, judged: described.judged, layers: described.layers, next: 0 })
    }

    /// Things worth telling.
    pub fn notes(&self) -> Vec<String> {
        let random = |feed: &&Feed| feed.phase() == Phase::Test && feed.layer.transform.mirror;
        self.feeds
            .iter()
            .filter(random)
            .map(|feed| format!("layer {} mirrors at random in testing too, as Caffe does", feed.layer.name))
            .collect()
    }

    /// Parameters that `trained` does not have keep the numbers that they begin with.
    pub fn keep_own(&mut self, trained: &Graph) {
        let mut own = initialise(&self.graph, self.seed);
        own.retain(|name, _| trained.find_param(name).is_none() && !self.constants.contains_key(name));
        self.constants.extend(own);
    }

    /// Hands batch number `batch` to a session of this network.
    pub fn feed(&self, session: &mut Session, batch: usize) -> Result<(), TrainError> {
        for feed in &self.feeds {
            for (top, numbers) in feed.layer.tops.iter().zip(feed.batch(batch)?) {
                // A blob that no layer reads is no input of the plan.
                if self.graph.find_input(top).is_some() {
                    session.set_input(top, &numbers)?;
                }
            }
        }
        Ok(())
    }

    /// The weighted sum of all losses.
    pub fn total_loss(&self, session: &Session) -> Result<f64, TrainError> {
        self.graph.losses().iter().try_fold(0.0, |sum, loss| {
            let value = session.output(&loss.name)?.first().copied().unwrap_or(f32::NAN);
            Ok(sum + f64::from(loss.weight) * f64::from(value))
        })
    }

    /// The means of all outputs and losses over the next batches.
    pub fn test(&mut self, session: &mut Session, batches: usize) -> Result<Vec<TestResult>, TrainError> {
        let losses = self.graph.losses().iter().map(|loss| (loss.name.clone(), Some(loss.weight), 1));
        let outputs = self.graph.outputs().iter();
        let outputs =
            outputs.map(|output| (output.name.clone(), None, self.graph.shape(output.value).elements()));
        let mut results = Vec::new();
        for (output, loss_weight, count) in outputs.chain(losses) {
            let told = if count > MOST_NUMBERS { 1 } else { count };
            for place in 0..told {
                let name = if told > 1 { format!("{output}[{place}]") } else { output.clone() };
                results.push((output.clone(), place, TestResult { net: 0, name, value: 0.0, loss_weight }));
            }
        }
        for _ in 0..batches {
            self.feed(session, self.next)?;
            session.set_random(self.seed, self.next as u64);
            session.run();
            self.next += 1;
            for (output, place, result) in &mut results {
                let value = session.output(output)?.get(*place).copied().unwrap_or(f32::NAN);
                result.value += f64::from(value) / batches as f64;
            }
        }
        Ok(results.into_iter().map(|(.., result)| result).collect())
    }

    /// The network for use: what its losses read handed out, and nothing of data or labels.
    pub fn for_use(&self) -> Result<Graph, TrainError> {
        let mut graph = self.graph.clone();
        let single = matches!(self.judged.as_slice(), [(_, values)] if values.len() == 1);
        let mut judged = Vec::new();
        for (name, values) in &self.judged {
            for (i, value) in values.iter().enumerate() {
                let output = if single { "output".to_string() } else { format!("{name}.input{i}") };
                let Some(value) = graph.find_value(value) else { continue };
                judged.push(value);
                if graph.find_output(&output).is_none() {
                    graph.add_output(output, value);
                }
            }
        }
        // What labels are needed for, like an accuracy, is no part of it.
        let used = graph.needed_by(&judged);
        let is_label = |input: &ValueId| !judged.is_empty() && !used[input.index()];
        let is_kept = |output: &&Output| {
            let needed = graph.needed_by(&[output.value]);
            !graph.inputs().iter().any(|input| needed[input.index()] && is_label(input))
        };
        let kept: Vec<&str> =
            graph.outputs().iter().filter(is_kept).map(|output| output.name.as_str()).collect();
        Ok(graph.prune(&kept)?.for_inference()?)
    }

    /// The first data layer that reads images, its transformation and its mean image.
    pub fn image_layer(&self) -> Option<(&DataLayer, &Transform, Option<&Tensor>)> {
        let of_images = |feed: &&Feed| {
            matches!(feed.layer.source, DataSource::Database { .. } | DataSource::Images { .. })
        };
        let feed = self.feeds.iter().find(of_images)?;
        Some((&feed.layer, &feed.layer.transform, feed.transformer.mean()))
    }
}

/// The numbers of `beside`, parameters and the files that hold them.
fn constants(graph: &Graph, beside: &[(String, String)], places: &Places) -> Result<Weights, TrainError> {
    let mut constants = Weights::new();
    for (param, source) in beside {
        let path = places.file(source)?;
        let blob = caffe::read_mean(&path)?;
        let Some(id) = graph.find_param(param) else { continue };
        let shape = graph.param(id).shape.clone();
        let held = blob.shape().clone();
        let fitted = Tensor::new(shape.clone(), blob.into_data()).map_err(|_| {
            let what = format!("its blob has shape {held}, {param} has {shape}");
            FormatError::malformed(
                path.display().to_string(),
                what,
                "give the blob that belongs to this network",
            )
        })?;
        constants.insert(param.clone(), fitted);
    }
    Ok(constants)
}
