//! Shape rules: the sizes they give, and refusals that quote both numbers.

use ocellus_graph::Op;
use ocellus_graph::ops::*;
use ocellus_tensor::{ConvGeometry, Padding, Rounding, Shape, Window};

type Sizes<'a> = &'a [&'a [usize]];

fn run(op: &Op, inputs: Sizes) -> Result<Vec<Vec<usize>>, String> {
    let shapes: Vec<Shape> = inputs.iter().map(|&dims| Shape::from(dims)).collect();
    let outputs = op.output_shapes(&shapes.iter().collect::<Vec<_>>())?;
    Ok(outputs.iter().map(|shape| shape.to_vec()).collect())
}

#[track_caller]
fn gives(op: Op, inputs: Sizes, outputs: Sizes) {
    let outputs: Vec<Vec<usize>> = outputs.iter().map(|dims| dims.to_vec()).collect();
    assert_eq!(run(&op, inputs), Ok(outputs));
}

#[track_caller]
fn refuses(op: Op, inputs: Sizes, message: &str) {
    assert_eq!(run(&op, inputs), Err(message.to_string()));
}

fn conv(window: Window, groups: usize) -> Op {
    Op::Conv2d(Conv2d { window, groups })
}

#[test]
fn convolutions() {
    let window = Window::square(3).stride(2).padding(1);
    gives(conv(window, 1), &[&[2, 3, 9, 8], &[5, 3, 3, 3], &[5]], &[&[2, 5, 5, 4]]);
    gives(conv(window, 3), &[&[2, 3, 9, 8], &[6, 1, 3, 3]], &[&[2, 6, 5, 4]]);
    refuses(
        conv(window, 3),
        &[&[1, 64, 8, 8], &[6, 21, 3, 3]],
        "input has 64 channels, groups = 3 does not divide it",
    );
    refuses(
        conv(window, 3),
        &[&[1, 6, 8, 8], &[8, 2, 3, 3]],
        "output has 8 channels, groups = 3 does not divide it",
    );
    refuses(
        conv(window, 1),
        &[&[1, 6, 8, 8], &[8, 2, 3, 3]],
        "input has 6 channels, the weight (8, 2, 3, 3) with groups = 1 expects 2",
    );
    refuses(
        conv(window, 1),
        &[&[1, 2, 8, 8], &[8, 2, 5, 3]],
        "the weight's kernel is 5x3, the window's is 3x3",
    );
    refuses(conv(window, 1), &[&[1, 2, 8, 8], &[8, 2, 3, 3], &[7]], "the bias must have shape (8), got (7)");
    refuses(
        conv(Window::square(5), 1),
        &[&[1, 1, 3, 8], &[1, 1, 5, 5]],
        "a kernel reaching over 5 pixels does not fit an image of 3 with padding 0 + 0",
    );
    refuses(conv(window, 1), &[&[1, 2, 8]], "needs 2 or 3 inputs (x, w and optionally b), got 1");
    refuses(
        conv(window, 1),
        &[&[1, 8], &[8, 2, 3, 3]],
        "input must have 4 axes (N, C, H, W), got 2 in (1, 8)",
    );
    let zero = Window { stride: [1, 0], ..window };
    refuses(conv(zero, 1), &[&[1, 2, 8, 8], &[8, 2, 3, 3]], "stride must be at least 1, got 1x0");
    refuses(
        conv(window, 0),
        &[&[1, 2, 8, 8], &[8, 2, 3, 3]],
        "groups must be at least 1, got 0 for 2 channels",
    );
}

#[test]
fn gradients_of_convolutions_follow_their_geometry() {
    let x = Shape::from([2, 4, 7, 6]);
    let w = Shape::from([6, 2, 3, 3]);
    let forward = Conv2d { window: Window::square(3).stride(2), groups: 2 };
    let geometry = forward.geometry(&x, &w).unwrap();
    let (input, weight) = (
        Op::Conv2dGradInput(Conv2dGradInput { geometry }),
        Op::Conv2dGradWeight(Conv2dGradWeight { geometry }),
    );
    gives(input.clone(), &[&[2, 6, 3, 2], &w], &[&x]);
    gives(weight, &[&x, &[2, 6, 3, 2]], &[&w]);
    refuses(input, &[&[2, 6, 3, 3], &w], "dy must have shape (2, 6, 3, 2), got (2, 6, 3, 3)");
    let wrong = ConvGeometry { output: [3, 3], ..geometry };
    refuses(
        Op::Conv2dGradInput(Conv2dGradInput { geometry: wrong }),
        &[&[2, 6, 3, 3], &w],
        "the geometry's output is 3x3, its window makes 3x2",
    );
}

#[test]
fn transposed_convolutions_invert_the_formula() {
    let up = |stride: usize, padding: usize, extra: usize| {
        let window = Window::square(4).stride(stride).padding(padding);
        Op::ConvTranspose2d(ConvTranspose2d { window, groups: 1, output_padding: [extra; 2] })
    };
    gives(up(2, 1, 0), &[&[1, 8, 5, 6], &[8, 3, 4, 4], &[3]], &[&[1, 3, 10, 12]]);
    gives(up(3, 0, 2), &[&[1, 8, 5, 6], &[8, 3, 4, 4]], &[&[1, 3, 18, 21]]);
    refuses(
        up(2, 0, 2),
        &[&[1, 8, 5, 5], &[8, 3, 4, 4]],
        "output padding 2 must be smaller than the stride 2",
    );
    refuses(up(1, 2, 0), &[&[1, 8, 1, 1], &[8, 3, 4, 4]], "padding 2 + 2 crops all 4 pixels of the output");
    refuses(
        up(1, 0, 0),
        &[&[1, 8, 1, 1], &[6, 3, 4, 4]],
        "input has 8 channels, the weight (6, 3, 4, 4) expects 6",
    );
}

#[test]
fn linear_layers() {
    gives(Op::Linear(Linear), &[&[4, 512], &[10, 512], &[10]], &[&[4, 10]]);
    refuses(Op::Linear(Linear), &[&[4, 1024], &[10, 512]], "input has 1024 features, the weight expects 512");
    refuses(
        Op::Linear(Linear),
        &[&[4, 8, 8, 8], &[10, 512]],
        "input must have 2 axes (N, C), got 4 in (4, 8, 8, 8)",
    );
    gives(Op::LinearGradInput(LinearGradInput), &[&[4, 10], &[10, 512]], &[&[4, 512]]);
    gives(Op::LinearGradWeight(LinearGradWeight), &[&[4, 512], &[4, 10]], &[&[10, 512]]);
    refuses(Op::LinearGradWeight(LinearGradWeight), &[&[4, 512], &[5, 10]], "input has 4 rows, dy has 5");
}

#[test]
fn pooling() {
    let pool = |window, rounding| Op::MaxPool(MaxPool { window, rounding });
    let window = Some(Window::square(3).stride(2));
    gives(pool(window, Rounding::Floor), &[&[1, 2, 8, 9]], &[&[1, 2, 3, 4]]);
    gives(pool(window, Rounding::Ceil), &[&[1, 2, 8, 9]], &[&[1, 2, 4, 4]]);
    gives(pool(None, Rounding::Floor), &[&[1, 2, 8, 9]], &[&[1, 2, 1, 1]]);
    refuses(
        pool(Some(Window::square(2).padding(2)), Rounding::Floor),
        &[&[1, 2, 8, 9]],
        "padding 2 with a kernel reaching over 2 pixels: a window would lie wholly outside",
    );
}

#[test]
fn normalisations() {
    let norm = |statistics, affine| Op::BatchNorm(BatchNorm { eps: 1e-5, momentum: 0.1, affine, statistics });
    gives(norm(Statistics::Running, true), &[&[1, 3, 4, 4], &[3], &[3], &[3], &[3]], &[&[1, 3, 4, 4]]);
    gives(norm(Statistics::Running, false), &[&[1, 3], &[3], &[3]], &[&[1, 3]]);
    gives(norm(Statistics::Batch, true), &[&[1, 3, 4, 4], &[3], &[3]], &[&[1, 3, 4, 4], &[3], &[3]]);
    gives(norm(Statistics::Batch, false), &[&[2, 3]], &[&[2, 3], &[3], &[3]]);
    refuses(
        norm(Statistics::Batch, true),
        &[&[2, 3], &[3], &[3], &[3], &[3]],
        "needs 3 inputs (x, gamma, beta), got 5",
    );
    refuses(
        norm(Statistics::Running, true),
        &[&[2, 3], &[4], &[3], &[3], &[3]],
        "gamma must have shape (3), got (4)",
    );
    let group = |groups| Op::Norm(Norm { axes: NormAxes::Groups(groups), eps: 1e-5, affine: false });
    gives(group(2), &[&[1, 6, 2, 2]], &[&[1, 6, 2, 2]]);
    refuses(group(4), &[&[1, 6, 2, 2]], "input has 6 channels, groups = 4 does not divide it");
    let lrn = Lrn { size: 4, alpha: 1.0, beta: 0.75, k: 1.0, region: LrnRegion::AcrossChannels };
    refuses(Op::Lrn(lrn), &[&[1, 6, 2, 2]], "size must be odd, got 4");
}

#[test]
fn arithmetic_broadcasts_from_the_right() {
    let add = || Op::Binary(Binary { kind: BinaryKind::Add });
    gives(add(), &[&[2, 3, 4, 5], &[3, 1, 1]], &[&[2, 3, 4, 5]]);
    gives(add(), &[&[2, 1], &[1, 3]], &[&[2, 3]]);
    gives(add(), &[&[2, 3], &[]], &[&[2, 3]]);
    refuses(add(), &[&[2, 3], &[4]], "a has shape (2, 3), b has shape (4): 3 and 4 do not agree on axis 1");
    gives(Op::SumTo(SumTo { shape: Shape::from([3, 1]) }), &[&[2, 3, 4]], &[&[3, 1]]);
    refuses(Op::SumTo(SumTo { shape: Shape::from([2, 3]) }), &[&[3]], "shape (2, 3) does not repeat to (3)");
    gives(Op::BroadcastTo(BroadcastTo { shape: Shape::from([2, 3]) }), &[&[3]], &[&[2, 3]]);
}

#[test]
fn moving_numbers() {
    let concat = || Op::Concat(Concat { axis: 1 });
    gives(concat(), &[&[2, 3, 4], &[2, 5, 4]], &[&[2, 8, 4]]);
    refuses(
        concat(),
        &[&[2, 3, 4], &[2, 5, 5]],
        "input 0 has shape (2, 3, 4), input 1 has (2, 5, 5): they may differ only on axis 1",
    );
    refuses(concat(), &[], "needs at least 1 input, got 0");
    let slice = |start, step, count| Op::Slice(Slice { axis: 1, start, step, count });
    gives(slice(1, 2, 3), &[&[2, 6]], &[&[2, 3]]);
    refuses(slice(2, 2, 3), &[&[2, 6]], "3 indices from 2 in steps of 2 leave axis 1 of size 6");
    let reshape = |dims: &[isize]| Op::Reshape(Reshape { dims: dims.to_vec() });
    gives(reshape(&[0, -1]), &[&[2, 3, 4]], &[&[2, 12]]);
    gives(reshape(&[]), &[&[1]], &[&[]]);
    refuses(reshape(&[5, -1]), &[&[2, 3, 4]], "24 elements of (2, 3, 4) do not fit [5, -1]");
    refuses(reshape(&[2, 3]), &[&[2, 3, 4]], "24 elements of (2, 3, 4) do not fit [2, 3]");
    refuses(reshape(&[-1, -1]), &[&[2, 3, 4]], "-1 may stand once, [-1, -1] has it 2 times");
    refuses(reshape(&[-2]), &[&[2]], "sizes are at least 0, or -1 for what remains; got -2");
    let transpose = |order: &[usize]| Op::Transpose(Transpose { order: order.to_vec() });
    gives(transpose(&[2, 0, 1]), &[&[2, 3, 4]], &[&[4, 2, 3]]);
    refuses(
        transpose(&[0, 0, 1]),
        &[&[2, 3, 4]],
        "order [0, 0, 1] is no permutation of the 3 axes of (2, 3, 4)",
    );
    let pad = |mode, channels| Op::Pad(Pad { padding: Padding::all(2), channels, mode });
    gives(pad(PadMode::Constant(0.0), [1, 0]), &[&[1, 2, 2, 3]], &[&[1, 3, 6, 7]]);
    refuses(
        pad(PadMode::Reflect, [0, 0]),
        &[&[1, 2, 2, 3]],
        "reflecting 2 pixels needs a height above 2, got 2",
    );
    refuses(
        pad(PadMode::Replicate, [1, 0]),
        &[&[1, 2, 2, 3]],
        "only constants pad channels, asked for 1 before and 0 after",
    );
}

#[test]
fn elementwise_and_reductions() {
    refuses(
        Op::Activation(Activation::Clip { low: 6.0, high: 0.0 }),
        &[&[1]],
        "the lower bound 6 is above the upper bound 0",
    );
    refuses(
        Op::Dropout(Dropout { rate: 1.0, active: true, stream: 0 }),
        &[&[1]],
        "the dropout rate must be at least 0 and below 1, got 1",
    );
    refuses(Op::Prelu(Prelu), &[&[1, 4, 2, 2], &[3]], "slope must have shape (4) or (1), got (3)");
    let reduce =
        |axes: &[usize], keep| Op::Reduce(Reduce { kind: ReduceKind::Sum, axes: axes.to_vec(), keep });
    gives(reduce(&[0, 2], false), &[&[2, 3, 4]], &[&[3]]);
    gives(reduce(&[0, 2], true), &[&[2, 3, 4]], &[&[1, 3, 1]]);
    refuses(reduce(&[3], true), &[&[2, 3, 4]], "axis = 3, but the input (2, 3, 4) has 3 axes");
    refuses(reduce(&[1, 1], true), &[&[2, 3, 4]], "axes must ascend without repeats, got [1, 1]");
    let place = |axis, keep| Op::ArgMax(ArgMax { axis, keep, last: false });
    gives(place(1, false), &[&[2, 3, 4]], &[&[2, 4]]);
    gives(place(1, true), &[&[2, 3, 4]], &[&[2, 1, 4]]);
    refuses(place(3, true), &[&[2, 3, 4]], "axis = 3, but the input (2, 3, 4) has 3 axes");
    let largest = |count| Op::TopK(TopK { axis: 1, count, last: false });
    gives(largest(2), &[&[2, 3, 4]], &[&[2, 2, 4], &[2, 2, 4]]);
    refuses(largest(4), &[&[2, 3, 4]], "the 4 largest of 3 numbers; ask for 1 to 3");
    let pool = MaxPool { window: Some(Window::square(2).stride(2)), rounding: Rounding::Ceil };
    let places = || Op::MaxPoolPlaces(MaxPoolPlaces { pool });
    gives(places(), &[&[2, 3, 5, 4]], &[&[2, 3, 3, 2]]);
    refuses(
        places(),
        &[&[1, 1, 4096, 4097]],
        "16781312 places in a plane; numbers tell no more than 16777216 apart",
    );
    gives(Op::OneHot(OneHot { classes: 4 }), &[&[2, 3]], &[&[2, 3, 4]]);
    refuses(Op::OneHot(OneHot { classes: 0 }), &[&[2]], "classes must be at least 1, got 0");
    gives(Op::Stepwise(Stepwise::Round), &[&[2, 3]], &[&[2, 3]]);
    refuses(
        Op::Softmax(Softmax { log: false }),
        &[&[3]],
        "x must have at least 2 axes (N, C, ...), got 1 in (3)",
    );
}

#[test]
fn losses() {
    let loss = |kind| Op::Loss(LossOp { kind });
    let softmax = || loss(LossKind::SoftmaxCrossEntropy { smoothing: 0.1 });
    gives(softmax(), &[&[8, 10], &[8]], &[&[]]);
    gives(softmax(), &[&[8, 10], &[8, 10]], &[&[]]);
    refuses(
        softmax(),
        &[&[8, 10], &[4]],
        "logits have shape (8, 10), so label must have shape (8) or (8, 10), got (4)",
    );
    refuses(
        loss(LossKind::SoftmaxCrossEntropy { smoothing: 1.5 }),
        &[&[8, 10], &[8]],
        "smoothing must be from 0 to 1, got 1.5",
    );
    refuses(
        loss(LossKind::MeanSquaredError),
        &[&[8, 10], &[8]],
        "a has shape (8, 10), b has shape (8); they must be the same",
    );
    gives(loss(LossKind::Contrastive { margin: 1.0 }), &[&[8, 4], &[8, 4], &[8]], &[&[]]);
    let grad = Op::LossGrad(LossGrad { kind: LossKind::Triplet { margin: 1.0 } });
    gives(grad.clone(), &[&[8, 4], &[8, 4], &[8, 4], &[]], &[&[8, 4], &[8, 4], &[8, 4]]);
    refuses(grad, &[&[8, 4], &[8, 4], &[8, 4], &[1]], "dloss must be one number of shape (), got (1)");
    refuses(
        Op::Accuracy(Accuracy { top: 5 }),
        &[&[8, 4], &[8]],
        "top = 5 of 4 classes; it must be from 1 to 4",
    );
}

#[test]
fn updates_write_their_first_inputs() {
    let sgd =
        |momentum| Op::SgdUpdate(SgdUpdate { momentum, nesterov: false, weight_decay: 0.0, lr_mult: 1.0 });
    assert_eq!((sgd(0.0).writes(), sgd(0.9).writes()), (1, 2));
    gives(sgd(0.9), &[&[3], &[3], &[3], &[]], &[]);
    refuses(sgd(0.9), &[&[3], &[3], &[]], "needs 4 inputs (w, velocity, gradient, lr), got 3");
    refuses(sgd(0.0), &[&[3], &[4], &[]], "w has shape (3), gradient has shape (4); they must be the same");
    refuses(
        Op::RunningUpdate(RunningUpdate { momentum: 0.1, count: 1 }),
        &[&[3], &[3], &[3], &[3]],
        "an unbiased variance needs at least 2 values per channel, count = 1",
    );
}
