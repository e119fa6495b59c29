//! A description becomes a graph, layer by layer.
//!
//! Caffe's blobs are names for values: a layer whose top has its bottom's name works in place, which here merely gives
//! the name to the new value, and a blob that several layers read needs no split.

use std::collections::{BTreeMap, HashMap};

use ocellus_graph::ops::{Reduce, ReduceKind, Stepwise};
use ocellus_graph::{Graph, GraphError, Init, Op, ParamSpec, Role, ValueId};
use ocellus_tensor::Shape;

use super::layer::{Layer, Share, read_all};
use super::layers;
use super::message::{Fault, Message};
use super::options::{NetOptions, Phase};
use super::rules::included;

/// Fields of `NetParameter`.
const NET_FIELDS: [&str; 9] =
    ["name", "input", "input_dim", "input_shape", "force_backward", "state", "debug_info", "layer", "layers"];

/// A graph as it grows.
pub(in crate::caffe) struct Net<'o> {
    pub options: &'o NetOptions,
    /// Parameters whose numbers lie in files of their own, with the files' names.
    pub beside: Vec<(String, String)>,
    /// What each loss judges: the layer's name, and its bottoms that are no labels.
    judged: Vec<(String, Vec<ValueId>)>,
    graph: Graph,
    /// The value that each blob's name stands for now.
    blobs: HashMap<String, ValueId>,
    /// Blobs that no layer has read yet, in the order they were made.
    unread: Vec<String>,
    /// The parameter behind each shared name.
    shared: HashMap<String, String>,
    dropouts: u64,
}

/// A network as it is described.
pub(in crate::caffe) struct Built {
    pub graph: Graph,
    /// The value that each of Caffe's blobs holds in the end, where that is not the node of its name: a layer that works
    /// in place leaves its own value in the blob of the layer before it.
    pub blobs: BTreeMap<String, String>,
    /// Parameters whose numbers lie in files of their own, with the files' names.
    pub beside: Vec<(String, String)>,
    /// What each loss judges.
    pub judged: Vec<(String, Vec<String>)>,
}

/// The whole network of `message`.
pub(in crate::caffe) fn build(message: &Message, options: &NetOptions) -> Result<Built, Fault> {
    message.only("the network", &NET_FIELDS)?;
    let options = &options.with_state_of(message)?;
    let name = message.text("name")?.unwrap_or("").to_string();
    let mut net = Net {
        options,
        beside: Vec::new(),
        judged: Vec::new(),
        graph: Graph::new(name),
        blobs: HashMap::new(),
        unread: Vec::new(),
        shared: HashMap::new(),
        dropouts: 0,
    };
    net.add_inputs(message)?;
    let mut taken = Vec::new();
    for mut layer in read_all(message)? {
        if included(&layer.body, options)? {
            if layer.name.is_empty() {
                layer.name = format!("{}.{}", layer.kind, taken.len());
            }
            taken.push(layer);
        }
    }
    if taken.is_empty() {
        let what = format!("it describes no layer for the phase {:?}", options.phase);
        return Err(Fault::new(1, what, "give a network's description, or ask for the other phase"));
    }
    let mut rest = taken.as_slice();
    while let [layer, after @ ..] = rest {
        // A BatchNorm and the Scale that alone reads it are one operation here.
        let scale = after.first().filter(|next| layers::norm::makes_affine(layer, next, &after[1..]));
        net.add_layer(layer, scale)?;
        rest = if scale.is_some() { &after[1..] } else { after };
    }
    Ok(net.finish())
}

