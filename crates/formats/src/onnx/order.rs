//! In which order do nodes run, and which of them are needed?

use std::collections::HashMap;

use super::fault::Fault;
use super::inline::Step;

const NOT_SORTED: &str = "a network has no circles: export it again";

/// The steps that `outputs` need, each behind those that make what it reads. Steps in order stay in order.
///
/// Refused: a tensor made twice, a circle. Tensors that no step makes are somebody else's business.
pub(in crate::onnx) fn needed_in_order(
    steps: Vec<Step>,
    outputs: &[String],
    outer_reads: impl Fn(&Step) -> Vec<String>,
) -> Result<Vec<Step>, Fault> {
    let mut makers: HashMap<&str, usize> = HashMap::new();
    for (i, step) in steps.iter().enumerate() {
        for output in step.node.outputs.iter().filter(|output| !output.is_empty()) {
            if makers.insert(output, i).is_some() {
                let what = format!("the tensor {output:?} is made by two nodes");
                return Err(Fault::new(what, "export the network again"));
            }
        }
    }
    let reads: Vec<Vec<usize>> = steps
        .iter()
        .map(|step| {
            let inner = outer_reads(step);
            let names = step.node.inputs.iter().chain(&inner);
            names.filter_map(|name| makers.get(name.as_str()).copied()).collect()
        })
        .collect();
    let mut state = vec![State::New; steps.len()];
    let mut order = Vec::with_capacity(steps.len());
    for output in outputs {
        if let Some(&maker) = makers.get(output.as_str()) {
            visit(maker, &reads, &mut state, &mut order).map_err(|(a, b)| circle(&steps[a], &steps[b]))?;
        }
    }
    // The file's own order wherever it is one.
    let mut sorted = order.clone();
    sorted.sort_unstable();
    let position: HashMap<usize, usize> = sorted.iter().enumerate().map(|(at, &step)| (step, at)).collect();
    let in_order = sorted.iter().all(|&step| reads[step].iter().all(|read| position[read] < position[&step]));
    let order = if in_order { sorted } else { order };
    let mut steps: Vec<Option<Step>> = steps.into_iter().map(Some).collect();
    Ok(order.into_iter().filter_map(|step| steps[step].take()).collect())
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    New,
    Open,
    Done,
}

/// Puts `root` and all that it reads behind `order`, what is read first; or two steps of a circle. No recursion, which
/// a long network could exhaust the stack with.
fn visit(
    root: usize,
    reads: &[Vec<usize>],
    state: &mut [State],
    order: &mut Vec<usize>,
) -> Result<(), (usize, usize)> {
    let mut stack = vec![(root, 0)];
    while let Some((step, next)) = stack.pop() {
        if next == 0 {
            if state[step] == State::Done {
                continue;
            }
            state[step] = State::Open;
        }
        match reads[step].get(next) {
            None => {
                state[step] = State::Done;
                order.push(step);
            }
            Some(&read) => {
                stack.push((step, next + 1));
                match state[read] {
                    State::New => stack.push((read, 0)),
                    State::Open => return Err((step, read)),
                    State::Done => {}
                }
            }
        }
    }
    Ok(())
}

fn circle(a: &Step, b: &Step) -> Fault {
    let name = |step: &Step| {
        let output = step.node.outputs.first().map_or("", String::as_str);
        let name = if step.node.name.is_empty() { output } else { &step.node.name };
        format!("{name:?} ({})", step.node.op)
    };
    Fault::new(
        format!("nodes {} and {} lie on a circle: each waits for the other", name(a), name(b)),
        NOT_SORTED,
    )
}
