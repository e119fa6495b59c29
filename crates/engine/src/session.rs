//! A plan with its memory and threads: numbers in, run, numbers out.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use ocellus_graph::{Graph, Role};
use ocellus_tensor::{Parameters, Shape, Tensor, Weights};

use crate::execute::Machine;
use crate::lower::Random;
use crate::plan::{BufferId, Lifetime, ParamPort, Plan, Port};
use crate::{EngineError, Options};

/// A network ready to run on this machine.
///
/// ```
/// use ocellus_engine::{Options, Session};
/// use ocellus_graph::Builder;
///
/// let mut b = Builder::new("twice");
/// let x = b.input("input", [1, 3]);
/// let y = b.add("sum", x, x);
/// b.output("output", y);
/// let graph = b.finish()?;
///
/// let mut session = Session::new(&graph, &Options::default())?;
/// session.set_input("input", &[1.0, 2.0, 3.0])?;
/// session.run();
/// assert_eq!(session.output("output")?, [2.0, 4.0, 6.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Session {
    plan: Plan,
    machine: Machine,
    names: Names,
    /// Parameters were set since the weights were packed.
    stale: bool,
}

/// Positions in the plan's lists by name.
struct Names {
    inputs: HashMap<String, usize>,
    outputs: HashMap<String, usize>,
    params: HashMap<String, usize>,
}

/// How long one step takes.
#[derive(Clone, Debug, PartialEq)]
pub struct StepTime {
    /// The nodes it runs.
    pub name: String,
    /// Its kernel.
    pub kernel: String,
    /// Median seconds of the runs.
    pub seconds: f64,
    /// Multiply-accumulates.
    pub macs: u64,
    /// Bytes it reads and writes at least.
    pub bytes: usize,
}

impl Session {
    /// Plans `graph` and takes the memory it needs. Parameters are zero until they are loaded.
    pub fn new(graph: &Graph, options: &Options) -> Result<Self, EngineError> {
        Ok(Self::from_plan(Plan::new(graph, options)?))
    }

