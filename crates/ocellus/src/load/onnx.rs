//! An ONNX model, for the inputs that are at hand.
//!
//! ```text
//! free sizes:  those of the numbers that are fed, or of the image that is asked for
//! cannot be read because an input decides a shape?  read it again, and let it know whole numbers and short lists
//! ```

use std::path::Path;

use ocellus_formats::FormatError;
use ocellus_formats::onnx::{Port, ReadOptions, ports_of, read_file};

use super::{Ask, Found, LoadError};

/// No list of scales, regions or axes is longer.
const SHORT: usize = 64;

/// Reads the model in `file` as `ask` wants it.
pub(super) fn open(file: &Path, ask: &Ask) -> Result<Found, LoadError> {
    if ask.fed.is_empty() && ask.shapes.is_empty() && ask.input.is_none() {
        return Ok(Found::of_model(read_file(file, &ReadOptions::default())?));
    }
    let [inputs, _] = ports_of(file)?;
    let sized = with_sizes(&inputs, ask);
    let first = match read_file(file, &sized) {
        Ok(model) => return Ok(Found::of_model(model)),
        Err(cause) => cause,
    };
    let taken: Vec<String> = deciding(&inputs, ask);
    if taken.is_empty() {
        return Err(first.into());
    }
    match with_values(file, sized, ask, &taken) {
        Ok(model) => Ok(Found { taken, ..Found::of_model(model) }),
        // What is wrong beside that, the first attempt said.
        Err(_) => Err(first.into()),
    }
}

/// The shapes of what is fed, and those that were asked for, of inputs whose free sizes they are.
fn with_sizes(inputs: &[Port], ask: &Ask) -> ReadOptions {
    let first = inputs.first().map(|input| input.name.as_str()).unwrap_or_default();
    let mut shapes: Vec<(&str, &[usize])> = Vec::new();
    if let Some(image) = &ask.input {
        let has_three = inputs.first().and_then(|input| input.shape.as_ref()).is_some_and(|s| s.len() == 3);
        shapes.push((first, if has_three { &image[1..] } else { image }));
    }
    shapes.extend(ask.shapes.iter().map(|(name, sizes)| {
        let name = if name.is_empty() { first } else { name.as_str() };
        (name, sizes.as_slice())
    }));
    shapes.extend(ask.fed.iter().map(|(name, tensor)| (name.as_str(), tensor.shape().dims())));
    let mut options = ReadOptions::default();
    for (name, wanted) in shapes {
        let Some(input) = inputs.iter().find(|input| input.name == name) else { continue };
        // An input of fixed sizes may still be given another batch afterwards.
        let fits = input.shape.as_ref().is_none_or(|sizes| {
            sizes.len() == wanted.len()
                && sizes
                    .iter()
                    .zip(wanted)
                    .all(|(size, &own)| size.is_none_or(|size| size == own || size == 0))
        });
        if fits && !wanted.contains(&0) {
            options = options.shape(name, wanted);
        }
    }
    options
}

/// The fed inputs that may decide shapes: whole numbers, short lists, and tensors without numbers.
fn deciding(inputs: &[Port], ask: &Ask) -> Vec<String> {
    let decides = |(name, tensor): &&(String, ocellus_tensor::Tensor)| {
        let is_short = tensor.shape().rank() <= 1 && tensor.data().len() <= SHORT;
        let decides = |input: &Port| is_short || tensor.data().is_empty() || !input.element.contains("float");
        inputs.iter().any(|input| input.name == *name && decides(input))
    };
    ask.fed.iter().filter(decides).map(|(name, _)| name.clone()).collect()
}

