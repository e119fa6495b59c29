//! Nodes with windows, and nodes that only move numbers, in Caffe's words.

use ocellus_graph::ops::{
    Interpolation, Lrn, LrnRegion, MaxPool, Norm, NormAxes, Pad, PadMode, Slice, TopK, Upsample,
};
use ocellus_graph::{Init, Node};
use ocellus_tensor::{Padding, Rounding, Window};

use super::layers::{Refusal, Writer};
use super::out::{Blob, Field, Layer};

impl Writer<'_> {
    /// Convolution, or Deconvolution.
    pub(super) fn convolution(
        &mut self,
        node: &Node,
        window: &Window,
        groups: usize,
        transposed: bool,
    ) -> Result<(), Refusal> {
        let weight = self.param(node, 1, None)?;
        let out = self.graph.shape(node.outputs[0])[1];
        let mut fields = vec![Field::Whole("num_output", out as i64)];
        fields.extend(geometry(window).ok_or_else(|| one_sided(node))?);
        for dilation in if window.dilation == [1, 1] { &[][..] } else { &window.dilation[..] } {
            fields.push(Field::Whole("dilation", *dilation as i64));
        }
        if groups != 1 {
            fields.push(Field::Whole("group", groups as i64));
        }
        // Caffe counts the fans of any blob as if it were a convolution's.
        let init = |init: Init| if transposed { init.with_fans_exchanged() } else { init };
        fields.extend(self.init(node, 1).map(|own| Field::Filler("weight_filler", init(own))));
        let mut blobs = vec![(1, weight)];
        if node.inputs.len() > 2 {
            fields.extend(self.init(node, 2).map(|init| Field::Filler("bias_filler", init)));
            blobs.push((2, self.param(node, 2, None)?));
        } else {
            fields.push(Field::Word("bias_term", "false"));
        }
        let kind = if transposed { "Deconvolution" } else { "Convolution" };
        let layer = self.layer(node, kind)?.settings("convolution_param", fields);
        self.push(node, layer, blobs);
        Ok(())
    }

    pub(super) fn linear(&mut self, node: &Node) -> Result<(), Refusal> {
        let out = self.graph.shape(node.outputs[0])[1];
        let mut fields = vec![Field::Whole("num_output", out as i64)];
        fields.extend(self.init(node, 1).map(|init| Field::Filler("weight_filler", init)));
        let mut blobs = vec![(1, self.param(node, 1, None)?)];
        if node.inputs.len() > 2 {
            fields.extend(self.init(node, 2).map(|init| Field::Filler("bias_filler", init)));
            blobs.push((2, self.param(node, 2, None)?));
        } else {
            fields.push(Field::Word("bias_term", "false"));
        }
        let layer = self.layer(node, "InnerProduct")?.settings("inner_product_param", fields);
        self.push(node, layer, blobs);
        Ok(())
    }

    /// Caffe rounds up; rounding down is said only where it makes a difference.
    pub(super) fn pooling(
        &mut self,
        node: &Node,
        window: Option<&Window>,
        rounding: Rounding,
        (pool, counts_padding): (&'static str, bool),
    ) -> Result<(), Refusal> {
        let mut fields = vec![Field::Word("pool", pool)];
        let Some(window) = window else {
            fields.push(Field::Word("global_pooling", "true"));
            return self.plain(node, "Pooling", "pooling_param", fields);
        };
        let refuse = |what: &str| Err((node.name.clone(), format!("{}: {what}", node.op.name())));
        if window.dilation != [1, 1] {
            return refuse("dilated pooling has no layer");
        }
        if !counts_padding && window.padding != Padding::all(0) {
            return refuse("an average that leaves out padding has no layer");
        }
        fields.extend(geometry(window).ok_or_else(|| one_sided(node))?);
        let image = &self.graph.shape(node.inputs[0])[2..4];
        let image = [image[0], image[1]];
        let is_same = window.output(image, Rounding::Ceil) == window.output(image, Rounding::Floor);
        if rounding == Rounding::Floor && !is_same {
            fields.push(Field::Word("round_mode", "FLOOR"));
        }
        self.plain(node, "Pooling", "pooling_param", fields)
    }

    /// The second top of a pooling, whose first goes nowhere.
    pub(super) fn pool_places(&mut self, node: &Node, pool: &MaxPool) -> Result<(), Refusal> {
        self.pooling(node, pool.window.as_ref(), pool.rounding, ("MAX", true))?;
        let unused = self.free(&format!("{}.largest", node.name));
        if let Some(layer) = self.layers.last_mut() {
            layer.tops.insert(0, unused.clone());
        }
        self.layers.push(Layer::new(format!("{unused}.silence"), "Silence").bottoms([unused]));
        Ok(())
    }

    /// Numbers and indices are layers of their own.
    pub(super) fn top_k(&mut self, node: &Node, op: &TopK) -> Result<(), Refusal> {
        for (slot, &value) in node.outputs.iter().enumerate() {
            let is_read = self.graph.nodes().iter().any(|other| other.inputs.contains(&value))
                || self.graph.outputs().iter().any(|output| output.value == value);
            if is_read {
                let mut fields =
                    vec![Field::Whole("top_k", op.count as i64), Field::Whole("axis", op.axis as i64)];
                if slot == 0 {
                    fields.push(Field::Word("out_max_val", "true"));
                }
                let (bottom, top) = (self.blob(node.inputs[0])?, self.blob(value)?);
                let name = self.graph.value(value).name.clone();
                let layer = Layer::new(name, "ArgMax").bottoms([bottom]).top(top);
                self.layers.push(layer.settings("argmax_param", fields));
            }
        }
        Ok(())
    }

    pub(super) fn lrn(&mut self, node: &Node, op: &Lrn) -> Result<(), Refusal> {
        let mut fields = vec![
            Field::Whole("local_size", op.size as i64),
            Field::Real("alpha", op.alpha),
            Field::Real("beta", op.beta),
        ];
        match op.region {
            LrnRegion::AcrossChannels => fields.push(Field::Real("k", op.k)),
            LrnRegion::WithinChannel if op.k == 1.0 => {
                fields.push(Field::Word("norm_region", "WITHIN_CHANNEL"))
            }
            LrnRegion::WithinChannel => {
                return Err((node.name.clone(), "lrn: within a channel Caffe's k is always 1".into()));
            }
        }
        self.plain(node, "LRN", "lrn_param", fields)
    }

    /// One part of the layer that cuts at its ends; the other parts are silenced.
    pub(super) fn slice(&mut self, node: &Node, op: &Slice) -> Result<(), Refusal> {
        let size = self.graph.shape(node.inputs[0])[op.axis];
        if op.step != 1 {
            return self.strided_slice(node, op, size);
        }
        let end = op.start + op.count;
        let (bottom, top) = (self.blob(node.inputs[0])?, self.blob(node.outputs[0])?);
        let mut layer = Layer::new(&node.name, "Slice").bottoms([bottom]);
        let mut fields = vec![Field::Whole("axis", op.axis as i64)];
        let mut unused = Vec::new();
        if op.start > 0 {
            unused.push(self.free(&format!("{}.before", node.name)));
            layer = layer.top(unused[0].clone());
            fields.push(Field::Whole("slice_point", op.start as i64));
        }
        layer = layer.top(top);
        if end < size {
            let after = self.free(&format!("{}.after", node.name));
            layer = layer.top(&after);
            fields.push(Field::Whole("slice_point", end as i64));
            unused.push(after);
        }
        self.layers.push(layer.settings("slice_param", fields));
        if !unused.is_empty() {
            self.layers.push(Layer::new(format!("{}.silence", node.name), "Silence").bottoms(unused));
        }
        Ok(())
    }

    /// Every n-th row or column from the first: a pooling of one pixel.
    fn strided_slice(&mut self, node: &Node, op: &Slice, size: usize) -> Result<(), Refusal> {
        let is_image = self.graph.shape(node.inputs[0]).rank() == 4 && op.axis >= 2;
        if !is_image || op.start != 0 || op.count != size.div_ceil(op.step) {
            let what = "slice: in steps only whole rows or columns from the first can be taken";
            return Err((node.name.clone(), what.into()));
        }
        let mut stride = [1, 1];
        stride[op.axis - 2] = op.step as i64;
        let fields = vec![
            Field::Word("pool", "MAX"),
            Field::Whole("kernel_size", 1),
            Field::Whole("stride_h", stride[0]),
            Field::Whole("stride_w", stride[1]),
        ];
        self.plain(node, "Pooling", "pooling_param", fields)
    }

    pub(super) fn reshape(&mut self, node: &Node, dims: &[isize]) -> Result<(), Refusal> {
        if dims == [0, -1] {
            return self.plain(node, "Flatten", "flatten_param", vec![]);
        }
        let dims = dims.iter().map(|&dim| dim as i64).collect();
        self.plain(node, "Reshape", "reshape_param", vec![Field::Shape("shape", dims)])
    }

    /// Zeros around the image or behind its channels: a 1x1 convolution that copies.
    pub(super) fn pad(&mut self, node: &Node, op: &Pad) -> Result<(), Refusal> {
        if op.mode != PadMode::Constant(0.0) {
            return Err((node.name.clone(), "pad: only zeros can be added".into()));
        }
        let Padding { top, left, bottom, right } = op.padding;
        if (top, left) != (bottom, right) {
            return Err(one_sided(node));
        }
        let [before, after] = op.channels;
        let channels = self.graph.shape(node.inputs[0])[1];
        let out = before + channels + after;
        let is_own = before + after == 0;
        // Each channel by itself where none is added; else a matrix with ones where a channel is copied.
        let inputs = if is_own { 1 } else { channels };
        let is_copy = |i: usize| is_own || i / channels == before + i % channels;
        let numbers = (0..out * inputs).map(|i| if is_copy(i) { 1.0 } else { 0.0 }).collect();
        let fields = vec![
            Field::Whole("num_output", out as i64),
            Field::Word("bias_term", "false"),
            Field::Whole("kernel_size", 1),
            Field::Whole("pad_h", top as i64),
            Field::Whole("pad_w", left as i64),
            Field::Whole("group", if is_own { channels as i64 } else { 1 }),
        ];
        let layer = self.layer(node, "Convolution")?.settings("convolution_param", fields);
        let blob = Blob::Given { sizes: vec![out, inputs, 1, 1], numbers };
        // An input beyond the node's own has no parameter: the blob is frozen.
        self.push(node, layer, vec![(usize::MAX, blob)]);
        Ok(())
    }

    /// The nearest pixel repeated: each pixel spreads a kernel of ones.
    pub(super) fn upsample(&mut self, node: &Node, op: &Upsample) -> Result<(), Refusal> {
        if op.interpolation != Interpolation::Nearest {
            return Err((node.name.clone(), "upsample: only the nearest pixel can be repeated".into()));
        }
        let channels = self.graph.shape(node.inputs[0])[1];
        let [height, width] = op.factor;
        let [h, w] = op.factor.map(|factor| factor as i64);
        let fields = vec![
            Field::Whole("num_output", channels as i64),
            Field::Word("bias_term", "false"),
            Field::Whole("kernel_h", h),
            Field::Whole("kernel_w", w),
            Field::Whole("stride_h", h),
            Field::Whole("stride_w", w),
            Field::Whole("group", channels as i64),
        ];
        let layer = self.layer(node, "Deconvolution")?.settings("convolution_param", fields);
        let sizes = vec![channels, 1, height, width];
        let blob = Blob::Given { numbers: vec![1.0; sizes.iter().product()], sizes };
        self.push(node, layer, vec![(usize::MAX, blob)]);
        Ok(())
    }

    /// Each channel's, or each image's, own mean and deviation.
    pub(super) fn norm(&mut self, node: &Node, op: &Norm) -> Result<(), Refusal> {
        let across = match op.axes {
            NormAxes::Instance => "false",
            NormAxes::Groups(1) => "true",
            _ => return Err((node.name.clone(), format!("{}: there is no such layer", node.op.name()))),
        };
        if op.affine {
            let what = format!("{}: gamma and beta behind it have no layer that knows them", node.op.name());
            return Err((node.name.clone(), what));
        }
        // Caffe adds eps to the deviation, not to the variance.
        let fields = vec![Field::Word("across_channels", across), Field::Real("eps", op.eps.sqrt())];
        self.plain(node, "MVN", "mvn_param", fields)
    }
}

fn one_sided(node: &Node) -> Refusal {
    let what = format!("{}: padding that differs between opposite sides has no layer", node.op.name());
    (node.name.clone(), what)
}

/// Kernel, stride and padding; `None` if the padding is not the same on opposite sides.
fn geometry(window: &Window) -> Option<Vec<Field>> {
    let Padding { top, left, bottom, right } = window.padding;
    if (top, left) != (bottom, right) {
        return None;
    }
    let mut fields = Vec::new();
    let mut both =
        |[one, by_height, by_width]: [&'static str; 3], [height, width]: [usize; 2], usual: usize| {
            if height == width && height != usual {
                fields.push(Field::Whole(one, height as i64));
            } else if height != width {
                fields.push(Field::Whole(by_height, height as i64));
                fields.push(Field::Whole(by_width, width as i64));
            }
        };
    both(["kernel_size", "kernel_h", "kernel_w"], window.kernel, 0);
    both(["stride", "stride_h", "stride_w"], window.stride, 1);
    both(["pad", "pad_h", "pad_w"], [top, left], 0);
    Some(fields)
}
