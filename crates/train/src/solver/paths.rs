//! Where do the files lie that a solver and its networks name?
//!
//! Caffe's examples name files from Caffe's own root folder. A path is looked for as it is; from the root that was
//! given; from the solver's folder; and, by its last part alone, in the root, the solver's folder and here.

use std::path::{Path, PathBuf};

use super::SolverJob;
use crate::TrainError;

/// Folders to look in.
pub(super) struct Places {
    root: Option<PathBuf>,
    solver: PathBuf,
}

impl Places {
    pub fn new(job: &SolverJob) -> Self {
        let folder = job.solver.parent().unwrap_or(Path::new("")).to_owned();
        Places { root: job.root.clone(), solver: folder }
    }

    /// The file or folder that `name` means.
    pub fn file(&self, name: &str) -> Result<PathBuf, TrainError> {
        let path = Path::new(name);
        let last = path.file_name().map(Path::new).unwrap_or(path);
        let here = PathBuf::new();
        let folders = [self.root.as_ref(), Some(&self.solver)];
        let whole = [Some(&here)].into_iter().chain(folders).flatten().map(|folder| folder.join(path));
        let bare = folders.into_iter().chain([Some(&here)]).flatten().map(|folder| folder.join(last));
        whole.chain(bare).find(|path| path.exists()).ok_or_else(|| {
            let folder = self.root.as_ref().unwrap_or(&self.solver);
            // A solver that is named without a folder lies in this one.
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            let (last, folder) = (last.display(), folder.display());
            let what =
                format!("{name} is not there, nor {last} in {folder}; say where files are by --root FOLDER");
            TrainError::setting(what)
        })
    }
}
