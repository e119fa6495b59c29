//! Inception, version 3: large kernels taken apart.

use ocellus_graph::{Builder, Conv, Dense, Graph, GraphError, Init, ValueId};
use ocellus_tensor::Window;

use crate::options::Size;
use crate::parts::{inception_unit, same, torch_bias};
use crate::{Options, ZooError};

/// ImageNet in the size of the Inception papers: a thousand classes, 299x299 colour.
pub(crate) const IMAGENET_299: Size = Size { classes: 1000, channels: 3, height: 299, width: 299 };

/// Below this many pixels a side nothing is left for the last reduction.
const SMALLEST: usize = 75;

/// Share of the auxiliary loss in the total (torchvision's references).
const AUXILIARY_WEIGHT: f32 = 0.4;

/// Inception-v3: 3x299x299, 1000 classes, 23,834,568 parameters and 3,326,696 more in its auxiliary head (27,161,264 in
/// all), 5.71 billion multiply-accumulates.
///
/// Modules of four branches; 5x5 and 7x7 convolutions are taken apart into 3x3, 1x7 and 7x1 ones. A small classifier
/// behind `Mixed_6e` gives the auxiliary output `aux`: training adds its loss 0.4 times, and inference leaves it out.
/// Parameters are named and filled as torchvision does (`Mixed_6b.branch7x7_2.conv.weight`, `AuxLogits.fc.bias`).
///
/// Source: Szegedy et al., "Rethinking the Inception architecture for computer vision" (2015), table 1; torchvision,
/// `models/inception.py`.
///
/// ```
/// let graph = ocellus_zoo::inception_v3(&Default::default())?;
/// let weights = |graph: &ocellus_graph::Graph| graph.parameter_count(ocellus_graph::Role::Weight);
/// assert_eq!(weights(&graph), 27_161_264);
/// assert_eq!(weights(&graph.for_inference()?), 23_834_568);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn inception_v3(options: &Options) -> Result<Graph, ZooError> {
    let size = IMAGENET_299.choose("inception_v3", options)?;
    size.explain("inception_v3", SMALLEST, describe(&size))
}

fn describe(size: &Size) -> Result<Graph, GraphError> {
    let mut b = Builder::new("inception_v3");
    let x = b.input("input", size.input()); // (1, 3, 299, 299)
    let x = stem(&mut b, x); // (1, 192, 35, 35)
    let x = b.scope("Mixed_5b", |b| module_a(b, x, 32)); // (1, 256, 35, 35)
    let x = b.scope("Mixed_5c", |b| module_a(b, x, 64)); // (1, 288, 35, 35)
    let x = b.scope("Mixed_5d", |b| module_a(b, x, 64));
    let x = b.scope("Mixed_6a", |b| reduction_b(b, x)); // (1, 768, 17, 17)
    let x = b.scope("Mixed_6b", |b| module_c(b, x, 128));
    let x = b.scope("Mixed_6c", |b| module_c(b, x, 160));
    let x = b.scope("Mixed_6d", |b| module_c(b, x, 160));
    let x = b.scope("Mixed_6e", |b| module_c(b, x, 192)); // (1, 768, 17, 17)
    let scores = b.scope("AuxLogits", |b| auxiliary(b, x, size.classes));
    let x = b.scope("Mixed_7a", |b| reduction_d(b, x)); // (1, 1280, 8, 8)
    let x = b.scope("Mixed_7b", |b| module_e(b, x)); // (1, 2048, 8, 8)
    let x = b.scope("Mixed_7c", |b| module_e(b, x));
    let x = b.global_avg_pool("avgpool", x);
    let x = b.flatten("flatten", x);
    let x = b.dropout("dropout", x, 0.5);
    let bias = torch_bias(b.channels(x));
    let x = b.linear("fc", x, Dense::new(size.classes).init(weights(0.1)).bias_init(bias));
    b.output("output", x);
    b.auxiliary_output("aux", scores, AUXILIARY_WEIGHT);
    b.finish()
}

fn stem(b: &mut Builder, x: ValueId) -> ValueId {
    let halve = Window::square(3).stride(2);
    let x = inception_unit(b, "Conv2d_1a_3x3", x, conv(32, 3).stride(2)); // (1, 32, 149, 149)
    let x = inception_unit(b, "Conv2d_2a_3x3", x, conv(32, 3)); // (1, 32, 147, 147)
    let x = inception_unit(b, "Conv2d_2b_3x3", x, conv(64, 3).padding(1));
    let x = b.max_pool("maxpool1", x, halve); // (1, 64, 73, 73)
    let x = inception_unit(b, "Conv2d_3b_1x1", x, conv(80, 1));
    let x = inception_unit(b, "Conv2d_4a_3x3", x, conv(192, 3)); // (1, 192, 71, 71)
    b.max_pool("maxpool2", x, halve)
}

/// 1x1; 5x5; two 3x3; pooling (the paper's figure 5).
fn module_a(b: &mut Builder, x: ValueId, pooled: usize) -> ValueId {
    let one = chain(b, "branch1x1", x, &[conv(64, 1)]);
    let five = chain(b, "branch5x5_", x, &[conv(48, 1), conv(64, 5).padding(2)]);
    let threes = [conv(64, 1), conv(96, 3).padding(1), conv(96, 3).padding(1)];
    let threes = chain(b, "branch3x3dbl_", x, &threes);
    let pool = pool_branch(b, x, pooled);
    b.concat("concat", &[one, five, threes, pool])
}

