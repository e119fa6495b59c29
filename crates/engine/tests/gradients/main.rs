//! Every gradient against central differences, in `f64`, on the reference kernels.
//!
//! For each tensor that gets a gradient g, and several random directions d:
//! `(loss(t + eps d) - loss(t - eps d)) / 2 eps` must be `sum g d`.

mod networks;
mod operations;
mod runner;
mod sharing;
