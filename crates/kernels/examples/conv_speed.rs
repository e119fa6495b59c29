//! The fraction of this machine's own peak that each convolution reaches, measured in the same run:
//! `cargo run --release -p ocellus-kernels --example conv_speed [-- resnet50|resnet20|lenet|narrow|depthwise|linear|overhead|all [batch [threads [isa]]]]`.

use std::time::Instant;

use ocellus_kernels::conv::{
    Clamp, ConvForward, ConvInputGrad, ConvWeightGrad, Epilogue, InputLayout, Worth, pixel_words,
};
use ocellus_kernels::format::Format;
use ocellus_kernels::gemm::{LinearForward, LinearInputGrad, LinearWeightGrad};
use ocellus_kernels::isa::Isa;
use ocellus_kernels::layout::{blocked_len, blocked_to_plain, plain_to_blocked};
use ocellus_kernels::narrow::Coding;
use ocellus_kernels::peak::{memory_read_bandwidth, peak_flops};
use ocellus_kernels::threads::ThreadPool;
use ocellus_tensor::{AlignedBuffer, ConvGeometry, Rounding, Window};

/// Seconds spent on one measurement.
const BUDGET: f64 = 0.12;

/// A square convolution: channels in and out, image size, kernel, stride, padding.
struct Layer(usize, usize, usize, usize, usize, usize);

const RESNET50: &[Layer] = &[
    Layer(3, 64, 224, 7, 2, 3),
    Layer(64, 64, 56, 1, 1, 0),
    Layer(64, 64, 56, 3, 1, 1),
    Layer(64, 256, 56, 1, 1, 0),
    Layer(256, 64, 56, 1, 1, 0),
    Layer(256, 128, 56, 1, 1, 0),
    Layer(128, 128, 56, 3, 2, 1),
    Layer(256, 512, 56, 1, 2, 0),
    Layer(128, 512, 28, 1, 1, 0),
    Layer(512, 128, 28, 1, 1, 0),
    Layer(128, 128, 28, 3, 1, 1),
    Layer(512, 256, 28, 1, 1, 0),
    Layer(256, 256, 28, 3, 2, 1),
    Layer(512, 1024, 28, 1, 2, 0),
    Layer(256, 1024, 14, 1, 1, 0),
    Layer(1024, 256, 14, 1, 1, 0),
    Layer(256, 256, 14, 3, 1, 1),
    Layer(1024, 512, 14, 1, 1, 0),
    Layer(512, 512, 14, 3, 2, 1),
    Layer(1024, 2048, 14, 1, 2, 0),
    Layer(512, 2048, 7, 1, 1, 0),
    Layer(2048, 512, 7, 1, 1, 0),
    Layer(512, 512, 7, 3, 1, 1),
];
const RESNET20: &[Layer] = &[
    Layer(3, 16, 32, 3, 1, 1),
    Layer(16, 16, 32, 3, 1, 1),
    Layer(16, 32, 32, 3, 2, 1),
    Layer(16, 32, 32, 1, 2, 0),
    Layer(32, 32, 16, 3, 1, 1),
    Layer(32, 64, 16, 3, 2, 1),
    Layer(64, 64, 8, 3, 1, 1),
];
const LENET: &[Layer] = &[
    Layer(1, 6, 28, 5, 1, 2),
    Layer(6, 16, 14, 5, 1, 0),
    Layer(1, 20, 28, 5, 1, 0),
    Layer(20, 50, 12, 5, 1, 0),
];
/// Fully connected layers: features in and out.
const LINEAR: &[[usize; 2]] = &[[400, 120], [512, 10], [2048, 1000], [4096, 4096]];
/// Depthwise convolutions: channels, size, stride.
const DEPTHWISE: &[[usize; 3]] = &[[32, 112, 1], [64, 112, 2], [256, 28, 1], [512, 14, 1]];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let wanted = |name: &str| arguments.first().is_none_or(|a| a == name || a == "all");
    let batch =
        |or: &[usize]| arguments.get(1).map_or(or.to_vec(), |b| vec![b.parse().expect("a batch size")]);
    let threads = arguments.get(2).map(|t| t.parse().expect("a number of threads"));
    let pool = threads.map_or_else(ThreadPool::for_this_machine, ThreadPool::new);
    let wanted_isa = |isa: &Isa| arguments.get(3).is_none_or(|name| isa.name() == name);
    let isa = Isa::available().into_iter().find(wanted_isa).expect("an instruction set of this CPU");
    let peak = peak_flops(&pool, isa);
    let bandwidth = memory_read_bandwidth(&pool, isa);
    println!(
        "{} x {} threads: {:.0} GFLOP/s, {:.1} GB/s",
        isa.name(),
        pool.threads(),
        peak / 1e9,
        bandwidth / 1e9
    );
    for (name, layers, batches) in [
        ("resnet50", RESNET50, vec![1, 16]),
        ("resnet20", RESNET20, vec![128]),
        ("lenet", LENET, vec![1, 64]),
    ] {
        for n in batch(&batches) {
            if wanted(name) {
                convolutions(&pool, isa, name, layers, n);
            }
        }
    }
    for n in batch(&[1]) {
        if wanted("narrow") {
            narrow(&pool, isa, n);
        }
    }
    if wanted("overhead") {
        overhead(&pool, isa);
    }
    for n in batch(&[1, 16, 256]) {
        if wanted("linear") {
            linears(&pool, isa, n);
        }
    }
    for n in batch(&[1]) {
        if wanted("depthwise") {
            depthwise(&pool, isa, n);
        }
    }
}