impl Net<'_> {
    /// The inputs that stand before the layers: `input` with `input_shape` or four `input_dim` each.
    fn add_inputs(&mut self, message: &Message) -> Result<(), Fault> {
        let dims = message.usizes("input_dim")?;
        let shapes: Vec<&Message> =
            message.all("input_shape").map(|field| field.as_message()).collect::<Result<_, _>>()?;
        for (i, field) in message.all("input").enumerate() {
            let shape = match (shapes.get(i), dims.get(4 * i..4 * i + 4)) {
                (Some(shape), _) => shape.usizes("dim")?,
                (None, Some(dims)) => dims.to_vec(),
                (None, None) => {
                    let what = format!(
                        "the input {} has neither an input_shape nor four input_dim",
                        field.as_text()?
                    );
                    return Err(field.fault(what));
                }
            };
            let name = field.as_text()?.to_string();
            let value = self.graph.add_input(name.clone(), shape).map_err(|e| field.fault(e.to_string()))?;
            self.define(name, value);
        }
        Ok(())
    }

    fn add_layer(&mut self, layer: &Layer, scale: Option<&Layer>) -> Result<(), Fault> {
        let mut inputs: Vec<ValueId> = layer
            .bottoms
            .iter()
            .map(|name| {
                let known = self.blobs.get(name).copied();
                known.ok_or_else(|| layer.fault(format!("its bottom {name} is made by no layer before it")))
            })
            .collect::<Result<_, _>>()?;
        self.unread.retain(|blob| !layer.bottoms.contains(blob));
        if is_loss(layer) {
            let count = if layer.kind == "ContrastiveLoss" { 2 } else { 1 };
            let judged = inputs.iter().take(count).copied();
            let made = judged.filter(|&value| self.graph.producer(value).is_some()).collect();
            self.judged.push((layer.name.clone(), made));
        }
        self.hold(layer, &mut inputs)?;
        let values = match scale {
            Some(scale) => vec![layers::norm::batch_norm(self, layer, &inputs, Some(scale))?],
            None => layers::add(self, layer, &inputs)?,
        };
        let tops = scale.map_or(&layer.tops, |scale| &scale.tops);
        if tops.len() > values.len() {
            let what = format!("has {} tops, {} can be made", tops.len(), values.len());
            return Err(layer.fault(what));
        }
        self.add_losses(layer, &values)?;
        for (top, &value) in tops.iter().zip(&values) {
            if self.blobs.contains_key(top) && !layer.bottoms.contains(top) {
                return Err(layer.fault(format!("its top {top} is made by another layer too")));
            }
            self.define(top.clone(), value);
        }
        Ok(())
    }

    /// `propagate_down: false`: nothing is learned through these bottoms.
    fn hold(&mut self, layer: &Layer, inputs: &mut [ValueId]) -> Result<(), Fault> {
        if self.options.phase == Phase::Test || layer.propagate_down.is_empty() {
            return Ok(());
        }
        if layer.propagate_down.len() != inputs.len() {
            let (given, needed) = (layer.propagate_down.len(), inputs.len());
            return Err(layer.fault(format!("has propagate_down {given} times for {needed} bottoms")));
        }
        for (i, input) in inputs.iter_mut().enumerate() {
            if !layer.propagate_down[i] && self.graph.producer(*input).is_some() {
                *input = self.node(layer, &format!(".held{i}"), Op::Stepwise(Stepwise::Held), &[*input])?;
            }
        }
        Ok(())
    }

    /// `loss_weight`: the layer's tops, summed, join the loss. Layers called losses weigh 1 unless told otherwise.
    fn add_losses(&mut self, layer: &Layer, values: &[ValueId]) -> Result<(), Fault> {
        for (i, &value) in values.iter().enumerate() {
            let usual = if is_loss(layer) && i == 0 { 1.0 } else { 0.0 };
            let weight = layer.loss_weights.get(i).copied().unwrap_or(usual);
            if weight == 0.0 {
                continue;
            }
            let mut value = value;
            if self.shape(value).elements() != 1 {
                let axes = (0..self.shape(value).rank()).collect();
                let sum = Op::Reduce(Reduce { kind: ReduceKind::Sum, axes, keep: false });
                value = self.node(layer, &format!(".loss{i}"), sum, &[value])?;
            }
            let name = layer.tops.get(i).unwrap_or(&layer.name).clone();
            self.graph.add_loss(name, value, weight).map_err(|cause| explain(layer, &cause))?;
        }
        Ok(())
    }

    /// `value` is what the blob `name` stands for from now on.
    fn define(&mut self, name: String, value: ValueId) {
        self.unread.retain(|blob| *blob != name);
        self.unread.push(name.clone());
        self.blobs.insert(name, value);
    }

    /// Blobs that nothing reads are handed out, losses and inputs aside.
    fn finish(mut self) -> Built {
        for name in &self.unread {
            let value = self.blobs[name];
            let is_loss = self.graph.losses().iter().any(|loss| loss.value == value || loss.name == *name);
            if !is_loss && self.graph.producer(value).is_some() {
                self.graph.add_output(name.clone(), value);
            }
        }
        let of = |value: ValueId| self.graph.value(value).name.clone();
        let held = self.blobs.iter().map(|(blob, &value)| (blob.clone(), of(value)));
        let blobs = held.filter(|(blob, value)| blob != value).collect();
        let names = |values: Vec<ValueId>| values.into_iter().map(of).collect();
        let judged = self.judged.into_iter().map(|(layer, values)| (layer, names(values))).collect();
        Built { blobs, beside: self.beside, judged, graph: self.graph }
    }

    pub(in crate::caffe) fn shape(&self, value: ValueId) -> &Shape {
        self.graph.shape(value)
    }

    /// Whether a Softmax makes the value.
    pub(in crate::caffe) fn is_softmax(&self, value: ValueId) -> bool {
        let producer = self.graph.producer(value).map(|id| &self.graph.node(id).op);
        matches!(producer, Some(Op::Softmax(softmax)) if !softmax.log)
    }

    /// A number that tells this network's dropouts apart.
    pub(in crate::caffe) fn next_dropout(&mut self) -> u64 {
        self.dropouts += 1;
        self.dropouts - 1
    }

    /// An input that a layer hands in.
    pub(in crate::caffe) fn input(
        &mut self,
        layer: &Layer,
        name: &str,
        shape: Vec<usize>,
    ) -> Result<ValueId, Fault> {
        self.graph.add_input(name, shape).map_err(|cause| explain(layer, &cause))
    }

    /// A node called after the layer; `suffix` tells the nodes of one layer apart, the last has none.
    pub(in crate::caffe) fn node(
        &mut self,
        layer: &Layer,
        suffix: &str,
        op: Op,
        inputs: &[ValueId],
    ) -> Result<ValueId, Fault> {
        let mut name = format!("{}{suffix}", layer.name);
        // Caffe lets a layer have an input's name, or another layer's.
        for number in 2.. {
            if self.graph.find_value(&name).is_none() {
                break;
            }
            name = format!("{}{suffix}.{number}", layer.name);
        }
        let outputs =
            self.graph.add_node(name, op, inputs.to_vec()).map_err(|cause| explain(layer, &cause))?;
        outputs.first().copied().ok_or_else(|| layer.fault("gives no value"))
    }

    /// Parameter number `index` of a layer, called `LAYER.PART`, or the one of the name that it shares.
    pub(in crate::caffe) fn param(
        &mut self,
        layer: &Layer,
        (index, part): (usize, &str),
        shape: Vec<usize>,
        init: Init,
    ) -> Result<ValueId, Fault> {
        let own = format!("{}.{part}", layer.name);
        let share = layer.shares.get(index).cloned().unwrap_or_default();
        let name = match &share.name {
            Some(shared) => self.shared.entry(shared.clone()).or_insert(own).clone(),
            None => own,
        };
        let known = self.graph.find_param(&name).is_some();
        if known && share.name.is_none() {
            return Err(
                layer.fault_with("another layer of this name has parameters", "rename one of the two")
            );
        }
        let spec = ParamSpec { name: name.clone(), shape: shape.into(), init, role: Role::Weight };
        let value = self.graph.add_param(spec).map_err(|cause| explain(layer, &cause))?;
        if !known {
            self.set_multipliers(&name, &share);
        }
        Ok(value)
    }

    /// A learning rate of 0 freezes, so that no work is done for it.
    fn set_multipliers(&mut self, name: &str, share: &Share) {
        if let Some(id) = self.graph.find_param(name) {
            let param = self.graph.param_mut(id);
            (param.lr_mult, param.decay_mult) = (share.lr_mult, share.decay_mult);
            param.frozen = share.lr_mult == 0.0;
        }
    }

    /// Numbers of a layer that lie in the file `source`, and are never learned.
    pub(in crate::caffe) fn constant(
        &mut self,
        layer: &Layer,
        part: &str,
        shape: Vec<usize>,
        source: &str,
    ) -> Result<ValueId, Fault> {
        let name = format!("{}.{part}", layer.name);
        let share = Share { lr_mult: 0.0, decay_mult: 0.0, ..Share::default() };
        let spec = ParamSpec {
            name: name.clone(),
            shape: shape.into(),
            init: Init::Constant(0.0),
            role: Role::Weight,
        };
        let value = self.graph.add_param(spec).map_err(|cause| explain(layer, &cause))?;
        self.set_multipliers(&name, &share);
        self.beside.push((name, source.to_string()));
        Ok(value)
    }

    /// A parameter is learned even at a rate of 0, so that what it belongs to is as it is in training.
    pub(in crate::caffe) fn thaw(&mut self, value: ValueId) {
        if let Some(id) = self.graph.param_of(value) {
            self.graph.param_mut(id).frozen = false;
        }
    }

    /// A parameter is never changed, whatever its rate.
    pub(in crate::caffe) fn freeze(&mut self, value: ValueId) {
        if let Some(id) = self.graph.param_of(value) {
            self.graph.param_mut(id).frozen = true;
        }
    }

    /// A gathered statistic of a layer.
    pub(in crate::caffe) fn statistic(
        &mut self,
        layer: &Layer,
        part: &str,
        channels: usize,
        init: f32,
    ) -> Result<ValueId, Fault> {
        let name = format!("{}.{part}", layer.name);
        if self.graph.find_param(&name).is_some() {
            return Err(
                layer.fault_with("another layer of this name has parameters", "rename one of the two")
            );
        }
        let spec =
            ParamSpec { name, shape: [channels].into(), init: Init::Constant(init), role: Role::Statistic };
        self.graph.add_param(spec).map_err(|cause| explain(layer, &cause))
    }
}

/// Whether the layer's first top is a loss unless it is told otherwise.
fn is_loss(layer: &Layer) -> bool {
    layer.kind.ends_with("Loss")
}

fn explain(layer: &Layer, cause: &GraphError) -> Fault {
    layer.fault(cause.to_string())
}
