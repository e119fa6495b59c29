//! Other names for the same tensors: what timm, Hugging Face and older files call a network's parameters.
//!
//! The zoo calls parameters as torchvision does. Each table below turns another library's names into those; a name that
//! comes out counts only if the network at hand has a parameter of it. A pattern stands for a module's name; what follows it
//! (`.weight`, `.running_mean`) stays. `{}` is a number, `{0}` in the new name the first of them, `{0*2+1}` one made of it.
//!
//! Left alone are libraries whose network of the same name computes something else: Hugging Face's EfficientNet and
//! MobileNet pad as TensorFlow does, on one side.

use std::sync::OnceLock;

/// (theirs, ours).
type Table = &'static [(&'static str, &'static str)];

/// Hugging Face `transformers/models/resnet/modeling_resnet.py`.
const RESNET_OF_HUGGING_FACE: Table = &[
    ("resnet.embedder.embedder.convolution", "conv1"),
    ("resnet.embedder.embedder.normalization", "bn1"),
    ("resnet.encoder.stages.{}.layers.{}.shortcut.convolution", "layer{0+1}.{1}.downsample.0"),
    ("resnet.encoder.stages.{}.layers.{}.shortcut.normalization", "layer{0+1}.{1}.downsample.1"),
    ("resnet.encoder.stages.{}.layers.{}.layer.{}.convolution", "layer{0+1}.{1}.conv{2+1}"),
    ("resnet.encoder.stages.{}.layers.{}.layer.{}.normalization", "layer{0+1}.{1}.bn{2+1}"),
    ("classifier.1", "fc"),
];

/// Hugging Face `transformers/models/convnext/modeling_convnext.py`.
const CONVNEXT_OF_HUGGING_FACE: Table = &[
    ("convnext.embeddings.patch_embeddings", "features.0.0"),
    ("convnext.embeddings.layernorm", "features.0.1"),
    ("convnext.encoder.stages.{}.downsampling_layer.{}", "features.{0*2}.{1}"),
    ("convnext.encoder.stages.{}.layers.{}.dwconv", "features.{0*2+1}.{1}.block.0"),
    ("convnext.encoder.stages.{}.layers.{}.layernorm", "features.{0*2+1}.{1}.block.2"),
    ("convnext.encoder.stages.{}.layers.{}.pwconv1", "features.{0*2+1}.{1}.block.3"),
    ("convnext.encoder.stages.{}.layers.{}.pwconv2", "features.{0*2+1}.{1}.block.5"),
    ("convnext.encoder.stages.{}.layers.{}.layer_scale_parameter", "features.{0*2+1}.{1}.layer_scale"),
    ("convnext.layernorm", "classifier.0"),
    ("classifier", "classifier.2"),
];

/// timm `models/convnext.py`.
const CONVNEXT_OF_TIMM: Table = &[
    ("stem.{}", "features.0.{0}"),
    ("stages.{}.downsample.{}", "features.{0*2}.{1}"),
    ("stages.{}.blocks.{}.conv_dw", "features.{0*2+1}.{1}.block.0"),
    ("stages.{}.blocks.{}.norm", "features.{0*2+1}.{1}.block.2"),
    ("stages.{}.blocks.{}.mlp.fc1", "features.{0*2+1}.{1}.block.3"),
    ("stages.{}.blocks.{}.mlp.fc2", "features.{0*2+1}.{1}.block.5"),
    ("stages.{}.blocks.{}.gamma", "features.{0*2+1}.{1}.layer_scale"),
    ("head.norm", "classifier.0"),
    ("head.fc", "classifier.2"),
];

/// The authors' own, `facebookresearch/ConvNeXt`, `models/convnext.py`.
const CONVNEXT_OF_ITS_AUTHORS: Table = &[
    ("downsample_layers.{}.{}", "features.{0*2}.{1}"),
    ("stages.{}.{}.dwconv", "features.{0*2+1}.{1}.block.0"),
    ("stages.{}.{}.norm", "features.{0*2+1}.{1}.block.2"),
    ("stages.{}.{}.pwconv1", "features.{0*2+1}.{1}.block.3"),
    ("stages.{}.{}.pwconv2", "features.{0*2+1}.{1}.block.5"),
    ("stages.{}.{}.gamma", "features.{0*2+1}.{1}.layer_scale"),
    ("norm", "classifier.0"),
    ("head", "classifier.2"),
];

