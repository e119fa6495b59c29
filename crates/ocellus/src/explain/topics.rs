//! Questions that people ask about networks, answered with the numbers of the network in hand.

use ocellus_graph::{Builder, Conv, Dense, Graph, Layers, Node, NodeId, Op, Role};
use ocellus_tensor::{Padding, Rounding, Window};

use super::{Explanation, count, grouped, padding, percent};
use crate::load::LoadError;

/// Each topic: its name, what it asks, and the network it takes if none is named.
pub const TOPICS: &[(&str, &str, &str)] = &[
    ("bottleneck", "why 1x1, 3x3, 1x1 in the place of two 3x3?", "resnet50"),
    ("fully-connected", "a fully connected layer or a convolution?", "vgg16"),
    ("1x1", "is a 1x1 convolution a fully connected layer?", "resnet50"),
    ("parameters", "where are the parameters, where is the work?", "vgg16"),
    ("padding", "what does padding do to the border?", "vgg16"),
    ("receptive-field", "how much of the image does each layer see?", "resnet50"),
    ("layers", "how many layers does it have?", "resnet50"),
    ("kernels", "why are kernels three-dimensional?", "lenet"),
    ("sharing", "what is the gradient of a module that is used several times?", "siamese_lenet"),
    ("softmax", "what is the softmax layer?", "lenet"),
];

/// Answers `topic` on `graph`.
///
/// ```
/// let net = ocellus::zoo::build("resnet50", &ocellus::zoo::Options::default())?;
/// let told = ocellus::explain::topic("bottleneck", &net)?;
/// assert_eq!((&told.numbers["bottleneck"], &told.numbers["two_3x3"]), (&69_632.into(), &1_179_648.into()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Errors: there is no such topic, or the network has nothing of the kind.
pub fn topic(topic: &str, graph: &Graph) -> Result<Explanation, LoadError> {
    match topic {
        "bottleneck" => bottleneck(graph),
        "fully-connected" => fully_connected(graph),
        "1x1" => one_by_one(graph),
        "parameters" => Ok(parameters(graph)),
        "padding" => padded(graph),
        "receptive-field" => Ok(receptive_field(graph)),
        "layers" => Ok(layers(graph)),
        "kernels" => kernels(graph),
        "sharing" => Ok(sharing(graph)),
        "softmax" => Ok(softmax(graph)),
        _ => {
            let names: Vec<&str> = TOPICS.iter().map(|(name, ..)| *name).collect();
            Err(LoadError::Setting(format!("there is no topic {topic}; the topics are {}", names.join(", "))))
        }
    }
}

fn nothing(graph: &Graph, what: &str, next: &str) -> LoadError {
    LoadError::Setting(format!("{} has no {what}; {next}", graph.name))
}

/// The weight of a node in numbers, biases left out.
fn weights(graph: &Graph, node: &Node) -> usize {
    let param = node.inputs.get(1).and_then(|&id| graph.param_of(id));
    param.map_or(0, |id| graph.param(id).shape.elements())
}

fn conv_window(node: &Node) -> Option<&Window> {
    match &node.op {
        Op::Conv2d(op) => Some(&op.window),
        _ => None,
    }
}

fn channels(graph: &Graph, node: &Node) -> (usize, usize) {
    let of =
        |id: Option<&ocellus_graph::ValueId>| id.and_then(|&id| graph.shape(id).get(1).copied()).unwrap_or(0);
    (of(node.inputs.first()), of(node.outputs.first()))
}

/// The nearest convolution that a value comes from through layers without weights.
fn conv_before(graph: &Graph, node: &Node) -> Option<NodeId> {
    let mut value = *node.inputs.first()?;
    loop {
        let id = graph.producer(value)?;
        match &graph.node(id).op {
            Op::Conv2d(_) => return Some(id),
            Op::BatchNorm(_) | Op::Activation(_) | Op::Prelu(_) => value = *graph.node(id).inputs.first()?,
            _ => return None,
        }
    }
}

