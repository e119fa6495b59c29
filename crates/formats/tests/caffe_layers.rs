//! Layers of Caffe's catalogue, each against numbers worked out by its formula.

mod caffe_support;

use caffe_support::{numbers, parse, run};
use ocellus_engine::{Options, Session};
use ocellus_formats::caffe::{NetOptions, Phase, parse_net};
use ocellus_graph::initialise;
use ocellus_tensor::Weights;

/// The output of one layer without parameters for an input `x` of these sizes.
fn layer(sizes: &[usize], layer: &str) -> (Vec<f32>, Vec<f32>) {
    let dims: Vec<String> = sizes.iter().map(|size| format!("dim: {size}")).collect();
    let graph = parse(&format!(
        "input: 'x' input_shape {{ {} }} layer {{ name: 'l' bottom: 'x' top: 'y' {layer} }}",
        dims.join(" ")
    ));
    let x = numbers(sizes.iter().product());
    (run(&graph, &Weights::new(), &[("x", x.clone())]), x)
}

fn close(got: &[f32], wanted: &[f32]) {
    assert_eq!(got.len(), wanted.len(), "{got:?} {wanted:?}");
    for (i, (a, b)) in got.iter().zip(wanted).enumerate() {
        assert!((a - b).abs() <= 1e-5 * b.abs().max(1.0), "number {i}: {a}, wanted {b}");
    }
}

#[test]
fn reductions_tiles_thresholds_and_crops() {
    let (y, x) = layer(&[2, 3, 4], "type: 'Reduction' reduction_param { axis: 1 operation: ASUM coeff: 2 }");
    let sums: Vec<f32> = x.chunks(12).map(|item| 2.0 * item.iter().map(|x| x.abs()).sum::<f32>()).collect();
    close(&y, &sums);
    let (y, x) = layer(&[2, 3, 4], "type: 'Reduction' reduction_param { axis: -1 operation: SUMSQ }");
    close(&y, &x.chunks(4).map(|row| row.iter().map(|x| x * x).sum()).collect::<Vec<f32>>());
    let (y, x) = layer(&[2, 6], "type: 'Reduction' reduction_param { operation: MEAN }");
    close(&y, &[x.iter().sum::<f32>() / 12.0]);
    let (y, x) = layer(&[2, 2, 3], "type: 'Tile' tile_param { axis: 1 tiles: 2 }");
    close(&y, &[&x[..6], &x[..6], &x[6..], &x[6..]].concat());
    let (y, x) = layer(&[1, 12], "type: 'Threshold' threshold_param { threshold: 0.25 }");
    close(&y, &x.iter().map(|&x| f32::from(u8::from(x > 0.25))).collect::<Vec<f32>>());
    let graph = parse(
        "input: 'x' input_shape { dim: [1, 1, 4, 5] } input: 'r' input_shape { dim: [1, 2, 2, 3] }
         layer { name: 'l' type: 'Crop' bottom: 'x' bottom: 'r' top: 'y' crop_param { offset: 1 offset: 2 } }",
    );
    let y = run(&graph, &Weights::new(), &[("x", (0..20).map(|i| i as f32).collect())]);
    close(&y, &[7.0, 8.0, 9.0, 12.0, 13.0, 14.0]);
}

/// The indices of the `count` largest numbers, of equal ones the last first, and these numbers.
fn largest(numbers: &[f32], count: usize) -> (Vec<f32>, Vec<f32>) {
    let mut order: Vec<usize> = (0..numbers.len()).collect();
    order.sort_by(|&a, &b| numbers[b].total_cmp(&numbers[a]).then(b.cmp(&a)));
    order.truncate(count);
    (order.iter().map(|&i| i as f32).collect(), order.iter().map(|&i| numbers[i]).collect())
}

