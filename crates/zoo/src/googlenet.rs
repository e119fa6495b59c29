//! GoogLeNet, the first Inception network.

use ocellus_graph::{Builder, Conv, Dense, Graph, GraphError, Init, ValueId};
use ocellus_tensor::Window;

use crate::options::Size;
use crate::parts::{IMAGENET, inception_unit, torch_bias};
use crate::{Options, ZooError};

/// The fifth halving needs two pixels, the four before it double that and more.
const SMALLEST: usize = 31;

/// Share of each auxiliary loss in the total (Szegedy et al. 2014, section 5).
const AUXILIARY_WEIGHT: f32 = 0.3;

/// Rows and columns that an auxiliary head pools to.
const AUXILIARY_SIDE: usize = 4;

/// torchvision fills all weights like this.
const WEIGHTS: Init = Init::TruncatedNormal { mean: 0.0, std: 0.01 };

/// Channels of an inception module: 1x1; 1x1 before 3x3, 3x3; 1x1 before "5x5", "5x5"; 1x1 after pooling (Szegedy et al.
/// 2014, table 1).
type Module = (&'static str, [usize; 6]);

const STAGE_3: [Module; 2] =
    [("inception3a", [64, 96, 128, 16, 32, 32]), ("inception3b", [128, 128, 192, 32, 96, 64])];
const STAGE_4: [Module; 5] = [
    ("inception4a", [192, 96, 208, 16, 48, 64]),
    ("inception4b", [160, 112, 224, 24, 64, 64]),
    ("inception4c", [128, 128, 256, 24, 64, 64]),
    ("inception4d", [112, 144, 288, 32, 64, 64]),
    ("inception4e", [256, 160, 320, 32, 128, 128]),
];
const STAGE_5: [Module; 2] =
    [("inception5a", [256, 160, 320, 32, 128, 128]), ("inception5b", [384, 192, 384, 48, 128, 128])];

/// GoogLeNet: 3x224x224, 1000 classes, 6,624,904 parameters and 6,379,984 more in its two auxiliary heads (13,004,888 in
/// all), 1.50 billion multiply-accumulates.
///
/// Nine inception modules, each of four branches side by side. Two small classifiers on the way (`aux1` after 4a, `aux2`
/// after 4d) give auxiliary outputs: training adds their losses, each 0.3 times, and inference leaves them out. As in
/// torchvision there is batch normalisation, and the branch called 5x5 in the paper is 3x3. Parameters are named and
/// filled as torchvision does (`inception3a.branch2.0.conv.weight`, `aux1.fc1.weight`). The auxiliary heads pool to 4x4
/// (of an image too small for that, to what there is, and are then made to measure).
///
/// Source: Szegedy et al., "Going deeper with convolutions" (2014), table 1 and section 5; batch normalisation after
/// Ioffe and Szegedy (2015); torchvision, `models/googlenet.py`.
///
/// ```
/// let graph = ocellus_zoo::googlenet(&Default::default())?;
/// let weights = |graph: &ocellus_graph::Graph| graph.parameter_count(ocellus_graph::Role::Weight);
/// assert_eq!(weights(&graph), 13_004_888);
/// assert_eq!(weights(&graph.for_inference()?), 6_624_904);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn googlenet(options: &Options) -> Result<Graph, ZooError> {
    let size = IMAGENET.choose("googlenet", options)?;
    size.explain("googlenet", SMALLEST, describe(&size))
}

