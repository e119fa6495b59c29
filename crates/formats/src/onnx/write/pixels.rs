//! What a network does to the pixels it is given, if it is asked to do that itself.

use super::graph::Writer;

/// `y = (x scale - mean) / std` for each channel, of pixels from 0 to 255 in the order red, green, blue.
///
/// Decoding, resizing and cropping stay outside.
#[derive(Clone, Debug, PartialEq)]
pub struct Pixels {
    /// What a pixel's value is multiplied by first; 1/255 makes 0 to 1 of it.
    pub scale: f64,
    /// The mean of each channel, in the order in which the network wants them.
    pub mean: Vec<f32>,
    /// The standard deviation of each channel, likewise.
    pub std: Vec<f32>,
    /// Whether the network wants blue first.
    pub reversed: bool,
}

impl Pixels {
    /// Adds the nodes behind the input `tensor` of `channels` channels and `rank` axes; gives what the network reads.
    pub(super) fn write(&self, writer: &mut Writer, tensor: &str, shape: &[usize]) -> Result<String, String> {
        let &[_, channels, ..] = shape else {
            return Err(format!("its input has the shape {shape:?}, which is no image"));
        };
        for (what, numbers) in [("means", &self.mean), ("deviations", &self.std)] {
            if numbers.len() != channels {
                return Err(format!("{} {what} for {channels} channels", numbers.len()));
            }
        }
        if let Some(zero) = self.std.iter().find(|std| **std == 0.0) {
            return Err(format!("a deviation is {zero}"));
        }
        let mut current = tensor.to_string();
        if self.reversed {
            let indices = writer.wholes("pixels.order", (0..channels as i64).rev().collect());
            current =
                writer.inner("pixels.reversed", "Gather", &[&current, &indices], &[("axis", 1_usize.into())]);
        }
        // (x scale - mean) / std = x (scale / std) - mean / std
        let mut dims = vec![1, channels as i64];
        dims.extend(std::iter::repeat_n(1, shape.len() - 2));
        let factors: Vec<f32> = self.std.iter().map(|&std| (self.scale / f64::from(std)) as f32).collect();
        let pairs = self.mean.iter().zip(&self.std);
        let offsets: Vec<f32> =
            pairs.map(|(&mean, &std)| (-f64::from(mean) / f64::from(std)) as f32).collect();
        let factors = writer.floats("pixels.factor", dims.clone(), factors);
        let scaled = writer.inner("pixels.scaled", "Mul", &[&current, &factors], &[]);
        let offsets = writer.floats("pixels.offset", dims, offsets);
        Ok(writer.inner("pixels.normalised", "Add", &[&scaled, &offsets], &[]))
    }
}
