//! Filling parameters with their initialisers' numbers.

use ocellus_tensor::{Shape, Tensor, Weights};

use super::philox::Stream;
use super::{Distribution, Fan, Fans, Init, fans};
use crate::{Graph, ParamId, Role};

/// Standard deviation of a standard normal cut at two: sqrt(1 - 4 phi(2) / (2 Phi(2) - 1)).
const TRUNCATED_STD: f64 = 0.879_625_661_034_239_8;

/// Every weight and statistic of the network, filled by its initialiser; the optimiser's state is not included.
///
/// A parameter's numbers depend only on `seed` and its name (and shape and initialiser), not on what else the network
/// has.
///
/// ```
/// use ocellus_graph::{Builder, Dense, initialise};
///
/// let mut b = Builder::new("net");
/// let x = b.input("x", [1, 4]);
/// let x = b.linear("fc", x, Dense::new(2));
/// b.output("output", x);
/// let graph = b.finish()?;
/// let weights = initialise(&graph, 42);
/// assert_eq!(weights["fc.weight"].shape().dims(), [2, 4]);
/// assert_eq!(weights["fc.bias"].data(), [0.0, 0.0]);
/// assert_eq!(weights, initialise(&graph, 42));
/// # Ok::<(), ocellus_graph::GraphError>(())
/// ```
pub fn initialise(graph: &Graph, seed: u64) -> Weights {
    let kept = graph.params().iter().enumerate().filter(|(_, param)| param.role != Role::State);
    kept.map(|(index, param)| (param.name.clone(), initialise_param(graph, ParamId(index as u32), seed)))
        .collect()
}

/// One parameter, filled by its initialiser: what [`initialise`] gives for it.
pub fn initialise_param(graph: &Graph, id: ParamId, seed: u64) -> Tensor {
    let param = graph.param(id);
    let stream = Stream::new(seed, &param.name);
    let shape = &param.shape;
    let each = |mean: f64, std: f64, number: &mut dyn FnMut(usize) -> f64| {
        Tensor::from_fn(shape.clone(), |i| (mean + std * number(i)) as f32)
    };
    match param.init {
        Init::Constant(value) => Tensor::full(shape.clone(), value),
        Init::Uniform { low, high } => {
            let (low, high) = (f64::from(low), f64::from(high));
            each(low, high - low, &mut |i| stream.uniform(i))
        }
        Init::Normal { mean, std } => each(mean.into(), std.into(), &mut stream.normals()),
        Init::SparseNormal { mean, std, count } => {
            let share = f64::from(count) / shape.first().copied().unwrap_or(1).max(1) as f64;
            let kept = Stream::new(seed, &format!("{} kept", param.name));
            let mut normals = stream.normals();
            each(0.0, 1.0, &mut |i| {
                // Drawn for every element, since they come in pairs.
                let number = f64::from(mean) + f64::from(std) * normals(i);
                if kept.uniform(i) < share { number } else { 0.0 }
            })
        }
        Init::TruncatedNormal { mean, std } => each(mean.into(), std.into(), &mut stream.truncated_normals()),
        Init::VarianceScaling { gain, fan, distribution } => {
            let std = f64::from(gain) / fan_number(fans(graph, id), fan).sqrt();
            match distribution {
                Distribution::Normal => each(0.0, std, &mut stream.normals()),
                Distribution::TruncatedNormal => {
                    each(0.0, std / TRUNCATED_STD, &mut stream.truncated_normals())
                }
                Distribution::Uniform => {
                    // Even between -sqrt(3) and sqrt(3) has variance 1.
                    let half_width = std * 3.0_f64.sqrt();
                    each(-half_width, 2.0 * half_width, &mut |i| stream.uniform(i))
                }
            }
        }
        Init::Orthogonal { gain } => orthogonal(shape, &stream, f64::from(gain)),
        Init::Bilinear => bilinear(shape),
        Init::PositiveUnitBall => positive_unit_ball(shape, &stream),
    }
}

fn fan_number(fans: Fans, fan: Fan) -> f64 {
    let number = match fan {
        Fan::In => fans.fan_in as f64,
        Fan::Out => fans.fan_out as f64,
        Fan::Average => fans.average(),
    };
    number.max(1.0)
}

/// Axis 0 against all others, as a matrix whose rows (or columns, if there are fewer) are orthonormal, times `gain`.
///
/// Normal numbers, made orthogonal one row after another by Gram and Schmidt, each row twice, which keeps them
/// orthogonal to machine precision (Giraud, Langou and Rozloznik 2005). The result is evenly spread over all such
/// matrices, as QR's is once its signs are fixed.
fn orthogonal(shape: &Shape, stream: &Stream, gain: f64) -> Tensor {
    let rows = shape.first().copied().unwrap_or(1);
    let columns = shape.elements() / rows.max(1);
    let (count, length) = (rows.min(columns), rows.max(columns));
    let mut basis: Vec<Vec<f64>> = Vec::with_capacity(count);
    let mut numbers = (0..count * length).map(stream.normals());
    for _ in 0..count {
        let mut vector: Vec<f64> = numbers.by_ref().take(length).collect();
        for _ in 0..2 {
            basis.iter().for_each(|earlier| remove(&mut vector, earlier));
        }
        let norm = dot(&vector, &vector).sqrt().max(f64::MIN_POSITIVE);
        vector.iter_mut().for_each(|x| *x /= norm);
        basis.push(vector);
    }
    Tensor::from_fn(shape.clone(), |i| {
        let (row, column) = (i / columns, i % columns);
        let entry = if rows <= columns { basis[row][column] } else { basis[column][row] };
        (gain * entry) as f32
    })
}

/// Takes out of `vector` its part along `unit`.
fn remove(vector: &mut [f64], unit: &[f64]) {
    let along = dot(vector, unit);
    vector.iter_mut().zip(unit).for_each(|(x, u)| *x -= along * u);
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Each kernel interpolates bilinearly: 1 - |tap - centre| / f along each axis, f half the kernel, rounded up.
fn bilinear(shape: &Shape) -> Tensor {
    let &[_, _, height, width] = shape.dims() else {
        return Tensor::zeros(shape.clone()); // not a kernel: nothing to interpolate
    };
    Tensor::from_fn(shape.clone(), |i| {
        (triangle(i / width % height, height) * triangle(i % width, width)) as f32
    })
}

fn positive_unit_ball(shape: &Shape, stream: &Stream) -> Tensor {
    let size = shape.elements() / shape.first().copied().unwrap_or(1).max(1);
    let sum = |part: usize| (part * size..(part + 1) * size).map(|i| stream.uniform(i)).sum::<f64>();
    let sums: Vec<f64> = (0..shape.first().copied().unwrap_or(1)).map(sum).collect();
    Tensor::from_fn(shape.clone(), |i| (stream.uniform(i) / sums[i / size].max(f64::MIN_POSITIVE)) as f32)
}

fn triangle(tap: usize, size: usize) -> f64 {
    let factor = size.div_ceil(2) as f64;
    let centre = if size % 2 == 1 { factor - 1.0 } else { factor - 0.5 };
    1.0 - (tap as f64 - centre).abs() / factor
}
