//! `ocellus convert`: a network from one format into another.

use std::path::Path;

use anyhow::bail;
use clap::{Args, ValueEnum};
use ocellus::load::{Found, save};
use ocellus::{Graph, Weights};
use serde_json::json;

use crate::args::Common;
use crate::console;
use crate::network::{PrepareArgs, SourceArgs, parse_input};

const EXAMPLE: &str = "\
Examples:
  ocellus convert runs/train/best.safetensors net.prototxt       writes net.prototxt, net.caffemodel and net.toml
  ocellus convert squeezenet.prototxt squeezenet.safetensors --weights squeezenet.caffemodel \\
      --resize 256 --fit stretch --bgr --mean 104,117,123 --labels synset_words.txt
  ocellus convert resnet20.th resnet20.safetensors --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225
  ocellus convert fc-to-conv caffenet.prototxt maps.safetensors --weights caffenet.caffemodel

IN is anything that holds or describes a network. OUT says the format by its name: .safetensors (Ocellus), .prototxt or
.caffemodel (Caffe: both are written), .npz (weights alone), .txt or .net (the network's text form alone). Preprocessing and
class names are kept: inside .safetensors, else in a .toml of the same name, which ocellus finds there again.

fc-to-conv turns linear layers into convolutions: the same numbers at the size trained for, a map of scores on larger
images. conv-to-fc turns them back.";

/// What may be said after `ocellus convert`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLE, override_usage = "ocellus convert [fc-to-conv|conv-to-fc] IN OUT [OPTIONS]")]
pub struct ConvertArgs {
    /// What to read and what to write, after a change of the network if one is wanted
    #[arg(value_name = "IN OUT", num_args = 2..=3, required = true)]
    pub words: Vec<String>,
    /// Shape of the input, for descriptions that do not say it
    #[arg(long, value_name = "N,C,H,W", value_parser = parse_input)]
    pub input: Option<[usize; 4]>,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub source: SourceArgs,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub prepare: PrepareArgs,
}

/// Changes of a network on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Surgery {
    FcToConv,
    ConvToFc,
}

/// Converts.
pub fn run(args: ConvertArgs, common: &Common) -> anyhow::Result<()> {
    let (surgery, from, to) = match args.words.as_slice() {
        [from, to] => (None, from, to),
        [surgery, from, to] => match Surgery::from_str(surgery, false) {
            Ok(surgery) => (Some(surgery), from, to),
            Err(_) => {
                bail!("{surgery}: there is no such change; say fc-to-conv or conv-to-fc, then IN and OUT")
            }
        },
        _ => bail!("say what to read and what to write: ocellus convert IN OUT"),
    };
    let mut found = args.source.find(from, args.input)?;
    let told = found.notes.len();
    args.prepare.preparation().apply(&mut found)?;
    found.notes[told..].iter().for_each(|note| console::complain(&format!("note: {note}")));
    if let Some(surgery) = surgery {
        operate(&mut found, surgery)?;
    }
    let saved = save(&found, Path::new(to))?;
    if common.json {
        return console::say_json(&json!({"written": saved.files, "left_out": saved.left_out}));
    }
    for file in &saved.files {
        console::say(&format!("written: {}", file.display()));
    }
    for what in &saved.left_out {
        console::complain(&format!("note: {to} has no place for {what}"));
    }
    Ok(())
}

/// Changes the network; the weights keep their numbers in their order.
fn operate(found: &mut Found, surgery: Surgery) -> anyhow::Result<()> {
    found.graph = match surgery {
        Surgery::FcToConv => found.graph.to_convolutions()?,
        Surgery::ConvToFc => found.graph.to_linear()?,
    };
    if let Some(weights) = &mut found.weights {
        reshape(weights, &found.graph)?;
    }
    Ok(())
}

fn reshape(weights: &mut Weights, graph: &Graph) -> anyhow::Result<()> {
    for param in graph.params() {
        if let Some(tensor) = weights.remove(&param.name) {
            weights.insert(param.name.clone(), tensor.reshape(param.shape.clone())?);
        }
    }
    Ok(())
}