#[test]
fn the_largest_are_found_along_an_axis_and_in_an_item() {
    for count in [1, 2] {
        let (y, x) = layer(&[2, 3, 2], &format!("type: 'ArgMax' argmax_param {{ axis: -2 top_k: {count} }}"));
        let (values, _) = layer(
            &[2, 3, 2],
            &format!("type: 'ArgMax' argmax_param {{ axis: 1 top_k: {count} out_max_val: true }}"),
        );
        for (n, j) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let column: Vec<f32> = (0..3).map(|i| x[n * 6 + i * 2 + j]).collect();
            let of = |y: &[f32]| (0..count).map(|k| y[(n * count + k) * 2 + j]).collect::<Vec<f32>>();
            let (places, largest) = largest(&column, count);
            close(&of(&y), &places);
            close(&of(&values), &largest);
        }
        let (y, x) = layer(&[2, 3, 2, 2], &format!("type: 'ArgMax' argmax_param {{ top_k: {count} }}"));
        close(&y, &x.chunks(12).flat_map(|item| largest(item, count).0).collect::<Vec<f32>>());
        let both = format!("type: 'ArgMax' argmax_param {{ out_max_val: true top_k: {count} }}");
        let (y, x) = layer(&[2, 3, 2], &both);
        let all = x.chunks(6).flat_map(|item| {
            let (places, values) = largest(item, count);
            [places, values].concat()
        });
        close(&y, &all.collect::<Vec<f32>>());
    }
    // Of equal numbers the last; and the shapes that Caffe gives.
    let text = |sizes: &str, more: &str| {
        format!(
            "input: 'x' input_shape {{ dim: [{sizes}] }}
             layer {{ name: 'l' type: 'ArgMax' bottom: 'x' top: 'y' argmax_param {{ {more} }} }}"
        )
    };
    let graph = parse(&text("1, 4", ""));
    close(&run(&graph, &Weights::new(), &[("x", vec![1.0, 3.0, 3.0, 2.0])]), &[2.0]);
    let shape = |sizes, more| {
        let graph = parse(&text(sizes, more));
        graph.shape(graph.find_output("y").unwrap()).to_vec()
    };
    assert_eq!(shape("2, 9", ""), [2, 1, 1]);
    assert_eq!(shape("2, 9", "top_k: 5 out_max_val: true"), [2, 2, 5]);
    assert_eq!(shape("2, 3, 4, 5", "top_k: 7 out_max_val: true"), [2, 2, 7, 1]);
    assert_eq!(shape("2, 3, 4, 5", "top_k: 2 axis: 3"), [2, 3, 4, 2]);
    let said = parse_net(&text("2, 9", "top_k: 10"), "f", &NetOptions::default()).unwrap_err().to_string();
    assert!(said.contains("layer l (ArgMax)") && said.contains("10 largest of 9"), "{said}");
}

#[test]
fn means_are_taken_away_and_softmax_takes_any_axis() {
    let (y, x) = layer(&[1, 2, 2, 3], "type: 'MVN' mvn_param { normalize_variance: false }");
    let centred = |part: &[f32]| {
        let mean = part.iter().sum::<f32>() / part.len() as f32;
        part.iter().map(|x| x - mean).collect::<Vec<f32>>()
    };
    close(&y, &[centred(&x[..6]), centred(&x[6..])].concat());
    let across = "type: 'MVN' mvn_param { normalize_variance: false across_channels: true }";
    let (y, x) = layer(&[1, 2, 2, 3], across);
    close(&y, &centred(&x));
    // eps is added to the deviation, not to the variance.
    let scaled = |part: &[f32]| {
        let centred = centred(part);
        let variance = centred.iter().map(|x| x * x).sum::<f32>() / part.len() as f32;
        centred.iter().map(|x| x / (variance.sqrt() + 0.5)).collect::<Vec<f32>>()
    };
    let (y, x) = layer(&[1, 2, 2, 3], "type: 'MVN' mvn_param { eps: 0.5 }");
    close(&y, &[scaled(&x[..6]), scaled(&x[6..])].concat());
    let (y, x) = layer(&[2, 2, 3], "type: 'MVN' mvn_param { eps: 0.5 across_channels: true }");
    close(&y, &[scaled(&x[..6]), scaled(&x[6..])].concat());
    let (y, x) = layer(&[2, 3, 4], "type: 'Softmax' softmax_param { axis: 2 }");
    let softmax = |row: &[f32]| {
        let sum: f32 = row.iter().map(|x| x.exp()).sum();
        row.iter().map(|x| x.exp() / sum).collect::<Vec<f32>>()
    };
    close(&y, &x.chunks(4).flat_map(softmax).collect::<Vec<f32>>());
    let (y, x) = layer(&[2, 3], "type: 'Softmax' softmax_param { axis: 0 }");
    let column = |j: usize| softmax(&[x[j], x[3 + j]]);
    close(
        &y,
        &(0..2).flat_map(|i| (0..3).map(move |j| (i, j))).map(|(i, j)| column(j)[i]).collect::<Vec<_>>(),
    );
    let (y, x) = layer(&[5], "type: 'Softmax' softmax_param { axis: -1 }");
    close(&y, &softmax(&x));
}

