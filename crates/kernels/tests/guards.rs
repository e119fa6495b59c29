//! Every kind of product keeps a share of the machine's own peak.
//!
//! No time is asserted, only the ratio of two rates of one thread, each the best of many short runs, which a busy
//! neighbour hardly touches: a run is a fraction of a time slice. The floors are far below what the kernels
//! reach when nobody disturbs them and far above what any other way to compute reaches: one falls only when its kernel
//! does.

use std::time::Instant;

use ocellus_kernels::conv::{ConvForward, ConvInputGrad, ConvWeightGrad, Epilogue, InputLayout};
use ocellus_kernels::format::Format;
use ocellus_kernels::gemm::LinearForward;
use ocellus_kernels::isa::Isa;
use ocellus_kernels::layout::blocked_len;
use ocellus_kernels::peak::peak_flops;
use ocellus_kernels::threads::ThreadPool;
use ocellus_tensor::{AlignedBuffer, ConvGeometry, Window};

/// Runs of each kernel, of which the fastest counts.
const RUNS: usize = 150;

struct Bench {
    pool: ThreadPool,
    isa: Isa,
    peak: f64,
}

impl Bench {
    /// Checks that `run`, at `macs` each time, keeps to `floor` of the peak.
    fn guard(&self, name: &str, macs: u64, floor: f64, mut run: impl FnMut(&ThreadPool)) {
        let seconds = |()| {
            let start = Instant::now();
            run(&self.pool);
            start.elapsed().as_secs_f64()
        };
        let best = std::iter::repeat_n((), RUNS).map(seconds).fold(f64::INFINITY, f64::min);
        let share = 2.0 * macs as f64 / best / self.peak;
        println!(
            "{name:32} {:6.3} ms  {:5.1} % of peak, at least {:.0} %",
            1e3 * best,
            1e2 * share,
            1e2 * floor
        );
        assert!(share >= floor, "{name} runs at {share:.2} of this machine's peak; {floor} is asked");
    }

    fn forward(&self, name: &str, g: ConvGeometry, recipe: Option<ConvForward>, plain: bool, floor: f64) {
        let recipe = recipe.unwrap_or_else(|| panic!("{name} has a fast kernel"));
        let (packed, mut scratch) = (ones(recipe.packed_len()), ones(recipe.scratch_len(1)));
        let (x, mut y) = (if plain { ones(g.in_channels * pixels(g.input)) } else { input(&g) }, output(&g));
        self.guard(name, g.macs(), floor, |pool| {
            recipe.run(pool, &x, &packed, Epilogue::default(), &mut scratch, &mut y);
        });
    }

    fn input_grad(&self, name: &str, g: ConvGeometry, recipe: Option<ConvInputGrad>, floor: f64) {
        let recipe = recipe.unwrap_or_else(|| panic!("{name} has a fast kernel"));
        let (packed, mut scratch) = (ones(recipe.packed_len()), ones(recipe.scratch_len(1)));
        let (dy, mut dx) = (output(&g), input(&g));
        self.guard(name, g.macs(), floor, |pool| {
            recipe.run(pool, &dy, &packed, Epilogue::default(), &mut scratch, &mut dx);
        });
    }

    fn weight_grad(&self, name: &str, g: ConvGeometry, recipe: Option<ConvWeightGrad>, floor: f64) {
        let recipe = recipe.unwrap_or_else(|| panic!("{name} has a fast kernel"));
        let (x, dy, mut scratch) = (input(&g), output(&g), ones(recipe.scratch_len(1)));
        let mut dw = ones(g.out_channels * g.group_in() * g.window.taps());
        self.guard(name, g.macs(), floor, |pool| recipe.run(pool, &x, &dy, &mut scratch, &mut dw));
    }
}

fn ones(len: usize) -> AlignedBuffer {
    let mut numbers = AlignedBuffer::zeroed(len);
    numbers.fill(1.0);
    numbers
}

fn pixels([height, width]: [usize; 2]) -> usize {
    height * width
}

fn input(g: &ConvGeometry) -> AlignedBuffer {
    ones(blocked_len(g.batch, g.in_channels, g.input[0], g.input[1]))
}

fn output(g: &ConvGeometry) -> AlignedBuffer {
    ones(blocked_len(g.batch, g.out_channels, g.output[0], g.output[1]))
}

/// A square convolution that keeps the image's size, strides aside.
fn geometry(channels: [usize; 2], side: usize, [kernel, stride]: [usize; 2], groups: usize) -> ConvGeometry {
    let [in_channels, out_channels] = channels;
    let window = Window::square(kernel).stride(stride).padding(kernel / 2);
    let out = (side + 2 * (kernel / 2) - kernel) / stride + 1;
    ConvGeometry { batch: 1, in_channels, out_channels, groups, input: [side; 2], output: [out; 2], window }
}

#[test]
fn every_kind_of_product_keeps_its_share_of_the_peak() {
    let (pool, isa) = (ThreadPool::new(1), Isa::detect());
    if isa == Isa::Scalar {
        println!("skipped: this machine has none of the instruction sets that kernels are written for");
        return;
    }
    let peak = peak_flops(&pool, isa);
    let bench = Bench { pool, isa, peak };
    let square = geometry([64, 64], 28, [3, 1], 1);
    let small = geometry([64, 64], 14, [3, 1], 1);
    let point = geometry([256, 64], 14, [1, 1], 1);
    let strided = geometry([64, 64], 28, [3, 2], 1);
    let first = geometry([3, 64], 56, [7, 2], 1);
    let by_channel = geometry([64, 64], 28, [3, 1], 64);
    let blocked = |g| ConvForward::new(g, isa, InputLayout::Blocked);
    bench.forward("direct 3x3", small, blocked(small), false, 0.2);
    bench.forward("direct 1x1", point, blocked(point), false, 0.2);
    bench.forward("direct 3x3, stride 2", strided, blocked(strided), false, 0.2);
    let plain = ConvForward::new(first, isa, InputLayout::Plain);
    bench.forward("direct 7x7, stride 2, 3 channels", first, plain, true, 0.15);
    bench.forward("winograd 3x3", square, ConvForward::winograd(square, isa, Format::F32), false, 0.4);
    bench.forward("depthwise 3x3", by_channel, blocked(by_channel), false, 0.03);
    bench.input_grad("input gradient 3x3", small, ConvInputGrad::new(small, isa), 0.2);
    bench.input_grad(
        "input gradient 3x3, winograd",
        square,
        ConvInputGrad::winograd(square, isa, Format::F32),
        0.4,
    );
    bench.weight_grad(
        "weight gradient 3x3",
        small,
        ConvWeightGrad::new(small, isa, InputLayout::Blocked),
        0.35,
    );
    linear(&bench);
}

fn linear(bench: &Bench) {
    let (batch, features) = (32, 512);
    let recipe = LinearForward::new(batch, features, 256, bench.isa);
    let (packed, mut scratch) = (ones(recipe.packed_len()), ones(recipe.scratch_len()));
    let (x, mut y) = (ones(batch * features), ones(batch * 256));
    bench.guard("linear", (batch * features * 256) as u64, 0.15, |pool| {
        recipe.run(pool, &x, &packed, Epilogue::default(), &mut scratch, &mut y);
    });
}
