//! Layers of Caffe along unusual axes: volumes, whole batches, factors of any shape.

mod caffe_support;

use caffe_support::{numbers, parse, run};
use ocellus_engine::{Options, Session};
use ocellus_formats::caffe::{NetOptions, Phase, describe, parse_net, read_weights, write_described};
use ocellus_formats::hdf5::Hdf5;
use ocellus_graph::{Graph, Request, differentiate, initialise};
use ocellus_tensor::{Tensor, Weights};

/// A network of one layer that reads `x` of these sizes.
fn one(sizes: &[usize], layer: &str) -> String {
    let dims: Vec<String> = sizes.iter().map(|size| format!("dim: {size}")).collect();
    let dims = dims.join(" ");
    format!("input: 'x' input_shape {{ {dims} }} layer {{ name: 'l' bottom: 'x' top: 'y' {layer} }}")
}

fn shape_of(graph: &Graph) -> Vec<usize> {
    graph.shape(graph.find_output("y").expect("an output")).to_vec()
}

fn close(got: &[f32], wanted: &[f32]) {
    assert_eq!(got.len(), wanted.len(), "{got:?} {wanted:?}");
    for (i, (a, b)) in got.iter().zip(wanted).enumerate() {
        assert!((a - b).abs() <= 2e-5 * b.abs().max(1.0), "number {i}: {a}, wanted {b}");
    }
}

/// Positions of an array of these sizes, in its order.
fn places<const N: usize>(sizes: [usize; N]) -> impl Iterator<Item = [usize; N]> {
    (0..sizes.iter().product()).map(move |mut at: usize| {
        let mut place = [0; N];
        for axis in (0..N).rev() {
            place[axis] = at % sizes[axis];
            at /= sizes[axis];
        }
        place
    })
}

fn at<const N: usize>(numbers: &[f32], sizes: [usize; N], place: [usize; N]) -> f32 {
    numbers[place.iter().zip(sizes).fold(0, |sum, (&i, size)| sum * size + i)]
}

const X: [usize; 5] = [2, 4, 5, 4, 3];

#[test]
fn volumes_are_convolved_by_the_formula() {
    // Kernel, stride, padding and dilation of depth, height and width.
    let ([k, s], [p, d]) = ([[3, 2, 1], [2, 1, 1]], [[2, 1, 0], [2, 1, 1]]);
    let out = [3, 5, 3];
    let list = |numbers: [usize; 3]| format!("[{}, {}, {}]", numbers[0], numbers[1], numbers[2]);
    let settings = format!(
        "type: 'Convolution' convolution_param {{ num_output: 6 group: 2 kernel_size: {} stride: {} pad: {}
         dilation: {} weight_filler {{ type: 'gaussian' std: 0.5 }} bias_filler {{ type: 'constant' value: 0.5 }} }}",
        list(k),
        list(s),
        list(p),
        list(d)
    );
    let graph = parse(&one(&X, &settings));
    assert_eq!(shape_of(&graph), [2, 6, out[0], out[1], out[2]]);
    let weights = initialise(&graph, 4);
    assert_eq!(weights["l.weight"].shape().dims(), [6, 2, 3, 2, 1]);
    let (x, w) = (numbers(480), weights["l.weight"].data());
    let wanted = places([2, 6, out[0], out[1], out[2]]).map(|[n, o, i, j, l]| {
        let terms = places([2, k[0], k[1], k[2]]).filter_map(|[c, a, b, e]| {
            let pixel = |axis: usize, place: usize, tap: usize| {
                (place * s[axis] + tap * d[axis]).checked_sub(p[axis]).filter(|&at| at < X[axis + 2])
            };
            let [z, v, u] = [pixel(0, i, a)?, pixel(1, j, b)?, pixel(2, l, e)?];
            Some(at(&x, X, [n, o / 3 * 2 + c, z, v, u]) * at(w, [6, 2, 3, 2, 1], [o, c, a, b, e]))
        });
        0.5 + terms.sum::<f32>()
    });
    close(&run(&graph, &weights, &[("x", x.clone())]), &wanted.collect::<Vec<_>>());
}

