//! Inception, version 4.

use ocellus_graph::ops::AvgPool;
use ocellus_graph::{Builder, Conv, Dense, Graph, GraphError, Op, ValueId};
use ocellus_tensor::{Rounding, Window};

use crate::inception_v3::IMAGENET_299;
use crate::options::Size;
use crate::parts::{HE_FAN_OUT, inception_unit, same};
use crate::{Options, ZooError};

/// Below this many pixels a side nothing is left for the last reduction.
const SMALLEST: usize = 75;

/// Inception-v4: 3x299x299, 1000 classes, 42,679,816 parameters, 12.25 billion multiply-accumulates.
///
/// A branching stem, four modules A, seven B and three C with a reduction after A and B. Nodes are called as in the paper
/// (`inception_b3`, `reduction_a`), parameters as in timm (`features.6.branch0.conv.weight`, `last_linear.bias`).
///
/// Source: Szegedy et al., "Inception-v4, Inception-ResNet and the impact of residual connections on learning" (2016),
/// figures 3 to 9; timm, `models/inception_v4.py`.
///
/// ```
/// let graph = ocellus_zoo::inception_v4(&Default::default())?;
/// assert!(graph.find_param("features.21.branch1_1a.conv.weight").is_some());
/// # Ok::<(), ocellus_zoo::ZooError>(())
/// ```
pub fn inception_v4(options: &Options) -> Result<Graph, ZooError> {
    let size = IMAGENET_299.choose("inception_v4", options)?;
    size.explain("inception_v4", SMALLEST, describe(&size))
}

fn describe(size: &Size) -> Result<Graph, GraphError> {
    let mut b = Builder::new("inception_v4");
    let x = b.input("input", size.input()); // (1, 3, 299, 299)
    let mut x = stem(&mut b, x); // (1, 384, 35, 35)
    let mut module = 6; // timm numbers all that follows the stem
    let mut add = |b: &mut Builder, name: String, x: ValueId, body: fn(&mut Builder, ValueId) -> ValueId| {
        let params = format!("features.{module}");
        module += 1;
        b.scope_sharing(&name, &params, |b| body(b, x))
    };
    for i in 1..=4 {
        x = add(&mut b, format!("inception_a{i}"), x, module_a);
    }
    x = add(&mut b, "reduction_a".into(), x, reduction_a); // (1, 1024, 17, 17)
    for i in 1..=7 {
        x = add(&mut b, format!("inception_b{i}"), x, module_b);
    }
    x = add(&mut b, "reduction_b".into(), x, reduction_b); // (1, 1536, 8, 8)
    for i in 1..=3 {
        x = add(&mut b, format!("inception_c{i}"), x, module_c);
    }
    let x = b.global_avg_pool("global_pool", x);
    let x = b.flatten("flatten", x);
    let x = b.dropout("dropout", x, 0.2);
    let x = b.linear("last_linear", x, Dense::new(size.classes)); // (1, classes)
    b.output("output", x);
    b.finish()
}

/// Figure 3.
fn stem(b: &mut Builder, x: ValueId) -> ValueId {
    let x = b.scope_sharing("stem", "features", |b| {
        let x = inception_unit(b, "0", x, conv(32, 3).stride(2)); // (1, 32, 149, 149)
        let x = inception_unit(b, "1", x, conv(32, 3)); // (1, 32, 147, 147)
        inception_unit(b, "2", x, conv(64, 3).padding(1))
    });
    let x = b.scope_sharing("stem.3", "features.3", |b| {
        let pool = b.max_pool("maxpool", x, Window::square(3).stride(2));
        let halved = inception_unit(b, "conv", x, conv(96, 3).stride(2));
        b.concat("concat", &[pool, halved]) // (1, 160, 73, 73)
    });
    let x = b.scope_sharing("stem.4", "features.4", |b| {
        let short = chain(b, "branch0", x, &[conv(64, 1), conv(96, 3)]);
        let long = [conv(64, 1), across(64, 7), down(64, 7), conv(96, 3)];
        let long = chain(b, "branch1", x, &long);
        b.concat("concat", &[short, long]) // (1, 192, 71, 71)
    });
    b.scope_sharing("stem.5", "features.5", |b| {
        let halved = inception_unit(b, "conv", x, conv(192, 3).stride(2));
        let pool = b.max_pool("maxpool", x, Window::square(3).stride(2));
        b.concat("concat", &[halved, pool])
    })
}

