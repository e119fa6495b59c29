//! A graph as it grows, and how Keras's tensors lie in it.
//!
//! Keras counts axes (N, H, W, C), graphs (N, C, H, W). Each value carries the sizes that Keras sees and how they lie:
//!
//! ```text
//! Plain    as Keras has them
//! Turned   the last axis behind the batch: what every layer of images wants
//! Flat     flattened, but in the graph's order of the image that it was; a Dense behind it has its weight turned instead
//! ```
//!
//! Layers ask for the order they need, and only where another is there, axes are exchanged while the network runs.

use std::collections::HashMap;

use ocellus_graph::ops::{Concat, Reshape, Transpose};
use ocellus_graph::{Graph, Init, Op, ParamSpec, Role, ValueId};
use ocellus_tensor::{Shape, Tensor, Weights};

use super::fault::Fault;
use super::layer::Layer;

/// Numbers of parameters that only a description tells: it takes no memory, but is no network either beyond this.
const LARGEST_PARAMETER: usize = 1 << 33;

/// A value of the network.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::keras) struct Item {
    pub value: ValueId,
    /// Sizes as Keras sees them, the batch first.
    pub dims: Vec<usize>,
    pub order: Order,
}

/// How a value's axes lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::keras) enum Order {
    Plain,
    Turned,
    /// It was an image of these sizes (H, W, C).
    Flat(Vec<usize>),
}

impl Item {
    /// A value that lies as Keras has it.
    pub fn plain(value: ValueId, dims: Vec<usize>) -> Item {
        Item { value, dims, order: Order::Plain }
    }

    /// A value whose channels stand behind the batch.
    pub fn turned(value: ValueId, dims: Vec<usize>) -> Item {
        let order = if dims.len() > 2 { Order::Turned } else { Order::Plain };
        Item { value, dims, order }
    }

    /// The same tensor after a function of each element.
    pub fn with(&self, value: ValueId) -> Item {
        Item { value, ..self.clone() }
    }

    pub fn rank(&self) -> usize {
        self.dims.len()
    }

    /// Sizes in the graph's order.
    pub fn turned_dims(&self) -> Vec<usize> {
        turned(&self.dims)
    }

    fn is_one_pixel(&self) -> bool {
        self.rank() > 2 && self.dims[1..self.rank() - 1].iter().all(|&size| size == 1)
    }
}

/// (N, H, W, C) as (N, C, H, W).
pub(in crate::keras) fn turned(dims: &[usize]) -> Vec<usize> {
    match dims {
        [batch, rest @ .., last] => [&[*batch, *last], rest].concat(),
        dims => dims.to_vec(),
    }
}

/// A graph under construction.
pub(in crate::keras) struct Net {
    pub graph: Graph,
    pub weights: Weights,
    /// The last number behind each name that was taken.
    numbered: HashMap<String, u64>,
    dropouts: u64,
    /// Whether pixels reach the first layer with weights scaled by the network itself.
    pub scales_pixels: bool,
}

impl Net {
    pub fn new(name: &str) -> Net {
        Net {
            graph: Graph::new(name),
            weights: Weights::new(),
            numbered: HashMap::new(),
            dropouts: 0,
            scales_pixels: false,
        }
    }

    pub fn next_dropout(&mut self) -> u64 {
        self.dropouts += 1;
        self.dropouts - 1
    }

    /// `base`, or with a number behind it if something has that name.
    pub fn free_name(&mut self, base: &str) -> String {
        let taken =
            |name: &str| self.graph.find_value(name).is_some() || self.graph.find_node(name).is_some();
        if !taken(base) {
            return base.to_string();
        }
        let number = self.numbered.entry(base.to_string()).or_insert(1);
        loop {
            *number += 1;
            let name = format!("{base}.{number}");
            if !taken(&name) {
                return name;
            }
        }
    }

    /// A node called after the layer; `suffix` tells the nodes of one layer apart, the last has none.
    pub fn add(&mut self, layer: &Layer, suffix: &str, op: Op, inputs: &[ValueId]) -> Result<ValueId, Fault> {
        let name = self.free_name(&format!("{}{suffix}", layer.label));
        let made = self.graph.add_node(name, op, inputs.to_vec()).map_err(|cause| layer.explain(&cause))?;
        made.first().copied().ok_or_else(|| layer.fault("gives no value"))
    }

