//! Constants computed: element by element, and over axes.
//!
//! Whole numbers are computed as such (division cuts towards zero, as ONNX has it), all others in double precision.

use super::{Folded, Room, broadcast_strides, one, places_of, strides};
use crate::onnx::dims;
use crate::onnx::fault::Fault;
use crate::onnx::literal::{Kind, Literal, Numbers};

pub(super) fn evaluate(room: &Room) -> Folded {
    match room.call.op() {
        "Cast" | "CastLike" => cast(room),
        "DequantizeLinear" => dequantize(room),
        "Clip" => clip(room),
        op => {
            let cuts = op == "Mod" && room.call.flag("fmod", false)?;
            if let Some(function) = if cuts { Some(REMAINDER) } else { binary(op) } {
                return elementwise(room, function);
            }
            if let Some(function) = comparison(op) {
                return compare(room, function);
            }
            if let Some(function) = unary(op) {
                return map(room, room.input(0)?, function);
            }
            if let Some(reduction) = reduction(op) {
                return reduce(room, reduction);
            }
            Ok(None)
        }
    }
}

/// A function of two numbers, for either sort of them.
struct Binary {
    wholes: fn(i64, i64) -> Option<i64>,
    floats: fn(f64, f64) -> f64,
}

fn binary(op: &str) -> Option<Binary> {
    type Both = (fn(i64, i64) -> Option<i64>, fn(f64, f64) -> f64);
    let (wholes, floats): Both = match op {
        "Add" | "Sum" => (|a, b| Some(a.wrapping_add(b)), |a, b| a + b),
        "Sub" => (|a, b| Some(a.wrapping_sub(b)), |a, b| a - b),
        "Mul" => (|a, b| Some(a.wrapping_mul(b)), |a, b| a * b),
        "Div" => (i64::checked_div, |a, b| a / b),
        "Mod" => (modulus, |a, b| if b.is_infinite() && a * b >= 0.0 { a } else { a - (a / b).floor() * b }),
        "Max" => (|a, b| Some(a.max(b)), f64::max),
        "Min" => (|a, b| Some(a.min(b)), f64::min),
        "Pow" => (|a, b| a.checked_pow(u32::try_from(b).ok()?), f64::powf),
        _ => return None,
    };
    Some(Binary { wholes, floats })
}

/// Mod as C's `%` and fmod have it: of the dividend's sign.
const REMAINDER: Binary = Binary { wholes: i64::checked_rem, floats: |a, b| a % b };

/// Mod of whole numbers: of the divisor's sign.
fn modulus(a: i64, b: i64) -> Option<i64> {
    let rest = a.checked_rem(b)?;
    Some(if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest })
}

/// A condition on two numbers.
struct Comparison {
    wholes: fn(i64, i64) -> bool,
    floats: fn(f64, f64) -> bool,
}

fn comparison(op: &str) -> Option<Comparison> {
    type Both = (fn(i64, i64) -> bool, fn(f64, f64) -> bool);
    let (wholes, floats): Both = match op {
        "Equal" => (|a, b| a == b, |a, b| a == b),
        "Less" => (|a, b| a < b, |a, b| a < b),
        "LessOrEqual" => (|a, b| a <= b, |a, b| a <= b),
        "Greater" => (|a, b| a > b, |a, b| a > b),
        "GreaterOrEqual" => (|a, b| a >= b, |a, b| a >= b),
        "And" => (|a, b| a != 0 && b != 0, |a, b| a != 0.0 && b != 0.0),
        "Or" => (|a, b| a != 0 || b != 0, |a, b| a != 0.0 || b != 0.0),
        "Xor" => (|a, b| (a != 0) != (b != 0), |a, b| (a != 0.0) != (b != 0.0)),
        _ => return None,
    };
    Some(Comparison { wholes, floats })
}

