//! One layer: how its shapes, its parameters and its cost come about.

use ocellus_graph::{Graph, Node, NodeId, Op, Role};
use ocellus_tensor::{Rounding, Shape, Window};

use super::{Explanation, count, grouped, padding, percent};
use crate::load::LoadError;

/// Explains the layer `name` of a network.
///
/// ```
/// let net = ocellus::zoo::build("resnet50", &ocellus::zoo::Options::default().with_classes(3))?;
/// let told = ocellus::explain::layer(&net, "fc")?;
/// assert_eq!(told.numbers["parameters"], 6_147);
/// assert!(told.lines.iter().any(|line| line.contains("2,048 x 3 + 3 = 6,147")));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Errors: there is no such layer; the message names those that are like it.
pub fn layer(graph: &Graph, name: &str) -> Result<Explanation, LoadError> {
    let id = find(graph, name)?;
    let node = graph.node(id);
    let mut told = Explanation::new(format!("{} ({} of {})", node.name, node.op.name(), graph.name));
    let mut one = Layer { graph, node, told: &mut told };
    one.shapes();
    match &node.op {
        Op::Conv2d(op) => one.convolution(&op.window, op.groups),
        Op::Linear(_) => one.linear(),
        Op::MaxPool(op) => one.pool("the largest", op.window.as_ref(), op.rounding),
        Op::AvgPool(op) => one.pool("the mean", op.window.as_ref(), op.rounding),
        Op::BatchNorm(_) => one.batch_norm(),
        Op::Reshape(_) => one.say("the same numbers in another shape: nothing is computed and nothing learned"),
        Op::Concat(op) => one.concat(op.axis),
        Op::Binary(_) => one.say("element by element: it learns nothing, and gradients pass through to both inputs"),
        Op::Dropout(op) => one.dropout(op.rate),
        Op::Softmax(_) => one.say(
            "the function softmax: exp(x_i) over the sum of all exp(x_j). It has no parameters; the layer before it has \
             the weights",
        ),
        Op::Activation(_) => one.say("each number for itself: no parameters, and the shape stays"),
        _ => {}
    }
    one.parameters();
    one.field(id);
    one.macs(id);
    Ok(told)
}

fn find(graph: &Graph, name: &str) -> Result<NodeId, LoadError> {
    if let Some(id) = graph.find_node(name) {
        return Ok(id);
    }
    // Layers of a checkpoint are called as its tensors: classifier.6 is the layer of classifier.6.weight.
    let of_tensor = |node: &&Node| {
        let params = node.inputs.iter().filter_map(|&id| graph.param_of(id)).map(|id| &graph.param(id).name);
        params
            .into_iter()
            .any(|tensor| tensor == name || tensor.rsplit_once('.').is_some_and(|(layer, _)| layer == name))
    };
    if let Some(id) = graph.nodes().iter().find(of_tensor).and_then(|node| graph.find_node(&node.name)) {
        return Ok(id);
    }
    let like: Vec<&str> =
        graph.nodes().iter().map(|node| node.name.as_str()).filter(|n| n.contains(name)).collect();
    let all: Vec<&str> = graph.nodes().iter().map(|node| node.name.as_str()).collect();
    let (what, shown) = if like.is_empty() { ("its layers are", &all) } else { ("did you mean", &like) };
    const MOST: usize = 8;
    let more = if shown.len() > MOST { ", ..." } else { "" };
    let named = shown.iter().take(MOST).copied().collect::<Vec<_>>().join(", ");
    Err(LoadError::Setting(format!("{} has no layer {name}; {what} {named}{more}", graph.name)))
}

struct Layer<'a> {
    graph: &'a Graph,
    node: &'a Node,
    told: &'a mut Explanation,
}

