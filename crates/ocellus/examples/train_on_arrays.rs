//! Trains a small network with a shortcut on arrays made up on the spot, and classifies with it.
//!
//! ```sh
//! cargo run --release -p ocellus --example train_on_arrays
//! ```

use ocellus::{
    BatchNormSpec, Builder, Conv, Dense, Graph, GraphError, Tensor, Trainer, TrainerOptions, ValueId,
};

const SIDE: usize = 12;
const CLASSES: [&str; 3] = ["bar", "square", "cross"];

/// Runs the example.
/// Runs the example.
pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (pictures, labels) = shapes(240, 1);
    let options = TrainerOptions { epochs: 12, batch: 24, lr: 0.1, ..TrainerOptions::default() };
    let mut trainer = Trainer::new(&network()?, options);
    for (epoch, seen) in trainer.fit(&pictures, &labels)?.iter().enumerate() {
        println!("epoch {}  loss {:.3}  top1 {:.1}%", epoch + 1, seen.loss, 100.0 * seen.top1);
    }

    let (unseen, answers) = shapes(60, 2);
    let probabilities = trainer.predict(&unseen)?;
    let rows = probabilities.data().chunks(CLASSES.len());
    let right = rows.zip(&answers).filter(|(row, answer)| best(row) == **answer).count();
    println!("{right} of {} unseen pictures right", answers.len());
    let first = &probabilities.data()[..CLASSES.len()];
    println!("the first is a {} (probability {:.2})", CLASSES[best(first)], first[best(first)]);
    assert!(right * 10 >= answers.len() * 9, "nine in ten should be right");
    Ok(())
}

/// Two convolutions, the second with a shortcut around it.
fn network() -> Result<Graph, GraphError> {
    let mut b = Builder::new("shapes");
    let x = b.input("input", [1, 1, SIDE, SIDE]);
    let x = unit(&mut b, "1", x);
    let y = unit(&mut b, "2", x);
    let x = b.add("sum", x, y);
    let x = b.global_avg_pool("pool", x);
    let x = b.flatten("flatten", x);
    let x = b.linear("fc", x, Dense::new(CLASSES.len()));
    b.output("output", x);
    b.finish()
}

fn unit(b: &mut Builder, name: &str, x: ValueId) -> ValueId {
    let x = b.conv2d(&format!("conv{name}"), x, Conv::new(16, 3).padding(1).no_bias());
    let x = b.batch_norm(&format!("bn{name}"), x, BatchNormSpec::default());
    b.relu(&format!("relu{name}"), x)
}

/// `count` pictures `(count, 1, SIDE, SIDE)` of bars, squares and crosses at places drawn by `seed`, and their classes.
fn shapes(count: usize, seed: usize) -> (Tensor, Vec<usize>) {
    let mut pictures = Tensor::zeros([count, 1, SIDE, SIDE]);
    let labels: Vec<usize> = (0..count).map(|i| i % CLASSES.len()).collect();
    let mut state = seed as u32;
    for (picture, &class) in pictures.data_mut().chunks_mut(SIDE * SIDE).zip(&labels) {
        let (top, left) = (draw(&mut state, SIDE - 4), draw(&mut state, SIDE - 4));
        for (y, x) in (0..5).flat_map(|y| (0..5).map(move |x| (y, x))) {
            let ink = match class {
                0 => x == 2,
                1 => y == 0 || y == 4 || x == 0 || x == 4,
                _ => x == y || x + y == 4,
            };
            picture[(top + y) * SIDE + left + x] = f32::from(ink) + draw(&mut state, 100) as f32 / 400.0;
        }
    }
    (pictures, labels)
}

/// A number below `below`, by a linear congruential generator.
fn draw(state: &mut u32, below: usize) -> usize {
    *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    (*state >> 8) as usize % below
}

fn best(row: &[f32]) -> usize {
    (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap_or(0)
}
