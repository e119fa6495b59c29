//! Topics that set one kind of layer beside another: which takes fewer weights, and when are they the same? On a network
//! without the first kind, beside what it has in its place.

use ocellus_graph::{Builder, Conv, Dense, Graph, Node, NodeId, Op, Role};

use super::topics::{channels, conv_window, nothing, weights};
use super::{Explanation, grouped, percent};
use crate::load::LoadError;

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

pub(super) fn bottleneck(graph: &Graph) -> Result<Explanation, LoadError> {
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
        return supposed_bottleneck(graph);
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

/// What a bottleneck would take at the width of the network's largest 3x3 convolution.
fn supposed_bottleneck(graph: &Graph) -> Result<Explanation, LoadError> {
    const NARROWER: usize = 4;
    const KIND: &str = "bottleneck (1x1, 3x3, 1x1 back to the same width)";
    let keeps_width = |node: &&Node| {
        let (from, to) = channels(graph, node);
        let is_whole = matches!(&node.op, Op::Conv2d(op) if op.window.kernel == [3; 2] && op.groups == 1);
        is_whole && from == to && from >= NARROWER
    };
    let Some(node) = graph.nodes().iter().filter(keeps_width).max_by_key(|node| weights(graph, node)) else {
        return Err(nothing(graph, KIND, "try resnet50"));
    };
    let width = channels(graph, node).0;
    let narrow = width / NARROWER;
    let (plain, terms) = (two_3x3(width)?, [width * narrow, 9 * narrow * narrow, narrow * width]);
    let sum: usize = terms.iter().sum();
    let mut told =
        Explanation::new(format!("a bottleneck in the place of two 3x3 convolutions of {}", graph.name));
    told.say(format!("{} has no {KIND}; {} keeps {width} channels", graph.name, node.name));
    told.say(format!(
        "two 3x3 convolutions at {width} channels: 2 x 3x3x{width}x{width} = {}",
        grouped(plain)
    ));
    told.say(format!(
        "a bottleneck by way of {narrow}: {width}x{narrow} + 3x3x{narrow}x{narrow} + {narrow}x{width} = {}, {:.1} times fewer",
        grouped(sum),
        plain as f64 / sum.max(1) as f64
    ));
    told.number("bottleneck", sum);
    told.number("two_3x3", plain);
    told.number("channels", width);
    Ok(told)
}

pub(super) fn fully_connected(graph: &Graph) -> Result<Explanation, LoadError> {
    let linear = graph.nodes().iter().find_map(|node| {
        let mut flat = matches!(node.op, Op::Linear(_)).then(|| graph.producer(node.inputs[0])).flatten()?;
        while matches!(graph.node(flat).op, Op::Dropout(_)) {
            flat = graph.producer(graph.node(flat).inputs[0])?;
        }
        let &[_, c, h, w] = graph.shape(*graph.node(flat).inputs.first()?).dims() else { return None };
        (matches!(graph.node(flat).op, Op::Reshape(_)) && h * w > 1).then_some((node, [c, h, w]))
    });
    let Some((node, [c, h, w])) = linear else {
        return supposed_fully_connected(graph);
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

/// What a fully connected layer would take in the place of averaging and the classifier after it.
fn supposed_fully_connected(graph: &Graph) -> Result<Explanation, LoadError> {
    const KIND: &str = "fully connected layer that reads an image";
    let averaged = graph.nodes().iter().rev().find_map(|node| {
        let is_global = matches!(&node.op, Op::AvgPool(op) if op.window.is_none());
        let &[_, c, h, w] = graph.shape(*node.inputs.first()?).dims() else { return None };
        (is_global && h * w > 1).then_some((node, [c, h, w]))
    });
    let Some((node, [c, h, w])) = averaged else {
        return Err(nothing(graph, KIND, "try vgg16"));
    };
    let classes = graph.outputs().first().and_then(|out| graph.shape(out.value).get(1).copied()).unwrap_or(1);
    let (flat, pooled) = (c * h * w * classes, c * classes);
    let mut told =
        Explanation::new(format!("the end of {}, and a fully connected layer in its place", graph.name));
    told.say(format!("{} has no {KIND}: {} makes one number of each {h}x{w} map", graph.name, node.name));
    told.say(format!(
        "a fully connected layer on the maps ({c}, {h}, {w}) themselves, for {classes} outputs: {} x {classes} = {} weights, \
         beside the network's {}",
        grouped(c * h * w),
        grouped(flat),
        grouped(graph.parameter_count(Role::Weight))
    ));
    told.say(format!(
        "a convolution of the same receptive field, {h}x{w} with {classes} kernels, has {h}x{w}x{c}x{classes} = {}: as many, and \
         the same numbers, since the window fits once",
        grouped(flat)
    ));
    told.say(format!(
        "averaged first: {c} x {classes} = {}, {} times fewer, and any image size will do",
        grouped(pooled),
        h * w
    ));
    told.number("fully_connected", flat);
    told.number("convolution_of_the_same_field", flat);
    told.number("averaged", pooled);
    Ok(told)
}

pub(super) fn one_by_one(graph: &Graph) -> Result<Explanation, LoadError> {
    let found = graph.nodes().iter().enumerate().find(|(_, node)| {
        matches!(&node.op, Op::Conv2d(op) if op.window.kernel == [1; 2] && op.groups == 1)
            && graph.shape(node.outputs[0]).iter().skip(2).product::<usize>() > 1
    });
    let Some((index, node)) = found else {
        return supposed_one_by_one(graph);
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

/// A fully connected layer as the 1x1 convolution that it is on an image of one pixel.
fn supposed_one_by_one(graph: &Graph) -> Result<Explanation, LoadError> {
    let Some(node) = graph.nodes().iter().rev().find(|node| matches!(node.op, Op::Linear(_))) else {
        return Err(nothing(graph, "1x1 convolution", "try resnet50"));
    };
    let of =
        |id: Option<&ocellus_graph::ValueId>| id.and_then(|&id| graph.shape(id).last().copied()).unwrap_or(0);
    let (from, to) = (of(node.inputs.first()), of(node.outputs.first()));
    let mut told = Explanation::new(format!("{} of {} as a 1x1 convolution", node.name, graph.name));
    told.say(format!(
        "{} has no 1x1 convolution over an image, but {} is one, on an image of one pixel",
        graph.name, node.name
    ));
    told.say(format!(
        "{from} numbers are {from} channels of that pixel; each of {to} kernels, 1x1x{from}, weighs them all: 1x1x{from}x{to} = \
         {from} x {to} = {} weights",
        grouped(weights(graph, node))
    ));
    told.say("on a larger image the convolution does the same at every pixel, with the same weights");
    told.number("weights", weights(graph, node));
    told.number("linear_weights", from * to);
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocellus_zoo as zoo;

    fn net(name: &str) -> Graph {
        zoo::build(name, &zoo::Options::default()).unwrap()
    }

    #[test]
    fn networks_without_the_kind_are_told_what_it_would_take() {
        let told = bottleneck(&net("resnet18")).unwrap();
        assert_eq!(told.numbers["two_3x3"], 2 * 9 * 512 * 512);
        assert_eq!(told.numbers["bottleneck"], 512 * 128 + 9 * 128 * 128 + 128 * 512);
        let told = fully_connected(&net("resnet18")).unwrap();
        assert_eq!(
            (&told.numbers["fully_connected"], &told.numbers["averaged"]),
            (&25_088_000.into(), &512_000.into())
        );
        let told = one_by_one(&net("lenet")).unwrap();
        assert_eq!(
            (&told.numbers["weights"], &told.numbers["linear_weights"]),
            (&5_000.into(), &5_000.into())
        );
        // torchvision's AlexNet has dropout between its last maps and the layer that reads them.
        assert_eq!(fully_connected(&net("alexnet")).unwrap().numbers["fully_connected"], 9_216 * 4_096);
        // A layer that reads the image itself is one on maps, too.
        assert_eq!(fully_connected(&net("mlp")).unwrap().numbers["fully_connected"], 784 * 512);
        assert!(bottleneck(&net("mlp")).is_err());
    }
}
