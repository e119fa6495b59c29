//! Known architectures as functions that return graphs, and fixed filters as numbers. No weights live here.
//!
//! Every network has one input called `input` `(1, C, H, W)` and one output called `output` `(1, classes)`: logits,
//! with no softmax behind them. Parameters carry the names of the implementation that made the network known, so
//! that its checkpoints fit.
//!
//! ```
//! use ocellus_zoo::{Options, build};
//!
//! // ResNet-18 for 102 classes of flowers, at its usual 3x224x224.
//! let graph = build("resnet18", &Options::default().with_classes(102))?;
//! assert_eq!(graph.shape(graph.find_output("output").unwrap()).dims(), [1, 102]);
//! # Ok::<(), ocellus_zoo::ZooError>(())
//! ```
#![forbid(unsafe_code)]

mod alexnet;
mod digits;
mod error;
pub mod filters;
mod lenet;
mod mobilenet_v2;
mod options;
mod parts;
mod registry;
mod resnet;
mod resnet_cifar;
mod squeezenet;
mod vgg;

pub use alexnet::alexnet;
pub use digits::digits;
pub use error::ZooError;
pub use lenet::lenet;
pub use mobilenet_v2::mobilenet_v2;
pub use options::Options;
pub use registry::{build, default_classes, default_input, is_known, names};
pub use resnet::resnet;
pub use resnet_cifar::resnet_cifar;
pub use squeezenet::{SqueezeNet, squeezenet};
pub use vgg::vgg;
