//! One layer as Caffe's newest form describes it, whichever generation the file is of.

use super::message::{Fault, Message};
use super::upgrade;

/// What training may do with one of a layer's parameters.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::caffe) struct Share {
    /// Parameters of one name are one parameter.
    pub name: Option<String>,
    /// It may have another shape than the first of its name, if it has as many numbers.
    pub permissive: bool,
    pub lr_mult: f32,
    pub decay_mult: f32,
}

impl Default for Share {
    fn default() -> Self {
        Share { name: None, permissive: false, lr_mult: 1.0, decay_mult: 1.0 }
    }
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
                lr_mult: param.f32("lr_mult", 1.0)?,
                decay_mult: param.f32("decay_mult", 1.0)?,
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

    /// The layer's settings: the message `name`, or an empty one. Settings of other layers, and fields that are not
    /// `known`, are refused.
    pub(in crate::caffe) fn settings(&self, name: &str, known: &[&str]) -> Result<Message<'a>, Fault> {
        let own = [name, "transform_param", "loss_param"];
        let stray = |field: &str| !COMMON.contains(&field) && !own.contains(&field);
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
