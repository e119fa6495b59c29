//! Other input sizes: every shape is derived anew.

use std::collections::HashMap;

use ocellus_tensor::Shape;

use super::rebuild::Changes;
use crate::{Graph, GraphError, Op, ValueId};

impl Graph {
    /// The network for batches of `n`: axis 0 of the first input, and of every input that agreed with it there.
    ///
    /// Refused, by the node that fixes the size: a reshape to a fixed batch, say.
    ///
    /// ```
    /// # use ocellus_graph::{Builder, Conv};
    /// let mut b = Builder::new("net");
    /// let x = b.input("x", [1, 3, 8, 8]);
    /// let y = b.conv2d("conv", x, Conv::new(4, 3));
    /// b.output("output", y);
    /// let batched = b.finish()?.with_batch(32)?;
    /// assert_eq!(batched.shape(batched.find_output("output").unwrap()).dims(), [32, 4, 6, 6]);
    /// # Ok::<(), ocellus_graph::GraphError>(())
    /// ```
    pub fn with_batch(&self, n: usize) -> Result<Graph, GraphError> {
        let axis_0 = |value: ValueId| self.shape(value).first().copied();
        let batch = self.inputs().iter().find_map(|&input| axis_0(input));
        let batched =
            self.inputs().iter().copied().filter(|&input| batch.is_some() && axis_0(input) == batch);
        self.with_shapes(batched.map(|input| (input, self.shape(input).with(0, n))).collect())
    }

    /// The network with another shape for the input `name`.
    ///
    /// Refused, by the node that fixes the size: a linear layer after a flattened image, say.
    pub fn with_input(&self, name: &str, shape: impl Into<Shape>) -> Result<Graph, GraphError> {
        let input = self.find_input(name).ok_or_else(|| self.missing("input", name))?;
        self.with_shapes(HashMap::from([(input, shape.into())]))
    }

    /// The network with other shapes for several inputs at once, for those that only fit one another.
    ///
    /// Refused as by [`Graph::with_input`].
    pub fn with_inputs<'n>(
        &self,
        shapes: impl IntoIterator<Item = (&'n str, Shape)>,
    ) -> Result<Graph, GraphError> {
        let shape = |(name, shape): (&str, Shape)| {
            Ok((self.find_input(name).ok_or_else(|| self.missing("input", name))?, shape))
        };
        self.with_shapes(shapes.into_iter().map(shape).collect::<Result<_, GraphError>>()?)
    }

    /// The network that first subtracts a mean image from the input `name`: the frozen parameter `param`, of one item's
    /// shape, which is the caller's to fill.
    ///
    /// ```
    /// # use ocellus_graph::{Builder, Dense};
    /// let mut b = Builder::new("net");
    /// let x = b.input("x", [1, 3]);
    /// let y = b.linear("fc", x, Dense::new(2));
    /// b.output("output", y);
    /// let centred = b.finish()?.with_mean_image("x", "mean_image")?;
    /// let mean = centred.param(centred.find_param("mean_image").unwrap());
    /// assert_eq!((mean.shape.dims(), mean.frozen), (&[3][..], true));
    /// # Ok::<(), ocellus_graph::GraphError>(())
    /// ```
    pub fn with_mean_image(&self, name: &str, param: &str) -> Result<Graph, GraphError> {
        let input = self.find_input(name).ok_or_else(|| self.missing("input", name))?;
        let mut changes = Changes::none(self);
        changes.subtract = HashMap::from([(input, param.to_string())]);
        changes.apply()
    }

    /// The network whose input `name` takes images with their channels second, (N, C, H, W), where it took them last,
    /// (N, H, W, C).
    ///
    /// ```
    /// # use ocellus_graph::Builder;
    /// let mut b = Builder::new("net");
    /// let x = b.input("x", [1, 8, 6, 3]);
    /// let y = b.relu("relu", x);
    /// b.output("y", y);
    /// let turned = b.finish()?.with_channels_second("x")?;
    /// assert_eq!(turned.shape(turned.find_input("x").unwrap()).dims(), [1, 3, 8, 6]);
    /// assert_eq!(turned.shape(turned.find_output("y").unwrap()).dims(), [1, 8, 6, 3]);
    /// # Ok::<(), ocellus_graph::GraphError>(())
    /// ```
    pub fn with_channels_second(&self, name: &str) -> Result<Graph, GraphError> {
        let input = self.find_input(name).ok_or_else(|| self.missing("input", name))?;
        let &[n, h, w, c] = self.shape(input).dims() else {
            let message = format!("the input {name} of shape {} is no image", self.shape(input));
            return Err(GraphError::Name { name: name.into(), message });
        };
        let mut changes = Changes::none(self);
        changes.input_shapes = HashMap::from([(input, Shape::from([n, c, h, w]))]);
        changes.turn = HashMap::from([(input, vec![0, 2, 3, 1])]);
        changes.apply()
    }

    fn with_shapes(&self, input_shapes: HashMap<ValueId, Shape>) -> Result<Graph, GraphError> {
        let mut changes = Changes::none(self);
        changes.input_shapes = input_shapes;
        changes.apply().map_err(|error| match error {
            GraphError::Node { node, message } => match self.find_node(&node).map(|id| &self.node(id).op) {
                Some(Op::Linear(_)) => {
                    let cure = "global average pooling before it would take any size";
                    GraphError::node(node, format!("{message}; this node fixes the input's size: {cure}"))
                }
                Some(_) => GraphError::node(node, format!("{message}; this node fixes the input's size")),
                None => GraphError::Node { node, message },
            },
            error => error,
        })
    }
}
