//! Pooling, and operations that only move numbers.

use ocellus_tensor::{Padding, Rounding, Window};

use super::Builder;
use crate::ops::{
    AvgPool, Concat, Interpolation, MaxPool, Pad, PadMode, Reshape, Slice, Transpose, Upsample,
};
use crate::{Op, ValueId};

impl Builder {
    /// Max pooling; partial windows at the end are dropped.
    pub fn max_pool(&mut self, name: &str, x: ValueId, window: Window) -> ValueId {
        self.node(name, Op::MaxPool(MaxPool { window: Some(window), rounding: Rounding::Floor }), &[x])
    }

    /// Max pooling; a partial window at the end is kept (Caffe's rule).
    pub fn max_pool_ceil(&mut self, name: &str, x: ValueId, window: Window) -> ValueId {
        self.node(name, Op::MaxPool(MaxPool { window: Some(window), rounding: Rounding::Ceil }), &[x])
    }

    /// Average pooling; partial windows at the end are dropped, padding counts as zeros.
    pub fn avg_pool(&mut self, name: &str, x: ValueId, window: Window) -> ValueId {
        self.average(name, x, (Some(window), Rounding::Floor))
    }

    /// Average pooling; a partial window at the end is kept (Caffe's rule), padding counts as zeros.
    pub fn avg_pool_ceil(&mut self, name: &str, x: ValueId, window: Window) -> ValueId {
        self.average(name, x, (Some(window), Rounding::Ceil))
    }

    /// The mean of each channel: `(N, C, 1, 1)`.
    pub fn global_avg_pool(&mut self, name: &str, x: ValueId) -> ValueId {
        self.average(name, x, (None, Rounding::Floor))
    }

    /// The largest of each channel: `(N, C, 1, 1)`.
    pub fn global_max_pool(&mut self, name: &str, x: ValueId) -> ValueId {
        self.node(name, Op::MaxPool(MaxPool { window: None, rounding: Rounding::Floor }), &[x])
    }

    fn average(&mut self, name: &str, x: ValueId, over: (Option<Window>, Rounding)) -> ValueId {
        let (window, rounding) = over;
        self.node(name, Op::AvgPool(AvgPool { window, rounding, count_include_pad: true }), &[x])
    }

    /// Joins channels (axis 1).
    pub fn concat(&mut self, name: &str, parts: &[ValueId]) -> ValueId {
        self.node(name, Op::Concat(Concat { axis: 1 }), parts)
    }

    /// A part along one axis.
    pub fn slice(&mut self, name: &str, x: ValueId, slice: Slice) -> ValueId {
        self.node(name, Op::Slice(slice), &[x])
    }

    /// Cuts the channels (axis 1) into parts of these sizes: nodes `NAME.0`, `NAME.1`, ...
    pub fn split(&mut self, name: &str, x: ValueId, sizes: &[usize]) -> Vec<ValueId> {
        let (channels, total) =
            (self.channels(x), sizes.iter().fold(0usize, |sum, &size| sum.saturating_add(size)));
        if total != channels {
            self.refuse(name, format!("parts of {total} channels together do not split {channels}"));
        }
        let mut start = 0;
        let mut parts = Vec::with_capacity(sizes.len());
        for (i, &count) in sizes.iter().enumerate() {
            parts.push(self.slice(&format!("{name}.{i}"), x, Slice { axis: 1, start, step: 1, count }));
            start += count;
        }
        parts
    }

    /// Each image as one row: `(N, C H W)`.
    pub fn flatten(&mut self, name: &str, x: ValueId) -> ValueId {
        self.reshape(name, x, &[0, -1])
    }

    /// The same numbers in another shape; 0 keeps a size, -1 stands for what remains.
    pub fn reshape(&mut self, name: &str, x: ValueId, dims: &[isize]) -> ValueId {
        self.node(name, Op::Reshape(Reshape { dims: dims.to_vec() }), &[x])
    }

    /// Output axis i is input axis `order[i]`.
    pub fn transpose(&mut self, name: &str, x: ValueId, order: &[usize]) -> ValueId {
        self.node(name, Op::Transpose(Transpose { order: order.to_vec() }), &[x])
    }

    /// A border around the image.
    pub fn pad(&mut self, name: &str, x: ValueId, padding: Padding, mode: PadMode) -> ValueId {
        self.node(name, Op::Pad(Pad { padding, channels: [0; 2], mode }), &[x])
    }

    /// The image enlarged `factor` times along both axes.
    pub fn upsample(
        &mut self,
        name: &str,
        x: ValueId,
        factor: usize,
        interpolation: Interpolation,
    ) -> ValueId {
        self.node(name, Op::Upsample(Upsample { factor: [factor; 2], interpolation }), &[x])
    }
}
