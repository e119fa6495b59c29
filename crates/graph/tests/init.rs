//! Initialisers: fans, moments, independence of what else is in the network.

use ocellus_graph::{
    Builder, Conv, ConvTranspose, Dense, Distribution, Fan, Fans, Graph, Init, ParamSpec, Role, fans,
    initialise,
};
use ocellus_tensor::Tensor;

fn fans_of(graph: &Graph, name: &str) -> Fans {
    fans(graph, graph.find_param(name).unwrap())
}

#[test]
fn fans_count_kernel_groups_and_transposition() {
    let mut b = Builder::new("fans");
    let x = b.input("x", [1, 8, 16, 16]);
    b.conv2d("conv", x, Conv::new(16, 3));
    b.conv2d("grouped", x, Conv::new(16, 3).groups(4));
    b.conv2d("depthwise", x, Conv::new(8, 5).groups(8));
    b.conv_transpose2d("up", x, ConvTranspose::new(Conv::new(4, 2).stride(2)));
    b.conv_transpose2d("up_grouped", x, ConvTranspose::new(Conv::new(4, 2).groups(2)));
    let flat = b.flatten("flat", x);
    b.linear("fc", flat, Dense::new(10));
    b.param("free", [5, 6, 2], Init::Constant(0.0));
    let graph = b.finish().unwrap();
    let expect = |name: &str, fan_in, fan_out| {
        assert_eq!(fans_of(&graph, name), Fans { fan_in, fan_out }, "{name}");
    };
    expect("conv.weight", 8 * 9, 16 * 9);
    expect("conv.bias", 8 * 9, 16 * 9);
    expect("grouped.weight", 2 * 9, 4 * 9);
    expect("depthwise.weight", 25, 25);
    expect("up.weight", 8 * 4, 4 * 4);
    expect("up_grouped.weight", 4 * 4, 2 * 4);
    expect("fc.weight", 2048, 10);
    expect("free", 12, 10);
}

/// The numbers of one parameter of this shape and initialiser.
fn filled(shape: &[usize], init: Init) -> Tensor {
    let mut graph = Graph::new("one");
    let name = "p".to_string();
    graph.add_param(ParamSpec { name, shape: shape.into(), init, role: Role::Weight }).unwrap();
    initialise(&graph, 3).remove("p").unwrap()
}

fn moments(tensor: &Tensor) -> (f64, f64) {
    let count = tensor.data().len() as f64;
    let mean = tensor.data().iter().map(|&x| f64::from(x)).sum::<f64>() / count;
    let variance = tensor.data().iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / count;
    (mean, variance)
}

#[test]
fn variance_scaling_has_the_variance_it_promises() {
    // 400 inputs, 200 outputs: He 2/400, Xavier 2/600.
    for distribution in [Distribution::Normal, Distribution::Uniform, Distribution::TruncatedNormal] {
        let he = Init::VarianceScaling { gain: std::f32::consts::SQRT_2, fan: Fan::In, distribution };
        let (mean, variance) = moments(&filled(&[200, 400], he));
        assert!(mean.abs() < 1e-3 && (variance * 200.0 - 1.0).abs() < 0.02, "{distribution:?} {variance}");
        let xavier = Init::VarianceScaling { gain: 1.0, fan: Fan::Average, distribution };
        let (_, variance) = moments(&filled(&[200, 400], xavier));
        assert!((variance * 300.0 - 1.0).abs() < 0.02, "{distribution:?} {variance}");
    }
    assert_eq!(
        Init::he_normal(),
        Init::VarianceScaling {
            gain: std::f32::consts::SQRT_2,
            fan: Fan::In,
            distribution: Distribution::Normal,
        }
    );
}

#[test]
fn the_default_of_linear_layers_is_one_over_root_fan_in() {
    let weights = filled(&[100, 64], Init::inverse_root_fan_in());
    let largest = weights.data().iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
    assert!(largest <= 0.125 && largest > 0.124, "{largest}");
}

