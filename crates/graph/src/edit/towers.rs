//! One network applied to several inputs, its parameters shared.

use crate::graph::Entry;
use crate::{Graph, GraphError, Output, ParamSpec};

impl Graph {
    /// The network `count` times side by side: tower 1 reads the inputs as they are called, tower 2 those with a 2 behind
    /// their names, and so on; outputs and losses alike. Nodes are called `tower1.NAME`, `tower2.NAME`, ...; parameters keep
    /// their names and are shared, so the gradient of each is the sum over the towers.
    ///
    /// Source: Bromley et al., "Signature verification using a Siamese time delay neural network" (1993).
    ///
    /// ```
    /// # use ocellus_graph::{Builder, Dense};
    /// let mut b = Builder::new("net");
    /// let x = b.input("x", [1, 4]);
    /// let y = b.linear("fc", x, Dense::new(2));
    /// b.output("y", y);
    /// let pair = b.finish()?.towers(2)?;
    /// assert!(pair.find_input("x2").is_some() && pair.find_output("y2").is_some());
    /// assert_eq!((pair.params().len(), pair.nodes().len()), (2, 2));
    /// # Ok::<(), ocellus_graph::GraphError>(())
    /// ```
    ///
    /// Refused: a name that is taken, such as an input `x2` beside an input `x`.
    pub fn towers(&self, count: usize) -> Result<Graph, GraphError> {
        let mut graph = Graph::new(&self.name);
        for tower in 1..=count {
            self.add_tower(tower, &mut graph)?;
        }
        Ok(graph)
    }

    fn add_tower(&self, tower: usize, graph: &mut Graph) -> Result<(), GraphError> {
        let numbered = |name: &str| if tower == 1 { name.to_string() } else { format!("{name}{tower}") };
        let mut now = vec![None; self.values().len()];
        for entry in self.entries() {
            match entry {
                Entry::Input(id) => {
                    let input = self.value(id);
                    now[id.index()] = Some(graph.add_input(numbered(&input.name), input.shape.clone())?);
                }
                Entry::Param(id) => {
                    let param = self.param(id);
                    let (name, shape) = (param.name.clone(), param.shape.clone());
                    let value =
                        graph.add_param(ParamSpec { name, shape, init: param.init, role: param.role })?;
                    if let Some(id) = graph.param_of(value) {
                        let new = graph.param_mut(id);
                        (new.lr_mult, new.decay_mult, new.frozen) =
                            (param.lr_mult, param.decay_mult, param.frozen);
                    }
                    now[param.value.index()] = Some(value);
                }
                Entry::Node(id) => {
                    let node = self.node(id);
                    // Everything that a node reads stands before it.
                    let inputs = node.inputs.iter().filter_map(|input| now[input.index()]).collect();
                    let made =
                        graph.add_node(format!("tower{tower}.{}", node.name), node.op.clone(), inputs)?;
                    for (output, value) in node.outputs.iter().zip(made) {
                        now[output.index()] = Some(value);
                    }
                }
            }
        }
        for Output { name, value, auxiliary } in self.outputs() {
            let Some(value) = now[value.index()] else { continue };
            match auxiliary {
                Some(weight) => graph.add_auxiliary_output(numbered(name), value, *weight),
                None => graph.add_output(numbered(name), value),
            }
        }
        for loss in self.losses() {
            let Some(value) = now[loss.value.index()] else { continue };
            graph.add_loss(numbered(&loss.name), value, loss.weight)?;
        }
        Ok(())
    }
}
