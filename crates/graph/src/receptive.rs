//! Which part of the image does each value see?
//!
//! One pixel of a value sees a square of the input image. From node to node, with r the pixels the window reaches over
//! and s its stride, `size += (r - 1) stride` and `stride *= s` (Araujo, Norris and Sim, "Computing receptive fields of
//! convolutional neural networks", Distill 2019, equations 1 and 2).

use ocellus_tensor::{Shape, Window};

use crate::ops::{Interpolation, LrnRegion, Slice};
use crate::{Graph, Node, Op, Source, ValueId};

/// What one pixel of a value sees of the input image, along height and width.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReceptiveField {
    /// Pixels of the image that one pixel depends on, the padding around it included.
    pub size: [usize; 2],
    /// Pixels of the image between neighbours; below 1 where the image is enlarged.
    pub stride: [f64; 2],
}

impl ReceptiveField {
    const PIXEL: ReceptiveField = ReceptiveField { size: [1; 2], stride: [1.0; 2] };

    /// Seen through a window that reaches over `reach` pixels and steps by `stride`.
    fn through(mut self, reach: [usize; 2], stride: [f64; 2]) -> Self {
        for axis in 0..2 {
            let wider = ((reach[axis] - 1) as f64 * self.stride[axis]).ceil() as usize;
            self.size[axis] = self.size[axis].saturating_add(wider);
            self.stride[axis] *= stride[axis];
        }
        self
    }

    /// What a value sees that is made of two.
    fn joined(self, other: Self) -> Self {
        ReceptiveField {
            size: [self.size[0].max(other.size[0]), self.size[1].max(other.size[1])],
            stride: [self.stride[0].max(other.stride[0]), self.stride[1].max(other.stride[1])],
        }
    }
}

impl Graph {
    /// By value: what one of its pixels sees; `None` where pixels mean nothing any more (after global pooling,
    /// flattening or a linear layer) or never did (parameters, labels). A gate made by global pooling does not
    /// widen what it is multiplied with.
    pub fn receptive_fields(&self) -> Vec<Option<ReceptiveField>> {
        let mut fields: Vec<Option<ReceptiveField>> = self
            .values()
            .iter()
            .map(|value| {
                (value.source == Source::Input && value.shape.rank() == 4).then_some(ReceptiveField::PIXEL)
            })
            .collect();
        for node in self.nodes() {
            let inputs = node.inputs.iter().filter_map(|input| fields[input.index()]);
            let seen = inputs.reduce(ReceptiveField::joined);
            let made = seen.and_then(|field| self.seen_through(node, field));
            node.outputs.iter().for_each(|output| fields[output.index()] = made);
        }
        fields
    }

    fn seen_through(&self, node: &Node, field: ReceptiveField) -> Option<ReceptiveField> {
        let windowed = |window: &Window| {
            let reach = [window.reach(0), window.reach(1)];
            field.through(reach, window.stride.map(|stride| stride as f64))
        };
        match &node.op {
            Op::Conv2d(op) => Some(windowed(&op.window)),
            Op::MaxPool(op) => op.window.as_ref().map(windowed),
            Op::MaxPoolPlaces(op) => op.pool.window.as_ref().map(windowed),
            Op::StochasticPool(op) => op.window.as_ref().map(windowed),
            Op::AvgPool(op) => op.window.as_ref().map(windowed),
            Op::ConvTranspose2d(op) => {
                let seen = |axis: usize| op.window.reach(axis).div_ceil(op.window.stride[axis]);
                Some(field.through([seen(0), seen(1)], op.window.stride.map(|stride| 1.0 / stride as f64)))
            }
            Op::Upsample(op) => {
                let pixels = if op.interpolation == Interpolation::Bilinear { 2 } else { 1 };
                Some(field.through([pixels; 2], op.factor.map(|factor| 1.0 / factor as f64)))
            }
            Op::Lrn(op) if op.region == LrnRegion::WithinChannel => {
                Some(field.through([op.size; 2], [1.0; 2]))
            }
            Op::Slice(Slice { axis: 2, step, .. }) => Some(field.through([1; 2], [*step as f64, 1.0])),
            Op::Slice(Slice { axis: 3, step, .. }) => Some(field.through([1; 2], [1.0, *step as f64])),
            Op::Pad(_) => Some(field),
            Op::Transpose(op) => (op.order.ends_with(&[2, 3])).then_some(field),
            Op::Reduce(op) => (op.axes.iter().all(|&axis| axis < 2)).then_some(field),
            op if keeps_pixels(op) => self.same_image(node).then_some(field),
            _ => None,
        }
    }

    /// Whether height and width come out of a node as they went in.
    fn same_image(&self, node: &Node) -> bool {
        let image = |&value: &ValueId| -> Option<[usize; 2]> {
            let shape: &Shape = self.shape(value);
            (shape.rank() == 4).then(|| [shape[2], shape[3]])
        };
        let output = node.outputs.first().and_then(image);
        output.is_some() && node.inputs.iter().filter_map(image).any(|input| Some(input) == output)
    }
}

/// Operations that work on each pixel alone (or take statistics, which see everything but are no part of the field).
fn keeps_pixels(op: &Op) -> bool {
    matches!(
        op,
        Op::BatchNorm(_)
            | Op::Norm(_)
            | Op::Lrn(_)
            | Op::Activation(_)
            | Op::Stepwise(_)
            | Op::Prelu(_)
            | Op::Dropout(_)
            | Op::Binary(_)
            | Op::Concat(_)
            | Op::Slice(_)
            | Op::Reshape(_)
            | Op::Softmax(_)
            | Op::BroadcastTo(_)
    )
}