fn describe(size: &Size) -> Result<Graph, GraphError> {
    let halve = Window::square(3).stride(2);
    let mut b = Builder::new("googlenet");
    let x = b.input("input", size.input()); // (1, 3, 224, 224)
    let x = inception_unit(&mut b, "conv1", x, conv(64, 7).stride(2).padding(3)); // (1, 64, 112, 112)
    let x = b.max_pool_ceil("maxpool1", x, halve); // (1, 64, 56, 56)
    let x = inception_unit(&mut b, "conv2", x, conv(64, 1));
    let x = inception_unit(&mut b, "conv3", x, conv(192, 3).padding(1)); // (1, 192, 56, 56)
    let mut x = b.max_pool_ceil("maxpool2", x, halve); // (1, 192, 28, 28)
    for module in STAGE_3 {
        x = inception(&mut b, x, module); // (1, 256, 28, 28), (1, 480, 28, 28)
    }
    x = b.max_pool_ceil("maxpool3", x, halve); // (1, 480, 14, 14)
    let mut scores = Vec::new();
    for module in STAGE_4 {
        x = inception(&mut b, x, module); // (1, 512 to 832, 14, 14)
        if let ("inception4a" | "inception4d", _) = module {
            let name = format!("aux{}", scores.len() + 1);
            scores.push(b.scope(&name, |b| auxiliary(b, x, size.classes)));
        }
    }
    x = b.max_pool_ceil("maxpool4", x, Window::square(2).stride(2)); // (1, 832, 7, 7)
    for module in STAGE_5 {
        x = inception(&mut b, x, module); // (1, 832, 7, 7), (1, 1024, 7, 7)
    }
    let x = b.global_avg_pool("avgpool", x);
    let x = b.flatten("flatten", x);
    let x = b.dropout("dropout", x, 0.2);
    let x = dense(&mut b, "fc", x, size.classes);
    b.output("output", x);
    for (i, scores) in (1..).zip(scores) {
        b.auxiliary_output(&format!("aux{i}"), scores, AUXILIARY_WEIGHT);
    }
    b.finish()
}

/// Four branches, their channels one behind the other.
fn inception(b: &mut Builder, x: ValueId, (name, channels): Module) -> ValueId {
    let [one, three_reduced, three, five_reduced, five, pooled] = channels;
    b.scope(name, |b| {
        let branch1 = inception_unit(b, "branch1", x, conv(one, 1));
        let branch2 = inception_unit(b, "branch2.0", x, conv(three_reduced, 1));
        let branch2 = inception_unit(b, "branch2.1", branch2, conv(three, 3).padding(1));
        let branch3 = inception_unit(b, "branch3.0", x, conv(five_reduced, 1));
        let branch3 = inception_unit(b, "branch3.1", branch3, conv(five, 3).padding(1));
        let branch4 = b.max_pool_ceil("branch4.0", x, Window::square(3).padding(1));
        let branch4 = inception_unit(b, "branch4.1", branch4, conv(pooled, 1));
        b.concat("concat", &[branch1, branch2, branch3, branch4])
    })
}

/// A classifier on an image on the way: x `(1, C, 14, 14)`, class scores `(1, classes)`.
fn auxiliary(b: &mut Builder, x: ValueId, classes: usize) -> ValueId {
    let window = pool_to(AUXILIARY_SIDE, &b.shape(x));
    let x = b.avg_pool("avgpool", x, window); // (1, C, 4, 4)
    let x = inception_unit(b, "conv", x, conv(128, 1));
    let x = b.flatten("flatten", x); // (1, 2048)
    let x = dense(b, "fc1", x, 1024);
    let x = b.relu("relu", x);
    let x = b.dropout("dropout", x, 0.7);
    dense(b, "fc2", x, classes)
}

/// The window that pools an image `(N, C, H, W)` to `side` rows and columns (or leaves it if it has no more): 5x5 in
/// steps of three for 14x14 to 4x4, as in the paper.
fn pool_to(side: usize, image: &ocellus_tensor::Shape) -> Window {
    let mut window = Window::square(1);
    for (axis, &pixels) in image.iter().skip(2).take(2).enumerate() {
        if pixels > side {
            window.stride[axis] = pixels / side;
            window.kernel[axis] = pixels - (side - 1) * window.stride[axis];
        }
    }
    window
}

fn conv(channels: usize, kernel: usize) -> Conv {
    Conv::new(channels, kernel).init(WEIGHTS)
}

fn dense(b: &mut Builder, name: &str, x: ValueId, features: usize) -> ValueId {
    let bias = torch_bias(b.channels(x));
    b.linear(name, x, Dense::new(features).init(WEIGHTS).bias_init(bias))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auxiliary_heads_pool_to_four_by_four_and_smaller_images_not_at_all() {
        let window = pool_to(4, &[1, 512, 14, 14].into());
        assert_eq!((window.kernel, window.stride), ([5, 5], [3, 3]));
        let side = |pixels: usize, node: &str| {
            let graph = googlenet(&Options::default().with_input([3, pixels, pixels])).unwrap();
            graph.shape(graph.find_value(node).unwrap())[2..].to_vec()
        };
        for pixels in [64, 96, 160, 299, 320] {
            assert_eq!(side(pixels, "aux1.avgpool"), [4, 4], "{pixels}");
        }
        assert_eq!(side(32, "aux2.avgpool"), [2, 2]);
    }
}
