//! Which network does a word on the command line mean, and what is said about it beside the word?

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use ocellus::data::{Fit, Preprocess};
use ocellus::formats::safetensors::Stored;
use ocellus::load::{Ask, Found, Preparation, open};
use ocellus::{Graph, Layered, Model, Parameters, Weights, initialise};

use crate::console;

/// Which of the networks is meant that one description of Caffe holds.
#[derive(Clone, Debug, Default, Args)]
pub struct StateArgs {
    /// Stages of a Caffe description whose layers are told apart by them
    #[arg(long = "stage", value_name = "NAME,..", value_delimiter = ',')]
    pub stages: Vec<String>,
    /// Level of a Caffe description, for layers with min_level or max_level
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        hide_default_value = true,
        allow_negative_numbers = true
    )]
    pub level: i32,
}

/// Which shapes a network's inputs are to have.
#[derive(Clone, Debug, Default, Args)]
pub struct InputArgs {
    /// Shape of the input; with its name for one of several, and for any number of axes: tokens=1,16
    #[arg(long = "input", value_name = "[NAME=]N,C,H,W", value_parser = parse_input)]
    pub inputs: Vec<InputShape>,
}

impl InputArgs {
    /// The image, if one is told without a name.
    fn image(&self) -> Option<[usize; 4]> {
        self.inputs.iter().filter(|input| input.name.is_empty()).find_map(|input| match *input.sizes {
            [n, c, h, w] => Some([n, c, h, w]),
            [c, h, w] => Some([1, c, h, w]),
            _ => None,
        })
    }

    /// All that is told beside the image.
    fn others(&self) -> Vec<(String, Vec<usize>)> {
        let is_image = |input: &&InputShape| input.name.is_empty() && matches!(input.sizes.len(), 3 | 4);
        let others = self.inputs.iter().filter(|input| !is_image(input));
        others.map(|input| (input.name.clone(), input.sizes.clone())).collect()
    }
}

/// The shape of one input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputShape {
    /// Its name; empty for the first.
    pub name: String,
    /// Its sizes.
    pub sizes: Vec<usize>,
}

/// Where weights come from that are not in the network's own file.
#[derive(Clone, Debug, Default, Args)]
pub struct SourceArgs {
    /// The network's weights, if its file has none or others: .safetensors, .caffemodel, .pt, .pth, .h5, .npz
    #[arg(long, value_name = "FILE")]
    pub weights: Option<PathBuf>,
    /// The network that tensors without one belong to: a zoo name or a description [default: by their shapes]
    #[arg(id = "net_of_weights", long = "model", value_name = "NET")]
    pub net: Option<String>,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub state: StateArgs,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub shapes: InputArgs,
    /// Classes of a network of the zoo, for commands that ask.
    #[arg(skip)]
    pub classes: Option<usize>,
    /// Leave weights in their file until they are needed, for commands that read them once.
    #[arg(skip)]
    pub leave_weights: bool,
    /// Numbers at hand for inputs, for commands that have them.
    #[arg(skip)]
    pub fed: Vec<(String, ocellus::Tensor)>,
}

/// How pictures become a foreign network's input; kept in the model that `convert` writes.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Preprocessing, for models that do not bring theirs")]
pub struct PrepareArgs {
    /// Resize so that the shorter side has this many pixels (with --fit stretch both sides)
    #[arg(long, value_name = "PIXELS")]
    pub resize: Option<u32>,
    /// What becomes of pictures of another shape [default: crop]
    #[arg(long, value_enum, value_name = "HOW")]
    pub fit: Option<FitName>,
    /// Then cut this many pixels from the middle [default: the network's input]
    #[arg(long, value_name = "PIXELS")]
    pub crop: Option<u32>,
    /// Feed blue, green, red instead of red, green, blue
    #[arg(long)]
    pub bgr: bool,
    /// Multiply pixels, 0 to 255, by this first [default: 1 for Caffe's networks, 1/255 for others]
    #[arg(long, value_name = "X")]
    pub scale: Option<f64>,
    /// Then subtract these, in the order of the channels fed: 104,117,123
    #[arg(long, value_name = "X,..", value_delimiter = ',', allow_hyphen_values = true)]
    pub mean: Option<Vec<f32>>,
    /// Then divide by these
    #[arg(long, value_name = "X,..", value_delimiter = ',')]
    pub std: Option<Vec<f32>>,
    /// Subtract a mean image instead: Caffe's .binaryproto, or (C, H, W) in .npy
    #[arg(long, value_name = "FILE")]
    pub mean_file: Option<PathBuf>,
    /// Average over all pixels when reducing [default: false for Caffe's networks, true for others]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub antialias: Option<bool>,
    /// Class names, one per line by class index
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,
}

