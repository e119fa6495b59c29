//! What Caffe does with an item between its source and the network: cut, mirror, (value - mean) * scale.
//!
//! Source: the behaviour of Caffe's `DataTransformer`. The mean belongs to the place in the whole item.

use ocellus_formats::caffe::{Phase, Transform, read_mean};
use ocellus_tensor::Tensor;

use super::paths::Places;
use super::random::Random;
use crate::TrainError;

/// A transformation for items of one layer.
pub(super) struct Transformer {
    transform: Transform,
    phase: Phase,
    mean: Option<Tensor>,
}

/// One item: (C, H, W).
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Item {
    pub sizes: [usize; 3],
    pub values: Vec<f32>,
}

impl Transformer {
    pub fn new(transform: &Transform, phase: Phase, places: &Places) -> Result<Self, TrainError> {
        let mean = match &transform.mean_file {
            Some(path) => Some(read_mean(places.file(path)?)?),
            None => None,
        };
        if mean.is_some() && !transform.mean_values.is_empty() {
            return Err(TrainError::setting("a data layer has both mean_file and mean_value; keep one"));
        }
        Ok(Transformer { transform: transform.clone(), phase, mean })
    }

    /// The mean image, if there is one.
    pub fn mean(&self) -> Option<&Tensor> {
        self.mean.as_ref()
    }

    /// What an item of these sizes becomes.
    pub fn sizes(&self, [channels, height, width]: [usize; 3]) -> Result<[usize; 3], TrainError> {
        match self.transform.crop {
            0 => Ok([channels, height, width]),
            crop if crop <= height && crop <= width => Ok([channels, crop, crop]),
            crop => Err(TrainError::setting(format!(
                "crop_size {crop} is larger than an item of {height}x{width}; resize the data or lower it"
            ))),
        }
    }

    /// Checks once that means fit items of these sizes.
    pub fn check(&self, sizes: [usize; 3]) -> Result<(), TrainError> {
        if let Some(mean) = &self.mean
            && mean.shape().elements() != sizes.iter().product::<usize>()
        {
            return Err(TrainError::setting(format!(
                "the mean image has shape {}, items have {sizes:?}; give the mean of this data",
                mean.shape()
            )));
        }
        match self.transform.mean_values.len() {
            0 | 1 => Ok(()),
            count if count == sizes[0] => Ok(()),
            count => Err(TrainError::setting(format!("{count} mean_value for {} channels", sizes[0]))),
        }
    }

    /// Writes the transformed item to `out`.
    pub fn apply(&self, item: &Item, random: &mut Random, out: &mut [f32]) {
        let [channels, height, width] = item.sizes;
        let crop = self.transform.crop;
        let (rows, columns) = if crop == 0 { (height, width) } else { (crop, crop) };
        let offset = |size: usize, random: &mut Random| match self.phase {
            _ if crop == 0 => 0,
            Phase::Train => random.below(size - crop + 1),
            Phase::Test => (size - crop) / 2,
        };
        let (top, left) = (offset(height, random), offset(width, random));
        let mirror = self.transform.mirror && random.below(2) == 1;
        let means = &self.transform.mean_values;
        for c in 0..channels {
            let channel_mean = means.get(c).or(means.first()).copied().unwrap_or(0.0);
            for y in 0..rows {
                let from = (c * height + top + y) * width + left;
                let to = (c * rows + y) * columns;
                for x in 0..columns {
                    let mean = self.mean.as_ref().map_or(channel_mean, |mean| mean.data()[from + x]);
                    let place = to + if mirror { columns - 1 - x } else { x };
                    out[place] = (item.values[from + x] - mean) * self.transform.scale;
                }
            }
        }
    }
}
