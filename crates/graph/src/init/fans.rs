//! How many inputs does an output sum over, and how many outputs does an input reach?

use ocellus_tensor::Shape;

use crate::{Graph, Node, Op, ParamId};

/// Fan-in and fan-out of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fans {
    /// Inputs that each output sums over.
    pub fan_in: usize,
    /// Outputs that each input reaches.
    pub fan_out: usize,
}

impl Fans {
    /// The mean of the two.
    pub fn average(&self) -> f64 {
        (self.fan_in as f64 + self.fan_out as f64) / 2.0
    }
}

/// Counts the fans of a parameter by the first node that reads it; strides and borders are left aside, as He et al. do.
///
/// - convolution, weight `(O, C/g, kh, kw)`: `C/g kh kw` in, `O/g kh kw` out (an input reaches only its group);
/// - transposed convolution, weight `(C, O/g, kh, kw)`: `C/g kh kw` in, `O/g kh kw` out;
/// - linear, weight `(O, F)`: F in, O out;
/// - a bias: the fans of the weight beside it;
/// - any other: axis 1 in and axis 0 out, both times the axes after them; the size of a vector for both.
pub fn fans(graph: &Graph, param: ParamId) -> Fans {
    let value = graph.param(param).value;
    let reader = graph.nodes().iter().find(|node| node.inputs.contains(&value));
    let layer =
        reader.and_then(|node| layer_fans(graph, node, node.inputs.iter().position(|&v| v == value)?));
    layer.unwrap_or_else(|| plain_fans(&graph.param(param).shape))
}

/// The fans of a layer's weight, if `position` is that of its weight or bias.
fn layer_fans(graph: &Graph, node: &Node, position: usize) -> Option<Fans> {
    if position == 0 {
        return None;
    }
    let weight = graph.shape(*node.inputs.get(1)?);
    match &node.op {
        Op::Conv2d(conv) => {
            let taps = conv.window.taps();
            Some(Fans { fan_in: weight[1] * taps, fan_out: weight[0] / conv.groups * taps })
        }
        Op::ConvTranspose2d(conv) => {
            let taps = conv.window.taps();
            Some(Fans { fan_in: weight[0] / conv.groups * taps, fan_out: weight[1] * taps })
        }
        Op::Linear(_) => Some(Fans { fan_in: weight[1], fan_out: weight[0] }),
        _ => None,
    }
}

fn plain_fans(shape: &Shape) -> Fans {
    match shape.dims() {
        [] => Fans { fan_in: 1, fan_out: 1 },
        [size] => Fans { fan_in: *size, fan_out: *size },
        [outputs, inputs, rest @ ..] => {
            let area: usize = rest.iter().product();
            Fans { fan_in: inputs * area, fan_out: outputs * area }
        }
    }
}
