//! `ocellus train`: images to a run folder.

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::{Args, ValueEnum};
use ocellus::load::{Found, save, weights_for};
use ocellus::train::recipe::{OptimiserKind, ScheduleKind};
use ocellus::train::{
    BUILT_IN, Choices, Handling, Outcome, Rule, RunFolder, Source, TrainError, begin, resume, was_stopped,
};
use ocellus::{initialise, to_text};

use crate::args::Common;
use crate::commands::{lr_find, solve};
use crate::data_args::DataArgs;
use crate::network::{FitName, SourceArgs};
use crate::pair_args::PairArgs;
use crate::practice::{AugmentArgs, BatchSize, FineArgs, PracticeArgs};
use crate::progress::Display;
use crate::{console, memory, signals, words};

/// Where runs go unless told otherwise.
const RUNS: &str = "runs";
/// The digit whose picture a run on the built-in digits leaves behind, to be classified.
const SAMPLE: &str = "7";

/// Share of the free memory that a batch found by itself may take.
const MEMORY_SHARE: f64 = 0.6;
/// Tensors that did not simply match, told one by one.
const TOLD_TENSORS: usize = 12;

const EXAMPLE: &str = "\
Examples:
  ocellus train                                     the built-in digits, in seconds
  ocellus train photos/ --model resnet18 --epochs 20
  ocellus train photos/ --model resnet18 --out runs/photos --resume
  ocellus train photos/ --weights resnet18.pth --model resnet18 --lr 0.01     a head for the photos' classes
  ocellus train photos/ --weights runs/train/best.safetensors --freeze trunk     only a new head learns
  ocellus train photos/ --preset good --time-limit 1h --mixup 0.2 --patience 5
  ocellus train faces/ --model lenet --loss contrastive --disjoint-classes     which pictures show the same?
  ocellus train mnist/ --model lenet --loss joint --embedding 32     the same, and what they are called
  ocellus train --model gate.txt                    a network described in a file (ocellus convert NET gate.txt writes one)
  ocellus train photos/ --model resnet18 --precision bf16     quicker on processors with AVX512-BF16
  ocellus train --lr-find                           which learning rate? (also: ocellus lr find)
  ocellus train --solver lenet_solver.prototxt --root caffe/     as Caffe would, data and networks under caffe/
  ocellus train --solver lenet_solver.prototxt --resume lenet_iter_5000.solverstate

DATA is a folder with train/ and val/ of class folders, a folder of class folders, a .tar or .tar.gz of
either, WebDataset shards (a folder, or train-{000..015}.tar), a .csv of path,label, MNIST (IDX) files, CIFAR
binary files, or Caffe's LMDB. `ocellus data check DATA` looks it over first.";

