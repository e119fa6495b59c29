//! Two or more tensors, element by element; conditions; conversions.
//!
//! Conditions are 0 and 1. Whole numbers are computed in floating point, exact up to 2^24; quotients of whole numbers
//! are cut towards zero.

use ocellus_graph::ops::{Activation, Binary, BinaryKind, Stepwise};
use ocellus_graph::{Op, Source, ValueId};

use super::Made;
use super::activation::{affine, apply, step};
use crate::onnx::call::{Call, Item};
use crate::onnx::dims::broadcast;
use crate::onnx::fault::Fault;
use crate::onnx::fold::{cast_target, lined_up};
use crate::onnx::literal::Kind;
use crate::onnx::net::Net;

/// Adds an operator on several tensors; `None` if it is none.
pub(super) fn add(net: &mut Net, call: &Call) -> Result<Option<Vec<Item>>, Fault> {
    let kind = call.item(0).map_or(Kind::F32, Item::kind);
    let made = |value: ValueId, kind| Ok(Some(vec![Item::Value(value, kind)]));
    match call.op() {
        "Add" | "Sum" => made(chained(net, call, BinaryKind::Add, 1.0)?, kind),
        "Sub" => made(chained(net, call, BinaryKind::Sub, 1.0)?, kind),
        "Mul" => made(product(net, call)?, kind),
        "Div" => made(quotient(net, call, kind)?, kind),
        "Max" => made(chained(net, call, BinaryKind::Maximum, 1.0)?, kind),
        "Min" => made(chained(net, call, BinaryKind::Maximum, -1.0)?, kind),
        "Mean" => {
            let sum = chained(net, call, BinaryKind::Add, 1.0)?;
            let share = affine(1.0 / call.inputs.len() as f32, 0.0);
            made(net.add(call, ".mean", Op::Activation(share), &[sum])?, kind)
        }
        "Pow" => made(power(net, call, kind)?, kind),
        "Mod" => made(remainder(net, call)?, kind),
        "And" => made(chained(net, call, BinaryKind::Mul, 1.0)?, Kind::Bool),
        "Or" => made(chained(net, call, BinaryKind::Maximum, 1.0)?, Kind::Bool),
        "Xor" => {
            let difference = chained(net, call, BinaryKind::Sub, 1.0)?;
            made(net.add(call, ".xor", Op::Activation(Activation::Abs), &[difference])?, Kind::Bool)
        }
        "Greater" | "Less" | "GreaterOrEqual" | "LessOrEqual" | "Equal" => {
            made(compare(net, call)?, Kind::Bool)
        }
        "Where" => {
            let kind = call.need(1)?.kind();
            made(choose(net, call)?, kind)
        }
        "IsNaN" => {
            // A NaN is above nothing.
            let above = Stepwise::Above { threshold: -1.0 };
            let x = net.value(call, 0)?;
            made(apply(net, call, "", x, &[&Activation::Abs, &above, &affine(-1.0, 1.0)])?, Kind::Bool)
        }
        "IsInf" => made(is_infinite(net, call)?, Kind::Bool),
        "Sign" => {
            let x = net.value(call, 0)?;
            let above = step(net, call, ".above", x, 0.0)?;
            let minus = net.add(call, ".minus", Op::Activation(affine(-1.0, 0.0)), &[x])?;
            let below = step(net, call, ".below", minus, 0.0)?;
            made(net.add(call, "", binary(BinaryKind::Sub), &[above, below])?, kind)
        }
        _ => Ok(None),
    }
}

/// 1 where x is infinite, on either side or on those that are asked for.
fn is_infinite(net: &mut Net, call: &Call) -> Result<ValueId, Fault> {
    let x = net.value(call, 0)?;
    let beyond = Stepwise::Above { threshold: f32::MAX };
    match (call.flag("detect_positive", true)?, call.flag("detect_negative", true)?) {
        (true, true) => apply(net, call, "", x, &[&Activation::Abs, &beyond]),
        (true, false) => apply(net, call, "", x, &[&beyond]),
        (false, true) => apply(net, call, "", x, &[&affine(-1.0, 0.0), &beyond]),
        (false, false) => apply(net, call, "", x, &[&beyond, &affine(0.0, 0.0)]),
    }
}

pub(super) fn binary(kind: BinaryKind) -> Op {
    Op::Binary(Binary { kind })
}

