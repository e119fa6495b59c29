//! A description becomes a graph, layer by layer.
//!
//! Caffe's blobs are names for values: a layer whose top has its bottom's name works in place, which here merely gives
//! the name to the new value, and a blob that several layers read needs no split.

use std::collections::{BTreeMap, HashMap};

use ocellus_graph::ops::{Reduce, ReduceKind, Reshape, Stepwise};
use ocellus_graph::{Graph, GraphError, Init, Op, ParamSpec, Role, ValueId};
use ocellus_tensor::Shape;

use super::layer::{Layer, Share, read_all};
use super::layers;
use super::message::{Fault, Message};
use super::options::{NetOptions, Phase};
use super::rules::included;
use super::write::out;
use crate::numbers::checked_elements;

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
    /// Blobs of layers that the phase, the stages or the level leave out, with these layers.
    left_out: HashMap<String, String>,
    /// Blobs that no layer has read yet, in the order they were made.
    unread: Vec<String>,
    /// The parameter behind each shared name.
    shared: HashMap<String, String>,
    /// What layers say of each parameter's multipliers.
    multipliers: HashMap<String, Share>,
    /// The layers with the blobs that they store.
    layers: Vec<out::Layer>,
    /// Where each layer is among them, by its line and its name.
    places: HashMap<(u32, String), usize>,
    /// Random operations so far.
    streams: u64,
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
    /// The layers with the blobs that they store.
    pub layers: Vec<out::Layer>,
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
        left_out: HashMap::new(),
        unread: Vec::new(),
        shared: HashMap::new(),
        multipliers: HashMap::new(),
        layers: Vec::new(),
        places: HashMap::new(),
        streams: 0,
    };
    net.add_inputs(message)?;
    let mut taken = Vec::new();
    for mut layer in read_all(message)? {
        if included(&layer.body, options)? {
            if layer.name.is_empty() {
                layer.name = format!("{}.{}", layer.kind, taken.len());
            }
            let stored = out::Layer::new(&layer.name, &layer.kind).bottoms(layer.bottoms.iter().cloned());
            net.places.insert((layer.line, layer.name.clone()), net.layers.len());
            net.layers.push(out::Layer { tops: layer.tops.clone(), ..stored });
            taken.push(layer);
        } else {
            for top in &layer.tops {
                net.left_out.insert(top.clone(), format!("{}, line {}", layer.name, layer.line));
            }
        }
    }
    if taken.is_empty() {
        let what = format!("it describes no layer for the phase {}", phase_word(options.phase));
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
            .map(|name| self.blobs.get(name).copied().ok_or_else(|| self.missing(layer, name)))
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

    /// Why the layer cannot have this bottom.
    fn missing(&self, layer: &Layer, bottom: &str) -> Fault {
        match self.left_out.get(bottom) {
            Some(other) => {
                let phase = phase_word(self.options.phase);
                let what = format!(
                    "its bottom {bottom} is made by a layer ({other}) that does not belong to the phase {phase}, or not \
                     to the stages and the level asked for"
                );
                layer.fault_with(what, "choose stages by --stage and a level by --level")
            }
            None => layer.fault(format!("its bottom {bottom} is made by no layer before it")),
        }
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
        Built { blobs, beside: self.beside, judged, layers: self.layers, graph: self.graph }
    }

    pub(in crate::caffe) fn shape(&self, value: ValueId) -> &Shape {
        self.graph.shape(value)
    }

    pub(in crate::caffe) fn is_input(&self, value: ValueId) -> bool {
        self.graph.producer(value).is_none()
    }

    /// Whether a Softmax makes the value.
    pub(in crate::caffe) fn is_softmax(&self, value: ValueId) -> bool {
        let producer = self.graph.producer(value).map(|id| &self.graph.node(id).op);
        matches!(producer, Some(Op::Softmax(softmax)) if !softmax.log)
    }

    /// A number that tells this network's random operations apart.
    pub(in crate::caffe) fn next_stream(&mut self) -> u64 {
        self.streams += 1;
        self.streams - 1
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
        let outputs = self.nodes(layer, suffix, op, inputs)?;
        outputs.first().copied().ok_or_else(|| layer.fault("gives no value"))
    }

    /// As [`Net::node`], with all of the node's outputs.
    pub(in crate::caffe) fn nodes(
        &mut self,
        layer: &Layer,
        suffix: &str,
        op: Op,
        inputs: &[ValueId],
    ) -> Result<Vec<ValueId>, Fault> {
        let mut name = format!("{}{suffix}", layer.name);
        // Caffe lets a layer have an input's name, or another layer's.
        for number in 2.. {
            if self.graph.find_value(&name).is_none() {
                break;
            }
            name = format!("{}{suffix}.{number}", layer.name);
        }
        self.graph.add_node(name, op, inputs.to_vec()).map_err(|cause| explain(layer, &cause))
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
        self.store(layer, index, out::Blob::Param { name: name.clone(), sizes: shape.clone(), factor: 1.0 });
        self.agree(layer, &name, &share)?;
        if let Some(value) = self.shared_in_another_shape(layer, part, (name.as_str(), &share), &shape)? {
            return Ok(value);
        }
        let spec = ParamSpec { name: name.clone(), shape: shape.into(), init, role: Role::Weight };
        let value = self.graph.add_param(spec).map_err(|cause| explain(layer, &cause))?;
        self.set_multipliers(&name);
        Ok(value)
    }

    /// What is stored of the layer.
    fn stored(&mut self, layer: &Layer) -> Option<&mut out::Layer> {
        let place = *self.places.get(&(layer.line, layer.name.clone()))?;
        self.layers.get_mut(place)
    }

    /// What the layer stores as its blob number `index`.
    fn store(&mut self, layer: &Layer, index: usize, blob: out::Blob) {
        if let Some(own) = self.stored(layer) {
            let empty = || out::Blob::Given { sizes: vec![0], numbers: Vec::new() };
            own.blobs.resize_with(own.blobs.len().max(index + 1), empty);
            own.blobs[index] = blob;
        }
    }

    /// The sizes of the layer's blob number `index` in Caffe, where they are not those of the parameter here.
    pub(in crate::caffe) fn store_as(&mut self, layer: &Layer, index: usize, stored: Vec<usize>) {
        let blob = self.stored(layer).and_then(|own| own.blobs.get_mut(index));
        if let Some(out::Blob::Param { sizes, .. }) = blob
            && sizes.iter().product::<usize>() == stored.iter().product::<usize>()
        {
            *sizes = stored;
        }
    }

    /// The parameter `name`, if there is one of another shape already, in the shape that this layer needs.
    fn shared_in_another_shape(
        &mut self,
        layer: &Layer,
        part: &str,
        (name, share): (&str, &Share),
        shape: &[usize],
    ) -> Result<Option<ValueId>, Fault> {
        let Some(param) = self.graph.find_param(name).map(|id| self.graph.param(id)) else { return Ok(None) };
        let known = &param.shape;
        if **known == *shape {
            return Ok(None);
        }
        let what = format!("shares {name} of shape {known}, but needs {}", Shape::from(shape.to_vec()));
        if checked_elements(shape) != Some(known.elements()) {
            return Err(layer.fault_with(what, "share parameters of as many numbers only"));
        }
        if !share.permissive {
            return Err(
                layer.fault_with(what, "say share_mode: PERMISSIVE for it, or give it one of its own")
            );
        }
        let value = param.value;
        let dims = shape.iter().map(|&size| size as isize).collect();
        self.node(layer, &format!(".{part}"), Op::Reshape(Reshape { dims }), &[value]).map(Some)
    }

    /// Layers that share a parameter may leave its multipliers to one another, but not contradict.
    fn agree(&mut self, layer: &Layer, name: &str, share: &Share) -> Result<(), Fault> {
        let said = self.multipliers.entry(name.to_string()).or_default();
        let both = [
            ("lr_mult", &mut said.lr_mult, share.lr_mult),
            ("decay_mult", &mut said.decay_mult, share.decay_mult),
        ];
        for (what, said, own) in both {
            if let (Some(said), Some(own)) = (*said, own)
                && said != own
            {
                let what = format!("shares {name} with the {what} {own}, another layer with {said}");
                return Err(layer.fault_with(what, "say one of the two"));
            }
            *said = said.or(own);
        }
        Ok(())
    }

    /// A learning rate of 0 freezes, so that no work is done for it.
    fn set_multipliers(&mut self, name: &str) {
        if let (Some(id), Some(said)) = (self.graph.find_param(name), self.multipliers.get(name)) {
            let param = self.graph.param_mut(id);
            param.lr_mult = said.lr_mult.unwrap_or(1.0);
            param.decay_mult = said.decay_mult.unwrap_or(1.0);
            param.frozen = param.lr_mult == 0.0;
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
        let never = Share { lr_mult: Some(0.0), decay_mult: Some(0.0), ..Share::default() };
        let spec = ParamSpec {
            name: name.clone(),
            shape: shape.into(),
            init: Init::Constant(0.0),
            role: Role::Weight,
        };
        let value = self.graph.add_param(spec).map_err(|cause| explain(layer, &cause))?;
        self.multipliers.insert(name.clone(), never);
        self.set_multipliers(&name);
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
        (index, part): (usize, &str),
        channels: usize,
        init: f32,
    ) -> Result<ValueId, Fault> {
        let name = format!("{}.{part}", layer.name);
        let sizes = vec![channels];
        self.store(layer, index, out::Blob::Param { name: name.clone(), sizes, factor: 1.0 });
        // The sums' divisor stands behind them.
        self.store(layer, index + 1, out::Blob::Given { sizes: vec![1], numbers: vec![1.0] });
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

/// A phase as Caffe writes it.
fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Train => "TRAIN",
        Phase::Test => "TEST",
    }
}

/// Whether the layer's first top is a loss unless it is told otherwise.
fn is_loss(layer: &Layer) -> bool {
    layer.kind.ends_with("Loss")
}

fn explain(layer: &Layer, cause: &GraphError) -> Fault {
    layer.fault(cause.to_string())
}
