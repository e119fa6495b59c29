//! `ocellus bench`: how fast is a network here, beside what this machine could do at best?
//!
//! The machine's peak is measured in the same process before and after the network, and the better one counts: a
//! ratio taken in one run holds on a busy machine, a bare time does not.

use std::sync::Arc;
use std::time::Instant;

use anyhow::bail;
use clap::{Args, ValueEnum};
use ocellus::machine::{ThreadPool, memory_read_bandwidth, peak_flops};
use ocellus::train::{LABEL, Optimiser, StepGraphs, StepSetup, ranges_of};
use ocellus::{Calibrator, Graph, Method, Options, Precision, Ranges, Session, StepTime, Weights};
use serde_json::{Value, json};

use crate::args::{Common, PrecisionName};
use crate::network::Network;
use crate::{console, memory, words};

/// Fewest runs that are timed.
const MIN_RUNS: usize = 5;
/// Runs before any is timed.
const WARM_UP: usize = 2;
/// Runs of which the per-layer table shows the medians.
const PROFILE_RUNS: usize = 9;

const EXAMPLE: &str = "\
Examples:
  ocellus bench resnet50 --batch 1
  ocellus bench resnet50 --precision bf16 --per-layer
  ocellus bench resnet20 --batch 128 --mode train --per-layer
  ocellus bench resnet20 --batch 16 --mode train --precision bf16

A training step is forward, backward and an update of SGD with momentum. GFLOP/s count two operations for each
multiply-accumulate of convolutions and linear layers, done directly: an algorithm that needs fewer, as Winograd's, may
show more than the machine's peak. With --per-layer, bytes are those of all that a step reads and writes, each once, and
are compared with what this machine reads from memory, measured beside it: more than 100 % means that they lay in a
cache. real_bytes is how much the process's peak resident size grew while the network was set up and run (Linux only;
else null).";

/// What may be said after `ocellus bench`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct BenchArgs {
    /// Name in the zoo, run folder or model file
    #[arg(value_name = "NET")]
    pub net: String,
    /// Images at once
    #[arg(long, value_name = "B", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub batch: u32,
    /// What is measured
    #[arg(long, value_enum, default_value_t = Mode::Infer)]
    pub mode: Mode,
    /// Show each step's algorithm, time, and share of this machine's peak and memory bandwidth
    #[arg(long)]
    pub per_layer: bool,
    /// What to compute with
    #[arg(long, value_enum, default_value_t = PrecisionName::F32)]
    pub precision: PrecisionName,
    /// How long to measure
    #[arg(long, value_name = "S", default_value_t = 5.0)]
    pub seconds: f64,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// The forward pass with BatchNorm folded.
    Infer,
    /// A whole training step.
    Train,
}

/// What came of it.
struct Measured {
    /// Seconds of each run, ascending.
    seconds: Vec<f64>,
    flops: f64,
    peak_flops: f64,
    /// Bytes per second read from memory; measured only where layers are shown.
    bandwidth: Option<f64>,
    planned_bytes: u64,
    real_bytes: Option<u64>,
    layers: Vec<StepTime>,
}

/// Measures.
pub fn run(args: BenchArgs, common: &Common) -> anyhow::Result<()> {
    if args.mode == Mode::Train && args.precision == PrecisionName::Int8 {
        bail!(
            "training computes in f32 or bf16, not in int8; give --precision bf16, or measure --mode infer"
        );
    }
    let (graph, weights, ranges) = workload(&args, common)?;
    let machine = common.machine().with_precision(precision(&args, &graph, &weights, ranges, common)?);
    let mut measured = measure(&args, &graph, &weights, &machine)?;
    measured.seconds.sort_by(f64::total_cmp);
    if common.json {
        return console::say_json(&to_json(&args, &measured));
    }
    print(&args, &measured, &machine);
    Ok(())
}

/// What is computed with. A network without ranges of its own gets those that bytes of the made-up input need: the time
/// does not depend on them.
fn precision(
    args: &BenchArgs,
    graph: &Graph,
    weights: &Weights,
    ranges: Option<Ranges>,
    common: &Common,
) -> anyhow::Result<Precision> {
    let ranges = match (args.precision, ranges) {
        (PrecisionName::F32, _) => return Ok(Precision::F32),
        (PrecisionName::Bf16, _) => return Ok(Precision::Bf16),
        (PrecisionName::Int8, Some(ranges)) => ranges,
        (PrecisionName::Int8, None) => {
            let mut calibrator = Calibrator::new(graph, &common.machine())?;
            calibrator.load(weights)?;
            fill_inputs(calibrator.session(), graph)?;
            calibrator.note_bounds(args.batch as usize);
            calibrator.ranges(Method::MinMax)
        }
    };
    Ok(Precision::Int8(Arc::new(ranges)))
}

