//! Data for training and evaluation: sources, decoding, preprocessing, augmentation and batches.
//!
//! ```text
//! Dataset::open -> Split::verify -> statistics -> Preprocess + Augment -> Loader -> Batch
//! ```
//!
//! Everything random depends on (seed, epoch, sample) only, so that the same seed gives the same batches
//! with any number of threads, and an epoch can be resumed from its middle.
#![forbid(unsafe_code)]

mod alter;
mod augment;
mod bilinear;
mod check;
mod companions;
mod dataset;
mod decode;
mod error;
mod image;
mod loader;
mod palette_tiff;
mod preprocess;
mod rng;
mod sampler;
mod sources;
mod split;
mod statistics;

pub use alter::{Alter, Policy};
pub use augment::{Augment, AugmentKind, RandomPlace};
pub use check::{BadImage, DataReport, Group, Pair, PartReport, Place, check};
pub use companions::{Companions, Grouping, Place as GroupPlace};
pub use dataset::{Content, Dataset, LabelledImage, OpenOptions, SplitLists};
pub use error::{DataError, DecodeError};
pub use image::{Image, ImageView};
pub use loader::{Batch, Loader, LoaderConfig};
pub use preprocess::{ChannelOrder, Fit, Preprocess, Preprocessor};
pub use rng::{Rng, Stream};
pub use sampler::Sampler;
pub use split::{Excluded, ImageShape, Sample, Split, VerifyOptions};
pub use statistics::statistics;