#[test]
fn volumes_are_enlarged_by_the_formula() {
    let graph = parse(&one(
        &[1, 2, 3, 2, 2],
        "type: 'Deconvolution' convolution_param { num_output: 3 kernel_size: [3, 2, 2] stride: [2, 2, 1]
         pad: [1, 0, 0] weight_filler { type: 'gaussian' std: 0.5 } bias_filler { type: 'constant' value: 0.25 } }",
    ));
    let sizes = [1, 3, 5, 4, 3];
    assert_eq!(shape_of(&graph), sizes);
    let weights = initialise(&graph, 4);
    let (x, w) = (numbers(24), weights["l.weight"].data());
    let mut wanted = vec![0.25_f32; sizes.iter().product()];
    for [c, z, v, u] in places([2, 3, 2, 2]) {
        for [o, a, b, e] in places([3, 3, 2, 2]) {
            let Some(deep) = (2 * z + a).checked_sub(1).filter(|&deep| deep < 5) else { continue };
            let to = ((o * 5 + deep) * 4 + 2 * v + b) * 3 + u + e;
            wanted[to] += at(&x, [2, 3, 2, 2], [c, z, v, u]) * at(w, [2, 3, 3, 2, 2], [c, o, a, b, e]);
        }
    }
    close(&run(&graph, &weights, &[("x", x)]), &wanted);
}

#[test]
fn volumes_are_pooled() {
    let x = numbers(480);
    for pool in ["MAX", "AVE"] {
        let settings = format!(
            "type: 'Pooling' pooling_param {{ pool: {pool} kernel_size: [2, 2, 3] stride: [2, 2, 1] }}"
        );
        let graph = parse(&one(&X, &settings));
        // Five planes in pairs: the last is alone.
        assert_eq!(shape_of(&graph), [2, 4, 3, 2, 1]);
        let wanted = places([2, 4, 3, 2]).map(|[n, c, i, j]| {
            let window: Vec<f32> = places([2, 2, 3])
                .filter(|[a, ..]| 2 * i + a < 5)
                .map(|[a, b, e]| at(&x, X, [n, c, 2 * i + a, 2 * j + b, e]))
                .collect();
            match pool {
                "MAX" => window.iter().copied().fold(f32::MIN, f32::max),
                _ => window.iter().sum::<f32>() / window.len() as f32,
            }
        });
        close(&run(&graph, &Weights::new(), &[("x", x.clone())]), &wanted.collect::<Vec<_>>());
        let graph = parse(&one(
            &X,
            &format!("type: 'Pooling' pooling_param {{ pool: {pool} global_pooling: true }}"),
        ));
        assert_eq!(shape_of(&graph), [2, 4, 1, 1, 1]);
    }
    let text = one(&X, "type: 'Pooling' pooling_param { pool: STOCHASTIC kernel_size: 2 }");
    let said = parse_net(&text, "f", &NetOptions::default()).unwrap_err().to_string();
    assert!(said.contains("layer l (Pooling)") && said.contains("volumes"), "{said}");
}

#[test]
fn networks_of_volumes_have_gradients_and_free_batches() {
    let text = "input: 'x' input_shape { dim: [2, 1, 4, 6, 6] } input: 't' input_shape { dim: 2 }
        layer { name: 'c' type: 'Convolution' bottom: 'x' top: 'c' convolution_param { num_output: 4 kernel_size: 3
          pad: 1 weight_filler { type: 'xavier' } } }
        layer { name: 'b' type: 'BatchNorm' bottom: 'c' top: 'c' batch_norm_param { use_global_stats: true } }
        layer { name: 's' type: 'Scale' bottom: 'c' top: 'c' scale_param { bias_term: true } }
        layer { name: 'r' type: 'ReLU' bottom: 'c' top: 'c' }
        layer { name: 'p' type: 'Pooling' bottom: 'c' top: 'p' pooling_param { kernel_size: 2 stride: 2 } }
        layer { name: 'u' type: 'Deconvolution' bottom: 'p' top: 'u' convolution_param { num_output: 2 kernel_size: 2
          stride: 2 weight_filler { type: 'xavier' } } }
        layer { name: 'f' type: 'InnerProduct' bottom: 'u' top: 'f' inner_product_param { num_output: 3
          weight_filler { type: 'xavier' } } }
        layer { name: 'loss' type: 'SoftmaxWithLoss' bottom: 'f' bottom: 't' top: 'y' }";
    let graph = parse_net(text, "f", &NetOptions::phase(Phase::Train)).unwrap();
    assert!(graph.with_batch(3).is_ok());
    let found = differentiate(&graph.for_training().unwrap(), &Request::default()).unwrap();
    let mut training = found.graph;
    for (param, value) in &found.params {
        let name = format!("grad/{}", training.param(*param).name);
        training.add_output(name, *value);
    }
    let mut weights = initialise(&graph, 1);
    let inputs = [("x", numbers(288)), ("t", vec![2.0, 0.0])];
    for name in ["c.weight", "u.weight"] {
        let mut session = Session::new(&training, &Options::default().with_threads(1)).unwrap();
        session.load(&weights).unwrap();
        inputs.iter().for_each(|(name, numbers)| session.set_input(name, numbers).unwrap());
        session.run();
        let gradient = session.output(&format!("grad/{name}")).unwrap().to_vec();
        let largest =
            (0..gradient.len()).max_by(|&a, &b| gradient[a].abs().total_cmp(&gradient[b].abs())).unwrap();
        let mut loss = |change: f32| {
            let mut moved: Tensor = weights[name].clone();
            moved.data_mut()[largest] += change;
            let kept = weights.insert(name.into(), moved).unwrap();
            let loss = run(&graph, &weights, &inputs)[0];
            weights.insert(name.into(), kept);
            loss
        };
        let slope = (loss(0.002) - loss(-0.002)) / 0.004;
        assert!(
            (slope - gradient[largest]).abs() < 0.03 * slope.abs(),
            "{name}: {slope}, {}",
            gradient[largest]
        );
    }
}