/// What it costs to join the threads, and to pack weights and convert layouts (GB/s read and written).
fn overhead(pool: &ThreadPool, isa: Isa) {
    let joins = 1000;
    let seconds = time(|| (0..joins).for_each(|_| pool.run(pool.threads(), &|_| ())));
    println!("\njoin: {:.2} us", seconds / f64::from(joins) * 1e6);
    for &Layer(c, o, size, kernel, ..) in &[Layer(512, 512, 7, 3, 1, 1), Layer(2048, 512, 7, 1, 1, 0)] {
        let window = Window::square(kernel).padding(kernel / 2);
        let (in_channels, out_channels, image) = (c, o, [size; 2]);
        let g = ConvGeometry {
            batch: 1,
            in_channels,
            out_channels,
            groups: 1,
            input: image,
            output: image,
            window,
        };
        let weight = numbers(o * c * kernel * kernel);
        let rate = |seconds: f64| 8.0 * weight.len() as f64 / seconds / 1e9;
        let forward = ConvForward::new(g, isa, InputLayout::Blocked).expect("supported");
        let mut packed = numbers(forward.packed_len());
        let first = time(|| forward.pack(pool, &weight, None, &mut packed));
        let input = ConvInputGrad::new(g, isa).expect("supported");
        let mut packed = numbers(input.packed_len());
        let second = time(|| input.pack(pool, &weight, &mut packed));
        println!("pack {c} -> {o} {kernel}x{kernel}: {:.1} forward, {:.1} input", rate(first), rate(second));
    }
    for dims in [[1, 3, 224, 224], [16, 64, 56, 56], [16, 512, 7, 7]] {
        let [n, c, h, w] = dims;
        let (mut plain, mut blocked) = (numbers(n * c * h * w), numbers(blocked_len(n, c, h, w)));
        let bytes = 4.0 * (plain.len() + blocked.len()) as f64;
        let there = time(|| plain_to_blocked(pool, isa, dims, &plain, &mut blocked));
        let back = time(|| blocked_to_plain(pool, isa, dims, &blocked, &mut plain));
        println!("layout {dims:?}: {:.1} there, {:.1} back", bytes / there / 1e9, bytes / back / 1e9);
    }
}

/// Rates in GFLOP/s, and in GB/s of weights, for these are bound by memory when the batch is small.
fn linears(pool: &ThreadPool, isa: Isa, n: usize) {
    println!("\nlinear, batch {n}: GFLOP/s (and GB/s of weights) forward, input, weight");
    for &[f, o] in LINEAR {
        let (x, dy, w, bias) = (numbers(n * f), numbers(n * o), numbers(o * f), numbers(o));
        let (mut y, mut dx, mut dw) = (numbers(n * o), numbers(n * f), numbers(o * f));
        let forward = LinearForward::new(n, f, o, isa);
        let mut packed = numbers(forward.packed_len());
        forward.pack(pool, &w, &mut packed);
        let mut scratch = numbers(forward.scratch_len());
        let epilogue = Epilogue { bias: Some(&bias), residual: None, clamp: Some(Clamp::RELU), worth: None };
        let first = time(|| forward.run(pool, &x, &packed, epilogue, &mut scratch, &mut y));
        let input = LinearInputGrad::new(n, f, o, isa);
        let mut packed = numbers(input.packed_len());
        input.pack(pool, &w, &mut packed);
        let mut scratch = numbers(input.scratch_len());
        let second = time(|| input.run(pool, &dy, &packed, None, &mut scratch, &mut dx));
        let weight = LinearWeightGrad::new(n, f, o, isa);
        let mut scratch = numbers(weight.scratch_len());
        let third = time(|| weight.run(pool, &x, &dy, &mut scratch, &mut dw));
        print!("{f:>5} -> {o:<5}");
        for seconds in [first, second, third] {
            let (flops, bytes) = ((2 * n * f * o) as f64, (4 * f * o) as f64);
            print!("  {:>7.1} ({:>5.1})", flops / seconds / 1e9, bytes / seconds / 1e9);
        }
        println!();
    }
}

