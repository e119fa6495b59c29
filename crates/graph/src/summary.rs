//! What is this network, in a table and a few numbers?

use std::collections::HashSet;
use std::fmt;

use ocellus_tensor::Shape;

use crate::{Graph, Layers, NodeId, ReceptiveField, Role};

/// A network in numbers; printing it gives an aligned table.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// The network's name.
    pub name: String,
    /// One row per node that makes a value.
    pub nodes: Vec<NodeSummary>,
    /// Parameters by kind.
    pub parameters: ParameterCounts,
    /// Multiply-accumulates of one forward run, batch included, auxiliary heads not.
    pub macs: u64,
    /// Multiply-accumulates of the auxiliary heads.
    pub auxiliary_macs: u64,
    /// Bytes of all values that nodes make, in `f32`.
    pub activation_bytes: u64,
    /// What one pixel of the last image sees of the input, before global pooling or flattening; `None` without
    /// images.
    pub receptive_field: Option<ReceptiveField>,
    /// Layers by each convention.
    pub layers: Layers,
}

/// One row of a [`Summary`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSummary {
    /// The node's name.
    pub name: String,
    /// What it does: [`crate::Op::name`].
    pub op: String,
    /// The shape of its first output.
    pub output: Shape,
    /// Learned numbers that it reads and no earlier node does.
    pub parameters: usize,
    /// Multiply-accumulates.
    pub macs: u64,
}

/// How many numbers the parameters hold; shared ones count once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ParameterCounts {
    /// Learned: weights, biases, BatchNorm's gamma and beta.
    pub trainable: usize,
    /// Could be learned, but frozen.
    pub frozen: usize,
    /// Gathered: BatchNorm's running mean and variance.
    pub statistics: usize,
    /// Of the learned ones: how many belong to auxiliary heads, which inference leaves out.
    pub auxiliary: usize,
}

impl Summary {
    /// Summarises a network.
    ///
    /// ```
    /// use ocellus_graph::{Builder, Dense, Summary};
    ///
    /// let mut b = Builder::new("perceptron");
    /// let x = b.input("x", [1, 4]);
    /// let y = b.linear("fc", x, Dense::new(3));
    /// b.output("output", y);
    /// let summary = Summary::of(&b.finish()?);
    /// assert_eq!((summary.parameters.trainable, summary.macs, summary.layers.weighted), (15, 12, 1));
    /// # Ok::<(), ocellus_graph::GraphError>(())
    /// ```
    pub fn of(graph: &Graph) -> Summary {
        let mut summary = Summary {
            name: graph.name.clone(),
            nodes: Vec::new(),
            parameters: parameter_counts(graph),
            macs: 0,
            auxiliary_macs: 0,
            activation_bytes: 0,
            receptive_field: last_field(graph),
            layers: Layers::of(graph),
        };
        let mut seen = HashSet::new();
        let auxiliary = graph.auxiliary_nodes();
        for (index, node) in graph.nodes().iter().enumerate() {
            let Some(&output) = node.outputs.first() else { continue };
            let cost = graph.node_cost(NodeId(index as u32));
            let macs = if auxiliary[index] { &mut summary.auxiliary_macs } else { &mut summary.macs };
            *macs = macs.saturating_add(cost.macs);
            for &output in &node.outputs {
                let bytes = (graph.shape(output).elements() as u64).saturating_mul(size_of::<f32>() as u64);
                summary.activation_bytes = summary.activation_bytes.saturating_add(bytes);
            }
            let new = node.inputs.iter().filter_map(|&input| graph.param_of(input));
            let new = new.filter(|&id| graph.param(id).role == Role::Weight && seen.insert(id));
            summary.nodes.push(NodeSummary {
                name: node.name.clone(),
                op: node.op.name().to_string(),
                output: graph.shape(output).clone(),
                parameters: new.map(|id| graph.param(id).shape.elements()).fold(0, usize::saturating_add),
                macs: cost.macs,
            });
        }
        summary
    }
}

