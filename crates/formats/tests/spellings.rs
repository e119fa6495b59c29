//! State dicts as other libraries name them, for networks of the zoo: every tensor must find its parameter.

use ocellus_formats::{Fate, fit_weights, keras};
use ocellus_graph::Graph;
use ocellus_tensor::{Tensor, Weights};
use ocellus_zoo::{Options, build};

/// Checks that tensors of these names, each of one number of its own, land in these parameters: all of the network's.
fn check(net: &str, pairs: &[(String, String)], shape_of: fn(&str, &[usize]) -> Vec<usize>) {
    let graph = build(net, &Options::default()).unwrap();
    let tensor = |i: usize, ours: &str| {
        let id = graph.find_param(ours).unwrap_or_else(|| panic!("{net} has no {ours}"));
        Tensor::full(shape_of(ours, graph.param(id).shape.dims()), i as f32)
    };
    let given: Weights =
        pairs.iter().enumerate().map(|(i, (theirs, ours))| (theirs.clone(), tensor(i, ours))).collect();
    assert_eq!(given.len(), graph.params().len(), "{net}");
    let (fitted, report) = fit_weights(&graph, given);
    assert!(report.is_complete() && report.count(Fate::Unused) == 0, "{net}: {report}");
    for (i, (theirs, ours)) in pairs.iter().enumerate() {
        assert_eq!(fitted[ours].data()[0], i as f32, "{theirs} for {ours}");
        assert_eq!(fitted[ours].shape(), &graph.param(graph.find_param(ours).unwrap()).shape);
    }
    // Without one of them, the report says which is missing and what was there under which name.
    assert!(report.to_string().contains(&format!("called {}", pairs[0].0)), "{report}");
}

fn same(_: &str, dims: &[usize]) -> Vec<usize> {
    dims.to_vec()
}

/// Both names with each part of a module behind them.
fn parts(theirs: &str, ours: &str, parts: &[&str]) -> Vec<(String, String)> {
    parts.iter().map(|part| (format!("{theirs}.{part}"), format!("{ours}.{part}"))).collect()
}

const CONV: &[&str] = &["weight"];
const LAYER: &[&str] = &["weight", "bias"];
const NORM: &[&str] = &["weight", "bias", "running_mean", "running_var"];

#[test]
fn resnets_of_hugging_face() {
    for (net, blocks, convs) in [("resnet18", [2, 2, 2, 2], 2), ("resnet50", [3, 4, 6, 3], 3)] {
        let mut pairs = parts("resnet.embedder.embedder.convolution", "conv1", CONV);
        pairs.extend(parts("resnet.embedder.embedder.normalization", "bn1", NORM));
        for (stage, count) in blocks.into_iter().enumerate() {
            for block in 0..count {
                let theirs = format!("resnet.encoder.stages.{stage}.layers.{block}");
                let ours = format!("layer{}.{block}", stage + 1);
                for conv in 0..convs {
                    let theirs = format!("{theirs}.layer.{conv}");
                    pairs.extend(parts(
                        &format!("{theirs}.convolution"),
                        &format!("{ours}.conv{}", conv + 1),
                        CONV,
                    ));
                    pairs.extend(parts(
                        &format!("{theirs}.normalization"),
                        &format!("{ours}.bn{}", conv + 1),
                        NORM,
                    ));
                }
                if block == 0 && (stage > 0 || convs == 3) {
                    let theirs = format!("{theirs}.shortcut");
                    pairs.extend(parts(
                        &format!("{theirs}.convolution"),
                        &format!("{ours}.downsample.0"),
                        CONV,
                    ));
                    pairs.extend(parts(
                        &format!("{theirs}.normalization"),
                        &format!("{ours}.downsample.1"),
                        NORM,
                    ));
                }
            }
        }
        pairs.extend(parts("classifier.1", "fc", LAYER));
        check(net, &pairs, same);
    }
}

