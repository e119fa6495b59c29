//! How good are a network's embeddings? What `val` and `report` do with a network that was trained on pairs.

use std::path::Path;
use std::sync::Arc;

use anyhow::bail;
use ocellus::Model;
use ocellus::data::{Preprocess, Split};
use ocellus::report::{PairReport, read_history, write_pairs};
use ocellus::train::neighbours::{VOTES, by_centroids, by_votes, gallery, recall_at_1};
use ocellus::train::{
    EMBEDDING, Embedder, Embeddings, Images, PairChoices, PairLoss, Pairs, RunFolder, Verification,
    preprocess_of,
};
use serde::Serialize;

use crate::args::Common;
use crate::commands::val::{self, BATCH, Wanted};
use crate::{console, words};

/// Everything measured.
#[derive(Serialize)]
struct Measured {
    images: usize,
    pairs: usize,
    accuracy: f64,
    threshold: f64,
    eer: f64,
    auc: f64,
    loss: f64,
    recall_at_1: f64,
    /// By the training images' embeddings, if those are of the same classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    neighbours: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    centroids: Option<f64>,
    /// By the class head, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    class_top1: Option<f64>,
}

/// Whether `model` gives embeddings.
pub fn embeds(model: &Model) -> bool {
    model.graph.find_output(EMBEDDING).is_some()
}

/// Measures `model` and, if a folder is given, writes its report there.
pub fn measure(
    model: &Model,
    wanted: &Wanted<'_>,
    out: Option<&Path>,
    common: &Common,
) -> anyhow::Result<()> {
    let preprocess = preprocess_of(model)?;
    let run = RunFolder::at(wanted.model);
    let config = val::config_of(&run)?;
    let source = val::source(wanted, common)?;
    let is_own = wanted.is_own(&source.data)?;
    let images = val::open(&source, model, is_own, false)?;
    images.notes.iter().for_each(|note| console::complain(&format!("note: {note}")));
    if images.val.is_empty() {
        bail!("there are no validation or test images in {}; put some into val/CLASS folders", source.data);
    }
    let pairs = match config.as_ref().and_then(|config| config.pairs) {
        Some(pairs) => pairs,
        None => contrastive()?,
    };
    let mut embedder = Embedder::new(&model.graph, BATCH.min(images.val.len()), &common.machine())?;
    embedder.load(&model.weights)?;
    let embeddings = embedder.embed(&images.val, &preprocess)?;
    let found = Verification::new(&embeddings, &images.val, &pairs, source.seed)?;
    let mut measured = Measured {
        images: embeddings.len(),
        pairs: found.pairs.len(),
        accuracy: found.accuracy,
        threshold: found.threshold,
        eer: found.eer,
        auc: found.auc,
        loss: found.loss,
        recall_at_1: recall_at_1(&embeddings),
        neighbours: None,
        centroids: None,
        class_top1: class_top1(model, &embeddings, &images.val),
    };
    if is_own && shares_classes(&images) {
        let known = gallery(&embedder.embed(&images.train, &preprocess)?);
        measured.neighbours = Some(by_votes(&known, &embeddings));
        measured.centroids = Some(by_centroids(&known, &embeddings));
    }
    let files = match out {
        Some(folder) => {
            let history = config.as_ref().map(|_| read_history(Path::new(wanted.model))).transpose()?;
            let name =
                Path::new(wanted.model).file_name().map_or(wanted.model.into(), |n| n.to_string_lossy());
            write_pairs(
                &PairReport {
                    name: name.into_owned(),
                    measured_on: format!(
                        "{} pairs of {} images of {}",
                        measured.pairs, measured.images, source.data
                    ),
                    verification: &found,
                    shares: shares(&measured),
                    history: history.as_deref(),
                },
                folder,
            )?
        }
        None => Vec::new(),
    };
    if common.json {
        let mut said = serde_json::to_value(&measured)?;
        if !files.is_empty() {
            said["files"] = serde_json::json!(files);
        }
        return console::say_json(&said);
    }
    print(&measured);
    files.first().iter().for_each(|page| console::say(&format!("written: {}", page.display())));
    Ok(())
}

/// How embeddings of a model without a run are taken.
fn contrastive() -> anyhow::Result<Pairs> {
    let said = PairChoices { loss: Some(PairLoss::Contrastive), ..PairChoices::default() };
    match said.resolve(None)? {
        Some(pairs) => Ok(pairs),
        None => bail!("a loss was said, and none was found"),
    }
}

/// Whether each class that validates is one of those trained on.
fn shares_classes(images: &Images) -> bool {
    let (train, val) = (images.train.class_counts(), images.val.class_counts());
    train.iter().zip(val).all(|(&train, val)| train > 0 || val == 0)
}

/// How many images the class head names rightly, if there is one and it knows the data's classes.
fn class_top1(model: &Model, embeddings: &Embeddings, split: &Split) -> Option<f64> {
    let classes = model.classes.len();
    if classes == 0 || embeddings.scores.len() != classes * embeddings.len() {
        return None;
    }
    let class_of = ocellus::train::match_classes(split.classes(), &model.classes).ok()?;
    let mut metrics = ocellus::train::metrics::Metrics::new(classes);
    for (row, &class) in embeddings.scores.chunks_exact(classes).zip(&embeddings.classes) {
        metrics.add(row, class_of[class as usize]);
    }
    Some(metrics.top1())
}

fn shares(measured: &Measured) -> Vec<(String, f64)> {
    let mut shares = vec![("nearest other image is of the class".to_string(), measured.recall_at_1)];
    let others = [
        (format!("named by {VOTES} nearest training images"), measured.neighbours),
        ("named by the nearest class mean".to_string(), measured.centroids),
        ("named by the class head".to_string(), measured.class_top1),
    ];
    shares.extend(others.into_iter().filter_map(|(what, share)| Some((what, share?))));
    shares
}

fn print(measured: &Measured) {
    console::say(&format!(
        "{} pairs of {} images: equal error rate {:.2}%  area under ROC {:.5}",
        measured.pairs,
        measured.images,
        100.0 * measured.eer,
        measured.auc
    ));
    console::say(&format!(
        "told rightly {} (each half by the threshold of the other)  best threshold {:.3}  loss {:.4}",
        words::percent(measured.accuracy),
        measured.threshold,
        measured.loss
    ));
    for (what, share) in shares(measured) {
        console::say(&format!("{what}: {}", words::percent(share)));
    }
}

/// The embeddings of a split's images, in its order.
pub fn embedded(
    model: &Model,
    split: &Arc<Split>,
    preprocess: &Preprocess,
    common: &Common,
) -> anyhow::Result<Embeddings> {
    let mut embedder = Embedder::new(&model.graph, BATCH.min(split.len().max(1)), &common.machine())?;
    embedder.load(&model.weights)?;
    Ok(embedder.embed(split, preprocess)?)
}
