//! Constants whose numbers are picked or replaced by index.

use super::{Folded, Room, one, pick};
use crate::onnx::literal::{Literal, Numbers};
use crate::onnx::places;

pub(super) fn evaluate(room: &Room) -> Folded {
    match room.call.op() {
        "GatherElements" => {
            let (data, indices) = (room.input(0)?, room.input(1)?);
            let axis = room.call.axis(room.call.whole("axis", 0)?, data.rank())?;
            if !room.has(data.kind, &indices.dims, indices.len())? {
                return Ok(None);
            }
            picked(data, indices.dims.clone(), &places::along(room.call, &data.dims, axis, indices)?)
        }
        "GatherND" => {
            let (data, indices) = (room.input(0)?, room.input(1)?);
            let found = places::gathered_blocks(room.call, &data.dims, indices)?;
            if !room.has(data.kind, &found.dims, indices.len())? {
                return Ok(None);
            }
            let within = |&block: &usize| block * found.size..(block + 1) * found.size;
            picked(data, found.dims.clone(), &found.blocks.iter().flat_map(within).collect::<Vec<_>>())
        }
        _ => scatter(room),
    }
}

/// Whatever is picked of a weight is no weight of its own.
fn picked(data: &Literal, dims: Vec<usize>, places: &[usize]) -> Folded {
    one(Literal { name: None, is_weight: false, ..pick(data, dims, places) })
}

/// ScatterElements (once Scatter) and ScatterND, where updates replace numbers.
fn scatter(room: &Room) -> Folded {
    let (data, indices, updates) = (room.input(0)?, room.input(1)?, room.input(2)?);
    if room.call.text("reduction", "none")? != "none" || !room.has(data.kind, &data.dims, indices.len())? {
        return Ok(None);
    }
    let (places, size) = if room.call.op() == "ScatterND" {
        let (blocks, _, size) = places::blocks(room.call, &data.dims, indices)?;
        (blocks, size)
    } else {
        let axis = room.call.axis(room.call.whole("axis", 0)?, data.rank())?;
        (places::along(room.call, &data.dims, axis, indices)?, 1)
    };
    if updates.len() != places.len() * size {
        let what = format!("has updates of shape {:?} for {} places", updates.dims, places.len());
        return Err(room.call.fault(what));
    }
    let targets = || places.iter().flat_map(|&place| place * size..(place + 1) * size).enumerate();
    let numbers = if data.kind.is_float() {
        let mut numbers = data.to_floats().into_owned();
        targets().for_each(|(i, at)| numbers[at] = updates.float_at(i));
        Numbers::Float(numbers)
    } else {
        let mut numbers = data.to_wholes();
        targets().for_each(|(i, at)| numbers[at] = updates.whole_at(i));
        Numbers::Whole(numbers)
    };
    one(Literal::new(data.kind, data.dims.clone(), numbers))
}
