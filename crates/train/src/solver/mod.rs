//! Training as Caffe's solvers do it: a solver's description, its networks and its data layers.
//!
//! ```text
//! solver.prototxt -> networks of both phases -> data layers opened (feed.rs) -> sizes of items -> graphs
//! each iteration:  test now and then; iter_size batches forward and backward; clip, regularise, update (update.rs)
//! snapshots:       weights as .caffemodel, the solver's memory as .solverstate (snapshot.rs)
//! ```
//!
//! Updates are computed here, on plain numbers, in the very order of Caffe's `SGDSolver::ApplyUpdate`: its rules keep
//! the learning rate inside the momentum, which differs from this program's own optimisers whenever the rate moves.

mod feed;
mod net;
mod paths;
mod random;
mod snapshot;
mod transform;
mod update;

use std::path::PathBuf;

use ocellus_engine::{Options, Session};
use ocellus_formats::caffe::{self, NetSource, Phase, Solver};
use ocellus_graph::{Graph, Request, differentiate, initialise};
use ocellus_tensor::Weights;

pub use net::TestResult;

use crate::TrainError;
use net::Net;
use paths::Places;
use update::Updater;

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SolverJob {
    /// The solver's description.
    pub solver: PathBuf,
    /// A folder in which files are looked for that are not where their names say.
    pub root: Option<PathBuf>,
    /// A folder for snapshots in the place of the prefix's.
    pub out: Option<PathBuf>,
    /// A solver's state to go on from.
    pub resume: Option<PathBuf>,
    /// Iterations in the place of the description's.
    pub max_iter: Option<usize>,
    /// Seed in the place of the description's.
    pub seed: Option<u64>,
}

/// Looks up weights for a network, those that fit.
pub type Initial<'a> = &'a dyn Fn(&Graph) -> Result<Weights, TrainError>;