#[test]
fn plain_distributions_keep_their_bounds() {
    let uniform = filled(&[1000], Init::Uniform { low: -2.0, high: 3.0 });
    assert!(uniform.data().iter().all(|x| (-2.0..3.0).contains(x)));
    let sparse = filled(&[50, 400], Init::SparseNormal { mean: 1.0, std: 0.1, count: 5 });
    let (some, rest): (Vec<f32>, Vec<f32>) = sparse.data().iter().partition(|&&x| x != 0.0);
    assert!((1800..2200).contains(&some.len()) && rest.len() + some.len() == 20_000, "{}", some.len());
    let mean = some.iter().sum::<f32>() / some.len() as f32;
    assert!((mean - 1.0).abs() < 0.02, "{mean}");
    let truncated = filled(&[1000], Init::TruncatedNormal { mean: 1.0, std: 0.5 });
    assert!(truncated.data().iter().all(|x| (0.0..=2.0).contains(x)));
    let (mean, variance) = moments(&filled(&[20_000], Init::Normal { mean: 2.0, std: 3.0 }));
    assert!((mean - 2.0).abs() < 0.1 && (variance - 9.0).abs() < 0.4);
    assert!(filled(&[4], Init::Constant(0.25)).data().iter().all(|&x| x == 0.25));
}

#[test]
fn orthogonal_rows_or_columns() {
    for shape in [[6, 2, 2, 2], [8, 1, 2, 3]] {
        let tensor = filled(&shape, Init::Orthogonal { gain: 2.0 });
        let (rows, columns) = (shape[0], tensor.data().len() / shape[0]);
        let at = |row: usize, column: usize| f64::from(tensor.data()[row * columns + column]);
        let count = rows.min(columns);
        for i in 0..count {
            for j in 0..count {
                let product: f64 = if rows <= columns {
                    (0..columns).map(|k| at(i, k) * at(j, k)).sum()
                } else {
                    (0..rows).map(|k| at(k, i) * at(k, j)).sum()
                };
                let expected = if i == j { 4.0 } else { 0.0 };
                assert!((product - expected).abs() < 1e-5, "{i} {j} {product}");
            }
        }
    }
}

#[test]
fn every_bilinear_kernel_interpolates() {
    let kernel = filled(&[2, 2, 4, 4], Init::Bilinear);
    let row = [0.25, 0.75, 0.75, 0.25];
    let expected: Vec<f32> = row.iter().flat_map(|a| row.iter().map(move |b| a * b)).collect();
    assert!(kernel.data().chunks(16).all(|each| each == expected));
    assert_eq!(filled(&[1, 1, 3, 3], Init::Bilinear).data()[4], 1.0);
}

#[test]
fn the_parts_of_a_positive_unit_ball_add_up_to_1() {
    let filled = filled(&[5, 2, 30], Init::PositiveUnitBall);
    for part in filled.data().chunks(60) {
        assert!(
            part.iter().all(|&x| (0.0..0.1).contains(&x)) && (part.iter().sum::<f32>() - 1.0).abs() < 1e-5
        );
    }
}

#[test]
fn fans_change_places() {
    let init = Init::xavier_uniform().with_fans_exchanged();
    assert_eq!(init, Init::xavier_uniform());
    let Init::VarianceScaling { fan, .. } = Init::he_normal().with_fans_exchanged() else { panic!() };
    assert_eq!(fan, ocellus_graph::Fan::Out);
    assert_eq!(Init::Bilinear.with_fans_exchanged(), Init::Bilinear);
}

#[test]
fn numbers_depend_on_seed_and_name_only() {
    let build = |first: &str| {
        let mut b = Builder::new("net");
        let x = b.input("x", [1, 8]);
        let x = b.linear(first, x, Dense::new(8));
        b.linear("fc", x, Dense::new(8));
        b.finish().unwrap()
    };
    let (one, other) = (initialise(&build("a"), 1), initialise(&build("b"), 1));
    assert_eq!(one["fc.weight"], other["fc.weight"]);
    assert_ne!(one["a.weight"], other["b.weight"]);
    assert_ne!(one["fc.weight"], initialise(&build("a"), 2)["fc.weight"]);
}

#[test]
fn statistics_are_filled_and_the_optimisers_state_is_not() {
    let mut graph = Graph::new("roles");
    for (name, role) in [("mean", Role::Statistic), ("velocity", Role::State)] {
        let spec = ParamSpec { name: name.into(), shape: [2].into(), init: Init::Constant(1.0), role };
        graph.add_param(spec).unwrap();
    }
    assert_eq!(initialise(&graph, 0).into_keys().collect::<Vec<_>>(), ["mean"]);
}
