//! Passes over the graph before it is planned.

mod concat;
mod fuse;

pub use concat::{Home, homes, joins_in_place, parts};
pub use fuse::{Group, fuse, singles};
