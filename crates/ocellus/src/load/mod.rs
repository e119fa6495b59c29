//! Which file is this, and what model is in it?
//!
//! ```text
//! word -> zoo name, run folder or file -> kind by content -> graph (its own, or of --model) -> weights -> checked
//! ```
//!
//! Everything that knows networks goes through [`open`]: the commands of the terminal as well as programs. What a
//! foreign file does not say (how pictures become its input) is taken from a TOML beside it, see [`Preparation`].

mod error;
mod guess;
mod keras;
mod onnx;
mod prepare;
mod save;
mod verify;
mod weights;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ocellus_formats::caffe::{self, NetOptions};
use ocellus_formats::safetensors::Stored;
use ocellus_formats::{FormatError, Kind, Model};
use ocellus_graph::{Graph, from_text};
use ocellus_tensor::{Tensor, Weights};
use ocellus_train::RunFolder;
use ocellus_zoo as zoo;
use serde_json::Value;

pub use error::LoadError;
pub use prepare::{Preparation, read_labels};
pub use save::{SaveOptions, Saved, save, save_with};
pub use verify::{Agreement, Trial, VERIFY_LIMIT, save_verified};
pub use weights::{Fitted, weights_for};

/// Where [`Found::info`] keeps the values of Caffe's blobs.
const BLOBS: &str = "blobs";

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ask {
    /// A name in the zoo, a run folder, or a file.
    pub word: String,
    /// Weights in a file of their own.
    pub weights: Option<PathBuf>,
    /// The network that tensors without one belong to: a name in the zoo or a file that describes it.
    pub net: Option<String>,
    /// The shape of the first input, `(N, C, H, W)`; of one with three axes the last three, if N is 1.
    pub input: Option<[usize; 4]>,
    /// Shapes of inputs of any number of axes, by name; without a name the first input is meant.
    pub shapes: Vec<(String, Vec<usize>)>,
    /// Numbers at hand for inputs, by name: an ONNX model takes its free sizes from them, and itself takes in those that
    /// decide its shapes ([`Found::taken`]).
    pub fed: Vec<(String, Tensor)>,
    /// How many classes a network of the zoo is to tell apart.
    pub classes: Option<usize>,
    /// Stages that the rules of a Caffe description ask for.
    pub stages: Vec<String>,
    /// The level that they ask for.
    pub level: i32,
    /// Leave the weights of Ocellus's own files where they are: [`Found::stored`].
    pub leave_weights: bool,
}

impl Ask {
    /// Whatever `word` means.
    pub fn word(word: impl Into<String>) -> Self {
        Ask { word: word.into(), ..Ask::default() }
    }

    /// The shape of the image that the network is fed, if it was told.
    fn image(&self) -> Option<[usize; 4]> {
        let told = self.shapes.iter().find_map(|(_, sizes)| <[usize; 4]>::try_from(sizes.as_slice()).ok());
        self.input.or(told)
    }

    /// The same for the description `net` alone.
    fn of_net(&self, net: &str) -> Self {
        Ask { word: net.into(), weights: None, net: None, ..self.clone() }
    }
}

/// A network that was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The network; for one image where its layers allow that, unless another batch was asked for.
    pub graph: Graph,
    /// Its weights, exactly the ones it needs; `None` if only a description was given.
    pub weights: Option<Weights>,
    /// Where those weights lie that are not among `weights`, if they were left in their file.
    pub stored: Option<Arc<Stored>>,
    /// Class names by class index; empty if unknown.
    pub classes: Vec<String>,
    /// What happens to an image before it is the input, as [`Model::preprocess`] has it.
    pub preprocess: Option<Value>,
    /// Anything else that the file says.
    pub info: BTreeMap<String, String>,
    /// The file it came from, and of which kind that is; `None` for the zoo.
    pub file: Option<(PathBuf, Kind)>,
    /// Things worth telling the user, one sentence each.
    pub notes: Vec<String>,
    /// Inputs of [`Ask::fed`] that became part of the network.
    pub taken: Vec<String>,
}

impl Found {
    fn new(graph: Graph) -> Self {
        Found {
            graph,
            weights: None,
            stored: None,
            classes: Vec::new(),
            preprocess: None,
            info: BTreeMap::new(),
            file: None,
            notes: Vec::new(),
            taken: Vec::new(),
        }
    }

    fn of_model(model: Model) -> Self {
        let Model { graph, weights, classes, preprocess, info } = model;
        Found { weights: Some(weights), classes, preprocess, info, ..Found::new(graph) }
    }