/// Two 3x3 convolutions at this width, as a network of its own.
fn two_3x3(width: usize) -> Result<usize, LoadError> {
    let mut b = Builder::new("two 3x3");
    let x = b.input("x", [1, width, 8, 8]);
    let y = b.conv2d("a", x, Conv::new(width, 3).padding(1).no_bias());
    let y = b.conv2d("b", y, Conv::new(width, 3).padding(1).no_bias());
    b.output("y", y);
    Ok(b.finish()?.parameter_count(Role::Weight))
}

fn bottleneck(graph: &Graph) -> Result<Explanation, LoadError> {
    let square =
        |node: &Node, side: usize| conv_window(node).is_some_and(|window| window.kernel == [side; 2]);
    let find = graph.nodes().iter().find_map(|last| {
        let middle = square(last, 1).then(|| conv_before(graph, last)).flatten().map(|id| graph.node(id))?;
        let first =
            square(middle, 3).then(|| conv_before(graph, middle)).flatten().map(|id| graph.node(id))?;
        let (wide, narrow) = channels(graph, first);
        let ends_wide = channels(graph, last).1 == wide && narrow < wide;
        (square(first, 1) && ends_wide).then_some([first, middle, last])
    });
    let Some(block) = find else {
        return Err(nothing(graph, "bottleneck (1x1, 3x3, 1x1 back to the same width)", "try resnet50"));
    };
    let mut told = Explanation::new(format!("a bottleneck of {} against two 3x3 convolutions", graph.name));
    let mut sum = 0;
    for node in block {
        let [kh, kw] = conv_window(node).map_or([1; 2], |window| window.kernel);
        let ((from, to), own) = (channels(graph, node), weights(graph, node));
        sum += own;
        told.say(format!("{}: {kh}x{kw}, {from} -> {to} channels: {} weights", node.name, grouped(own)));
    }
    let width = channels(graph, block[0]).0;
    let narrow = channels(graph, block[0]).1;
    let plain = two_3x3(width)?;
    told.say(format!("together {}", grouped(sum)));
    told.say(format!(
        "two 3x3 convolutions at {width} channels: 2 x 3x3x{width}x{width} = {}, {:.1} times as many",
        grouped(plain),
        plain as f64 / sum as f64
    ));
    told.say(format!(
        "the 1x1 convolutions change only the number of channels; the costly 3x3 runs at {narrow}, and the shortcut joins at \
         {width} again. What the last 1x1 makes wide is narrowed by the next block's first: between blocks the {width} \
         channels carry what all blocks add up"
    ));
    told.number("bottleneck", sum);
    told.number("two_3x3", plain);
    told.number("channels", width);
    Ok(told)
}

fn fully_connected(graph: &Graph) -> Result<Explanation, LoadError> {
    let linear = graph.nodes().iter().find_map(|node| {
        let flat = matches!(node.op, Op::Linear(_)).then(|| graph.producer(node.inputs[0])).flatten()?;
        let &[_, c, h, w] = graph.shape(*graph.node(flat).inputs.first()?).dims() else { return None };
        (matches!(graph.node(flat).op, Op::Reshape(_)) && h * w > 1).then_some((node, [c, h, w]))
    });
    let Some((node, [c, h, w])) = linear else {
        let next = "it averages before its classifier, or has none; try vgg16";
        return Err(nothing(graph, "fully connected layer that reads an image", next));
    };
    let own = weights(graph, node);
    let to = graph.shape(node.outputs[0]).last().copied().unwrap_or(0);
    let mut told = Explanation::new(format!("{} of {} and convolutions", node.name, graph.name));
    told.say(format!(
        "{} reads an image ({c}, {h}, {w}): {} x {to} = {} weights, {} of the network's parameters",
        node.name,
        grouped(c * h * w),
        grouped(own),
        percent(own, graph.parameter_count(Role::Weight))
    ));
    told.say(format!(
        "a convolution of the same receptive field, {h}x{w} with {to} kernels, has {h}x{w}x{c}x{to} = {}: as many, and the same \
         numbers, since the window fits once",
        grouped(h * w * c * to)
    ));
    let small = c * to * 9;
    told.say(format!(
        "a 3x3 convolution between the same channels has 3x3x{c}x{to} = {}, {} times fewer: it looks at 9 pixels and uses the \
         same weights everywhere",
        grouped(small),
        own / small.max(1)
    ));
    told.say(format!(
        "averaging first (global average pooling) leaves {c} numbers and {} weights, and any image size will do",
        grouped(c * to)
    ));
    told.say(
        "weights are not time: a fully connected layer multiplies each once, a convolution at every place. Convolutions are \
         cheap in weights, fully connected layers in multiplications",
    );
    told.number("fully_connected", own);
    told.number("convolution_of_the_same_field", h * w * c * to);
    told.number("convolution_3x3", small);
    Ok(told)
}