#[test]
fn a_loss_hands_out_probabilities_along_its_axis() {
    for axis in 0..3 {
        let graph = parse(&format!(
            "input: 'x' input_shape {{ dim: [2, 3, 4] }} input: 't' input_shape {{ dim: {} }}
             layer {{ name: 'l' type: 'SoftmaxWithLoss' bottom: 'x' bottom: 't' top: 'loss' top: 'y'
               softmax_param {{ axis: {axis} }} }}
             layer {{ name: 's' type: 'Softmax' bottom: 'x' top: 'same' softmax_param {{ axis: {axis} }} }}",
            ["[3, 4]", "[2, 4]", "[2, 3]"][axis]
        ));
        let mut session = Session::new(&graph, &Options::default().with_threads(1)).unwrap();
        session.set_input("x", &numbers(24)).unwrap();
        session.set_input("t", &vec![1.0; 24 / [2, 3, 4][axis]]).unwrap();
        session.run();
        let (y, same) = (session.output("y").unwrap().to_vec(), session.output("same").unwrap());
        close(&y, same);
        // The loss is the mean of the logarithms of the probabilities of class 1.
        let inner: usize = [12, 4, 1][axis];
        let ones: Vec<f32> =
            (0..24).filter(|i| i / inner % [2, 3, 4][axis] == 1).map(|i| -y[i].ln()).collect();
        let mean = ones.iter().sum::<f32>() / ones.len() as f32;
        close(session.output("loss").unwrap(), &[mean]);
    }
}

#[test]
fn stochastic_pooling_weighs_each_value_by_itself_when_it_is_used() {
    let text =
        "input: 'x' input_shape { dim: [1, 1, 2, 4] } layer { name: 'l' type: 'Pooling' bottom: 'x' top: 'y'
                pooling_param { pool: STOCHASTIC kernel_size: 2 stride: 2 } }";
    let x = vec![1.0, 2.0, 0.0, 0.0, 3.0, 4.0, 0.0, 0.0];
    close(&run(&parse(text), &Weights::new(), &[("x", x)]), &[30.0 / 10.0, 0.0]);
}

#[test]
fn stochastic_pooling_draws_in_training() {
    let text = "input: 'x' input_shape { dim: [1, 1, 2, 400] } layer { name: 'l' type: 'Pooling' bottom: 'x' top: 'y'
                pooling_param { pool: STOCHASTIC kernel_size: 2 stride: 2 } }";
    let graph = parse_net(text, "net.prototxt", &NetOptions::phase(Phase::Train)).unwrap();
    let graph = graph.for_training().unwrap();
    let x: Vec<f32> = [0.0, 1.0].repeat(200).into_iter().chain([3.0, 4.0].repeat(200)).collect();
    let y = run(&graph, &Weights::new(), &[("x", x.clone())]);
    for value in [1.0, 3.0, 4.0] {
        let often = y.iter().filter(|&&y| y == value).count() as f32 / 200.0;
        assert!((often - value / 8.0).abs() < 0.12, "{value} is drawn {often} of the time");
    }
    let used = graph.for_inference().unwrap();
    close(&run(&used, &Weights::new(), &[("x", x)]), &[26.0 / 8.0; 200]);
}

