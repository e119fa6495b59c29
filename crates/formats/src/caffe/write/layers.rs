//! Nodes of the graph in Caffe's words.
//!
//! Source: the layer catalogue of Caffe's documentation. What has no layer of its own is made of several where the
//! numbers stay the same: a strided slice is max pooling by a kernel of one pixel, zero padding a 1x1 convolution with
//! fixed weights, nearest-neighbour enlarging a transposed convolution with ones.

use std::collections::{HashMap, HashSet};

use ocellus_graph::ops::{
    Activation, BatchNorm, Binary, BinaryKind, Reduce, ReduceKind, Statistics, Stepwise,
};
use ocellus_graph::{Graph, Init, Node, NodeId, Op, ParamId, ValueId};

use super::out::{Blob, Field, Layer, Layers, Param};

/// A node and why it cannot be written.
pub(super) type Refusal = (String, String);

/// Layers as they are made.
pub(super) struct Writer<'g> {
    pub graph: &'g Graph,
    pub layers: Layers,
    blobs: HashMap<ValueId, String>,
    taken: HashSet<String>,
    /// How many nodes read each parameter.
    uses: HashMap<ParamId, usize>,
}

/// All layers of `graph`.
pub(super) fn of(graph: &Graph) -> Result<Layers, Refusal> {
    let mut writer = Writer {
        graph,
        layers: Layers::new(),
        blobs: HashMap::new(),
        taken: HashSet::new(),
        uses: HashMap::new(),
    };
    writer.count_uses();
    writer.name_blobs();
    for &input in graph.inputs() {
        let dims = graph.shape(input).iter().map(|&size| size as i64).collect();
        let top = writer.blob(input)?;
        let layer =
            Layer::new(&top, "Input").top(top).settings("input_param", vec![Field::Shape("shape", dims)]);
        writer.layers.push(layer);
    }
    for node in graph.nodes() {
        writer.node(node)?;
    }
    writer.outputs()?;
    Ok(writer.layers)
}