#[test]
fn a_whole_batch_may_be_one_row() {
    let settings = "type: 'InnerProduct' inner_product_param { num_output: 2 axis: AXIS
        weight_filler { type: 'xavier' } bias_filler { type: 'constant' value: 1 } }";
    let x = numbers(24);
    for (axis, sizes, rows) in
        [("0", &[2, 3, 4][..], 1), ("-3", &[2, 3, 4], 1), ("0", &[4, 6], 1), ("-1", &[2, 3, 4], 6)]
    {
        let graph = parse(&one(sizes, &settings.replace("AXIS", axis)));
        let weights = initialise(&graph, 3);
        let w = weights["l.weight"].data();
        let features = 24 / rows;
        assert_eq!(weights["l.weight"].shape().dims(), [2, features]);
        let dot =
            |row: &[f32], o: usize| 1.0 + row.iter().zip(&w[o * features..]).map(|(x, w)| x * w).sum::<f32>();
        let wanted: Vec<f32> = x.chunks(features).flat_map(|row| [dot(row, 0), dot(row, 1)]).collect();
        close(&run(&graph, &weights, &[("x", x.clone())]), &wanted);
        let shape = if rows == 1 { vec![2] } else { vec![2, 3, 2] };
        assert_eq!(shape_of(&graph), shape, "axis {axis}");
    }
}

#[test]
fn factors_and_offsets_lie_along_any_axes() {
    // (axis, num_axes) and the shape of the parameter.
    let cases: [(i64, i64, &[usize]); 9] = [
        (1, 1, &[3]),
        (0, 1, &[2]),
        (0, 2, &[2, 3]),
        (0, -1, &[2, 3, 4]),
        (-2, -1, &[3, 4]),
        (-1, 1, &[4]),
        (1, 0, &[]),
        (0, 0, &[]),
        (-3, 1, &[2]),
    ];
    let sizes = [2, 3, 4];
    let x = numbers(24);
    for (axis, count, shape) in cases {
        let first = axis.rem_euclid(3) as usize;
        let index = |place: [usize; 3]| {
            place[first..first + shape.len()].iter().zip(shape).fold(0, |sum, (&i, &size)| sum * size + i)
        };
        let settings = format!("axis: {axis} num_axes: {count}");
        let text = one(
            &sizes,
            &format!(
                "type: 'Scale' scale_param {{ {settings} bias_term: true filler {{ type: 'gaussian' std: 1 }}
                     bias_filler {{ type: 'gaussian' std: 1 }} }}"
            ),
        );
        let graph = parse(&text);
        let weights = initialise(&graph, 2);
        let (w, b) = (weights["l.weight"].data(), weights["l.bias"].data());
        assert_eq!((w.len(), b.len()), (shape.iter().product(), shape.iter().product()));
        let wanted = places(sizes).map(|place| at(&x, sizes, place) * w[index(place)] + b[index(place)]);
        close(&run(&graph, &weights, &[("x", x.clone())]), &wanted.collect::<Vec<_>>());
        let text = one(
            &sizes,
            &format!("type: 'Bias' bias_param {{ {settings} filler {{ type: 'gaussian' std: 1 }} }}"),
        );
        let graph = parse(&text);
        let weights = initialise(&graph, 2);
        let b = weights["l.bias"].data();
        let wanted = places(sizes).map(|place| at(&x, sizes, place) + b[index(place)]);
        close(&run(&graph, &weights, &[("x", x.clone())]), &wanted.collect::<Vec<_>>());
    }
    // The offset of a product of two bottoms has the axes of the second, whatever num_axes is.
    let graph = parse(
        "input: 'x' input_shape { dim: [2, 3, 4] } input: 'f' input_shape { dim: [2, 3] }
         layer { name: 'l' type: 'Scale' bottom: 'x' bottom: 'f' top: 'y' scale_param { axis: 0 bias_term: true
           bias_filler { type: 'gaussian' std: 1 } } }",
    );
    let weights = initialise(&graph, 2);
    let (f, b) = (numbers(6), weights["l.bias"].data());
    assert_eq!(b.len(), 6);
    let wanted = places(sizes).map(|place| {
        let [n, c, _] = place;
        at(&x, sizes, place) * f[n * 3 + c] + b[n * 3 + c]
    });
    close(&run(&graph, &weights, &[("x", x.clone()), ("f", f.clone())]), &wanted.collect::<Vec<_>>());
    let text = one(&sizes, "type: 'Scale' scale_param { axis: 2 num_axes: 2 }");
    let said = parse_net(&text, "f", &NetOptions::default()).unwrap_err().to_string();
    assert!(said.contains("num_axes = 2 from axis 2 leaves a bottom of 3 axes"), "{said}");
}