#[test]
fn a_second_top_tells_where_the_maxima_are() {
    let text = |more: &str| {
        format!(
            "input: 'x' input_shape {{ dim: [1, 2, 3, 4] }} layer {{ name: 'l' type: 'Pooling' bottom: 'x' top: 'p'
             top: 'y' pooling_param {{ {more} }} }}"
        )
    };
    let graph = parse(&text("kernel_size: 2 stride: 2 pad: 1"));
    let plane = [5.0, 1.0, 2.0, 8.0, 8.0, 0.0, 9.0, 3.0, 4.0, 7.0, 7.0, 6.0];
    let x = [plane, plane.map(|x| -x)].concat();
    let y = run(&graph, &Weights::new(), &[("x", x)]);
    // Rows 0, 1 to 2 and columns 0, 1 to 2, 3; of equal ones the first.
    close(&y, &[0.0, 2.0, 3.0, 4.0, 6.0, 11.0, 0.0, 1.0, 3.0, 8.0, 5.0, 7.0]);
    let said = parse_net(&text("pool: AVE kernel_size: 2"), "f", &NetOptions::default()).unwrap_err();
    assert!(said.to_string().contains("layer l (Pooling)") && said.to_string().contains("AVE"), "{said}");
}

#[test]
fn a_pyramid_has_one_number_for_each_bin() {
    let (y, x) = layer(&[1, 2, 4, 6], "type: 'SPP' spp_param { pyramid_height: 2 pool: MAX }");
    let most = |channel: usize, rows: std::ops::Range<usize>, columns: std::ops::Range<usize>| {
        let at = |row: usize, column: usize| x[(channel * 4 + row) * 6 + column];
        rows.flat_map(|row| columns.clone().map(move |column| (row, column)))
            .map(|(row, column)| at(row, column))
            .fold(f32::MIN, f32::max)
    };
    let mut wanted: Vec<f32> = (0..2).map(|c| most(c, 0..4, 0..6)).collect();
    for c in 0..2 {
        for (rows, columns) in [(0..2, 0..3), (0..2, 3..6), (2..4, 0..3), (2..4, 3..6)] {
            wanted.push(most(c, rows, columns));
        }
    }
    close(&y, &wanted);
}

#[test]
fn rows_of_inner_products_and_transposed_weights() {
    let text = |param: &str| {
        format!(
            "input: 'x' input_shape {{ dim: [2, 3, 4] }} layer {{ name: 'l' type: 'InnerProduct' bottom: 'x' top: 'y'
             inner_product_param {{ num_output: 5 weight_filler {{ type: 'xavier' }} {param} }} }}"
        )
    };
    let x = numbers(24);
    let graph = parse(&text("axis: 2"));
    let weights = initialise(&graph, 3);
    let w = weights["l.weight"].data();
    let product = |row: &[f32], column: &dyn Fn(usize) -> usize| -> f32 {
        row.iter().enumerate().map(|(i, x)| x * w[column(i)]).sum()
    };
    let wanted: Vec<f32> =
        x.chunks(4).flat_map(|row| (0..5).map(move |o| product(row, &|i| o * 4 + i))).collect();
    close(&run(&graph, &weights, &[("x", x.clone())]), &wanted);

    let graph = parse(&text("transpose: true"));
    let weights = initialise(&graph, 3);
    assert_eq!(weights["l.weight"].shape().dims(), [12, 5]);
    let w = weights["l.weight"].data();
    let wanted: Vec<f32> = x
        .chunks(12)
        .flat_map(|row| (0..5).map(move |o| row.iter().enumerate().map(|(i, x)| x * w[i * 5 + o]).sum()))
        .collect();
    close(&run(&graph, &weights, &[("x", x)]), &wanted);
}

#[test]
fn a_dropout_that_does_not_scale_in_training_does_in_use() {
    let (y, x) = layer(&[2, 6], "type: 'Dropout' dropout_param { dropout_ratio: 0.75 scale_train: false }");
    close(&y, &x.iter().map(|x| x * 0.25).collect::<Vec<f32>>());
}

#[test]
fn an_input_may_be_split() {
    let (y, x) = layer(&[2, 3, 4], "type: 'Split' top: 'z'");
    close(&y, &x);
}

#[test]
fn a_swish_without_slope_is_a_half() {
    let (y, x) = layer(&[2, 5], "type: 'Swish' swish_param { beta: 0 }");
    close(&y, &x.iter().map(|x| x / 2.0).collect::<Vec<f32>>());
}