fn one_by_one(graph: &Graph) -> Result<Explanation, LoadError> {
    let found = graph.nodes().iter().enumerate().find(|(_, node)| {
        matches!(&node.op, Op::Conv2d(op) if op.window.kernel == [1; 2] && op.groups == 1)
            && graph.shape(node.outputs[0]).iter().skip(2).product::<usize>() > 1
    });
    let Some((index, node)) = found else {
        return Err(nothing(graph, "1x1 convolution", "try resnet50"));
    };
    let (from, to) = channels(graph, node);
    let output = graph.shape(node.outputs[0]).clone();
    let places: usize = output.iter().skip(2).product();
    let mut b = Builder::new("pixel");
    let x = b.input("x", [1, from]);
    let y = b.linear("fc", x, Dense::new(to).no_bias());
    b.output("y", y);
    let pixel = b.finish()?;
    let (linear, macs) = (pixel.parameter_count(Role::Weight), pixel.cost().macs as usize);
    let whole = graph.node_cost(NodeId(index as u32)).macs as usize;
    let mut told = Explanation::new(format!("{} of {}, a 1x1 convolution", node.name, graph.name));
    told.say(format!("it has 1x1x{from}x{to} = {} weights", grouped(weights(graph, node))));
    told.say(format!("a fully connected layer from {from} to {to} has {from} x {to} = {}", grouped(linear)));
    told.say(format!(
        "they are the same at one pixel: {} multiplications. The convolution does it at each of {} pixels, with the same \
         weights: {} in all",
        grouped(macs),
        grouped(places),
        grouped(whole)
    ));
    let image = from * places;
    told.say(format!(
        "a fully connected layer over the whole image would be another thing: {} x {} = {} weights",
        grouped(image),
        grouped(to * places),
        grouped(image.saturating_mul(to * places))
    ));
    told.say("\"cross channel parametric pooling\" (Lin, Chen and Yan, Network in Network, 2013) is this: a learned weighted sum over channels");
    told.number("weights", weights(graph, node));
    told.number("linear_weights", linear);
    Ok(told)
}

fn parameters(graph: &Graph) -> Explanation {
    let all = graph.parameter_count(Role::Weight);
    let macs = graph.cost().macs as usize;
    let mut told = Explanation::new(format!("where the parameters of {} are", graph.name));
    told.say(format!("{} learned numbers, {} multiplications for one run", grouped(all), grouped(macs)));
    let is_weighted =
        |node: &&Node| matches!(node.op, Op::Conv2d(_) | Op::Linear(_) | Op::ConvTranspose2d(_));
    let share = |wanted: &dyn Fn(&Node) -> bool| {
        let mut sums = (0, 0, 0);
        for (index, node) in
            graph.nodes().iter().enumerate().filter(|(_, node)| is_weighted(node) && wanted(node))
        {
            let params = node.inputs.iter().filter_map(|&id| graph.param_of(id));
            sums.0 += 1;
            sums.1 += params.map(|id| graph.param(id).shape.elements()).sum::<usize>();
            sums.2 += graph.node_cost(NodeId(index as u32)).macs as usize;
        }
        sums
    };
    let is_linear = |node: &Node| matches!(node.op, Op::Linear(_));
    for (what, (layers, own, work)) in
        [("convolutions", share(&|node| !is_linear(node))), ("fully connected layers", share(&is_linear))]
    {
        told.say(format!(
            "{layers} {what}: {} of the parameters ({}), {} of the multiplications",
            percent(own, all),
            grouped(own),
            percent(work, macs)
        ));
        let key = what.replace(' ', "_");
        told.number(&format!("{key}_parameters"), own);
        told.number(&format!("{key}_macs"), work);
    }
    let mut largest: Vec<(&str, usize)> = graph
        .nodes()
        .iter()
        .filter(is_weighted)
        .map(|node| (node.name.as_str(), weights(graph, node)))
        .collect();
    largest.sort_by_key(|&(_, own)| std::cmp::Reverse(own));
    for (name, own) in largest.iter().take(5) {
        told.say(format!("  {name}: {} weights, {}", grouped(*own), percent(*own, all)));
    }
    told.number("parameters", all);
    told
}

