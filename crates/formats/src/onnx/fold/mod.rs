//! Which nodes can be computed while the network is read?
//!
//! Those that compute shapes, axes and indices, which have to be known before anything runs; and those that rearrange
//! or convert weights, which then need not be done at every run. A node is computed if all its inputs are known, this
//! small interpreter knows its operation, and the budget has room for the result; weights that have no room are left
//! to the network itself.

mod arithmetic;
mod arrange;
mod places;

use std::rc::Rc;

use super::call::{Call, Item};
use super::dims;
use super::fault::Fault;
use super::literal::{Kind, Literal, Numbers};
use super::net::Net;
use super::proto::AttributeValue;
use crate::numbers::checked_elements;

/// Results up to this size are always computed, never left to the network: no shape is longer.
const ALWAYS: usize = 1 << 12;

/// A constant of one number everywhere, which takes no memory, is no larger.
const LARGEST: usize = 1 << 40;

/// What a computation gives: constants, or nothing if it has to be left to the network.
type Folded = Result<Option<Vec<Literal>>, Fault>;

/// The outputs of a node, if they can be known now.
pub(super) fn evaluate(net: &Net, call: &Call) -> Folded {
    if !call.node.domain.is_empty() {
        return Ok(None);
    }
    match call.op() {
        "Shape" => return one(shape(net, call)?),
        "Size" => {
            let count = checked_elements(&net.dims_of(call.need(0)?));
            let count = count.ok_or_else(|| call.fault("its input is too large to count"))?;
            return one(Literal::wholes(vec![], vec![count as i64]));
        }
        "Constant" => return constant(call),
        "EyeLike" => return diagonal(net, call),
        // What it is to be like need not be known.
        "CastLike" if matches!(call.item(0), Some(Item::Constant(_))) => {
            return arithmetic::evaluate(&Room { net, call });
        }
        _ => {}
    }
    let mut inputs = Vec::with_capacity(call.inputs.len());
    for item in &call.inputs {
        match item {
            Some(Item::Value(..)) => return Ok(None),
            Some(Item::Constant(literal)) => inputs.push(Some(literal)),
            None => inputs.push(None),
        }
    }
    if inputs.iter().flatten().count() == 0 {
        return Ok(None); // random numbers
    }
    let room = Room { net, call };
    match call.op() {
        "Identity" | "Dropout" if call.wanted() <= 1 => one(call_constant(call, 0)?.clone()),
        "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => {
            let literal = call_constant(call, 0)?;
            one(literal.with_dims(dims::rearranged(call, &literal.dims)?))
        }
        "ConstantOfShape" => constant_of_shape(call),
        "Transpose" | "Slice" | "Split" | "Concat" | "Gather" | "Expand" | "Tile" | "Range" | "Where"
        | "NonZero" | "Pad" | "OneHot" | "CumSum" => arrange::evaluate(&room),
        "GatherElements" | "GatherND" | "Scatter" | "ScatterElements" | "ScatterND" => {
            places::evaluate(&room)
        }
        _ => arithmetic::evaluate(&room),
    }
}

fn one(literal: Literal) -> Folded {
    Ok(Some(vec![literal]))
}

/// Input `i`, which is known.
fn call_constant<'c>(call: &'c Call, i: usize) -> Result<&'c Literal, Fault> {
    call.constant(i, "input")?.ok_or_else(|| call.fault(format!("its input {i} is missing")))
}

/// A node and the room for its results.
struct Room<'r, 'n, 'c> {
    net: &'r Net<'n>,
    call: &'r Call<'c>,
}