/// How far from 0 a weight's numbers are drawn for 4 channels, 8 outputs and a kernel of 3.
fn drawn(kind: &str, filler: &str) -> f32 {
    let graph = parse(&format!(
        "input: 'x' input_shape {{ dim: [1, 4, 9, 9] }} layer {{ name: 'l' type: '{kind}' bottom: 'x' top: 'y'
         convolution_param {{ num_output: 8 kernel_size: 3 weight_filler {{ type: '{filler}' }} }} }}"
    ));
    initialise(&graph, 7)["l.weight"].data().iter().fold(0.0, |most, x| x.abs().max(most))
}

#[test]
fn fans_are_counted_by_the_axes_of_the_blob() {
    let near = |got: f32, fan: f32| {
        let bound = (3.0 / fan).sqrt();
        assert!(got <= bound && got > 0.95 * bound, "{got}, at most {bound}");
    };
    // A convolution's blob is (8, 4, 3, 3), a deconvolution's (4, 8, 3, 3).
    near(drawn("Convolution", "xavier"), 36.0);
    near(drawn("Deconvolution", "xavier"), 72.0);
    // 36 or 72 even numbers that add up to 1.
    assert!((0.04..0.08).contains(&drawn("Convolution", "positive_unitball")));
}

#[test]
fn lines_are_convolved() {
    let text = |kind: &str, sizes: &str, rest: &str| {
        format!(
            "input: 'x' input_shape {{ dim: {sizes} }} layer {{ name: 'c' type: '{kind}' bottom: 'x' top: 'y'
               convolution_param {{ num_output: 2 bias_term: false weight_filler {{ type: 'xavier' }} {rest} }} }}"
        )
    };
    let spread = "kernel_size: [3] stride: 2 pad: [2] dilation: 2";
    let graph = parse(&text("Convolution", "[2, 3, 7]", spread));
    let weights = initialise(&graph, 5);
    let (x, w) = (numbers(42), weights["c.weight"].data());
    let at = |item: usize, channel: usize, place: usize| {
        place
            .checked_sub(2)
            .filter(|&place| place < 7)
            .map_or(0.0, |place| x[(item * 3 + channel) * 7 + place])
    };
    let mut wanted = Vec::new();
    for (item, out, place) in (0..16).map(|i| (i / 8, i / 4 % 2, i % 4)) {
        let taps = (0..9).map(|i| w[out * 9 + i] * at(item, i / 3, 2 * place + 2 * (i % 3)));
        wanted.push(taps.sum::<f32>());
    }
    close(&run(&graph, &weights, &[("x", x.clone())]), &wanted);
    let output = graph.find_output("y").expect("an output");
    assert_eq!(graph.shape(output).dims(), [2, 2, 4]);

    // Each number spreads over the places that its window would have covered.
    let graph = parse(&text("Deconvolution", "[1, 1, 3]", "kernel_size: 2 stride: 2"));
    let weights = initialise(&graph, 5);
    let (x, w) = (numbers(3), weights["c.weight"].data());
    let wanted: Vec<f32> = (0..12).map(|i| x[i % 6 / 2] * w[i / 6 * 2 + i % 2]).collect();
    close(&run(&graph, &weights, &[("x", x)]), &wanted);

    let said = |text: String| parse_net(&text, "f", &NetOptions::default()).unwrap_err().to_string();
    let hyper = said(text("Convolution", "[1, 1, 3, 3, 3, 3]", "kernel_size: 3"));
    assert!(hyper.contains("layer c (Convolution)") && hyper.contains("line 1"), "{hyper}");
    assert!(hyper.contains("volumes (N, C, D, H, W)"), "{hyper}");
    let by_name = said(text("Convolution", "[1, 1, 3]", "kernel_h: 3 kernel_w: 3"));
    assert!(by_name.contains("kernel_h is for images"), "{by_name}");
    let twice = said(text("Convolution", "[1, 1, 3]", "kernel_size: [1, 2]"));
    assert!(twice.contains("kernel_size must be given once, or for 1 axes; it stands 2 times"), "{twice}");
}