/// Halves the image: 3x3; two 3x3; pooling (figure 10).
fn reduction_b(b: &mut Builder, x: ValueId) -> ValueId {
    let three = chain(b, "branch3x3", x, &[conv(384, 3).stride(2)]);
    let threes = [conv(64, 1), conv(96, 3).padding(1), conv(96, 3).stride(2)];
    let threes = chain(b, "branch3x3dbl_", x, &threes);
    let pool = b.max_pool("branch_pool", x, Window::square(3).stride(2));
    b.concat("concat", &[three, threes, pool])
}

/// 1x1; 7x7 as 1x7 and 7x1; twice that; pooling (figure 6). `inner` channels inside the branches.
fn module_c(b: &mut Builder, x: ValueId, inner: usize) -> ValueId {
    let row = |channels: usize| same(channels, [1, 7]).init(weights(0.1));
    let column = |channels: usize| same(channels, [7, 1]).init(weights(0.1));
    let one = chain(b, "branch1x1", x, &[conv(192, 1)]);
    let seven = chain(b, "branch7x7_", x, &[conv(inner, 1), row(inner), column(192)]);
    let sevens = [conv(inner, 1), column(inner), row(inner), column(inner), row(192)];
    let sevens = chain(b, "branch7x7dbl_", x, &sevens);
    let pool = pool_branch(b, x, 192);
    b.concat("concat", &[one, seven, sevens, pool])
}

/// Halves the image: 3x3; 7x7 and 3x3; pooling.
fn reduction_d(b: &mut Builder, x: ValueId) -> ValueId {
    let three = chain(b, "branch3x3_", x, &[conv(192, 1), conv(320, 3).stride(2)]);
    let [row, column] = [[1, 7], [7, 1]].map(|kernel| same(192, kernel).init(weights(0.1)));
    let seven = chain(b, "branch7x7x3_", x, &[conv(192, 1), row, column, conv(192, 3).stride(2)]);
    let pool = b.max_pool("branch_pool", x, Window::square(3).stride(2));
    b.concat("concat", &[three, seven, pool])
}

/// 1x1; 3x3 as 1x3 and 3x1 side by side; that behind a 3x3; pooling (figure 7).
fn module_e(b: &mut Builder, x: ValueId) -> ValueId {
    let one = chain(b, "branch1x1", x, &[conv(320, 1)]);
    let three = inception_unit(b, "branch3x3_1", x, conv(384, 1));
    let three = side_by_side(b, "branch3x3_2", three);
    let deep = chain(b, "branch3x3dbl_", x, &[conv(448, 1), conv(384, 3).padding(1)]);
    let deep = side_by_side(b, "branch3x3dbl_3", deep);
    let pool = pool_branch(b, x, 192);
    b.concat("concat", &[one, three, deep, pool])
}

/// `NAMEa` over three columns and `NAMEb` over three rows, one behind the other.
fn side_by_side(b: &mut Builder, name: &str, x: ValueId) -> ValueId {
    let [row, column] = [[1, 3], [3, 1]].map(|kernel| same(384, kernel).init(weights(0.1)));
    let a = inception_unit(b, &format!("{name}a"), x, row);
    let other = inception_unit(b, &format!("{name}b"), x, column);
    b.concat(&format!("{name}.concat"), &[a, other])
}

fn pool_branch(b: &mut Builder, x: ValueId, channels: usize) -> ValueId {
    let x = b.avg_pool("avgpool", x, Window::square(3).padding(1));
    inception_unit(b, "branch_pool", x, conv(channels, 1))
}

/// Units one after the other: `NAME` if there is only one, else `NAME1`, `NAME2`, ...
fn chain(b: &mut Builder, name: &str, x: ValueId, convs: &[Conv]) -> ValueId {
    if let [only] = convs {
        return inception_unit(b, name, x, only.clone());
    }
    (1..).zip(convs).fold(x, |x, (i, conv)| inception_unit(b, &format!("{name}{i}"), x, conv.clone()))
}

/// A classifier on an image on the way: x `(1, 768, 17, 17)`, class scores `(1, classes)`. On smaller images it pools
/// and convolves over what there is.
fn auxiliary(b: &mut Builder, x: ValueId, classes: usize) -> ValueId {
    let mut window = Window::square(5).stride(3);
    for (axis, &pixels) in b.shape(x).iter().skip(2).take(2).enumerate() {
        window.kernel[axis] = pixels.min(5);
    }
    let x = b.avg_pool("avgpool", x, window); // (1, 768, 5, 5)
    let x = inception_unit(b, "conv0", x, conv(128, 1));
    let too_small = b.shape(x).iter().skip(2).any(|&pixels| pixels < 5);
    let wide = Conv::new(768, 5).padding(if too_small { 2 } else { 0 }).init(weights(0.01));
    let x = inception_unit(b, "conv1", x, wide); // (1, 768, 1, 1)
    let x = b.global_avg_pool("global_pool", x);
    let x = b.flatten("flatten", x);
    let bias = torch_bias(b.channels(x));
    b.linear("fc", x, Dense::new(classes).init(weights(0.001)).bias_init(bias))
}

fn conv(channels: usize, kernel: usize) -> Conv {
    Conv::new(channels, kernel).init(weights(0.1))
}

fn weights(std: f32) -> Init {
    Init::TruncatedNormal { mean: 0.0, std }
}