/// Rates in GB/s of input and output together, for these are bound by memory.
fn depthwise(pool: &ThreadPool, isa: Isa, batch: usize) {
    println!("\ndepthwise 3x3, batch {batch}: GB/s of x and y, and GFLOP/s");
    for &[c, size, stride] in DEPTHWISE {
        let window = Window::square(3).stride(stride).padding(1);
        let output = window.output([size; 2], Rounding::Floor).expect("the window fits");
        let (in_channels, out_channels, groups) = (c, c, c);
        let g = ConvGeometry { batch, in_channels, out_channels, groups, input: [size; 2], output, window };
        let bytes = (4 * batch * c * (size * size + output[0] * output[1])) as f64;
        print!("{c:>5} {size:>3}x{size:<3} s{stride}");
        for seconds in [forward(pool, isa, g), input_grad(pool, isa, g), weight_grad(pool, isa, g)] {
            print!("  {:>6.1} ({:>5.1})", bytes / seconds / 1e9, 2.0 * g.macs() as f64 / seconds / 1e9);
        }
        println!();
    }
}

fn convolutions(pool: &ThreadPool, isa: Isa, name: &str, layers: &[Layer], batch: usize) {
    println!("\n{name}, batch {batch}: fraction of peak\n{:>38} forward   input  weight", "");
    let mut totals = [[0.0; 2]; 3];
    for &Layer(c, o, size, kernel, stride, padding) in layers {
        let window = Window::square(kernel).stride(stride).padding(padding);
        let output = window.output([size; 2], Rounding::Floor).expect("the window fits");
        let (in_channels, out_channels) = (c, o);
        let g =
            ConvGeometry { batch, in_channels, out_channels, groups: 1, input: [size; 2], output, window };
        // Taken next to the layer, for the clock and the neighbours change within seconds.
        let peak = peak_flops(pool, isa);
        let ideal = 2.0 * g.macs() as f64 / peak;
        let seconds = [forward(pool, isa, g), input_grad(pool, isa, g), weight_grad(pool, isa, g)];
        print!("{c:>5} -> {o:<5} {size:>3}x{size:<3} {kernel}x{kernel} s{stride} {:>8.3} ms ", ideal * 1e3);
        for (total, time) in totals.iter_mut().zip(seconds) {
            print!(" {:>6.1}%", 100.0 * ideal / time);
            *total = [total[0] + ideal, total[1] + time];
        }
        println!();
    }
    print!("{:>38}", "all");
    totals.iter().for_each(|[ideal, time]| print!(" {:>6.1}%", 100.0 * ideal / time));
    println!();
}

/// Forward alone, in each format: milliseconds, and the rate as a multiple of the peak of `f32`.
fn narrow(pool: &ThreadPool, isa: Isa, batch: usize) {
    println!(
        "\nforward, batch {batch}: ms and multiples of the f32 peak\n{:>29}f32            bf16            int8",
        ""
    );
    let codings = [Coding::F32, Coding::Bf16, Coding::U8 { scale: 1.0, zero: 0 }];
    for &Layer(c, o, size, kernel, stride, padding) in RESNET50 {
        let window = Window::square(kernel).stride(stride).padding(padding);
        let output = window.output([size; 2], Rounding::Floor).expect("the window fits");
        let (in_channels, out_channels) = (c, o);
        let g =
            ConvGeometry { batch, in_channels, out_channels, groups: 1, input: [size; 2], output, window };
        let peak = peak_flops(pool, isa);
        print!("{c:>5} -> {o:<5} {size:>3}x{size:<3} {kernel}x{kernel} s{stride}");
        for coding in codings {
            let seconds = if coding == Coding::F32 {
                forward(pool, isa, g)
            } else {
                forward_narrow(pool, isa, g, coding)
            };
            print!("  {:>8.3} {:>4.2}", seconds * 1e3, 2.0 * g.macs() as f64 / seconds / peak);
        }
        println!();
    }
}

