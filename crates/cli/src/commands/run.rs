//! `ocellus run`: raw numbers in, raw numbers out, so that anyone can check Ocellus against anything.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use ocellus::formats::{Fate, Kind, npy, npz};
use ocellus::load::weights_for;
use ocellus::{Graph, Options, Request, Session, Tensor, ValueId, Weights, differentiate};
use serde_json::json;

use crate::args::{Common, PrecisionName};
use crate::console;
use crate::network::{InputArgs, Network, SourceArgs, StateArgs, with_stored};

const EXAMPLE: &str = "\
Examples:
  ocellus run resnet50 --input input=x.npy --output output=y.npy
  ocellus run resnet18 --weights w.safetensors --input input=x.npy --input label=t.npy \\
      --output output=y.npy --train-mode --backward loss --grads g.npz

Each input has the shape of its file. NAME after --output is an output, a loss, or any node; for
networks of Caffe also a blob, after the layers that work on it in place. With --backward a
classifier gets the input `label` (class indices) and the loss `loss` (mean softmax cross-entropy); g.npz holds one
array per trained parameter and one per input that the loss depends on.";

/// What may be said after `ocellus run`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct RunArgs {
    /// Name in the zoo, run folder, or a file of any format that holds or describes a network
    #[arg(value_name = "NET")]
    pub net: String,
    /// Weights and statistics by parameter name (.safetensors, .caffemodel, .pt, .npz) [default: the model's own, or
    /// random by --seed]
    #[arg(long, value_name = "FILE")]
    pub weights: Option<PathBuf>,
    /// The network that tensors without one belong to: a zoo name or a description [default: by their shapes]
    #[arg(long = "model", value_name = "NET")]
    pub model: Option<String>,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub state: StateArgs,
    /// Numbers for an input (.npy)
    #[arg(long = "input", value_name = "NAME=FILE", required = true, value_parser = parse_named)]
    pub inputs: Vec<(String, PathBuf)>,
    /// Where to write an output's numbers (.npy)
    #[arg(long = "output", value_name = "NAME=FILE", value_parser = parse_named)]
    pub outputs: Vec<(String, PathBuf)>,
    /// As in training: BatchNorm by the batch's statistics, dropout active
    #[arg(long)]
    pub train_mode: bool,
    /// Compute the gradients of this loss
    #[arg(long, value_name = "LOSS", requires = "grads")]
    pub backward: Option<String>,
    /// Use the convolution algorithms that training and prediction use, which round a little more (Winograd)
    #[arg(long)]
    pub fast: bool,
    /// What to compute with
    #[arg(long, value_enum, default_value_t = PrecisionName::F32, conflicts_with_all = ["train_mode", "backward"])]
    pub precision: PrecisionName,
    /// Where to write all gradients (.npz)
    #[arg(long, value_name = "FILE", requires = "backward")]
    pub grads: Option<PathBuf>,
}

/// Reads `NAME=FILE`.
fn parse_named(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, file)) if !name.is_empty() && !file.is_empty() => Ok((name.into(), file.into())),
        _ => Err("say which and where: NAME=FILE.npy".into()),
    }
}

/// The gradients that were asked for: the name in the archive, and the output that holds it.
type Slopes = Vec<(String, String)>;

/// Runs a network once.
pub fn run(args: RunArgs, common: &Common) -> anyhow::Result<()> {
    if args.outputs.is_empty() && args.grads.is_none() {
        bail!("nothing is asked for; add --output NAME=FILE.npy or --backward LOSS --grads FILE.npz");
    }
    let mut inputs = read_inputs(&args)?;
    let (network, mut graph, weights) = network(&args, &mut inputs, common)?;
    if args.train_mode {
        graph = graph.for_training()?;
    }
    if let Some(loss) = &args.backward {
        let whole = graph.clone();
        graph = with_loss(graph, loss)?;
        // What only another loss or output reads is fed for nothing.
        inputs.retain(|(name, _)| graph.find_input(name).is_some() || whole.find_input(name).is_none());
    }
    for (name, _) in &args.outputs {
        expose(&mut graph, name, network.blob(name))?;
    }
    let slopes = match &args.backward {
        Some(loss) => with_gradients(&mut graph, loss, &inputs)?,
        None => Slopes::new(),
    };
    let machine = common.machine().with_precision(args.precision.of(network.info(), &args.net)?);
    let keep_weights = args.backward.is_some();
    let mut session = Session::new(&graph, &Options { exact: !args.fast, keep_weights, ..machine })?;
    session.load(&with_stored(&weights, network.stored()))?;
    session.set_random(common.seed(), 0);
    set_inputs(&mut session, &graph, &inputs)?;
    session.run();
    write_results(&args, &session, &slopes, common)
}

