//! How is a run kept so that it can go on to the bit?
//!
//! One file holds everything: weights, statistics, the optimiser's state and the [`Progress`]. Nothing random needs
//! keeping, since every random choice is a function of (seed, epoch, sample or step).
//!
//! ```text
//! "OCELCKPT" | u32 version | u64 length | safetensors of that length | u32 CRC-32 of all before it   (little endian)
//! ```
//!
//! The safetensors part names parameters `weight/NAME` and `state/NAME` and has the progress as JSON under the
//! metadata key `progress`. Saving never leaves less than one whole checkpoint on disk:
//!
//! ```text
//! write last.next.ckpt, fsync -> rename last.ckpt to last.prev.ckpt -> rename last.next.ckpt to last.ckpt -> fsync folder
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use ocellus_formats::{FormatError, safetensors, write_atomically};
use ocellus_tensor::{Tensor, Weights};
use serde::{Deserialize, Serialize};

use crate::TrainError;
use crate::progress::Progress;
use crate::run_folder::RunFolder;

const MAGIC: &[u8; 8] = b"OCELCKPT";
const VERSION: u32 = 1;
/// Magic, version and length.
const HEADER: usize = 20;
const PROGRESS: &str = "progress";
const WEIGHT: &str = "weight/";
const STATE: &str = "state/";

/// A run at the end of one optimiser step.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Weights and statistics by parameter name.
    pub weights: Weights,
    /// The optimiser's memory by parameter name.
    pub state: Weights,
    /// Where the run stands.
    pub progress: Progress,
    /// Which run this is.
    pub identity: Identity,
}

/// What a checkpoint and the run that resumes from it must agree on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// CRC-32 of the settings that numbers depend on.
    pub config: u32,
    /// CRC-32 of the names and classes of the training images, in order.
    pub data: u32,
}

#[derive(Serialize, Deserialize)]
struct Header {
    identity: Identity,
    progress: Progress,
}

/// A checkpoint that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The newest one that is whole.
    pub checkpoint: Checkpoint,
    /// Why it is not the newest one there was, as a sentence.
    pub warning: Option<String>,
}

impl Checkpoint {
    /// Writes the checkpoint as the run's newest and keeps the one before it.
    ///
    /// On an error (a full disk) the checkpoints that were there are as they were.
    pub fn save(&self, run: &RunFolder) -> Result<(), FormatError> {
        let bytes = self.encode().map_err(|cause| malformed(&run.last(), &cause.to_string()))?;
        write_atomically(run.next(), |out| out.write_all(&bytes))?;
        rotate(run).map_err(|source| FormatError::Write {
            file: run.last().display().to_string(),
            source,
            next: "the checkpoint before it is unchanged",
        })
    }

    /// The first parameter, in name order, that holds a number which is not finite.
    pub fn first_not_finite(&self) -> Option<&str> {
        let mut all = self.weights.iter().chain(&self.state);
        let broken = all.find(|(_, tensor)| tensor.data().iter().any(|x| !x.is_finite()));
        broken.map(|(name, _)| name.as_str())
    }

    /// The run's newest whole checkpoint; `None` if it has none yet.
    ///
    /// Errors: there are checkpoints, but none of them is whole.
    pub fn find(run: &RunFolder) -> Result<Option<Found>, TrainError> {
        let newest = match read(&run.last()) {
            Ok(Some(checkpoint)) => return Ok(Some(Found { checkpoint, warning: None })),
            Ok(None) => None,
            Err(damage) => Some(damage),
        };
        match (read(&run.previous()), newest) {
            (Ok(Some(checkpoint)), damage) => {
                let why = damage.map_or("the newest checkpoint is missing".into(), |d| d.to_string());
                let warning = format!("{why}; going on from the one before it, {}", run.previous().display());
                Ok(Some(Found { checkpoint, warning: Some(warning) }))
            }
            (Ok(None), None) => Ok(None),
            (_, Some(damage)) | (Err(damage), None) => Err(damage.into()),
        }
    }

    /// The checkpoint in one file; `None` if there is no such file.
    pub fn at(path: &Path) -> Result<Option<Checkpoint>, FormatError> {
        read(path)
    }

    /// The file's bytes.
    pub fn encode(&self) -> io::Result<Vec<u8>> {
        let header = Header { identity: self.identity.clone(), progress: self.progress.clone() };
        let metadata = BTreeMap::from([(PROGRESS.to_string(), serde_json::to_string(&header)?)]);
        let mut all = Weights::new();
        for (prefix, part) in [(WEIGHT, &self.weights), (STATE, &self.state)] {
            all.extend(part.iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor.clone())));
        }
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend([0; 8]);
        safetensors::encode(&mut bytes, &all, &metadata)?;
        let length = (bytes.len() - HEADER) as u64;
        bytes[12..HEADER].copy_from_slice(&length.to_le_bytes());
        let sum = crc32fast::hash(&bytes);
        bytes.extend(sum.to_le_bytes());
        Ok(bytes)
    }

    /// A checkpoint from a file's bytes; `path` is what errors call it.
    ///
    /// Errors: any byte is not what was written.
    pub fn decode(bytes: &[u8], path: &Path) -> Result<Self, FormatError> {
        let payload = checked_payload(bytes).map_err(|what| malformed(path, &what))?;
        let file = safetensors::decode(payload, &path.display().to_string())?;
        let text = file.metadata.get(PROGRESS).map_or("", String::as_str);
        let header: Header = serde_json::from_str(text)
            .map_err(|cause| malformed(path, &format!("its progress cannot be read ({cause})")))?;
        let (mut weights, mut state) = (Weights::new(), Weights::new());
        for (name, tensor) in file.weights {
            take(&mut weights, WEIGHT, &name, &tensor);
            take(&mut state, STATE, &name, &tensor);
        }
        Ok(Checkpoint { weights, state, progress: header.progress, identity: header.identity })
    }
}

