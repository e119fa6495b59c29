//! What lies in a run folder, and where is the next free one?

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use ocellus_formats::{FormatError, write_atomically};

use crate::TrainError;
use crate::progress::{EpochRecord, EpochTime};

/// A folder that holds one run: `best.safetensors`, `last.ckpt`, `last.prev.ckpt`, `epoch.ckpt`,
/// `request.toml`, `config.toml`, `results.csv`, `metrics.json`, and `split.json` where the data was divided by seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// The run folder at `path`, which need not exist.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        RunFolder { path: path.into() }
    }

    /// Makes the folder `path`, or takes it if it is empty.
    ///
    /// Errors: it holds a run, or cannot be made.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self, TrainError> {
        let run = RunFolder::at(path);
        if run.exists() {
            return Err(TrainError::setting(format!(
                "{} already holds a run: add --resume to continue it, or choose another --out",
                run.path.display()
            )));
        }
        fs::create_dir_all(&run.path).map_err(|e| TrainError::io(&run.path, "cannot be created", e))?;
        Ok(run)
    }

    /// Makes the first free one of `BASE/train`, `BASE/train2`, `BASE/train3`, ...
    pub fn next_free(base: &Path) -> Result<Self, TrainError> {
        fs::create_dir_all(base).map_err(|e| TrainError::io(base, "cannot be created", e))?;
        for number in 1.. {
            let path = base.join(numbered(number));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(RunFolder { path }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(TrainError::io(&path, "cannot be created", error)),
            }
        }
        unreachable!("numbers do not run out")
    }

    /// The run in `BASE` that was started last: the one with the highest number.
    pub fn latest(base: &Path) -> Option<Self> {
        let number = |name: &str| match name.strip_prefix("train")? {
            "" => Some(1),
            digits => digits.parse::<u64>().ok(),
        };
        let entries = fs::read_dir(base).ok()?.flatten();
        let runs = entries.filter_map(|e| Some((number(e.file_name().to_str()?)?, RunFolder::at(e.path()))));
        runs.filter(|(_, run)| run.exists()).max_by_key(|(number, _)| *number).map(|(_, run)| run)
    }

    /// Whether a run was started here.
    pub fn exists(&self) -> bool {
        self.config().is_file() || self.request().is_file()
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The best model so far, with its classes and preprocessing.
    pub fn best(&self) -> PathBuf {
        self.path.join("best.safetensors")
    }

    /// The newest checkpoint.
    pub fn last(&self) -> PathBuf {
        self.path.join("last.ckpt")
    }

    /// The checkpoint before the newest.
    pub fn previous(&self) -> PathBuf {
        self.path.join("last.prev.ckpt")
    }

    /// The checkpoint of the last finished epoch, to which training goes back if it diverges.
    pub fn epoch_start(&self) -> PathBuf {
        self.path.join("epoch.ckpt")
    }

    /// Stands here from when a run was asked to stop until it goes on.
    pub fn stopped(&self) -> PathBuf {
        self.path.join("stopped")
    }

    /// Keeps the newest checkpoint as that of the last finished epoch.
    pub(crate) fn keep_epoch(&self) -> io::Result<()> {
        let next = self.path.join(".epoch.ckpt.tmp");
        let _ = fs::remove_file(&next);
        // Checkpoints are replaced, never changed, so a second name for the same file is enough.
        fs::hard_link(self.last(), &next).or_else(|_| fs::copy(self.last(), &next).map(|_| ()))?;
        fs::rename(&next, self.epoch_start())
    }

    /// A checkpoint that is being written.
    pub(crate) fn next(&self) -> PathBuf {
        self.path.join("last.next.ckpt")
    }

    /// The model that the run began with, if it began with one.
    pub fn begun_with(&self) -> PathBuf {
        self.path.join("start.safetensors")
    }

    /// The text form of the network that the run trains, if that was described in a file.
    pub fn described(&self) -> PathBuf {
        self.path.join("network.txt")
    }

    /// What the run began with, whatever is said on the command line later: the model, or the network.
    pub fn origin(&self) -> Option<PathBuf> {
        [self.begun_with(), self.described()].into_iter().find(|file| file.is_file())
    }

    /// How the tensors of that model met the network, line by line.
    pub fn matched(&self) -> PathBuf {
        self.path.join("weights.txt")
    }

    /// All settings of the run.
    pub fn config(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    /// What the user asked for, from which the settings are made once the data has been read.
    pub fn request(&self) -> PathBuf {
        self.path.join("request.toml")
    }

    /// One line per epoch.
    pub fn results(&self) -> PathBuf {
        self.path.join("results.csv")
    }

    /// Figures of the best and the last epoch, classes and confusion matrix.
    pub fn metrics(&self) -> PathBuf {
        self.path.join("metrics.json")
    }

    /// Which samples train and which validate, where that was drawn by seed.
    pub fn split(&self) -> PathBuf {
        self.path.join("split.json")
    }

    /// The images that were left out as damaged, and why; only where there are some.
    pub fn excluded(&self) -> PathBuf {
        self.path.join("excluded.csv")
    }

    /// Writes the text `contents` to `path` in one step.
    pub fn write(&self, path: &Path, contents: &str) -> Result<(), FormatError> {
        write_atomically(path, |out| out.write_all(contents.as_bytes()))
    }

    /// Writes `results.csv`: losses in nats, shares 0 to 1, times in seconds (empty where they are not known).
    pub fn write_results(
        &self,
        history: &[EpochRecord],
        times: &[Option<EpochTime>],
    ) -> Result<(), FormatError> {
        self.write(&self.results(), &results_csv(history, times))
    }

    /// How long each epoch in `results.csv` took, as far as it says.
    pub fn read_times(&self) -> Vec<Option<EpochTime>> {
        let text = fs::read_to_string(self.results()).unwrap_or_default();
        text.lines().skip(1).map(time_in).collect()
    }

    /// Removes what a killed process may have left half-written.
    pub fn clean(&self) {
        let Ok(entries) = fs::read_dir(&self.path) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if (name.starts_with('.') && name.ends_with(".tmp")) || name == "last.next.ckpt" {
                // What cannot be removed does no harm: nothing reads it.
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        if cfg!(unix) { File::open(&self.path)?.sync_all() } else { Ok(()) }
    }
}

fn numbered(number: usize) -> String {
    if number == 1 { "train".into() } else { format!("train{number}") }
}

fn results_csv(history: &[EpochRecord], times: &[Option<EpochTime>]) -> String {
    let of_pairs = history.iter().any(|record| record.pairs.is_some());
    let of_pairs = if of_pairs { "eer,auc,threshold,class_top1," } else { "" };
    let mut text = format!(
        "epoch,step,lr,train_loss,train_top1,val_loss,val_top1,val_top5,{of_pairs}images_per_second,seconds\n",
    );
    for (index, r) in history.iter().enumerate() {
        let _ = write!(
            text,
            "{},{},{},{:.6},{:.6},{:.6},{:.6},{:.6},",
            r.epoch, r.step, r.lr, r.train_loss, r.train_top1, r.loss, r.top1, r.top5
        );
        if let Some(pairs) = &r.pairs {
            let class_top1 = pairs.class_top1.map(|share| format!("{share:.6}")).unwrap_or_default();
            let _ = write!(text, "{:.6},{:.6},{:.6},{class_top1},", pairs.eer, pairs.auc, pairs.threshold);
        }
        let _ = match times.get(index).copied().flatten() {
            Some(time) => writeln!(text, "{:.1},{:.3}", time.images_per_second, time.seconds),
            None => writeln!(text, ","),
        };
    }
    text
}

/// The last two cells of a line of `results.csv`.
fn time_in(line: &str) -> Option<EpochTime> {
    let mut cells = line.rsplit(',');
    let seconds = cells.next()?.parse().ok()?;
    Some(EpochTime { seconds, images_per_second: cells.next()?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_numbered_and_the_latest_run_is_found() {
        let base = tempfile::tempdir().unwrap();
        let names: Vec<String> = (0..11)
            .map(|_| RunFolder::next_free(base.path()).unwrap())
            .map(|run| {
                fs::write(run.config(), "").unwrap();
                run.path().file_name().unwrap().to_string_lossy().into_owned()
            })
            .collect();
        assert_eq!(names[..3], ["train", "train2", "train3"]);
        RunFolder::next_free(base.path()).unwrap();
        assert!(
            RunFolder::latest(base.path()).unwrap().path().ends_with("train11"),
            "train12 holds no run yet"
        );
    }

    #[test]
    fn a_run_is_never_written_over() {
        let base = tempfile::tempdir().unwrap();
        let run = RunFolder::create(base.path().join("a/b")).unwrap();
        RunFolder::create(run.path()).unwrap();
        fs::write(run.config(), "").unwrap();
        assert!(RunFolder::create(run.path()).unwrap_err().to_string().contains("--resume"));
    }

    #[test]
    fn times_come_back_from_the_results() {
        let base = tempfile::tempdir().unwrap();
        let run = RunFolder::at(base.path());
        assert_eq!(run.read_times(), []);
        let record = |epoch| EpochRecord {
            epoch,
            step: 9,
            lr: 0.1,
            train_loss: 1.0,
            train_top1: 0.5,
            loss: 1.0,
            top1: 0.25,
            top5: 1.0,
            pairs: None,
        };
        let times = [None, Some(EpochTime { images_per_second: 12.5, seconds: 0.125 })];
        run.write_results(&[record(1), record(2)], &times).unwrap();
        assert_eq!(run.read_times(), times);
    }

    #[test]
    fn remains_are_cleaned_and_nothing_else() {
        let base = tempfile::tempdir().unwrap();
        let run = RunFolder::at(base.path());
        for name in [".last.ckpt.x1.tmp", "last.next.ckpt", "last.ckpt", "notes.tmp"] {
            fs::write(base.path().join(name), "").unwrap();
        }
        run.clean();
        let mut left: Vec<_> = fs::read_dir(base.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["last.ckpt", "notes.tmp"]);
    }
}