/// Figure 4.
fn module_a(b: &mut Builder, x: ValueId) -> ValueId {
    let one = inception_unit(b, "branch0", x, conv(96, 1));
    let three = chain(b, "branch1", x, &[conv(64, 1), conv(96, 3).padding(1)]);
    let threes = [conv(64, 1), conv(96, 3).padding(1), conv(96, 3).padding(1)];
    let threes = chain(b, "branch2", x, &threes);
    let pool = pool_branch(b, x, 96);
    b.concat("concat", &[one, three, threes, pool])
}

/// Figure 7 with k, l, m, n = 192, 224, 256, 384 (table 1).
fn reduction_a(b: &mut Builder, x: ValueId) -> ValueId {
    let three = inception_unit(b, "branch0", x, conv(384, 3).stride(2));
    let threes = [conv(192, 1), conv(224, 3).padding(1), conv(256, 3).stride(2)];
    let threes = chain(b, "branch1", x, &threes);
    let pool = b.max_pool("branch2", x, Window::square(3).stride(2));
    b.concat("concat", &[three, threes, pool])
}

/// Figure 5.
fn module_b(b: &mut Builder, x: ValueId) -> ValueId {
    let one = inception_unit(b, "branch0", x, conv(384, 1));
    let seven = chain(b, "branch1", x, &[conv(192, 1), across(224, 7), down(256, 7)]);
    let sevens = [conv(192, 1), down(192, 7), across(224, 7), down(224, 7), across(256, 7)];
    let sevens = chain(b, "branch2", x, &sevens);
    let pool = pool_branch(b, x, 128);
    b.concat("concat", &[one, seven, sevens, pool])
}

/// Figure 8.
fn reduction_b(b: &mut Builder, x: ValueId) -> ValueId {
    let three = chain(b, "branch0", x, &[conv(192, 1), conv(192, 3).stride(2)]);
    let seven = [conv(256, 1), across(256, 7), down(320, 7), conv(320, 3).stride(2)];
    let seven = chain(b, "branch1", x, &seven);
    let pool = b.max_pool("branch2", x, Window::square(3).stride(2));
    b.concat("concat", &[three, seven, pool])
}

/// Figure 6.
fn module_c(b: &mut Builder, x: ValueId) -> ValueId {
    let one = inception_unit(b, "branch0", x, conv(256, 1));
    let three = inception_unit(b, "branch1_0", x, conv(384, 1));
    let three = side_by_side(b, "branch1_1", three);
    let deep = inception_unit(b, "branch2_0", x, conv(384, 1));
    let deep = inception_unit(b, "branch2_1", deep, down(448, 3));
    let deep = inception_unit(b, "branch2_2", deep, across(512, 3));
    let deep = side_by_side(b, "branch2_3", deep);
    let pool = pool_branch(b, x, 256);
    b.concat("concat", &[one, three, deep, pool])
}

/// `NAMEa` over three columns and `NAMEb` over three rows, one behind the other.
fn side_by_side(b: &mut Builder, name: &str, x: ValueId) -> ValueId {
    let a = inception_unit(b, &format!("{name}a"), x, across(256, 3));
    let other = inception_unit(b, &format!("{name}b"), x, down(256, 3));
    b.concat(&format!("{name}.concat"), &[a, other])
}

/// Average pooling, in which padding does not count, and a 1x1 convolution.
fn pool_branch(b: &mut Builder, x: ValueId, channels: usize) -> ValueId {
    let window = Some(Window::square(3).padding(1));
    let pool = AvgPool { window, rounding: Rounding::Floor, count_include_pad: false };
    let x = b.node("branch3.0", Op::AvgPool(pool), &[x]);
    inception_unit(b, "branch3.1", x, conv(channels, 1))
}

/// Units one after the other: `NAME.0`, `NAME.1`, ...
fn chain(b: &mut Builder, name: &str, x: ValueId, convs: &[Conv]) -> ValueId {
    (0..).zip(convs).fold(x, |x, (i, conv)| inception_unit(b, &format!("{name}.{i}"), x, conv.clone()))
}

fn conv(channels: usize, kernel: usize) -> Conv {
    Conv::new(channels, kernel).init(HE_FAN_OUT)
}

/// One row of taps.
fn across(channels: usize, taps: usize) -> Conv {
    same(channels, [1, taps]).init(HE_FAN_OUT)
}

/// One column of taps.
fn down(channels: usize, taps: usize) -> Conv {
    same(channels, [taps, 1]).init(HE_FAN_OUT)
}