/// Ways to fit, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FitName {
    /// Keep the aspect, cut off what stands over.
    Crop,
    /// Give up the aspect.
    Stretch,
    /// Keep the aspect, fill the rest with the mean.
    Letterbox,
}

impl FitName {
    /// What the name means.
    pub fn fit(self) -> Fit {
        match self {
            FitName::Crop => Fit::Crop,
            FitName::Stretch => Fit::Stretch,
            FitName::Letterbox => Fit::Letterbox,
        }
    }
}

impl PrepareArgs {
    /// What was said.
    pub fn preparation(&self) -> Preparation {
        Preparation {
            resize: self.resize,
            fit: self.fit.map(FitName::fit),
            crop: self.crop,
            bgr: self.bgr.then_some(true),
            scale: self.scale,
            mean: self.mean.clone(),
            std: self.std.clone(),
            mean_file: self.mean_file.clone(),
            antialias: self.antialias,
            labels: self.labels.clone(),
            classes: None,
        }
    }
}

impl PrepareArgs {
    /// The size that images get in a database, if one was asked for.
    pub fn image_size(&self, channels: usize) -> Option<Preprocess> {
        let side = self.crop.or(self.resize)?;
        let resize = self.resize.filter(|_| self.crop.is_some());
        let fit = self.preparation().fit.unwrap_or_default();
        let antialias = self.antialias.unwrap_or(true);
        Some(Preprocess { resize, fit, antialias, ..Preprocess::new(channels, [side; 2]) })
    }
}

impl SourceArgs {
    /// Finds `word`, with input `(N, C, H, W)` if given, else with the shapes that were said.
    pub fn find(&self, word: &str, input: Option<[usize; 4]>) -> anyhow::Result<Found> {
        let ask = Ask {
            word: word.into(),
            weights: self.weights.clone(),
            net: self.net.clone(),
            input: input.or_else(|| self.shapes.image()),
            shapes: self.shapes.others(),
            fed: self.fed.clone(),
            classes: self.classes,
            stages: self.state.stages.clone(),
            level: self.state.level,
            leave_weights: self.leave_weights,
        };
        let found = open(&ask)?;
        found.notes.iter().for_each(|note| console::complain(&format!("note: {note}")));
        Ok(found)
    }

    /// Finds `word` with weights and, if it says or is told, its preprocessing.
    pub fn model(&self, word: &str, prepare: &PrepareArgs) -> anyhow::Result<Model> {
        Ok(self.prepared(word, prepare)?.into_model()?)
    }

    /// The same, some of whose weights may still lie in their file.
    pub fn prepared(&self, word: &str, prepare: &PrepareArgs) -> anyhow::Result<Found> {
        let mut found = self.find(word, None)?;
        let told = found.notes.len();
        if found.weights.is_none() {
            let next = match &found.file {
                Some((file, _)) => format!("give them by --weights FILE, for {}", file.display()),
                None => format!(
                    "train it first: ocellus train DATA --model {word}, or give them by --weights FILE"
                ),
            };
            anyhow::bail!(
                "{word}{} has no trained weights; {next}",
                if found.file.is_none() { " in the zoo" } else { "" }
            );
        }
        found.take_pictures()?;
        prepare.preparation().apply(&mut found)?;
        found.notes[told..].iter().for_each(|note| console::complain(&format!("note: {note}")));
        Ok(found)
    }
}