fn read_inputs(args: &RunArgs) -> anyhow::Result<Vec<(String, Tensor)>> {
    args.inputs.iter().map(|(name, file)| Ok((name.clone(), npy::read(file)?))).collect()
}

/// The network for inputs of these shapes, and its weights. Inputs that it took in as it was read are taken away.
fn network(
    args: &RunArgs,
    inputs: &mut Vec<(String, Tensor)>,
    common: &Common,
) -> anyhow::Result<(Network, Graph, Weights)> {
    let image = inputs.iter().find_map(|(_, tensor)| <[usize; 4]>::try_from(tensor.shape().dims()).ok());
    // What Keras keeps of weights depends on the network that it describes, so the two are read as one.
    let is_keras = |path: &Path| matches!(Kind::of(path), Ok(Some(Kind::Keras)));
    let together = args.weights.as_ref().filter(|file| is_keras(Path::new(&args.net)) && is_keras(file));
    let source = SourceArgs {
        net: args.model.clone(),
        weights: together.cloned(),
        state: args.state.clone(),
        shapes: InputArgs::default(),
        classes: None,
        leave_weights: args.backward.is_none() && !args.train_mode,
        fed: inputs.clone(),
    };
    let named = source.find(&args.net, None).map(Network::of);
    if let Ok(network) = &named {
        refuse_channels_last(&network.graph, inputs)?;
    }
    // A network from the zoo is made for the image; others are fitted to it below.
    let mut network = match (named, image) {
        (Ok(Network { is_made: true, .. }) | Err(_), Some(shape)) => {
            Network::of(source.find(&args.net, Some(shape))?)
        }
        (named, _) => named?,
    };
    inputs.retain(|(name, _)| !network.has_taken(name));
    if let Some((name, _)) = inputs.iter().find(|(_, tensor)| tensor.data().is_empty()) {
        bail!("the file for input {name} holds no numbers");
    }
    let mut graph = network.graph.clone();
    let fits = |(name, tensor): &(String, Tensor)| {
        graph.find_input(name).is_some_and(|id| graph.shape(id) == tensor.shape())
    };
    let mut fits = inputs.iter().all(fits);
    let known = inputs.iter().filter(|(name, _)| graph.find_input(name).is_some());
    let shapes = known.map(|(name, tensor)| (name.as_str(), tensor.shape().clone()));
    // All at once first: not every input has the batch for its first axis.
    if let (false, Ok(other)) = (fits, graph.with_inputs(shapes)) {
        (graph, fits) = (other, true);
    }
    let batch = inputs.iter().find_map(|(_, tensor)| tensor.shape().first().copied());
    if let Some(batch) = batch.filter(|_| !fits) {
        graph = graph.with_batch(batch)?;
    }
    for (name, tensor) in inputs.iter() {
        if graph.find_input(name).is_some_and(|id| graph.shape(id) != tensor.shape()) {
            graph = graph.with_input(name, tensor.shape().clone()).with_context(|| {
                format!("input {name} cannot have the shape {} of its file", tensor.shape())
            })?;
        }
    }
    let weights = match &args.weights {
        Some(file) if together.is_none() => {
            read_weights(file, &mut graph, args.train_mode || args.backward.is_some())?
        }
        _ => network.take_weights(common.seed()),
    };
    Ok((network, graph, weights))
}

/// Images with their channels last, as TensorFlow has them, would else be taken for images of many channels.
fn refuse_channels_last(graph: &Graph, inputs: &[(String, Tensor)]) -> anyhow::Result<()> {
    for (name, tensor) in inputs {
        let Some(input) = graph.find_input(name) else { continue };
        let (&[batch, height, width, last], &[_, channels, ..]) =
            (tensor.shape().dims(), graph.shape(input).dims())
        else {
            continue;
        };
        if graph.shape(input).rank() == 4
            && last == channels
            && height != channels
            && height.min(width) > last
        {
            bail!(
                "input {name} has shape {} in its file, the network needs {}: its channels stand last, in the order \
                 (N, H, W, C); put them second, x.transpose(0, 3, 1, 2)",
                tensor.shape(),
                ocellus::Shape::from([batch, channels, height, width])
            );
        }
    }
    Ok(())
}

fn read_weights(file: &std::path::Path, graph: &mut Graph, trains: bool) -> anyhow::Result<Weights> {
    let fitted = weights_for(file, graph)?;
    if let Some(stray) = fitted.report.with(Fate::Unused).next().and_then(|line| line.tensor.as_ref()) {
        console::complain(&format!("note: {}: tensor {} {} is not used", file.display(), stray.0, stray.1));
    }
    Ok(if trains { fitted.complete(file, graph)? } else { fitted.complete_to_predict(file, graph)? })
}

