//! Fully connected layers as convolutions and back ("net surgery", Long et al. 2015, section 3.1).
//!
//! A linear layer on a flattened image (N, C H W) is a convolution whose kernel covers the image; one on (N, C) is a
//! 1x1 convolution. The weight's numbers stay in their order, only its shape changes: (O, C H W) and (O, C, H, W).
//!
//! ```text
//! to convolutions:  flatten -> nothing;  linear -> conv2d;  global pooling -> a window of the image's size
//! back:             conv2d whose kernel covers its whole input -> flatten, linear
//! ```

use std::collections::HashMap;

use ocellus_tensor::{Rounding, Shape, Window};

use super::rebuild::{Changes, Replay};
use crate::ops::{AvgPool, Conv2d, Linear, MaxPool, ReduceKind, Reshape};
use crate::{Graph, GraphError, Node, NodeId, Op, ParamId, ValueId};

/// For each old value that another form stands for: the image (C, H, W) that it is of at the size trained for.
type Images = HashMap<ValueId, [usize; 3]>;

impl Graph {
    /// The network with convolutions in the place of linear layers: the same numbers at the size it is made for, and a
    /// map of scores (N, K, H', W') on larger images. Global pooling becomes pooling over windows of that size.
    ///
    /// Parameters keep their names and numbers; the weights of what was linear get the shape (O, C, H, W).
    ///
    /// Refused: a network without linear layers or global pooling, one whose flattened values go through an operation
    /// that has no meaning on maps, and weights that other layers share.
    ///
    /// ```
    /// # use ocellus_graph::{Builder, Dense};
    /// let mut b = Builder::new("net");
    /// let x = b.input("x", [1, 3, 8, 8]);
    /// let x = b.flatten("flatten", x);
    /// let x = b.linear("fc", x, Dense::new(10));
    /// b.output("output", x);
    /// let maps = b.finish()?.to_convolutions()?.with_input("x", [1, 3, 12, 9])?;
    /// assert_eq!(maps.shape(maps.find_output("output").unwrap()).dims(), [1, 10, 5, 2]);
    /// # Ok::<(), ocellus_graph::GraphError>(())
    /// ```
    pub fn to_convolutions(&self) -> Result<Graph, GraphError> {
        let images = self.images_behind_vectors()?;
        let mut changes = Changes::none(self);
        let mut any = false;
        for node in self.nodes() {
            any |= is_global(&node.op);
            if matches!(node.op, Op::Linear(_)) {
                let (id, image) = (self.own_weight(node)?, images[&node.inputs[0]]);
                let [channels, height, width] = image;
                let out = self.param(id).shape[0];
                changes.param_shapes.insert(id, Shape::from([out, channels, height, width]));
                any = true;
            }
        }
        if !any {
            let message =
                "has no linear layer and no global pooling, so it takes any size as it is".to_string();
            return Err(GraphError::Name { name: self.name.clone(), message });
        }
        let replay = changes.apply_with(|replay, id| self.to_convolution(replay, id, &images))?;
        Ok(replay.graph)
    }

    /// The network with linear layers in the place of convolutions whose kernel covers their whole input: what
    /// [`Graph::to_convolutions`] made, and any other.
    ///
    /// Refused: a network without such convolutions, and weights that other layers share.
    pub fn to_linear(&self) -> Result<Graph, GraphError> {
        let mut changes = Changes::none(self);
        let mut flat: Images = HashMap::new();
        for node in self.nodes() {
            if let Some([out, features]) = self.covers_its_input(node) {
                let id = self.own_weight(node)?;
                changes.param_shapes.insert(id, Shape::from([out, features]));
                flat.insert(node.outputs[0], [out, 1, 1]);
            } else if works_on_vectors(&node.op) && node.inputs.first().is_some_and(|x| flat.contains_key(x))
            {
                flat.insert(node.outputs[0], flat[&node.inputs[0]]);
            }
        }
        if changes.param_shapes.is_empty() {
            let message = "has no convolution whose kernel covers its whole input".to_string();
            return Err(GraphError::Name { name: self.name.clone(), message });
        }
        let replay = changes.apply_with(|replay, id| self.to_vectors(replay, id, &flat))?;
        Ok(replay.graph)
    }

    /// Which values will be images (N, C, H, W) in the place of vectors (N, C H W).
    fn images_behind_vectors(&self) -> Result<Images, GraphError> {
        let mut images: Images = HashMap::new();
        for node in self.nodes() {
            let Some((&x, &y)) = node.inputs.first().zip(node.outputs.first()) else { continue };
            let known = images.get(&x).copied();
            let (from, to) = (self.shape(x), self.shape(y));
            let image = match (&node.op, known, from.dims(), to.dims()) {
                (Op::Reshape(_), None, &[n, c, h, w], &[m, _]) if n == m => Some([c, h, w]),
                (Op::Linear(_), Some(_), _, &[_, out]) => Some([out, 1, 1]),
                (Op::Linear(_), None, ..) => {
                    return Err(self.refuse(node, "reads a vector that was no image"));
                }
                (Op::Reduce(reduce), None, &[_, c, _, _], &[_, _])
                    if reduce.kind != ReduceKind::Sum && reduce.axes == [2, 3] =>
                {
                    Some([c, 1, 1])
                }
                (op, Some(image), ..) if keeps_elements(op) => Some(image),
                (Op::Softmax(_) | Op::BatchNorm(_) | Op::Prelu(_), Some(image @ [_, 1, 1]), ..) => {
                    Some(image)
                }
                (_, Some(_), ..) => return Err(self.refuse(node, "has no meaning on a map of vectors")),
                _ => None,
            };
            if let Some(image) = image {
                images.insert(y, image);
            } else if let Some(&other) = node.inputs.iter().find(|value| images.contains_key(value)) {
                let name = &self.value(other).name;
                return Err(self.refuse(node, &format!("reads {name}, which becomes a map")));
            }
        }
        Ok(images)
    }

