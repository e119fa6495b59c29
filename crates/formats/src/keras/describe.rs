//! A model's configuration: which layers there are, and who reads whom.
//!
//! Keras writes the same thing in several ways, which all become one [`Description`]:
//!
//! ```text
//! Sequential    a list of layers (until Keras 2.2), or {"name", "layers": [...]}
//! Functional    {"layers": [{"class_name", "name", "config", "inbound_nodes"}], "input_layers", "output_layers"}
//!   Keras 2     inbound_nodes: [[["conv", 0, 0, {}], ...], ...], of functions of TensorFlow [["conv", 0, 0, {"y": 2}]]
//!   Keras 3     inbound_nodes: [{"args": [{"class_name": "__keras_tensor__", ...}], "kwargs": {}}]
//! ```
//!
//! Source: `keras/src/models/functional.py` and `keras/src/legacy/saving/serialization.py` of Keras 3.

use serde_json::{Map, Value};

use super::fault::Fault;

/// Models inside one another: no deeper than this.
const DEEPEST: usize = 16;

/// Layers of all models together.
const MOST_LAYERS: usize = 20_000;

/// A model.
#[derive(Clone, Debug)]
pub(in crate::keras) struct Description {
    pub name: String,
    pub layers: Vec<Spec>,
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
}

/// A layer, and how often it is called.
#[derive(Clone, Debug)]
pub(in crate::keras) struct Spec {
    pub class: String,
    /// Where Python has it from, empty if that is not said.
    pub module: String,
    pub name: String,
    pub config: Map<String, Value>,
    pub calls: Vec<Called>,
    /// The layer is a model itself.
    pub model: Option<Box<Description>>,
}

/// One call of a layer.
#[derive(Clone, Debug, Default)]
pub(in crate::keras) struct Called {
    pub args: Vec<Argument>,
    pub kwargs: Vec<(String, Argument)>,
}

/// What a layer is called with.
#[derive(Clone, Debug)]
pub(in crate::keras) enum Argument {
    Port(Port),
    List(Vec<Argument>),
    Value(Value),
}

/// A result of a layer: of which call, and which one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::keras) struct Port {
    pub layer: String,
    pub call: usize,
    pub slot: usize,
}

impl Argument {
    /// All results that stand in it.
    pub fn ports(&self) -> Vec<&Port> {
        match self {
            Argument::Port(port) => vec![port],
            Argument::List(list) => list.iter().flat_map(Argument::ports).collect(),
            Argument::Value(_) => Vec::new(),
        }
    }
}

impl Called {
    /// All results that the call reads.
    pub fn ports(&self) -> Vec<&Port> {
        self.args
            .iter()
            .chain(self.kwargs.iter().map(|(_, argument)| argument))
            .flat_map(Argument::ports)
            .collect()
    }

    fn reads(port: Port) -> Called {
        Called { args: vec![Argument::Port(port)], kwargs: Vec::new() }
    }
}

impl Spec {
    /// Whether it is a function of Keras's or TensorFlow's own, rather than a layer.
    pub fn is_operation(&self) -> bool {
        self.module.contains(".ops.") || self.module.ends_with(".ops")
    }
}

/// The model that `config` describes.
pub(in crate::keras) fn describe(config: &Value) -> Result<Description, Fault> {
    let mut count = 0;
    model(config, 0, &mut count)
}

/// Whether a layer of this class is a model of layers.
fn is_model(class: &str, config: &Value) -> bool {
    match class {
        "Sequential" => true,
        "Model" | "Functional" => true,
        // A subclass that was made of layers like a functional model.
        _ => config.get("layers").is_some() && config.get("input_layers").is_some(),
    }
}

fn model(value: &Value, depth: usize, count: &mut usize) -> Result<Description, Fault> {
    if depth > DEEPEST {
        return Err(Fault::damaged(format!("its models lie more than {DEEPEST} deep in one another")));
    }
    let class =
        text(value, "class_name").ok_or_else(|| Fault::damaged("its configuration names no class"))?;
    let config = value.get("config").ok_or_else(|| Fault::damaged("its configuration is empty"))?;
    let name = text(config, "name").or_else(|| text(value, "name")).unwrap_or("model").to_string();
    let list = match config {
        Value::Array(list) => list,
        config => config.get("layers").and_then(Value::as_array).ok_or_else(|| {
            let what = format!(
                "the model {name:?} is a {class}, a class of its maker's own, whose layers are not listed"
            );
            Fault::new(what, "save it as a Sequential or a Functional model")
        })?,
    };
    *count += list.len();
    if *count > MOST_LAYERS {
        return Err(Fault::damaged(format!("it lists more than {MOST_LAYERS} layers")));
    }
    let mut layers = Vec::with_capacity(list.len());
    for layer in list {
        layers.push(spec(layer, depth, count)?);
    }
    let mut described = Description { name, layers, inputs: Vec::new(), outputs: Vec::new() };
    if class == "Sequential" {
        chain(&mut described, config)?;
        return Ok(described);
    }
    calls(&mut described, list)?;
    described.inputs = ports(config.get("input_layers"));
    described.outputs = ports(config.get("output_layers"));
    if described.outputs.is_empty() {
        return Err(Fault::damaged(format!("the model {:?} says no output_layers", described.name)));
    }
    count_calls(&mut described);
    Ok(described)
}