fn unary(op: &str) -> Option<fn(f64) -> f64> {
    Some(match op {
        "Neg" => |x| -x,
        "Abs" => f64::abs,
        "Floor" => f64::floor,
        "Ceil" => f64::ceil,
        "Round" => f64::round_ties_even,
        "Sqrt" => f64::sqrt,
        "Exp" => f64::exp,
        "Log" => f64::ln,
        "Reciprocal" => |x| 1.0 / x,
        "Sin" => f64::sin,
        "Cos" => f64::cos,
        "Tan" => f64::tan,
        "Asin" => f64::asin,
        "Acos" => f64::acos,
        "Atan" => f64::atan,
        "Sinh" => f64::sinh,
        "Cosh" => f64::cosh,
        "Tanh" => f64::tanh,
        "Asinh" => f64::asinh,
        "Acosh" => f64::acosh,
        "Atanh" => f64::atanh,
        "Sigmoid" => |x| 1.0 / (1.0 + (-x).exp()),
        "Softplus" => |x| x.max(0.0) + (-x.abs()).exp().ln_1p(),
        "Relu" => |x| x.max(0.0),
        "Not" => |x| if x == 0.0 { 1.0 } else { 0.0 },
        "Sign" => |x| if x == 0.0 { 0.0 } else { x.signum() },
        _ => return None,
    })
}

/// What is made of the numbers along an axis: its start, each step, and what is done with the result and the count.
struct Reduction {
    start: f64,
    step: fn(f64, f64) -> f64,
    finish: fn(f64, usize) -> f64,
}

fn reduction(op: &str) -> Option<Reduction> {
    let plain: fn(f64, usize) -> f64 = |result, _| result;
    let log: fn(f64, usize) -> f64 = |result, _| result.ln();
    type Parts = (f64, fn(f64, f64) -> f64, fn(f64, usize) -> f64);
    let (start, step, finish): Parts = match op {
        "ReduceSum" => (0.0, |a, b| a + b, plain),
        "ReduceMean" => (0.0, |a, b| a + b, |sum, count| sum / count as f64),
        "ReduceProd" => (1.0, |a, b| a * b, plain),
        "ReduceMax" => (f64::NEG_INFINITY, f64::max, plain),
        "ReduceMin" => (f64::INFINITY, f64::min, plain),
        "ReduceSumSquare" => (0.0, |a, b| a + b * b, plain),
        "ReduceL1" => (0.0, |a, b| a + b.abs(), plain),
        "ReduceL2" => (0.0, |a, b| a + b * b, |sum, _| sum.sqrt()),
        "ReduceLogSum" => (0.0, |a, b| a + b, log),
        "ReduceLogSumExp" => (0.0, |a, b| a + b.exp(), log),
        _ => return None,
    };
    Some(Reduction { start, step, finish })
}

/// Old operator sets lined the second operand up with an axis of the first by hand.
pub(in crate::onnx) fn lined_up(
    call: &crate::onnx::call::Call,
    a: &[usize],
    b: &[usize],
) -> Result<Option<Vec<usize>>, Fault> {
    if call.opset >= 7 || !call.flag("broadcast", false)? {
        return Ok(None);
    }
    let Some(axis) = call.attribute("axis").map(|_| call.whole("axis", 0)).transpose()? else {
        return Ok(None);
    };
    let axis = call.axis(axis, a.len().max(1))?;
    let behind = a.len().checked_sub(axis + b.len());
    let behind = behind.ok_or_else(|| call.fault(format!("{b:?} does not fit {a:?} from axis {axis} on")))?;
    Ok(Some(b.iter().copied().chain(std::iter::repeat_n(1, behind)).collect()))
}

/// Both operands' places, element by element, and the common shape.
type Pairs = (Vec<usize>, Vec<usize>, Vec<usize>);

fn pairs(room: &Room, a: &Literal, b: &Literal, kind: Kind) -> Result<Option<Pairs>, Fault> {
    let b_dims = lined_up(room.call, &a.dims, &b.dims)?.unwrap_or_else(|| b.dims.clone());
    let dims = dims::broadcast(room.call, &a.dims, &b_dims)?;
    if !room.has(kind, &dims, 0)? {
        return Ok(None);
    }
    let first = places_of(&dims, &broadcast_strides(&a.dims, &dims), 0);
    let second = places_of(&dims, &broadcast_strides(&b_dims, &dims), 0);
    Ok(Some((first, second, dims)))
}

