//! MobileNet, version 1: each convolution split into a depthwise and a pointwise one.

use ocellus_graph::ops::Activation;
use ocellus_graph::{Builder, Conv, Dense, Graph, GraphError, ValueId};

use crate::options::Size;
use crate::parts::{HE_FAN_OUT, IMAGENET, conv_norm, normal};
use crate::{Options, ZooError};

/// Blocks of each stage and their channels; the first block of each but the first stage halves the image (Howard et al.
/// 2017, table 1).
const STAGES: [(usize, usize); 5] = [(1, 64), (2, 128), (2, 256), (6, 512), (2, 1024)];

/// MobileNet (v1) at width 1: 3x224x224, 1000 classes, 4,231,976 parameters, 0.57 billion multiply-accumulates.
///
/// Thirteen blocks of a 3x3 depthwise and a 1x1 convolution, each with batch normalisation and ReLU6. Nodes are
/// `block3.depthwise`, `block3.pointwise`; parameters are named as in timm's `mobilenetv1_100`
/// (`blocks.1.0.conv_dw.weight`). Any image size will do.
///
/// Source: Howard et al., "MobileNets: efficient convolutional neural networks for mobile vision applications" (2017),
/// table 1; timm, `models/efficientnet.py`.
///
/// ```
/// let graph = ocellus_zoo::mobilenet_v1(&Default::default())?;
/// assert!(graph.find_param("blocks.4.1.conv_pw.weight").is_some());
/// # Ok::<(), ocellus_zoo::ZooError>(())
/// ```
pub fn mobilenet_v1(options: &Options) -> Result<Graph, ZooError> {
    let size = IMAGENET.choose("mobilenet_v1", options)?;
    Ok(describe(&size)?)
}

fn describe(size: &Size) -> Result<Graph, GraphError> {
    let mut b = Builder::new("mobilenet_v1");
    let x = b.input("input", size.input()); // (1, 3, 224, 224)
    let stem = Conv::new(32, 3).stride(2).padding(1);
    let mut x = unit(&mut b, "stem", x, stem, ["conv_stem".into(), "bn1".into()]); // (1, 32, 112, 112)
    let mut block = 0;
    for (stage, (count, channels)) in STAGES.into_iter().enumerate() {
        for i in 0..count {
            block += 1;
            let stride = if stage > 0 && i == 0 { 2 } else { 1 };
            let part = |name: &str| format!("blocks.{stage}.{i}.{name}");
            let inputs = b.channels(x);
            let depthwise = Conv::new(inputs, 3).stride(stride).padding(1).groups(inputs);
            let params = [part("conv_dw"), part("bn1")];
            x = unit(&mut b, &format!("block{block}.depthwise"), x, depthwise, params);
            let params = [part("conv_pw"), part("bn2")];
            x = unit(&mut b, &format!("block{block}.pointwise"), x, Conv::new(channels, 1), params);
        }
    } // (1, 1024, 7, 7)
    let x = b.global_avg_pool("avgpool", x);
    let x = b.flatten("flatten", x);
    let x = b.linear("classifier", x, Dense::new(size.classes).init(normal(0.01)));
    b.output("output", x);
    b.finish()
}

/// Convolution, batch normalisation and ReLU6.
fn unit(b: &mut Builder, name: &str, x: ValueId, conv: Conv, params: [String; 2]) -> ValueId {
    let x = conv_norm(b, name, x, conv.init(HE_FAN_OUT), params);
    b.activation(&format!("{name}.relu6"), x, Activation::Clip { low: 0.0, high: 6.0 })
}
