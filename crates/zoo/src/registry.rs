//! Which networks are there, and which of them does a name mean?

use ocellus_graph::Graph;
use ocellus_tensor::Shape;

use crate::digits::DIGITS;
use crate::lenet::MNIST;
use crate::options::Size;
use crate::resnet::IMAGENET;
use crate::resnet_cifar::CIFAR;
use crate::{Options, ZooError, digits, lenet, resnet, resnet_cifar};

/// One network of the zoo.
#[derive(Clone, Copy)]
enum Network {
    Digits,
    Lenet,
    Resnet(usize),
    ResnetCifar(usize),
}

/// All networks, by name.
const NETWORKS: [(&str, Network); 12] = [
    ("digits", Network::Digits),
    ("lenet", Network::Lenet),
    ("resnet18", Network::Resnet(18)),
    ("resnet20", Network::ResnetCifar(20)),
    ("resnet32", Network::ResnetCifar(32)),
    ("resnet34", Network::Resnet(34)),
    ("resnet44", Network::ResnetCifar(44)),
    ("resnet50", Network::Resnet(50)),
    ("resnet56", Network::ResnetCifar(56)),
    ("resnet101", Network::Resnet(101)),
    ("resnet110", Network::ResnetCifar(110)),
    ("resnet152", Network::Resnet(152)),
];

/// Names further away than this many edits are not offered.
const NEAR: usize = 3;

/// The names that [`build`] knows.
pub fn names() -> Vec<&'static str> {
    NETWORKS.iter().map(|(name, _)| *name).collect()
}

/// The network called `name`.
///
/// An unknown name is an error that offers the nearest one and lists all; so is an option of 0, or an image too
/// small for the network.
///
/// ```
/// use ocellus_zoo::{Options, build};
/// let error = build("resnt50", &Options::default()).unwrap_err().to_string();
/// assert!(error.contains("did you mean resnet50?"), "{error}");
/// ```
pub fn build(name: &str, options: &Options) -> Result<Graph, ZooError> {
    match find(name)? {
        Network::Digits => digits(options),
        Network::Lenet => lenet(options),
        Network::Resnet(depth) => resnet(depth, options),
        Network::ResnetCifar(depth) => resnet_cifar(depth, options),
    }
}

/// The input that the network called `name` has unless told otherwise: `(1, C, H, W)`.
///
/// ```
/// assert_eq!(ocellus_zoo::default_input("resnet20")?.dims(), [1, 3, 32, 32]);
/// # Ok::<(), ocellus_zoo::ZooError>(())
/// ```
pub fn default_input(name: &str) -> Result<Shape, ZooError> {
    Ok(usual(find(name)?).input().into())
}

/// The classes that the network called `name` tells apart unless told otherwise.
pub fn default_classes(name: &str) -> Result<usize, ZooError> {
    Ok(usual(find(name)?).classes)
}

fn usual(network: Network) -> Size {
    match network {
        Network::Digits => DIGITS,
        Network::Lenet => MNIST,
        Network::Resnet(_) => IMAGENET,
        Network::ResnetCifar(_) => CIFAR,
    }
}

fn find(name: &str) -> Result<Network, ZooError> {
    let known = NETWORKS.iter().find(|(known, _)| *known == name);
    known.map(|(_, network)| *network).ok_or_else(|| ZooError::Unknown {
        name: name.to_string(),
        hint: nearest(name).map_or_else(String::new, |near| format!(", did you mean {near}?")),
        names: names(),
    })
}

/// The name with the fewest edits from `name`, hyphens and case aside, if it is near at all.
fn nearest(name: &str) -> Option<&'static str> {
    let plain: String = name.chars().filter(|c| c.is_alphanumeric()).collect::<String>().to_lowercase();
    let distance = |known: &str| strsim::osa_distance(known, &plain);
    let near = names().into_iter().min_by_key(|known| distance(known))?;
    (distance(near) <= NEAR.min(plain.len() / 2)).then_some(near)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_builds_with_one_input_and_one_output() {
        for name in names() {
            let graph = build(name, &Options::default()).unwrap();
            assert_eq!(graph.name, name);
            assert_eq!(graph.inputs().len(), 1);
            assert_eq!(*graph.shape(graph.find_input("input").unwrap()), default_input(name).unwrap());
            let output = graph.shape(graph.find_output("output").unwrap());
            assert_eq!(output.dims(), [1, default_classes(name).unwrap()]);
        }
    }

    #[test]
    fn every_network_takes_other_classes_channels_and_sizes() {
        for name in names() {
            for input in [[1, 28, 28], [3, 33, 47], [4, 64, 16]] {
                let options = Options::default().with_classes(7).with_input(input);
                let graph = build(name, &options).unwrap();
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
        assert_eq!(offer("vgg16"), None);
        assert_eq!(offer(""), None);
        let sentence = build("vgg16", &Options::default()).unwrap_err().to_string();
        assert!(sentence.contains("vgg16") && sentence.contains("resnet110"), "{sentence}");
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
