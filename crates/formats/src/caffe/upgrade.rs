//! Older generations of network descriptions, rewritten as Caffe rewrites them.
//!
//! V1 (2013): messages called `layers` with an enumerated `type`, `blobs_lr` and `weight_decay`. V0 (before): in each
//! of them a message `layer` with a type in lower case, all settings side by side, and padding as a layer of its own.
//! Source: the field names of Caffe's `caffe.proto` and the behaviour of its `upgrade_net_proto_text`.

use super::layer::{Layer, SHARE_MODES, Share};
use super::message::{Fault, Field, Message, Value};

/// V1's types by number, with the names they have now.
const V1_TYPES: [(&str, &str); 40] = [
    ("NONE", ""),
    ("ACCURACY", "Accuracy"),
    ("BNLL", "BNLL"),
    ("CONCAT", "Concat"),
    ("CONVOLUTION", "Convolution"),
    ("DATA", "Data"),
    ("DROPOUT", "Dropout"),
    ("EUCLIDEAN_LOSS", "EuclideanLoss"),
    ("FLATTEN", "Flatten"),
    ("HDF5_DATA", "HDF5Data"),
    ("HDF5_OUTPUT", "HDF5Output"),
    ("IM2COL", "Im2col"),
    ("IMAGE_DATA", "ImageData"),
    ("INFOGAIN_LOSS", "InfogainLoss"),
    ("INNER_PRODUCT", "InnerProduct"),
    ("LRN", "LRN"),
    ("MULTINOMIAL_LOGISTIC_LOSS", "MultinomialLogisticLoss"),
    ("POOLING", "Pooling"),
    ("RELU", "ReLU"),
    ("SIGMOID", "Sigmoid"),
    ("SOFTMAX", "Softmax"),
    ("SOFTMAX_LOSS", "SoftmaxWithLoss"),
    ("SPLIT", "Split"),
    ("TANH", "TanH"),
    ("WINDOW_DATA", "WindowData"),
    ("ELTWISE", "Eltwise"),
    ("POWER", "Power"),
    ("SIGMOID_CROSS_ENTROPY_LOSS", "SigmoidCrossEntropyLoss"),
    ("HINGE_LOSS", "HingeLoss"),
    ("MEMORY_DATA", "MemoryData"),
    ("ARGMAX", "ArgMax"),
    ("THRESHOLD", "Threshold"),
    ("DUMMY_DATA", "DummyData"),
    ("SLICE", "Slice"),
    ("MVN", "MVN"),
    ("ABSVAL", "AbsVal"),
    ("SILENCE", "Silence"),
    ("CONTRASTIVE_LOSS", "ContrastiveLoss"),
    ("EXP", "Exp"),
    ("DECONVOLUTION", "Deconvolution"),
];

/// V0's types that have a successor.
const V0_TYPES: [(&str, &str); 25] = [
    ("accuracy", "Accuracy"),
    ("bnll", "BNLL"),
    ("concat", "Concat"),
    ("conv", "Convolution"),
    ("data", "Data"),
    ("dropout", "Dropout"),
    ("euclidean_loss", "EuclideanLoss"),
    ("flatten", "Flatten"),
    ("hdf5_data", "HDF5Data"),
    ("hdf5_output", "HDF5Output"),
    ("im2col", "Im2col"),
    ("images", "ImageData"),
    ("infogain_loss", "InfogainLoss"),
    ("innerproduct", "InnerProduct"),
    ("lrn", "LRN"),
    ("multinomial_logistic_loss", "MultinomialLogisticLoss"),
    ("pool", "Pooling"),
    ("relu", "ReLU"),
    ("sigmoid", "Sigmoid"),
    ("softmax", "Softmax"),
    ("softmax_loss", "SoftmaxWithLoss"),
    ("split", "Split"),
    ("tanh", "TanH"),
    ("window_data", "WindowData"),
    ("hinge_loss", "HingeLoss"),
];