/// A function of two or more operands, taken two at a time.
fn elementwise(room: &Room, function: Binary) -> Folded {
    let mut result = room.input(0)?.clone();
    for i in 1..room.call.inputs.len() {
        let operand = room.input(i)?;
        let Some((first, second, dims)) = pairs(room, &result, operand, result.kind)? else {
            return Ok(None);
        };
        let places = first.into_iter().zip(second);
        let numbers = if result.kind.is_float() {
            let compute = |(i, j)| {
                (function.floats)(f64::from(result.float_at(i)), f64::from(operand.float_at(j))) as f32
            };
            Numbers::Float(places.map(compute).collect())
        } else {
            let compute = |(i, j)| {
                let (a, b) = (result.whole_at(i), operand.whole_at(j));
                let number = (function.wholes)(a, b).map(|number| wrapped(result.kind, number));
                number.ok_or_else(|| room.call.fault(format!("{a} and {b} have no result")))
            };
            Numbers::Whole(places.map(compute).collect::<Result<_, _>>()?)
        };
        result = Literal::new(result.kind, dims, numbers);
    }
    one(result)
}

/// A whole number as its type keeps it.
fn wrapped(kind: Kind, number: i64) -> i64 {
    match kind {
        Kind::U8 => i64::from(number as u8),
        Kind::I8 => i64::from(number as i8),
        Kind::U16 => i64::from(number as u16),
        Kind::I16 => i64::from(number as i16),
        Kind::U32 => i64::from(number as u32),
        Kind::I32 => i64::from(number as i32),
        Kind::U4 => number & 15,
        Kind::I4 => ((number & 15) ^ 8) - 8,
        _ => number,
    }
}

fn compare(room: &Room, function: Comparison) -> Folded {
    let (a, b) = (room.input(0)?, room.input(1)?);
    let Some((first, second, dims)) = pairs(room, a, b, Kind::Bool)? else { return Ok(None) };
    let is_float = a.kind.is_float();
    let holds = |(i, j)| {
        u8::from(match is_float {
            true => (function.floats)(f64::from(a.float_at(i)), f64::from(b.float_at(j))),
            false => (function.wholes)(a.whole_at(i), b.whole_at(j)),
        })
    };
    let numbers = Numbers::Bytes(first.into_iter().zip(second).map(holds).collect());
    one(Literal::new(Kind::Bool, dims, numbers))
}

fn map(room: &Room, x: &Literal, function: impl Fn(f64) -> f64) -> Folded {
    if !room.has(x.kind, &x.dims, 0)? {
        return Ok(None);
    }
    let numbers = if x.kind.is_float() {
        Numbers::Float((0..x.len()).map(|i| function(f64::from(x.float_at(i))) as f32).collect())
    } else {
        // Exact: no whole number that is a size or an index is above 2^53.
        Numbers::Whole((0..x.len()).map(|i| function(x.whole_at(i) as f64) as i64).collect())
    };
    one(Literal::new(x.kind, x.dims.clone(), numbers))
}

/// Clip: its bounds are attributes before operator set 11, inputs of one number each from then on.
fn clip(room: &Room) -> Folded {
    let x = room.input(0)?;
    let number = |literal: &Literal| match literal.kind.is_float() {
        true => f64::from(literal.float_at(0)),
        false => literal.whole_at(0) as f64,
    };
    let bound = |i: usize, name: &str| match room.call.opset {
        ..11 => Ok(room.call.attribute(name).map(|_| room.call.float(name, 0.0)).transpose()?.map(f64::from)),
        _ => Ok::<_, Fault>(room.call.constant(i, name)?.filter(|bound| bound.len() == 1).map(number)),
    };
    let (low, high) = (bound(1, "min")?, bound(2, "max")?);
    let clipped = |x: f64| x.max(low.unwrap_or(f64::NEG_INFINITY)).min(high.unwrap_or(f64::INFINITY));
    map(room, x, clipped)
}