/// `mmpretrain/models/heads/linear_head.py`, behind a backbone that calls its layers as torchvision does.
const HEAD_OF_MMPRETRAIN: Table = &[("head.fc", "fc")];

/// timm `models/vgg.py`: the first two linear layers are convolutions there.
const VGG_OF_TIMM: Table =
    &[("pre_logits.fc1", "classifier.0"), ("pre_logits.fc2", "classifier.3"), ("head.fc", "classifier.6")];

/// torchvision's own files of 2017 (`densenet121-a639ec97.pth`), renamed on loading in `models/densenet.py`.
const DENSENET_OF_2017: Table = &[
    ("features.denseblock{}.denselayer{}.norm.{}", "features.denseblock{0}.denselayer{1}.norm{2}"),
    ("features.denseblock{}.denselayer{}.conv.{}", "features.denseblock{0}.denselayer{1}.conv{2}"),
];

/// timm `models/efficientnet.py`, EfficientNet: the first stage's blocks do not expand.
const EFFICIENTNET_OF_TIMM: Table = &[
    ("conv_stem", "features.0.0"),
    ("bn1", "features.0.1"),
    ("blocks.0.{}.conv_dw", "features.1.{0}.block.0.0"),
    ("blocks.0.{}.bn1", "features.1.{0}.block.0.1"),
    ("blocks.0.{}.se.conv_reduce", "features.1.{0}.block.1.fc1"),
    ("blocks.0.{}.se.conv_expand", "features.1.{0}.block.1.fc2"),
    ("blocks.0.{}.conv_pw", "features.1.{0}.block.2.0"),
    ("blocks.0.{}.bn2", "features.1.{0}.block.2.1"),
    ("blocks.{}.{}.conv_pw", "features.{0+1}.{1}.block.0.0"),
    ("blocks.{}.{}.bn1", "features.{0+1}.{1}.block.0.1"),
    ("blocks.{}.{}.conv_dw", "features.{0+1}.{1}.block.1.0"),
    ("blocks.{}.{}.bn2", "features.{0+1}.{1}.block.1.1"),
    ("blocks.{}.{}.se.conv_reduce", "features.{0+1}.{1}.block.2.fc1"),
    ("blocks.{}.{}.se.conv_expand", "features.{0+1}.{1}.block.2.fc2"),
    ("blocks.{}.{}.conv_pwl", "features.{0+1}.{1}.block.3.0"),
    ("blocks.{}.{}.bn3", "features.{0+1}.{1}.block.3.1"),
    ("conv_head", "features.8.0"),
    ("bn2", "features.8.1"),
    ("classifier", "classifier.1"),
];

/// Parts of timm's inverted residuals that torchvision's MobileNet-v2 has, and of the first, which does not expand.
const MOBILENET_BLOCK: Table = &[
    ("conv_pw", "conv.0.0"),
    ("bn1", "conv.0.1"),
    ("conv_dw", "conv.1.0"),
    ("bn2", "conv.1.1"),
    ("conv_pwl", "conv.2"),
    ("bn3", "conv.3"),
];
const MOBILENET_FIRST: Table =
    &[("conv_dw", "conv.0.0"), ("bn1", "conv.0.1"), ("conv_pw", "conv.1"), ("bn2", "conv.2")];

/// Blocks in each stage of MobileNet-v2 (Sandler et al. 2018, table 2), which torchvision counts through.
const MOBILENET_STAGES: [usize; 7] = [1, 2, 3, 4, 3, 3, 1];

/// timm `models/efficientnet.py`, MobileNet-v2.
fn mobilenet_of_timm() -> Vec<(String, String)> {
    let own = [("conv_stem", "features.0.0"), ("bn1", "features.0.1"), ("conv_head", "features.18.0")];
    let own = own.into_iter().chain([("bn2", "features.18.1"), ("classifier", "classifier.1")]);
    let mut rules: Vec<(String, String)> = own.map(|(a, b)| (a.to_string(), b.to_string())).collect();
    let mut at = 1;
    for (stage, blocks) in MOBILENET_STAGES.into_iter().enumerate() {
        for block in 0..blocks {
            let parts = if stage == 0 { MOBILENET_FIRST } else { MOBILENET_BLOCK };
            let rule =
                |(a, b): &(&str, &str)| (format!("blocks.{stage}.{block}.{a}"), format!("features.{at}.{b}"));
            rules.extend(parts.iter().map(rule));
            at += 1;
        }
    }
    rules
}

