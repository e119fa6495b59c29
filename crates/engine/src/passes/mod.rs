//! Passes over the graph before it is planned.

mod fuse;

pub use fuse::{Group, fuse, singles};
