//! Numbers as small integers: quantised forms are computed in floating point, exactly as their definitions have it.
//!
//! ```text
//! quantise:   q = clip(round(x / scale) + zero, lowest, highest)      (to the even one where two are as near)
//! dequantise: x = (q - zero) scale
//! QLinearConv and its like: dequantise what comes in, compute, quantise the result
//! ```

use ocellus_graph::ops::{Activation, Binary, BinaryKind, Reduce, ReduceKind, Stepwise};
use ocellus_graph::{Op, ValueId};

use super::Made;
use super::activation::{affine, apply};
use super::convolve::{Operands, convolve};
use super::product::product;
use crate::onnx::call::{Call, Item};
use crate::onnx::fault::Fault;
use crate::onnx::fold::quantized_along;
use crate::onnx::literal::{Kind, Literal, Numbers};
use crate::onnx::net::Net;

pub(super) fn binary(
    net: &mut Net,
    call: &Call,
    suffix: &str,
    kind: BinaryKind,
    a: ValueId,
    b: ValueId,
) -> Result<ValueId, Fault> {
    net.add(call, suffix, Op::Binary(Binary { kind }), &[a, b])
}

/// A scale and a zero point: inputs number `scale` and `scale + 1`.
pub(super) struct Grid {
    scale: Item,
    zero: Option<Item>,
}

impl Grid {
    pub(super) fn of(call: &Call, scale: usize) -> Result<Grid, Fault> {
        Ok(Grid { scale: call.need(scale)?.clone(), zero: call.item(scale + 1).cloned() })
    }

    pub(super) fn new(scale: Item, zero: Option<Item>) -> Grid {
        Grid { scale, zero }
    }

    /// Whether there is one scale, and one zero point at most.
    pub(super) fn is_single(&self, net: &Net) -> bool {
        let count = |item: &Item| net.dims_of(item).iter().product::<usize>();
        count(&self.scale) == 1 && self.zero.as_ref().is_none_or(|zero| count(zero) == 1)
    }

    /// The one scale and zero point, if both are known and one.
    pub(super) fn known(&self) -> Option<(f32, f32)> {
        let single = |item: &Item| match item {
            Item::Constant(literal) => literal.uniform(),
            Item::Value(..) => None,
        };
        Some((single(&self.scale)?, self.zero.as_ref().map_or(Some(0.0), single)?))
    }

    /// The scale and the zero point, each in a shape that lines up with a tensor of shape `dims`.
    fn operands(
        &self,
        net: &mut Net,
        call: &Call,
        suffix: &str,
        dims: &[usize],
    ) -> Result<[Option<ValueId>; 2], Fault> {
        let mut operands = [None, None];
        for (i, item) in [Some(&self.scale), self.zero.as_ref()].into_iter().enumerate() {
            let Some(item) = item else { continue };
            if let Item::Constant(literal) = item
                && i == 1
                && literal.uniform() == Some(0.0)
            {
                continue;
            }
            operands[i] =
                Some(lined_up(net, call, &format!("{suffix}.{}", ["scale", "zero"][i]), item, dims)?);
        }
        Ok(operands)
    }
}

/// One number, a number for each index of the axis, or one for each block of them, in the shape of `dims`.
fn lined_up(net: &mut Net, call: &Call, suffix: &str, item: &Item, dims: &[usize]) -> Result<ValueId, Fault> {
    let own = net.dims_of(item);
    let value = match item {
        Item::Constant(literal) => net.statistic(call, literal)?,
        Item::Value(value, _) => *value,
    };
    let count: usize = own.iter().product();
    if count == 1 {
        return net.reshape(call, suffix, value, &[]);
    }
    let (outer, size, inner, block) = quantized_along(call, dims, &own)?.unwrap_or((1, count, 1, 1));
    if own.len() == 1 {
        // Axes behind the quantised one.
        let behind = trailing(dims, inner);
        let shape: Vec<usize> = std::iter::once(size).chain(std::iter::repeat_n(1, behind)).collect();
        return net.reshape(call, suffix, value, &shape);
    }
    let blocks = size.div_ceil(block);
    let columns = net.fold(call, &format!("{suffix}.columns"), value, &[outer, blocks, 1, inner])?;
    let rows = net.broadcast(call, &format!("{suffix}.blocks"), columns, &[outer, blocks, block, inner])?;
    let rows = net.fold(call, &format!("{suffix}.rows"), rows, &[outer, blocks * block, inner])?;
    let rows = super::arrange::part(net, call, &format!("{suffix}.part"), rows, 1, (0, 1, size))?;
    net.fold(call, suffix, rows, dims)
}