fn spec(layer: &Value, depth: usize, count: &mut usize) -> Result<Spec, Fault> {
    let class =
        text(layer, "class_name").ok_or_else(|| Fault::damaged("a layer names no class"))?.to_string();
    let config = layer.get("config").cloned().unwrap_or(Value::Null);
    let name = text(layer, "name").or_else(|| text(&config, "name")).unwrap_or(&class).to_string();
    let model = match is_model(&class, &config) {
        true => Some(Box::new(model(layer, depth + 1, count)?)),
        false => None,
    };
    let module = text(layer, "module").unwrap_or("").to_string();
    let config = match config {
        Value::Object(map) if model.is_none() => map,
        _ => Map::new(),
    };
    Ok(Spec { class, module, name, config, calls: Vec::new(), model })
}

/// The layers of a Sequential read one another; the first of them is its input.
fn chain(described: &mut Description, config: &Value) -> Result<(), Fault> {
    if described.layers.first().is_none_or(|layer| layer.class != "InputLayer") {
        let shape = ["build_input_shape", "batch_shape", "batch_input_shape"];
        let own = || shape.iter().find_map(|key| config.get(*key)).filter(|shape| shape.is_array());
        let mut input = Map::new();
        let first = described.layers.first();
        if let Some(shape) = first.and_then(first_shape).or_else(|| own().cloned()) {
            input.insert("batch_shape".into(), shape);
        }
        let name = format!("{}_input", first.map_or(described.name.as_str(), |layer| &layer.name));
        described.layers.insert(
            0,
            Spec {
                class: "InputLayer".into(),
                module: String::new(),
                name,
                config: input,
                calls: Vec::new(),
                model: None,
            },
        );
    }
    for i in 1..described.layers.len() {
        let port = Port { layer: described.layers[i - 1].name.clone(), call: 0, slot: 0 };
        described.layers[i].calls.push(Called::reads(port));
    }
    let port = |layer: Option<&Spec>| {
        layer.map(|layer| Port { layer: layer.name.clone(), call: 0, slot: 0 }).into_iter().collect()
    };
    described.inputs = port(described.layers.first());
    described.outputs = port(described.layers.last());
    let mut names: Vec<&str> = described.layers.iter().map(|layer| layer.name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Fault::damaged(format!("it has two layers called {:?}", pair[0]))),
        None => Ok(()),
    }
}

/// The input that the first layer of a Sequential says itself, also if that is a model.
fn first_shape(layer: &Spec) -> Option<Value> {
    if let Some(model) = &layer.model {
        return model.layers.first().and_then(first_shape);
    }
    let shape = ["batch_input_shape", "batch_shape"].iter().find_map(|key| layer.config.get(*key));
    shape.filter(|shape| shape.is_array()).cloned()
}

fn calls(described: &mut Description, list: &[Value]) -> Result<(), Fault> {
    let names: std::collections::HashSet<String> =
        described.layers.iter().map(|layer| layer.name.clone()).collect();
    if names.len() != described.layers.len() {
        return Err(Fault::damaged(format!(
            "two layers of the model {:?} have the same name",
            described.name
        )));
    }
    let known = |name: &str| names.contains(name);
    for (spec, layer) in described.layers.iter_mut().zip(list) {
        for node in layer.get("inbound_nodes").and_then(Value::as_array).into_iter().flatten() {
            spec.calls.push(match node {
                Value::Object(map) => called(map),
                Value::Array(list) => called_in_keras_2(list, &known),
                _ => {
                    return Err(Fault::damaged(format!(
                        "the layer {:?} is called in no known way",
                        spec.name
                    )));
                }
            });
        }
    }
    Ok(())
}

/// Keras 3: `{"args": [...], "kwargs": {...}}`.
fn called(node: &Map<String, Value>) -> Called {
    let args = node.get("args").and_then(Value::as_array).into_iter().flatten().map(argument).collect();
    let kwargs = node.get("kwargs").and_then(Value::as_object).into_iter().flatten();
    Called { args, kwargs: kwargs.map(|(name, value)| (name.clone(), argument(value))).collect() }
}

