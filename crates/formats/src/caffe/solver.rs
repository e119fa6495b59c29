//! Solver descriptions: Caffe's `SolverParameter` in text form.
//!
//! Source: the field names and defaults of `caffe.proto`, and the rates of Caffe's `GetLearningRate`.

use super::message::{Fault, Message};

/// How a network is trained.
#[derive(Clone, Debug, PartialEq)]
pub struct Solver {
    /// The network for training.
    pub net: NetSource,
    /// The networks for testing, in the order of `test_iter`.
    pub test_nets: Vec<NetSource>,
    /// Batches per test, one entry for each network tested.
    pub test_iter: Vec<usize>,
    /// Iterations between tests; 0 for none.
    pub test_interval: usize,
    /// Test before the first iteration.
    pub test_initialization: bool,
    /// What updates the parameters.
    pub method: Method,
    /// The learning rate that the policy starts from.
    pub base_lr: f32,
    /// How the learning rate falls.
    pub lr_policy: LrPolicy,
    /// Iterations in all.
    pub max_iter: usize,
    /// Batches whose gradients make one update.
    pub iter_size: usize,
    /// Share of the last update in the next (Adam: of the mean gradient).
    pub momentum: f32,
    /// Adam: share of the mean squared gradient.
    pub momentum2: f32,
    /// RMSProp: share of the mean squared gradient.
    pub rms_decay: f32,
    /// AdaGrad, RMSProp, AdaDelta, Adam: added against division by zero.
    pub delta: f32,
    /// Share of the weight that joins its gradient.
    pub weight_decay: f32,
    /// What decays: the weights (L2) or their signs (L1).
    pub regularization: Regularization,
    /// Largest norm that all gradients together may have.
    pub clip_gradients: Option<f32>,
    /// Iterations between reports; 0 for none.
    pub display: usize,
    /// Iterations whose losses are averaged for a report.
    pub average_loss: usize,
    /// Iterations between snapshots; 0 for none.
    pub snapshot: usize,
    /// What snapshots are written as.
    pub snapshot_format: SnapshotFormat,
    /// What snapshots' names begin with.
    pub snapshot_prefix: String,
    /// Whether there is a snapshot at the end.
    pub snapshot_after_train: bool,
    /// What random choices follow from.
    pub random_seed: Option<u64>,
    /// Weights to begin with: paths of caffemodels, of which later ones win.
    pub weights: Vec<String>,
    /// The level and stages of the network for training.
    pub train_state: NetState,
    /// The same for each network for testing.
    pub test_states: Vec<NetState>,
}

/// Where a network of a solver is described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetSource {
    /// In the file of this path.
    File(String),
    /// In the solver's description itself: this text, behind as many empty lines as it stands below the first.
    Inline(String),
}

/// What a solver writes its snapshots as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SnapshotFormat {
    /// `.caffemodel.h5` and `.solverstate.h5`.
    Hdf5,
    /// `.caffemodel` and `.solverstate`.
    BinaryProto,
}

/// Which layers of a description are taken, beside the phase.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct NetState {
    /// The level that rules compare with.
    pub level: i32,
    /// The stages that rules ask for.
    pub stages: Vec<String>,
}

/// What updates the parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // names of published methods
pub enum Method {
    Sgd,
    Nesterov,
    AdaGrad,
    RmsProp,
    AdaDelta,
    Adam,
}

/// What weight decay draws towards zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Regularization {
    L1,
    L2,
}

/// How the learning rate follows from the iteration i.
#[derive(Clone, Debug, PartialEq)]
pub enum LrPolicy {
    /// base
    Fixed,
    /// base gamma^floor(i / size)
    Step {
        /// Factor at each step.
        gamma: f32,
        /// Iterations between steps.
        size: usize,
    },
    /// base gamma^i
    Exp {
        /// Factor at each iteration.
        gamma: f32,
    },
    /// base (1 + gamma i)^-power
    Inv {
        /// How fast it falls.
        gamma: f32,
        /// Exponent.
        power: f32,
    },
    /// base gamma^(number of steps behind)
    MultiStep {
        /// Factor at each step.
        gamma: f32,
        /// Iterations at which steps are taken, ascending.
        steps: Vec<usize>,
    },
    /// base (1 - i / max_iter)^power
    Poly {
        /// Exponent.
        power: f32,
    },
    /// base / (1 + e^(-gamma (i - center)))
    Sigmoid {
        /// Steepness, negative for a rate that falls.
        gamma: f32,
        /// Where half of base is reached.
        center: usize,
    },
}

const FIELDS: [&str; 42] = [
    "net",
    "train_net",
    "test_net",
    "net_param",
    "train_net_param",
    "test_net_param",
    "test_iter",
    "test_interval",
    "test_initialization",
    "test_compute_loss",
    "type",
    "solver_type",
    "base_lr",
    "lr_policy",
    "gamma",
    "power",
    "stepsize",
    "stepvalue",
    "max_iter",
    "iter_size",
    "momentum",
    "momentum2",
    "rms_decay",
    "delta",
    "weight_decay",
    "regularization_type",
    "clip_gradients",
    "display",
    "average_loss",
    "snapshot",
    "snapshot_prefix",
    "snapshot_diff",
    "snapshot_format",
    "snapshot_after_train",
    "solver_mode",
    "device_id",
    "random_seed",
    "debug_info",
    "layer_wise_reduce",
    "train_state",
    "test_state",
    "weights",
];