fn cast(room: &Room) -> Folded {
    let x = room.input(0)?;
    let kind = match room.call.op() {
        "Cast" => target(room.call)?,
        _ => room.call.need(1)?.kind(),
    };
    if kind == x.kind {
        return one(x.clone());
    }
    let is_same = matches!(*x.numbers, Numbers::Same(_));
    let shortens = matches!(kind, Kind::F16 | Kind::Bf16) && x.kind.is_float() && !is_same;
    if shortens && room.has(kind, &x.dims, 0)? {
        let rounded = |i| rounded(kind, x.float_at(i));
        let numbers = Numbers::Float((0..x.len()).map(rounded).collect());
        return one(Literal { kind, numbers: numbers.into(), ..x.clone() });
    }
    if kind.is_float() && matches!(*x.numbers, Numbers::Float(_)) {
        // Every floating-point type is kept as f32, the numbers of a smaller one without loss.
        return one(Literal { kind, ..x.clone() });
    }
    if let Numbers::Same(number) = *x.numbers {
        let number = match kind {
            _ if kind.is_float() => f64::from(number as f32),
            Kind::Bool => f64::from(u8::from(number != 0.0)),
            _ => wrapped(kind, number as i64) as f64,
        };
        return one(Literal { kind, numbers: Numbers::Same(number).into(), ..x.clone() });
    }
    if !room.has(kind, &x.dims, 0)? {
        return Ok(None);
    }
    let numbers = if kind.is_float() {
        Numbers::Float(x.to_floats().into_owned())
    } else if kind == Kind::Bool {
        let is_float = x.kind.is_float();
        let holds = |i| u8::from(if is_float { x.float_at(i) != 0.0 } else { x.whole_at(i) != 0 });
        Numbers::Bytes((0..x.len()).map(holds).collect())
    } else {
        Numbers::Whole((0..x.len()).map(|i| wrapped(kind, x.whole_at(i))).collect())
    };
    one(Literal { kind, numbers: numbers.into(), ..x.clone() })
}

/// The nearest number of a smaller floating-point type.
fn rounded(kind: Kind, number: f32) -> f32 {
    match kind {
        Kind::F16 => half::f16::from_f32(number).to_f32(),
        Kind::Bf16 => half::bf16::from_f32(number).to_f32(),
        _ => number,
    }
}

/// The type that Cast gives.
pub(in crate::onnx) fn target(call: &crate::onnx::call::Call) -> Result<Kind, Fault> {
    use crate::onnx::proto::AttributeValue;
    if let (Some(AttributeValue::Text(name)), true) = (call.attribute("to"), call.opset < 6) {
        let names =
            ["FLOAT", "UINT8", "INT8", "UINT16", "INT16", "INT32", "INT64", "STRING", "BOOL", "FLOAT16"];
        let code = names.iter().position(|known| *known == name.to_uppercase()).map_or(0, |i| i as i64 + 1);
        return Kind::of(code).map_err(|what| call.fault(what));
    }
    Kind::of(call.whole("to", 0)?).map_err(|what| call.fault(what))
}

fn reduce(room: &Room, reduction: Reduction) -> Folded {
    let x = room.input(0)?;
    let given =
        if room.call.inputs.len() > 1 { room.call.list(1, "axes")? } else { room.call.wholes("axes")? };
    let axes = match given {
        Some(axes) if !axes.is_empty() => room.call.axes(&axes, x.rank())?,
        _ if room.call.flag("noop_with_empty_axes", false)? => return Ok(None),
        _ => (0..x.rank()).collect(),
    };
    if room.call.op() == "ReduceLogSumExp" && x.len() > 0 {
        return Ok(None); // the network does it without large powers
    }
    let keep = room.call.flag("keepdims", true)?;
    // Reduced axes are walked last: first the places where each result begins, then the steps from there.
    let own = strides(&x.dims);
    let kept: Vec<usize> = (0..x.rank()).filter(|axis| !axes.contains(axis)).collect();
    let sizes = |axes: &[usize]| axes.iter().map(|&axis| x.dims[axis]).collect::<Vec<_>>();
    let steps = |axes: &[usize]| axes.iter().map(|&axis| own[axis]).collect::<Vec<_>>();
    let dims: Vec<usize> = match keep {
        true => (0..x.rank()).map(|axis| if axes.contains(&axis) { 1 } else { x.dims[axis] }).collect(),
        false => sizes(&kept),
    };
    if !room.has(x.kind, &dims, x.len())? {
        return Ok(None);
    }
    let starts = places_of(&sizes(&kept), &steps(&kept), 0);
    let within = places_of(&sizes(&axes), &steps(&axes), 0);
    let is_float = x.kind.is_float();
    let number = |i: usize| if is_float { f64::from(x.float_at(i)) } else { x.whole_at(i) as f64 };
    let results = starts.iter().map(|start| {
        let result =
            within.iter().fold(reduction.start, |sum, step| (reduction.step)(sum, number(start + step)));
        (reduction.finish)(result, within.len())
    });
    let numbers = match is_float {
        true => Numbers::Float(results.map(|x| x as f32).collect()),
        // The largest of no numbers is the type's least.
        false => {
            let (least, most) = x.kind.range().unwrap_or((i64::MIN, i64::MAX));
            Numbers::Whole(results.map(|x| (x as i64).clamp(least, most)).collect())
        }
    };
    one(Literal::new(x.kind, dims, numbers))
}