/// Is told what happens.
pub trait SolverWatch {
    /// Before the first iteration: the network, how many learned numbers it has, iterations in all, and those done.
    fn started(&mut self, name: &str, learned: usize, iterations: usize, done: usize);
    /// Every `display` iterations: the loss, averaged as the solver says, and the rate.
    fn displayed(&mut self, iteration: usize, loss: f64, rate: f32);
    /// After each test of each test network.
    fn tested(&mut self, iteration: usize, test: &[TestResult]);
    /// A file was written.
    fn saved(&mut self, path: &std::path::Path);
    /// Something worth knowing.
    fn note(&mut self, text: &str);
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Solved {
    /// Iterations done in all.
    pub iteration: usize,
    /// Loss of the last iteration, averaged as the solver says; `None` if there was nothing left to do.
    pub loss: Option<f64>,
    /// What the last test gave.
    pub test: Vec<TestResult>,
    /// The last snapshot of weights, and of the solver's memory.
    pub snapshot: Option<[PathBuf; 2]>,
    /// The trained network as this program's own file.
    pub model: Option<PathBuf>,
}

/// Trains as `job` says.
///
/// Errors: a file is missing or damaged, a layer is not supported, data do not fit the network, numbers diverge.
pub fn solve(
    job: &SolverJob,
    initial: Option<Initial>,
    options: &Options,
    watch: &mut dyn SolverWatch,
) -> Result<Solved, TrainError> {
    let mut solver = caffe::read_solver(&job.solver)?;
    solver.max_iter = job.max_iter.unwrap_or(solver.max_iter);
    let seed = job.seed.or(solver.random_seed).unwrap_or(0);
    let places = Places::new(job);
    let text = text_of(&solver.net, job, &places)?;
    let train = Net::open(text, Phase::Train, &solver.train_state, &places, seed)?;
    train.notes().iter().for_each(|note| watch.note(note));
    let tests = test_nets(&solver, job, &places, seed)?;
    let mut weights = initialise(&train.graph, seed);
    for path in &solver.weights {
        weights.extend(caffe::read_weights(places.file(path)?, &train.graph)?);
    }
    if let Some(initial) = initial {
        weights.extend(initial(&train.graph)?);
    }
    let mut run = Run::new(solver, job, train, tests, options)?;
    if let Some(state) = &job.resume {
        run.resume(state, &places, &mut weights)?;
    }
    weights.extend(run.train.constants.clone());
    run.session.load(&weights)?;
    run.go(watch)
}

/// A network's description, and what errors call the file that it stands in.
fn text_of(net: &NetSource, job: &SolverJob, places: &Places) -> Result<(String, String), TrainError> {
    Ok(match net {
        NetSource::Inline(text) => (text.clone(), job.solver.display().to_string()),
        NetSource::File(path) => {
            let path = places.file(path)?;
            (caffe::read_description(&path)?, path.display().to_string())
        }
    })
}

fn test_nets(solver: &Solver, job: &SolverJob, places: &Places, seed: u64) -> Result<Vec<Net>, TrainError> {
    if solver.test_iter.is_empty() || solver.test_interval == 0 {
        return Ok(Vec::new());
    }
    let (nets, states) = (solver.test_nets.len(), solver.test_states.len());
    if states > 0 && states != nets {
        return Err(TrainError::setting(format!(
            "{}: it tests {nets} networks, but has {states} entries of test_state; give one for each or none",
            job.solver.display()
        )));
    }
    if nets != solver.test_iter.len() {
        return Err(TrainError::setting(format!(
            "{}: it tests {nets} networks, but has {} entries of test_iter; give one for each",
            job.solver.display(),
            solver.test_iter.len()
        )));
    }
    let state = |i: usize| solver.test_states.get(i).cloned().unwrap_or_default();
    let open = |(i, net): (usize, &NetSource)| {
        Net::open(text_of(net, job, places)?, Phase::Test, &state(i), places, seed)
    };
    solver.test_nets.iter().enumerate().map(open).collect()
}

/// A training under way.
struct Run {
    /// What a network without a name is called: the solver's file.
    name: String,
    solver: Solver,
    snapshots: snapshot::Snapshots,
    train: Net,
    session: Session,
    tests: Vec<(Net, Session)>,
    updater: Updater,
    iteration: usize,
    /// Losses of the last iterations, as many as the solver averages.
    losses: Vec<f64>,
    solved: Solved,
}

impl Run {
    fn new(
        solver: Solver,
        job: &SolverJob,
        train: Net,
        tests: Vec<Net>,
        options: &Options,
    ) -> Result<Self, TrainError> {
        let found = differentiate(&train.graph.for_training()?, &Request::default())?;
        let mut graph = found.graph;
        let mut gradients = Vec::new();
        for (id, value) in found.params {
            let name = graph.param(id).name.clone();
            graph.add_output(update::gradient_of(&name), value);
            gradients.push(name);
        }
        let session = Session::new(&graph, options)?;
        let with_session = |mut net: Net| -> Result<(Net, Session), TrainError> {
            net.keep_own(&train.graph);
            let session = Session::new(&net.graph, options)?;
            Ok((net, session))
        };
        Ok(Run {
            name: job.solver.display().to_string(),
            snapshots: snapshot::Snapshots::new(&solver, job)?,
            updater: Updater::new(&solver, &train.graph, gradients, &train.constants),
            tests: tests.into_iter().map(with_session).collect::<Result<_, _>>()?,
            solver,
            train,
            session,
            iteration: 0,
            losses: Vec::new(),
            solved: Solved::default(),
        })
    }

    fn resume(
        &mut self,
        state: &std::path::Path,
        places: &Places,
        weights: &mut Weights,
    ) -> Result<(), TrainError> {
        let saved = caffe::read_solver_state(state)?;
        let net = snapshot::weights_of(state, &saved, places)?;
        weights.extend(caffe::read_weights(net, &self.train.graph)?);
        self.iteration = usize::try_from(saved.iteration)
            .map_err(|_| TrainError::setting(format!("{}: its iteration is no count", state.display())))?;
        self.updater.load(saved.history).map_err(|what| {
            TrainError::setting(format!(
                "{}: {what}; give the state that belongs to this solver",
                state.display()
            ))
        })
    }