fn with_values(
    file: &Path,
    mut options: ReadOptions,
    ask: &Ask,
    names: &[String],
) -> Result<ocellus_formats::Model, FormatError> {
    for (name, tensor) in ask.fed.iter().filter(|(name, _)| names.contains(name)) {
        options.shapes.remove(name);
        options = options.value(name.clone(), tensor.cast::<f64>());
    }
    read_file(file, &options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Preparation, open};
    use ocellus_formats::{Model, onnx};
    use ocellus_graph::Builder;

    /// A model of one input x, in a file.
    fn model(shape: &[usize], order: &[usize]) -> (tempfile::TempDir, Ask) {
        let mut b = Builder::new("net");
        let x = b.input("x", shape);
        let x = b.transpose("turn", x, order);
        let y = b.relu("relu", x);
        b.output("y", y);
        let graph = b.finish().unwrap();
        let (weights, info) = (Default::default(), Default::default());
        let model = Model { graph, weights, classes: Vec::new(), preprocess: None, info };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("net.onnx");
        std::fs::write(&path, onnx::write(&model).unwrap()).unwrap();
        let word = Ask::word(path.display().to_string());
        (folder, word)
    }

    fn input(found: &Found) -> Vec<usize> {
        found.graph.shape(found.graph.find_input("x").unwrap()).to_vec()
    }

    #[test]
    fn inputs_take_shapes_by_name_and_of_any_rank() {
        let (_folder, word) = model(&[1, 3, 16], &[0, 2, 1]);
        let shapes =
            |name: &str, sizes: &[usize]| Ask { shapes: vec![(name.into(), sizes.to_vec())], ..word.clone() };
        assert_eq!(input(&open(&shapes("x", &[2, 3, 16])).unwrap()), [2, 3, 16]);
        assert_eq!(input(&open(&shapes("", &[4, 3, 8])).unwrap()), [4, 3, 8]);
        // Three sizes of an image are those of an input of three axes.
        assert_eq!(input(&open(&Ask { input: Some([1, 5, 3, 16]), ..word.clone() }).unwrap()), [5, 3, 16]);
        let sentence = open(&shapes("image", &[1, 3, 16])).unwrap_err().to_string();
        assert!(sentence.contains("\"image\"") && sentence.contains("its inputs are x"), "{sentence}");
        let sentence = open(&shapes("x", &[1, 16])).unwrap_err().to_string();
        assert!(sentence.contains("(1, 16)"), "{sentence}");
        // A network of the zoo takes its image by name, too, and nothing else.
        let lenet = |name: &str, sizes: &[usize]| {
            open(&Ask { shapes: vec![(name.into(), sizes.to_vec())], ..Ask::word("lenet") })
        };
        let graph = lenet("input", &[5, 3, 32, 32]).unwrap().graph;
        assert_eq!(graph.shape(graph.inputs()[0]).dims(), [5, 3, 32, 32]);
        assert!(lenet("", &[1, 5]).is_err() && lenet("label", &[1, 3, 32, 32]).is_err());
    }

    #[test]
    fn pictures_are_taken_with_their_channels_second() {
        let (_folder, word) = model(&[1, 8, 6, 3], &[0, 3, 1, 2]);
        let mut found = open(&word).unwrap();
        assert_eq!(input(&found), [1, 8, 6, 3]);
        Preparation { mean: Some(vec![0.5]), ..Preparation::default() }.apply(&mut found).unwrap();
        assert_eq!(input(&found), [1, 3, 8, 6]);
        let output = found.graph.find_output("y").unwrap();
        assert_eq!(found.graph.shape(output).dims(), [1, 3, 8, 6]);
        let preprocess = found.preprocess.unwrap();
        assert_eq!(preprocess["size"], serde_json::json!([8, 6]));
        assert!(found.notes[0].contains("channels last"), "{:?}", found.notes);
        // Images as everywhere else stay.
        let (_folder, word) = model(&[1, 3, 8, 6], &[0, 1, 3, 2]);
        let mut found = open(&word).unwrap();
        found.take_pictures().unwrap();
        assert_eq!(input(&found), [1, 3, 8, 6]);
    }
}
