//! A description becomes a graph, call by call.
//!
//! ```text
//! every call of a layer waits until all results that it reads are there
//! an input layer gives an input of the graph, or what the model around it was called with
//! a layer that is a model is gone through in the same way; any other layer's function adds nodes
//! calls that are never ready read one another in a circle
//! ```

use std::collections::{BTreeMap, HashMap, HashSet};

use ocellus_graph::Graph;
use ocellus_tensor::Weights;
use serde_json::Value;

use super::describe::{Description, Port, Spec};
use super::fault::Fault;
use super::layer::{Given, Layer};
use super::layers;
use super::net::{Item, Net, Order, turned};
use super::stored::{Place, Stored, Trouble};

/// Layers that read a vector or a sequence of pixels, for which an input of two axes is a grey image.
const OF_ANY_SHAPE: [&str; 4] = ["Flatten", "Reshape", "Rescaling", "Normalization"];

/// Calls that may be made; models inside one another are gone through each time they are called.
const MOST_CALLS: usize = 100_000;

/// What a model was read as.
pub(in crate::keras) struct Built {
    pub graph: Graph,
    pub weights: Option<Weights>,
    pub scales_pixels: bool,
}

/// What is the same for all models of a file.
struct Builder<'a> {
    net: Net,
    stored: Option<&'a Stored>,
    version: u32,
    /// The shape `(N, C, H, W)` that was asked for.
    input: Option<[usize; 4]>,
    channels_first: bool,
    calls: usize,
}

/// A model that is gone through.
struct Scope<'a> {
    described: &'a Description,
    /// Before the names of its layers.
    prefix: String,
    /// Counted names of the models around it, its own last.
    path: Vec<String>,
    /// The outermost model's layer that it is inside of.
    group: Option<String>,
    is_shared: bool,
}

/// The network that `described` is, with the numbers of `stored`.
pub(in crate::keras) fn build(
    described: &Description,
    stored: Option<&Stored>,
    version: u32,
    input: Option<[usize; 4]>,
) -> Result<Built, Trouble> {
    let channels_first = is_channels_first(described);
    let net = Net::new(&described.name);
    let mut builder = Builder { net, stored, version, input, channels_first, calls: 0 };
    let scope = Scope { described, prefix: String::new(), path: Vec::new(), group: None, is_shared: false };
    let outputs = builder.run(&scope, None)?;
    let Builder { mut net, .. } = builder;
    let mut taken = HashSet::new();
    for (port, item) in described.outputs.iter().zip(outputs) {
        let mut name = port.layer.clone();
        if !taken.insert(name.clone()) {
            name = format!("{name}:{}", taken.len());
            taken.insert(name.clone());
        }
        net.graph.add_output(name, item.value);
    }
    let Net { graph, weights, scales_pixels, .. } = net;
    Ok(Built { graph, weights: stored.map(|_| weights), scales_pixels })
}

fn is_channels_first(described: &Description) -> bool {
    described.layers.iter().any(|layer| match &layer.model {
        Some(model) => is_channels_first(model),
        None => layer.config.get("data_format").and_then(Value::as_str) == Some("channels_first"),
    })
}

