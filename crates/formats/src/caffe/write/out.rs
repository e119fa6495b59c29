//! Layers in Caffe's words, before they are written down.

use ocellus_graph::Init;

/// All layers of a network, in its order.
pub(in crate::caffe) type Layers = Vec<Layer>;

/// One layer.
#[derive(Clone, Debug, PartialEq, Default)]
pub(in crate::caffe) struct Layer {
    pub name: String,
    pub kind: String,
    pub bottoms: Vec<String>,
    pub tops: Vec<String>,
    /// `param` messages, one for each blob, if any says more than the default.
    pub params: Vec<Param>,
    /// The name of the layer's own message, and its fields.
    pub settings: Option<(&'static str, Vec<Field>)>,
    pub blobs: Vec<Blob>,
}

/// What training may do with a blob.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::caffe) struct Param {
    /// The name under which layers share it.
    pub name: Option<String>,
    pub lr_mult: f32,
    pub decay_mult: f32,
}

/// A named setting.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::caffe) enum Field {
    /// A whole number.
    Whole(&'static str, i64),
    Real(&'static str, f32),
    /// `true`, `false` or an enumerator.
    Word(&'static str, &'static str),
    /// How a blob is filled before training.
    Filler(&'static str, Init),
    /// `shape { dim: .. }`.
    Shape(&'static str, Vec<i64>),
}

/// Where a blob's numbers come from.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::caffe) enum Blob {
    /// A parameter of the network, its axes of size 1 in front and behind left out down to these sizes.
    Param { name: String, sizes: Vec<usize>, factor: f32 },
    /// Numbers that the layer needs to do what the network's operation does.
    Given { sizes: Vec<usize>, numbers: Vec<f32> },
}

impl Layer {
    pub fn new(name: impl Into<String>, kind: impl Into<String>) -> Self {
        Layer { name: name.into(), kind: kind.into(), ..Layer::default() }
    }

    pub fn bottoms(mut self, bottoms: impl IntoIterator<Item = String>) -> Self {
        self.bottoms = bottoms.into_iter().collect();
        self
    }

    pub fn top(mut self, top: impl Into<String>) -> Self {
        self.tops.push(top.into());
        self
    }

    pub fn settings(mut self, message: &'static str, fields: Vec<Field>) -> Self {
        self.settings = Some((message, fields));
        self
    }
}
