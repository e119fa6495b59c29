//! Why can a network (or filter) not be made?

use ocellus_graph::GraphError;

/// A network or filter that cannot be made as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ZooError {
    /// No network has this name.
    #[error("there is no network called {name} in the zoo{hint}; it has {}", .names.join(", "))]
    Unknown {
        /// The name asked for.
        name: String,
        /// `, did you mean NAME?` for the nearest name, or nothing if none is near.
        hint: String,
        /// All names.
        names: Vec<&'static str>,
    },
    /// An option has a value that nothing can be made of.
    #[error("{0}")]
    Option(String),
    /// The network cannot take images this small.
    #[error(
        "{network}: images of {}x{} pixels do not fit: {source}; give at least {smallest}x{smallest} pixels",
        .image[0], .image[1]
    )]
    Fit {
        /// The network's name.
        network: String,
        /// Rows and columns asked for.
        image: [usize; 2],
        /// Which layer refuses, and why.
        source: Box<GraphError>,
        /// Rows and columns that fit.
        smallest: usize,
    },
    /// The network's first fully connected layer is made for images of another size.
    #[error(
        "{network}: {layer} is made for {side}x{side} values of each channel, and an image of {}x{} leaves {left}; give \
         images of the network's own size, or take {network}-gap, which averages over the whole image (global \
         pooling) before that layer and so takes any size",
        .image[0], .image[1]
    )]
    FixedSize {
        /// The network's name.
        network: String,
        /// The layer that fixes the size.
        layer: String,
        /// Rows and columns that it is made for.
        side: usize,
        /// Rows and columns of the image asked for.
        image: [usize; 2],
        /// What is left of it before that layer.
        left: String,
    },
    /// A network that its own description contradicts.
    #[error(transparent)]
    Graph(#[from] GraphError),
}
