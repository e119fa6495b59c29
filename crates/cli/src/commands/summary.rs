//! `ocellus summary`: what is this network?

use std::path::{Path, PathBuf};

use clap::Args;
use ocellus::compare::{Comparison, compare};
use ocellus::formats::{Fate, MatchReport};
use ocellus::load::weights_for;
use ocellus::train::{Optimiser, StepGraphs, StepSetup};
use ocellus::{Graph, Options, Plan, Summary};
use serde_json::{Value, json};

use crate::args::Common;
use crate::network::{InputArgs, SourceArgs, StateArgs};
use crate::{console, words};

const EXAMPLE: &str = "\
Examples:
  ocellus summary resnet50
  ocellus summary resnet20 --input 128,3,32,32 --train
  ocellus summary lenet_train_test.prototxt --input 1,1,28,28
  ocellus summary resnet50 --weights resnet50.pth                what becomes of every tensor of the file
  ocellus summary --compare resnet50 ResNet-50-deploy.prototxt

A training step's memory is that of SGD with momentum.";

/// What may be said after `ocellus summary`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct SummaryArgs {
    /// Name in the zoo, run folder, or a file of any format that holds or describes a network
    #[arg(value_name = "NET", required_unless_present_any = ["compare", "weights"])]
    pub net: Option<String>,
    /// Also tell what becomes of every tensor of this file (.safetensors, .caffemodel, .pt, .pth, .h5, .npz); without
    /// NET, the network is the file's own
    #[arg(long, value_name = "FILE", conflicts_with = "compare")]
    pub weights: Option<PathBuf>,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub shapes: InputArgs,
    /// Classes that a network of the zoo is to tell apart [default: its own]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub classes: Option<u32>,
    /// Show the whole training step: loss, gradients and updates too
    #[arg(long)]
    pub train: bool,
    /// Compare two networks tensor by tensor: why does one count other parameters than the other?
    #[arg(long, num_args = 2, value_names = ["A", "B"], conflicts_with_all = ["net", "train"])]
    pub compare: Option<Vec<String>>,
    /// The network that tensors without one belong to: a zoo name or a description [default: by their shapes]
    #[arg(long = "model", value_name = "NET")]
    pub model: Option<String>,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub state: StateArgs,
}

/// Exact peak memory of plans for this machine, in bytes.
struct Planned {
    inference: u64,
    /// Or why the network cannot be trained as it is.
    training: Result<u64, String>,
}

/// Summarises.
pub fn run(args: SummaryArgs, common: &Common) -> anyhow::Result<()> {
    let classes = args.classes.map(|n| n as usize);
    let source = SourceArgs {
        net: args.model.clone(),
        state: args.state.clone(),
        shapes: args.shapes.clone(),
        classes,
        ..SourceArgs::default()
    };
    let find = |word: &str| -> anyhow::Result<Graph> { Ok(source.find(word, None)?.graph) };
    let net = match (&args.net, args.compare.as_deref()) {
        (_, Some([a, b])) => return print_comparison([a, b], &compare(&find(a)?, &find(b)?), common),
        (Some(net), _) => net.clone(),
        _ => match &args.weights {
            Some(file) => file.display().to_string(),
            None => anyhow::bail!("name a network: ocellus summary NET"),
        },
    };
    let (graph, report) = match &args.weights {
        Some(file) => {
            let (graph, report) = with_weights(&source, &net, file)?;
            (graph, Some(report))
        }
        None => (find(&net)?, None),
    };
    let step = training_step(&graph);
    let planned = planned(&graph, &step, &common.machine())?;
    let shown = match (args.train, step) {
        (true, step) => Summary::of(&step?.gradients),
        (false, _) => Summary::of(&graph),
    };
    // What the network is, even where its training step is shown.
    let own = Summary::of(&graph);
    let summary = Summary {
        parameters: own.parameters,
        receptive_field: own.receptive_field,
        layers: own.layers,
        ..shown
    };
    if common.json {
        let mut all = to_json(&summary, &planned);
        if let Some(report) = &report {
            all["weights"] = tensors_json(report);
        }
        return console::say_json(&all);
    }
    console::say(&summary.to_string());
    console::say(&format!("planned peak memory, inference: {}", words::bytes(planned.inference)));
    match &planned.training {
        Ok(bytes) => console::say(&format!("planned peak memory, training step: {}", words::bytes(*bytes))),
        Err(reason) => console::say(&format!("planned peak memory, training step: none ({reason})")),
    }
    report.iter().for_each(|report| console::say(&format!("\n{report}")));
    Ok(())
}

