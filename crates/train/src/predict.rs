//! What does a trained model see in this picture?

use std::path::Path;

use ocellus_data::{Image, Preprocess, Preprocessor};
use ocellus_engine::{Options, Session};
use ocellus_formats::{FormatError, Model};
use ocellus_graph::holds_probabilities;
use ocellus_tensor::Parameters;
use serde::Serialize;

use crate::TrainError;
use crate::metrics::{softmax, top_k};
use crate::stepper::image_input;
use crate::validate::with_scores;

/// A model ready to classify pictures, with its own preprocessing.
pub struct Predictor {
    session: Session,
    image: String,
    output: String,
    preprocessor: Preprocessor,
    classes: Vec<String>,
    gives_probabilities: bool,
}

/// One guess.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Guess {
    /// The class's name.
    pub class: String,
    /// Its index.
    pub index: usize,
    /// How probable the model holds it to be, 0 to 1.
    pub probability: f32,
}

impl Predictor {
    /// Plans `model` for single pictures.
    ///
    /// Errors: the model does not say how pictures become its input, or has no output of classes.
    pub fn new(model: &Model, options: &Options) -> Result<Self, TrainError> {
        Predictor::with_weights(model, &model.weights, options)
    }

    /// The same for a model whose weights lie elsewhere, such as in their file ([`Model::open`]).
    pub fn with_weights(
        model: &Model,
        weights: &dyn Parameters,
        options: &Options,
    ) -> Result<Self, TrainError> {
        let (graph, name) = with_scores(&model.graph)?;
        let image = image_input(&graph)?;
        let graph = graph.with_batch(1)?;
        let output =
            graph.find_output(&name).ok_or_else(|| TrainError::setting("the model has no output"))?;
        let count = graph.shape(output).elements();
        let classes = match model.classes.len() {
            0 => (0..count).map(|index| index.to_string()).collect(),
            named if named == count => model.classes.clone(),
            named => {
                return Err(TrainError::setting(format!(
                    "the model names {named} classes, but its output {name} gives {count} scores"
                )));
            }
        };
        let preprocess = preprocess_of(model)?;
        check_input(graph.shape(graph.inputs()[0]), &preprocess)?;
        let mut session = Session::new(&graph, &options.clone().without_weights())?;
        session.load(weights)?;
        Ok(Predictor {
            session,
            image,
            output: name,
            preprocessor: Preprocessor::new(&preprocess)?,
            classes,
            gives_probabilities: holds_probabilities(&graph, output),
        })
    }

    /// Reads the model at `path` and plans it.
    pub fn load(path: &Path, options: &Options) -> Result<Self, TrainError> {
        let (model, stored) = Model::open(path)?;
        Predictor::with_weights(&model, &stored, options)
    }

    /// The classes the model knows.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The probability of each class.
    pub fn probabilities(&mut self, picture: &Image) -> Result<Vec<f32>, TrainError> {
        let input = self.session.input_mut(&self.image)?;
        self.preprocessor.evaluate(picture.view(), input)?;
        self.session.run();
        let scores = self.session.output(&self.output)?;
        Ok(if self.gives_probabilities { scores.to_vec() } else { softmax(scores) })
    }

    /// The `k` most probable classes, best first.
    pub fn predict(&mut self, picture: &Image, k: usize) -> Result<Vec<Guess>, TrainError> {
        let probabilities = self.probabilities(picture)?;
        let guess = |index: usize| Guess {
            class: self.classes[index].clone(),
            index,
            probability: probabilities[index],
        };
        Ok(top_k(&probabilities, k).into_iter().map(guess).collect())
    }
}

/// How pictures become the model's input.
pub fn preprocess_of(model: &Model) -> Result<Preprocess, TrainError> {
    let unusable = |what: String| {
        let next = "say it by flags such as --resize 256 --mean 104,117,123, or in a TOML beside it";
        FormatError::malformed(model.graph.name.clone(), what, next)
    };
    let value =
        model.preprocess.clone().ok_or_else(|| unusable("it does not say how to prepare pictures".into()))?;
    let preprocess: Preprocess = serde_json::from_value(value)
        .map_err(|cause| unusable(format!("its preprocessing cannot be understood ({cause})")))?;
    preprocess.validate()?;
    Ok(preprocess)
}

fn check_input(shape: &[usize], preprocess: &Preprocess) -> Result<(), TrainError> {
    let [height, width] = preprocess.size.map(|side| side as usize);
    if shape == [1, preprocess.channels, height, width] {
        return Ok(());
    }
    Err(TrainError::setting(format!(
        "the model takes {shape:?}, its preprocessing makes (1, {}, {height}, {width}); say what it needs by --crop",
        preprocess.channels
    )))
}
