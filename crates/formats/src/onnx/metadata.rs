//! What Ocellus keeps in an ONNX file beside the network: classes, preprocessing, its own notes.
//!
//! All of it lies in `metadata_props`, which other programs pass over: `ocellus.classes` (a JSON list),
//! `ocellus.preprocess` (JSON) and `ocellus.info.KEY`.

use serde_json::Value;

use super::fault::Fault;
use crate::Model;

const CLASSES: &str = "ocellus.classes";
const PREPROCESS: &str = "ocellus.preprocess";
const INFO: &str = "ocellus.info.";

/// Puts what `entries` say into `model`.
pub(super) fn restore(entries: Vec<(String, String)>, model: &mut Model) -> Result<(), Fault> {
    let refuse = |key: &str, cause: serde_json::Error| {
        Fault::new(format!("its entry {key} cannot be understood ({cause})"), "export the network again")
    };
    for (key, value) in entries {
        match key.as_str() {
            CLASSES => {
                model.classes = serde_json::from_str(&value).map_err(|cause| refuse(CLASSES, cause))?
            }
            PREPROCESS => {
                let preprocess: Value =
                    serde_json::from_str(&value).map_err(|cause| refuse(PREPROCESS, cause))?;
                model.preprocess = Some(preprocess);
            }
            key => {
                if let Some(key) = key.strip_prefix(INFO) {
                    model.info.insert(key.to_string(), value);
                }
            }
        }
    }
    Ok(())
}

/// The entries that keep `model`'s classes, preprocessing and notes.
pub(super) fn entries(model: &Model) -> Vec<(String, String)> {
    let mut entries = Vec::new();
    if !model.classes.is_empty() {
        entries.push((CLASSES.to_string(), serde_json::json!(model.classes).to_string()));
    }
    if let Some(preprocess) = &model.preprocess {
        entries.push((PREPROCESS.to_string(), preprocess.to_string()));
    }
    let notes = model.info.iter().map(|(key, value)| (format!("{INFO}{key}"), value.clone()));
    entries.extend(notes);
    entries
}
