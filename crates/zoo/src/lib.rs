//! Known architectures as functions that return graphs, and fixed filters as numbers. No weights live here.
//!
//! Every network has an input called `input` `(1, C, H, W)` and an output called `output` `(1, classes)`: logits, with
//! no softmax behind them. (GoogLeNet and Inception-v3 have auxiliary outputs beside it, for training alone; the
//! Siamese network has two inputs, two outputs and a loss of its own.) Parameters carry the names of the
//! implementation that made the network known, so that its checkpoints fit: torchvision's where it has the network,
//! else timm's or Caffe's. Initial weights are drawn as there.
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

mod airbench;
mod alexnet;
mod alexnet_caffe;
mod convnext;
mod densenet;
mod digits;
mod efficientnet;
mod error;
pub mod filters;
mod googlenet;
mod inception_v3;
mod inception_v4;
mod lenet;
mod mlp;
mod mobilenet_v1;
mod mobilenet_v2;
mod nielsen;
mod nin;
mod options;
mod parts;
mod registry;
mod resnet;
mod resnet_cifar;
mod resnet_v2;
mod siamese;
mod squeezenet;
mod vgg;

pub use airbench::airbench94;
pub use alexnet::alexnet;
pub use alexnet_caffe::{alexnet_caffe, caffenet};
pub use convnext::convnext_tiny;
pub use densenet::densenet121;
pub use digits::digits;
pub use efficientnet::efficientnet_b0;
pub use error::ZooError;
pub use googlenet::googlenet;
pub use inception_v3::inception_v3;
pub use inception_v4::inception_v4;
pub use lenet::lenet;
pub use mlp::mlp;
pub use mobilenet_v1::mobilenet_v1;
pub use mobilenet_v2::mobilenet_v2;
pub use nielsen::nielsen;
pub use nin::{nin_cifar, nin_imagenet};
pub use options::Options;
pub use registry::{build, default_classes, default_input, is_known, names};
pub use resnet::{resnet, resnet_v1, resnext50_32x4d, se_resnet50, wide_resnet50_2};
pub use resnet_cifar::resnet_cifar;
pub use resnet_v2::resnet_v2;
pub use siamese::siamese_lenet;
pub use squeezenet::{SqueezeNet, squeezenet};
pub use vgg::vgg;