impl<'a> Builder<'a> {
    /// Goes through a model; `given` is what the model around it calls it with.
    fn run(&mut self, scope: &Scope<'a>, given: Option<Vec<Item>>) -> Result<Vec<Item>, Trouble> {
        let described = scope.described;
        let mut done: HashMap<Port, Item> = HashMap::new();
        self.add_inputs(scope, given, &mut done)?;
        let counted = counted_names(described);
        for (index, call) in in_order(described, &done)? {
            self.calls += 1;
            if self.calls > MOST_CALLS {
                return Err(
                    Fault::damaged(format!("its layers are called more than {MOST_CALLS} times")).into()
                );
            }
            let spec = &described.layers[index];
            let label = format!("{}{}", scope.prefix, spec.name);
            let mut path = scope.path.clone();
            path.push(counted[index].clone());
            let is_shared = scope.is_shared || spec.calls.len() > 1;
            let mut find = |port: &Port| {
                let what = || {
                    Fault::damaged(format!(
                        "the layer {label:?} reads {:?}, which makes nothing there",
                        port.layer
                    ))
                };
                done.get(port).cloned().ok_or_else(what)
            };
            let called = &spec.calls[call];
            let args: Vec<Given> = called
                .args
                .iter()
                .map(|argument| Given::of(argument, &mut find))
                .collect::<Result<_, _>>()?;
            let kwargs = called
                .kwargs
                .iter()
                .map(|(name, argument)| Ok((name.clone(), Given::of(argument, &mut find)?)));
            let kwargs = kwargs.collect::<Result<Vec<_>, Fault>>()?;
            let group = scope.group.clone().unwrap_or_else(|| spec.name.clone());
            let place = Place {
                group: group.clone(),
                name: spec.name.clone(),
                is_inner: scope.group.is_some(),
                path,
            };
            let layer = Layer {
                spec,
                label,
                place,
                stored: self.stored,
                is_shared,
                version: self.version,
                args,
                kwargs,
            };
            let made = match &spec.model {
                Some(model) => {
                    let inner = Scope {
                        described: model,
                        prefix: format!("{}.", layer.label),
                        path: layer.place.path.clone(),
                        group: Some(group),
                        is_shared,
                    };
                    self.run(&inner, Some(layer.items()?))?
                }
                None => layers::add(&mut self.net, &layer)?,
            };
            for (slot, item) in made.into_iter().enumerate() {
                done.insert(Port { layer: spec.name.clone(), call, slot }, item);
            }
        }
        let output = |port: &Port| {
            let what = || Fault::damaged(format!("its output {:?} is made by no layer", port.layer));
            done.get(port).cloned().ok_or_else(what)
        };
        Ok(described.outputs.iter().map(output).collect::<Result<_, _>>()?)
    }

    fn add_inputs(
        &mut self,
        scope: &Scope<'a>,
        given: Option<Vec<Item>>,
        done: &mut HashMap<Port, Item>,
    ) -> Result<(), Fault> {
        let described = scope.described;
        if let Some(given) = given {
            if given.len() != described.inputs.len() {
                let (is, needs, name) = (given.len(), described.inputs.len(), &described.name);
                return Err(Fault::damaged(format!(
                    "the model {name:?} is called with {is} tensors, it has {needs} inputs"
                )));
            }
            for (port, item) in described.inputs.iter().zip(given) {
                done.insert(port.clone(), item);
            }
            return Ok(());
        }
        // An input that nothing names is still one that layers may read.
        let is_input = |layer: &&Spec| layer.class == "InputLayer";
        for spec in described.layers.iter().filter(is_input) {
            let port = Port { layer: spec.name.clone(), call: 0, slot: 0 };
            let item = self.input(described, spec)?;
            done.insert(port, item);
        }
        Ok(())
    }

    /// An input of the graph: images (N, C, H, W) whatever the order of Keras's axes.
    fn input(&mut self, described: &Description, spec: &Spec) -> Result<Item, Fault> {
        let dims = self.input_dims(spec)?;
        let name = self.net.free_name(&spec.name);
        let refuse = |cause: ocellus_graph::GraphError| {
            Fault::damaged(format!("the input {:?} cannot be: {cause}", spec.name))
        };
        if dims.len() == 3 && is_grey_image(described, &spec.name) {
            let shape = vec![dims[0], 1, dims[1], dims[2]];
            let value = self.net.graph.add_input(name, shape).map_err(refuse)?;
            let target = vec![0, dims[1] as isize, dims[2] as isize];
            let op = ocellus_graph::Op::Reshape(ocellus_graph::ops::Reshape { dims: target });
            let name = self.net.free_name(&format!("{}.rows", spec.name));
            let value = self.net.graph.add_node(name, op, vec![value]).map_err(refuse)?[0];
            return Ok(Item::plain(value, dims));
        }
        if self.channels_first || dims.len() < 3 {
            let value = self.net.graph.add_input(name, dims.clone()).map_err(refuse)?;
            return Ok(Item::plain(value, dims));
        }
        let value = self.net.graph.add_input(name, turned(&dims)).map_err(refuse)?;
        Ok(Item { value, dims, order: Order::Turned })
    }