/// `(q - zero_point) scale`, for a whole tensor, along an axis, or in blocks along it; a weight stays one.
fn dequantize(room: &Room) -> Folded {
    let (q, scale) = (room.input(0)?, room.input(1)?);
    let zero = room.call.constant(2, "zero point")?;
    let Some((outer, size, inner, block)) = quantized_along(room.call, &q.dims, &scale.dims)? else {
        return Ok(None);
    };
    if !room.has(Kind::F32, &q.dims, 0)? {
        return Ok(None);
    }
    if zero.is_some_and(|zero| zero.len() != scale.len()) {
        return Err(room.call.fault("has as many zero points as scales only if their shapes agree"));
    }
    let blocks = size.div_ceil(block).max(1);
    let mut numbers = Vec::with_capacity(q.len());
    for o in 0..outer {
        for i in 0..size {
            for j in 0..inner {
                let at = match scale.len() {
                    1 => 0,
                    count if count == size && block == 1 => i,
                    _ => (o * blocks + i / block) * inner + j,
                };
                let offset = zero.map_or(0, |zero| zero.whole_at(at));
                let number = q.whole_at((o * size + i) * inner + j) - offset;
                numbers.push(number as f32 * scale.float_at(at));
            }
        }
    }
    let is_weight = q.name.is_some();
    one(Literal { kind: Kind::F32, numbers: Numbers::Float(numbers).into(), is_weight, ..q.clone() })
}

/// How a tensor of shape `dims` has scales of shape `scales`: (numbers before the axis, along it, behind it, block).
/// `None` if the scales are of a shape that no such rule gives.
pub(in crate::onnx) fn quantized_along(
    call: &crate::onnx::call::Call,
    dims: &[usize],
    scales: &[usize],
) -> Result<Option<(usize, usize, usize, usize)>, Fault> {
    let count: usize = scales.iter().product();
    if count == 1 && scales.len() <= 1 {
        return Ok(Some((1, dims.iter().product(), 1, 1)));
    }
    let axis = call.axis(call.whole("axis", 1)?, dims.len())?;
    let (outer, inner) = (dims[..axis].iter().product(), dims[axis + 1..].iter().product());
    if scales.len() == 1 && count == dims[axis] {
        return Ok(Some((outer, dims[axis], inner, 1)));
    }
    let block = call.size(call.whole("block_size", 0)?, "block_size")?;
    let block = if block == 0 && scales.len() == dims.len() {
        dims[axis].div_ceil(scales[axis].max(1))
    } else {
        block
    };
    let fits = scales.len() == dims.len()
        && (0..dims.len()).all(|other| {
            scales[other] == if other == axis { dims[axis].div_ceil(block.max(1)) } else { dims[other] }
        });
    if block == 0 || !fits {
        return Err(call.fault(format!("scales of shape {scales:?} do not fit {dims:?} along axis {axis}")));
    }
    Ok(Some((outer, dims[axis], inner, block)))
}
