//! What may be chosen about a network from the zoo?

use ocellus_graph::{Graph, GraphError};

use crate::ZooError;

/// Classes and input size; what is `None` is as in the network's paper.
///
/// ```
/// use ocellus_zoo::Options;
/// let grey = Options::default().with_classes(10).with_input([1, 64, 64]);
/// assert_eq!(grey.channels, Some(1));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Options {
    /// Classes told apart: how many logits there are.
    pub classes: Option<usize>,
    /// Channels of the image: 1 for grey, 3 for colour.
    pub channels: Option<usize>,
    /// Rows of the image.
    pub height: Option<usize>,
    /// Columns of the image.
    pub width: Option<usize>,
    /// Global average pooling before the first fully connected layer of a network whose head is made for one size of
    /// image, so that it takes any. Other networks stay as they are.
    pub global_pooling: bool,
}

impl Options {
    /// The same options for this many classes.
    pub fn with_classes(mut self, classes: usize) -> Self {
        self.classes = Some(classes);
        self
    }

    /// The same options for images of `[channels, height, width]`.
    pub fn with_input(mut self, [channels, height, width]: [usize; 3]) -> Self {
        (self.channels, self.height, self.width) = (Some(channels), Some(height), Some(width));
        self
    }

    /// The same options with global pooling before a head that is made for one size of image.
    pub fn with_global_pooling(mut self) -> Self {
        self.global_pooling = true;
        self
    }
}

/// A network's size, every option decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) classes: usize,
    pub(crate) channels: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
}

/// The most that any option may be; beyond it parameters and images could not be counted.
const MOST: usize = 1 << 24;

impl Size {
    /// This size, with what `options` chooses put in its place.
    pub(crate) fn choose(self, network: &str, options: &Options) -> Result<Size, ZooError> {
        let pick = |what: &str, chosen: Option<usize>, usual: usize| match chosen.unwrap_or(usual) {
            value @ 1..=MOST => Ok(value),
            value => Err(ZooError::Option(format!("{network}: {what} must be 1 to {MOST}, got {value}"))),
        };
        Ok(Size {
            classes: pick("classes", options.classes, self.classes)?,
            channels: pick("channels", options.channels, self.channels)?,
            height: pick("height", options.height, self.height)?,
            width: pick("width", options.width, self.width)?,
        })
    }

    /// The shape of the input, one image: `(1, C, H, W)`.
    pub(crate) fn input(&self) -> [usize; 4] {
        [1, self.channels, self.height, self.width]
    }

    /// Tells of a graph that could not be made because the image is too small: below `smallest` pixels a side.
    pub(crate) fn explain(
        &self,
        network: &str,
        smallest: usize,
        made: Result<Graph, GraphError>,
    ) -> Result<Graph, ZooError> {
        let (network, image) = (network.to_string(), [self.height, self.width]);
        made.map_err(|source| match image.iter().any(|&side| side < smallest) {
            true => ZooError::Fit { network, image, source: Box::new(source), smallest },
            false => ZooError::Graph(source),
        })
    }
}
