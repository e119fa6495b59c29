//! Making a trained network ready for 8-bit inference: its values' ranges, found by showing it some images, and kept in
//! the model beside its weights, which stay `f32`.

use std::collections::BTreeMap;

use ocellus_data::{Preprocessor, Split};
use ocellus_engine::{Calibrator, Method, Options, Ranges};
use ocellus_formats::{FormatError, Model};

use crate::TrainError;
use crate::predict::preprocess_of;
use crate::stepper::image_input;
use crate::validate::with_scores;

/// The entry of [`Model::info`] that holds the ranges: a JSON object, `{"value": [lower bound, upper bound]}`.
const RANGES: &str = "ranges";
/// Images shown at once.
const BATCH: usize = 4;

/// Shows the model up to `samples` images of `split`, evenly spaced, and notes the ranges in it; returns how many images
/// it saw.
///
/// Errors: the model does not say how pictures become its input; there are no images; an image cannot be read.
pub fn quantise(
    model: &mut Model,
    split: &Split,
    (method, samples): (Method, usize),
    options: &Options,
) -> Result<usize, TrainError> {
    if split.is_empty() || samples == 0 {
        return Err(TrainError::setting("there are no images to calibrate with"));
    }
    let (graph, _) = with_scores(&model.graph)?;
    let input = image_input(&graph)?;
    let mut preprocessor = Preprocessor::new(&preprocess_of(model)?)?;
    let mut calibrator = Calibrator::new(&graph.with_batch(BATCH)?, options)?;
    calibrator.load(&model.weights)?;
    let count = samples.min(split.len());
    let chosen: Vec<usize> = (0..count).map(|i| i * split.len() / count).collect();
    let passes: &[fn(&mut Calibrator, usize)] = match method {
        Method::MinMax => &[Calibrator::note_bounds],
        _ => &[Calibrator::note_bounds, Calibrator::note_counts],
    };
    for note in passes {
        for indices in chosen.chunks(BATCH) {
            let session = calibrator.session();
            let len = session.input_mut(&input)?.len() / BATCH;
            for (slot, &index) in indices.iter().enumerate() {
                let image = split.image(index)?;
                preprocessor.evaluate(image.view(), &mut session.input_mut(&input)?[slot * len..][..len])?;
            }
            note(&mut calibrator, indices.len());
        }
    }
    let ranges = calibrator.ranges(method);
    let entries = ranges.iter().map(|(name, [low, high])| (name.to_owned(), serde_json::json!([low, high])));
    let json = serde_json::Value::Object(entries.collect());
    model.info.insert(RANGES.into(), json.to_string());
    Ok(count)
}

/// The ranges in a model's `info`, if it has any. `name` is what errors call the model.
///
/// Errors: the entry is damaged.
pub fn ranges_of(info: &BTreeMap<String, String>, name: &str) -> Result<Option<Ranges>, TrainError> {
    let Some(text) = info.get(RANGES) else { return Ok(None) };
    let parsed: Result<BTreeMap<String, [f32; 2]>, _> = serde_json::from_str(text);
    let ranges = parsed.map_err(|cause| {
        let what = format!("its ranges for 8-bit numbers cannot be understood ({cause})");
        FormatError::malformed(name.to_owned(), what, "make them again: ocellus quantize")
    })?;
    Ok(Some(Ranges::new(ranges)))
}