const METHODS: [(&str, &str, Method); 6] = [
    ("SGD", "SGD", Method::Sgd),
    ("Nesterov", "NESTEROV", Method::Nesterov),
    ("AdaGrad", "ADAGRAD", Method::AdaGrad),
    ("RMSProp", "RMSPROP", Method::RmsProp),
    ("AdaDelta", "ADADELTA", Method::AdaDelta),
    ("Adam", "ADAM", Method::Adam),
];

impl Solver {
    /// The learning rate at an iteration, counted from 0.
    ///
    /// ```
    /// let text = "net: 'net.prototxt' base_lr: 0.01 lr_policy: 'step' gamma: 0.1 stepsize: 100 max_iter: 1000";
    /// let solver = ocellus_formats::caffe::parse_solver(text, "solver.prototxt")?;
    /// assert!((solver.learning_rate(250) - 0.0001).abs() < 1e-9);
    /// # Ok::<(), ocellus_formats::FormatError>(())
    /// ```
    pub fn learning_rate(&self, iteration: usize) -> f32 {
        let i = iteration as f64;
        let power = |base: f32, exponent: f64| f64::from(base).powf(exponent);
        let share = match &self.lr_policy {
            LrPolicy::Fixed => 1.0,
            LrPolicy::Step { gamma, size } => power(*gamma, (iteration / (*size).max(1)) as f64),
            LrPolicy::Exp { gamma } => power(*gamma, i),
            LrPolicy::Inv { gamma, power } => (1.0 + f64::from(*gamma) * i).powf(-f64::from(*power)),
            LrPolicy::MultiStep { gamma, steps } => {
                power(*gamma, steps.iter().filter(|&&step| step <= iteration).count() as f64)
            }
            LrPolicy::Poly { power } => {
                (1.0 - i / self.max_iter.max(1) as f64).max(0.0).powf(f64::from(*power))
            }
            LrPolicy::Sigmoid { gamma, center } => {
                1.0 / (1.0 + (-f64::from(*gamma) * (i - *center as f64)).exp())
            }
        };
        (f64::from(self.base_lr) * share) as f32
    }

    /// How many steps of the learning rate are behind at an iteration: Caffe's `current_step`.
    pub fn steps_behind(&self, iteration: usize) -> usize {
        match &self.lr_policy {
            LrPolicy::Step { size, .. } => iteration / (*size).max(1),
            LrPolicy::MultiStep { steps, .. } => steps.iter().filter(|&&step| step <= iteration).count(),
            _ => 0,
        }
    }
}

/// The solver of `message`.
pub(super) fn read(message: &Message) -> Result<Solver, Fault> {
    message.only("the solver", &FIELDS)?;
    let (net, test_nets) = nets(message)?;
    let regularization = match message.text("regularization_type")?.unwrap_or("L2") {
        "L2" => Regularization::L2,
        "L1" => Regularization::L1,
        other => return Err(wrong(message, "regularization_type", other, "L1 or L2")),
    };
    let clip = message.f32("clip_gradients", -1.0)?;
    Ok(Solver {
        net,
        test_nets,
        test_iter: message.usizes("test_iter")?,
        test_interval: message.usize("test_interval", 0)?,
        test_initialization: message.bool("test_initialization", true)?,
        method: method(message)?,
        base_lr: message.f32("base_lr", 0.0)?,
        lr_policy: lr_policy(message)?,
        max_iter: message.usize("max_iter", 0)?,
        iter_size: message.usize("iter_size", 1)?.max(1),
        momentum: message.f32("momentum", 0.0)?,
        momentum2: message.f32("momentum2", 0.999)?,
        rms_decay: message.f32("rms_decay", 0.99)?,
        delta: message.f32("delta", 1e-8)?,
        weight_decay: message.f32("weight_decay", 0.0)?,
        regularization,
        clip_gradients: (clip > 0.0).then_some(clip),
        display: message.usize("display", 0)?,
        average_loss: message.usize("average_loss", 1)?.max(1),
        snapshot: message.usize("snapshot", 0)?,
        snapshot_format: match message.get("snapshot_format") {
            None => SnapshotFormat::BinaryProto,
            Some(_) => [SnapshotFormat::Hdf5, SnapshotFormat::BinaryProto]
                [message.choice("snapshot_format", &["HDF5", "BINARYPROTO"])?],
        },
        snapshot_prefix: message.text("snapshot_prefix")?.unwrap_or("").to_string(),
        snapshot_after_train: message.bool("snapshot_after_train", true)?,
        random_seed: u64::try_from(message.i64("random_seed", -1)?).ok(),
        weights: paths(&message.texts("weights")?),
        train_state: message.message("train_state")?.map(state).transpose()?.unwrap_or_default(),
        test_states: message
            .all("test_state")
            .map(|field| state(field.as_message()?))
            .collect::<Result<_, Fault>>()?,
    })
}

