//! One layer as Caffe's newest form describes it, whichever generation the file is of.

use super::message::{Fault, Field, Message};
use super::upgrade;

/// What training may do with one of a layer's parameters.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::caffe) struct Share {
    /// Parameters of one name are one parameter.
    pub name: Option<String>,
    /// It may have another shape than the first of its name, if it has as many numbers.
    pub permissive: bool,
    /// Times the learning rate, where it is said; else 1.
    pub lr_mult: Option<f32>,
    /// Times the weight decay, where it is said; else 1.
    pub decay_mult: Option<f32>,
}

/// A layer: what it is, what it reads and makes, and its own message.
#[derive(Clone, Debug)]
pub(in crate::caffe) struct Layer<'a> {
    pub line: u32,
    pub name: String,
    /// The type, as `Convolution`.
    pub kind: String,
    pub bottoms: Vec<String>,
    pub tops: Vec<String>,
    pub shares: Vec<Share>,
    pub loss_weights: Vec<f32>,
    /// For each bottom whether gradients go there; empty if nothing is said.
    pub propagate_down: Vec<bool>,
    pub body: Message<'a>,
}

/// How parameters of one name may differ, in the order of the enumeration.
pub(in crate::caffe) const SHARE_MODES: [&str; 2] = ["STRICT", "PERMISSIVE"];

/// Fields of `LayerParameter` that are not the layer's own settings.
const COMMON: [&str; 14] = [
    "name",
    "type",
    "bottom",
    "top",
    "phase",
    "loss_weight",
    "param",
    "blobs",
    "propagate_down",
    "include",
    "exclude",
    "blobs_lr",
    "weight_decay",
    "blob_share_mode",
];

/// Messages of settings that any layer may have; Caffe passes over those of another type than the layer's.
const SETTINGS: [&str; 52] = [
    "transform_param",
    "loss_param",
    "accuracy_param",
    "argmax_param",
    "axpy_param",
    "batch_norm_param",
    "bias_param",
    "clip_param",
    "concat_param",
    "contrastive_loss_param",
    "convolution_param",
    "crop_param",
    "data_param",
    "dropout_param",
    "dummy_data_param",
    "eltwise_param",
    "elu_param",
    "embed_param",
    "exp_param",
    "flatten_param",
    "hdf5_data_param",
    "hdf5_output_param",
    "hinge_loss_param",
    "image_data_param",
    "infogain_loss_param",
    "inner_product_param",
    "input_param",
    "log_param",
    "lrn_param",
    "memory_data_param",
    "mvn_param",
    "parameter_param",
    "permute_param",
    "pooling_param",
    "power_param",
    "prelu_param",
    "python_param",
    "recurrent_param",
    "reduction_param",
    "relu_param",
    "relu6_param",
    "reshape_param",
    "scale_param",
    "sigmoid_param",
    "slice_param",
    "softmax_param",
    "spp_param",
    "swish_param",
    "tanh_param",
    "threshold_param",
    "tile_param",
    "window_data_param",
];

impl<'a> Layer<'a> {
    /// Reads a message of the field `layer`.
    pub(in crate::caffe) fn read(body: &Message<'a>) -> Result<Self, Fault> {
        let mut shares = Vec::new();
        for field in body.all("param") {
            let param = field.as_message()?;
            param.only("param", &["name", "lr_mult", "decay_mult", "share_mode"])?;
            shares.push(Share {
                name: param.text("name")?.filter(|name| !name.is_empty()).map(str::to_string),
                permissive: param.choice("share_mode", &SHARE_MODES)? == 1,
                lr_mult: param.get("lr_mult").map(Field::as_f32).transpose()?,
                decay_mult: param.get("decay_mult").map(Field::as_f32).transpose()?,
            });
        }
        Self::with_shares(body.clone(), body.text("type")?.unwrap_or("").to_string(), shares)
    }

    /// A layer of this type; the rest is the same in every generation.
    pub(in crate::caffe) fn with_shares(
        body: Message<'a>,
        kind: String,
        shares: Vec<Share>,
    ) -> Result<Self, Fault> {
        Ok(Layer {
            line: body.line,
            name: body.text("name")?.unwrap_or("").to_string(),
            kind,
            bottoms: body.texts("bottom")?,
            tops: body.texts("top")?,
            shares,
            loss_weights: body.f32s("loss_weight")?,
            propagate_down: body.bools("propagate_down")?,
            body,
        })
    }

    pub(in crate::caffe) fn fault(&self, what: impl Into<String>) -> Fault {
        self.fault_with(what, "change that layer")
    }

    pub(in crate::caffe) fn fault_with(&self, what: impl Into<String>, next: &str) -> Fault {
        Fault::new(self.line, format!("layer {} ({}): {}", self.name, self.kind, what.into()), next)
    }

    /// The layer's settings: the message `name`, or an empty one. Fields that are not `known`, here or beside it, are
    /// refused.
    pub(in crate::caffe) fn settings(&self, name: &str, known: &[&str]) -> Result<Message<'a>, Fault> {
        let stray = |field: &str| !COMMON.contains(&field) && !SETTINGS.contains(&field) && field != name;
        if let Some(field) = self.body.fields.iter().find(|field| stray(field.name)) {
            let next = format!("its settings stand in {}", if name.is_empty() { "no message" } else { name });
            return Err(self.fault_with(format!("has the field {} (line {})", field.name, field.line), &next));
        }
        let mut settings = Message { line: self.line, ..Message::default() };
        // Protobuf merges messages that stand several times.
        for field in self.body.all(name) {
            let message = field.as_message()?;
            message.only(&format!("layer {}: {name}", self.name), known)?;
            settings.fields.extend(message.fields.iter().cloned());
        }
        Ok(settings)
    }

    /// Refuses any number of inputs but this.
    pub(in crate::caffe) fn expect_bottoms(&self, count: usize) -> Result<(), Fault> {
        match self.bottoms.len() {
            given if given == count => Ok(()),
            given => Err(self.fault(format!("needs {count} bottoms, has {given}"))),
        }
    }
}

/// All layers of a network, each in the newest form, before the rules of phase and stage.
pub(in crate::caffe) fn read_all<'a>(net: &Message<'a>) -> Result<Vec<Layer<'a>>, Fault> {
    let mut upgrader = upgrade::Upgrader::default();
    let mut layers = Vec::new();
    // Caffe refuses a file that mixes the generations; in the order of the file it has one meaning, so it is read.
    for field in &net.fields {
        match field.name {
            "layer" => layers.push(Layer::read(field.as_message()?)?),
            "layers" => layers.extend(upgrader.layer(field.as_message()?)?),
            _ => {}
        }
    }
    Ok(layers)
}
