//! Which layer was the first to produce a number that is not finite?
//!
//! The step is computed once more with every forward value kept, then, if those are all finite, with every parameter's
//! gradient kept. What comes first in the order of computation is named.

use ocellus_engine::{Options, Session};
use ocellus_graph::{Graph, Request, ValueId, differentiate};
use ocellus_tensor::Weights;

use crate::TrainError;
use crate::feed::Feed;
use crate::stepper::{StepGraphs, StepSetup, TARGET};

/// One part of a step, as it was fed.
pub(crate) struct Fed<'a> {
    pub images: &'a [f32],
    pub labels: &'a [f32],
    pub targets: Option<&'a [f32]>,
    /// Seed and number that dropout drew from.
    pub random: (u64, u64),
}

/// The first layer whose numbers, or whose parameter's gradient, are not finite; `None` if all are.
pub(crate) fn find(
    net: &Graph,
    setup: &StepSetup,
    weights: &Weights,
    fed: &Fed,
    options: &Options,
) -> Result<Option<String>, TrainError> {
    if fed.images.iter().any(|x| !x.is_finite()) {
        return Ok(Some("the images themselves".into()));
    }
    let training = StepGraphs::training_form(net, setup)?;
    let forward: Vec<(String, ValueId)> = training
        .nodes()
        .iter()
        .flat_map(|node| {
            node.outputs.iter().map(|&value| (format!("{} ({})", node.name, node.op.name()), value))
        })
        .collect();
    if let Some(name) = first_broken(training.clone(), forward, weights, fed, options)? {
        return Ok(Some(format!("layer {name}")));
    }
    let found = differentiate(&training, &Request::default())?;
    // Gradients are computed from the last layer to the first.
    let gradients = found.params.iter().rev();
    let named = gradients.map(|&(id, value)| (found.graph.param(id).name.clone(), value)).collect();
    let broken = first_broken(found.graph.clone(), named, weights, fed, options)?;
    Ok(broken.map(|name| format!("the gradient of {name}")))
}

/// The first of `named` values that is not finite.
fn first_broken(
    mut graph: Graph,
    named: Vec<(String, ValueId)>,
    weights: &Weights,
    fed: &Fed,
    options: &Options,
) -> Result<Option<String>, TrainError> {
    let feed = Feed::of(&graph)?;
    let outputs: Vec<String> = (0..named.len()).map(|index| format!("watched {index}")).collect();
    for (output, &(_, value)) in outputs.iter().zip(&named) {
        graph.add_output(output.clone(), value);
    }
    let mut session = Session::new(&graph, options)?;
    session.load(weights)?;
    feed.set(&mut session, fed.images, fed.labels)?;
    if let Some(targets) = fed.targets {
        session.set_input(TARGET, targets)?;
    }
    session.set_random(fed.random.0, fed.random.1);
    session.run();
    for (output, (name, _)) in outputs.iter().zip(named) {
        if session.output(output)?.iter().any(|x| !x.is_finite()) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}