    /// A parameter `LAYER.part`, learned.
    pub fn weight(
        &mut self,
        layer: &Layer,
        part: &str,
        dims: &[usize],
        numbers: Option<Tensor>,
    ) -> Result<ValueId, Fault> {
        self.parameter(layer, part, dims, numbers, Role::Weight)
    }

    /// A parameter that is gathered or fixed.
    pub fn statistic(
        &mut self,
        layer: &Layer,
        part: &str,
        dims: &[usize],
        numbers: Option<Tensor>,
    ) -> Result<ValueId, Fault> {
        self.parameter(layer, part, dims, numbers, Role::Statistic)
    }

    /// A parameter of one number throughout that is not learned, whether or not the file holds weights.
    pub fn constant(&mut self, layer: &Layer, part: &str, numbers: Tensor) -> Result<ValueId, Fault> {
        let dims = numbers.shape().to_vec();
        let value = self.parameter(layer, part, &dims, Some(numbers), Role::Statistic)?;
        if let Some(id) = self.graph.param_of(value) {
            self.graph.param_mut(id).frozen = true;
        }
        Ok(value)
    }

    fn parameter(
        &mut self,
        layer: &Layer,
        part: &str,
        dims: &[usize],
        numbers: Option<Tensor>,
        role: Role,
    ) -> Result<ValueId, Fault> {
        let name = format!("{}.{part}", layer.label);
        let count = dims.iter().try_fold(1_usize, |count, &size| count.checked_mul(size));
        if count.is_none_or(|count| count == 0 || count > LARGEST_PARAMETER) {
            return Err(layer.fault(format!("has a parameter of the impossible sizes {dims:?}")));
        }
        let (shape, init) = (Shape::new(dims.to_vec()), Init::Constant(usual(part)));
        let spec = ParamSpec { name: name.clone(), shape: shape.clone(), init, role };
        let init = match part {
            "weight" if dims.len() > 1 => Init::inverse_root_fan_in(),
            _ => spec.init,
        };
        let value =
            self.graph.add_param(ParamSpec { init, ..spec }).map_err(|cause| layer.explain(&cause))?;
        if let Some(numbers) = numbers {
            let numbers = numbers.reshape(shape).map_err(|cause| layer.fault(cause.to_string()))?;
            self.weights.insert(name, numbers);
        }
        Ok(value)
    }

    /// `value` in another shape; the batch stays free if it is the first axis of both.
    pub fn reshape(
        &mut self,
        layer: &Layer,
        suffix: &str,
        value: ValueId,
        dims: &[usize],
    ) -> Result<ValueId, Fault> {
        let from = self.graph.shape(value);
        if **from == *dims {
            return Ok(value);
        }
        let keeps_first = !from.is_empty() && from.first() == dims.first();
        let mut target: Vec<isize> = dims.iter().map(|&size| size as isize).collect();
        if let (true, Some(first)) = (keeps_first, target.first_mut()) {
            *first = 0;
        }
        self.add(layer, suffix, Op::Reshape(Reshape { dims: target }), &[value])
    }

    /// `value` in another shape, whose first axis is whatever remains: images and pixels laid together.
    pub fn fold(
        &mut self,
        layer: &Layer,
        suffix: &str,
        value: ValueId,
        rest: &[usize],
    ) -> Result<ValueId, Fault> {
        let mut dims = vec![-1];
        dims.extend(rest.iter().map(|&size| size as isize));
        self.add(layer, suffix, Op::Reshape(Reshape { dims }), &[value])
    }

    pub fn transpose(
        &mut self,
        layer: &Layer,
        suffix: &str,
        value: ValueId,
        order: Vec<usize>,
    ) -> Result<ValueId, Fault> {
        if order.iter().copied().eq(0..order.len()) {
            return Ok(value);
        }
        self.add(layer, suffix, Op::Transpose(Transpose { order }), &[value])
    }

