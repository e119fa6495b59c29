//! Caffe's HDF5 files: weights (`.caffemodel.h5`) and solver states (`.solverstate.h5`).
//!
//! ```text
//! weights:  /data/LAYER/0, /data/LAYER/1, ..: the layer's blobs, those shared with another layer left out
//! state:    /iter, /current_step, /learned_net, /history/0, /history/1, ..
//! ```
//!
//! Source: the names that Caffe's `Net::ToHDF5` and `SGDSolver::SnapshotSolverStateToHDF5` give.

use std::collections::BTreeMap;

use ocellus_graph::Graph;
use ocellus_tensor::{Tensor, Weights};

use super::weights::{Trouble, assign_statistics, put};
use super::{DAMAGED, SolverState};
use crate::FormatError;
use crate::hdf5::Hdf5;

/// The group of the weights.
pub(super) const NETWORK: &str = "/data";

/// Layers whose names have slashes lie in groups of groups; deeper ones are refused.
const DEEPEST: usize = 16;
/// More layers than any network has.
const MOST_LAYERS: usize = 1 << 16;

/// The parameters of `graph` that the file holds.
pub(super) fn network(file: &Hdf5, graph: &Graph) -> Result<Weights, FormatError> {
    if !file.has_group(NETWORK) {
        let what = "it is an HDF5 file without the group /data of Caffe's weights";
        return Err(FormatError::malformed(file.name(), what, "give a .caffemodel.h5 file"));
    }
    let mut weights = Weights::new();
    let mut layers = 0;
    let mut waiting = vec![(String::new(), 0)];
    while let Some((layer, depth)) = waiting.pop() {
        let path = format!("{NETWORK}/{layer}");
        layers += 1;
        if depth > DEEPEST || layers > MOST_LAYERS {
            let what = format!("its groups lie more than {DEEPEST} deep, or are more than {MOST_LAYERS}");
            return Err(FormatError::malformed(file.name(), what, DAMAGED));
        }
        for name in file.groups(&path)? {
            let inner = if layer.is_empty() { name } else { format!("{layer}/{name}") };
            waiting.push((inner, depth + 1));
        }
        let blobs = file.arrays(&path)?;
        if !blobs.is_empty() {
            let read = blobs_of(file, &path, &blobs, graph, &layer)?;
            assign(graph, &layer, read, &mut weights).map_err(|trouble| trouble.of(file.name()))?;
        }
    }
    Ok(weights)
}

/// The blobs of one layer by number; those of layers that the graph does not have are not read.
fn blobs_of(
    file: &Hdf5,
    path: &str,
    names: &[String],
    graph: &Graph,
    layer: &str,
) -> Result<BTreeMap<usize, Tensor>, FormatError> {
    let known = |part: &str| graph.find_param(&format!("{layer}.{part}")).is_some();
    if !["weight", "bias", "running_mean"].into_iter().any(known) {
        return Ok(BTreeMap::new());
    }
    let numbered = names.iter().filter_map(|name| Some((name.parse().ok()?, name)));
    numbered.map(|(number, name)| Ok((number, file.tensor(&format!("{path}/{name}"))?))).collect()
}

fn assign(
    graph: &Graph,
    layer: &str,
    mut blobs: BTreeMap<usize, Tensor>,
    weights: &mut Weights,
) -> Result<(), Trouble> {
    let param = |part: &str| graph.find_param(&format!("{layer}.{part}")).map(|id| graph.param(id));
    if let (Some(mean), Some(var)) = (param("running_mean"), param("running_var")) {
        return assign_statistics(layer, [mean, var], blobs.into_values().collect(), weights);
    }
    let (weight, bias) = (param("weight"), param("bias"));
    // A Bias layer keeps its one blob as number 0.
    let bias_number = if weight.is_none() && blobs.len() == 1 && blobs.contains_key(&0) { 0 } else { 1 };
    for (param, number) in [(weight, 0), (bias, bias_number)] {
        if let (Some(param), Some(blob)) = (param, blobs.remove(&number)) {
            put(param, blob, weights)?;
        }
    }
    Ok(())
}

/// The solver's state.
pub(super) fn solver_state(file: &Hdf5) -> Result<SolverState, FormatError> {
    let whole = |name: &str| -> Result<u64, FormatError> {
        let number = file.scalar(name)?;
        let fits = (0.0..9e15).contains(&number);
        fits.then_some(number as u64).ok_or_else(|| {
            FormatError::malformed(file.name(), format!("{name} is {number}, no count"), DAMAGED)
        })
    };
    let learned_net =
        if file.has_array("/learned_net") { file.array_text("/learned_net")? } else { String::new() };
    let mut numbers: Vec<usize> =
        file.arrays("/history")?.iter().filter_map(|name| name.parse().ok()).collect();
    numbers.sort_unstable();
    let history = numbers.into_iter().map(|number| file.tensor(&format!("/history/{number}")));
    Ok(SolverState {
        iteration: whole("/iter")?,
        learned_net,
        current_step: if file.has_array("/current_step") { whole("/current_step")? } else { 0 },
        history: history.collect::<Result<_, _>>()?,
    })
}