/// The graph that is run, its weights and, if it has any, its ranges.
fn workload(args: &BenchArgs, common: &Common) -> anyhow::Result<(Graph, Weights, Option<Ranges>)> {
    let mut network = Network::find(&args.net, None)?;
    let ranges = ranges_of(network.info(), &args.net)?;
    let weights = network.take_weights(common.seed());
    let batch = args.batch as usize;
    let graph = match args.mode {
        Mode::Infer => network.graph.with_batch(batch)?.for_inference()?,
        Mode::Train => {
            let setup = StepSetup::new(batch, Optimiser::sgd(5e-4));
            StepGraphs::new(&network.graph, &setup)?.gradients
        }
    };
    Ok((graph, weights, ranges))
}

fn measure(
    args: &BenchArgs,
    graph: &Graph,
    weights: &Weights,
    machine: &Options,
) -> anyhow::Result<Measured> {
    let limits_before = Limits::measure(args, machine);
    memory::forget_peak();
    let before = memory::resident();
    let keep_weights = args.mode == Mode::Train;
    let mut session = Session::new(graph, &Options { keep_weights, ..machine.clone() })?;
    session.load(weights)?;
    fill_inputs(&mut session, graph)?;
    let seconds = time(&mut session, args.seconds);
    let real_bytes = memory::peak().zip(before).map(|(peak, before)| peak.saturating_sub(before));
    let layers = if args.per_layer { session.profile(PROFILE_RUNS) } else { Vec::new() };
    let planned_bytes = session.planned_bytes() as u64;
    drop(session);
    let flops = 2.0 * graph.cost().macs as f64;
    let Limits { peak_flops, bandwidth } = limits_before.better(Limits::measure(args, machine));
    Ok(Measured { seconds, flops, peak_flops, bandwidth, planned_bytes, real_bytes, layers })
}

/// What the machine does at best, with as many threads.
struct Limits {
    peak_flops: f64,
    bandwidth: Option<f64>,
}

impl Limits {
    fn measure(args: &BenchArgs, machine: &Options) -> Limits {
        let pool = ThreadPool::new(machine.threads);
        let bandwidth = args.per_layer.then(|| memory_read_bandwidth(&pool, machine.isa));
        Limits { peak_flops: peak_flops(&pool, machine.isa), bandwidth }
    }

    fn better(self, other: Limits) -> Limits {
        let bandwidth = self.bandwidth.zip(other.bandwidth).map(|(a, b)| a.max(b));
        Limits { peak_flops: self.peak_flops.max(other.peak_flops), bandwidth }
    }
}

/// Images between -1 and 1, labels within the classes, and a learning rate of 0, which costs as much as any other.
fn fill_inputs(session: &mut Session, graph: &Graph) -> anyhow::Result<()> {
    let classes = graph
        .nodes()
        .iter()
        .find(|node| node.name == "loss")
        .and_then(|node| graph.shape(node.inputs[0]).get(1).copied())
        .unwrap_or(1);
    for &id in graph.inputs() {
        let name = &graph.value(id).name;
        let is_image = graph.shape(id).rank() >= 2;
        for (i, x) in session.input_mut(name)?.iter_mut().enumerate() {
            *x = match name.as_str() {
                LABEL => (i % classes) as f32,
                _ if is_image => ((i * 2_654_435_761) % 1024) as f32 / 512.0 - 1.0,
                _ => 0.0,
            };
        }
    }
    Ok(())
}

