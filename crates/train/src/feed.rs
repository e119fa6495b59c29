//! Which inputs of a training graph do images and labels go to?
//!
//! | input | what it gets |
//! |---|---|
//! | of rank 4, in their order; without any, the only input that is none of those below | the images of a group: the first, the second, ... |
//! | `label`, `label2`, ... `(N)` | their classes, as indices |
//! | `same` `(N)` | 1 where the first two are of one class, else 0 |

use ocellus_engine::Session;
use ocellus_graph::Graph;

use crate::TrainError;
use crate::optimiser::{RATE, STEP};
use crate::stepper::{LABEL, TARGET};
use crate::towers::numbered;

/// The input that says whether a pair is of one class.
pub(crate) const SAME: &str = "same";

/// Names of the inputs that data goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Feed {
    /// By image of a group.
    images: Vec<String>,
    /// By image of a group, where the graph asks for it.
    labels: Vec<Option<String>>,
    same: bool,
}

impl Feed {
    /// Finds the inputs of `graph`.
    ///
    /// Errors: there is none for images, or one that nothing is known to go to.
    pub fn of(graph: &Graph) -> Result<Feed, TrainError> {
        let inputs = || graph.inputs().iter().map(|&id| graph.value(id));
        let images = samples(graph);
        let wanted = |name: String| graph.find_input(&name).map(|_| name);
        let labels: Vec<Option<String>> =
            (0..images.len()).map(|index| wanted(numbered(LABEL, index))).collect();
        let same = images.len() > 1 && graph.find_input(SAME).is_some();
        let is_fed = |name: &str| {
            let by_data = images.iter().chain(labels.iter().flatten()).any(|known| known == name);
            by_data || (same && name == SAME) || [TARGET, RATE, STEP].contains(&name)
        };
        let stray = inputs().find(|input| !is_fed(&input.name));
        match (images.is_empty(), stray) {
            (false, None) => Ok(Feed { images, labels, same }),
            (_, Some(stray)) => Err(TrainError::setting(format!(
                "the network {} has an input {} {} that images and classes do not fill; training feeds images (N, C, H, \
                 W), their classes to label, label2, ... (N), and to same (N) whether two are of one class",
                graph.name, stray.name, stray.shape
            ))),
            (true, None) => Err(TrainError::setting(format!(
                "the network {} has no input for images (N, C, H, W)",
                graph.name
            ))),
        }
    }

    /// Images in a group.
    pub fn images(&self) -> usize {
        self.images.len()
    }

    /// Sets the inputs: `images` and `labels` of all first images, then of all second ones, and so on.
    pub fn set(&self, session: &mut Session, images: &[f32], labels: &[f32]) -> Result<(), TrainError> {
        let count = self.images.len();
        let (pixels, part) = (images.len() / count, labels.len() / count);
        for (index, (image, label)) in self.images.iter().zip(&self.labels).enumerate() {
            session.set_input(image, &images[index * pixels..][..pixels])?;
            if let Some(label) = label {
                session.set_input(label, &labels[index * part..][..part])?;
            }
        }
        if self.same {
            let pairs = labels[..part].iter().zip(&labels[part..]);
            let same: Vec<f32> = pairs.map(|(a, b)| f32::from(a == b)).collect();
            session.set_input(SAME, &same)?;
        }
        Ok(())
    }
}

/// The inputs that images go to, or samples of another rank if the network has but one input for them.
fn samples(graph: &Graph) -> Vec<String> {
    let inputs = || graph.inputs().iter().map(|&id| graph.value(id));
    let images: Vec<String> =
        inputs().filter(|input| input.shape.rank() == 4).map(|input| input.name.clone()).collect();
    if !images.is_empty() {
        return images;
    }
    let named = [LABEL, SAME, TARGET, RATE, STEP];
    let others: Vec<String> =
        inputs().map(|input| input.name.clone()).filter(|name| !named.contains(&name.as_str())).collect();
    if others.len() == 1 { others } else { Vec::new() }
}