impl Room<'_, '_, '_> {
    fn input(&self, i: usize) -> Result<&Literal, Fault> {
        call_constant(self.call, i)
    }

    /// Whether a result of this shape, made from `read` numbers, may be computed now.
    fn has(&self, kind: Kind, dims: &[usize], read: usize) -> Result<bool, Fault> {
        let count = checked_elements(dims)
            .ok_or_else(|| self.call.fault(format!("its result of shape {dims:?} is too large")))?;
        self.net.budget.work((count.max(read)) as u64).map_err(|what| self.call.fault(what))?;
        let size = if kind.is_float() {
            4
        } else if kind.is_byte() {
            1
        } else {
            8
        };
        let taken = self.net.budget.take((count as u64).saturating_mul(size));
        // Whole numbers are shapes and indices, which the network could not compute itself.
        if !taken && (count <= ALWAYS || (!kind.is_float() && !kind.is_byte())) {
            let what = format!(
                "its result of shape {dims:?} takes more memory than a file of this size may ask for"
            );
            return Err(self.call.fault(what));
        }
        Ok(taken)
    }
}

fn shape(net: &Net, call: &Call) -> Result<Literal, Fault> {
    let dims = net.dims_of(call.need(0)?);
    let rank = dims.len() as i64;
    let bound = |name: &str, default: i64| {
        let axis = call.whole(name, default)?;
        let axis = if axis < 0 { axis.saturating_add(rank) } else { axis };
        Ok::<usize, Fault>(axis.clamp(0, rank) as usize)
    };
    let (start, end) = (bound("start", 0)?, bound("end", rank)?);
    let part = dims.get(start..end.max(start)).unwrap_or_default();
    Ok(Literal::list(part.iter().map(|&size| size as i64).collect()))
}

/// EyeLike: ones along a diagonal, in the shape of a matrix whose numbers do not matter.
fn diagonal(net: &Net, call: &Call) -> Folded {
    let item = call.need(0)?;
    let dims = net.dims_of(item);
    let &[_, columns] = dims.as_slice() else {
        return Err(call.fault(format!("needs a matrix, got the shape {dims:?}")));
    };
    let kind = match call.whole("dtype", 0)? {
        0 => item.kind(),
        code => Kind::of(code).map_err(|what| call.fault(what))?,
    };
    let shift = call.whole("k", 0)?;
    if !(Room { net, call }).has(kind, &dims, 0)? {
        return Err(call.fault(format!("makes a matrix of shape {dims:?}, which is too large")));
    }
    let count = checked_elements(&dims).unwrap_or(0);
    let is_one = |i: usize| (i % columns) as i64 == ((i / columns) as i64).saturating_add(shift);
    let numbers = match kind.is_float() {
        true => Numbers::Float((0..count).map(|i| if is_one(i) { 1.0 } else { 0.0 }).collect()),
        false => Numbers::Whole((0..count).map(|i| i64::from(is_one(i))).collect()),
    };
    one(Literal::new(kind, dims, numbers))
}

fn constant(call: &Call) -> Folded {
    for attribute in &call.node.attributes {
        let literal = match (attribute.name.as_str(), &attribute.value) {
            ("value", AttributeValue::Tensor(literal)) => literal.clone(),
            ("value_float", AttributeValue::Float(number)) => Literal::scalar(*number),
            ("value_int", AttributeValue::Whole(number)) => Literal::wholes(vec![], vec![*number]),
            ("value_floats", AttributeValue::Floats(numbers)) => {
                Literal::floats(vec![numbers.len()], numbers.clone())
            }
            ("value_ints", AttributeValue::Wholes(numbers)) => Literal::list(numbers.clone()),
            _ => continue,
        };
        // Weights of exporters that have no initialisers.
        let name = call.node.outputs.first().cloned();
        let is_weight = literal.kind.is_float() && literal.rank() > 0;
        return one(Literal { name, is_weight, ..literal });
    }
    Err(call.fault("holds no number or tensor of numbers"))
}

