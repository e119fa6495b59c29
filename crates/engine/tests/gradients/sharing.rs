//! Closed forms: a shared parameter's gradient is the sum over its uses, a batch's that of its parts.

use ocellus_engine::lower::Random;
use ocellus_engine::reference::Interpreter;
use ocellus_graph::ops::Accumulate;
use ocellus_graph::{
    Builder, Conv, Dense, Graph, Init, Op, ParamSpec, Request, Role, ValueId, differentiate,
};
use ocellus_tensor::Tensor;

use crate::runner::{Case, Fill, Input, check, fill_params};

const IMAGES: Input = Input { name: "x", shape: &[2, 3, 5, 4], fill: Fill::Signed };

/// One module, three times in a row, under the parameter names that `names` gives.
fn thrice(b: &mut Builder, x: ValueId, names: [&str; 3]) -> ValueId {
    let mut x = x;
    for (i, params) in names.into_iter().enumerate() {
        x = b.scope_sharing(&format!("use{i}"), params, |b| {
            let y = b.conv2d("conv", x, Conv::new(3, 3).padding(1));
            let y = b.tanh("tanh", y);
            b.add("add", x, y)
        });
    }
    x
}

fn thrice_graph(names: [&str; 3]) -> Graph {
    let mut b = Builder::new("thrice");
    let x = b.input("x", [2, 3, 5, 4]);
    let target = b.input("target", [2, 3, 5, 4]);
    let y = thrice(&mut b, x, names);
    b.mse("loss", y, target, 1.0);
    b.finish().expect("a network")
}

/// The gradients of a graph by parameter name, after one run; parameters are filled by `alias` of their names.
fn parameter_gradients(graph: &Graph, alias: impl Fn(&str) -> String) -> Vec<(String, Tensor<f64>)> {
    let found = differentiate(graph, &Request::default()).expect("differentiable");
    let mut interpreter = Interpreter::<f64>::new(&found.graph);
    fill_params(&mut interpreter, 5, alias);
    let [x, target] = [7, 8].map(|seed| crate::runner::Noise::new(seed).direction(&[2, 3, 5, 4].into()));
    interpreter.run(&[("x", &x), ("target", &target)], Random::default()).expect("complete");
    let named = |(id, gradient): &(_, ValueId)| {
        (found.graph.param(*id).name.clone(), interpreter.value(*gradient).clone())
    };
    found.params.iter().map(named).collect()
}

fn close(a: &[f64], b: &[f64]) {
    assert_eq!(a.len(), b.len());
    let largest = a.iter().fold(0.0f64, |m, x| m.max(x.abs()));
    assert!(largest > 0.0, "nothing but zeros to compare");
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() <= 1e-12 * largest, "{a} is not {b}");
    }
}

#[test]
fn one_module_used_three_times() {
    check(&Case::new("thrice", &[IMAGES], |b, v| vec![thrice(b, v[0], ["m", "m", "m"])]));
}

#[test]
fn a_shared_gradient_is_the_sum_over_its_uses() {
    let shared = parameter_gradients(&thrice_graph(["m", "m", "m"]), str::to_owned);
    let apart = parameter_gradients(&thrice_graph(["m0", "m1", "m2"]), |name| {
        name.replace(|c: char| c.is_ascii_digit(), "")
    });
    assert_eq!((shared.len(), apart.len()), (2, 6));
    for (name, gradient) in &shared {
        let uses = apart.iter().filter(|(other, _)| other.replace(|c: char| c.is_ascii_digit(), "") == *name);
        let mut sum = vec![0.0; gradient.data().len()];
        for (_, part) in uses {
            sum.iter_mut().zip(part.data()).for_each(|(sum, part)| *sum += part);
        }
        close(gradient.data(), &sum);
    }
}

/// A network without BatchNorm, so that images do not see one another.
fn classifier(batch: usize) -> Graph {
    let mut b = Builder::new("classifier");
    let x = b.input("x", [batch, 3, 5, 4]);
    let label = b.input("label", [batch]);
    let x = b.conv2d("conv", x, Conv::new(4, 3).stride(2).padding(1));
    let x = b.relu("relu", x);
    let x = b.group_norm("norm", x, 2);
    let x = b.flatten("flatten", x);
    let x = b.linear("fc", x, Dense::new(4));
    b.softmax_cross_entropy("loss", x, label, 0.0, 1.0);
    b.finish().expect("a network")
}

/// Differentiates and appends, for each parameter P, `P.sum += scale * gradient`.
fn accumulating(graph: &Graph, scale: f32) -> Graph {
    let found = differentiate(graph, &Request::default()).expect("differentiable");
    let mut graph = found.graph;
    for (id, gradient) in found.params {
        let param = graph.param(id).clone();
        let name = format!("{}.sum", param.name);
        let spec = ParamSpec { name, shape: param.shape, init: Init::Constant(0.0), role: Role::State };
        let sum = graph.add_param(spec).expect("a new name");
        let accumulate = Op::Accumulate(Accumulate { scale });
        graph.add_node(format!("accumulate.{}", param.name), accumulate, vec![sum, gradient]).expect("fits");
    }
    graph
}

#[test]
fn two_half_batches_accumulate_to_the_whole() {
    let x = crate::runner::Noise::new(9).direction(&[4, 3, 5, 4].into());
    let label = Tensor::new([4], vec![1.0, 3.0, 0.0, 1.0]).expect("four");
    let sums = |batch: usize| {
        let graph = accumulating(&classifier(batch), batch as f32 / 4.0);
        let mut interpreter = Interpreter::<f64>::new(&graph);
        fill_params(&mut interpreter, 5, str::to_owned);
        for start in (0..4).step_by(batch) {
            let x = x.data()[start * 60..][..batch * 60].to_vec();
            let x = Tensor::new([batch, 3, 5, 4], x).expect("as many");
            let label = Tensor::new([batch], label.data()[start..][..batch].to_vec()).expect("as many");
            interpreter.run(&[("x", &x), ("label", &label)], Random::default()).expect("complete");
        }
        let sums = interpreter.params().filter(|(name, _)| name.ends_with(".sum"));
        sums.map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect::<Vec<_>>()
    };
    let (whole, halves, quarters) = (sums(4), sums(2), sums(1));
    assert_eq!(whole.len(), 6);
    for ((whole, half), quarter) in whole.iter().zip(&halves).zip(&quarters) {
        assert_eq!((&whole.0, &whole.0), (&half.0, &quarter.0));
        close(whole.1.data(), half.1.data());
        close(whole.1.data(), quarter.1.data());
    }
}