#[test]
fn a_convolution_of_two_bottoms_shares_its_weights() {
    let graph = parse(
        "input: 'a' input_shape { dim: [1, 2, 3, 3] } input: 'b' input_shape { dim: [1, 2, 3, 3] }
         layer { name: 'c' type: 'Convolution' bottom: 'a' bottom: 'b' top: 'ca' top: 'cb'
           convolution_param { num_output: 2 kernel_size: 3 weight_filler { type: 'xavier' } } }
         layer { name: 'd' type: 'Eltwise' bottom: 'ca' bottom: 'cb' top: 'y' eltwise_param { coeff: 1 coeff: -1 } }",
    );
    assert_eq!(graph.params().len(), 2);
    let weights = initialise(&graph, 1);
    let same = run(&graph, &weights, &[("a", numbers(18)), ("b", numbers(18))]);
    close(&same, &[0.0, 0.0]);
}

#[test]
fn losses_count_as_caffe_counts() {
    let loss = |body: &str, scores: &str| {
        let text = format!(
            "input: 's' input_shape {{ dim: [{scores}] }} input: 'l' input_shape {{ dim: [2, 1, 1, 3] }}
             layer {{ name: 'loss' type: 'SoftmaxWithLoss' bottom: 's' bottom: 'l' top: 'y' {body} }}"
        );
        let graph = parse(&text);
        run(&graph, &Weights::new(), &[("s", numbers(24)), ("l", vec![0.0, 3.0, 1.0, 2.0, 2.0, 0.0])])[0]
    };
    // (N, C, H, W) = (2, 4, 1, 3): six answers.
    let x = numbers(24);
    let labels = [0, 3, 1, 2, 2, 0];
    let sum: f32 = (0..6)
        .map(|i| {
            let (n, w) = (i / 3, i % 3);
            let at = |c: usize| x[n * 12 + c * 3 + w];
            (0..4).map(|c| at(c).exp()).sum::<f32>().ln() - at(labels[i])
        })
        .sum();
    let sizes = "2, 4, 1, 3";
    close(&[loss("", sizes)], &[sum / 6.0]);
    close(&[loss("loss_param { normalization: BATCH_SIZE }", sizes)], &[sum / 2.0]);
    close(&[loss("loss_param { normalize: false }", sizes)], &[sum / 2.0]);
    close(&[loss("loss_param { normalization: NONE }", sizes)], &[sum]);
}

#[test]
fn the_multinomial_loss_takes_the_logarithm_of_probabilities() {
    let graph = parse(
        "input: 's' input_shape { dim: [2, 3] } input: 'l' input_shape { dim: 2 }
         layer { name: 'p' type: 'Softmax' bottom: 's' top: 'p' }
         layer { name: 'loss' type: 'MultinomialLogisticLoss' bottom: 'p' bottom: 'l' top: 'y' }",
    );
    let x = [0.5_f32, -1.0, 2.0, 0.0, 0.25, -0.5];
    let share = |row: usize, label: usize| {
        let sum: f32 = x[row * 3..row * 3 + 3].iter().map(|x| x.exp()).sum();
        -(x[row * 3 + label].exp() / sum).ln()
    };
    let y = run(&graph, &Weights::new(), &[("s", x.to_vec()), ("l", vec![2.0, 0.0])]);
    close(&y, &[(share(0, 2) + share(1, 0)) / 2.0]);
}

#[test]
fn what_cannot_be_had_is_refused_by_layer_type_and_line() {
    for kind in ["Python", "ROIPooling", "DetectionOutput", "WindowData", "Embed", "LSTM", "Nonsense"] {
        let text = format!(
            "input: 'x'\ninput_shape {{ dim: [1, 2] }}\nlayer {{\n name: 'odd' type: '{kind}' bottom: 'x' top: 'y' }}"
        );
        let sentence = parse_net(&text, "net.prototxt", &NetOptions::default()).unwrap_err().to_string();
        for word in ["net.prototxt", "line 3", "odd", kind] {
            assert!(sentence.contains(word), "{word}: {sentence}");
        }
    }
}

/// Log-probabilities of rows of `classes` scores.
fn log_softmax(scores: &[f32], classes: usize) -> Vec<f32> {
    let rows = scores.chunks(classes).flat_map(|row| {
        let sum: f32 = row.iter().map(|x| x.exp()).sum();
        row.iter().map(move |x| x - sum.ln()).collect::<Vec<_>>()
    });
    rows.collect()
}

