//! Starting a run, and going on with one that stopped.

use std::path::PathBuf;

use ocellus_engine::Options;

use crate::TrainError;
use crate::checkpoint::{Checkpoint, Found};
use crate::config::TrainConfig;
use crate::fit::{Beginning, Fit, identity_of};
use crate::handling::excluded_csv;
use crate::origin::Origin;
use crate::pairs::{PairChoices, Pairs};
use crate::practice::Practice;
use crate::prepare::{Choices, Prepared};
use crate::progress::EpochRecord;
use crate::recipe::{OptimiserKind, ScheduleKind};
use crate::run_folder::RunFolder;
use crate::schedule::Schedule;
use crate::views::ByViews;
use crate::watch::Watch;

/// Lines of the report on a model's tensors that are told; its file has them all.
const REPORTED: usize = 12;

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The run folder.
    pub run: PathBuf,
    /// The epoch with the highest validation top-1.
    pub best: EpochRecord,
    /// What its weights are worth by the mean of several views of each image, if that was asked for.
    pub by_views: Option<ByViews>,
    /// The last epoch.
    pub last: EpochRecord,
    /// Training images per second in this process, validation not counted; 0 if nothing was left to do.
    pub images_per_second: f64,
}

/// Writes down what was asked for, decides the rest, and trains to the end: [`Prepared::new`], then [`start`].
///
/// A process killed at any moment of this leaves a folder that [`resume`] can go on from.
pub fn begin(
    choices: &Choices,
    run: &RunFolder,
    options: &Options,
    watch: &mut dyn Watch,
) -> Result<Outcome, TrainError> {
    let text = toml::to_string(choices)
        .map_err(|cause| TrainError::setting(format!("the settings cannot be written down: {cause}")))?;
    let is_new = !run.exists();
    run.write(&run.request(), &text)?;
    let prepared = Prepared::new(choices).and_then(|mut prepared| {
        prepared.adapt(choices, options, watch)?;
        Ok(prepared)
    });
    if is_new && prepared.is_err() {
        // What was asked for cannot be: nothing was started here.
        let _ = std::fs::remove_file(run.request());
        let _ = std::fs::remove_dir(run.path());
    }
    start(&prepared?, run, options, watch)
}

/// Starts the run `prepared` in the empty folder `run` and trains to the end.
///
/// Errors: the network does not fit memory or data, the loss is no longer a number, a file cannot be written. What
/// was written before stays, and [`resume`] goes on from it.
pub fn start(
    prepared: &Prepared,
    run: &RunFolder,
    options: &Options,
    watch: &mut dyn Watch,
) -> Result<Outcome, TrainError> {
    prepared.images.notes.iter().for_each(|note| watch.note(note));
    tell_origin(prepared, run, watch)?;
    let fit = Fit::new(prepared, run, options, Beginning::fresh(prepared), watch)?;
    if let Some(lists) = &prepared.images.division {
        run.write(&run.split(), lists)?;
    }
    if !prepared.images.left_out.is_empty() {
        run.write(&run.excluded(), &excluded_csv(&prepared.images.left_out))?;
    }
    // Last, since it is what makes the folder a run.
    run.write(&run.config(), &prepared.config.to_toml()?)?;
    fit.finish()
}

/// Where a run begins with a model: how each of its tensors met the network, in a file and in short.
fn tell_origin(prepared: &Prepared, run: &RunFolder, watch: &mut dyn Watch) -> Result<(), TrainError> {
    let Some(report) = Origin::of(&prepared.config.model)?.report(&prepared.net) else { return Ok(()) };
    run.write(&run.matched(), &format!("{report}\n"))?;
    let text = report.to_string();
    let other = text.lines().filter(|line| !line.starts_with("matched") && !line.starts_with("ignored"));
    other.take(REPORTED).for_each(|line| watch.note(&line.split_whitespace().collect::<Vec<_>>().join(" ")));
    Ok(())
}

