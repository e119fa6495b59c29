//! Gemm and MatMul.
//!
//! A product with a matrix is a linear layer. A product of two batches of matrices is a convolution with as many groups
//! as there are matrices: group b takes the rows of the second matrix as its channels and the first as its weight.

use ocellus_graph::ops::{Activation, Binary, BinaryKind, Conv2d, Linear, Transpose};
use ocellus_graph::{Op, ValueId};
use ocellus_tensor::Window;

use crate::numbers::checked_elements;
use crate::onnx::call::{Call, Item};
use crate::onnx::dims::broadcast;
use crate::onnx::fault::Fault;
use crate::onnx::fold;
use crate::onnx::net::Net;

/// alpha A B + beta C, A and B transposed on request.
pub(super) fn gemm(net: &mut Net, call: &Call) -> Result<ValueId, Fault> {
    let (alpha, beta) = (call.float("alpha", 1.0)?, call.float("beta", 1.0)?);
    let mut a = net.value(call, 0)?;
    if call.flag("transA", false)? {
        a = turned(net, call, ".a", a)?;
    }
    let b = call.need(1)?.clone();
    let weight = weight(net, call, &b, call.flag("transB", false)?)?;
    let a_rank = net.shape(a).rank();
    if a_rank != 2 {
        return Err(call.fault(format!("its A must have 2 axes, got {:?}", net.dims(a))));
    }
    let features = net.dims(weight)[0];
    let c = call.item(2).cloned();
    let Some(c) = c.filter(|_| beta != 0.0) else {
        return scaled_product(net, call, "", (a, weight), alpha);
    };
    let c_dims = net.dims_of(&c);
    let is_bias = c_dims.iter().rev().skip(1).all(|&size| size == 1) && c_dims.last() == Some(&features);
    if alpha == 1.0 && beta == 1.0 && is_bias {
        let bias = match &c {
            Item::Constant(literal) => net.parameter(call, &literal.with_dims(vec![features]))?,
            Item::Value(value, _) => net.reshape(call, ".c", *value, &[features])?,
        };
        return net.add(call, "", Op::Linear(Linear), &[a, weight, bias]);
    }
    let y = scaled_product(net, call, ".product", (a, weight), alpha)?;
    let mut c = net.item_value(call, &c)?;
    if beta != 1.0 {
        c = net.add(call, ".beta", Op::Activation(Activation::Affine { scale: beta, shift: 0.0 }), &[c])?;
    }
    net.add(call, "", Op::Binary(Binary { kind: BinaryKind::Add }), &[y, c])
}

fn scaled_product(
    net: &mut Net,
    call: &Call,
    suffix: &str,
    (a, weight): (ValueId, ValueId),
    alpha: f32,
) -> Result<ValueId, Fault> {
    if alpha == 1.0 {
        return net.add(call, suffix, Op::Linear(Linear), &[a, weight]);
    }
    let y = net.add(call, &format!("{suffix}.linear"), Op::Linear(Linear), &[a, weight])?;
    net.add(call, suffix, Op::Activation(Activation::Affine { scale: alpha, shift: 0.0 }), &[y])
}

/// B (K, N), or its transpose, as a linear layer's weight (N, K).
fn weight(net: &mut Net, call: &Call, b: &Item, is_transposed: bool) -> Result<ValueId, Fault> {
    if net.dims_of(b).len() != 2 {
        return Err(call.fault(format!("its B must have 2 axes, got {:?}", net.dims_of(b))));
    }
    if is_transposed {
        return net.item_value(call, b);
    }
    if let Item::Constant(literal) = b
        && let Some(turned) = fold::transposed(net, call, literal, &[1, 0])?
    {
        return net.turned_parameter(call, literal, turned);
    }
    let b = net.item_value(call, b)?;
    turned(net, call, ".b", b)
}