/// V0's settings: (type, field, message it moved to, its name there).
const V0_FIELDS: [(&str, &str, &str, &str); 33] = [
    ("conv", "num_output", "convolution_param", "num_output"),
    ("conv", "biasterm", "convolution_param", "bias_term"),
    ("conv", "weight_filler", "convolution_param", "weight_filler"),
    ("conv", "bias_filler", "convolution_param", "bias_filler"),
    ("conv", "pad", "convolution_param", "pad"),
    ("conv", "kernelsize", "convolution_param", "kernel_size"),
    ("conv", "group", "convolution_param", "group"),
    ("conv", "stride", "convolution_param", "stride"),
    ("innerproduct", "num_output", "inner_product_param", "num_output"),
    ("innerproduct", "biasterm", "inner_product_param", "bias_term"),
    ("innerproduct", "weight_filler", "inner_product_param", "weight_filler"),
    ("innerproduct", "bias_filler", "inner_product_param", "bias_filler"),
    ("pool", "pad", "pooling_param", "pad"),
    ("pool", "kernelsize", "pooling_param", "kernel_size"),
    ("pool", "stride", "pooling_param", "stride"),
    ("pool", "pool", "pooling_param", "pool"),
    ("dropout", "dropout_ratio", "dropout_param", "dropout_ratio"),
    ("lrn", "local_size", "lrn_param", "local_size"),
    ("lrn", "alpha", "lrn_param", "alpha"),
    ("lrn", "beta", "lrn_param", "beta"),
    ("lrn", "k", "lrn_param", "k"),
    ("concat", "concat_dim", "concat_param", "concat_dim"),
    ("data", "source", "data_param", "source"),
    ("data", "batchsize", "data_param", "batch_size"),
    ("data", "rand_skip", "data_param", "rand_skip"),
    ("images", "source", "image_data_param", "source"),
    ("images", "batchsize", "image_data_param", "batch_size"),
    ("images", "rand_skip", "image_data_param", "rand_skip"),
    ("images", "shuffle_images", "image_data_param", "shuffle"),
    ("images", "new_height", "image_data_param", "new_height"),
    ("images", "new_width", "image_data_param", "new_width"),
    ("hdf5_data", "source", "hdf5_data_param", "source"),
    ("hdf5_data", "batchsize", "hdf5_data_param", "batch_size"),
];

/// V0's settings of any data layer, which are now the transformation's.
const V0_TRANSFORM: [(&str, &str); 4] =
    [("scale", "scale"), ("meanfile", "mean_file"), ("cropsize", "crop_size"), ("mirror", "mirror")];

/// Padding layers seen so far: (top, bottom, pad).
#[derive(Default)]
pub(in crate::caffe) struct Upgrader<'a> {
    paddings: Vec<(String, String, Field<'a>)>,
}

impl<'a> Upgrader<'a> {
    /// A message called `layers`, upgraded; `None` for a padding layer, which joins those that read it.
    pub(in crate::caffe) fn layer(&mut self, body: &Message<'a>) -> Result<Option<Layer<'a>>, Fault> {
        let Some(inner) = body.message("layer")? else { return from_v1(body).map(Some) };
        if inner.text("type")? == Some("padding") {
            let (top, bottom) = (body.text("top")?.unwrap_or(""), body.text("bottom")?.unwrap_or(""));
            if let Some(pad) = inner.get("pad") {
                self.paddings.push((top.to_string(), bottom.to_string(), pad.clone()));
            }
            return Ok(None);
        }
        let mut layer = from_v0(body, inner)?;
        for bottom in &mut layer.bottoms {
            if let Some((_, from, pad)) = self.paddings.iter().find(|(top, ..)| top == bottom) {
                *bottom = from.clone();
                merge_padding(&mut layer.body, &layer.kind, pad)?;
            }
        }
        Ok(Some(layer))
    }
}

fn from_v1<'a>(body: &Message<'a>) -> Result<Layer<'a>, Fault> {
    let word = body.word("type")?.unwrap_or("NONE");
    let by_number = word.parse::<usize>().ok().and_then(|number| V1_TYPES.get(number));
    let named = V1_TYPES.iter().find(|(old, _)| *old == word).map(|(_, now)| *now);
    let Some(kind) = named.or(by_number.map(|(_, now)| *now)) else {
        let line = body.get("type").map_or(body.line, |field| field.line);
        let next = "Caffe has no such type of the old form";
        return Err(Fault::new(line, format!("the layer's type {word} is not known"), next));
    };
    Layer::with_shares(body.clone(), kind.to_string(), shares(body, body.texts("param")?)?)
}

