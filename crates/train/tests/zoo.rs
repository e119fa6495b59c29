//! Every network of the zoo trains: its step can be planned, and a step moves every weight it has.

use ocellus_engine::Options;
use ocellus_graph::{Graph, initialise};
use ocellus_train::{At, Optimiser, StepGraphs, StepSetup, Stepper};
use ocellus_zoo::build;

const CLASSES: usize = 7;
const BATCH: usize = 2;

fn setup() -> StepSetup {
    StepSetup::new(BATCH, Optimiser::sgd(0.0))
}

fn network(name: &str, side: usize) -> Graph {
    let size = ocellus_zoo::Options::default().with_classes(CLASSES).with_input([3, side, side]);
    build(name, &size).unwrap_or_else(|error| panic!("{error}"))
}

/// Rows and columns of a small image for each network, enough to leave a few pixels behind the last halving.
fn side(name: &str) -> usize {
    match name {
        "digits" => 8,
        "lenet" | "siamese_lenet" | "nielsen" | "mlp" | "nin_cifar" => 16,
        _ if name.starts_with("inception_v") => 107,
        _ => 64,
    }
}

/// The networks' names, with global pooling where only that lets them take small images.
fn names() -> Vec<String> {
    let free = |name: &str| {
        let small = ocellus_zoo::Options::default().with_input([3, side(name), side(name)]);
        build(name, &small).is_ok()
    };
    let names = ocellus_zoo::names().into_iter();
    names.map(|name| if free(name) { name.to_string() } else { format!("{name}-gap") }).collect()
}

#[test]
fn every_network_has_a_training_step_that_can_be_planned() {
    for name in names() {
        let step = StepGraphs::new(&network(&name, side(&name)), &setup()).unwrap();
        assert!(!step.trained.is_empty(), "{name}");
        assert!(step.planned_bytes(&Options::default()).unwrap() > 0, "{name}");
    }
}

#[test]
fn auxiliary_losses_count_with_their_published_weights() {
    for (name, expected) in [
        ("googlenet", vec![("loss", 1.0), ("loss.aux1", 0.3), ("loss.aux2", 0.3)]),
        ("inception_v3", vec![("loss", 1.0), ("loss.aux", 0.4)]),
    ] {
        let step = StepGraphs::new(&network(name, 107), &setup()).unwrap();
        let losses = step.gradients.losses().iter().map(|loss| (loss.name.as_str(), loss.weight));
        assert_eq!(losses.collect::<Vec<_>>(), expected, "{name}");
    }
}

/// One step, and the names of the weights that it left as they were.
fn untouched(name: &str) -> Vec<String> {
    let net = network(name, side(name));
    let mut weights = initialise(&net, 1);
    // ConvNeXt's branches begin at a millionth, which one step on a gain of 1 would not show.
    for (_, scale) in weights.iter_mut().filter(|(name, _)| name.ends_with("layer_scale")) {
        scale.data_mut().fill(1.0);
    }
    let mut stepper = Stepper::new(&net, setup(), 0, &Options::default()).unwrap();
    stepper.load(&weights, &Default::default()).unwrap();
    let pixels = net.shape(net.inputs()[0]).elements() * BATCH;
    let images: Vec<f32> = (0..pixels).map(|i| ((i * 7919) % 1009) as f32 / 504.5 - 1.0).collect();
    let seen = stepper.part(At { step: 0, rate: 0.1 }, 0, &images, &[1.0, 4.0]).unwrap();
    assert!(seen.loss.is_finite() && seen.loss > 0.0, "{name}: loss {}", seen.loss);
    let after = stepper.weights();
    let finite = |name: &String| after[name].data().iter().all(|x| x.is_finite());
    assert!(after.keys().all(finite), "{name}");
    let graphs = StepGraphs::new(&net, &setup()).unwrap();
    graphs.trained.into_iter().filter(|name| after[name].data() == weights[name].data()).collect()
}

macro_rules! a_step_moves_every_weight {
    ($($test:ident: $($name:literal)+;)+) => {
        $(
            #[test]
            fn $test() {
                for name in [$($name),+] {
                    assert_eq!(untouched(name), [""; 0], "{name}");
                }
            }
        )+
    };
}

a_step_moves_every_weight! {
    small_networks_learn: "digits" "nielsen" "mlp" "lenet" "nin_cifar" "resnet20";
    plain_networks_learn: "alexnet-gap" "alexnet_caffe-gap" "caffenet-gap" "vgg11-gap" "vgg11_bn-gap" "nin_imagenet";
    inception_networks_learn: "googlenet" "inception_v3" "inception_v4";
    residual_networks_learn: "resnet18" "resnet50_v1" "resnet18_v2" "resnet50_v2" "resnext50_32x4d" "se_resnet50";
    small_footprints_learn: "squeezenet1_0" "squeezenet1_1" "mobilenet_v1" "mobilenet_v2" "efficientnet_b0";
    late_networks_learn: "densenet121" "convnext_tiny";
}