/// How many of the last axes hold `inner` numbers.
fn trailing(dims: &[usize], inner: usize) -> usize {
    let mut product = 1;
    let mut count = 0;
    for &size in dims.iter().rev() {
        if product == inner && (size != 1 || inner == 1) {
            break;
        }
        product *= size;
        count += 1;
    }
    if inner == 1 { 0 } else { count }
}

/// (q - zero) scale.
pub(super) fn dequantized(
    net: &mut Net,
    call: &Call,
    suffix: &str,
    q: &Item,
    grid: &Grid,
) -> Result<ValueId, Fault> {
    let x = net.item_value(call, q)?;
    if let Some((scale, zero)) = grid.known() {
        return apply(net, call, suffix, x, &[&affine(1.0, -zero), &affine(scale, 0.0)]);
    }
    let dims = net.dims(x);
    let [scale, zero] = grid.operands(net, call, suffix, &dims)?;
    let x = match zero {
        Some(zero) => binary(net, call, &format!("{suffix}.centred"), BinaryKind::Sub, x, zero)?,
        None => x,
    };
    let scale = scale.ok_or_else(|| call.fault("has no scale"))?;
    binary(net, call, suffix, BinaryKind::Mul, x, scale)
}

/// clip(round(x / scale) + zero) into the range of `kind`.
pub(super) fn quantized(
    net: &mut Net,
    call: &Call,
    suffix: &str,
    x: ValueId,
    (grid, kind): (&Grid, Kind),
) -> Result<ValueId, Fault> {
    let (low, high) = kind.range().ok_or_else(|| call.fault(format!("cannot quantise to {kind:?}")))?;
    let clip = Activation::Clip { low: low as f32, high: high as f32 };
    let dims = net.dims(x);
    if let Some((scale, zero)) = grid.known() {
        // Divided, not multiplied by the inverse: which side of a half a number falls on may depend on it.
        let divisor = net.statistic(call, &Literal::scalar(scale))?;
        let ratio = binary(net, call, &format!("{suffix}.ratio"), BinaryKind::Div, x, divisor)?;
        return apply(net, call, suffix, ratio, &[&Stepwise::Round, &affine(1.0, zero), &clip]);
    }
    let [scale, zero] = grid.operands(net, call, suffix, &dims)?;
    let scale = scale.ok_or_else(|| call.fault("has no scale"))?;
    let ratio = binary(net, call, &format!("{suffix}.ratio"), BinaryKind::Div, x, scale)?;
    let rounded = apply(net, call, &format!("{suffix}.round"), ratio, &[&Stepwise::Round])?;
    let shifted = match zero {
        Some(zero) => binary(net, call, &format!("{suffix}.shifted"), BinaryKind::Add, rounded, zero)?,
        None => rounded,
    };
    apply(net, call, suffix, shifted, &[&clip])
}

pub(super) fn quantize(net: &mut Net, call: &Call) -> Made {
    let x = net.value(call, 0)?;
    let grid = Grid::of(call, 1)?;
    let kind = match (&grid.zero, call.whole("output_dtype", 0)?) {
        (Some(zero), _) => zero.kind(),
        (None, 0) => Kind::U8,
        (None, code) => Kind::of(code).map_err(|what| call.fault(what))?,
    };
    Ok(vec![Item::Value(quantized(net, call, "", x, (&grid, kind))?, kind)])
}

pub(super) fn dequantize(net: &mut Net, call: &Call) -> Made {
    let grid = Grid::of(call, 1)?;
    let q = call.need(0)?.clone();
    Ok(vec![Item::Value(dequantized(net, call, "", &q, &grid)?, Kind::F32)])
}

/// DynamicQuantizeLinear: the scale and zero point that fit x and 0, and x by them.
pub(super) fn dynamic(net: &mut Net, call: &Call) -> Made {
    let x = net.value(call, 0)?;
    let axes: Vec<usize> = (0..net.shape(x).rank()).collect();
    let minus = affine(-1.0, 0.0);
    let largest = |net: &mut Net, suffix: &str, x| {
        let op = Op::Reduce(Reduce { kind: ReduceKind::Max, axes: axes.clone(), keep: false });
        let y = net.add(call, &format!("{suffix}.max"), op, &[x])?;
        apply(net, call, suffix, y, &[&Activation::Relu])
    };
    let high = largest(net, ".high", x)?;
    let negative = apply(net, call, ".negative", x, &[&minus])?;
    let minus_low = largest(net, ".minus_low", negative)?; // the lowest is at most 0
    let range = binary(net, call, ".range", BinaryKind::Add, high, minus_low)?;
    let scale = apply(net, call, ".scale", range, &[&affine(1.0 / 255.0, 0.0)])?;
    let zero = binary(net, call, ".ratio", BinaryKind::Div, minus_low, scale)?;
    let clip = Activation::Clip { low: 0.0, high: 255.0 };
    let zero = apply(net, call, ".zero", zero, &[&clip, &Stepwise::Round])?;
    let grid = Grid { scale: Item::Value(scale, Kind::F32), zero: Some(Item::Value(zero, Kind::U8)) };
    let q = quantized(net, call, "", x, (&grid, Kind::U8))?;
    Ok(vec![Item::Value(q, Kind::U8), Item::Value(scale, Kind::F32), Item::Value(zero, Kind::U8)])
}