/// Goes on with the run in `run` from its newest whole checkpoint (or from the beginning, if it has none yet), to the
/// same bits as if it had never stopped.
///
/// Errors: as [`start`]; also if `choices` says anything else than the run was started with, or the data is not the
/// same. The path of the data and the intervals of checkpoints may change.
pub fn resume(
    run: &RunFolder,
    choices: &Choices,
    options: &Options,
    watch: &mut dyn Watch,
) -> Result<Outcome, TrainError> {
    run.clean();
    let _ = std::fs::remove_file(run.stopped());
    if !run.config().is_file() {
        return begin(&choices.clone().or(requested(run)?), run, options, watch);
    }
    let mut config = TrainConfig::of_run(run)?;
    let before = config.clone();
    apply(choices, &mut config, run)?;
    let found = Checkpoint::find(run)?;
    let prepared = Prepared::from_config(config, division_of(run))?;
    prepared.images.notes.iter().for_each(|note| watch.note(note));
    if prepared.config != before {
        run.write(&run.config(), &prepared.config.to_toml()?)?;
    }
    let beginning = match found {
        Some(found) => beginning_at(found, &prepared, run, watch)?,
        None => {
            watch.note("the run has no checkpoint yet; it begins at the beginning");
            Beginning::fresh(&prepared)
        }
    };
    Fit::new(&prepared, run, options, beginning, watch)?.finish()
}

/// Whether `run` was asked to stop, and was started with exactly these choices: then the next start goes on with it.
pub fn was_stopped(run: &RunFolder, choices: &Choices) -> bool {
    // How much memory is free changes from minute to minute.
    let told = |choices: Choices| Choices { batch_bytes: None, ..choices };
    run.stopped().is_file() && requested(run).is_ok_and(|asked| told(asked) == told(choices.clone()))
}

/// How the run's data was divided, where that was written down.
pub fn division_of(run: &RunFolder) -> Option<String> {
    let file = run.split();
    file.is_file().then(|| file.display().to_string())
}

/// What a run that was killed while it read its data had been asked for.
fn requested(run: &RunFolder) -> Result<Choices, TrainError> {
    let path = run.request();
    let text = std::fs::read_to_string(&path)
        .map_err(|_| TrainError::setting(format!("{} holds no run to continue", run.path().display())))?;
    toml::from_str(&text).map_err(|cause| {
        TrainError::setting(format!("{}: {}; start a new run", path.display(), cause.message()))
    })
}

fn beginning_at(
    found: Found,
    prepared: &Prepared,
    run: &RunFolder,
    watch: &mut dyn Watch,
) -> Result<Beginning, TrainError> {
    let Found { checkpoint, warning } = found;
    warning.iter().for_each(|warning| watch.note(warning));
    let identity = identity_of(prepared)?;
    let differs =
        match (identity.config == checkpoint.identity.config, identity.data == checkpoint.identity.data) {
            (true, true) => {
                let Checkpoint { weights, state, progress, .. } = checkpoint;
                return Ok(Beginning { weights, state, progress });
            }
            (false, _) => format!("{} was changed since", run.config().display()),
            (_, false) => format!("the training images in {} are not the same as then", prepared.config.data),
        };
    Err(TrainError::setting(format!(
        "{} cannot be continued: {differs}; restore what changed, or start a new run",
        run.path().display()
    )))
}

/// Takes over what may change, and refuses what may not.
fn apply(choices: &Choices, config: &mut TrainConfig, run: &RunFolder) -> Result<(), TrainError> {
    if let Some((what, was, is)) = first_conflict(choices, config) {
        return Err(TrainError::setting(format!(
            "{} was started with {what} {was}, which cannot become {is} on the way; leave {what} away, or start a \
             new run",
            run.path().display()
        )));
    }
    if let Some(data) = &choices.data {
        config.data.clone_from(data);
    }
    config.handling = choices.handling.clone().or(std::mem::take(&mut config.handling));
    config.checkpoint_seconds = choices.checkpoint_seconds.unwrap_or(config.checkpoint_seconds);
    config.time_limit = choices.time_limit.or(config.time_limit);
    config.checkpoint_steps = choices.checkpoint_steps.unwrap_or(config.checkpoint_steps);
    Ok(())
}

/// The first practice that was asked for and is not the run's.
fn first_other_practice(asked: &Practice, is: &Practice) -> Option<(&'static str, String, String)> {
    let merged = asked.clone().or(is.clone()).settled();
    let tables = [&merged, is].map(|practice| toml::Table::try_from(practice).unwrap_or_default());
    let [merged, is] = tables;
    let told = |value: Option<&toml::Value>| value.map_or("absent".into(), toml::Value::to_string);
    let other = merged.keys().find(|key| merged.get(*key) != is.get(*key))?;
    let option = Practice::OPTIONS.iter().find(|option| option[2..].replace('-', "_") == *other);
    Some((option.copied().unwrap_or("a practice"), told(is.get(other)), told(merged.get(other))))
}