/// What may be said after `ocellus train`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct TrainArgs {
    /// Images to train on [default: the built-in digits]
    #[arg(value_name = "DATA")]
    pub data: Option<String>,
    /// Network from the zoo, such as resnet20 or resnet50, or a file that describes one [default: by the size of the images]
    #[arg(long, value_name = "NET")]
    pub model: Option<String>,
    /// Times that every image is seen [default: 10; 30 for fewer than 5,000 images]
    #[arg(long, value_name = "N")]
    pub epochs: Option<usize>,
    /// Images in a step; auto: halved until they fit into free memory [default: 128; 64 for muon; 32 for large images; less for few images]
    #[arg(long, value_name = "N|auto")]
    pub batch: Option<BatchSize>,
    /// Compute each batch in K parts, to save memory [default: 1]
    #[arg(long, value_name = "K")]
    pub accumulate: Option<usize>,
    /// Highest learning rate [default: by optimizer, batch and network]
    #[arg(long, value_name = "RATE", allow_negative_numbers = true)]
    pub lr: Option<f64>,
    /// What updates the weights [default: muon for small images with BatchNorm, else sgd]
    #[arg(long, alias = "optimiser", value_enum, value_name = "NAME")]
    pub optimizer: Option<OptimizerName>,
    /// How the learning rate moves [default: one-cycle]
    #[arg(long, value_enum, value_name = "NAME")]
    pub schedule: Option<ScheduleName>,
    /// Weight decay [default: 0.0005 for sgd, 0.01 for adamw, 0.02 for muon]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub weight_decay: Option<f32>,
    /// Momentum of sgd and muon [default: 0.9 and 0.95]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub momentum: Option<f32>,
    /// Share of each target spread evenly over the classes [default: 0.1 for small images with BatchNorm, 0.05 for large ones, else 0]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub label_smoothing: Option<f32>,
    /// Height and width of the network's input, in pixels [default: small images' own, else the network's]
    #[arg(long, value_name = "PIXELS")]
    pub size: Option<u32>,
    /// What becomes of images of another shape than the network's input [default: crop]
    #[arg(long, value_enum, value_name = "HOW")]
    pub fit: Option<FitName>,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub data_args: DataArgs,
    /// Show training images as they are: no shifts, crops or flips
    #[arg(long)]
    pub no_augment: bool,
    /// Share of the images that validate, where the data does not say [default: 0.2]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub val_fraction: Option<f64>,
    /// Run folder to make [default: runs/train, runs/train2, ...]
    #[arg(long, value_name = "RUN")]
    pub out: Option<PathBuf>,
    /// Go on with RUN (or --out, or the latest in runs/), to the same bits as without a stop
    #[arg(long, value_name = "RUN", num_args = 0..=1)]
    pub resume: Option<Option<PathBuf>>,
    /// Train as this Caffe solver says (.prototxt): its networks, data layers, update rule and snapshots
    #[arg(long, value_name = "FILE", conflicts_with_all = ["data", "model", "epochs", "batch"])]
    pub solver: Option<PathBuf>,
    /// With --solver: where to look for files that are not where their names say
    #[arg(long, value_name = "FOLDER", requires = "solver")]
    pub root: Option<PathBuf>,
    /// With --solver: iterations in all, in the place of the solver's
    #[arg(long, value_name = "N", requires = "solver")]
    pub max_iter: Option<usize>,
    /// Begin with these weights where they fit: .safetensors, .caffemodel, .pt, .pth, .h5, .keras, .npz
    #[arg(long, value_name = "FILE")]
    pub weights: Option<PathBuf>,
    /// Steps between checkpoints, besides the one at each epoch's end
    #[arg(long, value_name = "N")]
    pub checkpoint_steps: Option<u64>,
    /// Seconds between checkpoints, besides the one at each epoch's end [default: 60]
    #[arg(long, value_name = "S")]
    pub checkpoint_seconds: Option<f64>,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub practice: PracticeArgs,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub augment: AugmentArgs,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub fine: FineArgs,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub pairs: PairArgs,
}

/// Optimisers by name.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum OptimizerName {
    /// Stochastic gradient descent with Nesterov momentum.
    Sgd,
    /// Adam with decoupled weight decay.
    Adamw,
    /// Muon for the kernels of convolutions, sgd for the rest.
    Muon,
    /// Adam with an L2 penalty.
    Adam,
    /// Steps divided by the root of a running mean of squares.
    Rmsprop,
    /// Steps divided by the root of the sum of squares.
    Adagrad,
    /// RMSProp with steps in units of the weights.
    Adadelta,
    /// Sgd, each layer's step in proportion to its length, for large batches.
    Lars,
    /// Adam, each layer's step in proportion to its length, for large batches.
    Lamb,
}

/// Schedules by name.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum ScheduleName {
    /// Always the same.
    Constant,
    /// A short warm-up, then half a cosine down to 0.
    Cosine,
    /// Up over the first quarter (15 % with muon), then down to 0.
    OneCycle,
    /// A tenth after each third (--milestones, --gamma).
    Step,
    /// A tenth at half and at three quarters (--milestones, --gamma).
    MultiStep,
    /// Down to a hundredth by the same factor in each epoch (--gamma).
    Exponential,
    /// A straight line down to 0, or a power of it (--power).
    Polynomial,
    /// (1 + 0.0001 step)^-0.75, as Caffe's LeNet (--gamma, --power).
    Inverse,
    /// A tenth whenever validation stands still for 3 epochs (--milestones, --gamma).
    Plateau,
}

