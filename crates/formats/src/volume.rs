//! How are convolutions and pooling over three axes made of those over two?
//!
//! ```text
//! a volume is a batch of planes: x (N, C, D, H, W) as (N, D, C, H, W)
//! conv:        y = sum over the taps t of depth: conv2d(planes t dilation, t dilation + stride, ..; w[:, :, t])
//! transposed:  y = sum over t: conv_transpose2d(all planes; w[:, :, t]), laid stride apart from t dilation on
//! pooling:     over height and width, then over depth: the largest of the largest, and the mean of means (each divided
//!              by its own count), are those of the whole window
//! ```

use ocellus_graph::ops::{Binary, BinaryKind, Pad, PadMode, Reshape, Slice, Transpose};
use ocellus_graph::{Op, ValueId};
use ocellus_tensor::{Padding, Rounding, Shape, Window};

/// A window along one axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Axis {
    pub size: usize,
    pub kernel: usize,
    pub stride: usize,
    pub dilation: usize,
    pub before: usize,
    pub after: usize,
}

impl Axis {
    /// An axis along which nothing moves.
    pub(crate) fn still() -> Self {
        Axis { size: 1, kernel: 1, stride: 1, dilation: 1, before: 0, after: 0 }
    }

    /// Pixels that the dilated kernel spans.
    pub(crate) fn reach(&self) -> usize {
        self.dilation * (self.kernel - 1) + 1
    }

    /// How many places the window has, or why none.
    pub(crate) fn output_size(&self, rounding: Rounding) -> Result<usize, String> {
        let window = window([*self, Axis::still()]);
        window.output_size(self.size, 0, rounding).map_err(|cause| cause.to_string())
    }
}

/// The window over two axes.
pub(crate) fn window([down, across]: [Axis; 2]) -> Window {
    Window {
        kernel: [down.kernel, across.kernel],
        stride: [down.stride, across.stride],
        padding: Padding { top: down.before, left: across.before, bottom: down.after, right: across.after },
        dilation: [down.dilation, across.dilation],
    }
}

/// Where a format's reader puts the nodes of one layer.
pub(crate) trait Site {
    type Fault;

    fn shape(&self, value: ValueId) -> &Shape;

    /// A node called after the layer, with this suffix.
    fn add(&mut self, suffix: &str, op: Op, inputs: &[ValueId]) -> Result<ValueId, Self::Fault>;

    /// What is wrong with the layer.
    fn fault(&self, what: String) -> Self::Fault;

    /// `value` in another shape. A first axis that stays is kept whatever its size, and another first axis is whatever
    /// remains, so that the batch stays free.
    fn reshape(&mut self, suffix: &str, value: ValueId, dims: &[usize]) -> Result<ValueId, Self::Fault> {
        match folding(self.shape(value), dims) {
            Some(op) => self.add(suffix, op, &[value]),
            None => Ok(value),
        }
    }
}

/// What makes a value of shape `from` one of shape `dims` at any batch, if anything has to: see [`Site::reshape`].
pub(crate) fn folding(from: &Shape, dims: &[usize]) -> Option<Op> {
    if **from == *dims {
        return None;
    }
    let mut target: Vec<isize> = dims.iter().map(|&size| size as isize).collect();
    if let Some(first) = target.first_mut() {
        *first = if from.first() == dims.first() { 0 } else { -1 };
    }
    Some(Op::Reshape(Reshape { dims: target }))
}

/// What is convolved.
pub(crate) struct Volume {
    pub x: ValueId,
    /// The weight of each tap of depth, as for images.
    pub weights: Vec<ValueId>,
    pub bias: Option<ValueId>,
    /// The window along the depth.
    pub deep: Axis,
}

/// y (N, O, D', H', W'); `plane` convolves planes with a weight and maybe a bias.
pub(crate) fn conv<S: Site>(
    site: &mut S,
    suffix: &str,
    Volume { x, weights, bias, deep }: Volume,
    plane: impl Fn(&mut S, &str, ValueId, ValueId, Option<ValueId>) -> Result<ValueId, S::Fault>,
) -> Result<ValueId, S::Fault> {
    let [n, c, _, h, w] = five(site, x)?;
    let depth = deep.output_size(Rounding::Floor).map_err(|what| site.fault(what))?;
    let planes = to_planes(site, x)?;
    let planes = padded(site, ".border", planes, (deep.before, deep.after))?;
    let mut sum = None;
    for (t, &weight) in weights.iter().enumerate() {
        let part =
            part(site, &format!(".tap{t}.planes"), planes, 1, (t * deep.dilation, deep.stride, depth))?;
        let part = site.reshape(&format!(".tap{t}.batch"), part, &[n * depth, c, h, w])?;
        let y = plane(site, &format!(".tap{t}"), part, weight, bias.filter(|_| t == 0))?;
        sum = Some(added(site, &format!(".sum{t}"), sum, y)?);
    }
    let sum = sum.ok_or_else(|| site.fault("has a kernel without taps".into()))?;
    from_planes(site, suffix, sum, [n, depth])
}