/// Input `i` as the second operand of something of shape `dims`.
fn operand(net: &mut Net, call: &Call, i: usize, dims: &[usize]) -> Result<ValueId, Fault> {
    let item = call.need(i)?.clone();
    let own = net.dims_of(&item);
    match (lined_up(call, dims, &own)?, item) {
        (Some(to), Item::Constant(literal)) => net.parameter(call, &literal.with_dims(to)),
        (Some(to), Item::Value(value, _)) => net.reshape(call, &format!(".lined_up{i}"), value, &to),
        (None, item) => net.item_value(call, &item),
    }
}

/// The number that input `i` is everywhere, if it is known and does not widen a tensor of shape `dims`.
fn scalar(call: &Call, i: usize, dims: &[usize]) -> Option<f32> {
    let Some(Item::Constant(literal)) = call.item(i) else { return None };
    literal.single().filter(|_| literal.rank() <= dims.len())
}

/// All inputs joined two at a time; with `sign` -1 their negatives are, and the result's negative is given.
fn chained(net: &mut Net, call: &Call, kind: BinaryKind, sign: f32) -> Result<ValueId, Fault> {
    if call.inputs.len() == 2
        && sign == 1.0
        && let Some(value) = with_number(net, call, kind)?
    {
        return Ok(value);
    }
    let negate = |net: &mut Net, suffix: &str, x| {
        if sign == 1.0 { Ok(x) } else { net.add(call, suffix, Op::Activation(affine(sign, 0.0)), &[x]) }
    };
    let first = net.value(call, 0)?;
    if call.inputs.len() == 1 {
        return Ok(first);
    }
    let mut value = negate(net, ".minus0", first)?;
    let last = call.inputs.len() - 1;
    for i in 1..=last {
        let dims = net.dims(value);
        let other = operand(net, call, i, &dims)?;
        let other = negate(net, &format!(".minus{i}"), other)?;
        let suffix = if i == last && sign == 1.0 { String::new() } else { format!(".{i}") };
        value = net.add(call, &suffix, binary(kind), &[value, other])?;
    }
    negate(net, "", value)
}

/// A sum, difference, product or quotient with one known number.
fn with_number(net: &mut Net, call: &Call, kind: BinaryKind) -> Result<Option<ValueId>, Fault> {
    let (a, b) = (net.dims_of(call.need(0)?), net.dims_of(call.need(1)?));
    let (x, function) = if let Some(number) = scalar(call, 1, &a) {
        let function = match kind {
            BinaryKind::Add => affine(1.0, number),
            BinaryKind::Sub => affine(1.0, -number),
            BinaryKind::Mul => affine(number, 0.0),
            BinaryKind::Div => affine(1.0 / number, 0.0),
            BinaryKind::Maximum => Activation::Clip { low: number, high: f32::INFINITY },
        };
        (0, function)
    } else if let Some(number) = scalar(call, 0, &b) {
        let function = match kind {
            BinaryKind::Add => affine(1.0, number),
            BinaryKind::Sub => affine(-1.0, number),
            BinaryKind::Mul => affine(number, 0.0),
            BinaryKind::Maximum => Activation::Clip { low: number, high: f32::INFINITY },
            BinaryKind::Div => return Ok(None),
        };
        (1, function)
    } else {
        return Ok(None);
    };
    let is_finite = match function {
        Activation::Affine { scale, shift } => scale.is_finite() && shift.is_finite(),
        _ => true,
    };
    if !is_finite {
        return Ok(None);
    }
    let x = net.value(call, x)?;
    net.add(call, "", Op::Activation(function), &[x]).map(Some)
}

/// A product; x sigmoid(x) and x hard_sigmoid(x) are activations of their own.
fn product(net: &mut Net, call: &Call) -> Result<ValueId, Fault> {
    if let (Some(Item::Value(a, _)), Some(Item::Value(b, _))) = (call.item(0), call.item(1)) {
        for (x, gate) in [(*a, *b), (*b, *a)] {
            if let Some(function) = gated(net, x, gate) {
                return net.add(call, "", Op::Activation(function), &[x]);
            }
            if let Some(value) = gelu(net, call, x, gate)? {
                return Ok(value);
            }
        }
    }
    chained(net, call, BinaryKind::Mul, 1.0)
}

