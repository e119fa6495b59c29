//! Whole small networks.

use ocellus_graph::ops::{Lrn, LrnRegion};
use ocellus_graph::{BatchNormSpec, Builder, Conv, Dense, Op, ValueId};
use ocellus_tensor::Window;

use crate::runner::{Case, Fill, Input, Subject, check, gradients};

const IMAGES: Input = Input { name: "x", shape: &[3, 3, 8, 7], fill: Fill::Signed };
const LABELS: Input = Input { name: "label", shape: &[3], fill: Fill::Labels(4) };

fn conv_norm_relu(b: &mut Builder, name: &str, x: ValueId, conv: Conv) -> ValueId {
    let x = b.conv2d(name, x, conv.no_bias());
    let x = b.batch_norm(&format!("{name}_bn"), x, BatchNormSpec::default());
    b.relu(&format!("{name}_relu"), x)
}

fn classify(b: &mut Builder, x: ValueId, label: ValueId) -> ValueId {
    let x = b.global_avg_pool("pool", x);
    let x = b.flatten("flatten", x);
    let x = b.linear("fc", x, Dense::new(4));
    b.softmax_cross_entropy("loss", x, label, 0.1, 1.0)
}

/// He et al. 2015, figure 2, with a projection where the size changes.
fn residual(b: &mut Builder, v: &[ValueId]) -> Vec<ValueId> {
    let mut x = conv_norm_relu(b, "stem", v[0], Conv::new(4, 3).padding(1));
    for (i, (channels, stride)) in [(4, 1), (6, 2)].into_iter().enumerate() {
        x = b.scope(&format!("block{i}"), |b| {
            let y = conv_norm_relu(b, "conv1", x, Conv::new(channels, 3).stride(stride).padding(1));
            let y = b.conv2d("conv2", y, Conv::new(channels, 3).padding(1).no_bias());
            let y = b.batch_norm("conv2_bn", y, BatchNormSpec::default());
            let shortcut = match stride {
                1 => x,
                _ => b.conv2d("shortcut", x, Conv::new(channels, 1).stride(stride).no_bias()),
            };
            let sum = b.add("add", y, shortcut);
            b.relu("relu", sum)
        });
    }
    classify(b, x, v[1]);
    vec![]
}

/// Iandola et al. 2016, figure 1: squeeze, then two expansions side by side.
fn fire(b: &mut Builder, v: &[ValueId]) -> Vec<ValueId> {
    let mut x = b.conv2d("conv1", v[0], Conv::new(5, 3).stride(2));
    for i in 2..4 {
        x = b.scope(&format!("fire{i}"), |b| {
            let squeezed = b.conv2d("squeeze", x, Conv::new(3, 1));
            let squeezed = b.sigmoid("squeeze_on", squeezed);
            let narrow = b.conv2d("expand1x1", squeezed, Conv::new(4, 1));
            let wide = b.conv2d("expand3x3", squeezed, Conv::new(4, 3).padding(1));
            let joined = b.concat("concat", &[narrow, wide]);
            b.relu("relu", joined)
        });
    }
    let x = b.max_pool_ceil("pool3", x, Window::square(3).stride(2));
    let x = b.dropout("drop", x, 0.3);
    classify(b, x, v[1]);
    vec![]
}

/// Szegedy et al. 2015, figure 2b, with LRN and a second loss in the middle (section 5).
fn inception(b: &mut Builder, v: &[ValueId]) -> Vec<ValueId> {
    let x = b.conv2d("stem", v[0], Conv::new(6, 3).padding(1));
    let lrn = Lrn { size: 5, alpha: 0.1, beta: 0.75, k: 1.0, region: LrnRegion::AcrossChannels };
    let x = b.lrn("norm", x, lrn);
    let one = b.conv2d("1x1", x, Conv::new(3, 1));
    let three = b.conv2d("3x3_reduce", x, Conv::new(2, 1));
    let three = b.tanh("3x3_on", three);
    let three = b.conv2d("3x3", three, Conv::new(4, 3).padding(1));
    let five = b.conv2d("5x5_reduce", x, Conv::new(2, 1));
    let five = b.conv2d("5x5", five, Conv::new(2, 5).padding(2));
    let pool = b.max_pool("pool", x, Window::square(3).padding(1));
    let pool = b.conv2d("pool_proj", pool, Conv::new(2, 1));
    let x = b.concat("output", &[one, three, five, pool]);
    b.scope("aux", |b| {
        let x = b.avg_pool("reduce", x, Window::square(3).stride(2));
        let x = b.flatten("rows", x);
        let x = b.linear("scores", x, Dense::new(4));
        b.softmax_cross_entropy("aux_loss", x, v[1], 0.0, 0.3)
    });
    b.scope("main", |b| classify(b, x, v[1]));
    vec![]
}

