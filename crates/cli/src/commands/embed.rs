//! `ocellus embed`: images to vectors.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::bail;
use clap::{Args, ValueEnum};
use ocellus::data::Split;
use ocellus::formats::{npy, write_atomically};
use ocellus::train::{EMBEDDING, Embeddings, preprocess_of};
use ocellus::{Model, Tensor};

use crate::args::Common;
use crate::commands::pairs::embedded;
use crate::commands::val::{self, Wanted};
use crate::data_args::DataArgs;
use crate::network::{PrepareArgs, SourceArgs};
use crate::{console, words};

const EXAMPLE: &str = "\
Examples:
  ocellus embed runs/train faces/ --out faces.npy        and faces.csv: image,class of each row
  ocellus embed runs/train faces/ --part train --out train.csv
  ocellus embed resnet18.safetensors photos/ --layer avgpool --out features.npy

FILE.npy is (images, numbers) in float32; FILE.csv has a line per image: image, class, numbers.";

/// What may be said after `ocellus embed`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct EmbedArgs {
    /// Run folder or model file
    #[arg(value_name = "MODEL")]
    pub model: String,
    /// Images, in any form that training takes [default: the run's own data]
    #[arg(value_name = "DATA")]
    pub data: Option<String>,
    /// Where the embeddings go: .npy (with a .csv of images and classes beside it) or .csv
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Which part of the data
    #[arg(long, value_enum, value_name = "PART", default_value = "val")]
    pub part: Part,
    /// Take what this layer gives [default: the output embedding of networks trained with --loss]
    #[arg(long, value_name = "NODE")]
    pub layer: Option<String>,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub data_args: DataArgs,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub source: SourceArgs,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub prepare: PrepareArgs,
}

/// Parts of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Validation (or test) images.
    Val,
    /// Training images.
    Train,
}

/// Embeds.
pub fn run(args: EmbedArgs, common: &Common) -> anyhow::Result<()> {
    let is_table = match args.out.extension().and_then(|e| e.to_str()) {
        Some("csv") => true,
        Some("npy") => false,
        _ => bail!("{}: embeddings are written as .npy or .csv; end the name in one", args.out.display()),
    };
    let mut model = args.source.model(&args.model, &args.prepare)?;
    match &args.layer {
        Some(layer) => model.graph = model.graph.cut_at(layer)?.rename("output", EMBEDDING)?,
        None if model.graph.find_output(EMBEDDING).is_none() => bail!(
            "{} was not trained to embed; name the layer whose numbers are wanted by --layer (ocellus summary {} \
             lists them)",
            args.model,
            args.model
        ),
        None => {}
    }
    let preprocess = preprocess_of(&model)?;
    let wanted = Wanted { model: &args.model, data: args.data.as_deref(), data_args: &args.data_args };
    let images = val::source(&wanted, common)?.open(args.part == Part::Val)?;
    images.notes.iter().for_each(|note| console::complain(&format!("note: {note}")));
    let split = if args.part == Part::Val { &images.val } else { &images.train };
    if split.is_empty() {
        bail!("the {} part of the data is empty; name the other one by --part", split.name());
    }
    let embeddings = embedded(&model, split, &preprocess, common)?;
    let files = match is_table {
        true => vec![write_text(&args.out, &table(&embeddings, split, true))?],
        false => {
            let tensor = Tensor::new([embeddings.len(), embeddings.width], embeddings.values.clone())?;
            npy::write(&args.out, &tensor)?;
            vec![
                args.out.clone(),
                write_text(&args.out.with_extension("csv"), &table(&embeddings, split, false))?,
            ]
        }
    };
    tell(&model, &embeddings, &files, common)
}

fn tell(model: &Model, embeddings: &Embeddings, files: &[PathBuf], common: &Common) -> anyhow::Result<()> {
    let (images, width) = (embeddings.len(), embeddings.width);
    if common.json {
        return console::say_json(&serde_json::json!({"images": images, "width": width, "files": files}));
    }
    let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    console::say(&format!(
        "{}: {images} images, {width} numbers each: {}",
        model.graph.name,
        names.join(", ")
    ));
    Ok(())
}

fn write_text(path: &Path, text: &str) -> anyhow::Result<PathBuf> {
    write_atomically(path, |out| out.write_all(text.as_bytes()))?;
    Ok(path.to_owned())
}

/// Image and class of each row, and its numbers if those are wanted.
fn table(embeddings: &Embeddings, split: &Arc<Split>, with_numbers: bool) -> String {
    let mut out = String::from("image,class");
    let columns = if with_numbers { embeddings.width } else { 0 };
    for column in 0..columns {
        let _ = write!(out, ",e{column}");
    }
    out.push('\n');
    for (index, sample) in split.samples().iter().enumerate() {
        let _ = write!(
            out,
            "{},{}",
            words::cell(&sample.name),
            words::cell(&split.classes()[sample.class as usize])
        );
        for x in &embeddings.row(index)[..columns] {
            let _ = write!(out, ",{x}");
        }
        out.push('\n');
    }
    out
}