    /// The value that Caffe's blob `name` holds after the layers that work on it in place, if it is not called so here.
    pub fn blob(&self, name: &str) -> Option<String> {
        let blobs: BTreeMap<String, String> = serde_json::from_str(self.info.get(BLOBS)?).ok()?;
        blobs.get(name).cloned()
    }

    /// The model, without the weights that were left in their file; an error if there are no weights.
    pub fn into_model(self) -> Result<Model, LoadError> {
        let name = self.graph.name.clone();
        let weights = self.weights.ok_or_else(|| {
            LoadError::Setting(format!("{name} has no trained weights; give them by --weights FILE"))
        })?;
        let Found { graph, classes, preprocess, info, .. } = self;
        Ok(Model { graph, weights, classes, preprocess, info })
    }
}

/// Finds the network that `ask` names, with its weights if it has any.
///
/// Errors, one sentence each: there is no such file or name; the file is damaged or holds no network; tensors of a
/// file belong to no network that is known; weights do not fit.
///
/// ```
/// use ocellus::load::{Ask, open};
/// let found = open(&Ask::word("resnet20"))?;
/// assert!(found.weights.is_none() && found.file.is_none());
/// # Ok::<(), ocellus::load::LoadError>(())
/// ```
pub fn open(ask: &Ask) -> Result<Found, LoadError> {
    let own_file = file_of(&ask.word)?;
    if own_file.is_none()
        && let Some(path) = &ask.weights
        && let Some(kind @ (Kind::Tensors | Kind::Npz | Kind::Torch | Kind::Native | Kind::Keras)) =
            Kind::of(path)?
    {
        // The network is made for as many classes as its weights tell apart.
        return from_tensors(path, kind, &Ask { net: Some(ask.word.clone()), ..ask.clone() });
    }
    let mut found = match own_file {
        Some(file) if ask.classes.is_some() => {
            return Err(LoadError::Setting(format!(
                "{}: the classes of a file's network are its own; a number of classes makes a network of the zoo",
                file.display()
            )));
        }
        Some(file) => from_file(&file, ask)?,
        None => from_zoo(&ask.word, ask)?,
    };
    let has_own = |found: &Found| matches!(found.file, Some((_, Kind::Keras))) && found.weights.is_some();
    if let Some(path) = &ask.weights
        && !(has_own(&found) && Kind::of(path)? == Some(Kind::Keras))
    {
        let fitted = weights_for(path, &found.graph)?;
        found.weights = Some(fitted.complete_to_predict(path, &mut found.graph)?);
    }
    // A model that brings its own preprocessing is not told another by what stands beside another file of its name.
    let is_told = matches!(&found.file, Some((_, Kind::Native | Kind::Onnx))) && found.preprocess.is_some();
    if let Some((file, _)) = &found.file
        && !is_told
    {
        let file = file.clone();
        Preparation::apply_beside(&file, &mut found)?;
    }
    Ok(found)
}

/// The file behind a run folder or a file name; `None` if nothing of that name exists.
fn file_of(word: &str) -> Result<Option<PathBuf>, LoadError> {
    let path = Path::new(word);
    // A folder that happens to be called like a network does not hide it, unless it is a run folder.
    if path.is_dir() && (RunFolder::at(path).exists() || zoo::default_input(word).is_err()) {
        let best = RunFolder::at(path).best();
        if best.is_file() {
            return Ok(Some(best));
        }
        return Err(LoadError::Setting(format!(
            "{word} holds no best.safetensors: it is no run folder, or its run has not finished an epoch yet"
        )));
    }
    Ok(path.is_file().then(|| path.to_owned()))
}

fn from_zoo(word: &str, ask: &Ask) -> Result<Found, LoadError> {
    let mut options = zoo::Options { classes: ask.classes, ..zoo::Options::default() };
    if let Some([_, channels, height, width]) = ask.image() {
        options = options.with_input([channels, height, width]);
    }
    let looks_like_a_path = word.contains(['/', '\\']) || Path::new(word).extension().is_some();
    let graph = zoo::build(word, &options).map_err(|error| match error {
        zoo::ZooError::Unknown { .. } if looks_like_a_path => {
            LoadError::Setting(format!(
                "{word}: there is no such run folder or model file; check the path, or make one with `ocellus train`"
            ))
        }
        error => error.into(),
    })?;
    let graph = graph.with_batch(ask.image().map_or(1, |[batch, ..]| batch))?;
    let mut found = Found::new(with_shapes(&graph, &ask.shapes)?);
    found.info.insert("zoo".into(), word.into());
    Ok(found)
}

