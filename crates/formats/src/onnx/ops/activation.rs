//! Functions of each element alone.

use ocellus_graph::ops::{Activation, Binary, BinaryKind, Prelu, Stepwise};
use ocellus_graph::{Op, ValueId};

use crate::onnx::call::{Call, Item};
use crate::onnx::fault::Fault;
use crate::onnx::net::Net;

const SELU_ALPHA: f32 = 1.673_263_2;
const SELU_GAMMA: f32 = 1.050_701;

/// Adds an elementwise function; `None` if the operator is none.
pub(super) fn add(net: &mut Net, call: &Call) -> Result<Option<ValueId>, Fault> {
    match call.op() {
        "PRelu" => return prelu(net, call).map(Some),
        "Clip" => return clip(net, call).map(Some),
        "Erf" => return erf(net, call).map(Some),
        "Mish" => return mish(net, call).map(Some),
        "Softsign" => return softsign(net, call).map(Some),
        "ThresholdedRelu" => return thresholded(net, call).map(Some),
        "Shrink" => return shrink(net, call).map(Some),
        _ => {}
    }
    let Some(chain) = chain(call)? else { return Ok(None) };
    let x = net.value(call, 0)?;
    let chain: Vec<&dyn Function> = chain.iter().map(|function| &**function).collect();
    apply(net, call, "", x, &chain).map(Some)
}

/// A function of each element, of either sort.
pub(super) trait Function {
    /// It as an operation.
    fn op(&self) -> Op;
}

impl Function for Activation {
    fn op(&self) -> Op {
        Op::Activation(*self)
    }
}

impl Function for Stepwise {
    fn op(&self) -> Op {
        Op::Stepwise(*self)
    }
}

/// The functions of `chain` one after the other.
pub(super) fn apply(
    net: &mut Net,
    call: &Call,
    suffix: &str,
    x: ValueId,
    chain: &[&dyn Function],
) -> Result<ValueId, Fault> {
    let (mut value, last) = (x, chain.len().saturating_sub(1));
    for (i, function) in chain.iter().enumerate() {
        let suffix = if i == last { suffix.to_string() } else { format!("{suffix}.{i}") };
        value = net.add(call, &suffix, function.op(), &[value])?;
    }
    Ok(value)
}

pub(in crate::onnx::ops) fn affine(scale: f32, shift: f32) -> Activation {
    Activation::Affine { scale, shift }
}

/// The functions that an operator applies one after the other.
fn chain(call: &Call) -> Result<Option<Vec<Box<dyn Function>>>, Fault> {
    let list = |functions: &[Activation]| -> Result<Option<Vec<Box<dyn Function>>>, Fault> {
        Ok(Some(functions.iter().map(|&function| Box::new(function) as Box<dyn Function>).collect()))
    };
    let one = |function| list(&[function]);
    let step = |function: Stepwise| -> Result<Option<Vec<Box<dyn Function>>>, Fault> {
        Ok(Some(vec![Box::new(function)]))
    };
    match call.op() {
        "Relu" => one(Activation::Relu),
        "LeakyRelu" => one(Activation::LeakyRelu { slope: call.float("alpha", 0.01)? }),
        "Elu" => one(Activation::Elu { alpha: call.float("alpha", 1.0)? }),
        "Celu" => {
            let alpha = call.float("alpha", 1.0)?;
            if alpha <= 0.0 {
                return Err(call.fault(format!("its alpha must be above 0, got {alpha}")));
            }
            list(&[affine(1.0 / alpha, 0.0), Activation::Elu { alpha: 1.0 }, affine(alpha, 0.0)])
        }
        "Selu" => {
            let alpha = call.float("alpha", SELU_ALPHA)?;
            let gamma = call.float("gamma", SELU_GAMMA)?;
            list(&[Activation::Elu { alpha }, affine(gamma, 0.0)])
        }
        "Sigmoid" => one(Activation::Sigmoid),
        "Tanh" => one(Activation::Tanh),
        "HardSigmoid" => {
            one(Activation::HardSigmoid { alpha: call.float("alpha", 0.2)?, beta: call.float("beta", 0.5)? })
        }
        "HardSwish" => one(Activation::HardSwish),
        "Gelu" => match call.text("approximate", "none")? {
            "tanh" => one(Activation::GeluTanh),
            _ => one(Activation::Gelu),
        },
        "Swish" => match call.float("alpha", 1.0)? {
            1.0 => one(Activation::Silu),
            0.0 => one(affine(0.5, 0.0)),
            // x sigmoid(a x) = silu(a x) / a
            alpha => list(&[affine(alpha, 0.0), Activation::Silu, affine(1.0 / alpha, 0.0)]),
        },
        "Softplus" => one(Activation::Softplus),
        "Exp" => one(Activation::Exp),
        "Log" => one(Activation::Log),
        "Abs" => one(Activation::Abs),
        "Sqrt" => one(Activation::Sqrt),
        "Neg" => one(affine(-1.0, 0.0)),
        "Reciprocal" => one(Activation::Power { exponent: -1.0 }),
        "Floor" => step(Stepwise::Floor),
        "Ceil" => {
            let minus = affine(-1.0, 0.0);
            Ok(Some(vec![Box::new(minus), Box::new(Stepwise::Floor), Box::new(minus)]))
        }
        "Round" => step(Stepwise::Round),
        "Not" => one(affine(-1.0, 1.0)),
        // Old operator sets had these two.
        "ScaledTanh" => {
            let (alpha, beta) = (call.float("alpha", 1.0)?, call.float("beta", 1.0)?);
            list(&[affine(beta, 0.0), Activation::Tanh, affine(alpha, 0.0)])
        }
        "Affine" => one(affine(call.float("alpha", 1.0)?, call.float("beta", 0.0)?)),
        "ParametricSoftplus" => {
            let (alpha, beta) = (call.float("alpha", 1.0)?, call.float("beta", 1.0)?);
            list(&[affine(beta, 0.0), Activation::Softplus, affine(alpha, 0.0)])
        }
        _ => Ok(None),
    }
}