    fn input_dims(&self, spec: &Spec) -> Result<Vec<usize>, Fault> {
        let name = &spec.name;
        let shape =
            ["batch_shape", "batch_input_shape"].iter().find_map(|key| spec.config.get(*key)?.as_array());
        let shape = shape.ok_or_else(|| {
            let what = format!("the input {name:?} has no shape");
            Fault::new(what, "build the model for a shape in Keras before it is saved")
        })?;
        let asked: Option<Vec<usize>> =
            self.input.map(|[n, c, h, w]| match (shape.len(), self.channels_first) {
                (4, false) => vec![n, h, w, c],
                (3, _) => vec![n, h, w],
                _ => vec![n, c, h, w],
            });
        let asked = asked.filter(|asked| asked.len() == shape.len());
        let mut dims = Vec::with_capacity(shape.len());
        for (axis, size) in shape.iter().enumerate() {
            let known = size.as_u64().and_then(|size| usize::try_from(size).ok()).filter(|&size| size > 0);
            let asked = asked.as_ref().map(|asked| asked[axis]);
            dims.push(match (axis, known, asked) {
                (0, ..) => asked.unwrap_or(1),
                (_, Some(known), _) if size.is_u64() => known,
                (_, None, Some(asked)) if size.is_null() => asked,
                (_, None, None) if size.is_null() => {
                    let shape = Value::Array(shape.clone()).to_string().replace("null", "?");
                    let what = format!("the input {name:?} has the shape {shape}, which is free");
                    return Err(Fault::new(
                        what,
                        "say which size it is to have: --input N,C,H,W where the command takes it",
                    ));
                }
                _ => {
                    return Err(Fault::damaged(format!("the input {name:?} has the impossible size {size}")));
                }
            });
        }
        if dims.is_empty() {
            return Err(Fault::damaged(format!("the input {name:?} has no axes")));
        }
        Ok(dims)
    }
}

/// Whether only layers that take any shape read the input, directly or behind one another.
fn is_grey_image(described: &Description, input: &str) -> bool {
    let mut readers = described.layers.iter().filter(|layer| {
        layer.calls.iter().flat_map(super::describe::Called::ports).any(|port| port.layer == input)
    });
    let is_any = |layer: &Spec| OF_ANY_SHAPE.contains(&layer.class.as_str());
    let first = readers.next().is_some_and(is_any);
    first && readers.all(is_any)
}

/// What Keras 3 calls each layer in a file: its class, counted.
fn counted_names(described: &Description) -> Vec<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let name = |layer: &Spec| {
        if layer.is_operation() {
            return String::new();
        }
        // A model that is a layer is called after its class, too.
        let class = match layer.class.as_str() {
            "Model" => "Functional",
            class => class.rsplit('>').next().unwrap_or(class),
        };
        let class = snake_case(class);
        let count = counts.entry(class.clone()).or_default();
        *count += 1;
        if *count == 1 { class } else { format!("{class}_{}", *count - 1) }
    };
    described.layers.iter().map(name).collect()
}

