//! Products with weights of a few bits each, several of them in one byte.

use super::super::Made;
use super::super::product;
use super::super::quantize::binary;
use crate::numbers::checked_elements;
use crate::onnx::call::{Call, Item};
use crate::onnx::fault::Fault;
use crate::onnx::literal::{Kind, Literal};
use crate::onnx::net::Net;
use ocellus_graph::ops::BinaryKind;

/// How B is packed: N rows of `blocks` blocks, each of `block` numbers of `bits` bits, the lowest bits first.
struct Packing {
    rows: usize,
    columns: usize,
    block: usize,
    blocks: usize,
    bits: usize,
}

/// MatMulNBits: A (..., K) times the transpose of B (N, K), whose blocks have a scale and a zero point each; a bias (5).
pub(super) fn product(net: &mut Net, call: &Call) -> Made {
    let packing = packing(call)?;
    let weight = Item::Constant(unpacked(net, call, &packing)?);
    let a = call.need(0)?.clone();
    let y = match net.optional(call, 5)? {
        None => product::product(net, call, "", &a, &weight)?,
        Some(bias) => {
            let y = product::product(net, call, ".product", &a, &weight)?;
            binary(net, call, "", BinaryKind::Add, y, bias)?
        }
    };
    Ok(vec![Item::Value(y, Kind::F32)])
}

fn packing(call: &Call) -> Result<Packing, Fault> {
    let size = |name: &str, default: i64| {
        let size = call.size(call.whole(name, default)?, name)?;
        if size == 0 { Err(call.fault(format!("its {name} must be at least 1, got 0"))) } else { Ok(size) }
    };
    let bits = size("bits", 4)?;
    if ![2, 4, 8].contains(&bits) {
        return Err(call.fault(format!("has weights of {bits} bits, 2, 4 and 8 are supported")));
    }
    if call.item(4).is_some() {
        return Err(call.fault("puts its blocks in an order of their own (g_idx), which is not supported"));
    }
    let (rows, columns, block) = (size("N", 0)?, size("K", 0)?, size("block_size", 0)?);
    Ok(Packing { rows, columns, block, blocks: columns.div_ceil(block), bits })
}

/// B as the matrix (K, N) of a product.
fn unpacked(net: &Net, call: &Call, packing: &Packing) -> Result<Literal, Fault> {
    let Packing { rows, columns, block, blocks, bits } = *packing;
    let b = call.constant(1, "B")?.ok_or_else(|| call.fault("has no B"))?;
    let scales = call.constant(2, "scales")?.ok_or_else(|| call.fault("has no scales"))?;
    let zeros = call.constant(3, "zero_points")?;
    let per_byte = 8 / bits;
    let (block_bytes, zero_bytes) = (block.div_ceil(per_byte), blocks.div_ceil(per_byte));
    let has = |literal: &Literal, what: &str, dims: &[usize]| match checked_elements(dims) {
        Some(count) if count == literal.len() => Ok(()),
        _ => Err(call.fault(format!("its {what} has the shape {:?}, not {dims:?}", literal.dims))),
    };
    has(b, "B", &[rows, blocks, block_bytes])?;
    has(scales, "scales", &[rows, blocks])?;
    if let Some(zeros) = zeros {
        has(zeros, "zero_points", &[rows, if zeros.kind.is_float() { blocks } else { zero_bytes }])?;
    }
    let count = checked_elements(&[rows, columns]).ok_or_else(|| call.fault("is too large"))?;
    net.budget.charge((count as u64).saturating_mul(4)).map_err(|what| call.fault(what))?;
    // Number `i` of those that are packed from byte `start` on.
    let number = |literal: &Literal, start: usize, i: usize| {
        let byte = literal.whole_at(start + i / per_byte) as u8;
        (byte >> (i % per_byte * bits)) & (u8::MAX >> (8 - bits))
    };
    let at = |row: usize, column: usize| {
        let place = row * blocks + column / block;
        let q = f32::from(number(b, place * block_bytes, column % block));
        let zero = match zeros {
            None => f32::from(1_u8 << (bits - 1)),
            Some(zeros) if zeros.kind.is_float() => zeros.float_at(place),
            Some(zeros) => f32::from(number(zeros, row * zero_bytes, column / block)),
        };
        (q - zero) * scales.float_at(place)
    };
    let numbers = (0..count).map(|i| at(i % rows, i / rows)).collect();
    let weight = Literal::floats(vec![columns, rows], numbers);
    Ok(Literal { name: b.name.clone(), is_weight: b.name.is_some(), ..weight })
}
