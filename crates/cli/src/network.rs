//! Which network does a word on the command line mean? A run folder, a model file, or a name in the zoo.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use ocellus::train::RunFolder;
use ocellus::{Graph, Model, Weights, initialise, zoo};

/// A network that was asked for.
pub struct Network {
    /// For one image, or as many as were asked for; in its inference form.
    pub graph: Graph,
    /// The file it came from, if it came from one.
    pub model: Option<Model>,
}

impl Network {
    /// Finds `word`, with input `(N, C, H, W)` if given.
    ///
    /// A network from the zoo is made for that input; one from a file keeps its layers, and refuses an input that
    /// they do not take.
    pub fn find(word: &str, input: Option<[usize; 4]>) -> anyhow::Result<Network> {
        if let Some(file) = model_file(word)? {
            let model = Model::load(&file)?;
            let graph = match input {
                Some(shape) => with_image_input(&model.graph, shape)
                    .with_context(|| format!("{word} does not take an input of {}", shape_text(shape)))?,
                None => model.graph.clone(),
            };
            return Ok(Network { graph, model: Some(model) });
        }
        let options = match input {
            Some([_, channels, height, width]) => {
                zoo::Options::default().with_input([channels, height, width])
            }
            None => zoo::Options::default(),
        };
        let graph = zoo::build(word, &options).map_err(|error| unknown(word, error))?;
        let graph = graph.with_batch(input.map_or(1, |[batch, ..]| batch))?;
        Ok(Network { graph, model: None })
    }

    /// The model's own weights, or new ones drawn by `seed`.
    pub fn weights(&self, seed: u64) -> Weights {
        match &self.model {
            Some(model) => model.weights.clone(),
            None => initialise(&self.graph, seed),
        }
    }
}

/// Reads the model that `word` means: a run folder or a model file.
pub fn load_model(word: &str) -> anyhow::Result<Model> {
    match model_file(word)? {
        Some(file) => Ok(Model::load(file)?),
        None if zoo::is_known(word) => {
            bail!(
                "{word} in the zoo has no trained weights; train it first: ocellus train DATA --model {word}"
            )
        }
        None => bail!("{word}: there is no such run folder or model file; `ocellus train` makes one"),
    }
}

/// The file behind a run folder or file name; `None` if nothing of that name exists.
fn model_file(word: &str) -> anyhow::Result<Option<PathBuf>> {
    let path = Path::new(word);
    // A folder that happens to be called like a network does not hide it, unless it is a run folder.
    if path.is_dir() && (RunFolder::at(path).exists() || !zoo::is_known(word)) {
        let best = RunFolder::at(path).best();
        if best.is_file() {
            return Ok(Some(best));
        }
        bail!(
            "{word} holds no best.safetensors: it is no run folder, or its run has not finished an epoch yet"
        );
    }
    Ok(path.is_file().then(|| path.to_owned()))
}

fn unknown(word: &str, error: zoo::ZooError) -> anyhow::Error {
    let is_path = word.contains(['/', '\\']) || word.ends_with(".safetensors");
    match error {
        zoo::ZooError::Unknown { .. } if is_path => {
            anyhow::anyhow!("{word}: there is no such run folder or model file; check the path")
        }
        error => error.into(),
    }
}

fn with_image_input(graph: &Graph, [batch, channels, height, width]: [usize; 4]) -> anyhow::Result<Graph> {
    let graph = graph.with_batch(batch)?;
    let Some(&image) = graph.inputs().first() else { bail!("it has no input") };
    let name = graph.value(image).name.clone();
    Ok(graph.with_input(&name, [batch, channels, height, width])?)
}

/// `(N, C, H, W)`.
pub fn shape_text(shape: [usize; 4]) -> String {
    ocellus::Shape::from(shape).to_string()
}

/// Reads `N,C,H,W`, or `C,H,W` for one image.
pub fn parse_input(text: &str) -> Result<[usize; 4], String> {
    let numbers: Result<Vec<usize>, _> = text.split([',', 'x']).map(|n| n.trim().parse()).collect();
    let is_possible = |all: &[usize]| {
        all.iter().all(|&n| n > 0) && all.iter().try_fold(4_usize, |a, &n| a.checked_mul(n)).is_some()
    };
    match numbers.as_deref() {
        Ok(all @ &[n, c, h, w]) if is_possible(all) => Ok([n, c, h, w]),
        Ok(all @ &[c, h, w]) if is_possible(all) => Ok([1, c, h, w]),
        _ => Err("give four positive numbers, N,C,H,W: for example 1,3,224,224".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_read_in_two_forms() {
        assert_eq!(parse_input("8,3,32,32"), Ok([8, 3, 32, 32]));
        assert_eq!(parse_input("3x32x32"), Ok([1, 3, 32, 32]));
        assert!(parse_input("3,0,32").is_err() && parse_input("a,b,c,d").is_err());
    }

    #[test]
    fn an_unknown_name_and_a_missing_file_are_told_apart() {
        let refusal = |word: &str| Network::find(word, None).err().unwrap().to_string();
        assert!(refusal("resnet5O").contains("did you mean resnet50?"));
        assert!(refusal("runs/none/best.safetensors").contains("check the path"));
    }
}
