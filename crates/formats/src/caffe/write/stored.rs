//! Layers with their weights, and solvers' states, as Caffe's HDF5; the names are those of [`super::super::stored`].

use std::io::{self, Write};

use ocellus_tensor::Weights;

use super::blobs::numbers;
use super::out::{Blob, Layers};
use crate::caffe::SolverState;
use crate::hdf5::write::{Array, Group};
use crate::numbers::write_f32;

/// The network of these layers: `/data/LAYER/0` and so on, for layers that have blobs.
pub(super) fn network(out: &mut dyn Write, layers: &Layers, weights: &Weights) -> io::Result<()> {
    let mut root = Group::default();
    for layer in layers.iter().filter(|layer| !layer.blobs.is_empty()) {
        let mut group = root.group("data");
        // A slash in a name opens a group in a group.
        for part in layer.name.split('/').filter(|part| !part.is_empty()) {
            group = group.group(part);
        }
        for (number, blob) in layer.blobs.iter().enumerate() {
            group.add(number.to_string(), blob_of(blob, weights));
        }
    }
    root.write(out)
}

fn blob_of<'a>(blob: &'a Blob, weights: &'a Weights) -> Array<'a> {
    let (Blob::Param { sizes, .. } | Blob::Given { sizes, .. }) = blob;
    Array::Numbers {
        sizes: sizes.clone(),
        fill: Box::new(move |out| write_f32(out, &numbers(blob, weights)?)),
    }
}

/// A solver's state: `/iter`, `/learned_net`, `/current_step`, `/history/0` and so on.
pub(super) fn solver_state(out: &mut dyn Write, state: &SolverState) -> io::Result<()> {
    let whole = |number: u64| -> io::Result<Array<'static>> {
        let number = i32::try_from(number).map_err(|_| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{number} iterations are more than Caffe counts"),
            )
        })?;
        Ok(Array::Whole(number))
    };
    let mut root = Group::default();
    let history = root.group("history");
    for (number, tensor) in state.history.iter().enumerate() {
        let fill = Box::new(move |out: &mut dyn Write| write_f32(out, tensor.data()));
        history.add(number.to_string(), Array::Numbers { sizes: tensor.shape().dims().to_vec(), fill });
    }
    root.add("current_step", whole(state.current_step)?);
    root.add("iter", whole(state.iteration)?);
    root.add("learned_net", Array::Text(&state.learned_net));
    root.write(out)
}