/// Input `i` less its zero point, input `zero`.
fn centred(net: &mut Net, call: &Call, i: usize, zero: usize) -> Result<Item, Fault> {
    let q = call.need(i)?.clone();
    if call.item(zero).is_none() {
        return Ok(q);
    }
    let grid = Grid { scale: Item::Constant(Literal::scalar(1.0)), zero: call.item(zero).cloned() };
    let value = match rows_of(net, call, i, zero) {
        // A zero point for each row of a matrix, or each filter of a weight.
        true => {
            let x = net.item_value(call, &q)?;
            let dims = net.dims(x);
            let zero = net.value(call, zero)?;
            let count = net.shape(zero).elements();
            let first = if call.op() == "ConvInteger" {
                0
            } else {
                dims.len().saturating_sub(if i == 0 { 2 } else { 1 })
            };
            let shape: Vec<usize> =
                (0..dims.len()).map(|axis| if axis == first { count } else { 1 }).collect();
            let zero = net.reshape(call, &format!(".zero{i}"), zero, &shape)?;
            binary(net, call, &format!(".centred{i}"), BinaryKind::Sub, x, zero)?
        }
        false => dequantized(net, call, &format!(".centred{i}"), &q, &grid)?,
    };
    Ok(Item::Value(value, Kind::I32))
}

/// Whether input `zero` holds more than one zero point.
fn rows_of(net: &Net, call: &Call, _: usize, zero: usize) -> bool {
    call.item(zero).is_some_and(|item| net.dims_of(item).iter().product::<usize>() > 1)
}

pub(super) fn conv_integer(net: &mut Net, call: &Call) -> Made {
    let x = centred(net, call, 0, 2)?;
    let weight = centred(net, call, 1, 3)?;
    let x = net.item_value(call, &x)?;
    Ok(vec![Item::Value(convolve(net, call, "", Operands { x, weight, bias: None })?, Kind::I32)])
}

pub(super) fn matmul_integer(net: &mut Net, call: &Call) -> Made {
    let (a, b) = (centred(net, call, 0, 2)?, centred(net, call, 1, 3)?);
    Ok(vec![Item::Value(product(net, call, "", &a, &b)?, Kind::I32)])
}

/// What the quantised result is written as: the zero point's type.
pub(super) fn output_kind(call: &Call, zero: usize) -> Kind {
    call.item(zero).map_or(Kind::U8, Item::kind)
}

/// A weight in floating point: a constant if it was one, else a value. Each filter may have a scale of its own.
pub(super) fn dequantized_weight(net: &mut Net, call: &Call, i: usize) -> Result<Item, Fault> {
    let grid = Grid::of(call, i + 1)?;
    let q = call.need(i)?.clone();
    let (Item::Constant(literal), Item::Constant(scale)) = (&q, &grid.scale) else {
        let x = net.item_value(call, &q)?;
        let dims = net.dims(x);
        let by_filter = |net: &mut Net, suffix: &str, item: &Item| {
            let value = net.item_value(call, item)?;
            let count = net.shape(value).elements();
            let shape: Vec<usize> = (0..dims.len()).map(|axis| if axis == 0 { count } else { 1 }).collect();
            net.reshape(call, suffix, value, &shape)
        };
        let mut x = x;
        if let Some(zero) = &grid.zero {
            let zero = by_filter(net, ".weight.zero", zero)?;
            x = binary(net, call, ".weight.centred", BinaryKind::Sub, x, zero)?;
        }
        let scale = by_filter(net, ".weight.scale", &grid.scale)?;
        return Ok(Item::Value(binary(net, call, ".weight", BinaryKind::Mul, x, scale)?, Kind::F32));
    };
    let zero = match &grid.zero {
        Some(Item::Constant(zero)) => Some(zero),
        None => None,
        Some(Item::Value(..)) => {
            return Err(call.fault("the zero point of its weight is only known at run time"));
        }
    };
    let filters = literal.dims.first().copied().unwrap_or(1).max(1);
    let fits = |other: &Literal| other.len() == 1 || other.len() == filters;
    if !fits(scale) || zero.is_some_and(|zero| !fits(zero)) {
        return Err(call.fault(format!("has {} scales for {filters} filters", scale.len())));
    }
    net.budget.charge(literal.len() as u64 * 4).map_err(|what| call.fault(what))?;
    let each = literal.len() / filters;
    let at = |other: &Literal, i: usize| if other.len() == 1 { 0 } else { i / each.max(1) };
    let numbers = (0..literal.len()).map(|i| {
        let offset = zero.map_or(0, |zero| zero.whole_at(at(zero, i)));
        (literal.whole_at(i) - offset) as f32 * scale.float_at(at(scale, i))
    });
    let numbers = Numbers::Float(numbers.collect());
    let is_weight = literal.name.is_some();
    Ok(Item::Constant(Literal { kind: Kind::F32, numbers: numbers.into(), is_weight, ..literal.clone() }))
}

