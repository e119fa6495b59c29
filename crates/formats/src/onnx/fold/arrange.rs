//! Constants rearranged: nothing is computed but places.

use super::{Folded, LARGEST, Room, broadcast_strides, one, pick, places_of, strides, transposed, view};
use crate::numbers::checked_elements;
use crate::onnx::dims;
use crate::onnx::fault::Fault;
use crate::onnx::literal::{Kind, Literal, Numbers};

pub(super) fn evaluate(room: &Room) -> Folded {
    match room.call.op() {
        "Transpose" => {
            let literal = room.input(0)?;
            let order = dims::order(room.call, literal.rank())?;
            Ok(transposed(room.net, room.call, literal, &order)?.map(|literal| vec![literal]))
        }
        "Slice" => slice(room),
        "Split" => split(room),
        "Concat" => concat(room),
        "Gather" => gather(room),
        "Expand" => expand(room),
        "Tile" => tile(room),
        "Range" => range(room),
        "Where" => choose(room),
        "NonZero" => non_zero(room),
        "CumSum" => running_sum(room),
        _ => Ok(None),
    }
}

/// Whatever is no longer the whole of a weight is no weight of its own.
fn part(literal: Literal) -> Literal {
    Literal { name: None, is_weight: false, ..literal }
}

fn slice(room: &Room) -> Folded {
    let literal = room.input(0)?;
    let mut dims = literal.dims.clone();
    let mut strides = strides(&literal.dims);
    let mut offset = 0;
    for part in dims::sliced(room.call, &literal.dims)? {
        offset += part.start * strides[part.axis] as usize;
        strides[part.axis] = strides[part.axis].saturating_mul(part.step as isize);
        dims[part.axis] = part.count;
    }
    if !room.has(literal.kind, &dims, 0)? {
        return Ok(None);
    }
    one(part(view(literal, dims, &strides, offset)))
}

fn split(room: &Room) -> Folded {
    let literal = room.input(0)?;
    let axis = room.call.axis(room.call.whole("axis", 0)?, literal.rank())?;
    let sizes = dims::split(room.call, literal.dims[axis])?;
    if !room.has(literal.kind, &literal.dims, 0)? {
        return Ok(None);
    }
    let strides = strides(&literal.dims);
    let (mut start, mut parts) = (0, Vec::new());
    for size in sizes {
        let mut dims = literal.dims.clone();
        dims[axis] = size;
        parts.push(part(view(literal, dims, &strides, start * strides[axis] as usize)));
        start += size;
    }
    Ok(Some(parts))
}

fn concat(room: &Room) -> Folded {
    let inputs = (0..room.call.inputs.len()).map(|i| room.input(i)).collect::<Result<Vec<_>, Fault>>()?;
    let first = inputs[0];
    let default = if room.call.opset < 4 { 1 } else { 0 };
    let axis = room.call.axis(room.call.whole("axis", default)?, first.rank())?;
    let mut dims = first.dims.clone();
    dims[axis] = 0;
    for input in &inputs {
        let fits = input.rank() == first.rank()
            && (0..first.rank()).all(|other| other == axis || input.dims[other] == first.dims[other]);
        if !fits {
            let what = format!("{:?} and {:?} differ beside axis {axis}", first.dims, input.dims);
            return Err(room.call.fault(what));
        }
        dims[axis] = dims[axis].saturating_add(input.dims[axis]);
    }
    if !room.has(first.kind, &dims, 0)? {
        return Ok(None);
    }
    let (outer, inner): (usize, usize) = (dims[..axis].iter().product(), dims[axis + 1..].iter().product());
    let pieces = (0..outer).flat_map(|o| inputs.iter().map(move |input| (o, *input)));
    let each = pieces.flat_map(|(o, input)| {
        let length = input.dims[axis] * inner;
        (o * length..(o + 1) * length).map(move |i| (input, i))
    });
    let numbers = if first.kind.is_float() {
        Numbers::Float(each.map(|(input, i)| input.float_at(i)).collect())
    } else {
        Numbers::Whole(each.map(|(input, i)| input.whole_at(i)).collect())
    };
    one(Literal::new(first.kind, dims, numbers))
}

