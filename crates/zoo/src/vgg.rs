//! VGG: nothing but 3x3 convolutions, poolings and a large head.

use ocellus_graph::{BatchNormSpec, Builder, Conv, Dense, Graph, Init, ValueId};
use ocellus_tensor::Window;

use crate::parts::{FixedHead, HE_FAN_OUT, IMAGENET, normal};
use crate::{Options, ZooError};

/// Convolutions in each of the five stages, by depth (Simonyan and Zisserman 2014, table 1: A, B, D, E).
const DEPTHS: [(usize, [usize; 5], [&str; 2]); 4] = [
    (11, [1, 1, 2, 2, 2], ["vgg11", "vgg11_bn"]),
    (13, [2, 2, 2, 2, 2], ["vgg13", "vgg13_bn"]),
    (16, [2, 2, 3, 3, 3], ["vgg16", "vgg16_bn"]),
    (19, [2, 2, 4, 4, 4], ["vgg19", "vgg19_bn"]),
];

/// Channels of each stage.
const WIDTHS: [usize; 5] = [64, 128, 256, 512, 512];

/// VGG of depth 11, 13, 16 or 19, with batch normalisation after each convolution or (as published) without:
/// 3x224x224, 1000 classes.
///
/// | depth | parameters | with batch normalisation | multiply-accumulates at 224 |
/// |---|---|---|---|
/// | 11 | 132,863,336 | 132,868,840 | 7.61 billion |
/// | 13 | 133,047,848 | 133,053,736 | 11.31 billion |
/// | 16 | 138,357,544 | 138,365,992 | 15.47 billion |
/// | 19 | 143,667,240 | 143,678,248 | 19.63 billion |
///
/// Nodes are called as in Caffe's model (`conv1_1`, `pool5`, `fc6`), parameters are named and filled as torchvision does
/// (`features.0.weight`, `classifier.6.bias`). `fc6` is made for the 7x7 values that 224x224 pixels leave; with
/// [`Options::global_pooling`] any image of 32x32 or more will do. Another depth is an error.
///
/// Source: Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition" (2014),
/// table 1; torchvision, `models/vgg.py`.
///
/// ```
/// let graph = ocellus_zoo::vgg(16, false, &Default::default())?;
/// let fc6 = graph.param(graph.find_param("classifier.0.weight").unwrap());
/// assert_eq!(fc6.shape.dims(), [4096, 25_088]);
/// # Ok::<(), ocellus_zoo::ZooError>(())
/// ```
pub fn vgg(depth: usize, batch_norm: bool, options: &Options) -> Result<Graph, ZooError> {
    let Some(&(_, stages, names)) = DEPTHS.iter().find(|(known, ..)| *known == depth) else {
        let known = DEPTHS.map(|(known, ..)| known.to_string()).join(", ");
        return Err(ZooError::Option(format!("vgg has the depths {known}, got {depth}")));
    };
    let network = names[usize::from(batch_norm)];
    let head = FixedHead { network, layer: "fc6", weight: "classifier.0.weight", side: 7, smallest: 32 };
    let size = IMAGENET.choose(&head.name(options), options)?;

    let mut b = Builder::new(head.name(options));
    let mut x = b.input("input", size.input()); // (1, 3, 224, 224)
    let mut module = 0; // torchvision numbers every layer of `features`
    for (stage, (width, count)) in (1..).zip(WIDTHS.into_iter().zip(stages)) {
        for i in 1..=count {
            x = unit(&mut b, x, &format!("{stage}_{i}"), [width, module], batch_norm);
            module += if batch_norm { 3 } else { 2 };
        }
        x = b.max_pool(&format!("pool{stage}"), x, Window::square(2).stride(2)); // (1, 64 to 512, 112 to 7, ..)
        module += 1;
    }
    let left = x; // (1, 512, 7, 7)
    let x = head.flatten(&mut b, x, options); // (1, 25088)
    let dense = |out: usize, module: usize| {
        Dense::new(out)
            .init(normal(0.01))
            .bias_init(Init::Constant(0.0))
            .params(format!("classifier.{module}"))
    };
    let x = b.linear("fc6", x, dense(4096, 0));
    let x = b.relu("relu6", x);
    let x = b.dropout("dropout6", x, 0.5);
    let x = b.linear("fc7", x, dense(4096, 3));
    let x = b.relu("relu7", x);
    let x = b.dropout("dropout7", x, 0.5);
    let x = b.linear("fc8", x, dense(size.classes, 6)); // (1, classes)
    b.output("output", x);
    head.finish(b, left, &size, options)
}

/// A 3x3 convolution, batch normalisation if asked for, and ReLU: modules number `module` and following.
fn unit(b: &mut Builder, x: ValueId, name: &str, [width, module]: [usize; 2], batch_norm: bool) -> ValueId {
    let conv = Conv::new(width, 3).padding(1).init(HE_FAN_OUT).params(format!("features.{module}"));
    let mut x = b.conv2d(&format!("conv{name}"), x, conv);
    if batch_norm {
        let params = Some(format!("features.{}", module + 1));
        x = b.batch_norm(&format!("bn{name}"), x, BatchNormSpec { params, ..BatchNormSpec::default() });
    }
    b.relu(&format!("relu{name}"), x)
}