/// Two branches weighed against each other by a gate: g a + (1 - g) b.
fn gated(b: &mut Builder, v: &[ValueId]) -> Vec<ValueId> {
    let left = b.conv2d("left", v[0], Conv::new(4, 3).padding(1));
    let right = b.conv2d("right", v[0], Conv::new(4, 1));
    let gate = b.conv2d("gate", v[0], Conv::new(4, 1));
    let gate = b.sigmoid("open", gate);
    let closed = b.affine("closed", gate, -1.0, 1.0);
    let left = b.mul("left_part", left, gate);
    let right = b.mul("right_part", right, closed);
    let x = b.add("sum", left, right);
    let per_channel = b.global_avg_pool("squeeze", x);
    let per_channel = b.sigmoid("excite", per_channel);
    let x = b.mul("scaled", x, per_channel); // (3, 4, 8, 7) times (3, 4, 1, 1)
    classify(b, x, v[1]);
    vec![]
}

/// A tower for Siamese networks: `(N, 3, 8, 7)` to `(N, 5)`.
fn tower(b: &mut Builder, x: ValueId) -> ValueId {
    let x = b.conv2d("conv", x, Conv::new(4, 3).stride(2));
    let x = b.prelu("prelu", x);
    let x = b.flatten("flatten", x);
    b.linear("embed", x, Dense::new(5))
}

/// Hadsell et al. 2006 with a classifier on either side.
fn siamese(b: &mut Builder, v: &[ValueId]) -> Vec<ValueId> {
    let left = b.scope("tower", |b| tower(b, v[0]));
    let right = b.scope_sharing("second", "tower", |b| tower(b, v[1]));
    b.contrastive("pairs", [left, right], v[2], 4.0, 0.5);
    for (name, embedding) in [("left", left), ("right", right)] {
        let logits = b.linear(name, embedding, Dense::new(4).params("classifier"));
        b.softmax_cross_entropy(&format!("{name}_loss"), logits, v[3], 0.0, 1.0);
    }
    vec![]
}

fn image_case(name: &str, build: fn(&mut Builder, &[ValueId]) -> Vec<ValueId>) -> Case {
    Case::new(name, &[IMAGES, LABELS], build)
}

#[test]
fn residual_network() {
    check(&image_case("residual", residual).training());
    check(&image_case("residual with running statistics", residual));
}

#[test]
fn fire_modules() {
    check(&image_case("fire", fire).training());
}

#[test]
fn inception_module_with_two_weighted_losses() {
    check(&image_case("inception", inception));
}

#[test]
fn gated_branches() {
    check(&image_case("gated", gated));
}

#[test]
fn siamese_towers_with_two_kinds_of_loss() {
    let second = Input { name: "second", ..IMAGES };
    // Whether a pair matches is data: no gradient flows to it.
    let matching = Input { name: "matching", shape: &[3], fill: Fill::Labels(2) };
    check(&Case::new("siamese", &[IMAGES, second, matching, LABELS], siamese));
}

#[test]
fn frozen_parameters_cost_nothing() {
    let whole = image_case("thawed", fire);
    let part = image_case("frozen", fire).frozen("fire2.*");
    check(&part);

    // Only the head is trained and no input's gradient is asked for: nothing behind the head is computed.
    let images = Input { fill: Fill::Probabilities, shape: &[3, 3, 8, 7], name: "x" };
    let head = || Case::new("head", &[images, LABELS], fire);
    let mut graph = head().graph();
    for pattern in ["conv1.*", "fire*"] {
        graph = graph.freeze(pattern).expect("something to freeze");
    }
    let found = gradients(&head(), &graph);
    let names: Vec<_> = found.params.iter().map(|(id, _)| found.graph.param(*id).name.as_str()).collect();
    assert_eq!(names, ["fc.weight", "fc.bias"]);
    let added = &found.graph.nodes()[graph.nodes().len()..];
    let convolutional =
        |op: &Op| matches!(op, Op::Conv2dGradInput(_) | Op::Conv2dGradWeight(_) | Op::MaxPoolGrad(_));
    assert!(!added.iter().any(|node| convolutional(&node.op)), "{added:#?}");

    // What is trained in both gets the same gradient.
    let [whole, part] = [&whole, &part].map(|case| {
        let found = gradients(case, &case.graph());
        let mut subject = Subject::new(case, &found.graph);
        subject.run();
        (found, subject)
    });
    let frozen = part.0.graph.params().iter().filter(|param| param.frozen).count();
    assert_eq!((frozen, part.0.params.len()), (6, whole.0.params.len() - 6));
    for (id, gradient) in &part.0.params {
        let of_whole = whole.0.params.iter().find(|(other, _)| other == id).expect("trained in both").1;
        assert_eq!(part.1.interpreter.value(*gradient), whole.1.interpreter.value(of_whole));
    }
}