/// The network that takes the weights of `file`, and what became of each tensor; where they do not fit, that is told
/// before the error.
fn with_weights(source: &SourceArgs, net: &str, file: &Path) -> anyhow::Result<(Graph, MatchReport)> {
    let with = SourceArgs { weights: Some(file.to_owned()), ..source.clone() };
    let own = if Path::new(net) == file { source } else { &with };
    let found = own.find(net, None);
    let graph = match found.as_ref() {
        Ok(found) => found.graph.clone(),
        Err(_) => match source.find(net, None) {
            Ok(bare) => bare.graph,
            Err(_) => return Err(found.err().unwrap_or_else(|| anyhow::anyhow!("{net} is no network"))),
        },
    };
    let report = weights_for(file, &graph)?.report;
    match found {
        Ok(_) => Ok((graph, report)),
        Err(cause) => {
            console::complain(&report.to_string());
            Err(cause)
        }
    }
}

fn tensors_json(report: &MatchReport) -> Value {
    let fates = [
        ("matched", Fate::Matched),
        ("reshaped", Fate::Reshaped),
        ("wrong_shape", Fate::WrongShape),
        ("missing", Fate::Missing),
        ("unused", Fate::Unused),
        ("ignored", Fate::Ignored),
    ];
    let all: serde_json::Map<String, Value> =
        fates.into_iter().map(|(name, fate)| (name.to_string(), json!(report.count(fate)))).collect();
    Value::Object(all)
}

fn print_comparison(names: [&str; 2], found: &Comparison, common: &Common) -> anyhow::Result<()> {
    if common.json {
        return console::say_json(found);
    }
    let words = |tensor: &Option<(String, Vec<usize>)>| match tensor {
        Some((name, sizes)) => format!("{name} {}", ocellus::Shape::new(sizes.clone())),
        None => "-".into(),
    };
    let odd: Vec<_> = found.tensors.iter().filter(|pair| !pair.is_same()).collect();
    let width = odd.iter().map(|pair| words(&pair.a).chars().count()).max().unwrap_or(0);
    console::say(&format!(
        "{} tensors are the same, {} are not:",
        found.tensors.len() - odd.len(),
        odd.len()
    ));
    for pair in &odd {
        console::say(&format!("  {:<16}  {:<width$}  {}", pair.part, words(&pair.a), words(&pair.b)));
    }
    for (name, counts) in names.iter().zip([&found.a, &found.b]) {
        console::say(&format!(
            "{name}: {} learned, {} statistics, {} in all",
            grouped(counts.learned),
            grouped(counts.statistics),
            grouped(counts.total)
        ));
    }
    for difference in &found.differences {
        let (a, b) = (grouped(difference.a), grouped(difference.b));
        console::say(&format!("  {}: {a} and {b}", difference.what));
    }
    if found.differences.is_empty() {
        console::say("  they count the same");
    }
    Ok(())
}

/// A number with commas: 25,557,032.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// One step of SGD with momentum on a batch as large as the input's.
fn training_step(graph: &Graph) -> anyhow::Result<StepGraphs> {
    let batch = graph.inputs().first().and_then(|&id| graph.shape(id).first().copied()).unwrap_or(1);
    let setup = StepSetup::new(batch, Optimiser::sgd(5e-4));
    Ok(StepGraphs::new(graph, &setup)?)
}

fn planned(graph: &Graph, step: &anyhow::Result<StepGraphs>, machine: &Options) -> anyhow::Result<Planned> {
    // A description that only trains or measures has nothing else to give; it is planned as it is.
    let inference = graph.for_inference().unwrap_or_else(|_| graph.clone());
    let inference = Plan::new(&inference, &machine.clone().without_weights())?.bytes() as u64;
    let training = match step {
        Ok(step) => Ok(step.planned_bytes(machine)? as u64),
        Err(reason) => Err(words::one_sentence(reason)),
    };
    Ok(Planned { inference, training })
}

fn to_json(summary: &Summary, planned: &Planned) -> Value {
    let layers = &summary.layers;
    let node = |node: &ocellus::NodeSummary| {
        json!({
            "name": node.name,
            "op": node.op,
            "output": node.output.dims(),
            "parameters": node.parameters,
            "macs": node.macs,
        })
    };
    json!({
        "name": summary.name,
        "parameters": {
            "trainable": summary.parameters.trainable,
            "frozen": summary.parameters.frozen,
            "statistics": summary.parameters.statistics,
            "auxiliary": summary.parameters.auxiliary,
        },
        "macs": summary.macs,
        "auxiliary_macs": summary.auxiliary_macs,
        "layers": {
            "weighted": layers.weighted,
            "reckoning": layers.sum(),
            "shortcut_projections": layers.shortcut_projections,
            "gate_layers": layers.gate_layers,
            "parallel_layers": layers.parallel_layers,
            "auxiliary_layers": layers.auxiliary_layers,
            "batch_norms": layers.batch_norms,
            "weighted_modules": layers.weighted_modules,
            "operations": layers.operations,
        },
        "activation_bytes": summary.activation_bytes,
        "receptive_field": summary.receptive_field.map(|field| json!({"size": field.size, "stride": field.stride})),
        "planned_bytes": {
            "inference": planned.inference,
            "training": planned.training.as_ref().ok(),
        },
        "nodes": summary.nodes.iter().map(node).collect::<Vec<_>>(),
    })
}
