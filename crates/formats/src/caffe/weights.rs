//! Binary `.caffemodel`, `.binaryproto` and `.solverstate` files.
//!
//! Fields of `NetParameter`: `layers` 2 (V1, and V0 in its field 1), `layer` 100. Of `LayerParameter`: `name` 1, `blobs`
//! 7. Of `V1LayerParameter`: `layer` 1, `name` 4, `blobs` 6. Of `V0LayerParameter`: `name` 1, `blobs` 50. Of
//! `SolverState`: `iter` 1, `learned_net` 2, `history` 3, `current_step` 4.

use ocellus_graph::{Graph, Param};
use ocellus_tensor::{Tensor, Weights};

use super::wire::{Payload, Wire};
use super::{DAMAGED, blob};
use crate::FormatError;
use crate::match_report::{Fate, shapes_meet};

/// A name longer than any layer's.
const LONGEST_NAME: u64 = 4096;

/// Blobs of one layer beyond any layer's.
const MOST_BLOBS: usize = 64;

/// Where a generation's layer keeps its name, its blobs, and an older layer.
#[derive(Clone, Copy)]
struct Generation {
    name: u64,
    blobs: u64,
    inner: Option<u64>,
}

const V2: Generation = Generation { name: 1, blobs: 7, inner: None };
const V1: Generation = Generation { name: 4, blobs: 6, inner: Some(1) };
const V0: Generation = Generation { name: 1, blobs: 50, inner: None };

/// What a solverstate holds.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct SolverState {
    /// Iterations done.
    pub iteration: u64,
    /// The caffemodel that belongs to it.
    pub learned_net: String,
    /// How many steps of the learning rate are behind.
    pub current_step: u64,
    /// The solver's memory, one tensor per parameter (momentum), or several rounds of that.
    pub history: Vec<Tensor>,
}

/// Why weights cannot be had.
pub(super) enum Trouble {
    /// The file is damaged.
    Damaged(String),
    /// It is another network's.
    Other(String),
}

impl From<String> for Trouble {
    fn from(what: String) -> Self {
        Trouble::Damaged(what)
    }
}

impl Trouble {
    /// The trouble as an error about `file`.
    pub fn of(self, file: &str) -> FormatError {
        match self {
            Trouble::Damaged(what) => FormatError::malformed(file, what, DAMAGED),
            Trouble::Other(what) => {
                let next = "give the weights of this network, or another name to the layer that is to be learned anew";
                FormatError::malformed(file, what, next)
            }
        }
    }
}

/// The parameters of `graph` that the network at `wire` holds.
pub(super) fn network(wire: &mut Wire, end: u64, graph: &Graph) -> Result<Weights, Trouble> {
    let (mut weights, mut layers) = (Weights::new(), 0_usize);
    while let Some(tag) = wire.next(end)? {
        let Payload::Bytes(stop) = tag.payload else { continue };
        let generation = match tag.number {
            2 => V1,
            100 => V2,
            _ => {
                wire.skip(stop)?;
                continue;
            }
        };
        layers += 1;
        let mut layer = StoredLayer::default();
        layer.read(wire, stop, generation)?;
        layer.assign(graph, &mut weights)?;
    }
    match layers {
        0 => Err(Trouble::Damaged("it holds no layers".into())),
        _ => Ok(weights),
    }
}

/// A layer's name and blobs.
#[derive(Default)]
struct StoredLayer {
    name: String,
    blobs: Vec<Tensor>,
}

impl StoredLayer {
    fn read(&mut self, wire: &mut Wire, end: u64, generation: Generation) -> Result<(), String> {
        while let Some(tag) = wire.next(end)? {
            let Payload::Bytes(stop) = tag.payload else { continue };
            if tag.number == generation.name {
                self.name = wire.text(stop, LONGEST_NAME)?;
            } else if tag.number == generation.blobs {
                if self.blobs.len() == MOST_BLOBS {
                    return Err(format!("layer {} has more than {MOST_BLOBS} blobs", self.name));
                }
                let blob = blob::read(wire, stop).map_err(|what| format!("layer {}: {what}", self.name))?;
                self.blobs.push(blob);
            } else if generation.inner == Some(tag.number) {
                self.read(wire, stop, V0)?;
            } else {
                wire.skip(stop)?;
            }
        }
        Ok(())
    }

