//! Which networks are there, and which of them does a name mean?

use ocellus_graph::Graph;
use ocellus_tensor::Shape;

use crate::alexnet_caffe::IMAGENET_227;
use crate::digits::DIGITS;
use crate::inception_v3::IMAGENET_299;
use crate::lenet::MNIST;
use crate::options::Size;
use crate::parts::IMAGENET;
use crate::resnet_cifar::CIFAR;
use crate::siamese::PAIRS;
use crate::*;

/// One network of the zoo.
struct Known {
    name: &'static str,
    /// Its size unless told otherwise.
    usual: Size,
    /// Whether its head is made for one size of image, so that `NAME-gap` is a network of its own.
    fixed_head: bool,
    make: Make,
}

type Make = fn(&Options) -> Result<Graph, ZooError>;

const fn known(name: &'static str, usual: Size, make: Make) -> Known {
    Known { name, usual, fixed_head: false, make }
}

const fn fixed(name: &'static str, usual: Size, make: Make) -> Known {
    Known { name, usual, fixed_head: true, make }
}

/// All networks, family by family.
const NETWORKS: &[Known] = &[
    known("digits", DIGITS, digits),
    known("nielsen", MNIST, nielsen),
    known("mlp", MNIST, mlp),
    known("lenet", MNIST, lenet),
    known("siamese_lenet", PAIRS, siamese_lenet),
    fixed("alexnet", IMAGENET, alexnet),
    fixed("alexnet_caffe", IMAGENET_227, alexnet_caffe),
    fixed("caffenet", IMAGENET_227, caffenet),
    fixed("vgg11", IMAGENET, |o| vgg(11, false, o)),
    fixed("vgg11_bn", IMAGENET, |o| vgg(11, true, o)),
    fixed("vgg13", IMAGENET, |o| vgg(13, false, o)),
    fixed("vgg13_bn", IMAGENET, |o| vgg(13, true, o)),
    fixed("vgg16", IMAGENET, |o| vgg(16, false, o)),
    fixed("vgg16_bn", IMAGENET, |o| vgg(16, true, o)),
    fixed("vgg19", IMAGENET, |o| vgg(19, false, o)),
    fixed("vgg19_bn", IMAGENET, |o| vgg(19, true, o)),
    known("nin_cifar", CIFAR, nin_cifar),
    known("nin_imagenet", IMAGENET, nin_imagenet),
    known("googlenet", IMAGENET, googlenet),
    known("inception_v3", IMAGENET_299, inception_v3),
    known("inception_v4", IMAGENET_299, inception_v4),
    known("squeezenet1_0", IMAGENET, |o| squeezenet(SqueezeNet::V1_0, o)),
    known("squeezenet1_1", IMAGENET, |o| squeezenet(SqueezeNet::V1_1, o)),
    known("resnet18", IMAGENET, |o| resnet(18, o)),
    known("resnet34", IMAGENET, |o| resnet(34, o)),
    known("resnet50", IMAGENET, |o| resnet(50, o)),
    known("resnet101", IMAGENET, |o| resnet(101, o)),
    known("resnet152", IMAGENET, |o| resnet(152, o)),
    known("resnet18_v1", IMAGENET, |o| resnet_v1(18, o)),
    known("resnet34_v1", IMAGENET, |o| resnet_v1(34, o)),
    known("resnet50_v1", IMAGENET, |o| resnet_v1(50, o)),
    known("resnet101_v1", IMAGENET, |o| resnet_v1(101, o)),
    known("resnet152_v1", IMAGENET, |o| resnet_v1(152, o)),
    known("resnet18_v2", IMAGENET, |o| resnet_v2(18, o)),
    known("resnet34_v2", IMAGENET, |o| resnet_v2(34, o)),
    known("resnet50_v2", IMAGENET, |o| resnet_v2(50, o)),
    known("resnet101_v2", IMAGENET, |o| resnet_v2(101, o)),
    known("resnet152_v2", IMAGENET, |o| resnet_v2(152, o)),
    known("resnext50_32x4d", IMAGENET, resnext50_32x4d),
    known("wide_resnet50_2", IMAGENET, wide_resnet50_2),
    known("se_resnet50", IMAGENET, se_resnet50),
    known("resnet20", CIFAR, |o| resnet_cifar(20, o)),
    known("resnet32", CIFAR, |o| resnet_cifar(32, o)),
    known("resnet44", CIFAR, |o| resnet_cifar(44, o)),
    known("resnet56", CIFAR, |o| resnet_cifar(56, o)),
    known("resnet110", CIFAR, |o| resnet_cifar(110, o)),
    known("airbench94", CIFAR, airbench94),
    known("mobilenet_v1", IMAGENET, mobilenet_v1),
    known("mobilenet_v2", IMAGENET, mobilenet_v2),
    known("efficientnet_b0", IMAGENET, efficientnet_b0),
    known("densenet121", IMAGENET, densenet121),
    known("convnext_tiny", IMAGENET, convnext_tiny),
];