fn forward_narrow(pool: &ThreadPool, isa: Isa, g: ConvGeometry, coding: Coding) -> f64 {
    let (format, [h, w], [oh, ow]) = (coding.format(), g.input, g.output);
    let few = g.in_channels <= 4;
    let layout = if few { InputLayout::Pixels } else { InputLayout::Blocked };
    let recipe = ConvForward::narrow(g, isa, layout, (coding, false)).expect("supported");
    let words = if few {
        g.batch * h * w * pixel_words(format, g.in_channels)
    } else {
        format.blocked_len(g.batch, g.in_channels, h, w)
    };
    let x = AlignedBuffer::zeroed(words);
    let weight = numbers(g.out_channels * g.group_in() * g.window.taps());
    let mut packed = AlignedBuffer::zeroed(recipe.packed_len());
    recipe.pack(pool, &weight, None, &mut packed);
    let mut scratch = AlignedBuffer::zeroed(recipe.scratch_len(pool.threads()));
    let mut y = AlignedBuffer::zeroed(format.blocked_len(g.batch, g.out_channels, oh, ow));
    let bias = numbers(g.out_channels);
    let worth = (format == Format::U8).then_some(Worth { sum: &bias, residual: 1.0 });
    let clamp = (format != Format::U8).then_some(Clamp::RELU);
    let epilogue = Epilogue { bias: Some(&bias), residual: None, clamp, worth };
    time(|| recipe.run(pool, &x, &packed, epilogue, &mut scratch, &mut y))
}

/// The best time of several runs.
fn time(mut run: impl FnMut()) -> f64 {
    run();
    let (begin, mut best) = (Instant::now(), f64::INFINITY);
    let mut rounds = 0;
    while rounds < 3 || begin.elapsed().as_secs_f64() < BUDGET {
        let start = Instant::now();
        run();
        best = best.min(start.elapsed().as_secs_f64());
        rounds += 1;
    }
    best
}

fn numbers(len: usize) -> AlignedBuffer {
    let mut buffer = AlignedBuffer::zeroed(len);
    buffer.iter_mut().enumerate().for_each(|(i, v)| *v = (i % 7) as f32 * 0.1 - 0.3);
    buffer
}

fn input(g: &ConvGeometry) -> (InputLayout, AlignedBuffer) {
    let [h, w] = g.input;
    if g.in_channels <= 4 {
        (InputLayout::Plain, numbers(g.batch * g.in_channels * h * w))
    } else {
        (InputLayout::Blocked, numbers(blocked_len(g.batch, g.in_channels, h, w)))
    }
}

fn output(g: &ConvGeometry) -> AlignedBuffer {
    numbers(blocked_len(g.batch, g.out_channels, g.output[0], g.output[1]))
}

fn forward(pool: &ThreadPool, isa: Isa, g: ConvGeometry) -> f64 {
    let (layout, x) = input(&g);
    let recipe = ConvForward::new(g, isa, layout).expect("supported");
    let weight = numbers(g.out_channels * g.group_in() * g.window.taps());
    let mut packed = AlignedBuffer::zeroed(recipe.packed_len());
    recipe.pack(pool, &weight, None, &mut packed);
    let mut scratch = AlignedBuffer::zeroed(recipe.scratch_len(pool.threads()));
    let (mut y, bias) = (output(&g), numbers(g.out_channels));
    let epilogue = Epilogue { bias: Some(&bias), residual: None, clamp: Some(Clamp::RELU), worth: None };
    time(|| recipe.run(pool, &x, &packed, epilogue, &mut scratch, &mut y))
}

fn input_grad(pool: &ThreadPool, isa: Isa, g: ConvGeometry) -> f64 {
    let recipe = ConvInputGrad::new(g, isa).expect("supported");
    let weight = numbers(g.out_channels * g.group_in() * g.window.taps());
    let mut packed = AlignedBuffer::zeroed(recipe.packed_len());
    recipe.pack(pool, &weight, &mut packed);
    let mut scratch = AlignedBuffer::zeroed(recipe.scratch_len(pool.threads()));
    let dy = output(&g);
    let mut dx = AlignedBuffer::zeroed(blocked_len(g.batch, g.in_channels, g.input[0], g.input[1]));
    time(|| recipe.run(pool, &dy, &packed, Epilogue::default(), &mut scratch, &mut dx))
}

fn weight_grad(pool: &ThreadPool, isa: Isa, g: ConvGeometry) -> f64 {
    let (layout, x) = input(&g);
    let recipe = ConvWeightGrad::new(g, isa, layout).expect("supported");
    let mut scratch = AlignedBuffer::zeroed(recipe.scratch_len(pool.threads()));
    let dy = output(&g);
    let mut dw = AlignedBuffer::zeroed(g.out_channels * g.group_in() * g.window.taps());
    time(|| recipe.run(pool, &x, &dy, &mut scratch, &mut dw))
}
