//! What does an epoch come to? Class scores against classes, or distances against what belongs together.

use ocellus_engine::Options;
use ocellus_tensor::Weights;
use serde_json::{Value, json};

use crate::TrainError;
use crate::embed::Embedder;
use crate::metrics::Metrics;
use crate::pairs::Pairs;
use crate::prepare::Prepared;
use crate::validate::Validator;
use crate::verify::{PairRecord, Verification};
use crate::views::{ByViews, Views};

/// Measures a run's validation images.
pub(crate) enum Judge {
    Classes(Validator),
    Pairs(Embedder, Pairs),
}

/// What was measured.
pub(crate) struct Judged {
    /// Mean loss.
    pub loss: f64,
    /// Share of images, or pairs, that were told rightly.
    pub top1: f64,
    /// Share whose answer was among the first five; of pairs, which have two answers, always 1.
    pub top5: f64,
    /// What is known of pairs beside.
    pub pairs: Option<PairRecord>,
    /// Classes and confusion matrix, where there are class scores.
    pub detail: Value,
}

impl Judge {
    /// For the run `prepared`, in batches of `batch` images.
    pub fn new(prepared: &Prepared, batch: usize, options: &Options) -> Result<Judge, TrainError> {
        let Prepared { config, net, .. } = prepared;
        Ok(match config.pairs {
            Some(pairs) => Judge::Pairs(Embedder::new(net, batch, options)?, pairs),
            None => Judge::Classes(Validator::new(net, batch, options)?),
        })
    }

    /// Sets the weights and statistics.
    pub fn load(&mut self, weights: &Weights) -> Result<(), TrainError> {
        match self {
            Judge::Classes(validator) => validator.load(weights),
            Judge::Pairs(embedder, _) => embedder.load(weights),
        }
    }

    /// Computes whatever lies in the input, to see how long it takes.
    pub fn run_once(&mut self) {
        match self {
            Judge::Classes(validator) => validator.run_once(),
            Judge::Pairs(embedder, _) => embedder.run_once(),
        }
    }

    /// Bytes of the plan.
    pub fn planned_bytes(&self) -> usize {
        match self {
            Judge::Classes(validator) => validator.planned_bytes(),
            Judge::Pairs(embedder, _) => embedder.planned_bytes(),
        }
    }

    /// Measures every validation image by the mean of several views of it; pairs have no such measure.
    pub fn measure_views(
        &mut self,
        prepared: &Prepared,
        views: Views,
    ) -> Result<Option<ByViews>, TrainError> {
        let Judge::Classes(validator) = self else { return Ok(None) };
        let Prepared { config, images, .. } = prepared;
        let classes: Vec<usize> = (0..config.classes.len()).collect();
        let views = views.of(config.preprocess.size);
        let metrics =
            validator.measure_each(&images.val, &config.preprocess, &classes, &views, |_, _, _| {})?;
        let (loss, top1, top5) = (metrics.loss(), metrics.top1(), metrics.top5());
        Ok(Some(ByViews { views: views.len(), top1, top5, loss }))
    }

    /// Measures every validation image.
    pub fn measure(&mut self, prepared: &Prepared) -> Result<Judged, TrainError> {
        let Prepared { config, images, .. } = prepared;
        match self {
            Judge::Classes(validator) => {
                let classes: Vec<usize> = (0..config.classes.len()).collect();
                let metrics = validator.measure(&images.val, &config.preprocess, &classes)?;
                let (loss, top1, top5) = (metrics.loss(), metrics.top1(), metrics.top5());
                Ok(Judged { loss, top1, top5, pairs: None, detail: detail(&metrics, &config.classes) })
            }
            Judge::Pairs(embedder, pairs) => {
                let embeddings = embedder.embed(&images.val, &config.preprocess)?;
                let found = Verification::new(&embeddings, &images.val, pairs, config.seed)?;
                let classes = config.classes.len();
                let metrics = (embedder.classes() == classes && knows_all(prepared)).then(|| {
                    let mut metrics = Metrics::new(classes);
                    let rows = embeddings.scores.chunks_exact(classes.max(1));
                    rows.zip(&embeddings.classes).for_each(|(row, &class)| metrics.add(row, class as usize));
                    metrics
                });
                Ok(Judged {
                    loss: found.loss,
                    top1: found.accuracy,
                    top5: 1.0,
                    pairs: Some(found.record(metrics.as_ref().map(Metrics::top1))),
                    detail: metrics.map_or(Value::Null, |metrics| detail(&metrics, &config.classes)),
                })
            }
        }
    }
}

/// Whether every class that validates is one that is trained.
fn knows_all(prepared: &Prepared) -> bool {
    let (train, val) = (prepared.images.train.class_counts(), prepared.images.val.class_counts());
    train.iter().zip(val).all(|(&train, val)| train > 0 || val == 0)
}

fn detail(metrics: &Metrics, classes: &[String]) -> Value {
    json!({"classes": metrics.report(classes), "confusion": metrics.confusion()})
}