    fn to_convolution(
        &self,
        replay: &mut Replay,
        id: NodeId,
        images: &Images,
    ) -> Result<Vec<ValueId>, GraphError> {
        let node = self.node(id);
        let x = node.inputs.first().copied();
        let whole = x.and_then(|x| <[usize; 4]>::try_from(self.shape(x).dims()).ok());
        match (&node.op, whole) {
            // The image itself stands for its numbers in a row.
            (Op::Reshape(_), _) if node.outputs.first().is_some_and(|y| images.contains_key(y)) => {
                Ok(vec![replay.now(node.inputs[0])?])
            }
            (Op::Linear(_), _) => {
                let [_, height, width] = images[&node.inputs[0]];
                let window = Window { kernel: [height, width], ..Window::square(1) };
                replay.copy_as(id, Op::Conv2d(Conv2d { window, groups: 1 }))
            }
            (Op::MaxPool(MaxPool { window: None, .. }), Some([_, _, height, width])) => {
                let window = Some(Window { kernel: [height, width], ..Window::square(1) });
                replay.copy_as(id, Op::MaxPool(MaxPool { window, rounding: Rounding::Floor }))
            }
            (Op::AvgPool(AvgPool { window: None, .. }), Some([_, _, height, width])) => {
                let window = Some(Window { kernel: [height, width], ..Window::square(1) });
                let op = AvgPool { window, rounding: Rounding::Floor, count_include_pad: true };
                replay.copy_as(id, Op::AvgPool(op))
            }
            (Op::Reduce(reduce), Some([_, _, height, width])) if is_global(&node.op) => {
                let window = Some(Window { kernel: [height, width], ..Window::square(1) });
                let op = match reduce.kind {
                    ReduceKind::Max => Op::MaxPool(MaxPool { window, rounding: Rounding::Floor }),
                    _ => Op::AvgPool(AvgPool { window, rounding: Rounding::Floor, count_include_pad: true }),
                };
                replay.copy_as(id, op)
            }
            _ => replay.copy(id),
        }
    }

    fn to_vectors(&self, replay: &mut Replay, id: NodeId, flat: &Images) -> Result<Vec<ValueId>, GraphError> {
        let node = self.node(id);
        let is_flat = |value: &ValueId| flat.contains_key(value);
        if self.covers_its_input(node).is_some() {
            let mut inputs = replay.inputs(id)?;
            if !is_flat(&node.inputs[0]) {
                let flatten = Op::Reshape(Reshape { dims: vec![0, -1] });
                let name = format!("{}.flatten", node.name);
                inputs[0] = replay.graph.add_node(name, flatten, vec![inputs[0]])?[0];
            }
            return replay.graph.add_node(&node.name, Op::Linear(Linear), inputs);
        }
        if node.outputs.first().is_some_and(is_flat) {
            return replay.copy(id);
        }
        // Whatever else reads a vector gets the image of one pixel that it was.
        let mut inputs = replay.inputs(id)?;
        for (input, old) in inputs.iter_mut().zip(&node.inputs) {
            if let Some(&[c, ..]) = flat.get(old) {
                let back = Op::Reshape(Reshape { dims: vec![0, c as isize, 1, 1] });
                let name = format!("{}.image.{}", node.name, self.value(*old).name);
                *input = replay.graph.add_node(name, back, vec![*input])?[0];
            }
        }
        replay.graph.add_node(&node.name, node.op.clone(), inputs)
    }

    /// Outputs and inputs (O, C H W) of the linear layer that a convolution is, if it is one.
    fn covers_its_input(&self, node: &Node) -> Option<[usize; 2]> {
        let Op::Conv2d(Conv2d { window, groups: 1 }) = &node.op else { return None };
        let &[_, c, h, w] = self.shape(*node.inputs.first()?).dims() else { return None };
        let &[_, out, 1, 1] = self.shape(*node.outputs.first()?).dims() else { return None };
        let unpadded = window.padding == Default::default();
        (unpadded && window.kernel == [h, w]).then_some([out, c * h * w])
    }

    /// The weight of a layer, which no other node reads.
    fn own_weight(&self, node: &Node) -> Result<ParamId, GraphError> {
        let weight = node.inputs.get(1).copied().filter(|&value| self.param_of(value).is_some());
        let Some(weight) = weight else { return Err(self.refuse(node, "computes its weight")) };
        let uses =
            self.nodes().iter().flat_map(|node| &node.inputs).filter(|&&value| value == weight).count();
        match self.param_of(weight) {
            Some(id) if uses == 1 => Ok(id),
            _ => Err(self.refuse(node, "shares its weight with another layer")),
        }
    }

    fn refuse(&self, node: &Node, message: &str) -> GraphError {
        GraphError::node(&node.name, message.to_string())
    }
}

/// Functions of each element alone, whatever the shape.
fn keeps_elements(op: &Op) -> bool {
    matches!(op, Op::Activation(_) | Op::Dropout(_))
}

/// The same on (N, C) as on (N, C, 1, 1).
fn works_on_vectors(op: &Op) -> bool {
    keeps_elements(op) || matches!(op, Op::Softmax(_) | Op::BatchNorm(_) | Op::Prelu(_))
}

/// Whether the operation looks at the whole image, however large.
fn is_global(op: &Op) -> bool {
    match op {
        Op::MaxPool(pool) => pool.window.is_none(),
        Op::AvgPool(pool) => pool.window.is_none(),
        Op::Reduce(reduce) => reduce.kind != ReduceKind::Sum && reduce.axes == [2, 3],
        _ => false,
    }
}