/// Paths, of which one text may list several between commas.
fn paths(texts: &[String]) -> Vec<String> {
    let each = texts.iter().flat_map(|text| text.split(',')).map(str::trim);
    each.filter(|path| !path.is_empty()).map(str::to_string).collect()
}

/// The network for training, and those for testing: the ones that are named or written down for it, then the one for
/// both phases, once for each entry of `test_iter` that is left.
fn nets(message: &Message) -> Result<(NetSource, Vec<NetSource>), Fault> {
    let named = |name: &str| -> Result<Vec<NetSource>, Fault> {
        Ok(message.texts(name)?.into_iter().map(NetSource::File).collect())
    };
    let inline = |name: &str| -> Result<Vec<NetSource>, Fault> {
        let below = |body: &Message| "\n".repeat(body.line.saturating_sub(1) as usize) + body.body;
        message.all(name).map(|field| Ok(NetSource::Inline(below(field.as_message()?)))).collect()
    };
    let both: Vec<NetSource> = named("net")?.into_iter().chain(inline("net_param")?).collect();
    let train: Vec<NetSource> = named("train_net")?.into_iter().chain(inline("train_net_param")?).collect();
    let mut tests: Vec<NetSource> = inline("test_net_param")?.into_iter().chain(named("test_net")?).collect();
    let mut all = train.iter().chain(&both);
    let Some(net) = all.next().cloned() else {
        return Err(Fault::new(1, "it names no network", "add net: \"train_val.prototxt\""));
    };
    // Caffe wants one network for training, however it is said; one for each phase beside one for both is harmless.
    if train.len() > 1 || both.len() > 1 {
        let what = "it describes several networks for training";
        return Err(Fault::new(1, what, "leave one of net, net_param, train_net and train_net_param"));
    }
    let left = message.usizes("test_iter")?.len().saturating_sub(tests.len());
    tests.extend(both.first().into_iter().flat_map(|net| std::iter::repeat_n(net.clone(), left)));
    Ok((net, tests))
}

fn state(message: &Message) -> Result<NetState, Fault> {
    message.only("the state", &["phase", "level", "stage"])?;
    Ok(NetState { level: message.i64("level", 0)? as i32, stages: message.texts("stage")? })
}

fn method(message: &Message) -> Result<Method, Fault> {
    let method = named_method(message)?;
    let momentum = message.f32("momentum", 0.0)?;
    if matches!(method, Method::AdaGrad | Method::RmsProp) && momentum != 0.0 {
        let known = "0 or left out for AdaGrad and RMSProp, which have none";
        return Err(wrong(message, "momentum", &momentum.to_string(), known));
    }
    Ok(method)
}

fn named_method(message: &Message) -> Result<Method, Fault> {
    if let (Some(_), Some(old)) = (message.get("type"), message.get("solver_type")) {
        return Err(old.fault("it has both type and solver_type, which say the same thing".into()));
    }
    if let Some(name) = message.text("type")? {
        let known = METHODS.iter().find(|(now, ..)| *now == name).map(|(.., method)| *method);
        return known.ok_or_else(|| {
            wrong(message, "type", name, "SGD, Nesterov, AdaGrad, RMSProp, AdaDelta or Adam")
        });
    }
    let old = METHODS.map(|(_, old, _)| old);
    Ok(METHODS[message.choice("solver_type", &old)?].2)
}

fn lr_policy(message: &Message) -> Result<LrPolicy, Fault> {
    let gamma = message.f32("gamma", 0.0)?;
    let power = message.f32("power", 0.0)?;
    let size = message.usize("stepsize", 0)?;
    match message.text("lr_policy")?.unwrap_or("fixed") {
        "fixed" => Ok(LrPolicy::Fixed),
        "step" if size == 0 => Err(wrong(message, "stepsize", "0", "at least 1 for the policy step")),
        "step" => Ok(LrPolicy::Step { gamma, size }),
        "exp" => Ok(LrPolicy::Exp { gamma }),
        "inv" => Ok(LrPolicy::Inv { gamma, power }),
        "multistep" => Ok(LrPolicy::MultiStep { gamma, steps: message.usizes("stepvalue")? }),
        "poly" => Ok(LrPolicy::Poly { power }),
        "sigmoid" => Ok(LrPolicy::Sigmoid { gamma, center: size }),
        other => Err(wrong(message, "lr_policy", other, "fixed, step, exp, inv, multistep, poly or sigmoid")),
    }
}

fn wrong(message: &Message, name: &str, got: &str, known: &str) -> Fault {
    let line = message.get(name).map_or(1, |field| field.line);
    Fault::new(line, format!("{name} must be {known}, got {got}"), "mend that line")
}