fn padded(graph: &Graph) -> Result<Explanation, LoadError> {
    let found = graph.nodes().iter().find(|node| {
        conv_window(node).is_some_and(|window| window.taps() > 1 && window.stride == [1; 2])
            && graph.shape(node.outputs[0]).rank() == 4
    });
    let Some(node) = found else {
        return Err(nothing(graph, "convolution of stride 1 with a kernel above 1x1", "try vgg16"));
    };
    let window = conv_window(node).copied().unwrap_or(Window::square(3));
    let (input, output) = (graph.shape(node.inputs[0]), graph.shape(node.outputs[0]));
    let mut told = Explanation::new(format!("the border of {} of {}", node.name, graph.name));
    let ([h, w], mut lines) = ([input[2], input[3]], Vec::new());
    for (key, what, window) in [
        ("as_is", "as it is", window),
        ("none", "without padding", Window { padding: Padding::all(0), ..window }),
    ] {
        let size = |axis: usize| window.output_size([h, w][axis], axis, Rounding::Floor).unwrap_or(0);
        let sizes = [size(0), size(1)];
        let [corner, edge, middle] = padding::corner_edge_middle(&window, [h, w], [sizes[0], sizes[1]]);
        let (top, bottom) = window.padding.along(0);
        lines.push(format!(
            "{what} (padding {top} + {bottom}): {h}x{w} -> {}x{}; a pixel reaches {corner} outputs from a corner, {edge} from \
             an edge, {middle} from the middle",
            sizes[0], sizes[1]
        ));
        told.number(&format!("{key}_reached"), vec![corner, edge, middle]);
    }
    lines.into_iter().for_each(|line| told.say(line));
    let convs = graph
        .nodes()
        .iter()
        .filter(|node| conv_window(node).is_some_and(|w| w.taps() > 1 && w.stride == [1; 2]));
    let lost: usize = convs.map(|node| conv_window(node).map_or(0, |window| window.reach(0) - 1)).sum();
    told.say(format!(
        "without padding, the network's convolutions of stride 1 would take {lost} rows and columns away one after the other, \
         each at its own scale; an image would be used up before its last layers"
    ));
    told.say(format!(
        "pooling also makes images smaller, but from choice: it keeps a summary of every part, where a missing border simply \
         loses it. The output here is {output}"
    ));
    Ok(told)
}

fn receptive_field(graph: &Graph) -> Explanation {
    let fields = graph.receptive_fields();
    let mut told = Explanation::new(format!("what each layer of {} sees", graph.name));
    told.say("size += (kernel - 1) x stride so far; stride so far x= stride");
    let mut last = None;
    for node in graph.nodes() {
        let Some(field) = node.outputs.first().and_then(|out| fields[out.index()]) else { continue };
        if last == Some(field.size) {
            continue;
        }
        last = Some(field.size);
        let [h, w] = field.size;
        told.say(format!(
            "  {}: {h}x{w} pixels, neighbours {}x{} apart",
            node.name, field.stride[0], field.stride[1]
        ));
    }
    if let Some(size) = last {
        let image = graph.inputs().iter().map(|&id| graph.shape(id)).find(|shape| shape.rank() == 4);
        if let Some(image) = image.filter(|image| size[0] > image[2]) {
            told.say(format!(
                "the last one is larger than the image ({}x{}): pixels at the border look into the padding",
                image[2], image[3]
            ));
        }
        told.number("receptive_field", size.to_vec());
    }
    told
}

