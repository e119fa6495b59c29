//! What is kept of a training: Caffe's own files now and then, and this program's model at the end.

use std::path::{Path, PathBuf};

use ocellus_data::{ChannelOrder, Preprocess};
use ocellus_formats::caffe::{self, SnapshotFormat, Solver, SolverState};
use ocellus_formats::{FormatError, Model};
use ocellus_tensor::{Tensor, Weights};

use super::SolverJob;
use super::net::Net;
use super::paths::Places;
use crate::TrainError;

/// What a mean image is called among the network's parameters.
const MEAN_IMAGE: &str = "mean_image";

/// Where snapshots go.
pub(super) struct Snapshots {
    /// What their names begin with, folder included.
    prefix: PathBuf,
    format: SnapshotFormat,
}

impl Snapshots {
    /// The prefix is the solver's, or its last part in the folder that was asked for; the folder is made.
    pub fn new(solver: &Solver, job: &SolverJob) -> Result<Self, TrainError> {
        let own = match solver.snapshot_prefix.as_str() {
            "" => job.solver.with_extension(""),
            prefix => PathBuf::from(prefix),
        };
        let prefix = match &job.out {
            Some(folder) => folder.join(own.file_name().unwrap_or("net".as_ref())),
            None => own,
        };
        let folder = prefix.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder {
            std::fs::create_dir_all(folder)
                .map_err(|cause| TrainError::io(folder, "cannot be made", cause))?;
        }
        Ok(Snapshots { prefix, format: solver.snapshot_format })
    }

    fn file(&self, iteration: usize, ending: &str) -> PathBuf {
        let mut name = self.prefix.as_os_str().to_owned();
        name.push(format!("_iter_{iteration}.{ending}"));
        PathBuf::from(name)
    }

    /// Writes weights and memory.
    pub fn write(
        &self,
        net: &Net,
        iteration: usize,
        weights: &Weights,
        (history, current_step): (Vec<Tensor>, u64),
    ) -> Result<[PathBuf; 2], TrainError> {
        let beyond = match self.format {
            SnapshotFormat::Hdf5 => ".h5",
            SnapshotFormat::BinaryProto => "",
        };
        let [model, state] =
            ["caffemodel", "solverstate"].map(|ending| self.file(iteration, &format!("{ending}{beyond}")));
        caffe::write_described(&model, &net.layers, weights)?;
        let learned_net = model.display().to_string();
        let memory = SolverState { iteration: iteration as u64, learned_net, current_step, history };
        caffe::write_solver_state(&state, &memory)?;
        Ok([model, state])
    }

    /// Writes the network for use as this program's own model; `None` if it has no one output and no one image.
    pub fn model(
        &self,
        net: &Net,
        iteration: usize,
        mut weights: Weights,
    ) -> Result<Option<PathBuf>, TrainError> {
        let Ok(graph) = net.for_use() else { return Ok(None) };
        let Ok(mut graph) = graph.with_batch(1) else { return Ok(None) };
        let mut preprocess = None;
        if let (Some((layer, transform, mean)), &[input]) = (net.image_layer(), graph.inputs()) {
            let name = graph.value(input).name.clone();
            let sizes = <[usize; 4]>::try_from(graph.shape(input).dims());
            if let (true, Ok([_, channels @ (1 | 3), height, width])) = (layer.tops.contains(&name), sizes) {
                let size = [height, width].map(|side| u32::try_from(side).unwrap_or(u32::MAX));
                let mut known = Preprocess::new(channels, size);
                (known.scale, known.antialias) = (1.0, false);
                known.order = if channels == 3 { ChannelOrder::Bgr } else { ChannelOrder::Rgb };
                // (value - mean) * scale, as (value - mean) / std.
                known.std = vec![1.0 / transform.scale; channels];
                let means = &transform.mean_values;
                known.mean =
                    (0..channels).map(|c| means.get(c).or(means.first()).copied().unwrap_or(0.0)).collect();
                if let Some(mean) = mean.and_then(|mean| middle(mean, [channels, height, width])) {
                    graph = graph.with_mean_image(&name, MEAN_IMAGE)?;
                    let scaled = Tensor::from_fn(mean.shape().clone(), |i| mean.data()[i] * transform.scale);
                    weights.insert(MEAN_IMAGE.into(), scaled);
                }
                preprocess = serde_json::to_value(&known).ok().filter(|_| known.validate().is_ok());
            }
        }
        weights.retain(|name, _| graph.find_param(name).is_some());
        let path = self.file(iteration, "safetensors");
        Model { graph, weights, classes: Vec::new(), preprocess, info: Default::default() }.save(&path)?;
        Ok(Some(path))
    }
}

/// The middle (C, H, W) of a mean image (1, C, H', W').
fn middle(image: &Tensor, [channels, height, width]: [usize; 3]) -> Option<Tensor> {
    let &[1, c, h, w] = image.shape().dims() else { return None };
    if c != channels || h < height || w < width {
        return None;
    }
    let (top, left) = ((h - height) / 2, (w - width) / 2);
    let at = |i: usize| {
        let (c, y, x) = (i / (height * width), i / width % height, i % width);
        image.data()[(c * h + top + y) * w + left + x]
    };
    Some(Tensor::from_fn([channels, height, width], at))
}

/// The weights that belong to a state: the file that it names, or the one of its own name beside it.
pub(super) fn weights_of(state: &Path, saved: &SolverState, places: &Places) -> Result<PathBuf, TrainError> {
    let text = state.display().to_string();
    let beside = text.strip_suffix(".h5").unwrap_or(&text);
    let beside = beside.strip_suffix(".solverstate").map(|stem| stem.to_string());
    // Of the state's own form first.
    let endings = match text.ends_with(".h5") {
        true => [".caffemodel.h5", ".caffemodel"],
        false => [".caffemodel", ".caffemodel.h5"],
    };
    let found = beside.iter().flat_map(|stem| endings.map(|ending| PathBuf::from(format!("{stem}{ending}"))));
    if let Some(path) = found.into_iter().find(|path| path.is_file()) {
        return Ok(path);
    }
    if let Some(name) = Path::new(&saved.learned_net).file_name() {
        let path = state.with_file_name(name);
        if path.is_file() {
            return Ok(path);
        }
    }
    places.file(&saved.learned_net).map_err(|_| {
        let what = format!("its weights {} are not there", saved.learned_net);
        FormatError::malformed(text, what, "put the .caffemodel of this snapshot beside it").into()
    })
}
