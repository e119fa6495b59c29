//! ConvNeXt: a residual network with what made transformers good.

use ocellus_graph::ops::{Activation, Norm, NormAxes};
use ocellus_graph::{Builder, Conv, Dense, Graph, GraphError, Init, Op, ParamSpec, Role, ValueId};

use crate::options::Size;
use crate::parts::IMAGENET;
use crate::{Options, ZooError};

/// Channels and blocks of each stage (Liu et al. 2022, section 2; ConvNeXt-T).
const STAGES: [(usize, usize); 4] = [(96, 3), (192, 3), (384, 9), (768, 3)];

/// One pixel after steps of four, two, two and two.
const SMALLEST: usize = 32;

/// What scales each branch at first (section 2.6).
const LAYER_SCALE: f32 = 1e-6;

const WEIGHTS: Init = Init::TruncatedNormal { mean: 0.0, std: 0.02 };

/// ConvNeXt-Tiny: 3x224x224, 1000 classes, 28,589,128 parameters, 4.46 billion multiply-accumulates.
///
/// Each block filters every channel with a 7x7 kernel, normalises over the channels, widens four times with a 1x1
/// convolution, applies GELU, narrows again and adds the result, scaled channel by channel, to its input. Nodes are
/// `stage1.block0.depthwise`, `.norm`, `.expand`, `.reduce`; parameters are named and filled as torchvision does
/// (`features.1.0.block.0.weight`, `features.1.0.layer_scale`). The paper's stochastic depth, which skips blocks at
/// random while training, is left out.
///
/// Source: Liu et al., "A ConvNet for the 2020s" (2022), section 2; torchvision, `models/convnext.py`.
///
/// ```
/// let graph = ocellus_zoo::convnext_tiny(&Default::default())?;
/// let wide = graph.param(graph.find_param("features.7.2.block.3.weight").unwrap());
/// assert_eq!(wide.shape.dims(), [3072, 768, 1, 1]);
/// # Ok::<(), ocellus_zoo::ZooError>(())
/// ```
pub fn convnext_tiny(options: &Options) -> Result<Graph, ZooError> {
    let size = IMAGENET.choose("convnext_tiny", options)?;
    size.explain("convnext_tiny", SMALLEST, describe(&size))
}

fn describe(size: &Size) -> Result<Graph, GraphError> {
    let mut b = Builder::new("convnext_tiny");
    let mut x = b.input("input", size.input()); // (1, 3, 224, 224)
    for (stage, (channels, blocks)) in STAGES.into_iter().enumerate() {
        // torchvision numbers what shrinks the image and what follows it in turn.
        let (shrink, features) = (2 * stage, 2 * stage + 1);
        x = if stage == 0 {
            let x = b.conv2d("stem", x, conv(channels, 4, "features.0.0".into()).stride(4)); // (1, 96, 56, 56)
            layer_norm(&mut b, "stem.norm", x, "features.0.1")
        } else {
            let name = format!("downsample{stage}");
            let x = layer_norm(&mut b, &format!("{name}.norm"), x, &format!("features.{shrink}.0"));
            b.conv2d(&name, x, conv(channels, 2, format!("features.{shrink}.1")).stride(2))
        };
        for i in 0..blocks {
            let params = format!("features.{features}.{i}");
            x = b.scope(&format!("stage{}.block{i}", stage + 1), |b| residual(b, x, &params));
        }
    } // (1, 768, 7, 7)
    let x = b.global_avg_pool("avgpool", x);
    let x = layer_norm(&mut b, "norm", x, "classifier.0");
    let x = b.flatten("flatten", x);
    let x = b.linear("classifier", x, Dense::new(size.classes).init(WEIGHTS).params("classifier.2"));
    b.output("output", x);
    b.finish()
}

/// One block: `x + scale branch(x)`.
fn residual(b: &mut Builder, x: ValueId, params: &str) -> ValueId {
    let channels = b.channels(x);
    let part = |i: usize| format!("{params}.block.{i}");
    let y = b.conv2d("depthwise", x, conv(channels, 7, part(0)).padding(3).groups(channels));
    let y = layer_norm(b, "norm", y, &part(2));
    let y = b.conv2d("expand", y, conv(4 * channels, 1, part(3)));
    let y = b.activation("gelu", y, Activation::Gelu);
    let y = b.conv2d("reduce", y, conv(channels, 1, part(5)));
    let scale = ParamSpec {
        name: format!("{params}.layer_scale"),
        shape: [channels, 1, 1].into(),
        init: Init::Constant(LAYER_SCALE),
        role: Role::Weight,
    };
    let scale = b.param_with(scale);
    let y = b.mul("scale", y, scale);
    b.add("add", x, y)
}

/// Layer normalisation over the channels of each pixel, with the parameters `PARAMS.weight` and `PARAMS.bias`.
fn layer_norm(b: &mut Builder, name: &str, x: ValueId, params: &str) -> ValueId {
    let channels = b.channels(x);
    let [gamma, beta] = [("weight", 1.0), ("bias", 0.0)].map(|(part, value)| {
        b.param_with(ParamSpec {
            name: format!("{params}.{part}"),
            shape: [channels].into(),
            init: Init::Constant(value),
            role: Role::Weight,
        })
    });
    let norm = Norm { axes: NormAxes::Channels, eps: 1e-6, affine: true };
    b.node(name, Op::Norm(norm), &[x, gamma, beta])
}

fn conv(channels: usize, kernel: usize, params: String) -> Conv {
    Conv::new(channels, kernel).init(WEIGHTS).params(params)
}