/// The network with the loss `loss` as its only one; a classifier without losses gets one.
fn with_loss(graph: Graph, loss: &str) -> anyhow::Result<Graph> {
    let graph = match graph.losses().is_empty() {
        true if loss == "loss" => graph.with_classifier_loss(0.0)?,
        true => bail!(
            "{} has no loss called {loss}; a classifier without losses gets one called loss",
            graph.name
        ),
        false => graph,
    };
    let mut kept: Vec<&str> = graph.outputs().iter().map(|output| output.name.as_str()).collect();
    kept.push(loss);
    Ok(graph.prune(&kept)?)
}

/// Makes sure that `name` is handed out: an output, a loss, or the first value of a node.
///
/// A blob of Caffe is what the last layer that works on it in place leaves in it.
fn expose(graph: &mut Graph, name: &str, blob: Option<String>) -> anyhow::Result<()> {
    let is_known = graph.find_output(name).is_some() || graph.losses().iter().any(|loss| loss.name == name);
    if is_known {
        return Ok(());
    }
    let node = blob.as_deref().unwrap_or(name);
    let Some(value) = graph.find_node(node).and_then(|id| graph.node(id).outputs.first().copied()) else {
        let outputs: Vec<&str> = graph.outputs().iter().map(|output| output.name.as_str()).collect();
        bail!(
            "{} has no output, loss or node called {name}; its outputs are {}",
            graph.name,
            outputs.join(", ")
        );
    };
    graph.add_output(name, value);
    Ok(())
}

/// Appends the gradients and hands each out.
fn with_gradients(graph: &mut Graph, loss: &str, inputs: &[(String, Tensor)]) -> anyhow::Result<Slopes> {
    let inputs: Vec<String> = inputs.iter().map(|(name, _)| name.clone()).collect();
    inputs.iter().try_for_each(|name| check_input_known(graph, name))?;
    let found = differentiate(graph, &Request { inputs, params: true })
        .with_context(|| format!("the gradients of {loss}"))?;
    let params = found.params.iter().map(|&(id, value)| (found.graph.param(id).name.clone(), value));
    let named: Vec<(String, ValueId)> = params.chain(found.inputs.iter().cloned()).collect();
    *graph = found.graph;
    let mut slopes = Slopes::new();
    for (name, value) in named {
        let output = format!("gradient of {name}");
        graph.add_output(&output, value);
        slopes.push((name, output));
    }
    Ok(slopes)
}

fn check_input_known(graph: &Graph, name: &str) -> anyhow::Result<()> {
    if graph.find_input(name).is_some() {
        return Ok(());
    }
    let names: Vec<&str> = graph.inputs().iter().map(|&id| graph.value(id).name.as_str()).collect();
    bail!("{} has no input called {name}; its inputs are {}", graph.name, names.join(", "))
}

fn set_inputs(session: &mut Session, graph: &Graph, inputs: &[(String, Tensor)]) -> anyhow::Result<()> {
    for (name, _) in inputs {
        check_input_known(graph, name)?;
    }
    for &id in graph.inputs() {
        let needed = graph.value(id);
        if !inputs.iter().any(|(name, _)| *name == needed.name) {
            let name = &needed.name;
            bail!("the input {name} {} is missing; add --input {name}=FILE.npy", needed.shape);
        }
    }
    for (name, tensor) in inputs {
        let needed = graph.find_input(name).map(|id| graph.shape(id));
        if let Some(needed) = needed.filter(|needed| *needed != tensor.shape()) {
            bail!("input {name} has shape {} in its file, the network needs {needed}", tensor.shape());
        }
        session.set_input(name, tensor.data())?;
    }
    Ok(())
}

fn write_results(args: &RunArgs, session: &Session, slopes: &Slopes, common: &Common) -> anyhow::Result<()> {
    let mut written = serde_json::Map::new();
    for (name, file) in &args.outputs {
        let tensor = session.output_tensor(name)?;
        npy::write(file, &tensor)?;
        written.insert(name.clone(), json!({"file": file, "shape": tensor.shape().dims()}));
    }
    if let Some(file) = &args.grads {
        let arrays: Result<Weights, _> = slopes
            .iter()
            .map(|(name, output)| {
                Ok::<_, ocellus::EngineError>((name.clone(), session.output_tensor(output)?))
            })
            .collect();
        npz::write(file, &arrays?)?;
    }
    if common.json {
        let loss = args.backward.as_ref().and_then(|name| session.output(name).ok()?.first().copied());
        console::say_json(&json!({"outputs": written, "grads": args.grads, "loss": loss}))?;
    }
    Ok(())
}