/// Other names by which some are known.
const ALIASES: &[(&str, &str)] = &[
    ("inception_v1", "googlenet"),
    ("resnet18_v1.5", "resnet18"),
    ("resnet34_v1.5", "resnet34"),
    ("resnet50_v1.5", "resnet50"),
    ("resnet101_v1.5", "resnet101"),
    ("resnet152_v1.5", "resnet152"),
    ("resnext50", "resnext50_32x4d"),
    ("wide_resnet50", "wide_resnet50_2"),
    ("siamese", "siamese_lenet"),
    ("nin", "nin_imagenet"),
];

/// What stands behind a name for global pooling before a head that is made for one size of image.
pub(crate) const GLOBAL_POOLING: &str = "-gap";

/// Names further away than this many edits are not offered.
const NEAR: usize = 3;

/// The names that [`build`] knows.
pub fn names() -> Vec<&'static str> {
    NETWORKS.iter().map(|known| known.name).collect()
}

/// Whether [`build`] knows `name`, in whatever spelling.
///
/// ```
/// assert!(ocellus_zoo::is_known("ResNet-50") && ocellus_zoo::is_known("vgg16-gap"));
/// assert!(!ocellus_zoo::is_known("resnet51"));
/// ```
pub fn is_known(name: &str) -> bool {
    find(name).is_ok()
}

/// The network called `name`.
///
/// Case, hyphens, underscores and dots make no difference (`SqueezeNet-1.1`). `-gap` behind the name of a network whose
/// head is made for one size of image is [`Options::global_pooling`].
///
/// An unknown name is an error that offers the nearest one and lists all; so is an option of 0, an image too small
/// for the network, or one of another size than its head is made for.
///
/// ```
/// use ocellus_zoo::{Options, build};
/// let error = build("resnt50", &Options::default()).unwrap_err().to_string();
/// assert!(error.contains("did you mean resnet50?"), "{error}");
///
/// let small = Options::default().with_input([3, 64, 64]);
/// let error = build("vgg16", &small).unwrap_err().to_string();
/// assert!(error.contains("fc6") && error.contains("vgg16-gap"), "{error}");
/// assert!(build("vgg16-gap", &small).is_ok());
/// ```
pub fn build(name: &str, options: &Options) -> Result<Graph, ZooError> {
    let (known, pooled) = find(name)?;
    let global_pooling = options.global_pooling || pooled;
    (known.make)(&Options { global_pooling, ..*options })
}

/// The input that the network called `name` has unless told otherwise: `(1, C, H, W)`.
///
/// ```
/// assert_eq!(ocellus_zoo::default_input("resnet20")?.dims(), [1, 3, 32, 32]);
/// # Ok::<(), ocellus_zoo::ZooError>(())
/// ```
pub fn default_input(name: &str) -> Result<Shape, ZooError> {
    Ok(find(name)?.0.usual.input().into())
}

/// The classes that the network called `name` tells apart unless told otherwise.
pub fn default_classes(name: &str) -> Result<usize, ZooError> {
    Ok(find(name)?.0.usual.classes)
}

/// The network that `name` means, and whether it asks for global pooling.
fn find(name: &str) -> Result<(&'static Known, bool), ZooError> {
    let wanted = plain(name);
    let alias = ALIASES.iter().find(|(alias, _)| plain(alias) == wanted);
    let wanted = alias.map_or(wanted, |(_, known)| plain(known));
    let called = |wanted: &str| NETWORKS.iter().find(|known| plain(known.name) == wanted);
    if let Some(known) = called(&wanted) {
        return Ok((known, false));
    }
    let pooled = wanted.strip_suffix(&plain(GLOBAL_POOLING)).and_then(called);
    match pooled.filter(|known| known.fixed_head) {
        Some(known) => Ok((known, true)),
        None => Err(ZooError::Unknown {
            name: name.to_string(),
            hint: nearest(name).map_or_else(String::new, |near| format!(", did you mean {near}?")),
            names: names(),
        }),
    }
}

/// A name without what people write differently: its letters and digits, all lower case.
fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).collect::<String>().to_lowercase()
}