    /// Gives the blobs to the graph's parameters of this layer; a layer that the graph does not have is passed over.
    fn assign(mut self, graph: &Graph, weights: &mut Weights) -> Result<(), Trouble> {
        let param = |part: &str| graph.find_param(&format!("{}.{part}", self.name)).map(|id| graph.param(id));
        if self.blobs.is_empty() {
            return Ok(());
        }
        if let (Some(mean), Some(var)) = (param("running_mean"), param("running_var")) {
            return assign_statistics(&self.name, [mean, var], self.blobs, weights);
        }
        let (weight, bias) = (param("weight"), param("bias"));
        let expected = match (weight, bias) {
            (None, None) => return Ok(()), // not in the graph, or all shared with another layer
            (Some(_), None) => 1..=1,
            (Some(_), Some(_)) => 2..=2,
            (None, Some(_)) => 1..=2, // a Bias layer, or a weight that another layer owns
        };
        if !expected.contains(&self.blobs.len()) {
            // A layer that shares its bias still stores it.
            let shares_bias = bias.is_none() && self.blobs.len() == 2;
            if !shares_bias || !has_shared_bias(graph, &self.name) {
                let (name, count, wanted) = (&self.name, self.blobs.len(), expected.end());
                let what = format!("layer {name} has {count} blobs, the network needs {wanted}");
                return Err(Trouble::Other(what));
            }
        }
        if let (Some(param), Some(blob)) = (bias, self.blobs.last_mut()) {
            put(param, std::mem::replace(blob, Tensor::zeros([0])), weights)?;
        }
        if let (Some(param), Some(blob)) = (weight, self.blobs.into_iter().next()) {
            put(param, blob, weights)?;
        }
        Ok(())
    }
}

/// Sums of means and variances, and the factor that both have to be divided by.
pub(super) fn assign_statistics(
    layer: &str,
    params: [&Param; 2],
    blobs: Vec<Tensor>,
    weights: &mut Weights,
) -> Result<(), Trouble> {
    let count = blobs.len();
    if !(2..=3).contains(&count) {
        return Err(Trouble::Other(format!("layer {layer} has {count} blobs, a BatchNorm of Caffe has 3")));
    }
    let factor = blobs.get(2).map_or(1.0, |blob| blob.data().first().copied().unwrap_or(0.0));
    let share = if factor == 0.0 { 0.0 } else { 1.0 / factor };
    for (param, mut blob) in params.into_iter().zip(blobs) {
        blob.data_mut().iter_mut().for_each(|x| *x *= share);
        put(param, blob, weights)?;
    }
    Ok(())
}

/// Whether the layer's node reads a bias that has another layer's name.
fn has_shared_bias(graph: &Graph, layer: &str) -> bool {
    let node = graph.find_node(layer).map(|id| graph.node(id));
    node.and_then(|node| node.inputs.get(2)).is_some_and(|&bias| graph.param_of(bias).is_some())
}

/// The blob under the parameter's name, in its shape.
pub(super) fn put(param: &Param, blob: Tensor, weights: &mut Weights) -> Result<(), Trouble> {
    if !matches!(shapes_meet(&param.shape, blob.shape()), Fate::Matched | Fate::Reshaped) {
        let what = format!("{} has shape {}, the network needs {}", param.name, blob.shape(), param.shape);
        return Err(Trouble::Other(what));
    }
    let tensor = blob.reshape(param.shape.clone()).map_err(|cause| cause.to_string())?;
    weights.insert(param.name.clone(), tensor);
    Ok(())
}

/// The solver's state at `wire`.
pub(super) fn solver_state(wire: &mut Wire, end: u64) -> Result<SolverState, String> {
    let mut state = SolverState::default();
    while let Some(tag) = wire.next(end)? {
        match (tag.number, tag.payload) {
            (1, Payload::Varint(iteration)) => state.iteration = iteration,
            (2, Payload::Bytes(stop)) => state.learned_net = wire.text(stop, LONGEST_NAME)?,
            (3, Payload::Bytes(stop)) => {
                // Empty blobs take more memory than their two bytes.
                if state.history.len() > 1 << 16 {
                    return Err("its history has more tensors than any network".into());
                }
                state.history.push(blob::read(wire, stop)?);
            }
            (4, Payload::Varint(step)) => state.current_step = step,
            (_, Payload::Bytes(stop)) => wire.skip(stop)?,
            _ => {}
        }
    }
    Ok(state)
}
