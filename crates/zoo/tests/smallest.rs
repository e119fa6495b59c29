//! How small may an image be? What is told about it must be true.

use ocellus_zoo::{Options, ZooError, build};

/// The networks that refuse images below some size; all others take even one pixel.
const SMALLEST: &[(&str, usize)] = &[
    ("digits", 4),
    ("nielsen", 6),
    ("lenet", 15),
    ("siamese_lenet", 15),
    ("alexnet-gap", 63),
    ("alexnet_caffe-gap", 55),
    ("caffenet-gap", 55),
    ("vgg11-gap", 32),
    ("vgg19_bn-gap", 32),
    ("airbench94", 9),
    ("nin_cifar", 6),
    ("nin_imagenet", 55),
    ("googlenet", 31),
    ("inception_v3", 75),
    ("inception_v4", 75),
    ("squeezenet1_0", 29),
    ("squeezenet1_1", 25),
    ("densenet121", 29),
    ("convnext_tiny", 32),
];

#[test]
fn the_smallest_image_is_taken_and_the_next_smaller_one_refused_with_the_number() {
    for &(name, side) in SMALLEST {
        let of = |side: usize| build(name, &Options::default().with_input([3, side, side]));
        assert!(of(side).is_ok(), "{name} at {side}");
        match of(side - 1) {
            Err(ZooError::Fit { smallest, .. }) => assert_eq!(smallest, side, "{name}"),
            other => panic!("{name} at {}: {other:?}", side - 1),
        }
    }
}

#[test]
fn all_others_take_a_single_pixel() {
    for name in ocellus_zoo::names() {
        let limited = SMALLEST.iter().any(|(known, _)| *known == name);
        let made = build(name, &Options::default().with_input([3, 1, 1]));
        let fixed = matches!(made, Err(ZooError::FixedSize { .. }));
        assert_eq!(made.is_err(), limited || fixed, "{name}");
    }
}
