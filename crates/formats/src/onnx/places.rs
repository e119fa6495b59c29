//! Where do known indices point to?
//!
//! The same rules serve constants, whose numbers are picked at once, and values, whose graph is told the places.

use super::call::Call;
use super::fault::Fault;
use super::literal::Literal;

/// `index` as a place of an axis of `size`.
pub(in crate::onnx) fn place(call: &Call, index: i64, size: usize) -> Result<usize, Fault> {
    let from_first = if index < 0 { index.saturating_add(size as i64) } else { index };
    let found = usize::try_from(from_first).ok().filter(|&place| place < size);
    found.ok_or_else(|| call.fault(format!("index {index} is outside an axis of size {size}")))
}

/// For each number of `indices`, where along the flattened tensor of shape `dims` it points to, if it counts along `axis`
/// and stands where it stands along the others.
pub(in crate::onnx) fn along(
    call: &Call,
    dims: &[usize],
    axis: usize,
    indices: &Literal,
) -> Result<Vec<usize>, Fault> {
    let fits = indices.rank() == dims.len()
        && indices.dims.iter().zip(dims).enumerate().all(|(i, (&own, &size))| i == axis || own <= size);
    if !fits {
        return Err(call.fault(format!("its indices of shape {:?} do not fit {dims:?}", indices.dims)));
    }
    let mut places = Vec::with_capacity(indices.len());
    for i in 0..indices.len() {
        let (mut rest, mut step, mut at) = (i, 1, 0);
        for other in (0..dims.len()).rev() {
            let own = rest % indices.dims[other];
            rest /= indices.dims[other];
            let own = if other == axis { place(call, indices.whole_at(i), dims[axis])? } else { own };
            at += own * step;
            step *= dims[other];
        }
        places.push(at);
    }
    Ok(places)
}

/// For each row of `indices`, which of the blocks of `dims` behind its first axes it points to; how many blocks there
/// are, and how many numbers are in each.
pub(in crate::onnx) fn blocks(
    call: &Call,
    dims: &[usize],
    indices: &Literal,
) -> Result<(Vec<usize>, usize, usize), Fault> {
    let depth = indices.dims.last().copied().unwrap_or(0);
    if depth == 0 || depth > dims.len() {
        return Err(call.fault(format!("its indices of shape {:?} do not fit {dims:?}", indices.dims)));
    }
    let mut blocks = Vec::with_capacity(indices.len() / depth);
    for row in 0..indices.len() / depth {
        let mut at = 0;
        for (i, &size) in dims[..depth].iter().enumerate() {
            at = at * size + place(call, indices.whole_at(row * depth + i), size)?;
        }
        blocks.push(at);
    }
    Ok((blocks, dims[..depth].iter().product(), dims[depth..].iter().product()))
}

/// The blocks that GatherND takes.
pub(in crate::onnx) struct GatheredBlocks {
    /// Which of them, in their order.
    pub blocks: Vec<usize>,
    /// How many there are.
    pub count: usize,
    /// How many numbers are in each.
    pub size: usize,
    /// The result's shape.
    pub dims: Vec<usize>,
}

/// What GatherND takes of a tensor of shape `dims`; the batches that `batch_dims` counts are blocks of their own.
pub(in crate::onnx) fn gathered_blocks(
    call: &Call,
    dims: &[usize],
    indices: &Literal,
) -> Result<GatheredBlocks, Fault> {
    let shared = call.size(call.whole("batch_dims", 0)?, "batch_dims")?;
    let depth = indices.dims.last().copied().unwrap_or(0);
    if shared >= indices.rank().max(1) || shared > dims.len() || dims[..shared] != indices.dims[..shared] {
        return Err(call.fault(format!("its indices of shape {:?} do not fit {dims:?}", indices.dims)));
    }
    let batches: usize = dims[..shared].iter().product();
    let (mut found, count, size) = blocks(call, &dims[shared..], indices)?;
    let each = found.len() / batches.max(1);
    for (i, block) in found.iter_mut().enumerate() {
        *block += i / each.max(1) * count;
    }
    let dims = [&indices.dims[..indices.rank() - 1], &dims[shared + depth..]].concat();
    Ok(GatheredBlocks { blocks: found, count: batches * count, size, dims })
}