fn gather(room: &Room) -> Folded {
    let (data, indices) = (room.input(0)?, room.input(1)?);
    let axis = room.call.axis(room.call.whole("axis", 0)?, data.rank())?;
    let size = data.dims[axis];
    let found = (0..indices.len()).map(|i| {
        let index = indices.whole_at(i);
        let from_first = if index < 0 { index.saturating_add(size as i64) } else { index };
        let found = usize::try_from(from_first).ok().filter(|&index| index < size);
        found.ok_or_else(|| room.call.fault(format!("index {index} is outside an axis of size {size}")))
    });
    let dims: Vec<usize> =
        data.dims[..axis].iter().chain(&indices.dims).chain(&data.dims[axis + 1..]).copied().collect();
    if !room.has(data.kind, &dims, indices.len())? {
        return Ok(None);
    }
    let found = found.collect::<Result<Vec<usize>, Fault>>()?;
    let (outer, inner): (usize, usize) =
        (data.dims[..axis].iter().product(), data.dims[axis + 1..].iter().product());
    let mut at = Vec::with_capacity(outer * found.len() * inner);
    for o in 0..outer {
        for &index in &found {
            let start = (o * size + index) * inner;
            at.extend(start..start + inner);
        }
    }
    one(part(pick(data, dims, &at)))
}

fn expand(room: &Room) -> Folded {
    let literal = room.input(0)?;
    let target = room.call.list(1, "shape")?.unwrap_or_default();
    let target = room.call.sizes(&target, "shape")?;
    let dims = dims::broadcast(room.call, &literal.dims, &target)?;
    if dims == literal.dims {
        return one(literal.clone());
    }
    if literal.len() == 1 && checked_elements(&dims).is_some_and(|count| count <= LARGEST) {
        // One number everywhere takes no memory.
        let number =
            if literal.kind.is_float() { f64::from(literal.float_at(0)) } else { literal.whole_at(0) as f64 };
        return one(part(Literal::new(literal.kind, dims, Numbers::Same(number))));
    }
    if !room.has(literal.kind, &dims, 0)? {
        return Ok(None);
    }
    let strides = broadcast_strides(&literal.dims, &dims);
    one(part(view(literal, dims, &strides, 0)))
}

fn tile(room: &Room) -> Folded {
    let literal = room.input(0)?;
    let repeats = room.call.list(1, "repeats")?.unwrap_or_default();
    let repeats = room.call.sizes(&repeats, "repeats")?;
    if repeats.len() != literal.rank() {
        return Err(room.call.fault(format!("{repeats:?} repeats for {} axes", literal.rank())));
    }
    let dims: Vec<usize> = literal.dims.iter().zip(&repeats).map(|(&d, &r)| d.saturating_mul(r)).collect();
    if !room.has(literal.kind, &dims, 0)? {
        return Ok(None);
    }
    // Each axis becomes two, of which the first repeats.
    let own = strides(&literal.dims);
    let (mut double, mut steps) = (Vec::new(), Vec::new());
    for axis in 0..literal.rank() {
        double.extend([repeats[axis], literal.dims[axis]]);
        steps.extend([0, own[axis]]);
    }
    let at = places_of(&double, &steps, 0);
    one(part(pick(literal, dims, &at)))
}

fn range(room: &Room) -> Folded {
    let [start, limit, delta] = [room.input(0)?, room.input(1)?, room.input(2)?];
    if [start, limit, delta].iter().any(|literal| literal.len() != 1) {
        return Err(room.call.fault("start, limit and delta must be one number each"));
    }
    let number = |literal: &Literal| {
        if literal.kind.is_float() { f64::from(literal.float_at(0)) } else { literal.whole_at(0) as f64 }
    };
    let steps = ((number(limit) - number(start)) / number(delta)).ceil();
    if !steps.is_finite() || steps > i32::MAX as f64 {
        return Err(room.call.fault(format!(
            "from {} to {} in steps of {} there is no list",
            number(start),
            number(limit),
            number(delta)
        )));
    }
    let count = steps.max(0.0) as usize;
    if !room.has(start.kind, &[count], 0)? {
        return Ok(None);
    }
    let numbers = match start.kind.is_float() {
        true => {
            Numbers::Float((0..count).map(|i| (number(start) + i as f64 * number(delta)) as f32).collect())
        }
        false => {
            let (first, step) = (start.whole_at(0), delta.whole_at(0));
            Numbers::Whole((0..count).map(|i| first.wrapping_add(step.wrapping_mul(i as i64))).collect())
        }
    };
    one(Literal::new(start.kind, vec![count], numbers))
}