fn layers(graph: &Graph) -> Explanation {
    let counted = Layers::of(graph);
    let mut told = Explanation::new(format!("how many layers {} has", graph.name));
    counted.to_string().lines().for_each(|line| told.say(line));
    told.say(
        "the number in a network's name counts convolutions and fully connected layers on the longest way; BatchNorm, \
         activations, pooling and additions are operations, not layers",
    );
    told.number("weighted", counted.weighted);
    told.number("batch_norms", counted.batch_norms);
    told.number("operations", counted.operations);
    told
}

fn kernels(graph: &Graph) -> Result<Explanation, LoadError> {
    let convs: Vec<&Node> = graph.nodes().iter().filter(|node| conv_window(node).is_some()).collect();
    let Some(node) = convs.get(1).or(convs.first()) else {
        return Err(nothing(graph, "convolution", "try lenet"));
    };
    let [kh, kw] = conv_window(node).map_or([1; 2], |window| window.kernel);
    let (from, to) = channels(graph, node);
    let mut told = Explanation::new(format!("the kernels of {} of {}", node.name, graph.name));
    told.say(format!("{} makes {}, and has {}", node.name, count(to, "map"), count(to, "kernel")));
    let own = weights(graph, node);
    let depth = own / (kh * kw * to).max(1);
    told.say(format!(
        "each kernel is {kh}x{kw}x{depth}: its input has {from} channels, and a kernel has a slice of {kh}x{kw} for each it reads"
    ));
    told.say(format!(
        "{kh}x{kw}x{depth}x{to} = {} weights, not {kh}x{kw}x{to} = {}",
        grouped(own),
        grouped(kh * kw * to)
    ));
    told.say("the products of all slices are added into one number: the window moves in two dimensions only, hence the name");
    told.say(format!(
        "one {kh}x{kw} slice per channel without the sum is a depthwise convolution: groups = {from}, {kh}x{kw}x{from} = {} weights",
        grouped(kh * kw * from)
    ));
    told.say("the numbers in them are learned: random at first, then moved against the gradient of the loss, each layer its own");
    told.number("weights", own);
    Ok(told)
}

fn sharing(graph: &Graph) -> Explanation {
    let readers = graph.readers();
    let mut told = Explanation::new(format!("what {} shares", graph.name));
    let mut shared = 0;
    let (mut uses, mut once) = (0, 0);
    for param in graph.params().iter().filter(|param| param.role == Role::Weight) {
        let times = readers[param.value.index()].len();
        (uses, once) = (uses + times * param.shape.elements(), once + param.shape.elements());
        if times > 1 {
            shared += 1;
            let by: Vec<&str> =
                readers[param.value.index()].iter().map(|&id| graph.node(id).name.as_str()).collect();
            told.say(format!("{} {} is used {times} times, by {}", param.name, param.shape, by.join(", ")));
        }
    }
    if shared == 0 {
        told.say("nothing: every parameter is used once");
    } else {
        told.say(format!(
            "{} numbers to learn; without sharing there would be {}",
            grouped(once),
            grouped(uses)
        ));
    }
    told.say(
        "the gradient of a parameter used three times is the sum of the three gradients, one for each use as if the others were \
         constants: dL/dw = dL/dw1 + dL/dw2 + dL/dw3 at w1 = w2 = w3 = w. `ocellus summary NET --train` shows the additions",
    );
    told.number("shared_parameters", shared);
    told
}