/// QLinearConv: x, its grid, w, its grid, the result's grid, a bias in steps of the product of both scales.
pub(super) fn conv(net: &mut Net, call: &Call) -> Made {
    let input = Grid::of(call, 1)?;
    let x = dequantized(net, call, ".x", &call.need(0)?.clone(), &input)?;
    let weight = dequantized_weight(net, call, 3)?;
    let bias = match call.item(8).cloned() {
        None => None,
        Some(bias) => {
            let bias = net.item_value(call, &bias)?;
            let x_scale = net.item_value(call, &input.scale)?;
            let w_scale = net.value(call, 4)?;
            let count = net.shape(bias).elements();
            let x_scale = net.reshape(call, ".x.one_scale", x_scale, &[1])?;
            let scales = net.shape(w_scale).elements();
            let w_scale = net.reshape(call, ".w.scales", w_scale, &[scales])?;
            let step = binary(net, call, ".bias.step", BinaryKind::Mul, x_scale, w_scale)?;
            let bias = net.reshape(call, ".bias.list", bias, &[count])?;
            Some(binary(net, call, ".bias", BinaryKind::Mul, bias, step)?)
        }
    };
    let y = convolve(net, call, ".product", Operands { x, weight, bias })?;
    let kind = output_kind(call, 7);
    Ok(vec![Item::Value(quantized(net, call, "", y, (&Grid::of(call, 6)?, kind))?, kind)])
}

/// QLinearMatMul: a, its grid, b, its grid, the result's grid.
pub(super) fn matmul(net: &mut Net, call: &Call) -> Made {
    let mut operands = Vec::new();
    for (i, suffix) in [(0, ".a"), (3, ".b")] {
        let grid = Grid::of(call, i + 1)?;
        let q = call.need(i)?.clone();
        let value = match grid.known() {
            Some(_) => dequantized(net, call, suffix, &q, &grid)?,
            None => by_row(net, call, suffix, (&q, &grid, i == 0))?,
        };
        operands.push(Item::Value(value, Kind::F32));
    }
    let y = product(net, call, ".product", &operands[0], &operands[1])?;
    let kind = output_kind(call, 7);
    Ok(vec![Item::Value(quantized(net, call, "", y, (&Grid::of(call, 6)?, kind))?, kind)])
}

/// Dequantised with a scale for each row (of the left matrix) or column (of the right one).
pub(super) fn by_row(
    net: &mut Net,
    call: &Call,
    suffix: &str,
    (q, grid, left): (&Item, &Grid, bool),
) -> Result<ValueId, Fault> {
    let mut x = net.item_value(call, q)?;
    let dims = net.dims(x);
    let axis = dims.len().saturating_sub(if left { 2 } else { 1 });
    let operand = |net: &mut Net, name: &str, item: &Item| {
        let value = net.item_value(call, item)?;
        let own = net.dims(value);
        let count: usize = own.iter().product();
        let shape: Vec<usize> = match own.len() {
            0 | 1 => (0..dims.len()).map(|other| if other == axis { count } else { 1 }).collect(),
            _ => own,
        };
        net.reshape(call, &format!("{suffix}{name}"), value, &shape)
    };
    if let Some(zero) = &grid.zero {
        let zero = operand(net, ".zero", zero)?;
        x = binary(net, call, &format!("{suffix}.centred"), BinaryKind::Sub, x, zero)?;
    }
    let scale = operand(net, ".scale", &grid.scale)?;
    binary(net, call, suffix, BinaryKind::Mul, x, scale)
}