impl Writer<'_> {
    fn count_uses(&mut self) {
        for node in self.graph.nodes() {
            for id in node.inputs.iter().filter_map(|&value| self.graph.param_of(value)) {
                *self.uses.entry(id).or_default() += 1;
            }
        }
    }

    /// Blobs are called after values; an output that nothing else reads after itself.
    fn name_blobs(&mut self) {
        let readers = self.graph.readers();
        for output in self.graph.outputs() {
            let is_last =
                readers[output.value.index()].is_empty() && self.graph.producer(output.value).is_some();
            if is_last && !self.blobs.contains_key(&output.value) && self.taken.insert(output.name.clone()) {
                self.blobs.insert(output.value, output.name.clone());
            }
        }
        for (index, value) in self.graph.values().iter().enumerate() {
            let id = ValueId(index as u32);
            if self.graph.param_of(id).is_none() && !self.blobs.contains_key(&id) {
                let name = match self.in_place(id, &readers) {
                    Some(blob) => blob,
                    None => self.free(&value.name),
                };
                self.blobs.insert(id, name);
            }
        }
    }

    /// The blob that a ReLU or Dropout works on in place, as Caffe's networks have it: nobody else reads it.
    fn in_place(&self, value: ValueId, readers: &[Vec<NodeId>]) -> Option<String> {
        let node = self.graph.node(self.graph.producer(value)?);
        let can = matches!(
            node.op,
            Op::Dropout(_) | Op::Activation(Activation::Relu | Activation::LeakyRelu { .. })
        );
        let x = *node.inputs.first()?;
        let is_made = self.graph.producer(x).is_some() && readers[x.index()].len() == 1;
        let is_output = self.graph.outputs().iter().any(|output| output.value == x);
        if can && is_made && !is_output { self.blobs.get(&x).cloned() } else { None }
    }

    /// A name that no blob has yet.
    pub fn free(&mut self, name: &str) -> String {
        let mut free = name.to_string();
        for number in 2.. {
            if self.taken.insert(free.clone()) {
                break;
            }
            free = format!("{name}.{number}");
        }
        free
    }

    /// The blob of a value that is no parameter.
    pub fn blob(&self, value: ValueId) -> Result<String, Refusal> {
        self.blobs.get(&value).cloned().ok_or_else(|| {
            let name = &self.graph.value(value).name;
            (
                name.clone(),
                "is a parameter, where Caffe's layers read only what other layers give".to_string(),
            )
        })
    }

    /// Outputs that other layers read too, or that have several names.
    fn outputs(&mut self) -> Result<(), Refusal> {
        for output in self.graph.outputs() {
            let blob = self.blob(output.value)?;
            if blob != output.name {
                let name = self.free(&output.name);
                if name != output.name {
                    return Err((output.name.clone(), "is the name of another value too".into()));
                }
                self.layers.push(Layer::new(format!("{name}.split"), "Split").bottoms([blob]).top(name));
            }
        }
        Ok(())
    }

    fn node(&mut self, node: &Node) -> Result<(), Refusal> {
        let refuse = |what: &str| Err((node.name.clone(), format!("{}: {what}", node.op.name())));
        match &node.op {
            Op::Conv2d(op) => self.convolution(node, &op.window, op.groups, false),
            Op::ConvTranspose2d(op) if op.output_padding == [0; 2] => {
                self.convolution(node, &op.window, op.groups, true)
            }
            Op::Linear(_) => self.linear(node),
            Op::MaxPool(op) => self.pooling(node, op.window.as_ref(), op.rounding, ("MAX", true)),
            Op::AvgPool(op) => {
                self.pooling(node, op.window.as_ref(), op.rounding, ("AVE", op.count_include_pad))
            }
            Op::StochasticPool(op) => {
                self.pooling(node, op.window.as_ref(), op.rounding, ("STOCHASTIC", true))
            }
            Op::MaxPoolPlaces(op) => self.pool_places(node, &op.pool),
            Op::BatchNorm(op) => self.batch_norm(node, op),
            Op::Lrn(op) => self.lrn(node, op),
            Op::Activation(function) => self.activation(node, *function),
            Op::Prelu(_) => {
                let slope = self.param(node, 1, None)?;
                let shared = matches!(&slope, Blob::Param { sizes, .. } if sizes == &[1]);
                let shared = Field::Word("channel_shared", if shared { "true" } else { "false" });
                let layer = self.layer(node, "PReLU")?.settings("prelu_param", vec![shared]);
                self.push(node, layer, vec![(1, slope)]);
                Ok(())
            }
            Op::Dropout(op) => {
                self.plain(node, "Dropout", "dropout_param", vec![Field::Real("dropout_ratio", op.rate)])
            }
            Op::Binary(op) => self.binary(node, *op),
            Op::Concat(op) => {
                self.plain(node, "Concat", "concat_param", vec![Field::Whole("axis", op.axis as i64)])
            }
            Op::Slice(op) => self.slice(node, op),
            Op::Reshape(op) => self.reshape(node, &op.dims),
            Op::Transpose(op) => {
                let order = op.order.iter().map(|&axis| Field::Whole("order", axis as i64)).collect();
                self.plain(node, "Permute", "permute_param", order)
            }
            Op::Pad(op) => self.pad(node, op),
            Op::Upsample(op) => self.upsample(node, op),
            Op::Softmax(op) if !op.log => self.plain(node, "Softmax", "softmax_param", vec![]),
            Op::Softmax(_) => {
                let between = self.free(&format!("{}.softmax", node.name));
                let bottom = self.blob(node.inputs[0])?;
                self.layers.push(Layer::new(&between, "Softmax").bottoms([bottom]).top(&between));
                let top = self.blob(node.outputs[0])?;
                self.layers.push(Layer::new(&node.name, "Log").bottoms([between]).top(top));
                Ok(())
            }
            // A power of 1, since a layer whose bottom alone is held has no form of its own.
            Op::Stepwise(Stepwise::Held) => self.plain(node, "Power", "power_param", Vec::new()),
            Op::Stepwise(Stepwise::Above { threshold }) => {
                self.plain(node, "Threshold", "threshold_param", vec![Field::Real("threshold", *threshold)])
            }
            // Of equal numbers Caffe takes the last.
            Op::ArgMax(op) if op.keep => {
                self.plain(node, "ArgMax", "argmax_param", vec![Field::Whole("axis", op.axis as i64)])
            }
            Op::TopK(op) => self.top_k(node, op),
            Op::Reduce(op) => self.reduce(node, op),
            Op::Norm(op) => self.norm(node, op),
            Op::ConvTranspose2d(_) => refuse("output padding has no place in Caffe's Deconvolution"),
            Op::Loss(_) | Op::Accuracy(_) => refuse("only the inference form is written"),
            _ => refuse("there is no such layer"),
        }
    }

    /// A layer of the node's name, reading its first inputs up to the first parameter.
    pub fn layer(&self, node: &Node, kind: &'static str) -> Result<Layer, Refusal> {
        let read = node.inputs.iter().take_while(|&&value| self.graph.param_of(value).is_none());
        let bottoms: Vec<String> = read.map(|&value| self.blob(value)).collect::<Result<_, _>>()?;
        let top = self.blob(node.outputs[0])?;
        Ok(Layer::new(&node.name, kind).bottoms(bottoms).top(top))
    }

    /// A layer without parameters.
    pub fn plain(
        &mut self,
        node: &Node,
        kind: &'static str,
        message: &'static str,
        fields: Vec<Field>,
    ) -> Result<(), Refusal> {
        let layer = self.layer(node, kind)?;
        if layer.bottoms.len() != node.inputs.len() {
            return Err((node.name.clone(), format!("{}: reads a parameter", node.op.name())));
        }
        self.layers.push(if fields.is_empty() { layer } else { layer.settings(message, fields) });
        Ok(())
    }

    /// The parameter that is input `index` of the node, as a blob of these sizes or its own.
    pub fn param(&self, node: &Node, index: usize, sizes: Option<Vec<usize>>) -> Result<Blob, Refusal> {
        let id = node.inputs.get(index).and_then(|&value| self.graph.param_of(value));
        let Some(id) = id else {
            return Err((node.name.clone(), format!("{}: its weight is computed", node.op.name())));
        };
        let param = self.graph.param(id);
        let sizes = sizes.unwrap_or_else(|| param.shape.to_vec());
        Ok(Blob::Param { name: param.name.clone(), sizes, factor: 1.0 })
    }

    /// How parameter `index` of the node is filled.
    pub fn init(&self, node: &Node, index: usize) -> Option<Init> {
        let id = node.inputs.get(index).and_then(|&value| self.graph.param_of(value))?;
        Some(self.graph.param(id).init)
    }

    /// Appends a layer with the blobs that stand for these inputs of the node.
    pub fn push(&mut self, node: &Node, mut layer: Layer, blobs: Vec<(usize, Blob)>) {
        let params: Vec<Param> = blobs.iter().map(|&(index, _)| self.multipliers(node, index)).collect();
        let usual = Param { name: None, lr_mult: 1.0, decay_mult: 1.0 };
        if params.iter().any(|param| *param != usual) {
            layer.params = params;
        }
        layer.blobs = blobs.into_iter().map(|(_, blob)| blob).collect();
        self.layers.push(layer);
    }

    fn multipliers(&self, node: &Node, index: usize) -> Param {
        let Some(id) = node.inputs.get(index).and_then(|&value| self.graph.param_of(value)) else {
            return Param { name: None, lr_mult: 0.0, decay_mult: 0.0 };
        };
        let param = self.graph.param(id);
        let shared = self.uses.get(&id).is_some_and(|&uses| uses > 1);
        Param {
            name: shared.then(|| param.name.clone()),
            lr_mult: if param.frozen { 0.0 } else { param.lr_mult },
            decay_mult: param.decay_mult,
        }
    }

    /// Caffe normalises and scales in two layers.
    fn batch_norm(&mut self, node: &Node, op: &BatchNorm) -> Result<(), Refusal> {
        if op.statistics == Statistics::Batch {
            return Err((node.name.clone(), "batch_norm: only the inference form is written".into()));
        }
        let first = node.inputs.len() - 2;
        let given = |numbers| Blob::Given { sizes: vec![1], numbers };
        let statistics =
            vec![self.param(node, first, None)?, self.param(node, first + 1, None)?, given(vec![1.0])];
        let settings = vec![
            Field::Word("use_global_stats", "true"),
            Field::Real("moving_average_fraction", 1.0 - op.momentum),
            Field::Real("eps", op.eps),
        ];
        let top = self.blob(node.outputs[0])?;
        let between = if op.affine { self.free(&format!("{}.normalised", node.name)) } else { top.clone() };
        let mut layer = Layer::new(&node.name, "BatchNorm")
            .bottoms([self.blob(node.inputs[0])?])
            .top(&between)
            .settings("batch_norm_param", settings);
        layer.blobs = statistics;
        self.layers.push(layer);
        if op.affine {
            let blobs = vec![(1, self.param(node, 1, None)?), (2, self.param(node, 2, None)?)];
            let settings = vec![Field::Word("bias_term", "true")];
            // A Scale of Caffe gives its name back, unless another layer has it: nodes may share gamma and beta.
            let is_free = |name: &&str| {
                self.graph.find_node(name).is_none() && self.layers.iter().all(|layer| layer.name != **name)
            };
            let name = match &blobs[0].1 {
                Blob::Param { name, .. } => name.strip_suffix(".weight").filter(is_free),
                Blob::Given { .. } => None,
            };
            let name = name.map_or_else(|| format!("{}.scale", node.name), str::to_string);
            let layer =
                Layer::new(name, "Scale").bottoms([between]).top(top).settings("scale_param", settings);
            self.push(node, layer, blobs);
        }
        Ok(())
    }

    /// Sums, products and maxima of two values, or of a value and a parameter.
    fn binary(&mut self, node: &Node, op: Binary) -> Result<(), Refusal> {
        let [a, b] = node.inputs[..] else { return Ok(()) };
        if self.graph.param_of(a).is_some() && self.graph.param_of(b).is_none() && op.kind != BinaryKind::Sub
        {
            let swapped = Node { inputs: vec![b, a], ..node.clone() };
            return self.binary(&swapped, op);
        }
        if self.graph.param_of(b).is_some() {
            return self.with_param(node, op);
        }
        let (a_shape, b_shape) = (self.graph.shape(a), self.graph.shape(b));
        if a_shape == b_shape {
            let mut fields = match op.kind {
                BinaryKind::Add | BinaryKind::Sub => vec![Field::Word("operation", "SUM")],
                BinaryKind::Mul => vec![Field::Word("operation", "PROD")],
                BinaryKind::Maximum => vec![Field::Word("operation", "MAX")],
                BinaryKind::Div => return Err((node.name.clone(), "div: there is no such layer".into())),
            };
            if op.kind == BinaryKind::Sub {
                fields.extend([Field::Real("coeff", 1.0), Field::Real("coeff", -1.0)]);
            }
            return self.plain(node, "Eltwise", "eltwise_param", fields);
        }
        // A factor per image and channel, as gates have it.
        let gate =
            |x: &[usize], y: &[usize]| matches!((x, y), ([n, c, _, _], [m, d, 1, 1]) if n == m && c == d);
        let (x, factor) = if gate(a_shape, b_shape) { (a, b) } else { (b, a) };
        if op.kind != BinaryKind::Mul || !gate(self.graph.shape(x), self.graph.shape(factor)) {
            let what = format!("{}: {a_shape} with {b_shape} has no layer", node.op.name());
            return Err((node.name.clone(), what));
        }
        let flat = self.free(&format!("{}.flat", node.name));
        let bottom = self.blob(factor)?;
        self.layers.push(Layer::new(&flat, "Flatten").bottoms([bottom]).top(&flat));
        let (bottom, top) = (self.blob(x)?, self.blob(node.outputs[0])?);
        let layer = Layer::new(&node.name, "Scale").bottoms([bottom, flat]).top(top);
        self.layers.push(layer.settings("scale_param", vec![Field::Whole("axis", 0)]));
        Ok(())
    }

    /// A parameter that is added or multiplied: Bias and Scale.
    fn with_param(&mut self, node: &Node, op: Binary) -> Result<(), Refusal> {
        let param = self.param(node, 1, None)?;
        let Blob::Param { name, sizes, .. } = param else { return Ok(()) };
        let x = self.graph.shape(node.inputs[0]);
        // A batch of one repeats over any batch.
        let sizes = match sizes.split_first() {
            Some((1, rest)) if sizes.len() == x.rank() => rest.to_vec(),
            _ => sizes,
        };
        // Trailing axes of size 1 repeat; what is left must be x's own sizes from axis 1 on.
        let trimmed: Vec<usize> = sizes.iter().rev().skip_while(|&&size| size == 1).copied().collect();
        let trimmed: Vec<usize> = trimmed.into_iter().rev().collect();
        let fits = sizes.len() + 1 == x.rank()
            && x.get(1..1 + trimmed.len()) == Some(&trimmed[..])
            && !trimmed.is_empty();
        let (kind, message, factor) = match op.kind {
            BinaryKind::Add => ("Bias", "bias_param", 1.0),
            BinaryKind::Sub => ("Bias", "bias_param", -1.0),
            BinaryKind::Mul => ("Scale", "scale_param", 1.0),
            _ => return Err((node.name.clone(), format!("{} of a parameter has no layer", node.op.name()))),
        };
        if !fits {
            let what = format!(
                "{}: a parameter of sizes {sizes:?} does not repeat over {x} in Caffe",
                node.op.name()
            );
            return Err((node.name.clone(), what));
        }
        let axes = Field::Whole("num_axes", trimmed.len() as i64);
        let layer = self.layer(node, kind)?.settings(message, vec![axes]);
        self.push(node, layer, vec![(1, Blob::Param { name, sizes: trimmed, factor })]);
        Ok(())
    }

    /// Functions of each element; some are made of several layers.
    fn activation(&mut self, node: &Node, function: Activation) -> Result<(), Refusal> {
        let affine = |scale, shift| {
            (("Power", "power_param"), vec![Field::Real("scale", scale), Field::Real("shift", shift)])
        };
        let power = |exponent| (("Power", "power_param"), vec![Field::Real("power", exponent)]);
        let clip =
            |low, high| (("Clip", "clip_param"), vec![Field::Real("min", low), Field::Real("max", high)]);
        let simple = |kind| ((kind, ""), vec![]);
        let chain = match function {
            Activation::Relu => vec![simple("ReLU")],
            Activation::LeakyRelu { slope } => {
                vec![(("ReLU", "relu_param"), vec![Field::Real("negative_slope", slope)])]
            }
            Activation::Clip { low, high } => vec![clip(low, high)],
            Activation::Elu { alpha } => vec![(("ELU", "elu_param"), vec![Field::Real("alpha", alpha)])],
            Activation::Sigmoid => vec![simple("Sigmoid")],
            Activation::Tanh => vec![simple("TanH")],
            Activation::Silu => vec![simple("Swish")],
            Activation::Softplus => vec![simple("BNLL")],
            Activation::Exp => vec![simple("Exp")],
            Activation::Log => vec![simple("Log")],
            Activation::Abs => vec![simple("AbsVal")],
            Activation::Sqrt => vec![power(0.5)],
            Activation::Affine { scale, shift } => vec![affine(scale, shift)],
            Activation::Power { exponent } => vec![power(exponent)],
            Activation::HardSigmoid { alpha, beta } => vec![affine(alpha, beta), clip(0.0, 1.0)],
            Activation::HardSwish => vec![affine(1.0 / 6.0, 0.5), clip(0.0, 1.0)],
            Activation::Gelu | Activation::GeluTanh => {
                return Err((node.name.clone(), format!("{}: there is no such layer", node.op.name())));
            }
        };
        let (top, x) = (self.blob(node.outputs[0])?, self.blob(node.inputs[0])?);
        let is_product = function == Activation::HardSwish;
        let (mut bottom, last) = (x.clone(), chain.len() - usize::from(!is_product));
        for (i, ((kind, message), fields)) in chain.into_iter().enumerate() {
            let is_last = i == last;
            let name = if is_last { node.name.clone() } else { self.free(&format!("{}.{i}", node.name)) };
            let next = if is_last { top.clone() } else { name.clone() };
            let layer = Layer::new(name, kind).bottoms([bottom]).top(&next);
            self.layers.push(if fields.is_empty() { layer } else { layer.settings(message, fields) });
            bottom = next;
        }
        if is_product {
            let layer = Layer::new(&node.name, "Eltwise").bottoms([x, bottom]).top(top);
            self.layers.push(layer.settings("eltwise_param", vec![Field::Word("operation", "PROD")]));
        }
        Ok(())
    }

    /// Sums, means and maxima over axes.
    fn reduce(&mut self, node: &Node, op: &Reduce) -> Result<(), Refusal> {
        let x = self.graph.shape(node.inputs[0]);
        let over_image = op.axes == [2, 3] && x.rank() == 4;
        let pool = match op.kind {
            ReduceKind::Mean => Some("AVE"),
            ReduceKind::Max => Some("MAX"),
            ReduceKind::Sum => None,
        };
        if let (true, Some(pool)) = (over_image, pool) {
            let (bottom, top) = (self.blob(node.inputs[0])?, self.blob(node.outputs[0])?);
            let between = if op.keep { top.clone() } else { self.free(&format!("{}.pool", node.name)) };
            let name = if op.keep { node.name.clone() } else { between.clone() };
            let fields = vec![Field::Word("pool", pool), Field::Word("global_pooling", "true")];
            self.layers.push(
                Layer::new(name, "Pooling").bottoms([bottom]).top(&between).settings("pooling_param", fields),
            );
            if !op.keep {
                self.layers.push(Layer::new(&node.name, "Flatten").bottoms([between]).top(top));
            }
            return Ok(());
        }
        let trailing = op.axes.first().is_some_and(|&first| op.axes.iter().copied().eq(first..x.rank()));
        let operation = match op.kind {
            ReduceKind::Sum if trailing && !op.keep => "SUM",
            ReduceKind::Mean if trailing && !op.keep => "MEAN",
            _ => {
                let what = format!("{}: only over all last axes, without keeping them", node.op.name());
                return Err((node.name.clone(), what));
            }
        };
        let fields = vec![Field::Word("operation", operation), Field::Whole("axis", op.axes[0] as i64)];
        self.plain(node, "Reduction", "reduction_param", fields)
    }
}