fn from_file(file: &Path, ask: &Ask) -> Result<Found, LoadError> {
    let kind = Kind::of(file)?.ok_or_else(|| {
        let next = "give a .safetensors, .onnx, .prototxt, .caffemodel, .pt, .pth, .keras, .h5 or .npz file, or a run folder";
        FormatError::malformed(file.display().to_string(), "it holds no network that is known here", next)
    })?;
    let mut found = match kind {
        Kind::Native if ask.leave_weights && ask.weights.is_none() => {
            let (model, stored) = Model::open(file)?;
            Found { stored: Some(Arc::new(stored)), ..Found::of_model(model) }
        }
        Kind::Native => Found::of_model(Model::load(file)?),
        Kind::Prototxt => described_by_caffe(file, ask)?,
        Kind::Text => Found::new(read_text(file)?),
        Kind::Onnx => onnx::open(file, ask)?,
        Kind::CaffeModel => from_caffe_weights(file, ask)?,
        Kind::Keras => keras::open(file, ask)?,
        Kind::Tensors | Kind::Npz | Kind::Torch => from_tensors(file, kind, ask)?,
        kind => return Err(refusal(file, kind)),
    };
    if let Some(shape) = ask.input {
        found.graph = with_image_input(&found.graph, shape)?;
    }
    if !ask.shapes.is_empty() {
        found.graph = with_shapes(&found.graph, &ask.shapes)?;
    } else if ask.input.is_none() && matches!(kind, Kind::Prototxt | Kind::CaffeModel) {
        // Caffe's descriptions come with a batch, which is no property of the network.
        found.graph = found.graph.with_batch(1).unwrap_or(found.graph);
    }
    found.file = Some((file.to_owned(), kind));
    Ok(found)
}

/// What the values of Caffe's blobs are called is kept, as JSON, where they have other names.
fn described_by_caffe(file: &Path, ask: &Ask) -> Result<Found, LoadError> {
    let (graph, blobs) = caffe::read_net_and_blobs(file, &net_options(ask))?;
    let mut found = Found::new(graph);
    if !blobs.is_empty() {
        found.info.insert(BLOBS.into(), serde_json::json!(blobs).to_string());
    }
    Ok(found)
}

fn net_options(ask: &Ask) -> NetOptions {
    let options = NetOptions { stages: ask.stages.clone(), level: ask.level, ..NetOptions::default() };
    match ask.image() {
        Some([_, channels, height, width]) => options.any_item([channels, height, width]),
        None => options,
    }
}

fn read_text(file: &Path) -> Result<Graph, LoadError> {
    let text = std::fs::read_to_string(file).map_err(|cause| LoadError::read(file, cause))?;
    Ok(from_text(&text).map_err(|cause| {
        FormatError::malformed(file.display().to_string(), cause.to_string(), "mend that line")
    })?)
}

/// Tensors without a network: the network is named by `ask.net`, or guessed from the tensors' shapes.
fn from_tensors(file: &Path, kind: Kind, ask: &Ask) -> Result<Found, LoadError> {
    let weights = weights::tensors_of(file, kind, None)?;
    let mut found = match &ask.net {
        Some(net) => match guess::options_for(net, &weights, ask.image()) {
            Some(options) => named(net, &options)?,
            None => open(&ask.of_net(net))?,
        },
        None => {
            let (net, options) = guess::network(&weights).ok_or_else(|| {
                let what = format!("{} holds {} tensors, but no network", kind.name(), weights.len());
                let next = "say which network they belong to: --model NET (a name in the zoo, a .prototxt or a text form)";
                FormatError::malformed(file.display().to_string(), what, next)
            })?;
            let mut found = named(net, &options)?;
            found.notes.push(format!("{}: its tensors are those of {net}", file.display()));
            found
        }
    };
    // Weights of Keras depend on the network that they are for.
    let weights =
        if kind == Kind::Keras { weights::tensors_of(file, kind, Some(&found.graph))? } else { weights };
    let fitted = weights::fit(&found.graph, weights);
    found.weights = Some(fitted.complete_to_predict(file, &mut found.graph)?);
    if kind == Kind::Keras && keras::is_version_1(&found.graph) {
        keras::see_as_caffe(&mut found);
    }
    if found.preprocess.is_none() {
        found.preprocess = prepare::usual(&mut found);
    }
    Ok(found)
}