    /// Takes the memory that `plan` needs.
    pub fn from_plan(plan: Plan) -> Self {
        let by_name = |ports: &[Port]| ports.iter().enumerate().map(|(i, p)| (p.name.clone(), i)).collect();
        let names = Names {
            inputs: by_name(&plan.inputs),
            outputs: by_name(&plan.outputs),
            params: plan.params.iter().enumerate().map(|(i, p)| (p.port.name.clone(), i)).collect(),
        };
        Session { machine: Machine::new(&plan), names, stale: true, plan }
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Bytes of everything: parameters, activations, scratch.
    pub fn planned_bytes(&self) -> usize {
        self.plan.bytes()
    }

    /// Sets every weight and statistic of the network from `weights`, which may hold more.
    ///
    /// Errors: one is missing, or has another shape; then nothing is changed. One cannot be read from where it lies: then
    /// load all again before the next run.
    pub fn load(&mut self, weights: &dyn Parameters) -> Result<(), EngineError> {
        for index in 0..self.plan.params.len() {
            let ParamPort { port, role } = &self.plan.params[index];
            match weights.shape(&port.name) {
                Some(shape) => check_shape(&port.name, &port.shape, shape)?,
                None if *role == Role::State => continue,
                None => {
                    return Err(self.missing(
                        "parameter",
                        &self.plan.params[index].port.name,
                        weights.names().into_iter(),
                    ));
                }
            }
        }
        let params = self.plan.params.iter().enumerate();
        let (passing, staying): (Vec<usize>, Vec<usize>) =
            params.map(|(index, _)| index).partition(|&index| self.lifetime(index) == Lifetime::Preparing);
        self.fill(weights, &staying)?;
        self.stale = passing.is_empty();
        if self.stale { Ok(()) } else { self.pack(weights, &passing) }
    }

    fn lifetime(&self, param: usize) -> Lifetime {
        self.plan.buffers[self.plan.params[param].port.buffer.index()].lifetime
    }

    /// Packs all weights, each of the `passing` parameters put in its place just before the first step that reads it.
    fn pack(&mut self, weights: &dyn Parameters, passing: &[usize]) -> Result<(), EngineError> {
        let mut waiting: HashMap<BufferId, usize> =
            passing.iter().map(|&index| (self.plan.params[index].port.buffer, index)).collect();
        for index in 0..self.plan.prepare.len() {
            let needed: Vec<usize> =
                self.plan.prepare[index].buffers().filter_map(|buffer| waiting.remove(&buffer)).collect();
            self.fill(weights, &needed)?;
            self.machine.execute(&self.plan, &self.plan.prepare[index]);
        }
        Ok(())
    }

    /// Copies what `weights` has of some parameters into the arena, all threads together: for a large network it is the
    /// first touch of much memory.
    fn fill(&mut self, weights: &dyn Parameters, params: &[usize]) -> Result<(), EngineError> {
        /// Numbers copied as one task: 1 MiB.
        const PIECE: usize = 1 << 18;
        let ports = params.iter().map(|&index| &self.plan.params[index].port);
        let known = ports.filter(|port| weights.shape(&port.name).is_some());
        let mut places: Vec<(Range<usize>, &str)> =
            known.map(|port| (self.range(port.buffer), port.name.as_str())).collect();
        places.sort_by_key(|(range, _)| range.start);
        let (mut rest, mut at) = (&mut self.machine.arena[..], 0);
        let mut pieces = Vec::new();
        let fault = Mutex::new(None);
        for (range, name) in places {
            let (_, after) = rest.split_at_mut(range.start - at);
            let (here, after) = after.split_at_mut(range.len());
            pieces
                .extend(here.chunks_mut(PIECE).enumerate().map(|(i, to)| Mutex::new((name, i * PIECE, to))));
            (rest, at) = (after, range.end);
        }
        self.machine.pool.run(pieces.len(), &|i| {
            let mut piece = pieces[i].lock().unwrap_or_else(PoisonError::into_inner);
            let (name, start, to) = &mut *piece;
            if let Err(cause) = weights.read(name, *start, to) {
                let error = EngineError::Unreadable { name: name.to_string(), cause };
                *fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            }
        });
        fault.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    /// The weights and statistics: what a saved model holds. Of a plan that does not keep its weights, the few that steps
    /// read as they are.
    pub fn weights(&self) -> Weights {
        self.collect(|role| role != Role::State)
    }

    /// The optimiser's memory.
    pub fn state(&self) -> Weights {
        self.collect(|role| role == Role::State)
    }

    fn collect(&self, wanted: impl Fn(Role) -> bool) -> Weights {
        let kept = |p: &&ParamPort| {
            wanted(p.role) && self.plan.buffers[p.port.buffer.index()].lifetime != Lifetime::Preparing
        };
        let params = self.plan.params.iter().filter(kept);
        params.map(|p| (p.port.name.clone(), self.tensor(&p.port))).collect()
    }

    /// Sets one parameter's numbers, row by row.
    ///
    /// Errors: there is none of this name, it has another number of elements, or the plan does not keep its weights
    /// ([`Options::keep_weights`]).
    pub fn set_param(&mut self, name: &str, values: &[f32]) -> Result<(), EngineError> {
        let range = self.param_range(name)?;
        check_length(name, range.len(), values.len())?;
        self.machine.arena[range].copy_from_slice(values);
        self.stale = true;
        Ok(())
    }

    /// One parameter's numbers.
    pub fn param(&self, name: &str) -> Result<&[f32], EngineError> {
        let range = self.param_range(name)?;
        Ok(&self.machine.arena[range])
    }

    /// Sets an input's numbers, row by row; they stay until set again.
    pub fn set_input(&mut self, name: &str, values: &[f32]) -> Result<(), EngineError> {
        let to = self.input_mut(name)?;
        check_length(name, to.len(), values.len())?;
        to.copy_from_slice(values);
        Ok(())
    }

    /// An input's numbers, to be written in place.
    pub fn input_mut(&mut self, name: &str) -> Result<&mut [f32], EngineError> {
        let range = self.range(self.find(&self.names.inputs, &self.plan.inputs, "input", name)?.buffer);
        Ok(&mut self.machine.arena[range])
    }

    /// What dropout masks are drawn from.
    pub fn set_random(&mut self, seed: u64, step: u64) {
        self.machine.random = Random { seed, step };
    }

    /// Runs the network once. Nothing allocates.
    pub fn run(&mut self) {
        self.prepare();
        for step in &self.plan.steps {
            self.machine.execute(&self.plan, step);
        }
    }

    fn prepare(&mut self) {
        if std::mem::take(&mut self.stale) {
            for step in &self.plan.prepare {
                self.machine.execute(&self.plan, step);
            }
        }
    }

    /// An output's or loss's numbers after the last run.
    pub fn output(&self, name: &str) -> Result<&[f32], EngineError> {
        let port = self.find(&self.names.outputs, &self.plan.outputs, "output", name)?;
        Ok(&self.machine.arena[self.range(port.buffer)])
    }

    /// The same as an owned tensor.
    pub fn output_tensor(&self, name: &str) -> Result<Tensor, EngineError> {
        let port = self.find(&self.names.outputs, &self.plan.outputs, "output", name)?;
        Ok(self.tensor(port))
    }

    /// Runs `runs` times (at least once) and tells how long each step took.
    pub fn profile(&mut self, runs: usize) -> Vec<StepTime> {
        self.prepare();
        let mut seconds = vec![Vec::with_capacity(runs); self.plan.steps.len()];
        for _ in 0..runs.max(1) {
            for (step, seconds) in self.plan.steps.iter().zip(&mut seconds) {
                let start = Instant::now();
                self.machine.execute(&self.plan, step);
                seconds.push(start.elapsed().as_secs_f64());
            }
        }
        let times = self.plan.steps.iter().zip(seconds);
        times.map(|(step, seconds)| self.step_time(step, seconds)).collect()
    }

    fn step_time(&self, step: &crate::plan::Step, mut seconds: Vec<f64>) -> StepTime {
        seconds.sort_by(f64::total_cmp);
        let operands = step.reads.iter().flatten().chain(&step.writes);
        let floats: usize = operands.map(|b| self.plan.buffers[b.index()].len).sum();
        StepTime {
            name: step.name.clone(),
            kernel: step.kernel.name().to_owned(),
            seconds: seconds[seconds.len() / 2],
            macs: step.macs,
            bytes: floats * size_of::<f32>(),
        }
    }

    fn param_range(&self, name: &str) -> Result<Range<usize>, EngineError> {
        if !self.plan.keeps_weights() {
            return Err(EngineError::NotKept { graph: self.plan.graph.clone(), name: name.to_owned() });
        }
        match self.names.params.get(name) {
            Some(&index) => Ok(self.range(self.plan.params[index].port.buffer)),
            None => Err(self.missing("parameter", name, self.names.params.keys().map(String::as_str))),
        }
    }

    fn find<'p>(
        &self,
        names: &HashMap<String, usize>,
        ports: &'p [Port],
        kind: &'static str,
        name: &str,
    ) -> Result<&'p Port, EngineError> {
        let index =
            names.get(name).ok_or_else(|| self.missing(kind, name, names.keys().map(String::as_str)))?;
        Ok(&ports[*index])
    }