/// One number everywhere, which takes no memory until somebody reads it.
fn constant_of_shape(call: &Call) -> Folded {
    let dims = call.list(0, "shape")?.ok_or_else(|| call.fault("has no shape"))?;
    let dims = call.sizes(&dims, "shape")?;
    if dims.len() > 32 || checked_elements(&dims).is_none_or(|count| count > LARGEST) {
        return Err(call.fault(format!("makes a tensor of shape {dims:?}, which is too large")));
    }
    let (kind, number) = match call.attribute("value") {
        Some(AttributeValue::Tensor(value)) if value.len() == 1 => {
            let number =
                if value.kind.is_float() { f64::from(value.float_at(0)) } else { value.whole_at(0) as f64 };
            (value.kind, number)
        }
        None => (Kind::F32, 0.0),
        Some(_) => return Err(call.fault("its value must be a tensor of one number")),
    };
    let mut literal = Literal::new(kind, dims, Numbers::Same(number));
    literal.name = call.node.outputs.first().cloned();
    literal.is_weight = kind.is_float();
    one(literal)
}

/// The numbers of `literal` that lie at `offset` and from there at `strides` along each axis of `dims`.
fn view(literal: &Literal, dims: Vec<usize>, strides: &[isize], offset: usize) -> Literal {
    if let Numbers::Same(number) = *literal.numbers {
        return Literal { dims, numbers: Rc::new(Numbers::Same(number)), ..literal.clone() };
    }
    let places = places_of(&dims, strides, offset);
    pick(literal, dims, &places)
}

/// The places of a view's numbers in row-major order.
fn places_of(dims: &[usize], strides: &[isize], offset: usize) -> Vec<usize> {
    let mut places = Vec::new();
    let count = checked_elements(dims).unwrap_or(0);
    if count == 0 {
        return places;
    }
    places.reserve_exact(count);
    let mut at = vec![0; dims.len()];
    let mut place = offset as isize;
    for _ in 0..count {
        places.push(place as usize);
        for axis in (0..dims.len()).rev() {
            at[axis] += 1;
            // A stride may be anything along an axis of one index.
            place = place.wrapping_add(strides[axis]);
            if at[axis] < dims[axis] {
                break;
            }
            place = place.wrapping_sub(strides[axis].wrapping_mul(dims[axis] as isize));
            at[axis] = 0;
        }
    }
    places
}

/// The numbers of `literal` at `places`, under a new shape.
fn pick(literal: &Literal, dims: Vec<usize>, places: &[usize]) -> Literal {
    let numbers = match &*literal.numbers {
        Numbers::Float(numbers) => Numbers::Float(places.iter().map(|&i| numbers[i]).collect()),
        Numbers::Whole(numbers) => Numbers::Whole(places.iter().map(|&i| numbers[i]).collect()),
        Numbers::Bytes(numbers) => Numbers::Bytes(places.iter().map(|&i| numbers[i]).collect()),
        Numbers::Same(number) => Numbers::Same(*number),
    };
    Literal { dims, numbers: Rc::new(numbers), ..literal.clone() }
}

/// How far apart neighbours along each axis lie in row-major order.
fn strides(dims: &[usize]) -> Vec<isize> {
    let mut strides = vec![1; dims.len()];
    for axis in (1..dims.len()).rev() {
        strides[axis - 1] = strides[axis] * dims[axis] as isize;
    }
    strides
}

/// The strides with which a tensor of shape `from` is read as one of the broadcast shape `to`.
fn broadcast_strides(from: &[usize], to: &[usize]) -> Vec<isize> {
    let own = strides(from);
    let missing = to.len() - from.len();
    (0..to.len())
        .map(|axis| match axis.checked_sub(missing) {
            Some(mine) if from[mine] != 1 => own[mine],
            _ => 0,
        })
        .collect()
}

/// `literal` with its axes in another order; it stays the same weight.
pub(super) use arithmetic::{lined_up, quantized_along, target as cast_target};

pub(super) fn transposed(
    net: &Net,
    call: &Call,
    literal: &Literal,
    order: &[usize],
) -> Result<Option<Literal>, Fault> {
    let dims: Vec<usize> = order.iter().map(|&axis| literal.dims[axis]).collect();
    if !(Room { net, call }).has(literal.kind, &dims, literal.len())? {
        return Ok(None);
    }
    let own = strides(&literal.dims);
    let strides: Vec<isize> = order.iter().map(|&axis| own[axis]).collect();
    Ok(Some(view(literal, dims, &strides, 0)))
}