/// The multipliers, which stood in lists of their own, and the shared names.
fn shares(body: &Message, names: Vec<String>) -> Result<Vec<Share>, Fault> {
    let (rates, decays) = (body.f32s("blobs_lr")?, body.f32s("weight_decay")?);
    let modes: Vec<&Field> = body.all("blob_share_mode").collect();
    let count = names.len().max(rates.len()).max(decays.len());
    let share = |i: usize| -> Result<Share, Fault> {
        let mode = modes.get(i).map(|field| field.as_choice(&SHARE_MODES)).transpose()?;
        Ok(Share {
            name: names.get(i).filter(|name| !name.is_empty()).cloned(),
            permissive: mode == Some(1),
            lr_mult: rates.get(i).copied(),
            decay_mult: decays.get(i).copied(),
        })
    };
    (0..count).map(share).collect()
}

fn from_v0<'a>(outer: &Message<'a>, inner: &Message<'a>) -> Result<Layer<'a>, Fault> {
    let old = inner.text("type")?.unwrap_or("").to_string();
    let Some((_, kind)) = V0_TYPES.iter().find(|(name, _)| *name == old) else {
        let next = "Caffe has no such type of the oldest form";
        return Err(Fault::new(inner.line, format!("the layer's type {old} is not known"), next));
    };
    let mut body = Message { line: outer.line, ..Message::default() };
    let ends = outer.fields.iter().filter(|field| matches!(field.name, "bottom" | "top"));
    body.fields.extend(ends.cloned());
    let (mut settings, mut transform) = (Vec::new(), Vec::new());
    let mut message = "";
    for field in &inner.fields {
        let moved = V0_FIELDS.iter().find(|(kind, name, ..)| *kind == old && *name == field.name);
        if let Some((_, _, into, name)) = moved {
            message = into;
            settings.push(Field { name, ..field.clone() });
        } else if let Some((_, name)) = V0_TRANSFORM.iter().find(|(name, _)| *name == field.name) {
            transform.push(Field { name, ..field.clone() });
        } else if field.name == "name" {
            body.fields.push(field.clone());
        } else if !matches!(field.name, "type" | "blobs_lr" | "weight_decay" | "blobs") {
            let next = format!("a {old} layer of the oldest form has no such field");
            return Err(Fault::new(field.line, format!("the field {} is not known", field.name), next));
        }
    }
    for (name, fields) in [(message, settings), ("transform_param", transform)] {
        if !fields.is_empty() {
            let value = Value::Message(Message { line: inner.line, fields, body: "" });
            body.fields.push(Field { name, line: inner.line, value });
        }
    }
    Layer::with_shares(body, (*kind).to_string(), shares(inner, Vec::new())?)
}

/// Puts a padding layer's width into the convolution or pooling that read it.
fn merge_padding<'a>(body: &mut Message<'a>, kind: &str, pad: &Field<'a>) -> Result<(), Fault> {
    let name = match kind {
        "Convolution" => "convolution_param",
        "Pooling" => "pooling_param",
        _ => return Err(pad.fault(format!("padding before a {kind} layer has no meaning"))),
    };
    let field = Field { name: "pad", ..pad.clone() };
    let settings = body.fields.iter_mut().find(|field| field.name == name);
    match settings.map(|field| &mut field.value) {
        Some(Value::Message(settings)) => settings.fields.push(field),
        _ => {
            let value = Value::Message(Message { line: pad.line, fields: vec![field], body: "" });
            body.fields.push(Field { name, line: pad.line, value });
        }
    }
    Ok(())
}