/// What a description's layers store is what Caffe's would: by their names, in Caffe's shapes, whatever they are made of.
#[test]
fn weights_are_stored_as_the_layers_have_them() {
    let text = "input: 'x' input_shape { dim: [1, 4, 3, 6, 6] } input: 'l' input_shape { dim: [1, 2, 9] }
        layer { name: 'c3' type: 'Convolution' bottom: 'x' top: 'c' convolution_param { num_output: 4 kernel_size: 3 } }
        layer { name: 's' type: 'Scale' bottom: 'c' top: 's' scale_param { bias_term: true } }
        layer { name: 'bn' type: 'BatchNorm' bottom: 's' top: 's' batch_norm_param { use_global_stats: true } }
        layer { name: 'a/b' type: 'PReLU' bottom: 's' top: 'p' prelu_param { channel_shared: true } }
        layer { name: 'ip' type: 'InnerProduct' bottom: 'p' top: 'ip' inner_product_param { num_output: 2 transpose: true } }
        layer { name: 'c1' type: 'Convolution' bottom: 'l' top: 'c1' convolution_param { num_output: 3 kernel_size: 5 } }
        layer { name: 'soft' type: 'Softmax' bottom: 'ip' top: 'y' softmax_param { axis: 0 } }";
    let described = describe(text, "f", &NetOptions::default()).unwrap();
    let weights = initialise(&described.graph, 5);
    let folder = tempfile::tempdir().unwrap();
    for name in ["net.caffemodel", "net.caffemodel.h5"] {
        let path = folder.path().join(name);
        write_described(&path, &described.layers, &weights).unwrap();
        assert_eq!(read_weights(&path, &described.graph).unwrap(), weights, "{name}");
    }
    let file = Hdf5::open(folder.path().join("net.caffemodel.h5")).unwrap();
    for (blob, sizes) in [
        ("c3/0", &[4, 4, 3, 3, 3][..]),
        ("s/0", &[4]),
        ("s/1", &[4]),
        ("bn/2", &[1]),
        ("a/b/0", &[]),
        ("ip/0", &[64, 2]),
        ("c1/0", &[3, 2, 5]),
    ] {
        assert_eq!(file.tensor(&format!("/data/{blob}")).unwrap().shape().dims(), sizes, "{blob}");
    }
}

#[test]
fn permissive_sharing_asks_for_as_many_numbers_only() {
    let text = |mode: &str, size: usize| {
        format!(
            "input: 'x' input_shape {{ dim: [2, 3, {size}, {size}] }}
             layer {{ name: 'c' type: 'Convolution' bottom: 'x' top: 'c' param {{ name: 'w' }} param {{ name: 'b' }}
               convolution_param {{ num_output: 4 kernel_size: 5 weight_filler {{ type: 'xavier' }} }} }}
             layer {{ name: 'ip' type: 'InnerProduct' bottom: 'x' top: 'ip' param {{ name: 'w' {mode} }}
               param {{ name: 'b' }} inner_product_param {{ num_output: 4 }} }}
             layer {{ name: 'f' type: 'Flatten' bottom: 'c' top: 'f' }}
             layer {{ name: 'd' type: 'Eltwise' bottom: 'f' bottom: 'ip' top: 'y' eltwise_param {{ coeff: 1 coeff: -1 }} }}"
        )
    };
    let graph = parse(&text("share_mode: PERMISSIVE", 5));
    assert_eq!(graph.params().len(), 2);
    close(&run(&graph, &initialise(&graph, 1), &[("x", numbers(150))]), &[0.0; 8]);
    let said =
        |mode: &str, size| parse_net(&text(mode, size), "f", &NetOptions::default()).unwrap_err().to_string();
    let strict = said("", 5);
    assert!(strict.contains("layer ip") && strict.contains("share_mode: PERMISSIVE"), "{strict}");
    let other = said("share_mode: PERMISSIVE", 6);
    assert!(other.contains("(4, 3, 5, 5)") && other.contains("(4, 108)"), "{other}");
}