fn choose(room: &Room) -> Folded {
    let [condition, a, b] = [room.input(0)?, room.input(1)?, room.input(2)?];
    let dims = dims::broadcast(room.call, &condition.dims, &dims::broadcast(room.call, &a.dims, &b.dims)?)?;
    if !room.has(a.kind, &dims, 0)? {
        return Ok(None);
    }
    let at = |literal: &Literal| places_of(&dims, &broadcast_strides(&literal.dims, &dims), 0);
    let chosen = at(condition).into_iter().zip(at(a).into_iter().zip(at(b)));
    let chosen = chosen.map(|(c, (i, j))| if condition.whole_at(c) != 0 { (a, i) } else { (b, j) });
    let numbers = if a.kind.is_float() {
        Numbers::Float(chosen.map(|(literal, i)| literal.float_at(i)).collect())
    } else {
        Numbers::Whole(chosen.map(|(literal, i)| literal.whole_at(i)).collect())
    };
    one(Literal::new(a.kind, dims, numbers))
}

/// The indices of all numbers that are not 0, one row per axis.
fn non_zero(room: &Room) -> Folded {
    let literal = room.input(0)?;
    let rank = literal.rank().max(1);
    if !room.has(Kind::I64, &[rank, literal.len()], 0)? {
        return Ok(None);
    }
    let is_float = literal.kind.is_float();
    let not_zero = |&i: &usize| if is_float { literal.float_at(i) != 0.0 } else { literal.whole_at(i) != 0 };
    let found: Vec<usize> = (0..literal.len()).filter(not_zero).collect();
    let own = strides(&literal.dims);
    let mut numbers = Vec::with_capacity(rank * found.len());
    for (&stride, &size) in own.iter().zip(&literal.dims) {
        numbers.extend(found.iter().map(|&i| (i / stride as usize % size) as i64));
    }
    if literal.rank() == 0 {
        numbers.extend(found.iter().map(|_| 0));
    }
    one(Literal::wholes(vec![rank, found.len()], numbers))
}

/// CumSum along an axis.
fn running_sum(room: &Room) -> Folded {
    let literal = room.input(0)?;
    let axis = room.call.number(1, "axis")?.ok_or_else(|| room.call.fault("has no axis"))?;
    let axis = room.call.axis(axis as i64, literal.rank())?;
    let (exclusive, reverse) = (room.call.flag("exclusive", false)?, room.call.flag("reverse", false)?);
    if !room.has(literal.kind, &literal.dims, 0)? {
        return Ok(None);
    }
    let (size, inner) = (literal.dims[axis], literal.dims[axis + 1..].iter().product::<usize>());
    let mut floats = if literal.kind.is_float() { literal.to_floats().into_owned() } else { Vec::new() };
    let mut wholes = if literal.kind.is_float() { Vec::new() } else { literal.to_wholes() };
    for start in (0..literal.len()).filter(|i| i / inner % size == 0) {
        let (mut float, mut whole) = (0.0_f32, 0_i64);
        for step in 0..size {
            let at = start + inner * if reverse { size - 1 - step } else { step };
            if let Some(number) = floats.get_mut(at) {
                let before = float;
                float += *number;
                *number = if exclusive { before } else { float };
            }
            if let Some(number) = wholes.get_mut(at) {
                whole = whole.wrapping_add(*number);
                *number = if exclusive { whole.wrapping_sub(*number) } else { whole };
            }
        }
    }
    let numbers = if literal.kind.is_float() { Numbers::Float(floats) } else { Numbers::Whole(wholes) };
    one(Literal::new(literal.kind, literal.dims.clone(), numbers))
}
