//! Layers with their weights as Caffe's binary form: `NetParameter` with `layer` messages of name, type, blobs.
//!
//! Fields as in [`super::super::weights`]; lengths come before contents, so sizes are computed first.

use std::io::{self, Write};

use ocellus_tensor::Weights;

use super::blobs::numbers;
use super::out::{Blob, Layer, Layers};
use crate::caffe::SolverState;
use crate::caffe::wire_out::{bytes, key, packed_varints, text, varint};
use crate::numbers::write_f32;

/// The network of these layers; `weights` hold every parameter that a blob names.
pub(super) fn network(out: &mut dyn Write, layers: &Layers, name: &str, weights: &Weights) -> io::Result<()> {
    let mut head = Vec::new();
    text(&mut head, 1, name);
    out.write_all(&head)?;
    layers.iter().try_for_each(|layer| write_layer(out, layer, weights))
}

/// A solver's state: `iter` 1, `learned_net` 2, `history` 3, `current_step` 4.
pub(super) fn solver_state(out: &mut dyn Write, state: &SolverState) -> io::Result<()> {
    let mut head = Vec::new();
    key(&mut head, 1, 0);
    varint(&mut head, state.iteration);
    text(&mut head, 2, &state.learned_net);
    out.write_all(&head)?;
    for tensor in &state.history {
        let blob = blob_head(tensor.shape());
        let mut head = Vec::new();
        key(&mut head, 3, 2);
        varint(&mut head, (blob.len() + 4 * tensor.data().len()) as u64);
        head.extend(blob);
        out.write_all(&head)?;
        write_f32(out, tensor.data())?;
    }
    let mut tail = Vec::new();
    key(&mut tail, 4, 0);
    varint(&mut tail, state.current_step);
    out.write_all(&tail)
}

fn write_layer(out: &mut dyn Write, layer: &Layer, weights: &Weights) -> io::Result<()> {
    let mut body = Vec::new();
    text(&mut body, 1, &layer.name);
    text(&mut body, 2, &layer.kind);
    layer.bottoms.iter().for_each(|bottom| text(&mut body, 3, bottom));
    layer.tops.iter().for_each(|top| text(&mut body, 4, top));
    let heads: Vec<Vec<u8>> = layer.blobs.iter().map(|blob| blob_head(sizes(blob))).collect();
    let blobs: usize =
        layer.blobs.iter().zip(&heads).map(|(blob, head)| field_size(head.len() + 4 * count(blob))).sum();
    let mut head = Vec::new();
    key(&mut head, 100, 2);
    varint(&mut head, (body.len() + blobs) as u64);
    out.write_all(&head)?;
    out.write_all(&body)?;
    for (blob, blob_head) in layer.blobs.iter().zip(&heads) {
        let mut head = Vec::new();
        key(&mut head, 7, 2);
        varint(&mut head, (blob_head.len() + 4 * count(blob)) as u64);
        head.extend(blob_head);
        out.write_all(&head)?;
        write_f32(out, &numbers(blob, weights)?)?;
    }
    Ok(())
}

/// A blob up to its numbers: `shape`, and the key and length of `data`.
fn blob_head(sizes: &[usize]) -> Vec<u8> {
    let mut dims = Vec::new();
    packed_varints(&mut dims, 1, sizes.iter().map(|&size| size as u64));
    let mut head = Vec::new();
    bytes(&mut head, 7, &dims);
    key(&mut head, 5, 2);
    varint(&mut head, 4 * sizes.iter().product::<usize>() as u64);
    head
}

fn sizes(blob: &Blob) -> &[usize] {
    match blob {
        Blob::Param { sizes, .. } | Blob::Given { sizes, .. } => sizes,
    }
}

fn count(blob: &Blob) -> usize {
    sizes(blob).iter().product()
}

/// Bytes of a field number below 16 with a length and so many bytes.
fn field_size(length: usize) -> usize {
    let mut head = Vec::new();
    varint(&mut head, length as u64);
    1 + head.len() + length
}
