//! What does a run begin with: a network of the zoo, one that is described in a file, or a model that has learned before?

use std::path::Path;

use ocellus_data::Preprocess;
use ocellus_formats::{FormatError, Kind, MatchReport, Model, fit_weights, match_report};
use ocellus_graph::{Graph, Op, from_text, initialise};
use ocellus_tensor::Weights;
use ocellus_zoo as zoo;

use crate::TrainError;
use crate::pairs::{EMBEDDING_WIDTH, Pairs};
use crate::predict::preprocess_of;
use crate::towers::tower;
use crate::validate::{OUTPUT, with_scores};

/// A network to train.
pub(crate) enum Origin {
    /// By its name in the zoo.
    Zoo(String),
    /// A network in its text form, and the file it came from.
    Text(String, Box<Graph>),
    /// A model's file, its network ending in logits.
    Model(String, Box<Model>),
}

impl Origin {
    /// What `word` means: a name in the zoo, a file that describes a network in its text form, or the file of a model of
    /// this program.
    pub fn of(word: &str) -> Result<Origin, TrainError> {
        if Path::new(word).is_file() && Kind::of(word)? == Some(Kind::Text) {
            return Ok(Origin::Text(word.into(), Box::new(described(word)?)));
        }
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
            Origin::Zoo(name) | Origin::Text(name, _) | Origin::Model(name, _) => name,
        }
    }

    /// Whether it brings weights that were trained.
    pub fn has_weights(&self) -> bool {
        matches!(self, Origin::Model(..))
    }

    /// Channels of its input, if those are fixed.
    pub fn channels(&self) -> Option<usize> {
        match self {
            Origin::Zoo(_) => None,
            Origin::Text(_, graph) => image_of(graph).map(|[_, channels, ..]| channels),
            Origin::Model(_, model) => image_of(&model.graph).map(|[_, channels, ..]| channels),
        }
    }

    /// Height and width of its usual input.
    pub fn size(&self) -> [u32; 2] {
        let image = match self {
            Origin::Zoo(name) => {
                zoo::default_input(name).ok().and_then(|shape| <[usize; 4]>::try_from(shape.dims()).ok())
            }
            Origin::Text(_, graph) => image_of(graph),
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

    /// What it was described to learn of pairs or triplets, if it was.
    pub fn pairs(&self) -> Option<Pairs> {
        match self {
            // Its embedding is as wide as is asked for; on the plane, as it was published, digits crowd.
            Origin::Zoo(name) => Pairs::of_network(&zoo::build(name, &zoo::Options::default()).ok()?)
                .map(|own| Pairs { embedding: EMBEDDING_WIDTH, unit_length: true, ..own }),
            Origin::Text(_, graph) => Pairs::of_network(graph),
            Origin::Model(..) => None,
        }
    }

    /// The network for so many classes and images `[channels, height, width]`; for pairs one tower of it, which gives
    /// embeddings.
    pub fn network(
        &self,
        classes: usize,
        pairs: Option<&Pairs>,
        input: [usize; 3],
    ) -> Result<Graph, TrainError> {
        let width = pairs.map_or(classes, |pairs| pairs.embedding);
        // Of a network that is described with its towers, one.
        let one = |graph: &Graph| match pairs {
            Some(_) => graph.prune(&[OUTPUT]),
            None => Ok(graph.clone()),
        };
        let net = match self {
            Origin::Zoo(name) => {
                one(&zoo::build(name, &zoo::Options::default().with_classes(width).with_input(input))?)?
            }
            Origin::Text(_, graph) => fitted(&one(graph)?, width, input)?,
            Origin::Model(_, model) => fitted(&one(&model.graph)?, width, input)?,
        };
        match pairs {
            Some(pairs) => Ok(tower(&net, pairs, classes)?),
            None => Ok(net),
        }
    }

    /// How the model's tensors meet `net`, if this is a model.
    pub fn report(&self, net: &Graph) -> Option<MatchReport> {
        match self {
            Origin::Zoo(_) | Origin::Text(..) => None,
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

/// The network for so many classes and images `[channels, height, width]`.
fn fitted(graph: &Graph, classes: usize, input: [usize; 3]) -> Result<Graph, TrainError> {
    let mut graph = graph.clone();
    let output = graph.find_output(OUTPUT).map(|output| graph.shape(output).clone());
    if output.and_then(|shape| shape.get(1).copied()) != Some(classes) {
        graph = graph.replace_head(classes)?;
    }
    let image = graph.inputs().iter().find(|&&id| graph.shape(id).rank() == 4);
    let name = image.map(|&id| graph.value(id).name.clone()).unwrap_or_default();
    let [channels, height, width] = input;
    Ok(graph.with_batch(1)?.with_input(&name, [1, channels, height, width])?)
}

/// The network that the file `path` describes in its text form.
///
/// One with losses of its own stays as it is; any other is to end in logits.
fn described(path: &str) -> Result<Graph, TrainError> {
    let fault = |cause: String, next: &str| FormatError::malformed(path, cause, next);
    let text = std::fs::read_to_string(path)
        .map_err(|cause| TrainError::io(Path::new(path), "cannot be read", cause))?;
    let graph = from_text(&text).map_err(|cause| fault(cause.to_string(), "mend that line"))?;
    if image_of(&graph).is_none() {
        let next = "give it one: input NAME (1, CHANNELS, HEIGHT, WIDTH)";
        return Err(fault("the network has no input of images".into(), next).into());
    }
    match graph.losses().is_empty() && graph.find_output(OUTPUT).is_none() {
        true => logits_of(&graph),
        false => Ok(graph),
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