/// x (1 + erf(x / sqrt 2)) is twice the GELU of x.
fn gelu(net: &mut Net, call: &Call, x: ValueId, gate: ValueId) -> Result<Option<ValueId>, Fault> {
    let near = |a: f32, b: f32| (a - b).abs() < 1e-5;
    let (base, scale) = match net.affine_of(x) {
        // The factor 1/2 may come first.
        Some((base, scale, 0.0)) => (base, scale),
        _ => (x, 1.0),
    };
    let Some((erf, 1.0, 1.0)) = net.affine_of(gate) else { return Ok(None) };
    let Some(argument) = net.erf_of(erf) else { return Ok(None) };
    let Some((inner, factor, 0.0)) = net.affine_of(argument) else { return Ok(None) };
    if !near(factor, std::f32::consts::FRAC_1_SQRT_2) || (inner != base && inner != x) {
        return Ok(None);
    }
    let scale = if inner == x { 1.0 } else { scale };
    apply(net, call, "", inner, &[&Activation::Gelu, &affine(2.0 * scale, 0.0)]).map(Some)
}

/// What x times `gate` is, if `gate` is a sigmoid of x.
fn gated(net: &Net, x: ValueId, gate: ValueId) -> Option<Activation> {
    let Source::Node { node, .. } = net.graph.value(gate).source else { return None };
    let node = net.graph.node(node);
    if node.inputs != [x] {
        return None;
    }
    match node.op {
        Op::Activation(Activation::Sigmoid) => Some(Activation::Silu),
        Op::Activation(Activation::HardSigmoid { alpha, beta })
            if (alpha - 1.0 / 6.0).abs() < 1e-6 && beta == 0.5 =>
        {
            Some(Activation::HardSwish)
        }
        _ => None,
    }
}

fn quotient(net: &mut Net, call: &Call, kind: Kind) -> Result<ValueId, Fault> {
    if kind.is_float() {
        return chained(net, call, BinaryKind::Div, 1.0);
    }
    let dims = net.dims_of(call.need(0)?);
    let a = net.value(call, 0)?;
    let b = operand(net, call, 1, &dims)?;
    let ratio = net.add(call, ".ratio", binary(BinaryKind::Div), &[a, b])?;
    truncated(net, call, "", ratio)
}

/// x cut towards zero: floor(relu(x)) - floor(relu(-x)).
fn truncated(net: &mut Net, call: &Call, suffix: &str, x: ValueId) -> Result<ValueId, Fault> {
    let above = apply(net, call, &format!("{suffix}.above"), x, &[&Activation::Relu, &Stepwise::Floor])?;
    let minus = affine(-1.0, 0.0);
    let below =
        apply(net, call, &format!("{suffix}.below"), x, &[&minus, &Activation::Relu, &Stepwise::Floor])?;
    net.add(call, suffix, binary(BinaryKind::Sub), &[above, below])
}

/// a - floor(a / b) b.
fn remainder(net: &mut Net, call: &Call) -> Result<ValueId, Fault> {
    let (a, b) = (net.value(call, 0)?, net.value(call, 1)?);
    let ratio = net.add(call, ".ratio", binary(BinaryKind::Div), &[a, b])?;
    let whole = match call.flag("fmod", false)? {
        true => truncated(net, call, ".whole", ratio)?,
        false => net.add(call, ".whole", Op::Stepwise(Stepwise::Floor), &[ratio])?,
    };
    let taken = net.add(call, ".taken", binary(BinaryKind::Mul), &[whole, b])?;
    net.add(call, "", binary(BinaryKind::Sub), &[a, taken])
}