fn turned(net: &mut Net, call: &Call, suffix: &str, x: ValueId) -> Result<ValueId, Fault> {
    net.add(call, suffix, Op::Transpose(Transpose { order: vec![1, 0] }), &[x])
}

/// NumPy's matrix product: leading axes are batches, lists are rows on the left and columns on the right.
pub(super) fn matmul(net: &mut Net, call: &Call) -> Result<ValueId, Fault> {
    let (a, b) = (call.need(0)?.clone(), call.need(1)?.clone());
    product(net, call, "", &a, &b)
}

/// The same of any two tensors.
pub(super) fn product(
    net: &mut Net,
    call: &Call,
    suffix: &str,
    a: &Item,
    b: &Item,
) -> Result<ValueId, Fault> {
    let (a_dims, b_dims) = (net.dims_of(a), net.dims_of(b));
    if a_dims.is_empty() || b_dims.is_empty() {
        return Err(call.fault(format!("multiplies {a_dims:?} by {b_dims:?}, one of which is no matrix")));
    }
    let (m, k) = match *a_dims.as_slice() {
        [k] => (1, k),
        [.., m, k] => (m, k),
        [] => (1, 1),
    };
    let (rows, n) = match *b_dims.as_slice() {
        [rows] => (rows, 1),
        [.., rows, n] => (rows, n),
        [] => (1, 1),
    };
    if k != rows {
        return Err(call.fault(format!("multiplies {a_dims:?} by {b_dims:?}: {k} columns meet {rows} rows")));
    }
    let batch = |dims: &[usize]| dims[..dims.len().saturating_sub(2)].to_vec();
    let leading = broadcast(call, &batch(&a_dims), &batch(&b_dims))?;
    let mut dims = leading.clone();
    if a_dims.len() > 1 {
        dims.push(m);
    }
    if b_dims.len() > 1 {
        dims.push(n);
    }
    let y = if b_dims.len() <= 2 {
        let b = match b {
            Item::Constant(literal) => Item::Constant(literal.with_dims(vec![k, n])),
            Item::Value(value, kind) => Item::Value(net.reshape(call, ".matrix", *value, &[k, n])?, *kind),
        };
        let weight = weight(net, call, &b, false)?;
        let a = net.item_value(call, a)?;
        let is_plain = net.shape(a).rank() == 2;
        let rows = net.fold(call, ".rows_of_a", a, &[a_dims.iter().product::<usize>() / k.max(1), k])?;
        if is_plain && b_dims.len() == 2 {
            return net.add(call, suffix, Op::Linear(Linear), &[rows, weight]);
        }
        net.add(call, &format!("{suffix}.linear"), Op::Linear(Linear), &[rows, weight])?
    } else {
        let count = checked_elements(&leading).filter(|&count| count.checked_mul(m.max(k)).is_some());
        let count =
            count.ok_or_else(|| call.fault(format!("has more matrices than can be counted, {leading:?}")))?;
        let with = |tail: [usize; 2]| leading.iter().copied().chain(tail).collect::<Vec<_>>();
        let a = net.item_value(call, a)?;
        let a = net.reshape(call, ".a", a, &[batch(&a_dims).as_slice(), &[m, k]].concat())?;
        let a = net.broadcast(call, ".a.repeated", a, &with([m, k]))?;
        let b = net.item_value(call, b)?;
        let b = net.broadcast(call, ".b.repeated", b, &with([k, n]))?;
        let weight = net.fold(call, ".a.weight", a, &[count * m, k, 1, 1])?;
        let x = net.add(
            call,
            ".b.channels",
            Op::Reshape(ocellus_graph::ops::Reshape { dims: vec![1, -1, 1, n as isize] }),
            &[b],
        )?;
        let op = Op::Conv2d(Conv2d { window: Window::square(1), groups: count });
        net.add(call, &format!("{suffix}.products"), op, &[x, weight])?
    };
    net.fold(call, suffix, y, &dims)
}
