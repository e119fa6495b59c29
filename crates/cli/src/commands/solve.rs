//! `ocellus train --solver`: as Caffe trains.

use std::path::Path;
use std::time::Instant;

use anyhow::bail;
use ocellus::load::weights_for;
use ocellus::train::TrainError;
use ocellus::train::solver::{SolverJob, SolverWatch, TestResult, solve};
use ocellus::{Graph, Weights};

use crate::args::Common;
use crate::commands::train::TrainArgs;
use crate::{console, words};

/// Trains by the solver's description.
pub fn run(solver: &Path, args: &TrainArgs, common: &Common) -> anyhow::Result<()> {
    let resume = match &args.resume {
        Some(None) => bail!("name the state to go on from: --resume NET_iter_N.solverstate"),
        other => other.clone().flatten(),
    };
    let job = SolverJob {
        solver: solver.to_owned(),
        root: args.root.clone(),
        out: args.out.clone(),
        resume,
        max_iter: args.max_iter,
        seed: common.seed,
    };
    let begin = |graph: &Graph| -> Result<Weights, TrainError> {
        let Some(path) = &args.weights else { return Ok(Weights::new()) };
        let fitted = weights_for(path, graph).map_err(|cause| TrainError::setting(cause.to_string()))?;
        if fitted.weights.is_empty() {
            return Err(TrainError::setting(format!(
                "{}: none of its tensors fits {}",
                path.display(),
                graph.name
            )));
        }
        let (used, all) = (fitted.weights.len(), graph.params().len());
        console::complain(&format!("note: {used} of {all} tensors begin as {} has them", path.display()));
        Ok(fitted.weights)
    };
    let mut display = Display { json: common.json, begun: Instant::now(), from: 0, iterations: 0 };
    let solved = solve(&job, Some(&begin), &common.machine(), &mut display)?;
    if common.json {
        return console::say_json(&solved);
    }
    let loss = solved.loss.map_or("nothing was left to do".into(), |loss| format!("loss {loss:.4}"));
    console::say(&format!("{} iterations, {loss}", solved.iteration));
    let program = words::program();
    if let Some(model) = &solved.model {
        console::say("next:");
        console::say(&format!("  {program} val {} IMAGES", words::quoted(&model.display().to_string())));
    }
    Ok(())
}

/// Lines of progress.
struct Display {
    json: bool,
    begun: Instant,
    from: usize,
    iterations: usize,
}

impl Display {
    fn say(&self, line: &str) {
        if self.json { console::complain(line) } else { console::say(line) }
    }
}

impl SolverWatch for Display {
    fn started(&mut self, name: &str, learned: usize, iterations: usize, done: usize) {
        (self.begun, self.from, self.iterations) = (Instant::now(), done, iterations);
        self.say(&format!("{name}: {learned} learned numbers, {iterations} iterations"));
        if done > 0 {
            self.say(&format!("going on after iteration {done}"));
        }
    }

    fn displayed(&mut self, iteration: usize, loss: f64, rate: f32) {
        let done = iteration.saturating_sub(self.from);
        let left =
            self.begun.elapsed().as_secs_f64() / done.max(1) as f64 * (self.iterations - iteration) as f64;
        let eta = if done == 0 { String::new() } else { format!("  eta {}", words::clock(left)) };
        let rate = if rate != 0.0 && rate < 1e-4 { format!("{rate:.2e}") } else { format!("{rate:.6}") };
        self.say(&format!("iteration {iteration}/{}  loss {loss:.5}  lr {rate}{eta}", self.iterations));
    }

    fn tested(&mut self, iteration: usize, test: &[TestResult]) {
        let count = test.iter().map(|result| result.net + 1).max().unwrap_or(0);
        for net in 0..count {
            let own = test.iter().filter(|result| result.net == net);
            let all: Vec<String> = own.map(|result| format!("{} {:.4}", result.name, result.value)).collect();
            let test = if count > 1 { format!("test {net}") } else { "test".into() };
            self.say(&format!("iteration {iteration}/{}  {test}: {}", self.iterations, all.join("  ")));
        }
    }

    fn saved(&mut self, path: &Path) {
        self.say(&format!("written: {}", path.display()));
    }

    fn note(&mut self, text: &str) {
        console::complain(&format!("note: {text}"));
    }
}