fn multiplied(net: &mut Net, call: &Call, suffix: &str, a: ValueId, b: ValueId) -> Result<ValueId, Fault> {
    net.add(call, suffix, Op::Binary(Binary { kind: BinaryKind::Mul }), &[a, b])
}

/// x for x > 0, slope x otherwise: by channel where the slope is, by broadcasting otherwise.
fn prelu(net: &mut Net, call: &Call) -> Result<ValueId, Fault> {
    let x = net.value(call, 0)?;
    let dims = net.dims(x);
    let slope = call.need(1)?.clone();
    let slope_dims = net.dims_of(&slope);
    let channels = dims.get(1).copied().unwrap_or(0);
    // Before version 7 a list of slopes was one per channel; from then on it lines up with the last axis.
    let old = call.opset < 7 && slope_dims == [channels];
    let count: usize = slope_dims.iter().product();
    let behind = dims.len().saturating_sub(2);
    let by_channel = old
        || count == 1
        || (count == channels
            && slope_dims.len() > behind
            && slope_dims[slope_dims.len() - behind..].iter().all(|&size| size == 1));
    if by_channel && dims.len() >= 2 {
        let slope = match &slope {
            Item::Constant(literal) => net.parameter(call, &literal.with_dims(vec![count]))?,
            Item::Value(value, _) => net.fold(call, ".slope", *value, &[count])?,
        };
        let flat = match dims.len() {
            2..=4 => x,
            _ => net.reshape(call, ".flat", x, &[dims[0], dims[1], 1, dims[2..].iter().product()])?,
        };
        let y =
            net.add(call, if dims.len() <= 4 { "" } else { ".prelu" }, Op::Prelu(Prelu), &[flat, slope])?;
        return net.reshape(call, "", y, &dims);
    }
    // relu(x) - slope relu(-x)
    let slope = net.item_value(call, &slope)?;
    let above = net.add(call, ".above", Op::Activation(Activation::Relu), &[x])?;
    let below = apply(net, call, ".below", x, &[&affine(-1.0, 0.0), &Activation::Relu])?;
    let below = multiplied(net, call, ".sloped", below, slope)?;
    net.add(call, "", Op::Binary(Binary { kind: BinaryKind::Sub }), &[above, below])
}