fn parameter_counts(graph: &Graph) -> ParameterCounts {
    let mut counts = ParameterCounts::default();
    let auxiliary = auxiliary_params(graph);
    for (param, auxiliary) in graph.params().iter().zip(auxiliary) {
        let elements = param.shape.elements();
        let count = match param.role {
            Role::Weight if param.frozen => &mut counts.frozen,
            Role::Weight => &mut counts.trainable,
            Role::Statistic => &mut counts.statistics,
            Role::State => continue,
        };
        *count = count.saturating_add(elements);
        if auxiliary && param.role == Role::Weight {
            counts.auxiliary = counts.auxiliary.saturating_add(elements);
        }
    }
    counts
}

/// By parameter: whether auxiliary nodes read it and no others do.
fn auxiliary_params(graph: &Graph) -> Vec<bool> {
    let auxiliary = graph.auxiliary_nodes();
    let readers = graph.readers();
    let only_auxiliary =
        |readers: &[NodeId]| !readers.is_empty() && readers.iter().all(|reader| auxiliary[reader.index()]);
    graph.params().iter().map(|param| only_auxiliary(&readers[param.value.index()])).collect()
}

/// The field of the last node that still has pixels.
fn last_field(graph: &Graph) -> Option<ReceptiveField> {
    let fields = graph.receptive_fields();
    graph.nodes().iter().rev().flat_map(|node| &node.outputs).find_map(|output| fields[output.index()])
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.name)?;
        self.table(f)?;
        writeln!(f)?;
        let ParameterCounts { trainable, frozen, statistics, auxiliary } = self.parameters;
        writeln!(
            f,
            "parameters: {} trainable, {} not (running statistics)",
            grouped(trainable),
            grouped(statistics)
        )?;
        if frozen > 0 {
            writeln!(f, "frozen parameters: {}", grouped(frozen))?;
        }
        writeln!(f, "multiply-accumulates: {}", grouped(self.macs as usize))?;
        if auxiliary > 0 {
            let (without, macs) =
                (grouped(trainable + frozen - auxiliary), grouped(self.auxiliary_macs as usize));
            writeln!(
                f,
                "auxiliary heads, for training alone: {} of the parameters ({without} without them), {macs} further \
                 multiply-accumulates",
                grouped(auxiliary)
            )?;
        }
        writeln!(f, "activations: {}", in_bytes(self.activation_bytes))?;
        if let Some(ReceptiveField { size: [height, width], stride: [down, across] }) = self.receptive_field {
            writeln!(f, "receptive field: {height}x{width} pixels, stride {down}x{across}")?;
        }
        write!(f, "{}", self.layers)
    }
}

impl Summary {
    fn table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const HEADINGS: [&str; 5] = ["name", "operation", "output", "parameters", "MACs"];
        let rows: Vec<[String; 5]> = self
            .nodes
            .iter()
            .map(|node| {
                let numbers = [grouped(node.parameters), grouped(node.macs as usize)];
                let [parameters, macs] = numbers;
                [node.name.clone(), node.op.clone(), node.output.to_string(), parameters, macs]
            })
            .collect();
        let mut widths = HEADINGS.map(str::len);
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let [name, op, output, parameters, macs] = widths;
        let mut line = |cells: [&str; 5]| {
            let [a, b, c, d, e] = cells;
            writeln!(f, "{a:<name$}  {b:<op$}  {c:<output$}  {d:>parameters$}  {e:>macs$}")
        };
        line(HEADINGS)?;
        for row in &rows {
            line(row.each_ref().map(String::as_str))?;
        }
        Ok(())
    }
}

/// A number with commas between thousands.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of bytes in the unit that suits it.
fn in_bytes(bytes: u64) -> String {
    match bytes as f64 / 1024.0 {
        kibibytes if kibibytes < 1024.0 => format!("{kibibytes:.1} KiB"),
        kibibytes => format!("{:.1} MiB", kibibytes / 1024.0),
    }
}
