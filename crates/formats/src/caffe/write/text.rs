//! Layers as Caffe's text form.

use std::fmt::Write;

use ocellus_graph::{Distribution, Fan, Init};

use super::out::{Field, Layer, Layers};

/// The whole description.
pub(super) fn of(layers: &Layers, name: &str) -> String {
    let mut text = format!("name: {}\n", quoted(name));
    layers.iter().for_each(|layer| write_layer(&mut text, layer));
    text
}

fn write_layer(text: &mut String, layer: &Layer) {
    let mut line = |depth: usize, words: &str| {
        text.push_str(&"  ".repeat(depth));
        text.push_str(words);
        text.push('\n');
    };
    line(0, "layer {");
    line(1, &format!("name: {}", quoted(&layer.name)));
    line(1, &format!("type: {}", quoted(&layer.kind)));
    layer.bottoms.iter().for_each(|bottom| line(1, &format!("bottom: {}", quoted(bottom))));
    layer.tops.iter().for_each(|top| line(1, &format!("top: {}", quoted(top))));
    for param in &layer.params {
        let name = param.name.as_ref().map_or(String::new(), |name| format!("name: {} ", quoted(name)));
        line(1, &format!("param {{ {name}lr_mult: {} decay_mult: {} }}", param.lr_mult, param.decay_mult));
    }
    if let Some((message, fields)) = layer.settings.as_ref().filter(|(_, fields)| !fields.is_empty()) {
        line(1, &format!("{message} {{"));
        fields.iter().for_each(|field| line(2, &setting(field)));
        line(1, "}");
    }
    line(0, "}");
}

fn setting(field: &Field) -> String {
    match field {
        Field::Whole(name, value) => format!("{name}: {value}"),
        Field::Real(name, value) => format!("{name}: {}", real(*value)),
        Field::Word(name, value) => format!("{name}: {value}"),
        Field::Filler(name, init) => format!("{name} {{ {} }}", filler(init)),
        Field::Shape(name, dims) => {
            let dims: Vec<String> = dims.iter().map(|dim| format!("dim: {dim}")).collect();
            format!("{name} {{ {} }}", dims.join(" "))
        }
    }
}

/// Infinite bounds as the largest numbers, which Caffe's parser reads.
fn real(value: f32) -> String {
    value.clamp(f32::MIN, f32::MAX).to_string()
}

/// The nearest of Caffe's fillers.
fn filler(init: &Init) -> String {
    match *init {
        Init::Uniform { low, high } => format!("type: \"uniform\" min: {low} max: {high}"),
        Init::Normal { mean, std } | Init::TruncatedNormal { mean, std } => {
            format!("type: \"gaussian\" mean: {mean} std: {std}")
        }
        Init::SparseNormal { mean, std, count } => {
            format!("type: \"gaussian\" mean: {mean} std: {std} sparse: {count}")
        }
        Init::VarianceScaling { fan, distribution, .. } => {
            let name = if distribution == Distribution::Uniform { "xavier" } else { "msra" };
            let norm = match fan {
                Fan::In => "FAN_IN",
                Fan::Out => "FAN_OUT",
                Fan::Average => "AVERAGE",
            };
            format!("type: \"{name}\" variance_norm: {norm}")
        }
        Init::Orthogonal { .. } => "type: \"xavier\"".into(),
        Init::Bilinear => "type: \"bilinear\"".into(),
        Init::PositiveUnitBall => "type: \"positive_unitball\"".into(),
        Init::Constant(value) => format!("type: \"constant\" value: {value}"),
    }
}

/// A string in quotes, what the text form cannot hold plainly as octal escapes.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => {
                out.push('\\');
                out.push(byte as char);
            }
            0x20..=0x7e => out.push(byte as char),
            _ => {
                let _ = write!(out, "\\{byte:03o}");
            }
        }
    }
    out.push('"');
    out
}