fn argument(value: &Value) -> Argument {
    match value {
        Value::Array(list) => Argument::List(list.iter().map(argument).collect()),
        Value::Object(map) if map.get("class_name").and_then(Value::as_str) == Some("__keras_tensor__") => {
            let history = map.get("config").and_then(|config| config.get("keras_history"));
            history.and_then(port).map_or(Argument::Value(Value::Null), Argument::Port)
        }
        value => Argument::Value(value.clone()),
    }
}

/// Keras 2: one tensor or a list of them, each with the other arguments behind it.
fn called_in_keras_2(node: &[Value], known: &dyn Fn(&str) -> bool) -> Called {
    let is_flat = node.first().is_some_and(Value::is_string);
    let tensors: Vec<&[Value]> = match is_flat {
        true => vec![node],
        false => node.iter().filter_map(Value::as_array).map(Vec::as_slice).collect(),
    };
    let mut read: Vec<Argument> = tensors.iter().map(|tensor| tensor_of(tensor)).collect();
    let first = match (read.len(), is_flat) {
        (1, _) => read.remove(0),
        _ => Argument::List(read),
    };
    let others = tensors.iter().filter_map(|tensor| tensor.get(3)).filter_map(Value::as_object);
    let others = others.into_iter().flatten();
    let kwargs = others.map(|(name, value)| (name.clone(), in_keras_2(value, known))).collect();
    Called { args: vec![first], kwargs }
}

/// `["conv", 0, 0, {}]`, or `["_CONSTANT_VALUE", -1, 2.0, {}]`.
fn tensor_of(tensor: &[Value]) -> Argument {
    match tensor {
        [Value::String(name), _, value, ..] if name == "_CONSTANT_VALUE" => Argument::Value(value.clone()),
        tensor => port_of(tensor).map_or(Argument::Value(Value::Null), Argument::Port),
    }
}

fn in_keras_2(value: &Value, known: &dyn Fn(&str) -> bool) -> Argument {
    match value {
        Value::Array(list) => match list.first() {
            Some(Value::String(name)) if list.len() >= 3 && (known(name) || name == "_CONSTANT_VALUE") => {
                tensor_of(list)
            }
            _ => Argument::List(list.iter().map(|value| in_keras_2(value, known)).collect()),
        },
        value => Argument::Value(value.clone()),
    }
}

fn port(value: &Value) -> Option<Port> {
    port_of(value.as_array()?)
}

fn port_of(list: &[Value]) -> Option<Port> {
    let number = |i: usize| list.get(i).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
    Some(Port { layer: list.first()?.as_str()?.to_string(), call: number(1)?, slot: number(2)? })
}

/// One port, a list of them, or a map from names to them.
fn ports(value: Option<&Value>) -> Vec<Port> {
    match value {
        Some(Value::Array(list)) => match port_of(list) {
            Some(port) => vec![port],
            None => list.iter().flat_map(|value| ports(Some(value))).collect(),
        },
        Some(Value::Object(map)) => map.values().flat_map(|value| ports(Some(value))).collect(),
        _ => Vec::new(),
    }
}

/// A model that is a layer counts its calls from 1 on: call 0 was the one that made it. Here they count from 0.
fn count_calls(described: &mut Description) {
    let mut highest = std::collections::HashMap::<String, usize>::new();
    let read = described.layers.iter().flat_map(|layer| layer.calls.iter().flat_map(Called::ports));
    for port in read.chain(&described.outputs).chain(&described.inputs) {
        let known = highest.entry(port.layer.clone()).or_default();
        *known = (*known).max(port.call);
    }
    let beyond: std::collections::HashMap<String, usize> = described
        .layers
        .iter()
        .filter_map(|layer| {
            let beyond = (highest.get(&layer.name)? + 1).saturating_sub(layer.calls.len().max(1));
            (beyond > 0).then(|| (layer.name.clone(), beyond))
        })
        .collect();
    let renumber = |port: &mut Port| {
        port.call = port.call.saturating_sub(beyond.get(&port.layer).copied().unwrap_or(0));
    };
    for layer in &mut described.layers {
        for called in &mut layer.calls {
            let args = called.args.iter_mut();
            args.chain(called.kwargs.iter_mut().map(|(_, argument)| argument))
                .for_each(|argument| each_port(argument, &renumber));
        }
    }
    described.outputs.iter_mut().chain(&mut described.inputs).for_each(renumber);
}

fn each_port(argument: &mut Argument, change: &dyn Fn(&mut Port)) {
    match argument {
        Argument::Port(port) => change(port),
        Argument::List(list) => list.iter_mut().for_each(|argument| each_port(argument, change)),
        Argument::Value(_) => {}
    }
}

fn text<'v>(value: &'v Value, key: &str) -> Option<&'v str> {
    value.get(key).and_then(Value::as_str)
}