/// a^b. An exponent that is only known at run time: e^(b ln |a|), less than zero if a is and b is odd, no number if a is
/// below zero and b is not whole.
fn power(net: &mut Net, call: &Call, kind: Kind) -> Result<ValueId, Fault> {
    /// Below every logarithm of a number, so that 0^0 is 1.
    const LEAST: f32 = -1e6;
    let dims = net.dims_of(call.need(0)?);
    if let Some(exponent) = scalar(call, 1, &dims) {
        let x = net.value(call, 0)?;
        return match exponent {
            1.0 => Ok(x),
            2.0 => net.add(call, "", binary(BinaryKind::Mul), &[x, x]),
            0.5 => net.add(call, "", Op::Activation(Activation::Sqrt), &[x]),
            exponent => net.add(call, "", Op::Activation(Activation::Power { exponent }), &[x]),
        };
    }
    let base = net.value(call, 0)?;
    let exponent = operand(net, call, 1, &dims)?;
    let floor = Activation::Clip { low: LEAST, high: f32::INFINITY };
    let logarithm = apply(net, call, ".log", base, &[&Activation::Abs, &Activation::Log, &floor])?;
    let minus = net.add(call, ".minus", Op::Activation(affine(-1.0, 0.0)), &[base])?;
    let below = step(net, call, ".below", minus, 0.0)?;
    let product = net.add(call, ".product", binary(BinaryKind::Mul), &[logarithm, exponent])?;
    // The root of less than nothing is no number.
    let whole = net.add(call, ".whole", Op::Stepwise(Stepwise::Floor), &[exponent])?;
    let missing = net.add(call, ".missing", binary(BinaryKind::Sub), &[whole, exponent])?;
    let missing = net.add(call, ".impossible", binary(BinaryKind::Mul), &[below, missing])?;
    let nothing = net.add(call, ".root", Op::Activation(Activation::Sqrt), &[missing])?;
    let product = net.add(call, ".defined", binary(BinaryKind::Add), &[product, nothing])?;
    let size = match kind.is_float() {
        true => apply(net, call, ".size", product, &[&Activation::Exp])?,
        false => apply(net, call, ".size", product, &[&Activation::Exp, &Stepwise::Round])?,
    };
    // b less the even number at or below it is 1 for an odd b.
    let even =
        apply(net, call, ".even", exponent, &[&affine(0.5, 0.0), &Stepwise::Floor, &affine(2.0, 0.0)])?;
    let odd = net.add(call, ".odd", binary(BinaryKind::Sub), &[exponent, even])?;
    let turned = net.add(call, ".turned", binary(BinaryKind::Mul), &[below, odd])?;
    let sign = net.add(call, ".sign", Op::Activation(affine(-2.0, 1.0)), &[turned])?;
    net.add(call, "", binary(BinaryKind::Mul), &[size, sign])
}

/// 0 and 1 by the sign of the difference.
fn compare(net: &mut Net, call: &Call) -> Result<ValueId, Fault> {
    let difference = |net: &mut Net, suffix: &str, swapped: bool| {
        let dims = net.dims_of(call.need(0)?);
        let (a, b) = (net.value(call, 0)?, operand(net, call, 1, &dims)?);
        net.add(call, suffix, binary(BinaryKind::Sub), &if swapped { [b, a] } else { [a, b] })
    };
    let not = Op::Activation(affine(-1.0, 1.0));
    match call.op() {
        op @ ("Greater" | "Less") => {
            let difference = difference(net, ".difference", op == "Less")?;
            step(net, call, "", difference, 0.0)
        }
        op @ ("GreaterOrEqual" | "LessOrEqual") => {
            let difference = difference(net, ".difference", op == "GreaterOrEqual")?;
            let other = step(net, call, ".other", difference, 0.0)?;
            net.add(call, "", not, &[other])
        }
        _ => {
            let difference = difference(net, ".difference", false)?;
            let distance = net.add(call, ".distance", Op::Activation(Activation::Abs), &[difference])?;
            let differs = step(net, call, ".differs", distance, 0.0)?;
            net.add(call, "", not, &[differs])
        }
    }
}

/// condition a + (1 - condition) b. Where one of them is infinite everywhere (a mask of scores), the other less the
/// logarithm of what is chosen, times that infinity's sign: a product of 0 and infinity would be no number.
fn choose(net: &mut Net, call: &Call) -> Result<ValueId, Fault> {
    let condition = net.value(call, 0)?;
    let endless = |i: usize| match call.item(i) {
        Some(Item::Constant(literal)) => literal.uniform().filter(|number| number.is_infinite()),
        _ => None,
    };
    if endless(1).is_some() && endless(2).is_some() {
        return Err(call.fault("chooses between two infinities"));
    }
    let otherwise = net.add(call, ".otherwise", Op::Activation(affine(-1.0, 1.0)), &[condition])?;
    for (i, infinity) in [(1, endless(1)), (2, endless(2))] {
        let Some(infinity) = infinity else { continue };
        let other = net.value(call, 3 - i)?;
        // 0 where the other is chosen, -infinity elsewhere.
        let chosen = if i == 1 { otherwise } else { condition };
        let mask = apply(net, call, ".mask", chosen, &[&Activation::Log, &affine(infinity.signum(), 0.0)])?;
        let dims = net.dims_of(call.need(i)?);
        let mask = if dims.iter().product::<usize>() == 1 {
            mask
        } else {
            let to = broadcast(call, &dims, &net.dims(mask))?;
            net.broadcast(call, ".mask.repeated", mask, &to)?
        };
        return net.add(call, "", binary(BinaryKind::Sub), &[other, mask]);
    }
    let (a, b) = (net.value(call, 1)?, net.value(call, 2)?);
    let a = net.add(call, ".then", binary(BinaryKind::Mul), &[condition, a])?;
    let b = net.add(call, ".else", binary(BinaryKind::Mul), &[otherwise, b])?;
    net.add(call, "", binary(BinaryKind::Add), &[a, b])
}