/// The first setting that was asked for and is not the run's: option, the run's value, the value asked for.
fn first_conflict(choices: &Choices, config: &TrainConfig) -> Option<(&'static str, String, String)> {
    fn differs<T: PartialEq + std::fmt::Display>(
        what: &'static str,
        asked: Option<T>,
        is: T,
    ) -> Option<(&'static str, String, String)> {
        asked.filter(|asked| *asked != is).map(|asked| (what, is.to_string(), asked.to_string()))
    }
    let mut optimiser = config.optimiser;
    let momentum = optimiser.momentum();
    let (decay, spares) = (*optimiser.weight_decay_mut(), *optimiser.spares_norms_mut());
    let asked_optimiser = choices.optimiser.map(OptimiserKind::name);
    let asked_schedule = choices.schedule.map(ScheduleKind::name);
    let constants = |schedule: &Schedule| format!("{schedule:?}");
    let mut asked_constants = config.schedule.clone();
    let asked_constants = match choices.schedule_constants.apply(&mut asked_constants) {
        Ok(()) => constants(&asked_constants),
        Err(_) => "other constants".into(),
    };
    let asked_augment = choices.no_augment.then_some("off");
    let augment = if config.augment.is_none() { "off" } else { "on" };
    differs("--model", choices.model.as_deref(), config.model.as_str())
        .or_else(|| differs("--epochs", choices.epochs, config.epochs))
        .or_else(|| differs("--batch", choices.batch, config.batch))
        .or_else(|| differs("--accumulate", choices.accumulate, config.accumulate))
        .or_else(|| differs("--lr", choices.lr, config.lr))
        .or_else(|| differs("--optimizer", asked_optimiser, OptimiserKind::of(&config.optimiser).name()))
        .or_else(|| differs("--weight-decay", choices.weight_decay, decay))
        .or_else(|| differs("--momentum", choices.momentum, momentum))
        .or_else(|| differs("--norm-decay", choices.norm_decay, !spares))
        .or_else(|| differs("--schedule", asked_schedule, config.schedule.name()))
        .or_else(|| differs("the schedule", Some(asked_constants.as_str()), &constants(&config.schedule)))
        .or_else(|| other_pairs(&choices.pairs, config.pairs.as_ref()))
        .or_else(|| differs("--label-smoothing", choices.label_smoothing, config.label_smoothing))
        .or_else(|| differs("--size", choices.size, config.preprocess.size[0]))
        .or_else(|| differs("--fit", choices.fit.map(fit_name), fit_name(config.preprocess.fit)))
        .or_else(|| differs("augmentation", asked_augment, augment))
        .or_else(|| differs("--seed", choices.seed, config.seed))
        .or_else(|| differs("--val-fraction", choices.val_fraction, config.val_fraction))
        .or_else(|| {
            let is = config.practice.precision.unwrap_or_default();
            differs("--precision", choices.practice.precision, is)
        })
        .or_else(|| first_other_practice(&choices.practice, &config.practice))
}

/// The first thing that was asked about pairs and is not the run's.
fn other_pairs(asked: &PairChoices, is: Option<&Pairs>) -> Option<(&'static str, String, String)> {
    let number = |x: Option<f32>| x.map(|x| x.to_string());
    let told = [
        ("--loss", asked.loss.map(|l| l.name().to_string()), is.map(|is| is.loss.name().to_string())),
        ("--margin", number(asked.margin), number(is.map(|is| is.margin))),
        ("--embedding", asked.embedding.map(|n| n.to_string()), is.map(|is| is.embedding.to_string())),
        ("--joint-weight", number(asked.joint_weight), number(is.and_then(|is| is.joint_weight))),
        ("--unit-length", asked.unit_length.map(|b| b.to_string()), is.map(|is| is.unit_length.to_string())),
    ];
    let other = told.into_iter().find(|(_, asked, is)| asked.is_some() && asked != is);
    other.map(|(option, asked, is)| (option, is.unwrap_or("absent".into()), asked.unwrap_or_default()))
}

fn fit_name(fit: ocellus_data::Fit) -> &'static str {
    match fit {
        ocellus_data::Fit::Crop => "crop",
        ocellus_data::Fit::Stretch => "stretch",
        ocellus_data::Fit::Letterbox => "letterbox",
    }
}
