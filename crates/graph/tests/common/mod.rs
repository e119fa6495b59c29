//! Networks that several tests look at.
#![allow(dead_code)] // each test file uses some of them

pub mod every_op;

use ocellus_graph::{BatchNormSpec, Builder, Conv, Dense, Graph, ValueId};
use ocellus_tensor::{Padding, Window};

/// Convolution without bias, then BatchNorm.
pub fn conv_bn(b: &mut Builder, names: [&str; 2], x: ValueId, conv: Conv) -> ValueId {
    let x = b.conv2d(names[0], x, conv.no_bias());
    b.batch_norm(names[1], x, BatchNormSpec::default())
}

/// A bottleneck of `planes` channels, four times as many outside.
fn bottleneck(b: &mut Builder, x: ValueId, planes: usize, stride: usize) -> ValueId {
    let y = conv_bn(b, ["conv1", "bn1"], x, Conv::new(planes, 1));
    let y = b.relu("relu1", y);
    let y = conv_bn(b, ["conv2", "bn2"], y, Conv::new(planes, 3).stride(stride).padding(1));
    let y = b.relu("relu2", y);
    let y = conv_bn(b, ["conv3", "bn3"], y, Conv::new(4 * planes, 1));
    let shortcut = if b.channels(x) == 4 * planes && stride == 1 {
        x
    } else {
        conv_bn(b, ["downsample.0", "downsample.1"], x, Conv::new(4 * planes, 1).stride(stride))
    };
    let sum = b.add("add", y, shortcut);
    b.relu("relu3", sum)
}

/// ResNet-50 (v1.5) for 224 x 224 images.
pub fn resnet50() -> Graph {
    let mut b = Builder::new("resnet50");
    let x = b.input("input", [1, 3, 224, 224]);
    let x = conv_bn(&mut b, ["conv1", "bn1"], x, Conv::new(64, 7).stride(2).padding(3));
    let x = b.relu("relu", x);
    let mut x = b.max_pool("maxpool", x, Window::square(3).stride(2).padding(1));
    for (stage, (blocks, planes)) in [(3, 64), (4, 128), (6, 256), (3, 512)].into_iter().enumerate() {
        for block in 0..blocks {
            let stride = if block == 0 && stage > 0 { 2 } else { 1 };
            let name = format!("layer{}.{block}", stage + 1);
            x = b.scope(&name, |b| bottleneck(b, x, planes, stride));
        }
    }
    let x = b.global_avg_pool("avgpool", x);
    let x = b.flatten("flatten", x);
    let x = b.linear("fc", x, Dense::new(1000));
    b.output("output", x);
    b.finish().unwrap()
}

/// LeNet in Caffe's sizes, for 28 x 28 digits.
pub fn lenet() -> Graph {
    let mut b = Builder::new("lenet");
    let x = b.input("input", [1, 1, 28, 28]);
    let x = b.conv2d("conv1", x, Conv::new(20, 5));
    let x = b.max_pool("pool1", x, Window::square(2).stride(2));
    let x = b.conv2d("conv2", x, Conv::new(50, 5));
    let x = b.max_pool("pool2", x, Window::square(2).stride(2));
    let x = b.flatten("flatten", x);
    let x = b.linear("ip1", x, Dense::new(500));
    let x = b.relu("relu1", x);
    let x = b.linear("ip2", x, Dense::new(10));
    b.output("output", x);
    b.finish().unwrap()
}

/// A residual block with BatchNorm and dropout, small enough to look at.
pub fn small_residual() -> Graph {
    let mut b = Builder::new("small");
    let x = b.input("input", [2, 3, 8, 8]);
    let x = conv_bn(&mut b, ["conv1", "bn1"], x, Conv::new(4, 3).padding(1));
    let y = b.relu("relu1", x);
    let y = conv_bn(&mut b, ["conv2", "bn2"], y, Conv::new(4, 3).padding_sides(Padding::all(1)));
    let y = b.add("add", y, x);
    let y = b.global_avg_pool("pool", y);
    let y = b.flatten("flatten", y);
    let y = b.dropout("drop", y, 0.5);
    let y = b.linear("fc", y, Dense::new(5));
    b.output("output", y);
    b.finish().unwrap()
}