/// `batch_normalization` of `BatchNormalization`, `conv2d` of `Conv2D`, `p_re_lu` of `PReLU`: an underscore before a
/// capital with small letters behind it, then between a small letter and a capital.
fn snake_case(class: &str) -> String {
    let letters: Vec<char> = class.chars().filter(|c| c.is_alphanumeric() || *c == '_').collect();
    let mut once: Vec<char> = Vec::new();
    let mut free_from = 0;
    for (i, &c) in letters.iter().enumerate() {
        let begins = c.is_ascii_uppercase() && letters.get(i + 1).is_some_and(char::is_ascii_lowercase);
        // One letter stands before it that belongs to no other match.
        if begins && i > free_from {
            once.push('_');
            free_from = i + 1 + letters[i + 1..].iter().take_while(|c| c.is_ascii_lowercase()).count();
        }
        once.push(c);
    }
    let mut name = String::new();
    for (i, &c) in once.iter().enumerate() {
        if i > 0 && c.is_ascii_uppercase() && once[i - 1].is_ascii_lowercase() {
            name.push('_');
        }
        name.push(c.to_ascii_lowercase());
    }
    name
}

/// All calls, each behind those whose results it reads: (layer, call).
fn in_order(described: &Description, done: &HashMap<Port, Item>) -> Result<Vec<(usize, usize)>, Fault> {
    let index: HashMap<&str, usize> =
        described.layers.iter().enumerate().map(|(i, layer)| (layer.name.as_str(), i)).collect();
    let is_given = |port: &Port| done.contains_key(&Port { slot: 0, ..port.clone() });
    let mut waiting: HashMap<(usize, usize), usize> = HashMap::new();
    let mut readers: HashMap<(usize, usize), Vec<(usize, usize)>> = HashMap::new();
    let mut ready = Vec::new();
    for (i, layer) in described.layers.iter().enumerate() {
        for (j, called) in layer.calls.iter().enumerate() {
            if is_given(&Port { layer: layer.name.clone(), call: j, slot: 0 }) {
                continue;
            }
            let mut needs: HashSet<(usize, usize)> = HashSet::new();
            for port in called.ports().into_iter().filter(|port| !is_given(port)) {
                let from = index
                    .get(port.layer.as_str())
                    .filter(|&&from| port.call < described.layers[from].calls.len());
                let from = *from.ok_or_else(|| {
                    let what = format!(
                        "the layer {:?} reads {:?}, which makes nothing there",
                        layer.name, port.layer
                    );
                    Fault::damaged(what)
                })?;
                needs.insert((from, port.call));
            }
            needs.iter().for_each(|&need| readers.entry(need).or_default().push((i, j)));
            if needs.is_empty() {
                ready.push((i, j));
            }
            waiting.insert((i, j), needs.len());
        }
    }
    // The last pushed is taken first, so the first layers come first.
    ready.reverse();
    let mut order = Vec::with_capacity(waiting.len());
    while let Some(call) = ready.pop() {
        order.push(call);
        for reader in readers.get(&call).into_iter().flatten().rev() {
            if let Some(left) = waiting.get_mut(reader) {
                *left -= 1;
                if *left == 0 {
                    ready.push(*reader);
                }
            }
        }
    }
    if order.len() < waiting.len() {
        let mut stuck: Vec<_> =
            waiting.iter().filter(|(_, left)| **left > 0).map(|(call, _)| call.0).collect();
        stuck.sort_unstable();
        let name = stuck.first().map_or("", |&i| described.layers[i].name.as_str());
        return Err(Fault::damaged(format!("its layers read one another in a circle, {name:?} among them")));
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::snake_case;

    #[test]
    fn classes_are_called_as_keras_calls_them() {
        for (class, name) in [
            ("Conv2D", "conv2d"),
            ("BatchNormalization", "batch_normalization"),
            ("DepthwiseConv2D", "depthwise_conv2d"),
            ("Conv2DTranspose", "conv2d_transpose"),
            ("ReLU", "re_lu"),
            ("PReLU", "p_re_lu"),
            ("LeakyReLU", "leaky_re_lu"),
            ("ELU", "elu"),
            ("GlobalAveragePooling2D", "global_average_pooling2d"),
            ("Functional", "functional"),
            ("UpSampling2D", "up_sampling2d"),
        ] {
            assert_eq!(snake_case(class), name);
        }
    }
}