/// The name with the fewest edits from `name`, hyphens and case aside, if it is near at all.
fn nearest(name: &str) -> Option<&'static str> {
    let wanted = plain(name);
    let distance = |known: &str| strsim::osa_distance(&plain(known), &wanted);
    let near = names().into_iter().min_by_key(|known| distance(known))?;
    (distance(near) <= NEAR.min(wanted.len() / 2)).then_some(near)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_builds_with_its_input_and_output() {
        for name in names() {
            let graph = build(name, &Options::default()).unwrap();
            assert_eq!(graph.name, name);
            let pair = name == "siamese_lenet";
            assert_eq!(graph.inputs().len(), if pair { 3 } else { 1 }, "{name}");
            assert_eq!(*graph.shape(graph.find_input("input").unwrap()), default_input(name).unwrap());
            let output = graph.shape(graph.find_output("output").unwrap());
            assert_eq!(output.dims(), [1, default_classes(name).unwrap()]);
        }
    }

    #[test]
    fn every_network_takes_other_classes_channels_and_sizes() {
        for known in NETWORKS {
            let side = known.usual.height;
            for input in [[1, side, side + 5], [4, side + 16, side]] {
                let options = Options::default().with_classes(7).with_input(input);
                let graph = build(known.name, &options.with_global_pooling()).unwrap();
                assert_eq!(graph.shape(graph.inputs()[0]).dims()[1..], input);
                assert_eq!(graph.shape(graph.find_output("output").unwrap()).dims(), [1, 7]);
            }
        }
    }

    #[test]
    fn unknown_names_offer_the_nearest_and_list_all() {
        let offer = |name: &str| nearest(name);
        assert_eq!(offer("ResNet-50"), Some("resnet50"));
        assert_eq!(offer("lenet5"), Some("lenet"));
        assert_eq!(offer("digit"), Some("digits"));
        assert_eq!(offer("vgg_16bm"), Some("vgg16_bn"));
        assert_eq!(offer("yolo"), None);
        assert_eq!(offer(""), None);
        let sentence = build("yolo", &Options::default()).unwrap_err().to_string();
        assert!(sentence.contains("yolo") && sentence.contains("resnet110"), "{sentence}");
    }

    #[test]
    fn spellings_of_one_name_are_one_network() {
        let name = |spelling: &str| build(spelling, &Options::default()).map(|graph| graph.name);
        assert_eq!(name("ResNet-18").unwrap(), "resnet18");
        assert_eq!(name("SqueezeNet 1.1").unwrap(), "squeezenet1_1");
        assert_eq!(name("VGG11-BN-GAP").unwrap(), "vgg11_bn-gap");
        assert!(name("resnet18-gap").is_err(), "it pools globally anyway");
        assert_eq!(name("resnet50-v1.5").unwrap(), "resnet50");
        let aliases = ALIASES.iter().map(|(alias, _)| *alias);
        let mut plains: Vec<String> = names().into_iter().chain(aliases).map(plain).collect();
        plains.sort();
        assert!(plains.windows(2).all(|pair| pair[0] != pair[1]), "{plains:?}");
    }

    #[test]
    fn a_head_made_for_one_size_names_its_layer_and_the_cure() {
        for known in NETWORKS.iter().filter(|known| known.fixed_head) {
            for side in [known.usual.height * 2, known.usual.height / 2, 2] {
                let options = Options::default().with_input([3, side, side]);
                let sentence = build(known.name, &options).unwrap_err().to_string();
                let cure = format!("{}-gap", known.name);
                for part in [known.name, "fc6", "global pooling", &cure, &format!("{side}x{side}")] {
                    assert!(sentence.contains(part), "{part}: {sentence}");
                }
                if side > 2 {
                    assert_eq!(build(&cure, &options).unwrap().name, cure);
                }
            }
        }
    }

    #[test]
    fn impossible_options_are_refused_with_the_number() {
        for name in names() {
            let none = build(name, &Options::default().with_classes(0)).unwrap_err().to_string();
            assert!(none.contains(name) && none.contains("classes must be 1 to"), "{none}");
            for input in [[0, 32, 32], [3, 0, 32], [3, 32, usize::MAX], [usize::MAX, 32, 32]] {
                assert!(build(name, &Options::default().with_input(input)).is_err());
            }
            let huge = Options::default().with_classes(1 << 24).with_input([1 << 24; 3]);
            // Whether such a network is refused or not, asking for it must not break anything.
            let _ = build(name, &huge);
        }
    }
}
