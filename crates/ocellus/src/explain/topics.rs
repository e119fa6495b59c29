//! Questions that people ask about networks, answered with the numbers of the network in hand.

use std::collections::HashMap;

use ocellus_graph::{Graph, Layers, Node, NodeId, Op, ParamId, Role};
use ocellus_tensor::{Padding, Rounding, Window};

use super::comparisons::{bottleneck, fully_connected, one_by_one};
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

/// The topic that a word names, whatever its case, hyphens and spaces.
pub fn find_topic(word: &str) -> Option<&'static str> {
    let plain = |word: &str| word.to_lowercase().replace(['-', '_', ' '], "");
    TOPICS.iter().map(|(name, ..)| *name).find(|name| plain(name) == plain(word))
}

/// The topic that was meant by a word that is none, if one is near.
pub fn nearest_topic(word: &str) -> Option<&'static str> {
    const SLIPS: usize = 2;
    let far = |name: &str| strsim::osa_distance(name, &word.to_lowercase());
    let near = TOPICS.iter().map(|(name, ..)| *name).min_by_key(|name| far(name))?;
    let begins = word.len() > SLIPS && near.starts_with(&word.to_lowercase());
    (begins || far(near) <= SLIPS.min(word.len() / 3)).then_some(near)
}

pub(super) fn nothing(graph: &Graph, what: &str, next: &str) -> LoadError {
    LoadError::Setting(format!("{} has no {what}; {next}", graph.name))
}

/// The weight of a node in numbers, biases left out.
pub(super) fn weights(graph: &Graph, node: &Node) -> usize {
    let param = node.inputs.get(1).and_then(|&id| graph.param_of(id));
    param.map_or(0, |id| graph.param(id).shape.elements())
}

pub(super) fn conv_window(node: &Node) -> Option<&Window> {
    match &node.op {
        Op::Conv2d(op) => Some(&op.window),
        _ => None,
    }
}

pub(super) fn channels(graph: &Graph, node: &Node) -> (usize, usize) {
    let of =
        |id: Option<&ocellus_graph::ValueId>| id.and_then(|&id| graph.shape(id).get(1).copied()).unwrap_or(0);
    (of(node.inputs.first()), of(node.outputs.first()))
}

fn parameters(graph: &Graph) -> Explanation {
    let all = graph.parameter_count(Role::Weight);
    let macs = graph.cost().macs as usize;
    let mut told = Explanation::new(format!("where the parameters of {} are", graph.name));
    told.say(format!("{} learned numbers, {} multiplications for one run", grouped(all), grouped(macs)));
    let layers = Weighted::of(graph);
    for (what, is_linear) in [("convolutions", false), ("fully connected layers", true)] {
        let of_kind: Vec<&Weighted> = layers.iter().filter(|layer| layer.is_linear == is_linear).collect();
        let own: usize = of_kind.iter().map(|layer| layer.parameters).sum();
        let work: usize = of_kind.iter().map(|layer| layer.macs).sum();
        let what_of_them = if of_kind.len() == 1 { what.strip_suffix('s').unwrap_or(what) } else { what };
        told.say(format!(
            "{} {what_of_them}: {} of the parameters ({}), {} of the multiplications",
            of_kind.len(),
            percent(own, all),
            grouped(own),
            percent(work, macs)
        ));
        let key = what.replace(' ', "_");
        told.number(&format!("{key}_parameters"), own);
        told.number(&format!("{key}_macs"), work);
    }
    let mut largest: Vec<&Weighted> = layers.iter().collect();
    largest.sort_by_key(|layer| std::cmp::Reverse(layer.weights));
    for layer in largest.iter().take(5) {
        let uses = if layer.uses > 1 { format!(", used {} times", layer.uses) } else { String::new() };
        told.say(format!(
            "  {}: {} weights, {}{uses}",
            layer.name,
            grouped(layer.weights),
            percent(layer.weights, all)
        ));
    }
    told.number("parameters", all);
    told
}

/// A layer with weights; towers that share them are one layer, which works several times.
struct Weighted {
    name: String,
    is_linear: bool,
    weights: usize,
    parameters: usize,
    macs: usize,
    uses: usize,
}

impl Weighted {
    fn of(graph: &Graph) -> Vec<Self> {
        let mut places: HashMap<ParamId, usize> = HashMap::new();
        let mut layers: Vec<Self> = Vec::new();
        for (index, node) in graph.nodes().iter().enumerate() {
            if !matches!(node.op, Op::Conv2d(_) | Op::Linear(_) | Op::ConvTranspose2d(_)) {
                continue;
            }
            let macs = graph.node_cost(NodeId(index as u32)).macs as usize;
            let params: Vec<ParamId> = node.inputs.iter().filter_map(|&id| graph.param_of(id)).collect();
            let before = params.first().and_then(|first| places.get(first));
            if let Some(layer) = before.and_then(|&place| layers.get_mut(place)) {
                (layer.macs, layer.uses) = (layer.macs + macs, layer.uses + 1);
                continue;
            }
            if let Some(&first) = params.first() {
                places.insert(first, layers.len());
            }
            layers.push(Self {
                name: node.name.clone(),
                is_linear: matches!(node.op, Op::Linear(_)),
                weights: weights(graph, node),
                parameters: params.iter().map(|&id| graph.param(id).shape.elements()).sum(),
                macs,
                uses: 1,
            });
        }
        layers
    }
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
    let is_bare = window.padding.along(0) == (0, 0) && window.padding.along(1) == (0, 0);
    let half = window.reach(0).max(window.reach(1)) / 2;
    let other = match is_bare {
        true => ("padded", "padded by half the kernel", Window { padding: Padding::all(half), ..window }),
        false => ("none", "without padding", Window { padding: Padding::all(0), ..window }),
    };
    for (key, what, window) in [("as_is", "as it is", window), other] {
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
    told.say(if is_bare {
        format!(
            "it is not padded: pixels at the border count for less, and the network's convolutions of stride 1 can take {lost} \
             rows and columns away one after the other, each at its own scale"
        )
    } else {
        format!(
            "without padding, the network's convolutions of stride 1 would take {lost} rows and columns away one after the \
             other, each at its own scale; an image would be used up before its last layers"
        )
    });
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
    use ocellus_graph::{Builder, Conv};
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
        assert!(topic("bottleneck", &net("mlp")).unwrap_err().to_string().contains("try resnet50"));
        assert_eq!(
            (
                find_topic("Receptive Field"),
                find_topic("lenet"),
                nearest_topic("pading"),
                nearest_topic("lenet")
            ),
            (Some("receptive-field"), None, Some("padding"), None)
        );
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
    fn what_towers_share_counts_once() {
        let told = topic("parameters", &net("siamese_lenet")).unwrap();
        let [all, of_fc] = ["parameters", "fully_connected_layers_parameters"]
            .map(|key| told.numbers[key].as_u64().unwrap());
        // 800x500 + 500, 500x10 + 10, 10x2 + 2.
        assert_eq!((all, of_fc), (431_102, 400_500 + 5_010 + 22));
        assert!(told.lines.iter().any(|line| line.contains("used 2 times")), "{:?}", told.lines);
    }

    #[test]
    fn borders_and_fields() {
        let bare = topic("padding", &net("lenet")).unwrap();
        assert_eq!(bare.numbers["padded_reached"], serde_json::json!([9, 15, 25]));
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