    /// `item` in Keras's order of axes.
    pub fn plain(&mut self, layer: &Layer, item: &Item) -> Result<ValueId, Fault> {
        match &item.order {
            Order::Plain => Ok(item.value),
            Order::Turned if item.is_one_pixel() => self.reshape(layer, ".pixel", item.value, &item.dims),
            Order::Turned => {
                let order: Vec<usize> =
                    std::iter::once(0).chain(2..item.rank()).chain(std::iter::once(1)).collect();
                self.transpose(layer, ".last", item.value, order)
            }
            Order::Flat(image) => {
                let mut dims = vec![item.dims[0]];
                dims.extend(image);
                let image = Item::turned(item.value, dims);
                let value = self.reshape(layer, ".image", image.value, &image.turned_dims())?;
                let value = self.plain(layer, &image.with(value))?;
                self.reshape(layer, ".flat", value, &item.dims)
            }
        }
    }

    /// `item` with its last axis behind the batch.
    pub fn turned(&mut self, layer: &Layer, item: &Item) -> Result<ValueId, Fault> {
        if item.order == Order::Turned || item.rank() < 3 {
            return self.plain_if_flat(layer, item);
        }
        let dims = item.turned_dims();
        if item.is_one_pixel() {
            return self.reshape(layer, ".pixel", item.value, &dims);
        }
        let last = item.rank() - 1;
        let order: Vec<usize> = [0, last].into_iter().chain(1..last).collect();
        self.transpose(layer, ".first", item.value, order)
    }

    fn plain_if_flat(&mut self, layer: &Layer, item: &Item) -> Result<ValueId, Fault> {
        match item.order {
            Order::Flat(_) => self.plain(layer, item),
            _ => Ok(item.value),
        }
    }

    /// `item` with Keras's axis `axis` behind the batch; what comes of it goes [`Net::back`].
    pub fn axis_first(
        &mut self,
        layer: &Layer,
        item: &Item,
        axis: usize,
    ) -> Result<(ValueId, Vec<usize>), Fault> {
        let last = item.rank() - 1;
        if axis == last {
            return Ok((self.turned(layer, item)?, Vec::new()));
        }
        let value = self.plain(layer, item)?;
        let order: Vec<usize> = [0, axis].into_iter().chain((1..=last).filter(|&i| i != axis)).collect();
        Ok((self.transpose(layer, ".axis", value, order.clone())?, order))
    }

    /// What was made of [`Net::axis_first`] of `item`, of the same sizes.
    pub fn back(
        &mut self,
        layer: &Layer,
        item: &Item,
        value: ValueId,
        order: &[usize],
    ) -> Result<Item, Fault> {
        if order.is_empty() {
            return Ok(Item::turned(value, item.dims.clone()));
        }
        let mut back = vec![0; order.len()];
        order.iter().enumerate().for_each(|(to, &from)| back[from] = to);
        if item.order == Order::Turned {
            // As it came: channels second.
            let channels = back.remove(order.len() - 1);
            back.insert(1, channels);
            let value = self.transpose(layer, ".back", value, back)?;
            return Ok(Item::turned(value, item.dims.clone()));
        }
        let value = self.transpose(layer, ".back", value, back)?;
        Ok(Item::plain(value, item.dims.clone()))
    }

    /// Items laid end to end along an axis of the graph's.
    pub fn concat(&mut self, layer: &Layer, axis: usize, values: &[ValueId]) -> Result<ValueId, Fault> {
        self.add(layer, "", Op::Concat(Concat { axis }), values)
    }
}

/// What a parameter begins with that is no kernel.
fn usual(part: &str) -> f32 {
    match part {
        "weight" | "running_var" => 1.0,
        _ => 0.0,
    }
}

/// `tensor` with its axes in another order: axis i of the result is axis `order[i]`.
pub(in crate::keras) fn permuted(tensor: &Tensor, order: &[usize]) -> Tensor {
    let from = tensor.shape().dims();
    let dims: Vec<usize> = order.iter().map(|&axis| from[axis]).collect();
    let mut strides = vec![1; from.len()];
    for axis in (1..from.len()).rev() {
        strides[axis - 1] = strides[axis] * from[axis];
    }
    let steps: Vec<usize> = order.iter().map(|&axis| strides[axis]).collect();
    let (mut at, mut index) = (0_usize, vec![0; dims.len()]);
    let data = tensor.data();
    Tensor::from_fn(dims.clone(), |_| {
        let number = data[at];
        for axis in (0..dims.len()).rev() {
            index[axis] += 1;
            at += steps[axis];
            if index[axis] < dims[axis] {
                break;
            }
            at -= steps[axis] * dims[axis];
            index[axis] = 0;
        }
        number
    })
}
