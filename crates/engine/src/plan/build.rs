//! From a graph to a plan: group, lower each group, hand out the outputs, place the buffers.

use ocellus_graph::{Graph, GraphError, Op, ValueId};

use super::lowering::Lowering;
use super::{
    Buffer, BufferId, Lifetime, MOST_OPERANDS, ParamPort, Plan, Port, Step, chain, emit, memory, recompute,
};
use crate::passes::{fuse, singles};
use crate::{EngineError, Options};

impl Plan {
    /// Plans `graph` at the shapes it has.
    ///
    /// Errors: the plan needs more than `options.memory_limit`; an operation has more than [`MOST_OPERANDS`] inputs or
    /// outputs (a Concat may have any number).
    pub fn new(graph: &Graph, options: &Options) -> Result<Plan, EngineError> {
        check_operands(graph)?;
        check_least(graph, options)?;
        let mut lowering = Lowering::new(graph, options);
        let groups = match options.reference {
            true => singles(graph),
            false => fuse(graph, &|param| lowering.is_constant(param)),
        };
        for group in &groups {
            emit::group(&mut lowering, group);
        }
        let outputs = output_ports(&mut lowering);
        let plan = finish(lowering, outputs);
        match options.memory_limit {
            Some(limit) if plan.bytes() > limit => {
                Err(EngineError::Memory { graph: plan.graph, needed: plan.floats * 4, limit })
            }
            _ => Ok(plan),
        }
    }
}

/// Refuses what cannot fit before anything is made for it: the tables of a convolution are as long as its weights, and
/// those of a transposed one as its stride, which its result exceeds.
fn check_least(graph: &Graph, options: &Options) -> Result<(), EngineError> {
    let Some(limit) = options.memory_limit else { return Ok(()) };
    let inputs = graph.inputs().iter().map(|&value| graph.shape(value));
    let transposed = graph.nodes().iter().filter(|node| matches!(node.op, Op::ConvTranspose2d(_)));
    let results = transposed.flat_map(|node| &node.outputs).map(|&value| graph.shape(value));
    let largest = results.max_by_key(|shape| shape.iter().fold(1, |n: usize, &size| n.saturating_mul(size)));
    let all = graph.params().iter().map(|param| &param.shape).chain(inputs).chain(largest);
    let numbers = all.map(|shape| shape.iter().fold(1, |n: usize, &size| n.saturating_mul(size)));
    let needed = numbers.fold(0, usize::saturating_add).saturating_mul(size_of::<f32>());
    if needed > limit {
        return Err(EngineError::Memory { graph: graph.name.clone(), needed, limit });
    }
    Ok(())
}

fn check_operands(graph: &Graph) -> Result<(), EngineError> {
    for node in graph.nodes().iter().filter(|n| !matches!(n.op, Op::Concat(_))) {
        let most = node.inputs.len().max(node.outputs.len());
        if most > MOST_OPERANDS {
            let message = format!("has {most} inputs or outputs, at most {MOST_OPERANDS} can run");
            return Err(GraphError::node(&node.name, message).into());
        }
    }
    Ok(())
}

fn output_ports(lowering: &mut Lowering) -> Vec<Port> {
    let graph = lowering.graph;
    let outputs = graph.outputs().iter().map(|o| (&o.name, o.value));
    let losses = graph.losses().iter().map(|l| (&l.name, l.value));
    let mut ports = Vec::new();
    for (name, value) in outputs.chain(losses) {
        let buffer = lowering.plain(value);
        let lifetime = &mut lowering.buffers[buffer.index()].lifetime;
        if *lifetime == Lifetime::Steps {
            *lifetime = Lifetime::ToTheEnd;
        }
        ports.push(port(lowering, name, value, buffer));
    }
    ports
}

fn port(lowering: &Lowering, name: &str, value: ValueId, buffer: BufferId) -> Port {
    Port { name: name.to_owned(), shape: lowering.graph.shape(value).clone(), buffer }
}

fn finish(mut lowering: Lowering, outputs: Vec<Port>) -> Plan {
    let graph = lowering.graph;
    let mut inputs = Vec::new();
    for &value in graph.inputs() {
        let buffer = lowering.plain(value);
        inputs.push(port(&lowering, &graph.value(value).name, value, buffer));
    }
    let mut params = Vec::new();
    for param in graph.params() {
        let buffer = lowering.plain(param.value);
        params.push(ParamPort { port: port(&lowering, &param.name, param.value, buffer), role: param.role });
    }
    let may_spread = lowering.options.threads > 1 && !lowering.is_training();
    let Lowering { options, mut buffers, prepare, mut steps, .. } = lowering;
    if !options.keep_weights {
        let ports = inputs.iter().chain(&outputs).map(|port| port.buffer);
        release(&mut buffers, &steps, ports);
    }
    chain::join(&mut buffers, &mut steps, options.threads);
    let mut floats = memory::place(&mut buffers, &prepare, &mut steps, may_spread);
    if floats * size_of::<f32>() > options.recompute_above {
        recompute::recompute(&mut buffers, &mut steps);
        floats = memory::place(&mut buffers, &prepare, &mut steps, may_spread);
    }
    let (threads, isa) = (options.threads, options.isa);
    let (graph, precision) = (graph.name.clone(), options.precision.clone());
    Plan { graph, threads, isa, precision, prepare, steps, buffers, floats, inputs, outputs, params }
}

/// Lets go of what persists though neither a step of a run nor a port needs it: parameters that were packed.
fn release(buffers: &mut [Buffer], steps: &[Step], ports: impl Iterator<Item = BufferId>) {
    let mut needed = vec![false; buffers.len()];
    for buffer in steps.iter().flat_map(Step::buffers).chain(ports) {
        needed[buffer.index()] = true;
    }
    for (buffer, _) in buffers.iter_mut().zip(needed).filter(|(_, needed)| !needed) {
        if buffer.lifetime == Lifetime::Persistent && buffer.inside.is_none() {
            buffer.lifetime = Lifetime::Preparing;
        }
    }
}