/// min(max(x, low), high); bounds may be missing, and may come at run time.
fn clip(net: &mut Net, call: &Call) -> Result<ValueId, Fault> {
    let x = net.value(call, 0)?;
    let known = |i: usize, name: &str, default: f32| match call.item(i) {
        _ if call.opset < 11 => call.float(name, default).map(Some),
        None => Ok(Some(default)),
        Some(Item::Constant(_)) => call.number(i, name),
        Some(Item::Value(..)) => Ok(None),
    };
    let (low, high) = (known(1, "min", f32::NEG_INFINITY)?, known(2, "max", f32::INFINITY)?);
    match (low, high) {
        (Some(f32::NEG_INFINITY), Some(f32::INFINITY)) => return Ok(x),
        (Some(low), Some(high)) => {
            // Bounds that cross give the upper one everywhere.
            let clip = Activation::Clip { low: low.min(high), high };
            if low <= high {
                return apply(net, call, "", x, &[&clip]);
            }
            return apply(net, call, "", x, &[&clip, &Activation::Clip { low: high, high }]);
        }
        _ => {}
    }
    let bound = |net: &mut Net, i: usize| -> Result<Option<ValueId>, Fault> {
        let Some(value) = net.optional(call, i)? else { return Ok(None) };
        net.reshape(call, &format!(".bound{i}"), value, &[]).map(Some)
    };
    let maximum = || Op::Binary(Binary { kind: BinaryKind::Maximum });
    let negative = || Op::Activation(affine(-1.0, 0.0));
    let mut y = x;
    if let Some(low) = bound(net, 1)? {
        y = net.add(call, ".low", maximum(), &[y, low])?;
    }
    if let Some(high) = bound(net, 2)? {
        let (minus_y, minus_high) =
            (net.add(call, ".minus", negative(), &[y])?, net.add(call, ".minus_high", negative(), &[high])?);
        let lower = net.add(call, ".high", maximum(), &[minus_y, minus_high])?;
        y = net.add(call, "", negative(), &[lower])?;
    }
    Ok(y)
}

/// The error function, by GELU: gelu(u) = u (1 + erf(u / sqrt 2)) / 2. The quotient gelu(u) / u is given its value at
/// 0, 1/2, by a number too small to be seen anywhere else.
fn erf(net: &mut Net, call: &Call) -> Result<ValueId, Fault> {
    const SMALL: f32 = 1e-30;
    let x = net.value(call, 0)?;
    let u = net.add(call, ".u", Op::Activation(affine(std::f32::consts::SQRT_2, 0.0)), &[x])?;
    let above = apply(net, call, ".above", u, &[&Activation::Gelu, &affine(1.0, SMALL / 2.0)])?;
    let below = net.add(call, ".below", Op::Activation(affine(1.0, SMALL)), &[u])?;
    let share = net.add(call, ".share", Op::Binary(Binary { kind: BinaryKind::Div }), &[above, below])?;
    let y = net.add(call, "", Op::Activation(affine(2.0, -1.0)), &[share])?;
    net.remember_erf(y, x);
    Ok(y)
}

/// x tanh(ln(1 + e^x)).
fn mish(net: &mut Net, call: &Call) -> Result<ValueId, Fault> {
    let x = net.value(call, 0)?;
    let gate = apply(net, call, ".gate", x, &[&Activation::Softplus, &Activation::Tanh])?;
    multiplied(net, call, "", x, gate)
}

/// x / (1 + |x|).
fn softsign(net: &mut Net, call: &Call) -> Result<ValueId, Fault> {
    let x = net.value(call, 0)?;
    let below = apply(net, call, ".below", x, &[&Activation::Abs, &affine(1.0, 1.0)])?;
    net.add(call, "", Op::Binary(Binary { kind: BinaryKind::Div }), &[x, below])
}

/// 1 where x > threshold, else 0.
pub(super) fn step(
    net: &mut Net,
    call: &Call,
    suffix: &str,
    x: ValueId,
    threshold: f32,
) -> Result<ValueId, Fault> {
    net.add(call, suffix, Op::Stepwise(Stepwise::Above { threshold }), &[x])
}

/// x above alpha, else 0.
fn thresholded(net: &mut Net, call: &Call) -> Result<ValueId, Fault> {
    let x = net.value(call, 0)?;
    let gate = step(net, call, ".gate", x, call.float("alpha", 1.0)?)?;
    multiplied(net, call, "", x, gate)
}

/// x + bias below -lambd, x - bias above lambd, 0 between.
fn shrink(net: &mut Net, call: &Call) -> Result<ValueId, Fault> {
    let x = net.value(call, 0)?;
    let (bias, lambda) = (call.float("bias", 0.0)?, call.float("lambd", 0.5)?);
    let above = step(net, call, ".is_above", x, lambda)?;
    let lower = net.add(call, ".lower", Op::Activation(affine(1.0, -bias)), &[x])?;
    let above = multiplied(net, call, ".above", lower, above)?;
    let minus = net.add(call, ".minus", Op::Activation(affine(-1.0, 0.0)), &[x])?;
    let below = step(net, call, ".is_below", minus, lambda)?;
    let higher = net.add(call, ".higher", Op::Activation(affine(1.0, bias)), &[x])?;
    let below = multiplied(net, call, ".below", higher, below)?;
    net.add(call, "", Op::Binary(Binary { kind: BinaryKind::Add }), &[above, below])
}