    fn missing<'n>(
        &self,
        kind: &'static str,
        name: &str,
        names: impl Iterator<Item = &'n str>,
    ) -> EngineError {
        let mut names: Vec<&str> = names.collect();
        names.sort_unstable();
        let mut available = names.iter().take(8).copied().collect::<Vec<_>>().join(", ");
        if names.len() > 8 {
            available += ", ...";
        }
        EngineError::Missing { graph: self.plan.graph.clone(), kind, name: name.to_owned(), available }
    }

    fn range(&self, buffer: BufferId) -> Range<usize> {
        let buffer = &self.plan.buffers[buffer.index()];
        buffer.offset..buffer.offset + buffer.len
    }

    fn tensor(&self, port: &Port) -> Tensor {
        let data = self.machine.arena[self.range(port.buffer)].to_vec();
        Tensor::new(port.shape.clone(), data).expect("a port's buffer has as many numbers as its shape")
    }
}

fn check_shape(name: &str, expected: &Shape, actual: &Shape) -> Result<(), EngineError> {
    if expected == actual {
        return Ok(());
    }
    Err(EngineError::Shape { name: name.to_owned(), expected: expected.clone(), actual: actual.clone() })
}

fn check_length(name: &str, expected: usize, actual: usize) -> Result<(), EngineError> {
    if expected == actual {
        return Ok(());
    }
    Err(EngineError::Length { name: name.to_owned(), expected, actual })
}