/// ConvNeXt's names: stem, stage to stage, in a block, head.
struct ConvNext {
    stem: [&'static str; 2],
    between: &'static str,
    block: &'static str,
    parts: [&'static str; 5],
    head: [&'static str; 2],
}

#[test]
fn convnexts_of_three_libraries() {
    let of = |text: &str, a: usize, b: usize| {
        text.replacen('#', &a.to_string(), 1).replacen('#', &b.to_string(), 1)
    };
    for names in [
        ConvNext {
            stem: ["stem.0", "stem.1"],
            between: "stages.#.downsample.#",
            block: "stages.#.blocks.#.",
            parts: ["conv_dw", "norm", "mlp.fc1", "mlp.fc2", "gamma"],
            head: ["head.norm", "head.fc"],
        },
        ConvNext {
            stem: ["convnext.embeddings.patch_embeddings", "convnext.embeddings.layernorm"],
            between: "convnext.encoder.stages.#.downsampling_layer.#",
            block: "convnext.encoder.stages.#.layers.#.",
            parts: ["dwconv", "layernorm", "pwconv1", "pwconv2", "layer_scale_parameter"],
            head: ["convnext.layernorm", "classifier"],
        },
        ConvNext {
            stem: ["downsample_layers.0.0", "downsample_layers.0.1"],
            between: "downsample_layers.#.#",
            block: "stages.#.#.",
            parts: ["dwconv", "norm", "pwconv1", "pwconv2", "gamma"],
            head: ["norm", "head"],
        },
    ] {
        let mut pairs = Vec::new();
        for i in 0..2 {
            pairs.extend(parts(names.stem[i], &format!("features.0.{i}"), LAYER));
        }
        for (stage, count) in [3, 3, 9, 3].into_iter().enumerate() {
            for i in 0..2 * usize::from(stage > 0) {
                pairs.extend(parts(
                    &of(names.between, stage, i),
                    &format!("features.{}.{i}", 2 * stage),
                    LAYER,
                ));
            }
            for block in 0..count {
                let theirs = of(names.block, stage, block);
                let ours = format!("features.{}.{block}", 2 * stage + 1);
                for (part, place) in names.parts.iter().zip(["0", "2", "3", "5"]) {
                    pairs.extend(parts(&format!("{theirs}{part}"), &format!("{ours}.block.{place}"), LAYER));
                }
                pairs.push((format!("{theirs}{}", names.parts[4]), format!("{ours}.layer_scale")));
            }
        }
        pairs.extend(parts(names.head[0], "classifier.0", LAYER));
        pairs.extend(parts(names.head[1], "classifier.2", LAYER));
        check("convnext_tiny", &pairs, |name, dims| match name.ends_with("layer_scale") {
            true => vec![dims[0]],
            false => dims.to_vec(),
        });
    }
}

#[test]
fn mobilenet_and_efficientnet_of_timm() {
    let mut pairs = parts("conv_stem", "features.0.0", CONV);
    pairs.extend(parts("bn1", "features.0.1", NORM));
    let mut at = 0;
    for (stage, count) in [1, 2, 3, 4, 3, 3, 1].into_iter().enumerate() {
        for block in 0..count {
            at += 1;
            let theirs = |part: &str| format!("blocks.{stage}.{block}.{part}");
            let ours = |part: &str| format!("features.{at}.conv.{part}");
            let convs: &[[&str; 4]] = match stage {
                0 => &[["conv_dw", "bn1", "0.0", "0.1"], ["conv_pw", "bn2", "1", "2"]],
                _ => &[
                    ["conv_pw", "bn1", "0.0", "0.1"],
                    ["conv_dw", "bn2", "1.0", "1.1"],
                    ["conv_pwl", "bn3", "2", "3"],
                ],
            };
            for [conv, norm, our_conv, our_norm] in convs {
                pairs.extend(parts(&theirs(conv), &ours(our_conv), CONV));
                pairs.extend(parts(&theirs(norm), &ours(our_norm), NORM));
            }
        }
    }
    pairs.extend(parts("conv_head", "features.18.0", CONV));
    pairs.extend(parts("bn2", "features.18.1", NORM));
    pairs.extend(parts("classifier", "classifier.1", LAYER));
    check("mobilenet_v2", &pairs, same);

    let mut pairs = parts("conv_stem", "features.0.0", CONV);
    pairs.extend(parts("bn1", "features.0.1", NORM));
    for (stage, count) in [1, 2, 2, 3, 3, 4, 1].into_iter().enumerate() {
        for block in 0..count {
            let theirs = |part: &str| format!("blocks.{stage}.{block}.{part}");
            let ours = |i: usize, part: &str| format!("features.{}.{block}.block.{i}.{part}", stage + 1);
            let names: &[[&str; 2]] = match stage {
                0 => &[["conv_dw", "bn1"], ["conv_pw", "bn2"]],
                _ => &[["conv_pw", "bn1"], ["conv_dw", "bn2"], ["conv_pwl", "bn3"]],
            };
            // The gate stands before the last convolution.
            let gate = names.len() - 1;
            for (i, [conv, norm]) in names.iter().enumerate() {
                let i = if i == gate { i + 1 } else { i };
                pairs.extend(parts(&theirs(conv), &ours(i, "0"), CONV));
                pairs.extend(parts(&theirs(norm), &ours(i, "1"), NORM));
            }
            pairs.extend(parts(&theirs("se.conv_reduce"), &ours(gate, "fc1"), LAYER));
            pairs.extend(parts(&theirs("se.conv_expand"), &ours(gate, "fc2"), LAYER));
        }
    }
    pairs.extend(parts("conv_head", "features.8.0", CONV));
    pairs.extend(parts("bn2", "features.8.1", NORM));
    pairs.extend(parts("classifier", "classifier.1", LAYER));
    check("efficientnet_b0", &pairs, same);
}

/// All names of the network, changed where `change` says so.
fn renamed(net: &str, change: fn(&str) -> Option<String>) -> Vec<(String, String)> {
    let graph: Graph = build(net, &Options::default()).unwrap();
    let mut pairs: Vec<(String, String)> = graph
        .params()
        .iter()
        .map(|p| (change(&p.name).unwrap_or_else(|| p.name.clone()), p.name.clone()))
        .collect();
    pairs.sort_by_key(|(theirs, ours)| theirs == ours);
    pairs
}

#[test]
fn densenet_of_2017() {
    let old = renamed("densenet121", |name| {
        let (before, after) = name.split_once("denselayer")?;
        let (number, part) = after.split_once('.')?;
        let part = part.replacen("norm", "norm.", 1).replacen("conv", "conv.", 1);
        Some(format!("{before}denselayer{number}.{part}"))
    });
    check("densenet121", &old, same);
}

#[test]
fn wrapped_names_of_torchvision_and_timm_stay_as_they_are() {
    for net in ["squeezenet1_0", "googlenet", "inception_v3", "resnet18", "se_resnet50"] {
        let graph = build(net, &Options::default()).unwrap();
        let given: Weights = graph
            .params()
            .iter()
            .map(|p| (format!("model.module.{}", p.name), Tensor::zeros(p.shape.clone())))
            .collect();
        let (_, report) = fit_weights(&graph, given);
        assert!(report.is_complete() && report.count(Fate::Unused) == 0, "{net}");
    }
}

/// Names and sizes of `resnet50_weights_tf_dim_ordering_tf_kernels.h5`, turned as this program has arrays; each with a
/// number of its own.
fn resnet50_of_keras() -> Weights {
    let mut arrays: Vec<(String, Vec<usize>)> = Vec::new();
    let mut conv = |stem: String, [out, channels, side]: [usize; 3]| {
        arrays.push((format!("{stem}_conv.weight"), vec![out, channels, side, side]));
        arrays.push((format!("{stem}_conv.bias"), vec![out]));
        arrays.extend(NORM.iter().map(|part| (format!("{stem}_bn.{part}"), vec![out])));
    };
    conv("conv1".into(), [64, 3, 7]);
    let mut channels = 64;
    for (stage, blocks) in [3, 4, 6, 3].into_iter().enumerate() {
        let width = 64 << stage;
        for block in 1..=blocks {
            let stem = |number: usize| format!("conv{}_block{block}_{number}", stage + 2);
            if block == 1 {
                conv(stem(0), [4 * width, channels, 1]);
            }
            conv(stem(1), [width, channels, 1]);
            conv(stem(2), [width, width, 3]);
            conv(stem(3), [4 * width, width, 1]);
            channels = 4 * width;
        }
    }
    arrays.push(("predictions.weight".into(), vec![1000, 2048]));
    arrays.push(("predictions.bias".into(), vec![1000]));
    let numbered = arrays.into_iter().enumerate();
    numbered.map(|(i, (name, sizes))| (name, Tensor::full(sizes, i as f32))).collect()
}

#[test]
fn resnet50_of_keras_applications() {
    let theirs = resnet50_of_keras();
    assert_eq!(theirs.len(), 320, "as many arrays as the published file has");
    let numbers: usize = theirs.values().map(|tensor| tensor.data().len()).sum();
    assert_eq!(numbers, 25_636_712, "as Keras counts");
    let graph = build("resnet50_v1", &Options::default()).unwrap();
    let converted = keras::resnet_weights(&theirs).unwrap();
    assert_eq!((converted.weights.len(), converted.folded_biases), (267, 53));
    let (fitted, report) = fit_weights(&graph, converted.weights);
    assert_eq!(report.count(Fate::Matched), graph.params().len(), "{report}");
    assert_eq!((report.count(Fate::Unused), report.count(Fate::Reshaped)), (0, 0), "{report}");
    let first = |name: &str| theirs[name].data()[0];
    for (ours, name) in [
        ("conv1.weight", "conv1_conv.weight"),
        ("bn1.bias", "conv1_bn.bias"),
        ("layer1.0.downsample.0.weight", "conv2_block1_0_conv.weight"),
        ("layer1.0.downsample.1.weight", "conv2_block1_0_bn.weight"),
        ("layer3.5.conv2.weight", "conv4_block6_2_conv.weight"),
        ("layer4.2.bn3.weight", "conv5_block3_3_bn.weight"),
        ("fc.weight", "predictions.weight"),
        ("fc.bias", "predictions.bias"),
    ] {
        assert_eq!(fitted[ours].data()[0], first(name), "{ours}");
    }
    // A bias of a convolution is taken from the mean behind it.
    let mean = first("conv3_block2_1_bn.running_mean") - first("conv3_block2_1_conv.bias");
    assert_eq!(fitted["layer2.1.bn1.running_mean"].data()[0], mean);
}