fn named(net: &str, options: &zoo::Options) -> Result<Found, LoadError> {
    let mut found = Found::new(zoo::build(net, options)?);
    found.info.insert("zoo".into(), net.into());
    Ok(found)
}

/// Weights of Caffe: their network is named, or stands in a description beside them.
fn from_caffe_weights(file: &Path, ask: &Ask) -> Result<Found, LoadError> {
    let net = match &ask.net {
        Some(net) => net.clone(),
        None => description_beside(file).ok_or_else(|| {
            let what = "it holds weights, and there is no description of their network beside it";
            let next = "give the description and the weights: NET.prototxt --weights FILE.caffemodel";
            FormatError::malformed(file.display().to_string(), what, next)
        })?,
    };
    let mut found = open(&ask.of_net(&net))?;
    if ask.net.is_none() {
        found.notes.push(format!("the network is described by {net}"));
    }
    let fitted = weights_for(file, &found.graph)?;
    found.weights = Some(fitted.complete_to_predict(file, &mut found.graph)?);
    Ok(found)
}

/// `NAME.prototxt` for `NAME.caffemodel`, also without what training put behind the name (`_iter_1000`).
fn description_beside(file: &Path) -> Option<String> {
    let name = file.file_name()?.to_string_lossy().into_owned();
    let stem = name.strip_suffix(".h5").unwrap_or(&name);
    let stem = stem.strip_suffix(".caffemodel").unwrap_or(stem);
    let stems = [Some(stem), stem.split_once("_iter_").map(|(bare, _)| bare)];
    let names = stems.into_iter().flatten().flat_map(|stem| {
        ["_deploy.prototxt", ".deploy.prototxt", ".prototxt"].map(|ending| format!("{stem}{ending}"))
    });
    let mut names = names.chain(["deploy.prototxt".into()]);
    names
        .find_map(|name| Some(file.with_file_name(name)).filter(|path| path.is_file()))
        .map(|path| path.display().to_string())
}

fn refusal(file: &Path, kind: Kind) -> LoadError {
    let next = match kind {
        Kind::Solver => "train with it: ocellus train --solver FILE",
        Kind::SolverState => "go on with it: ocellus train --solver SOLVER.prototxt --resume FILE",
        Kind::BinaryProto => "give it beside a network: --mean-file FILE",
        Kind::Npy => "put it into a network: ocellus run NET --input NAME=FILE",
        _ => "this program does not read networks of that kind",
    };
    FormatError::malformed(file.display().to_string(), format!("it is {}, no network", kind.name()), next)
        .into()
}

/// The network for images of this shape. A first input of three axes takes the last three of an image alone.
pub fn with_image_input(graph: &Graph, shape: [usize; 4]) -> Result<Graph, LoadError> {
    let rank = graph.inputs().first().map(|&input| graph.shape(input).rank());
    let sizes = if rank == Some(3) && shape[0] == 1 { &shape[1..] } else { &shape };
    with_shapes(graph, &[(String::new(), sizes.to_vec())])
}

/// The network for inputs of these shapes; one without a name is the first input's.
fn with_shapes(graph: &Graph, shapes: &[(String, Vec<usize>)]) -> Result<Graph, LoadError> {
    let names: Vec<&str> = graph.inputs().iter().map(|&id| graph.value(id).name.as_str()).collect();
    let mut changed = graph.clone();
    for (name, sizes) in shapes {
        let name = if name.is_empty() { names.first().copied().unwrap_or_default() } else { name };
        let Some(input) = changed.find_input(name) else {
            let inputs = names.join(", ");
            return Err(LoadError::Setting(format!(
                "the network {} has no input called {name:?}; its inputs are {inputs}",
                graph.name
            )));
        };
        let wanted = ocellus_tensor::Shape::new(sizes.clone());
        if *changed.shape(input) == wanted {
            continue;
        }
        let batch = sizes.first().copied().filter(|_| changed.shape(input).rank() == sizes.len());
        let changing = batch.map_or_else(|| Ok(changed.clone()), |batch| changed.with_batch(batch));
        changed = changing.and_then(|graph| graph.with_input(name, wanted.clone())).map_err(|cause| {
            LoadError::Setting(format!("{} does not take an input {name} of {wanted}: {cause}", graph.name))
        })?;
    }
    Ok(changed)
}