fn take(into: &mut Weights, prefix: &str, name: &str, tensor: &Tensor) {
    if let Some(name) = name.strip_prefix(prefix) {
        into.insert(name.to_owned(), tensor.clone());
    }
}

fn malformed(path: &Path, what: &str) -> FormatError {
    FormatError::malformed(path.display().to_string(), what, "it is damaged or no checkpoint of Ocellus")
}

/// The safetensors part, once magic, version, length and checksum are right.
fn checked_payload(bytes: &[u8]) -> Result<&[u8], String> {
    if bytes.len() < HEADER + 4 || &bytes[..8] != MAGIC {
        return Err(format!("its {} bytes do not begin as a checkpoint does", bytes.len()));
    }
    let version = u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
    if version != VERSION {
        return Err(format!("it has version {version}, this program reads version {VERSION}"));
    }
    let length = bytes[12..HEADER].iter().rev().fold(0_u64, |n, &b| n << 8 | u64::from(b));
    let (body, sum) = bytes.split_at(bytes.len() - 4);
    let actual = (body.len() - HEADER) as u64;
    if length != actual {
        return Err(format!("it promises {length} bytes and holds {actual}"));
    }
    let (promised, computed) = (u32::from_le_bytes([sum[0], sum[1], sum[2], sum[3]]), crc32fast::hash(body));
    if promised != computed {
        return Err(format!("its checksum is {computed:08x}, it promises {promised:08x}"));
    }
    Ok(&body[HEADER..])
}

fn read(path: &Path) -> Result<Option<Checkpoint>, FormatError> {
    match fs::read(path) {
        Ok(bytes) => Checkpoint::decode(&bytes, path).map(Some),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(malformed(path, &format!("it cannot be read ({cause})"))),
    }
}

fn rotate(run: &RunFolder) -> io::Result<()> {
    match fs::rename(run.last(), run.previous()) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
        _ => fs::rename(run.next(), run.last())?,
    }
    run.sync()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(step: u64) -> Checkpoint {
        let tensor = |x: f32| Tensor::new([2, 2], vec![x, -0.0, f32::MIN_POSITIVE / 2.0, 1.0 / 3.0]).unwrap();
        Checkpoint {
            weights: Weights::from([("conv1.weight".into(), tensor(step as f32))]),
            state: Weights::from([("velocity/conv1.weight".into(), tensor(0.25))]),
            progress: Progress { step, loss_sum: 1.0 / 3.0, ..Progress::default() },
            identity: Identity { config: 7, data: 9 },
        }
    }

    fn folder() -> (tempfile::TempDir, RunFolder) {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::at(folder.path());
        (folder, run)
    }

    #[test]
    fn comes_back_to_the_bit() {
        let checkpoint = sample(3);
        let bytes = checkpoint.encode().unwrap();
        let back = Checkpoint::decode(&bytes, Path::new("x")).unwrap();
        assert_eq!(back, checkpoint);
        assert_eq!(back.encode().unwrap(), bytes);
    }

    #[test]
    fn any_flipped_or_missing_byte_is_noticed() {
        let bytes = sample(3).encode().unwrap();
        for at in 0..bytes.len() {
            let mut broken = bytes.clone();
            broken[at] ^= 0x10;
            assert!(Checkpoint::decode(&broken, Path::new("x")).is_err(), "byte {at}");
            assert!(Checkpoint::decode(&bytes[..at], Path::new("x")).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn two_generations_are_kept_and_the_older_stands_in() {
        let (_guard, run) = folder();
        assert_eq!(Checkpoint::find(&run).unwrap(), None);
        for step in 1..4 {
            sample(step).save(&run).unwrap();
        }
        let found = Checkpoint::find(&run).unwrap().unwrap();
        assert_eq!((found.checkpoint.progress.step, found.warning), (3, None));

        let whole = fs::read(run.last()).unwrap();
        fs::write(run.last(), &whole[..whole.len() / 2]).unwrap();
        let found = Checkpoint::find(&run).unwrap().unwrap();
        assert_eq!(found.checkpoint.progress.step, 2);
        assert!(found.warning.unwrap().contains("last.ckpt"));

        fs::remove_file(run.last()).unwrap();
        assert_eq!(Checkpoint::find(&run).unwrap().unwrap().checkpoint.progress.step, 2);

        fs::write(run.last(), "no").unwrap();
        fs::write(run.previous(), "no").unwrap();
        assert!(Checkpoint::find(&run).unwrap_err().to_string().contains("last.ckpt"));
    }

    #[test]
    fn a_failed_save_leaves_the_old_checkpoint() {
        let (_guard, run) = folder();
        sample(1).save(&run).unwrap();
        fs::create_dir(run.next()).unwrap();
        assert!(sample(2).save(&run).is_err());
        assert_eq!(Checkpoint::find(&run).unwrap().unwrap().checkpoint.progress.step, 1);
    }
}