impl TrainArgs {
    fn choices(&self, common: &Common) -> anyhow::Result<Choices> {
        let batch_bytes = match self.batch {
            Some(BatchSize::Auto) => {
                let Some(free) = memory::available() else {
                    bail!("this machine does not say how much memory is free; give --batch a number");
                };
                Some((free as f64 * MEMORY_SHARE) as u64)
            }
            _ => None,
        };
        let choices = Choices {
            data: self.data.clone(),
            model: self.model.clone(),
            epochs: self.epochs,
            batch: match self.batch {
                Some(BatchSize::Of(batch)) => Some(batch),
                _ => None,
            },
            batch_bytes,
            accumulate: self.accumulate,
            lr: self.lr,
            optimiser: self.optimizer.map(|name| match name {
                OptimizerName::Sgd => OptimiserKind::Sgd,
                OptimizerName::Adamw => OptimiserKind::AdamW,
                OptimizerName::Muon => OptimiserKind::Muon,
                OptimizerName::Adam => OptimiserKind::Adaptive(Rule::Adam),
                OptimizerName::Rmsprop => OptimiserKind::Adaptive(Rule::RmsProp),
                OptimizerName::Adagrad => OptimiserKind::Adaptive(Rule::AdaGrad),
                OptimizerName::Adadelta => OptimiserKind::Adaptive(Rule::AdaDelta),
                OptimizerName::Lars => OptimiserKind::Adaptive(Rule::Lars),
                OptimizerName::Lamb => OptimiserKind::Adaptive(Rule::Lamb),
            }),
            weight_decay: self.weight_decay,
            momentum: self.momentum,
            schedule: self.schedule.map(|name| match name {
                ScheduleName::Constant => ScheduleKind::Constant,
                ScheduleName::Cosine => ScheduleKind::Cosine,
                ScheduleName::OneCycle => ScheduleKind::OneCycle,
                ScheduleName::Step => ScheduleKind::Step,
                ScheduleName::MultiStep => ScheduleKind::MultiStep,
                ScheduleName::Exponential => ScheduleKind::Exponential,
                ScheduleName::Polynomial => ScheduleKind::Polynomial,
                ScheduleName::Inverse => ScheduleKind::Inverse,
                ScheduleName::Plateau => ScheduleKind::Plateau,
            }),
            label_smoothing: self.label_smoothing,
            size: self.size,
            no_augment: self.no_augment,
            seed: common.seed,
            val_fraction: self.val_fraction,
            checkpoint_seconds: self.checkpoint_seconds,
            checkpoint_steps: self.checkpoint_steps,
            fit: self.fit.map(FitName::fit),
            handling: self.data_args.handling(),
            pairs: self.pairs.choices(),
            ..Choices::default()
        };
        Ok(self.practice.add_to(choices, &self.fine, &self.augment))
    }

    /// The run that was asked to stop, if this is the same command again.
    fn stopped(&self, choices: &Choices) -> Option<RunFolder> {
        let run = match &self.out {
            Some(path) => RunFolder::at(path),
            None => RunFolder::latest(Path::new(RUNS))?,
        };
        let goes_on = was_stopped(&run, &with_own_model(choices, &run));
        if goes_on {
            console::complain(&format!("note: going on with {}, which was stopped", run.path().display()));
        }
        goes_on.then_some(run)
    }

