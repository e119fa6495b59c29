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
    if ask.fed.is_empty() && ask.input.is_none() {
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

/// The shapes of what is fed; else the shape that was asked for is the first input's.
fn with_sizes(inputs: &[Port], ask: &Ask) -> ReadOptions {
    let mut options = ReadOptions::default();
    let is_fed = |input: &&Port| ask.fed.iter().any(|(name, _)| *name == input.name);
    if let (Some(shape), Some(input)) = (ask.input, inputs.first().filter(|input| !is_fed(input))) {
        options = options.shape(input.name.clone(), shape);
    }
    for (name, tensor) in &ask.fed {
        let Some(input) = inputs.iter().find(|input| input.name == *name) else { continue };
        let dims = tensor.shape().dims();
        // An input of fixed sizes may still be given another batch afterwards.
        let fits = input.shape.as_ref().is_none_or(|sizes| {
            sizes.len() == dims.len()
                && sizes.iter().zip(dims).all(|(size, &fed)| size.is_none_or(|size| size == fed || size == 0))
        });
        if fits && !dims.contains(&0) {
            options = options.shape(name.clone(), dims);
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