/// Cast and CastLike: all floating-point types are one here, but bfloat16 is rounded to; numbers become whole by cutting
/// towards zero, and whole numbers wrap around in a smaller type.
pub(super) fn cast(net: &mut Net, call: &Call) -> Made {
    let from = call.need(0)?.kind();
    let to = if call.op() == "Cast" { cast_target(call)? } else { call.need(1)?.kind() };
    let x = net.value(call, 0)?;
    let value = if to == Kind::Bool && from != Kind::Bool {
        let distance = net.add(call, ".abs", Op::Activation(Activation::Abs), &[x])?;
        step(net, call, "", distance, 0.0)?
    } else if to == Kind::Bf16 && from != Kind::Bf16 {
        shortened(net, call, x)?
    } else if !to.is_float() && wraps(from, to) {
        let x = if from.is_float() { truncated(net, call, ".whole", x)? } else { x };
        wrapped(net, call, x, to)?
    } else if from.is_float() && !to.is_float() {
        truncated(net, call, "", x)?
    } else {
        x
    };
    Ok(vec![Item::Value(value, to)])
}

/// Whether numbers of one type may not fit another, and then wrap around: of floating-point types only into four bits.
fn wraps(from: Kind, to: Kind) -> bool {
    let small = matches!(to, Kind::U4 | Kind::I4);
    let (Some((least, most)), Some((low, high))) = (from.range(), to.range()) else { return small };
    (least < low || most > high) && high <= 0xffff
}

/// The number of `kind` that differs from the whole number x by a multiple of what the type can tell apart.
fn wrapped(net: &mut Net, call: &Call, x: ValueId, kind: Kind) -> Result<ValueId, Fault> {
    let (low, high) = kind.range().unwrap_or((0, 0));
    let (low, count) = (low as f32, (high - low + 1) as f32);
    // x - count floor((x - low) / count)
    let turns = apply(
        net,
        call,
        ".turns",
        x,
        &[&affine(1.0 / count, -low / count), &Stepwise::Floor, &affine(count, 0.0)],
    )?;
    net.add(call, "", binary(BinaryKind::Sub), &[x, turns])
}

/// x rounded to the eight significant bits of bfloat16: with t = (2^16 + 1) x, t - (t - x) (Dekker 1971, section 5). What
/// has no end is left out and added again, and everything is made smaller meanwhile, so that t stays finite.
fn shortened(net: &mut Net, call: &Call, x: ValueId) -> Result<ValueId, Fault> {
    const SMALLER: f32 = 1.0 / 1_048_576.0;
    let bounds = Activation::Clip { low: f32::MIN, high: f32::MAX };
    let inside = net.add(call, ".inside", Op::Activation(bounds), &[x])?;
    let outside = net.add(call, ".outside", binary(BinaryKind::Sub), &[x, inside])?;
    let small = net.add(call, ".small", Op::Activation(affine(SMALLER, 0.0)), &[inside])?;
    let large = net.add(call, ".large", Op::Activation(affine(65537.0, 0.0)), &[small])?;
    let rest = net.add(call, ".rest", binary(BinaryKind::Sub), &[large, small])?;
    let short = net.add(call, ".short", binary(BinaryKind::Sub), &[large, rest])?;
    let rounded = net.add(call, ".rounded", Op::Activation(affine(1.0 / SMALLER, 0.0)), &[short])?;
    net.add(call, "", binary(BinaryKind::Add), &[rounded, outside])
}