    /// The run to go on with, if the user wants that and it was started.
    fn resumed(&self, choices: &Choices) -> anyhow::Result<Option<RunFolder>> {
        let Some(named) = &self.resume else { return Ok(self.stopped(choices)) };
        if let (Some(named), Some(out)) = (named, &self.out)
            && named != out
        {
            bail!("--resume {} and --out {} name two runs; give one", named.display(), out.display());
        }
        let run = match named.as_ref().or(self.out.as_ref()) {
            Some(path) => RunFolder::at(path),
            None => match RunFolder::latest(Path::new(RUNS)) {
                Some(run) => run,
                None => bail!("there is no run in {RUNS}/ to go on with; name its folder: --resume RUN"),
            },
        };
        if run.exists() {
            return Ok(Some(run));
        }
        if self.out.is_none() && self.data.is_none() && self.model.is_none() {
            bail!(
                "{} holds no run to go on with; check the path, or start one without --resume",
                run.path().display()
            );
        }
        Ok(None)
    }

    /// The network to begin with, and the weights of `file` as far as they fit it.
    fn start(&self, file: &Path, common: &Common) -> anyhow::Result<Found> {
        let Some(net) = &self.model else {
            return SourceArgs::default().find(&file.display().to_string(), None);
        };
        let source = SourceArgs { weights: Some(file.to_owned()), ..SourceArgs::default() };
        let whole = source.find(net, None);
        if whole.is_ok() {
            return whole;
        }
        // A backbone alone, or a head for other classes, is a beginning too.
        let mut found = SourceArgs::default().find(net, None)?;
        let fitted = weights_for(file, &found.graph)?;
        if fitted.weights.is_empty() {
            return whole;
        }
        let (used, all) = (fitted.weights.len(), found.graph.params().len());
        console::complain(&format!("note: {used} of {all} tensors begin as {} has them", file.display()));
        let report = fitted.report.to_string();
        let other =
            report.lines().filter(|line| !line.starts_with("matched") && !line.starts_with("ignored"));
        other.take(TOLD_TENSORS).for_each(|line| console::complain(&format!("note: {line}")));
        let mut weights = initialise(&found.graph, common.seed());
        weights.extend(fitted.weights);
        found.weights = Some(weights);
        Ok(found)
    }

    /// The network of a file that `--model` names, with weights if it holds any.
    fn described(&self) -> anyhow::Result<Option<Found>> {
        match &self.model {
            Some(file) if Path::new(file).is_file() => SourceArgs::default().find(file, None).map(Some),
            _ => Ok(None),
        }
    }

    /// The folder for a new run.
    fn new_folder(&self) -> anyhow::Result<RunFolder> {
        let named = self.out.clone().or_else(|| self.resume.clone().flatten());
        Ok(match named {
            Some(path) => RunFolder::create(path)?,
            None => RunFolder::next_free(Path::new(RUNS))?,
        })
    }
}

/// Writes what the run begins with into its folder, so that it can go on whatever becomes of the file; gives its path.
fn keep(found: Found, run: &RunFolder) -> anyhow::Result<String> {
    let path = match found.weights {
        Some(_) => {
            save(&found, &run.begun_with())?;
            run.begun_with()
        }
        None => {
            run.write(&run.described(), &to_text(&found.graph)?)?;
            run.described()
        }
    };
    Ok(path.display().to_string())
}

/// `choices` with the model or network that the run keeps in its folder, in the place of the file it came from.
fn with_own_model(choices: &Choices, run: &RunFolder) -> Choices {
    let own = run.origin().map(|path| path.display().to_string());
    Choices { model: own.or(choices.model.clone()), ..choices.clone() }
}

