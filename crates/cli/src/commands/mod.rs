//! The commands, a file each: what may be said, what is done, what is printed.

pub mod bench;
pub mod compare;
pub mod convert;
pub mod data;
pub mod embed;
pub mod explain;
pub mod lr_find;
pub mod pairs;
pub mod predict;
pub mod pull;
pub mod quantize;
pub mod report;
pub mod run;
pub mod solve;
pub mod summary;
pub mod train;
pub mod val;