/// y (N, O, D', H', W'), where `length` planes come before the depth's padding is cropped; `plane` as for [`conv`].
pub(crate) fn conv_transpose<S: Site>(
    site: &mut S,
    suffix: &str,
    Volume { x, weights, bias, deep }: Volume,
    length: usize,
    plane: impl Fn(&mut S, &str, ValueId, ValueId, Option<ValueId>) -> Result<ValueId, S::Fault>,
) -> Result<ValueId, S::Fault> {
    let [n, c, d, h, w] = five(site, x)?;
    let kept = length.checked_sub(deep.before + deep.after).filter(|&kept| kept > 0);
    let kept = kept.ok_or_else(|| site.fault(format!("its padding crops all {length} planes")))?;
    let planes = to_planes(site, x)?;
    let planes = site.reshape(".batch", planes, &[n * d, c, h, w])?;
    let mut sum = None;
    for (t, &weight) in weights.iter().enumerate() {
        let y = plane(site, &format!(".tap{t}"), planes, weight, None)?;
        let dims = site.shape(y).to_vec();
        let (o, area) = (dims[1], dims[2] * dims[3]);
        // Each plane is followed by stride - 1 empty ones, the last by none.
        let y = site.reshape(&format!(".tap{t}.single"), y, &[n * d, 1, o, area])?;
        let y = padded(site, &format!(".tap{t}.spread"), y, (0, deep.stride - 1))?;
        let y = site.reshape(&format!(".tap{t}.column"), y, &[n, d * deep.stride, o, area])?;
        let used = (d - 1) * deep.stride + 1;
        let y = part(site, &format!(".tap{t}.used"), y, 1, (0, 1, used))?;
        let before = t * deep.dilation;
        let behind = length.saturating_sub(before + used);
        let y = padded(site, &format!(".tap{t}.placed"), y, (before, behind))?;
        let y = part(site, &format!(".tap{t}.cropped"), y, 1, (deep.before, 1, kept))?;
        let y = site.reshape(&format!(".tap{t}.planes"), y, &[n * kept, o, dims[2], dims[3]])?;
        sum = Some(added(site, &format!(".sum{t}"), sum, y)?);
    }
    let mut sum = sum.ok_or_else(|| site.fault("has a kernel without taps".into()))?;
    if let Some(bias) = bias {
        let channels = site.shape(bias).elements() as isize;
        let column = Op::Reshape(Reshape { dims: vec![1, channels, 1, 1] });
        let bias = site.add(".bias", column, &[bias])?;
        sum = added(site, ".biased", Some(sum), bias)?;
    }
    from_planes(site, suffix, sum, [n, kept])
}

/// Pools over three axes by `op`, a pooling over two.
pub(crate) fn pool<S: Site>(
    site: &mut S,
    x: ValueId,
    [deep, down, across]: [Axis; 3],
    op: &dyn Fn([Axis; 2]) -> Op,
) -> Result<ValueId, S::Fault> {
    let [n, c, d, h, w] = five(site, x)?;
    let planes = site.reshape(".planes", x, &[n, c * d, h, w])?;
    let y = site.add(".pool", op([down, across]), &[planes])?;
    let (h, w) = (site.shape(y)[2], site.shape(y)[3]);
    let columns = site.reshape(".columns", y, &[n, c, d, h * w])?;
    let still = Axis { size: h * w, ..Axis::still() };
    let y = site.add(".deep", op([deep, still]), &[columns])?;
    let d = site.shape(y)[2];
    site.reshape("", y, &[n, c, d, h, w])
}

fn five<S: Site>(site: &S, x: ValueId) -> Result<[usize; 5], S::Fault> {
    let shape = site.shape(x);
    let sizes = <[usize; 5]>::try_from(shape.dims());
    sizes.map_err(|_| site.fault(format!("needs an input of 5 axes, got {shape}")))
}

/// (N, D, C, H W) of (N, C, D, H, W).
fn to_planes<S: Site>(site: &mut S, x: ValueId) -> Result<ValueId, S::Fault> {
    let [n, c, d, h, w] = five(site, x)?;
    let flat = site.reshape(".flat", x, &[n, c, d, h * w])?;
    site.add(".by_depth", Op::Transpose(Transpose { order: vec![0, 2, 1, 3] }), &[flat])
}

/// (N, O, D, H, W) of N D planes (N D, O, H, W).
fn from_planes<S: Site>(
    site: &mut S,
    suffix: &str,
    y: ValueId,
    [n, d]: [usize; 2],
) -> Result<ValueId, S::Fault> {
    let dims = site.shape(y).to_vec();
    let (o, h, w) = (dims[1], dims[2], dims[3]);
    let y = site.reshape(".volume", y, &[n, d, o, h * w])?;
    let y = site.add(".by_channel", Op::Transpose(Transpose { order: vec![0, 2, 1, 3] }), &[y])?;
    site.reshape(suffix, y, &[n, o, d, h, w])
}

/// Numbers `start`, `start + step` and so on along an axis.
pub(crate) fn part<S: Site>(
    site: &mut S,
    suffix: &str,
    x: ValueId,
    axis: usize,
    (start, step, count): (usize, usize, usize),
) -> Result<ValueId, S::Fault> {
    if start == 0 && step == 1 && site.shape(x).get(axis) == Some(&count) {
        return Ok(x);
    }
    site.add(suffix, Op::Slice(Slice { axis, start, step, count }), &[x])
}

/// Zeros before and behind along axis 1.
fn padded<S: Site>(
    site: &mut S,
    suffix: &str,
    x: ValueId,
    (before, after): (usize, usize),
) -> Result<ValueId, S::Fault> {
    if before + after == 0 {
        return Ok(x);
    }
    let pad = Pad { padding: Padding::all(0), channels: [before, after], mode: PadMode::Constant(0.0) };
    site.add(suffix, Op::Pad(pad), &[x])
}

fn added<S: Site>(site: &mut S, suffix: &str, sum: Option<ValueId>, y: ValueId) -> Result<ValueId, S::Fault> {
    match sum {
        None => Ok(y),
        Some(sum) => site.add(suffix, Op::Binary(Binary { kind: BinaryKind::Add }), &[sum, y]),
    }
}