/// A network that was asked for.
pub struct Network {
    /// For one image, or as many as were asked for; in its inference form.
    pub graph: Graph,
    found: Found,
    /// Whether it came from the zoo.
    pub is_made: bool,
}

impl Network {
    /// Finds `word`, with input `(N, C, H, W)` if given.
    ///
    /// A network from the zoo is made for that input; one from a file keeps its layers, and refuses an input that
    /// they do not take.
    pub fn find(word: &str, input: Option<[usize; 4]>) -> anyhow::Result<Network> {
        Ok(Network::of(SourceArgs::default().find(word, input)?))
    }

    /// What was found.
    pub fn of(found: Found) -> Network {
        Network { graph: found.graph.clone(), is_made: found.file.is_none(), found }
    }

    /// The value of this name in Caffe, if it has another here.
    pub fn blob(&self, name: &str) -> Option<String> {
        self.found.blob(name)
    }

    /// Whether the input `name` became part of the network, which so was read for the numbers at hand.
    pub fn has_taken(&self, name: &str) -> bool {
        self.found.taken.iter().any(|taken| taken == name)
    }

    /// What else its file says.
    pub fn info(&self) -> &BTreeMap<String, String> {
        &self.found.info
    }

    /// The weights that were left in the model's file.
    pub fn stored(&self) -> Option<&Stored> {
        self.found.stored.as_deref()
    }

    /// The model's own weights but those left in its file, or new ones drawn by `seed`.
    pub fn take_weights(&mut self, seed: u64) -> Weights {
        self.found.weights.take().unwrap_or_else(|| initialise(&self.graph, seed))
    }
}

/// All weights: those in memory, and those left in their file.
pub fn with_stored<'a>(weights: &'a Weights, stored: Option<&'a Stored>) -> Layered<'a> {
    Layered(weights, stored.map_or(weights, |stored| stored as &dyn Parameters))
}

/// Reads `N,C,H,W`, `C,H,W` for one image, or the sizes of an input by its name, `NAME=SIZE,..`.
pub fn parse_input(text: &str) -> Result<InputShape, String> {
    let (name, sizes) = text.rsplit_once('=').unwrap_or(("", text));
    let numbers: Result<Vec<usize>, _> = sizes.split([',', 'x']).map(|n| n.trim().parse()).collect();
    let is_possible = |all: &[usize]| {
        all.iter().all(|&n| n > 0) && all.iter().try_fold(4_usize, |a, &n| a.checked_mul(n)).is_some()
    };
    match numbers {
        Ok(sizes) if is_possible(&sizes) => Ok(InputShape { name: name.into(), sizes }),
        _ => {
            Err("give positive numbers, N,C,H,W: for example 1,3,224,224; of an input by its name: x=1,16"
                .into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_read_in_their_forms() {
        let args =
            |texts: &[&str]| InputArgs { inputs: texts.iter().map(|t| parse_input(t).unwrap()).collect() };
        assert_eq!(args(&["8,3,32,32"]).image(), Some([8, 3, 32, 32]));
        assert_eq!(args(&["3x32x32"]).image(), Some([1, 3, 32, 32]));
        let two = args(&["input:0=2,5", "1,3,8,8"]);
        assert_eq!(two.image(), Some([1, 3, 8, 8]));
        assert_eq!(two.others(), [("input:0".to_string(), vec![2, 5])]);
        assert_eq!(args(&["1,2,3,4,5"]).others(), [(String::new(), vec![1, 2, 3, 4, 5])]);
        assert!(
            parse_input("3,0,32").is_err() && parse_input("a,b,c,d").is_err() && parse_input("x=").is_err()
        );
    }

    #[test]
    fn an_unknown_name_and_a_missing_file_are_told_apart() {
        let refusal = |word: &str| Network::find(word, None).err().unwrap().to_string();
        assert!(refusal("resnet5O").contains("did you mean resnet50?"));
        assert!(refusal("runs/none/best.safetensors").contains("check the path"));
    }
}