/// Seconds of each run, for about `budget` seconds.
fn time(session: &mut Session, budget: f64) -> Vec<f64> {
    (0..WARM_UP).for_each(|_| session.run());
    let begun = Instant::now();
    let mut seconds = Vec::new();
    while seconds.len() < MIN_RUNS || begun.elapsed().as_secs_f64() < budget {
        let start = Instant::now();
        session.run();
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds
}

impl Measured {
    /// Seconds that a share of the runs needed at most.
    fn quantile(&self, share: f64) -> f64 {
        let last = self.seconds.len() - 1;
        self.seconds[(share * last as f64).round() as usize]
    }

    fn flops_per_second(&self) -> f64 {
        self.flops / self.quantile(0.5)
    }
}

fn to_json(args: &BenchArgs, measured: &Measured) -> Value {
    let median = measured.quantile(0.5);
    let mut report = json!({
        "median_ms": median * 1e3,
        "p10_ms": measured.quantile(0.1) * 1e3,
        "p90_ms": measured.quantile(0.9) * 1e3,
        "images_per_second": f64::from(args.batch) / median,
        "gflops": measured.flops_per_second() / 1e9,
        "peak_gflops": measured.peak_flops / 1e9,
        "fraction_of_peak": measured.flops_per_second() / measured.peak_flops,
        "planned_bytes": measured.planned_bytes,
        "real_bytes": measured.real_bytes,
        "runs": measured.seconds.len(),
    });
    if args.per_layer {
        report["memory_gigabytes_per_second"] = measured.bandwidth.map(|bandwidth| bandwidth / 1e9).into();
        report["layers"] = measured.layers.iter().map(|step| layer_json(step, measured)).collect();
    }
    report
}

/// Operations and bytes per second of a step.
fn rates(step: &StepTime) -> (f64, f64) {
    let seconds = step.seconds.max(1e-12);
    (2.0 * step.macs as f64 / seconds, step.bytes as f64 / seconds)
}

fn layer_json(step: &StepTime, measured: &Measured) -> Value {
    let (flops, bytes) = rates(step);
    json!({
        "name": step.name,
        "kernel": step.kernel,
        "ms": step.seconds * 1e3,
        "gflops": flops / 1e9,
        "fraction_of_peak": flops / measured.peak_flops,
        "bytes": step.bytes,
        "gigabytes_per_second": bytes / 1e9,
        "fraction_of_bandwidth": measured.bandwidth.map(|bandwidth| bytes / bandwidth),
    })
}

fn print(args: &BenchArgs, measured: &Measured, machine: &Options) {
    if args.per_layer {
        print_layers(measured);
    }
    let mode = if args.mode == Mode::Train { "training step" } else { "inference" };
    let [p10, median, p90] = [0.1, 0.5, 0.9].map(|share| measured.quantile(share) * 1e3);
    console::say(&format!(
        "{}, {mode}, batch {}, {} threads, {}, {}: {} runs",
        args.net,
        args.batch,
        machine.threads,
        machine.isa.name(),
        machine.precision.name(),
        measured.seconds.len()
    ));
    console::say(&format!(
        "median {median:.3} ms (p10 {p10:.3}, p90 {p90:.3}), {:.1} images/s",
        f64::from(args.batch) / median * 1e3
    ));
    console::say(&format!(
        "{:.1} GFLOP/s, {} of this machine's {:.1} GFLOP/s",
        measured.flops_per_second() / 1e9,
        words::percent(measured.flops_per_second() / measured.peak_flops),
        measured.peak_flops / 1e9
    ));
    let real = measured.real_bytes.map_or("unknown".into(), words::bytes);
    console::say(&format!("memory: {} planned, {real} real", words::bytes(measured.planned_bytes)));
}

fn print_layers(measured: &Measured) {
    let total: f64 = measured.layers.iter().map(|step| step.seconds).sum();
    let width = |pick: fn(&StepTime) -> &str, head: &str| {
        measured.layers.iter().map(|step| pick(step).chars().count()).max().unwrap_or(0).max(head.len())
    };
    let (names, kernels) = (width(|s| &s.name, "step"), width(|s| &s.kernel, "algorithm"));
    console::say(&format!(
        "{:<names$}  {:<kernels$}  {:>9}  {:>6}  {:>8}  {:>7}  {:>9}  {:>6}  {:>12}",
        "step", "algorithm", "ms", "share", "GFLOP/s", "of peak", "MB", "GB/s", "of bandwidth"
    ));
    for step in &measured.layers {
        let (flops, bytes) = rates(step);
        console::say(&format!(
            "{:<names$}  {:<kernels$}  {:>9.3}  {:>6}  {:>8.1}  {:>7}  {:>9.3}  {:>6.1}  {:>12}",
            step.name,
            step.kernel,
            step.seconds * 1e3,
            words::percent(step.seconds / total),
            flops / 1e9,
            words::percent(flops / measured.peak_flops),
            step.bytes as f64 / 1e6,
            bytes / 1e9,
            measured.bandwidth.map_or(String::new(), |bandwidth| words::percent(bytes / bandwidth))
        ));
    }
    if let Some(bandwidth) = measured.bandwidth {
        console::say(&format!("memory reads at {:.1} GB/s", bandwidth / 1e9));
    }
    console::say("");
}
