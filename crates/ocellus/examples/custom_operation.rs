//! An operation that Ocellus does not have: shape, forward and backward of `y = x^2 / (1 + |x|)`, used in a network,
//! checked against finite differences, and trained through.
//!
//! ```sh
//! cargo run --release -p ocellus --example custom_operation
//! ```

use std::sync::Arc;

use ocellus::{
    Builder, CustomOp, Dense, Graph, GraphError, Options, Request, Session, Shape, Tensor, Trainer,
    TrainerOptions, differentiate, initialise,
};

/// `y = x^2 / (1 + |x|)`: a parabola near 0, nearly |x| far away.
#[derive(Debug)]
struct SoftSquare;

impl CustomOp for SoftSquare {
    fn name(&self) -> &str {
        "soft square"
    }

    fn output_shapes(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        match inputs {
            [x] => Ok(vec![(*x).clone()]),
            _ => Err(format!("takes one input, got {}", inputs.len())),
        }
    }

    fn forward(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let x = inputs[0].data();
        vec![Tensor::from_fn(inputs[0].shape().clone(), |i| x[i] * x[i] / (1.0 + x[i].abs()))]
    }

    fn backward(&self, inputs: &[&Tensor], output_gradients: &[&Tensor]) -> Vec<Tensor> {
        let (x, dy) = (inputs[0].data(), output_gradients[0].data());
        let slope = |x: f32| x * (2.0 + x.abs()) / (1.0 + x.abs()).powi(2);
        vec![Tensor::from_fn(inputs[0].shape().clone(), |i| dy[i] * slope(x[i]))]
    }
}

/// Runs the example.
/// Runs the example.
pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    let net = network()?;
    check_gradient(&net)?;

    // Inside or outside of a circle: no straight line tells them apart, squares do.
    let points = Tensor::from_fn([256, 2], |i| ((i * 7919) % 257) as f32 / 128.0 - 1.0);
    let inside = |p: &[f32]| usize::from(p[0] * p[0] + p[1] * p[1] < 0.6);
    let labels: Vec<usize> = points.data().chunks(2).map(inside).collect();
    let options = TrainerOptions { epochs: 60, lr: 0.3, ..TrainerOptions::default() };
    let epochs = Trainer::new(&net, options).fit(&points, &labels)?;
    println!("top1 after {} epochs: {:.1}%", epochs.len(), 100.0 * epochs[59].top1);
    assert!(epochs[59].top1 > 0.9);
    Ok(())
}

fn network() -> Result<Graph, GraphError> {
    let mut b = Builder::new("circle");
    let x = b.input("input", [1, 2]);
    let x = b.linear("fc1", x, Dense::new(8));
    let x = b.custom("soft_square", Arc::new(SoftSquare), &[x]);
    let x = b.linear("fc2", x, Dense::new(2));
    b.output("output", x);
    b.finish()
}

/// Compares the gradient of the loss with respect to the input with central differences.
fn check_gradient(net: &Graph) -> Result<(), Box<dyn std::error::Error>> {
    let request = Request { inputs: vec!["input".into()], params: true };
    let found = differentiate(&net.with_classifier_loss(0.0)?, &request)?;
    let mut graph = found.graph;
    graph.add_output("slope", found.inputs[0].1);
    let mut session = Session::new(&graph, &Options::default())?;
    session.load(&initialise(&graph, 1))?;
    session.set_input("label", &[1.0])?;

    let mut loss_at = |x: [f32; 2]| -> Result<(f32, Vec<f32>), ocellus::EngineError> {
        session.set_input("input", &x)?;
        session.run();
        Ok((session.output("loss")?[0], session.output("slope")?.to_vec()))
    };
    let (point, step) = ([0.3, -0.8], 1e-2);
    let (_, slopes) = loss_at(point)?;
    for axis in 0..2 {
        let (mut above, mut below) = (point, point);
        above[axis] += step;
        below[axis] -= step;
        let difference = (loss_at(above)?.0 - loss_at(below)?.0) / (2.0 * step);
        println!("dloss/dx{axis}: backward {:.5}, central difference {difference:.5}", slopes[axis]);
        assert!((slopes[axis] - difference).abs() < 1e-3, "the gradient is wrong");
    }
    Ok(())
}