/// All tables.
fn rules() -> &'static [(String, String)] {
    static RULES: OnceLock<Vec<(String, String)>> = OnceLock::new();
    RULES.get_or_init(|| {
        let tables = [
            RESNET_OF_HUGGING_FACE,
            HEAD_OF_MMPRETRAIN,
            CONVNEXT_OF_HUGGING_FACE,
            CONVNEXT_OF_TIMM,
            CONVNEXT_OF_ITS_AUTHORS,
            VGG_OF_TIMM,
            DENSENET_OF_2017,
            EFFICIENTNET_OF_TIMM,
        ];
        let own = tables.into_iter().flatten().map(|(a, b)| ((*a).to_string(), (*b).to_string()));
        own.chain(mobilenet_of_timm()).collect()
    })
}

/// What the zoo may call the tensor `name`.
pub(crate) fn respelled(name: &str) -> impl Iterator<Item = String> {
    rules().iter().filter_map(move |(theirs, ours)| {
        let (numbers, rest) = matched(name, theirs)?;
        // A module's parameter, or the parameter itself.
        let is_part = rest.strip_prefix('.').is_some_and(|part| !part.contains('.'));
        (rest.is_empty() || is_part).then(|| filled(ours, &numbers) + rest)
    })
}

/// The numbers at the pattern's `{}`, and what is left of `name` behind it.
fn matched<'n>(name: &'n str, pattern: &str) -> Option<(Vec<usize>, &'n str)> {
    let mut pieces = pattern.split("{}");
    let mut rest = name.strip_prefix(pieces.next()?)?;
    let mut numbers = Vec::new();
    for piece in pieces {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        numbers.push(rest[..digits].parse().ok().filter(|&number| number < 10_000)?);
        rest = rest[digits..].strip_prefix(piece)?;
    }
    Some((numbers, rest))
}

/// `ours` with its `{0}`, `{1+1}`, `{0*2+1}` filled in.
fn filled(ours: &str, numbers: &[usize]) -> String {
    let mut text = String::new();
    let mut rest = ours;
    while let Some((before, behind)) = rest.split_once('{') {
        let (inner, after) = behind.split_once('}').unwrap_or((behind, ""));
        let (product, more) = inner.split_once('+').unwrap_or((inner, "0"));
        let (index, factor) = product.split_once('*').unwrap_or((product, "1"));
        let whole = |text: &str| text.parse::<usize>().unwrap_or(0);
        let number = numbers.get(whole(index)).copied().unwrap_or(0) * whole(factor) + whole(more);
        text += before;
        text += &number.to_string();
        rest = after;
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_carry_numbers_over() {
        let first = |name: &str| respelled(name).collect::<Vec<_>>();
        assert!(
            first("resnet.encoder.stages.2.layers.10.layer.1.normalization.running_var")
                .contains(&"layer3.10.bn2.running_var".to_string())
        );
        assert!(first("stages.3.blocks.2.gamma").contains(&"features.7.2.layer_scale".to_string()));
        assert!(first("blocks.6.0.conv_pwl.weight").contains(&"features.17.conv.2.weight".to_string()));
        assert!(
            first("features.denseblock4.denselayer16.norm.2.bias")
                .contains(&"features.denseblock4.denselayer16.norm2.bias".to_string())
        );
        assert_eq!(first("pre_logits.fc1.weight"), ["classifier.0.weight"]);
        assert_eq!(first("pre_logits.fc2.bias"), ["classifier.3.bias"]);
        assert!(first("head.fc.weight").contains(&"classifier.6.weight".to_string()));
        assert!(first("layer1.0.conv1.weight").is_empty());
        assert!(
            first("resnet.encoder.stages.99999999999999999999.layers.0.shortcut.convolution.weight")
                .is_empty()
        );
    }
}
