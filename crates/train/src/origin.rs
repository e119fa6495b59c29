//! What does a run begin with: a network of the zoo, or a model that has learned before?

use ocellus_data::Preprocess;
use ocellus_formats::{MatchReport, Model, fit_weights, match_report};
use ocellus_graph::{Graph, Op, initialise};
use ocellus_tensor::Weights;
use ocellus_zoo as zoo;

use crate::TrainError;
use crate::predict::preprocess_of;
use crate::validate::with_scores;

/// A network to train.
pub(crate) enum Origin {
    /// By its name in the zoo.
    Zoo(String),
    /// A model's file, its network ending in logits.
    Model(String, Box<Model>),
}

impl Origin {
    /// What `word` means: a name in the zoo, or the file of a model of this program.
    pub fn of(word: &str) -> Result<Origin, TrainError> {
        if !word.ends_with(".safetensors") {
            // A wrong name should not wait for a large data set to be read.
            zoo::default_input(word)?;
            return Ok(Origin::Zoo(word.into()));
        }
        let mut model = Model::load(word)?;
        model.graph = logits_of(&model.graph)?;
        Ok(Origin::Model(word.into(), Box::new(model)))
    }

    /// The word it was found by.
    pub fn name(&self) -> &str {
        match self {
            Origin::Zoo(name) | Origin::Model(name, _) => name,
        }
    }

    /// Channels of its input, if those are fixed.
    pub fn channels(&self) -> Option<usize> {
        match self {
            Origin::Zoo(_) => None,
            Origin::Model(_, model) => image_of(&model.graph).map(|[_, channels, ..]| channels),
        }
    }

    /// Height and width of its usual input.
    pub fn size(&self) -> [u32; 2] {
        let image = match self {
            Origin::Zoo(name) => {
                zoo::default_input(name).ok().and_then(|shape| <[usize; 4]>::try_from(shape.dims()).ok())
            }
            Origin::Model(_, model) => image_of(&model.graph),
        };
        image.map_or([224; 2], |[_, _, height, width]| [height, width].map(|side| side as u32))
    }

    /// How it wants pictures prepared, if it says so.
    pub fn preprocess(&self) -> Result<Option<Preprocess>, TrainError> {
        match self {
            Origin::Model(_, model) if model.preprocess.is_some() => preprocess_of(model).map(Some),
            _ => Ok(None),
        }
    }

    /// The network for so many classes and images `[channels, height, width]`.
    pub fn network(&self, classes: usize, input: [usize; 3]) -> Result<Graph, TrainError> {
        match self {
            Origin::Zoo(name) => {
                Ok(zoo::build(name, &zoo::Options::default().with_classes(classes).with_input(input))?)
            }
            Origin::Model(_, model) => {
                let mut graph = model.graph.clone();
                let output = graph.find_output("output").map(|output| graph.shape(output).clone());
                if output.and_then(|shape| shape.get(1).copied()) != Some(classes) {
                    graph = graph.replace_head(classes)?;
                }
                let name = graph.inputs().first().map(|&id| graph.value(id).name.clone()).unwrap_or_default();
                let [channels, height, width] = input;
                Ok(graph.with_batch(1)?.with_input(&name, [1, channels, height, width])?)
            }
        }
    }

    /// How the model's tensors meet `net`, if this is a model.
    pub fn report(&self, net: &Graph) -> Option<MatchReport> {
        match self {
            Origin::Zoo(_) => None,
            Origin::Model(_, model) => Some(match_report(net, &model.weights)),
        }
    }

    /// Weights for `net`: the model's where they fit, new ones by `seed` for the rest.
    pub fn weights(&self, net: &Graph, seed: u64) -> Weights {
        let mut weights = initialise(net, seed);
        if let Origin::Model(_, model) = self {
            weights.extend(fit_weights(net, model.weights.clone()).0);
        }
        weights
    }
}

/// The network up to its logits, handed out as `output`: without a softmax at its end.
fn logits_of(graph: &Graph) -> Result<Graph, TrainError> {
    let (net, output) = with_scores(graph)?;
    let missing = || TrainError::setting(format!("{} has no output of class scores", graph.name));
    let scores = net.find_output(&output).ok_or_else(missing)?;
    let mut node = net.node(net.producer(scores).ok_or_else(missing)?);
    if matches!(node.op, Op::Softmax(_)) {
        node = net.node(net.producer(node.inputs[0]).ok_or_else(missing)?);
    }
    Ok(net.cut_at(&node.name)?)
}

fn image_of(graph: &Graph) -> Option<[usize; 4]> {
    graph.inputs().iter().find_map(|&id| <[usize; 4]>::try_from(graph.shape(id).dims()).ok())
}