fn softmax(graph: &Graph) -> Explanation {
    let mut told = Explanation::new(format!("softmax and {}", graph.name));
    let classifier = graph.nodes().iter().rev().find(|node| matches!(node.op, Op::Linear(_) | Op::Conv2d(_)));
    if let Some(node) = classifier {
        let params: usize = node
            .inputs
            .iter()
            .filter_map(|&id| graph.param_of(id))
            .map(|id| graph.param(id).shape.elements())
            .sum();
        let classes = graph.shape(node.outputs[0]).get(1).copied().unwrap_or(0);
        told.say(format!(
            "three things share the name. The function: {classes} numbers in, {classes} out, exp(x_i) over their sum; no \
             parameters"
        ));
        told.say(format!(
            "the classifier: the layer that makes those numbers, here {} with {} parameters, and the function after it",
            node.name,
            grouped(params)
        ));
        told.say(
            "the loss: -log of the true class's probability, computed from the numbers before the function",
        );
        told.say(format!(
            "a network that knows nothing gives each class 1/{classes}: a loss of ln {classes} = {:.4}. A loss of 87.34 is \
             -ln of the smallest 32-bit number: the run has diverged",
            (classes.max(1) as f64).ln()
        ));
        told.number("classes", classes);
        told.number("parameters", params);
    }
    let present = graph.nodes().iter().any(|node| matches!(node.op, Op::Softmax(_)));
    told.say(if present {
        "this network ends in the function itself: its outputs are probabilities"
    } else {
        "this network's outputs are the numbers before the function (logits); `predict` applies it"
    });
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocellus_zoo as zoo;

    fn net(name: &str) -> Graph {
        zoo::build(name, &zoo::Options::default()).unwrap()
    }

    #[test]
    fn every_topic_is_told_on_its_own_network() {
        for (name, _, usual) in TOPICS {
            let told = topic(name, &net(usual)).unwrap_or_else(|fault| panic!("{name}: {fault}"));
            assert!(told.lines.len() >= 2, "{name}");
        }
        assert!(topic("bottlenek", &net("lenet")).unwrap_err().to_string().contains("bottleneck"));
        assert!(topic("bottleneck", &net("lenet")).unwrap_err().to_string().contains("try resnet50"));
    }

    #[test]
    fn shares_of_vgg_16() {
        let told = topic("parameters", &net("vgg16")).unwrap();
        // 25088x4096 + 4096 + 4096x4096 + 4096 + 4096x1000 + 1000.
        assert_eq!(told.numbers["fully_connected_layers_parameters"], 123_642_856);
        assert_eq!(told.numbers["parameters"], 138_357_544);
        assert!(told.lines.iter().any(|line| line.contains("89.4%")), "{:?}", told.lines);
    }

    #[test]
    fn borders_and_fields() {
        let told = topic("padding", &net("vgg16")).unwrap();
        assert_eq!(told.numbers["as_is_reached"], serde_json::json!([4, 6, 9]));
        assert_eq!(told.numbers["none_reached"], serde_json::json!([1, 3, 9]));
        // The published field of VGG-16's last pooling: 212 pixels.
        assert_eq!(
            topic("receptive-field", &net("vgg16")).unwrap().numbers["receptive_field"],
            serde_json::json!([212, 212])
        );
        assert_eq!(topic("layers", &net("resnet50")).unwrap().numbers["weighted"], 50);
    }

    #[test]
    fn a_kernel_is_as_deep_as_its_input() {
        let mut b = Builder::new("keras");
        let x = b.input("x", [1, 1, 101, 101]);
        let y = b.conv2d("conv2d", x, Conv::new(8, 11));
        let y = b.conv2d("conv2d_1", y, Conv::new(16, 7));
        b.output("y", y);
        let graph = b.finish().unwrap();
        assert_eq!(topic("kernels", &graph).unwrap().numbers["weights"], 6_272);
        let told = super::super::layer(&graph, "conv2d_1").unwrap();
        assert_eq!((&told.numbers["weights"], &told.numbers["parameters"]), (&6_272.into(), &6_288.into()));
        assert!(told.lines.iter().any(|line| line.contains("7x7x8x16 = 6,272")), "{:?}", told.lines);
        assert!(
            super::super::layer(&graph, "conv")
                .unwrap_err()
                .to_string()
                .contains("did you mean conv2d, conv2d_1")
        );
    }
}