/// Trains.
pub fn run(args: TrainArgs, common: &Common) -> anyhow::Result<()> {
    if let Some(solver) = &args.solver {
        return solve::run(solver, &args, common);
    }
    let mut choices = args.choices(common)?;
    if let Some(steps) = args.practice.lr_find {
        return lr_find::run(&choices, steps, common);
    }
    let machine = common.machine();
    let mut display = Display::new(common.json);
    signals::listen();
    let outcome = match args.resumed(&choices)? {
        Some(run) => {
            if run.origin().is_some() {
                choices.model = None; // the run knows what it began with
            }
            resume(&run, &choices, &machine, &mut display)
        }
        None => {
            let found = match &args.weights {
                Some(weights) => Some(args.start(weights, common)?),
                None => args.described()?,
            };
            let run = args.new_folder()?;
            if let Some(found) = found {
                choices.model = Some(keep(found, &run)?);
            }
            begin(&choices, &run, &machine, &mut display)
        }
    };
    display.end();
    if let Err(stopped @ TrainError::Stopped { .. }) = &outcome {
        console::complain(&stopped.to_string());
        std::process::exit(signals::INTERRUPTED);
    }
    let outcome = outcome?;
    if common.json {
        return console::say_json(&serde_json::json!({
            "run": outcome.run,
            "best": outcome.best,
            "best_by_views": outcome.by_views,
            "last": outcome.last,
            "images_per_second": outcome.images_per_second,
        }));
    }
    let best = &outcome.best;
    let right = match best.pairs {
        Some(pairs) => format!(
            "{} of pairs right, equal error rate {:.2}%",
            words::percent(best.top1),
            100.0 * pairs.eer
        ),
        None => format!("top1 {}", words::percent(best.top1)),
    };
    let by_views = outcome.by_views.map_or_else(String::new, |by| {
        format!(" ({} by the mean of {} views)", words::percent(by.top1), by.views)
    });
    console::say(&format!(
        "best: epoch {}, {right}{by_views}, loss {:.3}: {}",
        best.epoch,
        best.loss,
        RunFolder::at(&outcome.run).best().display()
    ));
    tell_next(&outcome)
}

/// What to type next.
fn tell_next(outcome: &Outcome) -> anyhow::Result<()> {
    let config = ocellus::train::TrainConfig::of_run(&RunFolder::at(&outcome.run))?;
    let (program, run) = (words::program(), words::quoted(&outcome.run.display().to_string()));
    let is_built_in = config.data == BUILT_IN;
    let picture = match is_built_in {
        true => sample_picture(&outcome.run, config.seed)?.display().to_string(),
        false => "PICTURE.jpg".into(),
    };
    let data = if is_built_in { "digits".into() } else { words::quoted(&config.data) };
    let names_classes = config.pairs.is_none_or(|pairs| pairs.joint_weight.is_some());
    let mut lines = vec![
        match names_classes {
            true => (format!("{program} predict {run} {}", words::quoted(&picture)), "classify a picture"),
            false => (format!("{program} embed {run} {data} --out embeddings.npy"), "pictures to vectors"),
        },
        match config.pairs {
            None => (format!("{program} val {run} {data}"), "precision and recall of each class"),
            Some(_) => (format!("{program} val {run} {data}"), "which pictures belong together: error rates"),
        },
        (format!("{program} report {run}"), "a page with curves, confusions and pictures"),
        (format!("{program} summary {run}"), "what the network is"),
    ];
    // What may be mirrored for training may be mirrored to be judged.
    if config.pairs.is_none() && config.augment.flip && outcome.by_views.is_none() {
        let views = "by the mean of ten views of each picture: mostly a little better";
        lines.insert(2, (format!("{program} val {run} {data} --tta both"), views));
    }
    if is_built_in {
        lines.push((
            format!("{program} train PHOTOS --model resnet18"),
            "your own: a folder of class folders",
        ));
    }
    let width = lines.iter().map(|(command, _)| command.chars().count()).max().unwrap_or(0);
    console::say("next:");
    for (command, what) in lines {
        console::say(&format!("  {command:<width$}   {what}"));
    }
    Ok(())
}

/// Writes a validation digit as a PNG into the run folder.
fn sample_picture(run: &Path, seed: u64) -> anyhow::Result<PathBuf> {
    let source = Source { data: BUILT_IN.into(), val_fraction: 0.2, seed, handling: Handling::default() };
    let split = source.open(true)?.val;
    let is_sample = |class: u32| split.classes()[class as usize] == SAMPLE;
    let index = split.samples().iter().position(|sample| is_sample(sample.class)).unwrap_or(0);
    let digit = split.image(index)?;
    let path = run.join(format!("sample-{SAMPLE}.png"));
    image::save_buffer(&path, &digit.pixels, digit.width, digit.height, image::ColorType::L8)?;
    Ok(path)
}