/// A layer of scores (2, 3, 1, 2) and labels (2, 1, 1, 2), of which the third is left out.
fn with_labels(layer: &str, left_out: f32) -> f32 {
    let graph = parse(&format!(
        "input: 'x' input_shape {{ dim: [2, 3, 1, 2] }} input: 't' input_shape {{ dim: [2, 1, 1, 2] }}
         layer {{ name: 'l' bottom: 'x' bottom: 't' top: 'y' {layer} }}"
    ));
    let labels = vec![2.0, 0.0, left_out, 1.0];
    run(&graph, &Weights::new(), &[("x", numbers(12)), ("t", labels)])[0]
}

#[test]
fn answers_with_the_ignored_label_do_not_count() {
    let x = numbers(12);
    // Item, class and place of the answers that count.
    let counted = [(0, 2, 0), (0, 0, 1), (1, 1, 1)];
    let row = |item: usize, place: usize| [0, 1, 2].map(|class| x[item * 6 + class * 2 + place]);
    let sum: f32 = counted.iter().map(|&(i, class, place)| -log_softmax(&row(i, place), 3)[class]).sum();
    let loss = |label: f32, rest: &str| {
        with_labels(&format!("type: 'SoftmaxWithLoss' loss_param {{ ignore_label: {label} {rest} }}"), label)
    };
    close(&[loss(255.0, "")], &[sum / 3.0]);
    close(&[loss(255.0, "normalize: false")], &[sum / 2.0]);
    close(&[loss(-1.0, "normalization: FULL")], &[sum / 4.0]);
    close(&[loss(255.0, "normalization: NONE")], &[sum]);
    // A class may be ignored, too: here the first, which takes another answer away.
    let (i, class, place) = counted[1];
    close(&[loss(0.0, "")], &[(sum + log_softmax(&row(i, place), 3)[class]) / 2.0]);

    let best = |&&(i, class, place): &&(usize, usize, usize)| {
        let row = row(i, place);
        row.iter().enumerate().all(|(other, &x)| other == class || x < row[class])
    };
    let hits = counted.iter().filter(best).count() as f32;
    let accuracy = |top| format!("type: 'Accuracy' accuracy_param {{ ignore_label: 255 top_k: {top} }}");
    close(&[with_labels(&accuracy(1), 255.0)], &[hits / 3.0]);
    close(&[with_labels(&accuracy(3), 255.0)], &[1.0]);
}

#[test]
fn a_matrix_weighs_the_classes() {
    let graph = parse(
        "input: 'x' input_shape { dim: [2, 3] } input: 't' input_shape { dim: [2] }
         input: 'h' input_shape { dim: [1, 1, 3, 3] }
         layer { name: 'l' type: 'InfogainLoss' bottom: 'x' bottom: 't' bottom: 'h' top: 'y' }",
    );
    let (x, h) = (numbers(6), numbers(9));
    let y = run(&graph, &Weights::new(), &[("x", x.clone()), ("t", vec![2.0, 1.0]), ("h", h.clone())]);
    let logs = log_softmax(&x, 3);
    let sum: f32 = (0..3).map(|k| h[6 + k] * logs[k] + h[3 + k] * logs[3 + k]).sum();
    close(&y, &[-sum / 2.0]);
}

#[test]
fn a_table_is_looked_up() {
    let graph = parse(
        "input: 'x' input_shape { dim: [2, 3] }
         layer { name: 'l' type: 'Embed' bottom: 'x' top: 'y' embed_param { num_output: 2 input_dim: 4
                 weight_filler { type: 'gaussian' } bias_filler { type: 'constant' value: 0.5 } } }",
    );
    let weights = initialise(&graph, 1);
    let y = run(&graph, &weights, &[("x", vec![3.0, 0.0, 1.0, 1.0, 2.0, 3.0])]);
    let table = weights["l.weight"].data();
    let rows = [3, 0, 1, 1, 2, 3].into_iter().flat_map(|row: usize| [table[2 * row], table[2 * row + 1]]);
    close(&y, &rows.map(|x| x + 0.5).collect::<Vec<_>>());
}
