//! SqueezeNet: AlexNet's accuracy with a fiftieth of its parameters.

use ocellus_graph::{Builder, Conv, Graph, GraphError, Init, ValueId};
use ocellus_tensor::Window;

use crate::options::Size;
use crate::parts::{IMAGENET, normal};
use crate::{Options, ZooError};

/// Which of its two versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SqueezeNet {
    /// As published: a 7x7 convolution with 96 channels, pooling late.
    V1_0,
    /// The authors' later version: a 3x3 convolution with 64 channels and pooling early, 2.4 times less work.
    V1_1,
}

/// One layer between `conv1` and `conv10`, in order; torchvision numbers them from `features.2` on.
#[derive(Clone, Copy)]
enum Layer {
    Pool,
    /// A fire module that squeezes to so many channels and expands to eight times as many.
    Fire(usize),
}

use Layer::{Fire, Pool};

const V1_0: [Layer; 11] =
    [Pool, Fire(16), Fire(16), Fire(32), Pool, Fire(32), Fire(48), Fire(48), Fire(64), Pool, Fire(64)];
const V1_1: [Layer; 11] =
    [Pool, Fire(16), Fire(16), Pool, Fire(32), Fire(32), Pool, Fire(48), Fire(48), Fire(64), Fire(64)];

impl SqueezeNet {
    fn name(self) -> &'static str {
        match self {
            SqueezeNet::V1_0 => "squeezenet1_0",
            SqueezeNet::V1_1 => "squeezenet1_1",
        }
    }

    /// Fewest pixels a side that leave one for each pooling.
    fn smallest(self) -> usize {
        match self {
            SqueezeNet::V1_0 => 29,
            SqueezeNet::V1_1 => 25,
        }
    }
}

/// SqueezeNet: 3x224x224, 1000 classes; version 1.0 with 1,248,424 parameters and 0.82 billion multiply-accumulates,
/// version 1.1 with 1,235,496 and 0.35 billion.
///
/// Fire modules squeeze the channels with 1x1 convolutions and expand them with 1x1 and 3x3 ones side by side. There is
/// no fully connected layer: `conv10` gives one image per class, and its mean is the logit. Nodes are called as in the
/// paper (`fire2.squeeze`), parameters are named and filled as torchvision does
/// (`features.3.squeeze.weight`, `classifier.1.weight`).
///
/// Source: Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model size"
/// (2016), table 1; `forresti/SqueezeNet`; torchvision, `models/squeezenet.py`.
///
/// ```
/// use ocellus_zoo::{SqueezeNet, squeezenet};
/// let graph = squeezenet(SqueezeNet::V1_1, &Default::default())?;
/// assert!(graph.find_param("features.3.expand3x3.weight").is_some());
/// # Ok::<(), ocellus_zoo::ZooError>(())
/// ```
pub fn squeezenet(version: SqueezeNet, options: &Options) -> Result<Graph, ZooError> {
    let size = IMAGENET.choose(version.name(), options)?;
    size.explain(version.name(), version.smallest(), describe(version, &size))
}

fn describe(version: SqueezeNet, size: &Size) -> Result<Graph, GraphError> {
    let (conv1, layers) = match version {
        SqueezeNet::V1_0 => (conv(96, 7), V1_0),
        SqueezeNet::V1_1 => (conv(64, 3), V1_1),
    };
    let mut b = Builder::new(version.name());
    let x = b.input("input", size.input()); // (1, 3, 224, 224)
    let x = b.conv2d("conv1", x, conv1.stride(2).params("features.0")); // (1, 96, 109, 109) or (1, 64, 111, 111)
    let mut x = b.relu("relu1", x);
    let mut number = 1; // the paper numbers convolution and fire modules, and a pooling like the layer before it
    for (module, layer) in (2..).zip(layers) {
        x = match layer {
            Pool => b.max_pool_ceil(&format!("pool{number}"), x, Window::square(3).stride(2)),
            Fire(squeezed) => {
                number += 1;
                let (name, params) = (format!("fire{number}"), format!("features.{module}"));
                b.scope_sharing(&name, &params, |b| fire(b, x, squeezed))
            }
        };
    } // (1, 512, 13, 13)
    let x = b.dropout("dropout9", x, 0.5);
    let conv10 = conv(size.classes, 1).init(normal(0.01)).params("classifier.1");
    let x = b.conv2d("conv10", x, conv10); // (1, classes, 13, 13)
    let x = b.relu("relu10", x);
    let x = b.global_avg_pool("pool10", x);
    let x = b.flatten("flatten", x); // (1, classes)
    b.output("output", x);
    b.finish()
}

/// 1x1 to `squeezed` channels; from there 1x1 and 3x3 to four times as many each, side by side.
fn fire(b: &mut Builder, x: ValueId, squeezed: usize) -> ValueId {
    let x = b.conv2d("squeeze", x, conv(squeezed, 1));
    let x = b.relu("squeeze_activation", x);
    let narrow = b.conv2d("expand1x1", x, conv(4 * squeezed, 1));
    let narrow = b.relu("expand1x1_activation", narrow);
    let wide = b.conv2d("expand3x3", x, conv(4 * squeezed, 3).padding(1));
    let wide = b.relu("expand3x3_activation", wide);
    b.concat("concat", &[narrow, wide])
}

fn conv(channels: usize, kernel: usize) -> Conv {
    Conv::new(channels, kernel).init(Init::he_uniform())
}
