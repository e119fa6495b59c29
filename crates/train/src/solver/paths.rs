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

/// A folder, and whether names are looked up in it by their last parts alone.
pub(super) struct Place {
    folder: PathBuf,
    bare: bool,
}

impl Place {
    /// What `name` means if it lies here.
    pub fn of(&self, name: &str) -> PathBuf {
        let path = Path::new(name);
        let last = path.file_name().map(Path::new).filter(|_| self.bare);
        self.folder.join(last.unwrap_or(path))
    }
}

impl Places {
    pub fn new(job: &SolverJob) -> Self {
        let folder = job.solver.parent().unwrap_or(Path::new("")).to_owned();
        Places { root: job.root.clone(), solver: folder }
    }

    /// The file or folder that `name` means.
    pub fn file(&self, name: &str) -> Result<PathBuf, TrainError> {
        Ok(self.place(name)?.of(name))
    }

    /// Where what `name` means was found.
    pub fn place(&self, name: &str) -> Result<Place, TrainError> {
        let here = PathBuf::new();
        let folders = [self.root.as_ref(), Some(&self.solver)];
        let whole = [Some(&here)].into_iter().chain(folders).flatten().map(|folder| (folder, false));
        let bare = folders.into_iter().chain([Some(&here)]).flatten().map(|folder| (folder, true));
        let mut places = whole.chain(bare).map(|(folder, bare)| Place { folder: folder.clone(), bare });
        places.find(|place| place.of(name).exists()).ok_or_else(|| {
            let last = Path::new(name).file_name().map(Path::new).unwrap_or(Path::new(name));
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