impl Layer<'_> {
    fn say(&mut self, line: impl Into<String>) {
        self.told.say(line);
    }

    fn input(&self) -> Shape {
        self.node.inputs.first().map_or_else(|| Shape::new(Vec::new()), |&id| self.graph.shape(id).clone())
    }

    fn output(&self) -> Shape {
        self.node.outputs.first().map_or_else(|| Shape::new(Vec::new()), |&id| self.graph.shape(id).clone())
    }

    fn shapes(&mut self) {
        let is_value = |id: &&ocellus_graph::ValueId| self.graph.param_of(**id).is_none();
        let values: Vec<_> = self.node.inputs.iter().filter(is_value).collect();
        let inputs: Vec<String> = values
            .iter()
            .map(|&&id| format!("{} from {}", self.graph.shape(id), self.graph.value(id).name))
            .collect();
        let output = self.output();
        self.say(format!("in: {}", inputs.join(", ")));
        self.say(format!("out: {output}"));
        self.told.number("input", self.input().dims().to_vec());
        self.told.number("output", output.dims().to_vec());
    }

    /// The learned tensors, each with the product that gives its size.
    fn parameters(&mut self) {
        let mut terms = Vec::new();
        let (mut learned, mut statistics) = (0, 0);
        for id in self.node.inputs.iter().filter_map(|&id| self.graph.param_of(id)) {
            let param = self.graph.param(id);
            let elements = param.shape.elements();
            match param.role {
                Role::Weight => {
                    let sizes: Vec<String> = param.shape.iter().map(|&size| grouped(size)).collect();
                    terms.push((sizes.join(" x "), elements));
                    learned += elements;
                }
                _ => statistics += elements,
            }
            let users = self.graph.readers()[param.value.index()].len();
            if users > 1 {
                let name = param.name.clone();
                self.say(format!(
                    "{name} is used {users} times: it counts once, and its gradient is the sum of the {users} gradients"
                ));
            }
        }
        if learned > 0 {
            let sum = terms.iter().map(|(product, _)| product.as_str()).collect::<Vec<_>>().join(" + ");
            let equals = if terms.len() == 1 && !sum.contains('x') {
                String::new()
            } else {
                format!(" = {}", grouped(learned))
            };
            let whole = self.graph.parameter_count(Role::Weight);
            self.say(format!(
                "parameters: {sum}{equals}, {} of the network's {}",
                percent(learned, whole),
                grouped(whole)
            ));
        }
        if statistics > 0 {
            self.say(format!("running statistics, which are not learned: {}", grouped(statistics)));
        }
        self.told.number("parameters", learned);
        self.told.number("statistics", statistics);
    }

    fn convolution(&mut self, window: &Window, groups: usize) {
        let (input, output) = (self.input(), self.output());
        let (Some(&channels), Some(&kernels)) = (input.get(1), output.get(1)) else { return };
        self.sizes(window, Rounding::Floor);
        let [kh, kw] = window.kernel;
        let depth = channels / groups.max(1);
        let seen = if groups == 1 { "all" } else { "its group's" };
        self.say(format!(
            "{}, each {kh}x{kw}x{depth}: the window moves over height and width only, so a kernel is as deep as {seen} \
             {} it reads, and makes one map",
            count(kernels, "kernel"),
            count(depth, "channel"),
        ));
        let weights = kernels * depth * kh * kw;
        self.say(format!("weights: {kh}x{kw}x{depth}x{kernels} = {}", grouped(weights)));
        self.told.number("weights", weights);
        if groups > 1 {
            self.say(format!(
                "in {groups} groups: {} of the {} weights that one group would have",
                percent(weights, weights * groups),
                grouped(weights * groups)
            ));
        }
        self.border(window);
        self.as_fully_connected(weights);
        if [kh, kw] == [1, 1] && groups == 1 {
            self.say(format!(
                "a 1x1 kernel sees one pixel: this is a fully connected layer from {channels} to {kernels} channels, the \
                 same one at every pixel"
            ));
        }
    }

    /// What a fully connected layer of the same ends, and of the same field, would take.
    fn as_fully_connected(&mut self, weights: usize) {
        let (input, output) = (self.input(), self.output());
        let per_image = |shape: &Shape| shape.iter().skip(1).product::<usize>();
        let (from, to) = (per_image(&input), per_image(&output));
        let Some(full) = from.checked_mul(to) else { return };
        self.told.number("fully_connected_weights", full);
        if weights > 0 && full > weights {
            self.say(format!(
                "a fully connected layer between the same ends has {} x {} = {} weights, {} times as many",
                grouped(from),
                grouped(to),
                grouped(full),
                grouped(full / weights)
            ));
        }
    }

    /// Height and width, by the one formula.
    fn sizes(&mut self, window: &Window, rounding: Rounding) {
        let (input, output) = (self.input(), self.output());
        let round = if rounding == Rounding::Ceil { "rounded up" } else { "rounded down" };
        for (axis, side) in ["height", "width"].into_iter().enumerate() {
            let (Some(&from), Some(&to)) = (input.get(axis + 2), output.get(axis + 2)) else { continue };
            let (before, after) = window.padding.along(axis);
            let (reach, stride) = (window.reach(axis), window.stride[axis]);
            let dilated = match window.dilation[axis] {
                1 => String::new(),
                d => format!(" (kernel {} spread by {d})", window.kernel[axis]),
            };
            self.say(format!(
                "{side}: ({from} + {} padding - {reach}{dilated}) / {stride}, {round}, + 1 = {to}",
                before + after
            ));
        }
    }

    /// What padding does at the border.
    fn border(&mut self, window: &Window) {
        let (input, output) = (self.input(), self.output());
        let (&[_, _, h, w], &[_, _, oh, ow]) = (input.dims(), output.dims()) else { return };
        if window.taps() == 1 {
            return;
        }
        let [corner, edge, middle] = padding::corner_edge_middle(window, [h, w], [oh, ow]);
        self.say(format!(
            "a pixel reaches {corner} outputs from a corner, {edge} from an edge, {middle} from the middle"
        ));
        for (name, number) in [("corner", corner), ("edge", edge), ("middle", middle)] {
            self.told.number(&format!("reached_from_{name}"), number);
        }
    }

    fn linear(&mut self) {
        let (input, output) = (self.input(), self.output());
        let (Some(&from), Some(&to)) = (input.last(), output.last()) else { return };
        let batch = input.first().copied().unwrap_or(1);
        self.say(format!(
            "a matrix product: ({batch}, {}) times a matrix ({}, {}) gives ({batch}, {}); every output is a weighted sum \
             of all {} inputs, plus its bias",
            grouped(from),
            grouped(from),
            grouped(to),
            grouped(to),
            grouped(from)
        ));
        let has_bias = self.node.inputs.len() > 2;
        if has_bias {
            self.say(format!(
                "{} x {} + {} = {} numbers to learn",
                grouped(from),
                grouped(to),
                grouped(to),
                grouped(from * to + to)
            ));
        }
        self.told.number("weights", from * to);
        // What was flattened says which convolution this is.
        let producer = self.graph.producer(self.node.inputs[0]).map(|id| self.graph.node(id));
        let before = producer.filter(|node| matches!(node.op, Op::Reshape(_)));
        if let Some(&[_, c, h, w]) = before.map(|node| self.graph.shape(node.inputs[0]).dims()) {
            self.say(format!(
                "its input is an image ({c}, {h}, {w}) laid out in a row: a convolution with {} of {h}x{w}x{c} has the same \
                 weights and gives the same numbers, and also moves over larger images",
                count(to, "kernel")
            ));
        }
    }

    fn pool(&mut self, what: &str, window: Option<&Window>, rounding: Rounding) {
        let Some(window) = window else {
            let input = self.input();
            if let &[_, c, h, w] = input.dims() {
                self.say(format!(
                    "{what} of each {h}x{w} map: {} numbers become {c}, whatever the size of the image, so the layers \
                     after it fix no input size",
                    grouped(c * h * w)
                ));
            }
            return;
        };
        self.say(format!("{what} number in each window, each map for itself: nothing is learned"));
        self.sizes(window, rounding);
        self.border(window);
    }

    fn batch_norm(&mut self) {
        let channels = self.output().get(1).copied().unwrap_or(0);
        self.say(format!(
            "for each of {channels} channels: subtract the mean, divide by the deviation (in training the batch's, else the \
             running ones), then multiply by gamma and add beta"
        ));
        self.say(
            "it is not counted as a layer: it can be multiplied into the convolution before it, and `run` and `predict` do so",
        );
    }

    fn concat(&mut self, axis: usize) {
        let sizes: Vec<String> = self
            .node
            .inputs
            .iter()
            .map(|&id| self.graph.shape(id).get(axis).copied().unwrap_or(0).to_string())
            .collect();
        let whole = self.output().get(axis).copied().unwrap_or(0);
        let name = ["images", "channels", "rows", "columns"].get(axis).copied().unwrap_or("entries");
        self.say(format!("{name} side by side: {} = {whole}", sizes.join(" + ")));
    }

    fn dropout(&mut self, rate: f32) {
        self.say(format!(
            "while training each number is 0 with probability {rate} and else divided by {}; otherwise nothing happens",
            1.0 - rate
        ));
    }

    fn field(&mut self, id: NodeId) {
        let fields = self.graph.receptive_fields();
        let Some(field) = self.graph.node(id).outputs.first().and_then(|out| fields[out.index()]) else {
            return;
        };
        let ([h, w], [down, across]) = (field.size, field.stride);
        self.say(format!(
            "receptive field: one pixel here depends on {h}x{w} pixels of the image; its neighbours' fields lie {down}x{across} \
             pixels further"
        ));
        self.told.number("receptive_field", field.size.to_vec());
    }

    fn macs(&mut self, id: NodeId) {
        let macs = self.graph.node_cost(id).macs as usize;
        self.told.number("macs", macs);
        if macs == 0 {
            return;
        }
        let whole = self.graph.cost().macs as usize;
        let output = self.output();
        let places: usize = output.iter().skip(2).product::<usize>() * output.first().copied().unwrap_or(1);
        if places > 1 && macs.is_multiple_of(places) {
            self.say(format!(
                "multiplications: {} weights at {} places = {}, {} of the network's {}",
                grouped(macs / places),
                grouped(places),
                grouped(macs),
                percent(macs, whole),
                grouped(whole)
            ));
        } else {
            self.say(format!(
                "multiplications: {}, {} of the network's",
                grouped(macs),
                percent(macs, whole)
            ));
        }
    }
}