    fn go(mut self, watch: &mut dyn SolverWatch) -> Result<Solved, TrainError> {
        let learned = self.updater.learned();
        let name = Some(self.train.graph.name.as_str()).filter(|name| !name.is_empty());
        watch.started(name.unwrap_or(&self.name), learned, self.solver.max_iter, self.iteration);
        while self.iteration < self.solver.max_iter {
            let due = self.is_due(self.solver.test_interval);
            if due && (self.iteration > 0 || self.solver.test_initialization) {
                self.test(watch)?;
            }
            self.step(watch)?;
            if self.is_due(self.solver.snapshot) {
                self.snapshot(watch)?;
            }
        }
        if self.solver.snapshot_after_train && !self.is_due(self.solver.snapshot) {
            self.snapshot(watch)?;
        }
        let weights = self.session.weights();
        if self.is_due(self.solver.display) && !self.losses.is_empty() {
            // As Caffe, the loss of one more batch, from which nothing is learned, statistics included.
            let loss = self.forward(self.iteration * self.solver.iter_size)?;
            self.average(loss);
            let rate = self.solver.learning_rate(self.iteration);
            watch.displayed(self.iteration, self.average_loss(), rate);
            self.session.load(&weights)?;
        }
        if self.is_due(self.solver.test_interval) || self.solved.test.is_empty() {
            self.test(watch)?;
        }
        self.solved.model = self.snapshots.model(&self.train, self.iteration, weights)?;
        self.solved.model.iter().for_each(|path| watch.saved(path));
        self.solved.iteration = self.iteration;
        Ok(self.solved)
    }

    fn is_due(&self, interval: usize) -> bool {
        interval > 0 && self.iteration.is_multiple_of(interval)
    }

    /// One iteration: `iter_size` batches and an update.
    fn step(&mut self, watch: &mut dyn SolverWatch) -> Result<(), TrainError> {
        let parts = self.solver.iter_size;
        let mut loss = 0.0;
        for part in 0..parts {
            loss += self.forward(self.iteration * parts + part)? / parts as f64;
            self.updater.gather(&self.session)?;
        }
        let rate = self.solver.learning_rate(self.iteration);
        self.average(loss);
        self.solved.loss = Some(self.average_loss());
        if !loss.is_finite() {
            return Err(TrainError::setting(format!(
                "the loss is {loss} at iteration {} (learning rate {rate}): training has diverged; lower base_lr",
                self.iteration
            )));
        }
        if self.is_due(self.solver.display) {
            watch.displayed(self.iteration, self.average_loss(), rate);
        }
        self.updater.update(&mut self.session, &self.solver, self.iteration)?;
        self.iteration += 1;
        Ok(())
    }

    /// The loss of batch number `batch`, whose gradients the session then has.
    fn forward(&mut self, batch: usize) -> Result<f64, TrainError> {
        self.train.feed(&mut self.session, batch)?;
        self.session.set_random(self.train.seed, batch as u64);
        self.session.run();
        self.train.total_loss(&self.session)
    }

    fn average(&mut self, loss: f64) {
        self.losses.push(loss);
        if self.losses.len() > self.solver.average_loss {
            self.losses.remove(0);
        }
    }

    fn average_loss(&self) -> f64 {
        self.losses.iter().sum::<f64>() / self.losses.len().max(1) as f64
    }

    fn test(&mut self, watch: &mut dyn SolverWatch) -> Result<(), TrainError> {
        if self.tests.is_empty() {
            return Ok(());
        }
        let weights = self.session.weights();
        let mut all = Vec::new();
        for (i, ((net, session), &batches)) in self.tests.iter_mut().zip(&self.solver.test_iter).enumerate() {
            match net.constants.is_empty() {
                true => session.load(&weights)?,
                false => session
                    .load(&weights.clone().into_iter().chain(net.constants.clone()).collect::<Weights>())?,
            }
            let results = net.test(session, batches)?;
            all.extend(results.into_iter().map(|result| TestResult { net: i, ..result }));
        }
        watch.tested(self.iteration, &all);
        self.solved.test = all;
        Ok(())
    }

    fn snapshot(&mut self, watch: &mut dyn SolverWatch) -> Result<(), TrainError> {
        let history = self.updater.history();
        let step = self.solver.steps_behind(self.iteration) as u64;
        let files =
            self.snapshots.write(&self.train, self.iteration, &self.session.weights(), (history, step))?;
        files.iter().for_each(|path| watch.saved(path));
        self.solved.snapshot = Some(files);
        Ok(())
    }
}
